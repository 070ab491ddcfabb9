//! Values that one picture's calls of the U-Net hand on to the next.

use std::sync::{Arc, Weak};

use burn_tensor::Tensor;
use sd_core::{
    models::{CrossAttentionCache, DeepFeatures, FirstBlock, UNet},
    weights::Loaded,
};

use crate::{
    Error, Result,
    model::{Model, values},
    text::Context,
};

/// The most memory that keys and values of texts may take; beyond it they are computed anew.
const MOST_BYTES: usize = 256 << 20;

/// The most calls whose texts are cached.
const MOST_CALLS: usize = 8;

/// The steps for which a first block waits for its text to be asked for again.
const FIRST_BLOCK_STEPS: usize = 8;

/// A text of a call: `part` is one of the prompts that AND joins, the negative one behind them, or the empty one; `index` is one of that part's
/// texts. `variant` tells evaluations apart that differ in something else, `tile` those of the tiles of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Text {
    pub part: usize,
    pub index: usize,
    pub variant: usize,
    pub tile: usize,
}

/// A row of the network's batch: a text with one of the pictures that are drawn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub picture: usize,
    pub text: Text,
}

/// Contexts of the last calls with their keys and values for cross-attention, and what calls leave of their results to later ones.
#[derive(Default)]
pub(crate) struct UnetCache {
    /// In the order of their last use.
    calls: Vec<CallTexts>,
    deep: Vec<Kept<DeepFeatures>>,
    first_blocks: Vec<Kept<FirstBlock>>,
    /// The U-Net that made them.
    unet: Weak<Loaded<UNet>>,
    /// Whether the rest is a saved state's, which belongs to the first U-Net that is asked.
    restored: bool,
}

/// The texts of a call: other calls may have the same.
struct CallTexts {
    indices: Vec<usize>,
    contexts: Vec<Context>,
    /// For the parts that go through the network together.
    texts: Vec<(Vec<usize>, Conditions)>,
}

/// The conditions of a call of the network.
pub(super) struct Conditions {
    /// Keys and values of the texts.
    pub text: CrossAttentionCache,
    /// The additional vectors, for a network that has them.
    pub added: Option<Tensor<2>>,
}

/// What a call at a step left to later ones, for one row.
struct Kept<T> {
    row: Row,
    step: usize,
    kept: T,
}

/// What a state keeps of what calls leave to later ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct SavedCache {
    pub features: Vec<SavedFeatures>,
    pub first_blocks: Vec<SavedFirstBlock>,
}

/// Deep features as a state keeps them.
#[derive(Debug, Clone)]
pub(crate) struct SavedFeatures {
    text: Text,
    step: usize,
    branch: usize,
    /// `[1, h, w, c]`.
    pub shape: [usize; 4],
    pub values: Vec<f32>,
}

/// A first block as a state keeps it.
#[derive(Debug, Clone)]
pub(crate) struct SavedFirstBlock {
    text: Text,
    step: usize,
    /// Shape and values of its residual and of the prediction.
    pub parts: [([usize; 4], Vec<f32>); 2],
}

impl Text {
    fn place(self) -> [usize; 4] {
        [self.part, self.index, self.variant, self.tile]
    }

    fn at([part, index, variant, tile]: [usize; 4]) -> Self {
        Self {
            part,
            index,
            variant,
            tile,
        }
    }
}

impl SavedFeatures {
    /// Their place: part, text, variant, tile, step, branch.
    pub fn place(&self) -> [usize; 6] {
        let [part, index, variant, tile] = self.text.place();
        [part, index, variant, tile, self.step, self.branch]
    }

    /// Values at their place, as many as the shape says.
    pub fn new(
        [part, index, variant, tile, step, branch]: [usize; 6],
        shape: [usize; 4],
        values: Vec<f32>,
    ) -> Self {
        Self {
            text: Text::at([part, index, variant, tile]),
            step,
            branch,
            shape,
            values,
        }
    }
}

impl SavedFirstBlock {
    /// Its place: part, text, variant, tile, step.
    pub fn place(&self) -> [usize; 5] {
        let [part, index, variant, tile] = self.text.place();
        [part, index, variant, tile, self.step]
    }

    /// Its parts at their place, as many values as the shapes say.
    pub fn new([part, index, variant, tile, step]: [usize; 5], parts: [([usize; 4], Vec<f32>); 2]) -> Self {
        Self {
            text: Text::at([part, index, variant, tile]),
            step,
            parts,
        }
    }
}

impl UnetCache {
    /// What steps of a picture from `step` on may use, so that a state can keep it: deep features that are less than `interval` steps old, and
    /// first blocks.
    pub fn saved(&self, picture: usize, step: usize, interval: usize) -> Result<SavedCache> {
        let features = young(&self.deep, (picture, step), interval).map(|row| {
            let (branch, x) = row.kept.parts();
            Ok(SavedFeatures {
                text: row.row.text,
                step: row.step,
                branch,
                shape: x.dims(),
                values: values(x.clone())?,
            })
        });
        let first_blocks = young(&self.first_blocks, (picture, step), FIRST_BLOCK_STEPS).map(|row| {
            let saved = |x: &Tensor<4>| Ok::<_, Error>((x.dims(), values(x.clone())?));
            let [residual, prediction] = row.kept.parts().map(saved);
            Ok(SavedFirstBlock {
                text: row.row.text,
                step: row.step,
                parts: [residual?, prediction?],
            })
        });
        Ok(SavedCache {
            features: features.collect::<Result<_>>()?,
            first_blocks: first_blocks.collect::<Result<_>>()?,
        })
    }

    /// Takes what a state has for the first picture, in the type that the model computes in.
    pub fn restore(&mut self, saved: &SavedCache, model: &Model) {
        let tensor = |shape: [usize; 4], values: &[f32]| model.tensor(values.to_vec(), shape);
        let dtype = model.target.dtype.burn();
        let first = |text| Row { picture: 0, text };
        let deep = saved.features.iter().map(|row| Kept {
            row: first(row.text),
            step: row.step,
            kept: DeepFeatures::new(row.branch, tensor(row.shape, &row.values).cast(dtype)),
        });
        self.deep = deep.collect();
        let first_blocks = saved.first_blocks.iter().map(|row| {
            let [residual, prediction] = [0, 1].map(|i| tensor(row.parts[i].0, &row.parts[i].1));
            Kept {
                row: first(row.text),
                step: row.step,
                kept: FirstBlock::new(residual.cast(dtype), prediction),
            }
        });
        self.first_blocks = first_blocks.collect();
        self.restored = true;
    }

    /// Forgets the values that another U-Net made: LoRAs may change it from step to step.
    pub fn belongs_to(&mut self, unet: &Arc<Loaded<UNet>>) {
        let unet = Arc::downgrade(unet);
        if std::mem::take(&mut self.restored) {
            self.unet = unet;
        } else if !self.unet.ptr_eq(&unet) {
            *self = Self {
                unet,
                ..Self::default()
            };
        }
    }

    /// Takes up the texts for `indices`, made by `make` if they are new, and returns each one's length.
    pub fn texts(&mut self, indices: &[usize], make: impl FnOnce() -> Vec<Context>) -> Vec<usize> {
        let call = match self.calls.iter().position(|call| call.indices == indices) {
            Some(i) => self.calls.remove(i),
            None => CallTexts {
                indices: indices.to_vec(),
                contexts: make(),
                texts: Vec::new(),
            },
        };
        let lengths = call.contexts.iter().map(|context| context.text.dims()[1]);
        let lengths = lengths.collect();
        if self.calls.len() == MOST_CALLS {
            self.calls.remove(0);
        }
        self.calls.push(call);
        lengths
    }

    /// Gives `work` the conditions of these texts, which are among those taken up last.
    pub fn with_text<R>(
        &mut self,
        texts: &[Text],
        unet: &UNet,
        work: impl FnOnce(&Conditions) -> Result<R>,
    ) -> Result<R> {
        let parts: Vec<usize> = texts.iter().map(|text| text.part).collect();
        let Some(last) = self.calls.last_mut() else {
            unreachable!("texts are taken up before a call");
        };
        if let Some((_, conditions)) = last.texts.iter().find(|(of, _)| *of == parts) {
            return work(conditions);
        }
        let contexts = || parts.iter().map(|&part| &last.contexts[part]);
        let texts = contexts().map(|context| context.text.clone()).collect();
        let added: Option<Vec<_>> = contexts().map(|context| context.added.clone()).collect();
        let conditions = Conditions {
            text: unet.cross_attention_cache(Tensor::cat(texts, 0))?,
            added: added.map(|rows| Tensor::cat(rows, 0)),
        };
        let result = work(&conditions);
        if last.bytes() + conditions.text.bytes() <= MOST_BYTES {
            last.texts.push((parts, conditions));
            while self.calls.iter().map(CallTexts::bytes).sum::<usize>() > MOST_BYTES {
                self.calls.remove(0);
            }
        }
        result
    }

    /// The deep features of these rows, if each was cached in one of the `interval - 1` steps before this one: calls of the same step
    /// make theirs anew.
    pub fn deep(&mut self, step: usize, interval: usize, rows: &[Row]) -> Option<DeepFeatures> {
        self.deep.retain(|kept| step.saturating_sub(kept.step) < interval);
        let found = rows.iter().map(|row| {
            let mut all = self.deep.iter();
            let kept = all.find(|kept| kept.row == *row && kept.step < step);
            kept.map(|kept| kept.kept.clone())
        });
        DeepFeatures::join(&found.collect::<Option<Vec<_>>>()?)
    }

    /// Keeps deep features of these rows, one each.
    pub fn keep(&mut self, step: usize, rows: &[Row], deep: &DeepFeatures) {
        keep(&mut self.deep, step, rows, deep.split());
    }

    /// The first block of the last whole call for each of these rows, which were asked for lately.
    pub fn first_block(&mut self, step: usize, rows: &[Row]) -> Option<FirstBlock> {
        let all = &mut self.first_blocks;
        all.retain(|kept| step.saturating_sub(kept.step) < FIRST_BLOCK_STEPS);
        let found = rows.iter().map(|row| {
            let kept = all.iter_mut().find(|kept| kept.row == *row)?;
            kept.step = step;
            Some(kept.kept.clone())
        });
        FirstBlock::join(&found.collect::<Option<Vec<_>>>()?)
    }

    /// Keeps a first block of these rows, one each.
    pub fn keep_first_block(&mut self, step: usize, rows: &[Row], kept: &FirstBlock) {
        keep(&mut self.first_blocks, step, rows, kept.split());
    }
}

/// Puts what is kept in the place of what was for the same rows.
fn keep<T>(all: &mut Vec<Kept<T>>, step: usize, rows: &[Row], kept: Vec<T>) {
    all.retain(|kept| !rows.contains(&kept.row));
    let new = rows.iter().zip(kept);
    all.extend(new.map(|(&row, kept)| Kept { row, step, kept }));
}

/// What is kept for a picture that is less than so many steps old at a step.
fn young<T>(
    all: &[Kept<T>],
    (picture, step): (usize, usize),
    steps: usize,
) -> impl Iterator<Item = &Kept<T>> {
    all.iter()
        .filter(move |kept| kept.row.picture == picture && step.saturating_sub(kept.step) < steps)
}

impl CallTexts {
    fn bytes(&self) -> usize {
        self.texts.iter().map(|(_, it)| it.text.bytes()).sum()
    }
}
