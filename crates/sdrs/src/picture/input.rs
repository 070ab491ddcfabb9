use std::path::Path;

use rayon::prelude::*;

use super::{
    blur,
    pixels::{self, blended, composite, premultiplied, straight},
    plane::Plane,
    reading,
    resize::{Resample, resize},
    size,
};
use crate::{Error, Result};

/// A picture to start from: red, green, blue and alpha, 8 bits each.
///
/// ```no_run
/// # fn main() -> Result<(), sdrs::Error> {
/// let picture = sdrs::Picture::open("sketch.jpg")?;
/// let picture = picture.flatten([255, 255, 255]).resize(512, 512, sdrs::Resample::Lanczos)?;
/// # Ok(())
/// # }
/// ```
///
/// A side has 1 to 65,535 pixels, and a picture 134 million (2^27) at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    rgba: Vec<u8>,
    notes: Vec<String>,
}

impl Picture {
    /// From rows of red, green and blue, a byte each, from the top, without padding.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if a side is out of range, or the size and the number of bytes disagree.
    pub fn from_rgb(width: u32, height: u32, rgb: &[u8]) -> Result<Self> {
        size::check(width, height, rgb.len(), 3)?;
        let pixels = rgb.as_chunks::<3>().0;
        let rgba = pixels.iter().flat_map(|&[r, g, b]| [r, g, b, 255]).collect();
        Ok(Self::of(width, height, rgba))
    }

    /// From rows of red, green, blue and alpha, which is not multiplied in.
    ///
    /// # Errors
    /// Those of [`from_rgb`](Self::from_rgb).
    pub fn from_rgba(width: u32, height: u32, rgba: Vec<u8>) -> Result<Self> {
        size::check(width, height, rgba.len(), 4)?;
        Ok(Self::of(width, height, rgba))
    }

    /// From rows of a byte a pixel.
    ///
    /// # Errors
    /// Those of [`from_rgb`](Self::from_rgb).
    pub fn from_gray(width: u32, height: u32, gray: &[u8]) -> Result<Self> {
        size::check(width, height, gray.len(), 1)?;
        let rgba = gray.iter().flat_map(|&v| [v, v, v, 255]).collect();
        Ok(Self::of(width, height, rgba))
    }

    /// From what is known to fit.
    fn of(width: u32, height: u32, rgba: Vec<u8>) -> Self {
        debug_assert_eq!(rgba.len(), 4 * width as usize * height as usize);
        Self {
            width,
            height,
            rgba,
            notes: Vec::new(),
        }
    }

    /// Reads a PNG, JPEG, WebP, BMP or GIF file: any depth, palette or number of channels.
    ///
    /// What it takes to make 8-bit sRGB of it is done, and what may surprise is told in [`notes`](Self::notes):
    /// - A picture is turned as its EXIF data say.
    /// - Colours are converted from an RGB profile (ICC) to sRGB; from no other one. CMYK becomes RGB without a profile.
    /// - Of 16 bits the upper 8 are taken, as Pillow does.
    /// - Of an animation the first frame is taken.
    ///
    /// # Errors
    /// [`Error::Core`] if it can't be read; [`Error::InvalidFile`] if it is no such picture, cut short or damaged, or if its size is out of
    /// range, which is known before anything is allocated.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = reading::bytes(path)?;
        Self::read(&bytes).map_err(|reason| Error::InvalidFile {
            path: path.display().to_string(),
            reason,
        })
    }

    /// The same of a file's bytes.
    ///
    /// # Errors
    /// [`Error::InvalidFile`], as [`open`](Self::open) gives it.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        Self::read(bytes).map_err(|reason| Error::InvalidFile {
            path: "the picture's data".into(),
            reason,
        })
    }

    fn read(bytes: &[u8]) -> std::result::Result<Self, String> {
        let reading::Read {
            width,
            height,
            rgba,
            notes,
        } = reading::read(bytes)?;
        Ok(Self {
            notes,
            ..Self::of(width, height, rgba)
        })
    }

    /// Pixels of a row.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Red, green, blue and alpha of each pixel, row by row from the top.
    pub fn rgba(&self) -> &[u8] {
        &self.rgba
    }

    /// Red, green and blue of each pixel, row by row from the top, whatever its alpha.
    pub fn rgb(&self) -> Vec<u8> {
        self.pixels().iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect()
    }

    /// Sentences on what reading did to the file's picture beyond showing it.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    fn pixels(&self) -> &[[u8; 4]] {
        self.rgba.as_chunks().0
    }

    fn size(&self) -> [usize; 2] {
        [self.width as usize, self.height as usize]
    }

    /// A picture of the same size and notes.
    fn with(&self, rgba: Vec<u8>) -> Self {
        Self {
            notes: self.notes.clone(),
            ..Self::of(self.width, self.height, rgba)
        }
    }

    /// The same picture with every pixel changed.
    fn mapped(&self, change: impl Fn([u8; 4]) -> [u8; 4] + Sync) -> Self {
        let mut out = self.clone();
        let pixels = out.rgba.as_chunks_mut::<4>().0;
        pixels
            .par_iter_mut()
            .with_min_len(4096)
            .for_each(|p| *p = change(*p));
        out
    }

    /// Another size, as Pillow's `Image.resize` gives it: colours are multiplied by alpha first and divided by it afterwards, but for
    /// [`Resample::Nearest`].
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if a side is 0 or the picture would be too large.
    pub fn resize(&self, width: u32, height: u32, filter: Resample) -> Result<Self> {
        let to = size::checked(width, height)?;
        let resized = |rgba: &[u8]| Self {
            notes: self.notes.clone(),
            ..Self::of(width, height, resize::<4>(rgba, self.size(), to, filter))
        };
        if filter == Resample::Nearest || self.size() == to || self.opaque() {
            return Ok(resized(&self.rgba));
        }
        Ok(resized(&self.mapped(premultiplied).rgba).mapped(straight))
    }

    /// A rectangle of it, its upper left corner at `x`, `y`.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if it is empty or reaches over an edge.
    pub fn crop(&self, x: u32, y: u32, width: u32, height: u32) -> Result<Self> {
        let rgba = size::crop::<4>(&self.rgba, [self.width, self.height], [x, y, width, height])?;
        Ok(Self {
            notes: self.notes.clone(),
            ..Self::of(width, height, rgba)
        })
    }

    /// Whether no pixel is transparent.
    pub fn opaque(&self) -> bool {
        self.pixels().iter().all(|pixel| pixel[3] == 255)
    }

    /// The picture over one colour, opaque.
    pub fn flatten(&self, background: [u8; 3]) -> Self {
        let [r, g, b] = background;
        self.mapped(|pixel| {
            let over = |under: u8, over: u8| blended(pixel[3], under, over);
            [over(r, pixel[0]), over(g, pixel[1]), over(b, pixel[2]), 255]
        })
    }

    /// Its luma (ITU-R 601-2), as Pillow's mode `L` has it, whatever its alpha.
    pub fn grey(&self) -> Plane {
        let values = self.pixels().iter().map(|pixel| pixels::grey(*pixel)).collect();
        Plane::of(self.width, self.height, values)
    }

    /// Its alpha: 255 is opaque.
    pub fn alpha(&self) -> Plane {
        let values = self.pixels().iter().map(|pixel| pixel[3]).collect();
        Plane::of(self.width, self.height, values)
    }

    /// With this alpha instead of its own.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if the sizes differ.
    pub fn with_alpha(&self, alpha: &Plane) -> Result<Self> {
        self.same_size("alpha", alpha)?;
        let pixels = self.pixels().iter().zip(alpha.values());
        Ok(self.with(pixels.flat_map(|(&[r, g, b, _], &a)| [r, g, b, a]).collect()))
    }

    /// The picture with what the mask covers (255) filled from its surroundings, opaque: the WebUI's masked content "fill". What is around is
    /// blurred ever less, and each blur laid over those before it.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if the mask has another size.
    pub fn fill(&self, mask: &Plane) -> Result<Self> {
        const BLURS: [(f64, usize); 6] = [(256.0, 1), (64.0, 1), (16.0, 2), (4.0, 4), (2.0, 2), (0.0, 1)];
        self.same_size("mask", mask)?;
        let pixels = self.pixels().iter().zip(mask.values());
        let around: Vec<u8> = pixels
            .flat_map(|(pixel, mask)| premultiplied(*pixel).map(|v| blended(255 - mask, 0, v)))
            .collect();
        let mut out = vec![[0; 4]; mask.values().len()];
        for (radius, times) in BLURS {
            let mut blurred = around.clone();
            if radius > 0.0 {
                blur::gaussian::<4>(&mut blurred, self.width as usize, radius);
            }
            let pixels = out.par_iter_mut().zip(blurred.as_chunks::<4>().0);
            pixels.for_each(|(out, pixel)| {
                let over = straight(*pixel);
                (0..times).for_each(|_| *out = composite(*out, over));
            });
        }
        Ok(self.with(out.iter().flat_map(|&[r, g, b, _]| [r, g, b, 255]).collect()))
    }

    fn same_size(&self, name: &'static str, plane: &Plane) -> Result<()> {
        let (own, other) = ([self.width, self.height], [plane.width(), plane.height()]);
        match own == other {
            true => Ok(()),
            false => Err(Error::parameter(
                name,
                format!(
                    "it has {}x{} pixels, the picture {}x{}; resize one of them",
                    other[0], other[1], own[0], own[1]
                ),
            )),
        }
    }
}

impl From<&crate::Image> for Picture {
    fn from(image: &crate::Image) -> Self {
        let rgba = image.rgb.as_chunks::<3>().0.iter();
        Self::of(
            image.width,
            image.height,
            rgba.flat_map(|&[r, g, b]| [r, g, b, 255]).collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use goldens::Refs;

    use super::*;

    fn arithmetic() -> (Refs, Picture) {
        let refs = Refs::open("pictures/arithmetic.safetensors");
        let shape = refs.shape("rgba");
        let picture = Picture::from_rgba(shape[1] as u32, shape[0] as u32, refs.u8s("rgba")).unwrap();
        (refs, picture)
    }

    #[test]
    fn operations_are_pillows() {
        let (refs, picture) = arithmetic();
        let mut seen = 0;
        for name in refs.names() {
            let Some(case) = name.strip_prefix("resize.alpha.") else {
                continue;
            };
            let filter = Resample::ALL
                .into_iter()
                .find(|f| case.starts_with(f.name()))
                .unwrap();
            let shape = refs.shape(&name);
            let got = picture.resize(shape[1] as u32, shape[0] as u32, filter).unwrap();
            assert!(got.rgba() == refs.u8s(&name), "{name}");
            seen += 1;
        }
        assert_eq!(seen, 18);
        assert_eq!(picture.grey().values(), refs.u8s("grey_of"));
        assert_eq!(picture.flatten([200, 30, 90]).rgb(), refs.u8s("flattened"));
        let (width, height) = (picture.width(), picture.height());
        let mask = Plane::new(width, height, refs.u8s("mask")).unwrap();
        assert_eq!(picture.fill(&mask).unwrap().rgb(), refs.u8s("filled"));
        assert_eq!(mask.mask_blur(2.0).unwrap().values(), refs.u8s("mask_blurred"));
    }

    #[test]
    fn sizes_are_checked() {
        let (_, picture) = arithmetic();
        let faults = [
            Picture::from_rgb(0, 1, &[]),
            Picture::from_rgb(2, 2, &[0; 11]),
            Picture::from_rgba(2, 2, vec![0; 12]),
            Picture::from_gray(65_536, 1, &[0; 65_536]),
            Picture::from_gray(65_535, 65_535, &[]),
            picture.resize(0, 5, Resample::Box),
            picture.resize(60_000, 60_000, Resample::Box),
            picture.crop(1, 0, picture.width(), 1),
            picture.crop(u32::MAX, 0, 2, 1),
            picture.crop(0, 0, 0, 1),
            picture.with_alpha(&Plane::new(1, 1, vec![0]).unwrap()),
            picture.fill(&Plane::new(1, 1, vec![0]).unwrap()),
        ];
        for fault in faults {
            assert_eq!(fault.unwrap_err().code(), crate::ErrorCode::InvalidParameter);
        }
        let one = Picture::from_gray(1, 1, &[7]).unwrap();
        for filter in Resample::ALL {
            assert!(one.resize(3, 2, filter).unwrap().rgb().iter().all(|v| *v == 7));
        }
        let mask = Plane::new(1, 1, vec![200]).unwrap();
        for plane in [mask.gaussian_blur(3.0), mask.box_blur(0.5), mask.mask_blur(9.0)] {
            assert_eq!(plane.unwrap().values(), [200]);
        }
        for fault in [
            mask.gaussian_blur(-1.0),
            mask.box_blur(f64::NAN),
            mask.gaussian_kernel([2, 1], 1.0),
            mask.gaussian_kernel([3, 1], 0.0),
            mask.mask_blur(1e9),
        ] {
            assert!(fault.is_err());
        }
    }
}
