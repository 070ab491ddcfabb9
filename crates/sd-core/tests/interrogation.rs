//! CLIP and BLIP against transformers and open_clip, element by element and token for token, in every layout.

use std::path::{Path, PathBuf};

use burn_tensor::{DType, Tensor, TensorData};
use goldens::Refs;
use sd_core::{
    BertTokenizer, ClipTokenizer, Device, Dtype, Error,
    models::{Blip, BlipFiles, CaptionOptions, Clip, ClipFiles, ClipGiven, EarlyStopping, TextStart},
    weights::Target,
};

fn target(dtype: Dtype) -> Target {
    Target::new(Device::from_name("cpu").unwrap(), dtype)
}

fn path(name: &str) -> PathBuf {
    goldens::root().join("interrogation").join(name)
}

fn refs() -> Refs {
    Refs::open("interrogation/refs.safetensors")
}

fn tensor<const D: usize>(refs: &Refs, name: &str) -> Tensor<D> {
    let shape: [usize; D] = refs.shape(name).try_into().unwrap();
    let device = target(Dtype::F32).device;
    Tensor::from_data(
        TensorData::new(refs.f32s(name), shape),
        (device.burn(), DType::F32),
    )
}

fn assert_close<const D: usize>(refs: &Refs, name: &str, got: Tensor<D>, tolerance: f64) {
    assert_eq!(got.dims().to_vec(), refs.shape(name), "{name}");
    let got = got.cast(DType::F32).into_data().try_to_vec::<f32>().unwrap();
    refs.assert_close(name, &got, tolerance);
}

/// The tokenizer that all tiny CLIPs have.
fn given() -> ClipGiven {
    let folder = goldens::root().join("../models/demo/base/tokenizer");
    ClipGiven {
        activation: None,
        tokenizer: Some(ClipTokenizer::open(&folder).unwrap()),
    }
}

fn clip_files(name: &str) -> ClipFiles {
    ClipFiles::open(&path(name), given()).unwrap()
}

fn ids(refs: &Refs, text: usize) -> Vec<u32> {
    let ids = refs.i64s(&format!("clip.ids.{text}")).into_iter();
    ids.map(|id| id as u32).collect()
}

#[test]
fn clips_are_transformers() {
    let refs = refs();
    let files = clip_files("clip");
    for (dtype, tolerance) in [(Dtype::F32, 1e-5), (Dtype::Bf16, 3e-2)] {
        let clip = Clip::load(&files, &target(dtype)).unwrap();
        let pictures: Tensor<4> = tensor(&refs, "clip.pictures");
        for (i, state) in clip
            .vision_states(pictures.clone())
            .unwrap()
            .into_iter()
            .enumerate()
        {
            assert_close(&refs, &format!("clip.vision.{i}"), state, tolerance);
        }
        let seen = clip.embed_pictures(pictures).unwrap();
        assert_close(&refs, "clip.image_embeds", seen.clone(), tolerance);
        for text in 0..4 {
            let ids = vec![ids(&refs, text)];
            for (j, state) in clip
                .text()
                .hidden_states(&ids, &[])
                .unwrap()
                .into_iter()
                .enumerate()
            {
                assert_close(&refs, &format!("clip.text.{text}.{j}"), state, tolerance);
            }
            let said = clip.embed_texts(&TextStart::default(), &ids).unwrap();
            assert_close(
                &refs,
                &format!("clip.text_embeds.{text}"),
                said.clone(),
                tolerance,
            );
            // Padding behind the end changes nothing.
            let mut padded = ids[0].clone();
            padded.resize(77, padded[padded.len() - 1]);
            let padded = clip.embed_texts(&TextStart::default(), &[padded]).unwrap();
            assert_close(&refs, &format!("clip.text_embeds.{text}"), padded, tolerance);
            // Nor does it matter how much of it is computed before.
            for before in [1, ids[0].len() / 2, ids[0].len() - 1] {
                let (start, rest) = ids[0].split_at(before);
                let start = clip.text().start(start).unwrap();
                let rows = [rest.to_vec(), rest.to_vec()];
                let twice = clip.embed_texts(&start, &rows).unwrap();
                for row in 0..2 {
                    let said = twice.clone().narrow(0, row, 1);
                    assert_close(&refs, &format!("clip.text_embeds.{text}"), said, tolerance);
                }
                let long = vec![vec![1; 78 - before]];
                assert!(matches!(
                    clip.embed_texts(&start, &long),
                    Err(Error::Shape { .. })
                ));
            }
            if text == 0 {
                let norm = |x: Tensor<2>| x.clone() / x.powi_scalar(2).sum_dim(1).sqrt();
                let logits = norm(seen.clone()).matmul(norm(said).transpose()) * clip.logit_scale().unwrap();
                assert_close(&refs, "clip.logits", logits, 10.0 * tolerance);
            }
        }
    }
}

/// A start of another type, or of a model of other sizes, is no start of this one.
#[test]
fn starts_belong_to_a_model() {
    let load = |name: &str, dtype| Clip::load(&clip_files(name), &target(dtype)).unwrap();
    let clip = load("clip", Dtype::F32);
    for other in [load("clip", Dtype::Bf16), load("open_clip", Dtype::F32)] {
        let start = other.text().start(&[737, 4, 5]).unwrap();
        let error = clip.embed_texts(&start, &[vec![6, 738]]).unwrap_err();
        assert!(matches!(error, Error::Shape { name: "start", .. }), "{error}");
    }
}

#[test]
fn open_clips_and_openais_are_theirs() {
    let refs = refs();
    for (name, layout) in [("open_clip", "open_clip"), ("openai.pt", "openai")] {
        let files = clip_files(name);
        assert!(files.repairs_texts);
        let clip = Clip::load(&files, &target(Dtype::F32)).unwrap();
        let pictures = tensor(&refs, &format!("{layout}.pictures"));
        let seen = clip.embed_pictures(pictures).unwrap();
        assert_close(&refs, &format!("{layout}.image_embeds"), seen, 1e-5);
        for text in 0..4 {
            let said = clip
                .embed_texts(&TextStart::default(), &[ids(&refs, text)])
                .unwrap();
            assert_close(&refs, &format!("{layout}.text_embeds.{text}"), said, 1e-5);
        }
    }
}

#[test]
fn blips_see_and_say_what_transformers_do() {
    let refs = refs();
    // The authors' vision model has another epsilon, which shows here: its captions are compared below.
    let blip = Blip::load(
        &BlipFiles::open(&path("blip"), None).unwrap(),
        &target(Dtype::F32),
    )
    .unwrap();
    let picture = tensor::<4>(&refs, "blip.pictures").narrow(0, 0, 1);
    let mut states = blip.vision_states(picture.clone()).unwrap();
    assert_close(&refs, "blip.vision.last", states.pop().unwrap(), 1e-5);
    for (i, state) in states.into_iter().enumerate() {
        assert_close(&refs, &format!("blip.vision.{i}"), state, 1e-5);
    }
    let ids: Vec<u32> = refs.i64s("blip.ids").into_iter().map(|id| id as u32).collect();
    let image = blip.encode(picture).unwrap();
    let (states, scores) = blip.decoder_states(&image, &ids).unwrap();
    for (i, state) in states.into_iter().enumerate() {
        assert_close(&refs, &format!("blip.text.{i}"), state, 1e-5);
    }
    assert_close(&refs, "blip.logits", scores, 1e-5);
}

#[derive(serde::Deserialize)]
struct Caption {
    picture: usize,
    prompt: Vec<u32>,
    options: serde_json::Value,
    tokens: Vec<u32>,
}

fn options(said: &serde_json::Value, prompt: usize) -> CaptionOptions {
    let number = |name: &str| said[name].as_u64().map(|n| n as usize);
    let usual = CaptionOptions::default();
    CaptionOptions {
        min_length: number("min_length").unwrap_or(0),
        // transformers counts the prompt on top where nothing is said.
        max_length: number("max_length").unwrap_or(20 + prompt.max(1)),
        beams: number("num_beams").unwrap_or(1),
        length_penalty: said["length_penalty"].as_f64().unwrap_or(1.0),
        repetition_penalty: said["repetition_penalty"].as_f64().unwrap_or(1.0),
        early_stopping: match &said["early_stopping"] {
            serde_json::Value::Bool(true) => EarlyStopping::Full,
            serde_json::Value::String(_) => EarlyStopping::Never,
            _ => usual.early_stopping,
        },
    }
}

#[test]
fn captions_are_transformers_token_for_token() {
    let refs = refs();
    let cases = std::fs::read_to_string(path("captions.json")).unwrap();
    let cases: Vec<Caption> = serde_json::from_str(&cases).unwrap();
    assert_eq!(cases.len(), 48);
    let vocabulary = path("blip/vocab.txt");
    for layout in ["blip", "blip.pth"] {
        let mut files = BlipFiles::open(&path(layout), Some(&vocabulary)).unwrap();
        if layout == "blip.pth" {
            // What the tiny model has otherwise than those of the authors.
            let usual = BlipFiles::open(&path("blip"), None).unwrap().config;
            assert_eq!(files.config.vision.layer_norm_eps, 1e-6);
            assert_eq!(files.config.text.bos_token_id, usual.text.bos_token_id);
            files.config = usual;
        }
        let blip = Blip::load(&files, &target(Dtype::F32)).unwrap();
        let pictures: Tensor<4> = tensor(&refs, "blip.pictures");
        for case in &cases {
            let image = blip.encode(pictures.clone().narrow(0, case.picture, 1)).unwrap();
            let options = options(&case.options, case.prompt.len());
            let mut caption = blip.caption(&image, &case.prompt, options).unwrap();
            while !caption.done() {
                caption.step().unwrap();
            }
            assert_eq!(
                caption.tokens(),
                case.tokens,
                "{layout}, {}: {:?} {}",
                case.picture,
                case.prompt,
                case.options
            );
        }
    }
}

#[derive(serde::Deserialize)]
struct Words {
    encoded: Vec<Said>,
    decoded: Vec<Said>,
}

#[derive(serde::Deserialize)]
struct Said {
    text: String,
    ids: Vec<u32>,
}

#[test]
fn words_are_berts() {
    let tokenizer = BertTokenizer::open(&path("blip")).unwrap();
    assert_eq!(tokenizer.vocab_size(), 42);
    let words: Words = serde_json::from_str(&std::fs::read_to_string(path("words.json")).unwrap()).unwrap();
    for Said { text, ids } in &words.encoded {
        // transformers' own class doesn't know BLIP's two tokens as such.
        let got = tokenizer.encode(&text.replace("[DEC]", "[ DEC ]")).unwrap();
        let expected = if text.contains("[DEC]") { &ids[..2] } else { ids };
        assert_eq!(&got[..expected.len()], expected, "{text:?}");
    }
    for Said { text, ids } in &words.decoded {
        assert_eq!(&tokenizer.decode(ids).unwrap(), text);
    }
}

/// A file of text in a folder of its own.
fn written(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn refusal(made: Result<BertTokenizer, Error>) -> String {
    made.expect_err("it can't be used").to_string()
}

#[test]
fn tokenizers_that_are_no_berts_are_refused() {
    for (name, text, says) in [
        ("vocab.txt", "[PAD]\n[UNK]\na\na\n", "'a' is in lines 3 and 4"),
        ("vocab.txt", "a\nb\n", "lacks [UNK]"),
        ("vocab.txt", "", "lacks [UNK]"),
        ("tokenizer.json", "{", "EOF"),
        (
            "tokenizer.json",
            r#"{"model":{"type":"BPE","vocab":{}}}"#,
            "model.type",
        ),
        (
            "tokenizer.json",
            r###"{"model":{"type":"WordPiece","vocab":{"[UNK]":0},"continuing_subword_prefix":"##","max_input_chars_per_word":9}}"###,
            "max_input_chars_per_word",
        ),
        (
            "tokenizer.json",
            r#"{"model":{"vocab":{"[UNK]":0}},"normalizer":{"type":"Replace"}}"#,
            "BertNormalizer",
        ),
    ] {
        let (_folder, path) = written(name, text);
        let message = refusal(BertTokenizer::open(&path));
        assert!(message.contains(says), "{message}");
    }
    let empty = tempfile::tempdir().unwrap();
    assert!(refusal(BertTokenizer::open(empty.path())).contains("vocab.txt"));
    assert!(refusal(BertTokenizer::open(Path::new("absent"))).contains("absent"));
}

#[test]
fn a_json_says_what_a_vocabulary_does() {
    let words = std::fs::read_to_string(path("blip/vocab.txt")).unwrap();
    let vocab: serde_json::Map<String, serde_json::Value> = words
        .lines()
        .enumerate()
        .map(|(id, word)| (word.to_owned(), id.into()))
        .collect();
    let json = serde_json::json!({
        "model": { "type": "WordPiece", "vocab": vocab, "unk_token": "[UNK]", "max_input_chars_per_word": 100 },
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true
        },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
    });
    let (_folder, file) = written("tokenizer.json", &json.to_string());
    let (from_json, from_words) = (
        BertTokenizer::open(&file).unwrap(),
        BertTokenizer::open(&path("blip")).unwrap(),
    );
    for text in ["Two RED triangles, one dog's catfish.", "caf\u{e9}", "[SEP] a"] {
        assert_eq!(from_json.encode(text).unwrap(), from_words.encode(text).unwrap());
    }
}

/// A copy of a folder with another text in one of its files.
fn changed(folder: &str, file: &str, change: impl Fn(&str) -> String) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(path(folder)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let place = copy.path().join(file);
    let text = std::fs::read_to_string(path(folder).join(file)).unwrap_or_default();
    std::fs::write(place, change(&text)).unwrap();
    copy
}

#[test]
fn faults_of_models_are_told() {
    let clip = |folder: &Path| match ClipFiles::open(folder, given()) {
        Ok(files) => match Clip::load(&files, &target(Dtype::F32)) {
            Ok(_) => panic!("it was taken"),
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    };
    for (from, to, says) in [
        (
            "\"num_hidden_layers\": 3",
            "\"num_hidden_layers\": 4",
            "missing: text_model.encoder.layers.3",
        ),
        ("\"patch_size\": 7", "\"patch_size\": 0", "patch_size"),
        ("\"patch_size\": 7", "\"patch_size\": 5", "misshapen"),
        (
            "\"num_hidden_layers\": 3",
            "\"num_hidden_layers\": 2",
            "unexpected: text_model.encoder.layers.2",
        ),
        ("quick_gelu", "relu", "hidden_act"),
        ("\"num_channels\": 3", "\"num_channels\": 4", "num_channels"),
        ("\"model_type\": \"clip\"", "\"model_type\": \"siglip\"", "siglip"),
        (
            "\"projection_dim\": 20",
            "\"projection_dim\": -1",
            "projection_dim",
        ),
    ] {
        let folder = changed("clip", "config.json", |text| text.replace(from, to));
        let message = clip(folder.path());
        assert!(message.contains(says), "{from} to {to}: {message}");
    }
    let folder = changed("clip", "preprocessor_config.json", |_| {
        r#"{"size": {"shortest_edge": 30}, "crop_size": 31}"#.into()
    });
    assert!(clip(folder.path()).contains("size"));
    let without = tempfile::tempdir().unwrap();
    assert!(clip(without.path()).contains("no weights"));
    assert!(clip(&path("blip.pth")).contains("is no CLIP"));
    // Without its own tokenizer the archive would be fed ids that it doesn't know.
    let plain = ClipFiles::open(&path("openai.pt"), ClipGiven::default())
        .err()
        .unwrap();
    assert!(plain.to_string().contains("49408 tokens"), "{plain}");
    let blip = BlipFiles::open(&path("openai.pt"), Some(&path("blip/vocab.txt")));
    assert!(blip.err().unwrap().to_string().contains("is no BLIP"));
}

#[test]
fn shapes_and_lengths_are_checked() {
    let refs = refs();
    let blip = Blip::load(
        &BlipFiles::open(&path("blip"), None).unwrap(),
        &target(Dtype::F32),
    )
    .unwrap();
    let pictures: Tensor<4> = tensor(&refs, "blip.pictures");
    assert!(blip.encode(pictures.clone()).is_err());
    assert!(
        blip.encode(pictures.clone().narrow(0, 0, 1).narrow(1, 0, 27))
            .is_err()
    );
    let image = blip.encode(pictures.narrow(0, 0, 1)).unwrap();
    let with = |max_length, beams| CaptionOptions {
        max_length,
        beams,
        ..CaptionOptions::default()
    };
    assert!(blip.caption(&image, &[], with(41, 1)).is_err());
    assert!(blip.caption(&image, &[], with(40, 0)).is_err());
    assert!(blip.caption(&image, &[2, 99], with(40, 1)).is_err());
    // A prompt that leaves no room is the whole text.
    let full = blip.caption(&image, &[2, 5, 6], with(3, 2)).unwrap();
    assert!(full.done() && full.tokens().is_empty());
}
