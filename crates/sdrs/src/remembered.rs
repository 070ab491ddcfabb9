//! What one picture's calls of the U-Net hand on to the next.

use std::sync::{Arc, Weak};

use burn_tensor::Tensor;
use sd_core::{
    models::{CrossAttentionCache, DeepFeatures, UNet},
    weights::Loaded,
};

use crate::{Result, conditioning::Contexts};

/// The most memory that keys and values of texts may take; beyond it they are computed anew.
const MOST_BYTES: usize = 256 << 20;

/// The most calls whose texts are held.
const MOST_HELD: usize = 8;

/// A text of a call: which part of the prompts it is for, those that AND joins and then the negative one, and which of that part's
/// texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Text {
    pub part: usize,
    pub index: usize,
}

/// Contexts of the last calls with what cross-attention has to know of them, and deep features.
#[derive(Default)]
pub(crate) struct Remembered {
    /// In the order of their last use.
    held: Vec<Held>,
    deep: Vec<Kept>,
    /// The U-Net that made them.
    unet: Weak<Loaded<UNet>>,
}

/// The texts of a call: other calls may have the same.
struct Held {
    indices: Vec<usize>,
    contexts: Contexts,
    /// For the parts that go through the network together.
    texts: Vec<(Vec<usize>, CrossAttentionCache)>,
}

struct Kept {
    text: Text,
    step: usize,
    features: DeepFeatures,
}

impl Remembered {
    /// Lets go of what another U-Net made: LoRAs may change it from step to step.
    pub fn belongs_to(&mut self, unet: &Arc<Loaded<UNet>>) {
        let unet = Arc::downgrade(unet);
        if !self.unet.ptr_eq(&unet) {
            *self = Self {
                unet,
                ..Self::default()
            };
        }
    }

    /// Takes up the texts for `indices`, made by `make` if they are new, and returns each one's length.
    pub fn texts(&mut self, indices: &[usize], make: impl FnOnce() -> Contexts) -> Vec<usize> {
        let held = match self.held.iter().position(|held| held.indices == indices) {
            Some(i) => self.held.remove(i),
            None => Held {
                indices: indices.to_vec(),
                contexts: make(),
                texts: Vec::new(),
            },
        };
        let lengths = (0..indices.len()).map(|part| held.contexts.part(part).dims()[1]);
        let lengths = lengths.collect();
        if self.held.len() == MOST_HELD {
            self.held.remove(0);
        }
        self.held.push(held);
        lengths
    }

    /// Gives `work` what cross-attention has to know of these texts, which are among those taken up last.
    pub fn with_text<R>(
        &mut self,
        texts: &[Text],
        unet: &UNet,
        work: impl FnOnce(&CrossAttentionCache) -> Result<R>,
    ) -> Result<R> {
        let parts: Vec<usize> = texts.iter().map(|text| text.part).collect();
        let Some(last) = self.held.last_mut() else {
            unreachable!("texts are taken up before a call");
        };
        if let Some((_, text)) = last.texts.iter().find(|(of, _)| *of == parts) {
            return work(text);
        }
        let contexts = parts.iter().map(|&part| last.contexts.part(part).clone());
        let text = unet.cross_attention_cache(Tensor::cat(contexts.collect(), 0))?;
        let result = work(&text);
        if last.bytes() + text.bytes() <= MOST_BYTES {
            last.texts.push((parts, text));
            while self.held.iter().map(Held::bytes).sum::<usize>() > MOST_BYTES {
                self.held.remove(0);
            }
        }
        result
    }

    /// The deep features of these texts, if each was kept in one of the `interval - 1` steps before this one: calls of the same step
    /// make theirs anew.
    pub fn deep(&mut self, step: usize, interval: usize, texts: &[Text]) -> Option<DeepFeatures> {
        self.deep.retain(|kept| step.saturating_sub(kept.step) < interval);
        let rows = texts.iter().map(|text| {
            let mut kept = self.deep.iter();
            let kept = kept.find(|kept| kept.text == *text && kept.step < step);
            kept.map(|kept| kept.features.clone())
        });
        DeepFeatures::join(&rows.collect::<Option<Vec<_>>>()?)
    }

    /// Keeps deep features of these texts, one row each.
    pub fn keep(&mut self, step: usize, texts: &[Text], deep: &DeepFeatures) {
        self.deep.retain(|kept| !texts.contains(&kept.text));
        let rows = texts.iter().zip(deep.split());
        self.deep
            .extend(rows.map(|(&text, features)| Kept { text, step, features }));
    }
}

impl Held {
    fn bytes(&self) -> usize {
        self.texts.iter().map(|(_, text)| text.bytes()).sum()
    }
}
