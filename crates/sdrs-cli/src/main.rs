//! The `sdrs` command.

mod convert;
mod inspect;
mod lora;
mod parts;
mod profile;
mod prompt;
mod shortcuts;
mod txt2img;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sdrs::ErrorCode;

/// Stable Diffusion pictures, offline, on the CPU or GPU you have.
///
/// Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 a file can't be read or written, 4 a file is not what it should be,
/// 130 interrupted.
#[derive(Parser)]
#[command(name = "sdrs", version, verbatim_doc_comment)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Draw pictures from a prompt.
    Txt2img(Box<txt2img::Args>),
    /// Tell how a prompt is read: texts by step, chunks, tokens, weights.
    Prompt(prompt::Args),
    /// Tell what a file or folder of weights is, without loading it.
    Inspect(inspect::Args),
    /// Write a checkpoint as a diffusers folder or a single file, with other parts and LoRAs merged into it.
    Convert(Box<convert::Args>),
    /// Examine LoRAs and other adapters.
    Lora(lora::Args),
}

/// Why a command failed: from the library, or from the command itself.
enum Failure {
    Sdrs(sdrs::Error),
    Usage(String),
}

impl From<sdrs::Error> for Failure {
    fn from(error: sdrs::Error) -> Self {
        Self::Sdrs(error)
    }
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Txt2img(args) => txt2img::run(*args),
        Command::Prompt(args) => prompt::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Lora(args) => lora::run(&args),
    };
    let (message, code) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => (message, 2),
        Err(Failure::Sdrs(error)) => {
            let code = match error.code() {
                ErrorCode::InvalidParameter | ErrorCode::UnknownName => 2,
                ErrorCode::Io => 3,
                ErrorCode::InvalidFile | ErrorCode::InvalidWeights => 4,
                ErrorCode::Cancelled => 130,
                ErrorCode::NotFinite | ErrorCode::Internal => 1,
            };
            (error.to_string(), code)
        }
    };
    eprintln!("error: {message}");
    ExitCode::from(code)
}
