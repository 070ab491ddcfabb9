//! Values that one picture's calls of the U-Net hand on to the next.

use std::sync::{Arc, Weak};

use burn_tensor::Tensor;
use sd_core::{
    models::{CrossAttentionCache, DeepFeatures, UNet},
    weights::Loaded,
};

use crate::{
    Result,
    model::{Model, values},
    text::Context,
};

/// The most memory that keys and values of texts may take; beyond it they are computed anew.
const MOST_BYTES: usize = 256 << 20;

/// The most calls whose texts are cached.
const MOST_CALLS: usize = 8;

/// A text of a call: `part` is one of the prompts that AND joins, the negative one behind them, or the empty one; `index` is one of that part's
/// texts. `variant` tells evaluations apart that differ in something else, `tile` those of the tiles of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Text {
    pub part: usize,
    pub index: usize,
    pub variant: usize,
    pub tile: usize,
}

/// Contexts of the last calls with their keys and values for cross-attention, and deep features.
#[derive(Default)]
pub(crate) struct UnetCache {
    /// In the order of their last use.
    calls: Vec<CallTexts>,
    deep: Vec<DeepRow>,
    /// The U-Net that made them.
    unet: Weak<Loaded<UNet>>,
    /// Whether the features are a saved state's, which belong to the first U-Net that is asked.
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

/// The deep features of a text at a step.
struct DeepRow {
    text: Text,
    step: usize,
    features: DeepFeatures,
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

impl SavedFeatures {
    /// Their place: part, text, variant, tile, step, branch.
    pub fn place(&self) -> [usize; 6] {
        let Text {
            part,
            index,
            variant,
            tile,
        } = self.text;
        [part, index, variant, tile, self.step, self.branch]
    }

    /// Values at their place, as many as the shape says.
    pub fn new(
        [part, index, variant, tile, step, branch]: [usize; 6],
        shape: [usize; 4],
        values: Vec<f32>,
    ) -> Self {
        Self {
            text: Text {
                part,
                index,
                variant,
                tile,
            },
            step,
            branch,
            shape,
            values,
        }
    }
}

impl UnetCache {
    /// The deep features that steps from `step` on may use, so that a state can keep them.
    pub fn saved(&self, step: usize, interval: usize) -> Result<Vec<SavedFeatures>> {
        let young = self
            .deep
            .iter()
            .filter(|row| step.saturating_sub(row.step) < interval);
        let saved = young.map(|row| {
            let (branch, x) = row.features.parts();
            Ok(SavedFeatures {
                text: row.text,
                step: row.step,
                branch,
                shape: x.dims(),
                values: values(x.clone())?,
            })
        });
        saved.collect()
    }

    /// Takes a state's features, in the type that the model computes in.
    pub fn restore(&mut self, saved: &[SavedFeatures], model: &Model) {
        let rows = saved.iter().map(|row| {
            let x = model
                .tensor(row.values.clone(), row.shape)
                .cast(model.target.dtype.burn());
            DeepRow {
                text: row.text,
                step: row.step,
                features: DeepFeatures::new(row.branch, x),
            }
        });
        self.deep = rows.collect();
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

    /// The deep features of these texts, if each was cached in one of the `interval - 1` steps before this one: calls of the same step
    /// make theirs anew.
    pub fn deep(&mut self, step: usize, interval: usize, texts: &[Text]) -> Option<DeepFeatures> {
        self.deep.retain(|row| step.saturating_sub(row.step) < interval);
        let rows = texts.iter().map(|text| {
            let mut rows = self.deep.iter();
            let row = rows.find(|row| row.text == *text && row.step < step);
            row.map(|row| row.features.clone())
        });
        DeepFeatures::join(&rows.collect::<Option<Vec<_>>>()?)
    }

    /// Keeps deep features of these texts, one row each.
    pub fn keep(&mut self, step: usize, texts: &[Text], deep: &DeepFeatures) {
        self.deep.retain(|row| !texts.contains(&row.text));
        let rows = texts.iter().zip(deep.split());
        self.deep
            .extend(rows.map(|(&text, features)| DeepRow { text, step, features }));
    }
}

impl CallTexts {
    fn bytes(&self) -> usize {
        self.texts.iter().map(|(_, it)| it.text.bytes()).sum()
    }
}
