//! A refiner in small: runs in which it takes over, against k-diffusion over diffusers' and transformers' networks.

mod common;

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use goldens::Refs;
use sdrs::{Dtype, Error, ErrorCode, Pipeline, PipelineBuilder, Request};

const PROMPT: &str = "a red circle above a blue square";

fn builder(base: &Path, refiner: &Path) -> PipelineBuilder {
    Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .checkpoint(base)
        .refiner(refiner)
        .device("cpu")
}

fn request(pipeline: &Pipeline) -> Request<'_> {
    let request = pipeline.txt2img(PROMPT).negative_prompt("blurry, low quality");
    let request = request
        .sampler(sdrs::Sampler::Euler)
        .schedule(sdrs::Schedule::Uniform)
        .refiner_switch_at(0.7);
    request.steps(8).cfg_scale(6.0).seed(37).width(192).height(128)
}

fn latents(request: Request<'_>) -> Vec<f32> {
    request.latents().unwrap().latents.values
}

#[test]
fn runs_are_the_references() {
    let (base, refiner) = (common::sdxl_folder(), common::refiner_folder());
    let lines = Arc::new(Mutex::new(Vec::new()));
    let log = lines.clone();
    let pipeline =
        builder(base.path(), refiner.path()).on_log(move |_, line| log.lock().unwrap().push(line.to_owned()));
    let pipeline = pipeline.build().unwrap();
    let refs = Refs::open("tiny-refiner/refs.safetensors");
    refs.assert_close("run", &latents(request(&pipeline)), 1e-4);
    let told = |step: usize| {
        let line = format!("{} takes over at step {step}", pipeline.refiner_name().unwrap());
        lines.lock().unwrap().contains(&line)
    };
    // Of eight steps the sixth begins at timestep 285.
    assert!(told(6) && !told(7));
    refs.assert_close(
        "run_by_steps",
        &latents(request(&pipeline).refiner_by_steps(true)),
        1e-4,
    );
    assert!(told(7));
    refs.assert_close(
        "run_alone",
        &latents(request(&pipeline).refiner_switch_at(0.0)),
        1e-4,
    );

    // Siblings have it too.
    let again = pipeline.with_loras(
        [common::lora_file()].map(|file| sdrs::Lora::file(file).weight(0.0).allow_unmatched(true)),
    );
    refs.assert_close("run", &latents(request(&again.unwrap())), 1e-4);
    // One that never takes over changes nothing.
    let plain = Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .checkpoint(base.path())
        .device("cpu")
        .build()
        .unwrap();
    assert_eq!(plain.refiner_name(), None);
    assert_eq!(
        latents(request(&pipeline).refiner_switch_at(1.0)),
        latents(request(&plain))
    );
    // Pictures of a batch are those of single runs.
    let batch = latents(request(&pipeline).batch_size(2));
    let second = latents(request(&pipeline).seed(38));
    assert_eq!(batch[batch.len() / 2..], second);
}

/// Methods of guidance that call the network on their own call the refiner's, whose layers are others.
#[test]
fn guidance_is_with_its_own_network() {
    let (base, refiner) = (common::sdxl_folder(), common::refiner_folder());
    let pipeline = builder(base.path(), refiner.path()).build().unwrap();
    let plain = latents(request(&pipeline));
    let guided = |switch_at| {
        let request = request(&pipeline).refiner_switch_at(switch_at);
        latents(
            request
                .pag_scale(2.0)
                .sag_scale(0.5)
                .perp_neg_scale(0.5)
                .deep_cache_interval(2),
        )
    };
    let both = guided(0.7);
    assert_ne!(both, plain);
    // With the refiner from the start it is that of the refiner by itself.
    let alone = Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .checkpoint(refiner.path())
        .device("cpu")
        .build()
        .unwrap();
    let by_itself = request(&alone).pag_scale(2.0).sag_scale(0.5).perp_neg_scale(0.5);
    assert_eq!(guided(0.0), latents(by_itself.deep_cache_interval(2)));
}

/// Of two passes it draws in the second one alone (WebUI).
#[test]
fn it_draws_in_the_last_pass() {
    let (base, refiner) = (common::sdxl_folder(), common::refiner_folder());
    let lines = Arc::new(Mutex::new(Vec::new()));
    let log = lines.clone();
    let pipeline = builder(base.path(), refiner.path())
        .on_log(move |_, line| log.lock().unwrap().push(line.to_owned()))
        .build()
        .unwrap();
    let taken = || {
        let mut lines = lines.lock().unwrap();
        let taken = lines
            .iter()
            .filter(|line| line.contains("takes over at step"))
            .count();
        lines.clear();
        taken
    };
    let small = || {
        request(&pipeline)
            .width(64)
            .height(64)
            .steps(4)
            .refiner_switch_at(0.0)
    };
    let twice = latents(small().hires_scale(2.0));
    assert_eq!(taken(), 1);
    assert_ne!(twice, latents(small().hires_scale(2.0).refiner_switch_at(1.0)));
    assert_eq!(taken(), 0);
    // The first pass is the base's alone.
    let first = latents(small().refiner_switch_at(1.0));
    assert_eq!(taken(), 0);
    let alone = latents(small());
    assert_eq!(taken(), 1);
    assert_ne!(first, alone);
}

/// It is a checkpoint like others, from a folder or a single file; beside another its autoencoder may be missing.
#[test]
fn it_is_a_checkpoint() {
    let (base, refiner) = (common::sdxl_folder(), common::refiner_folder());
    let alone = Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .checkpoint(refiner.path())
        .device("cpu")
        .build()
        .unwrap();
    let refs = Refs::open("tiny-refiner/refs.safetensors");
    refs.assert_close("run_alone", &latents(request(&alone)), 1e-4);
    let sizes = alone.sizes();
    assert_eq!(
        (
            sizes.text_width,
            sizes.text_width_2,
            sizes.pooled_width,
            sizes.added_width
        ),
        (16, 0, 24, 24 + 5 * 256)
    );
    let told = alone.size_vector(&[128.0, 192.0, 0.0, 0.0, 6.0]).unwrap();
    let added = [alone.pooled_prompt(PROMPT).unwrap().values, told.values].concat();
    let context = alone.encode_prompt(PROMPT, 1).unwrap().values;
    refs.assert_close(
        "pooled",
        &[&added[..24], &refs.f32s("pooled")[24..]].concat(),
        1e-5,
    );
    let one = refs.f32s("latents").len() / 2;
    let output = alone.unet(
        (&refs.f32s("latents")[..one], [1, 4, 16, 24]),
        &[900.0],
        (&context, [1, 77, 16]),
        Some((&added, [1, sizes.added_width])),
    );
    goldens::assert_close(
        "output",
        &output.unwrap().values,
        &refs.f32s("output")[..one],
        1e-5,
    );

    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("fine.safetensors");
    alone.save_file(&file, Dtype::F32).unwrap();
    fs::remove_dir_all(refiner.path().join("vae")).unwrap();
    for path in [file.as_path(), refiner.path()] {
        let pipeline = builder(base.path(), path).build().unwrap();
        let drawn = request(&pipeline).latents().unwrap();
        refs.assert_close("run", &drawn.latents.values, 1e-4);
        let name = pipeline.refiner_name().unwrap();
        let words = format!("Refiner: {name}, Refiner switch at: 0.7, ");
        assert!(drawn.infotexts[0].contains(&words), "{}", drawn.infotexts[0]);
        let read = sdrs::infotext::parse(&drawn.infotexts[0]).unwrap();
        assert_eq!(
            (read.refiner.as_deref(), read.params.sampling.refiner_switch_at),
            (Some(name), 0.7)
        );
    }
}

#[test]
fn its_memory_counts() {
    let (base, refiner) = (common::sdxl_folder(), common::refiner_folder());
    let plan = |builder: PipelineBuilder| {
        let pipeline = builder.dtype(Dtype::F32).build().unwrap();
        pipeline.memory_plan(192, 128).unwrap()
    };
    let plain = plan(
        Pipeline::builder()
            .dtype(sdrs::Dtype::F32)
            .checkpoint(base.path())
            .device("cpu"),
    );
    let both = plan(builder(base.path(), refiner.path()));
    let of = |part: &str| {
        let file = fs::read(refiner.path().join(part)).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
        tensors
            .iter()
            // Matrices and kernels are kept as the file has them.
            .map(|(_, view)| match view.shape() {
                [values] => 4 * *values,
                _ => view.data().len(),
            } as u64)
            .sum::<u64>()
    };
    let weights = of("unet/diffusion_pytorch_model.safetensors") + of("text_encoder_2/model.safetensors");
    assert_eq!(both.weights, plain.weights + weights);
    let error = builder(base.path(), refiner.path())
        .memory_limit(plain.weights)
        .build()
        .unwrap_err();
    assert!(error.to_string().starts_with("memory_limit: "), "{error}");
}

#[test]
fn what_is_no_refiner_is_told() {
    let (base, refiner) = (common::sdxl_folder(), common::refiner_folder());
    let error = |path: &Path| builder(base.path(), path).build().unwrap_err();
    assert!(matches!(error(Path::new("no/such/file")), Error::Core(_)));
    let lora = error(&common::lora_file()).to_string();
    assert!(lora.contains("a LoRA"), "{lora}");
    // Latents of another scale.
    let config = refiner.path().join("vae/config.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replacen('{', "{\"scaling_factor\": 0.5,", 1)).unwrap();
    let other = error(refiner.path());
    assert_eq!(other.code(), ErrorCode::InvalidParameter);
    assert!(
        other.to_string().contains("with a scaling factor of 0.5, and"),
        "{other}"
    );
    // Of the parts that it needs none may be missing.
    fs::write(&config, text).unwrap();
    fs::remove_dir_all(refiner.path().join("unet")).unwrap();
    let lacking = error(refiner.path()).to_string();
    assert!(lacking.contains("it lacks a U-Net"), "{lacking}");
}
