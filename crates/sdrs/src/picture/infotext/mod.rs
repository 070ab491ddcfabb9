//! Infotexts: a picture's settings as the WebUI writes them into its `parameters`, read back.
//!
//! ```
//! let text = "a red circle\nNegative prompt: blurry\nSteps: 25, Sampler: DPM++ 2M Karras, CFG scale: 5, Seed: 7, Size: 512x768";
//! let read = sdrs::infotext::parse(text)?;
//! assert_eq!((read.params.text.prompt.as_str(), read.params.sampling.steps), ("a red circle", 25));
//! # Ok::<(), sdrs::Error>(())
//! ```

mod first_pass;
mod foreign;
mod pairs;
mod parse;
mod tiled;
mod version;
mod write;

pub(crate) use foreign::LORAS;
pub use parse::{Infotext, parse};
pub(crate) use write::{Seeds, infotext};

use std::{io::Read, path::Path};

use sd_core::FileKind;

use super::{exif, reading::exif_of_picture};
use crate::{Error, Result};

/// The key of the second pass's size.
const HIRES_SIZE: &str = "Hires resize";

/// The value of "Noise Schedule" where noise levels are rescaled.
const ZERO_TERMINAL_SNR: &str = "Zero Terminal SNR";

/// The value of "Mask mode" where what is not masked is drawn anew.
const NOT_MASKED: &str = "Inpaint not masked";

/// The value of "Inpaint area" where only the masked part is drawn.
const ONLY_MASKED: &str = "Only masked";

/// The infotext of a file: of a PNG from its `parameters` text, of a JPEG or WebP from its EXIF comment, of any other file the whole of it,
/// which must be UTF-8. It has no more than a megabyte.
///
/// What ComfyUI, SwarmUI, Fooocus, InvokeAI, NovelAI and Draw Things write into pictures is brought into that form as far as it has a place there;
/// the pair `Not translated` has the rest, `Source` the program.
///
/// # Errors
/// [`Error::Core`] if the file can't be read, [`Error::InvalidFile`] if it holds no infotext, or an empty one, or settings that can't be read.
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
    let (mut file, _) = sd_core::input::open(path, "an infotext")?;
    let mut bytes = Vec::new();
    file.by_ref()
        .take(FileKind::HEAD as u64)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    let carrier = Carrier::of(&bytes).map_err(|kind| {
        let advice =
            "give the PNG, JPEG or WebP picture that was saved, or its infotext as a text file in UTF-8";
        fail(kind.instead_of("an infotext", advice))
    })?;
    let most = match carrier {
        Carrier::Text => LARGEST_TEXT,
        _ => LARGEST_PICTURE,
    };
    file.take(most).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > most {
        return Err(fail(format!("more than {most} bytes long: no infotext")));
    }
    let none = || fail("a picture without an infotext in it".into());
    let text = match carrier {
        Carrier::Png => match sd_core::png_text(&bytes, "parameters").map_err(fail)? {
            Some(text) => foreign::of_comment(text).map_err(fail)?,
            None => {
                let texts = |keywords: &[&str]| sd_core::png_texts(&bytes, keywords);
                foreign::of_png(png_size(&bytes), texts).map_err(fail)?.ok_or_else(none)?
            }
        },
        Carrier::Exif => {
            let exif = exif_of_picture(&bytes).map_err(fail)?.ok_or_else(none)?;
            match (exif::comment(&exif), exif::model(&exif)) {
                (Some(text), _) => foreign::of_comment(text).map_err(fail)?,
                (None, Some(model)) => match model.strip_prefix("prompt:") {
                    Some(graph) => foreign::of_graph(graph).map_err(fail)?,
                    None => return Err(none()),
                },
                (None, None) => return Err(none()),
            }
        }
        Carrier::Text => String::from_utf8(bytes).map_err(|e| {
            let at = e.utf8_error().valid_up_to();
            fail(format!(
                "neither a PNG, JPEG or WebP picture nor text in UTF-8, as its byte {at} shows; save the text as UTF-8"
            ))
        })?,
    };
    match text.trim() {
        "" => Err(fail(
            "there is nothing in it: an infotext has a prompt or settings".into(),
        )),
        _ if text.len() as u64 > LARGEST_TEXT => Err(fail(format!(
            "a picture with a text of {} bytes; an infotext has {LARGEST_TEXT} at most",
            text.len()
        ))),
        _ => Ok(text),
    }
}

/// Width and height in a PNG's header.
fn png_size(bytes: &[u8]) -> [u32; 2] {
    let side = |at: usize| {
        let bytes = bytes.get(at..at + 4).and_then(|side| side.try_into().ok());
        bytes.map_or(0, u32::from_be_bytes)
    };
    [side(16), side(20)]
}

/// The ways in which files carry an infotext.
enum Carrier {
    Png,
    Exif,
    Text,
}

impl Carrier {
    /// By a file's first bytes; the kind of a file that carries none, otherwise.
    fn of(head: &[u8]) -> std::result::Result<Self, FileKind> {
        match FileKind::of(head) {
            None | Some(FileKind::Text | FileKind::Json) => Ok(Self::Text),
            Some(FileKind::Png) => Ok(Self::Png),
            Some(FileKind::Jpeg | FileKind::WebP) => Ok(Self::Exif),
            Some(other) => Err(other),
        }
    }
}

const LARGEST_TEXT: u64 = 1 << 20;

/// Larger than any picture that is drawn here.
const LARGEST_PICTURE: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_without_an_infotext_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut jpeg = b"\xff\xd8\xff\xe0".to_vec();
        jpeg.resize(2 << 20, 0);
        let no_text = goldens::Refs::open("pictures/files.safetensors").u8s("file.jpeg.turned3");
        let cases: [(&[u8], &str); 12] = [
            (b"", "there is nothing in it"),
            (b" \n\t\n", "there is nothing in it"),
            (&jpeg, "not a usable JPEG picture"),
            (&no_text, "a picture without an infotext in it"),
            (b"RIFF\x10\0\0\0WEBPVP8 ", "not a usable WebP picture"),
            (
                b"GIF89a",
                "a GIF picture, not an infotext; give the PNG, JPEG or WebP picture",
            ),
            (b"\0\0\0\x20ftypavif\0\0", "an AVIF picture"),
            (b"\xff\xfea\0 \0c\0", "a text in UTF-16"),
            (
                b"a \xe4 b",
                "neither a PNG, JPEG or WebP picture nor text in UTF-8, as its byte 2 shows",
            ),
            (b"\x89PNG\r\n\x1a\n", "not a usable PNG picture"),
            (
                b"version https://git-lfs.github.com/spec/v1\n",
                "a Git LFS pointer, not an infotext; fetch the file itself",
            ),
            (
                b"\x10\0\0\0\0\0\0\0{\"a\":",
                "a safetensors file, not an infotext",
            ),
        ];
        for (bytes, reason) in cases {
            std::fs::write(&path, bytes).unwrap();
            let error = of_file(&path).unwrap_err();
            assert_eq!(error.code(), crate::ErrorCode::InvalidFile);
            let message = error.to_string();
            assert!(
                message.starts_with(&format!("{}: {reason}", path.display())),
                "{message}"
            );
        }
        std::fs::write(&path, "a").unwrap();
        assert_eq!(of_file(&path).unwrap(), "a");
    }
}
