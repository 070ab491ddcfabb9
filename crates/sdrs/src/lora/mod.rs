//! LoRAs: their files, weights and schedules, and their way into a model.

mod applied;
mod folders;
mod schedule;
mod tags;
mod unet;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use sd_lora::{BlockWeights, Strengths};

use crate::{Error, Result, model::Source};

pub(crate) use applied::Loras;
pub(crate) use folders::LoraFolders;
pub use schedule::{LoraSchedule, When};
pub(crate) use tags::lora_tags;
pub(crate) use unet::ScheduledUnet;

/// A LoRA or an adapter of another kind for a pipeline: a file with its weights. Textual inversions that come along in it are there for the
/// prompts of the pipelines that have it.
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
    /// A LoRA from a file, or from a folder that PEFT saved, with weight 1.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::of(Source::Path(path.into()))
    }

    /// A LoRA from a file's bytes; `name` stands for it in errors, prompts and infotexts. The bytes are kept as long as a pipeline has it.
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

    /// The weight on U-Net and text encoder: 1 is as trained (the default), 0 is no effect, negative the opposite; from -1000 to 1000.
    pub fn weight(self, weight: f64) -> Self {
        self.unet(weight).text_encoder(weight)
    }

    /// The weight on the U-Net alone.
    pub fn unet(mut self, weight: f64) -> Self {
        self.strengths.unet = weight;
        self
    }

    /// The weight on the text encoder alone.
    pub fn text_encoder(mut self, weight: f64) -> Self {
        self.strengths.text_encoder = weight;
        self
    }

    /// Factors for single blocks or layers, with which its weights are multiplied.
    pub fn blocks(mut self, blocks: BlockWeights) -> Self {
        self.strengths.blocks = Some(blocks);
        self
    }

    /// The number of its ranks that act, the first ones, 1 or more (`dyn=` in the WebUI); kinds whose ranks have no order are not cut.
    pub fn ranks(mut self, ranks: usize) -> Self {
        self.strengths.ranks = Some(ranks);
        self
    }

    /// Factors for the steps of a run, with which its weight on the U-Net is multiplied. Calls of single networks and saved files have no
    /// steps: there it has its whole weight. A pipeline holds it so, too; where a run's steps differ, the U-Net's layers that it changes
    /// are made anew, as [`Pipeline::set_loras`](crate::Pipeline::set_loras) does.
    pub fn schedule(mut self, schedule: LoraSchedule) -> Self {
        self.schedule = Some(schedule);
        self
    }

    /// Whether modules without a place in the model are passed over, and reported in the log; they are an error otherwise.
    pub fn allow_unmatched(mut self, allow: bool) -> Self {
        self.strengths.allow_unmatched = allow;
        self
    }

    /// Another name in prompts and infotexts than its file's.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The name in prompts: its file's name without folders and ending, unless it was given another.
    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.source.stem())
    }

    /// The file's path, or the name given with the bytes.
    pub fn origin(&self) -> String {
        self.source.origin()
    }

    /// The weight on the U-Net.
    pub fn unet_weight(&self) -> f64 {
        self.strengths.unet
    }

    /// The weight on the text encoder.
    pub fn text_encoder_weight(&self) -> f64 {
        self.strengths.text_encoder
    }

    /// The schedule of its weight over a run, if it has one.
    pub fn lora_schedule(&self) -> Option<&LoraSchedule> {
        self.schedule.as_ref()
    }

    /// Its weights on the networks, with factors for their blocks.
    pub fn strengths(&self) -> &Strengths {
        &self.strengths
    }

    /// Refuses weights that give no picture.
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |reason: String| Error::parameter("lora", format!("{}: {reason}", self.origin()));
        self.strengths.check().map_err(|error| match error {
            sd_lora::Error::Strength(reason) => refuse(reason),
            error => error.into(),
        })?;
        let schedule = self.schedule.as_ref();
        schedule.map_or(Ok(()), LoraSchedule::check).map_err(refuse)
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
