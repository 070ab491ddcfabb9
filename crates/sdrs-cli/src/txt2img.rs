use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use sdrs::{CancelToken, ClipSkipRule, GenerateParams, Pipeline, Sampler, Schedule, parse_sampler};

use crate::{
    Failure,
    parts::{Parts, dtype},
};

#[derive(clap::Args)]
pub struct Args {
    /// What the picture should show.
    prompt: String,
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
    /// What the picture should not show.
    #[arg(long, value_name = "TEXT", default_value = "")]
    negative_prompt: String,
    /// Width in pixels, a multiple of 8 [default: what the model was trained on].
    #[arg(long, value_name = "PIXELS")]
    width: Option<u32>,
    /// Height in pixels, a multiple of 8 [default: what the model was trained on].
    #[arg(long, value_name = "PIXELS")]
    height: Option<u32>,
    /// Sampling steps.
    #[arg(long, default_value_t = 20)]
    steps: usize,
    /// Strength of guidance by the prompt; 1 is none.
    #[arg(long, default_value_t = 7.0, allow_negative_numbers = true)]
    cfg_scale: f64,
    /// The sampler, such as "Euler", "Euler a", "DDIM", "DPM++ 2M"; may carry its schedule: "DPM++ 2M Karras".
    #[arg(long, value_name = "NAME", default_value = "DPM++ 2M")]
    sampler: String,
    /// The noise schedule, such as "uniform" or "karras" [default: automatic, what suits the sampler].
    #[arg(long, value_name = "NAME")]
    schedule: Option<String>,
    /// Seed of the first picture; -1 draws one at random.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    seed: i64,
    /// Number of pictures, with consecutive seeds.
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch_size: usize,
    /// Which layer of the text encoder is used, from the end: 1 is the last.
    #[arg(long, value_name = "N", default_value_t = 1)]
    clip_skip: usize,
    /// Count --clip-skip as diffusers does: 0 is the last layer.
    #[arg(long)]
    diffusers_clip_skip: bool,
    #[command(flatten)]
    reading: crate::prompt::Reading,
    /// Pad the shorter of prompt and negative prompt with the empty one, if a long prompt makes them differ.
    #[arg(long)]
    pad_prompts: bool,
    /// Where to compute: auto, cpu, cuda:0, vulkan:0.
    #[arg(long, value_name = "NAME", default_value = "auto")]
    device: String,
    /// Compute type: f32, bf16 or f16 [default: f32 on the CPU, f16 on a GPU].
    #[arg(long, value_name = "TYPE")]
    dtype: Option<String>,
    /// The PNG to write; of a batch, OUT-1.png, OUT-2.png and so on.
    #[arg(short, long, value_name = "OUT.png", default_value = "out.png")]
    output: PathBuf,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let (params, cancel) = (args.params()?, CancelToken::new());
    let token = cancel.clone();
    // Without the handler an interrupt simply ends the process: worse, but no reason to refuse.
    let _ = ctrlc::set_handler(move || token.cancel());

    let pipeline = args.pipeline()?;
    for skipped in pipeline.skipped_embeddings() {
        eprintln!("passed over: {skipped}");
    }
    let bar = ProgressBar::new((params.steps * params.batch_size) as u64).with_style(style());
    let request = pipeline.txt2img("").params(params).cancel_token(&cancel);
    let output = request
        .on_progress(|progress| {
            // How many steps a sampler takes may differ from what was asked for.
            bar.set_length((progress.steps * progress.images).max(progress.step) as u64);
            bar.set_position((progress.image * progress.steps + progress.step) as u64);
        })
        .run()?;
    bar.finish_and_clear();
    let count = output.images.len();
    for (i, image) in output.images.iter().enumerate() {
        let path = if count == 1 {
            args.output.clone()
        } else {
            numbered(&args.output, i + 1)
        };
        image.save_png(&path)?;
        println!(
            "{} ({}x{}, seed {})",
            path.display(),
            image.width,
            image.height,
            image.seed
        );
    }
    Ok(())
}

impl Args {
    fn params(&self) -> Result<GenerateParams, Failure> {
        let (sampler, suffix): (Sampler, Option<Schedule>) =
            parse_sampler(&self.sampler).map_err(|e| Failure::Usage(e.to_string()))?;
        let named = self.schedule.as_deref().map(str::parse::<Schedule>).transpose();
        let named = named.map_err(|e| Failure::Usage(e.to_string()))?;
        let mut params = GenerateParams::default();
        params.prompt.clone_from(&self.prompt);
        params.negative_prompt.clone_from(&self.negative_prompt);
        params.width = self.width;
        params.height = self.height;
        params.steps = self.steps;
        params.cfg_scale = self.cfg_scale;
        params.sampler = sampler;
        params.schedule = named.or(suffix).unwrap_or_default();
        params.seed = self.seed;
        params.batch_size = self.batch_size;
        params.clip_skip = self.clip_skip;
        if self.diffusers_clip_skip {
            params.clip_skip_rule = ClipSkipRule::Diffusers;
        }
        params.pad_prompts = self.pad_prompts;
        self.reading.apply(&mut params)?;
        Ok(params)
    }

    fn pipeline(&self) -> Result<Pipeline, Failure> {
        let mut builder = Pipeline::builder().device(&self.device);
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
        for path in &self.embedding {
            builder = builder.embedding(path);
        }
        if let Some(name) = &self.dtype {
            builder = builder.dtype(dtype(name)?);
        }
        Ok(builder.build()?)
    }
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

/// `out.png` to `out-1.png`.
fn numbered(path: &Path, number: usize) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path
        .extension()
        .map_or_else(String::new, |e| format!(".{}", e.to_string_lossy()));
    path.with_file_name(format!("{stem}-{number}{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_numbered() {
        assert_eq!(numbered(Path::new("a/b.c.png"), 2), Path::new("a/b.c-2.png"));
        assert_eq!(numbered(Path::new("b"), 1), Path::new("b-1"));
    }
}
