//! `cargo xtask python`: the Python package as users have it, from a folder of its own in the target folder.
//!
//! The native module is that of the whole workspace's build, so Burn is not built again for it; `pip install` would. NumPy, Pillow,
//! mypy and pyright come from pip, into a virtual environment in the target folder. Where that can't be had, the stage is left out, and says so.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    install_c::target,
    shell::{Outcome, cargo, output, program, root, run},
};

const PACKAGES: [&str; 4] = ["numpy", "pillow", "mypy", "basedpyright"];

/// The task that writes what is made from the table of settings: the package's list and a page of the book. The tests of these do.
pub fn settings() -> Outcome {
    let test = ["test", "--workspace", "--release", "--locked"];
    let tests: [&[&str]; 2] = [&["--test", "settings"], &["--lib", "page_of_settings"]];
    tests
        .into_iter()
        .try_for_each(|which| run(cargo().args(test).args(which).env("SDRS_WRITE_SETTINGS", "1")))
}

/// The task and the stage.
pub fn check() -> Outcome {
    let work = target()?.join("python");
    let python = match environment(&work.join("venv")) {
        Ok(python) => python,
        Err(why) => {
            println!("LEFT OUT: the Python package's tests: {why}");
            return Ok(());
        }
    };
    run(cargo().args(["build", "--release", "--locked", "--workspace"]))?;
    let site = work.join("site");
    assemble(&site)?;

    let interpreter = python.clone();
    let python = |args: &[&str]| -> Command {
        let mut command = program(&python);
        command
            .args(args)
            .env("PYTHONPATH", &site)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        // What the tests compare with, and read.
        command.env(
            "SDRS_COMMAND",
            built(&format!("sdrs{}", std::env::consts::EXE_SUFFIX)),
        );
        command.env("SDRS_DEMO", root().join("models/demo/base"));
        command
    };
    let tests = "bindings/python/tests";
    let cache = work.join("mypy").display().to_string();
    let package = site.join("sdrs").display().to_string();
    let sample = format!("{tests}/typing_sample.py");
    let mypy = [
        "-m",
        "mypy",
        "--strict",
        "--no-error-summary",
        "--cache-dir",
        &cache,
    ];
    run(python(&mypy).arg(&package))?;
    run(python(&mypy).arg(&sample))?;
    let project = root()
        .join("bindings/python/pyproject.toml")
        .display()
        .to_string();
    let mut pyright = python(&["-m", "basedpyright", "--project", &project, "--pythonpath"]);
    run(pyright.arg(&interpreter))?;
    // The stubs have the names and signatures of what was built.
    run(&mut python(&["-m", "mypy.stubtest", "sdrs._sdrs"]))?;
    run(&mut python(&[
        "-m",
        "unittest",
        "discover",
        "--start-directory",
        tests,
    ]))
}

/// A virtual environment's Python, with the packages.
fn environment(folder: &Path) -> Outcome<PathBuf> {
    let inside = if cfg!(windows) {
        "Scripts/python.exe"
    } else {
        "bin/python"
    };
    let python = folder.join(inside);
    let mut import = program(&python);
    import.args(["-c", "import numpy, PIL, mypy, basedpyright"]);
    if output(&mut import).is_ok() {
        return Ok(python);
    }
    let host = find()?;
    let _ = fs::remove_dir_all(folder);
    output(program(host).args(["-m", "venv"]).arg(folder))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    output(program(&python).args(pip).args(PACKAGES))?;
    Ok(python)
}

/// Python 3 of this machine.
pub fn find() -> Outcome<&'static str> {
    let names = ["python3", "python"];
    let found = names
        .into_iter()
        .find(|name| output(program(name).arg("--version")).is_ok());
    found.ok_or_else(|| "no Python 3 found".into())
}

fn built(name: &str) -> PathBuf {
    target().unwrap_or_default().join("release").join(name)
}

/// Puts together the contents of a wheel: the package's files with the native module beside them.
fn assemble(site: &Path) -> Outcome {
    let _ = fs::remove_dir_all(site);
    let (from, to) = (root().join("bindings/python/python/sdrs"), site.join("sdrs"));
    let fail = |e: std::io::Error| format!("{}: {e}", to.display());
    fs::create_dir_all(&to).map_err(fail)?;
    for entry in fs::read_dir(&from).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().unwrap_or_default())).map_err(fail)?;
        }
    }
    let (library, module) = match std::env::consts::OS {
        "windows" => ("_sdrs.dll", "_sdrs.pyd"),
        "macos" => ("lib_sdrs.dylib", "_sdrs.abi3.so"),
        _ => ("lib_sdrs.so", "_sdrs.abi3.so"),
    };
    let library = built(library);
    let size = fs::copy(&library, to.join(module)).map_err(|e| format!("{}: {e}", library.display()))?;
    println!(
        "the native module has {:.1} MB, the demo model included",
        size as f64 / 1e6
    );
    Ok(())
}
