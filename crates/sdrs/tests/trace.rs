//! Traces: the first stage in which two runs differ is the one in which they were made to.

mod common;

use sdrs::{
    ErrorCode, Pipeline, Request, Sampler,
    trace::{Comparison, Difference, compare, read},
};

fn pipeline() -> Pipeline {
    common::builder().build().unwrap()
}

fn run(pipeline: &Pipeline) -> Request<'_> {
    let request = pipeline.txt2img("a red circle").negative_prompt("blurry");
    request
        .sampler(Sampler::EulerAncestral)
        .steps(3)
        .seed(42)
        .width(64)
        .height(48)
}

#[test]
fn the_first_difference_is_found() {
    let (pipeline, folder) = (pipeline(), tempfile::tempdir().unwrap());
    let at = |name: &str| folder.path().join(name);
    let plain = run(&pipeline).run().unwrap();
    let traced = run(&pipeline).trace(at("own")).run().unwrap();
    assert!(plain.images[0].rgb == traced.images[0].rgb);
    let stages: Vec<String> = read(at("own"))
        .unwrap()
        .into_iter()
        .map(|record| record.stage)
        .collect();
    let expected = [
        "prompt.tokens",
        "negative_prompt.tokens",
        "pass.1.cond.0",
        "pass.1.uncond",
        "pass.1.sigmas",
        "picture.1.pass.1.noise",
        "picture.1.pass.1.step.0.latents",
        "picture.1.pass.1.step.1.latents",
        "picture.1.pass.1.step.1.denoised",
        "picture.1.pass.1.step.2.latents",
        "picture.1.pass.1.step.2.denoised",
        "picture.1.pass.1.step.3.latents",
        "picture.1.pass.1.step.3.denoised",
        "picture.1.image",
    ];
    assert_eq!(stages, expected);
    let with = |change: fn(Request<'_>) -> Request<'_>| -> Comparison {
        change(run(&pipeline)).trace(at("other")).run().unwrap();
        compare(at("own"), at("other")).unwrap()
    };
    let same = with(|r| r);
    assert!(same.first_difference().is_none() && same.stages.len() == expected.len());
    let first = |change| with(change).first_difference().unwrap().stage.clone();
    assert_eq!(first(|r| r.prompt("a red star")), "prompt.tokens");
    assert_eq!(first(|r| r.negative_prompt("(blurry:1.2)")), "pass.1.uncond");
    assert_eq!(
        first(|r| r.sampler(Sampler::Lms).schedule(sdrs::Schedule::Karras)),
        "pass.1.sigmas"
    );
    assert_eq!(first(|r| r.seed(43)), "picture.1.pass.1.noise");
    assert_eq!(first(|r| r.ensd(1)), "picture.1.pass.1.step.1.latents");
    // A small difference is less than a large one.
    let near = with(|r| r.cfg_scale(7.000_01));
    assert!(near.first_difference().is_some() && near.first_beyond(1e-2).is_none());
    let wider = with(|r| r.width(72));
    assert!(matches!(
        wider.first_difference().unwrap().difference,
        Difference::Shape { .. }
    ));
    let longer = with(|r| r.hires_scale(1.5));
    assert!(longer.second_alone.contains(&"pass.2.sigmas".to_owned()) && longer.first_alone.is_empty());
}

/// What tools/trace recorded of diffusers' run is what is computed here; a setting that is wrong shows where it acts.
#[test]
fn a_run_of_diffusers_is_compared() {
    let (pipeline, folder) = (pipeline(), tempfile::tempdir().unwrap());
    let own = folder.path().join("own");
    let compared = |change: fn(Request<'_>) -> Request<'_>| {
        let request = pipeline.txt2img("a red circle above a blue square");
        let request = request.negative_prompt("blurry, low quality").steps(3).seed(42);
        let request = request.sampler(Sampler::Euler).schedule(sdrs::Schedule::Karras);
        change(request.width(64).height(48)).trace(&own).run().unwrap();
        compare(&own, goldens::root().join("tiny-sd1/refs/trace.jsonl")).unwrap()
    };
    let same = compared(|r| r);
    assert!(same.first_alone.is_empty() && same.second_alone.is_empty() && same.stages.len() == 14);
    assert_eq!(same.first_beyond(1e-4), None);
    // PyTorch's noise is the same to an ulp, its tokens to the bit.
    assert!(
        same.stages[5].stage.ends_with("noise")
            && same.first_beyond(1e-6).unwrap().stage != same.stages[5].stage
    );
    assert_eq!(same.stages[0].difference, Difference::None);
    let first = |change| compared(change).first_beyond(1e-4).unwrap().stage.clone();
    assert_eq!(first(|r| r.clip_skip(2)), "pass.1.cond.0");
    assert_eq!(first(|r| r.schedule(sdrs::Schedule::Uniform)), "pass.1.sigmas");
    assert_eq!(first(|r| r.rng(sdrs::Rng::Nv)), "picture.1.pass.1.noise");
    assert_eq!(first(|r| r.cfg_scale(7.01)), "picture.1.pass.1.step.1.latents");
}

#[test]
fn what_can_not_be_written_or_compared_is_told() {
    let (pipeline, folder) = (pipeline(), tempfile::tempdir().unwrap());
    let error = run(&pipeline).trace(folder.path()).run().unwrap_err();
    assert_eq!(error.code(), ErrorCode::Io);
    let own = folder.path().join("own");
    run(&pipeline).trace(&own).latents().unwrap();
    let other = folder.path().join("other");
    let text = std::fs::read_to_string(&own).unwrap();
    std::fs::write(&other, text.replace("\"stage\":\"", "\"stage\":\"x")).unwrap();
    let error = compare(&own, &other).unwrap_err().to_string();
    assert!(error.contains("no stage of"), "{error}");
    // Of a run that was cut off all is there until then.
    std::fs::write(&other, &text[..text.len() / 2]).unwrap();
    assert!(
        compare(&own, &other)
            .unwrap_err()
            .to_string()
            .contains("is the file whole?")
    );
}
