use std::{io::Write, path::Path};

use sd_core::output;

use crate::{Error, Result};

/// A finished picture with what made it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Image {
    /// Pixels of a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Red, green, blue, a byte each, row by row from the top, without padding.
    pub rgb: Vec<u8>,
    /// The seed that gives this picture alone.
    pub seed: u64,
    /// The settings in the WebUI's text form.
    pub infotext: String,
}

impl Image {
    /// From the autoencoder's planes, -1 to 1.
    pub(crate) fn from_planes(
        planes: &[f32],
        width: u32,
        height: u32,
        seed: u64,
        infotext: String,
    ) -> Result<Self> {
        let n = width as usize * height as usize;
        debug_assert_eq!(planes.len(), 3 * n);
        if !planes.iter().all(|v| v.is_finite()) {
            return Err(Error::NotFinite {
                what: "the decoded picture",
                advice: "compute in a wider dtype (f32), or use another VAE",
            });
        }
        Ok(Self {
            width,
            height,
            rgb: rgb_of_planes(planes),
            seed,
            infotext,
        })
    }

    /// Writes a PNG with the infotext in its `parameters` chunk.
    ///
    /// An existing file is replaced only by a whole new one, with its permissions; links to it stay. What is no regular file, such as a
    /// pipe, is written into.
    ///
    /// # Errors
    /// [`Error::Write`], naming the file; [`Error::InvalidParameter`] if its name ends as another format's.
    pub fn save_png(&self, path: impl AsRef<Path>) -> Result<()> {
        save(path.as_ref(), &self.png()?)
    }

    /// Whether [`save_png`](Self::save_png) could write there now: to be asked before a long run. Nothing is left behind.
    ///
    /// # Errors
    /// Those of [`save_png`](Self::save_png).
    pub fn check_path(path: impl AsRef<Path>) -> Result<()> {
        check_ending(path.as_ref())?;
        output::check_file(path.as_ref()).map_err(unwritten)
    }

    /// The PNG's bytes, with the infotext in the `parameters` chunk.
    ///
    /// # Errors
    /// [`Error::Write`] if the picture can't be encoded.
    pub fn png(&self) -> Result<Vec<u8>> {
        png(self.width, self.height, &self.rgb, Some(&self.infotext))
    }
}

/// Writes a PNG's bytes to a file.
pub(crate) fn save(path: &Path, png: &[u8]) -> Result<()> {
    check_ending(path)?;
    output::write_file(path, png).map_err(unwritten)
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

/// Endings of pictures in other formats: a PNG under such a name would deceive.
const OTHER_FORMATS: &[&str] = &[
    "avif", "bmp", "dds", "exr", "gif", "hdr", "heic", "heif", "ico", "jfif", "jp2", "jpe", "jpeg", "jpg",
    "jxl", "pbm", "pdf", "pgm", "pnm", "ppm", "psd", "qoi", "svg", "tga", "tif", "tiff", "webp",
];

fn check_ending(path: &Path) -> Result<()> {
    match wrong_ending(path, OTHER_FORMATS) {
        Some(ending) => {
            let (path, png) = (path.display(), path.with_extension("png"));
            let reason = format!(
                "{path}: pictures are written as PNG, not as .{ending}; name it {}",
                png.display()
            );
            Err(Error::parameter("path", reason))
        }
        None => Ok(()),
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

/// A PNG's bytes, with a `parameters` chunk if there is an infotext.
pub(crate) fn png(width: u32, height: u32, rgb: &[u8], infotext: Option<&str>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    encode_png(&mut bytes, [width, height], rgb, infotext).map_err(|e| Error::Write {
        path: "PNG data".into(),
        reason: e.to_string(),
    })?;
    Ok(bytes)
}

fn encode_png(
    out: impl Write,
    [width, height]: [u32; 2],
    rgb: &[u8],
    infotext: Option<&str>,
) -> std::result::Result<(), png::EncodingError> {
    let mut encoder = png::Encoder::new(out, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    if let Some(text) = infotext {
        let (key, text) = ("parameters".to_owned(), text.to_owned());
        // tEXt holds Latin-1 only.
        if text.chars().all(|c| u32::from(c) < 256) {
            encoder.add_text_chunk(key, text)?;
        } else {
            encoder.add_itxt_chunk(key, text)?;
        }
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(rgb)?;
    writer.finish()
}

/// Planes of red, green and blue, -1 to 1: clamped, scaled to 255 and truncated, as the WebUI does, pixel by pixel.
pub(crate) fn rgb_of_planes(planes: &[f32]) -> Vec<u8> {
    let n = planes.len() / 3;
    let byte = |v: f32| (((v + 1.0) / 2.0).clamp(0.0, 1.0) * 255.0) as u8;
    let pixel = |i: usize| [0, 1, 2].map(|c| byte(planes[c * n + i]));
    (0..n).flat_map(pixel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(infotext: &str) -> Image {
        let planes: Vec<f32> = (0..3 * 16).map(|i| i as f32 / 24.0 - 1.0).collect();
        Image::from_planes(&planes, 8, 2, 5, infotext.into()).unwrap()
    }

    #[test]
    fn pixels_are_clamped_and_truncated() {
        let image = Image::from_planes(&[-2.0, 0.0, 2.0, -1.0, 0.999, 1.0], 2, 1, 0, String::new()).unwrap();
        // Planes: red -2 and 0, green 2 and -1, blue 0.999 and 1.
        assert_eq!(image.rgb, [0, 255, 254, 127, 0, 255]);
        assert!(Image::from_planes(&[f32::NAN, 0.0, 0.0], 1, 1, 0, String::new()).is_err());
    }

    #[test]
    fn png_carries_pixels_and_infotext() {
        for text in ["a, (b:1.2)\nSteps: 20, Seed: 5", "ein Gemälde", "赤い円 🔴"] {
            let image = picture(text);
            let bytes = image.png().unwrap();
            let mut reader = png::Decoder::new(std::io::Cursor::new(&bytes))
                .read_info()
                .unwrap();
            let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
            reader.next_frame(&mut pixels).unwrap();
            assert_eq!(pixels, image.rgb);
            let info = reader.info();
            let latin1 = info
                .uncompressed_latin1_text
                .iter()
                .map(|c| (c.keyword.clone(), c.text.clone()));
            let utf8 = info
                .utf8_text
                .iter()
                .map(|c| (c.keyword.clone(), c.get_text().unwrap()));
            assert_eq!(
                latin1.chain(utf8).collect::<Vec<_>>(),
                [("parameters".to_owned(), text.to_owned())]
            );
        }
    }

    #[test]
    fn a_failed_write_names_the_file_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none/out.png");
        let message = picture("").save_png(&path).unwrap_err().to_string();
        assert!(message.contains("none/out.png: there is no folder"), "{message}");
        for name in ["out.jpg", "a.b.JPEG", "out.WebP"] {
            for error in [picture("").save_png(name), Image::check_path(name)] {
                let message = error.unwrap_err().to_string();
                let right = format!("name it {}", Path::new(name).with_extension("png").display());
                assert!(
                    message.starts_with("path: ") && message.ends_with(&right),
                    "{message}"
                );
            }
        }
        let free = ["out.PNG", "out", "v1.5"].map(|name| folder.path().join(name));
        free.iter().for_each(|path| Image::check_path(path).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
