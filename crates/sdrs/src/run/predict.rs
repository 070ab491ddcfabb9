//! Prediction: the denoised latents that the network gives for each text of a call.

use std::ops::Range;

use burn_tensor::Tensor;
use sd_core::models::{DeepCache, FreeU, MergedParts, Perturbation, SelfAttentionLayers, UNet, UnetInput};
use sd_kernels::Axes;
use sd_sched::{DenoiseCall, Latent};

use super::cache::{Row, SavedCache, Text, UnetCache};
use crate::{
    Error, GenerateParams, Result,
    model::{Model, Runtime, values},
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
    /// What stands behind the latents, where the network sees all of it.
    concat: Option<Tensor<4>>,
}

/// What the network sees of a call, on the device: a row for each picture.
struct Seen {
    latents: Tensor<4>,
    concat: Option<Tensor<4>>,
    guidance: Option<Tensor<2>>,
    /// The axes along which pictures go on at their opposite edges.
    wrap: Axes,
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
        let mut outputs: Vec<Vec<Predicted>> = latents.iter().map(|_| Vec::new()).collect();
        let whole = match self.tiles {
            Some(_) => None,
            None => Some(self.whole(&scaled, variant)?),
        };
        for pair in texts.chunk_by(same_length).flat_map(|run| run.chunks(2)) {
            let made = match (self.tiles, &whole) {
                (_, Some(whole)) => self.outputs(whole, &pictures, call, unet, pair, variant)?,
                (Some(tiles), None) => self.tiled(tiles, (&pictures, &scaled), call, unet, pair, variant)?,
                (None, None) => unreachable!("without tiles the network sees the whole"),
            };
            // Text by text, each with every picture.
            for (row, made) in made.into_iter().enumerate() {
                outputs[row % latents.len()].push(made);
            }
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
        texts: &[Text],
        variant: Variant,
    ) -> Result<Vec<Predicted>> {
        let values = scaled.first().map_or(0, Vec::len);
        let mut means = vec![vec![0.0; values]; texts.len() * pictures.len()];
        for number in 0..tiles.count() {
            if (self.cancelled)() {
                return Err(Error::Cancelled);
            }
            let seen = self.tile(tiles, number, scaled, variant)?;
            let texts: Vec<Text> = texts
                .iter()
                .map(|text| Text {
                    tile: number,
                    ..*text
                })
                .collect();
            let made = self.outputs(&seen, pictures, call, unet, &texts, variant)?;
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

    /// All of the scaled latents, on the device.
    fn whole(&mut self, scaled: &[Vec<f32>], variant: Variant) -> Result<Seen> {
        let (model, pictures) = (self.model, scaled.len());
        let [_, channels, height, width] = self.shape;
        let (guidance, concat, steady) = (&self.guidance, self.concat, &mut self.steady);
        let wrap = self.changes.wrap;
        self.runtime.compute(|| {
            if steady.pictures != pictures {
                *steady = Steady {
                    pictures,
                    guidance: guidance.as_ref().map(|row| rows(model, row, pictures)),
                    concat: concat.map(|values| planes(model, values, pictures, [height, width])),
                };
            }
            let concat = steady.concat.clone();
            Ok(Seen {
                latents: model.tensor(scaled.concat(), [pictures, channels, height, width]),
                concat: match variant.blank {
                    true => concat.map(|concat| concat.zeros_like()),
                    false => concat,
                },
                guidance: steady.guidance.clone(),
                wrap,
            })
        })
    }

    /// A tile of the scaled latents, on the device.
    fn tile(&self, tiles: &Tiles, number: usize, scaled: &[Vec<f32>], variant: Variant) -> Result<Seen> {
        let (model, pictures) = (self.model, scaled.len());
        let (guidance, concat, channels) = (&self.guidance, self.concat, self.shape[1]);
        let [height, width] = tiles.size;
        let cut: Vec<Vec<f32>> = scaled.iter().map(|values| tiles.cut(values, number)).collect();
        self.runtime.compute(|| {
            let concat = concat.map(|values| {
                let concat = planes(model, &tiles.cut(values, number), pictures, tiles.size);
                match variant.blank {
                    true => concat.zeros_like(),
                    false => concat,
                }
            });
            Ok(Seen {
                latents: model.tensor(cut.concat(), [pictures, channels, height, width]),
                concat,
                guidance: guidance.as_ref().map(|row| rows(model, row, pictures)),
                wrap: tiles.wrap,
            })
        })
    }

    /// The network's output for each of some texts of one length with each picture, in the place of what is denoised.
    fn outputs(
        &mut self,
        seen: &Seen,
        pictures: &[usize],
        call: &DenoiseCall,
        unet: &UNet,
        texts: &[Text],
        variant: Variant,
    ) -> Result<Vec<Predicted>> {
        let (batch, together) = (texts.len() * pictures.len(), pictures.len());
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
        let (output, left, received) = self.runtime.compute(|| {
            let timesteps = vec![call.timestep; together];
            let output = cache.with_text(texts, unet, |conditions| {
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
            self.cache.keep(call.step, &rows, &deep);
        }
        if let Some(first_block) = first_block {
            self.cache.keep_first_block(call.step, &rows, &first_block);
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
