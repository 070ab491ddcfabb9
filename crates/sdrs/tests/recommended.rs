//! Settings that a checkpoint recommends: where they are read from, when they are taken, and who is told.

mod common;

use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use common::{builder, folder};
use sdrs::{Dtype, ErrorCode, GenerateParams, Pipeline, PipelineBuilder, Sampler, Schedule};

const SETTINGS: &str =
    r#"{"steps": 3, "cfg_scale": 2.5, "sampler": "Euler a", "schedule": "Karras", "clip_skip": 2}"#;
const TOLD: &str = "steps 3, cfg_scale 2.5, sampler Euler a, schedule Karras, clip_skip 2";

/// The tiny model with this file among its own.
fn with_file(json: &str) -> PipelineBuilder {
    let mut files = HashMap::new();
    let mut folders = vec![String::new()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(folder().join(&inner)).unwrap() {
            let entry = entry.unwrap();
            let name = Path::new(&inner)
                .join(entry.file_name())
                .to_str()
                .unwrap()
                .replace('\\', "/");
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(name),
                false => drop(files.insert(name, Arc::from(fs::read(entry.path()).unwrap()))),
            }
        }
    }
    files.insert("sdrs_recommended.json".into(), Arc::from(json.as_bytes()));
    Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .weight_dtype(sdrs::WeightDtype::F32)
        .checkpoint_files("tiny", files)
        .device("cpu")
}

fn infotext(request: sdrs::Request<'_>) -> String {
    let output = request.width(32).height(32).seed(1).run().unwrap();
    output.images[0].infotext.lines().last().unwrap().to_owned()
}

#[test]
fn they_are_taken_where_nothing_else_is_said() {
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = lines.clone();
    let pipeline = with_file(SETTINGS).on_log(move |_, line| log.lock().unwrap().push(line.to_owned()));
    let pipeline = pipeline.build().unwrap();
    assert_eq!(pipeline.recommended().to_string(), TOLD);
    let told = || {
        let lines = std::mem::take(&mut *lines.lock().unwrap());
        let told = lines
            .into_iter()
            .find(|line| line.starts_with("as the checkpoint recommends: "));
        told.map(|line| line["as the checkpoint recommends: ".len()..].to_owned())
    };
    assert_eq!(told(), None);

    let text = infotext(pipeline.txt2img("a cat"));
    assert!(
        text.starts_with("Steps: 3, Sampler: Euler a, Schedule type: Karras, CFG scale: 2.5, Seed: 1,"),
        "{text}"
    );
    assert!(text.contains("Clip skip: 2"), "{text}");
    assert_eq!(told().as_deref(), Some(TOLD));

    // Whatever the order in which the rest is said.
    let text = infotext(
        pipeline
            .txt2img("a cat")
            .clip_skip(1)
            .cfg_scale(1.0)
            .sampler(Sampler::Euler),
    );
    assert!(
        text.starts_with("Steps: 3, Sampler: Euler, Schedule type: Automatic, CFG scale: 1, "),
        "{text}"
    );
    assert!(!text.contains("Clip skip"), "{text}");
    assert_eq!(told().as_deref(), Some("steps 3"));
    for request in [
        pipeline
            .txt2img("a cat")
            .schedule(Schedule::Beta)
            .sampler(Sampler::Euler),
        pipeline
            .txt2img("a cat")
            .sampler(Sampler::Euler)
            .schedule(Schedule::Beta),
    ] {
        assert!(
            infotext(request).starts_with("Steps: 3, Sampler: Euler, Schedule type: Beta, CFG scale: 2.5, ")
        );
    }

    // All parameters at once are the caller's.
    told();
    let text = infotext(pipeline.txt2img("").params(GenerateParams::default()).steps(1));
    assert!(
        text.starts_with("Steps: 1, Sampler: DPM++ 2M, Schedule type: Automatic, CFG scale: 7, "),
        "{text}"
    );
    assert_eq!(told(), None);
    // A pipeline that shares with it recommends the same.
    assert_eq!(
        pipeline
            .with_loras(Vec::<sdrs::Lora>::new())
            .unwrap()
            .recommended(),
        pipeline.recommended()
    );
}

#[test]
fn other_checkpoints_keep_the_defaults() {
    let pipeline = builder().build().unwrap();
    assert!(pipeline.recommended().is_empty());
    let text = infotext(pipeline.txt2img("a cat"));
    assert!(
        text.starts_with("Steps: 20, Sampler: DPM++ 2M, Schedule type: Automatic, CFG scale: 7, "),
        "{text}"
    );
}

#[test]
fn they_are_saved() {
    let out = tempfile::tempdir().unwrap();
    let (file, saved) = (out.path().join("file.safetensors"), out.path().join("saved"));
    with_file(SETTINGS).save_file(&file, Dtype::F32).unwrap();
    let of_file = Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .weight_dtype(sdrs::WeightDtype::F32)
        .checkpoint(&file)
        .device("cpu");
    assert_eq!(of_file.build().unwrap().recommended().to_string(), TOLD);
    Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .weight_dtype(sdrs::WeightDtype::F32)
        .checkpoint(&file)
        .save_folder(&saved, Dtype::F32)
        .unwrap();
    assert_eq!(
        fs::read_to_string(saved.join("sdrs_recommended.json")).unwrap(),
        SETTINGS
    );
    let of_folder = Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .weight_dtype(sdrs::WeightDtype::F32)
        .checkpoint(&saved)
        .device("cpu");
    assert_eq!(of_folder.build().unwrap().recommended().to_string(), TOLD);
}

#[test]
fn what_can_t_be_used_is_told() {
    for (json, reason) in [
        ("no", "no JSON object"),
        (r#"{"steps": 0}"#, "steps: must be 1 to 10000, not 0"),
        (
            r#"{"cfg_scale": 1e9}"#,
            "cfg_scale: must be a number from -1000 to 1000",
        ),
        (r#"{"clip_skip": 99}"#, "clip_skip: must be 1 to "),
        (r#"{"sampler": "Eulr"}"#, "sampler: unknown sampler \"Eulr\""),
    ] {
        let error = with_file(json).build().unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidFile, "{json}");
        let message = error.to_string();
        let begins = format!("tiny/sdrs_recommended.json: recommended settings: {reason}");
        assert!(message.starts_with(&begins), "{message}");
    }
    let warned: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = warned.clone();
    let pipeline = with_file(r#"{"steps": 5, "hires": 2}"#).on_log(move |level, line| {
        if level == sdrs::LogLevel::Warning {
            log.lock().unwrap().push(line.to_owned());
        }
    });
    assert_eq!(pipeline.build().unwrap().recommended().to_string(), "steps 5");
    let expected = "tiny/sdrs_recommended.json: the recommended 'hires' is not known, and not used";
    assert_eq!(*warned.lock().unwrap(), [expected]);
}
