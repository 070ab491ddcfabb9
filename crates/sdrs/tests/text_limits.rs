//! Text encoders at their limits: prompts of too many inputs, and outputs that are no numbers.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sdrs::{Error, ErrorCode, Pipeline};

fn demo() -> PathBuf {
    goldens::root().join("../models/demo/base")
}

#[test]
fn a_prompt_of_a_thousand_inputs_is_long_enough() {
    let pipeline = Pipeline::builder()
        .checkpoint(demo())
        .device("cpu")
        .build()
        .unwrap();
    let long = "x BREAK ".repeat(1000) + "x";
    for (name, prompt, negative) in [("prompt", &long[..], ""), ("negative_prompt", "x", &long[..])] {
        let request = pipeline.txt2img(prompt).negative_prompt(negative);
        let error = request.width(64).height(64).steps(1).run().unwrap_err();
        assert!(
            matches!(&error, Error::InvalidParameter { name: told, .. } if *told == name),
            "{error}"
        );
        assert!(
            error
                .to_string()
                .contains("takes 1001 inputs of the text encoder"),
            "{error}"
        );
    }
}

/// The tensors' bytes all set: not a number in every type.
fn without_numbers(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[8 + header..].fill(0xff);
    fs::write(file, bytes).unwrap();
}

/// The part at fault is named, not the network that sees its output.
#[test]
fn a_text_encoder_that_gives_no_numbers_is_named() {
    let demo = demo();
    let folder = tempfile::tempdir().unwrap();
    for part in ["", "unet", "vae", "text_encoder", "tokenizer", "scheduler"] {
        fs::create_dir_all(folder.path().join(part)).unwrap();
        for entry in fs::read_dir(demo.join(part)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::copy(&path, folder.path().join(part).join(path.file_name().unwrap())).unwrap();
            }
        }
    }
    without_numbers(&folder.path().join("text_encoder/model.safetensors"));
    let pipeline = Pipeline::builder()
        .checkpoint(folder.path())
        .device("cpu")
        .build()
        .unwrap();
    let request = pipeline.txt2img("x").width(64).height(64).steps(1);
    let error = request.run().unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFinite);
    assert!(
        error
            .to_string()
            .starts_with("the text encoder's output is not finite"),
        "{error}"
    );
}
