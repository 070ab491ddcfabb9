//! TAESD in place of a model's own autoencoder, against diffusers' AutoencoderTiny.

mod common;

use goldens::Refs;
use sdrs::{ErrorCode, Pipeline, Sampler};

fn file() -> std::path::PathBuf {
    goldens::root().join("tiny-vae/diffusion_pytorch_model.safetensors")
}

#[test]
fn it_decodes_and_encodes_for_the_vae() {
    let refs = Refs::open("tiny-vae/refs.safetensors");
    let own = common::builder().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(file(), folder.path().join("diffusion_pytorch_model.safetensors")).unwrap();
    let bytes = std::fs::read(file()).unwrap();
    let pipelines = [
        common::builder().vae(file()).build().unwrap(),
        common::builder().vae(folder.path()).build().unwrap(),
        common::builder()
            .vae_bytes("taesd", bytes.clone())
            .build()
            .unwrap(),
        own.with_vae(file()).unwrap(),
        own.with_vae_bytes("taesd", bytes).unwrap(),
    ];
    let shape = |name: &str| <[usize; 4]>::try_from(refs.shape(name)).unwrap();
    for pipeline in &pipelines {
        let decoded = pipeline
            .vae_decode(&refs.f32s("latents"), shape("latents"))
            .unwrap();
        refs.assert_close("decoded", &decoded.values, 1e-5);
        let encoded = pipeline
            .vae_encode(&refs.f32s("pictures"), shape("pictures"))
            .unwrap();
        refs.assert_close("encoded", &encoded.mean.values, 1e-5);
        assert!(encoded.std.values.iter().all(|v| *v == 0.0));
    }
    // Latents are the same, pictures are not, and both ways serve a run.
    let run = |pipeline: &Pipeline| {
        let request = pipeline
            .txt2img("a red circle")
            .sampler(Sampler::Euler)
            .steps(2)
            .seed(7);
        request.width(64).height(48).run().unwrap().images.remove(0)
    };
    let (with, without) = (run(&pipelines[0]), run(&own));
    assert!(with.rgb != without.rgb);
    let again = pipelines[0]
        .txt2img("a star")
        .image(sdrs::Picture::from(&with))
        .steps(2);
    assert_eq!(again.run().unwrap().images[0].width, 64);
    // What is saved keeps the model's own.
    let saved = folder.path().join("saved.safetensors");
    pipelines[0].save_file(&saved, sdrs::Dtype::F32).unwrap();
    let saved = Pipeline::builder()
        .checkpoint(&saved)
        .device("cpu")
        .dtype(sdrs::Dtype::F32)
        .build()
        .unwrap();
    assert!(run(&saved).rgb == without.rgb);
    // And it can be replaced by one.
    let back = pipelines[0].with_vae(common::folder()).unwrap();
    assert!(run(&back).rgb == without.rgb);
}

#[test]
fn one_that_does_not_fit_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(file()).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let half = |name: &str| {
        let half = tensors
            .tensors()
            .into_iter()
            .filter(|(key, _)| key.starts_with(name));
        let path = folder.path().join(format!("{name}.safetensors"));
        safetensors::serialize_to_file(half, None, &path).unwrap();
        path
    };
    let encoder = common::builder().vae(half("encoder")).build().unwrap_err();
    assert!(encoder.to_string().contains("has no decoder"), "{encoder}");
    assert_eq!(encoder.code(), ErrorCode::InvalidWeights);
    // With a decoder alone pictures are drawn from noise, and not from pictures.
    let decoder = common::builder().vae(half("decoder")).build().unwrap();
    let run = || decoder.txt2img("a star").steps(1).width(16).height(16);
    assert!(run().run().is_ok());
    let image = sdrs::Picture::from_gray(16, 16, &[9; 256]).unwrap();
    let refused = run().image(image).run().unwrap_err().to_string();
    assert!(refused.contains("has no encoder"), "{refused}");
    let cut = &bytes[..bytes.len() - 7];
    assert!(common::builder().vae_bytes("cut", cut.to_vec()).build().is_err());
}
