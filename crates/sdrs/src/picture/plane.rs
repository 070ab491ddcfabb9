use super::{
    blur,
    resize::{Resample, resize},
    size,
};
use crate::{Error, Result};

/// One channel of 8 bits: a grey picture, a mask, or the alpha of a [`Picture`](crate::Picture).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plane {
    width: u32,
    height: u32,
    values: Vec<u8>,
}

impl Plane {
    /// From rows of a byte a pixel, from the top, without padding.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if a side is 0 or the size and the number of bytes disagree.
    pub fn new(width: u32, height: u32, values: Vec<u8>) -> Result<Self> {
        size::check(width, height, values.len(), 1)?;
        Ok(Self::of(width, height, values))
    }

    /// From what is known to fit.
    pub(crate) fn of(width: u32, height: u32, values: Vec<u8>) -> Self {
        debug_assert_eq!(values.len(), width as usize * height as usize);
        Self {
            width,
            height,
            values,
        }
    }

    /// Pixels of a row.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Row by row from the top, 0 to 255.
    pub fn values(&self) -> &[u8] {
        &self.values
    }

    /// Row by row from the top, 0 to 255.
    pub fn into_values(self) -> Vec<u8> {
        self.values
    }

    fn size(&self) -> [usize; 2] {
        [self.width as usize, self.height as usize]
    }

    /// Another size, as Pillow's `Image.resize` of a grey picture gives it.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if a side is 0 or the picture would be too large.
    pub fn resize(&self, width: u32, height: u32, filter: Resample) -> Result<Self> {
        let to = size::checked(width, height)?;
        Ok(Self::of(
            width,
            height,
            resize::<1>(&self.values, self.size(), to, filter),
        ))
    }

    /// A rectangle of it, its upper left corner at `x`, `y`.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if it is empty or reaches over an edge.
    pub fn crop(&self, x: u32, y: u32, width: u32, height: u32) -> Result<Self> {
        let rows = size::crop::<1>(&self.values, [self.width, self.height], [x, y, width, height])?;
        Ok(Self::of(width, height, rows))
    }

    /// 255 minus each value.
    pub fn invert(&self) -> Self {
        Self::of(
            self.width,
            self.height,
            self.values.iter().map(|v| 255 - v).collect(),
        )
    }

    /// Pillow's `ImageFilter.GaussianBlur`: three passes of a box. `radius` is the standard deviation in pixels, 0 to 10,000.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if it is not in its range.
    pub fn gaussian_blur(&self, radius: f64) -> Result<Self> {
        let mut out = self.clone();
        blur::gaussian::<1>(&mut out.values, self.width as usize, size::radius(radius)?);
        Ok(out)
    }

    /// Pillow's `ImageFilter.BoxBlur`: the mean over `2 * radius + 1` pixels each way, `radius` from 0 to 10,000.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if it is not in its range.
    pub fn box_blur(&self, radius: f64) -> Result<Self> {
        let mut out = self.clone();
        blur::boxed::<1>(&mut out.values, self.width as usize, size::radius(radius)?);
        Ok(out)
    }

    /// OpenCV's `GaussianBlur` with a kernel of `[columns, rows]` and one `sigma` in pixels, edges mirrored (`BORDER_DEFAULT`).
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if a length of the kernel is even or over 65,535, or `sigma` is not above 0.
    pub fn gaussian_kernel(&self, kernel: [usize; 2], sigma: f64) -> Result<Self> {
        if let Some(length) = kernel.iter().find(|n| *n % 2 == 0 || **n > 65_535) {
            let reason = format!("{length}: a kernel's length is odd and at most 65,535");
            return Err(Error::parameter("kernel", reason));
        }
        if !(sigma > 0.0 && sigma.is_finite()) {
            let reason = format!("{sigma}: it must be above 0, in pixels");
            return Err(Error::parameter("sigma", reason));
        }
        let values = blur::opencv(&self.values, self.width as usize, kernel, sigma);
        Ok(Self::of(self.width, self.height, values))
    }

    /// The WebUI's mask blur: along the rows, rounded, then along the columns, by a kernel of `2 * int(2.5 * blur + 0.5) + 1` pixels whose
    /// sigma is `blur`, in pixels from 0 to 10,000; 0 changes nothing.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if it is not in its range.
    pub fn mask_blur(&self, blur: f64) -> Result<Self> {
        if size::radius(blur)? == 0.0 {
            return Ok(self.clone());
        }
        let kernel = 2 * (2.5 * blur + 0.5) as usize + 1;
        self.gaussian_kernel([kernel, 1], blur)?
            .gaussian_kernel([1, kernel], blur)
    }
}
