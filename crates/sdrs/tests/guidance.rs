//! Methods around guidance, through a whole run: off unless asked for, told in infotexts, alike however a picture is drawn.

use sdrs::{GenerateParams, Pipeline, PreviewMethod, Request, Sampler, infotext};

mod common;

fn pipeline() -> Pipeline {
    common::builder().build().unwrap()
}

fn request(pipeline: &Pipeline) -> Request<'_> {
    asked(pipeline, "a circle AND a square :0.5")
}

fn asked<'a>(pipeline: &'a Pipeline, prompt: &str) -> Request<'a> {
    let request = pipeline.txt2img(prompt);
    let request = request.negative_prompt("blurry").width(112).height(128).steps(3);
    request.seed(7).sampler(Sampler::Euler)
}

fn latents(request: Request<'_>) -> Vec<f32> {
    request.latents().unwrap().latents.values
}

type Change = fn(Request<'_>) -> Request<'_>;

/// A change with its pairs in infotexts.
const CHANGES: &[(Change, &[&str])] = &[
    (|r| r.guidance_rescale(0.7), &["Guidance rescale: 0.7,"]),
    (|r| r.mimic_scale(3.0), &["Mimic scale: 3,"]),
    (
        |r| r.mimic_scale(3.0).threshold_percentile(90.0),
        &["Mimic scale: 3,", "Threshold percentile: 90,"],
    ),
    (|r| r.skimming_scale(2.0), &["Skimming CFG: 2,"]),
    (
        |r| {
            r.skimming_scale(0.0)
                .full_skim_negative(true)
                .disable_flipping_filter(true)
        },
        &[
            "Skimming CFG: 0,",
            "Full skim negative: True,",
            "Disable flipping filter: True,",
        ],
    ),
    (|r| r.apg_eta(0.0), &["APG eta: 0,"]),
    (|r| r.apg_norm_threshold(2.5), &["APG norm threshold: 2.5,"]),
    (|r| r.apg_momentum(-0.5), &["APG momentum: -0.5,"]),
    (|r| r.cfg_zero_star(true), &["CFG-Zero star: True,"]),
    (|r| r.perp_neg_scale(1.0), &["Perp-Neg scale: 1,"]),
    (|r| r.pag_scale(3.0), &["PerturbedAttentionGuidance_scale: 3,"]),
    (
        |r| r.pag_scale(3.0).perturbed_layers("mid, down_blocks.1"),
        &["Perturbed layers: \"mid, down_blocks.1\","],
    ),
    (|r| r.seg_scale(3.0), &["SEG scale: 3,"]),
    (
        |r| r.seg_scale(3.0).seg_sigma(0.5),
        &["SEG scale: 3,", "SEG sigma: 0.5,"],
    ),
    (|r| r.sag_scale(0.75), &["sag_scale: 0.75,"]),
    (
        |r| r.sag_scale(0.75).sag_blur_sigma(2.0).sag_threshold(0.9),
        &["sag_scale: 0.75,", "sag_blur_sigma: 2,", "sag_threshold: 0.9,"],
    ),
    (|r| r.freeu_b2(1.4), &["freeu_b2: 1.4,"]),
    (
        |r| r.freeu_b1(1.3).freeu_s1(0.9).freeu_s2(0.2).freeu_version(1),
        &[
            "freeu_b1: 1.3,",
            "freeu_s1: 0.9,",
            "freeu_s2: 0.2,",
            "freeu_version: 1,",
        ],
    ),
    (|r| r.tile_x(true), &["Tile X: True,"]),
    (|r| r.tile_y(true), &["Tile Y: True,"]),
    (|r| r.tile_x(true).tile_y(true), &["Tiling: True,"]),
    (
        |r| r.seed_resize_width(48).seed_resize_height(96),
        &["Seed resize from: 48x96,"],
    ),
];

#[test]
fn each_changes_the_picture_and_is_told() {
    let pipeline = pipeline();
    let plain = request(&pipeline).latents().unwrap();
    for (change, pairs) in CHANGES {
        let made = change(request(&pipeline)).latents().unwrap();
        let text = &made.infotexts[0];
        let change = goldens::relative_error(&made.latents.values, &plain.latents.values);
        assert!(change > 1e-4, "{text}: {change}");
        for pair in *pairs {
            assert!(text.contains(pair), "{pair} {text}");
            let key = pair.split(':').next().unwrap();
            assert!(!plain.infotexts[0].contains(key), "{key}");
        }
        let params = infotext::parse(text).unwrap().params;
        assert!(
            latents(pipeline.txt2img("").params(params)) == made.latents.values,
            "{text}"
        );
    }
}

/// All of them at once, in a batch.
#[test]
fn one_picture_however_it_is_run() {
    let pipeline = pipeline();
    let all = |seed| {
        let all = CHANGES
            .iter()
            .fold(request(&pipeline), |r, (change, _)| change(r));
        all.seed(seed)
    };
    for sampler in [Sampler::Euler, Sampler::Heun, Sampler::DdimCfgPp] {
        let alone = [latents(all(7).sampler(sampler)), latents(all(8).sampler(sampler))].concat();
        assert!(alone.iter().all(|value| value.is_finite()));
        assert!(
            latents(all(7).sampler(sampler).batch_size(2)) == alone,
            "{sampler:?}"
        );
    }
}

/// The guidances that evaluate the network once more act without the negative prompt, and with shortcuts.
#[test]
fn worse_attention_needs_no_negative_prompt() {
    let pipeline = pipeline();
    for change in [
        |r: Request<'_>| r.pag_scale(3.0),
        |r| r.seg_scale(3.0),
        |r| r.sag_scale(0.75),
    ] as [fn(Request<'_>) -> Request<'_>; 3]
    {
        for prompt in ["a circle", "a circle AND a square"] {
            let one = |r: Request<'_>| latents(r.skip_early_cfg(1.0));
            let plain = one(asked(&pipeline, prompt));
            assert!(goldens::relative_error(&one(change(asked(&pipeline, prompt))), &plain) > 1e-4);
        }
        let fast = |r: Request<'_>| latents(r.deep_cache_interval(2).token_merging(0.4));
        let [with, without] = [fast(change(request(&pipeline))), fast(request(&pipeline))];
        assert!(with != without && with.iter().all(|value| value.is_finite()));
    }
}

/// At scale 1 there is nothing to go to from uncond, and where the negative prompt is left out neither.
#[test]
fn without_guidance_methods_rest() {
    let pipeline = pipeline();
    let one = |change: Change| latents(change(asked(&pipeline, "a circle")).cfg_scale(1.0));
    let plain = one(|r| r);
    let rest: [Change; 4] = [
        |r| r.mimic_scale(3.0),
        |r| r.skimming_scale(2.0),
        |r| r.apg_eta(0.0),
        |r| r.cfg_zero_star(true),
    ];
    for change in rest {
        assert!(one(change) == plain);
    }
    let early = |change: Change| latents(change(request(&pipeline)).skip_early_cfg(1.0));
    for (change, _) in &CHANGES[1..10] {
        assert!(early(*change) == early(|r| r));
    }
}

/// Perp-Neg is guidance of its own at scale 1, which the empty prompt takes part in; with the empty prompt as the negative one nothing is
/// perpendicular.
#[test]
fn perp_neg_sees_from_the_empty_prompt() {
    let pipeline = pipeline();
    let draw = |negative: &str, scale: f64| {
        latents(request(&pipeline).negative_prompt(negative).perp_neg_scale(scale))
    };
    let plain = draw("", 0.0);
    goldens::assert_close("empty", &draw("", 1.0), &plain, 1e-4);
    assert!(goldens::relative_error(&draw("blurry", 1.0), &plain) > 1e-3);
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
        message(|p| p.guidance.apg_momentum = 2.0),
        "apg_momentum: must be a number from -1 to 1, not 2"
    );
    assert_eq!(
        message(|p| p.guidance.perp_neg_scale = -1.0),
        "perp_neg_scale: must be a number from 0 to 100, not -1"
    );
    assert_eq!(
        message(|p| p.network.freeu_version = 3),
        "freeu_version: must be 1 to 2, not 3"
    );
    let layers = |layers: &str| {
        let request = asked(&pipeline, "").pag_scale(1.0).perturbed_layers(layers);
        request.run().unwrap_err().to_string()
    };
    let known = layers("mid, down_blocks.3, x");
    assert!(
        known
            .starts_with("perturbed_layers: this U-Net has no self-attention in 'down_blocks.3', 'x'; names"),
        "{known}"
    );
    assert!(layers(" ,").starts_with("perturbed_layers: names no layer; names are"));
    assert_eq!(
        message(|p| p.noise.seed_resize_height = Some(64)),
        "seed_resize_width: is needed with seed_resize_height"
    );
}

/// The decoder wraps its edges too, for pictures and for previews.
#[test]
fn a_tile_is_decoded_as_one() {
    let pipeline = pipeline();
    let tile = || asked(&pipeline, "a circle").tile_x(true).tile_y(true).steps(1);
    let latents = tile().latents().unwrap().latents;
    let shape: [usize; 4] = latents.shape.clone().try_into().unwrap();
    let plain = pipeline.vae_decode(&latents.values, shape).unwrap();
    let mut shown = None;
    let picture = tile().previews(PreviewMethod::Full, 1);
    let picture = picture
        .on_progress(|progress| shown = progress.preview)
        .run()
        .unwrap();
    let rgb = &picture.images[0].rgb;
    assert_eq!(shown.unwrap().rgb, *rgb);
    let byte = |value: f32| ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0) as u8;
    let pixels = plain.values.len() / 3;
    let unlike = (0..3 * pixels).filter(|i| byte(plain.values[i % 3 * pixels + i / 3]).abs_diff(rgb[*i]) > 1);
    assert!(unlike.count() > pixels / 20);
}
