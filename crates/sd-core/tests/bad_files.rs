//! Bad files of tensors, and what each must be answered with: an error that names the file, what is wrong and what to do.

mod common;

use std::path::Path;

use common::{assert_says, raw, serialized, tensors, tiny};
use sd_core::{
    checkpoint::{Checkpoint, inspect},
    weights::TensorFile,
};

/// A member of a header: `"name":{..}`.
fn entry(name: &str, dtype: &str, shape: &str, start: u64, end: u64) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#)
}

fn header(entries: &[String]) -> String {
    format!("{{{}}}", entries.join(","))
}

/// Bad files: what each is, its bytes, what the error must say.
#[rustfmt::skip] // A row a line.
fn table() -> Vec<(&'static str, Vec<u8>, &'static [&'static str])> {
    let a = |dtype: &str, shape: &str, start, end| entry("a", dtype, shape, start, end);
    let one = |dtype: &str, shape: &str, start, end, data| raw(&header(&[a(dtype, shape, start, end)]), data);
    let two = |first: (u64, u64), second: (u64, u64), data| {
        let entries = [("a", first), ("b", second)]
            .map(|(name, (start, end))| entry(name, "U8", &format!("[{}]", end - start), start, end));
        raw(&header(&entries), data)
    };
    let good = one("F32", "[2]", 0, 8, 8);
    let with_length = |length: u64| [&length.to_le_bytes(), &good[8..]].concat();
    let foreign = |first: &[u8]| [first, &[b'x'; 200]].concat();
    let cut = |bytes: &[u8], n: usize| bytes[..n].to_vec();
    vec![
        ("nothing", vec![], &["the file is empty", "again"]),
        ("1 byte", vec![8], &["only 1 bytes", "cut off"]),
        ("7 bytes", vec![0; 7], &["only 7 bytes", "cut off"]),
        ("8 bytes: a header of length 0", vec![0; 8], &["begins with zeros", "again"]),
        ("length 0, data behind", vec![0; 64], &["begins with zeros", "again"]),
        ("length over the limit", with_length(100_000_001), &["header of 100000001 bytes is over the limit"]),
        ("half a header", cut(&good, 20), &["cut off", "the file has 20 bytes"]),
        ("half the data", cut(&good, good.len() - 4), &["tensor 'a'", "0 to 8", "beyond the file's 4 bytes"]),
        ("length u64::MAX", with_length(u64::MAX), &["no weights of a known kind", "can be read"]),
        ("length i64::MAX", with_length(i64::MAX as u64), &["no weights of a known kind"]),
        ("length one too large", with_length(good.len() as u64 - 7), &["cut off"]),
        ("length into the data", with_length(good.len() as u64 - 8), &["header can't be used", "trailing"]),
        ("length too small", with_length(9), &["header can't be used", "EOF"]),
        ("not JSON", raw("{tensors}", 0), &["header can't be used", "column 2"]),
        ("JSON, but a list", raw("[1,2]", 0), &["no weights of a known kind"]),
        ("JSON, but null", raw("null", 0), &["no weights of a known kind"]),
        ("not UTF-8", [&5u64.to_le_bytes()[..], b"{\"\xff\"}"].concat(), &["not text"]),
        ("no type", raw(r#"{"a":{"shape":[],"data_offsets":[0,0]}}"#, 0), &["tensor 'a'", "missing field `dtype`"]),
        ("no shape", raw(r#"{"a":{"dtype":"U8","data_offsets":[0,0]}}"#, 0), &["tensor 'a'", "missing field `shape`"]),
        ("no offsets", raw(r#"{"a":{"dtype":"U8","shape":[0]}}"#, 0), &["tensor 'a'", "missing field `data_offsets`"]),
        ("one offset", raw(r#"{"a":{"dtype":"U8","shape":[0],"data_offsets":[0]}}"#, 0), &["tensor 'a'", "length 1"]),
        ("three offsets", raw(r#"{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0,0]}}"#, 0), &["tensor 'a'"]),
        ("a tensor that is a number", raw(r#"{"a":1}"#, 0), &["tensor 'a'", "invalid type"]),
        ("metadata of numbers", raw(r#"{"__metadata__":{"a":1}}"#, 0), &["__metadata__", "expected a string"]),
        ("unknown type", one("F99", "[2]", 0, 8, 8), &["tensor 'a'", "unknown dtype 'F99'"]),
        ("negative size", one("F32", "[-2]", 0, 8, 8), &["tensor 'a'", "-2"]),
        ("fractional size", one("F32", "[2.0]", 0, 8, 8), &["tensor 'a'", "2.0"]),
        ("offset over u64", raw(r#"{"a":{"dtype":"U8","shape":[],"data_offsets":[0,99999999999999999999]}}"#, 0), &["tensor 'a'"]),
        ("offset at u64's end", one("F32", "[2]", 0, u64::MAX, 8), &["tensor 'a'", "beyond the file's 8 bytes"]),
        ("offsets in wrong order", one("F32", "[2]", 8, 0, 8), &["tensor 'a'", "8 to 0 end before they start"]),
        ("overlap", two((0, 8), (4, 12), 12), &["tensor 'b'", "4 to 12 overlap"]),
        ("the same bytes twice", two((0, 8), (0, 8), 8), &["tensor 'b'", "overlap"]),
        ("gap", two((0, 4), (8, 12), 12), &["tensor 'b'", "nothing covers the bytes 4 to 8"]),
        ("gap at the start", one("F32", "[2]", 8, 16, 16), &["tensor 'a'", "nothing covers the bytes 0 to 8"]),
        ("data behind the last tensor", one("F32", "[2]", 0, 8, 9), &["take 8 bytes, but 9 bytes of data"]),
        ("product over u64", one("F32", "[4294967296,4294967296,4]", 0, 8, 8), &["tensor 'a'", "too large"]),
        ("bytes over u64", one("F32", "[9223372036854775807]", 0, 8, 8), &["tensor 'a'", "too large"]),
        ("product over u64 by way of 0", one("F32", "[9223372036854775807,4,0]", 0, 0, 0), &["tensor 'a'", "too large"]),
        ("shape of more bytes", one("F32", "[3]", 0, 8, 8), &["tensor 'a'", "F32 of shape [3] takes 12 bytes, but 8"]),
        ("shape of fewer bytes", one("F16", "[2,1]", 0, 8, 8), &["tensor 'a'", "F16 of shape [2, 1] takes 4 bytes, but 8"]),
        ("half a byte", one("F4", "[1]", 0, 1, 1), &["tensor 'a'", "F4"]),
        ("a name twice", raw(&header(&[a("U8", "[8]", 0, 8), a("U8", "[2,4]", 0, 8)]), 8), &["tensor 'a' is there twice"]),
        ("deep nesting", raw(&format!(r#"{{"a":{}"#, "[".repeat(100_000)), 0), &["tensor 'a'"]),
        ("deep nesting beside the fields", raw(&format!(r#"{{"a":{{"x":{}"#, r#"{"x":"#.repeat(100_000)), 0), &["header can't"]),
        ("a million axes", one("U8", &format!("[1{}]", ",1".repeat(999_999)), 0, 1, 1), &["tensor 'a'", "more than 32 axes"]),
        ("a long name", raw(&format!(r#"{{"{}":1}}"#, "a".repeat(1 << 20)), 0), &["aaa..."]),
        ("a long type", one(&"F".repeat(1 << 20), "[1]", 0, 1, 1), &["unknown dtype 'FFF"]),
        ("a name that clears the screen", raw("{\"\\u001b[2J\":1}", 0), &["\\u{1b}[2J"]),
        ("zip", foreign(b"PK\x03\x04\x00\x00\x08\x08"), &["PyTorch file", "directory is missing", "again"]),
        ("pickle", foreign(b"\x80\x02\x8a\x0al\xfc\x9cF"), &["PyTorch file", "opcode 0x78"]),
        ("pickle of protocol 4", foreign(b"\x80\x04\x95\x10\x00\x00\x00\x00"), &["PyTorch file", "opcode 0x78"]),
        ("GGUF", foreign(b"GGUF\x03\x00\x00\x00"), &["GGUF file", "cut off"]),
        ("Git LFS", foreign(b"version https://git-lfs.github.com/spec/v1\n"), &["Git LFS pointer", "git lfs pull"]),
        ("web page", foreign(b"<!DOCTYPE html>"), &["a web page, not weights", "needs a login", "download it again"]),
        ("a server's error", foreign(b"<?xml version=\"1.0\"?><Error>"), &["a text in XML", "download it again"]),
        ("text", foreign(b"Entry not found\n"), &["a text, not weights; it begins 'Entry not found'"]),
        ("JSON", foreign(b"{\"error\": \"gated\"}"), &["begins as JSON does, not weights", "give the folder"]),
        ("PNG", foreign(b"\x89PNG\r\n\x1a\n"), &["a PNG picture, not weights", "safetensors, PyTorch's files and GGUF"]),
        ("JPEG", foreign(b"\xff\xd8\xff\xe0"), &["a JPEG picture, not weights"]),
        ("gzip", foreign(b"\x1f\x8b\x08\0\0\0\0\0"), &["a gzip archive, not weights"]),
        ("ONNX", foreign(b"\x08\x07\x12\x07pytorch"), &["an ONNX model, not weights"]),
    ]
}

#[test]
fn each_gets_its_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.safetensors");
    for (what, bytes, words) in table() {
        println!("{what}");
        let from_memory = TensorFile::from_bytes("bad.safetensors", bytes.clone()).unwrap_err();
        assert_says(&from_memory.to_string(), words);
        assert_says(&from_memory.to_string(), &["bad.safetensors: "]);
        // Mapped, as a checkpoint, or only looked at: the same words.
        std::fs::write(&path, bytes).unwrap();
        let named = format!("{}: ", path.display());
        for error in [
            TensorFile::open(&path).unwrap_err(),
            Checkpoint::open(&path).map(drop).unwrap_err(),
            inspect(&path).unwrap_err(),
        ] {
            assert_eq!(
                error.to_string().replace(&named, "bad.safetensors: "),
                from_memory.to_string()
            );
        }
    }
}

#[test]
fn a_file_that_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let says = |path: &Path, words: &[&str]| {
        let message = TensorFile::open(path).unwrap_err().to_string();
        assert_says(&message, words);
        assert_says(&message, &[path.to_str().unwrap()]);
    };
    says(folder.path(), &["is a folder", "a file of tensors is wanted"]);
    says(&folder.path().join("absent.safetensors"), &["cannot read"]);
    #[cfg(unix)]
    says(Path::new("/dev/null"), &["not a regular file"]);
    for error in [
        Checkpoint::open(&folder.path().join("absent"))
            .map(drop)
            .unwrap_err(),
        inspect(&folder.path().join("absent")).unwrap_err(),
    ] {
        assert_says(&error.to_string(), &["cannot read", "absent"]);
    }
}

#[test]
fn odd_but_valid_files() {
    let valid = [
        raw("{}", 0),
        raw(r#"{"__metadata__":null}"#, 0),
        raw(r#"{"__metadata__":{"a":"b"}}      "#, 0),
        raw(&header(&[entry("scalar", "F32", "[]", 0, 4)]), 4),
        raw(
            &header(&[
                entry("none", "F32", "[0,5]", 0, 0),
                entry("one", "F64", "[1]", 0, 8),
            ]),
            8,
        ),
        // Unordered, with a member that later versions might add.
        raw(
            r#"{"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2],"new":[{}]},"a":{"data_offsets":[0,1],"shape":[1],"dtype":"U8"}}"#,
            2,
        ),
    ];
    for bytes in valid {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        TensorFile::from_bytes("odd", bytes).expect(&text);
    }
}

/// A single file that is whole, but no checkpoint: the error says what it is.
#[test]
fn other_files_as_checkpoints() {
    let names = |names: &[&str]| {
        let entries: Vec<String> = names.iter().map(|name| entry(name, "F32", "[0]", 0, 0)).collect();
        raw(&header(&entries), 0)
    };
    let part = |name: &str| serialized(&tensors(&tiny().join(name)));
    let sd1_with = |input: &str| {
        raw(
            &header(&[
                entry("model.diffusion_model.input_blocks.0.0.weight", "U8", input, 0, 0),
                entry(
                    "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
                    "U8",
                    "[0,768]",
                    0,
                    0,
                ),
                entry("first_stage_model.decoder.conv_in.weight", "U8", "[0]", 0, 0),
            ]),
            0,
        )
    };
    let other_family = names(&[
        "model.diffusion_model.out.2.bias",
        "first_stage_model.decoder.conv_in.bias",
    ]);
    let cases: [(&str, Vec<u8>, &[&str]); 11] = [
        (
            "another family",
            other_family,
            &["a checkpoint of no known family", "--config"],
        ),
        (
            "kohya",
            names(&["lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"]),
            &["a LoRA"],
        ),
        (
            "peft",
            names(&["unet.down_blocks.0.attentions.0.to_q.lora_A.weight"]),
            &["a LoRA"],
        ),
        ("lycoris", names(&["lycoris_unet_x.lokr_w1"]), &["a LoRA"]),
        ("vae", part(common::VAE), &["a VAE alone"]),
        ("unet", part(common::UNET), &["a U-Net alone"]),
        (
            "text encoder",
            part(common::TEXT_ENCODER),
            &["a text encoder alone"],
        ),
        ("nothing", raw("{}", 0), &["a file of unknown kind"]),
        (
            "something",
            names(&["weight", "bias"]),
            &["a file of unknown kind"],
        ),
        (
            "no channels",
            sd1_with("[320,0,3,3]"),
            &["0 input channels", "4, 8 or 9"],
        ),
        (
            "5 channels",
            sd1_with("[320,5,0,3]"),
            &["5 input channels", "4, 8 or 9"],
        ),
    ];
    for (what, bytes, words) in cases {
        let file = TensorFile::from_bytes("other.safetensors", bytes).expect(what);
        let error = Checkpoint::from_file(file).map(drop).expect_err(what);
        assert_says(&error.to_string(), words);
        assert_says(&error.to_string(), &["other.safetensors: "]);
    }
}
