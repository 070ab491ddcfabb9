//! The pipeline's description: `sdrs::PipelineBuilder`, kept as data so that it can be built more than once.

use std::{collections::HashMap, ffi::c_char, path::PathBuf, sync::Arc};

use sdrs::{BlockWeights, Dtype, LogLevel, Lora, Prediction, Quantization, WeightDtype};

use crate::{
    enums::{
        sdrs_dtype, sdrs_dtype_value, sdrs_prediction, sdrs_prediction_value, sdrs_quantization,
        sdrs_quantization_value, sdrs_weight_dtype, sdrs_weight_dtype_value, value,
    },
    error::{Failure, Result, guard, sdrs_status},
    pipeline::sdrs_pipeline,
    pointer::{Out, free, object, object_mut, path, slice, string},
};

/// Describes a pipeline: which weights, where, in which type.
pub struct sdrs_builder {
    pub(crate) source: Option<Source>,
    config: Option<PathBuf>,
    vae: Option<PathBuf>,
    tokenizer: Option<PathBuf>,
    pub(crate) taesd: Option<PathBuf>,
    text_encoder: Option<PathBuf>,
    text_encoder_2: Option<PathBuf>,
    unet: Option<PathBuf>,
    refiner: Option<PathBuf>,
    allow_unexpected: bool,
    pub(crate) loras: Vec<Lora>,
    pub(crate) lora_folders: Vec<PathBuf>,
    embeddings: Vec<Embedding>,
    upscalers: Vec<PathBuf>,
    device: Option<String>,
    dtype: Option<Dtype>,
    weight_dtype: WeightDtype,
    keep_text_encoders: bool,
    quantization: Quantization,
    prediction: Option<Prediction>,
    predictions: Option<PathBuf>,
    pub(crate) threads: Option<usize>,
    memory_limit: Option<u64>,
    pub(crate) log: Option<Log>,
}
crate::pointer::handle!(sdrs_builder, 1);

/// A caller's log.
pub(crate) type Log = Arc<dyn Fn(LogLevel, &str) + Send + Sync>;

pub(crate) enum Source {
    Path(PathBuf),
    Bytes(String, Arc<[u8]>),
    Files(String, HashMap<String, Arc<[u8]>>),
    Demo,
}

enum Embedding {
    Path(PathBuf),
    Bytes(String, Arc<[u8]>),
}

impl sdrs_builder {
    fn last_lora(&mut self) -> Result<&mut Lora> {
        let none = || Failure::argument("builder", "has no LoRA yet: add one first");
        self.loras.last_mut().ok_or_else(none)
    }

    fn pipeline(&self) -> Result<sdrs::Pipeline> {
        let mut builder = sdrs::Pipeline::builder();
        builder = match &self.source {
            // The library says what is missing.
            None => builder,
            Some(Source::Path(path)) => builder.checkpoint(path),
            Some(Source::Bytes(name, bytes)) => builder.checkpoint_bytes(name, Arc::clone(bytes)),
            Some(Source::Files(name, files)) => builder.checkpoint_files(name, files.clone()),
            Some(Source::Demo) => demo(builder)?,
        };
        if let Some(folder) = &self.config {
            builder = builder.config(folder);
        }
        if let Some(path) = &self.vae {
            builder = builder.vae(path);
        }
        if let Some(path) = &self.tokenizer {
            builder = builder.tokenizer(path);
        }
        if let Some(path) = &self.taesd {
            builder = builder.taesd(path);
        }
        if let Some(path) = &self.text_encoder {
            builder = builder.text_encoder(path);
        }
        if let Some(path) = &self.text_encoder_2 {
            builder = builder.text_encoder_2(path);
        }
        if let Some(path) = &self.unet {
            builder = builder.unet(path);
        }
        if let Some(path) = &self.refiner {
            builder = builder.refiner(path);
        }
        builder = builder.allow_unexpected(self.allow_unexpected);
        builder = builder.loras(&self.loras);
        for folder in &self.lora_folders {
            builder = builder.lora_dir(folder);
        }
        for path in &self.upscalers {
            builder = builder.upscaler(path);
        }
        for embedding in &self.embeddings {
            builder = match embedding {
                Embedding::Path(path) => builder.embedding(path),
                Embedding::Bytes(name, bytes) => builder.embedding_bytes(name, Arc::clone(bytes)),
            };
        }
        if let Some(device) = &self.device {
            builder = builder.device(device);
        }
        if let Some(dtype) = self.dtype {
            builder = builder.dtype(dtype);
        }
        builder = builder
            .weight_dtype(self.weight_dtype)
            .keep_text_encoders(self.keep_text_encoders)
            .quantization(self.quantization);
        if let Some(prediction) = self.prediction {
            builder = builder.prediction(prediction);
        }
        if let Some(table) = &self.predictions {
            builder = builder.predictions(table);
        }
        if let Some(threads) = self.threads {
            builder = builder.threads(threads);
        }
        if let Some(bytes) = self.memory_limit {
            builder = builder.memory_limit(bytes);
        }
        if let Some(log) = self.log.clone() {
            builder = builder.on_log(move |level, message| log(level, message));
        }
        Ok(builder.build()?)
    }
}

#[cfg(feature = "demo")]
fn demo(builder: sdrs::PipelineBuilder) -> Result<sdrs::PipelineBuilder> {
    Ok(builder.demo())
}

#[cfg(not(feature = "demo"))]
fn demo(_: sdrs::PipelineBuilder) -> Result<sdrs::PipelineBuilder> {
    Err(no_demo("checkpoint"))
}

/// Of the parameter that asks for the demo.
#[cfg(not(feature = "demo"))]
pub(crate) fn no_demo(name: &'static str) -> Failure {
    Failure::argument(name, "the demo model was not compiled into this library")
}

/// Starts to describe a pipeline.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_new(builder: *mut *mut sdrs_builder) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let out = unsafe { Out::new(builder, "builder") }?;
        out.give(sdrs_builder {
            source: None,
            config: None,
            vae: None,
            tokenizer: None,
            taesd: None,
            text_encoder: None,
            text_encoder_2: None,
            unet: None,
            refiner: None,
            allow_unexpected: false,
            loras: Vec::new(),
            lora_folders: Vec::new(),
            embeddings: Vec::new(),
            upscalers: Vec::new(),
            device: None,
            dtype: None,
            weight_dtype: WeightDtype::Auto,
            keep_text_encoders: true,
            quantization: Quantization::None,
            prediction: None,
            predictions: None,
            threads: None,
            memory_limit: None,
            log: None,
        });
        Ok(())
    })
}

/// Frees a builder; NULL is fine. Pipelines that it built stay.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_free(builder: *mut sdrs_builder) {
    // SAFETY: the caller keeps the header's rules for pointers.
    unsafe { free(builder) }
}

/// The checkpoint: a single file (safetensors, what PyTorch saves, GGUF), or a folder as diffusers writes it. Nothing in a pickle is run.
/// Files are opened when the pipeline is built.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_checkpoint(
    builder: *mut sdrs_builder,
    checkpoint: *const c_char,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (builder, path) = unsafe { (object_mut(builder, "builder")?, path(checkpoint, "checkpoint")?) };
        builder.source = Some(Source::Path(path));
        Ok(())
    })
}

/// The checkpoint as the bytes of a single file. They are copied: the caller may free them afterwards. `name` stands for the file in errors
/// and infotexts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_checkpoint_bytes(
    builder: *mut sdrs_builder,
    name: *const c_char,
    data: *const u8,
    size: usize,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (builder, name) = unsafe { (object_mut(builder, "builder")?, string(name, "name")?) };
        // SAFETY: as above.
        let data = unsafe { slice(data, size, "data") }?;
        builder.source = Some(Source::Bytes(name.to_owned(), data.into()));
        Ok(())
    })
}

/// Adds a file to a checkpoint that is a diffusers folder in memory: `file` is its path in the folder, such as "unet/config.json". The
/// bytes are copied. `name` stands for the folder in errors and infotexts; another name begins another folder.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_checkpoint_file(
    builder: *mut sdrs_builder,
    name: *const c_char,
    file: *const c_char,
    data: *const u8,
    size: usize,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (builder, name) = unsafe { (object_mut(builder, "builder")?, string(name, "name")?) };
        // SAFETY: as above.
        let (file, data) = unsafe { (string(file, "file")?, slice(data, size, "data")?) };
        let entry = (file.to_owned(), Arc::from(data));
        match &mut builder.source {
            Some(Source::Files(folder, files)) if folder == name => {
                files.insert(entry.0, entry.1);
            }
            source => *source = Some(Source::Files(name.to_owned(), HashMap::from([entry]))),
        }
        Ok(())
    })
}

/// The small model that is compiled in, trained for this project on pictures of coloured shapes.
///
/// `sdrs_builder_build` then fails with `SDRS_ERROR_INVALID_PARAMETER` if this library was built without it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_demo(builder: *mut sdrs_builder) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        unsafe { object_mut(builder, "builder") }?.source = Some(Source::Demo);
        Ok(())
    })
}

/// A diffusers folder whose `config.json` files describe a single-file checkpoint of an unusual shape. No weights are read from there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_config(
    builder: *mut sdrs_builder,
    config: *const c_char,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (builder, path) = unsafe { (object_mut(builder, "builder")?, path(config, "config")?) };
        builder.config = Some(path);
        Ok(())
    })
}

/// Another autoencoder than the checkpoint's, which may lack one: a file with a VAE in it, or a diffusers folder.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_vae(builder: *mut sdrs_builder, vae: *const c_char) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (builder, path) = unsafe { (object_mut(builder, "builder")?, path(vae, "vae")?) };
        builder.vae = Some(path);
        Ok(())
    })
}

/// Another tokenizer than the checkpoint's: its folder (with `tokenizer.json`, or with `vocab.json` and `merges.txt`), a diffusers folder, or
/// a `tokenizer.json`. A single file hardly ever carries one, and CLIP's own is taken where it doesn't.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_tokenizer(
    builder: *mut sdrs_builder,
    tokenizer: *const c_char,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (builder, path) = unsafe { (object_mut(builder, "builder")?, path(tokenizer, "tokenizer")?) };
        builder.tokenizer = Some(path);
        Ok(())
    })
}

/// Another text encoder than the checkpoint's, which may lack one, from the same kinds of files as a VAE. If a tokenizer comes with it, that
/// is taken too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_text_encoder(
    builder: *mut sdrs_builder,
    text_encoder: *const c_char,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let builder = unsafe { object_mut(builder, "builder") }?;
        // SAFETY: as above.
        builder.text_encoder = Some(unsafe { path(text_encoder, "text_encoder") }?);
        Ok(())
    })
}

/// Another second text encoder than the checkpoint's, for SDXL, as `sdrs_builder_text_encoder` takes another first one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_text_encoder_2(
    builder: *mut sdrs_builder,
    text_encoder_2: *const c_char,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let builder = unsafe { object_mut(builder, "builder") }?;
        // SAFETY: as above.
        builder.text_encoder_2 = Some(unsafe { path(text_encoder_2, "text_encoder_2") }?);
        Ok(())
    })
}

/// Another U-Net than the checkpoint's, which may lack one, from the same kinds of files as a VAE. If its source says what it predicts, that
/// counts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_unet(builder: *mut sdrs_builder, unet: *const c_char) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (builder, path) = unsafe { (object_mut(builder, "builder")?, path(unet, "unet")?) };
        builder.unet = Some(path);
        Ok(())
    })
}

/// Passes over tensors that belong to no part and aren't known to be unneeded, and reports them in the log. They are an error otherwise,
/// since they may mean that the model is of another kind than it seems.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_allow_unexpected(builder: *mut sdrs_builder) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        unsafe { object_mut(builder, "builder") }?.allow_unexpected = true;
        Ok(())
    })
}

/// Adds a LoRA or another adapter of any usual kind. `weight` is the weight on the networks: 1 is as trained, 0 is no effect. A `<lora:..>`
/// tag in a prompt names one that was added, by its file's name without extension, and gives it another weight for that run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_lora(
    builder: *mut sdrs_builder,
    lora: *const c_char,
    weight: f64,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (builder, path) = unsafe { (object_mut(builder, "builder")?, path(lora, "lora")?) };
        builder.loras.push(Lora::file(path).weight(weight));
        Ok(())
    })
}

/// A list's text, as `sdrs_builder_lora_blocks` takes it.
pub(crate) fn blocks(text: &str) -> Result<BlockWeights> {
    Ok(BlockWeights::parse(text).map_err(sdrs::Error::from)?)
}

/// Factors for the blocks of the LoRA that was added last, with which its weight is multiplied: 17 or 26 numbers with commas for SD1 and
/// SD2, 12 or 20 for SDXL, as the WebUI's block-weight extension lists them, the first for the text encoder; or the name of one of its own
/// lists, such as "OUTALL"; or factors by patterns of layers, "unet.*=0,unet.mid_block.*=0.5", of which the last that matches counts.
///
/// Fails with `SDRS_ERROR_INVALID_PARAMETER` if there is no LoRA, or for another number of factors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_lora_blocks(
    builder: *mut sdrs_builder,
    blocks: *const c_char,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (builder, blocks) = unsafe { (object_mut(builder, "builder")?, string(blocks, "blocks")?) };
        let blocks = self::blocks(blocks)?;
        let last = builder.last_lora()?;
        *last = last.clone().blocks(blocks);
        Ok(())
    })
}

/// Lets modules of the LoRA that was added last have no place in the model: they are passed over, and reported in the log. Otherwise they
/// are an error.
///
/// Fails with `SDRS_ERROR_INVALID_PARAMETER` if there is no LoRA.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_lora_allow_unmatched(builder: *mut sdrs_builder) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let last = unsafe { object_mut(builder, "builder") }?.last_lora()?;
        *last = last.clone().allow_unmatched(true);
        Ok(())
    })
}

/// Adds textual inversions: a file (`.pt`, `.bin`, `.safetensors`, or a PNG picture that carries one), or a folder of them. In both prompts a
/// file's name without extension stands for its vectors. Files of a folder that can't be used are passed over
/// (`sdrs_pipeline_skipped_embedding`); of two with one name the first counts. Files are read when the pipeline is built, which fails with
/// `SDRS_ERROR_INVALID_PARAMETER` for a file that is for another kind of model, or whose name is taken.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_embedding(
    builder: *mut sdrs_builder,
    embedding: *const c_char,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (builder, path) = unsafe { (object_mut(builder, "builder")?, path(embedding, "embedding")?) };
        builder.embeddings.push(Embedding::Path(path));
        Ok(())
    })
}

/// Adds a network that enlarges pictures (ESRGAN, Real-ESRGAN, compact ones) for `hires_upscaler`, which names it by its file's name
/// without the ending. It is read when the pipeline is built.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_upscaler(
    builder: *mut sdrs_builder,
    upscaler: *const c_char,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (builder, path) = unsafe { (object_mut(builder, "builder")?, path(upscaler, "upscaler")?) };
        builder.upscalers.push(path);
        Ok(())
    })
}

/// Adds a textual inversion as the bytes of such a file. They are copied. `name` is what prompts call it; only a picture that carries a name
/// of its own keeps that.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_embedding_bytes(
    builder: *mut sdrs_builder,
    name: *const c_char,
    data: *const u8,
    size: usize,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (builder, name) = unsafe { (object_mut(builder, "builder")?, string(name, "name")?) };
        // SAFETY: as above.
        let data = unsafe { slice(data, size, "data") }?;
        let embedding = Embedding::Bytes(name.to_owned(), data.into());
        builder.embeddings.push(embedding);
        Ok(())
    })
}

/// The device: "auto" (the default: a GPU if there is one), "cpu", "cuda:0", "vulkan:0". `sdrs_available_device` lists the kinds that this
/// library was built with. Or several with commas between them, "cuda:0,cuda:1", or "cuda:all" and "vulkan:all": each has a copy of all
/// networks, and the pictures of a batch are dealt out; all else is done by the first. An unknown one is noticed when the pipeline is built.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_device(
    builder: *mut sdrs_builder,
    device: *const c_char,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (builder, device) = unsafe { (object_mut(builder, "builder")?, string(device, "device")?) };
        builder.device = Some(device.to_owned());
        Ok(())
    })
}

/// Sets the type of arithmetic. F16 on a CPU is F32 with weights kept in F16.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_dtype(
    builder: *mut sdrs_builder,
    dtype: sdrs_dtype_value,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let builder = unsafe { object_mut(builder, "builder") }?;
        builder.dtype = value::<sdrs_dtype>(dtype)?;
        Ok(())
    })
}

/// Sets the type that weights are kept in on the CPU, AUTO by default: as their files have them. They are widened while they are used.
/// Building fails with SDRS_ERROR_INVALID_PARAMETER on a GPU, unless it is AUTO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_weight_dtype(
    builder: *mut sdrs_builder,
    weight_dtype: sdrs_weight_dtype_value,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let builder = unsafe { object_mut(builder, "builder") }?;
        builder.weight_dtype = value::<sdrs_weight_dtype>(weight_dtype)?;
        Ok(())
    })
}

/// Sets whether text encoders stay in memory when a run's texts are encoded, which they do by default. If `keep` is 0 they are loaded when
/// a text is new, and let go before the first step. Pictures don't depend on it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_keep_text_encoders(
    builder: *mut sdrs_builder,
    keep: i32,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let builder = unsafe { object_mut(builder, "builder") }?;
        builder.keep_text_encoders = keep != 0;
        Ok(())
    })
}

/// Sets the numbers that the U-Net's large layers compute in, on the CPU with f32 or bf16 around them. INT8 takes half the memory of 16
/// bits, and less time where the processor multiplies bytes, but pictures change. Building fails with SDRS_ERROR_INVALID_PARAMETER where it isn't possible.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_quantization(
    builder: *mut sdrs_builder,
    quantization: sdrs_quantization_value,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let builder = unsafe { object_mut(builder, "builder") }?;
        builder.quantization = value::<sdrs_quantization>(quantization)?;
        Ok(())
    })
}

/// Sets the prediction type of the U-Net, where the checkpoint doesn't say it or says it wrongly.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_prediction(
    builder: *mut sdrs_builder,
    prediction: sdrs_prediction_value,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let builder = unsafe { object_mut(builder, "builder") }?;
        builder.prediction = value::<sdrs_prediction>(prediction)?;
        Ok(())
    })
}

/// A JSON file with the prediction types of checkpoints that don't say theirs: from the SHA-256 of a file, or its first ten digits, to
/// "epsilon", "v_prediction" or "sample". The file that holds the U-Net is hashed, which takes seconds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_predictions(
    builder: *mut sdrs_builder,
    table: *const c_char,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let builder = unsafe { object_mut(builder, "builder") }?;
        // SAFETY: as above.
        builder.predictions = Some(unsafe { path(table, "table") }?);
        Ok(())
    })
}

/// Reads and checks everything, then loads it. The builder stays as it is, and may build again.
///
/// Fails with `SDRS_ERROR_INVALID_PARAMETER` if there is no checkpoint or an embedding doesn't fit, `SDRS_ERROR_UNKNOWN_NAME` for an unknown
/// device, `SDRS_ERROR_IO`, `SDRS_ERROR_INVALID_FILE`, `SDRS_ERROR_INVALID_WEIGHTS`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_build(
    builder: *const sdrs_builder,
    pipeline: *mut *mut sdrs_pipeline,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (builder, out) = unsafe { (object(builder, "builder")?, Out::new(pipeline, "pipeline")?) };
        out.give(sdrs_pipeline::new(builder.pipeline()?));
        Ok(())
    })
}

/// The most memory that the process may take to load a pipeline and draw with it, in bytes, for the CPU in f32 and bf16; 0 (the default) is
/// no limit. What can't fit is refused before anything is loaded, or drawn, with SDRS_ERROR_INVALID_PARAMETER and a message that says
/// what is needed. Pictures don't depend on it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_memory_limit(builder: *mut sdrs_builder, bytes: u64) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let builder = unsafe { object_mut(builder, "builder") }?;
        builder.memory_limit = (bytes != 0).then_some(bytes);
        Ok(())
    })
}

/// A second checkpoint that takes over on the way from noise to the picture, SDXL's refiner for one: at `refiner_switch_at` of a run's
/// parameters. It encodes the prompts by itself, has no LoRAs, and needs no autoencoder; its latents must be those of the checkpoint.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_refiner(
    builder: *mut sdrs_builder,
    refiner: *const c_char,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (builder, path) = unsafe { (object_mut(builder, "builder")?, path(refiner, "refiner")?) };
        builder.refiner = Some(path);
        Ok(())
    })
}
