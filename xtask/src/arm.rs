//! 64-bit ARM on any machine: its kernels and networks, under qemu's emulation.

use std::{env, path::Path};

use crate::shell::{Outcome, cargo, output, program, run};

const TARGET: &str = "aarch64-unknown-linux-gnu";
/// Debian's packages gcc-aarch64-linux-gnu and qemu-user, and what Rust's installer has.
const LINKER: &str = "aarch64-linux-gnu-gcc";
/// With every extension that the emulator knows; ARM's libraries are those of the linker's package.
const RUNNER: &str = "qemu-aarch64 -cpu max -L /usr/aarch64-linux-gnu";

/// The tests to run: a package, and arguments for it.
const TESTS: [(&str, &[&str]); 4] = [
    ("sd-kernels", &["--lib"]),
    ("sd-core", &["--test", "networks", "f32"]),
    ("sdrs", &["--features", "demo", "--test", "demo"]),
    // What compares many pictures would take an hour.
    (
        "sdrs",
        &[
            "--features",
            "demo",
            "--test",
            "narrow",
            "--",
            "--skip",
            "near_f32",
        ],
    ),
];

/// Every kernel on every instruction set of 64-bit ARM, every network against its reference, and the demo model's pictures, in int8 too. It takes
/// about half an hour on two cores, most of it in emulation.
pub fn tests() -> Outcome {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let library = output(program(rustc).args(["--print", "target-libdir", "--target", TARGET]))?;
    if !Path::new(library.trim()).exists() {
        return Err(format!(
            "this Rust has no standard library for {TARGET}: `rustup target add {TARGET}`"
        ));
    }
    for (name, package) in [(LINKER, "gcc-aarch64-linux-gnu"), ("qemu-aarch64", "qemu-user")] {
        output(program(name).arg("--version"))
            .map_err(|e| format!("{e} (Debian's package {package} has it)"))?;
    }
    for (package, args) in TESTS {
        let test = [
            "test",
            "--release",
            "--locked",
            "--target",
            TARGET,
            "--package",
            package,
        ];
        let command = &mut cargo();
        command.args(test).args(args);
        command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER);
        command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", RUNNER);
        command.env("CC_aarch64_unknown_linux_gnu", LINKER);
        run(command)?;
    }
    Ok(())
}
