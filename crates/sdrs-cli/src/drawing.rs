//! What is drawn, and by which pipeline: the options that drawing and planning share.

use std::path::{Path, PathBuf};

use sdrs::{GenerateParams, Given, Picture, Pipeline, PipelineBuilder, Quantization, WeightDtype};

use crate::{
    Failure,
    out::{log, note, shown},
    parts::{Parts, dtype},
    pictures::infotext,
    pictures::read,
    settings::Settings,
};

/// What is drawn, and by which pipeline.
#[derive(clap::Args)]
pub struct Drawing {
    /// Settings of a picture, from a PNG, JPEG or WebP with its infotext or from a text file with one; what else is given here wins.
    #[arg(long, value_name = "FILE")]
    pub from_infotext: Option<PathBuf>,
    /// The checkpoint: a diffusers folder or a single file, such as .safetensors, .ckpt or .gguf [default: the demo model that
    /// is compiled in].
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    #[command(flatten)]
    parts: Parts,
    /// A second checkpoint that takes over on the way from noise to the picture, such as SDXL's refiner: a file or a folder. It needs no
    /// VAE.
    #[arg(long, value_name = "PATH")]
    refiner: Option<PathBuf>,
    /// A folder whose LoRAs the prompt may name: <lora:NAME:WEIGHT>. May be given several times.
    #[arg(long, value_name = "FOLDER")]
    lora_dir: Vec<PathBuf>,
    /// A textual inversion, found in prompts by its file's name: .pt, .bin, .safetensors or PNG, or a folder of them. May be given
    /// several times.
    #[arg(long, value_name = "PATH")]
    embedding: Vec<PathBuf>,
    /// A network that enlarges pictures (ESRGAN, Real-ESRGAN or compact, .pth or .safetensors), for --hires-upscaler, which names it by its
    /// file's name without the ending. May be given several times.
    #[arg(long, value_name = "PATH")]
    upscaler: Vec<PathBuf>,
    #[command(flatten)]
    pub settings: Settings<true>,
    /// The depth of the picture, bright is near: for models that draw after it.
    #[arg(long, value_name = "FILE")]
    depth: Option<PathBuf>,
    /// The device to compute on: auto, cpu, cuda:0, vulkan:0. Several, as in cuda:0,cuda:1 or cuda:all, share the pictures of a batch or
    /// of a folder.
    #[arg(long, value_name = "NAME", default_value = "auto")]
    device: String,
    /// Type of arithmetic: f32, bf16 or f16 [default: bf16 on a CPU that multiplies it, else f32; f16 on a GPU].
    #[arg(long, value_name = "TYPE")]
    dtype: Option<String>,
    /// Type that weights are kept in on the CPU: auto (as the file has them), f32, bf16, f16 or f8. Only f8 changes pictures of files in 16
    /// bits or fewer noticeably.
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    weight_dtype: String,
    /// Let text encoders go once a run's texts are encoded, and load them again for new ones: less memory, the same picture.
    #[arg(long)]
    drop_text_encoders: bool,
    /// Compute the U-Net's large layers in whole numbers: none, int8, or auto for int8 where it is faster, on the CPU. Half the memory of 16
    /// bits, nearly the same picture, and less time on processors with AVX2.
    #[arg(long, value_name = "KIND", default_value = "none")]
    quantization: String,
    /// Threads that the CPU computes with [default: one for each core].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// The most memory that the process may take, such as 3GB, on the CPU in f32 or bf16; a model or picture that can't fit is refused at
    /// once.
    #[arg(long, value_name = "SIZE")]
    memory_limit: Option<String>,
}

impl Drawing {
    /// The parameters, and which of them are given.
    pub fn params(&self, prompt: Option<&str>) -> Result<(GenerateParams, Given), Failure> {
        let (mut params, mut given) = match &self.from_infotext {
            Some(path) => (from_infotext(path, self.refiner.is_some())?, Given::all()),
            None => (GenerateParams::default(), Given::default()),
        };
        if let Some(prompt) = prompt {
            params.text.prompt = prompt.into();
        }
        self.settings.apply(&mut params, &mut given)?;
        Ok((params, given))
    }

    /// The most memory that the process may take, in bytes.
    pub fn memory_limit(&self) -> Result<Option<u64>, Failure> {
        Ok(self.memory_limit.as_deref().map(sdrs::parse_memory).transpose()?)
    }

    /// The depth of the picture, if it was given.
    pub fn depth(&self) -> Result<Option<Picture>, Failure> {
        self.depth.as_deref().map(read).transpose()
    }

    /// The pipeline that it is drawn with.
    pub fn builder(&self) -> Result<PipelineBuilder, Failure> {
        let mut builder = Pipeline::builder().device(&self.device).on_log(log);
        builder = match &self.model {
            Some(path) => builder.checkpoint(path),
            #[cfg(feature = "demo")]
            None => builder.demo(),
            #[cfg(not(feature = "demo"))]
            None => {
                return Err(Failure::Usage(
                    "no demo model is compiled in; give a checkpoint with --model".into(),
                ));
            }
        };
        builder = self.parts.apply(builder);
        if let Some(path) = &self.refiner {
            builder = builder.refiner(path);
        }
        for folder in &self.lora_dir {
            builder = builder.lora_dir(folder);
        }
        if let Some(threads) = self.threads {
            builder = builder.threads(threads);
        }
        if let Some(bytes) = self.memory_limit()? {
            builder = builder.memory_limit(bytes);
        }
        for path in &self.embedding {
            builder = builder.embedding(path);
        }
        for path in &self.upscaler {
            builder = builder.upscaler(path);
        }
        if let Some(name) = &self.dtype {
            builder = builder.dtype(dtype(name)?);
        }
        let weights = WeightDtype::from_name(&self.weight_dtype).ok_or_else(|| {
            let (given, known) = (&self.weight_dtype, "auto, f32, bf16, f16, f8");
            Failure::Usage(format!("--weight-dtype: '{given}' is not one of {known}"))
        })?;
        builder = builder
            .weight_dtype(weights)
            .keep_text_encoders(!self.drop_text_encoders);
        let quantization = Quantization::from_name(&self.quantization).ok_or_else(|| {
            Failure::Usage(format!(
                "--quantization: '{}' is not one of none, int8, auto",
                self.quantization
            ))
        })?;
        Ok(builder.quantization(quantization))
    }
}

/// The settings of a PNG or of a text file. Settings that get lost are reported.
fn from_infotext(path: &Path, refined: bool) -> Result<GenerateParams, Failure> {
    let read = infotext(path)?;
    if let Some(name) = read.refiner.as_ref().filter(|_| !refined) {
        note(format_args!(
            "not used: Refiner: {}; give it with --refiner",
            shown(name)
        ));
    }
    for remark in &read.notes {
        note(format_args!("infotext: {}", shown(remark)));
    }
    for (key, value) in read.rest.iter().filter(|(key, _)| key != "Version") {
        note(format_args!("not used: {}: {}", shown(key), shown(value)));
    }
    Ok(read.params)
}
