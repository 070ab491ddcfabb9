//! A picture on its way into a run: fitted to the run's size, masked, and put together again afterwards. All by the WebUI's rules.

use crate::{
    Error, GenerateParams, Image, MaskedContent, Picture, Plane, Resample, ResizeMode, Result,
    picture::{composite, share_of},
};

/// The colour behind transparent pixels, as in the WebUI.
const BACKGROUND: [u8; 3] = [255; 3];

/// A picture at the size of a run.
pub(crate) struct Canvas {
    /// Without alpha; of another size only where its latents are stretched.
    pub picture: Picture,
    /// Its values are 255 where the picture is drawn anew.
    pub mask: Option<Plane>,
    overlay: Option<Overlay>,
}

/// The original, laid over the result where it stays.
struct Overlay {
    original: Picture,
    /// 255 where it is drawn anew.
    mask: Plane,
    /// Left, top, width and height of the part that was drawn, if it is not the whole.
    part: Option<[u32; 4]>,
}

impl Canvas {
    /// `image`, fitted to `size` as the parameters say, with its `mask`; `downscale` pixels are a latent.
    pub fn new(
        image: &Picture,
        mask: Option<&Picture>,
        params: &GenerateParams,
        (size, downscale): ([u32; 2], u32),
    ) -> Result<Self> {
        let settings = &params.image;
        let image = image.flatten(BACKGROUND);
        let (mode, sides) = (settings.resize_mode, [image.width(), image.height()]);
        // Where latents are stretched, whole ones are taken.
        let whole = sides.map(|side| side / downscale * downscale);
        let too_small = mode == ResizeMode::Latent && whole.contains(&0);
        if too_small && !(settings.only_masked && mask.is_some()) {
            let [w, h] = sides;
            let reason = format!("is {w}x{h} pixels; a side has {downscale} at least");
            return Err(Error::parameter("image", reason));
        }
        let fitted = |image: &Picture| match mode {
            ResizeMode::Latent => image.crop(0, 0, whole[0], whole[1]),
            mode => fit(image, size, mode),
        };
        let Some(mask) = mask else {
            let picture = fitted(&image)?;
            return Ok(Self {
                picture,
                mask: None,
                overlay: None,
            });
        };
        let masked = [mask.width(), mask.height()];
        if masked != sides {
            let [w, h] = sides;
            let reason = format!(
                "is {}x{} pixels, but the picture is {w}x{h}; give a mask of the same size",
                masked[0], masked[1]
            );
            return Err(Error::parameter("mask", reason));
        }
        let mut mask = plane(mask, !settings.soft_mask);
        if settings.mask_inverted {
            mask = mask.invert();
        }
        let mask = mask.mask_blur(settings.mask_blur as f64)?;
        let (mut picture, mask, overlay) = match settings.only_masked {
            true => {
                let Some(masked) = bounds(&mask) else {
                    let reason = "covers nothing, so that there is nothing to draw with only_masked";
                    return Err(Error::parameter("mask", reason));
                };
                let part = grown(padded(masked, settings.only_masked_padding, sides), size, sides);
                let [x, y, width, height] = part;
                let inner = fit(&image.crop(x, y, width, height)?, size, ResizeMode::Fill)?;
                let inner_mask = fit_plane(&mask.crop(x, y, width, height)?, size, ResizeMode::Fill)?;
                let overlay = Overlay {
                    original: image,
                    mask,
                    part: Some(part),
                };
                (inner, inner_mask, overlay)
            }
            false => {
                let mask = match mode {
                    ResizeMode::Latent => mask.crop(0, 0, whole[0], whole[1])?,
                    mode => fit_plane(&mask, size, mode)?,
                };
                let picture = fitted(&image)?;
                // Half of what is drawn at an edge is kept in full (WebUI).
                let doubled = mask.values().iter().map(|v| v.saturating_mul(2)).collect();
                let overlay = Overlay {
                    original: picture.clone(),
                    mask: Plane::new(mask.width(), mask.height(), doubled)?,
                    part: None,
                };
                (picture, mask, overlay)
            }
        };
        if settings.masked_content != MaskedContent::Original {
            picture = picture.fill(&mask)?;
        }
        Ok(Self {
            picture,
            mask: Some(mask),
            // Latents of another size have no pixels of the original.
            overlay: (mode != ResizeMode::Latent || settings.only_masked).then_some(overlay),
        })
    }

    /// The picture's planes.
    pub fn planes(&self) -> Vec<f32> {
        planes(&self.picture)
    }

    /// The share of each latent of one channel that is drawn anew, 0 to 1: whole numbers unless the mask is soft.
    pub fn latent_mask(&self, [height, width]: [usize; 2], soft: bool) -> Result<Option<Vec<f32>>> {
        let Some(mask) = &self.mask else {
            return Ok(None);
        };
        let small = mask.resize(width as u32, height as u32, Resample::Bicubic)?;
        let share = |&v: &u8| match f32::from(v) / 255.0 {
            share if soft => share,
            share => share.round_ties_even(),
        };
        Ok(Some(small.values().iter().map(share).collect()))
    }

    /// The run's result in its place in the original, which stays to the bit where the mask does not cover it.
    pub fn restored(&self, drawn: Image) -> Result<Image> {
        let Some(Overlay { original, mask, part }) = &self.overlay else {
            return Ok(drawn);
        };
        let mut rgba = original.rgba().to_vec();
        let sides = [original.width(), original.height()];
        match *part {
            Some([x, y, width, height]) => {
                let inner = fit(&Picture::from(&drawn), [width, height], ResizeMode::Crop)?;
                paste(&mut rgba, sides, &inner, [x, y].map(i64::from));
            }
            None => paste(&mut rgba, sides, &Picture::from(&drawn), [0, 0]),
        }
        let places = rgba
            .as_chunks::<4>()
            .0
            .iter()
            .zip(original.rgba().as_chunks::<4>().0);
        let pixels = places.zip(mask.values());
        let pixels = pixels.flat_map(|((&under, &over), mask)| {
            let [r, g, b, _] = composite(under, share_of(over, 255 - mask));
            [r, g, b]
        });
        Ok(Image {
            rgb: pixels.collect(),
            width: sides[0],
            height: sides[1],
            ..drawn
        })
    }
}

/// A picture's planes, `[1, 3, h, w]` with values -1 to 1.
pub(crate) fn planes(picture: &Picture) -> Vec<f32> {
    let pixels = picture.rgba().as_chunks::<4>().0.iter();
    let plane = |c: usize| {
        pixels
            .clone()
            .map(move |pixel| f32::from(pixel[c]) / 255.0 * 2.0 - 1.0)
    };
    (0..3).flat_map(plane).collect()
}

/// Writes a picture over pixels of these sides, its upper left corner at a place that may lie outside.
fn paste(rgba: &mut [u8], [width, height]: [u32; 2], picture: &Picture, [x, y]: [i64; 2]) {
    let span = |at: i64, length: u32, side: u32| {
        at.clamp(0, side.into())..(at + i64::from(length)).clamp(0, side.into())
    };
    let (columns, rows) = (span(x, picture.width(), width), span(y, picture.height(), height));
    let n = 4 * (columns.end - columns.start) as usize;
    for row in rows {
        let to = 4 * (row as usize * width as usize + columns.start as usize);
        let from = 4 * ((row - y) as usize * picture.width() as usize + (columns.start - x) as usize);
        rgba[to..to + n].copy_from_slice(&picture.rgba()[from..from + n]);
    }
}

/// A picture as a mask: its transparency if it has some, else its greys.
fn plane(mask: &Picture, round: bool) -> Plane {
    if mask.opaque() {
        return mask.grey();
    }
    let alpha = mask.alpha();
    match round {
        false => alpha,
        true => {
            let values = alpha.values().iter().map(|v| if *v > 128 { 255 } else { 0 });
            let round = Plane::new(alpha.width(), alpha.height(), values.collect());
            round.unwrap_or(alpha.clone())
        }
    }
}

/// The smallest rectangle around what a mask covers: left, top, right and bottom.
fn bounds(mask: &Plane) -> Option<[u32; 4]> {
    let (mut found, mut bounds) = (false, [u32::MAX, u32::MAX, 0, 0]);
    for (y, row) in (0..).zip(mask.values().chunks_exact(mask.width() as usize)) {
        let Some(first) = row.iter().position(|v| *v > 0) else {
            continue;
        };
        let last = row.iter().rposition(|v| *v > 0).unwrap_or(first);
        let [left, top, right, _] = bounds;
        (found, bounds) = (
            true,
            [
                left.min(first as u32),
                top.min(y),
                right.max(last as u32 + 1),
                y + 1,
            ],
        );
    }
    found.then_some(bounds)
}

/// A rectangle with pixels around it, as far as there are any.
fn padded([left, top, right, bottom]: [u32; 4], padding: usize, [width, height]: [u32; 2]) -> [u32; 4] {
    let padding = padding as u32;
    [
        left.saturating_sub(padding),
        top.saturating_sub(padding),
        (right + padding).min(width),
        (bottom + padding).min(height),
    ]
}

/// A rectangle grown to the proportions of `size` within a picture, as left, top, width and height.
fn grown([left, top, right, bottom]: [u32; 4], size: [u32; 2], picture: [u32; 2]) -> [u32; 4] {
    let sides = [right - left, bottom - top].map(f64::from);
    let ratio = f64::from(size[0]) / f64::from(size[1]);
    let (mut x, mut y) = ([left, right], [top, bottom]);
    match sides[0] / sides[1] > ratio {
        true => y = widened(y, (sides[0] / ratio - sides[1]) as u32, picture[1]),
        false => x = widened(x, (sides[1] * ratio - sides[0]) as u32, picture[0]),
    }
    [x[0], y[0], x[1] - x[0], y[1] - y[0]]
}

/// A span made longer, half on each side, pushed back inside of `length` and cut off there.
fn widened([from, to]: [u32; 2], by: u32, length: u32) -> [u32; 2] {
    let (mut from, mut to) = (
        i64::from(from) - i64::from(by / 2),
        i64::from(to) + i64::from(by - by / 2),
    );
    let length = i64::from(length);
    let over = (to - length).max(0);
    (from, to) = (from - over, to - over);
    let under = (-from).max(0);
    [(from + under) as u32, (to + under).min(length) as u32]
}

fn fit_plane(mask: &Plane, size: [u32; 2], mode: ResizeMode) -> Result<Plane> {
    let grey = Picture::from_gray(mask.width(), mask.height(), mask.values())?;
    Ok(fit(&grey, size, mode)?.grey())
}

/// A picture at another size.
fn fit(image: &Picture, [width, height]: [u32; 2], mode: ResizeMode) -> Result<Picture> {
    let [w, h] = [image.width(), image.height()].map(u64::from);
    let [to_w, to_h] = [width, height].map(u64::from);
    // Whether the new picture is wider in proportion.
    let wider = to_w * h > w * to_h;
    let by_width = match mode {
        ResizeMode::Stretch | ResizeMode::Latent => return image.resize(width, height, Resample::Lanczos),
        ResizeMode::Crop => wider,
        ResizeMode::Fill => !wider,
    };
    let inner = match by_width {
        true => [width, ((h * to_w / w) as u32).max(1)],
        false => [((w * to_h / h) as u32).max(1), height],
    };
    let resized = image.resize(inner[0], inner[1], Resample::Lanczos)?;
    let mut rgba = [0, 0, 0, 255].repeat(width as usize * height as usize);
    let [x, y] = [0, 1].map(|axis| i64::from([width, height][axis] / 2) - i64::from(inner[axis] / 2));
    paste(&mut rgba, [width, height], &resized, [x, y]);
    if mode == ResizeMode::Fill {
        repeat_edges(&mut rgba, [width, height], &resized, [x, y])?;
    }
    Picture::from_rgba(width, height, rgba)
}

/// Continues a picture that stands in a larger one at a place to the edges, as a resampled edge of no width comes out in Pillow.
fn repeat_edges(rgba: &mut [u8], sides: [u32; 2], inner: &Picture, [x, y]: [i64; 2]) -> Result<()> {
    let [width, height] = [inner.width(), inner.height()];
    // The outermost line of pixels and the next one, by bicubic weights half a pixel outside.
    let line = |edge: [u32; 2], next: [u32; 2], size: [u32; 2]| -> Result<Picture> {
        let [edge, next] = [edge, next].map(|[x, y]| inner.crop(x, y, size[0], size[1]));
        let (edge, next) = (edge?, next?);
        let values = edge.rgba().iter().zip(next.rgba());
        let values = values.map(|(&edge, &next)| {
            (f32::from(edge) * 1.125 - f32::from(next) * 0.125)
                .round()
                .clamp(0.0, 255.0) as u8
        });
        Picture::from_rgba(size[0], size[1], values.collect())
    };
    let neighbours = |length: u32| [1.min(length - 1), length.saturating_sub(2)];
    let ([after_left, before_right], [after_top, before_bottom]) = (neighbours(width), neighbours(height));
    let top = line([0, 0], [0, after_top], [width, 1])?;
    let bottom = line([0, height - 1], [0, before_bottom], [width, 1])?;
    let left = line([0, 0], [after_left, 0], [1, height])?;
    let right = line([width - 1, 0], [before_right, 0], [1, height])?;
    let (end_x, end_y) = (x + i64::from(width), y + i64::from(height));
    (0..y).for_each(|row| paste(rgba, sides, &top, [x, row]));
    (end_y..sides[1].into()).for_each(|row| paste(rgba, sides, &bottom, [x, row]));
    (0..x).for_each(|column| paste(rgba, sides, &left, [column, y]));
    (end_x..sides[0].into()).for_each(|column| paste(rgba, sides, &right, [column, y]));
    Ok(())
}

#[cfg(test)]
mod tests {
    use goldens::Refs;

    use super::*;

    fn picture(refs: &Refs, name: &str) -> Picture {
        let (shape, values) = (refs.shape(name), refs.u8s(name));
        let [height, width] = [shape[0], shape[1]].map(|side| side as u32);
        match shape.len() {
            2 => Picture::from_gray(width, height, &values).unwrap(),
            _ => Picture::from_rgb(width, height, &values).unwrap(),
        }
    }

    /// Pillow's resizing under the WebUI's rules, edges of a filled picture included.
    #[test]
    fn pictures_are_fitted_as_by_the_webui() {
        let refs = Refs::open("tiny-sd1/refs/from_pictures.safetensors");
        let image = picture(&refs, "image");
        for (mode, name) in [
            (ResizeMode::Stretch, "stretch"),
            (ResizeMode::Crop, "crop"),
            (ResizeMode::Fill, "fill"),
        ] {
            for (size, suffix) in [([64, 48], ""), ([48, 96], ".tall")] {
                let expected = picture(&refs, &format!("fitted.{name}{suffix}"));
                let got = fit(&image, size, mode).unwrap();
                let pairs = got.rgb().into_iter().zip(expected.rgb());
                let worst = pairs.map(|(a, b)| a.abs_diff(b)).max();
                assert!(worst <= Some(1), "{name}{suffix}: {worst:?}");
            }
        }
        let mask = picture(&refs, "mask").grey().mask_blur(4.0).unwrap();
        let mask = fit_plane(&mask, [64, 48], ResizeMode::Stretch).unwrap();
        assert_eq!(mask.values(), picture(&refs, "mask.fitted").grey().values());
        let filled = fit(&image, [64, 48], ResizeMode::Stretch)
            .unwrap()
            .fill(&mask)
            .unwrap();
        assert_eq!(filled.rgb(), picture(&refs, "filled").rgb());
    }

    #[test]
    fn the_drawn_part_has_the_proportions_of_the_run() {
        let mask = |width: u32, height: u32, marked: [u32; 2]| {
            let mut values = vec![0; (width * height) as usize];
            values[(marked[1] * width + marked[0]) as usize] = 1;
            Plane::new(width, height, values).unwrap()
        };
        let bounds = bounds(&mask(100, 60, [99, 0])).unwrap();
        assert_eq!(bounds, [99, 0, 100, 1]);
        let padded = padded(bounds, 10, [100, 60]);
        assert_eq!(padded, [89, 0, 100, 11]);
        assert_eq!(grown(padded, [64, 64], [100, 60]), [89, 0, 11, 11]);
        assert_eq!(grown(padded, [128, 64], [100, 60]), [78, 0, 22, 11]);
        assert_eq!(grown(padded, [64, 128], [100, 60]), [89, 0, 11, 22]);
        // A picture that is too small for it gives what it has.
        assert_eq!(grown(padded, [64, 640], [100, 60]), [89, 0, 11, 60]);
        assert!(super::bounds(&Plane::new(2, 2, vec![0; 4]).unwrap()).is_none());
    }
}
