//! `cargo xtask test`: everything that must hold, on a machine with a Rust toolchain, a C compiler and Python 3.

use std::time::{Duration, Instant};

use crate::{
    book, c, gpu, licences, one_build, python, repository,
    shell::{Outcome, cargo, clippy, output, program, run as run_command},
};

/// Type-checking the GPU features compiles several hundred crates. Where all the rest took longer than this, the machine is too slow
/// for it, and it is left out.
const GPU_BEFORE: Duration = Duration::from_secs(50 * 60);

type Stage = (&'static str, fn() -> Outcome);

/// The quick ones first; every stage runs, whatever the others said.
const STAGES: [Stage; 12] = [
    ("repository", repository::check),
    ("licences", licences::check),
    ("one build", one_build::check),
    ("scripts", scripts),
    ("book", book::check),
    ("fmt", fmt),
    ("clippy", || run_command(&mut clippy(None))),
    ("tests", tests),
    ("c", c::check),
    ("python", python::check),
    ("docs", docs),
    ("features", features),
];

/// Runs all stages, with or without the GPU features, and sums up in the last line.
pub fn run(gpu: bool) -> Outcome {
    let start = Instant::now();
    let (mut passed, mut failed) = (Vec::new(), Vec::new());
    let mut stage = |name: &str, check: fn() -> Outcome| {
        println!("\n== {name}");
        let start = Instant::now();
        let outcome = check();
        let took = format!("{name} ({} s)", start.elapsed().as_secs());
        match outcome {
            Ok(()) => passed.push(took),
            Err(message) => {
                println!("== {name} FAILED: {message}");
                failed.push(took);
            }
        }
    };
    for (name, check) in STAGES {
        stage(name, check);
    }
    let mut left_out = String::new();
    if !gpu {
        left_out = "; left out: gpu (--no-gpu)".into();
    } else if start.elapsed() > GPU_BEFORE {
        let minutes = start.elapsed().as_secs() / 60;
        left_out = format!("; left out: gpu (the rest took {minutes} minutes; run `cargo xtask check-gpu`)");
    } else {
        stage("gpu", gpu::check);
    }

    let list = |stages: &[String]| match stages.is_empty() {
        true => "none".to_owned(),
        false => stages.join(", "),
    };
    let passed = list(&passed);
    if failed.is_empty() {
        println!("\ncargo xtask test: all stages passed: {passed}{left_out}");
        return Ok(());
    }
    // The error is the last line.
    println!();
    Err(format!(
        "cargo xtask test: failed: {}; passed: {passed}{left_out}",
        list(&failed)
    ))
}

/// The fuzz targets are a workspace of their own.
fn fmt() -> Outcome {
    run_command(cargo().args(["fmt", "--all", "--check"]))?;
    run_command(cargo().args(["fmt", "--check", "--manifest-path", "fuzz/Cargo.toml"]))
}

fn tests() -> Outcome {
    run_command(cargo().args(["test", "--workspace", "--release", "--locked", "--no-fail-fast"]))
}

fn docs() -> Outcome {
    let args = [
        "doc",
        "--workspace",
        "--lib",
        "--no-deps",
        "--release",
        "--locked",
    ];
    run_command(cargo().args(args).env("RUSTDOCFLAGS", "-D warnings"))
}

/// The builds that no other stage makes: without the demo model, and on the older CPU backend.
fn features() -> Outcome {
    let check = [
        "check",
        "--release",
        "--locked",
        "--package",
        "sdrs-cli",
        "--no-default-features",
        "--features",
    ];
    run_command(cargo().args(check).arg("flex"))?;
    run_command(cargo().args(check).arg("ndarray"))
}

/// Every script parses, and the book's figures are what their script makes. Running the others needs PyTorch, which tests must not.
fn scripts() -> Outcome {
    const PARSE: &str = "\
import ast, sys
for name in sys.argv[1:]:
    with open(name, encoding='utf-8') as file:
        ast.parse(file.read(), name)
print(f'{len(sys.argv) - 1} scripts parse')
";
    let scripts: Vec<String> = repository::files()?
        .into_iter()
        .filter(|name| name.ends_with(".py"))
        .collect();
    let python = python::find()?;
    print!("{}", output(program(python).args(["-c", PARSE]).args(scripts))?);
    run_command(program(python).args(["-B", "tools/figures/figures.py", "--check"]))
}
