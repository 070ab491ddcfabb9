//! The memory that the layers take which LoRAs change, beside the plan of it, on the demo model.
//!
//! This is a test binary of one test, since it looks at the whole process.
#![cfg(target_os = "linux")]

#[path = "common/stored.rs"]
mod stored;

use sdrs::{Dtype, Lora, Pipeline, Quantization, WeightDtype};
use stored::{builder, demo, eight_bits, picture};

/// Bytes of this process in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kilobytes: u64 = line.trim().strip_suffix("kB").unwrap().trim().parse().unwrap();
    kilobytes * 1024
}

/// To a twentieth, and a megabyte for what a plan doesn't count: names, small tensors that others leave room for, the ends of pages.
fn is_near(what: &str, took: u64, planned: u64) {
    println!("{what}: {planned} bytes planned, {took} taken");
    let share = planned / 20 + (1 << 20);
    assert!(took < planned + share, "{what}: {took} of {planned}");
    assert!(took + share > planned, "{what}: {took} of {planned}");
}

#[test]
fn changed_layers_take_what_is_planned() {
    let models = goldens::root().join("../models/demo");
    let folder = tempfile::tempdir().unwrap();
    let narrow = eight_bits(folder.path());
    let lora = |name: &str| Lora::file(models.join(name));
    let (chalk, outlines) = (lora("chalk-lora.safetensors"), lora("outlines.safetensors"));
    let run = |pipeline: &Pipeline, prompt: &str| {
        let request = pipeline.txt2img(prompt).width(64).height(64).steps(1).seed(3);
        request.run().unwrap();
    };
    // What lives as long as the process.
    let first = builder(&demo(), WeightDtype::F32).build().unwrap();
    picture(&first);
    drop(first.with_loras([&chalk, &outlines]).unwrap());
    drop(first);
    for (what, path, weights, quantization) in [
        ("f32", demo(), WeightDtype::F32, Quantization::None),
        ("f16", demo(), WeightDtype::Auto, Quantization::None),
        ("8-bit floats", narrow, WeightDtype::Auto, Quantization::None),
        ("int8", demo(), WeightDtype::Auto, Quantization::Int8),
    ] {
        let builder = builder(&path, weights)
            .dtype(Dtype::F32)
            .quantization(quantization);
        let pipeline = builder.lora_dir(&models).build().unwrap();
        run(&pipeline, "a ring");
        // Siblings.
        for (name, loras) in [("chalk", vec![&chalk]), ("both", vec![&chalk, &outlines])] {
            let planned = pipeline.memory_of_loras(loras.clone()).unwrap();
            let before = resident();
            let sibling = pipeline.with_loras(loras).unwrap();
            let took = resident().saturating_sub(before);
            is_near(&format!("{what}, a sibling with {name}"), took, planned);
            drop(sibling);
        }
        let vae = models.join("vae-washed.safetensors");
        let planned = pipeline.memory_of_vae(&vae).unwrap();
        let before = resident();
        let sibling = pipeline.with_vae(&vae).unwrap();
        is_near(
            &format!("{what}, a VAE"),
            resident().saturating_sub(before),
            planned,
        );
        drop(sibling);

        // Tags: one after another, each lies beside the pipeline's own layers, and those before it are gone.
        let before = resident();
        for tag in [
            "<lora:outlines:1>",
            "<lora:chalk-lora:1>",
            "<lora:chalk-lora:0.5>",
            "<lora:chalk-lora:0.5> <lora:outlines:0.5>",
            "<lora:outlines:0.2>",
        ] {
            let mut params = sdrs::GenerateParams::default();
            params.text.prompt = tag.into();
            (params.size.width, params.size.height) = (Some(64), Some(64));
            let planned = pipeline.memory_plan_for(&params).unwrap().loras;
            run(&pipeline, tag);
            is_near(
                &format!("{what}, {tag}"),
                resident().saturating_sub(before),
                planned,
            );
        }
    }
}
