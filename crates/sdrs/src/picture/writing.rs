//! Pictures as files.

use std::{io::Cursor, path::Path};

use image::{
    ExtendedColorType, ImageEncoder,
    codecs::{jpeg::JpegEncoder, webp::WebPEncoder},
};
use sd_core::output;

use super::{exif, size};
use crate::{Error, Result};

/// The format of a written picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PictureFormat {
    /// Lossless; an infotext is its `parameters` text.
    Png,
    /// Lossy; an infotext is the EXIF comment, of 32,000 characters at most.
    Jpeg,
    /// Lossless, a quarter smaller than PNG or so; an infotext is the EXIF comment. A side has 16,383 pixels at most.
    WebP,
}

/// Endings of pictures in other formats: one of ours under such a name would deceive.
const OTHER_FORMATS: &[&str] = &[
    "avif", "bmp", "dds", "exr", "gif", "hdr", "heic", "heif", "ico", "jp2", "jxl", "pbm", "pdf", "pgm",
    "pnm", "ppm", "psd", "qoi", "svg", "tga", "tif", "tiff",
];

impl PictureFormat {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Png, Self::Jpeg, Self::WebP];

    /// The name: PNG, JPEG or WebP.
    pub fn name(self) -> &'static str {
        match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::WebP => "WebP",
        }
    }

    fn endings(self) -> &'static [&'static str] {
        match self {
            Self::Png => &["png"],
            Self::Jpeg => &["jpg", "jpeg", "jpe", "jfif"],
            Self::WebP => &["webp"],
        }
    }

    /// The format that a file's ending names, PNG where it names none.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if it names another picture format.
    pub fn of_path(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if let Some(ending) = wrong_ending(path, OTHER_FORMATS) {
            let (path, png) = (path.display(), path.with_extension("png"));
            let reason = format!(
                "{path}: pictures are written as PNG, JPEG or WebP, not as .{ending}; name it {}",
                png.display()
            );
            return Err(Error::parameter("path", reason));
        }
        let named = |format: &Self| wrong_ending(path, format.endings()).is_some();
        Ok(Self::ALL.into_iter().find(named).unwrap_or(Self::Png))
    }
}

/// The way a picture is written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SaveOptions {
    /// Quality of a JPEG, 1 to 100.
    pub quality: u8,
}

impl Default for SaveOptions {
    /// The WebUI's: a quality of 80.
    fn default() -> Self {
        Self { quality: 80 }
    }
}

impl SaveOptions {
    /// The same with another quality of JPEGs, 1 to 100.
    pub fn quality(self, quality: u8) -> Self {
        Self { quality }
    }
}

/// What is to be written.
#[derive(Clone, Copy)]
pub(crate) struct Pixels<'a> {
    pub width: u32,
    pub height: u32,
    /// Red, green and blue of each pixel, or alpha besides.
    pub values: &'a [u8],
    pub alpha: bool,
    pub infotext: Option<&'a str>,
}

impl Pixels<'_> {
    /// Writes a file, in the format of its ending.
    pub fn save(self, path: &Path, options: &SaveOptions) -> Result<()> {
        save(path, |format| self.encode(format, options))
    }

    /// A file's bytes.
    pub fn encode(self, format: PictureFormat, options: &SaveOptions) -> Result<Vec<u8>> {
        let channels = if self.alpha { 4 } else { 3 };
        size::check(self.width, self.height, self.values.len(), channels)?;
        if !(1..=100).contains(&options.quality) {
            let reason = format!("{}: a JPEG's quality is 1 to 100", options.quality);
            return Err(Error::parameter("quality", reason));
        }
        let fail = |reason: String| Error::Write {
            path: format!("{} data", format.name()),
            reason,
        };
        match format {
            PictureFormat::Png => self.png().map_err(|e| fail(e.to_string())),
            PictureFormat::Jpeg => self.jpeg(options.quality).map_err(fail),
            PictureFormat::WebP => self.webp().map_err(fail),
        }
    }

    fn png(self) -> std::result::Result<Vec<u8>, png::EncodingError> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width, self.height);
        encoder.set_color(match self.alpha {
            true => png::ColorType::Rgba,
            false => png::ColorType::Rgb,
        });
        encoder.set_depth(png::BitDepth::Eight);
        if let Some(text) = self.infotext {
            let (key, text) = ("parameters".to_owned(), text.to_owned());
            // tEXt holds Latin-1 only.
            if text.chars().all(|c| u32::from(c) < 256) {
                encoder.add_text_chunk(key, text)?;
            } else {
                encoder.add_itxt_chunk(key, text)?;
            }
        }
        let mut writer = encoder.write_header()?;
        writer.write_image_data(self.values)?;
        writer.finish()?;
        Ok(bytes)
    }

    fn jpeg(self, quality: u8) -> std::result::Result<Vec<u8>, String> {
        /// A segment's bytes, less its length and mark.
        const LONGEST: usize = 65_535 - 2 - 6;
        let mut bytes = Vec::new();
        let mut encoder = JpegEncoder::new_with_quality(&mut bytes, quality);
        if let Some(text) = self.infotext {
            let exif = exif::with_comment(text);
            if exif.len() > LONGEST {
                return Err("the infotext is too long for a JPEG; write a PNG or a WebP".into());
            }
            encoder.set_exif_metadata(exif).map_err(|e| e.to_string())?;
        }
        let rgb: Vec<u8>;
        let values = match self.alpha {
            true => {
                let pixels = self.values.as_chunks::<4>().0;
                if pixels.iter().any(|pixel| pixel[3] != 255) {
                    return Err("a JPEG has no alpha; flatten the picture, or write a PNG or a WebP".into());
                }
                rgb = pixels.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect();
                &rgb
            }
            false => self.values,
        };
        let written = encoder.write_image(values, self.width, self.height, ExtendedColorType::Rgb8);
        written.map_err(|e| e.to_string())?;
        Ok(bytes)
    }

    fn webp(self) -> std::result::Result<Vec<u8>, String> {
        let mut bytes = Cursor::new(Vec::new());
        let mut encoder = WebPEncoder::new_lossless(&mut bytes);
        if let Some(text) = self.infotext {
            encoder
                .set_exif_metadata(exif::with_comment(text))
                .map_err(|e| e.to_string())?;
        }
        let kind = match self.alpha {
            true => ExtendedColorType::Rgba8,
            false => ExtendedColorType::Rgb8,
        };
        encoder
            .write_image(self.values, self.width, self.height, kind)
            .map_err(|e| e.to_string())?;
        Ok(bytes.into_inner())
    }
}

/// Writes the bytes that `encode` makes for the format of a file's ending.
pub(super) fn save(path: &Path, encode: impl FnOnce(PictureFormat) -> Result<Vec<u8>>) -> Result<()> {
    let bytes = encode(PictureFormat::of_path(path)?)?;
    output::write_file(path, &bytes).map_err(unwritten)
}

/// A picture's bytes as a PNG, written to a file whose name doesn't say otherwise.
pub(super) fn save_png(path: &Path, pixels: Pixels) -> Result<()> {
    check_png(path)?;
    pixels.save(path, &SaveOptions::default())
}

/// Whether a picture could be written to a path now.
pub(super) fn check_path(path: &Path) -> Result<()> {
    PictureFormat::of_path(path)?;
    output::check_file(path).map_err(unwritten)
}

/// The error of a PNG under another format's name.
fn check_png(path: &Path) -> Result<()> {
    match PictureFormat::of_path(path)? {
        PictureFormat::Png => Ok(()),
        other => {
            let (path, png) = (path.display(), path.with_extension("png"));
            let reason = format!(
                "{path}: this is a {}'s name, and a PNG is written; name it {}",
                other.name(),
                png.display()
            );
            Err(Error::parameter("path", reason))
        }
    }
}

fn unwritten(error: sd_core::Error) -> Error {
    match error {
        sd_core::Error::Write { path, source } => Error::Write {
            path: path.display().to_string(),
            reason: source.to_string(),
        },
        other => other.into(),
    }
}

/// A path's ending if it is one of these, in any case.
pub(crate) fn wrong_ending(path: &Path, wrong: &[&str]) -> Option<String> {
    let ending = path.extension()?.to_str()?;
    wrong
        .iter()
        .any(|wrong| ending.eq_ignore_ascii_case(wrong))
        .then(|| ending.to_owned())
}
