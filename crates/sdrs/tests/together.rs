//! Pictures of a batch that go through the network together: each is what a single run gives, within rounding.

mod common;

use std::cell::RefCell;

use common::{folder, refiner_folder, sdxl_folder, widened};
use sdrs::{MaskedContent, Picture, Pipeline, Request, RunState, Sampler, TiledDiffusion};

/// Rounding of f32 that grew over the steps of a run.
const ROUNDING: f64 = 1e-4;

type Change = fn(Request<'_>) -> Request<'_>;

fn pipeline() -> Pipeline {
    let builder = Pipeline::builder().checkpoint(folder()).device("cpu");
    builder.dtype(sdrs::Dtype::F32).build().unwrap()
}

fn request<'a>(pipeline: &'a Pipeline, prompt: &str) -> Request<'a> {
    let request = pipeline.txt2img(prompt).negative_prompt("a square");
    request.width(48).height(64).steps(4).seed(7)
}

/// Three pictures together against each alone.
fn compare<'a>(what: &str, asked: impl Fn() -> Request<'a>) {
    let alone: Vec<Vec<f32>> = (7..10)
        .map(|seed| asked().seed(seed).latents().unwrap().latents.values)
        .collect();
    let together = asked().batch_size(3).batch_per_call(3).latents().unwrap();
    assert_eq!(together.seeds, [7, 8, 9], "{what}");
    let each = together.latents.values.chunks(alone[0].len());
    for (together, alone) in each.zip(&alone) {
        let error = goldens::relative_error(together, alone);
        assert!(error < ROUNDING, "{what}: {error:e}");
    }
    assert!(alone[0] != alone[1], "{what}");
    // One at a time they are the same to the bit, as without being asked on the CPU.
    for asked in [asked().batch_per_call(1), asked()] {
        let one_by_one = asked.batch_size(3).latents().unwrap().latents.values;
        assert!(one_by_one == alone.concat(), "{what}");
    }
}

#[test]
fn with_every_sampler() {
    let pipeline = pipeline();
    for sampler in Sampler::ALL {
        compare(&sampler.to_string(), || {
            request(&pipeline, "a circle").sampler(*sampler)
        });
    }
}

#[test]
fn with_prompts_of_every_kind() {
    let pipeline = pipeline();
    let long = "a long prompt of words ".repeat(20);
    for prompt in ["[a|b|c] circle", "a AND b :0.5", "[a:b:0.5] c BREAK d", &long] {
        compare(prompt, || {
            request(&pipeline, prompt).sampler(Sampler::EulerAncestral)
        });
    }
}

#[test]
fn with_guidance_of_every_kind() {
    let pipeline = pipeline();
    let changes: [(&str, Change); 9] = [
        ("adaptive", |r| r.adaptive_guidance(0.9)),
        ("ngms", |r| r.ngms(3.0)),
        ("projected", |r| r.apg_momentum(-0.5).apg_norm_threshold(15.0)),
        ("threshold", |r| r.mimic_scale(4.0).threshold_percentile(95.0)),
        ("perp neg", |r| r.perp_neg_scale(1.0).cfg_zero_star(true)),
        ("perturbed", |r| r.pag_scale(2.0).guidance_rescale(0.5)),
        ("self-attention", |r| r.sag_scale(0.75)),
        ("FreeU", |r| r.freeu_b1(1.2).freeu_s1(0.9)),
        ("scale 1", |r| r.cfg_scale(1.0)),
    ];
    for (name, change) in changes {
        compare(name, || change(request(&pipeline, "a circle")));
    }
}

/// Shortcuts, and those that don't allow it are drawn one by one.
#[test]
fn with_shortcuts() {
    let pipeline = pipeline();
    let changes: [(&str, Change); 6] = [
        ("DeepCache", |r| r.deep_cache_interval(2)),
        ("first block", |r| r.first_block_cache(0.3)),
        ("merging", |r| r.token_merging(0.5)),
        ("merging all", |r| {
            r.token_merging(0.5)
                .token_merging_mlp(true)
                .token_merging_cross_attention(true)
        }),
        ("tiles", |r| {
            let r = r.tiled_diffusion(TiledDiffusion::MultiDiffusion);
            r.tile_width(16).tile_height(16).tile_overlap(8).width(192)
        }),
        ("wrapped", |r| r.tile_x(true)),
    ];
    for (name, change) in changes {
        compare(name, || {
            change(request(&pipeline, "a circle")).sampler(Sampler::EulerAncestral)
        });
    }
}

#[test]
fn from_pictures_and_in_two_passes() {
    let pipeline = pipeline();
    let pixels = |seed: u32| -> Vec<u8> {
        (0..48 * 64 * 3u32)
            .map(|i| (i * 7 + i * i * seed) as u8)
            .collect()
    };
    let picture = || Picture::from_rgb(48, 64, &pixels(3)).unwrap();
    let mask = || {
        let pixels: Vec<u8> = (0..48 * 64)
            .flat_map(|i| [if i % 48 < 24 { 255 } else { 0 }; 3])
            .collect();
        Picture::from_rgb(48, 64, &pixels).unwrap()
    };
    for sampler in [Sampler::EulerAncestral, Sampler::Ddim] {
        let from = || request(&pipeline, "a circle").sampler(sampler).image(picture());
        compare("image", || from().posterior_sample(true));
        compare("mask", || {
            from().mask(mask()).masked_content(MaskedContent::LatentNoise)
        });
        compare("soft mask", || from().mask(mask()).mask_blur(4).soft_mask(true));
        compare("hires", || {
            request(&pipeline, "a circle")
                .sampler(sampler)
                .hires_scale(1.5)
                .hires_steps(2)
        });
    }
    let inpainting = widened(9);
    let builder = Pipeline::builder().checkpoint(inpainting.path()).device("cpu");
    let pipeline = builder.dtype(sdrs::Dtype::F32).build().unwrap();
    compare("inpainting", || {
        request(&pipeline, "a circle").image(picture()).mask(mask())
    });
}

#[test]
fn with_sdxl_and_its_refiner() {
    let (folder, refiner) = (sdxl_folder(), refiner_folder());
    let builder = Pipeline::builder()
        .checkpoint(folder.path())
        .refiner(refiner.path());
    let pipeline = builder.device("cpu").dtype(sdrs::Dtype::F32).build().unwrap();
    for switch in [1.0, 0.5] {
        compare("SDXL", || {
            request(&pipeline, "a circle").refiner_switch_at(switch)
        });
    }
}

/// Callers see each step of each picture, and states go on as single pictures.
#[test]
fn steps_and_states_are_each_pictures() {
    let pipeline = pipeline();
    let asked = || request(&pipeline, "a circle").sampler(Sampler::EulerAncestral);
    let (seen, states) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
    let request = asked().batch_size(3).batch_per_call(2).deep_cache_interval(2);
    let drawn = request
        .on_progress(|progress| seen.borrow_mut().push((progress.image, progress.step)))
        .on_state(2, |state| {
            states.borrow_mut().push(state);
            Ok(())
        })
        .latents()
        .unwrap();
    let mut expected = Vec::new();
    for group in [&[0, 1][..], &[2]] {
        expected.extend((1..=4).flat_map(|step| group.iter().map(move |&image| (image, step))));
    }
    assert_eq!(*seen.borrow(), expected);
    let states: Vec<RunState> = states.into_inner();
    let names: Vec<String> = states.iter().map(RunState::file_name).collect();
    assert_eq!(names[0], "picture-1-step-00002.safetensors");
    assert_eq!(names[1], "picture-2-step-00002.safetensors");
    assert_eq!(names.len(), 6);
    let values = drawn.latents.values.len() / 3;
    for (state, image) in states.into_iter().zip([0, 1, 0, 1, 2, 2]) {
        let resumed = pipeline.txt2img("").resume(state).latents().unwrap().latents;
        let whole = &drawn.latents.values[image * values..(image + 1) * values];
        let error = goldens::relative_error(&resumed.values, whole);
        assert!(error < ROUNDING, "picture {image}: {error:e}");
    }
}

/// The memory that a run takes grows with the pictures of a call.
#[test]
fn memory_is_counted() {
    let plan = |batch_size, per_call| {
        let builder = Pipeline::builder().checkpoint(folder()).device("cpu");
        let plan = builder.memory_plan(|run| {
            let run = run.width(256).height(256).batch_size(batch_size);
            run.batch_per_call(per_call)
        });
        plan.unwrap().denoising
    };
    assert_eq!(plan(8, 0), plan(1, 0));
    assert_eq!(plan(8, 1), plan(1, 8));
    let (one, four) = (plan(8, 1) as f64, plan(8, 4) as f64);
    assert!((2.5..4.1).contains(&(four / one)), "{}", four / one);
}

/// Cancelling ends all of them.
#[test]
fn cancelling_ends_all() {
    let pipeline = pipeline();
    let cancel = sdrs::CancelToken::new();
    let run = request(&pipeline, "a circle").batch_size(3).batch_per_call(3);
    let ended = run
        .cancel_token(&cancel)
        .on_progress(|progress| {
            assert!(progress.step <= 2);
            if progress.step == 2 {
                cancel.cancel();
            }
        })
        .latents();
    assert!(matches!(ended, Err(sdrs::Error::Cancelled)));
}
