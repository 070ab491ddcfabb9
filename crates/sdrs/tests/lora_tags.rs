//! LoRAs that prompts name.

mod common;

use std::{collections::HashMap, fs, path::Path};

use common::{builder, draw, lora_file};
use safetensors::SafeTensors;
use sdrs::{BlockWeights, ErrorCode, Lora, Pipeline};

/// The tiny model's LoRA under other names, and a file that is none.
fn loras() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("inner")).unwrap();
    fs::copy(lora_file(), folder.path().join("one.safetensors")).unwrap();
    put_with_alias(&folder.path().join("inner/two.safetensors"), "by alias");
    fs::write(folder.path().join("broken.pt"), b"nothing").unwrap();
    fs::write(folder.path().join("read me.txt"), b"no LoRA").unwrap();
    folder
}

fn put_with_alias(path: &Path, alias: &str) {
    let bytes = fs::read(lora_file()).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let metadata = HashMap::from([("ss_output_name".to_owned(), alias.to_owned())]);
    safetensors::serialize_to_file(file.iter(), Some(metadata), path).unwrap();
}

fn rgb(pipeline: &Pipeline, prompt: &str) -> Vec<u8> {
    draw(pipeline, prompt).unwrap().rgb
}

#[test]
fn tags_act_in_their_run_alone() {
    let folder = loras();
    let pipeline = builder().lora_dir(folder.path()).build().unwrap();
    let plain = rgb(&builder().build().unwrap(), "a cat");
    assert_eq!(rgb(&pipeline, "a cat"), plain);
    let [one, two] =
        ["one.safetensors", "inner/two.safetensors"].map(|name| Lora::file(folder.path().join(name)));
    for (tags, loras) in [
        ("<lora:one:0.5>", vec![one.clone().weight(0.5)]),
        // The same set again, from the one that was kept.
        ("<lora:one:0.5>", vec![one.clone().weight(0.5)]),
        ("<lora:two>", vec![two.clone()]),
        ("<lora:one:0.25:1> <lora:two:te=0.5:unet=-1>", {
            let (te, unet) = (one.clone().text_encoder(0.25), two.clone().text_encoder(0.5));
            vec![te.unet(1.0), unet.unet(-1.0)]
        }),
        ("<lora:one:1:dyn=1>", vec![one.clone().ranks(1)]),
        (
            "<lora:one:0.5:lbw=OUTALL>",
            vec![
                one.clone()
                    .weight(0.5)
                    .blocks(BlockWeights::parse("OUTALL").unwrap()),
            ],
        ),
        ("<lora:by alias:0.3>", vec![two.clone().weight(0.3)]),
        (
            "<lora:one:1><lora:one:0.5>",
            vec![one.clone(), one.clone().weight(0.5)],
        ),
    ] {
        let built = builder().loras(&loras).build().unwrap();
        let expected = rgb(&built, "a cat");
        assert_ne!(expected, plain);
        assert_eq!(rgb(&pipeline, &format!("a cat{tags}")), expected, "{tags}");
        assert_eq!(rgb(&pipeline, "a cat"), plain, "after {tags}");
    }
}

#[test]
fn tags_may_weigh_what_a_pipeline_has() {
    let folder = loras();
    let one = Lora::file(folder.path().join("one.safetensors"));
    let pipeline = builder().loras([&one]).lora_dir(folder.path()).build().unwrap();
    let strong = rgb(&pipeline, "a cat");
    assert_eq!(rgb(&pipeline, "a cat<lora:one:1>"), strong);
    let half = rgb(
        &builder().loras([one.clone().weight(0.5)]).build().unwrap(),
        "a cat",
    );
    assert_eq!(rgb(&pipeline, "a cat<lora:one:0.5>"), half);
    // Without any folder as well.
    let pipeline = builder().loras([one]).build().unwrap();
    assert_eq!(rgb(&pipeline, "a cat<lora:one:0.5>"), half);
    assert_eq!(rgb(&pipeline, "a cat"), strong);
}

#[test]
fn a_file_that_is_replaced_counts_from_then_on() {
    let folder = loras();
    let pipeline = builder().lora_dir(folder.path()).build().unwrap();
    let before = rgb(&pipeline, "<lora:one>a cat");
    let path = folder.path().join("one.safetensors");
    let bytes = fs::read(&path).unwrap();
    let (header, data) = bytes.split_at(8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize);
    // All weights are 0, so it does nothing.
    let nothing = [header, &vec![0; data.len()]].concat();
    let new = folder.path().join("new.tmp");
    fs::write(&new, nothing).unwrap();
    fs::rename(new, path).unwrap();
    let plain = rgb(&pipeline, "a cat");
    assert_ne!(before, plain);
    assert_eq!(rgb(&pipeline, "<lora:one>a cat"), plain);
    // One that comes later is found.
    fs::copy(lora_file(), folder.path().join("later.safetensors")).unwrap();
    assert_eq!(rgb(&pipeline, "<lora:later>a cat"), before);
}

#[test]
fn what_is_wrong_with_a_tag_is_told() {
    let folder = loras();
    let pipeline = builder().lora_dir(folder.path()).build().unwrap();
    let error = |prompt: &str| draw(&pipeline, prompt).unwrap_err();
    let unknown = error("<lora:Tow:1>");
    assert_eq!(unknown.code(), ErrorCode::InvalidParameter);
    assert_eq!(
        unknown.to_string(),
        "prompt: it asks for the LoRA 'Tow', which was not found; the names most like it are: two, one, broken"
    );
    // Names are spelt as the files are.
    assert!(error("<lora:ONE:1>").to_string().ends_with(": one, two, broken"));
    assert!(
        error("<lora:one:dyn=0>")
            .to_string()
            .contains("one.safetensors: ranks must be at least 1")
    );
    assert!(
        error("<lora:one:2000>")
            .to_string()
            .contains("must be a number from -1000 to 1000")
    );
    assert_eq!(
        error("<lora:one:1:lbw=1,0>").to_string(),
        "prompt: its tag for the LoRA 'one': block weights are 17 or 26 numbers (SD1, SD2), or 12 or 20 (SDXL), not 2"
    );
    assert_eq!(error("<lora:broken:1>").code(), ErrorCode::InvalidFile);
    let alone = draw(&builder().build().unwrap(), "<lora:one:1>")
        .unwrap_err()
        .to_string();
    assert!(
        alone.ends_with("add its file or folder to the pipeline, or take the tag out"),
        "{alone}"
    );
    let missing = builder().lora_dir("no/such/folder").build().unwrap_err();
    assert_eq!(missing.code(), ErrorCode::Io);
    let called = pipeline.encode_prompt("<lora:one:1>", 1).unwrap_err().to_string();
    assert!(
        called.contains("which this pipeline does not have; make one that has it"),
        "{called}"
    );
}

/// The field that the WebUI writes: names as mentioned, and twelve digits of the SHA-256 of what follows the file's header.
#[test]
fn infotexts_name_loras_by_hash() {
    let folder = loras();
    let pipeline = builder().lora_dir(folder.path()).build().unwrap();
    let text = |prompt: &str| draw(&pipeline, prompt).unwrap().infotext;
    assert!(!text("a cat").contains("Lora hashes"));
    // hashlib.sha256 of the tensors' bytes.
    let hash = "9f0e81c47a52";
    for (tags, hashes) in [
        ("<lora:one:0.5>", format!("Lora hashes: \"one: {hash}\", Version")),
        (
            "<lora:by alias><lora:one:0.5>",
            format!("Lora hashes: \"by alias: {hash}, one: {hash}\", Version"),
        ),
    ] {
        let text = text(&format!("a cat{tags}"));
        assert!(
            text.starts_with(&format!("a cat{tags}\n")) && text.contains(&hashes),
            "{text}"
        );
    }
}
