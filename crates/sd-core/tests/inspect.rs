//! The inspection of files, by names and shapes that real ones of each kind have.

mod common;

use common::{Tensors, serialized};
use sd_core::{
    checkpoint::{Inspection, Kind, inspect},
    config::Family,
    weights::{StoredDtype, model_hash, old_model_hash},
};

/// Inspects a file of tensors of these shapes, all zeros.
fn look(tensors: &[(&str, &[usize])]) -> Inspection {
    let stored = tensors.iter().map(|(name, shape)| {
        let size = shape.iter().product();
        (name.to_string(), (StoredDtype::U8, shape.to_vec(), vec![0; size]))
    });
    look_at(&stored.collect())
}

fn look_at(tensors: &Tensors) -> Inspection {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    std::fs::write(&path, serialized(tensors)).unwrap();
    inspect(&path).unwrap()
}

const P: &str = "model.diffusion_model.";

/// A checkpoint's U-Net by its first convolution, its context, and more names.
fn checkpoint(width: usize, channels: usize, context: usize, more: &[&str]) -> Inspection {
    let more: Vec<String> = more.iter().map(|name| format!("{P}{name}")).collect();
    let (conv, key) = (
        format!("{P}input_blocks.0.0.weight"),
        format!("{P}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"),
    );
    let (first, keys) = ([width, channels, 3, 3], [1, context]);
    let mut all: Vec<(&str, &[usize])> = vec![(&conv, &first), (&key, &keys), ("first_stage_model.x", &[0])];
    all.extend(more.iter().map(|name| (name.as_str(), &[0usize][..])));
    look(&all)
}

#[test]
fn families() {
    let full = [
        "input_blocks.11.0.in_layers.0.weight",
        "output_blocks.0.0.x",
        "middle_block.0.x",
    ];
    let depth = |n: usize| format!("input_blocks.7.1.transformer_blocks.{}.x", n - 1);
    let koala = |n: usize| format!("input_blocks.5.1.transformer_blocks.{}.x", n - 1);
    for (found, family, variant) in [
        (checkpoint(320, 4, 768, &full), Family::Sd1, None),
        (checkpoint(320, 9, 768, &full), Family::Sd1, Some("inpainting")),
        (
            checkpoint(320, 8, 768, &full),
            Family::Sd1,
            Some("InstructPix2Pix"),
        ),
        (
            checkpoint(320, 4, 768, &["time_embed.cond_proj.weight"]),
            Family::Sd1,
            Some("LCM"),
        ),
        (checkpoint(320, 4, 768, &full[1..]), Family::Sd1Small, None),
        (checkpoint(320, 4, 768, &full[1..2]), Family::Sd1Tiny, None),
        (checkpoint(320, 4, 1024, &full), Family::Sd2, None),
        (checkpoint(320, 5, 1024, &full), Family::Sd2, Some("depth")),
        (checkpoint(320, 4, 2048, &[&depth(10)]), Family::Sdxl, None),
        (
            checkpoint(320, 9, 2048, &[&depth(10)]),
            Family::Sdxl,
            Some("inpainting"),
        ),
        (checkpoint(320, 4, 2048, &[&depth(4)]), Family::Ssd1b, None),
        (checkpoint(320, 4, 2048, &[&depth(2)]), Family::Vega, None),
        (checkpoint(320, 4, 2048, &[&koala(5)]), Family::Koala700m, None),
        (checkpoint(320, 4, 2048, &[&koala(6)]), Family::Koala1b, None),
        (checkpoint(384, 4, 1280, &full), Family::SdxlRefiner, None),
        (checkpoint(64, 4, 32, &full), Family::Other, None),
    ] {
        assert_eq!(
            (found.kind, found.family, found.variant),
            (Kind::Checkpoint, family, variant)
        );
    }
}

#[test]
fn kinds() {
    let lora = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k";
    let peft = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k";
    for (tensors, kind, family, adapter) in [
        (
            vec![(format!("{lora}.lora_down.weight"), vec![4, 768])],
            Kind::Lora,
            Family::Sd1,
            Some("LoRA"),
        ),
        (
            vec![(format!("{lora}.lora_down.weight"), vec![4, 2048])],
            Kind::Lora,
            Family::Sdxl,
            Some("LoRA"),
        ),
        (
            vec![(format!("{peft}.lora_A.weight"), vec![4, 1024])],
            Kind::Lora,
            Family::Sd2,
            Some("LoRA (diffusers)"),
        ),
        (
            vec![("lora_unet_x.lora_down.weight".into(), vec![4, 8, 3, 3])],
            Kind::Lora,
            Family::Other,
            Some("LoCon"),
        ),
        (
            vec![(format!("{lora}.hada_w1_a"), vec![4, 4])],
            Kind::Lora,
            Family::Other,
            Some("LoHa"),
        ),
        (
            vec![(format!("{lora}.oft_blocks"), vec![4, 8, 8])],
            Kind::Lora,
            Family::Other,
            Some("OFT"),
        ),
        (
            vec![(format!("{lora}.oft_blocks"), vec![2, 4, 8, 8])],
            Kind::Lora,
            Family::Other,
            Some("BOFT"),
        ),
        (
            vec![(
                "base_model.model.mid_block.proj_in.oft_R.weight".into(),
                vec![4, 28],
            )],
            Kind::Lora,
            Family::Other,
            Some("OFT"),
        ),
        (
            vec![(format!("{lora}.lokr_w1"), vec![4, 4])],
            Kind::Lora,
            Family::Other,
            Some("LoKr"),
        ),
        (
            vec![("lora_te2_x.alpha".into(), vec![])],
            Kind::Lora,
            Family::Sdxl,
            Some("unknown"),
        ),
        (
            vec![("string_to_param.*".into(), vec![2, 768])],
            Kind::TextualInversion,
            Family::Sd1,
            None,
        ),
        (
            vec![("<cat>".into(), vec![1024])],
            Kind::TextualInversion,
            Family::Sd2,
            None,
        ),
        (
            vec![("clip_l".into(), vec![1, 768]), ("clip_g".into(), vec![1, 1280])],
            Kind::TextualInversion,
            Family::Sdxl,
            None,
        ),
        (
            vec![
                ("control_model.input_blocks.0.0.weight".into(), vec![320, 4, 3, 3]),
                (
                    "control_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight".into(),
                    vec![320, 768],
                ),
            ],
            Kind::ControlNet,
            Family::Sd1,
            None,
        ),
        (
            vec![
                ("input_blocks.0.0.weight".into(), vec![320, 4, 3, 3]),
                (
                    "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight".into(),
                    vec![1, 2048],
                ),
            ],
            Kind::Unet,
            Family::Sdxl,
            None,
        ),
        (
            vec![
                ("conv_in.weight".into(), vec![320, 4, 3, 3]),
                ("down_blocks.0.x.attn2.to_k.weight".into(), vec![1, 1024]),
            ],
            Kind::Unet,
            Family::Sd2,
            None,
        ),
        (
            vec![("encoder.x".into(), vec![0]), ("decoder.x".into(), vec![0])],
            Kind::Vae,
            Family::Other,
            None,
        ),
        (
            vec![("text_model.x".into(), vec![0])],
            Kind::TextEncoder,
            Family::Other,
            None,
        ),
        (vec![("x".into(), vec![3])], Kind::Unknown, Family::Other, None),
        (vec![], Kind::Unknown, Family::Other, None),
    ] {
        let tensors: Vec<(&str, &[usize])> = tensors
            .iter()
            .map(|(name, shape)| (name.as_str(), shape.as_slice()))
            .collect();
        let found = look(&tensors);
        assert_eq!(
            (found.kind, found.family, found.adapter),
            (kind, family, adapter),
            "{tensors:?}"
        );
    }
}

#[test]
fn predictions() {
    let unmarked = checkpoint(320, 4, 768, &[]);
    assert_eq!(unmarked.prediction_type, None);
    assert!(unmarked.prediction_reason.unwrap().contains("usual"));
    let leaf = "output_blocks.11.1.transformer_blocks.0.norm1.bias";
    // Values of plus and minus the spread.
    for (spread, expected) in [(0.08f32, "epsilon"), (0.1, "v_prediction")] {
        let values: Vec<u8> = [spread, -spread].iter().flat_map(|x| x.to_le_bytes()).collect();
        let tensor = |shape: &[usize]| (StoredDtype::U8, shape.to_vec(), vec![0; shape.iter().product()]);
        let found = look_at(&Tensors::from([
            (format!("{P}input_blocks.0.0.weight"), tensor(&[320, 4, 3, 3])),
            (
                format!("{P}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"),
                tensor(&[1, 1024]),
            ),
            (format!("{P}{leaf}"), (StoredDtype::F32, vec![2], values)),
            ("first_stage_model.x".into(), tensor(&[0])),
        ]));
        assert_eq!(found.prediction_type.as_deref(), Some(expected));
        assert!(found.prediction_reason.unwrap().contains(leaf));
    }
    let marked = look(&[
        ("v_pred", &[0]),
        ("ztsnr", &[0]),
        (&format!("{P}x"), &[0]),
        ("first_stage_model.x", &[0]),
    ]);
    assert_eq!(marked.prediction_type.as_deref(), Some("v_prediction"));
    assert!(marked.prediction_reason.unwrap().contains("v_pred") && marked.zero_terminal_snr);
}

/// What Python's hashlib says of the bytes that the WebUI's old hash looked at.
#[test]
fn old_hashes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.ckpt");
    let bytes: Vec<u8> = (0..0x12_0000).map(|i| ((i * 7 + i / 251) % 256) as u8).collect();
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(old_model_hash(&path).unwrap(), "0b256315");
    // hashlib.sha256(b""): nothing lies there.
    std::fs::write(&path, "abc").unwrap();
    assert_eq!(old_model_hash(&path).unwrap(), "e3b0c442");
    assert!(old_model_hash(folder.path()).is_err());
}

/// The example of FIPS 180-2, appendix B.1.
#[test]
fn hashes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("abc");
    std::fs::write(&path, "abc").unwrap();
    let hash = model_hash(&path).unwrap();
    assert_eq!(
        hash.sha256,
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert_eq!(hash.short(), "ba7816bf8f");
    // Kept by what the file is, not by its name: the same length at another time, and another file in its place.
    std::fs::write(&path, b"abd").unwrap();
    let changed = std::fs::File::options().write(true).open(&path).unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(10);
    changed.set_modified(later).unwrap();
    // hashlib.sha256(b"abd") and (b"abe").
    assert_eq!(model_hash(&path).unwrap().short(), "a52d159f26");
    assert_eq!(model_hash(&path).unwrap().short(), "a52d159f26");
    let new = folder.path().join("new");
    std::fs::write(&new, b"abe").unwrap();
    std::fs::File::options()
        .write(true)
        .open(&new)
        .unwrap()
        .set_modified(later)
        .unwrap();
    std::fs::rename(new, &path).unwrap();
    assert_eq!(model_hash(&path).unwrap().short(), "d81a65c1de");
    assert!(model_hash(folder.path()).is_err() && model_hash(&folder.path().join("absent")).is_err());
}

/// The parts of SDXL in files of their own, with their prefixes or bare.
#[test]
fn split_files() {
    let unet = [
        ("input_blocks.0.0.weight", vec![320, 4, 3, 3]),
        (
            "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight",
            vec![1, 2048],
        ),
        ("label_emb.0.0.weight", vec![1, 2816]),
    ];
    let transformers = "text_model.embeddings.token_embedding.weight";
    for (names, kind, part) in [
        (unet.to_vec(), Kind::Unet, "unet"),
        (
            vec![(transformers, vec![1, 768])],
            Kind::TextEncoder,
            "text_encoder",
        ),
        (
            vec![(transformers, vec![1, 1024])],
            Kind::TextEncoder,
            "text_encoder",
        ),
        (
            vec![(transformers, vec![1, 1280])],
            Kind::TextEncoder2,
            "text_encoder_2",
        ),
        (
            vec![
                ("token_embedding.weight", vec![1, 1280]),
                ("transformer.resblocks.0.ln_1.weight", vec![1280]),
            ],
            Kind::TextEncoder2,
            "text_encoder_2",
        ),
        (
            vec![
                ("decoder.conv_in.weight", vec![1]),
                ("encoder.conv_in.weight", vec![1]),
            ],
            Kind::Vae,
            "vae",
        ),
    ] {
        let prefix = match part {
            "unet" => P,
            "text_encoder" => "conditioner.embedders.0.transformer.",
            "text_encoder_2" => "conditioner.embedders.1.model.",
            _ => "first_stage_model.",
        };
        for prefix in ["", prefix] {
            let named: Vec<(String, &Vec<usize>)> = names
                .iter()
                .map(|(name, shape)| (format!("{prefix}{name}"), shape))
                .collect();
            let tensors: Vec<(&str, &[usize])> = named
                .iter()
                .map(|(name, shape)| (name.as_str(), &shape[..]))
                .collect();
            let found = look(&tensors);
            assert_eq!(found.kind, kind, "{tensors:?}");
            assert_eq!(found.parts.keys().collect::<Vec<_>>(), [part], "{tensors:?}");
        }
    }
}
