//! The command as a person runs it.

use std::{
    path::Path,
    process::{Command, Output},
};

fn sdrs(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sdrs"))
        .args(args)
        .current_dir(folder)
        .output()
        .unwrap()
}

/// What it prints and how it ends when it should fail.
fn failure(args: &[&str]) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let output = sdrs(folder.path(), args);
    assert!(output.stdout.is_empty());
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "something was left behind"
    );
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn tiny() -> String {
    goldens::root().join("tiny-sd1").display().to_string()
}

#[test]
fn the_first_command_draws() {
    let folder = tempfile::tempdir().unwrap();
    let output = sdrs(
        folder.path(),
        &[
            "txt2img",
            "a red circle above a blue square",
            "--steps",
            "4",
            "--seed",
            "5",
        ],
    );
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "out.png (96x96, seed 5)\n"
    );
    let file = std::io::BufReader::new(std::fs::File::open(folder.path().join("out.png")).unwrap());
    let reader = png::Decoder::new(file).read_info().unwrap();
    let info = reader.info();
    assert_eq!((info.width, info.height), (96, 96));
    let text = &info.uncompressed_latin1_text[0];
    assert_eq!(text.keyword, "parameters");
    assert!(
        text.text
            .starts_with("a red circle above a blue square\nSteps: 4, Sampler: DPM++ 2M, "),
        "{}",
        text.text
    );
}

#[test]
fn a_batch_is_numbered_and_every_option_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = tiny();
    #[rustfmt::skip]
    let output = sdrs(folder.path(), &[
        "txt2img", "a cat", "--model", &tiny, "--negative-prompt", "blurry", "--width", "32", "--height", "48",
        "--steps", "2", "--cfg-scale", "5.5", "--sampler", "Euler a Karras", "--seed", "3", "--batch-size", "2",
        "--clip-skip", "2", "--diffusers-clip-skip", "--emphasis", "no-norm", "--prompt-dialect", "webui", "--comma-backtrack", "0",
        "--old-prompt-times", "--pad-prompts", "--device", "cpu", "--dtype", "bf16", "-o", "cat.png",
    ]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let expected = "cat-1.png (32x48, seed 3)\ncat-2.png (32x48, seed 4)\n";
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    let png = std::fs::read(folder.path().join("cat-2.png")).unwrap();
    let text = String::from_utf8_lossy(&png);
    assert!(text.contains("Sampler: Euler a, Schedule type: Karras, CFG scale: 5.5, Seed: 4, Size: 32x48"));
    assert!(
        text.contains("Clip skip: 3, Emphasis: No norm, Old prompt editing timelines: True, Pad conds: True")
    );
}

#[test]
fn wrong_arguments_say_what_would_be_right() {
    let (code, message) = failure(&["txt2img", "x", "--width", "100"]);
    assert_eq!(code, 2);
    assert_eq!(
        message,
        "error: width: must be a multiple of 8: 100 is not; the nearest are 96 and 104\n"
    );
    let (code, message) = failure(&["txt2img", "x", "--sampler", "Eulr"]);
    assert_eq!(
        (code, message.as_str()),
        (2, "error: unknown sampler \"Eulr\"; did you mean \"Euler\"?\n")
    );
    let (code, message) = failure(&["txt2img", "x", "--dtype", "f8"]);
    assert_eq!(
        (code, message.as_str()),
        (2, "error: --dtype: 'f8' is not one of f32, bf16, f16\n")
    );
    let (code, message) = failure(&["txt2img", "x", "--device", "gpu"]);
    assert_eq!(code, 2);
    assert!(
        message.contains("device 'gpu': unknown, or not compiled in; this build has auto, cpu"),
        "{message}"
    );
    assert_eq!(failure(&["txt2img"]).0, 2);
}

#[test]
fn wrong_files_are_named() {
    let (code, message) = failure(&["txt2img", "x", "--model", "nothing.safetensors"]);
    assert_eq!(code, 3);
    assert!(
        message.starts_with("error: cannot read nothing.safetensors: "),
        "{message}"
    );
    let vae = format!("{}/vae/diffusion_pytorch_model.safetensors", tiny());
    let (code, message) = failure(&["txt2img", "x", "--model", &vae]);
    assert_eq!(code, 4);
    assert!(message.contains("no checkpoint but a VAE alone"), "{message}");
    let (code, message) = failure(&["txt2img", "x", "--steps", "1", "-o", "no/folder/out.png"]);
    assert_eq!(code, 3);
    assert!(
        message.starts_with("error: cannot write no/folder/out.png: "),
        "{message}"
    );
}

#[test]
fn inspect_tells_what_a_file_is() {
    let inspect = |args: &[&str]| {
        let output = sdrs(Path::new("."), &[&["inspect"], args].concat());
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let text = inspect(&[&tiny()]);
    for line in [
        "kind         a checkpoint",
        "layout       diffusers",
        "prediction   epsilon",
        "unet         684 tensors",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let file = goldens::root()
        .join("tiny-sd1-ldm.safetensors")
        .display()
        .to_string();
    let json: serde_json::Value = serde_json::from_str(&inspect(&[&file, "--json"])).unwrap();
    assert_eq!(json["kind"], "checkpoint");
    assert_eq!(json["layout"], "single file");
    assert_eq!(json["in_channels"], 4);
    assert_eq!(json["parts"]["vae"]["dtypes"]["F16"], 248);
}

#[test]
fn prompt_tells_how_it_is_read() {
    let prompt = |args: &[&str]| {
        let output = sdrs(Path::new("."), &[&["prompt"], args].concat());
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let text = prompt(&[
        "a [red:(blue:1.3):0.5] cat, <lora:ink:0.7>",
        "--negative-prompt",
        "fog",
        "--steps",
        "10",
    ]);
    let expected = "\
10 calls of the U-Net
LoRA      ink (text encoder 0.7, U-Net 0.7)

prompt
  calls 1-6: \"a red cat,\"
    chunk 1: 4 tokens
       1.000  a red cat ,  [320 736 2368 267]
  calls 7-10: \"a (blue:1.3) cat,\"
    chunk 1: 4 tokens
       1.000  a  [320]
       1.300  blue  [1746]
       1.000  cat ,  [2368 267]

negative
  calls 1-10: \"fog\"
    chunk 1: 1 token
       1.000  fog  [9417]
";
    assert_eq!(text, expected);
    let json: serde_json::Value =
        serde_json::from_str(&prompt(&["(a)", "--json", "--model", &tiny()])).unwrap();
    assert_eq!(json["prompt"][0]["texts"][0]["chunks"][0][0]["span"]["start"], 1);
    let (code, message) = failure(&["prompt", "a", "--emphasis", "much"]);
    assert_eq!(code, 2);
    assert!(
        message.contains("unknown emphasis mode 'much'; known are original, nonorm, ignore, none"),
        "{message}"
    );
}

#[test]
fn the_doctor_examines_adapters() {
    let folder = tempfile::tempdir().unwrap();
    let lora = goldens::root().join("tiny-sd1/lora/lora.safetensors");
    let lora = lora.display().to_string();
    let output = sdrs(folder.path(), &["lora", "doctor", &lora, "--model", &tiny()]);
    assert!(output.status.success());
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(
        page.contains("  kind         LoRA (212)\n") && page.contains("matched      212 of 212"),
        "{page}"
    );
    let output = sdrs(folder.path(), &["lora", "doctor", &lora, "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["modules"].as_array().unwrap().len(), 212);
    assert_eq!(json["kinds"]["lora"], 212);
    let (code, message) = failure(&["lora", "doctor", &format!("{}/unet/config.json", tiny())]);
    assert!(code == 4 && message.contains("config.json"), "{message}");
}
