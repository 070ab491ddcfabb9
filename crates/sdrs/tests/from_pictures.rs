//! Runs that begin at a picture, and second passes, against the WebUI's rules over Pillow, OpenCV, k-diffusion and diffusers' networks.

mod common;

use goldens::Refs;
use sdrs::{
    Array, ErrorCode, MaskedContent, Picture, Pipeline, Request, ResizeMode, Sampler, Schedule, StrengthRule,
};

const PROMPT: &str = "a red circle above a blue square";
const NEGATIVE: &str = "blurry, low quality";

fn refs() -> Refs {
    Refs::open("tiny-sd1/refs/from_pictures.safetensors")
}

fn picture(refs: &Refs, name: &str) -> Picture {
    let (shape, values) = (refs.shape(name), refs.u8s(name));
    let [height, width] = [shape[0], shape[1]].map(|side| side as u32);
    match shape.len() {
        2 => Picture::from_gray(width, height, &values).unwrap(),
        _ => Picture::from_rgb(width, height, &values).unwrap(),
    }
}

fn pipeline() -> Pipeline {
    common::builder().build().unwrap()
}

fn txt2img(pipeline: &Pipeline) -> Request<'_> {
    let request = pipeline.txt2img(PROMPT).negative_prompt(NEGATIVE);
    let request = request.sampler(Sampler::Euler).schedule(Schedule::Karras);
    request.steps(10).seed(42).width(64).height(48)
}

fn img2img<'a>(pipeline: &'a Pipeline, refs: &Refs) -> Request<'a> {
    txt2img(pipeline).strength(0.6).image(picture(refs, "image"))
}

fn inpaint<'a>(pipeline: &'a Pipeline, refs: &Refs) -> Request<'a> {
    img2img(pipeline, refs).mask(picture(refs, "mask"))
}

fn latents(request: Request<'_>) -> Vec<f32> {
    request.latents().unwrap().latents.values
}

#[test]
fn a_run_begins_at_a_picture() {
    let (refs, pipeline) = (refs(), pipeline());
    let run = || img2img(&pipeline, &refs);
    refs.assert_close("img2img", &latents(run()), 1e-4);
    for (rule, name) in [
        (StrengthRule::Exact, "exact"),
        (StrengthRule::Diffusers, "diffusers"),
    ] {
        refs.assert_close(
            &format!("img2img.{name}"),
            &latents(run().strength_rule(rule)),
            1e-4,
        );
    }
    refs.assert_close(
        "img2img.noise",
        &latents(run().noise_multiplier(0.8).extra_noise(0.1)),
        1e-4,
    );
    refs.assert_close(
        "img2img.latent",
        &latents(run().resize_mode(ResizeMode::Latent)),
        1e-4,
    );
    // From its latents it is the same run.
    let encoded = pipeline.vae_encode(&planes(&refs), [1, 3, 48, 64]).unwrap();
    refs.assert_close("encoded", &encoded.mean.values, 1e-4);
    let from_latents = txt2img(&pipeline).strength(0.6).image_latents(encoded.mean);
    assert_eq!(latents(from_latents), latents(run()));
    // A picture of a batch is that of its seed.
    let batch = latents(run().batch_size(2));
    assert_eq!(batch[batch.len() / 2..], latents(run().seed(43)));
    // The Gaussian of this autoencoder is wide.
    assert_ne!(latents(run().posterior_sample(true)), latents(run()));
}

/// The picture as it was fitted.
fn planes(refs: &Refs) -> Vec<f32> {
    let values = refs.u8s("fitted.stretch");
    let channel = |c: usize| values.iter().skip(c).step_by(3);
    (0..3)
        .flat_map(channel)
        .map(|v| f32::from(*v) / 255.0 * 2.0 - 1.0)
        .collect()
}

#[test]
fn a_mask_says_what_is_drawn_anew() {
    let (refs, pipeline) = (refs(), pipeline());
    let run = || inpaint(&pipeline, &refs);
    for (content, name) in [
        (MaskedContent::Original, "original"),
        (MaskedContent::Fill, "fill"),
        (MaskedContent::LatentNoise, "latent noise"),
        (MaskedContent::LatentNothing, "latent nothing"),
    ] {
        refs.assert_close(
            &format!("inpaint.{name}"),
            &latents(run().masked_content(content)),
            1e-4,
        );
    }
    refs.assert_close(
        "inpaint.ddim",
        &latents(run().sampler(Sampler::Ddim).schedule(Schedule::Automatic)),
        1e-4,
    );
    refs.assert_close("inpaint.soft", &latents(run().soft_mask(true)), 1e-4);
    let drawn = run().run().unwrap().images.remove(0);
    assert_near(&drawn.rgb, &refs.u8s("inpaint.pixels"), 1);
    // The inverse of an inverse.
    let mask = picture(&refs, "mask").grey().invert();
    let inverse = Picture::from_gray(90, 70, mask.values()).unwrap();
    assert_eq!(
        latents(img2img(&pipeline, &refs).mask(inverse).mask_inverted(true)),
        latents(run())
    );
}

#[test]
fn only_the_masked_part_is_drawn() {
    let (refs, pipeline) = (refs(), pipeline());
    let run = || inpaint(&pipeline, &refs).only_masked(true).only_masked_padding(8);
    refs.assert_close("only_masked", &latents(run()), 1e-4);
    let drawn = run().run().unwrap().images.remove(0);
    assert_eq!((drawn.width, drawn.height), (90, 70));
    assert_near(&drawn.rgb, &refs.u8s("only_masked.pixels"), 1);
    // What the blurred mask doesn't reach stays to the bit.
    let (image, mask) = (
        picture(&refs, "image").rgb(),
        picture(&refs, "mask").grey().mask_blur(4.0).unwrap(),
    );
    let pixels = drawn.rgb.chunks(3).zip(image.chunks(3)).zip(mask.values());
    let (mut kept, mut changed) = (0, 0);
    for ((drawn, image), mask) in pixels {
        match *mask {
            0 => {
                assert_eq!(drawn, image);
                kept += 1;
            }
            _ => changed += usize::from(drawn != image),
        }
    }
    assert!(kept > 3000 && changed > 300, "{kept} {changed}");
}

/// All but a few bytes differ by no more than one, and those by no more than `most`, where a result falls on a border between two.
fn assert_near(got: &[u8], expected: &[u8], most: u8) {
    assert_eq!(got.len(), expected.len());
    let differences = got.iter().zip(expected).map(|(a, b)| a.abs_diff(*b));
    let worst = differences.clone().max().unwrap();
    let off = differences.filter(|d| *d > 0).count();
    assert!(
        worst <= most && off * 50 < got.len(),
        "{off} of {} bytes differ, by {worst} at most",
        got.len()
    );
}

fn of_folder(folder: &tempfile::TempDir) -> Pipeline {
    Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .checkpoint(folder.path())
        .device("cpu")
        .build()
        .unwrap()
}

#[test]
fn inpainting_models_see_mask_and_picture() {
    let (refs, folder) = (refs(), common::widened(9));
    let pipeline = of_folder(&folder);
    refs.assert_close("inpaint.model", &latents(inpaint(&pipeline, &refs)), 1e-4);
    refs.assert_close("inpaint.model.txt2img", &latents(txt2img(&pipeline)), 1e-4);
    // A picture whose latents are stretched is of another size than the run, here of no whole latents.
    let stretched = inpaint(&pipeline, &refs).resize_mode(ResizeMode::Latent);
    assert_eq!(latents(stretched).len(), 4 * 6 * 8);
}

#[test]
fn depth_models_see_a_depth_picture() {
    let (refs, folder) = (refs(), common::widened(5));
    let pipeline = of_folder(&folder);
    let depth = picture(&refs, "fitted.stretch");
    refs.assert_close("depth", &latents(txt2img(&pipeline).depth(depth)), 1e-4);
    let missing = txt2img(&pipeline).run().unwrap_err();
    assert!(
        missing.to_string().contains("draws after a depth picture"),
        "{missing}"
    );
}

#[test]
fn pictures_are_edited_by_instruction() {
    let (refs, folder) = (refs(), common::widened(8));
    let pipeline = of_folder(&folder);
    let run = || txt2img(&pipeline).image(picture(&refs, "image"));
    refs.assert_close("edit", &latents(run().image_cfg_scale(2.0)), 1e-4);
    assert_ne!(latents(run().image_cfg_scale(1.0)), latents(run()));
    let missing = txt2img(&pipeline).run().unwrap_err();
    assert!(
        missing.to_string().contains("edits a picture by instruction"),
        "{missing}"
    );
    let hires = run().hires_scale(2.0).run().unwrap_err();
    assert!(hires.to_string().starts_with("hires_scale"), "{hires}");
}

#[test]
fn a_second_pass_is_larger() {
    let (refs, pipeline) = (refs(), pipeline());
    let run = |upscaler: &str| {
        let request = txt2img(&pipeline).hires_scale(1.5).hires_steps(6).strength(0.7);
        request.hires_upscaler(upscaler)
    };
    for upscaler in [
        "Latent",
        "Latent (antialiased)",
        "Latent (bicubic)",
        "Latent (bicubic antialiased)",
        "Latent (nearest)",
        "Latent (nearest-exact)",
    ] {
        let made = run(upscaler).latents().unwrap().latents;
        assert_eq!(made.shape, [1, 4, 9, 12]);
        refs.assert_close(&format!("hires.{upscaler}"), &made.values, 1e-4);
    }
    // Between the passes stand bytes: a value at a border may fall to the other side.
    refs.assert_close("hires.Lanczos", &latents(run("Lanczos")), 1e-2);
    let cut = txt2img(&pipeline)
        .hires_width(128)
        .hires_height(64)
        .hires_steps(6);
    refs.assert_close("hires.cut", &latents(cut), 1e-4);
}

/// Steps are counted over both passes, and settings of the second are its own.
#[test]
fn passes_have_settings_of_their_own() {
    let pipeline = pipeline();
    let mut seen = Vec::new();
    let output = txt2img(&pipeline)
        .hires_scale(2.0)
        .hires_steps(3)
        .hires_sampler(Sampler::EulerAncestral)
        .hires_cfg_scale(3.0)
        .hires_prompt("a [cat:dog:1.5]")
        .on_progress(|progress| seen.push((progress.step, progress.steps)))
        .run()
        .unwrap();
    assert_eq!(seen, (1..=13).map(|step| (step, 13)).collect::<Vec<_>>());
    let image = &output.images[0];
    assert_eq!((image.width, image.height), (128, 96));
    let read = sdrs::infotext::parse(&image.infotext).unwrap();
    assert!(image.infotext.contains("Size: 64x48") && image.infotext.contains("Denoising strength: 0.7"));
    assert!(image.infotext.contains("Hires upscale: 2"), "{}", image.infotext);
    // What is written draws the same picture.
    let again = pipeline.txt2img("").params(read.params).run().unwrap();
    assert_eq!(again.images[0].rgb, image.rgb);
}

#[test]
fn pictures_that_do_not_fit_are_named() {
    let (refs, pipeline) = (refs(), pipeline());
    let message = |request: Request<'_>| {
        let error = request.run().unwrap_err();
        assert!(
            matches!(error.code(), ErrorCode::InvalidParameter | ErrorCode::UnknownName),
            "{error}"
        );
        error.to_string()
    };
    let grey = |width, height, value| {
        Picture::from_gray(width, height, &vec![value; (width * height) as usize]).unwrap()
    };
    let run = || img2img(&pipeline, &refs);
    assert_eq!(
        message(run().mask(grey(3, 3, 255))),
        "mask: is 3x3 pixels, but the picture is 90x70; give a mask of the same size"
    );
    assert!(
        message(txt2img(&pipeline).mask(grey(3, 3, 255))).starts_with("mask: covers a part of a picture")
    );
    assert!(message(run().mask(grey(90, 70, 0)).only_masked(true)).starts_with("mask: covers nothing"));
    assert!(message(run().strength(1.5)).starts_with("strength: must be 0 to 1"));
    assert!(message(run().strength(0.0).strength_rule(StrengthRule::Exact)).starts_with("strength"));
    assert!(message(run().depth(grey(3, 3, 255))).contains("takes no depth picture"));
    assert!(message(run().hires_scale(2.0).mask(grey(90, 70, 255))).starts_with("hires_scale"));
    assert!(
        message(txt2img(&pipeline).hires_scale(0.5))
            .starts_with("hires_scale: must be a number from 1 to 16")
    );
    assert!(
        message(txt2img(&pipeline).hires_scale(2.0).hires_upscaler("Magic"))
            .starts_with("unknown hires_upscaler 'Magic'")
    );
    let array = |shape: Vec<usize>, value: f32| {
        let mut array = Array::default();
        array.values = vec![value; shape.iter().product()];
        array.shape = shape;
        array
    };
    assert!(
        message(txt2img(&pipeline).image_latents(array(vec![1, 4, 6, 7], 0.0)))
            .contains("must have the shape [1, 4, 6, 8]")
    );
    assert!(message(txt2img(&pipeline).image_latents(array(vec![2], 0.0))).starts_with("latents"));
    assert!(
        message(txt2img(&pipeline).image_latents(array(vec![1, 4, 6, 8], f32::NAN))).contains("not finite")
    );
    // One pixel, a long strip, and a size that follows from the picture.
    let one = pipeline.txt2img(PROMPT).steps(2).strength(0.5);
    assert_eq!(one.image(grey(1, 1, 9)).run().unwrap().images[0].width, 8);
    let strip = run()
        .image(grey(4000, 3, 50))
        .resize_mode(ResizeMode::Fill)
        .steps(2);
    assert!(strip.run().is_ok());
    let own = pipeline
        .txt2img(PROMPT)
        .steps(2)
        .strength(0.5)
        .image(picture(&refs, "image"));
    let drawn = own.run().unwrap().images.remove(0);
    assert_eq!((drawn.width, drawn.height), (88, 64));
}

/// Its arithmetic is compared with the WebUI's beside it; here it is the picture of the run that it is given.
#[test]
fn colours_are_those_of_the_picture() {
    let (refs, pipeline) = (refs(), pipeline());
    let drawn = img2img(&pipeline, &refs).run().unwrap().images.remove(0);
    let like = |r: Request<'_>| r.color_correction(true).run().unwrap().images.remove(0);
    let corrected = like(img2img(&pipeline, &refs));
    assert!(corrected.infotext.contains("Color correction: True"));
    assert_ne!(corrected.rgb, drawn.rgb);
    // Of the WebUI's weights of colours: lightness stays, but where colours are cut off.
    let lightness = |rgb: &[u8]| -> Vec<f32> {
        let pixels = rgb.as_chunks::<3>().0.iter();
        pixels
            .map(|&[r, g, b]| 0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b))
            .collect()
    };
    let pairs: Vec<_> = lightness(&drawn.rgb)
        .into_iter()
        .zip(lightness(&corrected.rgb))
        .collect();
    let moved = pairs.iter().filter(|(a, b)| (a - b).abs() > 1.0).count();
    assert!(moved * 50 < pairs.len(), "{moved} of {}", pairs.len());
    // With a mask what it doesn't cover stays.
    let masked = like(inpaint(&pipeline, &refs).mask_blur(0));
    let fitted = refs.u8s("fitted.stretch");
    assert_eq!(masked.rgb[..30], fitted[..30]);
}

#[test]
fn settings_without_a_use_are_told() {
    let lines = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = lines.clone();
    let builder = common::builder().on_log(move |level, line| {
        if level == sdrs::LogLevel::Warning {
            log.lock().unwrap().push(line.to_owned());
        }
    });
    let pipeline = builder.build().unwrap();
    let request = txt2img(&pipeline)
        .steps(2)
        .strength(0.5)
        .only_masked(true)
        .image_cfg_scale(2.0);
    let output = request
        .hires_steps(3)
        .resize_mode(ResizeMode::Crop)
        .run()
        .unwrap();
    let told = lines.lock().unwrap().join("\n");
    for name in [
        "strength",
        "only_masked",
        "image_cfg_scale",
        "hires_steps",
        "resize_mode",
    ] {
        assert!(told.contains(&format!("{name} is not used: ")), "{told}");
    }
    // What had no use is no part of how the picture was made.
    assert!(!output.images[0].infotext.contains("Denoising strength"));
}

/// Between the passes a network enlarges what was drawn, and Lanczos brings it to the size: the same as by hand.
#[test]
fn a_network_enlarges_between_the_passes() {
    let file = goldens::root().join("upscalers/esrgan-x4.pth");
    let builder = common::builder().upscaler(&file);
    let pipeline = builder.build().unwrap();
    let request = txt2img(&pipeline).hires_scale(1.5).hires_steps(2).strength(0.4);
    let drawn = latents(request.hires_upscaler("esrgan-x4"));
    let first = txt2img(&pipeline).run().unwrap().images.remove(0);
    let upscaler = sdrs::Upscaler::open(&file).unwrap();
    let large = upscaler
        .upscale(&Picture::from(&first))
        .size(96, 72)
        .run()
        .unwrap();
    // A second pass over a picture begins as the first over one does.
    let by_hand = txt2img(&pipeline).width(96).height(72).steps(2).strength(0.4);
    let by_hand = latents(by_hand.strength_rule(StrengthRule::Exact).image(large));
    goldens::assert_close("by hand", &drawn, &by_hand, 1e-5);
}
