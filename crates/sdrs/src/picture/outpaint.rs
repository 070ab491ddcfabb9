use super::Picture;
use crate::{Error, Result};

impl Picture {
    /// The picture with more canvas around it, on which its edges are repeated, and a mask over that canvas: to be drawn beyond its edges. Sides
    /// of the result should be multiples of 8.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), sdrs::Error> {
    /// # let pipeline = sdrs::Pipeline::builder().checkpoint("v1-5.safetensors").build()?;
    /// let (wide, mask) = sdrs::Picture::open("photo.png")?.outpaint([128, 0, 128, 0])?;
    /// let request = pipeline.txt2img("a wide beach").image(wide).mask(mask).strength(1.0);
    /// request.masked_content(sdrs::MaskedContent::Fill).run()?.images[0].save_png("wide.png")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// `margins` are the pixels to the left, above, to the right and below.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if all margins are 0, or the picture would be too large.
    pub fn outpaint(&self, margins: [u32; 4]) -> Result<(Self, Self)> {
        let [left, top, right, bottom] = margins;
        if margins == [0; 4] {
            return Err(Error::parameter("margins", "are all 0: there is nothing to draw"));
        }
        let [width, height] = [self.width(), self.height()];
        let side = |own: u32, before: u32, after: u32| own.saturating_add(before).saturating_add(after);
        let (w, h) = (side(width, left, right), side(height, top, bottom));
        // Checked before anything is allocated.
        super::size::checked(w, h)?;
        let inside = |at: u32, before: u32, own: u32| at.checked_sub(before).is_some_and(|at| at < own);
        let source = self.rgba().as_chunks::<4>().0;
        let (mut rgba, mut mask) = (Vec::new(), Vec::new());
        for y in 0..h {
            let row = y.saturating_sub(top).min(height - 1);
            for x in 0..w {
                let column = x.saturating_sub(left).min(width - 1);
                rgba.extend(source[row as usize * width as usize + column as usize]);
                let kept = inside(x, left, width) && inside(y, top, height);
                mask.push(if kept { 0 } else { 255 });
            }
        }
        Ok((Self::from_rgba(w, h, rgba)?, Self::from_gray(w, h, &mask)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_repeated_under_the_mask() {
        let picture = Picture::from_gray(2, 2, &[10, 20, 30, 40]).unwrap();
        let (wide, mask) = picture.outpaint([1, 0, 2, 1]).unwrap();
        assert_eq!((wide.width(), wide.height()), (5, 3));
        assert_eq!(
            wide.grey().values(),
            [10, 10, 20, 20, 20, 30, 30, 40, 40, 40, 30, 30, 40, 40, 40]
        );
        assert_eq!(
            mask.grey().values(),
            [255, 0, 0, 255, 255, 255, 0, 0, 255, 255, 255, 255, 255, 255, 255]
        );
        assert!(picture.outpaint([0; 4]).is_err());
        assert!(picture.outpaint([u32::MAX, 1, 1, 1]).is_err());
    }
}
