//! Statements of files about themselves, and descriptions of files: predictions, missing parts, wrong kinds, tensors of no part.

mod common;

use std::{collections::HashMap, path::Path};

use common::{
    TEXT_ENCODER, Tensors, UNET, VAE, assert_says, cpu, load, output, put, serialized, tensors, tiny,
    tiny_copy,
};
use safetensors::tensor::TensorView;
use sd_core::{
    Error,
    checkpoint::{Checkpoint, Expected, GivenConfigs, Inspection, inspect},
    config::Part,
    embedding::Embedding,
    models::Vae,
    weights::{Folder, StoredDtype, TensorFile},
};

/// A file with metadata.
fn file(tensors: &Tensors, metadata: &[(&str, String)]) -> TensorFile {
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    let metadata: HashMap<String, String> = metadata
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    TensorFile::from_bytes("x", safetensors::serialize(views, Some(metadata)).unwrap()).unwrap()
}

fn ldm() -> Tensors {
    tensors(&goldens::tiny_sd1_ldm())
}

fn with(mut tensors: Tensors, names: &[&str]) -> Tensors {
    for name in names {
        tensors.insert((*name).into(), (StoredDtype::F32, vec![0], vec![]));
    }
    tensors
}

/// The tiny model's configurations, with this scheduler's or none.
fn given(scheduler: Option<&str>) -> GivenConfigs {
    let folder = tiny_copy();
    let path = folder.path().join("scheduler/scheduler_config.json");
    match scheduler {
        Some(json) => std::fs::write(path, json).unwrap(),
        None => std::fs::remove_file(path).unwrap(),
    }
    GivenConfigs::from_folder(&Folder::Disk(folder.path().to_owned())).unwrap()
}

const EPSILON: &str = r#"{"prediction_type":"epsilon","beta_schedule":"scaled_linear"}"#;
const V: &str = r#"{"prediction_type":"v_prediction","rescale_betas_zero_snr":true}"#;

fn says(checkpoint: &Checkpoint) -> (&str, bool) {
    let scheduler = &checkpoint.configs().scheduler;
    (scheduler.prediction_type.name(), scheduler.rescale_betas_zero_snr)
}

/// The order is in the documents: a scheduler beside the weights, marks in their file, configurations from elsewhere, the usual.
#[test]
fn one_rule_says_what_is_predicted() {
    let text = |part: &str| std::fs::read_to_string(tiny().join(part).join("config.json")).unwrap();
    let carried = [
        ("sdrs.text_encoder.config", text("text_encoder")),
        ("sdrs.unet.config", text("unet")),
        ("sdrs.vae.config", text("vae")),
    ];
    let spec = |kind: &str| [("modelspec.prediction_type", kind.to_owned())];
    let scheduler = |json: &str| [carried.to_vec(), vec![("sdrs.scheduler.config", json.into())]].concat();
    let marked = with(ldm(), &["v_pred", "ztsnr"]);
    let v = with(ldm(), &["v_pred"]);
    for (tensors, metadata, elsewhere, expected) in [
        (&v, vec![], Some(None), ("v_prediction", false)),
        (&v, vec![], Some(Some(EPSILON)), ("v_prediction", false)),
        (&v, vec![], Some(Some(V)), ("v_prediction", true)),
        (&marked, vec![], Some(None), ("v_prediction", true)),
        (&marked, vec![], Some(Some(EPSILON)), ("v_prediction", true)),
        (&marked, carried.to_vec(), None, ("v_prediction", true)),
        (&marked, scheduler(EPSILON), None, ("epsilon", false)),
        (&ldm(), scheduler(V), None, ("v_prediction", true)),
        (&ldm(), scheduler(V), Some(Some(EPSILON)), ("v_prediction", true)),
        (&ldm(), spec("v").to_vec(), Some(None), ("v_prediction", false)),
        (
            &ldm(),
            spec("v").to_vec(),
            Some(Some(EPSILON)),
            ("v_prediction", false),
        ),
        (&ldm(), spec("epsilon").to_vec(), Some(Some(V)), ("epsilon", true)),
        (
            &ldm(),
            [carried.to_vec(), spec("v").to_vec()].concat(),
            None,
            ("v_prediction", false),
        ),
        (&ldm(), vec![], Some(Some(V)), ("v_prediction", true)),
        (&ldm(), vec![], Some(None), ("epsilon", false)),
    ] {
        let elsewhere = elsewhere.map(given);
        let what = format!("{metadata:?}, {}", elsewhere.is_some());
        let checkpoint = Checkpoint::parts_of_file(file(tensors, &metadata), elsewhere.as_ref()).unwrap();
        assert_eq!(says(&checkpoint), expected, "{what}");
        // What the file itself says, inspect says too.
        let found = Inspection::of_file(&file(tensors, &metadata));
        if let Some(kind) = found.prediction_type {
            assert_eq!(kind, expected.0, "{what}");
            let reason = checkpoint.prediction_reason().unwrap();
            assert!(
                reason.starts_with(&found.prediction_reason.unwrap()),
                "{what}: {reason}"
            );
        } else {
            assert!(metadata.is_empty() && !tensors.contains_key("v_pred"), "{what}");
        }
    }
    // A U-Net from elsewhere, and a folder without a scheduler.
    let alone: Tensors = with(tensors(&tiny().join(UNET)), &["v_pred"]);
    let mut replaced = Checkpoint::open(&tiny()).unwrap();
    replaced
        .replace_part_by_file(Part::Unet, file(&alone, &[]))
        .unwrap();
    assert_eq!(says(&replaced), ("v_prediction", false));
    let folder = tiny_copy();
    put(folder.path(), UNET, &serialized(&alone));
    assert_eq!(
        says(&Checkpoint::open(folder.path()).unwrap()),
        ("epsilon", false)
    );
    std::fs::remove_dir_all(folder.path().join("scheduler")).unwrap();
    assert_eq!(
        says(&Checkpoint::open(folder.path()).unwrap()),
        ("v_prediction", false)
    );
    let found = inspect(folder.path()).unwrap();
    assert_eq!(found.prediction_type.as_deref(), Some("v_prediction"));
}

/// A file of tensors of these shapes.
fn shaped(tensors: &[(&str, &[usize])]) -> TensorFile {
    let stored = tensors.iter().map(|(name, shape)| {
        let size = shape.iter().product();
        (name.to_string(), (StoredDtype::U8, shape.to_vec(), vec![0; size]))
    });
    file(&stored.collect(), &[])
}

const CONV: (&str, &[usize]) = ("model.diffusion_model.input_blocks.0.0.weight", &[320, 4, 0, 3]);
const INPAINTING: (&str, &[usize]) = ("model.diffusion_model.input_blocks.0.0.weight", &[320, 9, 0, 3]);
const EDITING: (&str, &[usize]) = ("model.diffusion_model.input_blocks.0.0.weight", &[320, 8, 0, 3]);
const KEYS: &str = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight";
const SD1: (&str, &[usize]) = (KEYS, &[0, 768]);
const DECODER: (&str, &[usize]) = ("first_stage_model.decoder.conv_in.weight", &[0]);
const ENCODER: (&str, &[usize]) = ("first_stage_model.encoder.conv_in.weight", &[0]);
const TEXT: (&str, &[usize]) = ("cond_stage_model.transformer.text_model.x", &[0]);
const EMA: (&str, &[usize]) = ("model_ema.diffusion_modelinput_blocks00weight", &[0]);
const LORA: (&str, &[usize]) = (
    "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight",
    &[4, 768],
);

#[test]
fn what_is_given_as_a_checkpoint_is_told() {
    for (tensors, words) in [
        (
            vec![CONV, SD1, DECODER, ENCODER],
            "is a checkpoint of SD1: it lacks a text encoder; give one with text_encoder (--text-encoder)",
        ),
        (
            vec![CONV, SD1, TEXT],
            "is a checkpoint of SD1: it lacks a VAE; give one with vae (--vae)",
        ),
        (
            vec![CONV, SD1],
            "is a U-Net alone, of SD1: it lacks a text encoder and a VAE; give them with text_encoder (--text-encoder) and vae (--vae)",
        ),
        (
            vec![DECODER, ENCODER, TEXT],
            "is a checkpoint: it lacks a U-Net; give one with unet (--unet)",
        ),
        (
            vec![EMA, DECODER, ENCODER, TEXT, ("alphas_cumprod", &[1000])],
            "is a checkpoint with averages (EMA) of a U-Net's weights: it lacks a U-Net; give one with unet (--unet)",
        ),
        (
            vec![EMA, ("betas", &[1000])],
            "is averages (EMA) of a U-Net's weights alone: it lacks a text encoder, a U-Net and a VAE; give them with",
        ),
        (
            vec![DECODER, ENCODER],
            "is a VAE alone, not a checkpoint; give a checkpoint, and this beside it with vae (--vae)",
        ),
        (
            vec![DECODER],
            "is a VAE's decoder alone, not a checkpoint; give a checkpoint, and this beside it with vae (--vae)",
        ),
        (
            vec![LORA],
            "is a LoRA for SD1, not a checkpoint; give a checkpoint, and this beside it with lora (--lora)",
        ),
        (
            vec![("emb_params", &[2, 768])],
            "is a textual inversion embedding for SD1, not a checkpoint; give a checkpoint, and this beside it with embedding (--embedding)",
        ),
        (
            vec![CONV, (KEYS, &[0, 2048]), DECODER],
            "is a checkpoint of SDXL: it lacks a text encoder and a second text encoder; give them with text_encoder (--text-encoder)",
        ),
        (
            vec![INPAINTING, (KEYS, &[0, 2048]), DECODER],
            "is a checkpoint of SDXL (inpainting): it lacks a text encoder and a second text encoder; give them with text_encoder (--text-encoder)",
        ),
        (
            vec![EDITING, (KEYS, &[0, 2048]), DECODER],
            "is a checkpoint of SDXL (InstructPix2Pix), which is not supported yet; give one of SD1, SD2 or SDXL",
        ),
        (
            vec![CONV, (KEYS, &[0, 1024]), DECODER],
            "is a checkpoint of SD2: it lacks a text encoder; give one with text_encoder (--text-encoder)",
        ),
    ] {
        let error = Checkpoint::from_file(shaped(&tensors)).map(drop).unwrap_err();
        assert_says(&error.to_string(), &[&format!("x: {words}")]);
    }
}

#[test]
fn what_is_given_as_a_part_is_told() {
    let mut checkpoint = Checkpoint::open(&tiny()).unwrap();
    for (part, tensors, words) in [
        (
            Part::Vae,
            vec![LORA],
            "x: is a LoRA for SD1, not a VAE; its place is lora (--lora)",
        ),
        (
            Part::Unet,
            vec![DECODER, ENCODER],
            "x: is a VAE alone, not a U-Net; its place is vae (--vae)",
        ),
        (
            Part::Vae,
            vec![CONV, SD1, TEXT],
            "x: is a checkpoint of SD1 without a VAE, so a VAE can't be taken from it",
        ),
        (
            Part::TextEncoder,
            vec![("weight", &[1])],
            "x: is a file of unknown kind, not a text encoder; give a text encoder",
        ),
        (
            Part::Unet,
            vec![EDITING, (KEYS, &[0, 2048])],
            "x: is a U-Net alone, of SDXL (InstructPix2Pix), which is not supported yet; give one of SD1, SD2 or SDXL",
        ),
    ] {
        let error = checkpoint
            .replace_part_by_file(part, shaped(&tensors))
            .unwrap_err();
        assert_says(&error.to_string(), &[words]);
    }
    for (wanted, words) in [
        (
            Expected::Adapter,
            "is a VAE alone, not a LoRA or another adapter; its place is vae (--vae)",
        ),
        (
            Expected::Embedding,
            "is a VAE alone, not a textual inversion; its place is vae (--vae)",
        ),
    ] {
        let found = Inspection::of_file(&shaped(&[DECODER, ENCODER]));
        assert_eq!(found.instead_of(wanted), words);
    }
    let error = Embedding::open(&tiny().join(VAE)).unwrap_err().to_string();
    assert_says(
        &error,
        &["is a VAE alone, not a textual inversion; its place is vae (--vae)"],
    );
    let error = |part, path: &Path| {
        let mut checkpoint = Checkpoint::open(&tiny()).unwrap();
        checkpoint.replace_part(part, path).unwrap_err().to_string()
    };
    assert_says(
        &error(Part::Vae, &tiny().join("unet")),
        &["unet: is the folder of a U-Net, not of a VAE"],
    );
    assert_says(
        &error(Part::Vae, &tiny().join("refs")),
        &["refs: is not the folder of a VAE: it has no config.json"],
    );
}

fn opening(path: &Path) -> String {
    Checkpoint::open(path).map(drop).unwrap_err().to_string()
}

#[test]
fn folders_are_told() {
    // SDXL's refiner has the second text encoder alone, at any width.
    let folder = tiny_copy();
    let first = folder.path().join("text_encoder");
    std::fs::rename(first, folder.path().join("text_encoder_2")).unwrap();
    assert_says(
        &opening(folder.path()),
        &["the second text encoder must be a CLIPTextModelWithProjection"],
    );
    for (part, words) in [
        (
            Part::Vae,
            "it lacks a VAE (no vae/config.json); give one with vae (--vae)",
        ),
        (
            Part::Unet,
            "it lacks a U-Net (no unet/config.json); give one with unet (--unet)",
        ),
    ] {
        let folder = tiny_copy();
        std::fs::remove_dir_all(folder.path().join(part.name())).unwrap();
        assert_says(&opening(folder.path()), &["is a diffusers folder", words]);
    }
    assert_says(
        &opening(&tiny().join("unet")),
        &["that of a U-Net alone: give the folder above it"],
    );
    assert_says(
        &opening(&goldens::root().join("lora/peft")),
        &["a LoRA's, as PEFT saves it: its place is lora (--lora)"],
    );
    let folder = tempfile::tempdir().unwrap();
    put(
        folder.path(),
        "model_index.json",
        br#"{"_class_name":"FluxPipeline"}"#,
    );
    assert_says(
        &opening(folder.path()),
        &["a folder of Flux, which is not supported"],
    );
}

#[test]
fn configurations_and_addresses_are_no_checkpoints() {
    for name in ["model_index.json", "unet/config.json"] {
        let expected = format!(
            "is a configuration, not a checkpoint; give the folder, {}",
            tiny().display()
        );
        assert_says(&opening(&tiny().join(name)), &[&expected]);
    }
    // As a VAE, and under another name.
    let json = std::fs::read(tiny().join("vae/config.json")).unwrap();
    let error = TensorFile::from_bytes("x.safetensors", json)
        .unwrap_err()
        .to_string();
    assert_says(
        &error,
        &["x.safetensors: a text that begins as JSON does, not weights"],
    );
    for name in [
        "https://example.org/model.safetensors",
        "runwayml/stable-diffusion-v1-5",
    ] {
        let error = Checkpoint::open(Path::new(name)).map(drop).unwrap_err();
        assert!(matches!(error, Error::Io { .. }));
        assert_says(
            &error.to_string(),
            &["cannot read", name, "nothing is downloaded"],
        );
    }
    for name in ["/no/such", "./no/such", "no/such/file", "file.safetensors"] {
        let error = opening(Path::new(name));
        assert!(!error.contains("downloaded"), "{error}");
    }
    let error = Folder::open(Path::new("nowhere")).map(drop).unwrap_err();
    assert!(matches!(error, Error::Io { .. }));
}

/// Neither the part nor the order matters.
#[test]
fn missing_parts_can_be_given() {
    let elsewhere = given(Some(EPSILON));
    let of = |prefixes: &[&str]| {
        let mut tensors = ldm();
        tensors.retain(|name, _| prefixes.iter().any(|prefix| name.starts_with(prefix)));
        file(&tensors, &[])
    };
    let (unet, vae, text) = (
        "model.diffusion_model.",
        "first_stage_model.",
        "cond_stage_model.",
    );
    for (kept, order) in [
        (vec![unet, text], vec![Part::Vae]),
        (vec![unet, vae], vec![Part::TextEncoder]),
        (vec![vae, text], vec![Part::Unet]),
        (vec![unet], vec![Part::Vae, Part::TextEncoder]),
        (vec![unet], vec![Part::TextEncoder, Part::Vae]),
        (vec![vae], vec![Part::Unet, Part::TextEncoder]),
    ] {
        let mut checkpoint = Checkpoint::parts_of_file(of(&kept), Some(&elsewhere)).unwrap();
        assert_eq!(checkpoint.lacks().len(), order.len());
        checkpoint.check().unwrap_err();
        for part in order {
            checkpoint.put_part(part, &tiny()).unwrap();
        }
        checkpoint.check().unwrap();
        for part in checkpoint.configs().parts() {
            assert!(
                output(&checkpoint, part).unwrap()
                    == output(&Checkpoint::open(&tiny()).unwrap(), part).unwrap()
            );
        }
    }
    let folder = tiny_copy();
    std::fs::remove_dir_all(folder.path().join("text_encoder")).unwrap();
    let mut checkpoint = Checkpoint::open_parts(folder.path()).unwrap();
    // A file without configuration is SD1's, as long as nothing says otherwise.
    checkpoint
        .put_part(Part::TextEncoder, &tiny().join(TEXT_ENCODER))
        .unwrap();
    assert!(matches!(checkpoint.check(), Err(Error::Config { .. })));
    checkpoint.put_part(Part::TextEncoder, &tiny()).unwrap();
    checkpoint.check().unwrap();
}

#[test]
fn leftovers_and_strays() {
    let configs = given(Some(EPSILON));
    let open = |tensors: &Tensors| Checkpoint::parts_of_file(file(tensors, &[]), Some(&configs)).unwrap();
    let leftovers = [
        "embedding_manager.string_to_param_dict.*",
        "embedding_manager.embedder.transformer.text_model.embeddings.position_ids",
        "control_model.input_hint_block.0.weight",
        "control_model.zero_convs.0.0.weight",
        "cond_stage_model.transformer.vision_model.encoder.layers.0.mlp.fc1.weight",
        "cond_stage_model.transformer.visual_projection.weight",
    ];
    let harmless = open(&with(ldm(), &leftovers));
    harmless.check().unwrap();
    for part in harmless.configs().parts() {
        load(&harmless, part).unwrap();
    }
    // One of no part, and one below a part's prefix.
    let (stray, below) = ("lora_te_text_model_x", "model.diffusion_model.extra");
    let tensors = with(ldm(), &[stray, below]);
    let mut strict = open(&tensors);
    let advice = "allow_unexpected (--allow-unexpected) passes over";
    assert_says(
        &strict.check().unwrap_err().to_string(),
        &[&format!("1 unexpected: {stray}"), advice],
    );
    let error = load(&strict, Part::Unet).unwrap_err().to_string();
    assert_says(&error, &[&format!("1 unexpected: {below}"), advice]);
    strict.set_allow_unexpected(true);
    strict.check().unwrap();
    load(&strict, Part::Unet).unwrap();
    assert_eq!(strict.passed_over().unwrap(), [stray, below]);
    // Also of a part that is put in its place.
    let unet = with(tensors_of(UNET), &["extra"]);
    strict.put_part_of_file(Part::Unet, file(&unet, &[])).unwrap();
    assert_eq!(strict.passed_over().unwrap(), [stray, "extra"]);
}

fn tensors_of(name: &str) -> Tensors {
    tensors(&tiny().join(name))
}

/// Half a VAE does what it can, under both layouts' names.
#[test]
fn half_a_vae() {
    let whole = Checkpoint::open(&tiny()).unwrap();
    let config = &whole.configs().vae;
    let prefixed: Tensors = ldm()
        .into_iter()
        .filter(|(name, _)| name.starts_with("first_stage_model."))
        .collect();
    for all in [tensors_of(VAE), prefixed] {
        // With and without the other half's 1x1 convolution.
        for (gone, quant) in [
            ("encoder.", "first"),
            ("encoder.", "quant_conv."),
            ("decoder.", "first"),
            ("decoder.", "post_quant_conv."),
        ] {
            let mut half = all.clone();
            half.retain(|name, _| {
                let name = name.strip_prefix("first_stage_model.").unwrap_or(name);
                !name.starts_with(gone) && !name.starts_with(quant)
            });
            let mut checkpoint = whole.clone();
            checkpoint
                .replace_part_by_file(Part::Vae, file(&half, &[]))
                .unwrap();
            let vae = Vae::load(config, checkpoint.weights(Part::Vae), &cpu()).unwrap();
            let (able, unable) = match gone {
                "encoder." => (vae.can_decode(), vae.can_encode()),
                _ => (vae.can_encode(), vae.can_decode()),
            };
            able.unwrap();
            let error = unable.unwrap_err();
            assert!(matches!(error, Error::Incomplete { .. }));
            let lacks = format!("has no {}, so it can't", gone.trim_end_matches('.'));
            assert_says(
                &error.to_string(),
                &["vae x: ", &lacks, "give a whole VAE with vae (--vae)"],
            );
            let found = Inspection::of_file(&file(&half, &[]));
            let kept = if gone == "encoder." { "decoder" } else { "encoder" };
            assert_eq!(found.vae_half, Some(kept));
            // A half that is damaged is a fault, not a missing half.
            half.retain(|name, _| !name.contains(&format!("{kept}.conv_out")));
            checkpoint
                .replace_part_by_file(Part::Vae, file(&half, &[]))
                .unwrap();
            let error = load(&checkpoint, Part::Vae).unwrap_err().to_string();
            assert_says(&error, &["2 missing", &format!("{kept}.conv_out.weight")]);
        }
    }
    // It is saved as it is, and loads again.
    let mut half = tensors_of(VAE);
    half.retain(|name, _| !name.starts_with("encoder."));
    let mut checkpoint = whole.clone();
    checkpoint
        .replace_part_by_file(Part::Vae, file(&half, &[]))
        .unwrap();
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("half.safetensors");
    checkpoint.save_file(&path, sd_core::Dtype::F32).unwrap();
    let saved = Checkpoint::open(&path).unwrap();
    let vae = Vae::load(config, saved.weights(Part::Vae), &cpu()).unwrap();
    assert!(vae.can_decode().is_ok() && vae.can_encode().is_err());
}
