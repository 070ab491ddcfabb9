//! Pictures of the demo model in narrower numbers than f32.
#![cfg(feature = "demo")]

use sdrs::{Dtype, ErrorCode, Image, Pipeline, PipelineBuilder, Quantization};

const PROMPTS: [&str; 3] = [
    "a large red circle on a blue background",
    "a small green triangle on a white background",
    "two yellow squares on a black background",
];

fn demo(dtype: Dtype, quantization: Quantization) -> PipelineBuilder {
    let builder = Pipeline::builder().demo().device("cpu");
    builder.dtype(dtype).quantization(quantization)
}

fn draw(pipeline: &Pipeline, prompt: &str, seed: i64, batch_size: usize) -> Vec<Image> {
    let request = pipeline.txt2img(prompt).seed(seed).steps(20);
    request.batch_size(batch_size).run().unwrap().images
}

/// The least likeness over prompts to the pictures in f32.
fn likeness(dtype: Dtype, quantization: Quantization) -> f64 {
    let exact = demo(Dtype::F32, Quantization::None).build().unwrap();
    let narrow = demo(dtype, quantization).build().unwrap();
    let of = |(seed, prompt): (i64, &&str)| {
        let [a, b] = [&exact, &narrow].map(|pipeline| draw(pipeline, prompt, seed, 1));
        let psnr = goldens::psnr(&a[0].rgb, &b[0].rgb);
        println!("{dtype} {}: {prompt}: {psnr:.1} dB", quantization.name());
        psnr
    };
    (1..).zip(&PROMPTS).map(of).fold(f64::MAX, f64::min)
}

#[test]
fn bf16_is_near_f32() {
    assert!(likeness(Dtype::Bf16, Quantization::None) >= 35.0);
}

#[test]
fn int8_is_near_f32() {
    for dtype in [Dtype::F32, Dtype::Bf16] {
        assert!(likeness(dtype, Quantization::Int8) >= 30.0);
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
fn int8_takes_less_memory_and_is_for_the_cpu() {
    let weights = |quantization| {
        let pipeline = demo(Dtype::Bf16, quantization).build().unwrap();
        pipeline.memory_plan(96, 96).unwrap().weights
    };
    let (int8, bf16) = (weights(Quantization::Int8), weights(Quantization::None));
    assert!(int8 < bf16 * 3 / 4, "{int8} and {bf16} bytes");
    let error = demo(Dtype::F16, Quantization::Int8).build().unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidParameter);
    assert!(
        error.to_string().starts_with("quantization: int8 is for the CPU"),
        "{error}"
    );
}
