//! Encoded prompts against transformers, and the WebUI's rules for calls.

use std::{collections::HashMap, path::Path, sync::Arc};

use goldens::Refs;
use safetensors::{SafeTensors, tensor::TensorView};
use sd_core::prompt::{PromptOptions, Steps, TimeRule};

use super::*;
use crate::{Error, Pipeline, model::values, run::Components};

const LAYERS: usize = 12;

/// The tiny model with its text encoder's layers gone through again and again, as the reference has them.
fn pipeline() -> Pipeline {
    let folder = tempfile::tempdir().unwrap();
    let tiny = goldens::root().join("tiny-sd1");
    copy(&tiny, folder.path());
    let part = folder.path().join("text_encoder");
    let config = std::fs::read_to_string(part.join("config.json")).unwrap();
    let config = config.replace(
        "\"num_hidden_layers\": 5",
        &format!("\"num_hidden_layers\": {LAYERS}"),
    );
    std::fs::write(part.join("config.json"), config).unwrap();
    let bytes = std::fs::read(part.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut stacked: HashMap<String, TensorView<'_>> = HashMap::new();
    for (name, tensor) in file.iter() {
        let Some((before, after)) = name.split_once(".layers.") else {
            stacked.insert(name.to_owned(), tensor);
            continue;
        };
        let (number, rest) = after.split_once('.').unwrap();
        for layer in (number.parse().unwrap()..LAYERS).step_by(5) {
            stacked.insert(format!("{before}.layers.{layer}.{rest}"), tensor.clone());
        }
    }
    safetensors::serialize_to_file(&stacked, None, &part.join("model.safetensors")).unwrap();
    Pipeline::builder()
        .checkpoint(folder.path())
        .device("cpu")
        .dtype(sd_core::Dtype::F32)
        .build()
        .unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[derive(Default, serde::Deserialize)]
struct Case {
    name: String,
    prompt: String,
    entries: Vec<(usize, usize)>,
    emphasis: Option<String>,
    dialect: Option<String>,
    clip_skip: Option<usize>,
    backtrack: Option<usize>,
}

impl Case {
    fn reading(&self) -> Reading {
        let mut options = PromptOptions::default();
        if let Some(name) = &self.emphasis {
            options.emphasis = crate::parse_emphasis(name).unwrap();
        }
        if let Some(name) = &self.dialect {
            options.dialect = crate::parse_prompt_dialect(name).unwrap();
        }
        options.comma_backtrack = self.backtrack.unwrap_or(options.comma_backtrack);
        Reading {
            options,
            steps: Steps {
                base: 10,
                hires: None,
                rule: TimeRule::Current,
            },
            clip_skip: self.clip_skip.unwrap_or(1),
            pad: false,
        }
    }
}

fn condition(components: &Components, case: &Case) -> Conditioning {
    components
        .condition(&case.prompt, "", &case.reading(), &|| false)
        .unwrap()
}

#[test]
fn contexts_are_transformers() {
    let pipeline = pipeline();
    let refs = Refs::open("tiny-sd1/refs/conditioning.safetensors");
    let mut components = pipeline.components().clone();
    let embeddings = Arc::make_mut(&mut components.embeddings);
    embeddings
        .names
        .add("sdrsstyle", 3, &components.model.text_encoder().tokenizer)
        .unwrap();
    embeddings.vectors.push(vec![refs.f32s("embedding")]);
    let text = std::fs::read_to_string(goldens::root().join("tiny-sd1/refs/conditioning.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_str(&text).unwrap();
    assert!(cases.len() >= 20);
    // Once more, from the cache.
    for case in cases.iter().chain(&cases) {
        let timeline = &condition(&components, case).conds[0].1;
        assert_eq!(timeline.entries, case.entries, "{}", case.name);
        for (i, context) in timeline.texts.iter().enumerate() {
            refs.assert_close(&format!("{}.{i}", case.name), &context.context, 1e-5);
        }
    }
}

/// The text of a call: one that ends at step n is still used in call n, counted from 0; after the last the first comes again.
#[test]
fn calls_are_counted_as_the_webui_does() {
    let timeline = Timeline {
        entries: vec![(3, 0), (5, 1), (10, 2)],
        texts: vec![],
    };
    let used: Vec<usize> = (0..13).map(|call| timeline.at(call)).collect();
    assert_eq!(used, [0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 2, 0, 0]);
}

#[test]
fn prompts_of_different_length_fit_together() {
    let pipeline = pipeline();
    let mut case = Case {
        prompt: "a AND b BREAK c :0.5 AND d :-1".into(),
        ..Case::default()
    };
    let shapes = |conditioning: &Conditioning| {
        let contexts = conditioning.contexts(&conditioning.indices(0), pipeline.model());
        let length = |part: usize| contexts[part].text.dims()[1];
        let weights = conditioning.conds.iter().map(|(weight, _)| *weight).enumerate();
        let conds: Vec<(f64, usize)> = weights.map(|(part, weight)| (weight, length(part))).collect();
        let uncond = length(conds.len());
        (conds, uncond)
    };
    let conditioning = condition(pipeline.components(), &case);
    assert_eq!(
        shapes(&conditioning),
        (vec![(1.0, 154), (0.5, 154), (-1.0, 154)], 77)
    );
    // The shorter of what AND joins repeats its last vector.
    let contexts = conditioning.contexts(&conditioning.indices(0), pipeline.model());
    let first = values(contexts[0].text.clone()).unwrap();
    assert!(
        first[77 * 16..]
            .chunks(16)
            .all(|row| row == &first[76 * 16..77 * 16])
    );
    case.prompt = "a BREAK c".into();
    let mut reading = case.reading();
    reading.pad = true;
    let padded = pipeline
        .components()
        .condition(&case.prompt, "x", &reading, &|| false)
        .unwrap();
    assert_eq!(shapes(&padded), (vec![(1.0, 154)], 154));
    let contexts = padded.contexts(&padded.indices(0), pipeline.model());
    let empty = pipeline
        .components()
        .condition("", "", &reading, &|| false)
        .unwrap();
    assert_eq!(
        values(contexts[1].text.clone()).unwrap()[77 * 16..],
        empty.conds[0].1.texts[0].context
    );
}

#[test]
fn odd_prompts_are_answered() {
    let pipeline = pipeline();
    let reading = Case::default().reading();
    let run = |prompt: &str| {
        pipeline
            .components()
            .condition(prompt, "", &reading, &|| false)
            .map(|_| ())
    };
    let message = |prompt: &str| run(prompt).unwrap_err().to_string();
    run("(((((a:1.5):2):3)").unwrap();
    assert!(
        message("(a:99999999999999999999999999999999999999999999)").contains("its weights are too large")
    );
    assert!(message(&"a AND ".repeat(100)).contains("AND joins 101 prompts; 100 are the most"));
    assert!(message("a :1e9 AND b :2000").contains("must be from -1000 to 1000"));
    assert!(message("<lora:x:1> a").contains("the LoRA 'x' at 1 and 1, which this pipeline does not"));
    assert!(message("<lora:x:y> a").contains("'y' is no number, in its <lora:..> tag at byte 0"));
    run("<hypernet:x:1> a").unwrap();
    let cancelled = pipeline
        .components()
        .condition("never seen before", "", &reading, &|| true);
    assert!(matches!(cancelled, Err(Error::Cancelled)));
}
