//! LoRAs: which, how strongly, and their way into a pipeline.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use sd_core::weights::{Checkpoint, FileId, WeightPatch, adapter_hash};

use crate::{Error, Pipeline, Result, source::Source};

/// An adapter for a pipeline: a file, and how strongly it acts.
///
/// ```no_run
/// # fn main() -> Result<(), sdrs::Error> {
/// use sdrs::{Lora, Pipeline};
///
/// let plain = Pipeline::builder().checkpoint("model.safetensors").build()?;
/// // The style on the pictures, half of it on the words.
/// let style = Lora::file("style.safetensors").unet(1.0).text_encoder(0.5);
/// let styled = plain.with_loras([style, Lora::file("detail.safetensors").weight(0.4)])?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Lora {
    source: Source,
    unet: f64,
    text_encoder: f64,
}

impl Lora {
    /// From a file, as strong as it was trained.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::of(Source::Path(path.into()))
    }

    /// From a file's bytes; `name` stands for it in errors, prompts and infotexts. The bytes are kept as long as a pipeline has it.
    pub fn bytes(name: impl Into<String>, bytes: impl Into<Arc<[u8]>>) -> Self {
        Self::of(Source::Bytes(name.into(), bytes.into()))
    }

    fn of(source: Source) -> Self {
        Self {
            source,
            unet: 1.0,
            text_encoder: 1.0,
        }
    }

    /// How strongly it acts on U-Net and text encoder: 1 is as trained (the default), 0 not at all, negative the opposite; from -1000
    /// to 1000.
    pub fn weight(self, weight: f64) -> Self {
        self.unet(weight).text_encoder(weight)
    }

    /// How strongly it acts on the U-Net.
    pub fn unet(mut self, weight: f64) -> Self {
        self.unet = weight;
        self
    }

    /// How strongly it acts on the text encoder.
    pub fn text_encoder(mut self, weight: f64) -> Self {
        self.text_encoder = weight;
        self
    }

    /// What prompts call it: its file's name without folders and ending.
    pub fn name(&self) -> String {
        self.source.stem()
    }

    /// The file's path, or the name given with the bytes.
    pub fn origin(&self) -> String {
        self.source.origin()
    }

    /// How strongly it acts on the U-Net.
    pub fn unet_weight(&self) -> f64 {
        self.unet
    }

    /// How strongly it acts on the text encoder.
    pub fn text_encoder_weight(&self) -> f64 {
        self.text_encoder
    }
}

impl From<&Lora> for Lora {
    fn from(lora: &Lora) -> Self {
        lora.clone()
    }
}

impl From<&Path> for Lora {
    fn from(path: &Path) -> Self {
        Self::file(path)
    }
}

impl From<PathBuf> for Lora {
    fn from(path: PathBuf) -> Self {
        Self::file(path)
    }
}

impl From<&str> for Lora {
    fn from(path: &str) -> Self {
        Self::file(path)
    }
}

impl<P: Into<PathBuf>> From<(P, f64)> for Lora {
    /// A file, and its weight.
    fn from((path, weight): (P, f64)) -> Self {
        Self::file(path).weight(weight)
    }
}

/// A LoRA that a pipeline has.
pub(crate) struct Applied {
    pub lora: Lora,
    /// `None` for bytes.
    id: Option<FileId>,
    patch: Arc<dyn WeightPatch>,
    hash: OnceLock<Option<String>>,
}

impl Applied {
    /// The hash that infotexts name it by, if its file is still the one that was applied.
    fn hash(&self) -> Option<&str> {
        let read = || {
            let file = self.lora.source.open().ok()?;
            (self.id == id(&self.lora.source).ok()?).then(|| adapter_hash(&file))
        };
        self.hash.get_or_init(read).as_deref()
    }

    /// Whether it is this LoRA, and its file has not been replaced since.
    fn is(&self, lora: &Lora) -> Result<bool> {
        Ok(self.lora == *lora && self.id == id(&lora.source)?)
    }
}

fn id(source: &Source) -> Result<Option<FileId>> {
    Ok(match source {
        Source::Path(path) => Some(FileId::of(path)?),
        Source::Bytes(..) => None,
    })
}

/// Finds every LoRA's place in the model; those that are applied `before` are taken from there, so that what they alone change can be
/// shared.
pub(crate) fn apply(
    loras: Vec<Lora>,
    checkpoint: &Checkpoint,
    before: &[Arc<Applied>],
) -> Result<Vec<Arc<Applied>>> {
    let mut parameters = None;
    let mut applied: Vec<Arc<Applied>> = Vec::with_capacity(loras.len());
    for lora in loras {
        for (part, weight) in [("U-Net", lora.unet), ("text encoder", lora.text_encoder)] {
            if !(weight.is_finite() && weight.abs() <= 1000.0) {
                let reason = format!(
                    "the weight of {} on the {part} must be a number from -1000 to 1000, not {weight}",
                    lora.origin()
                );
                return Err(Error::parameter("lora", reason));
            }
        }
        let mut same = None;
        for old in before {
            // One that is given twice acts twice, with a patch each.
            if old.is(&lora)? && !applied.iter().any(|new| Arc::ptr_eq(new, old)) {
                same = Some(old.clone());
                break;
            }
        }
        if let Some(same) = same {
            applied.push(same);
            continue;
        }
        if parameters.is_none() {
            parameters = Some(checkpoint.parameters()?);
        }
        let places = parameters.iter().flatten();
        let places = places.map(|(part, spellings)| (*part, spellings.as_slice()));
        let id = id(&lora.source)?;
        let patch = sd_lora::Lora::new(lora.source.open()?, places, lora.unet, lora.text_encoder)?;
        applied.push(Arc::new(Applied {
            patch: Arc::new(patch),
            lora,
            id,
            hash: OnceLock::new(),
        }));
    }
    Ok(applied)
}

pub(crate) fn patches(applied: &[Arc<Applied>]) -> Vec<Arc<dyn WeightPatch>> {
    applied.iter().map(|applied| applied.patch.clone()).collect()
}

fn listed<L: Into<Lora>>(loras: impl IntoIterator<Item = L>) -> Vec<Lora> {
    loras.into_iter().map(Into::into).collect()
}

impl Pipeline {
    /// The same pipeline with these LoRAs instead of those that it has; with none, as it was without any, to the bit.
    ///
    /// Weights are made anew from the base in the checkpoint's files, which stay mapped; nothing is subtracted. All that the LoRAs
    /// don't change is shared between both pipelines, so the new one takes memory for the layers that they do change.
    /// [`set_loras`](Self::set_loras) takes none, but leaves only one pipeline.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if a weight is out of its range, [`Error::Lora`] or [`Error::Core`] if a file can't be read or
    /// doesn't fit the model.
    pub fn with_loras<L: Into<Lora>>(&self, loras: impl IntoIterator<Item = L>) -> Result<Self> {
        let loras = apply(listed(loras), &self.checkpoint, &self.loras)?;
        self.with_applied(loras)
    }

    /// Replaces this pipeline's LoRAs by these. Gives what [`with_loras`](Self::with_loras) gives, but lets the old weights go one by
    /// one as the new ones are made.
    ///
    /// # Errors
    /// As [`with_loras`](Self::with_loras); then nothing has changed.
    pub fn set_loras<L: Into<Lora>>(&mut self, loras: impl IntoIterator<Item = L>) -> Result<()> {
        let loras = apply(listed(loras), &self.checkpoint, &self.loras)?;
        self.set_applied(loras)
    }

    /// The LoRAs that it has, in the order in which they are added to the weights.
    pub fn loras(&self) -> impl ExactSizeIterator<Item = &Lora> {
        self.loras.iter().map(|applied| &applied.lora)
    }

    /// Names and hashes of the LoRAs that act, for infotexts.
    pub(crate) fn lora_hashes(&self) -> Vec<(String, String)> {
        let hashes = self.loras.iter().filter_map(|applied| {
            let acts = applied.lora.unet != 0.0 || applied.lora.text_encoder != 0.0;
            let hash = acts.then(|| applied.hash()).flatten()?;
            Some((applied.lora.name(), hash.to_owned()))
        });
        hashes.collect()
    }
}
