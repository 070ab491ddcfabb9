//! Drawing a picture again.

use std::path::PathBuf;

use sdrs::{Given, Replay, SaveOptions};

use crate::{
    Failure, draw,
    out::{Pictures, interruptible, log, note, shown},
    parts::dtype,
    pictures::infotext,
};

#[derive(clap::Args)]
pub struct Args {
    /// The picture with its infotext, PNG, JPEG or WebP, or a text file with one.
    picture: PathBuf,
    /// A folder in which, and below which, the checkpoint and all else that the infotext names is looked for. May be given several times.
    #[arg(long, value_name = "FOLDER")]
    models: Vec<PathBuf>,
    /// Refuse to draw what can't be the same picture.
    #[arg(long)]
    strict: bool,
    /// The device to compute on: auto, cpu, cuda:0, vulkan:0. Several, as in cuda:0,cuda:1 or cuda:all, share the pictures of a batch.
    #[arg(long, value_name = "NAME", default_value = "auto")]
    device: String,
    /// Compute type: f32, bf16 or f16 [default: f32 on the CPU, f16 on a GPU].
    #[arg(long, value_name = "TYPE")]
    dtype: Option<String>,
    /// The picture to write: a PNG, JPEG or WebP by its ending, or - for a PNG on standard output.
    #[arg(short, long, value_name = "OUT.png", default_value = "replay.png")]
    output: PathBuf,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let replay = Replay::find(&infotext(&args.picture)?, &args.models)?;
    for missing in &replay.missing {
        note(format_args!("not honoured: {}", shown(missing)));
    }
    if args.strict && !replay.missing.is_empty() {
        return Err(Failure::Usage(
            "--strict: not all of this infotext can be honoured; leave --strict out to draw it nevertheless"
                .into(),
        ));
    }
    let pictures = Pictures::checked(&args.output, &replay.params, None, SaveOptions::default())?;
    let cancel = interruptible();
    let mut builder = replay.builder.device(&args.device).on_log(log);
    if let Some(name) = &args.dtype {
        builder = builder.dtype(dtype(name)?);
    }
    let pipeline = builder.build()?;
    let request = pipeline
        .txt2img("")
        .params(replay.params.clone())
        .cancel_token(&cancel);
    draw::run(&pipeline, request, &replay.params, &Given::all(), &pictures)
}
