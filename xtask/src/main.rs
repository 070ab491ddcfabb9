//! Developer tasks, run as `cargo xtask TASK`.

mod arm;
mod book;
mod c;
mod gallery;
mod goldens;
mod gpu;
mod install_c;
mod licences;
mod one_build;
mod python;
mod repository;
mod shell;
mod test;

use std::process::ExitCode;

/// What the tasks are; the book may name no others.
const HELP: &str = "\
Developer tasks.

    cargo xtask test [--no-gpu]       every check and test there is; --no-gpu leaves out check-gpu
    cargo xtask check-gpu             lint and type-check the cuda, cuda-nvrtc and vulkan features (no GPU or CUDA toolkit needed)
    cargo xtask gpu                   tests on a Vulkan device: a GPU, or Mesa's software driver
    cargo xtask arm                   tests of 64-bit ARM's kernels and networks, under qemu's emulation
    cargo xtask gpu-bench DIR         build the GPU bench with CUDA as a program to carry to another machine
    cargo xtask licences              check every dependency's licence against deny.toml
    cargo xtask repository            check file sizes, manifests of reference values, paths in texts
    cargo xtask one-build             check that packages built alone and the workspace share the builds of their dependencies
    cargo xtask goldens [--check] [--python PATH] [PART...]
                                      make the reference values, or compare them with what is committed
    cargo xtask header                write include/sdrs.h, which bindings/c is the source of
    cargo xtask settings              write the Python package's settings and docs/settings.md, which crates/sdrs has the table of
    cargo xtask install-c --prefix DIR [--no-demo] [--features LIST]
                                      install the C library with header, pkg-config and CMake files
    cargo xtask c [--valgrind|--asan] compile and run C and C++ callers of an installed library
    cargo xtask python                type-check and test the Python package (NumPy, Pillow and mypy come from pip)
    cargo xtask gallery [SHEET...]    draw docs/gallery with the demo model
    cargo xtask book                  check the book's links, table of contents and code, and the links of other Markdown files
    cargo xtask docs                  the same, and build the book into target/book (installs mdBook once)
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args.as_slice() {
        ["test"] => test::run(true),
        ["test", "--no-gpu"] => test::run(false),
        ["check-gpu"] => gpu::check(),
        ["gpu"] => gpu::tests(),
        ["arm"] => arm::tests(),
        ["gpu-bench", rest @ ..] => gpu::bench(rest),
        ["licences"] => licences::check(),
        ["repository"] => repository::check(),
        ["one-build"] => one_build::check(),
        ["goldens", rest @ ..] => goldens::run(rest),
        ["header"] => c::header(),
        ["settings"] => python::settings(),
        ["install-c", rest @ ..] => install_c::task(rest),
        ["c", rest @ ..] => c::task(rest),
        ["python"] => python::check(),
        ["gallery", rest @ ..] => gallery::run(rest),
        ["book"] => book::check(),
        ["docs"] => book::build(),
        ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        [] => {
            print!("{HELP}");
            return ExitCode::from(2);
        }
        unknown => {
            eprint!("error: unknown task: {}\n\n{HELP}", unknown.join(" "));
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
