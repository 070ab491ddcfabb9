//! `cargo xtask c`: the C library as applications use it, from an installed prefix in the target folder.
//!
//! Only a C compiler must be there. What else is missing (C++, pkg-config, CMake, nm) is left out, and said.

mod book;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    install_c::{Install, target},
    shell::{Outcome, cargo, output, program, root, run},
};

const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Werror", "-pedantic"];
const C: [&str; 14] = [
    "around",
    "draw",
    "from_pictures",
    "errors",
    "interrogate",
    "loras",
    "low_level",
    "misuse",
    "prompts",
    "rounds",
    "sdxl",
    "upscale",
    "abi/0/caller",
    "abi/1/caller",
];
const CPP: [&str; 1] = ["wrapper"];

/// The shared library's size without the demo's models, stripped: 16.0 MB with SD1, SD2 and SDXL; 19.8 MB with files of pictures, upscalers, passes,
/// methods of guidance and the refiner, of which much is loops over pixels, each once for every number of channels; 20.5 MB with interrogation.
const SIZE_LIMIT: u64 = 21_000_000;

/// The tool that the programs run under.
#[derive(Clone, Copy, PartialEq)]
enum Tool {
    None,
    Valgrind,
    Asan,
}

/// The library to test with, its callers and tools.
struct Stage {
    prefix: PathBuf,
    work: PathBuf,
    compile: Vec<String>,
    shared: Vec<String>,
    fixed: Vec<String>,
    tool: Tool,
    left_out: Vec<String>,
}

/// The task: `[--valgrind | --asan]`.
pub fn task(args: &[&str]) -> Outcome {
    match args {
        [] => stage(Tool::None),
        ["--valgrind"] => stage(Tool::Valgrind),
        ["--asan"] => stage(Tool::Asan),
        other => Err(format!("unknown: {}", other.join(" "))),
    }
}

/// The stage of `cargo xtask test`.
pub fn check() -> Outcome {
    stage(Tool::None)
}

/// Writes `include/sdrs.h` anew; the test of the same name compares it.
pub fn header() -> Outcome {
    let test = ["test", "--workspace", "--release", "--locked", "--test", "header"];
    run(cargo().args(test).env("SDRS_WRITE_HEADER", "1"))
}

fn stage(tool: Tool) -> Outcome {
    let work = target()?.join("c");
    let prefix = work.join("prefix");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).map_err(|e| format!("{}: {e}", work.display()))?;
    let install = Install {
        prefix: &prefix,
        demo: true,
        features: "",
        workspace: true,
    };
    install.run()?;
    let mut stage = Stage::new(prefix.clone(), work, tool)?;
    stage.symbols()?;
    make_models()?;

    let cc = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    stage.programs(&cc, "c11", &C)?;
    stage.example(&cc, "c11", "c")?;
    let cxx = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let others = [
        (cxx.as_str(), "c++17", CPP.as_slice()),
        ("clang", "c11", &C),
        ("clang++", "c++17", &CPP),
    ];
    // Valgrind is slow, and sees the same machine code of the library every time.
    let others = &others[..if tool == Tool::Valgrind { 1 } else { 3 }];
    for &(compiler, standard, sources) in others {
        if !there(compiler) {
            stage.left_out.push(format!("{compiler} (not installed)"));
            continue;
        }
        stage.programs(compiler, standard, sources)?;
    }
    if there(&cxx) {
        stage.example(&cxx, "c++17", "cpp")?;
    }
    if there(&cxx) && tool != Tool::Valgrind {
        stage.cmake()?;
    } else {
        stage.left_out.push("CMake (its project is of C and C++)".into());
    }
    stage.book(&cc, &cxx)?;
    if tool == Tool::None {
        stage.size()?;
    }
    match stage.left_out.as_slice() {
        [] => println!("nothing was left out"),
        missing => println!("left out: {}", missing.join(", ")),
    }
    Ok(())
}

/// Makes what the callers read besides the repository's files.
fn make_models() -> Outcome {
    let build = [
        "build",
        "--workspace",
        "--release",
        "--locked",
        "--bin",
        "goldens",
    ];
    run(cargo().args(build))?;
    output(&mut program(target()?.join("release/goldens"))).map(drop)
}

fn there(name: &str) -> bool {
    output(program(name).arg("--version")).is_ok()
}

impl Stage {
    fn new(prefix: PathBuf, work: PathBuf, tool: Tool) -> Outcome<Self> {
        let lib = prefix.join("lib");
        let mut left_out = Vec::new();
        let pkg = |args: &[&str]| {
            let path = lib.join("pkgconfig");
            let printed = output(
                program("pkg-config")
                    .args(args)
                    .arg("sdrs")
                    .env("PKG_CONFIG_PATH", path),
            )?;
            Ok::<_, String>(printed.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        };
        let (compile, shared, fixed) = if there("pkg-config") {
            let compile = pkg(&["--cflags"])?;
            (compile, pkg(&["--libs"])?, pkg(&["--static", "--libs"])?)
        } else {
            left_out.push("pkg-config (not installed): its file was read instead".to_owned());
            let file = lib.join("pkgconfig/sdrs.pc");
            let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
            let private = text.lines().find_map(|line| line.strip_prefix("Libs.private:"));
            let private = private.unwrap_or_default().split_whitespace().map(str::to_owned);
            let shared = vec![format!("-L{}", lib.display()), "-lsdrs".to_owned()];
            let fixed = shared.iter().cloned().chain(private).collect();
            (
                vec![format!("-I{}", prefix.join("include").display())],
                shared,
                fixed,
            )
        };
        // Linkers prefer the shared library of a name: the static one is named by its file.
        let archive = lib.join("libsdrs.a").display().to_string();
        let fixed = fixed.into_iter();
        let fixed = fixed.map(|flag| if flag == "-lsdrs" { archive.clone() } else { flag });
        let mut stage = Self {
            fixed: fixed.collect(),
            prefix,
            work,
            compile,
            shared,
            tool,
            left_out,
        };
        stage.shared.push(format!("-Wl,-rpath,{}", lib.display()));
        Ok(stage)
    }

    /// Compiles and runs programs, with the shared and with the static library (valgrind: with the shared one).
    fn programs(&self, compiler: &str, standard: &str, sources: &[&str]) -> Outcome {
        let extension = if standard.starts_with("c++") { "cpp" } else { "c" };
        let kinds = [("shared", &self.shared), ("static", &self.fixed)];
        let kinds = &kinds[..if self.tool == Tool::Valgrind { 1 } else { 2 }];
        for (kind, libs) in kinds {
            for source in sources {
                let file = root().join(format!("bindings/c/tests/{source}.{extension}"));
                let name = format!("{}-{compiler}-{kind}", source.replace('/', "-"));
                let exe = self.compile(compiler, standard, &file, &name, libs)?;
                self.run(&exe, *source == "rounds")?;
            }
        }
        println!(
            "{compiler} -std={standard}: {} ran, shared and static",
            sources.join(", ")
        );
        Ok(())
    }

    fn compile(
        &self,
        compiler: &str,
        standard: &str,
        file: &Path,
        name: &str,
        libs: &[String],
    ) -> Outcome<PathBuf> {
        let exe = self.work.join(name.replace(std::path::MAIN_SEPARATOR, "-"));
        let mut command = program(compiler);
        command.arg(format!("-std={standard}")).args(WARNINGS).arg("-O1");
        if self.tool != Tool::None {
            command.arg("-g");
        }
        if self.tool == Tool::Asan {
            command.args(["-fsanitize=address,undefined", "-fno-sanitize-recover"]);
        }
        // A header beside the source comes before the installed one: that is how the older headers are meant.
        command.arg(file).args(&self.compile).arg("-o").arg(&exe);
        command.args(libs).args(["-pthread", "-lm"]);
        output(&mut command)?;
        Ok(exe)
    }

    /// Runs a program with the demo model's folder and one for its files.
    fn run(&self, exe: &Path, rounds: bool) -> Outcome {
        let mut command = match self.tool {
            Tool::Valgrind => {
                let mut valgrind = program("valgrind");
                valgrind.args(["-q", "--leak-check=full", "--show-leak-kinds=definite,indirect"]);
                valgrind.args(["--errors-for-leak-kinds=definite,indirect", "--error-exitcode=9"]);
                valgrind.arg(exe);
                valgrind
            }
            _ => program(exe),
        };
        // Each begins with an empty folder: some refuse to write over what another run has left.
        let scratch = self.work.join("scratch");
        let _ = fs::remove_dir_all(&scratch);
        fs::create_dir_all(&scratch).map_err(|e| format!("{}: {e}", scratch.display()))?;
        command.arg(root().join("models/demo/base")).arg(&scratch);
        if rounds && self.tool != Tool::None {
            // Resident memory means little here; the tool itself reports leaks.
            command.arg("3");
        }
        let printed = output(&mut command)?;
        if rounds {
            print!("{printed}");
        }
        Ok(())
    }

    /// The example draws a picture.
    fn example(&self, compiler: &str, standard: &str, extension: &str) -> Outcome {
        let file = root().join(format!("bindings/c/examples/txt2img.{extension}"));
        let exe = self.compile(
            compiler,
            standard,
            &file,
            &format!("example-{extension}"),
            &self.shared,
        )?;
        let picture = self.work.join(format!("example-{extension}.png"));
        print!(
            "{}",
            output(program(exe).arg("a yellow star at night").arg(&picture))?
        );
        let bytes = fs::read(&picture).map_err(|e| format!("{}: {e}", picture.display()))?;
        match bytes.starts_with(b"\x89PNG") {
            true => Ok(()),
            false => Err(format!("{}: no PNG", picture.display())),
        }
    }

    /// An application built by CMake.
    fn cmake(&mut self) -> Outcome {
        if !there("cmake") {
            self.left_out.push("cmake (not installed)".into());
            return Ok(());
        }
        let build = self.work.join("cmake");
        let source = root().join("bindings/c/tests/cmake");
        let prefix = format!("-DCMAKE_PREFIX_PATH={}", self.prefix.display());
        output(
            program("cmake")
                .arg("-S")
                .arg(source)
                .arg("-B")
                .arg(&build)
                .arg(prefix),
        )?;
        output(program("cmake").arg("--build").arg(&build))?;
        for name in [
            "draw_sdrs",
            "draw_sdrs-static",
            "wrapper_sdrs",
            "wrapper_sdrs-static",
        ] {
            self.run(&build.join(name), false)?;
        }
        println!("CMake: find_package(sdrs) and both targets work");
        Ok(())
    }

    /// The shared library exports nothing but `sdrs_*`, and has its name.
    fn symbols(&mut self) -> Outcome {
        if cfg!(target_os = "macos") || !there("nm") {
            self.left_out
                .push("exported symbols (no nm that knows -D)".into());
            return Ok(());
        }
        let library = self.prefix.join("lib/libsdrs.so");
        let printed = output(program("nm").args(["-D", "--defined-only"]).arg(&library))?;
        let names: Vec<&str> = printed
            .lines()
            .filter_map(|line| line.split_whitespace().last())
            .collect();
        let others: Vec<&&str> = names.iter().filter(|name| !name.starts_with("sdrs_")).collect();
        if !others.is_empty() {
            return Err(format!("libsdrs.so exports {others:?}"));
        }
        let header = fs::read_to_string(root().join("include/sdrs.h")).map_err(|e| e.to_string())?;
        let missing: Vec<&&str> = names
            .iter()
            .filter(|name| !header.contains(&format!("{name}(")))
            .collect();
        if !missing.is_empty() {
            return Err(format!("include/sdrs.h lacks {missing:?}"));
        }
        println!("{} exported symbols, all in the header", names.len());
        Ok(())
    }

    /// The size of the shared library for those who bring their own models.
    fn size(&mut self) -> Outcome {
        if !there("strip") {
            self.left_out.push("stripped size (no strip)".into());
            return Ok(());
        }
        let stripped = self.work.join("stripped.so");
        let installed = self.prefix.join("lib/libsdrs.so");
        output(Command::new("strip").arg("-o").arg(&stripped).arg(installed))?;
        let with = fs::metadata(&stripped).map_err(|e| e.to_string())?.len();
        // The models are in it as they are on disk.
        let models =
            ["base", "captioner", "clip", "phrases"].map(|name| root().join("models/demo").join(name));
        let models = models
            .iter()
            .map(|folder| size_of_folder(folder))
            .sum::<Outcome<u64>>()?;
        let without = with.saturating_sub(models);
        let shown = [with, without].map(|bytes| bytes as f64 / 1e6);
        println!(
            "shared library, stripped: {:.1} MB, {:.1} MB without the demo's models",
            shown[0], shown[1]
        );
        match without <= SIZE_LIMIT {
            true => Ok(()),
            false => Err(format!("{without} bytes are over the limit of {SIZE_LIMIT}")),
        }
    }
}

fn size_of_folder(folder: &Path) -> Outcome<u64> {
    let fail = |e: std::io::Error| format!("{}: {e}", folder.display());
    let mut size = 0;
    for entry in fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let meta = entry.metadata().map_err(fail)?;
        size += match meta.is_dir() {
            true => size_of_folder(&entry.path())?,
            false => meta.len(),
        };
    }
    Ok(size)
}
