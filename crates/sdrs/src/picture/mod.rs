//! Pictures, their infotexts, and pictures of a run that is not done yet.

mod blur;
mod colors;
mod exif;
mod image;
pub mod infotext;
mod input;
mod interpolate;
mod outpaint;
mod pixels;
mod plane;
mod preview;
mod reading;
mod resize;
mod size;
mod writing;

pub use self::image::Image;
pub(crate) use self::image::rgb_of_planes;
pub(crate) use colors::corrected;
pub use input::Picture;
pub use interpolate::Interpolation;
pub(crate) use interpolate::interpolate;
pub(crate) use pixels::{composite, share_of};
pub use plane::Plane;
pub use preview::{Preview, PreviewMethod};
pub use resize::Resample;
pub(crate) use writing::wrong_ending;
pub use writing::{PictureFormat, SaveOptions};
