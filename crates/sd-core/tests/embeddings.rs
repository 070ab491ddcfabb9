//! Textual inversion: the vectors that were put into every kind of file, and files that hold something else.

mod common;

use std::path::PathBuf;

use common::{
    Tensors, assert_says, serialized,
    torch::{call, dict, global, int, pickle, storage, tensor, text, zip},
};
use sd_core::{
    config::Part,
    embedding::{Embedding, Encoder, from_folder},
    weights::StoredDtype,
};

fn folder() -> PathBuf {
    goldens::root().join("embeddings")
}

fn open(name: &str) -> Embedding {
    let path = folder().join(name);
    let opened = Embedding::open(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let stem = path.file_stem().unwrap().to_str().unwrap();
    assert_eq!(
        Embedding::from_bytes(stem, &path.display().to_string(), bytes).unwrap(),
        opened
    );
    opened
}

fn assert_part(embedding: &Embedding, i: usize, encoder: Encoder, width: usize, values: &str) {
    let part = &embedding.parts[i];
    assert_eq!((part.encoder, part.width), (encoder, width));
    assert_eq!(
        part.values,
        goldens::Refs::open("embeddings/vectors.safetensors").f32s(values)
    );
}

#[test]
fn every_container() {
    for (file, name, values, vectors) in [
        ("webui.pt", "webui", "webui", 2),
        ("original.pt", "original", "original", 1),
        ("diffusers.bin", "diffusers", "diffusers_bin", 1),
        ("diffusers.safetensors", "diffusers", "diffusers", 1),
        ("emb_params.safetensors", "emb_params", "emb_params", 3),
        ("text.png", "in the text", "text", 2),
        ("pixels.png", "in the pixels", "pixels", 2),
    ] {
        println!("{file}");
        let embedding = open(file);
        assert_eq!((embedding.name.as_str(), embedding.vectors()), (name, vectors));
        assert_eq!(embedding.parts.len(), 1);
        assert_part(&embedding, 0, Encoder::ClipL, 768, values);
        let noted = matches!(file, "webui.pt" | "text.png" | "pixels.png");
        assert_eq!(embedding.step, noted.then_some(1499));
        assert_eq!(embedding.sd_checkpoint.as_deref(), noted.then_some("4bdfc29c"));
        assert_eq!(embedding.sd_checkpoint_name.as_deref(), noted.then_some("v1-5"));
    }
    let sdxl = open("sdxl.safetensors");
    assert_eq!((sdxl.parts.len(), sdxl.vectors()), (2, 2));
    assert_part(&sdxl, 0, Encoder::ClipL, 768, "sdxl.clip_l");
    assert_part(&sdxl, 1, Encoder::OpenClipG, 1280, "sdxl.clip_g");
    assert_eq!(sdxl.for_encoder(Part::TextEncoder, 768), sdxl.parts.first());
    assert_eq!(sdxl.for_encoder(Part::TextEncoder2, 1280), sdxl.parts.get(1));
    // Key and width must both be right.
    assert_eq!(sdxl.for_encoder(Part::TextEncoder, 1280), None);
    assert_eq!(sdxl.for_encoder(Part::TextEncoder, 1024), None);
}

#[test]
fn folders() {
    let copy = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| common::put(copy.path(), name, bytes);
    let golden = |name: &str| std::fs::read(folder().join(name)).unwrap();
    put("b.pt", &golden("webui.pt"));
    put("deep/er/A.SAFETENSORS", &golden("sdxl.safetensors"));
    put("picture.png", &golden("pixels.png"));
    put("picture.preview.png", b"no picture at all");
    put("plain.png", &golden("preview.png"));
    put("readme.txt", b"not an embedding");
    put("empty.pt", b"");
    put("broken.pt", b"PK\x03\x04");
    put("broken.png", &golden("text.png")[..500]);
    let malicious = pickle(call(global("os", "system"), &[text("true")]));
    put("deep/malicious.bin", &zip(&[("x/data.pkl", &malicious)]));
    let found = from_folder(copy.path()).unwrap();
    let names: Vec<&str> = found.embeddings.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names, ["b", "A", "in the pixels"]);
    let errors: Vec<String> = found.unreadable.iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert_says(&errors[0], &["broken.png", "not a usable PNG picture"]);
    assert_says(&errors[1], &["broken.pt", "PyTorch file"]);
    assert_says(&errors[2], &["malicious.bin", "os.system", "nothing was run"]);
    let error = from_folder(&copy.path().join("absent")).unwrap_err();
    assert_says(&error.to_string(), &["cannot read", "absent"]);
}

fn one(name: &str, dtype: StoredDtype, shape: &[usize], bytes: Vec<u8>) -> Vec<u8> {
    serialized(&Tensors::from([(name.into(), (dtype, shape.to_vec(), bytes))]))
}

fn floats(shape: &[usize], value: f32) -> Vec<u8> {
    one(
        "x",
        StoredDtype::F32,
        shape,
        value.to_le_bytes().repeat(shape.iter().product()),
    )
}

/// A picture of these grey pixels, with this text.
fn png(width: usize, pixels: &[u8], text: Option<&str>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, (pixels.len() / width) as u32);
    encoder.set_color(png::ColorType::Grayscale);
    if let Some(text) = text {
        encoder
            .add_text_chunk("sd-ti-embedding".into(), text.into())
            .unwrap();
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(pixels).unwrap();
    writer.finish().unwrap();
    bytes
}

fn with_text(json: &str) -> Vec<u8> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    png(1, &[9], Some(&STANDARD.encode(json)))
}

#[test]
#[rustfmt::skip] // A row a line.
fn files_that_hold_none() {
    let param = |rows: &str| with_text(&format!(r#"{{"string_to_param":{{"*":{{"TORCHTENSOR":{rows}}}}}}}"#));
    let webui = |members: &[(&str, Vec<u8>)]| {
        let root = pickle(dict(&[("string_to_param", dict(members)), ("name", text("x")), ("step", int(1))]));
        zip(&[("x/data.pkl", &root), ("x/data/0", &[0; 32])])
    };
    let eight = || tensor(storage("FloatStorage", "0", 8), 0, &[1, 8], &[8, 1]);
    let sdxl = |l: usize, g: usize| {
        let part = |n: usize| (StoredDtype::F32, vec![n, 2], vec![0; 8 * n]);
        serialized(&Tensors::from([("clip_l".into(), part(l)), ("clip_g".into(), part(g))]))
    };
    let many = (0..5).map(|i| (i.to_string(), (StoredDtype::F32, vec![1], vec![0; 4]))).collect();
    assert_eq!(Embedding::from_bytes("x", "x", webui(&[("*", eight())])).unwrap().step, Some(1));
    assert_eq!(Embedding::from_bytes("x", "x", param("[[1,2],[3,4]]")).unwrap().parts[0].values, [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(Embedding::from_bytes("x", "x", param("[1,2.5]")).unwrap().vectors(), 1);
    for (what, bytes, words) in [
        ("nothing", vec![], vec!["the file is empty"]),
        ("no tensors", serialized(&Tensors::new()), vec!["no embedding", "no tensors"]),
        ("many tensors", serialized(&many), vec!["no embedding", "it holds 5 (0, 1, 2, ...)"]),
        ("no vectors", floats(&[0, 4], 0.0), vec!["tensor 'x'", "[0, 4]", "[vectors, width]"]),
        ("vectors of nothing", floats(&[4, 0], 0.0), vec!["tensor 'x'", "[4, 0]"]),
        ("a number", floats(&[], 0.0), vec!["tensor 'x'", "shape []"]),
        ("three axes", floats(&[1, 1, 4], 0.0), vec!["tensor 'x'", "[1, 1, 4]"]),
        ("too many vectors", floats(&[1025, 1], 0.0), vec!["tensor 'x'", "1 to 1024"]),
        ("too wide", floats(&[1, 16385], 0.0), vec!["tensor 'x'", "16385"]),
        ("NaN", floats(&[1, 4], f32::NAN), vec!["tensor 'x'", "not finite"]),
        ("infinity", floats(&[4], f32::INFINITY), vec!["tensor 'x'", "not finite"]),
        ("whole numbers", one("x", StoredDtype::I64, &[1, 2], vec![0; 16]), vec!["tensor 'x'", "no floating-point"]),
        ("encoders that disagree", sdxl(1, 2), vec!["clip_l and clip_g", "equally many"]),
        ("two in string_to_param", webui(&[("*", eight()), ("+", eight())]), vec!["no embedding", "string_to_param."]),
        ("a pickle that runs", webui(&[("*", call(global("os", "system"), &[text("true")]))]), vec!["os.system", "nothing was run"]),
        ("a picture", png(4, &[9; 16], None), vec!["a picture without an embedding"]),
        ("a black picture", png(4, &[0; 16], None), vec!["a picture without an embedding"]),
        ("black columns", png(5, &[9, 0, 9, 0, 9], None), vec!["a picture without an embedding"]),
        ("a text that is no base64", png(1, &[9], Some("***")), vec!["not base64"]),
        ("no JSON", with_text("{"), vec!["its embedding can't be used", "EOF"]),
        ("no tensors in JSON", with_text("{}"), vec!["string_to_param"]),
        ("two tensors in JSON", with_text(r#"{"string_to_param":{"a":{"TORCHTENSOR":[1]},"b":{"TORCHTENSOR":[1]}}}"#), vec!["exactly one tensor"]),
        ("rows of different length", param("[[1,2],[3]]"), vec!["differ in length"]),
        ("rows and numbers", param("[[1,2],3]"), vec!["differ in length"]),
        ("rows of rows", param("[[[1]]]"), vec!["its embedding can't be used"]),
        ("no rows", param("[]"), vec!["string_to_param", "shape [0]"]),
        ("numbers over f32", param("[[1e300]]"), vec!["string_to_param", "not finite"]),
        ("half a picture", png(1, &[9], None)[..20].to_vec(), vec!["not a usable PNG picture"]),
    ] {
        println!("{what}");
        let error = Embedding::from_bytes("x", "bad", bytes).unwrap_err();
        assert_says(&error.to_string(), &words);
        assert_says(&error.to_string(), &["bad: "]);
    }
}

/// Bytes of real files, damaged: an embedding of finite numbers, or an error.
#[test]
fn damaged_files() {
    use proptest::prelude::*;
    let names = [
        "webui.pt",
        "original.pt",
        "diffusers.bin",
        "sdxl.safetensors",
        "text.png",
        "pixels.png",
    ];
    let files: Vec<Vec<u8>> = names
        .map(|name| std::fs::read(folder().join(name)).unwrap())
        .into();
    let change = (any::<prop::sample::Index>(), any::<u8>());
    let input = (0..files.len(), prop::collection::vec(change, 1..6), any::<bool>());
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(400)
    };
    proptest!(config, |((i, changes, cut) in input)| {
        let mut bytes = files[i].clone();
        for (at, byte) in &changes {
            *at.get_mut(&mut bytes) = *byte;
        }
        if cut {
            bytes.truncate(changes[0].0.index(bytes.len()));
        }
        if let Ok(embedding) = Embedding::from_bytes("x", "x", bytes) {
            let vectors = embedding.vectors();
            prop_assert!(vectors > 0);
            for part in &embedding.parts {
                prop_assert_eq!(part.values.len(), vectors * part.width);
                prop_assert!(part.values.iter().all(|x| x.is_finite()));
            }
        }
    });
}
