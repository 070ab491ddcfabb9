//! The pictures and latents that a run is given, and what the U-Net gets of them.

use sd_kernels::Axes;
use sd_sched::{Latent, rng::BatchNoise};

use super::{
    canvas::Canvas,
    region::{Region, blend},
};
use crate::{
    Array, EncodedImages, Error, GenerateParams, Interpolation, MaskedContent, Picture, ResizeMode, Result,
    model::{Model, Runtime, UnetExtra},
    picture::interpolate,
};

/// The pictures and latents of a request.
#[derive(Debug, Clone, Default)]
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

    /// The name of one that there is.
    pub fn first(&self) -> Option<&'static str> {
        let named = [
            ("image", self.image.is_some()),
            ("mask", self.mask.is_some()),
            ("depth", self.depth.is_some()),
            ("image_latents", self.latents.is_some()),
        ];
        named.iter().find(|(_, given)| *given).map(|(name, _)| *name)
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

    /// The sizes of the pictures that a run encodes, whose passes have these sizes.
    pub fn encoded_sizes(
        &self,
        params: &GenerateParams,
        passes: &[[u32; 2]],
        model: &Model,
    ) -> Vec<[u32; 2]> {
        let downscale = model.limits().downscale;
        let image = self.image.as_ref().map(|image| {
            let part = params.image.only_masked && self.mask.is_some();
            match params.image.resize_mode {
                ResizeMode::Latent if !part => {
                    [image.width(), image.height()].map(|side| (side / downscale * downscale).max(downscale))
                }
                _ => passes[0],
            }
        });
        let seen: &[[u32; 2]] = match model.unet_extra {
            UnetExtra::Inpaint => passes,
            UnetExtra::None | UnetExtra::Image | UnetExtra::Depth => &[],
        };
        seen.iter().copied().chain(image).collect()
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
        let f = model.vae.config().downscale();
        let canvas = Canvas::new(image, self.mask.as_ref(), params, (size, f as u32))?;
        let latent_size = [size[1], size[0]].map(|side| side as usize / f);
        let encoded = runtime.timed("encoded the picture", || {
            let sides = [canvas.picture.height(), canvas.picture.width()].map(|side| side as usize);
            encoded(
                canvas.planes(),
                sides,
                (latent_size, params.wrap()),
                model,
                runtime,
            )
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
                let masked = canvas.and_then(|canvas| Some((canvas, canvas.mask.as_ref()?)));
                let (planes, sides, mask) = match masked {
                    Some((canvas, mask)) => {
                        let covered = mask.values().iter().map(|v| f32::from(u8::from(*v > 127)));
                        let covered: Vec<f32> = covered.collect();
                        let mut planes = canvas.planes();
                        let values = planes.iter_mut().zip(covered.iter().cycle());
                        values.for_each(|(value, covered)| *value *= 1.0 - covered);
                        let sides = [mask.height(), mask.width()].map(|side| side as usize);
                        let mask = interpolate(&covered, sides, [height, width], Interpolation::Nearest);
                        (planes, sides, mask)
                    }
                    // Everything is masked, and grey.
                    None => {
                        let sides = [height * f, width * f];
                        (
                            vec![0.0; 3 * sides[0] * sides[1]],
                            sides,
                            vec![1.0; height * width],
                        )
                    }
                };
                let image = encoded(planes, sides, ([height, width], wrap), model, runtime)?;
                Ok(Some([mask, image.mean.values].concat()))
            }
            UnetExtra::Image => Ok(start.map(|start| {
                // Here the autoencoder's own latents are meant.
                let factor = 1.0 / model.vae.config().scaling_factor;
                Vec::lincomb(&[(factor, &start.encoded.mean.values)])
            })),
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

/// The latents of a picture's planes, which have these sides, stretched to a size where they have another.
fn encoded(
    planes: Vec<f32>,
    [h, w]: [usize; 2],
    ([height, width], wrap): ([usize; 2], Axes),
    model: &Model,
    runtime: &Runtime,
) -> Result<EncodedImages> {
    let mut encoded = model.encode_wrapped(planes, ([1, 3, h, w], wrap), runtime)?;
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
