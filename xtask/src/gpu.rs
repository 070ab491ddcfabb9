//! GPUs: checking their features, tests on whatever Vulkan there is, and the bench as one file that needs nothing but a driver.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use crate::shell::{Outcome, cargo, clippy, output, program, run};

/// Lints the code behind the features that GPUs share, and type-checks CUDA's. `DOCS_RS` stops the CUDA backend's build scripts from
/// downloading LLVM, which only linking needs, and `cuda-nvrtc` never calls.
pub fn check() -> Outcome {
    run(&mut clippy(Some("vulkan")))?;
    let check = ["check", "--release", "--locked", "--package", "sdrs-cli"];
    println!("with DOCS_RS=1:");
    for feature in ["cuda", "cuda-nvrtc"] {
        let features = ["--features", feature];
        run(cargo().args(check).args(features).env("DOCS_RS", "1"))?;
    }
    Ok(())
}

/// Tests on the first Vulkan device: a GPU, or Mesa's software driver (Debian's packages mesa-vulkan-drivers and libvulkan1). Tests that find no
/// such device say so and pass.
pub fn tests() -> Outcome {
    let test = ["test", "--release", "--locked", "--features", "vulkan"];
    run(cargo().args(test).args(["--package", "sd-kernels", "--lib"]))?;
    let of_sdrs = [
        "test",
        "--release",
        "--locked",
        "--features",
        "vulkan,demo",
        "--package",
        "sdrs",
    ];
    run(cargo().args(of_sdrs).args(["--lib", "--", "model::runtime"]))?;
    run(cargo().args(of_sdrs).args(["--test", "gpu"]))
}

/// `cargo xtask gpu-bench DIR`: builds the bench `gpu` with CUDA through NVRTC, without LLVM, and puts it into a folder, packed.
///
/// The CUDA backend can compile kernels through LLVM as well, and is linked against it whether or not it does. With `cuda-nvrtc` it never does:
/// so what the linker misses of LLVM is given to it as functions that abort.
pub fn bench(args: &[&str]) -> Outcome {
    let [folder] = args else {
        return Err("usage: cargo xtask gpu-bench DIR".into());
    };
    let folder = std::path::absolute(folder).map_err(|e| format!("{folder}: {e}"))?;
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let open = build(&["-C", "link-arg=-Wl,--unresolved-symbols=ignore-all"])?;
    let stubs = stubs(&open, &folder)?;
    let built = build(&["-C", &format!("link-arg={}", stubs.display())])?;
    let packed = folder.join("gpu");
    fs::copy(&built, &packed).map_err(|e| format!("{}: {e}", packed.display()))?;
    run(program("strip").arg(&packed))?;
    fs::remove_file(&stubs).map_err(|e| format!("{}: {e}", stubs.display()))?;
    run(program("xz").args(["--force", "--keep", "-6"]).arg(&packed))?;
    let bytes = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
    let archive = folder.join("gpu.xz");
    println!(
        "{}: {:.1} MB, packed {:.1} MB",
        packed.display(),
        bytes(&packed) as f64 / 1e6,
        bytes(&archive) as f64 / 1e6
    );
    Ok(())
}

/// Builds the bench; `link` goes to its own compiling alone, so that nothing else is built anew for it.
fn build(link: &[&str]) -> Outcome<PathBuf> {
    let args = [
        "rustc",
        "--release",
        "--locked",
        "--package",
        "benches",
        "--bin",
        "gpu",
        "--features",
        "cuda-nvrtc",
        "--message-format=json-render-diagnostics",
        "--",
    ];
    let mut command = cargo();
    command.args(args).args(link).env("DOCS_RS", "1");
    let messages = output(command.stderr(Stdio::inherit()))?;
    let mut programs = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    programs
        .next_back()
        .ok_or_else(|| "cargo built no program".into())
}

/// An object file with a function for each symbol of LLVM that a program lacks.
fn stubs(open: &Path, folder: &Path) -> Outcome<PathBuf> {
    let symbols = output(program("readelf").args(["--wide", "--dyn-syms"]).arg(open))?;
    let lacking = symbols.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = words.get(7)?.split('@').next()?;
        let llvm = name.starts_with("LLVM") || name.starts_with("cubecl_");
        (words[6] == "UND" && llvm).then(|| format!("void {name}(void) {{ abort(); }}\n"))
    });
    let source = folder.join("stubs.c");
    let text: String = ["#include <stdlib.h>\n".to_owned()]
        .into_iter()
        .chain(lacking)
        .collect();
    fs::write(&source, text).map_err(|e| format!("{}: {e}", source.display()))?;
    let object = folder.join("stubs.o");
    run(program("cc").args(["-c", "-fPIC", "-o"]).args([&object, &source]))?;
    fs::remove_file(&source).map_err(|e| format!("{}: {e}", source.display()))?;
    Ok(object)
}
