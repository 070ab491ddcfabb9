//! Values in fewer bits: 8-bit floats, alone and scaled, and GGUF's blocks.

mod common;

use common::{Stored, Tensors, assert_says, output, serialized, tensors, tiny, torch::Gguf};
use sd_core::{
    checkpoint::{Checkpoint, Configs, Kind, inspect},
    config::Part,
    weights::{Folder, StoredDtype, TensorFile},
};

fn bits(values: Vec<f32>) -> Vec<u32> {
    values.into_iter().map(f32::to_bits).collect()
}

/// All values of both types, against PyTorch's.
#[test]
fn eight_bit_floats() {
    let refs = goldens::Refs::open("torch/fp8.safetensors");
    for name in ["fp8.safetensors", "fp8.pt"] {
        let file = TensorFile::open(&goldens::root().join("torch").join(name)).unwrap();
        for kind in ["e4m3", "e5m2"] {
            let (got, want) = (file.values_f32(kind).unwrap(), refs.f32s(&format!("{kind}.f32")));
            assert_eq!(got.len(), 256);
            for (code, (got, want)) in got.into_iter().zip(want).enumerate() {
                // Of a NaN, only that it is one.
                let same = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
                assert!(same, "{name} {kind} {code:#x}: {got} for {want}");
            }
        }
    }
}

fn eight(codes: &[u8]) -> Stored {
    (StoredDtype::F8_E4M3, vec![codes.len()], codes.to_vec())
}

fn number(x: f32) -> Stored {
    (StoredDtype::F32, vec![], x.to_le_bytes().to_vec())
}

/// ComfyUI: a value is its code's times the layer's scale.
#[test]
fn scaled_eight_bit_floats() {
    for scale in ["scale_weight", "weight_scale"] {
        let mut all = Tensors::new();
        all.insert("scaled_fp8".into(), eight(&[]));
        // 1, -2 and 448, the largest.
        all.insert("a.weight".into(), eight(&[0x38, 0xc0, 0x7e]));
        all.insert(format!("a.{scale}"), number(0.5));
        all.insert("a.scale_input".into(), number(3.0));
        all.insert("b.weight".into(), eight(&[0x38]));
        let file = TensorFile::from_bytes("x", serialized(&all)).unwrap();
        let mut names: Vec<&str> = file.names().collect();
        names.sort_unstable();
        assert_eq!(names, ["a.weight", "b.weight"]);
        assert_eq!(file.values_f32("a.weight").unwrap(), [0.5, -1.0, 224.0]);
        assert_eq!(file.values_f32("b.weight").unwrap(), [1.0]);
        for (bad, says) in [
            (number(f32::NAN), "[]"),
            ((StoredDtype::F32, vec![3], vec![0; 12]), "[3]"),
            ((StoredDtype::F32, vec![0], vec![]), "[0]"),
        ] {
            all.insert(format!("a.{scale}"), bad);
            let error = TensorFile::from_bytes("x", serialized(&all)).unwrap_err();
            assert_says(
                &error.to_string(),
                &["x: ", &format!("a.{scale}"), "one finite number", says],
            );
        }
    }
    // Names alone don't make a scale.
    let plain = Tensors::from([
        ("a.weight".into(), number(2.0)),
        ("a.scale_weight".into(), number(0.5)),
    ]);
    let file = TensorFile::from_bytes("x", serialized(&plain)).unwrap();
    assert_eq!(
        (file.names().count(), file.values_f32("a.weight").unwrap()),
        (2, vec![2.0])
    );
}

fn types() -> Vec<u8> {
    std::fs::read(goldens::root().join("gguf/types.gguf")).unwrap()
}

/// Every type, unpacked to the bit as the gguf package does it.
#[test]
fn packed_blocks() {
    let refs = goldens::Refs::open("gguf/values.safetensors");
    let mut second = types();
    second[4] = 2;
    for bytes in [types(), second] {
        let file = TensorFile::from_bytes("x", bytes).unwrap();
        assert_eq!(file.names().count(), refs.names().len());
        assert_eq!(file.metadata()["general.name"], "every type");
        for name in refs.names() {
            let info = file.info(&name).unwrap();
            assert_eq!(info.shape, refs.shape(&name), "{name}");
            assert!(info.is_readable());
            if name != "conv.weight" {
                assert_eq!(format!("{}.weight", info.type_name()), name);
            }
            let (got, want) = (file.values_f32(&name).unwrap(), refs.f32s(&name));
            goldens::assert_close(&name, &got, &want, 1e-7);
            assert_eq!(bits(got), bits(want), "{name}");
        }
    }
}

/// A checkpoint as stable-diffusion.cpp converts it, and a U-Net alone as ComfyUI has it.
#[test]
fn models_in_gguf() {
    let all = tensors(&goldens::tiny_sd1_ldm());
    let configs = Configs::from_folder(&Folder::Disk(tiny())).unwrap();
    let opened = TensorFile::from_bytes("x", Gguf::of(&all).file()).unwrap();
    let (packed, plain) = (
        Checkpoint::from_file_and_configs(opened, configs).unwrap(),
        Checkpoint::open(&tiny()).unwrap(),
    );
    for part in [Part::TextEncoder, Part::Unet, Part::Vae] {
        assert!(
            output(&packed, part).unwrap() == output(&plain, part).unwrap(),
            "{part:?}"
        );
    }
    let prefix = "model.diffusion_model.";
    let unet = all
        .into_iter()
        .filter_map(|(name, t)| Some((name.strip_prefix(prefix)?.to_owned(), t)));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("unet.gguf");
    std::fs::write(&path, Gguf::of(&unet.collect()).file()).unwrap();
    assert_eq!(inspect(&path).unwrap().kind, Kind::Unet);
}

fn one(sizes: &[u64], kind: u32, offset: u64) -> Gguf {
    Gguf {
        version: 3,
        metadata: vec![],
        tensors: vec![("a".into(), sizes.to_vec(), kind, offset)],
        data: vec![0; 64],
    }
}

#[test]
#[rustfmt::skip] // A row a line.
fn bad_gguf_files() {
    let u64s = |n: u64| n.to_le_bytes().to_vec();
    let changed = |at: usize, bytes: &[u8]| {
        let mut file = one(&[16], 0, 0).file();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    let with = |key: &str, kind, value| Gguf { metadata: vec![(key.into(), kind, value)], ..one(&[16], 0, 0) }.file();
    let list = |kind: u32, n: u64, items: &[u8]| [&kind.to_le_bytes(), &u64s(n)[..], items].concat();
    let two = |first: u64, second: u64, name: &str| {
        let mut file = one(&[8], 0, first);
        file.tensors.push((name.into(), vec![8], 0, second));
        file.file()
    };
    TensorFile::from_bytes("x", two(0, 32, "b")).unwrap();
    for (what, file, words) in [
        ("magic alone", b"GGUF".to_vec(), vec!["ends too early"]),
        ("version 1", changed(4, &[1]), vec!["version 1"]),
        ("version 77", changed(4, &[77]), vec!["version 77"]),
        ("big-endian", changed(4, &[0, 0, 0, 3]), vec!["little-endian"]),
        ("2^64 tensors", changed(8, &[0xff; 8]), vec!["tensor ''", "twice"]),
        ("2^64 metadata", changed(16, &[0xff; 8]), vec!["cut off"]),
        ("a name of 2^64 bytes", changed(24, &[0xff; 8]), vec!["ends too early"]),
        ("a name of a megabyte", with(&"k".repeat(1 << 20), 4, vec![0; 4]), vec!["a name of 1048576 bytes"]),
        ("a name that is no text", changed(32, &[0xff]), vec!["not UTF-8"]),
        ("an unknown value", with("k", 13, vec![]), vec!["metadata 'k'", "type 13"]),
        ("a list in a list", with("k", 9, list(9, 1, &[])), vec!["metadata 'k'", "a list of type 9"]),
        ("a list of 2^63", with("k", 9, list(10, 1 << 63, &[])), vec!["metadata 'k'", "ends too early"]),
        ("a list of 2^40 texts", with("k", 9, list(8, 1 << 40, &[])), vec!["metadata 'k'"]),
        ("a text of 2^63 bytes", with("k", 8, u64s(1 << 63)), vec!["metadata 'k'", "ends too early"]),
        ("alignment 0", with("general.alignment", 4, vec![0; 4]), vec!["alignment of '0'"]),
        ("alignment 3", with("general.alignment", 4, vec![3, 0, 0, 0]), vec!["alignment of '3'"]),
        ("another shape", with("comfy.gguf.orig_shape.a", 9, list(5, 1, &[15, 0, 0, 0])), vec!["tensor 'a'", "[15]"]),
        ("a negative shape", with("comfy.gguf.orig_shape.a", 9, list(5, 1, &[0xff; 4])), vec!["tensor 'a'"]),
        ("9 axes", one(&[1; 9], 0, 0).file(), vec!["tensor 'a'", "9 axes"]),
        ("a huge shape", one(&[1 << 40, 1 << 40], 0, 0).file(), vec!["tensor 'a'", "too large"]),
        ("a shape of 2^63 bytes", one(&[1 << 61], 0, 0).file(), vec!["tensor 'a'"]),
        ("beyond the end", one(&[17], 0, 0).file(), vec!["tensor 'a'", "outside the file"]),
        ("begins beyond the end", one(&[1], 0, 1 << 20).file(), vec!["tensor 'a'", "outside the file"]),
        ("begins at the end of all", one(&[1], 0, u64::MAX - 31).file(), vec!["tensor 'a'"]),
        ("an odd place", one(&[1], 0, 4).file(), vec!["tensor 'a'", "no multiple of 32"]),
        ("an unknown type", one(&[16], 99, 0).file(), vec!["tensor 'a'", "type 99", "Q8_0"]),
        ("half a block", one(&[16], 8, 0).file(), vec!["tensor 'a'", "whole blocks of 32"]),
        ("rows of half a block", one(&[16, 2], 8, 0).file(), vec!["tensor 'a'", "whole blocks of 32"]),
        ("overlap", two(0, 0, "b"), vec!["tensor 'b'", "overlaps"]),
        ("twice", two(0, 32, "a"), vec!["tensor 'a'", "twice"]),
        ("cut off", { let file = types(); file[..file.len() - 32].to_vec() }, vec!["tensor", "cut off"]),
        ("half a header", types()[..200].to_vec(), vec!["cut off"]),
    ] {
        println!("{what}");
        let error = TensorFile::from_bytes("bad.gguf", file).unwrap_err();
        assert_says(&error.to_string(), &words);
        assert_says(&error.to_string(), &["bad.gguf: ", "not a usable GGUF file"]);
    }
}
