//! Pictures, their infotexts, and pictures of a run that is not done yet.

mod image;
pub mod infotext;
mod preview;

pub use image::Image;
pub(crate) use image::{png, rgb_of_planes, save, wrong_ending};
pub use preview::{Preview, PreviewMethod};
