//! Adapters: keys and shapes as a text says them, a line each ("lora_unet_conv_in.lora_down.weight 4 4 3 3"), bound to a small model,
//! examined and applied: finite values, or an error.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use safetensors::tensor::{Dtype, TensorView};
use sd_core::weights::TensorFile;
use sd_lora::{AdapterFile, ModelNames, Network, Strengths, doctor};

/// The most values in a tensor.
const MAX: usize = 1 << 12;

/// Layers of every shape that there is.
const LAYERS: [(&str, &[usize]); 6] = [
    ("conv_in.weight", &[8, 4, 3, 3]),
    ("conv_in.bias", &[8]),
    ("mid.proj_in.weight", &[8, 4, 1, 1]),
    ("mid.to_q.weight", &[8, 8]),
    ("mid.norm.weight", &[8]),
    ("mid.norm.bias", &[8]),
];

static NAMES: LazyLock<ModelNames> = LazyLock::new(|| {
    let names: Vec<[String; 1]> = LAYERS.iter().map(|(name, _)| [(*name).to_owned()]).collect();
    ModelNames::from_networks(names.iter().map(|name| (Network::Unet, name.as_slice())))
});

fuzz_target!(|text: &str| {
    let ones: Vec<u8> = [0.5f32; MAX].iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut tensors = std::collections::BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(key) = words.next() else { continue };
        let shape: Vec<usize> = words.map_while(|word| word.parse().ok()).collect();
        let count = shape.iter().try_fold(1usize, |n, k| n.checked_mul(*k));
        if let Some(count) = count.filter(|count| *count <= MAX) {
            let view = TensorView::new(Dtype::F32, shape, &ones[..4 * count]);
            tensors.insert(key, view.expect("as long as said"));
        }
    }
    let bytes = safetensors::serialize(tensors, None).expect("in memory");
    let Ok(file) = TensorFile::from_bytes("fuzz", bytes) else {
        return;
    };
    let Ok(file) = AdapterFile::from_tensors(file) else {
        return;
    };
    let _ = doctor(&file, None).expect("no model to fail").to_string();
    let mut strengths = Strengths::both(-0.7);
    strengths.allow_unmatched = true;
    let Ok(adapter) = file.bind(&NAMES, &strengths) else {
        return;
    };
    for (name, shape) in LAYERS {
        let mut values = vec![0.25f32; shape.iter().product()];
        let fits = adapter.check_in(Network::Unet, name, shape);
        let applied = adapter.apply_in(Network::Unet, name, shape, &mut values);
        assert!(fits.is_ok() || applied.is_err());
        assert!(applied.is_err() || values.iter().all(|x| x.is_finite()));
    }
});
