//! The doctor's diagnoses of adapters that are well, and of those that aren't.

use std::collections::HashMap;

use safetensors::tensor::{Dtype as Stored, TensorView};
use sd_core::{
    checkpoint::Checkpoint,
    config::Family,
    weights::{Folder, TensorFile},
};
use sd_lora::{AdapterFile, Kind, ModelNames, Strengths, doctor};

fn checkpoint() -> Checkpoint {
    Checkpoint::open(&goldens::root().join("tiny-sd1")).unwrap()
}

/// The tiny SDXL, whose first text encoder and autoencoder are the tiny SD1's.
fn sdxl() -> Checkpoint {
    let files = ["text_encoder", "vae", "text_encoder_2", "unet"]
        .into_iter()
        .flat_map(|part| {
            let from = match part {
                "text_encoder" | "vae" => "tiny-sd1",
                _ => "tiny-sdxl",
            };
            let weights = match part {
                "vae" | "unet" => "diffusion_pytorch_model.safetensors",
                _ => "model.safetensors",
            };
            ["config.json", weights].map(|file| {
                let name = format!("{part}/{file}");
                let bytes = std::fs::read(goldens::root().join(from).join(&name)).unwrap();
                (name, bytes.into())
            })
        });
    Checkpoint::from_folder(Folder::Memory("sdxl".into(), files.collect::<HashMap<_, _>>())).unwrap()
}

/// A file with these tensors of ones.
fn file(tensors: &[(&str, &[usize])], metadata: &[(&str, &str)]) -> AdapterFile {
    let ones: Vec<u8> = std::iter::repeat_n(1f32.to_le_bytes(), 1 << 15)
        .flatten()
        .collect();
    let views = tensors.iter().map(|(name, shape)| {
        let bytes = 4 * shape.iter().product::<usize>();
        (
            *name,
            TensorView::new(Stored::F32, shape.to_vec(), &ones[..bytes]).unwrap(),
        )
    });
    let metadata = metadata
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let bytes = safetensors::serialize(views, Some(metadata)).unwrap();
    AdapterFile::from_tensors(TensorFile::from_bytes("x.safetensors", bytes).unwrap()).unwrap()
}

#[test]
fn a_lora_that_is_well() {
    let file = AdapterFile::open(&goldens::root().join("tiny-sd1/lora/lora.safetensors")).unwrap();
    let found = doctor(&file, Some(&checkpoint())).unwrap();
    assert!(found.is_healthy());
    // What tools/goldens/lora.py wrote: ranks 2, 3 and 4 in turn, alpha 2.
    assert_eq!(found.ranks, [(2, 71), (3, 71), (4, 70)].into());
    assert_eq!(found.alpha, Some([2.0, 2.0]));
    assert_eq!(found.kinds, [(Kind::Lora, 212)].into());
    assert!(
        found
            .modules
            .iter()
            .all(|module| module.layer.is_some() && module.keys.len() == 3)
    );
    assert!(found.modules.iter().all(|module| module.change.unwrap() > 0.0));
    assert!(
        found.to_string().contains("matched      212 of 212 modules"),
        "{found}"
    );
}

#[test]
fn each_text_encoder_has_layers_of_its_own() {
    let modules = [
        "lora_te1_text_model_encoder_layers_4_mlp_fc1",
        "lora_te2_text_model_encoder_layers_3_mlp_fc1",
        "lora_te2_text_projection",
    ];
    let tensors: Vec<(String, [usize; 2])> = modules
        .iter()
        .zip([64, 64, 24])
        .flat_map(|(module, rows)| {
            [
                (format!("{module}.lora_down.weight"), [2, 16]),
                (format!("{module}.lora_up.weight"), [rows, 2]),
            ]
        })
        .collect();
    let tensors: Vec<(&str, &[usize])> = tensors
        .iter()
        .map(|(name, shape)| (name.as_str(), shape.as_slice()))
        .collect();
    let found = doctor(&file(&tensors, &[]), Some(&sdxl())).unwrap();
    assert!(found.is_healthy(), "{found}");
    let layers: Vec<&str> = found
        .modules
        .iter()
        .filter(|module| module.relative_change.unwrap() > 0.0)
        .map(|module| module.layer.as_deref().unwrap())
        .collect();
    assert_eq!(
        layers,
        [
            "text_encoder.text_model.encoder.layers.4.mlp.fc1",
            "text_encoder_2.text_model.encoder.layers.3.mlp.fc1",
            "text_encoder_2.text_projection",
        ]
    );
}

/// Norms are those of the packages' merged weights.
#[test]
fn norms_are_those_of_the_changes() {
    let (base, merged) = (
        goldens::Refs::open("lora/base.safetensors"),
        goldens::Refs::open("lora/merged.safetensors"),
    );
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    for case in ["locon", "loha_tucker", "lokr", "full"] {
        let file = AdapterFile::open(&goldens::root().join(format!("lora/{case}.safetensors"))).unwrap();
        // The family isn't known, so the change itself is measured.
        let found = doctor(&file, None).unwrap();
        assert!(!found.modules.is_empty() && found.compared_with.is_none());
        for module in &found.modules {
            let key = base.names().into_iter().find(|name| {
                let flat = name.trim_end_matches(".weight").replace('.', "_");
                name.ends_with(".weight") && module.name == format!("lora_unet_{flat}")
            });
            let key = key.unwrap();
            let (plain, whole) = (base.f32s(&key), merged.f32s(&format!("{case}@1.0/{key}")));
            let expected = norm(&mut plain.iter().zip(&whole).map(|(a, b)| f64::from(b - a)));
            let got = module.change.unwrap();
            assert!(
                (got - expected).abs() < 1e-5 * expected,
                "{case} {}: {got} {expected}",
                module.name
            );
        }
    }
}

#[test]
fn what_is_wrong_is_told() {
    let found = doctor(
        &file(
            &[
                ("lora_unet_conv_in.lora_down.weight", &[2, 4, 3, 3]),
                ("lora_unet_conv_in.lora_up.weight", &[32, 2, 1, 1]),
                ("lora_unet_conv_outt.lora_down.weight", &[2, 32, 3, 3]),
                ("lora_unet_conv_outt.lora_up.weight", &[4, 2, 1, 1]),
                ("lora_unet_conv_out.lora_down.weight", &[2, 32, 3, 3]),
                (
                    "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight",
                    &[2, 99],
                ),
                (
                    "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight",
                    &[64, 2],
                ),
                (
                    "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q.diff_b",
                    &[64],
                ),
                ("lora_unet_conv_norm_out.mystery", &[1]),
            ],
            &[("ss_output_name", "ink"), ("ss_base_model_version", "sd_v1")],
        ),
        Some(&checkpoint()),
    )
    .unwrap();
    assert!(!found.is_healthy());
    assert_eq!(found.family, Family::Sd1);
    let page = found.to_string();
    for line in [
        "ss_output_name  ink",
        "fault        lora_unet_conv_out: it has no tensor lora_up",
        "fault        lora_unet_mid_block_attentions_0_proj_in: lora_up [64, 2] and lora_down [2, 99] don't make [64, 64, 1, 1]",
        "unmatched    lora_unet_conv_outt (nearest: lora_unet_conv_out)",
        "unmatched    lora_unet_conv_norm_out.mystery (its ending is of no known kind of adapter)",
        "to_q (unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q has no bias to change)",
        // Every value of the change is 2: sqrt(32 * 36) * 2.
        "change       67.882",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json["family"], "sd1");
    assert_eq!(json["unmatched"].as_array().unwrap().len(), 3);
}

/// Without a model the family's names are enough to find what is misspelt or misshapen.
#[test]
fn the_family_stands_in_for_the_model() {
    let found = doctor(
        &file(
            &[
                (
                    "lora_unet_output_blocks_5_1_transformer_blocks_1_attn2_to_k.lora_down.weight",
                    &[1, 2048],
                ),
                (
                    "lora_unet_output_blocks_5_1_transformer_blocks_1_attn2_to_k.lora_up.weight",
                    &[640, 1],
                ),
                (
                    "lora_te2_text_model_encoder_layers_31_mlp_fc1.lora_down.weight",
                    &[1, 1280],
                ),
                (
                    "lora_te2_text_model_encoder_layers_31_mlp_fc1.lora_up.weight",
                    &[5120, 1],
                ),
                (
                    "lora_te2_text_model_encoder_layers_32_mlp_fc1.lora_down.weight",
                    &[1, 1280],
                ),
                (
                    "lora_te2_text_model_encoder_layers_32_mlp_fc1.lora_up.weight",
                    &[5120, 1],
                ),
            ],
            &[],
        ),
        None,
    )
    .unwrap();
    assert_eq!(
        (found.family, found.compared_with.as_deref()),
        (Family::Sdxl, Some("SDXL"))
    );
    let layers: Vec<_> = found
        .modules
        .iter()
        .map(|module| module.layer.as_deref())
        .collect();
    assert_eq!(
        layers,
        [
            Some("text_encoder_2.text_model.encoder.layers.31.mlp.fc1"),
            None,
            Some("unet.up_blocks.1.attentions.2.transformer_blocks.1.attn2.to_k"),
        ]
    );
    assert_eq!(found.modules[2].block.as_deref(), Some("OUT05"));
    let nearest = found.unmatched[0].nearest.as_deref();
    assert!(
        nearest.is_some_and(|name| name.starts_with("lora_te2_text_model_encoder_layers_")),
        "{nearest:?}"
    );
}

#[test]
fn bundled_embeddings_come_along() {
    let file = file(
        &[
            ("lora_unet_conv_in.diff", &[32, 4, 3, 3]),
            ("bundle_emb.ink style.string_to_param.*", &[3, 16]),
            ("bundle_emb.wide.clip_l", &[1, 16]),
            ("bundle_emb.wide.clip_g", &[1, 20]),
        ],
        &[("step", "100")],
    );
    let embeddings = file.embeddings().unwrap();
    let told: Vec<_> = embeddings
        .iter()
        .map(|e| (e.name.as_str(), e.vectors(), e.parts.len(), e.step))
        .collect();
    assert_eq!(told, [("ink style", 3, 1, None), ("wide", 1, 2, None)]);
    assert!(embeddings[0].parts[0].values.iter().all(|x| *x == 1.0));
    // They are no modules, and don't need a place in the U-Net.
    let names = ModelNames::new(&checkpoint().parameters().unwrap());
    assert!(file.bind(&names, &Strengths::default()).is_ok());
    assert_eq!(doctor(&file, None).unwrap().embeddings.len(), 2);
}
