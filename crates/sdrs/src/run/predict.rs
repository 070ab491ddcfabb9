//! Prediction: the denoised latents that the network gives for each text of a call.

use std::{collections::HashMap, ops::Range};

use burn_tensor::Tensor;
use sd_core::models::{DeepCache, FreeU, MergedParts, Perturbation, SelfAttentionLayers, UNet, UnetInput};
use sd_kernels::Axes;
use sd_sched::{DenoiseCall, Latent};

use super::{
    answers::{Answers, Predicted},
    cache::{Row, SavedCache, Text, UnetCache},
};
use crate::{
    Error, GenerateParams, Result,
    model::{Model, Runtime},
    params::Tiles,
    text::Conditioning,
};

/// Pictures' calls of the network. All arithmetic outside the network is on the host, so it is the same on every device.
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
    pub steady: Steady,
}

/// What is the same in every call and lies on the device, for as many pictures as the last call had.
#[derive(Default)]
pub(crate) struct Steady {
    pictures: usize,
    guidance: Option<Tensor<2>>,
    /// What stands behind the latents of each tile; where there are none, of the whole at 0.
    concat: HashMap<usize, Tensor<4>>,
}

/// What the network sees of a call, on the device: a row for each picture.
struct Seen {
    latents: Tensor<4>,
    concat: Option<Tensor<4>>,
    guidance: Option<Tensor<2>>,
    /// The axes along which pictures go on at their opposite edges.
    wrap: Axes,
    /// The tile's number.
    tile: usize,
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

/// Latents of pictures that go through the network together, at one call.
#[derive(Clone, Copy)]
pub(crate) struct Batch<'a> {
    /// Each picture's place among those of the run that are drawn together, and its latents.
    pub latents: &'a [(usize, &'a Vec<f32>)],
    pub call: &'a DenoiseCall,
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

impl Changes {
    /// Whether one picture's calls may go with those of others: what a first block is compared with is decided for all of them at once.
    pub fn allows_others(&self) -> bool {
        let parts = self.merged_parts != MergedParts::default() && self.token_merging > 0.0;
        self.first_block_cache == 0.0 && !parts
    }

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
    /// What calls of a picture left to those from step `next` on.
    pub fn saved_cache(&self, picture: usize, next: usize) -> Result<SavedCache> {
        self.cache.saved(picture, next, self.changes.deep_cache_interval)
    }

    /// Takes what a state has of it, for the first picture.
    pub fn restore(&mut self, saved: &SavedCache) {
        self.cache.restore(saved, self.model);
    }

    /// The answers of the network for some parts of a call, counted by the conds, then uncond, then the empty prompt: for each picture one for
    /// each part.
    pub fn predict(
        &mut self,
        batch: Batch<'_>,
        unet: &UNet,
        parts: Range<usize>,
        variant: Variant,
    ) -> Result<Vec<Vec<Predicted>>> {
        let Batch { latents, call } = batch;
        let scalings = self.model.sampling.scalings(call.sigma);
        let scaled = latents.iter().map(|(_, x)| Vec::lincomb(&[(scalings.c_in, *x)]));
        let scaled: Vec<Vec<f32>> = scaled.collect();
        let pictures: Vec<usize> = latents.iter().map(|(picture, _)| *picture).collect();
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
        let groups = texts.chunk_by(same_length).flat_map(|run| run.chunks(2));
        let groups: Vec<&[Text]> = groups.collect();
        let made = match self.tiles {
            Some(tiles) => self.tiled(tiles, (&pictures, &scaled), call, unet, &groups, variant)?,
            None => {
                let whole = self.seen(&scaled, None, variant)?;
                self.outputs(&whole, &pictures, call, unet, &groups, variant)?
            }
        };
        let mut outputs: Vec<Vec<Predicted>> = latents.iter().map(|_| Vec::new()).collect();
        for (row, made) in made.into_iter().enumerate() {
            outputs[row % latents.len()].push(made);
        }
        for (outputs, (_, x)) in outputs.iter_mut().zip(latents) {
            for output in outputs {
                if !output.denoised.iter().all(|v| v.is_finite()) {
                    return Err(Error::NotFinite {
                        what: "the U-Net's output",
                        advice: "compute in a wider dtype (f32), or check the checkpoint and its prediction type",
                    });
                }
                output.denoised = Vec::lincomb(&[(scalings.c_skip, *x), (scalings.c_out, &output.denoised)]);
            }
        }
        Ok(outputs)
    }

    /// The weighted mean of the network's outputs for all tiles: on what is denoised it would be the same, since that is linear in it.
    fn tiled(
        &mut self,
        tiles: &Tiles,
        (pictures, scaled): (&[usize], &[Vec<f32>]),
        call: &DenoiseCall,
        unet: &UNet,
        groups: &[&[Text]],
        variant: Variant,
    ) -> Result<Vec<Predicted>> {
        let values = scaled.first().map_or(0, Vec::len);
        let texts: usize = groups.iter().map(|texts| texts.len()).sum();
        let mut means = vec![vec![0.0; values]; texts * pictures.len()];
        for number in 0..tiles.count() {
            if (self.cancelled)() {
                return Err(Error::Cancelled);
            }
            let seen = self.seen(scaled, Some((tiles, number)), variant)?;
            let made = self.outputs(&seen, pictures, call, unet, groups, variant)?;
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

    /// What the network sees of the scaled latents: all, or a tile's.
    fn seen(&mut self, scaled: &[Vec<f32>], tile: Option<(&Tiles, usize)>, variant: Variant) -> Result<Seen> {
        let (model, pictures) = (self.model, scaled.len());
        let [_, channels, height, width] = self.shape;
        let (size, wrap) = match tile {
            Some((tiles, _)) => (tiles.size, tiles.wrap),
            None => ([height, width], self.changes.wrap),
        };
        let number = tile.map_or(0, |(_, number)| number);
        let cut = |values: &[f32]| match tile {
            Some((tiles, number)) => tiles.cut(values, number),
            None => values.to_vec(),
        };
        let latents: Vec<f32> = scaled.iter().flat_map(|values| cut(values)).collect();
        let (guidance, concat, steady) = (&self.guidance, self.concat, &mut self.steady);
        self.runtime.compute(|| {
            if steady.pictures != pictures {
                *steady = Steady {
                    pictures,
                    guidance: guidance.as_ref().map(|row| rows(model, row, pictures)),
                    concat: HashMap::new(),
                };
            }
            let concat = concat.map(|values| {
                let made = || planes(model, &cut(values), pictures, size);
                let concat = steady.concat.entry(number).or_insert_with(made);
                match variant.blank {
                    true => concat.zeros_like(),
                    false => concat.clone(),
                }
            });
            Ok(Seen {
                latents: model.tensor(latents, [pictures, channels, size[0], size[1]]),
                concat,
                guidance: steady.guidance.clone(),
                wrap,
                tile: number,
            })
        })
    }

    /// The network's output for each of some texts with each picture, in the place of what is denoised. Each group's texts, which are of one
    /// length, go through the network together. The device is waited for once, for all of them.
    fn outputs(
        &mut self,
        seen: &Seen,
        pictures: &[usize],
        call: &DenoiseCall,
        unet: &UNet,
        groups: &[&[Text]],
        variant: Variant,
    ) -> Result<Vec<Predicted>> {
        let answers = groups.iter().map(|texts| {
            let tile = seen.tile;
            let texts: Vec<Text> = texts.iter().map(|&text| Text { tile, ..text }).collect();
            self.answers(seen, pictures, call, unet, &texts, variant)
        });
        let answers = answers.collect::<Result<Vec<_>>>()?;
        self.runtime.compute(|| Answers::read(answers))
    }

    /// The network's answers to texts of one length with each picture.
    fn answers(
        &mut self,
        seen: &Seen,
        pictures: &[usize],
        call: &DenoiseCall,
        unet: &UNet,
        texts: &[Text],
        variant: Variant,
    ) -> Result<Answers> {
        let together = pictures.len();
        let rows: Vec<Row> = texts
            .iter()
            .flat_map(|&text| pictures.iter().map(move |&picture| Row { picture, text }))
            .collect();
        let deep_cache = self.deep_cache(call.step, &rows);
        let changes = self.changes;
        let compares = changes.first_block_cache > 0.0;
        let first_block = compares
            .then(|| self.cache.first_block(call.step, &rows))
            .flatten();
        let cache = &mut self.cache;
        let output = self.runtime.compute(|| {
            let timesteps = vec![call.timestep; together];
            cache.with_text(texts, unet, |conditions| {
                let input = UnetInput {
                    pictures: together,
                    added: conditions.added.clone(),
                    guidance: seen.guidance.clone(),
                    concat: seen.concat.clone(),
                    token_merging: changes.token_merging,
                    merged_parts: changes.merged_parts,
                    free_u: changes.free_u,
                    wrap: seen.wrap,
                    perturbed: variant.perturbed,
                    watch_middle: variant.watched,
                    ..UnetInput::new(seen.latents.clone(), &timesteps, &conditions.text)
                };
                Ok(match compares {
                    true => {
                        unet.forward_if_changed(&input, first_block.as_ref(), changes.first_block_cache)?
                    }
                    false => unet.forward_cached(&input, &deep_cache)?,
                })
            })
        })?;
        if let Some(deep) = output.deep {
            self.cache.keep(call.step, &rows, &deep);
        }
        if let Some(first_block) = output.first_block {
            self.cache.keep_first_block(call.step, &rows, &first_block);
        }
        Ok(Answers {
            prediction: output.prediction,
            received: output.received,
        })
    }

    /// The use of deep features for these rows at a step.
    fn deep_cache(&mut self, step: usize, rows: &[Row]) -> DeepCache {
        match self.changes.deep_cache_interval {
            0 | 1 => DeepCache::Off,
            interval => match self.cache.deep(step, interval, rows) {
                Some(features) => DeepCache::Reuse(features),
                None => DeepCache::Keep {
                    branch: self.changes.deep_cache_branch,
                },
            },
        }
    }
}

/// The same row for each picture.
fn rows(model: &Model, row: &[f32], pictures: usize) -> Tensor<2> {
    model.tensor(row.repeat(pictures), [pictures, row.len()])
}

/// The same channels of height and width for each picture.
fn planes(model: &Model, values: &[f32], pictures: usize, [height, width]: [usize; 2]) -> Tensor<4> {
    let channels = values.len() / (height * width);
    model.tensor(values.repeat(pictures), [pictures, channels, height, width])
}

#[cfg(test)]
mod tests;
