//! Bad folders: missing and malformed parts, indices, weights that don't fit. Each error names the file or tensor.

mod common;

use std::path::Path;

use common::{TEXT_ENCODER, UNET, VAE, assert_says, load, put, serialized, tensors, tiny, tiny_copy};
use sd_core::{
    Error,
    checkpoint::{Checkpoint, inspect},
    config::Part,
    weights::StoredDtype,
};
use serde_json::json;

fn opening(folder: &Path) -> String {
    Checkpoint::open(folder)
        .map(drop)
        .expect_err("should not open")
        .to_string()
}

/// The tiny model with one file changed: removed, or other bytes.
#[track_caller]
fn with_file(name: &str, bytes: Option<&[u8]>, words: &[&str]) {
    let folder = tiny_copy();
    match bytes {
        Some(bytes) => put(folder.path(), name, bytes),
        None => std::fs::remove_file(folder.path().join(name)).unwrap(),
    }
    assert_says(&opening(folder.path()), words);
}

#[test]
fn missing_parts() {
    let empty = tempfile::tempdir().unwrap();
    assert_says(
        &opening(empty.path()),
        &["not a diffusers folder", "unet/config.json", "give the folder"],
    );
    assert_says(
        &inspect(empty.path()).unwrap_err().to_string(),
        &["not a diffusers folder"],
    );
    for (part, option) in [
        ("unet", "unet (--unet)"),
        ("vae", "vae (--vae)"),
        ("text_encoder", "text_encoder (--text-encoder)"),
    ] {
        let name = format!("{part}/config.json");
        with_file(&name, None, &["it lacks", &format!("(no {name})"), option]);
    }
    for (name, part) in [(UNET, "unet"), (VAE, "vae"), (TEXT_ENCODER, "text_encoder")] {
        with_file(
            name,
            None,
            &[
                part,
                match part {
                    "text_encoder" => {
                        "no weights: looked for model.safetensors, pytorch_model.bin, model.bin,"
                    }
                    _ => {
                        "no weights: looked for diffusion_pytorch_model.safetensors, diffusion_pytorch_model.bin,"
                    }
                },
                ".fp16",
            ],
        );
        let folder = tiny_copy();
        std::fs::remove_dir_all(folder.path().join(part)).unwrap();
        assert_says(&opening(folder.path()), &[part, "config.json"]);
    }
    // The scheduler has defaults, the safety checker is not needed.
    let folder = tiny_copy();
    std::fs::remove_dir_all(folder.path().join("scheduler")).unwrap();
    Checkpoint::open(folder.path()).map(drop).unwrap();
}

/// A link into a cache whose file is gone, or anything else that is no file, is not as if it weren't there: the model would be drawn by
/// another schedule, and nobody told.
#[test]
fn what_is_there_is_not_passed_over() {
    for name in [
        "scheduler/scheduler_config.json",
        "sdrs_recommended.json",
        "unet/config.json",
        UNET,
    ] {
        let at = |folder: &Path| {
            let path = folder.join(name);
            let _ = std::fs::remove_file(&path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        let folder = tiny_copy();
        std::fs::create_dir(at(folder.path())).unwrap();
        assert_says(&opening(folder.path()), &[name, " is "]);
        #[cfg(unix)]
        {
            let folder = tiny_copy();
            std::os::unix::fs::symlink("../blobs/gone", at(folder.path())).unwrap();
            assert_says(&opening(folder.path()), &[name, "cannot read"]);
        }
    }
}

#[test]
fn files_of_another_kind() {
    with_file("unet/config.json", Some(b""), &["unet/config.json", "EOF"]);
    with_file("unet/config.json", Some(b"{"), &["unet/config.json", "EOF"]);
    with_file("vae/config.json", Some(b"[]"), &["vae/config.json"]);
    with_file(
        "vae/config.json",
        Some(b"\xff\xfe{\0}\0"),
        &["vae/config.json", "a text in UTF-16, not a text in UTF-8"],
    );
    with_file(
        "vae/config.json",
        Some(b"{} {}"),
        &["vae/config.json", "trailing"],
    );
    with_file(
        "text_encoder/config.json",
        Some(b"<html>"),
        &["text_encoder/config.json", "a web page", "download it again"],
    );
    with_file(
        "vae/config.json",
        Some(b"version https://git-lfs.github.com/spec/v1\n"),
        &["vae/config.json", "git lfs pull"],
    );
    with_file(
        "vae/config.json",
        Some(b"\x89PNG\r\n\x1a\n"),
        &["vae/config.json", "a PNG picture, not a text in UTF-8"],
    );
    with_file(
        "scheduler/scheduler_config.json",
        Some(b"null"),
        &["scheduler_config.json"],
    );
    let deep = [b"{\"x\":".as_slice(), &b"[".repeat(1 << 19)].concat();
    with_file("unet/config.json", Some(&deep), &["unet/config.json", "EOF"]);
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(2 << 20));
    with_file(
        "unet/config.json",
        Some(large.as_bytes()),
        &["unet/config.json", "too many"],
    );
    with_file(
        UNET,
        Some(b"version https://git-lfs.github.com/spec/v1\n"),
        &[UNET, "git lfs pull"],
    );
    with_file(VAE, Some(b""), &[VAE, "empty"]);

    let folder = tiny_copy();
    std::fs::remove_file(folder.path().join("vae/config.json")).unwrap();
    std::fs::create_dir(folder.path().join("vae/config.json")).unwrap();
    assert_says(
        &opening(folder.path()),
        &["vae/config.json: is a folder; a text file is wanted here"],
    );
}

#[test]
fn bad_indices() {
    let index = "unet/diffusion_pytorch_model.safetensors.index.json";
    let map = |file: &str| json!({ "weight_map": { "conv_in.weight": file } }).to_string();
    let elsewhere = "is not the name of a file in this folder";
    let absolute = tiny().join(UNET).display().to_string();
    let cases: [(&str, &[&str]); 13] = [
        ("", &[index, "EOF"]),
        ("\u{0}", &[index, "line 1"]),
        ("[]", &[index]),
        ("{}", &[index, "weight_map"]),
        (r#"{"weight_map":[]}"#, &[index, "map"]),
        (r#"{"weight_map":{"a":1}}"#, &[index, "string"]),
        (r#"{"weight_map":{}}"#, &[index, "lists no files"]),
        (&map("../unet/x.safetensors"), &[index, elsewhere]),
        (&map(".."), &[index, elsewhere]),
        (&map(""), &[index, elsewhere]),
        (&map("a/b.safetensors"), &[index, elsewhere]),
        (&map(&absolute), &[index, elsewhere]),
        (
            &map("shard-1.safetensors"),
            &["cannot read", "unet/shard-1.safetensors"],
        ),
    ];
    for (text, words) in cases {
        let folder = tiny_copy();
        std::fs::remove_file(folder.path().join(UNET)).unwrap();
        put(folder.path(), index, text.as_bytes());
        assert_says(&opening(folder.path()), words);
    }
}

#[test]
fn weights_that_do_not_fit_are_all_listed() {
    let folder = tiny_copy();
    let mut unet = tensors(&tiny().join(UNET));
    for name in ["conv_in.bias", "mid_block.resnets.0.conv1.weight"] {
        unet.remove(name).unwrap();
    }
    for (name, shape) in [("extra", vec![1]), ("conv_in.lora", vec![0])] {
        let size = 4 * shape.iter().product::<usize>();
        unet.insert(name.into(), (StoredDtype::F32, shape, vec![0; size]));
    }
    unet.get_mut("conv_out.weight").unwrap().1 = vec![32, 4, 3, 3];
    for (name, dtype, width) in [
        ("conv_out.bias", StoredDtype::U64, 8),
        ("conv_norm_out.bias", StoredDtype::I64, 8),
        ("conv_norm_out.weight", StoredDtype::BOOL, 1),
    ] {
        let (stored, shape, bytes) = unet.get_mut(name).unwrap();
        (*stored, *bytes) = (dtype, vec![0; width * shape.iter().product::<usize>()]);
    }
    put(folder.path(), UNET, &serialized(&unet));
    let error = load(&Checkpoint::open(folder.path()).unwrap(), Part::Unet).unwrap_err();
    assert_says(
        &error.to_string(),
        &[
            "unet: the weights don't fit this model",
            "2 missing: mid_block.resnets.0.conv1.weight, conv_in.bias",
            "2 unexpected: conv_in.lora, extra",
            "1 misshapen: conv_out.weight (is [32, 4, 3, 3], should be [4, 32, 3, 3])",
            "3 of an unsupported type: conv_norm_out.weight (BOOL), conv_norm_out.bias (I64), conv_out.bias (U64)",
        ],
    );
    let Error::Weights(faults) = error else {
        panic!("{error}")
    };
    assert_eq!((faults.missing.len(), faults.unexpected.len()), (2, 2));
    assert_eq!((faults.misshapen.len(), faults.unreadable.len()), (1, 3));
}

#[test]
fn names_that_cannot_be_shown() {
    let folder = tiny_copy();
    let mut vae = tensors(&tiny().join(VAE));
    let odd = format!("\u{1b}[2J\n{}", "x".repeat(100_000));
    vae.insert(odd, (StoredDtype::U8, vec![0], vec![]));
    put(folder.path(), VAE, &serialized(&vae));
    let error = load(&Checkpoint::open(folder.path()).unwrap(), Part::Vae).unwrap_err();
    assert_says(&error.to_string(), &["1 unexpected: \\u{1b}[2J\\nxxx"]);
}

/// Weights that are not numbers load and run: what they are is the model's affair, and may not bring a process down.
#[test]
fn nan_weights() {
    let folder = tiny_copy();
    for name in [UNET, VAE, TEXT_ENCODER] {
        let mut part = tensors(&tiny().join(name));
        for (_, _, bytes) in part.values_mut() {
            bytes.fill(0xff);
        }
        put(folder.path(), name, &serialized(&part));
    }
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    for part in [Part::TextEncoder, Part::Unet, Part::Vae] {
        let bits = common::output(&checkpoint, part).unwrap();
        assert!(bits.iter().all(|&bits| f32::from_bits(bits).is_nan()));
    }
}
