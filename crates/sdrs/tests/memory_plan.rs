//! What a plan of memory counts, and that a limit is held against it, on the tiny model of `goldens/tiny-sd1`.

mod common;

use std::sync::{Arc, Mutex};

use common::{builder, draw, folder, lora_file, refiner_folder, sdxl_folder, widened};
use sdrs::{ErrorCode, GenerateParams, Lora, Picture, Pipeline, PipelineBuilder, ResizeMode};

/// A folder with the LoRA under two names.
fn loras() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["one.safetensors", "two.safetensors"] {
        std::fs::copy(lora_file(), folder.path().join(name)).unwrap();
    }
    folder
}

fn params(prompt: &str, [width, height]: [u32; 2]) -> GenerateParams {
    let mut params = GenerateParams::default();
    params.text.prompt = prompt.into();
    (params.size.width, params.size.height) = (Some(width), Some(height));
    params
}

fn photo(width: u32, height: u32) -> Picture {
    let rgb: Vec<u8> = (0..u64::from(width * height * 3))
        .map(|i| (i * 7919 % 251) as u8)
        .collect();
    Picture::from_rgb(width, height, &rgb).unwrap()
}

#[test]
fn loras_of_prompts_count() {
    let folder = loras();
    let pipeline = builder().lora_dir(folder.path()).build().unwrap();
    let plan = |prompt| pipeline.memory_plan_for(&params(prompt, [48, 64])).unwrap();
    let plain = plan("a cat");
    assert_eq!(plain, pipeline.memory_plan(48, 64).unwrap());
    assert_eq!(plain.weights, plain.text_encoders + plain.unet + plain.vae);
    assert_eq!((plain.loras, plain.lora_text_encoders), (0, 0));

    let tagged = plan("a cat <lora:one:0.5>");
    let lora = Lora::file(folder.path().join("one.safetensors"));
    let beside = pipeline.memory_of_loras([&lora]).unwrap();
    assert_eq!(tagged.loras, beside);
    assert!(0 < tagged.lora_text_encoders && tagged.lora_text_encoders < tagged.loras);
    assert!(tagged.loras < tagged.weights);
    // Text encoders' layers are gone where a call of the U-Net or decoding takes more than they do.
    let more = tagged.least() - plain.least();
    assert!((tagged.loras - tagged.lora_text_encoders..=tagged.loras).contains(&more));
    assert_eq!(tagged.most() - plain.most(), tagged.loras);
    // What both change are the same layers; and a pipeline that has the LoRA itself shares them with the tag of the same weight.
    assert_eq!(plan("<lora:one:0.5> <lora:two:1>").loras, tagged.loras);
    let own = builder().lora_dir(folder.path()).loras([lora.weight(0.5)]);
    let own = own.build().unwrap();
    let of_own = |prompt| own.memory_plan_for(&params(prompt, [48, 64])).unwrap();
    assert_eq!(of_own("a cat"), plain);
    assert_eq!(of_own("<lora:one:0.5>"), plain);
    assert_eq!(of_own("<lora:one:0.6>").loras, tagged.loras);
    // To be without LoRAs changes the same layers.
    assert_eq!(own.memory_of_loras::<Lora>([]).unwrap(), beside);
    assert_eq!(pipeline.memory_of_loras::<Lora>([]).unwrap(), 0);

    // The U-Net's alone; and once more where a schedule gives steps a U-Net of their own.
    let unet = plan("<lora:one:te=0:unet=1>");
    assert!(unet.loras <= tagged.loras);
    let scheduled = plan("<lora:one:1:start=0.5>");
    assert_eq!(
        scheduled.loras,
        tagged.loras + (tagged.loras - tagged.lora_text_encoders)
    );
    // Two passes with LoRAs of their own draw with two models; with the same ones with one.
    let hires = |prompt: &str, second: &str| {
        let mut params = params(prompt, [48, 64]);
        (params.hires.hires_scale, params.hires.hires_prompt) = (Some(2.0), second.into());
        pipeline.memory_plan_for(&params).unwrap().loras
    };
    assert_eq!(hires("<lora:one:1>", ""), tagged.loras);
    assert_eq!(hires("<lora:one:1>", "b <lora:one:1>"), tagged.loras);
    assert_eq!(hires("<lora:one:1>", "b"), tagged.loras);
    assert_eq!(hires("<lora:one:1>", "<lora:two:1>"), 2 * tagged.loras);

    let error = pipeline
        .memory_plan_for(&params("<lora:three:1>", [48, 64]))
        .unwrap_err();
    assert!(error.to_string().contains("the LoRA 'three'"), "{error}");
}

#[test]
fn pictures_that_are_encoded_count() {
    let pipeline = builder().build().unwrap();
    let plan = |image: Option<Picture>, mode| {
        let request = pipeline.txt2img("").width(64).height(64).image(image);
        request.resize_mode(mode).memory_plan().unwrap()
    };
    let none = plan(None, ResizeMode::Stretch);
    assert_eq!(none.encoding, 0);
    let encoded = plan(Some(photo(200, 300)), ResizeMode::Stretch);
    assert!(0 < encoded.encoding && encoded.encoding <= encoded.decoding);
    // Encoded as it is, then squeezed.
    let large = plan(Some(photo(512, 512)), ResizeMode::Latent);
    assert!(large.encoding > large.decoding && large.least() > encoded.least());
    // Where no size is told, it is the picture's.
    let own = pipeline.txt2img("").image(photo(128, 64)).memory_plan().unwrap();
    assert_eq!(own.decoding, pipeline.memory_plan(128, 64).unwrap().decoding);
    // Latents are there already.
    let latents = pipeline.vae_encode(&[0.0; 3 * 64 * 64], [1, 3, 64, 64]).unwrap();
    let begun = pipeline
        .txt2img("")
        .image_latents(latents.mean)
        .memory_plan()
        .unwrap();
    assert_eq!((begun.encoding, begun.decoding), (0, none.decoding));

    // A hires pass by pixels encodes the enlarged picture, one over latents none.
    let hires = |upscaler: &str| {
        let mut params = params("", [64, 64]);
        (params.hires.hires_scale, params.hires.hires_upscaler) = (Some(2.0), upscaler.into());
        pipeline.memory_plan_for(&params).unwrap()
    };
    assert_eq!(hires("Latent"), pipeline.memory_plan(128, 128).unwrap());
    assert!(hires("Lanczos").encoding > 0);
    assert_eq!(hires("Lanczos").denoising, hires("Latent").denoising);

    // Inpainting models encode a grey picture if there is no other.
    let inpainting = widened(9);
    let inpainting = Pipeline::builder().checkpoint(inpainting.path()).device("cpu");
    let inpainting = inpainting.build().unwrap();
    assert!(inpainting.memory_plan(64, 64).unwrap().encoding > 0);
}

#[test]
fn runs_at_once_share_the_weights() {
    let folder = loras();
    let pipeline = builder().lora_dir(folder.path()).build().unwrap();
    let one = pipeline
        .memory_plan_for(&params("<lora:one:1>", [64, 64]))
        .unwrap();
    let three = one.parallel(3);
    let mut alone = three;
    alone.runs = 1;
    assert_eq!((one, three.runs), (alone, 3));
    let in_use = one.denoising.max(one.decoding);
    let texts = one.text_encoders + one.lora_text_encoders;
    let each = one.loras - one.lora_text_encoders + in_use.max(texts);
    assert_eq!(three.least(), one.least() + 2 * each);
    assert!(three.most() > three.least() && three.most() < 3 * one.most());
    assert_eq!(one.parallel(0), one);
    let endless = one.parallel(usize::MAX);
    assert!(endless.least() > 1 << 60 && endless.most() > 1 << 60);
}

/// A plan without loading is that of the pipeline that would be made.
#[test]
fn a_builder_plans_without_loading() {
    let (base, refiner) = (sdxl_folder(), refiner_folder());
    let folder = loras();
    let sdxl = || {
        let builder = Pipeline::builder().checkpoint(base.path()).device("cpu");
        builder.refiner(refiner.path())
    };
    let tiny = || builder().lora_dir(folder.path()).lora(lora_file(), 0.3);
    let describe = |make: &dyn Fn() -> PipelineBuilder, prompt: &str| {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let log = lines.clone();
        let builder = make().on_log(move |_, line| log.lock().unwrap().push(line.to_owned()));
        let planned = builder
            .memory_plan(|run| run.params(params(prompt, [64, 128])))
            .unwrap();
        let lines = lines.lock().unwrap().join("\n");
        assert!(lines.contains("opened ") && !lines.contains("loaded"), "{lines}");
        let built = make().build().unwrap();
        assert_eq!(
            planned,
            built.memory_plan_for(&params(prompt, [64, 128])).unwrap()
        );
        planned
    };
    assert!(describe(&tiny, "<lora:one:1>").loras > 0);
    let both = describe(&sdxl, "a cat");
    assert!(both.text_encoders > 0 && both.unet > 0 && both.vae > 0);
    // A limit is not held against it, and settings are.
    assert_eq!(
        tiny().memory_limit(1).memory_plan(|run| run).unwrap(),
        tiny().memory_plan(|run| run).unwrap()
    );
    let error = tiny().memory_plan(|run| run.width(7)).unwrap_err();
    assert!(error.to_string().starts_with("width: "), "{error}");
    assert_eq!(
        Pipeline::builder().memory_plan(|run| run).unwrap_err().code(),
        ErrorCode::InvalidParameter
    );
}

#[test]
fn siblings_tell_what_they_take() {
    let pipeline = builder().build().unwrap();
    let vae = pipeline.memory_of_vae(folder()).unwrap();
    assert_eq!(vae, pipeline.memory_plan(64, 64).unwrap().vae);
    assert_eq!(
        pipeline.memory_of_vae("no/vae").unwrap_err().code(),
        ErrorCode::Io
    );
    let nowhere = pipeline.memory_of_loras(["no/lora"]).unwrap_err();
    assert_eq!(nowhere.code(), ErrorCode::Io);
    let strong = [Lora::file(lora_file()).weight(1e9)];
    assert_eq!(
        pipeline.memory_of_loras(strong).unwrap_err().code(),
        ErrorCode::InvalidParameter
    );
}

#[test]
fn a_tiny_autoencoder_counts_in_place_of_the_models() {
    let file = goldens::root().join("tiny-vae/diffusion_pytorch_model.safetensors");
    let whole = builder().build().unwrap();
    let tiny = builder().vae(&file).build().unwrap();
    let plan = |pipeline: &Pipeline| pipeline.memory_plan(48, 64).unwrap();
    assert_eq!(plan(&tiny).vae, whole.memory_of_vae(&file).unwrap());
    assert_eq!(plan(&tiny), plan(&whole.with_vae(&file).unwrap()));
    assert_eq!(plan(&tiny).unet, plan(&whole).unet);
    assert_ne!(plan(&tiny).decoding, plan(&whole).decoding);
    let bound = builder()
        .vae(&file)
        .memory_limit(plan(&tiny).least())
        .build()
        .unwrap();
    assert_eq!(
        draw(&bound, "a cat").unwrap().rgb,
        draw(&tiny, "a cat").unwrap().rgb
    );
}

/// In the least memory that a plan says, pictures with LoRAs are drawn, and are the same; in less they are refused.
#[test]
fn a_limit_counts_loras() {
    let folder = loras();
    let make = || builder().lora_dir(folder.path());
    let free = make().build().unwrap();
    let plan = |prompt| free.memory_plan_for(&params(prompt, [48, 64])).unwrap();
    let (plain, tagged) = (plan("a cat"), plan("a cat <lora:one:1>"));
    let bound = make().memory_limit(tagged.least()).build().unwrap();
    for prompt in [
        "a cat <lora:one:1>",
        "a cat",
        "a cat <lora:two:0.5>",
        "a cat <lora:one:1:start=0.5>",
        "a cat <lora:one:1>",
    ] {
        let (got, expected) = (draw(&bound, prompt), draw(&free, prompt).unwrap());
        match prompt.contains("start") {
            true => assert!(got.is_err()),
            false => assert_eq!(got.unwrap().rgb, expected.rgb, "{prompt}"),
        }
    }
    let tight = make().memory_limit(tagged.least() - 1).build().unwrap();
    assert!(draw(&tight, "a cat").is_ok());
    let mut steps = 0;
    let request = tight.txt2img("a cat <lora:one:1>").width(48).height(64);
    let error = request.on_progress(|_| steps += 1).run().unwrap_err();
    assert_eq!((error.code(), steps), (ErrorCode::InvalidParameter, 0));
    let message = error.to_string();
    for words in [
        "memory_limit: ",
        " is too little for 48x64, which needs ",
        " for the layers that LoRAs change; ",
        " would fit; ",
        "LoRAs that the pipeline itself is given (lora) take no memory of their own",
    ] {
        assert!(message.contains(words), "{message}");
    }
    // The size that it names does fit.
    let side = message.split(" would fit").next().unwrap();
    let side: u32 = side.rsplit('x').next().unwrap().parse().unwrap();
    let request = tight.txt2img("a cat <lora:one:1>").width(side).height(side);
    request.steps(1).run().unwrap();
    // So does the other way.
    let merged = make().lora(lora_file(), 1.0).memory_limit(plain.least());
    assert!(draw(&merged.build().unwrap(), "a cat").is_ok());

    // Where LoRAs leave no room for any size.
    let step = free.sizes().downscale as u32;
    let small = free.memory_plan(step, step).unwrap().least();
    let tight = make().memory_limit(small).build().unwrap();
    let message = draw(&tight, "<lora:one:1>").unwrap_err().to_string();
    assert!(message.contains("; no size would fit"), "{message}");
}

#[test]
fn a_limit_counts_encoding() {
    let free = builder().build().unwrap();
    let request = |pipeline: &Pipeline, photo: &Picture| {
        let request = pipeline.txt2img("a cat").width(64).height(64).steps(4).seed(1);
        let request = request.strength(0.3).resize_mode(ResizeMode::Latent);
        let plan = request.memory_plan();
        let request = pipeline.txt2img("a cat").width(64).height(64).steps(4).seed(1);
        let request = request
            .strength(0.3)
            .resize_mode(ResizeMode::Latent)
            .image(photo.clone());
        let planned = request.memory_plan().unwrap();
        assert!(planned.least() > plan.unwrap().least());
        (planned.least(), request.run())
    };
    let photo = photo(512, 256);
    let (least, drawn) = request(&free, &photo);
    let expected = drawn.unwrap().images.remove(0).rgb;
    let bound = builder().memory_limit(least).build().unwrap();
    assert_eq!(request(&bound, &photo).1.unwrap().images[0].rgb, expected);
    let tight = builder().memory_limit(least - 1).build().unwrap();
    let message = request(&tight, &photo).1.unwrap_err().to_string();
    assert!(
        message.contains("is too little for 64x64 with a picture of 512x256 to encode, which needs "),
        "{message}"
    );
    assert!(message.contains(" would fit"), "{message}");
}
