//! Computing in f16 itself, as GPUs do; a pipeline on the CPU never does.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use safetensors::{SafeTensors, tensor::TensorView};
use sd_core::{Device, Dtype, checkpoint::Checkpoint, weights::Target};

use super::{Model, Runtime};
use crate::{LogLevel, model::Patches};

/// Activations behind the first convolutions are this many times what they were: normalisation makes up for it, where the type holds them.
const FACTOR: f32 = 32_768.0;
const LATENTS: [usize; 4] = [2, 4, 4, 6];
const VAE: &str = "vae/diffusion_pytorch_model.safetensors";

/// The tiny model with an autoencoder of such activations.
fn folder() -> tempfile::TempDir {
    let (from, folder) = (goldens::root().join("tiny-sd1"), tempfile::tempdir().unwrap());
    for name in [
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
    ] {
        let to = folder.path().join(name);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from.join(name), to).unwrap();
    }
    let bytes = std::fs::read(from.join(VAE)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.tensors().into_iter().map(|(name, tensor)| {
        let factor = if name.contains("coder.conv_in.") {
            FACTOR
        } else {
            1.0
        };
        let (values, rest) = tensor.data().as_chunks::<2>();
        assert!(tensor.dtype() == safetensors::Dtype::F16 && rest.is_empty());
        let wide = values.iter().flat_map(|&bytes| {
            let value = half::f16::from_le_bytes(bytes).to_f32() * factor;
            assert!(value.abs() <= 65_504.0, "weights themselves are in range");
            value.to_le_bytes()
        });
        (name, tensor.shape().to_vec(), wide.collect::<Vec<u8>>())
    });
    let tensors: Vec<_> = tensors.collect();
    let views = tensors.iter().map(|(name, shape, data)| {
        let view = TensorView::new(safetensors::Dtype::F32, shape.clone(), data).unwrap();
        (name.as_str(), view)
    });
    let file = safetensors::serialize(views, None).unwrap();
    std::fs::write(folder.path().join(VAE), file).unwrap();
    folder
}

struct Loaded {
    model: Model,
    runtime: Runtime,
    lines: Arc<Mutex<Vec<String>>>,
}

fn load(folder: &Path, dtype: Dtype) -> Loaded {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let log = lines.clone();
    let write = move |level, line: &str| {
        if level == LogLevel::Warning || line.contains("loaded the VAE in") {
            log.lock().unwrap().push(line.to_owned());
        }
    };
    let runtime = Runtime::new(
        None,
        Some(&Device::from_name("cpu").unwrap()),
        Some(Arc::new(write)),
    )
    .unwrap();
    let target = Target::new(Device::from_name("cpu").unwrap(), dtype);
    let checkpoint = Checkpoint::open(folder).unwrap();
    let model = Model::load(
        checkpoint,
        target,
        None,
        &Patches::new(),
        (None, None),
        (&runtime, false),
    )
    .unwrap();
    Loaded {
        model,
        runtime,
        lines,
    }
}

fn waves(shape: [usize; 4]) -> Vec<f32> {
    (0..shape.iter().product())
        .map(|i| (i as f32 * 0.37).sin())
        .collect()
}

#[test]
fn too_large_for_f16() {
    let folder = folder();
    let all = [Dtype::F32, Dtype::F16].map(|dtype| load(folder.path(), dtype));
    let pictures = [1, 3, 16, 32];
    for _ in 0..2 {
        let decoded = all
            .each_ref()
            .map(|it| it.model.decode(waves(LATENTS), LATENTS, &it.runtime).unwrap());
        assert!(decoded[0].iter().all(|value| value.is_finite()));
        assert_eq!(decoded[0], decoded[1]);
        let encoded = all
            .each_ref()
            .map(|it| it.model.encode(waves(pictures), pictures, &it.runtime).unwrap());
        assert!(encoded[0].mean.values.iter().all(|value| value.is_finite()));
        assert_eq!(encoded[0], encoded[1]);
    }
    // It is told each time, and the copy is loaded once.
    let [wide, narrow] = all.map(|it| it.lines.lock().unwrap().clone());
    let count = |text: &str| narrow.iter().filter(|line| line.contains(text)).count();
    assert_eq!(
        (count("too large for f16"), count("loaded the VAE in f32")),
        (4, 1)
    );
    assert!(wide.is_empty());
}

/// What fits is done in f16, and what isn't finite to begin with is not tried again.
#[test]
fn the_wide_copy_is_for_pictures_that_need_it() {
    let Loaded {
        model,
        runtime,
        lines,
    } = load(&goldens::root().join("tiny-sd1"), Dtype::F16);
    let decoded = model.decode(waves(LATENTS), LATENTS, &runtime).unwrap();
    assert!(decoded.iter().all(|value| value.is_finite()));
    let mut broken = waves(LATENTS);
    broken[5] = f32::NAN;
    model.decode(broken, LATENTS, &runtime).unwrap();
    assert!(lines.lock().unwrap().is_empty());
}
