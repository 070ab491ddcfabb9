//! Pictures that are drawn again from their infotexts.

mod common;

use std::fs;

use sdrs::{Dtype, Pipeline, Replay, infotext};

#[test]
fn files_are_found_by_hash_and_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("checkpoints/old")).unwrap();
    let pipeline = common::builder().build().unwrap();
    pipeline
        .save_file(at("checkpoints/tiny.safetensors"), Dtype::F32)
        .unwrap();
    fs::create_dir(at("loras")).unwrap();
    fs::copy(common::lora_file(), at("loras/ink.safetensors")).unwrap();
    let again = |text: &str| Replay::find(&infotext::parse(text).unwrap(), [folder.path()]);
    let drawn = |replay: Replay| {
        let builder = replay.builder.device("cpu").dtype(Dtype::F32);
        let pipeline = builder.build().unwrap();
        pipeline
            .txt2img("")
            .params(replay.params)
            .run()
            .unwrap()
            .images
            .remove(0)
    };

    // A picture that was drawn here is drawn again, to the bit, its LoRA included.
    let pipeline = Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .weight_dtype(sdrs::WeightDtype::F32)
        .checkpoint(at("checkpoints/tiny.safetensors"))
        .lora_dir(at("loras"));
    let pipeline = pipeline.device("cpu").build().unwrap();
    let request = pipeline
        .txt2img("a red circle <lora:ink:0.7>")
        .negative_prompt("blurry");
    let request = request
        .width(48)
        .height(64)
        .steps(3)
        .seed(11)
        .hires_scale(1.5)
        .hires_steps(2);
    let first = request.run().unwrap().images.remove(0);
    let replay = again(&first.infotext).unwrap();
    assert!(replay.missing.is_empty(), "{:?}", replay.missing);
    let second = drawn(replay);
    assert_eq!((&second.rgb, &second.infotext), (&first.rgb, &first.infotext));

    // A LoRA under another name is found by its hash, and named so; another one under its name is told.
    fs::rename(at("loras/ink.safetensors"), at("loras/pen.safetensors")).unwrap();
    let replay = again(&first.infotext).unwrap();
    assert!(replay.missing.is_empty(), "{:?}", replay.missing);
    assert_eq!(replay.params.text.prompt, "a red circle <lora:pen:0.7>");
    assert_eq!(drawn(replay).rgb, first.rgb);
    fs::remove_file(at("loras/pen.safetensors")).unwrap();
    fs::copy(at("checkpoints/tiny.safetensors"), at("loras/ink.safetensors")).unwrap();
    let missing = again(&first.infotext).unwrap().missing;
    assert!(
        missing[0].contains("ink.safetensors is another LoRA than the one with the hash"),
        "{missing:?}"
    );
    fs::remove_file(at("loras/ink.safetensors")).unwrap();

    // Under another name it is found by its hash, and a file with the name but not the hash is told.
    let hash = sdrs::model_hash(at("checkpoints/tiny.safetensors")).unwrap();
    let text = |model: &str, hash: &str| {
        format!("a\nSteps: 1, Seed: 1, Size: 48x64, Model hash: {hash}, Model: {model}, Version: v1.10.1")
    };
    let replay = again(&text("renamed", hash.short())).unwrap();
    assert!(replay.missing.is_empty(), "{:?}", replay.missing);
    let replay = again(&text("tiny", "0123456789")).unwrap();
    assert!(
        replay.missing[0].contains("is another file than the one with the hash 0123456789"),
        "{:?}",
        replay.missing
    );
    let missing = again(&text("nothing", "0123456789")).err().unwrap().to_string();
    assert!(
        missing.contains("the checkpoint 'nothing' (0123456789) is not in these folders"),
        "{missing}"
    );

    // What can't be honoured is said.
    let text = "a\nSteps: 1, Seed: 1, Size: 48x64, Model: tiny, VAE: other.pt, Denoising strength: 0.5, Wildcard seed: 3";
    let missing = again(text).unwrap().missing.join("\n");
    for part in ["the VAE 'other.pt'", "it began at a picture", "Wildcard seed: 3"] {
        assert!(missing.contains(part), "{missing}");
    }
    let none: [&str; 0] = [];
    assert!(
        Replay::find(
            &infotext::parse("a\nSteps: 1, Seed: 1, Model: tiny").unwrap(),
            none
        )
        .is_err()
    );
    let gone = [folder.path().join("gone")];
    assert!(
        Replay::find(
            &infotext::parse("a\nSteps: 1, Seed: 1, Model: tiny").unwrap(),
            gone
        )
        .is_err()
    );
}

/// What the WebUI wrote up to 1.7 was drawn over noise levels in 16 bits: those of k-diffusion over such a table.
#[test]
fn old_pictures_have_the_noise_levels_of_then() {
    let golden = include_str!("../../../goldens/sched/half_alphas.json");
    let golden: serde_json::Value = serde_json::from_str(golden).unwrap();
    let pipeline = common::builder().build().unwrap();
    let drawn = |version: &str| {
        let text = format!(
            "a\nSteps: 8, Sampler: DPM++ 2M Karras, CFG scale: 1, Seed: 1, Size: 48x64, Version: {version}"
        );
        let params = infotext::parse(&text).unwrap().params;
        let mut sigmas = Vec::new();
        let request = pipeline.txt2img("").params(params);
        let request = request.on_progress(|progress| sigmas.push(progress.sigma));
        let text = request.run().unwrap().images[0].infotext.clone();
        (sigmas, text)
    };
    let (old, text) = drawn("v1.6.0");
    assert!(text.contains(", Downcast alphas_cumprod: True"), "{text}");
    assert!(infotext::parse(&text).unwrap().params.sampling.half_alphas);
    let expected = golden["schedules"]["karras"]["8"].as_array().unwrap();
    assert_eq!(old.len(), 8);
    for (sigma, expected) in old.iter().zip(expected) {
        assert!(
            (sigma / expected.as_f64().unwrap() - 1.0).abs() < 2e-6,
            "{sigma} {expected}"
        );
    }
    let (new, _) = drawn("v1.10.1");
    assert!(
        (new[7] - 0.0292).abs() < 1e-4 && (old[7] - 0.03125).abs() < 1e-6,
        "{new:?}"
    );
}

/// Networks are found under the names that the WebUI lists them by.
#[test]
fn listed_upscalers_and_old_hashes_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let pipeline = common::builder().build().unwrap();
    pipeline.save_file(at("tiny.safetensors"), Dtype::F32).unwrap();
    let network = goldens::root().join("upscalers/esrgan-x4.pth");
    fs::copy(network, at("RealESRGAN_x4plus_anime_6B.pth")).unwrap();
    let missing = |pairs: &str| {
        let text = format!("a\nSteps: 1, Seed: 1, Size: 48x64, Model: tiny, Hires upscale: 2, {pairs}");
        let replay = Replay::find(&infotext::parse(&text).unwrap(), [folder.path()]);
        replay.unwrap().missing
    };
    let none: [&str; 0] = [];
    assert_eq!(missing("Hires upscaler: R-ESRGAN 4x+ Anime6B"), none);
    assert_eq!(
        missing("Hires upscaler: R-ESRGAN 4x+"),
        ["the upscaler 'R-ESRGAN 4x+' is not in these folders"]
    );
    let bytes = fs::read(at("tiny.safetensors")).unwrap();
    let hash = sd_core::weights::old_model_hash(&at("tiny.safetensors")).unwrap();
    assert!(bytes.len() > 1 << 20 && hash != "e3b0c442");
    assert_eq!(
        missing(&format!("Hires upscaler: Latent, Model hash: {hash}")),
        none
    );
    let other = missing("Hires upscaler: Latent, Model hash: 01234567");
    assert!(
        other[0].contains("is another file than the one with the hash 01234567"),
        "{other:?}"
    );
}
