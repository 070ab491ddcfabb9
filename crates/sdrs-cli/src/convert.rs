use std::path::PathBuf;

use sdrs::Pipeline;

use crate::{
    Failure,
    out::print,
    parts::{Parts, dtype},
};

#[derive(clap::Args)]
pub struct Args {
    /// The checkpoint: a diffusers folder or a single file.
    #[arg(value_name = "SOURCE")]
    model: PathBuf,
    /// The place to write to: a single file if it ends in .safetensors, else a diffusers folder.
    #[arg(value_name = "TARGET")]
    target: PathBuf,
    /// The type of all weights: f32, bf16 or f16.
    #[arg(long, value_name = "TYPE", default_value = "f16")]
    dtype: String,
    #[command(flatten)]
    parts: Parts,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let dtype = dtype(&args.dtype)?;
    let builder = args.parts.apply(Pipeline::builder().checkpoint(&args.model));
    let ending = args.target.extension();
    match ending.is_some_and(|ending| ending.eq_ignore_ascii_case("safetensors")) {
        true => builder.save_file(&args.target, dtype)?,
        false => builder.save_folder(&args.target, dtype)?,
    }
    print(&format!("{}\n", args.target.display()))
}
