//! An autoencoder whose values are too large for f16 works in f32.

mod common;

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use safetensors::{SafeTensors, tensor::TensorView};
use sdrs::{Dtype, LogLevel, Pipeline};

/// Activations behind the first convolutions are this many times what they were: normalisation makes up for it, where the type holds them.
const FACTOR: f32 = 32_768.0;
const LATENTS: [usize; 4] = [2, 4, 4, 6];

/// The tiny model with an autoencoder of such activations.
fn folder() -> tempfile::TempDir {
    let folder = common::put_together(&[(
        "tiny-sd1",
        &[
            "text_encoder/config.json",
            "text_encoder/model.safetensors",
            "unet/config.json",
            "unet/diffusion_pytorch_model.safetensors",
            "vae/config.json",
        ],
    )]);
    let name = "vae/diffusion_pytorch_model.safetensors";
    let bytes = std::fs::read(common::folder().join(name)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.tensors().into_iter().map(|(name, tensor)| {
        let factor = if name.contains("coder.conv_in.") {
            FACTOR
        } else {
            1.0
        };
        let (values, rest) = tensor.data().as_chunks::<2>();
        assert!(tensor.dtype() == safetensors::Dtype::F16 && rest.is_empty());
        let wide = values.iter().flat_map(|&bytes| {
            let value = half::f16::from_le_bytes(bytes).to_f32() * factor;
            assert!(value.abs() <= 65_504.0, "weights themselves are in range");
            value.to_le_bytes()
        });
        (name, tensor.shape().to_vec(), wide.collect::<Vec<u8>>())
    });
    let tensors: Vec<_> = tensors.collect();
    let views = tensors.iter().map(|(name, shape, data)| {
        let view = TensorView::new(safetensors::Dtype::F32, shape.clone(), data).unwrap();
        (name.as_str(), view)
    });
    std::fs::write(
        folder.path().join(name),
        safetensors::serialize(views, None).unwrap(),
    )
    .unwrap();
    folder
}

fn pipeline(folder: &Path, dtype: Dtype) -> (Pipeline, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let log = lines.clone();
    let builder = Pipeline::builder().checkpoint(folder).device("cpu").dtype(dtype);
    let builder = builder.on_log(move |level, line| {
        if level == LogLevel::Warning || line.contains("loaded the VAE in") {
            log.lock().unwrap().push(line.to_owned());
        }
    });
    (builder.build().unwrap(), lines)
}

fn waves(shape: [usize; 4]) -> Vec<f32> {
    (0..shape.iter().product())
        .map(|i| (i as f32 * 0.37).sin())
        .collect()
}

#[test]
fn too_large_for_f16() {
    let folder = folder();
    let ((wide, silent), (narrow, lines)) = (
        pipeline(folder.path(), Dtype::F32),
        pipeline(folder.path(), Dtype::F16),
    );
    let pictures = [1, 3, 16, 32];
    for _ in 0..2 {
        let decoded = [&wide, &narrow].map(|it| it.vae_decode(&waves(LATENTS), LATENTS).unwrap());
        assert!(decoded[0].values.iter().all(|value| value.is_finite()));
        assert_eq!(decoded[0], decoded[1]);
        let encoded = [&wide, &narrow].map(|it| it.vae_encode(&waves(pictures), pictures).unwrap());
        assert!(encoded[0].mean.values.iter().all(|value| value.is_finite()));
        assert_eq!(encoded[0], encoded[1]);
    }
    // It is told each time, and the copy is loaded once.
    let lines = lines.lock().unwrap().clone();
    let told = lines.iter().filter(|line| line.contains("too large for f16"));
    assert_eq!(told.count(), 4);
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.contains("loaded the VAE in f32"))
            .count(),
        1
    );
    assert!(silent.lock().unwrap().is_empty());
    // A sibling shares it, and pictures are pictures.
    let image = narrow
        .txt2img("a red circle")
        .width(48)
        .height(64)
        .steps(1)
        .seed(3);
    assert!(image.run().unwrap().images[0].rgb.iter().any(|&byte| byte != 0));
}

/// What fits is done in f16, and what isn't finite to begin with is not tried again.
#[test]
fn the_wide_copy_is_for_pictures_that_need_it() {
    let (pipeline, lines) = pipeline(&common::folder(), Dtype::F16);
    let decoded = pipeline.vae_decode(&waves(LATENTS), LATENTS).unwrap();
    assert!(decoded.values.iter().all(|value| value.is_finite()));
    let mut broken = waves(LATENTS);
    broken[5] = f32::NAN;
    pipeline.vae_decode(&broken, LATENTS).unwrap();
    assert!(lines.lock().unwrap().is_empty());
}
