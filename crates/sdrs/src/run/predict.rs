//! Prediction: the denoised latents that the network gives for each text of a call.

use std::ops::Range;

use sd_core::models::{DeepCache, FreeU, MergedParts, Perturbation, SelfAttentionLayers, UNet, UnetInput};
use sd_kernels::Axes;
use sd_sched::{DenoiseCall, Latent};

use super::cache::{SavedCache, Text, UnetCache};
use crate::{
    Error, GenerateParams, Result,
    model::{Model, Runtime, values},
    params::Tiles,
    text::Conditioning,
};

/// One picture's calls of the network. All arithmetic outside the network is on the host, so it is the same on every device.
pub(crate) struct Predictor<'a> {
    pub model: &'a Model,
    pub runtime: &'a Runtime,
    pub conditioning: &'a Conditioning,
    pub changes: Changes,
    /// The embedding of the guidance's scale, for a U-Net that takes it.
    pub guidance: Option<Vec<f32>>,
    /// `[1, channels, height, width]` of the latents.
    pub shape: [usize; 4],
    /// Channels behind those of the latents, for a U-Net that has them.
    pub concat: Option<&'a [f32]>,
    /// The tiles that the network sees in place of the whole.
    pub tiles: Option<&'a Tiles>,
    /// Asked before each tile.
    pub cancelled: &'a dyn Fn() -> bool,
    pub cache: UnetCache,
}

/// What is changed in all calls of the network: work that they leave out, FreeU, and wrapped edges. By default nothing is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Changes {
    token_merging: f64,
    merged_parts: MergedParts,
    deep_cache_interval: usize,
    deep_cache_branch: usize,
    first_block_cache: f64,
    free_u: Option<FreeU>,
    wrap: Axes,
}

/// What the network sees of a call: all of it, or a tile.
#[derive(Clone, Copy)]
struct View<'a> {
    /// The scaled latents.
    latents: &'a [f32],
    concat: Option<&'a [f32]>,
    /// Height and width.
    size: [usize; 2],
    /// The axes along which it goes on at its opposite edges.
    wrap: Axes,
}

/// What is special about an evaluation of the network.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Variant<'a> {
    /// Its deep features serve evaluations with the same number.
    pub number: usize,
    /// Whether to note what the middle's pixels get of attention.
    pub watched: bool,
    pub perturbed: Option<(Perturbation, &'a SelfAttentionLayers)>,
    /// Whether the channels behind those of the latents are zeros.
    pub blank: bool,
}

/// The network's answer to a text.
pub(crate) struct Predicted {
    pub denoised: Vec<f32>,
    /// What the middle's pixels get of attention, if that was asked for and the middle was computed.
    pub received: Option<Received>,
}

/// What each pixel of the middle gets of attention, row by row; 1 is the mean.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// Height and width.
    pub size: [usize; 2],
    pub values: Vec<f32>,
}

impl Changes {
    pub fn new(params: &GenerateParams) -> Self {
        Self {
            token_merging: params.speed.token_merging,
            merged_parts: MergedParts {
                cross_attention: params.speed.token_merging_cross_attention,
                feed_forward: params.speed.token_merging_mlp,
            },
            deep_cache_interval: params.speed.deep_cache_interval,
            deep_cache_branch: params.speed.deep_cache_branch,
            first_block_cache: params.speed.first_block_cache,
            free_u: params.free_u(),
            wrap: params.wrap(),
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
    /// What calls left to those from step `next` on.
    pub fn saved_cache(&self, next: usize) -> Result<SavedCache> {
        self.cache.saved(next, self.changes.deep_cache_interval)
    }

    /// Takes what a state has of it.
    pub fn restore(&mut self, saved: &SavedCache) {
        self.cache.restore(saved, self.model);
    }

    /// The answers of the network for some parts of a call, counted by the conds, then uncond, then the empty prompt.
    pub fn predict(
        &mut self,
        (x, call): (&Vec<f32>, &DenoiseCall),
        unet: &UNet,
        parts: Range<usize>,
        variant: Variant,
    ) -> Result<Vec<Predicted>> {
        let scalings = self.model.sampling.scalings(call.sigma);
        let input = Vec::lincomb(&[(scalings.c_in, x)]);
        let (conditioning, model) = (self.conditioning, self.model);
        let indices = conditioning.indices(call.call);
        let lengths = self
            .cache
            .texts(&indices, || conditioning.contexts(&indices, model));
        let texts: Vec<Text> = parts
            .map(|part| Text {
                part,
                index: indices[part],
                variant: variant.number,
                tile: 0,
            })
            .collect();
        // Contexts of one length go through the network together: two at a time, so that AND takes no more memory.
        let same_length = |a: &Text, b: &Text| lengths[a.part] == lengths[b.part];
        let mut outputs = Vec::with_capacity(texts.len());
        for pair in texts.chunk_by(same_length).flat_map(|run| run.chunks(2)) {
            outputs.extend(match self.tiles {
                Some(tiles) => self.tiled(tiles, &input, call, unet, pair, variant)?,
                None => {
                    let [.., height, width] = self.shape;
                    let view = View {
                        latents: &input,
                        concat: self.concat,
                        size: [height, width],
                        wrap: self.changes.wrap,
                    };
                    self.outputs(view, call, unet, pair, variant)?
                }
            });
        }
        if !outputs
            .iter()
            .flat_map(|output| &output.denoised)
            .all(|v| v.is_finite())
        {
            return Err(Error::NotFinite {
                what: "the U-Net's output",
                advice: "compute in a wider dtype (f32), or check the checkpoint and its prediction type",
            });
        }
        for output in &mut outputs {
            output.denoised = Vec::lincomb(&[(scalings.c_skip, x), (scalings.c_out, &output.denoised)]);
        }
        Ok(outputs)
    }

    /// The weighted mean of the network's outputs for all tiles: on what is denoised it would be the same, since that is linear in it.
    fn tiled(
        &mut self,
        tiles: &Tiles,
        input: &[f32],
        call: &DenoiseCall,
        unet: &UNet,
        texts: &[Text],
        variant: Variant,
    ) -> Result<Vec<Predicted>> {
        let mut means = vec![vec![0.0; input.len()]; texts.len()];
        for number in 0..tiles.count() {
            if (self.cancelled)() {
                return Err(Error::Cancelled);
            }
            let concat = self.concat.map(|values| tiles.cut(values, number));
            let view = View {
                latents: &tiles.cut(input, number),
                concat: concat.as_deref(),
                size: tiles.size,
                wrap: tiles.wrap,
            };
            let texts: Vec<Text> = texts
                .iter()
                .map(|text| Text {
                    tile: number,
                    ..*text
                })
                .collect();
            let made = self.outputs(view, call, unet, &texts, variant)?;
            for (mean, made) in means.iter_mut().zip(made) {
                tiles.add(mean, &made.denoised, number);
            }
        }
        let predicted = |denoised| Predicted {
            denoised,
            received: None,
        };
        Ok(means.into_iter().map(predicted).collect())
    }

    /// The network's output for each of some texts of one length, in the place of what is denoised.
    fn outputs(
        &mut self,
        view: View,
        call: &DenoiseCall,
        unet: &UNet,
        texts: &[Text],
        variant: Variant,
    ) -> Result<Vec<Predicted>> {
        let batch = texts.len();
        let channels = self.shape[1];
        let [height, width] = view.size;
        let deep_cache = self.deep_cache(call.step, texts);
        let changes = self.changes;
        let compares = changes.first_block_cache > 0.0;
        let first_block = compares
            .then(|| self.cache.first_block(call.step, texts))
            .flatten();
        let (model, cache) = (self.model, &mut self.cache);
        let guidance = &self.guidance;
        let (output, left, received) = self.runtime.compute(|| {
            // One row for all texts, so that what doesn't depend on them is computed once.
            let latents = model.tensor(view.latents.to_vec(), [1, channels, height, width]);
            let timesteps = [call.timestep];
            let guidance = guidance
                .as_ref()
                .map(|row| model.tensor(row.clone(), [1, row.len()]));
            let concat = view.concat.map(|values| {
                let channels = values.len() / (height * width);
                let values = match variant.blank {
                    true => vec![0.0; values.len()],
                    false => values.to_vec(),
                };
                model.tensor(values, [1, channels, height, width])
            });
            let output = cache.with_text(texts, unet, |conditions| {
                let input = UnetInput {
                    added: conditions.added.clone(),
                    guidance,
                    concat,
                    token_merging: changes.token_merging,
                    merged_parts: changes.merged_parts,
                    free_u: changes.free_u,
                    wrap: view.wrap,
                    perturbed: variant.perturbed,
                    watch_middle: variant.watched,
                    ..UnetInput::new(latents, &timesteps, &conditions.text)
                };
                Ok(match compares {
                    true => {
                        unet.forward_if_changed(&input, first_block.as_ref(), changes.first_block_cache)?
                    }
                    false => unet.forward_cached(&input, &deep_cache)?,
                })
            })?;
            let received = output.received.map(|tensor| {
                let [_, height, width] = tensor.dims();
                Ok::<_, Error>(([height, width], values(tensor)?))
            });
            let left = (output.deep, output.first_block);
            Ok::<_, Error>((values(output.prediction)?, left, received.transpose()?))
        })?;
        let (deep, first_block) = left;
        if let Some(deep) = deep {
            self.cache.keep(call.step, texts, &deep);
        }
        if let Some(first_block) = first_block {
            self.cache.keep_first_block(call.step, texts, &first_block);
        }
        let mut received = received.map(|(size, values)| {
            let each = values.len() / batch;
            let rows: Vec<_> = values.chunks_exact(each).map(<[f32]>::to_vec).collect();
            rows.into_iter().map(move |values| Received { size, values })
        });
        Ok(output
            .chunks_exact(output.len() / batch)
            .map(|denoised| Predicted {
                denoised: denoised.to_vec(),
                received: received.as_mut().and_then(Iterator::next),
            })
            .collect())
    }

    /// The use of deep features for these texts at a step.
    fn deep_cache(&mut self, step: usize, texts: &[Text]) -> DeepCache {
        match self.changes.deep_cache_interval {
            0 | 1 => DeepCache::Off,
            interval => match self.cache.deep(step, interval, texts) {
                Some(features) => DeepCache::Reuse(features),
                None => DeepCache::Keep {
                    branch: self.changes.deep_cache_branch,
                },
            },
        }
    }
}
