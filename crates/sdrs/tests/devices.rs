//! Pictures of a batch on several devices: each is what its device gives alone. Here the CPU stands for each of them.

mod common;

use std::sync::{Arc, Mutex};

use common::{builder, lora_file};
use sdrs::{
    CancelToken, Error, ErrorCode, Image, LogLevel, Lora, Picture, Pipeline, PreviewMethod, Request,
    RunState, Sampler,
};

fn on(devices: &str) -> Pipeline {
    builder().device(devices).build().unwrap()
}

fn run<'a>(pipeline: &'a Pipeline, prompt: &str) -> Request<'a> {
    let request = pipeline.txt2img(prompt).negative_prompt("a square");
    let request = request.sampler(Sampler::EulerAncestral).steps(3);
    request.width(48).height(64).seed(7).batch_size(4)
}

fn same(a: &[Image], b: &[Image]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert_eq!((a.seed, &a.infotext), (b.seed, &b.infotext));
        assert!(a.rgb == b.rgb, "{}", a.infotext);
    }
}

#[test]
fn a_batch_is_the_same_however_it_is_dealt_out() {
    let one = on("cpu");
    let rgb: Vec<u8> = (0..48 * 64 * 3_u32).map(|i| (i * 7 + i * i * 3) as u8).collect();
    let picture = Picture::from_rgb(48, 64, &rgb).unwrap();
    let mask: Vec<u8> = (0..48 * 64 * 3_u32)
        .map(|i| if i % 144 < 72 { 255 } else { 0 })
        .collect();
    let mask = Picture::from_rgb(48, 64, &mask).unwrap();
    type Change<'a> = &'a dyn Fn(Request<'_>) -> Request<'_>;
    let changes: [Change; 6] = [
        &|r| r,
        &|r| r.batch_size(3),
        &|r| r.batch_size(1),
        &|r| {
            r.sampler(Sampler::DpmPp2mSde)
                .variation_strength(0.3)
                .variation_seed(5)
        },
        &|r| r.image(picture.clone()).mask(mask.clone()).strength(0.6),
        &|r| r.hires_scale(2.0).hires_steps(2),
    ];
    for devices in ["cpu,cpu", "cpu, CPU:0 ,cpu,cpu,cpu"] {
        let several = on(devices);
        assert_eq!(
            several.device(),
            vec!["cpu"; several.device().split(',').count()].join(",")
        );
        for change in changes {
            let asked = |pipeline| change(run(pipeline, "a circle"));
            if asked(&one).run().unwrap().images.len() == 4 {
                let (a, b) = (asked(&several).latents().unwrap(), asked(&one).latents().unwrap());
                assert_eq!(
                    (a.latents.shape, a.seeds, a.infotexts),
                    (b.latents.shape, b.seeds, b.infotexts)
                );
            }
            same(
                &asked(&several).run().unwrap().images,
                &asked(&one).run().unwrap().images,
            );
        }
    }
}

/// Several pictures in a call are those of a share.
#[test]
fn pictures_go_together_on_each_device() {
    let asked = |pipeline| run(pipeline, "a circle").batch_per_call(2).run().unwrap().images;
    same(&asked(&on("cpu,cpu")), &asked(&on("cpu")));
}

#[test]
fn a_random_seed_is_one_for_all() {
    let drawn = run(&on("cpu,cpu"), "a circle").seed(-1).run().unwrap().images;
    let seeds: Vec<u64> = drawn
        .iter()
        .map(|image| image.seed.wrapping_sub(drawn[0].seed))
        .collect();
    assert_eq!(seeds, [0, 1, 2, 3]);
    same(
        &drawn,
        &run(&on("cpu"), "a circle")
            .seed(drawn[0].seed)
            .run()
            .unwrap()
            .images,
    );
}

#[test]
fn callbacks_stay_in_the_thread_that_called_and_see_every_picture() {
    let pipeline = on("cpu,cpu");
    let here = std::thread::current().id();
    let mut seen = vec![Vec::new(); 4];
    let watched = run(&pipeline, "a circle").previews(PreviewMethod::Approximate, 2);
    let watched = watched.on_progress(|progress| {
        assert_eq!(std::thread::current().id(), here);
        assert_eq!((progress.images, progress.steps), (4, 3));
        seen[progress.image].push((progress.step, progress.preview.is_some()));
    });
    let mut shown = vec![Vec::new(); 4];
    let watched = watched.on_image(|image, drawn| {
        assert_eq!(std::thread::current().id(), here);
        shown[image] = drawn.rgb.clone();
    });
    let images = watched.run().unwrap().images;
    assert!(
        images
            .iter()
            .zip(&shown)
            .all(|(image, shown)| image.rgb == *shown)
    );
    assert_eq!(seen, vec![vec![(1, false), (2, true), (3, false)]; 4]);
    same(&images, &run(&pipeline, "a circle").run().unwrap().images);
}

#[test]
fn a_cancelled_run_stops_on_all_devices() {
    let pipeline = on("cpu,cpu");
    let token = CancelToken::new();
    let mut calls = 0;
    let watched = run(&pipeline, "a circle").steps(50).cancel_token(&token);
    let stopped = watched.on_progress(|_| {
        calls += 1;
        token.cancel();
    });
    assert!(matches!(stopped.run(), Err(Error::Cancelled)));
    // The one that told it, and a step of the other that was under way.
    assert!(calls <= 4, "{calls}");
    // With the last picture as well, when no device has a call left.
    let token = CancelToken::new();
    let mut shown = 0;
    let watched = run(&pipeline, "a circle").cancel_token(&token);
    let stopped = watched.on_image(|_, _| {
        shown += 1;
        if shown == 4 {
            token.cancel();
        }
    });
    assert!(matches!(stopped.run(), Err(Error::Cancelled)));
    assert_eq!(shown, 4);
    // What stops a part of a run stops no other run.
    assert!(token.is_cancelled());
    assert_eq!(run(&pipeline, "a circle").run().unwrap().images.len(), 4);
}

#[test]
fn states_are_those_of_one_device() {
    let states = |pipeline: &Pipeline| -> Vec<RunState> {
        let mut kept = Vec::new();
        let asked = run(pipeline, "a circle").on_state(1, |state| {
            kept.push(state);
            Ok(())
        });
        asked.run().unwrap();
        kept.sort_by_key(RunState::file_name);
        kept
    };
    let (one, several) = (on("cpu"), on("cpu,cpu"));
    let (a, b) = (states(&several), states(&one));
    assert_eq!((a.len(), b.len()), (12, 12));
    for (a, b) in a.iter().zip(&b) {
        assert!(a.to_bytes() == b.to_bytes(), "{}", b.file_name());
    }
    // One goes on as a single picture.
    let last = b[11].clone();
    let alone = run(&one, "a circle").seed(10).batch_size(1).run().unwrap();
    same(
        &several.txt2img("").resume(last).run().unwrap().images,
        &alone.images,
    );
    let folder = tempfile::tempdir().unwrap();
    let within = folder.path().join("new");
    run(&several, "a circle").save_states(&within, 3).run().unwrap();
    assert_eq!(std::fs::read_dir(&within).unwrap().count(), 4);
    // The callback's error ends the run.
    let fails = || Error::Write {
        path: "here".into(),
        reason: "no".into(),
    };
    let error = run(&several, "a circle")
        .on_state(1, |_| Err(fails()))
        .run()
        .unwrap_err();
    assert_eq!(error.to_string(), fails().to_string());
    let never = run(&several, "a circle")
        .on_state(0, |_| Ok(()))
        .run()
        .unwrap_err();
    assert_eq!(never.to_string(), "save_states_every: must be 1 or more, not 0");
}

#[test]
fn a_trace_has_one_order() {
    let folder = tempfile::tempdir().unwrap();
    let traced = |devices: &str| {
        let path = folder.path().join(devices);
        let pipeline = on(devices);
        // Its header has this one, whether it counts or not.
        let asked = run(&pipeline, "a circle").variation_seed(5);
        asked.trace(&path).run().unwrap();
        std::fs::read(path).unwrap()
    };
    assert!(traced("cpu,cpu") == traced("cpu"));
}

/// LoRAs and autoencoders are changed on all devices.
#[test]
fn weights_change_on_all_devices() {
    let (one, several) = (on("cpu"), on("cpu,cpu"));
    let drawn = |pipeline: &Pipeline| run(pipeline, "a circle").run().unwrap().images;
    let lora = || [Lora::file(lora_file()).weight(0.8)];
    same(
        &drawn(&several.with_loras(lora()).unwrap()),
        &drawn(&one.with_loras(lora()).unwrap()),
    );
    let tiny = goldens::root().join("tiny-vae/diffusion_pytorch_model.safetensors");
    for vae in [tiny, common::folder()] {
        let (a, b) = (several.with_vae(&vae).unwrap(), one.with_vae(&vae).unwrap());
        assert_eq!(a.device(), "cpu,cpu");
        same(&drawn(&a), &drawn(&b));
    }
    let mut changed = on("cpu,cpu");
    changed.set_loras(lora()).unwrap();
    same(&drawn(&changed), &drawn(&one.with_loras(lora()).unwrap()));
    assert!(changed.set_loras([Lora::file("no/such/file")]).is_err());
    assert_eq!(changed.loras().len(), 1);
    same(&drawn(&changed), &drawn(&one.with_loras(lora()).unwrap()));
    changed.set_loras::<Lora>([]).unwrap();
    same(&drawn(&changed), &drawn(&one));
    // Those that a prompt names.
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(lora_file(), folder.path().join("one.safetensors")).unwrap();
    let tagged = |devices: &str| {
        let pipeline = builder().device(devices).lora_dir(folder.path()).build().unwrap();
        run(&pipeline, "a circle <lora:one:0.5>").run().unwrap().images
    };
    same(&tagged("cpu,cpu"), &tagged("cpu"));
}

/// Every device has its copy.
#[test]
fn a_memory_limit_counts_all_copies() {
    let least = on("cpu").memory_plan(48, 64).unwrap().least();
    let limited = |bytes| builder().device("cpu,cpu").memory_limit(bytes).build();
    let pipeline = limited(2 * least).unwrap();
    same(
        &run(&pipeline, "a circle").run().unwrap().images,
        &run(&on("cpu"), "a circle").run().unwrap().images,
    );
    let tight = limited(2 * least - 1).unwrap();
    let message = run(&tight, "a circle").run().unwrap_err().to_string();
    assert!(
        message.contains("is too little for 48x64 on 2 devices, which needs"),
        "{message}"
    );
    let message = limited(least).err().map(|error| error.to_string());
    assert!(message.is_none_or(|it| it.contains("is too little for this model on 2 devices")));
}

#[test]
fn the_log_tells_devices_apart_and_warns_once() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let to = Arc::clone(&lines);
    let log = move |level, line: &str| to.lock().unwrap().push((level, line.to_owned()));
    let pipeline = builder().device("cpu,cpu").on_log(log).build().unwrap();
    run(&pipeline, "a circle").hires_steps(3).run().unwrap();
    let lines = lines.lock().unwrap();
    let count = |level, words: &str| {
        lines
            .iter()
            .filter(|(l, line)| *l == level && line.contains(words))
            .count()
    };
    assert_eq!(count(LogLevel::Info, "opened "), 1, "{lines:#?}");
    assert_eq!(count(LogLevel::Info, "cpu: loaded the U-Net"), 2, "{lines:#?}");
    assert_eq!(count(LogLevel::Info, "cpu: sampled picture "), 4, "{lines:#?}");
    assert_eq!(count(LogLevel::Warning, "hires_steps"), 1, "{lines:#?}");
}

#[test]
fn what_can_not_be_is_an_error() {
    let several = on("cpu,cpu");
    let error = run(&several, "a circle").steps(0).run().unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidParameter);
    for size in [0, usize::MAX] {
        let error = run(&several, "a circle").batch_size(size).run().unwrap_err();
        assert!(
            error.to_string().starts_with("batch_size: must be 1 to 1000"),
            "{error}"
        );
    }
    for devices in ["cpu,", "cpu,abacus", "cpu:all"] {
        let error = builder().device(devices).build().err().unwrap();
        assert_eq!(error.code(), ErrorCode::UnknownName, "{devices}");
    }
}
