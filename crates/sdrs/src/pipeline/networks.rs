//! The networks one call at a time, on buffers of the host: for callers with a loop of their own.
//!
//! Latents are the U-Net's throughout: the autoencoder's own times its scaling factor, [`Pipeline::scaling_factor`]. Every array is
//! row-major `f32`, and its shape is checked before anything is computed.

use sd_core::models::UnetInput;
use sd_sched::{ModelSampling, Sampler};

use super::Pipeline;
use crate::{
    Array, EncodedImages, Error, GenerateParams, ModelSizes, Result,
    model::{TextEncoder, values},
    text::side_by_side,
};

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

    /// The token ids of a text, which is repaired first as a prompt's is: no start or end token, no padding, no limit.
    ///
    /// # Errors
    /// [`Error::Core`] if the tokenizer fails, which no text should make it do.
    pub fn tokenize(&self, text: &str) -> Result<Vec<u32>> {
        let tokens = self.model().text_encoder().tokenizer.encode_repaired(text)?;
        Ok(tokens.into_iter().map(|(id, _)| id).collect())
    }

    /// The same of a text as it is, as transformers' fast tokenizer gives them ([`TextParams::text_as_is`](crate::TextParams::text_as_is)).
    ///
    /// # Errors
    /// As [`tokenize`](Self::tokenize).
    pub fn tokenize_as_is(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.model().text_encoder().tokenizer.encode(text)?)
    }

    /// The context of a prompt for the U-Net, `[tokens, context_width]`, weights, embeddings and all, `context_length` tokens for
    /// every 75 of the prompt: what a run of one step computes of it. `clip_skip` is 1 for the text encoder's last layer.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for `clip_skip`, and for a `prompt` with an AND in it, which has several contexts, or with a LoRA's tag
    /// that the pipeline doesn't have.
    pub fn encode_prompt(&self, prompt: &str, clip_skip: usize) -> Result<Array> {
        let params = self.low_level_params(clip_skip)?;
        let mut encoded = self
            .components
            .condition(prompt, "", &params.reading(), &|| false)?;
        let width = encoded.width;
        match (encoded.conds.pop(), encoded.conds.pop()) {
            (Some((_, timeline)), None) => {
                let values = timeline.first().context;
                Ok(Array {
                    shape: vec![values.len() / width, width],
                    values,
                })
            }
            _ => Err(Error::parameter(
                "prompt",
                "AND joins several prompts, each with a context of its own; encode them one by one",
            )),
        }
    }

    /// The context of a text in which no character has a meaning of its own, `[context_length, context_width]`: what diffusers encodes.
    /// The text is tokenized as it is; tokens for which the encoder has no room are dropped. `clip_skip` is 1 for the text encoder's last layer.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for `clip_skip`.
    pub fn encode_text(&self, text: &str, clip_skip: usize) -> Result<Array> {
        let params = self.low_level_params(clip_skip)?;
        let reading = params.reading();
        let encoder = self.components.encoder(&reading, &|| false);
        let mut ids = self.tokenize_as_is(text)?;
        ids.truncate(self.model().chunk_length());
        let mut context = Vec::new();
        for (at, TextEncoder { tokenizer, .. }) in self.model().text_encoders.iter().enumerate() {
            let mut chunk = encoder.empty(at);
            let placed = ids.iter().copied().chain([tokenizer.end()]);
            chunk
                .tokens
                .iter_mut()
                .skip(1)
                .zip(placed)
                .for_each(|(to, id)| *to = id);
            let states = encoder.row(at, &chunk)?.states;
            context = match at {
                0 => states.to_vec(),
                _ => side_by_side(&context, &states, encoder.width(at)),
            };
        }
        let width = self.sizes().context_width;
        Ok(Array {
            shape: vec![context.len() / width, width],
            values: context,
        })
    }

    /// Parameters that read prompts as a run of one step does.
    fn low_level_params(&self, clip_skip: usize) -> Result<GenerateParams> {
        let layers = self.model().limits().layers;
        if !(1..=layers).contains(&clip_skip) {
            let reason = format!("must be 1 to {layers}, not {clip_skip}");
            return Err(Error::parameter("clip_skip", reason));
        }
        let mut params = GenerateParams::default();
        params.text.clip_skip = clip_skip;
        (params.sampling.steps, params.sampling.sampler) = (1, Sampler::Euler);
        Ok(params)
    }

    /// The context of token ids as they are, `[ids, context_width]`: the text encoder's hidden state, from the end the one that `clip_skip`
    /// counts (1 is the last), with the final norm. With `clip_skip` 1 it is what transformers calls `last_hidden_state`. Start and end
    /// token are the caller's.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for `clip_skip`, and unless there are 1 to `context_length` ids, each in the vocabulary.
    pub fn encode_ids(&self, ids: &[u32], clip_skip: usize) -> Result<Array> {
        self.check_ids(ids)?;
        self.low_level_params(clip_skip)?;
        let network = &self.model().text_encoder().network;
        self.runtime().compute(|| {
            let encoded = network.encode(&[ids.to_vec()], &[], clip_skip)?;
            Ok(Array {
                shape: vec![ids.len(), network.config().hidden_size],
                values: values(encoded.context)?,
            })
        })
    }

    /// Every hidden state of the text encoder for one row of token ids, without the final norm: `[text_layers + 1, ids, context_width]`,
    /// the embeddings first. With the final norm, [`encode_ids`](Self::encode_ids) gives them.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] unless there are 1 to `context_length` ids, each in the vocabulary.
    pub fn text_hidden_states(&self, ids: &[u32]) -> Result<Array> {
        self.check_ids(ids)?;
        let network = &self.model().text_encoder().network;
        self.runtime().compute(|| {
            let states = network.hidden_states(&[ids.to_vec()], &[])?;
            let shape = vec![states.len(), ids.len(), network.config().hidden_size];
            let mut all = Vec::with_capacity(shape.iter().product());
            for state in states {
                all.extend(values(state)?);
            }
            Ok(Array { shape, values: all })
        })
    }

    fn check_ids(&self, ids: &[u32]) -> Result<()> {
        let sizes = self.sizes();
        if !(1..=sizes.context_length).contains(&ids.len()) {
            let reason = format!("must be 1 to {}, not {}", sizes.context_length, ids.len());
            return Err(Error::parameter("ids", reason));
        }
        let mut numbered = ids.iter().enumerate();
        if let Some((at, id)) = numbered.find(|&(_, &id)| id as usize >= sizes.vocabulary) {
            let last = sizes.vocabulary - 1;
            let reason = format!("{id} at index {at} is no token: this model's are 0 to {last}");
            return Err(Error::parameter("ids", reason));
        }
        Ok(())
    }

    /// One evaluation of the U-Net: its raw prediction, of the latents' shape.
    ///
    /// `latents` is `[batch, latent_channels, h, w]`, scaled as the network wants it (`c_in` of
    /// [`ModelSampling::scalings`]); `timesteps` has one number for each row; `context` is `[batch, tokens, context_width]`.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if a shape is not as above, or a buffer does not hold what its shape says.
    pub fn unet(
        &self,
        (latents, shape): (&[f32], [usize; 4]),
        timesteps: &[f64],
        (context, context_shape): (&[f32], [usize; 3]),
    ) -> Result<Array> {
        let sizes = self.sizes();
        let [batch, channels, ..] = shape;
        filled("latents", latents, &shape)?;
        expect("latents", &shape, channels == sizes.latent_channels, || {
            format!("[batch, {}, height, width]", sizes.latent_channels)
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
        self.runtime().compute(|| {
            let latents = self.model().tensor(latents.to_vec(), shape);
            let context = self.model().tensor(context.to_vec(), context_shape);
            let input = UnetInput::new(latents, timesteps, context);
            let output = self.model().unet.forward(&input)?;
            Ok(Array {
                shape: output.dims().to_vec(),
                values: values(output)?,
            })
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
