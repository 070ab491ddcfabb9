//! SDXL in files of its parts, LoRAs of one family on another, and prediction types by the hash of a file.

mod common;

use std::{collections::HashMap, path::Path};

use goldens::Refs;
use safetensors::{SafeTensors, tensor::TensorView};
use sdrs::{Dtype, ErrorCode, Lora, Pipeline, Prediction, Sampler, Schedule};

const PROMPT: &str = "a red circle above a blue square";

fn pipeline(path: &Path) -> Pipeline {
    Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .weight_dtype(sdrs::WeightDtype::F32)
        .checkpoint(path)
        .device("cpu")
        .build()
        .unwrap()
}

fn latents(pipeline: &Pipeline) -> Vec<f32> {
    let request = pipeline.txt2img(PROMPT).negative_prompt("blurry, low quality");
    let request = request.sampler(Sampler::Euler).schedule(Schedule::Uniform);
    let request = request.steps(8).cfg_scale(6.0).seed(31).width(192).height(128);
    request.latents().unwrap().latents.values
}

/// The tensors of a file below a prefix, which may stay.
fn below(file: &SafeTensors, prefix: &str, keep: bool) -> Vec<u8> {
    let names = file.tensors().into_iter();
    let tensors = names.filter_map(|(name, tensor)| {
        let inner = name.strip_prefix(prefix)?;
        Some((if keep { name.clone() } else { inner.to_owned() }, tensor))
    });
    safetensors::serialize(tensors.collect::<HashMap<_, _>>(), None).unwrap()
}

/// ComfyUI's split files: each part alone, with its prefix or bare, the second text encoder under OpenCLIP's names or transformers'.
#[test]
fn parts_alone() {
    let folder = common::sdxl_folder();
    let whole = pipeline(folder.path());
    let expected = latents(&whole);
    let single = folder.path().join("single.safetensors");
    whole.save_file(&single, Dtype::F32).unwrap();
    let bytes = std::fs::read(&single).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let put = |name: &str, bytes: Vec<u8>| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let transformers = folder.path().join("text_encoder_2/model.safetensors");
    for (case, keep) in [("bare", false), ("prefixed", true)] {
        let part = |prefix: &str| {
            let name = format!("{case}-{}safetensors", prefix.replace('.', "-"));
            put(&name, below(&file, prefix, keep))
        };
        let open_clip = part("conditioner.embedders.1.model.");
        for second in [&open_clip, &transformers] {
            let builder = Pipeline::builder()
                .dtype(sdrs::Dtype::F32)
                .weight_dtype(sdrs::WeightDtype::F32)
                .checkpoint(part("model.diffusion_model."));
            let builder = builder.config(folder.path()).device("cpu").text_encoder_2(second);
            let builder = builder.text_encoder(part("conditioner.embedders.0.transformer."));
            let split = builder.vae(part("first_stage_model.")).build().unwrap();
            assert!(latents(&split) == expected, "{case}: {}", second.display());
            let picture = |pipeline: &Pipeline| pipeline.vae_decode(&expected, [1, 4, 16, 24]).unwrap();
            assert_eq!(picture(&split), picture(&whole));
        }
    }
    // The U-Net takes the place of another one too.
    let unet = put("unet.safetensors", below(&file, "model.diffusion_model.", true));
    let builder = Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .weight_dtype(sdrs::WeightDtype::F32)
        .checkpoint(folder.path())
        .unet(unet)
        .device("cpu");
    assert!(latents(&builder.build().unwrap()) == expected);
}

/// A LoRA over all three networks, by diffusers' names and by kohya's, as PEFT applies it.
#[test]
fn a_lora_is_pefts() {
    let folder = common::sdxl_folder();
    let pipeline = pipeline(folder.path());
    let refs = Refs::open("tiny-sdxl/lora/refs.safetensors");
    for name in ["diffusers", "kohya"] {
        let path = goldens::root().join(format!("tiny-sdxl/lora/{name}.safetensors"));
        let adapted = pipeline.with_loras([Lora::file(path)]).unwrap();
        refs.assert_close("cond", &adapted.encode_prompt(PROMPT, 1).unwrap().values, 1e-5);
        refs.assert_close("run", &latents(&adapted), 1e-4);
    }
}

/// A LoRA of one module of these widths.
fn lora(module: &str, [output, input]: [usize; 2]) -> Vec<u8> {
    let zeros = vec![0; 4 * 2 * output.max(input)];
    let view = |shape: [usize; 2]| {
        let n = 4 * shape[0] * shape[1];
        TensorView::new(safetensors::Dtype::F32, shape.to_vec(), &zeros[..n]).unwrap()
    };
    let tensors = [
        (format!("{module}.lora_down.weight"), view([2, input])),
        (format!("{module}.lora_up.weight"), view([output, 2])),
    ];
    safetensors::serialize(tensors, None).unwrap()
}

#[test]
fn a_lora_of_another_family_says_its_own() {
    let folder = common::sdxl_folder();
    let (sd1, sdxl) = (pipeline(&common::folder()), pipeline(folder.path()));
    for (pipeline, module, shape, family) in [
        // Names that the other family has no place for.
        (
            &sdxl,
            "lora_unet_up_blocks_3_attentions_0_transformer_blocks_0_attn2_to_k",
            [320, 768],
            "SD1",
        ),
        (
            &sd1,
            "lora_unet_input_blocks_8_1_transformer_blocks_9_attn2_to_k",
            [1280, 2048],
            "SDXL",
        ),
        (
            &sd1,
            "lora_te2_text_model_encoder_layers_0_mlp_fc1",
            [5120, 1280],
            "SDXL",
        ),
        // Names that it has, of layers of other widths.
        (
            &sd1,
            "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k",
            [640, 2048],
            "SDXL",
        ),
        (
            &sdxl,
            "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k",
            [640, 768],
            "SD1",
        ),
        (
            &sdxl,
            "lora_unet_double_blocks_0_img_attn_qkv",
            [9216, 3072],
            "Flux",
        ),
    ] {
        let made = pipeline.with_loras([Lora::bytes("it", lora(module, shape))]);
        let error = made.map(drop).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidWeights, "{error}");
        let words = format!("(it was made for {family})");
        assert!(error.to_string().contains(&words), "{module}: {error}");
    }
}

/// A table of prediction types knows files by their hashes, whole or as the WebUI shortens them.
#[test]
fn predictions_by_hash() {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("model.safetensors");
    common::builder().save_file(&file, Dtype::F32).unwrap();
    let hash = sdrs::model_hash(&file).unwrap().sha256;
    let table = out.path().join("predictions.json");
    let build = |json: &str, change: &dyn Fn(sdrs::PipelineBuilder) -> sdrs::PipelineBuilder| {
        std::fs::write(&table, json).unwrap();
        let builder = Pipeline::builder()
            .dtype(sdrs::Dtype::F32)
            .weight_dtype(sdrs::WeightDtype::F32)
            .checkpoint(&file)
            .device("cpu")
            .predictions(&table);
        change(builder).build()
    };
    let same = |builder| builder;
    let other = "0".repeat(64);
    for (json, expected) in [
        (format!(r#"{{"{hash}": "v_prediction"}}"#), Prediction::V),
        (
            format!(
                r#"{{"{}": "sample", "{other}": "epsilon"}}"#,
                hash[..10].to_uppercase()
            ),
            Prediction::Sample,
        ),
        (format!(r#"{{"{other}": "v_prediction"}}"#), Prediction::Epsilon),
        ("{}".into(), Prediction::Epsilon),
    ] {
        assert_eq!(
            build(&json, &same).unwrap().sampling().prediction(),
            expected,
            "{json}"
        );
    }
    // The caller's word counts more.
    let json = format!(r#"{{"{hash}": "v_prediction"}}"#);
    let said = build(&json, &|builder| builder.prediction(Prediction::Sample)).unwrap();
    assert_eq!(said.sampling().prediction(), Prediction::Sample);
    // The U-Net's file is the one that counts, and what has no file has no hash.
    let replaced = build(&json, &|builder| builder.checkpoint(common::folder()).unet(&file)).unwrap();
    assert_eq!(replaced.sampling().prediction(), Prediction::V);
    let bytes = std::fs::read(&file).unwrap();
    let memory = build(&json, &|builder| builder.checkpoint_bytes("x", bytes.clone())).unwrap();
    assert_eq!(memory.sampling().prediction(), Prediction::Epsilon);

    for (json, words) in [
        ("[]", "not a table of prediction types"),
        (r#"{"abc": "epsilon"}"#, "'abc' is neither a SHA-256"),
        (
            &format!(r#"{{"{other}": "edm"}}"#),
            "'edm' is not one of epsilon, v_prediction, sample",
        ),
        (&format!(r#"{{"{other}": 1}}"#), "not a table of prediction types"),
    ] {
        let error = build(json, &same).map(drop).unwrap_err();
        assert!(
            error.code() == ErrorCode::InvalidFile && error.to_string().contains(words),
            "{error}"
        );
    }
    std::fs::remove_file(&table).unwrap();
    let missing = Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .weight_dtype(sdrs::WeightDtype::F32)
        .checkpoint(&file)
        .device("cpu")
        .predictions(&table)
        .build();
    assert!(
        missing
            .map(drop)
            .unwrap_err()
            .to_string()
            .contains("predictions.json")
    );
}
