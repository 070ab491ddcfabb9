//! Prediction: the denoised latents that the network gives for each text of a call.

use sd_core::models::{DeepCache, UNet, UnetInput};
use sd_sched::{DenoiseCall, Latent};

use super::cache::{Text, UnetCache};
use crate::{
    Error, GenerateParams, Result,
    model::{Model, Runtime, values},
    text::Conditioning,
};

/// One picture's calls of the network. All arithmetic outside the network is on the host, so it is the same on every device.
pub(crate) struct Predictor<'a> {
    pub model: &'a Model,
    pub runtime: &'a Runtime,
    pub conditioning: &'a Conditioning,
    pub savings: Savings,
    /// `[1, channels, height, width]` of the latents.
    pub shape: [usize; 4],
    pub cache: UnetCache,
}

/// Work that calls of the network leave out. The default leaves nothing out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Savings {
    token_merging: f64,
    deep_cache_interval: usize,
    deep_cache_branch: usize,
}

impl Savings {
    pub fn new(params: &GenerateParams) -> Self {
        Self {
            token_merging: params.speed.token_merging,
            deep_cache_interval: params.speed.deep_cache_interval,
            deep_cache_branch: params.speed.deep_cache_branch,
        }
    }

    /// The same for a network of so many branches.
    pub fn within(self, branches: usize) -> Self {
        Self {
            deep_cache_branch: self.deep_cache_branch.min(branches.saturating_sub(1)),
            ..self
        }
    }
}

impl Predictor<'_> {
    /// The denoised latents of `x` for the first `count` texts of a call: the conds, then uncond.
    pub fn predict(
        &mut self,
        x: &Vec<f32>,
        call: &DenoiseCall,
        unet: &UNet,
        count: usize,
    ) -> Result<Vec<Vec<f32>>> {
        let scalings = self.model.sampling.scalings(call.sigma);
        let input = Vec::lincomb(&[(scalings.c_in, x)]);
        let (conditioning, model) = (self.conditioning, self.model);
        let indices = conditioning.indices(call.call);
        let lengths = self
            .cache
            .texts(&indices, || conditioning.contexts(&indices, model));
        let texts: Vec<Text> = (0..count)
            .map(|part| Text {
                part,
                index: indices[part],
            })
            .collect();
        // Contexts of one length go through the network together: two at a time, so that AND takes no more memory.
        let same_length = |a: &Text, b: &Text| lengths[a.part] == lengths[b.part];
        let mut outputs = Vec::with_capacity(texts.len());
        for pair in texts.chunk_by(same_length).flat_map(|run| run.chunks(2)) {
            outputs.extend(self.outputs(&input, call, unet, pair)?);
        }
        if !outputs.iter().flatten().all(|v| v.is_finite()) {
            return Err(Error::NotFinite {
                what: "the U-Net's output",
                advice: "compute in a wider dtype (f32), or check the checkpoint and its prediction type",
            });
        }
        let denoised = |output: &Vec<f32>| Vec::lincomb(&[(scalings.c_skip, x), (scalings.c_out, output)]);
        Ok(outputs.iter().map(denoised).collect())
    }

    /// The network's output for each of some texts of one length.
    fn outputs(
        &mut self,
        input: &[f32],
        call: &DenoiseCall,
        unet: &UNet,
        texts: &[Text],
    ) -> Result<Vec<Vec<f32>>> {
        let batch = texts.len();
        let [_, channels, height, width] = self.shape;
        let deep_cache = self.deep_cache(call.step, texts);
        let token_merging = self.savings.token_merging;
        let (model, cache) = (self.model, &mut self.cache);
        let (output, deep) = self.runtime.compute(|| {
            let latents = model.tensor(input.repeat(batch), [batch, channels, height, width]);
            let timesteps = vec![call.timestep; batch];
            let output = cache.with_text(texts, unet, |conditions| {
                let input = UnetInput {
                    added: conditions.added.clone(),
                    token_merging,
                    ..UnetInput::new(latents, &timesteps, &conditions.text)
                };
                Ok(unet.forward_cached(&input, &deep_cache)?)
            })?;
            Ok::<_, Error>((values(output.prediction)?, output.deep))
        })?;
        if let Some(deep) = deep {
            self.cache.keep(call.step, texts, &deep);
        }
        Ok(output
            .chunks_exact(output.len() / batch)
            .map(<[f32]>::to_vec)
            .collect())
    }

    /// The use of deep features for these texts at a step.
    fn deep_cache(&mut self, step: usize, texts: &[Text]) -> DeepCache {
        match self.savings.deep_cache_interval {
            0 | 1 => DeepCache::Off,
            interval => match self.cache.deep(step, interval, texts) {
                Some(features) => DeepCache::Reuse(features),
                None => DeepCache::Keep {
                    branch: self.savings.deep_cache_branch,
                },
            },
        }
    }
}
