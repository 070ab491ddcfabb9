//! The memory that a pipeline may take, on the tiny model of `goldens/tiny-sd1`.

mod common;

use common::{builder, draw, picture};
use sdrs::{Dtype, ErrorCode, Picture, Pipeline};

#[test]
fn a_limit_changes_no_picture() {
    let free = builder().build().unwrap();
    let plan = free.memory_plan(48, 64).unwrap();
    assert!(plan.weights > 0 && plan.denoising > 0 && plan.decoding > 0);
    assert!(plan.least() < plan.most());
    let bound = builder().memory_limit(plan.least()).build().unwrap();
    assert_eq!(bound.memory_plan(48, 64).unwrap(), plan);
    assert_eq!(picture(&bound), picture(&free));
}

/// A picture that the VAE encodes and decodes in several bands, in the least memory.
#[test]
fn a_limit_changes_no_run_from_a_large_picture() {
    let (width, height) = (264, 256);
    let rgb: Vec<u8> = (0..width * height * 3).map(|i| (i * 7919 % 251) as u8).collect();
    let photo = Picture::from_rgb(width, height, &rgb).unwrap();
    let free = builder().build().unwrap();
    let least = free.memory_plan(width, height).unwrap().least();
    let bound = builder().memory_limit(least).build().unwrap();
    let drawn = |pipeline: &Pipeline| {
        let request = pipeline.txt2img("a red circle").image(photo.clone());
        let run = request.strength(0.3).steps(4).seed(1).run().unwrap();
        run.images[0].rgb.clone()
    };
    assert_eq!(drawn(&bound), drawn(&free));
}

#[test]
fn what_can_not_fit_is_refused_before_any_work() {
    let plan = |width, height| builder().build().unwrap().memory_plan(width, height).unwrap();
    let tight = builder().memory_limit(plan(48, 64).least() - 1).build().unwrap();
    let mut steps = 0;
    let request = tight.txt2img("a red circle").width(48).height(64);
    let error = request.on_progress(|_| steps += 1).run().unwrap_err();
    assert_eq!((error.code(), steps), (ErrorCode::InvalidParameter, 0));
    let message = error.to_string();
    assert!(message.starts_with("memory_limit: "), "{message}");
    assert!(
        message.contains("is too little for 48x64, which needs"),
        "{message}"
    );
    assert!(
        message.contains("would fit; weights kept in 16 bits (weight_dtype) take half"),
        "{message}"
    );
    // The size that it names does fit.
    let side = message
        .split(" would fit")
        .next()
        .unwrap()
        .rsplit('x')
        .next()
        .unwrap();
    let side: u32 = side.parse().unwrap();
    assert!(plan(side, side).least() < plan(48, 64).least());
    assert!(draw(&tight, "a red circle").is_err());
    tight
        .txt2img("a red circle")
        .width(side)
        .height(side)
        .steps(1)
        .run()
        .unwrap();

    let error = builder().memory_limit(1000).build().unwrap_err().to_string();
    assert!(error.contains("its weights take"), "{error}");
    let f16 = builder().memory_limit(1 << 40).dtype(Dtype::F16).build().unwrap();
    assert_eq!(f16.dtype(), Dtype::F32);
}
