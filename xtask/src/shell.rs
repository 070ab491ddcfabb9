//! Running other programs.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A task's outcome; the error is a message for the terminal.
pub type Outcome<T = ()> = Result<T, String>;

/// The repository's root.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("xtask lies in the root").to_owned()
}

/// The cargo that runs this task.
pub fn cargo() -> Command {
    program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Clippy on all code of the workspace, with more features if some are named.
pub fn clippy(features: Option<&str>) -> Command {
    let mut command = cargo();
    command.args(["clippy", "--workspace", "--all-targets", "--release", "--locked"]);
    if let Some(features) = features {
        command.args(["--features", features]);
    }
    command.args(["--", "-D", "warnings"]);
    command
}

/// A program, run in the root without standard input.
pub fn program(name: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// Shows a command, runs it with its output on the terminal, and fails if it does.
pub fn run(command: &mut Command) -> Outcome {
    let line = show(command);
    println!("$ {line}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{line}: {status}")),
        Err(e) => Err(format!("{line}: {e}")),
    }
}

/// The output of a command.
pub fn output(command: &mut Command) -> Outcome<String> {
    let line = show(command);
    let output = command.output().map_err(|e| format!("{line}: {e}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{line}: {}\n{}", output.status, stderr.trim_end()));
    }
    String::from_utf8(output.stdout).map_err(|e| format!("{line}: {e}"))
}

fn show(command: &Command) -> String {
    let name = Path::new(command.get_program());
    let name = name.file_name().unwrap_or(name.as_os_str());
    let words = std::iter::once(name).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
