//! Families without a pipeline are told by name, in every layout.

mod common;

use std::{collections::BTreeMap, path::Path};

use common::{Tensors, assert_says, put, serialized, tiny, tiny_copy};
use safetensors::tensor::TensorView;
use sd_core::{
    checkpoint::{Checkpoint, Inspection, Kind, inspect},
    config::{Family, Part},
    weights::{Folder, StoredDtype, TensorFile},
};

/// What diffusers has of a family.
#[derive(serde::Deserialize)]
struct Known {
    classes: Vec<String>,
    files: Vec<Vec<String>>,
}

fn known() -> BTreeMap<String, Known> {
    let path = goldens::root().join("foreign.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A file of tensors of these names.
fn file<'a>(names: impl IntoIterator<Item = &'a str>) -> TensorFile {
    let empty = |name: &str| (name.to_owned(), (StoredDtype::F32, vec![0, 0], vec![]));
    let tensors: Tensors = names.into_iter().map(empty).collect();
    TensorFile::from_bytes("x", serialized(&tensors)).unwrap()
}

fn opening(file: TensorFile) -> String {
    Checkpoint::from_file(file).map(drop).unwrap_err().to_string()
}

#[test]
fn files_are_told_by_their_names() {
    for (family, Known { files, .. }) in known() {
        for names in files {
            for prefix in ["", "model.diffusion_model.", "transformer."] {
                let named: Vec<String> = names.iter().map(|name| format!("{prefix}{name}")).collect();
                let file = file(named.iter().map(String::as_str));
                let found = Inspection::of_file(&file);
                assert_eq!(found.architecture, Some(family.as_str()), "{names:?}");
                let words = format!("x: is a file of {family}, which is not supported; give one of SD1");
                assert_says(&opening(file), &[&words]);
            }
        }
    }
    // As parts too.
    let mut checkpoint = Checkpoint::open(&tiny()).unwrap();
    let error = checkpoint
        .replace_part_by_file(Part::Unet, file(["head.modulation"]))
        .unwrap_err();
    assert_says(
        &error.to_string(),
        &["x: is a file of Wan, which is not supported"],
    );
}

/// An autoencoder of other latents is told by their channels.
#[test]
fn a_vae_of_other_latents() {
    let mut checkpoint = Checkpoint::open(&tiny()).unwrap();
    let zeros = vec![0; 16 * 4];
    let tensors = ["decoder.conv_in.weight", "encoder.conv_in.weight"].map(|name| {
        (
            name.to_owned(),
            (StoredDtype::F32, vec![1, 16, 1, 1], zeros.clone()),
        )
    });
    let file = TensorFile::from_bytes("ae", serialized(&tensors.into())).unwrap();
    let error = checkpoint.replace_part_by_file(Part::Vae, file).unwrap_err();
    let words =
        "ae: a VAE of 16 latent channels, as those of SD3, Flux and others are, for a U-Net that works on 4";
    assert_says(&error.to_string(), &[words]);
}

/// Names that publishers' files have, which diffusers' readers don't look for.
#[test]
fn other_files_are_told() {
    for (names, family) in [
        (
            vec!["joint_blocks.0.x_block.attn2.qkv.weight"],
            "Stable Diffusion 3.5 Medium",
        ),
        (
            vec!["t_block.1.weight", "blocks.0.cross_attn.q_linear.weight"],
            "PixArt",
        ),
        (vec!["t_block.1.weight", "attention_y_norm.weight"], "Sana"),
        (vec!["mlp_t5.0.weight"], "Hunyuan-DiT"),
        (
            vec![
                "distilled_guidance_layer.norms.0.scale",
                "double_blocks.0.img_attn.norm.key_norm.scale",
            ],
            "Chroma",
        ),
        (
            vec![
                "encoder_hid_proj.weight",
                "label_emb.0.0.weight",
                "input_blocks.0.0.weight",
            ],
            "Kolors",
        ),
        (
            vec![
                "encoder_hid_proj.weight",
                "add_embedding.linear_1.weight",
                "conv_in.weight",
            ],
            "Kolors",
        ),
        (
            vec![
                "encoder_hid_proj.weight",
                "add_embedding.norm1.weight",
                "conv_in.weight",
            ],
            "DeepFloyd IF",
        ),
        (
            vec!["encoder_hid_proj.image_embeds.weight", "conv_in.weight"],
            "Kandinsky",
        ),
        (
            vec![
                "model.diffusion_model.input_blocks.1.0.time_stack.in_layers.2.weight",
                "model.diffusion_model.input_blocks.0.0.weight",
                "first_stage_model.decoder.conv_in.weight",
            ],
            "Stable Video Diffusion",
        ),
        (
            vec!["time_caption_embed.timestep_embedder.linear_1.weight"],
            "OmniGen",
        ),
        (
            vec!["encoder.block.0.layer.0.SelfAttention.k.weight", "shared.weight"],
            "T5 (a text encoder of SD3, Flux and others)",
        ),
        (
            vec![
                "model.layers.0.self_attn.q_proj.weight",
                "model.embed_tokens.weight",
            ],
            "a language model (a text encoder of newer families)",
        ),
    ] {
        assert_eq!(
            Inspection::of_file(&file(names.iter().copied())).architecture,
            Some(family),
            "{names:?}"
        );
    }
}

#[test]
fn folders_are_told_by_their_classes() {
    for (family, Known { classes, .. }) in known() {
        for class in classes {
            let words = format!("a folder of {family}, which is not supported");
            // Of a pipeline, though it has all parts; of a network alone.
            for (index, with_parts) in [("model_index.json", true), ("config.json", false)] {
                let folder = match with_parts {
                    true => tiny_copy(),
                    false => tempfile::tempdir().unwrap(),
                };
                put(
                    folder.path(),
                    index,
                    format!(r#"{{"_class_name": "{class}"}}"#).as_bytes(),
                );
                let error = |path: &Path| Checkpoint::open(path).map(drop).unwrap_err().to_string();
                assert_says(&error(folder.path()), &[&words]);
                let found = inspect(folder.path()).unwrap();
                assert_eq!(
                    (found.kind, found.architecture),
                    (Kind::Unknown, Some(family.as_str()))
                );
                let mut checkpoint = Checkpoint::open(&tiny()).unwrap();
                let error = checkpoint.replace_part(Part::Unet, folder.path()).unwrap_err();
                assert_says(&error.to_string(), &[&words]);
            }
        }
    }
    // The folder of a pipeline that has its network in `transformer`, without an index.
    let folder = tempfile::tempdir().unwrap();
    put(
        folder.path(),
        "transformer/config.json",
        br#"{"_class_name": "FluxTransformer2DModel"}"#,
    );
    let error = Checkpoint::from_folder(Folder::Disk(folder.path().into()))
        .map(drop)
        .unwrap_err();
    assert_says(&error.to_string(), &["a folder of Flux, which is not supported"]);
    // transformers' own classes.
    put(
        folder.path(),
        "config.json",
        br#"{"architectures": ["T5EncoderModel"]}"#,
    );
    std::fs::remove_dir_all(folder.path().join("transformer")).unwrap();
    let error = Checkpoint::from_folder(Folder::Disk(folder.path().into()))
        .map(drop)
        .unwrap_err();
    assert_says(&error.to_string(), &["a folder of T5"]);
}

/// A GGUF file of one tensor, that says its architecture.
fn gguf(architecture: &str) -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    let text = |bytes: &mut Vec<u8>, text: &str| {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    };
    bytes.extend(3u32.to_le_bytes());
    bytes.extend([1u64, 1].iter().flat_map(|n| n.to_le_bytes()));
    text(&mut bytes, "general.architecture");
    bytes.extend(8u32.to_le_bytes());
    text(&mut bytes, architecture);
    text(&mut bytes, "some.weight");
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    bytes.extend(0u32.to_le_bytes());
    bytes.extend(0u64.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes.extend([0; 4]);
    bytes
}

/// What ComfyUI-GGUF and llama.cpp write there.
#[test]
fn gguf_files_say_their_architecture() {
    for (architecture, family) in [
        ("flux", "Flux"),
        ("sd3", "Stable Diffusion 3"),
        ("aura", "AuraFlow"),
        ("hidream", "HiDream"),
        ("hyvid", "HunyuanVideo"),
        ("wan", "Wan"),
        ("ltxv", "LTX-Video"),
        ("cosmos", "Cosmos"),
        ("lumina2", "Lumina"),
        ("qwen_image", "Qwen-Image"),
        ("t5encoder", "T5 (a text encoder of SD3, Flux and others)"),
        ("llama", "a language model (a text encoder of newer families)"),
    ] {
        let file = TensorFile::from_bytes("x", gguf(architecture)).unwrap();
        assert_eq!(Inspection::of_file(&file).architecture, Some(family));
        assert_says(&opening(file), &[&format!("is a file of {family}")]);
    }
    // Those of the families that have a pipeline decide nothing.
    for architecture in ["sd1", "sdxl", "x"] {
        let file = TensorFile::from_bytes("x", gguf(architecture)).unwrap();
        assert_eq!(Inspection::of_file(&file).architecture, None);
    }
}

#[test]
fn adapters_are_told() {
    for (module, family) in [
        (
            "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight",
            Some("Flux"),
        ),
        (
            "transformer.single_transformer_blocks.0.attn.to_k.lora_A.weight",
            Some("Flux"),
        ),
        (
            "diffusion_model.joint_blocks.0.x_block.attn.qkv.lora_A.weight",
            Some("Stable Diffusion 3"),
        ),
        ("diffusion_model.blocks.0.cross_attn.k.lora_A.weight", Some("Wan")),
        (
            "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight",
            None,
        ),
        (
            "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_k.lora_A.weight",
            None,
        ),
        (
            "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight",
            None,
        ),
    ] {
        let file = file([module]);
        let found = Inspection::of_file(&file);
        assert_eq!((found.kind, found.architecture), (Kind::Lora, family), "{module}");
        if let Some(family) = family {
            assert_says(
                &opening(file),
                &[&format!("is a LoRA for {family}, which is not supported")],
            );
        }
    }
}

/// Nothing of SD1, SD2 and SDXL is taken for another family: all their parameters' names, in both layouts.
#[test]
fn own_families_are_none_of_these() {
    let path = goldens::root().join("../crates/sd-lora/data/names.txt.gz");
    let mut text = String::new();
    let packed = std::fs::read(path).unwrap();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&packed[..]), &mut text).unwrap();
    let mut count = 0;
    for section in text.split("# ").filter(|section| !section.is_empty()) {
        for column in [0, 1] {
            let names = section
                .lines()
                .skip(1)
                .filter_map(|line| line.split('\t').nth(column));
            let names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
            if !names.is_empty() {
                assert_eq!(Inspection::of_file(&file(names)).architecture, None);
                count += 1;
            }
        }
    }
    assert_eq!(count, 3 * 2 + 4);
    for path in [
        goldens::tiny_sd1_ldm(),
        goldens::root().join("tiny-sd1/vae/diffusion_pytorch_model.safetensors"),
    ] {
        assert_eq!(inspect(&path).unwrap().architecture, None);
    }
    assert_eq!(inspect(&tiny()).unwrap().family, Family::Other);
}

/// Metadata of safetensors counts like GGUF's.
#[test]
fn metadata_says_it_too() {
    let view = TensorView::new(safetensors::Dtype::F32, vec![1], &[0; 4]).unwrap();
    let metadata = [("general.architecture".to_owned(), "flux".to_owned())];
    let bytes = safetensors::serialize([("w", view)], Some(metadata.into())).unwrap();
    let found = Inspection::of_file(&TensorFile::from_bytes("x", bytes).unwrap());
    assert_eq!(found.architecture, Some("Flux"));
}
