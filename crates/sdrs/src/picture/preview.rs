//! Pictures of a run that is not done yet.

use super::writing::{Pixels, SaveOptions, save_png};
use crate::Result;

/// The method that makes a preview of the denoised latent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PreviewMethod {
    /// Each value of the latent's side becomes one pixel, its colour a linear function of the latent's channels: microseconds. The
    /// function is fitted to the pipeline's own autoencoder when a run first asks for it.
    Approximate,
    /// The autoencoder decodes: the picture as it would be, at the price of a last step.
    Full,
    /// The tiny autoencoder decodes that [`PipelineBuilder::taesd`](crate::PipelineBuilder::taesd) names: nearly the same, in a small part
    /// of the time.
    Taesd,
}

/// The picture as far as it is known after a step.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preview {
    /// Pixels of a row: those of the picture, or of [`PreviewMethod::Approximate`] those of the latent.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Red, green, blue, a byte each, row by row from the top, without padding.
    pub rgb: Vec<u8>,
}

impl Preview {
    /// Writes a PNG, as [`Image::save_png`](crate::Image::save_png) does.
    ///
    /// # Errors
    /// [`Error::Write`](crate::Error::Write), naming the file; [`Error::InvalidParameter`](crate::Error::InvalidParameter) if its name ends as
    /// another format's.
    pub fn save_png(&self, path: impl AsRef<std::path::Path>) -> Result<()> {
        save_png(path.as_ref(), self.pixels())
    }

    /// Writes a file in the format of its ending, as [`Image::save`](crate::Image::save) does.
    ///
    /// # Errors
    /// [`Error::Write`](crate::Error::Write), naming the file; [`Error::InvalidParameter`](crate::Error::InvalidParameter) if its name ends as
    /// another format's.
    pub fn save(&self, path: impl AsRef<std::path::Path>) -> Result<()> {
        self.pixels().save(path.as_ref(), &SaveOptions::default())
    }

    fn pixels(&self) -> Pixels<'_> {
        Pixels {
            width: self.width,
            height: self.height,
            values: &self.rgb,
            alpha: false,
            infotext: None,
        }
    }
}
