use std::path::PathBuf;

use clap::Subcommand;

use crate::{Failure, out::print};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Examine a LoRA or other adapter: its kind, the effect of each of its tensors, and the misfits.
    Doctor(Doctor),
}

#[derive(clap::Args)]
struct Doctor {
    /// The adapter (.safetensors, .pt, .ckpt and the like).
    file: PathBuf,
    /// A checkpoint to compare it with; by default the family that it was made for.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Print JSON, with every module.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let Command::Doctor(args) = &args.command;
    let found = sdrs::lora_doctor(&args.file, args.model.as_deref())?;
    match args.json {
        true => print(&(serde_json::to_string_pretty(&found).expect("plain data") + "\n")),
        false => print(&found.to_string()),
    }
}
