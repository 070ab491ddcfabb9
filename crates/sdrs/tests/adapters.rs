//! The effects of adapters beyond a weight: blocks, modules without a place, embeddings that come along, values that can't be used.

mod common;

use std::{
    fs,
    sync::{Arc, Mutex},
};

use common::{builder, draw, lora_file, outputs, picture};
use safetensors::{SafeTensors, tensor::TensorView};
use sdrs::{BlockWeights, Dtype, ErrorCode, GenerateParams, Lora, Pipeline};

/// As many values as a shape has, of which a normalisation leaves something.
fn uneven(shape: &[usize], factor: f32) -> Vec<u8> {
    let values = (0..shape.iter().product::<usize>()).map(|i| factor * ((i * 7 % 11) as f32 - 4.5));
    values.flat_map(f32::to_le_bytes).collect()
}

/// The tiny model's LoRA with other tensors as well, or in the place of its own.
fn with_tensors(more: &[(&str, &[usize], f32)]) -> Vec<u8> {
    let bytes = fs::read(lora_file()).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let data: Vec<Vec<u8>> = more
        .iter()
        .map(|(_, shape, factor)| uneven(shape, *factor))
        .collect();
    let more = more.iter().zip(&data).map(|((name, shape, _), data)| {
        let tensor = TensorView::new(safetensors::Dtype::F32, shape.to_vec(), data).unwrap();
        ((*name).to_owned(), tensor)
    });
    let more: Vec<(String, TensorView<'_>)> = more.collect();
    let own = file
        .iter()
        .filter(|(name, _)| more.iter().all(|(other, _)| other != name));
    let own = own.map(|(name, tensor)| (name.to_owned(), tensor));
    safetensors::serialize(own.chain(more.iter().cloned()), None).unwrap()
}

fn rgb(pipeline: &Pipeline, prompt: &str) -> Vec<u8> {
    draw(pipeline, prompt).unwrap().rgb
}

#[test]
fn blocks_multiply_weights() {
    let plain = builder().build().unwrap();
    let lora = Lora::file(lora_file());
    let of = |lora: Lora| outputs(&plain.with_loras([lora]).unwrap());
    let patterns = BlockWeights::from_patterns([("*", 0.0), ("text_encoder.*", 0.5)]).unwrap();
    let by_pattern = of(lora.clone().blocks(patterns));
    assert_eq!(by_pattern, of(lora.clone().unet(0.0).text_encoder(0.5)));
    assert_ne!(by_pattern, of(lora.clone().unet(0.0)));
    // BASE is the text encoder.
    let mut numbers = [1.0; 26];
    numbers[0] = 0.0;
    let without_base = of(lora.clone().blocks(BlockWeights::from_numbers(&numbers).unwrap()));
    assert_eq!(without_base, of(lora.clone().text_encoder(0.0)));
    numbers.fill(0.0);
    numbers[13] = 1.0;
    let middle = of(lora.clone().blocks(BlockWeights::from_numbers(&numbers).unwrap()));
    assert_eq!(middle.0, outputs(&plain).0);
    assert_ne!(middle.1, outputs(&plain).1);
    assert_ne!(middle.1, without_base.1);

    let endless = BlockWeights::from_patterns([("*", 1e9)]).unwrap();
    let error = plain.with_loras([lora.blocks(endless)]).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidParameter);
    let told = error.to_string();
    assert!(
        told.contains("lora.safetensors: blocks must be a number from -1000 to 1000"),
        "{told}"
    );
}

#[test]
fn modules_without_a_place_may_be_allowed() {
    let bytes = with_tensors(&[
        ("lora_unet_mid_block_nowhere.lora_down.weight", &[1, 4], 1.0),
        ("lora_unet_mid_block_nowhere.lora_up.weight", &[4, 1], 1.0),
    ]);
    let lora = Lora::bytes("odd", bytes);
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = told.clone();
    let logged = builder().on_log(move |_, line| log.lock().unwrap().push(line.to_owned()));
    let plain = logged.build().unwrap();
    let error = plain.with_loras([lora.clone()]).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidWeights);
    assert!(
        error.to_string().contains("lora_unet_mid_block_nowhere"),
        "{error}"
    );
    let lenient = plain.with_loras([lora.allow_unmatched(true)]).unwrap();
    assert_eq!(
        outputs(&lenient),
        outputs(&plain.with_loras([Lora::file(lora_file())]).unwrap())
    );
    let told = told.lock().unwrap();
    assert!(
        told.iter()
            .any(|line| line.starts_with("odd: passed over: lora_unet_mid_block_nowhere")),
        "{told:?}"
    );
}

#[test]
fn embeddings_come_along() {
    let key = "bundle_emb.glow.string_to_param.*";
    let lora = Lora::bytes("glowing", with_tensors(&[(key, &[2, 16], 0.25)]));
    let plain = builder().build().unwrap();
    let without = plain.with_loras([Lora::file(lora_file())]).unwrap();
    let with = plain.with_loras([lora.clone()]).unwrap();
    assert_eq!(with.embeddings().collect::<Vec<_>>(), ["glow"]);
    assert_eq!(plain.embeddings().count(), 0);
    assert_eq!(rgb(&with, "a cat"), rgb(&without, "a cat"));
    assert_ne!(rgb(&with, "a glow"), rgb(&without, "a glow"));

    // As one that the pipeline was given itself, which counts where both have a name.
    let file = |factor| {
        let data = uneven(&[2, 16], factor);
        let tensor = TensorView::new(safetensors::Dtype::F32, vec![2, 16], &data).unwrap();
        safetensors::serialize([("emb_params", tensor)], None).unwrap()
    };
    let own = |value| {
        let built = builder().embedding_bytes("glow", file(value)).build().unwrap();
        built.with_loras([lora.clone()]).unwrap()
    };
    assert_eq!(rgb(&own(0.25), "a glow"), rgb(&with, "a glow"));
    assert_ne!(rgb(&own(-0.5), "a glow"), rgb(&with, "a glow"));

    // It comes and goes with its LoRA, even where weights stay the same.
    let mut pipeline = builder().loras([lora.clone()]).build().unwrap();
    let glow = rgb(&pipeline, "a glow");
    assert_eq!(glow, rgb(&with, "a glow"));
    pipeline.set_loras([Lora::file(lora_file())]).unwrap();
    assert_eq!(rgb(&pipeline, "a glow"), rgb(&without, "a glow"));
    let silent = plain.with_loras([lora.weight(0.0)]).unwrap();
    assert_eq!(rgb(&silent, "a cat"), rgb(&plain, "a cat"));
    assert_ne!(rgb(&silent, "a glow"), rgb(&plain, "a glow"));

    // A plan knows those of a tag's LoRA.
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("glowing.safetensors"),
        with_tensors(&[(key, &[2, 16], 0.25)]),
    )
    .unwrap();
    let tagging = builder().lora_dir(folder.path()).build().unwrap();
    let planned = |prompt: &str| {
        let mut params = GenerateParams::default();
        params.text.prompt = prompt.to_owned();
        let plan = tagging.plan_prompts(&params);
        let chunks = &plan.unwrap().prompt[0].texts[0].chunks;
        let named = chunks[0].iter().filter_map(|token| token.embedding.clone());
        named.collect::<Vec<_>>()
    };
    assert_eq!(planned("a glow <lora:glowing:0.5>"), ["glow", "glow"]);
    assert!(planned("a glow").is_empty() && planned("a glow <lora:nowhere>").is_empty());

    // One of another width is for another model.
    let wide = Lora::bytes("wide", with_tensors(&[(key, &[2, 20], 0.25)]));
    let error = plain.with_loras([wide.clone()]).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidFile);
    let lenient = plain.with_loras([wide.allow_unmatched(true)]).unwrap();
    assert_eq!(
        (lenient.embeddings().count(), lenient.skipped_embeddings().len()),
        (0, 1)
    );
}

/// Values are read when they are applied, some layers late: everything must then be as it was.
#[test]
fn a_failure_half_way_leaves_a_pipeline_as_it_was() {
    let up = "lora_unet_up_blocks_1_attentions_0_proj_out.lora_up.weight";
    let bytes = fs::read(lora_file()).unwrap();
    let shape = SafeTensors::deserialize(&bytes)
        .unwrap()
        .tensor(up)
        .unwrap()
        .shape()
        .to_vec();
    let broken = Lora::bytes("broken", with_tensors(&[(up, &shape, f32::NAN)]));
    let mut pipeline = builder()
        .loras([Lora::file(lora_file()).weight(0.5)])
        .build()
        .unwrap();
    let (before, drawn) = (outputs(&pipeline), picture(&pipeline));
    for error in [
        pipeline.with_loras([broken.clone()]).unwrap_err(),
        pipeline.set_loras([broken.clone()]).unwrap_err(),
    ] {
        assert_eq!(error.code(), ErrorCode::InvalidWeights);
        let told = error.to_string();
        assert!(
            told.contains("broken: lora_unet_up_blocks_1_attentions_0_proj_out"),
            "{told}"
        );
    }
    assert_eq!((outputs(&pipeline), picture(&pipeline)), (before, drawn));
    assert_eq!(pipeline.loras().next().unwrap().unet_weight(), 0.5);
    // Nor is half of a file written.
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("merged.safetensors");
    let error = builder().loras([broken]).save_file(&to, Dtype::F32).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidWeights);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
