//! SDXL's refiner in small: the second text encoder alone, and a U-Net whose vector has an aesthetic score, against transformers and
//! diffusers, in both layouts.

mod common;

use std::{fs, path::Path};

use burn_tensor::{DType, Tensor, TensorData};
use common::{cpu, output, put, tensors};
use goldens::Refs;
use sd_core::{
    Dtype,
    checkpoint::{Checkpoint, Kind, inspect},
    config::{Family, Part, sdxl_refiner_unet},
    models::{ClipTextModel, UNet, UnetInput, timestep_embedding},
    weights::names::{Ldm, Names},
};

/// The tiny SDXL's second text encoder and the tiny SD1's autoencoder with the refiner's U-Net.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (from, names) in [
        (
            "tiny-sd1",
            ["vae/config.json", "vae/diffusion_pytorch_model.safetensors"].as_slice(),
        ),
        (
            "tiny-sdxl",
            &[
                "text_encoder_2/config.json",
                "text_encoder_2/model.safetensors",
                "scheduler/scheduler_config.json",
            ],
        ),
        (
            "tiny-refiner",
            &[
                "unet/config.json",
                "unet/diffusion_pytorch_model.safetensors",
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

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), (cpu().device.burn(), DType::F32))
}

fn calls_are_the_references(checkpoint: &Checkpoint) {
    let (refs, texts) = (
        Refs::open("tiny-refiner/refs.safetensors"),
        Refs::open("tiny-sdxl/refs.safetensors"),
    );
    let configs = checkpoint.configs();
    assert_eq!(configs.text_parts().collect::<Vec<_>>(), [Part::TextEncoder2]);
    let ids: Vec<u32> = texts.i64s("input_ids_2").iter().map(|&id| id as u32).collect();
    let ids: Vec<Vec<u32>> = ids.chunks(77).map(<[u32]>::to_vec).collect();
    let weights = checkpoint.weights(Part::TextEncoder2);
    let encoder = ClipTextModel::load(configs.text_encoder(), weights, &cpu()).unwrap();
    let encoded = encoder.encode(&ids, &[], 1).unwrap();
    let values = |x: TensorData| x.try_to_vec::<f32>().unwrap();
    refs.assert_close("context", &values(encoded.context.into_data()), 1e-5);
    refs.assert_close("pooled", &values(encoded.pooled.unwrap().into_data()), 1e-5);

    let unet = UNet::load(&configs.unet, checkpoint.weights(Part::Unet), &cpu()).unwrap();
    let numbers = |score| timestep_embedding(&[128.0, 192.0, 0.0, 0.0, score], 256, &configs.unet);
    let pooled = refs.f32s("pooled");
    let added = [&pooled[..24], &numbers(6.0), &pooled[24..], &numbers(2.5)].concat();
    let latents = tensor(refs.f32s("latents"), refs.shape("latents").try_into().unwrap());
    let input = UnetInput {
        added: Some(tensor(added, [2, 24 + 5 * 256])),
        ..UnetInput::new(latents, &[900.0, 17.0], tensor(refs.f32s("context"), [2, 77, 16]))
    };
    refs.assert_close("output", &values(unet.forward(&input).unwrap().into_data()), 1e-5);
}

fn is_a_refiner(path: &Path) {
    let found = inspect(path).unwrap();
    assert_eq!(
        (found.kind, found.family),
        (Kind::Checkpoint, Family::SdxlRefiner)
    );
    assert!(found.lacks.is_empty(), "{:?}", found.lacks);
    let parts: Vec<&str> = found.parts.keys().map(String::as_str).collect();
    assert_eq!(parts, ["text_encoder_2", "unet", "vae"]);
}

#[test]
fn both_layouts_hold_the_same_model() {
    let folder = folder();
    let original = Checkpoint::open(folder.path()).unwrap();
    calls_are_the_references(&original);
    let out = tempfile::tempdir().unwrap();
    let (file, copy) = (out.path().join("refiner.safetensors"), out.path().join("copy"));
    original.save_file(&file, Dtype::F32).unwrap();
    let from_file = Checkpoint::open(&file).unwrap();
    calls_are_the_references(&from_file);
    from_file.save_folder(&copy, Dtype::F32).unwrap();
    let from_copy = Checkpoint::open(&copy).unwrap();
    for checkpoint in [&from_file, &from_copy] {
        assert_eq!(checkpoint.configs(), original.configs());
        assert!(checkpoint.passed_over().unwrap().is_empty());
        for part in original.configs().parts() {
            assert!(
                output(checkpoint, part).unwrap() == output(&original, part).unwrap(),
                "{part:?}"
            );
        }
    }
    for path in [folder.path(), &file, &copy] {
        is_a_refiner(path);
    }
    // The encoder has the first place there, under OpenCLIP's names.
    let stored = tensors(&file);
    assert!(stored.contains_key("conditioner.embedders.0.model.transformer.resblocks.3.attn.in_proj_weight"));
    assert!(
        stored
            .keys()
            .all(|name| !name.starts_with("conditioner.embedders.1."))
    );
    let index = fs::read_to_string(copy.join("model_index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    assert_eq!(index["_class_name"], "StableDiffusionXLImg2ImgPipeline");
    assert_eq!(index["text_encoder"], serde_json::json!([null, null]));
    assert_eq!(index["tokenizer"], serde_json::json!([null, null]));
    assert_eq!(index["tokenizer_2"][1], "CLIPTokenizer");
    assert_eq!(
        (
            &index["force_zeros_for_empty_prompt"],
            &index["requires_aesthetics_score"]
        ),
        (&false.into(), &true.into())
    );
    assert!(!copy.join("tokenizer").exists() && !copy.join("text_encoder").exists());
}

/// Without configurations of its own a file has those of its family: the names are those of Stability's own checkpoint.
#[test]
fn the_family_has_the_usual_names() {
    let names = Ldm::unet(&sdxl_refiner_unet());
    for (canonical, stored) in [
        ("add_embedding.linear_1.weight", "label_emb.0.0.weight"),
        (
            "down_blocks.1.attentions.0.transformer_blocks.3.attn2.to_k.weight",
            "input_blocks.4.1.transformer_blocks.3.attn2.to_k.weight",
        ),
        (
            "down_blocks.2.attentions.1.proj_in.weight",
            "input_blocks.8.1.proj_in.weight",
        ),
        (
            "down_blocks.3.resnets.1.conv1.weight",
            "input_blocks.11.0.in_layers.2.weight",
        ),
        (
            "mid_block.attentions.0.transformer_blocks.3.norm1.weight",
            "middle_block.1.transformer_blocks.3.norm1.weight",
        ),
        (
            "up_blocks.1.attentions.2.proj_out.weight",
            "output_blocks.5.1.proj_out.weight",
        ),
        (
            "up_blocks.0.upsamplers.0.conv.weight",
            "output_blocks.2.1.conv.weight",
        ),
    ] {
        let spelt = names.spellings(canonical).swap_remove(0).name;
        assert_eq!(spelt, format!("model.diffusion_model.{stored}"));
    }
}
