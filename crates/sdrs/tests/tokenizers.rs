//! Tokenizers from where a user has them, and texts that are repaired before they are tokenized.

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use common::{builder, folder};
use flate2::read::GzDecoder;
use sdrs::{Dtype, ErrorCode, GenerateParams, Pipeline, PromptDialect, plan_prompts, plan_prompts_with};

#[derive(serde::Deserialize)]
struct Goldens {
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    name: String,
    files: BTreeMap<String, String>,
    texts: Vec<Texts>,
}

#[derive(serde::Deserialize)]
struct Texts {
    text: String,
    as_is: Vec<u32>,
    repaired: Option<Vec<u32>>,
}

/// A tokenizer as a writer leaves it, with texts and their tokens by transformers; see tools/goldens/tokenizer_files.py.
fn case(name: &str) -> Case {
    let file = fs::File::open(goldens::root().join("tokenizer/folders.json.gz")).unwrap();
    let goldens: Goldens = serde_json::from_reader(GzDecoder::new(file)).unwrap();
    goldens.cases.into_iter().find(|case| case.name == name).unwrap()
}

impl Case {
    fn write(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        for (name, text) in &self.files {
            fs::write(folder.join(name), text).unwrap();
        }
    }

    fn check(&self, pipeline: &Pipeline, what: &str) {
        for Texts {
            text,
            as_is,
            repaired,
        } in &self.texts
        {
            let ids = pipeline.tokenize_as_is(text).unwrap();
            assert_eq!(ids, *as_is, "{}, {what}: {text:?}", self.name);
            let repaired = repaired.as_ref().unwrap();
            assert_eq!(pipeline.tokenize(text).unwrap(), *repaired, "{what}: {text:?}");
        }
    }
}

/// The tiny model's folder with this tokenizer in it.
fn with_tokenizer(case: &Case) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for part in ["text_encoder", "unet", "vae", "scheduler"] {
        fs::create_dir(copy.path().join(part)).unwrap();
        for file in fs::read_dir(folder().join(part)).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), copy.path().join(part).join(file.file_name())).unwrap();
        }
    }
    case.write(&copy.path().join("tokenizer"));
    copy
}

fn single_file() -> PathBuf {
    goldens::tiny_sd1_ldm()
}

const FORMS: [&str; 5] = [
    "transformers 5",
    "tokenizer.json alone",
    "added_tokens.json",
    "both, and additional special tokens",
    "padding token that was added",
];

#[test]
fn a_folder_s_own() {
    for name in FORMS {
        let case = case(name);
        let copy = with_tokenizer(&case);
        let loaded = || Pipeline::builder().dtype(sdrs::Dtype::F32).device("cpu");
        let pipeline = loaded().checkpoint(copy.path()).build().unwrap();
        case.check(&pipeline, "folder");
        // What is saved keeps all of it.
        let out = tempfile::tempdir().unwrap();
        let (file, folder) = (out.path().join("x.safetensors"), out.path().join("x"));
        pipeline.save_file(&file, Dtype::F16).unwrap();
        let from_file = loaded().checkpoint(&file).build().unwrap();
        case.check(&from_file, "saved file");
        from_file.save_folder(&folder, Dtype::F16).unwrap();
        let from_folder = loaded().checkpoint(&folder).build().unwrap();
        case.check(&from_folder, "saved folder");
        // A text encoder brings it along.
        let other = builder().text_encoder(copy.path()).build().unwrap();
        case.check(&other, "text encoder");
        // A single file has none, and takes that of the folder which describes it.
        let file = loaded().checkpoint(single_file());
        let described = file.config(copy.path()).build().unwrap();
        case.check(&described, "config");
    }
}

#[test]
fn one_that_is_given() {
    let plain = builder().build().unwrap();
    for name in FORMS {
        let case = case(name);
        let out = tempfile::tempdir().unwrap();
        case.write(out.path());
        let given = builder().tokenizer(out.path()).build().unwrap();
        case.check(&given, "given");
        assert_ne!(
            given.tokenize("octopus").unwrap(),
            plain.tokenize("octopus").unwrap()
        );
        let mut params = GenerateParams::default();
        params.text.prompt = case.texts[0].text.clone();
        let plan = plan_prompts_with(out.path(), &params).unwrap();
        let ids: Vec<u32> = plan.prompt[0].texts[0].chunks[0]
            .iter()
            .map(|token| token.id)
            .collect();
        assert_eq!(Some(&ids), case.texts[0].repaired.as_ref(), "{name}");
    }
    // The file by itself, or the folder of a pipeline; it wins over all others.
    let case = case("tokenizer.json alone");
    let copy = with_tokenizer(&case);
    for path in [copy.path().join("tokenizer/tokenizer.json"), copy.path().into()] {
        case.check(&builder().tokenizer(path).build().unwrap(), "given");
    }
    let other = with_tokenizer(&self::case("plain"));
    let given = Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .device("cpu")
        .checkpoint(other.path());
    let given = given.tokenizer(copy.path().join("tokenizer"));
    case.check(&given.build().unwrap(), "given beside another");
    let out = copy.path().join("saved");
    let given = builder().tokenizer(copy.path());
    given.save_folder(&out, Dtype::F16).unwrap();
    case.check(
        &Pipeline::builder()
            .dtype(sdrs::Dtype::F32)
            .device("cpu")
            .checkpoint(&out)
            .build()
            .unwrap(),
        "saved",
    );
}

#[test]
fn what_can_not_be_used_is_told() {
    let fails = |builder: sdrs::PipelineBuilder, code: ErrorCode, words: &[&str]| {
        let error = builder.build().map(drop).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        for word in words {
            assert!(error.to_string().contains(word), "{error}: {word}");
        }
    };
    let out = tempfile::tempdir().unwrap();
    let path = |name: &str| out.path().join(name);
    fails(builder().tokenizer(path("absent")), ErrorCode::Io, &["absent"]);
    fails(
        builder().tokenizer(out.path()),
        ErrorCode::InvalidFile,
        &["vocab.json: is missing, and so is tokenizer.json"],
    );
    fs::write(path("tokenizer.json"), "{}").unwrap();
    fails(
        builder().tokenizer(path("tokenizer.json")),
        ErrorCode::InvalidFile,
        &["tokenizer.json", "model"],
    );
    // A folder with half of a tokenizer doesn't get another one without a word.
    let copy = with_tokenizer(&case("added_tokens.json"));
    fs::remove_file(copy.path().join("tokenizer/vocab.json")).unwrap();
    let half = Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .device("cpu")
        .checkpoint(copy.path());
    fails(half, ErrorCode::InvalidFile, &["vocab.json: is missing"]);
    // A text encoder of fewer tokens than CLIP's, in a file that has no tokenizer: the error says what to do.
    let demo = goldens::root().join("../models/demo/base");
    let bare = tempfile::tempdir().unwrap();
    for part in ["text_encoder", "unet", "vae", "scheduler"] {
        fs::create_dir(bare.path().join(part)).unwrap();
        for file in fs::read_dir(demo.join(part)).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), bare.path().join(part).join(file.file_name())).unwrap();
        }
    }
    let bare = || {
        Pipeline::builder()
            .dtype(sdrs::Dtype::F32)
            .device("cpu")
            .checkpoint(bare.path())
    };
    fails(
        bare(),
        ErrorCode::InvalidFile,
        &[
            "carries no tokenizer",
            "go up to 49407",
            "vocab_size is",
            "as `tokenizer`",
        ],
    );
    bare().tokenizer(&demo).build().unwrap();
}

#[test]
fn texts_are_repaired_unless_they_are_taken_as_they_are() {
    let mut params = GenerateParams::default();
    params.text.prompt = "Twitter\u{2019}s slow end".into();
    let tokens = |params: &GenerateParams| -> Vec<(u32, String)> {
        let plan = plan_prompts(params).unwrap();
        let tokens = plan.prompt[0].texts[0].chunks[0].iter();
        tokens.map(|token| (token.id, token.text.clone())).collect()
    };
    let ids =
        |params: &GenerateParams| -> Vec<u32> { tokens(params).into_iter().map(|(id, _)| id).collect() };
    // The slow tokenizer's, transformers 4.30.2 with ftfy.
    assert_eq!(ids(&params), [1989, 568, 5444, 806]);
    assert_eq!(tokens(&params)[1], (568, "\u{2019}s".into()));
    params.text.prompt = "it\u{2019}s".into();
    assert_eq!(ids(&params), [585, 568]);
    // goldens/tokenizer/clip.json.
    let as_is = [585, 728, 503, 338];
    params.text.text_as_is = true;
    assert_eq!(ids(&params), as_is);
    params.text.text_as_is = false;
    params.text.prompt_dialect = PromptDialect::Comfy;
    assert_eq!(ids(&params), as_is);

    // What diffusers encodes is taken as it is.
    let pipeline = builder().build().unwrap();
    let encoded = |text| pipeline.encode_text(text, 1).unwrap();
    assert_ne!(encoded("it\u{2019}s"), encoded("it's"));
    let encoded = |text| pipeline.encode_prompt(text, 1).unwrap();
    assert_eq!(encoded("it\u{2019}s"), encoded("it's"));
    assert_eq!(pipeline.tokenize("it\u{2019}s").unwrap(), [585, 568]);
    assert_eq!(pipeline.tokenize_as_is("it\u{2019}s").unwrap(), as_is);
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_prompt() {
    let plan = |prompt: &str, as_is| {
        let mut params = GenerateParams::default();
        (params.text.prompt, params.text.text_as_is) = (prompt.into(), as_is);
        params.text.negative_prompt = prompt.into();
        plan_prompts(&params).unwrap()
    };
    for as_is in [false, true] {
        let (plain, marked) = (plan("a red circle", as_is), plan("\u{feff}a red circle", as_is));
        for (plain, marked) in [
            (&plain.prompt[0], &marked.prompt[0]),
            (&plain.negative_prompt, &marked.negative_prompt),
        ] {
            assert_eq!(plain.texts[0].text, marked.texts[0].text);
            let tokens = plain.texts[0].chunks[0].iter().zip(&marked.texts[0].chunks[0]);
            for (plain, marked) in tokens {
                assert_eq!((plain.id, &plain.text), (marked.id, &marked.text));
                assert_eq!(plain.span.start + 3, marked.span.start);
            }
        }
    }
    let text = "a red circle\nSteps: 20, Sampler: Euler, Seed: 3";
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("infotext.txt");
    fs::write(&path, format!("\u{feff}{text}")).unwrap();
    let marked = sdrs::infotext::of_file(&path).unwrap();
    let read = sdrs::infotext::parse(&marked).unwrap();
    assert_eq!(read, sdrs::infotext::parse(text).unwrap());
    assert_eq!(read.params.text.prompt, "a red circle");
}
