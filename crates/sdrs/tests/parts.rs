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
    let ldm = goldens::root().join("tiny-sd1-ldm.safetensors");
    let build = |replace: Replace, path: &Path| {
        let builder = Pipeline::builder().checkpoint(&other).device("cpu");
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
    let all = Pipeline::builder().checkpoint(&other).device("cpu");
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
    assert!(unet.to_string().contains("misshapen"), "{unet}");
    // A file that holds another part.
    let wrong = error(builder().unet(folder().join("vae/diffusion_pytorch_model.safetensors"))).to_string();
    assert!(
        wrong.contains("the weights don't fit this model") && wrong.contains("missing"),
        "{wrong}"
    );
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
