//! The networks one call at a time: their values against transformers and diffusers, a whole run by hand, and every wrong shape.

mod common;

use common::by_hand;
use goldens::Refs;
use sdrs::{ErrorCode, Pipeline, Sampler};

fn pipeline() -> Pipeline {
    let folder = goldens::root().join("tiny-sd1");
    Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .checkpoint(folder)
        .device("cpu")
        .build()
        .unwrap()
}

fn shape<const D: usize>(refs: &Refs, name: &str) -> [usize; D] {
    refs.shape(name).try_into().unwrap()
}

/// The references and tolerances are those of sd-core's `networks.rs`.
#[test]
fn calls_are_the_references() {
    let pipeline = pipeline();
    let refs = Refs::open("tiny-sd1/refs/text_encoder.safetensors");
    let ids: Vec<u32> = refs.i64s("input_ids").iter().map(|&id| id as u32).collect();
    let states = pipeline.text_hidden_states(&ids[..77], 0).unwrap();
    let width = pipeline.sizes().context_width;
    assert_eq!(states.shape, [pipeline.sizes().text_layers + 1, 77, width]);
    for (i, state) in states.values.chunks(77 * width).enumerate() {
        // The reference has several rows; the first is this one.
        let expected = refs.f32s(&format!("hidden_state.{i}"));
        goldens::assert_close("hidden state", state, &expected[..state.len()], 1e-5);
    }
    let context = pipeline.encode_ids(&ids[..77], 1, 0).unwrap();
    assert_eq!(context.shape, [77, width]);
    goldens::assert_close(
        "final norm",
        &context.values,
        &refs.f32s("final")[..77 * width],
        1e-5,
    );

    let refs = Refs::open("tiny-sd1/refs/unet.safetensors");
    let names = refs.names();
    for case in names.iter().filter_map(|name| name.strip_suffix(".out")) {
        let (sample, context) = (format!("{case}.sample"), format!("{case}.encoder_hidden_states"));
        let timesteps = refs.f32s(&format!("{case}.timestep"));
        let timesteps: Vec<f64> = timesteps.into_iter().map(f64::from).collect();
        let output = pipeline
            .unet(
                (&refs.f32s(&sample), shape(&refs, &sample)),
                &timesteps,
                (&refs.f32s(&context), shape(&refs, &context)),
                None,
            )
            .unwrap();
        assert_eq!(output.shape, refs.shape(&sample));
        refs.assert_close(&format!("{case}.out"), &output.values, 1e-5);
    }

    let refs = Refs::open("tiny-sd1/refs/vae.safetensors");
    // SD1's scaling factor, which the references are without.
    const SCALE: f32 = 0.18215;
    assert_eq!(pipeline.scaling_factor() as f32, SCALE);
    let image = "encode.image";
    let encoded = pipeline
        .vae_encode(&refs.f32s(image), shape(&refs, image))
        .unwrap();
    let mean: Vec<f32> = encoded.mean.values.iter().map(|v| v / SCALE).collect();
    let logvar: Vec<f32> = encoded
        .std
        .values
        .iter()
        .map(|v| 2.0 * (v / SCALE).ln())
        .collect();
    assert_eq!(encoded.mean.shape, refs.shape("encode.mean"));
    refs.assert_close("encode.mean", &mean, 1e-5);
    refs.assert_close("encode.logvar", &logvar, 1e-5);
    let latent = "decode.latent";
    let scaled: Vec<f32> = refs.f32s(latent).iter().map(|v| v * SCALE).collect();
    let decoded = pipeline.vae_decode(&scaled, shape(&refs, latent)).unwrap();
    assert_eq!(decoded.shape, refs.shape("decode.out"));
    refs.assert_close("decode.out", &decoded.values, 1e-5);
}

/// Tokens, contexts, noise, stepper, U-Net and VAE put together by a caller give the picture of `txt2img`.
#[test]
fn a_run_by_hand_is_txt2img() {
    let pipeline = pipeline();
    let (prompt, steps) = ("a red circle", 4);
    let request = pipeline.txt2img(prompt).width(48).height(64).seed(3).steps(steps);
    let request = request.cfg_scale(5.0).sampler(Sampler::EulerAncestral);
    let expected = request.run().unwrap().images.remove(0);

    let (latents, shape) = by_hand(&|_| &pipeline, prompt, Sampler::EulerAncestral, steps, 3);
    let picture = pipeline.vae_decode(&latents, shape).unwrap();
    assert_eq!(picture.shape, [1, 3, 64, 48]);
    let plane = 64 * 48;
    for (i, pixel) in expected.rgb.chunks(3).enumerate() {
        for (c, &byte) in pixel.iter().enumerate() {
            let value = ((picture.values[c * plane + i] + 1.0) / 2.0).clamp(0.0, 1.0) * 255.0;
            // Cut off; rounding may differ at whole numbers.
            assert!(
                (-0.01..1.01).contains(&(value - f32::from(byte))),
                "pixel {i}: {value}, {byte}"
            );
        }
    }
}

#[test]
fn tokens_are_the_texts() {
    let pipeline = pipeline();
    assert!(pipeline.tokenize("").unwrap().is_empty());
    // goldens/tokenizer/clip.json.
    let ids = [320, 1125, 539, 320, 2368];
    assert_eq!(pipeline.tokenize("A Photo Of A CAT").unwrap(), ids);
    assert_eq!(pipeline.tokenize(&"red ".repeat(500)).unwrap().len(), 500);
}

/// The ids of a text give the text's context, whatever the layer.
#[test]
fn ids_of_a_text_are_encoded_as_the_text() {
    let pipeline = pipeline();
    let sizes = pipeline.sizes();
    let mut ids = vec![49406];
    ids.extend(pipeline.tokenize("a photo of a cat").unwrap());
    ids.resize(sizes.context_length, 49407);
    for clip_skip in 1..=sizes.text_layers {
        let text = pipeline.encode_text("a photo of a cat", clip_skip).unwrap();
        assert_eq!(pipeline.encode_ids(&ids, clip_skip, 0).unwrap(), text);
    }
}

#[test]
fn wrong_arguments_are_named() {
    let pipeline = pipeline();
    let sizes = pipeline.sizes();
    let c = sizes.latent_channels;
    let (latents, context) = (vec![0.0; c * 64], vec![0.0; 5 * sizes.context_width]);
    let (shape, context_shape) = ([1, c, 8, 8], [1, 5, sizes.context_width]);
    let unet = |shape, timesteps: &[f64], context_shape| {
        pipeline
            .unet((&latents, shape), timesteps, (&context, context_shape), None)
            .map(drop)
    };
    let fails = |result: sdrs::Result<()>, begin: &str| {
        let error = result.unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidParameter);
        assert!(error.to_string().starts_with(begin), "{error}");
    };
    unet(shape, &[1.0], context_shape).unwrap();
    fails(
        unet([1, c, 8, 9], &[1.0], context_shape),
        "latents: 256 values don't fill",
    );
    fails(
        unet([usize::MAX, c, 8, 9], &[1.0], context_shape),
        "latents: 256 values",
    );
    fails(unet([0, c, 8, 8], &[], context_shape), "latents: the shape [0,");
    fails(
        unet([1, 1, 16, 16], &[1.0], context_shape),
        "latents: must have the shape",
    );
    fails(
        unet(shape, &[], context_shape),
        "timesteps: must have the shape [1]",
    );
    fails(unet(shape, &[f64::NAN], context_shape), "timesteps: NaN");
    fails(
        unet(shape, &[1.0], [5, 1, sizes.context_width]),
        "context: must have the shape",
    );
    fails(unet(shape, &[1.0], [1, 4, sizes.context_width]), "context: ");
    let images = vec![0.0; 3 * 12 * 16];
    let encode = |shape| pipeline.vae_encode(&images, shape).map(drop);
    fails(encode([1, 3, 12, 16]), "images: must have the shape");
    fails(encode([1, 3, 12, 17]), "images: 576 values");
    for value in [255.0, -11.0, f32::NAN, f32::INFINITY] {
        let mut images = vec![0.5; 3 * 8 * 8];
        images[17] = value;
        let encoded = pipeline.vae_encode(&images, [1, 3, 8, 8]).map(drop);
        fails(
            encoded,
            &format!("images: values must be -1 to 1, not {value}; bytes"),
        );
    }
    let decode = |shape| pipeline.vae_decode(&latents, shape).map(drop);
    fails(decode([1, 2 * c, 4, 8]), "latents: must have the shape");
    fails(decode([1, c, 4, 8]), "latents: 256 values");
    let states = |ids: &[u32]| pipeline.text_hidden_states(ids, 0).map(drop);
    fails(states(&[]), "ids: must be 1 to 77, not 0");
    fails(states(&[0; 78]), "ids: must be 1 to 77, not 78");
    let last = sizes.vocabulary - 1;
    fails(
        states(&[1, u32::MAX]),
        &format!("ids: 4294967295 at index 1 is no token: this model's are 0 to {last}"),
    );
    let encode = |ids: &[u32], clip_skip| pipeline.encode_ids(ids, clip_skip, 0).map(drop);
    fails(encode(&[], 1), "ids: must be 1 to 77, not 0");
    fails(encode(&[sizes.vocabulary as u32], 1), "ids: ");
    fails(encode(&[1], 0), "clip_skip: must be 1 to");
    fails(encode(&[1], sizes.text_layers + 1), "clip_skip: must be 1 to");
    let encode = |text: &str, clip_skip| pipeline.encode_prompt(text, clip_skip).map(drop);
    fails(encode("a", 0), "clip_skip: must be 1 to");
    fails(encode("a", sizes.text_layers + 1), "clip_skip: must be 1 to");
}
