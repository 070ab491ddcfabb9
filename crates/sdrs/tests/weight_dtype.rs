//! The types that weights are kept in, and text encoders that are let go, on the demo model.

#[path = "common/stored.rs"]
mod stored;

use std::sync::{Arc, Mutex};

use safetensors::{Dtype as StoredDtype, tensor::TensorView};
use sdrs::{Dtype, Lora, Pipeline, PipelineBuilder, Quantization, WeightDtype};
use stored::{builder, demo, eight_bits, picture, tensors};

fn logged(builder: PipelineBuilder) -> (Pipeline, Vec<String>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let log = lines.clone();
    let builder = builder.on_log(move |_, line| log.lock().unwrap().push(line.to_owned()));
    let pipeline = builder.build().unwrap();
    let lines = lines.lock().unwrap().clone();
    (pipeline, lines)
}

#[test]
fn types_that_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    tensors(folder.path());
    let wide = folder.path().join("f32.safetensors");
    let plan = |weights| {
        let pipeline = builder(&wide, weights).dtype(Dtype::F32).build().unwrap();
        (pipeline.memory_plan(96, 64).unwrap().weights, picture(&pipeline))
    };
    let (all, exact) = plan(WeightDtype::F32);
    assert_eq!(plan(WeightDtype::Auto), (all, exact.clone()));
    for (weights, share, least) in [
        (WeightDtype::F16, 0.51, 45.0),
        (WeightDtype::Bf16, 0.51, 35.0),
        (WeightDtype::F8, 0.40, 18.0),
    ] {
        let (bytes, picture) = plan(weights);
        let psnr = goldens::psnr(&exact, &picture);
        println!("{weights}: {bytes} of {all} bytes, {psnr:.1} dB");
        assert!((bytes as f64) < share * all as f64 && psnr >= least, "{weights}");
    }

    // f16 on the CPU is f32 with weights in f16.
    let (pipeline, lines) = logged(builder(&wide, WeightDtype::Auto).dtype(Dtype::F16));
    assert_eq!(
        (pipeline.dtype(), pipeline.weight_dtype()),
        (Dtype::F32, WeightDtype::F16)
    );
    let told = |lines: &[String], text: &str| lines.iter().any(|line| line.contains(text));
    assert!(told(&lines, "doesn't compute in f16"), "{lines:?}");
    assert!(told(&lines, "the U-Net keeps its weights in f16 ("), "{lines:?}");
    assert_eq!(picture(&pipeline), plan(WeightDtype::F16).1);

    // Whole numbers are made of what the file has.
    let eight = builder(&wide, WeightDtype::F16)
        .quantization(Quantization::Int8)
        .dtype(Dtype::F16);
    assert_eq!(eight.build().unwrap().dtype(), Dtype::F32);
}

/// A patched layer no longer is what the file has: it is kept in 16 bits, and all others as they were.
#[test]
fn loras_change_narrow_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = eight_bits(folder.path());
    let lora = goldens::root().join("../models/demo/chalk-lora.safetensors");
    let build = |weights, loras: &[Lora]| {
        let builder = builder(&path, weights).dtype(Dtype::F32).loras(loras.to_vec());
        builder.build().unwrap()
    };
    let lora = [Lora::file(lora).weight(0.7)];
    let (plain, styled) = (build(WeightDtype::Auto, &[]), build(WeightDtype::Auto, &lora));
    let (none, drawn) = (picture(&plain), picture(&styled));
    assert_ne!(none, drawn);
    let exact = picture(&build(WeightDtype::F32, &lora));
    assert!(goldens::psnr(&exact, &drawn) >= 45.0);
    let weights = |pipeline: &Pipeline| pipeline.memory_plan(96, 64).unwrap().weights;
    assert!(weights(&plain) < weights(&styled));
    // Siblings and changes in place are what a builder makes, to the bit, and so is the way back.
    let mut sibling = plain.with_loras(lora.clone()).unwrap();
    assert_eq!(picture(&sibling), drawn);
    sibling.set_loras::<Lora>([]).unwrap();
    assert_eq!(picture(&sibling), none);
    // What is saved is made of the file's values.
    let out = folder.path().join("saved.safetensors");
    plain.save_file(&out, Dtype::F32).unwrap();
    let saved = builder(&out, WeightDtype::Auto)
        .dtype(Dtype::F32)
        .build()
        .unwrap();
    assert_eq!(picture(&saved), none);
}

/// Values beyond f16's range are kept in f32, and told.
#[test]
fn values_too_large_for_f16() {
    let folder = tempfile::tempdir().unwrap();
    let (tensors, metadata) = tensors(folder.path());
    let name = "model.diffusion_model.middle_block.0.in_layers.2.weight";
    assert!(tensors.iter().any(|(other, ..)| other == name));
    let bytes: Vec<_> = tensors
        .iter()
        .map(|(other, shape, values)| {
            let factor = if other == name { 1e7 } else { 1.0 };
            let bytes: Vec<u8> = values.iter().flat_map(|v| (v * factor).to_le_bytes()).collect();
            (other, shape, bytes)
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(StoredDtype::F32, (*shape).clone(), bytes).unwrap();
        (name.as_str(), view)
    });
    let path = folder.path().join("large.safetensors");
    let file = safetensors::serialize(views, Some(metadata.into_iter().collect())).unwrap();
    std::fs::write(&path, file).unwrap();
    let (narrow, lines) = logged(builder(&path, WeightDtype::F16).dtype(Dtype::F32));
    let told = lines
        .iter()
        .any(|line| line.starts_with("1 of the U-Net's tensors have values beyond f16's range"));
    assert!(told, "{lines:?}");
    picture(&narrow);
}

/// Text encoders that are let go come back, and pictures stay what they are.
#[test]
fn text_encoders_may_go() {
    let kept = builder(&demo(), WeightDtype::Auto).build().unwrap();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let log = lines.clone();
    let going = builder(&demo(), WeightDtype::Auto)
        .keep_text_encoders(false)
        .on_log(move |_, line| log.lock().unwrap().push(line.to_owned()));
    let mut going = going.build().unwrap();
    let count = |text: &str| {
        lines
            .lock()
            .unwrap()
            .iter()
            .filter(|line| line.contains(text))
            .count()
    };
    let loaded = || count("loaded the text encoder");
    assert_eq!(loaded(), 0);
    assert_eq!(picture(&going), picture(&kept));
    assert_eq!(
        (loaded(), count("text encoders are let go until a text is new")),
        (1, 1)
    );
    // Its texts are known.
    assert_eq!(picture(&going), picture(&kept));
    assert_eq!(loaded(), 1);
    // A new one, LoRAs, and calls of the encoder by itself.
    let draw = |pipeline: &Pipeline| {
        let request = pipeline.txt2img("a blue square").width(64).height(64).steps(1);
        request.seed(1).run().unwrap().images.remove(0).rgb
    };
    assert_eq!(draw(&going), draw(&kept));
    assert_eq!(loaded(), 2);
    let lora = Lora::file(goldens::root().join("../models/demo/chalk-lora.safetensors"));
    let styled = kept.with_loras([lora.clone()]).unwrap();
    assert_eq!(draw(&going.with_loras([lora.clone()]).unwrap()), draw(&styled));
    going.set_loras([lora]).unwrap();
    assert_eq!(draw(&going), draw(&styled));
    assert_eq!(
        going.encode_text("a word", 1).unwrap(),
        styled.encode_text("a word", 1).unwrap()
    );
}

/// Where a limit has no room for text encoders beside a run, they go.
#[test]
fn text_encoders_go_where_memory_is_limited() {
    let free = builder(&demo(), WeightDtype::Auto).build().unwrap();
    let plan = free.memory_plan(96, 64).unwrap();
    assert!(plan.text_encoders > 0 && plan.text_encoders < plan.weights);
    let all = plan.weights + plan.other + plan.denoising.max(plan.decoding);
    assert!(plan.least() < all);
    for (limit, goes) in [(plan.least(), true), (all, false)] {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let log = lines.clone();
        let bound = builder(&demo(), WeightDtype::Auto)
            .memory_limit(limit)
            .on_log(move |_, line| log.lock().unwrap().push(line.to_owned()));
        let bound = bound.build().unwrap();
        assert_eq!(picture(&bound), picture(&free));
        let told = lines
            .lock()
            .unwrap()
            .iter()
            .any(|line| line.contains("as memory_limit needs it"));
        assert_eq!(told, goes);
    }
}
