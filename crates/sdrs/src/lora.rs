//! LoRAs: which, how strongly, and their way into a pipeline.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use sd_core::{
    checkpoint::Checkpoint,
    embedding::Embedding,
    weights::{FileId, TensorFile, WeightPatch, adapter_hash},
};
use sd_lora::{Adapter, AdapterFile, BlockWeights, ModelNames, Strengths};

use crate::{Error, LoraSchedule, Pipeline, Result, runtime::Runtime, source::Source};

/// A LoRA or an adapter of another kind for a pipeline: a file, and how strongly it acts. Textual inversions that come along in it are
/// there for the prompts of the pipelines that have it.
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
    name: Option<String>,
    strengths: Strengths,
    schedule: Option<LoraSchedule>,
}

impl Lora {
    /// From a file, or a folder that PEFT saved, as strong as it was trained.
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
            name: None,
            strengths: Strengths::default(),
            schedule: None,
        }
    }

    /// How strongly it acts on U-Net and text encoder: 1 is as trained (the default), 0 not at all, negative the opposite; from -1000
    /// to 1000.
    pub fn weight(self, weight: f64) -> Self {
        self.unet(weight).text_encoder(weight)
    }

    /// How strongly it acts on the U-Net.
    pub fn unet(mut self, weight: f64) -> Self {
        self.strengths.unet = weight;
        self
    }

    /// How strongly it acts on the text encoder.
    pub fn text_encoder(mut self, weight: f64) -> Self {
        self.strengths.text_encoder = weight;
        self
    }

    /// Factors for single blocks or layers, with which its weights are multiplied.
    pub fn blocks(mut self, blocks: BlockWeights) -> Self {
        self.strengths.blocks = Some(blocks);
        self
    }

    /// Of its ranks only the first so many, 1 or more (`dyn=` in the WebUI); kinds whose ranks have no order are not cut.
    pub fn ranks(mut self, ranks: usize) -> Self {
        self.strengths.ranks = Some(ranks);
        self
    }

    /// Factors for the steps of a run, with which its weight on the U-Net is multiplied. Where nothing has steps, in calls of single networks
    /// and in what is saved, it has its whole weight, and that is how a pipeline holds it: where a run's steps differ, the U-Net's layers
    /// that it changes are made anew, as [`Pipeline::set_loras`] does.
    pub fn schedule(mut self, schedule: LoraSchedule) -> Self {
        self.schedule = Some(schedule);
        self
    }

    /// Whether what has no place in the model is passed over, and told in the log; it is an error otherwise.
    pub fn allow_unmatched(mut self, allow: bool) -> Self {
        self.strengths.allow_unmatched = allow;
        self
    }

    /// Another name in prompts and infotexts than its file's.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// What prompts call it: its file's name without folders and ending, unless it was given another.
    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.source.stem())
    }

    /// The file's path, or the name given with the bytes.
    pub fn origin(&self) -> String {
        self.source.origin()
    }

    /// How strongly it acts on the U-Net.
    pub fn unet_weight(&self) -> f64 {
        self.strengths.unet
    }

    /// How strongly it acts on the text encoder.
    pub fn text_encoder_weight(&self) -> f64 {
        self.strengths.text_encoder
    }

    /// How that changes over a run, if it does.
    pub fn lora_schedule(&self) -> Option<&LoraSchedule> {
        self.schedule.as_ref()
    }

    /// How strongly it acts, and where.
    pub fn strengths(&self) -> &Strengths {
        &self.strengths
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
    patch: Arc<Adapter>,
    /// What comes along in the file.
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

/// Refuses weights that no picture comes of.
pub(crate) fn check(lora: &Lora) -> Result<()> {
    let refuse = |reason: String| Error::parameter("lora", format!("{}: {reason}", lora.origin()));
    lora.strengths.check().map_err(|error| match error {
        sd_lora::Error::Strength(reason) => refuse(reason),
        error => error.into(),
    })?;
    lora.schedule
        .as_ref()
        .map_or(Ok(()), LoraSchedule::check)
        .map_err(refuse)
}

/// Finds every LoRA's place in the model; those that are applied `before` are taken from there, so that what they alone change can be
/// shared.
pub(crate) fn apply(
    loras: Vec<Lora>,
    checkpoint: &Checkpoint,
    before: &[Arc<Applied>],
    runtime: &Runtime,
) -> Result<Vec<Arc<Applied>>> {
    let mut names = None;
    let mut applied: Vec<Arc<Applied>> = Vec::with_capacity(loras.len());
    for lora in loras {
        // Before any file is opened.
        check(&lora)?;
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
        let names = match &names {
            Some(names) => names,
            None => names.insert(ModelNames::new(&checkpoint.parameters()?)),
        };
        let id = id(&lora.source)?;
        let file = match &lora.source {
            Source::Path(path) => AdapterFile::open(path)?,
            bytes => AdapterFile::from_tensors(bytes.open()?)?,
        };
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
    Ok(applied)
}

pub(crate) fn patches(applied: &[Arc<Applied>]) -> Vec<Arc<dyn WeightPatch>> {
    let patches = applied
        .iter()
        .map(|applied| applied.patch.clone() as Arc<dyn WeightPatch>);
    patches.collect()
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
        let loras = apply(listed(loras), &self.checkpoint, &self.loras, &self.runtime)?;
        self.with_applied(loras)
    }

    /// Replaces this pipeline's LoRAs by these. Gives what [`with_loras`](Self::with_loras) gives, but lets the old weights go one by
    /// one as the new ones are made.
    ///
    /// # Errors
    /// As [`with_loras`](Self::with_loras); then nothing has changed.
    pub fn set_loras<L: Into<Lora>>(&mut self, loras: impl IntoIterator<Item = L>) -> Result<()> {
        let loras = apply(listed(loras), &self.checkpoint, &self.loras, &self.runtime)?;
        self.set_applied(loras)
    }

    /// The LoRAs that it has, in the order in which they are added to the weights.
    pub fn loras(&self) -> impl ExactSizeIterator<Item = &Lora> {
        self.loras.iter().map(|applied| &applied.lora)
    }

    /// Names and hashes of the LoRAs that act, for infotexts.
    pub(crate) fn lora_hashes(&self) -> Vec<(String, String)> {
        let hashes = self.loras.iter().filter_map(|applied| {
            let acts = applied.lora.unet_weight() != 0.0 || applied.lora.text_encoder_weight() != 0.0;
            let hash = acts.then(|| applied.hash()).flatten()?;
            Some((applied.lora.name(), hash.to_owned()))
        });
        hashes.collect()
    }
}
