//! The networks one call at a time, on buffers of the host: for callers with a loop of their own.
//!
//! Latents are the U-Net's throughout: the autoencoder's own times its scaling factor, [`Pipeline::scaling_factor`]. Every array is
//! row-major `f32`, and its shape is checked before anything is computed.

use sd_core::models::UnetInput;
use sd_sched::ModelSampling;

use super::Pipeline;
use crate::{Array, EncodedImages, Error, ModelSizes, Result, model::values};

impl Pipeline {
    /// The sizes that this model's arrays have.
    pub fn sizes(&self) -> ModelSizes {
        self.model().sizes()
    }

    /// The model's noise levels, timesteps and prediction type.
    pub fn sampling(&self) -> &ModelSampling {
        &self.model().sampling
    }

    /// The factor from the autoencoder's own latents `z` to those of the U-Net: `latents = scaling_factor * z`. It stands in the VAE's
    /// configuration; for SD1 and SD2 it is 0.18215. [`vae_encode`](Self::vae_encode) multiplies by it, [`vae_decode`](Self::vae_decode)
    /// divides by it. Where the configuration has `latents_mean` and `latents_std` too (Playground v2.5), `latents = scaling_factor *
    /// (z - latents_mean) / latents_std`, by channel.
    pub fn scaling_factor(&self) -> f64 {
        self.model().vae.config().scaling_factor
    }

    /// One evaluation of the U-Net: its raw prediction, `[batch, latent_channels, h, w]`.
    ///
    /// `latents` is `[batch, unet_channels, h, w]`, scaled as the network wants it (`c_in` of [`ModelSampling::scalings`]), and behind its
    /// `latent_channels` what an inpainting, depth or editing model takes besides, which isn't scaled; `timesteps` has one number for each row; `context` is `[batch, tokens, context_width]`. `added` is the
    /// vector beside the timestep, `[batch, added_width]`, for the models that have one: SDXL's is a pooled text
    /// ([`pooled_prompt`](Self::pooled_prompt)) with sizes behind it ([`size_vector`](Self::size_vector)).
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if a shape is not as above, a buffer does not hold what its shape says, or `added` is missing, or given
    /// where the model takes none.
    pub fn unet(
        &self,
        (latents, shape): (&[f32], [usize; 4]),
        timesteps: &[f64],
        (context, context_shape): (&[f32], [usize; 3]),
        added: Option<(&[f32], [usize; 2])>,
    ) -> Result<Array> {
        self.call_unet((latents, shape), timesteps, (context, context_shape), added, None)
    }

    /// The same of a model that the scale of guidance is an input of (latent consistency models, Luo et al. 2023, arXiv:2310.04378): one call
    /// with `cfg_scale`, on all rows, is what two calls are with other models. What diffusers calls `timestep_cond` is made of it.
    /// [`unet`](Self::unet) calls such a model without a scale.
    ///
    /// # Errors
    /// As [`unet`](Self::unet), and [`Error::InvalidParameter`] if `cfg_scale` is not finite, or the model takes none.
    pub fn unet_guided(
        &self,
        latents: (&[f32], [usize; 4]),
        timesteps: &[f64],
        context: (&[f32], [usize; 3]),
        added: Option<(&[f32], [usize; 2])>,
        cfg_scale: f64,
    ) -> Result<Array> {
        if !cfg_scale.is_finite() {
            return Err(Error::parameter(
                "cfg_scale",
                format!("{cfg_scale} is not finite"),
            ));
        }
        let guidance = self.model().guidance_embedding(cfg_scale).ok_or_else(|| {
            let reason = "this model's U-Net takes no scale of guidance: call it with the prompt and with the negative prompt";
            Error::parameter("cfg_scale", reason)
        })?;
        self.call_unet(latents, timesteps, context, added, Some(guidance))
    }

    fn call_unet(
        &self,
        (latents, shape): (&[f32], [usize; 4]),
        timesteps: &[f64],
        (context, context_shape): (&[f32], [usize; 3]),
        added: Option<(&[f32], [usize; 2])>,
        guidance: Option<Vec<f32>>,
    ) -> Result<Array> {
        let sizes = self.sizes();
        let [batch, channels, ..] = shape;
        filled("latents", latents, &shape)?;
        expect("latents", &shape, channels == sizes.unet_channels, || {
            format!("[batch, {}, height, width]", sizes.unet_channels)
        })?;
        expect("timesteps", &[timesteps.len()], timesteps.len() == batch, || {
            format!("[{batch}], one for each row of latents")
        })?;
        if let Some(t) = timesteps.iter().find(|t| !t.is_finite()) {
            return Err(Error::parameter("timesteps", format!("{t} is not finite")));
        }
        filled("context", context, &context_shape)?;
        let [rows, _, width] = context_shape;
        let fits = rows == batch && width == sizes.context_width;
        expect("context", &context_shape, fits, || {
            format!("[{batch}, tokens, {}]", sizes.context_width)
        })?;
        self.check_added(added, batch)?;
        self.runtime().compute(|| {
            let latents = self.model().tensor(latents.to_vec(), shape);
            let context = self.model().tensor(context.to_vec(), context_shape);
            let input = UnetInput {
                added: added.map(|(added, shape)| self.model().tensor(added.to_vec(), shape)),
                guidance: guidance.map(|row| self.model().tensor(row.repeat(batch), [batch, row.len()])),
                ..UnetInput::new(latents, timesteps, context)
            };
            let output = self.model().unet.forward(&input)?;
            Ok(Array {
                shape: output.dims().to_vec(),
                values: values(output)?,
            })
        })
    }

    /// Checks the vector beside the timestep, whose rows are `batch`.
    fn check_added(&self, added: Option<(&[f32], [usize; 2])>, batch: usize) -> Result<()> {
        let width = self.sizes().added_width;
        match added {
            None if width == 0 => Ok(()),
            None => {
                let reason = format!(
                    "this model's U-Net takes a vector of {width} values beside the timestep, a pooled text and sizes: give it, \
                     [{batch}, {width}]"
                );
                Err(Error::parameter("added", reason))
            }
            Some(_) if width == 0 => {
                let reason = "this model's U-Net takes no vector beside the timestep: leave it out";
                Err(Error::parameter("added", reason))
            }
            Some((added, shape)) => {
                filled("added", added, &shape)?;
                expect("added", &shape, shape == [batch, width], || {
                    format!("[{batch}, {width}]")
                })
            }
        }
    }

    /// The part of the vector beside the timestep that stands behind the pooled text: 256 sinusoids of each number, cosines first (Podell
    /// et al. 2023, arXiv:2307.01952). SDXL has 6 numbers, in pixels: original height and width, the crop's top and left edge, target
    /// height and width; its refiner 5: the aesthetic score stands in place of the target size.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if the model has another number of them, or none, or one is not finite.
    pub fn size_vector(&self, sizes: &[f64]) -> Result<Array> {
        let Some(numbers) = self.model().added_numbers() else {
            let reason = "this model's U-Net takes no sizes; SDXL's does";
            return Err(Error::parameter("sizes", reason));
        };
        if sizes.len() != numbers.count() {
            let reason = format!(
                "must be {} numbers, {}, not {}",
                numbers.count(),
                numbers.words(),
                sizes.len()
            );
            return Err(Error::parameter("sizes", reason));
        }
        if let Some(size) = sizes.iter().find(|size| !size.is_finite()) {
            return Err(Error::parameter("sizes", format!("{size} is not finite")));
        }
        let values = self.model().sinusoids(sizes);
        Ok(Array {
            shape: vec![values.len()],
            values,
        })
    }

    /// Encodes pictures, `[batch, 3, height, width]` with values -1 to 1 (`byte / 127.5 - 1`), sides multiples of `downscale`, to latents of
    /// the U-Net: mean and standard deviation are the autoencoder's own times [`scaling_factor`](Self::scaling_factor), which diffusers
    /// calls `vae.encode(images).latent_dist.mean * vae.config.scaling_factor`.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if the shape is not as above, the buffer does not hold what it says, or a value is far beyond -1 to 1,
    /// as a byte would be; [`Error::Core`] if the VAE has no encoder.
    pub fn vae_encode(&self, images: &[f32], shape: [usize; 4]) -> Result<EncodedImages> {
        let (config, f) = (self.model().vae.config(), self.sizes().downscale);
        let [_, channels, height, width] = shape;
        filled("images", images, &shape)?;
        let fits = channels == config.in_channels && height.is_multiple_of(f) && width.is_multiple_of(f);
        expect("images", &shape, fits, || {
            format!(
                "[batch, {}, height, width], sides multiples of {f}",
                config.in_channels
            )
        })?;
        // What decoders and resampling put beyond -1 to 1 is fine; bytes are not.
        let range = -PICTURE_MAX..=PICTURE_MAX;
        if let Some(value) = images.iter().find(|value| !range.contains(*value)) {
            let reason = format!("values must be -1 to 1, not {value}; bytes are divided by 127.5, less 1");
            return Err(Error::parameter("images", reason));
        }
        self.model().encode(images.to_vec(), shape, self.runtime())
    }

    /// Decodes latents of the U-Net, `[batch, latent_channels, h, w]`, to pictures `[batch, 3, downscale h, downscale w]` with values -1 to
    /// 1, or a little beyond. The autoencoder is given the latents divided by [`scaling_factor`](Self::scaling_factor), which diffusers
    /// calls `vae.decode(latents / vae.config.scaling_factor)`.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if the shape is not as above, or the buffer does not hold what it says; [`Error::Core`] if the VAE has
    /// no decoder.
    pub fn vae_decode(&self, latents: &[f32], shape: [usize; 4]) -> Result<Array> {
        let sizes = self.sizes();
        let [batch, channels, height, width] = shape;
        filled("latents", latents, &shape)?;
        expect("latents", &shape, channels == sizes.latent_channels, || {
            format!("[batch, {}, height, width]", sizes.latent_channels)
        })?;
        let shape_out = vec![
            batch,
            self.model().vae.config().out_channels,
            height * sizes.downscale,
            width * sizes.downscale,
        ];
        Ok(Array {
            shape: shape_out,
            values: self.model().decode(latents.to_vec(), shape, self.runtime())?,
        })
    }
}

/// No picture has a value beyond it.
const PICTURE_MAX: f32 = 10.0;

/// Checks that the buffer has as many values as its shape, and at least one.
fn filled(name: &'static str, values: &[f32], shape: &[usize]) -> Result<()> {
    let volume = shape.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis));
    match volume {
        Some(0) => Err(Error::parameter(
            name,
            format!("the shape {shape:?} holds nothing"),
        )),
        Some(n) if n == values.len() => Ok(()),
        _ => {
            let reason = format!("{} values don't fill the shape {shape:?}", values.len());
            Err(Error::parameter(name, reason))
        }
    }
}

fn expect(name: &'static str, shape: &[usize], fits: bool, expected: impl Fn() -> String) -> Result<()> {
    match fits {
        true => Ok(()),
        false => Err(Error::parameter(
            name,
            format!("must have the shape {}, not {shape:?}", expected()),
        )),
    }
}
