//! Parts from different sources, in every way that they are stored.

mod common;

use std::{collections::BTreeMap, fs, path::Path};

use common::{builder, folder, outputs, picture};
use safetensors::{SafeTensors, tensor::TensorView};
use sdrs::{ErrorCode, Pipeline, PipelineBuilder, Prediction};

/// A file's tensors under other names.
fn renamed(from: &Path, to: &Path, rename: impl Fn(&str) -> Option<String>) {
    let bytes = fs::read(from).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors: BTreeMap<String, TensorView<'_>> = file
        .iter()
        .filter_map(|(name, tensor)| Some((rename(name)?, tensor)))
        .collect();
    safetensors::serialize_to_file(tensors, None, to).unwrap();
}

type Replace = fn(PipelineBuilder, &Path) -> PipelineBuilder;

/// Part, prefix in LDM's layout, file in diffusers', and the builder's method.
const PARTS: [(&str, &str, &str, Replace); 3] = [
    (
        "text_encoder",
        "cond_stage_model.transformer.",
        "model.safetensors",
        |b, path| b.text_encoder(path),
    ),
    (
        "unet",
        "model.diffusion_model.",
        "diffusion_pytorch_model.safetensors",
        |b, path| b.unet(path),
    ),
    (
        "vae",
        "first_stage_model.",
        "diffusion_pytorch_model.safetensors",
        |b, path| b.vae(path),
    ),
];

/// A checkpoint whose weights are all different from the tiny model's: what is replaced in it is what makes a difference.
fn other(out: &Path) -> std::path::PathBuf {
    let path = out.join("other");
    builder().save_folder(&path, sdrs::Dtype::F32).unwrap();
    for (part, _, file, _) in PARTS {
        let file = path.join(part).join(file);
        let bytes = fs::read(&file).unwrap();
        let read = SafeTensors::deserialize(&bytes).unwrap();
        let halved: Vec<(String, Vec<usize>, Vec<u8>)> = read
            .iter()
            .map(|(name, tensor)| {
                let values = tensor.data().as_chunks::<4>().0.iter();
                let values = values.flat_map(|b| (f32::from_le_bytes(*b) * 0.5).to_le_bytes());
                (name.to_owned(), tensor.shape().to_vec(), values.collect())
            })
            .collect();
        let views = halved.iter().map(|(name, shape, bytes)| {
            let view = TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
            (name, view.unwrap())
        });
        safetensors::serialize_to_file(views, None, &file).unwrap();
    }
    path
}

#[test]
fn every_way_of_storing_a_part_gives_that_part() {
    let out = tempfile::tempdir().unwrap();
    let other = other(out.path());
    let ldm = goldens::tiny_sd1_ldm();
    let build = |replace: Replace, path: &Path| {
        let builder = Pipeline::builder()
            .dtype(sdrs::Dtype::F32)
            .weight_dtype(sdrs::WeightDtype::F32)
            .checkpoint(&other)
            .device("cpu");
        let pipeline = replace(builder, path).build().unwrap();
        (outputs(&pipeline), picture(&pipeline))
    };
    let untouched = build(|b, _| b, &other);
    for (part, prefix, file, replace) in PARTS {
        let diffusers = folder().join(part).join(file);
        // A whole folder, the part's own, its file, a whole single file.
        let expected = build(replace, &folder());
        assert!(expected != untouched, "{part}");
        let single = |name: &str| out.path().join(format!("{part}-{name}.safetensors"));
        let (bare_ldm, prefixed_ldm, prefixed) = (single("bare-ldm"), single("ldm"), single("prefixed"));
        renamed(&ldm, &bare_ldm, |name| {
            name.strip_prefix(prefix).map(str::to_owned)
        });
        renamed(&ldm, &prefixed_ldm, |name| {
            name.starts_with(prefix).then(|| name.to_owned())
        });
        renamed(&diffusers, &prefixed, |name| Some(format!("{prefix}{name}")));
        for source in [
            &folder().join(part),
            &diffusers,
            &ldm,
            &bare_ldm,
            &prefixed_ldm,
            &prefixed,
        ] {
            assert!(
                build(replace, source) == expected,
                "{part} from {}",
                source.display()
            );
        }
    }
    // All three make the tiny model.
    let all = Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .weight_dtype(sdrs::WeightDtype::F32)
        .checkpoint(&other)
        .device("cpu");
    let all = all
        .text_encoder(folder())
        .unet(folder())
        .vae(folder())
        .build()
        .unwrap();
    assert_eq!(picture(&all), picture(&builder().build().unwrap()));
}

/// The demo model's text encoder is wider than the tiny model's U-Net wants, and its U-Net likewise; its VAE would fit.
#[test]
fn parts_that_do_not_fit_are_told() {
    let demo = goldens::root().join("../models/demo/base");
    let error = |builder: PipelineBuilder| builder.build().unwrap_err();
    let text = error(builder().text_encoder(&demo));
    assert_eq!(text.code(), ErrorCode::InvalidWeights);
    let message = text.to_string();
    assert!(
        message.contains("the text encoder's width 128 is not the U-Net's context width 16"),
        "{message}"
    );
    let unet = error(builder().unet(demo.join("unet"))).to_string();
    assert!(
        unet.contains("the text encoder's width 16 is not the U-Net's context width 128"),
        "{unet}"
    );
    let unet = error(builder().unet(demo.join("unet/diffusion_pytorch_model.safetensors")));
    assert_eq!(unet.code(), ErrorCode::InvalidWeights);
    // Its structure is read off the file.
    assert!(
        unet.to_string().contains("is not the U-Net's context width 128"),
        "{unet}"
    );
    // A file that holds another part.
    let wrong = error(builder().unet(folder().join("vae/diffusion_pytorch_model.safetensors")));
    assert_eq!(wrong.code(), ErrorCode::InvalidFile);
    let wrong = wrong.to_string();
    assert!(
        wrong.ends_with("is a VAE alone, not a U-Net; its place is vae (--vae)"),
        "{wrong}"
    );
    let wrong = error(builder().lora(folder().join("vae/diffusion_pytorch_model.safetensors"), 1.0));
    assert_eq!(wrong.code(), ErrorCode::InvalidFile);
    let wrong = wrong.to_string();
    assert!(
        wrong.ends_with("is a VAE alone, not a LoRA or another adapter; its place is vae (--vae)"),
        "{wrong}"
    );
    // Two that fit each other, though neither fits what it replaces.
    builder().unet(&demo).text_encoder(&demo).build().unwrap();
    builder().text_encoder(&demo).unet(&demo).build().unwrap();
    assert_eq!(
        error(builder().text_encoder("no/such/file")).code(),
        ErrorCode::Io
    );
    builder().vae(&demo).build().unwrap();
    // What the U-Net's source says of its prediction counts.
    let v = tempfile::tempdir().unwrap();
    let path = v.path().join("v");
    builder()
        .prediction(Prediction::V)
        .save_folder(&path, sdrs::Dtype::F32)
        .unwrap();
    let prediction = |builder: PipelineBuilder| builder.build().unwrap().prediction();
    assert_eq!(prediction(builder().unet(&path)), Prediction::V);
    assert_eq!(
        prediction(builder().vae(&path).text_encoder(&path)),
        Prediction::Epsilon
    );
    let file = v.path().join("v.safetensors");
    builder().unet(&path).save_file(&file, sdrs::Dtype::F32).unwrap();
    assert_eq!(prediction(builder().unet(&file)), Prediction::V);
}

/// A single file that lacks parts draws with those that are given, whichever come first.
#[test]
fn what_is_missing_can_be_given() {
    let out = tempfile::tempdir().unwrap();
    let ldm = goldens::tiny_sd1_ldm();
    let (vae, text) = ("first_stage_model.", "cond_stage_model.");
    let single = |name: &str, without: &[&str]| {
        let path = out.path().join(name);
        renamed(&ldm, &path, |name| {
            let kept = !without.iter().any(|prefix| name.starts_with(prefix));
            kept.then(|| name.to_owned())
        });
        Pipeline::builder()
            .dtype(sdrs::Dtype::F32)
            .weight_dtype(sdrs::WeightDtype::F32)
            .checkpoint(path)
            .config(folder())
            .device("cpu")
    };
    let expected = picture(&builder().build().unwrap());
    let drawn = |builder: PipelineBuilder| picture(&builder.build().unwrap());
    let (half, alone) = (|| single("half", &[vae]), || single("alone", &[vae, text]));
    assert_eq!(drawn(half().vae(folder())), expected);
    assert_eq!(drawn(alone().vae(folder()).text_encoder(folder())), expected);
    assert_eq!(drawn(alone().text_encoder(folder()).vae(folder())), expected);
    let error = alone().vae(folder()).build().unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidFile);
    let error = error.to_string();
    assert!(
        error.ends_with(
            "is a U-Net alone: it lacks a text encoder; give one with text_encoder (--text-encoder)"
        ),
        "{error}"
    );
    let saved = out.path().join("saved.safetensors");
    half().vae(folder()).save_file(&saved, sdrs::Dtype::F32).unwrap();
    assert_eq!(
        drawn(
            Pipeline::builder()
                .dtype(sdrs::Dtype::F32)
                .weight_dtype(sdrs::WeightDtype::F32)
                .checkpoint(&saved)
                .device("cpu")
        ),
        expected
    );
}

/// Half a VAE draws, previews included, or encodes; the other is refused before any work.
#[test]
fn half_a_vae_does_its_half() {
    let out = tempfile::tempdir().unwrap();
    let vae = folder().join("vae/diffusion_pytorch_model.safetensors");
    let half = |gone: &str| {
        let path = out.path().join(gone);
        renamed(&vae, &path, |name| {
            (!name.starts_with(gone)).then(|| name.to_owned())
        });
        builder().vae(path).build().unwrap()
    };
    let (decodes, encodes, whole) = (half("encoder."), half("decoder."), builder().build().unwrap());
    assert_eq!(picture(&decodes), picture(&whole));
    let mut previews = 0;
    let request = decodes.txt2img("").width(32).height(32).steps(2);
    let request = request.previews(sdrs::PreviewMethod::Approximate, 1);
    request
        .on_progress(|progress| previews += usize::from(progress.preview.is_some()))
        .run()
        .unwrap();
    assert_eq!(previews, 2);
    let pixels = vec![0.25; 3 * 16 * 16];
    let encode = |pipeline: &Pipeline| pipeline.vae_encode(&pixels, [1, 3, 16, 16]);
    assert_eq!(
        encode(&encodes).unwrap().mean.values,
        encode(&whole).unwrap().mean.values
    );
    let error = encode(&decodes).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidWeights);
    assert!(error.to_string().contains("has no encoder"), "{error}");
    let mut steps = 0;
    let error = encodes.txt2img("").on_progress(|_| steps += 1).run().unwrap_err();
    assert!(
        error.to_string().contains("has no decoder") && steps == 0,
        "{error}"
    );
    encodes
        .txt2img("")
        .width(32)
        .height(32)
        .steps(2)
        .latents()
        .unwrap();
}

#[test]
fn tensors_of_no_part_are_refused_or_told() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("strays.safetensors");
    let ldm = fs::read(goldens::tiny_sd1_ldm()).unwrap();
    let file = SafeTensors::deserialize(&ldm).unwrap();
    let mut tensors: BTreeMap<String, TensorView<'_>> = file
        .iter()
        .map(|(name, tensor)| (name.to_owned(), tensor))
        .collect();
    let stray = TensorView::new(safetensors::Dtype::F32, vec![0], &[]).unwrap();
    tensors.insert("lora_te_text_model_x".into(), stray.clone());
    tensors.insert("embedding_manager.x".into(), stray);
    safetensors::serialize_to_file(tensors, None, &path).unwrap();
    let builder = || {
        Pipeline::builder()
            .dtype(sdrs::Dtype::F32)
            .weight_dtype(sdrs::WeightDtype::F32)
            .checkpoint(&path)
            .config(folder())
            .device("cpu")
    };
    // A VAE of one's own changes nothing about it.
    for builder in [builder(), builder().vae(folder())] {
        let error = builder.build().unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidWeights);
        let error = error.to_string();
        assert!(
            error.contains("1 unexpected: lora_te_text_model_x; allow_unexpected"),
            "{error}"
        );
    }
    let lines = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = lines.clone();
    let pipeline = builder()
        .allow_unexpected(true)
        .on_log(move |_, line| log.lock().unwrap().push(line.to_owned()));
    assert_eq!(
        picture(&pipeline.build().unwrap()),
        picture(&common::builder().build().unwrap())
    );
    let lines = lines.lock().unwrap();
    let told = lines.iter().filter(|line| line.contains("passed over"));
    assert_eq!(
        told.collect::<Vec<_>>(),
        ["passed over: a tensor of no part, lora_te_text_model_x"]
    );
}

/// A file's own word counts before that of the configurations beside it, and the log says so.
#[test]
fn a_marked_file_is_drawn_as_marked() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("v.safetensors");
    let ldm = fs::read(goldens::tiny_sd1_ldm()).unwrap();
    let file = SafeTensors::deserialize(&ldm).unwrap();
    let mut tensors: BTreeMap<String, TensorView<'_>> = file
        .iter()
        .map(|(name, tensor)| (name.to_owned(), tensor))
        .collect();
    let marker = TensorView::new(safetensors::Dtype::F32, vec![0], &[]).unwrap();
    tensors.insert("v_pred".into(), marker);
    safetensors::serialize_to_file(tensors, None, &path).unwrap();
    let lines = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = lines.clone();
    let builder = || {
        Pipeline::builder()
            .dtype(sdrs::Dtype::F32)
            .weight_dtype(sdrs::WeightDtype::F32)
            .checkpoint(&path)
            .config(folder())
            .device("cpu")
    };
    let marked = builder().on_log(move |_, line| log.lock().unwrap().push(line.to_owned()));
    let marked = marked.build().unwrap();
    assert_eq!(marked.prediction(), Prediction::V);
    let said = common::builder().prediction(Prediction::V).build().unwrap();
    assert_eq!(picture(&marked), picture(&said));
    let lines = lines.lock().unwrap().join("\n");
    let reason = "it has a tensor named v_pred, though the configurations given say epsilon";
    assert!(lines.contains(reason), "{lines}");
    let explicit = builder().prediction(Prediction::Epsilon).build().unwrap();
    assert_eq!(explicit.prediction(), Prediction::Epsilon);
}

#[test]
fn configurations_that_are_not_there() {
    let ldm = goldens::tiny_sd1_ldm();
    let error = |checkpoint: &Path, config: &Path| {
        let builder = Pipeline::builder()
            .dtype(sdrs::Dtype::F32)
            .weight_dtype(sdrs::WeightDtype::F32)
            .checkpoint(checkpoint)
            .config(config);
        let error = builder.device("cpu").build().unwrap_err();
        (error.code(), error.to_string())
    };
    assert_eq!(error(&ldm, Path::new("no/such/folder")).0, ErrorCode::Io);
    let (code, message) = error(&ldm, &folder().join("unet/config.json"));
    assert_eq!(code, ErrorCode::InvalidFile);
    assert!(
        message.contains(&format!(
            "is a file, not a folder; give the folder, {}",
            folder().display()
        )),
        "{message}"
    );
    assert_eq!(error(&folder(), &folder()).0, ErrorCode::InvalidParameter);
}
