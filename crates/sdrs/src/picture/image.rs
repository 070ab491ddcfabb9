use std::path::Path;

use super::writing::{self, PictureFormat, Pixels, SaveOptions};
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

    /// Writes a file in the format of its ending, PNG, JPEG or WebP, with the infotext in it: see [`PictureFormat`].
    ///
    /// An existing file is replaced only by a whole new one, with its permissions; links to it stay. What is no regular file, such as a
    /// pipe, is written into.
    ///
    /// # Errors
    /// [`Error::Write`], naming the file; [`Error::InvalidParameter`] if its name ends as another format's.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.save_with(path, &SaveOptions::default())
    }

    /// The same with options.
    ///
    /// # Errors
    /// Those of [`save`](Self::save), and [`Error::InvalidParameter`] if an option is out of its range.
    pub fn save_with(&self, path: impl AsRef<Path>, options: &SaveOptions) -> Result<()> {
        self.pixels().save(path.as_ref(), options)
    }

    /// The bytes of such a file.
    ///
    /// # Errors
    /// [`Error::Write`] if the picture can't be encoded, [`Error::InvalidParameter`] if an option is out of its range.
    pub fn encode(&self, format: PictureFormat, options: &SaveOptions) -> Result<Vec<u8>> {
        self.pixels().encode(format, options)
    }

    /// Writes a PNG with the infotext in its `parameters` chunk, as [`save`](Self::save) writes files.
    ///
    /// # Errors
    /// [`Error::Write`], naming the file; [`Error::InvalidParameter`] if its name ends as another format's.
    pub fn save_png(&self, path: impl AsRef<Path>) -> Result<()> {
        writing::save_png(path.as_ref(), self.pixels())
    }

    /// Whether [`save`](Self::save) could write there now: to be asked before a long run. Nothing is left behind.
    ///
    /// # Errors
    /// Those of [`save`](Self::save).
    pub fn check_path(path: impl AsRef<Path>) -> Result<()> {
        writing::check_path(path.as_ref())
    }

    /// The PNG's bytes, with the infotext in the `parameters` chunk.
    ///
    /// # Errors
    /// [`Error::Write`] if the picture can't be encoded.
    pub fn png(&self) -> Result<Vec<u8>> {
        self.encode(PictureFormat::Png, &SaveOptions::default())
    }

    fn pixels(&self) -> Pixels<'_> {
        Pixels {
            width: self.width,
            height: self.height,
            values: &self.rgb,
            alpha: false,
            infotext: Some(&self.infotext),
        }
    }
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
    fn every_format_carries_pixels_and_infotext() {
        let folder = tempfile::tempdir().unwrap();
        let text = "a, (b:1.2) ä赤🔴\nSteps: 20, Seed: 5";
        let image = picture(text);
        for (name, format) in [
            ("a.png", PictureFormat::Png),
            ("a.JPG", PictureFormat::Jpeg),
            ("a.webp", PictureFormat::WebP),
        ] {
            let path = folder.path().join(name);
            image.save(&path).unwrap();
            assert_eq!(crate::infotext::of_file(&path).unwrap(), text, "{name}");
            let bytes = image.encode(format, &SaveOptions::default()).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
            let read = crate::Picture::open(&path).unwrap();
            assert!(read.notes().is_empty());
            let difference = read
                .rgb()
                .iter()
                .zip(&image.rgb)
                .map(|(a, b)| a.abs_diff(*b))
                .max();
            let most = if format == PictureFormat::Jpeg { 12 } else { 0 };
            assert!(difference.unwrap() <= most, "{name}: {difference:?}");
        }
    }

    #[test]
    fn a_picture_that_cant_be_encoded_says_why() {
        let options = SaveOptions::default();
        let long = picture(&"a".repeat(40_000));
        let message = |image: &Image, format, options: &SaveOptions| {
            image.encode(format, options).unwrap_err().to_string()
        };
        assert!(message(&long, PictureFormat::Jpeg, &options).contains("too long for a JPEG; write a PNG"));
        assert!(long.encode(PictureFormat::WebP, &options).is_ok());
        let low = SaveOptions::default().quality(0);
        assert_eq!(
            message(&picture(""), PictureFormat::Jpeg, &low),
            "quality: 0: a JPEG's quality is 1 to 100"
        );
        let small = picture("")
            .encode(PictureFormat::Jpeg, &SaveOptions::default().quality(1))
            .unwrap();
        let large = picture("")
            .encode(PictureFormat::Jpeg, &SaveOptions::default().quality(100))
            .unwrap();
        assert!(small.len() < large.len());
        let mut wrong = picture("");
        wrong.width = 9;
        for format in PictureFormat::ALL {
            assert!(message(&wrong, format, &options).contains("48 bytes, but 9x2 pixels"));
        }
        let wide = Image {
            width: 20_000,
            height: 1,
            rgb: vec![0; 60_000],
            ..picture("")
        };
        assert!(message(&wide, PictureFormat::WebP, &options).starts_with("cannot write WebP data: "));
    }

    #[test]
    fn a_failed_write_names_the_file_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none/out.png");
        let message = picture("").save_png(&path).unwrap_err().to_string();
        assert!(message.contains("none/out.png: there is no folder"), "{message}");
        for name in ["out.jpg", "a.b.JPEG", "out.WebP", "out.gif"] {
            let message = picture("").save_png(name).unwrap_err().to_string();
            let right = format!("name it {}", Path::new(name).with_extension("png").display());
            assert!(
                message.starts_with("path: ") && message.ends_with(&right),
                "{message}"
            );
        }
        for error in [picture("").save("out.gif"), Image::check_path("out.TIFF")] {
            assert!(
                error
                    .unwrap_err()
                    .to_string()
                    .contains("written as PNG, JPEG or WebP, not as .")
            );
        }
        let free = ["out.PNG", "out", "v1.5", "out.jpeg", "a.webp"].map(|name| folder.path().join(name));
        free.iter().for_each(|path| Image::check_path(path).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
