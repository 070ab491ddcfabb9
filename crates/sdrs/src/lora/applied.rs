//! LoRAs that have found their place in a model.

use std::sync::{Arc, OnceLock};

use sd_core::{
    checkpoint::Checkpoint,
    embedding::Embedding,
    weights::{FileId, TensorFile, WeightPatch, adapter_hash},
};
use sd_lora::{Adapter, AdapterFile, ModelNames, Strengths};

use super::Lora;
use crate::{
    Result,
    model::{Patches, Runtime, Source},
};

/// A LoRA with its place in a model.
pub(crate) struct Applied {
    pub lora: Lora,
    /// `None` for bytes.
    id: Option<FileId>,
    patch: Arc<Adapter>,
    /// Textual inversions that come along in the file.
    pub embeddings: Vec<Embedding>,
    hash: OnceLock<Option<String>>,
}

impl Applied {
    /// The hash that infotexts name it by, if its file is still the one that was applied.
    fn hash(&self) -> Option<&str> {
        let read = || {
            let file = match &self.lora.source {
                Source::Path(path) => TensorFile::open(&AdapterFile::tensors_at(path)).ok()?,
                bytes => bytes.open().ok()?,
            };
            (self.id == id(&self.lora.source).ok()?).then(|| adapter_hash(&file))
        };
        self.hash.get_or_init(read).as_deref()
    }

    /// Whether it is this LoRA, and its file has not been replaced since.
    pub fn is(&self, lora: &Lora) -> Result<bool> {
        Ok(self.lora == *lora && self.id == id(&lora.source)?)
    }
}

fn id(source: &Source) -> Result<Option<FileId>> {
    Ok(match source {
        Source::Path(path) => Some(FileId::of(&AdapterFile::tensors_at(path))?),
        Source::Bytes(..) => None,
    })
}

/// The LoRAs of a model, in the order in which they are added to its weights.
#[derive(Clone, Default)]
pub(crate) struct Loras(Vec<Arc<Applied>>);

impl Loras {
    /// Finds the places of other LoRAs in the checkpoint; they replace these. A LoRA that is in both sets is taken over, so that layers
    /// which it alone changes can be shared.
    pub fn replaced(&self, loras: Vec<Lora>, checkpoint: &Checkpoint, runtime: &Runtime) -> Result<Self> {
        let mut names = None;
        let mut applied: Vec<Arc<Applied>> = Vec::with_capacity(loras.len());
        for lora in loras {
            // Before any file is opened.
            lora.check()?;
            let mut same = None;
            for old in &self.0 {
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
            let names = match &names {
                Some(names) => names,
                None => names.insert(ModelNames::new(&checkpoint.parameters()?)),
            };
            let file = match &lora.source {
                Source::Path(path) => AdapterFile::open(path)?,
                bytes => AdapterFile::from_tensors(bytes.open()?)?,
            };
            let id = id(&lora.source)?;
            let patch = file.bind(names, &lora.strengths)?;
            let Strengths {
                unet, text_encoder, ..
            } = lora.strengths;
            runtime.info(|| {
                let origin = lora.origin();
                format!("opened {origin}: {unet} on the U-Net, {text_encoder} on the text encoder")
            });
            for note in file.notes() {
                runtime.warn(format_args!("{}: {note}", lora.origin()));
            }
            for unmatched in patch.unmatched() {
                runtime.warn(format_args!("{}: passed over: {unmatched}", lora.origin()));
            }
            applied.push(Arc::new(Applied {
                embeddings: file.embeddings()?,
                patch: Arc::new(patch),
                lora,
                id,
                hash: OnceLock::new(),
            }));
        }
        Ok(Self(applied))
    }

    /// The LoRAs themselves.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Lora> {
        self.0.iter().map(|applied| &applied.lora)
    }

    /// The LoRAs with what comes along in their files.
    pub fn embeddings(&self) -> impl Iterator<Item = (&Lora, &[Embedding])> {
        self.0
            .iter()
            .map(|applied| (&applied.lora, applied.embeddings.as_slice()))
    }

    /// Changes of the model's weights.
    pub fn patches(&self) -> Patches {
        let patches = self.0.iter();
        patches
            .map(|applied| applied.patch.clone() as Arc<dyn WeightPatch>)
            .collect()
    }

    /// The changes of those that follow no schedule, if others do.
    pub fn steady_patches(&self) -> Option<Patches> {
        let steady = self
            .0
            .iter()
            .filter(|applied| applied.lora.lora_schedule().is_none());
        let steady = steady.map(|applied| applied.patch.clone() as Arc<dyn WeightPatch>);
        Some(steady.collect()).filter(|steady: &Patches| steady.len() < self.0.len())
    }

    /// Names and hashes of the LoRAs that act, for infotexts.
    pub fn hashes(&self) -> Vec<(String, String)> {
        let hashes = self.0.iter().filter_map(|applied| {
            let acts = applied.lora.unet_weight() != 0.0 || applied.lora.text_encoder_weight() != 0.0;
            let hash = acts.then(|| applied.hash()).flatten()?;
            Some((applied.lora.name(), hash.to_owned()))
        });
        hashes.collect()
    }

    /// Whether they are the LoRAs `loras` and no others, their files unchanged.
    pub fn are(&self, loras: &[Lora]) -> Result<bool> {
        if loras.len() != self.0.len() {
            return Ok(false);
        }
        for (applied, lora) in self.0.iter().zip(loras) {
            if !applied.is(lora)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
