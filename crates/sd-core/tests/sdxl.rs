//! Stable Diffusion XL in small: two text encoders and a U-Net with a vector of pooled text and sizes, against transformers and diffusers,
//! in both layouts.

mod common;

use std::{collections::BTreeSet, fs, path::Path};

use burn_tensor::{DType, Tensor, TensorData};
use common::{TEXT_ENCODER, Tensors, UNET, VAE, assert_says, cpu, load, output, put, serialized, tensors};
use goldens::Refs;
use sd_core::{
    Dtype, Error, WeightDtype,
    checkpoint::{Checkpoint, Kind, inspect},
    config::{Family, Part},
    models::{ClipTextModel, EncodedText, UNet, UnetInput},
    weights::{StoredDtype, Target, TensorFile},
};

const TEXT_ENCODER_2: &str = "text_encoder_2/model.safetensors";
const FIRST: &str = "conditioner.embedders.0.transformer.text_model.";
const SECOND: &str = "conditioner.embedders.1.model.";

/// The tiny SD1's text encoder and autoencoder with what SDXL has beside them.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (from, names) in [
        (
            "tiny-sd1",
            ["text_encoder/config.json", TEXT_ENCODER, "vae/config.json", VAE].as_slice(),
        ),
        (
            "tiny-sdxl",
            &[
                "text_encoder_2/config.json",
                TEXT_ENCODER_2,
                "unet/config.json",
                UNET,
                "scheduler/scheduler_config.json",
                "model_index.json",
            ],
        ),
    ] {
        for name in names {
            let bytes = fs::read(goldens::root().join(from).join(name)).unwrap();
            put(folder.path(), name, &bytes);
        }
    }
    folder
}

/// The same as a single file.
fn single(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("sdxl.safetensors");
    let checkpoint = Checkpoint::open(folder).unwrap();
    checkpoint.save_file(&path, Dtype::F32).unwrap();
    path
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), (cpu().device.burn(), DType::F32))
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().try_to_vec::<f32>().unwrap()
}

fn encoded(checkpoint: &Checkpoint, part: Part, ids: &[Vec<u32>]) -> EncodedText {
    let config = &checkpoint.configs().text_encoders[&part];
    let model = ClipTextModel::load(config, checkpoint.weights(part), &cpu()).unwrap();
    model.encode(ids, &[], 1).unwrap()
}

/// 256 sinusoids of each number, cosines first, as diffusers' `Timesteps` makes them.
fn sinusoids(numbers: [f32; 6]) -> Vec<f32> {
    let angle = |x: f32, i: usize| x * (-(10_000f32.ln()) * i as f32 / 128.0).exp();
    let of = |x: f32| {
        let cosines = (0..128).map(move |i| angle(x, i).cos());
        cosines.chain((0..128).map(move |i| angle(x, i).sin()))
    };
    numbers.into_iter().flat_map(of).collect()
}

fn calls_are_the_references(checkpoint: &Checkpoint) {
    let refs = Refs::open("tiny-sdxl/refs.safetensors");
    let ids = |name: &str| -> Vec<Vec<u32>> {
        let ids: Vec<u32> = refs.i64s(name).iter().map(|&id| id as u32).collect();
        ids.chunks(77).map(<[u32]>::to_vec).collect()
    };
    let first = encoded(checkpoint, Part::TextEncoder, &ids("input_ids"));
    let second = encoded(checkpoint, Part::TextEncoder2, &ids("input_ids_2"));
    assert!(first.pooled.is_none());
    let context = Tensor::cat(vec![first.context, second.context], 2);
    let pooled = second.pooled.unwrap();
    for (row, names) in [["cond", "pooled"], ["uncond", "pooled_uncond"]]
        .into_iter()
        .enumerate()
    {
        refs.assert_close(names[0], &values(context.clone().narrow(0, row, 1)), 1e-5);
        refs.assert_close(names[1], &values(pooled.clone().narrow(0, row, 1)), 1e-5);
    }

    let unet = &checkpoint.configs().unet;
    let model = UNet::load(unet, checkpoint.weights(Part::Unet), &cpu()).unwrap();
    let sizes = sinusoids([128.0, 192.0, 0.0, 0.0, 128.0, 192.0]);
    let rows = ["pooled", "pooled_uncond"].map(|name| [refs.f32s(name), sizes.clone()].concat());
    let latents = tensor(refs.f32s("latents"), refs.shape("latents").try_into().unwrap());
    let context = [refs.f32s("cond"), refs.f32s("uncond")].concat();
    let input = UnetInput {
        added: Some(tensor(rows.concat(), [2, 24 + 6 * 256])),
        ..UnetInput::new(latents, &[900.0, 17.0], tensor(context, [2, 77, 32]))
    };
    refs.assert_close("output", &values(model.forward(&input).unwrap()), 1e-5);
}

#[test]
fn calls_of_a_folder_are_the_references() {
    let folder = folder();
    calls_are_the_references(&Checkpoint::open(folder.path()).unwrap());
}

#[test]
fn calls_of_a_single_file_are_the_references() {
    let folder = folder();
    calls_are_the_references(&Checkpoint::open(&single(folder.path())).unwrap());
}

#[test]
fn both_layouts_hold_the_same_model() {
    let folder = folder();
    let original = Checkpoint::open(folder.path()).unwrap();
    let (file, copy) = (single(folder.path()), folder.path().join("copy"));
    let from_file = Checkpoint::open(&file).unwrap();
    from_file.save_folder(&copy, Dtype::F32).unwrap();
    let from_copy = Checkpoint::open(&copy).unwrap();
    for checkpoint in [&from_file, &from_copy] {
        assert_eq!(checkpoint.configs(), original.configs());
        assert!(checkpoint.passed_over().unwrap().is_empty());
        for part in original.configs().parts() {
            let of = |checkpoint| output(checkpoint, part).unwrap();
            assert!(of(checkpoint) == of(&original), "{part:?}");
        }
    }
    for part in [UNET, VAE, TEXT_ENCODER, TEXT_ENCODER_2] {
        let names = |folder: &Path| -> BTreeSet<String> { tensors(&folder.join(part)).into_keys().collect() };
        assert_eq!(names(&copy), names(folder.path()));
    }
    let index: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(copy.join("model_index.json")).unwrap()).unwrap();
    assert_eq!(index["_class_name"], "StableDiffusionXLPipeline");
    assert_eq!(index["text_encoder_2"][1], "CLIPTextModelWithProjection");
    assert_eq!(index["tokenizer_2"][1], "CLIPTokenizer");
    assert_eq!(index["force_zeros_for_empty_prompt"], true);

    let shapes = tensors(&file);
    for (name, shape) in [
        (
            format!("{FIRST}encoder.layers.4.self_attn.q_proj.weight"),
            vec![16, 16],
        ),
        (
            format!("{SECOND}transformer.resblocks.3.attn.in_proj_weight"),
            vec![48, 16],
        ),
        (
            format!("{SECOND}transformer.resblocks.3.attn.in_proj_bias"),
            vec![48],
        ),
        (format!("{SECOND}text_projection"), vec![16, 24]),
        (format!("{SECOND}positional_embedding"), vec![77, 16]),
        (
            "model.diffusion_model.label_emb.0.0.weight".into(),
            vec![128, 1560],
        ),
        (
            "model.diffusion_model.label_emb.0.2.weight".into(),
            vec![128, 128],
        ),
        ("first_stage_model.quant_conv.weight".into(), vec![8, 8, 1, 1]),
    ] {
        assert_eq!(shapes.get(&name).map(|tensor| &tensor.1), Some(&shape), "{name}");
    }
    // It is stored as x times it.
    let at = |tensors: &Tensors, name: &str, i: usize| tensors[name].2[4 * i..][..4].to_vec();
    let (projection, canonical) = (
        format!("{SECOND}text_projection"),
        tensors(&copy.join(TEXT_ENCODER_2)),
    );
    for (stored, own) in [(1, 16), (24, 1)] {
        assert_eq!(
            at(&shapes, &projection, stored),
            at(&canonical, "text_projection.weight", own)
        );
    }
}

/// Each text encoder has its own: OpenCLIP's pads with the first token.
#[test]
fn tokenizers_are_of_their_encoders() {
    let folder = folder();
    let pads = |checkpoint: &Checkpoint| {
        [Part::TextEncoder, Part::TextEncoder2].map(|part| checkpoint.tokenizer(part).unwrap().pad())
    };
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(pads(&checkpoint), [49_407, 0]);
    let copy = folder.path().join("copy");
    checkpoint.save_folder(&copy, Dtype::F32).unwrap();
    assert_eq!(pads(&Checkpoint::open(&copy).unwrap()), [49_407, 0]);
    // With tokenizers of its own, a file carries both.
    let file = folder.path().join("own.safetensors");
    Checkpoint::open(&copy)
        .unwrap()
        .save_file(&file, Dtype::F32)
        .unwrap();
    let metadata = TensorFile::open(&file).unwrap().metadata().clone();
    for key in ["sdrs.tokenizer.vocab", "sdrs.tokenizer_2.vocab"] {
        assert!(metadata.contains_key(key), "{key}");
    }
    assert_eq!(pads(&Checkpoint::open(&file).unwrap()), [49_407, 0]);
    // The folder of another pipeline brings both.
    let mut given = Checkpoint::open(folder.path()).unwrap();
    given.take_tokenizer(&sd_core::weights::Folder::Disk(copy));
    assert_eq!(pads(&given), [49_407, 0]);
}

#[test]
fn inspection_names_the_parts() {
    let folder = folder();
    for path in [folder.path(), &single(folder.path())] {
        let found = inspect(path).unwrap();
        assert_eq!((found.kind, found.family), (Kind::Checkpoint, Family::Sdxl));
        assert!(found.lacks.is_empty());
        assert_eq!(
            found.words(),
            match path.is_dir() {
                true => "a diffusers folder of SDXL",
                false => "a checkpoint of SDXL",
            }
        );
        let parts: Vec<&str> = found.parts.keys().map(String::as_str).collect();
        assert_eq!(parts, ["text_encoder", "text_encoder_2", "unet", "vae"]);
    }
    let json = serde_json::to_value(Part::ALL).unwrap();
    let names: Vec<&str> = Part::ALL.iter().map(|part| part.name()).collect();
    assert_eq!(json, serde_json::json!(names));
}

/// All parts count.
#[test]
fn weights_have_a_size() {
    let folder = folder();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    // Embeddings of 49,408 tokens and more, kept in 16 bits as the file has them, or in f32.
    for (weights, size) in [(WeightDtype::Auto, 2), (WeightDtype::F32, 4)] {
        let target = Target { weights, ..cpu() };
        let bytes = checkpoint.part_bytes(Part::TextEncoder2, &[], &target);
        let table = 49_408 * 16 * size;
        assert!((table..2 * table).contains(&bytes), "{bytes}");
    }
}

#[test]
fn a_missing_encoder_is_told_and_can_be_given() {
    let folder = folder();
    let mut all = tensors(&single(folder.path()));
    let file = Checkpoint::open(&single(folder.path())).unwrap();
    let texts = TensorFile::open(&single(folder.path())).unwrap();
    let second = texts_of(&all, SECOND);
    all.retain(|name, _| !name.starts_with(SECOND));
    let bytes = with_metadata(&all, texts.metadata());
    let open =
        || Checkpoint::parts_of_file(TensorFile::from_bytes("x", bytes.clone()).unwrap(), None).unwrap();
    let error = open().check().unwrap_err().to_string();
    assert_says(
        &error,
        &["it lacks a second text encoder; give one with text_encoder_2"],
    );
    let bare: Tensors = second
        .iter()
        .map(|(name, stored)| (name[SECOND.len()..].to_owned(), stored.clone()))
        .collect();
    for source in [second, bare] {
        let mut checkpoint = open();
        let source = TensorFile::from_bytes("y", serialized(&source)).unwrap();
        checkpoint.put_part_of_file(Part::TextEncoder2, source).unwrap();
        checkpoint.check().unwrap();
        assert!(
            output(&checkpoint, Part::TextEncoder2).unwrap() == output(&file, Part::TextEncoder2).unwrap()
        );
    }
    for source in [folder.path().to_owned(), folder.path().join("text_encoder_2")] {
        let mut checkpoint = open();
        checkpoint.put_part(Part::TextEncoder2, &source).unwrap();
        checkpoint.check().unwrap();
        load(&checkpoint, Part::TextEncoder2).unwrap();
    }
    // The first one has other prefixes beside one encoder, and another state is its context there.
    let mut sd1 = Checkpoint::open(&common::tiny()).unwrap();
    let before = output(&sd1, Part::TextEncoder).unwrap();
    let mut first = texts_of(&all, FIRST);
    sd1.put_part_of_file(
        Part::TextEncoder,
        TensorFile::from_bytes("z", serialized(&first)).unwrap(),
    )
    .unwrap();
    assert!(output(&sd1, Part::TextEncoder).unwrap() == before);
    first = texts_of(&tensors(&goldens::tiny_sd1_ldm()), "cond_stage_model.");
    let mut checkpoint = Checkpoint::open(folder.path()).unwrap();
    let before = output(&checkpoint, Part::TextEncoder).unwrap();
    checkpoint
        .put_part_of_file(
            Part::TextEncoder,
            TensorFile::from_bytes("z", serialized(&first)).unwrap(),
        )
        .unwrap();
    assert!(output(&checkpoint, Part::TextEncoder).unwrap() == before);
    // A model with one text encoder has no place for a second one.
    let mut sd1 = Checkpoint::open(&common::tiny()).unwrap();
    let error = sd1.replace_part(Part::TextEncoder2, folder.path()).unwrap_err();
    assert!(matches!(error, Error::Config { .. }), "{error}");
    assert_eq!(sd1.configs().text_encoders.len(), 1);
}

/// The tensors whose names begin so.
fn texts_of(all: &Tensors, prefix: &str) -> Tensors {
    let mut texts = all.clone();
    texts.retain(|name, _| name.starts_with(prefix));
    texts
}

/// The tensors as a file with these strings in its header.
fn with_metadata(tensors: &Tensors, metadata: &std::collections::HashMap<String, String>) -> Vec<u8> {
    use safetensors::tensor::TensorView;
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    safetensors::serialize(views, Some(metadata.clone())).unwrap()
}

#[test]
fn strays_are_told() {
    let folder = folder();
    let path = single(folder.path());
    let (mut all, metadata) = (
        tensors(&path),
        TensorFile::open(&path).unwrap().metadata().clone(),
    );
    let one = (StoredDtype::F32, vec![1], vec![0; 4]);
    let harmless = [
        format!("{SECOND}logit_scale"),
        format!("{FIRST}embeddings.position_ids"),
        "denoiser.sigmas".into(),
    ];
    for name in harmless {
        all.insert(name, one.clone());
    }
    let open = |all: &Tensors| {
        Checkpoint::from_file(TensorFile::from_bytes("x", with_metadata(all, &metadata)).unwrap())
    };
    let checkpoint = open(&all).unwrap();
    assert!(checkpoint.passed_over().unwrap().is_empty());
    let extra = format!("{SECOND}extra");
    all.insert(extra.clone(), one.clone());
    let mut checkpoint = open(&all).unwrap();
    let error = load(&checkpoint, Part::TextEncoder2).unwrap_err().to_string();
    assert_says(&error, &["1 unexpected", &extra]);
    checkpoint.set_allow_unexpected(true);
    assert_eq!(checkpoint.passed_over().unwrap(), [extra.as_str()]);
    load(&checkpoint, Part::TextEncoder2).unwrap();
    all.insert("conditioner.embedders.2.x".into(), one);
    let error = open(&all).map(drop).unwrap_err().to_string();
    assert_says(&error, &["1 unexpected: conditioner.embedders.2.x"]);
}

#[test]
fn configurations_that_do_not_fit_are_told() {
    for (name, from, to, words) in [
        (
            "text_encoder_2/config.json",
            "CLIPTextModelWithProjection",
            "CLIPTextModel",
            "architectures",
        ),
        (
            "text_encoder_2/config.json",
            "\"projection_dim\": 24",
            "\"projection_dim\": 0",
            "projection_dim",
        ),
        (
            "text_encoder_2/config.json",
            "\"projection_dim\": 24",
            "\"projection_dim\": \"x\"",
            "projection_dim",
        ),
        (
            "unet/config.json",
            "\"addition_time_embed_dim\": 256",
            "\"addition_time_embed_dim\": 128",
            "addition_time_embed_dim",
        ),
        (
            "unet/config.json",
            "\"cross_attention_dim\": 32",
            "\"cross_attention_dim\": 16",
            "width 32 is not the U-Net's context width 16",
        ),
    ] {
        let folder = folder();
        let path = folder.path().join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from));
        fs::write(&path, text.replace(from, to)).unwrap();
        let error = Checkpoint::open(folder.path()).map(drop).unwrap_err();
        assert!(matches!(error, Error::Config { .. }), "{error}");
        assert_says(&error.to_string(), &[words]);
    }
}
