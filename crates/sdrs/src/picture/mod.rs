//! Pictures and their infotexts.

mod image;
pub mod infotext;

pub use image::Image;
pub(crate) use image::{png, rgb_of_planes, save, wrong_ending};
