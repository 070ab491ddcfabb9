//! Infotexts: a picture's settings as the WebUI writes them into its `parameters`, read back.
//!
//! ```
//! let text = "a red circle\nNegative prompt: blurry\nSteps: 25, Sampler: DPM++ 2M Karras, CFG scale: 5, Seed: 7, Size: 512x768";
//! let read = sdrs::infotext::parse(text)?;
//! assert_eq!((read.params.prompt.as_str(), read.params.steps, read.params.seed), ("a red circle", 25, 7));
//! # Ok::<(), sdrs::Error>(())
//! ```

mod parse;
mod write;

pub use parse::{Infotext, parse};
pub(crate) use write::{Seeds, infotext};

use std::{fs::File, io::Read, path::Path};

use crate::{Error, Result};

/// The first bytes of a PNG file.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// The infotext of a file: of a PNG from its `parameters` text, of any other file the whole of it, which must be UTF-8 of no more
/// than a megabyte.
///
/// # Errors
/// [`Error::Core`] if the file can't be read, [`Error::InvalidFile`] if it holds no infotext.
pub fn of_file(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    let fail = |reason: String| Error::InvalidFile {
        path: path.display().to_string(),
        reason,
    };
    let unreadable = |source| sd_core::Error::Io {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.by_ref()
        .take(PNG.len() as u64)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    let picture = bytes == PNG;
    let most = if picture { LARGEST_PNG } else { LARGEST_TEXT };
    file.take(most).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > most {
        return Err(fail(format!("more than {most} bytes long: no infotext")));
    }
    if !picture {
        return String::from_utf8(bytes).map_err(|_| fail("neither a PNG picture nor UTF-8 text".into()));
    }
    let text = sd_core::png_text(&bytes, "parameters").map_err(fail)?;
    text.ok_or_else(|| fail("a picture without an infotext in it".into()))
}

const LARGEST_TEXT: u64 = 1 << 20;

/// Larger than any picture that is drawn here.
const LARGEST_PNG: u64 = 1 << 30;
