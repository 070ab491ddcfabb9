//! `cargo xtask install-c --prefix DIR`: the C library with all that applications find it by.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use crate::shell::{Outcome, cargo, output, program, root, run};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The ABI's number, in the shared library's name: `SDRS_ABI_VERSION` in bindings/c, and its build script.
const ABI: &str = "0";

/// The options of an installation.
pub struct Install<'a> {
    /// The folder to install to.
    pub prefix: &'a Path,
    /// Whether the demo model is compiled in.
    pub demo: bool,
    /// More of the crate's features, separated by commas ("cuda").
    pub features: &'a str,
    /// Whether the whole workspace's build is taken, which the tests have made already; alone, the library has other features of its
    /// dependencies, and builds all of them anew.
    pub workspace: bool,
}

/// The task: `--prefix DIR [--no-demo] [--features LIST]`.
pub fn task(args: &[&str]) -> Outcome {
    const USAGE: &str = "usage: cargo xtask install-c --prefix DIR [--no-demo] [--features cuda,vulkan]";
    let (mut prefix, mut demo, mut features) = (None, true, "");
    let mut args = args.iter();
    while let Some(&arg) = args.next() {
        let mut value = || args.next().copied().ok_or(USAGE);
        match arg {
            "--prefix" => prefix = Some(value()?),
            "--features" => features = value()?,
            "--no-demo" => demo = false,
            _ => return Err(format!("{arg}: unknown\n{USAGE}")),
        }
    }
    let prefix = prefix.ok_or(USAGE)?;
    let prefix = std::path::absolute(prefix).map_err(|e| format!("{prefix}: {e}"))?;
    Install {
        prefix: &prefix,
        demo,
        features,
        workspace: false,
    }
    .run()?;
    println!("installed to {}", prefix.display());
    Ok(())
}

impl Install<'_> {
    /// Builds the library and lays everything down.
    pub fn run(&self) -> Outcome {
        let built = self.build()?;
        let [include, lib] = ["include", "lib"].map(|name| self.prefix.join(name));
        for name in ["sdrs.h", "sdrs.hpp"] {
            copy(&root().join("include").join(name), &include.join(name))?;
        }
        // The names: the file, the one that programs ask for, the one that linkers ask for.
        let [shared, soname, plain] = match cfg!(target_os = "macos") {
            true => [
                format!("libsdrs.{VERSION}.dylib"),
                format!("libsdrs.{ABI}.dylib"),
                "libsdrs.dylib".into(),
            ],
            false => [
                format!("libsdrs.so.{VERSION}"),
                format!("libsdrs.so.{ABI}"),
                "libsdrs.so".into(),
            ],
        };
        let extension = if cfg!(target_os = "macos") { "dylib" } else { "so" };
        copy(&built.join(format!("libsdrs_c.{extension}")), &lib.join(&shared))?;
        link(&shared, &lib.join(&soname))?;
        link(&soname, &lib.join(plain))?;
        copy(&built.join("libsdrs_c.a"), &lib.join("libsdrs.a"))?;

        let private = private_libs(&built)?;
        let (major, rest) = VERSION.split_once('.').unwrap_or((VERSION, ""));
        let filled = |template: &str| -> Outcome<String> {
            let path = root().join("bindings/c/install").join(template);
            let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            let text = text
                .replace("@VERSION@", VERSION)
                .replace("@MAJOR@", major)
                .replace("@MINOR@", rest.split('.').next().unwrap_or_default())
                .replace("@SHARED@", &shared)
                .replace("@SONAME@", &soname)
                .replace("@PRIVATE_LIBS@", &private)
                .replace("@PRIVATE_LIST@", &private.replace(' ', ";"));
            Ok(text)
        };
        write(&lib.join("pkgconfig/sdrs.pc"), &filled("sdrs.pc.in")?)?;
        for name in ["sdrs-config.cmake", "sdrs-config-version.cmake"] {
            write(
                &lib.join("cmake/sdrs").join(name),
                &filled(&format!("{name}.in"))?,
            )?;
        }
        Ok(())
    }

    /// Builds, and returns the folder of what was built.
    pub fn build(&self) -> Outcome<PathBuf> {
        if !cfg!(unix) {
            return Err(
                "install-c knows Linux, macOS and their like; elsewhere, take libsdrs_c of \
                        `cargo build --release -p sdrs-c` and include/"
                    .into(),
            );
        }
        let mut build = cargo();
        build.args(["build", "--release", "--locked"]);
        build.args(match self.workspace {
            true => ["--workspace", "--lib"].as_slice(),
            false => &["--package", "sdrs-c"],
        });
        if !self.demo {
            build.args(["--no-default-features", "--features", "flex"]);
        }
        if !self.features.is_empty() {
            build.args(["--features", self.features]);
        }
        run(&mut build)?;
        Ok(target()?.join("release"))
    }
}

/// Cargo's target folder.
pub fn target() -> Outcome<PathBuf> {
    let text = output(cargo().args(["metadata", "--no-deps", "--format-version", "1", "--locked"]))?;
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|e| format!("cargo metadata: {e}"))?;
    let folder = json["target_directory"].as_str();
    Ok(folder.ok_or("cargo metadata: no target_directory")?.into())
}

/// The system's libraries that Rust's own code needs, as rustc lists them for an empty static library.
fn private_libs(scratch: &Path) -> Outcome<String> {
    let mut rustc = program(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args([
        "--crate-name",
        "empty",
        "--crate-type",
        "staticlib",
        "--print",
        "native-static-libs",
        "-o",
    ]);
    rustc.arg(scratch.join("libempty.a")).arg("-");
    let printed = rustc
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("rustc: {e}"))?;
    let printed = String::from_utf8_lossy(&printed.stderr).into_owned();
    let line = printed
        .lines()
        .find_map(|line| line.split_once("native-static-libs:"));
    let (_, libs) = line.ok_or_else(|| format!("rustc tells no native-static-libs:\n{printed}"))?;
    Ok(libs.trim().to_owned())
}

fn folder_of(path: &Path) -> Outcome {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))
}

fn copy(from: &Path, to: &Path) -> Outcome {
    folder_of(to)?;
    // A library in use is replaced, not overwritten.
    let _ = fs::remove_file(to);
    fs::copy(from, to).map_err(|e| format!("{} to {}: {e}", from.display(), to.display()))?;
    Ok(())
}

fn write(path: &Path, text: &str) -> Outcome {
    folder_of(path)?;
    fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}

#[cfg(unix)]
fn link(to: &str, at: &Path) -> Outcome {
    let _ = fs::remove_file(at);
    std::os::unix::fs::symlink(to, at).map_err(|e| format!("{}: {e}", at.display()))
}

#[cfg(not(unix))]
fn link(_: &str, _: &Path) -> Outcome {
    Err("no symbolic links here".into())
}
