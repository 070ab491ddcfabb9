//! Where the command writes: what is checked before any work, what is never replaced, and what becomes of a picture in the end.
#![cfg(unix)]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

fn tiny() -> String {
    goldens::root().join("tiny-sd1").display().to_string()
}

/// A small picture with some more arguments.
fn draw(folder: &Path, steps: &str, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sdrs"));
    let size = ["--width", "32", "--height", "32", "--steps", steps, "--seed", "5"];
    command.args(["txt2img", "a cat", "--model", &tiny()]).args(size);
    command.args(more).current_dir(folder);
    command
}

fn quick(folder: &Path, more: &[&str]) -> Command {
    draw(folder, "1", more)
}

fn sdrs(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sdrs"));
    command.args(args).current_dir(folder).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_is_no_regular_file_is_written_into() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    let reader = Command::new("cat")
        .arg(at("pipe"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = quick(folder.path(), &["-o", "pipe"]).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    assert!(reader.wait_with_output().unwrap().stdout.starts_with(PNG));
    assert_eq!(names(folder.path()), ["pipe"]);

    // A link to a device, as an own file: were it replaced, nothing else would be damaged.
    symlink("/dev/null", at("null")).unwrap();
    let output = quick(folder.path(), &["-o", "null"]).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    assert!(fs::symlink_metadata(at("null")).unwrap().is_symlink());
    assert!(!fs::metadata("/dev/null").unwrap().is_file());

    // Weights are not streamed: nothing waits for a reader, and nothing is replaced.
    for target in ["pipe", "null"] {
        let output = sdrs(folder.path(), &["convert", &tiny(), target]);
        assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    }
    symlink("pipe", at("pipe.safetensors")).unwrap();
    let output = sdrs(folder.path(), &["convert", &tiny(), "pipe.safetensors"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        told(&output).contains("cannot write pipe.safetensors: it is no regular file"),
        "{}",
        told(&output)
    );
    assert_eq!(names(folder.path()), ["null", "pipe", "pipe.safetensors"]);
}

#[test]
fn links_and_permissions_stay() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let secret = |name: &str| {
        fs::write(at(name), "old").unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(0o600)).unwrap();
    };
    secret("secret.png");
    symlink("secret.png", at("link.png")).unwrap();
    assert!(
        quick(folder.path(), &["-o", "link.png"])
            .status()
            .unwrap()
            .success()
    );
    assert!(fs::symlink_metadata(at("link.png")).unwrap().is_symlink());
    assert!(fs::read(at("secret.png")).unwrap().starts_with(PNG));
    assert_eq!(mode(at("secret.png")), 0o600);

    secret("secret.safetensors");
    symlink("secret.safetensors", at("LINK.SafeTensors")).unwrap();
    let output = sdrs(folder.path(), &["convert", &tiny(), "LINK.SafeTensors"]);
    assert!(output.status.success(), "{}", told(&output));
    assert!(fs::symlink_metadata(at("LINK.SafeTensors")).unwrap().is_symlink());
    assert_eq!(mode(at("secret.safetensors")), 0o600);
    let output = sdrs(folder.path(), &["inspect", "secret.safetensors"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("a checkpoint"));

    // What is new has what is usual.
    assert!(
        sdrs(folder.path(), &["convert", &tiny(), "new.safetensors"])
            .status
            .success()
    );
    assert!(
        sdrs(folder.path(), &["convert", &tiny(), "folder"])
            .status
            .success()
    );
    fs::write(at("usual"), "").unwrap();
    for new in [
        "new.safetensors",
        "folder/unet/diffusion_pytorch_model.safetensors",
        "folder/model_index.json",
    ] {
        assert_eq!(mode(at(new)), mode(at("usual")), "{new}");
    }
}

#[test]
fn a_picture_goes_to_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["-", "/dev/stdout"] {
        let output = quick(folder.path(), &["-o", name]).output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
        assert!(output.stdout.starts_with(PNG) && output.stdout.ends_with(b"IEND\xae\x42\x60\x82"));
        assert_eq!(told(&output), "standard output (32x32, seed 5)\n");
    }
    // Into an open file as well, whose beginning stays.
    let path = folder.path().join("all");
    fs::write(&path, "first").unwrap();
    let open = fs::File::options().append(true).open(&path).unwrap();
    assert!(
        quick(folder.path(), &["-o", "/dev/stdout"])
            .stdout(open)
            .status()
            .unwrap()
            .success()
    );
    assert!(fs::read(&path).unwrap().starts_with(&[b"first", PNG].concat()));
    for more in [["--batch-size", "2"], ["--preview-every", "1"]] {
        let output = quick(folder.path(), &[&["-o", "-"], &more[..]].concat())
            .output()
            .unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
        assert!(told(&output).contains("name "), "{}", told(&output));
    }
    assert_eq!(names(folder.path()), ["all"]);
}

/// The model is not there, which would be told first if it were looked at before the output.
#[test]
fn outputs_are_checked_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("taken-2.png")).unwrap();
    fs::create_dir_all(at("there")).unwrap();
    fs::create_dir_all(at("shown-step-3.png")).unwrap();
    fs::create_dir_all(at("shown-1-step-3.png")).unwrap();
    fs::write(at("full"), "").unwrap();
    let before = names(folder.path());
    let txt2img = ["txt2img", "x", "--model", "no/such/model"];
    let convert = ["convert", "no/such/model"];
    #[rustfmt::skip]
    let cases: [(&[&str], &[&str], i32, &str); 18] = [
        (&txt2img, &["-o", "none/out.png"], 3, "cannot write none/out.png: there is no folder none; make it first"),
        (&txt2img, &["-o", "none/out.png", "--batch-size", "3"], 3, "cannot write none/out-1.png: there is no folder none"),
        (&txt2img, &["-o", "taken.png", "--batch-size", "2"], 3, "cannot write taken-2.png: it is a folder"),
        (&txt2img, &["-o", "shown.png", "--preview-every", "3"], 3, "cannot write shown-step-3.png: it is a folder"),
        (&txt2img, &["-o", "shown.png", "--preview-every", "3", "--batch-size", "2"], 3, "cannot write shown-1-step-3.png: it is a"),
        (&txt2img, &["-o", "."], 3, "cannot write .: the path has no name at its end"),
        (&txt2img, &["-o", "full/"], 3, "cannot write full/: it ends as a folder's name does"),
        (&txt2img, &["-o", ".", "--batch-size", "2"], 3, "cannot write .: the path has no name at its end"),
        (&txt2img, &["-o", "full/", "--batch-size", "2"], 3, "cannot write full/: it ends as a folder's name does"),
        (&txt2img, &["-o", "full/out.png"], 3, "cannot write full/out.png: "),
        (&txt2img, &["-o", "a/x.GIF"], 2, "a/x.GIF: pictures are written as PNG, JPEG or WebP, not as .GIF; name it a/x.png"),
        (&txt2img, &["-o", "x.jpg", "--quality", "101"], 2, "101 is not in 1..=100"),
        (&convert, &["none/x.safetensors"], 3, "cannot write none/x.safetensors: there is no folder none"),
        (&convert, &["none/x"], 3, "cannot write none/x: there is no folder none"),
        (&convert, &["full"], 3, "cannot write full: it is there already, and no folder"),
        (&convert, &["taken-2.png/../x.ckpt"], 2, "weights are written as a .safetensors file or as a folder, not as .ckpt"),
        (&convert, &["taken-2.png"], 2, "weights are written as a .safetensors file or as a folder, not as .png"),
        (&convert, &["there"], 3, "cannot read no/such/model"),
    ];
    for (command, more, code, reason) in cases {
        let output = sdrs(folder.path(), &[command, more].concat());
        assert_eq!(output.status.code(), Some(code), "{more:?}: {}", told(&output));
        assert!(told(&output).contains(reason), "{more:?}: {}", told(&output));
        assert_eq!(names(folder.path()), before, "{more:?} left something behind");
    }
}

/// Starts a run that is long enough to take its output away, and waits for its first preview.
fn begun(folder: &Path, temporary: &Path) -> std::process::Child {
    let mut command = draw(folder, "300", &["--preview-every", "1", "-o", "inner/out.png"]);
    command
        .env("TMPDIR", temporary)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let began = Instant::now();
    while !folder.join("inner/out-step-1.png").exists() {
        assert!(began.elapsed() < Duration::from_secs(120) && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

#[test]
fn pictures_are_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["inner", "temporary"] {
        fs::create_dir(at(name)).unwrap();
    }
    // The name is taken meanwhile: the picture is beside it.
    let child = begun(folder.path(), &at("temporary"));
    fs::create_dir(at("inner/out.png")).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let message = "error: cannot write inner/out.png: it is a folder; name a file in it; the picture is in inner/out-rescued.png instead\n";
    assert_eq!(told(&output), message);
    let line = String::from_utf8(output.stdout).unwrap();
    assert_eq!(line, "inner/out-rescued.png (32x32, seed 5)\n");
    assert!(fs::read(at("inner/out-rescued.png")).unwrap().starts_with(PNG));

    // The whole folder is gone: previews end, the run doesn't, and the picture is among temporary files.
    fs::remove_dir_all(at("inner")).unwrap();
    fs::create_dir(at("inner")).unwrap();
    let child = begun(folder.path(), &at("temporary"));
    fs::rename(at("inner"), at("moved")).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let rescued = at("temporary/out-rescued.png");
    assert!(fs::read(&rescued).unwrap().starts_with(PNG));
    assert_eq!(
        fs::metadata(&rescued).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let message = told(&output);
    assert_eq!(message.matches("no more previews").count(), 1, "{message}");
    assert!(
        message.contains(&format!("the picture is in {} instead", rescued.display())),
        "{message}"
    );
}
