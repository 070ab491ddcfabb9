//! Shortcuts that make runs faster: nothing else changes, and a seed gives one picture however it is run.

use sdrs::{GenerateParams, OperationTime, Pipeline, PreviewMethod, Request, Sampler, infotext};

fn pipeline() -> Pipeline {
    let builder = Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .checkpoint(goldens::root().join("tiny-sd1"));
    builder.device("cpu").profile(true).build().unwrap()
}

fn request<'a>(pipeline: &'a Pipeline, prompt: &str) -> Request<'a> {
    let request = pipeline.txt2img(prompt).negative_prompt("blurry");
    request
        .width(64)
        .height(64)
        .steps(6)
        .seed(7)
        .sampler(Sampler::Euler)
}

fn latents(request: Request<'_>) -> Vec<f32> {
    request.latents().unwrap().latents.values
}

/// All of them at once.
fn all(request: Request<'_>) -> Request<'_> {
    let request = request.ngms(3.0).skip_early_cfg(0.1).guidance_sigma_max(12.0);
    request
        .token_merging(0.4)
        .deep_cache_interval(3)
        .deep_cache_branch(2)
}

/// The number of times that an operation ran so far.
fn calls(pipeline: &Pipeline, operation: &str) -> usize {
    let profile = pipeline.profile();
    let of = |entry: &&OperationTime| entry.operation == operation;
    profile.iter().filter(of).map(|entry| entry.calls).sum()
}

#[test]
fn one_picture_however_it_is_run() {
    let pipeline = pipeline();
    for sampler in [
        Sampler::Euler,
        Sampler::Heun,
        Sampler::DpmAdaptive,
        Sampler::DdimCfgPp,
    ] {
        for prompt in [
            "a circle",
            "[a|b|c] circle",
            "a AND b :0.5",
            "[a:b:0.5] c BREAK d",
        ] {
            let one = |seed| latents(all(request(&pipeline, prompt)).sampler(sampler).seed(seed));
            let alone = [one(7), one(8)].concat();
            let plain = latents(request(&pipeline, prompt).sampler(sampler));
            assert!(
                plain != alone[..plain.len()],
                "{sampler:?} {prompt}: nothing changed"
            );
            let batch = all(request(&pipeline, prompt)).sampler(sampler).batch_size(2);
            assert!(latents(batch) == alone, "{sampler:?} {prompt}: a batch");
            let threads = Pipeline::builder()
                .dtype(sdrs::Dtype::F32)
                .checkpoint(goldens::root().join("tiny-sd1"));
            let threads = threads.device("cpu").threads(3).build().unwrap();
            let shown = all(request(&threads, prompt)).sampler(sampler).batch_size(2);
            let shown = shown.previews(PreviewMethod::Approximate, 1).on_progress(|_| {});
            assert!(
                latents(shown) == alone,
                "{sampler:?} {prompt}: threads and previews"
            );
        }
    }
}

#[test]
fn infotexts_bring_the_picture_back() {
    let pipeline = pipeline();
    let made = all(request(&pipeline, "a circle"))
        .ngms_all_steps(true)
        .guidance_sigma_min(0.5)
        .latents()
        .unwrap();
    let text = &made.infotexts[0];
    for pair in [
        "NGMS: 3,",
        "NGMS all steps: True,",
        "Skip Early CFG: 0.1,",
        "Guidance sigma min: 0.5,",
        "Guidance sigma max: 12,",
        "Token merging ratio: 0.4,",
        "DeepCache interval: 3,",
        "DeepCache branch: 2,",
    ] {
        assert!(text.contains(pair), "{pair} {text}");
    }
    let params = infotext::parse(text).unwrap().params;
    assert!(latents(pipeline.txt2img("").params(params)) == made.latents.values);
    let plain = request(&pipeline, "a circle").latents().unwrap();
    assert!(!plain.infotexts[0].contains("NGMS") && !plain.infotexts[0].contains("DeepCache"));
}

/// Without the negative prompt a call is what it is without guidance.
#[test]
fn outside_of_its_interval_there_is_no_guidance() {
    let pipeline = pipeline();
    let unguided = latents(request(&pipeline, "a circle").cfg_scale(1.0));
    let guided = latents(request(&pipeline, "a circle"));
    let sets: [fn(Request<'_>) -> Request<'_>; 4] = [
        |r| r.guidance_sigma_min(1000.0),
        |r| r.guidance_sigma_max(0.0),
        |r| r.skip_early_cfg(1.0),
        |r| r.ngms(1000.0).ngms_all_steps(true),
    ];
    for (i, set) in sets.into_iter().enumerate() {
        assert!(latents(set(request(&pipeline, "a circle"))) == unguided, "{i}");
    }
    assert!(latents(request(&pipeline, "a circle").guidance_sigma_max(1000.0)) == guided);
    let half = latents(request(&pipeline, "a circle").ngms(1000.0));
    assert!(half != guided && half != unguided);
}

#[test]
fn deep_features_serve_the_steps_in_between() {
    let pipeline = pipeline();
    let attentions = |request: Request<'_>| {
        let before = calls(&pipeline, "attention");
        let latents = latents(request);
        (calls(&pipeline, "attention") - before, latents)
    };
    // The text encoder's rows are kept from here on.
    for prompt in ["a circle", "[a|b] circle"] {
        attentions(request(&pipeline, prompt));
    }
    let whole = attentions(request(&pipeline, "a circle"));
    assert_eq!(whole.0, 6 * 2 * 16);
    // Two calls are whole, of the others one transformer is left.
    let some = attentions(request(&pipeline, "a circle").deep_cache_interval(3));
    assert_eq!(some.0, 2 * 2 * 16 + 4 * 2);
    assert!(some.1 != whole.1);
    // Another text's features are never used: where two take turns, each comes back when its own are too old. The first two calls
    // have the same text.
    let edited = |interval| attentions(request(&pipeline, "[a|b] circle").deep_cache_interval(interval)).0;
    assert_eq!([1, 2].map(edited), [6 * 2 * 16, 5 * 2 * 16 + 2]);
    // All calls of a step are as its first one: of three steps with five calls, the second has two.
    let heun = |interval| {
        let request = request(&pipeline, "a circle").sampler(Sampler::Heun).steps(3);
        attentions(request.deep_cache_interval(interval)).0
    };
    assert_eq!((heun(1), heun(2)), (5 * 2 * 16, 3 * 2 * 16 + 2 * 2));
}

/// Keys and values of a text are computed once, though it is looked at in every call.
#[test]
fn texts_are_remembered() {
    let pipeline = pipeline();
    let linears = |steps| {
        let shape = "154 x 16 ->";
        let of = |profile: Vec<OperationTime>| -> usize {
            let texts = profile.into_iter().filter(|entry| entry.shape.starts_with(shape));
            texts.map(|entry| entry.calls).sum()
        };
        let before = of(pipeline.profile());
        latents(request(&pipeline, "a circle").steps(steps));
        of(pipeline.profile()) - before
    };
    linears(1);
    assert_eq!((linears(1), linears(6)), (2 * 16, 2 * 16));
}

#[test]
fn bad_values_are_named() {
    let pipeline = pipeline();
    let message = |change: fn(&mut GenerateParams)| {
        let mut params = GenerateParams::default();
        change(&mut params);
        pipeline.txt2img("").params(params).run().unwrap_err().to_string()
    };
    assert_eq!(
        message(|p| p.speed.deep_cache_branch = 12),
        "deep_cache_branch: must be 0 to 11, not 12"
    );
    assert_eq!(
        message(|p| p.speed.token_merging = -0.1),
        "token_merging: must be 0 to 1, not -0.1"
    );
}
