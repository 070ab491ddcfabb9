use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use sdrs::{
    CancelToken, GenerateParams, Given, LogLevel, Pipeline, PreviewMethod, Quantization, SaveOptions,
};

use crate::{
    Failure,
    out::{Pictures, note},
    parts::{Parts, dtype},
    settings::Settings,
};

#[derive(clap::Args)]
pub struct Args {
    /// The prompt: a description of the picture.
    #[arg(required_unless_present = "from_infotext")]
    prompt: Option<String>,
    /// Settings of a picture, from a PNG, JPEG or WebP with its infotext or from a text file with one; what else is given here wins.
    #[arg(long, value_name = "FILE")]
    from_infotext: Option<PathBuf>,
    /// The checkpoint: a diffusers folder or a single file, such as .safetensors, .ckpt or .gguf [default: the demo model that
    /// is compiled in].
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    #[command(flatten)]
    parts: Parts,
    /// A folder whose LoRAs the prompt may name: <lora:NAME:WEIGHT>. May be given several times.
    #[arg(long, value_name = "FOLDER")]
    lora_dir: Vec<PathBuf>,
    /// A textual inversion, found in prompts by its file's name: .pt, .bin, .safetensors or PNG, or a folder of them. May be given
    /// several times.
    #[arg(long, value_name = "PATH")]
    embedding: Vec<PathBuf>,
    #[command(flatten)]
    settings: Settings<true>,
    /// The device to compute on: auto, cpu, cuda:0, vulkan:0.
    #[arg(long, value_name = "NAME", default_value = "auto")]
    device: String,
    /// Compute type: f32, bf16 or f16 [default: f32 on the CPU, f16 on a GPU].
    #[arg(long, value_name = "TYPE")]
    dtype: Option<String>,
    /// Compute the U-Net's large layers in whole numbers: none or int8, on the CPU. Half the memory and less time, another picture.
    #[arg(long, value_name = "KIND", default_value = "none")]
    quantization: String,
    /// Threads that the CPU computes with [default: one for each core].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// The most memory that the process may take, such as 3GB, on the CPU in f32 or bf16; a model or picture that can't fit is refused at
    /// once.
    #[arg(long, value_name = "SIZE")]
    memory_limit: Option<String>,
    /// Tell how long each operation took on the CPU.
    #[arg(long)]
    profile: bool,
    /// A tiny autoencoder (TAESD) that makes the previews: diffusers' AutoencoderTiny, or the original's decoder.
    #[arg(long, value_name = "PATH", requires = "preview_every")]
    taesd: Option<PathBuf>,
    /// Write what there is of the picture after every N steps: OUT-step-N.png, the size of the latent, or of the picture with --taesd.
    #[arg(long, value_name = "N")]
    preview_every: Option<usize>,
    /// The picture to write: a PNG, JPEG or WebP by its ending, or - for a PNG on standard output; of a batch, OUT-1.png, OUT-2.png and so on.
    #[arg(short, long, value_name = "OUT.png", default_value = "out.png")]
    output: PathBuf,
    /// The quality of a JPEG, 1 to 100.
    #[arg(long, value_name = "N", default_value_t = 80, value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: u8,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let (mut params, given) = args.params()?;
    let options = SaveOptions::default().quality(args.quality);
    let pictures = Pictures::checked(&args.output, &params, args.preview_every, options)?;
    let cancel = CancelToken::new();
    let token = cancel.clone();
    // Without the handler an interrupt simply ends the process: worse, but no reason to refuse.
    let _ = ctrlc::set_handler(move || token.cancel());

    let pipeline = args.pipeline()?;
    let taken = pipeline.recommended().settle(&given, &mut params);
    // Told when the run has begun: an error speaks for itself.
    let mut taken = Some(taken).filter(|taken| !taken.is_empty());
    let steps = params.sampling.steps.saturating_mul(params.size.batch_size);
    let bar = ProgressBar::new(steps as u64).with_style(style());
    let mut request = pipeline.txt2img("").params(params).cancel_token(&cancel);
    if let Some(every) = args.preview_every {
        let method = match &args.taesd {
            Some(_) => PreviewMethod::Taesd,
            None => PreviewMethod::Approximate,
        };
        request = request.previews(method, every);
    }
    let mut failed = Vec::new();
    let output = request
        .on_progress(|progress| {
            if let Some(taken) = taken.take() {
                bar.suspend(|| note(format_args!("as the model recommends: {taken}")));
            }
            // A sampler may take another number of steps than was asked for.
            bar.set_length((progress.steps * progress.images).max(progress.step) as u64);
            bar.set_position((progress.image * progress.steps + progress.step) as u64);
            if let (Some(preview), []) = (&progress.preview, failed.as_slice()) {
                let number = (progress.images > 1).then_some(progress.image + 1);
                // The picture is worth more: the run goes on without previews.
                let written = pictures.preview(preview, number, progress.step);
                failed.extend(
                    written
                        .err()
                        .map(|error| Failure::Write(format!("{error}; no more previews"))),
                );
            }
        })
        .run()?;
    bar.finish_and_clear();
    let count = output.images.len();
    for (i, image) in output.images.iter().enumerate() {
        failed.extend(pictures.save(image, (count > 1).then_some(i + 1)).err());
    }
    if args.profile {
        note(crate::profile::table(&pipeline.profile()).trim_end());
    }
    worst(failed)
}

/// The failure to end with, once all pictures are written; each other failure is reported here.
fn worst(mut failed: Vec<Failure>) -> Result<(), Failure> {
    // That a reader has gone matters least.
    failed.sort_by_key(|failure| matches!(failure, Failure::Write(_)));
    failed.dedup_by(|a, b| matches!((a, b), (Failure::Stdout(_), Failure::Stdout(_))));
    let Some(last) = failed.pop() else {
        return Ok(());
    };
    for message in failed.into_iter().filter_map(|failure| failure.report().1) {
        note(format_args!("error: {message}"));
    }
    Err(last)
}

impl Args {
    /// The parameters, and which of them are given.
    fn params(&self) -> Result<(GenerateParams, Given), Failure> {
        let (mut params, mut given) = match &self.from_infotext {
            Some(path) => (from_infotext(path)?, Given::all()),
            None => (GenerateParams::default(), Given::default()),
        };
        if let Some(prompt) = &self.prompt {
            params.text.prompt.clone_from(prompt);
        }
        self.settings.apply(&mut params, &mut given)?;
        Ok((params, given))
    }

    fn pipeline(&self) -> Result<Pipeline, Failure> {
        let mut builder = Pipeline::builder().device(&self.device).on_log(|level, line| {
            if level != LogLevel::Info {
                note(line);
            }
        });
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
        for folder in &self.lora_dir {
            builder = builder.lora_dir(folder);
        }
        if let Some(path) = &self.taesd {
            builder = builder.taesd(path);
        }
        if let Some(threads) = self.threads {
            builder = builder.threads(threads);
        }
        if let Some(amount) = &self.memory_limit {
            builder = builder.memory_limit(sdrs::parse_memory(amount)?);
        }
        builder = builder.profile(self.profile);
        for path in &self.embedding {
            builder = builder.embedding(path);
        }
        if let Some(name) = &self.dtype {
            builder = builder.dtype(dtype(name)?);
        }
        let quantization = Quantization::from_name(&self.quantization).ok_or_else(|| {
            Failure::Usage(format!(
                "--quantization: '{}' is not one of none, int8",
                self.quantization
            ))
        })?;
        Ok(builder.quantization(quantization).build()?)
    }
}

/// The settings of a PNG or of a text file. Settings that get lost are reported.
fn from_infotext(path: &Path) -> Result<GenerateParams, Failure> {
    let text = sdrs::infotext::of_file(path)?;
    let read = sdrs::infotext::parse(&text)?;
    for remark in &read.notes {
        note(format_args!("infotext: {remark}"));
    }
    for (key, value) in read.rest.iter().filter(|(key, _)| key != "Version") {
        note(format_args!("not used: {key}: {value}"));
    }
    Ok(read.params)
}

fn style() -> ProgressStyle {
    let template = "{bar:40} {pos}/{len} steps, {per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template).expect("the template is valid");
    style.with_key(
        "per_sec",
        |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = write!(out, "{:.2} it/s", state.per_sec());
        },
    )
}
