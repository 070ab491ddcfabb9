//! Shortcuts that make runs faster: nothing else changes, and a seed gives one picture however it is run.

use std::sync::{Arc, Mutex};

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

/// All of them at once, but that there are two of which one alone may be.
fn all(request: Request<'_>) -> Request<'_> {
    some(request).deep_cache_interval(3).deep_cache_branch(2)
}

/// The same with the other one.
fn all_with_first_block(request: Request<'_>) -> Request<'_> {
    some(request).first_block_cache(0.2)
}

fn some(request: Request<'_>) -> Request<'_> {
    let request = request.ngms(3.0).skip_early_cfg(0.1).guidance_sigma_max(12.0);
    request
        .token_merging(0.4)
        .token_merging_cross_attention(true)
        .adaptive_guidance(0.95)
}

/// The number of times that an operation ran so far.
fn calls(pipeline: &Pipeline, operation: &str) -> usize {
    let profile = pipeline.profile();
    let of = |entry: &&OperationTime| entry.operation == operation;
    profile.iter().filter(of).map(|entry| entry.calls).sum()
}

/// Multiplications and additions so far.
fn flops(pipeline: &Pipeline) -> f64 {
    pipeline.profile().iter().map(|entry| entry.flops).sum()
}

#[test]
fn one_picture_however_it_is_run() {
    let pipeline = pipeline();
    let threads = Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .checkpoint(goldens::root().join("tiny-sd1"));
    let threads = threads.device("cpu").threads(3).build().unwrap();
    let draw = |sampler: Sampler, prompt: &str, all: fn(Request<'_>) -> Request<'_>| {
        let one = |seed| latents(all(request(&pipeline, prompt)).sampler(sampler).seed(seed));
        let alone = [one(7), one(8)].concat();
        let batch = all(request(&pipeline, prompt)).sampler(sampler).batch_size(2);
        assert!(latents(batch) == alone, "{sampler:?} {prompt}: a batch");
        let shown = all(request(&threads, prompt)).sampler(sampler).batch_size(2);
        let shown = shown.previews(PreviewMethod::Approximate, 1).on_progress(|_| {});
        assert!(
            latents(shown) == alone,
            "{sampler:?} {prompt}: threads and previews"
        );
        alone
    };
    let differs = |sampler: Sampler, prompt: &str, drawn: &[f32]| {
        let plain = latents(request(&pipeline, prompt).sampler(sampler));
        assert!(
            plain != drawn[..plain.len()],
            "{sampler:?} {prompt}: nothing changed"
        );
    };
    let prompts = [
        "a circle",
        "[a|b|c] circle",
        "a AND b :0.5",
        "[a:b:0.5] c BREAK d",
    ];
    for sampler in [Sampler::Euler, Sampler::Heun, Sampler::DdimCfgPp] {
        for prompt in prompts {
            for all in [all, all_with_first_block] {
                differs(sampler, prompt, &draw(sampler, prompt, all));
            }
        }
    }
    // It makes a hundred calls, so each prompt has one of the caches.
    let sampler = Sampler::DpmAdaptive;
    for (prompt, all) in prompts
        .into_iter()
        .zip([all, all_with_first_block].into_iter().cycle())
    {
        let drawn = draw(sampler, prompt, all);
        if prompt == prompts[0] || prompt == prompts[1] {
            differs(sampler, prompt, &drawn);
        }
    }
}

#[test]
fn infotexts_bring_the_picture_back() {
    let pipeline = pipeline();
    let made = all(request(&pipeline, "a circle"))
        .ngms_all_steps(true)
        .guidance_sigma_min(0.5)
        .adaptive_guidance(0.75)
        .latents()
        .unwrap();
    let text = &made.infotexts[0];
    for pair in [
        "NGMS: 3,",
        "NGMS all steps: True,",
        "Skip Early CFG: 0.1,",
        "Guidance sigma min: 0.5,",
        "Guidance sigma max: 12,",
        "Adaptive guidance: 0.75,",
        "Token merging ratio: 0.4,",
        "Token merging cross-attention: True,",
        "DeepCache interval: 3,",
        "DeepCache branch: 2,",
    ] {
        assert!(text.contains(pair), "{pair} {text}");
    }
    let params = infotext::parse(text).unwrap().params;
    assert!(latents(pipeline.txt2img("").params(params)) == made.latents.values);
    let made = all_with_first_block(request(&pipeline, "a circle"))
        .token_merging_mlp(true)
        .latents()
        .unwrap();
    let text = &made.infotexts[0];
    for pair in ["First block cache: 0.2,", "Token merging MLP: True,"] {
        assert!(text.contains(pair), "{pair} {text}");
    }
    let params = infotext::parse(text).unwrap().params;
    assert!(latents(pipeline.txt2img("").params(params)) == made.latents.values);
    let plain = request(&pipeline, "a circle").latents().unwrap();
    for word in ["NGMS", "DeepCache", "First block", "Adaptive", "Token merging"] {
        assert!(!plain.infotexts[0].contains(word), "{word}");
    }
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

/// Adaptive guidance: from the step that the log tells on a run is one whose guidance ends at that noise level.
#[test]
fn guidance_ends_when_both_prompts_denoise_alike() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let log = lines.clone();
    let demo = goldens::root().join("../models/demo/base");
    let builder = Pipeline::builder()
        .checkpoint(demo)
        .device("cpu")
        .dtype(sdrs::Dtype::F32);
    let builder = builder
        .profile(true)
        .on_log(move |_, line| log.lock().unwrap().push(line.to_owned()));
    let pipeline = builder.build().unwrap();
    let run = |prompt: &str| request(&pipeline, prompt).steps(10).cfg_scale(5.0);
    let counted = |request: Request<'_>| {
        let before = flops(&pipeline);
        let latents = latents(request);
        (flops(&pipeline) - before, latents)
    };
    for prompt in ["a red circle", "a red circle AND a star :0.7"] {
        // The text encoder's rows are kept from here on.
        latents(run(prompt).steps(1));
        for sampler in [Sampler::Euler, Sampler::Heun] {
            let sigmas = Arc::new(Mutex::new(Vec::new()));
            let noted = sigmas.clone();
            let plain = run(prompt).sampler(sampler);
            let (plain_work, plain) =
                counted(plain.on_progress(move |step| noted.lock().unwrap().push(step.sigma)));
            let sigmas = sigmas.lock().unwrap();
            let mut ends = Vec::new();
            for threshold in [0.5, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0] {
                lines.lock().unwrap().clear();
                let run = || run(prompt).sampler(sampler);
                let (work, adaptive) = counted(run().adaptive_guidance(threshold));
                let told = lines.lock().unwrap().iter().find_map(|line| {
                    let rest = line.strip_prefix("no negative prompt from step ")?;
                    rest.split(' ').next()?.parse::<usize>().ok()
                });
                let end = told.unwrap_or(sigmas.len() + 1);
                if let Some(sigma) = sigmas.get(end - 1) {
                    // Heun's second call is at the noise level of the next step, and guided as the first.
                    if sampler == Sampler::Euler {
                        let cut = latents(run().guidance_sigma_min(*sigma));
                        assert!(adaptive == cut, "{prompt} {threshold}: {end}");
                    }
                    assert!(work < 0.99 * plain_work && adaptive != plain);
                } else {
                    assert!(work > 0.99 * plain_work && adaptive == plain);
                }
                ends.push(end);
            }
            assert!(ends.is_sorted() && ends[7] > 10, "{ends:?}");
            assert!(ends.iter().any(|end| (2..10).contains(end)), "{ends:?}");
        }
    }
    // Each picture of a batch finds its own end, and each pass.
    let end = |request: Request<'_>| latents(request.adaptive_guidance(0.97));
    let alone = [7, 8, 9].map(|seed| end(run("a star").seed(seed))).concat();
    assert!(end(run("a star").batch_size(3)) == alone);
    let both = run("a star").hires_scale(1.5).hires_steps(4).strength(0.8);
    lines.lock().unwrap().clear();
    end(both);
    let told = lines.lock().unwrap();
    assert_eq!(
        told.iter()
            .filter(|line| line.starts_with("no negative prompt"))
            .count(),
        2,
        "{told:?}"
    );
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

/// Calls are left out one by one as the threshold grows, and the picture goes with them.
#[test]
fn calls_are_left_out_where_the_first_block_hardly_changes() {
    let demo = goldens::root().join("../models/demo/base");
    let builder = Pipeline::builder()
        .checkpoint(demo)
        .device("cpu")
        .dtype(sdrs::Dtype::F32);
    let pipeline = builder.profile(true).build().unwrap();
    let run = |threshold| {
        let request = request(&pipeline, "a red circle").steps(20).cfg_scale(5.0);
        let before = flops(&pipeline);
        let latents = latents(request.first_block_cache(threshold));
        (flops(&pipeline) - before, latents)
    };
    run(0.0);
    let (all, plain) = run(0.0);
    let made = [0.01, 0.12, 0.15, 0.3].map(|threshold| {
        let (work, latents) = run(threshold);
        (work / all, goldens::relative_error(&latents, &plain))
    });
    println!("{made:?}");
    assert!(made[0].1 == 0.0 && made[0].0 > 0.999, "{made:?}");
    assert!(made.is_sorted_by(|a, b| a.0 > b.0 && a.1 < b.1), "{made:?}");
    assert!(made[2].0 < 0.85 && made[2].1 < 0.1, "{made:?}");
    // A text that takes turns with another finds what it left itself.
    let before = flops(&pipeline);
    let alternating = request(&pipeline, "a red [circle|square]")
        .steps(20)
        .cfg_scale(5.0);
    latents(alternating.first_block_cache(0.3));
    assert!(flops(&pipeline) - before < 0.95 * all);
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
    let both = message(|p| (p.speed.first_block_cache, p.speed.deep_cache_interval) = (0.1, 3));
    assert!(
        both.starts_with("first_block_cache: ") && both.contains("deep_cache_interval"),
        "{both}"
    );
}
