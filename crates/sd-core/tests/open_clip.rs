//! A single file with OpenCLIP's text encoder: fused queries, keys and values, and a projection that is stored transposed.

mod common;

use burn_tensor::Tensor;
use common::{Stored, Tensors, cpu, serialized, tensors};
use half::f16;
use sd_core::{
    Dtype,
    checkpoint::{Checkpoint, Configs},
    config::{Activation, Part},
    models::{ClipTextModel, EncodedText},
    weights::{Folder, StoredDtype, TensorFile},
};

const PROJECTION: usize = 5;
const SPLIT: &str = "cond_stage_model.transformer.text_model.";
const FUSED: &str = "cond_stage_model.model.";

/// The tiny model's configurations, with OpenCLIP's activation and a projection.
fn configs() -> Configs {
    let mut configs = Configs::from_folder(&Folder::Disk(common::tiny())).unwrap();
    let text = configs.text_encoders.get_mut(&Part::TextEncoder).unwrap();
    (text.hidden_act, text.projection) = (Activation::Gelu, Some(PROJECTION));
    configs
}

/// The tiny model as a single file with transformers' names, in f16, and a projection.
fn split() -> Tensors {
    let mut all = tensors(&goldens::tiny_sd1_ldm());
    let parts = [
        "model.diffusion_model.",
        "first_stage_model.",
        "cond_stage_model.",
    ];
    let of_part = |name: &str| parts.iter().any(|part| name.starts_with(part));
    all.retain(|name, _| of_part(name) && !name.ends_with("position_ids"));
    let width = configs().text_encoder().hidden_size;
    let bytes = (0..PROJECTION * width).flat_map(|i| f16::from_f32((i as f32 * 0.37).sin()).to_le_bytes());
    let projection = (StoredDtype::F16, vec![PROJECTION, width], bytes.collect());
    all.insert(
        "cond_stage_model.transformer.text_projection.weight".into(),
        projection,
    );
    all
}

/// The same with OpenCLIP's names, by its own rules.
fn fused() -> Tensors {
    let is_text = |(name, _): &(String, Stored)| name.starts_with("cond_stage_model.");
    let (mut text, mut all): (Tensors, Tensors) = split().into_iter().partition(is_text);
    let mut take = |name: &str| text.remove(&format!("{SPLIT}{name}")).unwrap();
    let mut add = |name: &str, stored: Stored| all.insert(format!("{FUSED}{name}"), stored);
    for i in 0..configs().text_encoder().num_hidden_layers {
        let (from, to) = (
            format!("encoder.layers.{i}"),
            format!("transformer.resblocks.{i}"),
        );
        for kind in ["weight", "bias"] {
            let [mut q, k, v] =
                ["q", "k", "v"].map(|name| take(&format!("{from}.self_attn.{name}_proj.{kind}")));
            q.1[0] *= 3;
            q.2.extend(k.2.into_iter().chain(v.2));
            add(&format!("{to}.attn.in_proj_{kind}"), q);
            for (a, b) in [
                ("self_attn.out_proj", "attn.out_proj"),
                ("layer_norm1", "ln_1"),
                ("layer_norm2", "ln_2"),
                ("mlp.fc1", "mlp.c_fc"),
                ("mlp.fc2", "mlp.c_proj"),
            ] {
                add(&format!("{to}.{b}.{kind}"), take(&format!("{from}.{a}.{kind}")));
            }
        }
    }
    for (a, b) in [
        ("embeddings.token_embedding.weight", "token_embedding.weight"),
        ("embeddings.position_embedding.weight", "positional_embedding"),
        ("final_layer_norm.weight", "ln_final.weight"),
        ("final_layer_norm.bias", "ln_final.bias"),
    ] {
        add(b, take(a));
    }
    let (dtype, shape, bytes) = &split()["cond_stage_model.transformer.text_projection.weight"];
    let columns = (0..shape[1]).flat_map(|j| (0..shape[0]).map(move |i| (i, j)));
    let transposed = columns.flat_map(|(i, j)| bytes[2 * (i * shape[1] + j)..][..2].to_vec());
    add(
        "text_projection",
        (*dtype, vec![shape[1], shape[0]], transposed.collect()),
    );
    all
}

fn open(all: &Tensors) -> Checkpoint {
    let file = TensorFile::from_bytes("x.safetensors", serialized(all)).unwrap();
    Checkpoint::from_file_and_configs(file, configs()).unwrap()
}

fn encode(checkpoint: &Checkpoint) -> EncodedText {
    let weights = checkpoint.weights(Part::TextEncoder);
    let model = ClipTextModel::load(checkpoint.configs().text_encoder(), weights, &cpu()).unwrap();
    let ids = [vec![49_406, 5, 6, 49_407], vec![49_406, 7, 49_407, 49_407]];
    model.encode(&ids, &[], 1).unwrap()
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().try_to_vec::<f32>().unwrap()
}

#[test]
fn fused_weights_are_the_split_ones() {
    let [split, fused] = [split(), fused()].map(|all| encode(&open(&all)));
    assert!(values(split.context) == values(fused.context));
    assert!(values(split.pooled.unwrap()) == values(fused.pooled.unwrap()));
}

#[test]
fn saving_fuses_again() {
    let folder = tempfile::tempdir().unwrap();
    for all in [fused(), split()] {
        let path = folder.path().join("saved.safetensors");
        open(&all).save_file(&path, Dtype::F16).unwrap();
        assert!(tensors(&path) == fused());
    }
    // A folder has transformers' names.
    let path = folder.path().join("folder");
    open(&fused()).save_folder(&path, Dtype::F16).unwrap();
    let saved = tensors(&path.join(common::TEXT_ENCODER));
    let mut expected = split();
    expected.retain(|name, _| name.starts_with("cond_stage_model."));
    let inner = |name: String| name.replace("cond_stage_model.transformer.", "");
    let expected: Tensors = expected
        .into_iter()
        .map(|(name, stored)| (inner(name), stored))
        .collect();
    assert!(saved == expected);
}

/// A part alone, with and without its prefix.
#[test]
fn alone() {
    let expected = values(encode(&open(&split())).context);
    for prefix in [FUSED, ""] {
        let mut text = fused();
        text.retain(|name, _| name.starts_with(FUSED));
        let named = |name: String| format!("{prefix}{}", &name[FUSED.len()..]);
        let text: Tensors = text
            .into_iter()
            .map(|(name, stored)| (named(name), stored))
            .collect();
        let mut checkpoint = open(&split());
        let file = TensorFile::from_bytes("text", serialized(&text)).unwrap();
        checkpoint.replace_part_by_file(Part::TextEncoder, file).unwrap();
        assert!(values(encode(&checkpoint).context) == expected, "{prefix}");
    }
}

#[test]
fn damaged() {
    let message = |change: &dyn Fn(&mut Tensors)| {
        let mut all = fused();
        change(&mut all);
        let checkpoint = open(&all);
        let config = checkpoint.configs().text_encoder();
        let loaded = ClipTextModel::load(config, checkpoint.weights(Part::TextEncoder), &cpu());
        loaded.map(drop).unwrap_err().to_string()
    };
    let name = format!("{FUSED}transformer.resblocks.0.attn.in_proj_weight");
    let missing = message(&|all| drop(all.remove(&name)));
    for layer in ["q_proj", "k_proj", "v_proj"] {
        assert!(
            missing.contains(&format!("layers.0.self_attn.{layer}.weight")),
            "{missing}"
        );
    }
    // Of two thirds.
    let short = message(&|all| {
        let (_, shape, bytes) = all.get_mut(&name).unwrap();
        bytes.truncate(bytes.len() / 3 * 2);
        shape[0] = shape[0] / 3 * 2;
    });
    assert!(short.contains("3 misshapen"), "{short}");
    let extra = message(&|all| {
        let bias = all[&format!("{FUSED}ln_final.bias")].clone();
        all.insert(format!("{FUSED}ln_other.bias"), bias);
    });
    assert!(extra.contains("ln_other.bias"), "{extra}");
}
