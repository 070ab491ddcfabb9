//! The pipeline as its users see it, on the tiny model of `goldens/tiny-sd1`.

use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use sdrs::{
    CancelToken, ClipSkipRule, Dtype, Emphasis, ErrorCode, GenerateParams, Layout, LogLevel, Pipeline,
    PromptDialect, Request, Rng, Sampler, Schedule,
};

fn folder() -> PathBuf {
    goldens::root().join("tiny-sd1")
}

fn single_file() -> PathBuf {
    goldens::tiny_sd1_ldm()
}

fn from_folder() -> Pipeline {
    Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .checkpoint(folder())
        .device("cpu")
        .build()
        .unwrap()
}

fn request(pipeline: &Pipeline) -> Request<'_> {
    with_prompt(pipeline, "a red circle above a blue square")
}

fn with_prompt<'a>(pipeline: &'a Pipeline, prompt: &str) -> Request<'a> {
    let request = pipeline
        .txt2img(prompt)
        .negative_prompt("blurry")
        .width(48)
        .height(64);
    request.steps(3).seed(7).sampler(Sampler::EulerAncestral)
}

fn pictures(request: Request<'_>) -> Vec<Vec<u8>> {
    request
        .run()
        .unwrap()
        .images
        .into_iter()
        .map(|image| image.rgb)
        .collect()
}

#[test]
fn all_sources_of_the_same_weights_give_identical_pictures() {
    let expected = pictures(request(&from_folder()));
    let spread = expected[0].iter().max().unwrap() - expected[0].iter().min().unwrap();
    assert!(spread > 50, "a flat picture proves nothing");

    let file = Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .checkpoint(single_file())
        .config(folder())
        .device("cpu")
        .build()
        .unwrap();
    assert_eq!(
        (from_folder().layout(), file.layout()),
        (Layout::Diffusers, Layout::Ldm)
    );
    assert_eq!(pictures(request(&file)), expected);

    // This file carries its configurations in its metadata.
    let bytes = Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .checkpoint_bytes("bytes", fs::read(single_file()).unwrap());
    assert_eq!(pictures(request(&bytes.device("cpu").build().unwrap())), expected);

    let mut files: HashMap<String, Arc<[u8]>> = HashMap::new();
    for part in ["text_encoder", "unet", "vae", "scheduler"] {
        for entry in fs::read_dir(folder().join(part)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            files.insert(format!("{part}/{name}"), fs::read(&path).unwrap().into());
        }
    }
    let memory = Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .checkpoint_files("memory", files)
        .device("cpu")
        .build()
        .unwrap();
    assert_eq!(pictures(request(&memory)), expected);
}

#[test]
fn a_batch_gives_what_single_runs_give() {
    let pipeline = from_folder();
    for sampler in [Sampler::EulerAncestral, Sampler::DpmPp2mSde] {
        let batch = request(&pipeline)
            .sampler(sampler)
            .batch_size(3)
            .run()
            .unwrap()
            .images;
        for (i, image) in batch.iter().enumerate() {
            assert_eq!(image.seed, 7 + i as u64);
            let alone = request(&pipeline)
                .sampler(sampler)
                .seed(image.seed)
                .run()
                .unwrap();
            assert_eq!(alone.images[0], *image);
        }
        assert_ne!(batch[0].rgb, batch[1].rgb);
    }
}

/// The seeds of PyTorch's generators, which know no sign.
#[test]
fn seeds_up_to_the_last() {
    let pipeline = from_folder();
    let last = request(&pipeline)
        .seed(u64::MAX)
        .batch_size(2)
        .run()
        .unwrap()
        .images;
    assert_eq!([last[0].seed, last[1].seed], [u64::MAX, 0]);
    for image in &last {
        let alone = request(&pipeline).seed(image.seed).run().unwrap();
        assert_eq!(alone.images[0], *image);
        let read = sdrs::infotext::parse(&image.infotext).unwrap().params;
        assert_eq!(read.noise.seed, image.seed.into());
    }
    // The CPU's noise is that of the low 32 bits, CUDA's that of all 64.
    let big = |rng| pictures(request(&pipeline).rng(rng).seed((1u64 << 63) + 7));
    let small = |rng| pictures(request(&pipeline).rng(rng).seed(7));
    assert_eq!(big(Rng::Cpu), small(Rng::Cpu));
    assert_ne!(big(Rng::Nv), small(Rng::Nv));
    let varied = |seed: u64| {
        let request = request(&pipeline).variation_strength(0.4);
        request.variation_seed(seed).batch_size(2).run().unwrap().images
    };
    let varied = varied(u64::MAX);
    assert!(
        varied[0]
            .infotext
            .contains("Variation seed: 18446744073709551615, ")
    );
    assert!(varied[1].infotext.contains("Variation seed: 0, "));
}

/// One step to no noise at all gives what the network takes for the picture, whichever solver comes to it.
#[test]
fn one_step_is_the_prediction() {
    let pipeline = from_folder();
    let one = |sampler| {
        pictures(
            request(&pipeline)
                .sampler(sampler)
                .schedule(Schedule::Karras)
                .steps(1),
        )
    };
    let euler = one(Sampler::Euler);
    for sampler in [
        Sampler::DpmPpSde,
        Sampler::DpmPp2mSde,
        Sampler::DpmPp2mSdeHeun,
        Sampler::DpmPp3mSde,
        Sampler::DpmPp2m,
    ] {
        assert_eq!(one(sampler), euler, "{sampler}");
    }
    for &sampler in Sampler::ALL {
        request(&pipeline).sampler(sampler).steps(1).run().unwrap();
    }
}

#[test]
fn what_gives_no_picture_is_told() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let log = lines.clone();
    let pipeline = Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .checkpoint(goldens::root().join("tiny-sd1"))
        .device("cpu")
        .on_log(move |level, line| {
            if level == LogLevel::Warning {
                log.lock().unwrap().push(line.to_owned());
            }
        })
        .build()
        .unwrap();
    let told = |sampler, schedule, steps| {
        request(&pipeline)
            .sampler(sampler)
            .schedule(schedule)
            .steps(steps)
            .run()
            .unwrap();
        std::mem::take(&mut *lines.lock().unwrap())
    };
    for sampler in [Sampler::Ddim, Sampler::Plms] {
        let [line] = &told(sampler, Schedule::Automatic, 1)[..] else {
            panic!("one line")
        };
        assert!(line.contains("the picture is noise"), "{line}");
        assert!(told(sampler, Schedule::Automatic, 2).is_empty());
    }
    for schedule in [Schedule::AlignYourSteps, Schedule::Ddim] {
        let [line] = &told(Sampler::Euler, schedule, 1)[..] else {
            panic!("one line")
        };
        assert!(line.contains("starts at sigma 0.0"), "{line}");
        assert!(told(Sampler::Euler, schedule, 3).is_empty());
    }
}

#[test]
fn threads_get_what_each_would_get_alone() {
    let pipeline = from_folder();
    let seeds = [1, 2, 3, 4];
    let alone = seeds.map(|seed| pictures(request(&pipeline).seed(seed)));
    let together = std::thread::scope(|scope| {
        let pipeline = &pipeline;
        let runs = seeds.map(|seed| scope.spawn(move || pictures(request(pipeline).seed(seed))));
        runs.map(|run| run.join().unwrap())
    });
    assert_eq!(together, alone);
}

#[test]
fn progress_counts_every_step_and_changes_nothing() {
    let pipeline = from_folder();
    let mut told = Vec::new();
    let watched = request(&pipeline).batch_size(2);
    let watched = pictures(watched.on_progress(|p| told.push((p.image, p.step, p.steps, p.images))));
    assert_eq!(watched, pictures(request(&pipeline).batch_size(2)));
    let expected: Vec<_> = (0..2)
        .flat_map(|image| (1..=3).map(move |step| (image, step, 3, 2)))
        .collect();
    assert_eq!(told, expected);
}

#[test]
fn cancelling_returns_within_a_step() {
    let pipeline = from_folder();
    let token = CancelToken::new();
    let mut steps = 0;
    let run = request(&pipeline)
        .steps(50)
        .cancel_token(&token)
        .on_progress(|_| {
            steps += 1;
            token.cancel();
        });
    assert_eq!(run.run().unwrap_err().code(), ErrorCode::Cancelled);
    assert_eq!(steps, 1);
    // The pipeline is as good as before.
    assert_eq!(pictures(request(&pipeline)), pictures(request(&from_folder())));
}

#[test]
fn pictures_that_are_done_outlast_a_run_that_is_cancelled() {
    let pipeline = from_folder();
    let token = CancelToken::new();
    let mut done = Vec::new();
    let run = request(&pipeline).batch_size(3).cancel_token(&token);
    let run = run.on_image(|image, drawn| {
        done.push((image, drawn.rgb.clone(), drawn.infotext.clone()));
        if image == 1 {
            token.cancel();
        }
    });
    assert_eq!(run.run().unwrap_err().code(), ErrorCode::Cancelled);
    let all = request(&pipeline).batch_size(2).run().unwrap().images;
    let all: Vec<_> = all.into_iter().map(|image| (image.rgb, image.infotext)).collect();
    let done: Vec<_> = done
        .into_iter()
        .enumerate()
        .map(|(i, (image, rgb, infotext))| {
            assert_eq!(i, image);
            (rgb, infotext)
        })
        .collect();
    assert_eq!(done, all);
    // Also with the last one, when no call is left.
    let token = CancelToken::new();
    let last = request(&pipeline).batch_size(1).cancel_token(&token);
    let last = last.on_image(|_, _| token.cancel());
    assert_eq!(last.run().unwrap_err().code(), ErrorCode::Cancelled);
}

#[test]
fn every_setting_has_an_effect() {
    let pipeline = from_folder();
    let plain = pictures(request(&pipeline));
    let different: [(&str, Request<'_>); 12] = [
        ("prompt", with_prompt(&pipeline, "x")),
        ("negative_prompt", request(&pipeline).negative_prompt("sharp")),
        ("steps", request(&pipeline).steps(4)),
        ("cfg_scale", request(&pipeline).cfg_scale(3.0)),
        ("sampler", request(&pipeline).sampler(Sampler::Euler)),
        ("schedule", request(&pipeline).schedule(Schedule::Karras)),
        ("seed", request(&pipeline).seed(8)),
        ("clip_skip", request(&pipeline).clip_skip(2)),
        ("eta", request(&pipeline).eta(0.5)),
        ("ensd", request(&pipeline).ensd(31337)),
        (
            "variation",
            request(&pipeline).variation_seed(3).variation_strength(0.4),
        ),
        ("rng", request(&pipeline).rng(Rng::Nv)),
    ];
    for (name, request) in different {
        assert_ne!(pictures(request), plain, "{name}");
    }
    // Guidance of 1 leaves the negative prompt out.
    let unguided = |negative: &str| pictures(request(&pipeline).cfg_scale(1.0).negative_prompt(negative));
    assert_eq!(unguided("a"), unguided("b"));
}

#[test]
fn every_setting_of_schedules_and_samplers_has_an_effect() {
    let pipeline = from_folder();
    let over = |schedule| request(&pipeline).sampler(Sampler::Euler).schedule(schedule);
    let (karras, beta) = (|| over(Schedule::Karras), || over(Schedule::Beta));
    let [plain, plain_beta] = [karras(), beta()].map(pictures);
    let different: [(&str, Request<'_>); 9] = [
        ("sigma_min", karras().sigma_min(0.5)),
        ("sigma_max", karras().sigma_max(10.0)),
        ("rho", karras().rho(3.0)),
        (
            "discard_penultimate_sigma",
            karras().discard_penultimate_sigma(true),
        ),
        ("s_churn", karras().s_churn(1.0)),
        ("s_noise", karras().s_churn(1.0).s_noise(1.5)),
        (
            "sgm_noise_multiplier",
            karras().sigma_max(2.0).sgm_noise_multiplier(true),
        ),
        ("half_alphas", karras().half_alphas(true)),
        ("zero_terminal_snr", karras().zero_terminal_snr(true)),
    ];
    let mut drawn = vec![plain.clone()];
    for (name, request) in different {
        let picture = pictures(request);
        assert!(!drawn.contains(&picture), "{name}");
        drawn.push(picture);
    }
    assert_eq!(pictures(karras().s_churn(1.0).s_tmin(100.0)), plain, "s_tmin");
    assert_eq!(pictures(karras().s_churn(1.0).s_tmax(0.001)), plain, "s_tmax");
    assert_ne!(pictures(beta().beta_alpha(2.0)), plain_beta, "beta_alpha");
    assert_ne!(pictures(beta().beta_beta(2.0)), plain_beta, "beta_beta");
}

#[test]
fn every_sampler_draws() {
    let pipeline = from_folder();
    for &sampler in Sampler::ALL {
        let picture = request(&pipeline).sampler(sampler).steps(4).run();
        assert_eq!(
            picture.unwrap_or_else(|e| panic!("{sampler}: {e}")).images.len(),
            1
        );
    }
}

/// The least agreement is 6 dB under what was measured (f16 54.0 dB, bf16 38.6 dB).
#[test]
fn half_precision_draws_nearly_the_same() {
    let expected = pictures(request(&from_folder()).sampler(Sampler::Euler));
    for (dtype, least) in [(Dtype::F16, 48.0), (Dtype::Bf16, 32.6)] {
        let pipeline = Pipeline::builder()
            .dtype(sdrs::Dtype::F32)
            .checkpoint(folder())
            .device("cpu")
            .dtype(dtype)
            .build()
            .unwrap();
        let got = pictures(request(&pipeline).sampler(Sampler::Euler));
        let psnr = goldens::psnr(&got[0], &expected[0]);
        println!("{dtype}: {psnr:.1} dB");
        assert!(psnr > least, "{dtype}: {psnr:.1} dB");
    }
}

#[test]
fn wrong_parameters_are_named_before_any_work() {
    let pipeline = from_folder();
    let message = |request: Request<'_>| {
        let error = request
            .on_progress(|_| panic!("work was done"))
            .run()
            .unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidParameter);
        error.to_string()
    };
    let width = message(request(&pipeline).width(50));
    assert_eq!(
        width,
        "width: must be a multiple of 8: 50 is not; the nearest are 48 and 56"
    );
    assert!(message(request(&pipeline).clip_skip(6)).starts_with("clip_skip: must be 1 to 5"));
    assert!(message(request(&pipeline).eta(f64::NAN)).starts_with("eta"));
    let lora = message(pipeline.txt2img("<lora:ink:1> a"));
    assert!(lora.starts_with("prompt: it asks for the LoRA 'ink'"), "{lora}");
    let weight = format!("(a:{})", "9".repeat(40));
    let heavy = message(request(&pipeline).negative_prompt(weight));
    assert!(
        heavy.starts_with("negative_prompt: its weights are too large"),
        "{heavy}"
    );
}

#[test]
fn wrong_sources_say_what_to_do() {
    let message = |builder: sdrs::PipelineBuilder| builder.device("cpu").build().unwrap_err().to_string();
    let missing = message(
        Pipeline::builder()
            .dtype(sdrs::Dtype::F32)
            .checkpoint("no/such/file.safetensors"),
    );
    assert!(
        missing.starts_with("cannot read no/such/file.safetensors"),
        "{missing}"
    );
    assert!(message(Pipeline::builder().dtype(sdrs::Dtype::F32)).starts_with("checkpoint: none was given"));
    let vae = message(
        Pipeline::builder()
            .dtype(sdrs::Dtype::F32)
            .checkpoint(folder().join("vae/diffusion_pytorch_model.safetensors")),
    );
    assert!(
        vae.ends_with(
            "is a VAE alone, not a checkpoint; give a checkpoint, and this beside it with vae (--vae)"
        ),
        "{vae}"
    );
    let error = Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .checkpoint(folder())
        .device("tpu")
        .build()
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::UnknownName);
}

#[test]
fn another_vae_changes_the_picture_alone() {
    let expected = pictures(request(&from_folder()));
    let with_vae = |path: PathBuf| {
        let builder = Pipeline::builder()
            .dtype(sdrs::Dtype::F32)
            .checkpoint(folder())
            .device("cpu")
            .vae(path);
        builder.build().map(|pipeline| pictures(request(&pipeline)))
    };
    // The same VAE from a folder, a part's folder, a part's file and a whole checkpoint.
    let sources = [
        folder(),
        folder().join("vae"),
        folder().join("vae/diffusion_pytorch_model.safetensors"),
    ];
    for source in sources {
        assert_eq!(with_vae(source).unwrap(), expected);
    }
    let error = with_vae(folder().join("unet/diffusion_pytorch_model.safetensors")).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidFile);
    assert!(
        error.to_string().contains("is a U-Net alone, not a VAE"),
        "{error}"
    );
    assert_eq!(with_vae("no/vae".into()).unwrap_err().code(), ErrorCode::Io);
}

#[test]
fn a_lora_acts_as_strongly_as_asked() {
    let file = folder().join("lora/lora.safetensors");
    let with_lora = |weight: f64| {
        let builder = Pipeline::builder()
            .dtype(sdrs::Dtype::F32)
            .checkpoint(folder())
            .device("cpu")
            .lora(&file, weight);
        builder.build().map(|pipeline| pictures(request(&pipeline)))
    };
    let plain = pictures(request(&from_folder()));
    assert_eq!(with_lora(0.0).unwrap(), plain);
    let (half, full) = (with_lora(0.5).unwrap(), with_lora(1.0).unwrap());
    assert!(half != plain && full != plain && half != full);
    assert_eq!(
        with_lora(f64::NAN).unwrap_err().code(),
        ErrorCode::InvalidParameter
    );
    let builder = Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .checkpoint(folder())
        .device("cpu");
    let error = builder.lora(single_file(), 1.0).build().unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidFile);
    assert!(
        error
            .to_string()
            .contains("not a LoRA or another adapter; its place is checkpoint (--model)"),
        "{error}"
    );
}

#[test]
fn prompts_that_say_the_same_give_the_same_picture() {
    let pipeline = from_folder();
    let picture = |prompt: &str| pictures(with_prompt(&pipeline, prompt));
    let expected = picture("a blue square");
    // Also from the cache of encoded texts, and whatever was encoded in between.
    for same in [
        "a blue square",
        "(a blue square:1.0)",
        "[a red circle:a blue square:0]",
        "[a blue square::3]",
        "[a red circle:a blue square:-1] ",
        "a blue square<hypernet:x:1>",
    ] {
        assert!(picture(same) == expected, "{same}");
    }
    for other in [
        "a (blue:1.4) square",
        "[a red circle:a blue square:1]",
        "[a blue square|a red circle]",
        "a blue square BREAK",
        "a blue square BREAK x",
        "a blue square AND a red circle",
        "a blue square :0.5",
    ] {
        assert_eq!(
            picture(other) == expected,
            other == "a blue square BREAK",
            "{other}"
        );
    }
    assert!(pictures(with_prompt(&from_folder(), "a blue square")) == expected);
}

#[test]
fn long_prompts_and_every_way_to_read_them() {
    let pipeline = from_folder();
    let long = format!("{} (blue:1.3) square", "a small red circle above it, ".repeat(12));
    let long = || with_prompt(&pipeline, &long);
    let default = pictures(long());
    let differs = |request: Request<'_>| pictures(request) != default;
    assert!(differs(long().emphasis(Emphasis::NoNorm)));
    assert!(differs(long().emphasis(Emphasis::Ignore)));
    assert!(differs(long().prompt_dialect(PromptDialect::Comfy)));
    assert!(differs(long().comma_backtrack(0)));
    assert!(differs(long().pad_prompts(true)));
    let skip = |n| long().clip_skip(n);
    assert!(!differs(skip(1)));
    assert!(differs(skip(2)));
    assert!(pictures(skip(1).clip_skip_rule(ClipSkipRule::Diffusers)) == pictures(skip(2)));
    assert!(!differs(skip(0).clip_skip_rule(ClipSkipRule::Diffusers)));
    let message = |request: Request<'_>| request.run().unwrap_err().to_string();
    assert_eq!(message(skip(6)), "clip_skip: must be 1 to 5, not 6");
    assert_eq!(message(skip(0)), "clip_skip: must be 1 to 5, not 0");
    let diffusers = skip(5).clip_skip_rule(ClipSkipRule::Diffusers);
    assert_eq!(message(diffusers), "clip_skip: must be 0 to 4, not 5");
}

#[test]
fn plans_say_what_is_encoded() {
    let mut params = GenerateParams::default();
    params.text.prompt = "<lora:x:0.5>a [red:(blue:1.3):2] cat AND <what:y>b :0.5".into();
    params.text.negative_prompt = "bad".into();
    params.sampling.steps = 4;
    let plan = sdrs::plan_prompts(&params).unwrap();
    assert_eq!(
        (plan.calls, plan.loras.len(), plan.unknown_tags[0].text.as_str()),
        (4, 1, "<what:y>")
    );
    assert_eq!(
        (
            plan.loras[0].name.as_str(),
            plan.loras[0].unet,
            plan.loras[0].loaded
        ),
        ("x", 0.5, false)
    );
    let texts = &plan.prompt[0].texts;
    assert_eq!(
        (texts[0].calls.clone(), texts[0].text.as_str()),
        (0..3, "a red cat")
    );
    assert_eq!(
        (texts[1].calls.clone(), texts[1].text.as_str()),
        (3..4, "a (blue:1.3) cat")
    );
    let blue = &texts[1].chunks[0][1];
    assert_eq!(
        (
            blue.text.as_str(),
            blue.weight,
            &params.text.prompt[blue.span.clone()]
        ),
        ("blue", 1.3, "blue")
    );
    assert_eq!(
        (plan.prompt[1].weight, plan.prompt[1].texts[0].text.as_str()),
        (0.5, " b")
    );
    assert_eq!(plan.negative_prompt.texts[0].chunks[0].len(), 1);
    // Samplers that make two calls a step count double.
    params.sampling.sampler = Sampler::Heun;
    assert_eq!(from_folder().plan_prompts(&params).unwrap().calls, 8);
    params.text.prompt = "<lora:x:y>".into();
    assert!(sdrs::plan_prompts(&params).is_err());
}
