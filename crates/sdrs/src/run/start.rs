//! The pictures and latents that a run is given, and what the U-Net gets of them.

use sd_kernels::Axes;
use sd_sched::{Latent, rng::BatchNoise};

use super::{
    canvas::{Canvas, planes},
    region::{Region, blend},
};
use crate::{
    Array, EncodedImages, Error, GenerateParams, Interpolation, MaskedContent, Picture, Result,
    model::{Model, Runtime, UnetExtra},
    picture::interpolate,
};

/// The pictures and latents of a request.
#[derive(Default)]
pub(super) struct Inputs {
    pub image: Option<Picture>,
    pub mask: Option<Picture>,
    pub depth: Option<Picture>,
    pub latents: Option<Array>,
}

/// The image that a run begins at.
pub(super) struct Start {
    encoded: EncodedImages,
    /// For each latent, all channels in turn.
    mask: Option<Vec<f32>>,
    /// The picture that was encoded; none of latents.
    pub canvas: Option<Canvas>,
}

impl Inputs {
    /// Whether the first pass begins at an image.
    pub fn has_start(&self) -> bool {
        self.image.is_some() || self.latents.is_some()
    }

    /// Sides that are not given are those of the picture, as far as latents allow, or of the latents.
    pub fn settle_size(&self, params: &mut GenerateParams, downscale: u32) {
        let sides = match (&self.image, &self.latents) {
            (Some(image), _) if !params.image.only_masked || self.mask.is_none() => {
                [image.width(), image.height()].map(|side| (side / downscale * downscale).max(downscale))
            }
            (None, Some(Array { shape, .. })) if shape.len() == 4 => [shape[3], shape[2]]
                .map(|side| u32::try_from(side).unwrap_or(u32::MAX).saturating_mul(downscale)),
            _ => return,
        };
        params.size.width.get_or_insert(sides[0]);
        params.size.height.get_or_insert(sides[1]);
    }

    /// Refuses what doesn't belong together, before any work.
    pub fn check(&self, model: &Model, params: &GenerateParams, hires: bool) -> Result<()> {
        if self.image.is_some() && self.latents.is_some() {
            return Err(Error::parameter(
                "latents",
                "a run begins at a picture or at latents, not at both",
            ));
        }
        if self.mask.is_some() && self.image.is_none() {
            return Err(Error::parameter(
                "mask",
                "covers a part of a picture: give an image with it",
            ));
        }
        if hires && model.unet_extra == UnetExtra::Image {
            let reason = "a hires pass can't follow on an edit by instruction; leave hires_scale out";
            return Err(Error::parameter("hires_scale", reason));
        }
        if hires && self.mask.is_some() {
            let reason = "a hires pass can't follow on a masked picture; leave hires_scale out";
            return Err(Error::parameter("hires_scale", reason));
        }
        if let Some(Array { shape, values }) = &self.latents {
            let [width, height] = [params.size.width, params.size.height].map(Option::unwrap_or_default);
            let f = model.limits().downscale;
            let expected = [
                1,
                model.vae.config().latent_channels,
                (height / f) as usize,
                (width / f) as usize,
            ];
            if *shape != expected || values.len() != expected.iter().product::<usize>() {
                let reason = format!("must have the shape {expected:?}, not {shape:?}");
                return Err(Error::parameter("latents", reason));
            }
            if !values.iter().all(|v| v.is_finite()) {
                return Err(Error::parameter("latents", "has values that are not finite"));
            }
        }
        match (model.unet_extra, &self.depth) {
            (UnetExtra::Depth, None) => Err(Error::parameter(
                "depth",
                format!(
                    "{} draws after a depth picture: give one, near is bright",
                    model.name
                ),
            )),
            (UnetExtra::Image, None) if self.image.is_none() => Err(Error::parameter(
                "image",
                format!("{} edits a picture by instruction: give one", model.name),
            )),
            (UnetExtra::Depth, Some(_)) | (_, None) => Ok(()),
            (_, Some(_)) => Err(Error::parameter(
                "depth",
                format!("{} takes no depth picture", model.name),
            )),
        }?;
        if self.image.is_some() || model.unet_extra == UnetExtra::Inpaint {
            model.vae.can_encode()?;
        }
        Ok(())
    }

    /// The image that a run of this size begins at, encoded.
    pub fn start(
        &self,
        params: &GenerateParams,
        size: [u32; 2],
        model: &Model,
        runtime: &Runtime,
    ) -> Result<Option<Start>> {
        if let Some(latents) = &self.latents {
            let zeros = vec![0.0; latents.values.len()];
            let shape = latents.shape.clone();
            return Ok(Some(Start {
                encoded: EncodedImages {
                    mean: latents.clone(),
                    std: Array { shape, values: zeros },
                },
                mask: None,
                canvas: None,
            }));
        }
        let Some(image) = &self.image else {
            return Ok(None);
        };
        let canvas = Canvas::new(image, self.mask.as_ref(), params, size)?;
        let f = model.vae.config().downscale();
        let latent_size = [size[1], size[0]].map(|side| side as usize / f);
        let encoded = runtime.timed("encoded the picture", || {
            encoded(&canvas.picture, (latent_size, params.wrap()), model, runtime)
        })?;
        let mask = canvas.latent_mask(latent_size, params.image.soft_mask)?;
        let mask = mask.map(|mask| mask.repeat(model.vae.config().latent_channels));
        Ok(Some(Start {
            encoded,
            mask,
            canvas: Some(canvas),
        }))
    }

    /// The channels that the U-Net takes behind those of the latents, at this size.
    pub fn concat(
        &self,
        start: Option<&Start>,
        (size, wrap): ([u32; 2], Axes),
        model: &Model,
        runtime: &Runtime,
    ) -> Result<Option<Vec<f32>>> {
        let f = model.vae.config().downscale();
        let [height, width] = [size[1], size[0]].map(|side| side as usize / f);
        match model.unet_extra {
            UnetExtra::None => Ok(None),
            UnetExtra::Inpaint => {
                let canvas = start.and_then(|start| start.canvas.as_ref());
                let n = (size[0] * size[1]) as usize;
                // Without a picture everything is masked, and grey.
                let (mut planes, mut mask) = (vec![0.0; 3 * n], vec![1.0; height * width]);
                if let Some(canvas) = canvas {
                    planes = canvas.planes();
                    if let Some(whole) = &canvas.mask {
                        let masked = |v: &u8| *v > 127;
                        let pixels = whole.values();
                        planes
                            .iter_mut()
                            .zip(pixels.iter().cycle())
                            .for_each(|(value, v)| {
                                if masked(v) {
                                    *value = 0.0;
                                }
                            });
                        // torch's interpolate takes the pixel at the beginning of each latent.
                        let row = |y: usize| (0..width).map(move |x| y * f * size[0] as usize + x * f);
                        mask = (0..height)
                            .flat_map(row)
                            .map(|at| f32::from(u8::from(masked(&pixels[at]))))
                            .collect();
                    } else {
                        planes.fill(0.0);
                    }
                }
                let shape = [1, 3, size[1] as usize, size[0] as usize];
                let image = model.encode_wrapped(planes, (shape, wrap), runtime)?;
                let image = image.mean.values;
                Ok(Some([mask, image].concat()))
            }
            UnetExtra::Image => {
                let Some(canvas) = start.and_then(|start| start.canvas.as_ref()) else {
                    return Ok(None);
                };
                let shape = [1, 3, size[1] as usize, size[0] as usize];
                let encoded = model.encode_wrapped(canvas.planes(), (shape, wrap), runtime)?;
                let encoded = encoded.mean.values;
                // Here the autoencoder's own latents are meant.
                let factor = 1.0 / model.vae.config().scaling_factor;
                Ok(Some(Vec::lincomb(&[(factor, &encoded)])))
            }
            UnetExtra::Depth => {
                let Some(depth) = &self.depth else {
                    return Ok(None);
                };
                let grey = depth.flatten([0; 3]).grey();
                let values: Vec<f32> = grey.values().iter().map(|v| f32::from(*v)).collect();
                let from = [grey.height() as usize, grey.width() as usize];
                let mut values = interpolate(&values, from, [height, width], Interpolation::Bicubic);
                let bounds = values
                    .iter()
                    .fold([f32::MAX, f32::MIN], |[min, max], v| [min.min(*v), max.max(*v)]);
                let range = (bounds[1] - bounds[0]).max(f32::MIN_POSITIVE);
                values
                    .iter_mut()
                    .for_each(|v| *v = 2.0 * (*v - bounds[0]) / range - 1.0);
                Ok(Some(values))
            }
        }
    }
}

/// A picture's latents, stretched to a size where they have another.
fn encoded(
    picture: &Picture,
    ([height, width], wrap): ([usize; 2], Axes),
    model: &Model,
    runtime: &Runtime,
) -> Result<EncodedImages> {
    let f = model.vae.config().downscale() as u32;
    let [w, h] = [picture.width(), picture.height()].map(|side| side / f * f);
    if w == 0 || h == 0 {
        let reason = format!(
            "is {}x{} pixels; a side has {f} at least",
            picture.width(),
            picture.height()
        );
        return Err(Error::parameter("image", reason));
    }
    let picture = picture.crop(0, 0, w, h)?;
    let shape = [1, 3, h as usize, w as usize];
    let mut encoded = model.encode_wrapped(planes(&picture), (shape, wrap), runtime)?;
    for array in [&mut encoded.mean, &mut encoded.std] {
        *array = array.interpolate([height, width], Interpolation::Bilinear)?;
    }
    Ok(encoded)
}

impl Start {
    /// The latents that a picture begins at, and the part of them that is drawn anew. `noise` is the picture's; `plain` the first noise of its
    /// seed, without variations.
    pub fn latents(
        &self,
        params: &GenerateParams,
        noise: &mut BatchNoise,
        plain: impl FnOnce() -> Result<Vec<f32>>,
    ) -> Result<(Vec<f32>, Option<Region>)> {
        let mut latents = self.encoded.mean.values.clone();
        if params.image.posterior_sample {
            let drawn = noise.next().swap_remove(0);
            let std = self.encoded.std.values.iter();
            latents
                .iter_mut()
                .zip(std.zip(&drawn))
                .for_each(|(x, (std, n))| *x += std * n);
        }
        let Some(mask) = &self.mask else {
            return Ok((latents, None));
        };
        match params.image.masked_content {
            MaskedContent::LatentNoise => latents = blend(&plain()?, mask, &latents),
            MaskedContent::LatentNothing => {
                latents = blend(&Vec::lincomb(&[(0.0, &latents)]), mask, &latents)
            }
            MaskedContent::Fill | MaskedContent::Original => {}
        }
        let region = Region {
            mask: mask.clone(),
            latents: latents.clone(),
            soft: params.image.soft_mask,
        };
        Ok((latents, Some(region)))
    }
}
