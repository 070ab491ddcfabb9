use std::path::{Path, PathBuf};

use indicatif::ProgressStyle;
use sdrs::{Image, PictureFormat, Upscaler};

use crate::{
    Failure,
    out::{bar, binary, interruptible, is_stdout, note, options, print},
    parts::dtype,
    pictures::read,
};

#[derive(clap::Args)]
pub struct Args {
    /// The picture: PNG, JPEG, WebP, BMP or GIF.
    picture: PathBuf,
    /// The network's file (ESRGAN, Real-ESRGAN or its compact kind, as .pth or .safetensors), or a filter: lanczos, bicubic, bilinear, nearest,
    /// box, hamming.
    #[arg(long, value_name = "PATH|NAME", default_value = "lanczos")]
    upscaler: String,
    /// Pixels of a side for each of the picture's [default: the network's own factor; 4 of a filter].
    #[arg(long, value_name = "FACTOR", conflicts_with = "size")]
    scale: Option<f64>,
    /// The size to reach, such as 1024x1536.
    #[arg(long, value_name = "WxH")]
    size: Option<String>,
    /// Pixels of the side of a square that the network sees at a time; 0 for the whole picture at once.
    #[arg(long, value_name = "N", default_value_t = 256)]
    tile: usize,
    /// The device to compute on: auto, cpu, cuda:0, vulkan:0.
    #[arg(long, value_name = "NAME", default_value = "auto")]
    device: String,
    /// Compute type: f32, bf16 or f16 [default: f32 on the CPU, f16 on a GPU].
    #[arg(long, value_name = "TYPE")]
    dtype: Option<String>,
    /// Threads that the CPU computes with [default: one for each core].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// The picture to write: a PNG, JPEG or WebP by its ending, or - for a PNG on standard output.
    #[arg(short, long, value_name = "OUT.png", default_value = "out.png")]
    output: PathBuf,
    /// The quality of a JPEG, 1 to 100 [default: 80].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: Option<u8>,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let to_stdout = is_stdout(&args.output)?;
    if !to_stdout {
        Image::check_path(&args.output)?;
    }
    let size = args.size.as_deref().map(parse_size).transpose()?;
    let picture = read(&args.picture)?;
    // What made the picture stays with it, as in the WebUI.
    let infotext = sdrs::infotext::of_file(&args.picture).ok();
    let upscaler = args.upscaler()?;

    let cancel = interruptible();
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} squares, {eta} left")
        .expect("the template is valid");
    let bar = bar(0, style);
    let mut request = upscaler.upscale(&picture).tile(args.tile).cancel_token(&cancel);
    if let Some(scale) = args.scale {
        request = request.scale(scale);
    }
    if let Some([width, height]) = size {
        request = request.size(width, height);
    }
    let made = request
        .on_progress(|progress| {
            bar.set_length(progress.tiles as u64);
            bar.set_position(progress.tile as u64);
        })
        .run()?;
    bar.finish_and_clear();

    let options = options(args.quality, &args.output);
    let about = format!("({}x{}, {})", made.width(), made.height(), upscaler.describe());
    if to_stdout {
        binary(&made.encode(PictureFormat::Png, &options, infotext.as_deref())?)?;
        note(format_args!("standard output {about}"));
        return Ok(());
    }
    made.save(&args.output, &options, infotext.as_deref())?;
    print(&format!("{} {about}\n", args.output.display()))
}

impl Args {
    /// A file is a network; any other word is a filter's name.
    fn upscaler(&self) -> Result<Upscaler, Failure> {
        let path = Path::new(&self.upscaler);
        if !path.exists() {
            let named = Upscaler::from_name(&self.upscaler);
            let is_word = path.extension().is_none() && path.components().count() == 1;
            if named.is_ok() || is_word {
                return Ok(named?);
            }
        }
        let mut builder = Upscaler::builder(path).device(&self.device);
        if let Some(name) = &self.dtype {
            builder = builder.dtype(dtype(name)?);
        }
        if let Some(threads) = self.threads {
            builder = builder.threads(threads);
        }
        Ok(builder.build()?)
    }
}

fn parse_size(text: &str) -> Result<[u32; 2], Failure> {
    let sides = text.split_once(['x', 'X']);
    let parsed =
        sides.and_then(|(width, height)| Some([width.trim().parse().ok()?, height.trim().parse().ok()?]));
    parsed.ok_or_else(|| {
        Failure::Usage(format!(
            "--size: '{text}' is no width and height, such as 1024x1536"
        ))
    })
}
