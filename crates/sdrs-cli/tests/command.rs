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

/// The output and the exit code where the command should fail.
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
            .starts_with("a red circle above a blue square\nSteps: 4, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 4.5, "),
        "{}",
        text.text
    );
    let told = "as the model recommends: cfg_scale 4.5, sampler DPM++ 2M, schedule Karras\n";
    assert_eq!(String::from_utf8(output.stderr).unwrap(), told);
}

#[test]
fn devices_share_a_batch() {
    let folder = tempfile::tempdir().unwrap();
    for (devices, output) in [("cpu", "one.png"), ("cpu,cpu", "several.png")] {
        let args = [
            "txt2img",
            "a red circle",
            "--steps",
            "2",
            "--seed",
            "5",
            "--batch-size",
            "3",
        ];
        let drawn = sdrs(
            folder.path(),
            &[&args[..], &["--device", devices, "-o", output]].concat(),
        );
        assert!(
            drawn.status.success(),
            "{}",
            String::from_utf8_lossy(&drawn.stderr)
        );
    }
    for number in 1..=3 {
        let file = |name: &str| std::fs::read(folder.path().join(format!("{name}-{number}.png"))).unwrap();
        assert!(file("several") == file("one"), "{number}");
    }
}

#[test]
fn devices_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("from")).unwrap();
    let run = |args: &[&str]| sdrs(folder.path(), args);
    let ok = |args: &[&str]| {
        let output = run(args);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let quick = ["--steps", "2", "--seed", "5", "--device"];
    for (name, text) in [
        ("a", "a red circle"),
        ("b", "a blue square"),
        ("c", "a green star"),
    ] {
        let to = format!("from/{name}.png");
        ok(&[&["txt2img", text, "-o", &to], &quick[..], &["cpu"]].concat());
    }
    for (device, to) in [("cpu", "one"), ("cpu,cpu", "several")] {
        ok(&[&["img2img", "from", "a ring", "-o", to], &quick[..], &[device]].concat());
    }
    for name in ["a.png", "b.png", "c.png"] {
        let file = |folder: &str| std::fs::read(at(folder).join(name)).unwrap();
        assert!(
            file("several") == file("one") && file("one") != file("from"),
            "{name}"
        );
    }
    // A failure names its picture; what another device draws is brought to its end.
    std::fs::write(at("from/b.png"), b"no picture").unwrap();
    let output = run(&[
        &["img2img", "from", "a ring", "-o", "more"],
        &quick[..],
        &["cpu,cpu"],
    ]
    .concat());
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{told}");
    assert!(told.contains("b.png: "), "{told}");
    assert!(std::fs::read(at("more/a.png")).unwrap() == std::fs::read(at("one/a.png")).unwrap());
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
    // Negative numbers are no options.
    for (option, value, wanted) in [
        ("--steps", "-3", "error: steps: must be 1 to 10000, not -3\n"),
        ("--width", "-64", "error: width: must be 0 or more, not -64\n"),
        ("--cfg-scale", "-1e9", "error: cfg_scale: must be a number from "),
        (
            "--seed",
            "-2",
            "error: seed: must be 0 to 18446744073709551615, or -1 for a random one, not -2\n",
        ),
        (
            "--threads",
            "-1",
            "error: invalid value '-1' for '--threads <N>': ",
        ),
    ] {
        let (code, message) = failure(&["txt2img", "x", option, value]);
        assert_eq!(code, 2, "{message}");
        assert!(message.starts_with(wanted), "{message}");
    }
    let (code, message) = failure(&["txt2img", "x", "--steps", "-x"]);
    assert_eq!(code, 2);
    assert!(message.contains("unexpected argument '-x' found"), "{message}");
    // Nothing is allocated for that many pictures.
    let (code, message) = failure(&["txt2img", "x", "--batch-size", "4294967296"]);
    assert_eq!(code, 2, "{message}");
    assert!(
        message.contains("error: batch_size: must be 1 to 1000"),
        "{message}"
    );
}

/// Rayon would start them all, which doesn't end within minutes.
#[test]
fn the_process_s_threads_are_bounded() {
    let output = Command::new(env!("CARGO_BIN_EXE_sdrs"))
        .args(["txt2img", "x", "--threads", "2"])
        .env("RAYON_NUM_THREADS", "100000")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "error: RAYON_NUM_THREADS: must be 1 to 1024, not 100000\n"
    );
}

#[test]
fn what_an_infotext_says_wrong_is_told_with_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let text = "x\nSteps: many, Sampler: Euler, Seed: 1, Size: 64x64, Model: y";
    std::fs::write(folder.path().join("shared.txt"), text).unwrap();
    for args in [
        &["txt2img", "--from-infotext", "shared.txt"][..],
        &["replay", "shared.txt", "--models", "."],
    ] {
        let output = sdrs(folder.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert_eq!(
            String::from_utf8(output.stderr).unwrap(),
            "error: shared.txt: infotext: Steps: 'many' is no number that fits here\n"
        );
    }
    // Nor does a text speak to the terminal, or fill it.
    let text = format!(
        "x\nSteps: 1, Sampler: Euler, Seed: 1, Size: 64x64, Odd: \u{1b}[31m{}",
        "y".repeat(10_000)
    );
    std::fs::write(folder.path().join("shared.txt"), text).unwrap();
    let output = sdrs(folder.path(), &["txt2img", "--from-infotext", "shared.txt"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("not used: Odd:  [31myyy") && told.contains("yyy...\n"),
        "{told}"
    );
    assert!(told.len() < 3000, "{told}");
}

#[test]
fn every_option_is_documented() {
    let output = sdrs(Path::new("."), &["txt2img", "--help"]);
    let help = String::from_utf8(output.stdout).unwrap();
    let docs = include_str!("../../../docs/command.md");
    let options = help
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("--"));
    let names: Vec<&str> = options.filter_map(|option| option.split(' ').next()).collect();
    assert!(names.contains(&"deep-cache-interval"), "{help}");
    for name in names {
        assert!(
            docs.contains(&format!("`--{name}")),
            "--{name} is not in docs/command.md"
        );
    }
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
    assert!(message.contains("is a VAE alone, not a checkpoint"), "{message}");
    let (code, message) = failure(&["txt2img", "x", "--steps", "1", "-o", "no/folder/out.png"]);
    assert_eq!(code, 3);
    assert!(
        message.starts_with("error: cannot write no/folder/out.png: "),
        "{message}"
    );
}

/// Pipes would wait for their other end, and devices may have none.
#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe").display().to_string();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let ways: [&[&str]; 22] = [
        &["txt2img", "a", "--model"],
        &["txt2img", "a", "--vae"],
        &["txt2img", "a", "--unet"],
        &["txt2img", "a", "--text-encoder"],
        &["txt2img", "a", "--refiner"],
        &["txt2img", "a", "--lora"],
        &["txt2img", "a", "--embedding"],
        &["txt2img", "a", "--upscaler"],
        &["txt2img", "a", "--tokenizer"],
        &["txt2img", "a", "--predictions"],
        &["txt2img", "a", "--depth"],
        &["txt2img", "a", "--preview-every", "1", "--taesd"],
        &["txt2img", "--from-infotext"],
        &["img2img"],
        &["replay"],
        &["resume"],
        &["inspect"],
        &["lora", "doctor"],
        &["upscale"],
        &["interrogate", "none.png", "--clip"],
        &["interrogate", "--mode", "caption"],
        &["trace", "compare"],
    ];
    for (path, kind) in [(pipe.as_str(), "a pipe"), ("/dev/zero", "a device")] {
        for way in ways {
            let mut args = [way, &[path]].concat();
            match way[0] {
                "img2img" => args.push("a"),
                "trace" => args.push(path),
                _ => {}
            }
            let began = std::time::Instant::now();
            let output = sdrs(folder.path(), &args);
            let told = String::from_utf8(output.stderr).unwrap();
            assert_ne!(output.status.code(), Some(0), "{args:?}");
            let said = told.contains(path) && (told.contains(kind) || told.contains("no regular file"));
            assert!(said, "{args:?}: {told}");
            assert!(began.elapsed().as_secs() < 20, "{args:?}");
        }
    }
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
    let file = goldens::tiny_sd1_ldm().display().to_string();
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
    for (tag, told) in [
        ("0.5:0@0,1@0.5", "(text encoder 0.5, U-Net 0@0,1@0.5)"),
        (
            "0.5:start=0.2:stop=8",
            "(text encoder 0.5, U-Net 0.5 from 0.2 until 8)",
        ),
        ("0.5:lbw=MIDD", "(text encoder 0.5, U-Net 0.5, blocks MIDD)"),
    ] {
        let text = prompt(&[&format!("<lora:ink:{tag}>")]);
        assert!(text.contains(&format!("LoRA      ink {told}\n")), "{text}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&prompt(&["(a)", "--json", "--model", &tiny()])).unwrap();
    assert_eq!(json["prompt"][0]["texts"][0]["chunks"][0][0]["span"]["start"], 1);
    // Typographic quotes are repaired, unless texts are taken as they are; so for all languages.
    assert!(prompt(&["it\u{2019}ll"]).contains("[585 1342]"));
    assert!(prompt(&["it\u{2019}s", "--text-as-is"]).contains("[585 728 503 338]"));
    let demo = format!("{}/../../models/demo/base", env!("CARGO_MANIFEST_DIR"));
    let by_demo = prompt(&["a red circle", "--tokenizer", &demo]);
    assert_eq!(
        by_demo,
        prompt(&["a red circle", "--tokenizer", &format!("{demo}/tokenizer")])
    );
    assert_ne!(by_demo, prompt(&["a red circle"]));
    let (code, message) = failure(&["prompt", "a", "--tokenizer", "no/such"]);
    assert_eq!(code, 3, "{message}");
    let (code, message) = failure(&["prompt", "a", "--emphasis", "much"]);
    assert_eq!(code, 2);
    assert!(
        message.contains("unknown emphasis mode 'much'; known are original, nonorm, ignore, none"),
        "{message}"
    );
}

#[test]
fn checkpoints_are_converted() {
    let folder = tempfile::tempdir().unwrap();
    let lora = format!("{}/lora/lora.safetensors:0.5", tiny());
    let run = |args: &[&str]| {
        let output = sdrs(folder.path(), args);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let args = [
        "convert",
        &tiny(),
        "single.safetensors",
        "--dtype",
        "bf16",
        "--lora",
        &lora,
    ];
    assert_eq!(run(&args), "single.safetensors\n");
    assert_eq!(run(&["convert", "single.safetensors", "again"]), "again\n");
    let told = run(&["inspect", "single.safetensors"]);
    assert!(told.contains("a checkpoint") && told.contains("BF16"), "{told}");
    assert!(run(&["inspect", "again"]).contains("F16"));
    let draw = |model: &str, more: &[&str]| {
        let args = [
            "txt2img", "a cat", "--model", model, "--steps", "1", "--seed", "1",
        ];
        let size = ["--width", "32", "--height", "32"];
        run(&[&args, &size[..], more].concat());
        std::fs::read(folder.path().join("out.png")).unwrap()
    };
    // The LoRA is in it.
    assert_ne!(draw("single.safetensors", &[]), draw(&tiny(), &[]));

    let (code, message) = failure(&["convert", &tiny(), "x", "--dtype", "f8"]);
    assert_eq!(
        (code, message.contains("'f8' is not one of f32, bf16, f16")),
        (2, true)
    );
    let (code, message) = failure(&["convert", "no/such/model", "x"]);
    assert_eq!(
        (code, message.starts_with("error: cannot read no/such/model")),
        (3, true),
        "{message}"
    );
    let (code, message) = failure(&["convert", &tiny(), "no/such/folder/x.safetensors"]);
    assert_eq!(
        (code, message.starts_with("error: cannot write no/such/folder/x")),
        (3, true),
        "{message}"
    );
}

/// The demo model's own folder as its refiner: another model takes over, and gives the same.
#[test]
fn a_refiner_is_another_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let demo = goldens::root().join("../models/demo/base").display().to_string();
    let draw = |args: &[&str], name: &str| {
        let common = ["txt2img", "a ring", "--steps", "3", "--seed", "5", "-o", name];
        let output = sdrs(folder.path(), &[&common, args].concat());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}");
        let file = std::fs::read(folder.path().join(name)).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(&file))
            .read_info()
            .unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        (pixels, String::from_utf8_lossy(&file).into_owned(), told)
    };
    let (expected, ..) = draw(&["--sampler", "Euler", "--cfg-scale", "4"], "plain.png");
    let refined = [
        "--sampler",
        "Euler",
        "--cfg-scale",
        "4",
        "--refiner",
        &demo,
        "--refiner-switch-at",
        "0.5",
    ];
    let (pixels, text, _) = draw(&refined, "refined.png");
    assert!(pixels == expected && text.contains("Refiner: base, Refiner switch at: 0.5, "));
    let (pixels, _, told) = draw(&["--from-infotext", "refined.png"], "again.png");
    assert!(
        pixels == expected && told.contains("not used: Refiner: base; give it with --refiner"),
        "{told}"
    );
    assert!(
        told.contains("refiner_switch_at is not used: the pipeline has no refiner"),
        "{told}"
    );
}

#[test]
fn shared_settings_draw_the_same_picture() {
    let folder = tempfile::tempdir().unwrap();
    let draw = |args: &[&str]| {
        let output = sdrs(folder.path(), &[&["txt2img", "--threads", "1"], args].concat());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}");
        told
    };
    #[rustfmt::skip]
    draw(&["a (red:1.2) circle, large", "--negative-prompt", "blue", "--steps", "3", "--sampler", "Euler a", "--seed", "5",
        "--width", "64", "--cfg-scale", "4.5", "--clip-skip", "2", "--preview-every", "2", "-o", "first.png"]);
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert!(read("first-step-2.png").starts_with(b"\x89PNG"));
    assert!(!folder.path().join("first-step-3.png").exists());
    assert_eq!(draw(&["--from-infotext", "first.png", "-o", "second.png"]), "");
    assert_eq!(read("first.png"), read("second.png"));
    draw(&["--from-infotext", "first.png", "--seed", "6", "-o", "third.png"]);
    assert!(String::from_utf8_lossy(&read("third.png")).contains("CFG scale: 4.5, Seed: 6, Size: 64x96"));
    let text = "a ring\nSteps: 2, Sampler: Euler, Seed: 3, Wildcard seed: 2, Version: v1.10.1";
    std::fs::write(folder.path().join("shared.txt"), text).unwrap();
    assert_eq!(
        draw(&["--from-infotext", "shared.txt", "-o", "fourth.png"]),
        "not used: Wildcard seed: 2\n"
    );
    let text = "a ring\nSteps: 2, Sampler: Euler, Seed: 3\nby me";
    std::fs::write(folder.path().join("signed.txt"), text).unwrap();
    let told = draw(&["--from-infotext", "signed.txt", "--steps", "1", "-o", "fifth.png"]);
    assert!(
        told.starts_with("infotext: line 2, 'Steps: 2, Sampler: Euler, Seed: 3'"),
        "{told}"
    );
    #[rustfmt::skip]
    let told = draw(&["a ring", "--steps", "1", "--sampler", "ddim", "--seed", "18446744073709551615", "-o", "last.png"]);
    assert!(told.contains("the picture is noise"), "{told}");
    assert!(String::from_utf8_lossy(&read("last.png")).contains("Seed: 18446744073709551615, "));
    std::fs::write(folder.path().join("bad"), b"\xff\x00").unwrap();
    let output = sdrs(folder.path(), &["txt2img", "--from-infotext", "bad"]);
    assert_eq!(output.status.code(), Some(4));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let reason =
        "neither a PNG, JPEG or WebP picture nor text in UTF-8, as its byte 0 shows; save the text as UTF-8";
    assert_eq!(told, format!("error: bad: {reason}\n"));
    std::fs::write(folder.path().join("empty"), "\n").unwrap();
    let output = sdrs(folder.path(), &["txt2img", "--from-infotext", "empty"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(4), 0));
    assert_eq!(
        sdrs(folder.path(), &["txt2img", "--from-infotext", "none"])
            .status
            .code(),
        Some(3)
    );
    assert_eq!(sdrs(folder.path(), &["txt2img"]).status.code(), Some(2));
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

/// A run goes on from a saved step to the same file, and a branch shows in the trace where it leaves.
#[test]
fn saved_steps_go_on_and_traces_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let output = sdrs(folder.path(), args);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
            told,
        )
    };
    let draw = [
        "txt2img",
        "a red circle",
        "--steps",
        "4",
        "--seed",
        "5",
        "--width",
        "96",
        "--height",
        "96",
    ];
    let states = [
        "--save-states",
        "states",
        "--save-states-every",
        "2",
        "--trace",
        "whole.jsonl",
    ];
    let (code, _, told) = run(&[&draw[..], &states].concat());
    assert_eq!(code, 0, "{told}");
    let state = "states/picture-1-step-00002.safetensors";
    assert_eq!(run(&["resume", state, "-o", "again.png"]).0, 0);
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert!(read("out.png") == read("again.png"));
    let branch = [
        "resume",
        state,
        "--cfg-scale",
        "2",
        "--trace",
        "branch.jsonl",
        "-o",
        "branch.png",
    ];
    assert_eq!(run(&branch).0, 0);
    let (code, said, _) = run(&["trace", "compare", "branch.jsonl", "whole.jsonl"]);
    assert_eq!(code, 1);
    assert!(
        said.contains("in the second alone, 5: picture.1.pass.1.step.0.latents"),
        "{said}"
    );
    assert!(
        said.contains(
            "first difference of more than 1e-3: picture.1.pass.1.step.3.latents: relative difference"
        ),
        "{said}"
    );
    let (code, said, _) = run(&["trace", "compare", "whole.jsonl", "whole.jsonl", "--all"]);
    assert!(
        code == 0 && said.contains("stages are the same to the bit"),
        "{said}"
    );
    let (code, _, told) = run(&["resume", state, "--steps", "9"]);
    assert!(
        code == 2 && told.contains("steps: was 4 when the state was written"),
        "{told}"
    );
    let (code, _, told) = run(&["resume", "out.png"]);
    assert!(code == 4 && told.contains("out.png"), "{told}");
    assert_eq!(run(&["trace", "compare", "out.png", "whole.jsonl"]).0, 4);
    assert_eq!(run(&["trace", "compare", "none", "whole.jsonl"]).0, 3);
    assert_eq!(
        run(&[
            "trace",
            "compare",
            "whole.jsonl",
            "whole.jsonl",
            "--tolerance",
            "x"
        ])
        .0,
        2
    );
    // What is written meanwhile is checked as all else is.
    let (code, _, told) = run(&[&draw[..], &["--save-states", "out.png"]].concat());
    assert!(code == 3 && told.contains("out.png"), "{told}");
}

#[test]
fn plan_tells_what_a_run_takes() {
    let folder = tempfile::tempdir().unwrap();
    let told = |args: &[&str]| {
        let output = sdrs(folder.path(), &[&["plan"], args].concat());
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{errors}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        String::from_utf8(output.stdout).unwrap()
    };
    let json = |args: &[&str]| -> serde_json::Value {
        serde_json::from_str(&told(&[args, &["--json"]].concat())).unwrap()
    };
    let table = told(&["a red circle", "--batch-size", "2"]);
    let rows: Vec<&str> = table.lines().map(|line| line[..20].trim_end()).collect();
    assert_eq!(
        rows[..8],
        [
            "text encoders",
            "U-Net",
            "VAE",
            "a call of the U-Net",
            "decoding",
            "program",
            "at least",
            "at most"
        ],
        "{table}"
    );
    let loras = goldens::root().join("../models/demo").display().to_string();
    let plain = json(&[]);
    let tagged = json(&["<lora:outlines:0.5>", "--lora-dir", &loras]);
    let twice = json(&["<lora:outlines:0.5>", "--lora-dir", &loras, "--parallel", "2"]);
    let [of_plain, of_tagged, of_twice] =
        [&plain, &tagged, &twice].map(|plan| move |name: &str| plan[name].as_u64().unwrap());
    assert_eq!(
        of_plain("weights"),
        of_plain("text_encoders") + of_plain("unet") + of_plain("vae")
    );
    assert_eq!(
        (of_plain("loras"), of_plain("encoding"), of_plain("runs")),
        (0, 0, 1)
    );
    assert!(of_tagged("loras") > 0 && of_tagged("weights") == of_plain("weights"));
    assert!(of_tagged("least") > of_plain("least") && of_twice("least") > of_tagged("least"));
    assert!(of_plain("least") < of_plain("most"));
    if cfg!(target_os = "linux") {
        assert!(plain["machine"]["all"].as_u64() >= plain["machine"]["available"].as_u64());
        assert_eq!(plain["fits"], true);
    }
    // A picture is encoded; its size counts.
    let photo = goldens::root()
        .join("../models/demo/contact-sheet.png")
        .display()
        .to_string();
    let from = json(&["a cat", "--image", &photo]);
    assert!(from["encoding"].as_u64() > Some(0) && from["decoding"].as_u64() > plain["decoding"].as_u64());
    // What doesn't fit is told, and no failure.
    let limited = told(&["--memory-limit", "1MB"]);
    assert!(
        limited.contains("It doesn't fit in --memory-limit, 1.0 MB."),
        "{limited}"
    );
    assert_eq!(json(&["--memory-limit", "1MB"])["fits"], false);

    for (args, code, words) in [
        (&["plan", "--parallel", "0"][..], 2, "--parallel"),
        (&["plan", "--width", "7"], 2, "width"),
        (&["plan", "--mask", "x.png"], 2, "--image"),
        (&["plan", "<lora:nobody:1>"], 2, "nobody"),
        (&["plan", "--model", "no/such/file"], 3, "no/such/file"),
        (&["plan", "--image", "no.png"], 3, "no.png"),
    ] {
        let (got, errors) = failure(args);
        assert!(got == code && errors.contains(words), "{got}: {errors}");
    }
}

/// What the log has is told when it is asked for; what is not as one may expect is told in any case.
#[test]
fn the_log_is_told_on_request_and_what_matters_always() {
    let folder = tempfile::tempdir().unwrap();
    let told = |args: &[&str]| {
        let all = [
            &[
                "txt2img",
                "a",
                "--steps",
                "1",
                "--device",
                "cpu",
                "--cfg-scale",
                "2",
            ],
            args,
        ]
        .concat();
        let output = sdrs(folder.path(), &all);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{told}");
        told
    };
    let quiet = told(&[]);
    assert_eq!(quiet.lines().count(), 1, "{quiet}");
    for args in [&["--verbose"][..], &["-v"]] {
        let all = told(args);
        for words in [
            "opened ",
            "computing on cpu in ",
            "encoded the prompts: ",
            "sampled picture 1 of 1: ",
            "decoded the picture: ",
        ] {
            assert!(all.contains(words), "{words}: {all}");
        }
        assert_eq!(all.matches("recommends: ").count(), 1, "{all}");
    }
    let half = told(&["--dtype", "f16"]);
    assert!(
        half.starts_with("the CPU doesn't compute in f16: it computes in "),
        "{half}"
    );
    let none = folder.path().join("none");
    std::fs::create_dir(&none).unwrap();
    let empty = told(&["--embedding", "none"]);
    assert!(
        empty.starts_with("passed over: none: there is no embedding in this folder"),
        "{empty}"
    );
    let quality = told(&["--quality", "50"]);
    assert!(
        quality.starts_with("quality is not used: out.png is no JPEG"),
        "{quality}"
    );
    assert_eq!(told(&["--quality", "50", "-o", "out.jpg"]), quiet);
}

#[test]
fn files_that_are_something_else_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write(
        "pointer.safetensors",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n",
    );
    write(
        "page.safetensors",
        b"<!DOCTYPE html><html><title>Log in</title></html>",
    );
    write("picture.safetensors", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR");
    write("answer.safetensors", b"Access to this model is restricted.\n");
    let kinds = [
        (
            "pointer.safetensors",
            "a Git LFS pointer, not weights; fetch the file itself with `git lfs pull`",
        ),
        (
            "page.safetensors",
            "a web page, not weights; its download failed or needs a login",
        ),
        ("picture.safetensors", "a PNG picture, not "),
        (
            "answer.safetensors",
            "a text, not weights; it begins 'Access to this model is restricted.'",
        ),
    ];
    let ways: [&[&str]; 11] = [
        &["txt2img", "a", "--model"],
        &["txt2img", "a", "--vae"],
        &["txt2img", "a", "--unet"],
        &["txt2img", "a", "--text-encoder"],
        &["txt2img", "a", "--refiner"],
        &["txt2img", "a", "--lora"],
        &["txt2img", "a", "--upscaler"],
        &["txt2img", "a", "--preview-every", "1", "--taesd"],
        &["lora", "doctor"],
        &["inspect"],
        &["interrogate", "none.png", "--clip"],
    ];
    for way in ways {
        for (name, words) in kinds {
            let output = sdrs(folder.path(), &[way, &[name]].concat());
            let told = String::from_utf8(output.stderr).unwrap();
            assert!(
                told.contains(&format!("error: {name}: {words}")),
                "{way:?}: {told}"
            );
            assert_eq!(output.status.code(), Some(4), "{way:?}: {told}");
        }
    }
    for (name, kind) in [
        ("pointer.safetensors", "a Git LFS pointer"),
        ("page.safetensors", "a web page"),
        ("answer.safetensors", "a text"),
    ] {
        for (way, wanted) in [
            (&["resume"][..], "a saved state of a run"),
            (&["img2img"], "a picture"),
            (&["txt2img", "a", "--depth"], "a picture"),
            (&["upscale"], "a picture"),
        ] {
            let mut args = [way, &[name]].concat();
            args.extend((way == ["img2img"]).then_some("a"));
            let output = sdrs(folder.path(), &args);
            let told = String::from_utf8(output.stderr).unwrap();
            assert!(told.contains(&format!("{kind}, not {wanted}")), "{way:?}: {told}");
            assert_eq!(output.status.code(), Some(4), "{way:?}: {told}");
        }
    }
    let output = sdrs(folder.path(), &["replay", "answer.safetensors"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("the infotext names no checkpoint"), "{told}");
    for (args, words) in [
        (
            &["txt2img", "a", "--lora", "."][..],
            ".: is a folder without adapter_model.safetensors",
        ),
        (
            &["convert", &tiny(), "weights.png"],
            "weights are written as a .safetensors file or as a folder",
        ),
    ] {
        let told = String::from_utf8(sdrs(folder.path(), args).stderr).unwrap();
        assert!(told.contains(words), "{told}");
    }
    let output = sdrs(folder.path(), &["txt2img", "a", "--lora", ""]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("the path is empty"), "{told}");
}
