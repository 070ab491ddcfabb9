//! Tiled diffusion: against the papers' formulas over diffusers' U-Net, and with all else that a run may be asked for.

mod common;

use goldens::Refs;
use sdrs::{GenerateParams, Picture, Pipeline, Request, Sampler, Schedule, TiledDiffusion, infotext};

const PROMPT: &str = "a red circle above a blue square";
const NEGATIVE: &str = "blurry, low quality";

fn refs() -> Refs {
    Refs::open("tiny-sd1/refs/tiled.safetensors")
}

fn pipeline() -> Pipeline {
    common::builder().build().unwrap()
}

/// A run over latents of this height and width.
fn run(pipeline: &Pipeline, [height, width]: [u32; 2]) -> Request<'_> {
    let request = pipeline.txt2img(PROMPT).negative_prompt(NEGATIVE);
    let request = request.sampler(Sampler::Euler).schedule(Schedule::Karras);
    request.steps(5).seed(42).width(8 * width).height(8 * height)
}

/// Tiles of this height and width that share so many latents.
fn tiled(request: Request<'_>, method: TiledDiffusion, [height, width, overlap]: [usize; 3]) -> Request<'_> {
    let request = request
        .tiled_diffusion(method)
        .tile_height(height)
        .tile_width(width);
    request.tile_overlap(overlap)
}

fn multi(request: Request<'_>) -> Request<'_> {
    tiled(request, TiledDiffusion::MultiDiffusion, [16, 16, 8])
}

fn mixture(request: Request<'_>) -> Request<'_> {
    tiled(request, TiledDiffusion::MixtureOfDiffusers, [16, 16, 8])
}

fn latents(request: Request<'_>) -> Vec<f32> {
    request.latents().unwrap().latents.values
}

#[test]
fn both_methods_are_their_papers() {
    let (refs, pipeline) = (refs(), pipeline());
    let odd = || run(&pipeline, [27, 30]);
    refs.assert_close("multi", &latents(multi(odd())), 1e-4);
    refs.assert_close("mixture", &latents(mixture(odd())), 1e-4);
    let oblong = tiled(
        run(&pipeline, [36, 16]),
        TiledDiffusion::MixtureOfDiffusers,
        [20, 16, 5],
    );
    refs.assert_close("mixture.oblong", &latents(oblong), 1e-4);
    // One tile is the whole.
    let small = || run(&pipeline, [16, 14]);
    assert!(latents(mixture(small())) == latents(small()));
}

/// The picture and the mask of `from_pictures.py`, 200 by 160.
fn picture_and_mask() -> [Picture; 2] {
    let (width, height) = (200u32, 160u32);
    let mut pixels = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let far = (f64::from(x) - 200.0 / 3.0).powi(2) + (f64::from(y) - 80.0).powi(2);
            let green = if (x / 5 + y / 7).is_multiple_of(2) {
                220
            } else {
                40
            };
            let blue = if far < (160.0f64 / 3.0).powi(2) { 255 } else { 0 };
            pixels.extend([(255.0 * f64::from(x) / 199.0) as u8, green, blue]);
        }
    }
    let mut mask = vec![0; (width * height) as usize];
    for y in 40..86 {
        for x in 66..100 {
            mask[(y * width + x) as usize] = if y < 80 { 255 } else { 90 };
        }
    }
    mask[(151 * width + 188) as usize] = 255;
    [
        Picture::from_rgb(width, height, &pixels).unwrap(),
        Picture::from_gray(width, height, &mask).unwrap(),
    ]
}

#[test]
fn masks_and_channels_behind_the_latents_are_cut_too() {
    let refs = refs();
    let [image, mask] = picture_and_mask();
    fn masked<'a>(pipeline: &'a Pipeline, image: &Picture, mask: &Picture) -> Request<'a> {
        let request = run(pipeline, [20, 25]).strength(0.6).image(image.clone());
        request.mask(mask.clone()).mask_blur(0)
    }
    let plain = pipeline();
    refs.assert_close("mask", &latents(multi(masked(&plain, &image, &mask))), 1e-4);
    let folder = common::widened(9);
    let nine = Pipeline::builder().checkpoint(folder.path()).device("cpu");
    let nine = nine.dtype(sdrs::Dtype::F32).build().unwrap();
    refs.assert_close("concat", &latents(mixture(masked(&nine, &image, &mask))), 1e-4);
}

/// What else acts at a call acts on tiles: each changes the picture, and is the same in a batch and from its infotext.
#[test]
fn all_that_guides_and_shortens_works_with_tiles() {
    let pipeline = pipeline();
    let plain = latents(multi(run(&pipeline, [24, 30])));
    let changes: [fn(Request<'_>) -> Request<'_>; 10] = [
        |r| r.pag_scale(3.0),
        |r| r.seg_scale(3.0),
        |r| r.apg_momentum(-0.5),
        |r| r.perp_neg_scale(1.0),
        |r| r.freeu_b2(1.4),
        |r| r.deep_cache_interval(2),
        |r| r.token_merging(0.4),
        |r| r.tile_x(true),
        |r| r.tile_x(true).tile_y(true),
        |r| r.hires_scale(1.5).hires_steps(2),
    ];
    for change in changes {
        let asked = || change(multi(run(&pipeline, [24, 30])));
        let made = asked().batch_size(2).latents().unwrap();
        let (first, second) = made.latents.values.split_at(made.latents.values.len() / 2);
        assert!(first.iter().all(|value| value.is_finite()));
        assert!(first.len() != plain.len() || goldens::relative_error(first, &plain) > 1e-4);
        assert!(second == latents(asked().seed(43)));
        let params = infotext::parse(&made.infotexts[0]).unwrap().params;
        assert!(
            latents(pipeline.txt2img("").params(params)) == first,
            "{}",
            made.infotexts[0]
        );
    }
    // Features are a tile's: without steps in between nothing changes.
    assert!(latents(multi(run(&pipeline, [24, 30]).deep_cache_interval(1))) == plain);
    let refused = multi(run(&pipeline, [24, 30])).sag_scale(0.75).run().unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("sag_scale: self-attention guidance looks at whole")
    );
    let small = run(&pipeline, [24, 30]).tile_width(8).run().unwrap_err();
    assert_eq!(small.to_string(), "tile_width: must be 16 to 1024, not 8");
}

/// A picture that goes on at its edges is moved with its noise: tiles lie around it evenly.
#[test]
fn a_seamless_picture_has_no_first_column() {
    let pipeline = pipeline();
    let tiles = |r| multi(r).tile_x(true);
    let (height, width) = (16, 32);
    let start: Vec<f32> = (0..4 * height * width).map(|i| (i as f32 * 0.7).sin()).collect();
    let moved = |values: &[f32]| -> Vec<f32> {
        let rows = values.chunks_exact(width);
        rows.flat_map(|row| [&row[8..], &row[..8]].concat()).collect()
    };
    let drawn = |values: Vec<f32>| {
        let mut array = sdrs::Array::default();
        (array.shape, array.values) = (vec![1, 4, height, width], values);
        let request = tiles(run(&pipeline, [16, 32]))
            .noise_multiplier(0.0)
            .strength(0.5);
        latents(request.image_latents(array))
    };
    let (own, other) = (drawn(start.clone()), drawn(moved(&start)));
    goldens::assert_close("moved", &other, &moved(&own), 1e-5);
}

#[test]
fn sdxl_and_its_refiner_see_tiles() {
    let (base, refiner) = (common::sdxl_folder(), common::refiner_folder());
    let builder = Pipeline::builder().checkpoint(base.path()).device("cpu");
    let builder = builder.refiner(refiner.path()).dtype(sdrs::Dtype::F32);
    let pipeline = builder.build().unwrap();
    let asked = || run(&pipeline, [16, 24]).refiner_switch_at(0.5);
    let (whole, tiled) = (latents(asked()), latents(mixture(asked())));
    assert!(tiled.iter().all(|value| value.is_finite()) && whole != tiled);
    let told = latents(mixture(asked()).original_width(64).original_height(64));
    assert!(told != tiled);
}

/// A run of tiles takes a tile's memory, and says so before it begins.
#[test]
fn memory_is_a_tiles() {
    let pipeline = pipeline();
    let plan = |change: fn(&mut GenerateParams)| {
        let mut params = GenerateParams::default();
        (params.size.width, params.size.height) = (Some(512), Some(512));
        (params.tiles.tile_width, params.tiles.tile_height) = (16, 16);
        change(&mut params);
        pipeline.memory_plan_for(&params).unwrap()
    };
    let tiles = |p: &mut GenerateParams| p.tiles.tiled_diffusion = TiledDiffusion::MultiDiffusion;
    let (whole, tiled) = (plan(|_| {}), plan(tiles));
    assert_eq!(whole, pipeline.memory_plan(512, 512).unwrap());
    assert_eq!(tiled.denoising, pipeline.memory_plan(128, 128).unwrap().denoising);
    assert_eq!(tiled.decoding, whole.decoding);
    let features = plan(|p| {
        p.tiles.tiled_diffusion = TiledDiffusion::MultiDiffusion;
        p.speed.deep_cache_interval = 3;
    });
    // 49 tiles with 64 rows of 16x16 in f32, for both halves of guidance: 32 channels and as many of the skip.
    assert!(features.denoising > tiled.denoising);
    let second = plan(|p| p.hires.hires_scale = Some(2.0));
    assert_eq!(second, pipeline.memory_plan(1024, 1024).unwrap());
}

/// A tile is cancelled between tiles, not between steps.
#[test]
fn a_run_is_cancelled_within_a_call() {
    let pipeline = pipeline();
    let token = sdrs::CancelToken::new();
    let request = multi(run(&pipeline, [64, 64])).steps(1).cancel_token(&token);
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let cancel = token.clone();
        scope.spawn(move || {
            receiver.recv().unwrap();
            std::thread::sleep(std::time::Duration::from_millis(30));
            cancel.cancel();
        });
        sender.send(()).unwrap();
        let error = request.latents().unwrap_err();
        assert_eq!(error.code(), sdrs::ErrorCode::Cancelled);
    });
}

/// The figures of docs/pictures.md: GB that a network has in use for 4096x4096, in f32 and in bf16.
#[test]
fn large_pictures_take_what_is_documented() {
    use sd_core::{
        Dtype, Quantization,
        config::{UnetConfig, sd1_unet, sd1_vae, sdxl_unet},
        models::{decoder_bytes, unet_bytes},
    };
    // In hundredths of a gigabyte.
    let both = |of: &dyn Fn(Dtype) -> usize| {
        [Dtype::F32, Dtype::Bf16].map(|dtype| (of(dtype) as f64 / 1e7).round() as usize)
    };
    let unet = |config: &UnetConfig, side: usize| {
        both(&|dtype| unet_bytes(config, dtype, Quantization::None, 2, [side; 2]))
    };
    let (sd1, sdxl) = (sd1_unet(4), sdxl_unet());
    let got = [
        unet(&sd1, 96),
        unet(&sd1, 512),
        unet(&sdxl, 128),
        unet(&sdxl, 512),
        both(&|dtype| decoder_bytes(&sd1_vae(), dtype, [512; 2])),
    ];
    let documented = [[27, 14], [740, 370], [50, 26], [616, 309], [2583, 1292]];
    // A megabyte more or less for each thread; and where bf16 is multiplied as such, convolutions take less for it.
    for (got, documented) in got.iter().zip(&documented) {
        assert!(got[0].abs_diff(documented[0]) <= 2, "{got:?}, {documented:?}");
        assert!(got[1] <= documented[1] + 2, "{got:?}, {documented:?}");
    }
}
