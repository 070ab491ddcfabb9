//! Standard output and standard error that are closed, full, or not read to the end.
#![cfg(unix)]

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
    process::{Command, Stdio},
};

fn tiny() -> String {
    goldens::root().join("tiny-sd1").display().to_string()
}

/// Exit code and standard error of a shell's line, in which `$SDRS` is the command. No panic is ever told.
fn shell(folder: &Path, line: &str) -> (i32, String) {
    let mut command = Command::new("bash");
    command.args(["-c", line]).current_dir(folder);
    command
        .env("SDRS", env!("CARGO_BIN_EXE_sdrs"))
        .env("TINY", tiny());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!told.contains("panicked"), "{line}: {told}");
    (output.status.code().unwrap(), told)
}

/// Everything that prints, but for pictures.
const PRINTING: [&str; 9] = [
    "lora doctor $TINY/lora/lora.safetensors",
    "lora doctor $TINY/lora/lora.safetensors --json",
    "prompt 'a (red:1.2) cat' --negative-prompt fog",
    "prompt 'a (red:1.2) cat' --json",
    "inspect $TINY",
    "inspect $TINY --json",
    "--help",
    "txt2img --help",
    "--version",
];

#[test]
fn a_reader_that_stops_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    for command in PRINTING {
        // `true` has gone before the command writes: the pipe is closed.
        let line = format!("(sleep 0.2; $SDRS {command}; echo $? >code) | true");
        let (_, told) = shell(folder.path(), &line);
        assert_eq!(told, "", "{command}");
        let code = fs::read_to_string(folder.path().join("code")).unwrap();
        assert_eq!(code, "0\n", "{command}");
        assert_eq!(
            shell(folder.path(), &format!("$SDRS {command} | head -n 1 >/dev/null")),
            (0, String::new())
        );
    }
}

#[test]
fn a_full_disk_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for command in PRINTING {
        let (code, told) = shell(folder.path(), &format!("$SDRS {command} >/dev/full"));
        assert_eq!(code, 3, "{command}: {told}");
        assert!(
            told.starts_with("error: cannot write standard output: "),
            "{command}: {told}"
        );
        // Nobody can be told then.
        let (code, _) = shell(folder.path(), &format!("$SDRS {command} >/dev/full 2>/dev/full"));
        assert_eq!(code, 3, "{command}");
        // The system gives closed streams a place to write to.
        let (code, told) = shell(folder.path(), &format!("$SDRS {command} >&-"));
        assert_eq!((code, told.as_str()), (0, ""), "{command}");
    }
}

#[test]
fn errors_keep_their_codes_when_nobody_listens() {
    let folder = tempfile::tempdir().unwrap();
    for (command, expected) in [
        ("inspect none", 3),
        ("prompt a --emphasis much", 2),
        ("txt2img", 2),
        ("txt2img x --steps none", 2),
        ("txt2img x --lora f:0,8", 2),
        ("txt2img x --lora f:", 2),
        ("lora doctor $TINY/unet/config.json", 4),
    ] {
        for stream in ["2>/dev/full", "2>&-", "2> >(true)", ">&- 2>&-"] {
            let (code, _) = shell(folder.path(), &format!("$SDRS {command} {stream}"));
            assert_eq!(code, expected, "{command} {stream}");
        }
    }
}

/// All pictures of a batch are written, whoever hears of them.
#[test]
fn pictures_are_written_though_nobody_listens() {
    let draw = "$SDRS txt2img 'a cat' --model $TINY --width 32 --height 32 --steps 1 --batch-size 3 --seed 1 --profile";
    for (streams, expected) in [
        ("| true", 0),
        (">/dev/full", 3),
        (">/dev/full 2>/dev/full", 3),
        ("2>/dev/full", 0),
        ("2>&1 | true", 0),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (code, told) = shell(folder.path(), &format!("set -o pipefail; {draw} {streams}"));
        assert_eq!(code, expected, "{streams}: {told}");
        if streams == ">/dev/full" {
            assert_eq!(told.matches("cannot write standard output").count(), 1, "{told}");
        }
        for n in 1..=3 {
            let mut head = [0; 4];
            let mut file = File::open(folder.path().join(format!("out-{n}.png"))).unwrap();
            file.read_exact(&mut head).unwrap();
            assert_eq!(&head, b"\x89PNG");
        }
    }
}

/// A picture that standard output doesn't take is not lost.
#[test]
fn a_picture_that_nobody_reads_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let draw = "$SDRS txt2img 'a cat' --model $TINY --width 32 --height 32 --steps 1 --seed 1 -o -";
    for (i, streams) in [">/dev/full", "| true"].into_iter().enumerate() {
        let line = format!("set -o pipefail; export TMPDIR=$PWD; {draw} {streams}");
        let (code, told) = shell(folder.path(), &line);
        let name = ["out-rescued.png", "out-rescued-2.png"][i];
        assert_eq!(code, 3, "{told}");
        assert!(told.contains("cannot write standard output: "), "{told}");
        assert!(
            told.contains(&format!(
                "the picture is in {}",
                folder.path().join(name).display()
            )),
            "{told}"
        );
        assert!(folder.path().join(name).exists());
    }
}

/// The command in the background, and what it has said.
fn begun(folder: &Path, args: &[&str]) -> (std::process::Child, std::sync::mpsc::Receiver<String>) {
    use std::io::BufRead;
    let mut command = Command::new(env!("CARGO_BIN_EXE_sdrs"));
    command.args(args).current_dir(folder).stdin(Stdio::null());
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (to, from) = std::sync::mpsc::channel();
    let streams: [Box<dyn Read + Send>; 2] = [
        Box::new(child.stdout.take().unwrap()),
        Box::new(child.stderr.take().unwrap()),
    ];
    for stream in streams {
        let to = to.clone();
        std::thread::spawn(move || {
            for line in std::io::BufReader::new(stream).lines().map_while(Result::ok) {
                let _ = to.send(line);
            }
        });
    }
    (child, from)
}

fn interrupt(child: &std::process::Child) {
    let (code, told) = shell(Path::new("."), &format!("kill -INT {}", child.id()));
    assert_eq!(code, 0, "{told}");
}

#[test]
fn an_interrupt_leaves_the_pictures_that_are_done() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, lines) = begun(
        folder.path(),
        &[
            "txt2img",
            "a circle",
            "--seed",
            "5",
            "--steps",
            "2",
            "--batch-size",
            "1000",
            "-o",
            "b.png",
        ],
    );
    let wait = |begins: &str| {
        while !lines
            .recv_timeout(std::time::Duration::from_secs(300))
            .unwrap()
            .starts_with(begins)
        {}
    };
    wait("b-2.png (96x96, seed 6)");
    interrupt(&child);
    wait("interrupted: ends after this step");
    wait("error: cancelled");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    for name in ["b-1.png", "b-2.png"] {
        assert!(
            fs::read(folder.path().join(name))
                .unwrap()
                .starts_with(b"\x89PNG")
        );
    }
    assert!(!folder.path().join("b-1000.png").exists());
}

/// A step of this size takes far longer than the test waits.
#[test]
fn a_second_interrupt_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, lines) = begun(
        folder.path(),
        &[
            "txt2img",
            "a circle",
            "--width",
            "4096",
            "--height",
            "4096",
            "--verbose",
        ],
    );
    let wait = |begins: &str| {
        let second = std::time::Duration::from_secs(60);
        while !lines.recv_timeout(second).unwrap().starts_with(begins) {}
    };
    wait("encoded the prompts");
    interrupt(&child);
    wait("interrupted: ends after this step");
    interrupt(&child);
    let began = std::time::Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(began.elapsed().as_secs() < 30);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
