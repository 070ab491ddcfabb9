//! The second pass: its size, and the way to it.

use super::canvas::planes;
use crate::{
    Error, GenerateParams, HiresParams, Interpolation, Picture, Resample, Result,
    model::{Model, Runtime},
    params::MAX_SIDE,
    picture::{interpolate, rgb_of_planes},
};

/// The second pass's size: that which is drawn, and that which the first pass's latents are enlarged to. What is beyond is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Enlargement {
    pub size: [u32; 2],
    to: [u32; 2],
    upscaler: Upscaler,
}

/// The way in which pictures are enlarged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upscaler {
    Latent(Interpolation),
    Picture(Resample),
}

/// The upscalers by their names in the WebUI.
const UPSCALERS: [(&str, Upscaler); 9] = [
    ("Latent", Upscaler::Latent(Interpolation::Bilinear)),
    (
        "Latent (antialiased)",
        Upscaler::Latent(Interpolation::BilinearAntialiased),
    ),
    ("Latent (bicubic)", Upscaler::Latent(Interpolation::Bicubic)),
    (
        "Latent (bicubic antialiased)",
        Upscaler::Latent(Interpolation::BicubicAntialiased),
    ),
    ("Latent (nearest)", Upscaler::Latent(Interpolation::Nearest)),
    (
        "Latent (nearest-exact)",
        Upscaler::Latent(Interpolation::NearestExact),
    ),
    ("None", Upscaler::Picture(Resample::Lanczos)),
    ("Lanczos", Upscaler::Picture(Resample::Lanczos)),
    ("Nearest", Upscaler::Picture(Resample::Nearest)),
];

impl Enlargement {
    /// The enlargement that the parameters ask for from a first pass of this size, in pixels of which `downscale` are a latent.
    pub fn new(params: &HiresParams, first: [u32; 2], downscale: u32) -> Result<Option<Self>> {
        let [w, h] = first.map(u64::from);
        let given = [params.hires_width, params.hires_height].map(|side| side.map(u64::from));
        let (to, size) = match (given, params.hires_scale) {
            ([None, None], None) => return Ok(None),
            ([None, None], Some(scale)) => {
                let to = [w, h].map(|side| (side as f64 * scale) as u64);
                (to, to)
            }
            ([Some(width), None], _) => ([width, width * h / w], [width, width * h / w]),
            ([None, Some(height)], _) => ([height * w / h, height], [height * w / h, height]),
            ([Some(width), Some(height)], _) => match w * height < width * h {
                true => ([width, width * h / w], [width, height]),
                false => ([height * w / h, height], [width, height]),
            },
        };
        let name = match given {
            [Some(_), _] => "hires_width",
            [_, Some(_)] => "hires_height",
            _ => "hires_scale",
        };
        let whole = |side: u64| {
            let side = side / u64::from(downscale) * u64::from(downscale);
            match u32::try_from(side).is_ok_and(|side| (downscale..=MAX_SIDE).contains(&side)) {
                true => Ok(side as u32),
                false => Err(Error::parameter(
                    name,
                    format!("gives a side of {side} pixels; sides are {downscale} to {MAX_SIDE}"),
                )),
            }
        };
        let pair = |[a, b]: [u64; 2]| -> Result<[u32; 2]> { Ok([whole(a)?, whole(b)?]) };
        let upscaler = UPSCALERS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(&params.hires_upscaler));
        let Some((_, upscaler)) = upscaler else {
            let names: Vec<&str> = UPSCALERS.iter().map(|(name, _)| *name).collect();
            let name: String = params.hires_upscaler.chars().take(80).collect();
            return Err(Error::UnknownName(format!(
                "unknown hires_upscaler '{name}'; known are {}",
                names.join(", ")
            )));
        };
        Ok(Some(Self {
            size: pair(size)?,
            to: pair(to)?,
            upscaler: *upscaler,
        }))
    }

    /// The latents that the second pass begins at, of `[1, c, h, w]`, from those of the first, which have this shape.
    pub fn enlarge(
        &self,
        latents: Vec<f32>,
        shape: [usize; 4],
        model: &Model,
        runtime: &Runtime,
    ) -> Result<Vec<f32>> {
        let f = model.vae.config().downscale();
        let [_, _, height, width] = shape;
        let [to_w, to_h] = self.to.map(|side| side as usize / f);
        let large = match self.upscaler {
            Upscaler::Latent(mode) => interpolate(&latents, [height, width], [to_h, to_w], mode),
            Upscaler::Picture(filter) => {
                let decoded = model.decode(latents, shape, runtime)?;
                let pixels = rgb_of_planes(&decoded);
                let picture = Picture::from_rgb((width * f) as u32, (height * f) as u32, &pixels)?;
                let large = picture.resize(self.to[0], self.to[1], filter)?;
                model
                    .encode(planes(&large), [1, 3, to_h * f, to_w * f], runtime)?
                    .mean
                    .values
            }
        };
        let [w, h] = self.size.map(|side| side as usize / f);
        let (left, top) = ((to_w - w) / 2, (to_h - h) / 2);
        let rows = large.chunks_exact(to_w).enumerate();
        let rows = rows.filter(|(y, _)| (top..top + h).contains(&(y % to_h)));
        Ok(rows.flat_map(|(_, row)| &row[left..left + w]).copied().collect())
    }
}

/// The first pass's parameters as the second pass has them.
pub(crate) fn second_pass(params: &GenerateParams) -> GenerateParams {
    let (mut second, hires) = (params.clone(), &params.hires);
    let sampling = &mut second.sampling;
    sampling.sampler = hires.hires_sampler.unwrap_or(sampling.sampler);
    sampling.schedule = hires.hires_schedule.unwrap_or(sampling.schedule);
    if hires.hires_steps > 0 {
        sampling.steps = hires.hires_steps;
    }
    second.guidance.cfg_scale = hires.hires_cfg_scale.unwrap_or(params.guidance.cfg_scale);
    for (text, own) in [
        (&mut second.text.prompt, &hires.hires_prompt),
        (&mut second.text.negative_prompt, &hires.hires_negative_prompt),
    ] {
        if !own.is_empty() {
            text.clone_from(own);
        }
    }
    second
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let sized = |scale: Option<f64>, width: Option<u32>, height: Option<u32>| {
            let params = HiresParams {
                hires_scale: scale,
                hires_width: width,
                hires_height: height,
                ..HiresParams::default()
            };
            Enlargement::new(&params, [512, 768], 8).map(|made| made.map(|e| (e.size, e.to)))
        };
        assert_eq!(sized(None, None, None).unwrap(), None);
        assert_eq!(
            sized(Some(2.0), None, None).unwrap(),
            Some(([1024, 1536], [1024, 1536]))
        );
        // int(512 * 1.3) is 665, of which 664 are whole latents.
        assert_eq!(
            sized(Some(1.3), None, None).unwrap(),
            Some(([664, 992], [664, 992]))
        );
        assert_eq!(
            sized(None, Some(1024), None).unwrap(),
            Some(([1024, 1536], [1024, 1536]))
        );
        assert_eq!(
            sized(None, None, Some(1536)).unwrap(),
            Some(([1024, 1536], [1024, 1536]))
        );
        // Of what doesn't fit the middle stays.
        let square = Some(([1024, 1024], [1024, 1536]));
        assert_eq!(sized(None, Some(1024), Some(1024)).unwrap(), square);
        let error = sized(Some(16.0), Some(8), Some(1 << 20)).unwrap_err().to_string();
        assert!(error.starts_with("hires_width: gives a side of"), "{error}");
    }
}
