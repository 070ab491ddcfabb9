//! How fast a GPU is, beside PyTorch on the same one: one command, which needs nothing but itself.
//!
//!     gpu [--device cuda:0] [--model sd15,sdxl] [--dtype f16,bf16,f32] [--batch 1,4,8] [--steps 20] [--repeat 20] [--side PIXELS]
//!         [--python python3|none] [--reference cpu|none] [--folder FOLDER] [--timeout SECONDS] [--json FILE]
//!
//! It makes models of full size with random weights (2 GB for sd15, 7 GB for sdxl, kept in FOLDER if one is named), and times: a call of the
//! U-Net for one picture (both halves of guidance), decoding one picture, and whole pictures, several at once. The same for PyTorch, where
//! PYTHON has torch and diffusers: eager with channels last, and torch.compile. Errors are relative (L2), against f32 on this machine's CPU,
//! which takes a minute for sd15 and several for sdxl. Memory is what the allocator holds at the end, its peak. `--model tiny` tries the program.
//!
//! Each measurement is a process of its own. One that fails or takes longer than SECONDS is told, and the others go on.

mod measure;
mod model;
mod table;

use std::{
    error::Error,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use sd_core::Dtype;
use serde_json::{Value, json};

use measure::Case;
use model::Model;

/// Times PyTorch; it has what this program does in Python.
const PEERS: &str = include_str!("../../../gpu_peers.py");

/// The options, each with its default.
struct Options {
    device: String,
    models: Vec<Model>,
    dtypes: Vec<Dtype>,
    batches: Vec<usize>,
    steps: usize,
    repeat: usize,
    side: Option<usize>,
    python: String,
    reference: bool,
    folder: Option<PathBuf>,
    timeout: u64,
    json: Option<PathBuf>,
    /// What a process of its own measures, of a model's folder.
    one: Option<(String, PathBuf)>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::read(std::env::args().skip(1))?;
    if let Some((what, folder)) = &options.one {
        let case = options.case(folder, options.models[0], options.dtypes[0]);
        return match what.as_str() {
            "reference" => case.write_references(),
            "pictures" => case.pictures(),
            part => case.network(part),
        };
    }
    let scratch = tempfile::tempdir()?;
    let folder = options.folder.clone().unwrap_or_else(|| scratch.path().into());
    fs::create_dir_all(&folder)?;
    let script = scratch.path().join("gpu_peers.py");
    fs::write(&script, PEERS)?;
    let peers = options.python != "none" && has_peers(&options.python);
    print!("{}", about(&options, peers));
    let mut lines = Vec::new();
    for model in &options.models {
        let at = folder.join(model.name);
        let began = Instant::now();
        model.write(&at)?;
        eprintln!("{}: made in {:.0} s", model.name, began.elapsed().as_secs_f64());
        let mut measure = |command: &mut Command, what: &str| {
            for mut line in run(command, what, options.timeout) {
                line["model"] = json!(model.name);
                eprintln!("{line}");
                lines.push(line);
            }
        };
        if options.reference {
            measure(
                &mut options.again(*model, Dtype::F32, "reference", &at)?,
                "the reference",
            );
        }
        for dtype in &options.dtypes {
            for what in ["unet", "vae", "pictures"] {
                let told = format!("sdrs {} {dtype} {what}", model.name);
                measure(&mut options.again(*model, *dtype, what, &at)?, &told);
            }
            for kind in ["eager", "compile"].into_iter().filter(|_| peers) {
                let told = format!("PyTorch {kind} {} {dtype}", model.name);
                measure(&mut options.peer(*model, *dtype, kind, (&script, &at)), &told);
            }
        }
        if options.folder.is_none() {
            // The next one is as large.
            fs::remove_dir_all(&at)?;
        }
    }
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_string_pretty(&lines)?)?;
    }
    print!("{}", table::table(&lines));
    Ok(())
}

impl Options {
    fn read(mut args: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut options = Self {
            device: "auto".into(),
            models: ["sd15", "sdxl"].into_iter().filter_map(Model::named).collect(),
            dtypes: vec![Dtype::F16, Dtype::Bf16, Dtype::F32],
            batches: vec![1, 4, 8],
            steps: 20,
            repeat: 20,
            side: None,
            python: "python3".into(),
            reference: true,
            folder: None,
            timeout: 900,
            json: None,
            one: None,
        };
        while let Some(name) = args.next() {
            let value = args.next().ok_or_else(|| format!("{name}: needs a value"))?;
            let unknown = || format!("{name}: {value}");
            match name.as_str() {
                "--device" => options.device = value,
                "--model" => {
                    let models = value
                        .split(',')
                        .map(|name| Model::named(name).ok_or_else(unknown));
                    options.models = models.collect::<Result<_, _>>()?;
                }
                "--dtype" => {
                    let dtypes = value
                        .split(',')
                        .map(|name| Dtype::from_name(name).ok_or_else(unknown));
                    options.dtypes = dtypes.collect::<Result<_, _>>()?;
                }
                "--batch" => options.batches = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
                "--steps" => options.steps = value.parse()?,
                "--repeat" => options.repeat = value.parse::<usize>()?.max(1),
                "--side" => options.side = Some(value.parse()?),
                "--python" => options.python = value,
                "--reference" => options.reference = value != "none",
                "--folder" => options.folder = Some(value.into()),
                "--timeout" => options.timeout = value.parse()?,
                "--json" => options.json = Some(value.into()),
                "--one" => {
                    let folder = args.next().ok_or("--one: needs a folder")?;
                    options.one = Some((value, folder.into()));
                }
                _ => {
                    return Err(format!(
                        "{name}: unknown; the first lines of benches/src/bin/gpu/main.rs have the options"
                    )
                    .into());
                }
            }
        }
        Ok(options)
    }

    fn side(&self, model: Model) -> usize {
        self.side.unwrap_or(model.side)
    }

    fn case(&self, folder: &Path, model: Model, dtype: Dtype) -> Case {
        Case {
            folder: folder.to_owned(),
            device: self.device.clone(),
            dtype,
            side: self.side(model),
            batches: self.batches.clone(),
            steps: self.steps,
            repeat: self.repeat,
        }
    }

    /// This program again, for one measurement.
    fn again(
        &self,
        model: Model,
        dtype: Dtype,
        what: &str,
        folder: &Path,
    ) -> Result<Command, Box<dyn Error>> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--device", &self.device, "--model", model.name]);
        command.args(["--dtype", dtype.name(), "--one", what]);
        command.arg(folder);
        command.args(self.amounts(model));
        Ok(command)
    }

    /// PyTorch, in one type.
    fn peer(&self, model: Model, dtype: Dtype, kind: &str, (script, folder): (&Path, &Path)) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(script).arg(folder);
        command.args(["--kind", kind, "--dtype", dtype.name()]);
        command.args(self.amounts(model));
        command
    }

    /// What both take.
    fn amounts(&self, model: Model) -> [String; 8] {
        let batches: Vec<String> = self.batches.iter().map(usize::to_string).collect();
        [
            "--side".into(),
            self.side(model).to_string(),
            "--batch".into(),
            batches.join(","),
            "--steps".into(),
            self.steps.to_string(),
            "--repeat".into(),
            self.repeat.to_string(),
        ]
    }
}

/// Whether a Python has what PyTorch's measurement needs, and sees a GPU.
fn has_peers(python: &str) -> bool {
    const ASK: &str = "import torch, diffusers, transformers; assert torch.cuda.is_available()";
    let asked = Command::new(python)
        .args(["-c", ASK])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    asked.is_ok_and(|status| status.success())
}

/// What stands above the table: the machine and the versions.
fn about(options: &Options, peers: bool) -> String {
    let mut text = format!("sdrs {}, on {}\n", sdrs::VERSION, options.device);
    for device in sdrs::devices() {
        let memory = device
            .memory
            .map_or_else(String::new, |bytes| format!(", {:.1} GB", bytes as f64 / 1e9));
        text += &format!("  {}: {}{memory}\n", device.name, device.title);
    }
    if !peers {
        text += "PyTorch is left out: no torch, diffusers and transformers there, or no GPU for them\n";
    }
    text + "\n"
}

/// The lines of JSON that a measurement prints; one that says so, if it fails.
fn run(command: &mut Command, what: &str, timeout: u64) -> Vec<Value> {
    let failed = |reason: String| {
        eprintln!("{what}: {reason}");
        json!({"what": what, "failed": reason})
    };
    let mut child = match command.stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => return vec![failed(error.to_string())],
    };
    let (lines, ended) = lines_within(&mut child, Duration::from_secs(timeout));
    let mut lines: Vec<Value> = lines
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    match ended {
        None => lines.push(failed(format!("took longer than {timeout} s"))),
        Some(false) => lines.push(failed("ended with an error".into())),
        Some(true) => {}
    }
    lines
}

/// What a child prints within a time, and whether it succeeded; `None` if it had to be ended.
fn lines_within(child: &mut Child, within: Duration) -> (Vec<String>, Option<bool>) {
    let (sender, receiver) = mpsc::channel();
    if let Some(out) = child.stdout.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
    }
    let deadline = Instant::now() + within;
    let mut lines = Vec::new();
    loop {
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => lines.push(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let ended = child.wait().is_ok_and(|status| status.success());
                return (lines, Some(ended));
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                // A process that is gone already needs no ending.
                let _ = child.kill();
                let _ = child.wait();
                return (lines, None);
            }
        }
    }
}
