//! Pictures of the demo model in narrower numbers than f32.
#![cfg(feature = "demo")]

use sdrs::{Dtype, Image, Pipeline, PipelineBuilder, Quantization};

const PROMPTS: [&str; 6] = [
    "a red circle above a blue square",
    "a yellow star left of a purple heart on a night sky",
    "a small white diamond inside a big green ring",
    "a striped orange triangle on a meadow",
    "a large red circle",
    "a small green triangle below a yellow square",
];

fn demo(dtype: Dtype, quantization: Quantization) -> PipelineBuilder {
    let builder = Pipeline::builder().dtype(sdrs::Dtype::F32).demo().device("cpu");
    builder.dtype(dtype).quantization(quantization)
}

fn draw(pipeline: &Pipeline, prompt: &str, seed: i64, batch_size: usize) -> Vec<Image> {
    let request = pipeline.txt2img(prompt).seed(seed).steps(20).cfg_scale(7.0);
    request.batch_size(batch_size).run().unwrap().images
}

/// The likeness to the pictures in f32: PSNR by prompt.
fn likeness(dtype: Dtype, quantization: Quantization) -> Vec<f64> {
    let exact = demo(Dtype::F32, Quantization::None).build().unwrap();
    let narrow = demo(dtype, quantization).build().unwrap();
    let of = |(seed, prompt): (i64, &&str)| {
        let [a, b] = [&exact, &narrow].map(|pipeline| draw(pipeline, prompt, seed, 1));
        let psnr = goldens::psnr(&a[0].rgb, &b[0].rgb);
        println!("{dtype} {}: {prompt}: {psnr:.1} dB", quantization.name());
        psnr
    };
    (1..).zip(&PROMPTS).map(of).collect()
}

#[test]
fn bf16_is_near_f32() {
    assert!(
        likeness(Dtype::Bf16, Quantization::None)
            .iter()
            .all(|&psnr| psnr >= 35.0)
    );
}

/// Some pictures hang on little: the mean over prompts says how near it is, the least that nothing is quite another.
#[test]
fn int8_is_near_f32() {
    for (dtype, allowed) in [(Dtype::F32, 42.0), (Dtype::Bf16, 38.0)] {
        let all = likeness(dtype, Quantization::Int8);
        let (mean, least) = (
            all.iter().sum::<f64>() / 6.0,
            all.iter().copied().fold(f64::MAX, f64::min),
        );
        println!("{dtype} int8: mean {mean:.1} dB, least {least:.1} dB");
        assert!(mean >= allowed && least >= 25.0, "{all:?}");
    }
}

/// Scales are found for each picture, so others beside it, or threads, change nothing.
#[test]
fn int8_draws_a_seed_alike_in_a_batch_and_on_any_number_of_threads() {
    let build = |threads| {
        demo(Dtype::Bf16, Quantization::Int8)
            .threads(threads)
            .build()
            .unwrap()
    };
    let (one, two) = (build(1), build(2));
    let batch = draw(&two, PROMPTS[0], 5, 2);
    assert_eq!(batch[1].rgb, draw(&one, PROMPTS[0], 6, 1)[0].rgb);
    assert_ne!(batch[0].rgb, batch[1].rgb);
}

#[test]
fn auto_is_int8_where_that_is_faster() {
    let weights = |quantization| {
        let pipeline = demo(Dtype::F32, quantization).build().unwrap();
        pipeline.memory_plan(96, 96).unwrap().weights
    };
    let [none, int8, auto] = [Quantization::None, Quantization::Int8, Quantization::Auto].map(weights);
    #[cfg(target_arch = "x86_64")]
    let faster = is_x86_feature_detected!("avx2") && std::env::var("SDRS_ISA").as_deref() != Ok("portable");
    #[cfg(target_arch = "aarch64")]
    let faster = std::arch::is_aarch64_feature_detected!("dotprod") && std::env::var("SDRS_ISA").is_err();
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let faster = false;
    assert_eq!(auto, if faster { int8 } else { none });
}

#[test]
fn int8_takes_less_memory() {
    let weights = |quantization| {
        let pipeline = demo(Dtype::Bf16, quantization).build().unwrap();
        pipeline.memory_plan(96, 96).unwrap().weights
    };
    let (int8, bf16) = (weights(Quantization::Int8), weights(Quantization::None));
    assert!(int8 < bf16 * 3 / 4, "{int8} and {bf16} bytes");
}
