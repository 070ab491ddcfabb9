//! The description of a pipeline.

mod build;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use sd_core::{Dtype, Quantization, WeightDtype, config::Part, output, weights::Folder};
use sd_sched::Prediction;

use super::Pipeline;
use crate::{
    LogLevel, Lora, MemoryPlan, Request, Result,
    model::{Log, Machine, Source, check_file, check_folder},
};

/// A description of a pipeline: its weights, device and types.
#[derive(Default)]
#[must_use = "a builder does nothing until `build`"]
pub struct PipelineBuilder {
    checkpoint: Option<CheckpointSource>,
    config: Option<PathBuf>,
    parts: Vec<(Part, Source)>,
    tokenizer: Option<PathBuf>,
    refiner: Option<PathBuf>,
    taesd: Option<PathBuf>,
    /// The tiny autoencoder that was given as the VAE.
    tiny_vae: Option<Source>,
    loras: Vec<Lora>,
    lora_folders: Vec<PathBuf>,
    embeddings: Vec<Source>,
    upscalers: Vec<PathBuf>,
    machine: Machine,
    weight_dtype: WeightDtype,
    lets_text_encoders_go: bool,
    quantization: Quantization,
    prediction: Option<Prediction>,
    predictions: Option<PathBuf>,
    allow_unexpected: bool,
    memory_limit: Option<u64>,
    profile: bool,
    log: Option<Log>,
}

enum CheckpointSource {
    File(Source),
    Folder(Folder),
}

impl PipelineBuilder {
    /// The checkpoint: a diffusers folder or a single file (safetensors, PyTorch's or GGUF).
    pub fn checkpoint(mut self, path: impl Into<PathBuf>) -> Self {
        self.checkpoint = Some(CheckpointSource::File(Source::Path(path.into())));
        self
    }

    /// The checkpoint as a single file's bytes; `name` stands for it in errors and infotexts.
    pub fn checkpoint_bytes(mut self, name: impl Into<String>, bytes: impl Into<Arc<[u8]>>) -> Self {
        self.checkpoint = Some(CheckpointSource::File(Source::Bytes(name.into(), bytes.into())));
        self
    }

    /// The checkpoint as a diffusers folder's files under their relative names ("unet/config.json"); `name` stands for it in errors
    /// and infotexts.
    pub fn checkpoint_files(mut self, name: impl Into<String>, files: HashMap<String, Arc<[u8]>>) -> Self {
        self.checkpoint = Some(CheckpointSource::Folder(Folder::Memory(name.into(), files)));
        self
    }

    /// The small model that is compiled in, trained for this project on pictures of coloured shapes.
    #[cfg(feature = "demo")]
    pub fn demo(mut self) -> Self {
        self.checkpoint = Some(CheckpointSource::Folder(crate::model::demo_folder()));
        self
    }

    /// A diffusers folder whose `config.json` files describe the single-file checkpoint, where the file does not say it itself and
    /// belongs to no known family. Its tokenizer is taken too, if the file carries none. No weights are read from there.
    pub fn config(mut self, folder: impl Into<PathBuf>) -> Self {
        self.config = Some(folder.into());
        self
    }

    /// Another autoencoder than the checkpoint's, which may lack one: a single file with a VAE in it, alone or among other parts, under
    /// LDM's names or diffusers', or a diffusers folder, of a VAE or of a whole pipeline. A tiny autoencoder (TAESD, its file or its diffusers
    /// folder) may stand for the checkpoint's own as well, which is then not loaded: pictures are decoded, and encoded if its encoder is there,
    /// in a small part of the time and nearly as well. What is saved keeps the checkpoint's own.
    pub fn vae(self, path: impl Into<PathBuf>) -> Self {
        self.part(Part::Vae, Source::Path(path.into()))
    }

    /// The same as a single file's bytes; `name` stands for it in errors.
    pub fn vae_bytes(self, name: impl Into<String>, bytes: impl Into<Arc<[u8]>>) -> Self {
        self.part(Part::Vae, Source::Bytes(name.into(), bytes.into()))
    }

    /// Another text encoder than the checkpoint's, which may lack one, from the same kinds of files as a VAE. If a tokenizer comes with it,
    /// that is taken too.
    pub fn text_encoder(self, path: impl Into<PathBuf>) -> Self {
        self.part(Part::TextEncoder, Source::Path(path.into()))
    }

    /// Another second text encoder than the checkpoint's, for SDXL, as [`text_encoder`](Self::text_encoder) is for the first one.
    pub fn text_encoder_2(self, path: impl Into<PathBuf>) -> Self {
        self.part(Part::TextEncoder2, Source::Path(path.into()))
    }

    /// Another U-Net than the checkpoint's, which may lack one, from the same kinds of files as a VAE. If its source states a prediction
    /// type, that counts.
    pub fn unet(self, path: impl Into<PathBuf>) -> Self {
        self.part(Part::Unet, Source::Path(path.into()))
    }

    /// Another tokenizer than the checkpoint's for its (first) text encoder: its folder (with `tokenizer.json`, or with `vocab.json` and
    /// `merges.txt`), a pipeline's, or a `tokenizer.json`. A single file hardly ever carries one, and CLIP's own is taken where it doesn't.
    pub fn tokenizer(mut self, path: impl Into<PathBuf>) -> Self {
        self.tokenizer = Some(path.into());
        self
    }

    /// A second checkpoint that takes over on the way from noise to the picture, SDXL's refiner for one: at
    /// [`refiner_switch_at`](crate::SamplingParams::refiner_switch_at). It encodes the prompts by itself, has no LoRAs, and needs no
    /// autoencoder; its latents must be those of the checkpoint. Calls of single networks, and what is saved, are the checkpoint's.
    pub fn refiner(mut self, path: impl Into<PathBuf>) -> Self {
        self.refiner = Some(path.into());
        self
    }

    /// A tiny autoencoder (TAESD) for [`PreviewMethod::Taesd`](crate::PreviewMethod::Taesd): diffusers' `AutoencoderTiny` as a single file, or
    /// the original's decoder (`taesd_decoder`, for SDXL `taesdxl_decoder`), as `.safetensors` or `.pth`. It takes no part in pictures.
    pub fn taesd(mut self, path: impl Into<PathBuf>) -> Self {
        self.taesd = Some(path.into());
        self
    }

    fn part(mut self, part: Part, source: Source) -> Self {
        self.parts.push((part, source));
        self
    }

    /// Adds a LoRA or another adapter, of any usual kind. `weight` is the weight on the networks: 1 is as trained, 0 is no effect. Any
    /// number may be added; [`loras`](Self::loras) takes LoRAs with more settings.
    pub fn lora(self, path: impl Into<PathBuf>, weight: f64) -> Self {
        self.loras([Lora::file(path).weight(weight)])
    }

    /// The same from a file's bytes; `name` is the name in prompts and infotexts.
    pub fn lora_bytes(self, name: impl Into<String>, bytes: impl Into<Arc<[u8]>>, weight: f64) -> Self {
        self.loras([Lora::bytes(name, bytes).weight(weight)])
    }

    /// Adds LoRAs, in this order.
    pub fn loras<L: Into<Lora>>(mut self, loras: impl IntoIterator<Item = L>) -> Self {
        self.loras.extend(loras.into_iter().map(Into::into));
        self
    }

    /// A folder whose LoRAs prompts may name, `<lora:name:weight>`, subfolders included: by file name without the ending, or by the name
    /// in a file's metadata (`ss_output_name`). They act in the runs whose prompt names them. May be given several times.
    pub fn lora_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.lora_folders.push(folder.into());
        self
    }

    /// A textual inversion, found in both prompts by its file's name: a `.pt`, `.bin` or `.safetensors` file or a PNG picture, or a
    /// folder of them. Files of a folder that can't be used are passed over ([`Pipeline::skipped_embeddings`]); of two with one name
    /// the first counts.
    pub fn embedding(mut self, path: impl Into<PathBuf>) -> Self {
        self.embeddings.push(Source::Path(path.into()));
        self
    }

    /// The same from a file's bytes; `name` is the name in prompts.
    pub fn embedding_bytes(mut self, name: impl Into<String>, bytes: impl Into<Arc<[u8]>>) -> Self {
        self.embeddings.push(Source::Bytes(name.into(), bytes.into()));
        self
    }

    /// A network that enlarges pictures (ESRGAN, Real-ESRGAN, compact ones), for [`hires_upscaler`](crate::HiresParams::hires_upscaler), which
    /// names it by its file's name without the ending. It computes as the pipeline does. May be given several times.
    pub fn upscaler(mut self, path: impl Into<PathBuf>) -> Self {
        self.upscalers.push(path.into());
        self
    }

    /// The device: "auto" (the default), "cpu", "cuda:0", "vulkan:0". Or several with commas between them, "cuda:0,cuda:1", or "cuda:all" and
    /// "vulkan:all": each has a copy of all networks, and pictures of a batch are dealt out ([`Request::run`]). All else is done by the first.
    pub fn device(mut self, name: impl Into<String>) -> Self {
        self.machine.device = Some(name.into());
        self
    }

    /// The type of arithmetic, and of all that passes through the networks. By default the faster one: on the CPU `bf16` if the processor
    /// multiplies it (AMX, AVX512-BF16, ARM's bf16), else `f32`; `f16` on a GPU. The CPU doesn't compute in `f16`: asked for it, it
    /// computes in `f32` with weights kept in `f16`.
    pub fn dtype(mut self, dtype: Dtype) -> Self {
        self.machine.dtype = Some(dtype);
        self
    }

    /// The type that weights are kept in on the CPU; by default that of their files, so that a checkpoint in 16 bits takes half the memory
    /// of `f32` whatever the type of arithmetic is. They are widened while they are used: pictures are those of the same weights in the
    /// arithmetic's type. GPUs keep them in that type.
    pub fn weight_dtype(mut self, weight_dtype: WeightDtype) -> Self {
        self.weight_dtype = weight_dtype;
        self
    }

    /// Whether text encoders stay in memory when a run's texts are encoded, which they do by default. Otherwise they are loaded when a text
    /// is new, and let go before the first step: SDXL's take 1.6 GB in 16 bits. Pictures don't depend on it. Where `memory_limit` is too
    /// small for all of them, it is done for the runs that need it.
    pub fn keep_text_encoders(mut self, keep: bool) -> Self {
        self.lets_text_encoders_go = !keep;
        self
    }

    /// The numbers that the U-Net's large layers compute in, on the CPU with `f32` or `bf16` around them; by default nothing is quantized.
    /// [`Quantization::Int8`] takes half the memory of 16 bits. It is faster on every processor with AVX2, most of all where that multiplies
    /// bytes (VNNI, AMX), and pictures change: docs/performance.md says by how much. [`Quantization::Auto`] is that where it is faster, and
    /// nothing elsewhere.
    pub fn quantization(mut self, quantization: Quantization) -> Self {
        self.quantization = quantization;
        self
    }

    /// The prediction type of the U-Net, where the checkpoint doesn't say it or says it wrongly. Without it the first of these counts: the
    /// files beside the weights (a folder's scheduler, a file's metadata or a tensor that marks it), the scheduler of
    /// [`config`](Self::config), eps.
    pub fn prediction(mut self, prediction: Prediction) -> Self {
        self.prediction = Some(prediction);
        self
    }

    /// A table of prediction types for checkpoints that don't say theirs, a JSON file from the SHA-256 of a file, or the first ten digits of
    /// it, to "epsilon", "v_prediction" or "sample". The file that holds the U-Net is hashed, which takes seconds; what the table says of it
    /// counts before all but [`prediction`](Self::prediction). None is built in.
    pub fn predictions(mut self, table: impl Into<PathBuf>) -> Self {
        self.predictions = Some(table.into());
        self
    }

    /// Whether tensors that belong to no part, and aren't known to be unneeded, are passed over and reported in the log; they are an error
    /// otherwise, since they may mean that the model is of another kind than it seems.
    pub fn allow_unexpected(mut self, allow: bool) -> Self {
        self.allow_unexpected = allow;
        self
    }

    /// The number of threads that the CPU computes with, 1 to 1024, for this pipeline alone; by default those that the whole process
    /// shares, one for each core. Pictures don't depend on it. GPUs pay no heed to it.
    pub fn threads(mut self, threads: usize) -> Self {
        self.machine.threads = Some(threads);
        self
    }

    /// The most memory that the process may take to load the pipeline and draw with it, in bytes; for the CPU, in `f32` and `bf16`. A model
    /// or picture that can't fit is refused before anything is loaded or drawn: [`Pipeline::memory_plan`] says what a size takes. Pictures
    /// don't depend on it. Layers that a prompt's LoRAs change count, and go once a prompt without these is drawn. If `cpu` is in a list of
    /// devices several times, so are all these amounts, while a plan tells of one. Not counted are other pipelines and runs at the same
    /// time: [`MemoryPlan::parallel`](crate::MemoryPlan::parallel) tells what these take.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// Keeps an account of the time that each operation takes on the CPU: [`Pipeline::profile`].
    pub fn profile(mut self, profile: bool) -> Self {
        self.profile = profile;
        self
    }

    /// A function that is called with each line of the pipeline's log: files that were opened and loaded, things that were passed over, the
    /// time that parts of a run took. It is called in the thread that builds or runs, by several at once if these are, and where several
    /// devices draw in a thread of each. Without it nothing is logged; nothing is ever printed.
    pub fn on_log(mut self, log: impl Fn(LogLevel, &str) + Send + Sync + 'static) -> Self {
        self.log = Some(Arc::new(log));
        self
    }

    /// Reads and checks everything, then loads it.
    ///
    /// # Errors
    /// [`InvalidParameter`](crate::Error::InvalidParameter) if there is no checkpoint, memory is limited to too little, or nothing can be
    /// quantized there, [`Core`](crate::Error::Core) if the checkpoint, the device or an embedding can't be used, or a part is missing,
    /// [`InvalidFile`](crate::Error::InvalidFile) if an embedding is for another kind of model, [`Lora`](crate::Error::Lora) if a LoRA can't
    /// be read or doesn't fit.
    pub fn build(self) -> Result<Pipeline> {
        self.made(false)
    }

    /// The memory that a run on the pipeline takes that [`build`](Self::build) would make: its weights are checked, and not loaded.
    /// `describe` gets an empty request, and says what is to be drawn. A `memory_limit` is not held against it.
    ///
    /// ```
    /// # #[cfg(feature = "demo")]
    /// # fn main() -> Result<(), sdrs::Error> {
    /// let plan = sdrs::Pipeline::builder()
    ///     .demo()
    ///     .memory_plan(|run| run.prompt("a red circle").width(192).height(128))?;
    /// println!("{} bytes at least, {} for four runs at once", plan.least(), plan.parallel(4).least());
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "demo"))]
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    /// As [`build`](Self::build) and [`Request::memory_plan`].
    pub fn memory_plan(mut self, describe: impl FnOnce(Request<'_>) -> Request<'_>) -> Result<MemoryPlan> {
        self.memory_limit = None;
        let pipeline = self.made(true)?;
        describe(pipeline.txt2img("")).memory_plan()
    }

    /// Writes the pipeline that [`build`](Self::build) would load as a diffusers folder, without loading it. See
    /// [`Pipeline::save_folder`].
    ///
    /// # Errors
    /// As [`build`](Self::build) and [`Pipeline::save_folder`].
    pub fn save_folder(mut self, path: impl AsRef<Path>, dtype: Dtype) -> Result<()> {
        check_folder(path.as_ref())?;
        output::check_folder(path.as_ref())?;
        Ok(self.merged()?.save_folder(path.as_ref(), dtype)?)
    }

    /// Writes the pipeline that [`build`](Self::build) would load as a single file, without loading it. See
    /// [`Pipeline::save_file`].
    ///
    /// # Errors
    /// As [`build`](Self::build) and [`Pipeline::save_file`].
    pub fn save_file(mut self, path: impl AsRef<Path>, dtype: Dtype) -> Result<()> {
        check_file(path.as_ref())?;
        output::check_regular_file(path.as_ref())?;
        Ok(self.merged()?.save_file(path.as_ref(), dtype)?)
    }
}
