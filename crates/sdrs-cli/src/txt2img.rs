use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use sdrs::{CancelToken, ClipSkipRule, Dtype, GenerateParams, Pipeline, Sampler, Schedule, parse_sampler};

use crate::Failure;

#[derive(clap::Args)]
pub struct Args {
    /// What the picture should show.
    prompt: String,
    /// The checkpoint: a diffusers folder or a single file, such as .safetensors, .ckpt or .gguf [default: the demo model that
    /// is compiled in].
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// A diffusers folder whose config.json files describe a --model file of an unusual shape.
    #[arg(long, value_name = "FOLDER", requires = "model")]
    config: Option<PathBuf>,
    /// Another VAE than the checkpoint's: a file with a VAE in it or a diffusers folder.
    #[arg(long, value_name = "PATH")]
    vae: Option<PathBuf>,
    /// A LoRA or another adapter, and how strongly it acts [default: 1]. May be given several times.
    #[arg(long, value_name = "PATH[:WEIGHT]", value_parser = lora)]
    lora: Vec<(PathBuf, f64)>,
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
        if let Some(folder) = &self.config {
            builder = builder.config(folder);
        }
        if let Some(path) = &self.vae {
            builder = builder.vae(path);
        }
        for (path, weight) in &self.lora {
            builder = builder.lora(path, *weight);
        }
        for path in &self.embedding {
            builder = builder.embedding(path);
        }
        if let Some(name) = &self.dtype {
            let dtype = Dtype::from_name(name)
                .ok_or_else(|| Failure::Usage(format!("--dtype: '{name}' is not one of f32, bf16, f16")))?;
            builder = builder.dtype(dtype);
        }
        Ok(builder.build()?)
    }
}

/// `PATH` or `PATH:WEIGHT`; a colon that is not before a number belongs to the path.
fn lora(arg: &str) -> Result<(PathBuf, f64), std::convert::Infallible> {
    let split = arg
        .rsplit_once(':')
        .and_then(|(path, weight)| Some((path, weight.parse().ok()?)));
    let (path, weight) = split.unwrap_or((arg, 1.0));
    Ok((path.into(), weight))
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
    fn loras_may_carry_a_weight() {
        assert_eq!(lora("a/b.safetensors"), Ok(("a/b.safetensors".into(), 1.0)));
        assert_eq!(lora("b.safetensors:-0.5"), Ok(("b.safetensors".into(), -0.5)));
        assert_eq!(lora("c:\\b.safetensors"), Ok(("c:\\b.safetensors".into(), 1.0)));
    }

    #[test]
    fn batches_are_numbered() {
        assert_eq!(numbered(Path::new("a/b.c.png"), 2), Path::new("a/b.c-2.png"));
        assert_eq!(numbered(Path::new("b"), 1), Path::new("b-1"));
    }
}
