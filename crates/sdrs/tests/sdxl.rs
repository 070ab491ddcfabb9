//! Stable Diffusion XL in small: both text encoders, the U-Net's additional vector and whole runs against transformers, diffusers and
//! k-diffusion.

mod common;

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use goldens::Refs;
use safetensors::tensor::TensorView;
use sdrs::{Array, Dtype, EmptyNegativeRule, ErrorCode, LogLevel, Lora, Pipeline, Request};

const PROMPT: &str = "a red circle above a blue square";
const NEGATIVE: &str = "blurry, low quality";

fn pipeline(path: &Path) -> Pipeline {
    Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .weight_dtype(sdrs::WeightDtype::F32)
        .checkpoint(path)
        .device("cpu")
        .build()
        .unwrap()
}

fn request<'a>(pipeline: &'a Pipeline, negative: &str) -> Request<'a> {
    settled(pipeline.txt2img(PROMPT).negative_prompt(negative))
}

fn settled(request: Request<'_>) -> Request<'_> {
    let request = request
        .sampler(sdrs::Sampler::Euler)
        .schedule(sdrs::Schedule::Uniform);
    request.steps(8).cfg_scale(6.0).seed(31).width(192).height(128)
}

fn latents(pipeline: &Pipeline, negative: &str) -> Array {
    request(pipeline, negative).latents().unwrap().latents
}

#[test]
fn texts_and_runs_are_the_references() {
    let folder = common::sdxl_folder();
    let pipeline = pipeline(folder.path());
    let refs = Refs::open("tiny-sdxl/refs.safetensors");
    for (text, name) in [
        (PROMPT, "cond"),
        (NEGATIVE, "uncond"),
        ("a (red:1.5) circle above a blue square", "weighted"),
    ] {
        let context = pipeline.encode_prompt(text, 1).unwrap();
        assert_eq!(context.shape, [77, 32]);
        refs.assert_close(name, &context.values, 1e-5);
    }
    refs.assert_close("run", &latents(&pipeline, NEGATIVE).values, 1e-4);
    // An empty negative prompt is zeros, as in the WebUI.
    refs.assert_close("run_without_negative", &latents(&pipeline, "").values, 1e-4);
}

#[test]
fn an_empty_negative_prompt_follows_its_rule() {
    let folder = common::sdxl_folder();
    let pipeline = pipeline(folder.path());
    let refs = Refs::open("tiny-sdxl/refs.safetensors");
    let run = |request: Request<'_>, rule, name: &str| {
        let drawn = request.empty_negative_rule(rule).latents().unwrap();
        refs.assert_close(name, &drawn.latents.values, 1e-4);
    };
    let (zeros, text) = ("run_without_negative", "run_with_empty_text");
    run(request(&pipeline, ""), EmptyNegativeRule::WebUi, zeros);
    run(request(&pipeline, ""), EmptyNegativeRule::Comfy, text);
    // One that is given is encoded, though it is empty.
    run(request(&pipeline, ""), EmptyNegativeRule::Diffusers, text);
    run(without_negative(&pipeline), EmptyNegativeRule::Diffusers, zeros);
    run(without_negative(&pipeline), EmptyNegativeRule::Comfy, text);
    run(request(&pipeline, NEGATIVE), EmptyNegativeRule::WebUi, "run");
}

fn without_negative(pipeline: &Pipeline) -> Request<'_> {
    settled(pipeline.txt2img(PROMPT))
}

/// What the model is told of sizes is the caller's, and the picture's by default.
#[test]
fn sizes_are_told() {
    let folder = common::sdxl_folder();
    let pipeline = pipeline(folder.path());
    let refs = Refs::open("tiny-sdxl/refs.safetensors");
    let told = request(&pipeline, NEGATIVE)
        .original_height(300)
        .original_width(400);
    let told = told
        .crop_top(8)
        .crop_left(16)
        .target_height(256)
        .target_width(384);
    refs.assert_close("run_with_sizes", &told.latents().unwrap().latents.values, 1e-4);
    let same = request(&pipeline, NEGATIVE)
        .original_height(128)
        .target_width(192);
    refs.assert_close("run", &same.latents().unwrap().latents.values, 1e-4);
    let error = request(&pipeline, NEGATIVE)
        .original_width(0)
        .latents()
        .unwrap_err();
    assert_eq!(error.to_string(), "original_width: must be 1 to 65536, not 0");
}

/// A textual inversion has vectors for each encoder: keys say for which, also where widths don't tell.
#[test]
fn embeddings_are_placed_by_key() {
    let folder = common::sdxl_folder();
    let refs = Refs::open("tiny-sdxl/refs.safetensors");
    let embedding = |names: [&str; 2]| {
        let values = ["clip_l", "clip_g"].map(|name| {
            let values = refs.f32s(name);
            values.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>()
        });
        let view = |data| TensorView::new(safetensors::Dtype::F32, vec![2, 16], data).unwrap();
        let tensors = names.into_iter().zip(values.iter().map(|data| view(data)));
        safetensors::serialize(tensors, None).unwrap()
    };
    let build = |bytes: Vec<u8>| {
        let builder = Pipeline::builder()
            .dtype(sdrs::Dtype::F32)
            .weight_dtype(sdrs::WeightDtype::F32)
            .checkpoint(folder.path())
            .device("cpu");
        builder.embedding_bytes("style", bytes).build()
    };
    let prompt = "a red circle of style";
    let pipeline = build(embedding(["clip_l", "clip_g"])).unwrap();
    refs.assert_close(
        "embedded",
        &pipeline.encode_prompt(prompt, 1).unwrap().values,
        1e-5,
    );
    refs.assert_close(
        "pooled_embedded",
        &pipeline.pooled_prompt(prompt).unwrap().values,
        1e-5,
    );
    // With the keys changed over, each encoder has the other's.
    let swapped = build(embedding(["clip_g", "clip_l"])).unwrap();
    assert_ne!(
        swapped.encode_prompt(prompt, 1).unwrap(),
        pipeline.encode_prompt(prompt, 1).unwrap()
    );

    // One of SD1 has vectors for one encoder alone; nor does a width fit that no encoder has.
    let one = |name: &str, width: usize| {
        let bytes = vec![0; 8 * width];
        let view = TensorView::new(safetensors::Dtype::F32, vec![2, width], &bytes).unwrap();
        safetensors::serialize([(name, view)], None).unwrap()
    };
    for bytes in [one("emb_params", 16), one("clip_g", 16), one("clip_g", 24)] {
        let error = build(bytes).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidFile);
        assert!(
            error
                .to_string()
                .contains("this model's text encoders have 16 and 16"),
            "{error}"
        );
    }
}

/// Settings that a model has no use for are told, once for each.
#[test]
fn unused_settings_are_told() {
    let folder = common::sdxl_folder();
    for (path, expected) in [
        (
            folder.path().to_owned(),
            vec![
                "refiner_switch_at is not used: the pipeline has no refiner",
                "aesthetic_score is not used: SDXL's refiner is told of scores, and this is no refiner",
            ],
        ),
        (
            common::folder(),
            vec![
                "refiner_switch_at is not used: the pipeline has no refiner",
                "crop_top is not used: this model's U-Net is conditioned on the text alone",
                "aesthetic_score is not used: this model's U-Net is conditioned on the text alone",
            ],
        ),
    ] {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let log = lines.clone();
        let builder = Pipeline::builder()
            .dtype(sdrs::Dtype::F32)
            .weight_dtype(sdrs::WeightDtype::F32)
            .checkpoint(path)
            .device("cpu");
        let builder = builder.on_log(move |level, line| {
            if level == LogLevel::Warning {
                log.lock().unwrap().push(line.to_owned());
            }
        });
        let pipeline = builder.build().unwrap();
        let request = pipeline.txt2img(PROMPT).width(64).height(64).steps(1);
        let request = request.crop_top(8).aesthetic_score(7.0).refiner_switch_at(0.5);
        request.latents().unwrap();
        assert_eq!(*lines.lock().unwrap(), expected);
    }
}

/// Contexts, pooled texts, states of each encoder, and a call of the U-Net, by a caller.
#[test]
fn calls_are_the_references() {
    let folder = common::sdxl_folder();
    let pipeline = pipeline(folder.path());
    let refs = Refs::open("tiny-sdxl/refs.safetensors");
    let sizes = pipeline.sizes();
    assert_eq!(
        (sizes.text_width, sizes.text_width_2, sizes.context_width),
        (16, 16, 32)
    );
    assert_eq!(
        (sizes.pooled_width, sizes.added_width, sizes.text_layers),
        (24, 24 + 6 * 256, 3)
    );

    for (text, name) in [(PROMPT, "pooled"), (NEGATIVE, "pooled_uncond")] {
        for pooled in [pipeline.pooled_text(text), pipeline.pooled_prompt(text)] {
            let pooled = pooled.unwrap();
            assert_eq!(pooled.shape, [24]);
            refs.assert_close(name, &pooled.values, 1e-5);
        }
    }
    // Weights don't touch it, and what follows the first 75 tokens doesn't.
    let weighted = format!("(a red:1.5) circle above a blue square BREAK {NEGATIVE}");
    refs.assert_close("pooled", &pipeline.pooled_prompt(&weighted).unwrap().values, 1e-5);

    let cond = refs.f32s("cond");
    for (encoder, name) in ["input_ids", "input_ids_2"].into_iter().enumerate() {
        let ids: Vec<u32> = refs.i64s(name)[..77].iter().map(|&id| id as u32).collect();
        let half: Vec<f32> = cond
            .chunks(32)
            .flat_map(|row| row[16 * encoder..][..16].to_vec())
            .collect();
        let states = pipeline.text_hidden_states(&ids, encoder).unwrap();
        let layers = states.shape[0] - 1;
        assert_eq!(states.shape, [[5, 4][encoder] + 1, 77, 16]);
        goldens::assert_close(
            "state",
            &states.values[(layers - 1) * 77 * 16..][..77 * 16],
            &half,
            1e-5,
        );
        let encoded = pipeline.encode_ids(&ids, 1, encoder).unwrap();
        goldens::assert_close("ids", &encoded.values, &half, 1e-5);
        let text = pipeline.encode_text_with(PROMPT, 1, encoder).unwrap();
        assert_eq!(text, encoded);
        let skipped = pipeline.encode_ids(&ids, 3, encoder).unwrap();
        let earlier = &states.values[(layers - 3) * 77 * 16..][..77 * 16];
        assert_eq!(skipped.values, earlier);
    }
    refs.assert_close("cond", &pipeline.encode_text(PROMPT, 1).unwrap().values, 1e-5);

    let told = pipeline
        .size_vector(&[128.0, 192.0, 0.0, 0.0, 128.0, 192.0])
        .unwrap();
    assert_eq!(told.shape, [6 * 256]);
    let added: Vec<f32> = ["pooled", "pooled_uncond"]
        .into_iter()
        .flat_map(|name| [refs.f32s(name), told.values.clone()].concat())
        .collect();
    let contexts = [cond, refs.f32s("uncond")].concat();
    let shape = refs.shape("latents").try_into().unwrap();
    let output = pipeline.unet(
        (&refs.f32s("latents"), shape),
        &[900.0, 17.0],
        (&contexts, [2, 77, 32]),
        Some((&added, [2, sizes.added_width])),
    );
    refs.assert_close("output", &output.unwrap().values, 1e-5);
}

#[test]
fn wrong_arguments_are_named() {
    let folder = common::sdxl_folder();
    let (pipeline, sd1) = (pipeline(folder.path()), common::builder().build().unwrap());
    let fails = |result: sdrs::Result<Array>, begin: &str| {
        let error = result.unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidParameter);
        assert!(error.to_string().starts_with(begin), "{error}");
    };
    let unet = |pipeline: &Pipeline, width: usize, added: Option<(&[f32], [usize; 2])>| {
        let context = vec![0.0; 3 * width];
        pipeline.unet(
            (&[0.0; 4 * 64], [1, 4, 8, 8]),
            &[1.0],
            (&context, [1, 3, width]),
            added,
        )
    };
    fails(
        unet(&pipeline, 32, None),
        "added: this model's U-Net takes a vector of 1560 values",
    );
    fails(
        unet(&pipeline, 32, Some((&[0.0; 3], [1, 3]))),
        "added: must have the shape [1, 1560], not [1, 3]",
    );
    fails(
        unet(&pipeline, 32, Some((&[0.0; 3], [1, 1560]))),
        "added: 3 values don't fill the shape [1, 1560]",
    );
    fails(
        unet(&pipeline, 32, Some((&[0.0; 3120], [2, 1560]))),
        "added: must have the shape [1, 1560]",
    );
    fails(
        unet(&sd1, 16, Some((&[0.0; 3], [1, 3]))),
        "added: this model's U-Net takes no vector",
    );
    unet(&sd1, 16, None).unwrap();
    fails(
        sd1.pooled_text("a"),
        "text: no text encoder of this model gives a pooled text",
    );
    fails(
        sd1.pooled_prompt("a"),
        "prompt: no text encoder of this model gives a pooled text",
    );
    fails(
        pipeline.pooled_prompt("a AND b"),
        "prompt: AND joins several prompts",
    );
    fails(
        sd1.size_vector(&[1.0; 6]),
        "sizes: this model's U-Net takes no sizes",
    );
    fails(
        pipeline.size_vector(&[1.0; 5]),
        "sizes: must be 6 numbers, original height and width",
    );
    fails(
        pipeline.size_vector(&[1.0, 1.0, 0.0, f64::NAN, 1.0, 1.0]),
        "sizes: NaN is not finite",
    );
    fails(
        sd1.encode_ids(&[1], 1, 1),
        "encoder: must be 0, for this model's only text encoder, not 1",
    );
    fails(
        pipeline.text_hidden_states(&[1], 2),
        "encoder: must be 0 to 1, for this model's 2 text encoders, not 2",
    );
    fails(pipeline.encode_text_with("a", 1, 2), "encoder: must be 0 to 1");
    fails(
        pipeline.encode_ids(&[1], 4, 0),
        "clip_skip: must be 1 to 3, not 4",
    );
}

#[test]
fn both_layouts_hold_the_same_model() {
    let folder = common::sdxl_folder();
    let pipeline = pipeline(folder.path());
    let drawn = latents(&pipeline, NEGATIVE);
    let out = tempfile::tempdir().unwrap();
    let (file, copy) = (out.path().join("xl.safetensors"), out.path().join("xl"));
    pipeline.save_file(&file, Dtype::F32).unwrap();
    pipeline.save_folder(&copy, Dtype::F32).unwrap();
    for path in [&file, &copy] {
        let again = self::pipeline(path);
        assert_eq!(latents(&again, NEGATIVE), drawn, "{}", path.display());
    }
}

/// A batch, DeepCache and prompts that AND joins have the vectors of their own texts.
#[test]
fn each_text_has_its_vector() {
    let folder = common::sdxl_folder();
    let pipeline = pipeline(folder.path());
    let alone = latents(&pipeline, NEGATIVE);
    let batch = request(&pipeline, NEGATIVE)
        .batch_size(2)
        .latents()
        .unwrap()
        .latents;
    assert_eq!(batch.values[..alone.values.len()], alone.values[..]);
    let doubled = format!("{PROMPT} :0.5 AND {PROMPT} :0.5");
    let joined = request(&pipeline, NEGATIVE)
        .prompt(doubled)
        .latents()
        .unwrap()
        .latents;
    goldens::assert_close("halves", &joined.values, &alone.values, 1e-4);
    let other = request(&pipeline, NEGATIVE)
        .prompt(format!("{PROMPT} AND a cat"))
        .latents();
    assert_ne!(other.unwrap().latents, alone);
    let deep = request(&pipeline, NEGATIVE)
        .deep_cache_interval(2)
        .latents()
        .unwrap();
    assert_ne!(deep.latents, alone);
}

/// A LoRA under kohya's names: what it says of the second text encoder changes that one's half of the context alone.
#[test]
fn a_lora_changes_its_own_encoder() {
    let folder = common::sdxl_folder();
    let pipeline = pipeline(folder.path());
    let lora = |module: &str, [output, input]: [usize; 2]| {
        let values = |n: usize| -> Vec<u8> {
            let values = (0..n).map(|i| (i as f32 * 0.7).sin());
            values.flat_map(f32::to_le_bytes).collect()
        };
        let (down, up) = (values(2 * input), values(2 * output));
        let view =
            |shape: [usize; 2], data| TensorView::new(safetensors::Dtype::F32, shape.to_vec(), data).unwrap();
        let tensors = [
            (format!("{module}.lora_down.weight"), view([2, input], &down)),
            (format!("{module}.lora_up.weight"), view([output, 2], &up)),
        ];
        let bytes = safetensors::serialize(tensors, None).unwrap();
        pipeline.with_loras([Lora::bytes("lora", bytes)]).unwrap()
    };
    let context = |pipeline: &Pipeline| pipeline.encode_prompt(PROMPT, 1).unwrap().values;
    let halves = |values: &[f32]| -> [Vec<f32>; 2] {
        let half = |from: usize| {
            values
                .chunks(32)
                .flat_map(|row| row[from..from + 16].to_vec())
                .collect()
        };
        [half(0), half(16)]
    };
    let [first, second] = halves(&context(&pipeline));
    let changed = lora("lora_te1_text_model_encoder_layers_0_mlp_fc1", [64, 16]);
    let [l, g] = halves(&context(&changed));
    assert!(l != first && g == second);
    let changed = lora("lora_te2_text_model_encoder_layers_0_mlp_fc1", [64, 16]);
    let [l, g] = halves(&context(&changed));
    assert!(l == first && g != second);
    let changed = lora(
        "lora_unet_input_blocks_3_1_transformer_blocks_0_attn2_to_k",
        [32, 32],
    );
    assert_eq!(context(&changed), context(&pipeline));
    assert_ne!(latents(&changed, NEGATIVE), latents(&pipeline, NEGATIVE));
}
