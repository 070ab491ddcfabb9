//! The `sdrs` command.

// They panic if nobody listens: `out` writes instead.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod bench;
#[cfg(test)]
mod book;
mod convert;
mod deal;
mod devices;
mod draw;
mod drawing;
mod inspect;
mod interrogate;
mod lora;
mod out;
mod parts;
mod pictures;
mod plan;
mod profile;
mod prompt;
mod replay;
mod resume;
mod settings;
mod trace;
mod upscale;

use std::{
    ffi::OsString,
    io::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind, set_hook},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Mutex, PoisonError},
};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use sdrs::ErrorCode;

/// Stable Diffusion pictures, offline, on the CPU or GPU you have.
///
/// Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 a file can't be read or written, 4 a file is not what it should be,
/// 130 interrupted.
#[derive(Parser)]
#[command(name = "sdrs", version, verbatim_doc_comment)]
struct Cli {
    /// Tell on standard error what is done, too: what is opened, where and in which types it is computed, how long each part takes.
    #[arg(short, long, global = true)]
    verbose: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Draw pictures from a prompt.
    Txt2img(Box<draw::Txt2img>),
    /// Draw pictures from a picture, or a part of it anew.
    Img2img(Box<draw::Img2img>),
    /// Draw a picture again from the infotext in it, with the files that it names.
    Replay(replay::Args),
    /// Go on from a saved step of a run, to the same picture or with other settings.
    Resume(Box<resume::Args>),
    /// Find the stage in which two runs differ.
    Trace(trace::Args),
    /// Enlarge a picture, by a network or a filter.
    Upscale(upscale::Args),
    /// Say what is in pictures: captions, and prompts that draw something like them.
    Interrogate(Box<interrogate::Args>),
    /// Tell how a prompt is read: texts by step, chunks, tokens, weights.
    Prompt(prompt::Args),
    /// Tell how much memory a run takes, without loading weights or drawing.
    Plan(Box<plan::Args>),
    /// Tell how fast this machine's processor is in each type, and which to take: half a minute.
    Bench(bench::Args),
    /// List the processor and the GPUs that this program can compute on, and which it takes by itself.
    Devices(devices::Args),
    /// Show the kind and the contents of a file or folder of weights, without loading it.
    Inspect(inspect::Args),
    /// Write a checkpoint as a diffusers folder or a single file, with other parts and LoRAs merged into it.
    Convert(Box<convert::Args>),
    /// Examine LoRAs and other adapters.
    Lora(lora::Args),
}

/// The reason why a command failed: from the library, or from the command itself.
#[derive(Debug)]
enum Failure {
    Sdrs(sdrs::Error),
    Usage(String),
    /// Of one of several files.
    Of(PathBuf, Box<Failure>),
    /// The picture could not be written to its place.
    Write(String),
    Stdout(io::Error),
    /// What was compared is not the same.
    Differs(String),
    /// A panic.
    Internal(String),
}

impl From<sdrs::Error> for Failure {
    fn from(error: sdrs::Error) -> Self {
        Self::Sdrs(error)
    }
}

impl Failure {
    /// The same where it is one file's among others. An interrupt is of all.
    fn of(self, path: &Path) -> Self {
        match self.is_cancelled() {
            true => self,
            false => Self::Of(path.to_owned(), self.into()),
        }
    }

    fn is_cancelled(&self) -> bool {
        matches!(self, Self::Sdrs(error) if error.code() == ErrorCode::Cancelled)
    }

    /// The exit code, and the message.
    fn report(self) -> (u8, Option<String>) {
        match self {
            Self::Usage(message) => (2, Some(message)),
            Self::Of(path, failure) => {
                let (code, message) = failure.report();
                let told = message.map(|message| format!("{}: {message}", path.display()));
                (code, told)
            }
            Self::Write(message) => (3, Some(message)),
            Self::Differs(message) => (1, Some(message)),
            // Whoever read it has seen enough.
            Self::Stdout(error) if error.kind() == io::ErrorKind::BrokenPipe => (0, None),
            Self::Stdout(error) => (3, Some(format!("cannot write standard output: {error}"))),
            Self::Internal(message) => (1, Some(format!("internal error, please report it: {message}"))),
            Self::Sdrs(error) => {
                let code = match error.code() {
                    ErrorCode::InvalidParameter | ErrorCode::UnknownName => 2,
                    ErrorCode::Io => 3,
                    ErrorCode::InvalidFile | ErrorCode::InvalidWeights => 4,
                    ErrorCode::Cancelled => 130,
                    ErrorCode::NotFinite | ErrorCode::Internal | ErrorCode::OutOfMemory => 1,
                };
                (code, Some(error.to_string()))
            }
        }
    }
}

fn main() -> ExitCode {
    let Err(failure) = guarded(run) else {
        return ExitCode::SUCCESS;
    };
    let (code, message) = failure.report();
    if let Some(message) = message {
        out::note(format_args!("error: {message}"));
    }
    ExitCode::from(code)
}

fn run() -> Result<(), Failure> {
    let cli = match Cli::of(std::env::args_os()) {
        Ok(cli) => cli,
        // Help and version are no errors.
        Err(help) if !help.use_stderr() => {
            return help
                .print()
                .and_then(|()| io::stdout().flush())
                .map_err(Failure::Stdout);
        }
        Err(error) => error.exit(),
    };
    if cli.verbose {
        out::be_verbose();
    }
    match cli.command {
        Command::Txt2img(args) => draw::txt2img(*args),
        Command::Img2img(args) => draw::img2img(*args),
        Command::Replay(args) => replay::run(&args),
        Command::Resume(args) => resume::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Upscale(args) => upscale::run(&args),
        Command::Interrogate(args) => interrogate::run(&args),
        Command::Prompt(args) => prompt::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Lora(args) => lora::run(&args),
    }
}

impl Cli {
    /// What these words ask for, the program's name first.
    fn of<T: Into<OsString> + Clone>(words: impl IntoIterator<Item = T>) -> Result<Self, clap::Error> {
        let command = negative_numbers_are_values(Self::command());
        Self::from_arg_matches(&command.try_get_matches_from(words)?)
    }
}

/// Also of options that take none, which tell what they take instead.
fn negative_numbers_are_values(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|option| {
        let takes = !option.is_positional() && option.get_action().takes_values();
        option.allow_negative_numbers(takes)
    });
    command.mut_subcommands(negative_numbers_are_values)
}

/// The place and the message of the last panic.
static PANICKED: Mutex<String> = Mutex::new(String::new());

/// Runs the command: a panic in any thread becomes a failure like others, and prints nothing of its own.
fn guarded(body: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("unknown");
        let at = info.location().map_or_else(String::new, |at| format!(" ({at})"));
        *PANICKED.lock().unwrap_or_else(PoisonError::into_inner) = format!("{message}{at}");
    }));
    // Nothing is used after a panic.
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        let message = PANICKED.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Err(Failure::Internal(message))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_failure_like_others() {
        let failure = guarded(|| panic!("so {}", "what")).unwrap_err();
        let (code, message) = failure.report();
        let message = message.unwrap();
        assert_eq!(code, 1);
        let begins = "internal error, please report it: so what (crates/sdrs-cli/src/main.rs:";
        assert!(message.starts_with(begins), "{message}");
        let thread = || std::thread::spawn(|| panic!("elsewhere")).join();
        let failure = guarded(|| match thread() {
            Ok(()) => Ok(()),
            Err(payload) => std::panic::resume_unwind(payload),
        });
        let message = failure.unwrap_err().report().1.unwrap();
        assert!(message.contains("elsewhere (crates/"), "{message}");
    }
}
