//! Saved steps: a run goes on from any of its states to the bit, or with other settings; what can't be is refused.

mod common;

use std::sync::{Mutex, PoisonError};

use sdrs::{ErrorCode, Picture, Pipeline, Request, RunState, Sampler, SaveOptions};

fn pipeline() -> Pipeline {
    common::builder().build().unwrap()
}

fn run(pipeline: &Pipeline) -> Request<'_> {
    let request = pipeline.txt2img("a red circle").negative_prompt("blurry");
    request
        .sampler(Sampler::Euler)
        .steps(4)
        .seed(42)
        .width(64)
        .height(48)
}

fn latents(request: Request<'_>) -> Vec<f32> {
    request.latents().unwrap().latents.values
}

/// All states of a run, each written and read again, and its latents.
fn states(request: Request<'_>) -> (Vec<RunState>, Vec<f32>) {
    let kept = Mutex::new(Vec::new());
    let drawn = latents(request.on_state(1, |state| {
        let bytes = state.to_bytes();
        let read = RunState::from_bytes("a state", bytes.clone())?;
        assert!(read.to_bytes() == bytes);
        kept.lock().unwrap_or_else(PoisonError::into_inner).push(read);
        Ok(())
    }));
    (kept.into_inner().unwrap(), drawn)
}

/// Whether a run goes on to the same latents from each of its states.
fn goes_on(pipeline: &Pipeline, change: impl Fn(Request<'_>) -> Request<'_>) -> Vec<RunState> {
    let (states, drawn) = states(change(run(pipeline)));
    assert!(latents(change(run(pipeline))) == drawn);
    let few = states.len().div_ceil(5);
    for state in states.iter().step_by(few).chain(states.last()) {
        let again = latents(pipeline.txt2img("").resume(state.clone()));
        assert!(
            again == drawn,
            "{} of {}: {}",
            state.step(),
            state.steps(),
            state.infotext()
        );
    }
    states
}

#[test]
fn samplers_of_every_kind_go_on_to_the_bit() {
    let pipeline = pipeline();
    for sampler in [
        Sampler::Euler,
        Sampler::EulerAncestral,
        Sampler::Heun,
        Sampler::DpmPp2m,
        Sampler::DpmPp2mSde,
        Sampler::DpmPpSde,
        Sampler::DpmAdaptive,
        Sampler::UniPc,
        Sampler::Lms,
        Sampler::Restart,
        Sampler::Plms,
        Sampler::DdimCfgPp,
        Sampler::SaSolver,
    ] {
        let states = goes_on(&pipeline, |r| r.sampler(sampler));
        assert!(states.len() >= 3, "{sampler:?}: {}", states.len());
    }
    let noisy = goes_on(&pipeline, |r| {
        r.sampler(Sampler::Ddim)
            .eta(0.5)
            .ensd(31337)
            .variation_seed(9)
            .variation_strength(0.3)
    });
    assert_eq!(noisy[0].params().size.batch_size, 1);
}

#[test]
fn what_calls_hand_on_is_kept() {
    let pipeline = pipeline();
    let changes: [fn(Request<'_>) -> Request<'_>; 13] = [
        |r| r.apg_momentum(-0.5).apg_eta(0.0),
        |r| r.sag_scale(0.75).deep_cache_interval(3),
        |r| r.deep_cache_interval(2),
        |r| r.deep_cache_interval(3).pag_scale(2.0).ngms(5.0),
        |r| r.prompt("a [circle:square:2] AND a star").deep_cache_interval(3),
        |r| {
            r.tiled_diffusion(sdrs::TiledDiffusion::MultiDiffusion)
                .tile_width(16)
                .tile_height(16)
                .tile_overlap(4)
                .width(192)
                .deep_cache_interval(2)
        },
        |r| {
            r.hires_scale(1.5)
                .hires_steps(3)
                .hires_sampler(Sampler::EulerAncestral)
        },
        |r| r.cfg_scale(1.0),
        |r| r.adaptive_guidance(0.9).deep_cache_interval(2),
        |r| r.first_block_cache(0.3).steps(8),
        |r| {
            r.first_block_cache(0.3)
                .prompt("a [circle|square] AND a star")
                .pag_scale(2.0)
                .ngms(5.0)
                .steps(8)
        },
        |r| {
            r.tiled_diffusion(sdrs::TiledDiffusion::MultiDiffusion)
                .tile_width(16)
                .tile_height(16)
                .tile_overlap(4)
                .width(192)
                .first_block_cache(0.4)
        },
        |r| {
            r.adaptive_guidance(0.9)
                .prompt("a star AND a square")
                .hires_scale(1.5)
                .hires_steps(3)
        },
    ];
    for change in changes {
        goes_on(&pipeline, change);
    }
    // Steps are counted over both passes.
    let (of_both, _) = states(changes[6](run(&pipeline)));
    assert_eq!(
        of_both.iter().map(RunState::step).collect::<Vec<_>>(),
        (1..=7).collect::<Vec<_>>()
    );
    assert!(of_both.iter().all(|state| state.steps() == 7));
    let lora = pipeline
        .with_loras([sdrs::Lora::file(common::lora_file())])
        .unwrap();
    goes_on(&lora, |r| r.deep_cache_interval(2));
}

#[test]
fn a_refiner_that_has_taken_over_stays() {
    let (base, refiner) = (common::sdxl_folder(), common::refiner_folder());
    let builder = Pipeline::builder().checkpoint(base.path()).device("cpu");
    let pipeline = builder.refiner(refiner.path()).build().unwrap();
    goes_on(&pipeline, |r| {
        r.refiner_switch_at(0.5)
            .deep_cache_interval(2)
            .apg_momentum(-0.5)
            .adaptive_guidance(0.9)
    });
}

fn picture(value: u8) -> Picture {
    let pixels: Vec<u8> = (0..64 * 48 * 3).map(|i| (i as u8).wrapping_mul(value)).collect();
    Picture::from_rgb(64, 48, &pixels).unwrap()
}

fn mask() -> Picture {
    let pixels: Vec<u8> = (0..64 * 48).map(|i| if i % 64 < 30 { 255 } else { 40 }).collect();
    Picture::from_gray(64, 48, &pixels).unwrap()
}

#[test]
fn pictures_and_masks_come_along() {
    let pipeline = pipeline();
    for soft in [false, true] {
        let states = goes_on(&pipeline, |r| {
            r.image(picture(7))
                .mask(mask())
                .soft_mask(soft)
                .strength(0.9)
                .posterior_sample(true)
        });
        // The rest of the picture is the original's.
        let whole = run(&pipeline)
            .image(picture(7))
            .mask(mask())
            .soft_mask(soft)
            .strength(0.9)
            .posterior_sample(true);
        let again = pipeline.txt2img("").resume(states[1].clone());
        assert!(again.run().unwrap().images[0].rgb == whole.run().unwrap().images[0].rgb);
    }
    let twice = pipeline
        .txt2img("")
        .resume(goes_on(&pipeline, |r| r.image(picture(7)))[0].clone());
    let error = twice.image(picture(9)).run().unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("image: a run that goes on from a state"),
        "{error}"
    );
}

#[test]
fn a_picture_of_a_batch_goes_on_alone() {
    let pipeline = pipeline();
    let (states, drawn) = states(run(&pipeline).sampler(Sampler::EulerAncestral).batch_size(2));
    assert_eq!(states.len(), 8);
    let second = states
        .iter()
        .find(|state| state.file_name() == "picture-2-step-00003.safetensors");
    let second = second.unwrap();
    assert_eq!(second.params().noise.seed, 43);
    let again = latents(pipeline.txt2img("").resume(second.clone()));
    assert!(again == drawn[drawn.len() / 2..]);
}

#[test]
fn what_is_to_come_may_be_changed() {
    let pipeline = pipeline();
    let (states, drawn) = states(run(&pipeline));
    let from = |at: usize| pipeline.txt2img("").resume(states[at].clone());
    for (i, changed) in [
        from(1).cfg_scale(3.0),
        from(1).prompt("a star"),
        from(1).pag_scale(2.0).perturbed_layers("down_blocks.1"),
        from(1).deep_cache_interval(2),
    ]
    .into_iter()
    .enumerate()
    {
        let changed = latents(changed);
        assert!(changed.len() == drawn.len() && changed != drawn, "{i}");
    }
    // A branch is what the rest of a whole run with both would be.
    let edited = latents(run(&pipeline).prompt("[a red circle:a star:1]"));
    assert!(latents(from(1).prompt("a star")) == edited);
    // A second pass from the end of the first.
    let second = latents(from(3).hires_scale(1.5).hires_steps(2).strength(0.5));
    let whole = run(&pipeline).hires_scale(1.5).hires_steps(2).strength(0.5);
    assert!(second == latents(whole));
    // Another LoRA from there.
    let lora = pipeline
        .with_loras([sdrs::Lora::file(common::lora_file())])
        .unwrap();
    assert!(latents(lora.txt2img("").resume(states[1].clone())) != drawn);
}

#[test]
fn what_is_behind_can_not() {
    let pipeline = pipeline();
    let (states, _) = states(run(&pipeline).hires_scale(1.5).hires_steps(2));
    let message = |at: usize, change: fn(Request<'_>) -> Request<'_>| {
        let error = change(pipeline.txt2img("").resume(states[at].clone()))
            .run()
            .unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidParameter);
        error.to_string()
    };
    assert_eq!(
        message(0, |r| r.steps(30)),
        "steps: was 4 when the state was written, and decides what is behind it: it can't be 30 now; leave it as it was"
    );
    assert!(message(0, |r| r.seed(1)).starts_with("seed: was 42"));
    assert!(message(0, |r| r.sampler(Sampler::Lms)).starts_with("sampler: was Euler"));
    assert!(message(0, |r| r.width(128)).starts_with("width: was 64"));
    assert!(message(0, |r| r.batch_size(2)).starts_with("batch_size: was 1"));
    assert!(message(0, |r| r.eta(0.5)).starts_with("eta: was not given"));
    // Of the first pass the second may still be changed.
    assert!(
        pipeline
            .txt2img("")
            .resume(states[0].clone())
            .hires_steps(3)
            .run()
            .is_ok()
    );
    assert!(message(5, |r| r.hires_steps(3)).starts_with("hires_steps: was 2"));
    assert!(message(5, |r| r.strength(0.2)).starts_with("strength: was 0.7"));
    let none = run(&pipeline).on_state(0, |_| Ok(())).run().unwrap_err();
    assert_eq!(none.to_string(), "save_states_every: must be 1 or more, not 0");
}

#[test]
fn another_model_is_refused() {
    let folder = common::widened(4);
    let opened = || {
        Pipeline::builder()
            .checkpoint(folder.path())
            .device("cpu")
            .build()
            .unwrap()
    };
    let (states, _) = states(run(&opened()));
    assert!(opened().txt2img("").resume(states[0].clone()).run().is_ok());
    let unet = folder.path().join("unet/diffusion_pytorch_model.safetensors");
    // One bit is enough, where it stands at the beginning of a tensor.
    let mut bytes = std::fs::read(&unet).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[8 + header] ^= 1;
    std::fs::write(unet.with_extension("new"), bytes).unwrap();
    std::fs::rename(unet.with_extension("new"), &unet).unwrap();
    let other = opened();
    let error = other
        .txt2img("")
        .resume(states[0].clone())
        .run()
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("state: a state was written over another U-Net"),
        "{error}"
    );
}

/// Cut anywhere, or with any part of its metadata changed, a state is refused with its name, or is another valid one.
#[test]
fn states_that_lie_are_refused() {
    let pipeline = pipeline();
    let (states, _) = states(
        run(&pipeline)
            .apg_momentum(-0.5)
            .deep_cache_interval(3)
            .image(picture(3)),
    );
    let bytes = states[1].to_bytes();
    for cut in (0..bytes.len()).step_by(bytes.len() / 60) {
        let error = RunState::from_bytes("cut", bytes[..cut].to_vec()).unwrap_err();
        assert!(error.to_string().starts_with("cut: "), "{error}");
    }
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let text = String::from_utf8(bytes[8..8 + header].to_vec()).unwrap();
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from), "{from} {text}");
        // Lengths stay: the rest is filled with spaces.
        let mut head = text.replacen(from, to, 1).into_bytes();
        head.resize(head.len().div_ceil(8) * 8, b' ');
        let mut file = (head.len() as u64).to_le_bytes().to_vec();
        file.extend(head);
        file.extend(&bytes[8 + header..]);
        let read = RunState::from_bytes("lie", file)?;
        pipeline.txt2img("").resume(read).run()
    };
    let message = |from: &str, to: &str| changed(from, to).unwrap_err().to_string();
    let format = message("\\\"format\\\":1", "\\\"format\\\":7");
    assert!(
        format.contains("in form 7, and this is") && format.contains("reads form 1"),
        "{format}"
    );
    assert!(message("sdrs.run_state", "sdrs.run_stat").contains("not a saved state of a run"));
    assert!(
        message("\\\"steps\\\":\\\"4\\\"", "\\\"steps\\\":\\\"x\\\"").contains("steps: \"x\" is no value")
    );
    assert!(message("\\\"steps\\\":\\\"4\\\"", "\\\"steps\\\":\\\"5\\\"").contains("state"));
    assert!(
        message("\\\"steps\\\":\\\"4\\\"", "\\\"staps\\\":\\\"4\\\"")
            .contains("has the setting staps, which is not known here")
    );
    // Files that were written before there was a setting.
    let newest = "\\\"skimming_scale\\\":null,";
    let [whole, older] = ["", newest].map(|left_out| changed(newest, &newest.replace(left_out, "")).unwrap());
    assert!(older.images[0].rgb == whole.images[0].rgb);
    assert!(message("\\\"draws\\\":0", "\\\"draws\\\":99999999999").contains("a run that is none"));
    assert!(message("\\\"pass\\\":0", "\\\"pass\\\":3").contains("a run that is none"));
    assert!(message("\\\"pass\\\":0", "\\\"pass\\\":1").starts_with("lie: "));
    assert!(
        message(
            "\"guidance.momentum\":{\"dtype\":\"F32\"",
            "\"guidance.momentum\":{\"dtype\":\"I32\""
        )
        .contains("is of the type I32")
    );
    assert!(message("\"stepper\"", "\"stopper\"").contains("lacks the tensor stepper"));
    assert!(message("\"features.0\"", "\"features.9\"").contains("lacks the tensor features.0"));
    assert!(
        message("\\\"width\\\":\\\"64\\\"", "\\\"width\\\":\\\"80\\\"").contains("not of the run's size")
    );
    // Of features with another place none is found, and the network is computed in whole.
    assert!(changed("[false,[0,0,0,0,0,0]]", "[false,[7,9,3,1,0,0]]").is_ok());
    // Bytes of the stepper and of latents.
    let body = 8 + header;
    for at in (body..bytes.len()).step_by((bytes.len() - body) / 200) {
        let mut lie = bytes.clone();
        lie[at] ^= 0xff;
        if let Ok(state) = RunState::from_bytes("lie", lie) {
            let _ = pipeline.txt2img("").resume(state).latents();
        }
    }
}

#[test]
fn states_are_files() {
    let (pipeline, folder) = (pipeline(), tempfile::tempdir().unwrap());
    let states = folder.path().join("new/states");
    let drawn = latents(run(&pipeline).steps(5).save_states(&states, 2));
    let mut names: Vec<String> = std::fs::read_dir(&states)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [2, 4, 5].map(|step| format!("picture-1-step-0000{step}.safetensors"))
    );
    let state = RunState::open(states.join(&names[0])).unwrap();
    assert!(state.infotext().contains("Seed: 42") && state.params().sampling.steps == 5);
    assert!(latents(pipeline.txt2img("").resume(state)) == drawn);
    let error = RunState::open(states.join("none")).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Io);
    // What it is instead, and what to do.
    let text = folder.path().join("note.txt");
    std::fs::write(&text, "To do: go on with the lighthouse.").unwrap();
    let picture = folder.path().join("picture.png");
    let white = Picture::from_rgba(2, 1, vec![255; 8]).unwrap();
    white.save(&picture, &SaveOptions::default(), None).unwrap();
    let paper = folder.path().join("paper.pdf");
    std::fs::write(&paper, "%PDF-1.7 and more").unwrap();
    let pointer = folder.path().join("pointer.safetensors");
    std::fs::write(
        &pointer,
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    )
    .unwrap();
    let empty = folder.path().join("empty.safetensors");
    std::fs::write(&empty, "").unwrap();
    let zeros = folder.path().join("zeros.safetensors");
    std::fs::write(&zeros, [0; 100]).unwrap();
    let damaged = folder.path().join("damaged.safetensors");
    let whole = std::fs::read(states.join(&names[0])).unwrap();
    std::fs::write(&damaged, &whole[..whole.len() - 1]).unwrap();
    for (path, words) in [
        (
            goldens::root().join("tiny-sd1/unet/diffusion_pytorch_model.safetensors"),
            "is a U-Net alone, not a saved state of a run; save_states (--save-states) writes such files",
        ),
        (states.clone(), "is a folder, not a saved state"),
        (text, "is a text, not a saved state"),
        (
            pointer,
            "is a Git LFS pointer, not a saved state of a run; save_states (--save-states) writes such files, as picture-1-step-00012.safetensors; fetch",
        ),
        (empty, "is empty, so no saved state"),
        (zeros, "is no file of tensors, so no saved state"),
        (picture, "is a PNG picture, not a saved state"),
        (paper, "is a PDF file, not a saved state"),
        (damaged, "again"),
    ] {
        let error = RunState::open(&path).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidFile);
        let error = error.to_string();
        assert!(
            error.starts_with(&path.display().to_string()) && error.contains(words),
            "{error}"
        );
        assert_eq!(error.contains("replay draws"), words.contains("PNG"), "{error}");
        if let Ok(bytes) = std::fs::read(&path) {
            let of_bytes = RunState::from_bytes(path.display().to_string(), bytes).unwrap_err();
            assert_eq!(of_bytes.to_string(), error);
        }
    }
    // A file where a folder should be.
    let blocked = run(&pipeline)
        .save_states(states.join(&names[0]), 1)
        .run()
        .unwrap_err();
    assert_eq!(blocked.code(), ErrorCode::Io);
}
