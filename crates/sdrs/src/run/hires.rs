//! The second pass: its size, and the way to it.

use std::sync::Arc;

use sd_kernels::Axes;

use super::canvas::planes;
use crate::{
    CancelToken, Error, GenerateParams, HiresParams, Interpolation, Picture, Result, Upscaler,
    model::{Model, Runtime},
    params::MAX_SIDE,
    picture::{interpolate, rgb_of_planes},
    upscale::means,
};

/// The second pass's size: that which is drawn, and that which the first pass's latents are enlarged to. What is beyond is cut off.
pub(crate) struct Enlargement {
    pub size: [u32; 2],
    to: [u32; 2],
    way: Way,
}

/// The way in which a pass's result is enlarged.
enum Way {
    Latent(Interpolation),
    Picture(Arc<Upscaler>),
}

/// The interpolations of latents by their names in the WebUI.
const LATENT: [(&str, Interpolation); 6] = [
    ("Latent", Interpolation::Bilinear),
    ("Latent (antialiased)", Interpolation::BilinearAntialiased),
    ("Latent (bicubic)", Interpolation::Bicubic),
    ("Latent (bicubic antialiased)", Interpolation::BicubicAntialiased),
    ("Latent (nearest)", Interpolation::Nearest),
    ("Latent (nearest-exact)", Interpolation::NearestExact),
];

impl Way {
    /// The way of a name: of an interpolation, of one of the pipeline's networks, or of a filter.
    fn named(name: &str, networks: &[Arc<Upscaler>]) -> Result<Self> {
        let is = |known: &str| known.eq_ignore_ascii_case(name.trim());
        if let Some((_, mode)) = LATENT.iter().find(|(known, _)| is(known)) {
            return Ok(Self::Latent(*mode));
        }
        if let Some(network) = networks.iter().find(|network| means(name, network.name())) {
            return Ok(Self::Picture(network.clone()));
        }
        Upscaler::from_name(name).map(|filter| Self::Picture(filter.into())).map_err(|_| {
            let latent = LATENT.iter().map(|(name, _)| *name);
            let known: Vec<&str> = latent
                .chain(["None", "Nearest", "Lanczos"])
                .chain(networks.iter().map(|network| network.name()))
                .collect();
            let name: String = name.chars().take(80).collect();
            Error::UnknownName(format!(
                "unknown hires_upscaler '{name}'; known are {}; give the pipeline a network's file with upscaler (--upscaler)",
                known.join(", ")
            ))
        })
    }
}

impl Enlargement {
    /// The enlargement that the parameters ask for from a first pass of this size, in pixels of which `downscale` are a latent.
    pub fn new(
        params: &HiresParams,
        first: [u32; 2],
        downscale: u32,
        networks: &[Arc<Upscaler>],
    ) -> Result<Option<Self>> {
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
        Ok(Some(Self {
            size: pair(size)?,
            to: pair(to)?,
            way: Way::named(&params.hires_upscaler, networks)?,
        }))
    }

    /// The size of the picture that is encoded on the way, if one is.
    pub fn encoded(&self) -> Option<[u32; 2]> {
        match self.way {
            Way::Latent(_) => None,
            Way::Picture(_) => Some(self.to),
        }
    }

    /// The latents that the second pass begins at, of `[1, c, h, w]`, from those of the first, which have this shape.
    pub fn enlarge(
        &self,
        latents: Vec<f32>,
        (shape, wrap): ([usize; 4], Axes),
        model: &Model,
        runtime: &Runtime,
        cancel: &CancelToken,
    ) -> Result<Vec<f32>> {
        let f = model.vae.config().downscale();
        let [_, _, height, width] = shape;
        let [to_w, to_h] = self.to.map(|side| side as usize / f);
        let large = match &self.way {
            Way::Latent(mode) => interpolate(&latents, [height, width], [to_h, to_w], *mode),
            Way::Picture(upscaler) => {
                let decoded = model.decode_wrapped(latents, shape, wrap, runtime)?;
                let pixels = rgb_of_planes(&decoded);
                let picture = Picture::from_rgb((width * f) as u32, (height * f) as u32, &pixels)?;
                let [width, height] = self.to;
                let large = upscaler
                    .upscale(&picture)
                    .size(width, height)
                    .cancel_token(cancel)
                    .run()?;
                model
                    .encode_wrapped(planes(&large), ([1, 3, to_h * f, to_w * f], wrap), runtime)?
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

impl HiresParams {
    /// Whether there is a second pass.
    pub(crate) fn asks_for_one(&self) -> bool {
        self.hires_scale.is_some() || self.hires_width.is_some() || self.hires_height.is_some()
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
    second.speed.token_merging = hires.hires_token_merging.unwrap_or(params.speed.token_merging);
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
            Enlargement::new(&params, [512, 768], 8, &[]).map(|made| made.map(|e| (e.size, e.to)))
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
