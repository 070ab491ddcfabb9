//! The pipeline, as callers see it.

mod builder;
mod networks;
mod predictions;
mod texts;

use std::{path::Path, sync::Arc};

use sd_core::{
    Dtype, WeightDtype,
    checkpoint::{Checkpoint, Layout},
    config::Part,
    models::TinyVae,
    weights::TensorFile,
};
use sd_kernels::OperationTime;
use sd_sched::Prediction;

use crate::{
    GenerateParams, Lora, MemoryPlan, PromptPlan, Recommended, Request, Result,
    model::{Model, Runtime, Source, check_file, check_folder, tiny_file},
    run::{Components, Replica},
};

pub use builder::PipelineBuilder;

/// A loaded checkpoint, ready to draw.
///
/// `Send + Sync`: share it by reference or in an `Arc` and generate from several threads at once; each gets what it would get alone.
///
/// Pipelines that differ in some parts or weights share the others: [`with_loras`](Self::with_loras), [`with_vae`](Self::with_vae).
/// To change the checkpoint, build another pipeline and drop this one, whose memory is then free. The checkpoint's files stay mapped
/// (or its bytes kept) as long as a pipeline needs them.
pub struct Pipeline {
    /// On each device, one at least. The first does all but batches.
    replicas: Vec<Replica>,
    /// The names of the devices.
    devices: String,
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Pipeline({}, {}, {})",
            self.name(),
            self.device(),
            self.dtype()
        )
    }
}

impl Pipeline {
    /// Starts to describe a pipeline.
    pub fn builder() -> PipelineBuilder {
        PipelineBuilder::default()
    }

    /// A pipeline of one copy at least, on the devices of these names.
    fn of(replicas: Vec<Replica>, devices: String) -> Self {
        Self { replicas, devices }
    }

    /// A pipeline of what becomes of each copy.
    fn changed(&self, change: impl Fn(&Components) -> Result<Components>) -> Result<Self> {
        let replicas = self.replicas.iter();
        let replicas = replicas.map(|replica| Ok(change(&replica.components)?.into()));
        let replicas: Vec<Replica> = replicas.collect::<Result<_>>()?;
        Ok(Self::of(replicas, self.devices.clone()))
    }

    /// A pipeline for each of its devices, to draw other pictures on each at the same time, in threads of the caller's. A batch is dealt out to
    /// devices without that.
    pub fn apart(self) -> Vec<Self> {
        let alone = |replica: Replica| {
            let device = replica.components.model.target.device.name().to_owned();
            Self::of(vec![replica], device)
        };
        self.replicas.into_iter().map(alone).collect()
    }

    pub(crate) fn components(&self) -> &Components {
        &self.replicas[0].components
    }

    pub(crate) fn model(&self) -> &Model {
        &self.components().model
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.components().runtime
    }

    /// The same pipeline with another autoencoder: a single file with a VAE in it, or a diffusers folder, of a VAE or of a whole
    /// pipeline; or a tiny one (TAESD). Everything else is shared.
    ///
    /// # Errors
    /// [`Error::Core`](crate::Error::Core) if it can't be read or doesn't fit.
    pub fn with_vae(&self, path: impl AsRef<Path>) -> Result<Self> {
        self.with_vae_of(&Source::Path(path.as_ref().to_owned()))
    }

    /// The same with a file's bytes; `name` stands for it in errors.
    ///
    /// # Errors
    /// As [`with_vae`](Self::with_vae).
    pub fn with_vae_bytes(&self, name: impl Into<String>, bytes: impl Into<Arc<[u8]>>) -> Result<Self> {
        self.with_vae_of(&Source::Bytes(name.into(), bytes.into()))
    }

    fn with_vae_of(&self, source: &Source) -> Result<Self> {
        self.changed(|components| {
            if let Some(file) = tiny_file(source) {
                return components.with_tiny_vae(file);
            }
            let mut checkpoint = Checkpoint::clone(&components.model.checkpoint);
            match source {
                Source::Path(path) => checkpoint.replace_part(Part::Vae, path)?,
                Source::Bytes(name, bytes) => {
                    let file = TensorFile::from_bytes(name.as_str(), bytes.clone())?;
                    checkpoint.replace_part_by_file(Part::Vae, file)?;
                }
            }
            components.with_vae(checkpoint)
        })
    }

    /// The same pipeline with these LoRAs instead of its own; with none, as it was without any, to the bit.
    ///
    /// Weights are made anew from the base in the checkpoint's files, which stay mapped; nothing is subtracted. All that the LoRAs
    /// don't change is shared between both pipelines, so the new one takes memory for the layers that they do change.
    /// [`set_loras`](Self::set_loras) takes none, but leaves only one pipeline.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) if a weight is out of its range, [`Error::Lora`](crate::Error::Lora) or
    /// [`Error::Core`](crate::Error::Core) if a file can't be read or doesn't fit the model.
    pub fn with_loras<L: Into<Lora>>(&self, loras: impl IntoIterator<Item = L>) -> Result<Self> {
        let loras: Vec<Lora> = loras.into_iter().map(Into::into).collect();
        self.changed(|components| components.with_loras(loras.clone()))
    }

    /// Replaces this pipeline's LoRAs by these. Gives what [`with_loras`](Self::with_loras) gives, but lets the old weights go one by
    /// one as the new ones are made.
    ///
    /// # Errors
    /// As [`with_loras`](Self::with_loras); then nothing has changed.
    pub fn set_loras<L: Into<Lora>>(&mut self, loras: impl IntoIterator<Item = L>) -> Result<()> {
        let loras: Vec<Lora> = loras.into_iter().map(Into::into).collect();
        let before: Vec<Lora> = self.loras().cloned().collect();
        for place in 0..self.replicas.len() {
            if let Err(error) = self.replicas[place].set_loras(loras.clone()) {
                for changed in &mut self.replicas[..place] {
                    changed.set_loras(before.clone())?;
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// The LoRAs that it has, in the order in which they are added to the weights.
    pub fn loras(&self) -> impl ExactSizeIterator<Item = &Lora> {
        self.components().loras.iter()
    }

    /// Names of the textual inversions that prompts may use.
    pub fn embeddings(&self) -> impl Iterator<Item = &str> {
        self.components().embeddings.names()
    }

    /// The files of embedding folders that were passed over, each with the reason.
    pub fn skipped_embeddings(&self) -> &[String] {
        &self.components().embeddings.skipped
    }

    /// A request for a picture. Settings that it leaves open have the values that the checkpoint recommends
    /// ([`recommended`](Self::recommended)), else the WebUI's defaults.
    pub fn txt2img(&self, prompt: impl Into<String>) -> Request<'_> {
        Request::new(&self.replicas).prompt(prompt)
    }

    /// The plan of a picture's prompts: texts by step, chunks, tokens with their places and weights, LoRAs, and embeddings, with those that
    /// the tags' LoRAs bring along.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) if a value is out of its range, or a `<lora:..>` tag's argument has no
    /// meaning; as [`with_loras`](Self::with_loras) if a LoRA that was found can't be used.
    pub fn plan_prompts(&self, params: &GenerateParams) -> Result<PromptPlan> {
        self.components().plan_prompts(params)
    }

    /// The part of the CPU's memory that a picture of this size takes, drawn from noise with the pipeline's own weights; a GPU's own memory
    /// is not counted, and of several devices the first one's is. [`Request::memory_plan`] counts a run's LoRAs and pictures too.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) for sizes that can't be drawn.
    pub fn memory_plan(&self, width: u32, height: u32) -> Result<MemoryPlan> {
        let mut params = GenerateParams::default();
        (params.size.width, params.size.height) = (Some(width), Some(height));
        self.memory_plan_for(&params)
    }

    /// The same for a run with these parameters: tiles take less, a hires pass and LoRAs that prompts name take more.
    ///
    /// # Errors
    /// As [`Request::memory_plan`].
    pub fn memory_plan_for(&self, params: &GenerateParams) -> Result<MemoryPlan> {
        self.txt2img("").params(params.clone()).memory_plan()
    }

    /// The bytes that a pipeline made by [`with_loras`](Self::with_loras) takes beside this one: those of the layers that its LoRAs or this
    /// one's change.
    ///
    /// # Errors
    /// As [`with_loras`](Self::with_loras).
    pub fn memory_of_loras<L: Into<Lora>>(&self, loras: impl IntoIterator<Item = L>) -> Result<u64> {
        self.components()
            .bytes_of_loras(loras.into_iter().map(Into::into).collect())
    }

    /// The bytes that a pipeline made by [`with_vae`](Self::with_vae) takes beside this one: those of the autoencoder.
    ///
    /// # Errors
    /// As [`with_vae`](Self::with_vae).
    pub fn memory_of_vae(&self, path: impl AsRef<Path>) -> Result<u64> {
        let model = self.model();
        let source = Source::Path(path.as_ref().to_owned());
        if let Some(file) = tiny_file(&source) {
            return Ok(TinyVae::weight_bytes_of(&file, &model.target) as u64);
        }
        let mut checkpoint = Checkpoint::clone(&model.checkpoint);
        checkpoint.replace_part(Part::Vae, path.as_ref())?;
        Ok(checkpoint.part_bytes(Part::Vae, &[], &model.target) as u64)
    }

    /// Writes the pipeline as a diffusers folder: weights with its LoRAs merged into them, configurations, tokenizer, noise schedule.
    ///
    /// Everything is made from the base in the checkpoint's files, in `f32` until the cast to `dtype`, one tensor at a time; the type
    /// that the pipeline computes in doesn't matter. The folder appears under its name when it is whole and on the disk. Textual
    /// inversions stay files of their own.
    ///
    /// # Errors
    /// [`Error::Core`](crate::Error::Core) if it can't be written, a folder with something in it is there already, or values go beyond
    /// the type's range; [`Error::InvalidParameter`](crate::Error::InvalidParameter) if the name ends as a file of weights does.
    pub fn save_folder(&self, path: impl AsRef<Path>, dtype: Dtype) -> Result<()> {
        check_folder(path.as_ref())?;
        Ok(self.merged().save_folder(path.as_ref(), dtype)?)
    }

    /// Writes the pipeline as a single `.safetensors` file in LDM's layout, likewise. An existing file is replaced, which programs that
    /// have it open don't notice; its permissions and links to it stay. Its metadata carries the configurations, and the tokenizer unless
    /// it is CLIP's own.
    ///
    /// # Errors
    /// As [`save_folder`](Self::save_folder), and if the name ends as another format's.
    pub fn save_file(&self, path: impl AsRef<Path>, dtype: Dtype) -> Result<()> {
        check_file(path.as_ref())?;
        Ok(self.merged().save_file(path.as_ref(), dtype)?)
    }

    fn merged(&self) -> Checkpoint {
        self.model().merged(&self.components().loras.patches())
    }

    /// The settings that the checkpoint recommends; most don't.
    pub fn recommended(&self) -> &Recommended {
        &self.model().recommended
    }

    /// The checkpoint's name: its file's or folder's, without extension.
    pub fn name(&self) -> &str {
        &self.model().name
    }

    /// The refiner's name, if the pipeline has one.
    pub fn refiner_name(&self) -> Option<&str> {
        let refiner = self.components().refiner.as_ref()?;
        Some(&refiner.model.name)
    }

    /// The layout of the checkpoint.
    pub fn layout(&self) -> Layout {
        self.model().checkpoint.layout()
    }

    /// The device that it computes on, "auto" resolved; of several all their names with commas between them.
    pub fn device(&self) -> &str {
        &self.devices
    }

    /// The type that it computes in; of several devices the first one's.
    pub fn dtype(&self) -> Dtype {
        self.model().target.dtype
    }

    /// The type that weights are kept in.
    pub fn weight_dtype(&self) -> WeightDtype {
        self.model().target.weights
    }

    /// The time that each kind of operation took on the CPU so far, the longest first; empty without [`PipelineBuilder::profile`]. Of several
    /// devices the first one's.
    pub fn profile(&self) -> Vec<OperationTime> {
        self.runtime().account()
    }

    /// The prediction type of the U-Net.
    pub fn prediction(&self) -> Prediction {
        self.model().sampling.prediction()
    }
}

#[cfg(test)]
mod tests {
    fn shared<T: Send + Sync>() {}

    #[test]
    fn a_pipeline_is_shared_between_threads() {
        shared::<super::Pipeline>();
    }
}
