//! Every way of storing a model that this crate reads gives the same model: outputs equal to the bit.

mod common;

use std::{path::Path, sync::Arc};

use common::{
    TEXT_ENCODER, Tensors, UNET, VAE, cpu, load, output, put, raw, serialized, tensors, tiny, tiny_copy,
    tiny_files,
};
use safetensors::tensor::TensorView;
use sd_core::{
    checkpoint::{Checkpoint, Configs},
    config::Part,
    models::Vae,
    weights::{Folder, StoredDtype, TensorFile, names},
};

const PARTS: [(Part, &str); 3] = [
    (Part::TextEncoder, TEXT_ENCODER),
    (Part::Unet, UNET),
    (Part::Vae, VAE),
];

fn open(folder: &Path) -> Checkpoint {
    Checkpoint::open(folder).unwrap()
}

fn assert_same(got: &Checkpoint, part: Part) {
    assert!(
        output(got, part).unwrap() == output(&open(&tiny()), part).unwrap(),
        "{part:?}"
    );
}

/// The tiny model with one part's tensors changed but their meaning kept.
fn with_tensors(part: Part, file: &str, change: impl Fn(Tensors) -> Tensors) {
    let folder = tiny_copy();
    put(
        folder.path(),
        file,
        &serialized(&change(tensors(&tiny().join(file)))),
    );
    assert_same(&open(folder.path()), part);
}

fn renamed(tensors: Tensors, rename: impl Fn(&str) -> String) -> Tensors {
    tensors
        .into_iter()
        .map(|(name, tensor)| (rename(&name), tensor))
        .collect()
}

/// A single file's tensors, behind the configurations of the tiny model.
fn ldm(tensors: &Tensors) -> Checkpoint {
    let configs = Configs::from_folder(&Folder::Disk(tiny())).unwrap();
    Checkpoint::from_file_and_configs(
        TensorFile::from_bytes("ldm", serialized(tensors)).unwrap(),
        configs,
    )
    .unwrap()
}

fn ldm_tensors() -> Tensors {
    tensors(&goldens::tiny_sd1_ldm())
}

#[test]
fn single_file() {
    for (part, _) in PARTS {
        assert_same(&ldm(&ldm_tensors()), part);
    }
}

#[test]
fn bytes_and_folders_in_memory() {
    let files = tiny_files();
    let memory = Checkpoint::from_folder(Folder::Memory("memory".into(), files.clone())).unwrap();
    let leak = |bytes: Arc<[u8]>| -> &'static [u8] { Box::leak(bytes.to_vec().into_boxed_slice()) };
    let files = files
        .into_iter()
        .map(|(name, bytes)| (&*name.leak(), leak(bytes)));
    let compiled = Checkpoint::from_folder(Folder::Static("compiled", files.collect())).unwrap();
    for (part, _) in PARTS {
        assert_same(&memory, part);
        assert_same(&compiled, part);
    }
}

/// Splits a part in two, under these names.
fn shard(folder: &Path, file: &str, index: &str, shards: [&str; 2]) {
    let part = Path::new(file).parent().unwrap().to_str().unwrap();
    let all = tensors(&folder.join(file));
    std::fs::remove_file(folder.join(file)).unwrap();
    let mut map = serde_json::Map::new();
    for (i, shard) in shards.iter().enumerate() {
        let half: Tensors = all.clone().into_iter().skip(i).step_by(2).collect();
        map.extend(half.keys().map(|name| (name.clone(), (*shard).into())));
        put(folder, &format!("{part}/{shard}"), &serialized(&half));
    }
    let size: usize = all.values().map(|(.., bytes)| bytes.len()).sum();
    let json = serde_json::json!({ "metadata": { "total_size": size }, "weight_map": map });
    put(folder, &format!("{part}/{index}"), json.to_string().as_bytes());
}

#[test]
fn shards() {
    for (part, file) in PARTS {
        let stem = Path::new(file).file_stem().unwrap().to_str().unwrap();
        // diffusers puts the variant before ".json", and did before ".index.json" once, transformers before ".safetensors".
        for index in [
            format!("{stem}.safetensors.index.json"),
            format!("{stem}.safetensors.index.fp16.json"),
            format!("{stem}.safetensors.fp16.index.json"),
            format!("{stem}.fp16.safetensors.index.json"),
        ] {
            let folder = tiny_copy();
            let shards = [
                "shard-00001-of-00002.safetensors",
                "shard-00002-of-00002.safetensors",
            ];
            shard(folder.path(), file, &index, shards);
            assert_same(&open(folder.path()), part);
        }
    }
}

#[test]
fn variants() {
    for (part, file) in PARTS {
        for variant in ["fp16", "bf16"] {
            let name = file.replace(".safetensors", &format!(".{variant}.safetensors"));
            let folder = tiny_copy();
            std::fs::rename(folder.path().join(file), folder.path().join(&name)).unwrap();
            assert_same(&open(folder.path()), part);
            // The plain file wins, whatever the variant holds.
            std::fs::copy(folder.path().join(&name), folder.path().join(file)).unwrap();
            put(folder.path(), &name, &raw("{}", 0));
            assert_same(&open(folder.path()), part);
        }
    }
}

#[test]
fn old_attention_names() {
    with_tensors(Part::Vae, VAE, |vae| {
        let names = [
            ("to_q", "query"),
            ("to_k", "key"),
            ("to_v", "value"),
            ("to_out.0", "proj_attn"),
        ];
        let changed = renamed(vae, |name| {
            names
                .iter()
                .fold(name.to_owned(), |name, (new, old)| name.replace(new, old))
        });
        assert!(changed.contains_key("decoder.mid_block.attentions.0.proj_attn.weight"));
        changed
    });
}

#[test]
fn text_encoder_without_its_outer_name() {
    with_tensors(Part::TextEncoder, TEXT_ENCODER, |tensors| {
        renamed(tensors, |name| {
            name.strip_prefix("text_model.").unwrap_or(name).to_owned()
        })
    });
    let prefix = "cond_stage_model.transformer.";
    let bare = renamed(ldm_tensors(), |name| {
        name.replace("transformer.text_model.", "transformer.")
    });
    assert!(bare.contains_key(&format!("{prefix}final_layer_norm.weight")));
    assert_same(&ldm(&bare), Part::TextEncoder);
}

#[test]
fn linears_and_1x1_convolutions_are_one() {
    // As convolutions: every linear layer.
    let convolutions = |mut tensors: Tensors| {
        for (name, (_, shape, _)) in &mut tensors {
            if name.ends_with(".weight") && shape.len() == 2 && !name.contains("embedding.") {
                shape.extend([1, 1]);
            }
        }
        tensors
    };
    with_tensors(Part::Unet, UNET, convolutions);
    with_tensors(Part::Vae, VAE, convolutions);
    // As linears: every 1x1 convolution.
    let linears = |mut tensors: Tensors| {
        for (_, shape, _) in tensors.values_mut() {
            if shape.len() == 4 && shape[2..] == [1, 1] {
                shape.truncate(2);
            }
        }
        tensors
    };
    with_tensors(Part::Unet, UNET, linears);
    with_tensors(Part::Vae, VAE, linears);
    let single = ldm_tensors();
    let attention = "first_stage_model.decoder.mid.attn_1.q.weight";
    assert_eq!(single[attention].1.len(), 4);
    let single = linears(single);
    assert_eq!(single[attention].1.len(), 2);
    assert_same(&ldm(&single), Part::Vae);
    assert_same(&ldm(&single), Part::Unet);
}

/// An autoencoder alone in a file, with LDM's names without prefix or with diffusers' names.
#[test]
fn autoencoder_alone() {
    let config = open(&tiny()).configs().vae.clone();
    let bare: Tensors = ldm_tensors()
        .into_iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix("first_stage_model.")?.to_owned(), tensor)))
        .collect();
    let check = |file: &Tensors, names: Arc<dyn names::Names>| {
        let files = vec![Arc::new(TensorFile::from_bytes("vae", serialized(file)).unwrap())];
        let mut weights = open(&tiny()).weights(Part::Vae).clone();
        (weights.files, weights.names) = (files, names);
        Vae::load(&config, &weights, &cpu()).map(drop).unwrap();
    };
    check(&bare, Arc::new(names::Ldm::vae(&config)));
    check(
        &tensors(&tiny().join(VAE)),
        Arc::new(names::Diffusers { part: Part::Vae }),
    );
    // Or in a checkpoint whose writer dropped the prefix.
    let mut whole = ldm_tensors();
    whole.retain(|name, _| !name.starts_with("first_stage_model."));
    whole.extend(bare);
    assert_same(&ldm(&whole), Part::Vae);
}

/// Tensors that checkpoints carry and inference doesn't need, of types that couldn't be read.
#[test]
fn harmless_extras() {
    let position_ids = (StoredDtype::I64, vec![1, 77], vec![0; 77 * 8]);
    let folder = tiny_copy();
    for (_, file) in PARTS {
        let mut all = tensors(&tiny().join(file));
        all.insert("text_model.embeddings.position_ids".into(), position_ids.clone());
        put(folder.path(), file, &serialized(&all));
    }
    let mut single = ldm_tensors();
    for name in [
        "cond_stage_model.transformer.text_model.embeddings.position_ids",
        "cond_stage_model.logit_scale",
        "model_ema.decay",
        "model_ema.diffusion_modelinput_blocks00weight",
        "first_stage_model.loss.logvar",
        "first_stage_model.model_ema.num_updates",
        "alphas_cumprod",
        "sqrt_recip_alphas_cumprod",
        "betas",
        "posterior_variance",
        "global_step",
        "v_pred",
        "ztsnr",
    ] {
        single.insert(name.into(), position_ids.clone());
    }
    for (part, _) in PARTS {
        load(&open(folder.path()), part).unwrap();
        load(&ldm(&single), part).unwrap();
    }
}

/// Types differ from tensor to tensor in real files; what can be said exactly in each comes out the same.
#[test]
fn mixed_types() {
    with_tensors(Part::Unet, UNET, |unet| {
        let widened = |i: usize, (dtype, shape, bytes): common::Stored| match dtype {
            StoredDtype::F16 if i.is_multiple_of(2) => {
                let wide = bytes
                    .chunks_exact(2)
                    .flat_map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32().to_le_bytes());
                (StoredDtype::F32, shape, wide.collect())
            }
            _ => (dtype, shape, bytes),
        };
        let all = unet.into_iter().enumerate();
        all.map(|(i, (name, tensor))| (name, widened(i, tensor)))
            .collect()
    });
}

/// safetensors' own reader and ours agree on every file here.
#[test]
fn agrees_with_the_reference_reader() {
    for file in [tiny().join(UNET), tiny().join(VAE), goldens::tiny_sd1_ldm()] {
        let bytes = std::fs::read(&file).unwrap();
        let reference = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let ours = TensorFile::open(&file).unwrap();
        assert_eq!(ours.names().count(), reference.len());
        for (name, view) in reference.iter() {
            let view: TensorView = view;
            let info = ours.info(name).unwrap();
            assert_eq!(
                (info.dtype, info.shape.as_slice()),
                (view.dtype(), view.shape()),
                "{name}"
            );
            assert_eq!(ours.tensor_bytes(name).unwrap(), view.data(), "{name}");
        }
    }
}
