//! Whatever the input, an answer or an error: never a panic, and what is accepted is sound.

mod common;

use std::collections::BTreeMap;

use common::{raw, tiny};
use proptest::{collection::vec, prelude::*, sample::Index};
use sd_core::{
    ClipTokenizer, TokenizerFiles,
    checkpoint::Checkpoint,
    config::{ClipTextConfig, SchedulerConfig, UnetConfig, VaeConfig},
    weights::TensorFile,
};
use serde_json::Value;

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

/// A small valid file with all that a header can have.
fn valid_file() -> Vec<u8> {
    let header = r#"{"__metadata__":{"format":"pt","x":"y"},
        "model.diffusion_model.input_blocks.0.0.weight":{"dtype":"F32","shape":[2,1,1],"data_offsets":[0,8]},
        "first_stage_model.decoder.conv_in.bias":{"dtype":"F16","shape":[3],"data_offsets":[8,14]},
        "scalar":{"dtype":"BF16","shape":[],"data_offsets":[14,16]},
        "none":{"dtype":"I64","shape":[0,7],"data_offsets":[16,16]},
        "half":{"dtype":"F4","shape":[2],"data_offsets":[16,17]}}"#;
    raw(header, 17)
}

/// A fault in a copy of something.
#[derive(Debug, Clone)]
enum Edit {
    Flip(Index, u8),
    Set(Index, u8),
    Cut(Index),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let place = any::<Index>;
    let edit = prop_oneof![
        (place(), 0..8u8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        (place(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (place(), prop::sample::select(&b"0123456789-[]{},:\"e."[..]))
            .prop_map(|(at, byte)| Edit::Set(at, byte)),
        place().prop_map(Edit::Cut),
        (place(), vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (place(), 1..20usize).prop_map(|(at, n)| Edit::Remove(at, n)),
    ];
    vec(edit, 1..5)
}

fn edited(mut bytes: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    for edit in edits {
        if bytes.is_empty() {
            break;
        }
        match edit {
            Edit::Flip(at, bit) => *at.get_mut(&mut bytes) ^= 1 << bit,
            Edit::Set(at, byte) => *at.get_mut(&mut bytes) = *byte,
            Edit::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Edit::Insert(at, new) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, new.iter().copied());
            }
            Edit::Remove(at, n) => {
                let at = at.index(bytes.len());
                bytes.drain(at..(at + n).min(bytes.len()));
            }
        }
    }
    bytes
}

/// Reads the bytes every way there is; what we accept, the format's own reader accepts, and means the same.
fn check_file(bytes: Vec<u8>) {
    let Ok(file) = TensorFile::from_bytes("x", bytes.clone()) else {
        return;
    };
    let Ok(reference) = safetensors::SafeTensors::deserialize(&bytes) else {
        // Another container: its tensors can be read all the same.
        assert!(bytes.get(8) != Some(&b'{'), "we are the stricter reader");
        file.names()
            .for_each(|name| drop(file.tensor_bytes(name).unwrap()));
        return;
    };
    assert_eq!(file.names().count(), reference.len());
    for name in file.names() {
        let (info, view) = (file.info(name).unwrap(), reference.tensor(name).unwrap());
        assert_eq!((info.dtype, info.shape.as_slice()), (view.dtype(), view.shape()));
        assert_eq!(file.tensor_bytes(name).unwrap(), view.data());
    }
    let _ = Checkpoint::from_file(file).map(drop);
}

/// Containers whose every byte may be damaged.
const CONTAINERS: [&str; 6] = [
    "torch/zip.pt",
    "torch/zip4.pt",
    "torch/legacy.pt",
    "torch/lightning.ckpt",
    "torch/nested.pt",
    "gguf/types.gguf",
];

const OPCODES: [u8; 30] = *b"(.012NJKM]})tlaesubdQRc\x85\x86\x87\x88\x94\x93\x81";

fn check_container(bytes: Vec<u8>) {
    let length = bytes.len();
    let Ok(file) = TensorFile::from_bytes("x", bytes) else {
        return;
    };
    for name in file.names() {
        let (info, bytes) = (file.info(name).unwrap(), file.tensor_bytes(name).unwrap());
        assert!(bytes.len() <= length);
        let count = info.shape.iter().product::<usize>();
        if info.blocks.is_none() {
            assert_eq!(count * info.dtype.bitsize(), 8 * bytes.len());
        }
        if let Some(values) = file.values_f32(name) {
            assert_eq!(values.len(), count);
        }
    }
    let _ = Checkpoint::from_file(file).map(drop);
}

fn check_configs(json: &str) {
    let _ = ClipTextConfig::from_json(json, "x");
    let _ = SchedulerConfig::from_json(json, "x");
    if let Ok(vae) = VaeConfig::from_json(json, "x") {
        assert!(vae.downscale() >= 1);
    }
    if let Ok(unet) = UnetConfig::from_json(json, "x") {
        assert!(
            unet.levels
                .iter()
                .all(|level| level.channels % unet.norm_num_groups == 0)
        );
        assert!(
            unet.levels
                .iter()
                .all(|level| level.down[0] == 0 || level.channels % level.heads == 0)
        );
    }
}

const CONFIGS: [&str; 4] = [
    "unet/config.json",
    "vae/config.json",
    "text_encoder/config.json",
    "scheduler/scheduler_config.json",
];

fn config(i: usize) -> String {
    std::fs::read_to_string(tiny().join(CONFIGS[i])).unwrap()
}

/// JSON with the fields of real configurations, and others.
fn json() -> impl Strategy<Value = Value> {
    let mut fields: Vec<String> = (0..CONFIGS.len())
        .flat_map(|i| {
            let config: BTreeMap<String, Value> = serde_json::from_str(&config(i)).unwrap();
            config.into_keys()
        })
        .collect();
    fields.extend(
        [
            "num_attention_heads",
            "transformer_layers_per_block",
            "reverse_transformer_layers_per_block",
            "time_cond_proj_dim",
            "mid_block_type",
            "x",
        ]
        .map(str::to_owned),
    );
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-2..70i64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![
            "DownBlock2D",
            "CrossAttnUpBlock2D",
            "silu",
            "epsilon",
            "gelu",
            ""
        ])
        .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 40, 8, move |inner| {
        let field = prop::sample::select(fields.clone());
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(field, inner, 0..12)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn arbitrary_bytes(bytes in vec(any::<u8>(), 0..200)) {
        check_file(bytes);
    }

    #[test]
    fn arbitrary_headers(header in vec(any::<u8>(), 0..100), data in 0..20usize) {
        check_file(raw(&String::from_utf8_lossy(&header), data));
    }

    #[test]
    fn damaged_files(edits in edits()) {
        check_file(edited(valid_file(), &edits));
    }

    /// The header alone is damaged, its length is right: so the damage gets as far as it can.
    #[test]
    fn damaged_headers(edits in edits()) {
        let (header, data) = (valid_file().split_off(8), 17);
        let header = edited(header[..header.len() - data].to_vec(), &edits);
        check_file(raw(&String::from_utf8_lossy(&header), data));
    }

    /// Files of PyTorch and GGUF with a few bytes changed: every tensor can be read, or the file can't be opened.
    #[test]
    fn damaged_containers(i in 0..CONTAINERS.len(), edits in edits()) {
        let bytes = std::fs::read(goldens::root().join(CONTAINERS[i])).unwrap();
        check_container(edited(bytes, &edits));
    }

    /// A pickle of opcodes that are mostly known.
    #[test]
    fn arbitrary_pickles(code in vec(prop_oneof![
        prop::sample::select(OPCODES.to_vec()).prop_map(|code| vec![code]),
        any::<[u8; 2]>().prop_map(|[a, b]| vec![b'K', a, b'q', b % 4]),
        (0..4u8).prop_map(|i| vec![b'h', i]),
        Just(common::torch::text("storage")),
        Just(common::torch::global("collections", "OrderedDict")),
        Just(common::torch::global("torch._utils", "_rebuild_tensor_v2")),
        Just(common::torch::storage("FloatStorage", "0", 4)),
        Just(common::torch::tensor(common::torch::storage("FloatStorage", "0", 4), 0, &[2, 2], &[1, 2])),
    ], 0..40)) {
        let pickle = common::torch::pickle(code.concat());
        check_container(common::torch::zip(&[("x/data.pkl", &pickle), ("x/data/0", &[0; 16])]));
    }

    #[test]
    fn arbitrary_json(json in json()) {
        check_configs(&json.to_string());
    }

    #[test]
    fn damaged_configs(i in 0..CONFIGS.len(), edits in edits()) {
        check_configs(&String::from_utf8_lossy(&edited(config(i).into_bytes(), &edits)));
    }

    #[test]
    fn one_field_of_a_config(i in 0..CONFIGS.len(), field in any::<Index>(), value in json()) {
        let mut config: BTreeMap<String, Value> = serde_json::from_str(&config(i)).unwrap();
        let name = field.get(&config.keys().cloned().collect::<Vec<_>>()).clone();
        config.insert(name, value);
        check_configs(&serde_json::to_string(&config).unwrap());
    }

    /// Tokenizers of few letters, so that merges often find their symbols.
    #[test]
    fn arbitrary_tokenizers(
        vocab in prop::collection::btree_map("[ab]{0,3}(</w>)?", 0..40u32, 0..20),
        merges in vec(("[ab]{0,2}", "[ab]{0,2}(</w>)?"), 0..6),
        text in "[ab é]{0,12}",
    ) {
        let mut vocab = vocab;
        vocab.extend([("<|startoftext|>".to_owned(), 3), ("<|endoftext|>".to_owned(), 50)]);
        let merges: String = merges.iter().map(|(a, b)| format!("{a} {b}\n")).collect();
        let vocab = serde_json::to_string(&vocab).unwrap();
        let files = TokenizerFiles { vocab: Some(vocab), merges: Some(merges), ..TokenizerFiles::default() };
        if let Ok(tokenizer) = ClipTokenizer::from_files("x", &files) {
            check_text(&tokenizer, &text);
        }
    }

    #[test]
    fn arbitrary_tokenizer_files(
        texts in vec(proptest::option::of("(.{0,60}|(.{0,9}\n){0,5})"), 6),
    ) {
        let mut texts = texts.into_iter().map(Option::unwrap_or_default).map(|text| (!text.is_empty()).then_some(text));
        let mut next = || texts.next().flatten();
        let files = TokenizerFiles {
            tokenizer: next(),
            vocab: next(),
            merges: next(),
            added_tokens: next(),
            special_tokens_map: next(),
            tokenizer_config: next(),
        };
        let _ = ClipTokenizer::from_files("x", &files);
    }

    /// Words of `tokenizer.json` in wrong places, and added tokens that are odd.
    #[test]
    fn arbitrary_tokenizer_json(
        path in 0..JSON_PLACES.len(),
        value in json(),
        added in vec(("[ab<>. ]{0,3}", 0..70u32, any::<[bool; 5]>()), 0..5),
        text in "[ab<>. ]{0,12}",
    ) {
        let mut file = tokenizer_json();
        for (content, id, [normalized, special, lstrip, rstrip, single_word]) in added {
            file["added_tokens"].as_array_mut().unwrap().push(serde_json::json!({
                "id": id, "content": content, "normalized": normalized, "special": special, "lstrip": lstrip,
                "rstrip": rstrip, "single_word": single_word,
            }));
        }
        let files = |file: &Value| TokenizerFiles { tokenizer: Some(file.to_string()), ..TokenizerFiles::default() };
        if let Ok(tokenizer) = ClipTokenizer::from_files("x", &files(&file)) {
            check_text(&tokenizer, &text);
        }
        *file.pointer_mut(JSON_PLACES[path]).unwrap() = value;
        if let Ok(tokenizer) = ClipTokenizer::from_files("x", &files(&file)) {
            check_text(&tokenizer, &text);
        }
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn arbitrary_texts(texts in vec(any::<String>(), 40)) {
        thread_local!(static TOKENIZER: ClipTokenizer = ClipTokenizer::embedded());
        TOKENIZER.with(|tokenizer| {
            for text in &texts {
                check_text(tokenizer, text);
            }
        });
    }
}

/// All ids are in the vocabulary and all places in the text; a text is read twice in the same way.
fn check_text(tokenizer: &ClipTokenizer, text: &str) {
    let as_is = tokenizer.encode_spans(text).unwrap();
    let ids: Vec<u32> = as_is.iter().map(|&(id, _)| id).collect();
    assert_eq!(ids, tokenizer.encode(text).unwrap());
    let repaired = tokenizer.encode_repaired(text).unwrap();
    assert_eq!(repaired, tokenizer.encode_repaired(text).unwrap());
    for (id, span) in as_is.into_iter().chain(repaired) {
        assert!((id as usize) < tokenizer.vocab_size());
        assert!(text.get(span.clone()).is_some(), "{text:?} {span:?}");
    }
}

const JSON_PLACES: &[&str] = &[
    "/model",
    "/model/vocab",
    "/model/merges",
    "/model/merges/0",
    "/model/merges/0/1",
    "/model/unk_token",
    "/added_tokens",
    "/added_tokens/0",
    "/added_tokens/0/id",
    "/added_tokens/0/content",
    "/normalizer",
    "/normalizer/normalizers",
    "/normalizer/normalizers/1",
    "/normalizer/normalizers/1/pattern",
    "/normalizer/normalizers/1/pattern/Regex",
    "/pre_tokenizer",
    "/pre_tokenizer/pretokenizers/0/pattern",
    "/post_processor",
    "/post_processor/cls",
    "/padding",
];

/// Of few tokens.
fn tokenizer_json() -> Value {
    let token = |id: u32, content: &str| {
        serde_json::json!({
            "id": id, "content": content, "normalized": false, "special": true, "lstrip": false, "rstrip": false, "single_word": false,
        })
    };
    serde_json::json!({
        "added_tokens": [token(4, "<|startoftext|>"), token(5, "<|endoftext|>")],
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "NFC" },
            { "type": "Replace", "pattern": { "Regex": "\\s+" }, "content": " " },
            { "type": "Lowercase" },
        ] },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            {
                "type": "Split",
                "pattern": { "Regex": r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+" },
                "behavior": "Removed",
                "invert": true,
            },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        ] },
        "post_processor": { "type": "RobertaProcessing", "sep": ["<|endoftext|>", 5], "cls": ["<|startoftext|>", 4] },
        "padding": null,
        "model": {
            "type": "BPE",
            "unk_token": "<|endoftext|>",
            "end_of_word_suffix": "</w>",
            "vocab": { "a": 0, "b": 1, "b</w>": 2, "ab</w>": 3, "<|startoftext|>": 4, "<|endoftext|>": 5 },
            "merges": [["a", "b</w>"]],
        },
    })
}
