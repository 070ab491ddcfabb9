//! Messages of the command about files that aren't the models they are given as.

use std::{path::Path, process::Command};

/// A safetensors file of bytes that are 0, of these names and shapes.
fn write(path: &Path, tensors: &[(&str, &[usize])]) {
    let (mut end, mut entries) = (0, Vec::new());
    for (name, shape) in tensors {
        let start = end;
        end += 4 * shape.iter().product::<usize>();
        entries.push(format!(
            r#""{name}":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{start},{end}]}}"#
        ));
    }
    let header = format!("{{{}}}", entries.join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + end, 0);
    std::fs::write(path, file).unwrap();
}

/// Exit code and message of a run that fails.
fn failure(args: &[&str]) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_sdrs"))
        .args(args)
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{args:?}");
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn wrong_files_are_told() {
    let root = goldens::root();
    let path = |name: &str| root.join(name).display().to_string();
    let (tiny, single) = (path("tiny-sd1"), goldens::tiny_sd1_ldm().display().to_string());
    let (index, unet) = (
        path("tiny-sd1/model_index.json"),
        path("tiny-sd1/unet/config.json"),
    );
    let (lora, vae) = (
        path("tiny-sd1/lora/lora.safetensors"),
        path("tiny-sd1/vae/diffusion_pytorch_model.safetensors"),
    );
    let folder = tempfile::tempdir().unwrap();
    let wide = folder.path().join("wide.safetensors");
    write(&wide, &[("<wide>", &[1, 768])]);
    let wide = wide.display().to_string();
    let folder_meant = format!("give the folder, {tiny}");
    let nothing = "nothing is downloaded";
    let cases: [(&[&str], i32, &str); 11] = [
        (&["--model", &index], 4, &folder_meant),
        (&["--model", &unet], 4, &folder_meant),
        (&["--model", "https://example.org/a.safetensors"], 3, nothing),
        (&["--model", "runwayml/stable-diffusion-v1-5"], 3, nothing),
        (&["--model", &single, "--config", "none"], 3, "cannot read none"),
        (
            &["--model", &tiny, "--embedding", &wide],
            4,
            "its vectors have 768 values",
        ),
        (
            &["--model", &tiny, "--vae", &lora],
            4,
            "is a LoRA, not a VAE; its place is lora (--lora)",
        ),
        (
            &["--model", &tiny, "--lora", &vae],
            4,
            "not a LoRA or another adapter; its place is vae (--vae)",
        ),
        (&["--model", &vae], 4, "is a VAE alone, not a checkpoint"),
        (
            &["--model", &lora],
            4,
            "is a LoRA, not a checkpoint; give a checkpoint, and this beside it with lora (--lora)",
        ),
        (&["--model", &tiny, "--prediction", "rain"], 2, "--prediction"),
    ];
    for (args, code, words) in cases {
        let all = [&["txt2img", "x", "--steps", "1"], args].concat();
        let (got, message) = failure(&all);
        assert!(
            got == code && message.contains(words),
            "{args:?}: {got}: {message}"
        );
    }
}

#[test]
fn inspect_tells_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    write(
        &path,
        &[
            ("model.diffusion_model.input_blocks.0.0.weight", &[320, 4, 0, 3]),
            (
                "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
                &[0, 768],
            ),
            ("first_stage_model.decoder.conv_in.weight", &[0]),
        ],
    );
    let output = Command::new(env!("CARGO_BIN_EXE_sdrs"))
        .arg("inspect")
        .arg(&path)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("  lacks        text_encoder\n"), "{text}");
    assert!(text.contains("  of the VAE   decoder alone\n"), "{text}");
}
