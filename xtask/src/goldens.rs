//! `cargo xtask goldens`: the reference values, by the scripts in tools/goldens.

use crate::shell::{Outcome, output, program, root, run as run_command};

/// The folder of scripts that are run one by one, each for itself.
const SCHED: &str = "tools/goldens/sched";

/// Runs the scripts in a Python that has their packages: `--python PATH`, else the variable `SDRS_PYTHON`, else `python3`.
pub fn run(args: &[&str]) -> Outcome {
    let mut python = std::env::var("SDRS_PYTHON").unwrap_or_else(|_| "python3".into());
    let (mut check, mut parts) = (false, Vec::new());
    let mut args = args.iter();
    while let Some(&arg) = args.next() {
        match arg {
            "--check" => check = true,
            "--python" => {
                let path = args.next().ok_or("--python needs a path")?;
                python = (*path).to_owned();
            }
            option if option.starts_with('-') => return Err(format!("unknown option {option}")),
            part => parts.push(part),
        }
    }
    // A relative path is meant from where the task was called, not from the root.
    if python.contains(std::path::MAIN_SEPARATOR) {
        let path = std::path::absolute(&python).map_err(|e| format!("{python}: {e}"))?;
        python = path.display().to_string();
    }
    let packages = output(program(&python).args(["-c", "import torch, diffusers, transformers"]));
    if packages.is_err() {
        return Err(format!(
            "{python} lacks the reference packages (PyTorch, diffusers, transformers): make a virtual environment as \
             tools/goldens/README.md says, and give its python with --python or SDRS_PYTHON"
        ));
    }

    let sched = parts.contains(&"sched");
    parts.retain(|&part| part != "sched");
    if sched && check {
        return Err("sched can't be checked, only made anew; see what git says of goldens/sched then".into());
    }
    if !sched || !parts.is_empty() {
        let mut command = program(&python);
        command.arg("tools/goldens/make.py");
        if check {
            command.arg("--check");
        }
        run_command(command.args(&parts))?;
    }
    if sched {
        let folder = std::fs::read_dir(root().join(SCHED)).map_err(|e| format!("{SCHED}: {e}"))?;
        let names = folder.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut scripts: Vec<String> = names
            .filter(|name| name.ends_with(".py") && name != "common.py")
            .collect();
        scripts.sort();
        for script in scripts {
            run_command(program(&python).arg(format!("{SCHED}/{script}")))?;
        }
    }
    Ok(())
}
