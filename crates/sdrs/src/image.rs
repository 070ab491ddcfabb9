use std::{io::Write, path::Path};

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
    /// # Errors
    /// [`Error::Write`], naming the file. An existing file is replaced only by a whole new one.
    pub fn save_png(&self, path: impl AsRef<Path>) -> Result<()> {
        write_whole(path.as_ref(), &self.png()?)
    }

    /// The PNG's bytes, with the infotext in the `parameters` chunk.
    ///
    /// # Errors
    /// [`Error::Write`] if the picture can't be encoded.
    pub fn png(&self) -> Result<Vec<u8>> {
        png(self.width, self.height, &self.rgb, Some(&self.infotext))
    }
}

/// Replaces a file by a whole new one.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let fail = |e: std::io::Error| Error::Write {
        path: path.display().to_string(),
        reason: e.to_string(),
    };
    let mut partial = path.as_os_str().to_owned();
    partial.push(".part");
    std::fs::write(&partial, bytes).map_err(fail)?;
    std::fs::rename(&partial, path).map_err(|e| {
        // The write's error is the one to tell; a leftover is only clutter.
        let _ = std::fs::remove_file(&partial);
        fail(e)
    })
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
        assert!(message.contains("none/out.png"), "{message}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
