//! Encoded texts by what the configuration says: which hidden state, whether the final norm follows, and the pooled text.

mod common;

use std::sync::Arc;

use burn_tensor::Tensor;
use common::{Tensors, cpu, serialized, tiny};
use goldens::Refs;
use sd_core::{
    checkpoint::Checkpoint,
    config::{ClipTextConfig, Part},
    models::ClipTextModel,
    weights::{PartWeights, StoredDtype, TensorFile},
};

/// Width of the pooled text.
const PROJECTION: usize = 3;

fn projection(width: usize) -> Vec<f32> {
    (0..PROJECTION * width).map(|i| (i as f32 * 0.37).sin()).collect()
}

/// The tiny model's text encoder with a projection, and with some of its configuration changed.
fn encoder(change: impl FnOnce(&mut ClipTextConfig)) -> ClipTextModel {
    let checkpoint = Checkpoint::open(&tiny()).unwrap();
    let mut config = checkpoint.configs().text_encoder().clone();
    config.projection = Some(PROJECTION);
    change(&mut config);
    let values = projection(config.hidden_size);
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let stored = (StoredDtype::F32, vec![PROJECTION, config.hidden_size], bytes);
    let file = serialized(&Tensors::from([("text_projection.weight".into(), stored)]));
    let weights = checkpoint.weights(Part::TextEncoder);
    let file = Arc::new(TensorFile::from_bytes("projection", file).unwrap());
    let weights = PartWeights {
        files: [weights.files.clone(), vec![file]].concat(),
        ..weights.clone()
    };
    ClipTextModel::load(&config, &weights, &cpu()).unwrap()
}

fn ids(refs: &Refs) -> Vec<Vec<u32>> {
    let ids: Vec<u32> = refs.i64s("input_ids").iter().map(|&id| id as u32).collect();
    ids.chunks(77).map(<[u32]>::to_vec).collect()
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().try_to_vec::<f32>().unwrap()
}

#[test]
fn the_hidden_state_is_the_configurations() {
    let refs = Refs::open("tiny-sd1/refs/text_encoder.safetensors");
    let plain = encoder(|config| config.final_norm = false);
    let layers = plain.config().num_hidden_layers;
    for clip_skip in 1..=layers {
        let name = format!("hidden_state.{}", layers + 1 - clip_skip);
        let got = plain.encode(&ids(&refs), &[], clip_skip).unwrap().context;
        refs.assert_close(&name, &values(got), 1e-5);
    }
    let before = encoder(|config| {
        (config.skipped_layers, config.final_norm) = (1, false);
    });
    let got = before.encode(&ids(&refs), &[], 1).unwrap().context;
    refs.assert_close(&format!("hidden_state.{}", layers - 1), &values(got), 1e-5);
    for (encoder, most) in [(plain, layers), (before, layers - 1)] {
        for clip_skip in [0, most + 1] {
            let error = encoder.encode(&ids(&refs), &[], clip_skip).map(drop).unwrap_err();
            assert!(error.to_string().contains(&format!("1 to {most}")), "{error}");
        }
    }
}

/// The first end token's last state, projected, whatever the context is.
#[test]
fn pooled() {
    let refs = Refs::open("tiny-sd1/refs/text_encoder.safetensors");
    let encoder = encoder(|config| {
        (config.skipped_layers, config.final_norm) = (1, false);
    });
    let width = encoder.config().hidden_size;
    let (last, weights) = (refs.f32s("final"), projection(width));
    let mut expected = Vec::new();
    for (row, ids) in ids(&refs).iter().enumerate() {
        let end = ids.iter().position(|&id| id == 49_407).unwrap();
        let state = &last[(row * 77 + end) * width..][..width];
        for weights in weights.chunks(width) {
            expected.push(weights.iter().zip(state).map(|(w, x)| w * x).sum::<f32>());
        }
    }
    let pooled = encoder.encode(&ids(&refs), &[], 1).unwrap().pooled.unwrap();
    assert_eq!(pooled.dims(), [expected.len() / PROJECTION, PROJECTION]);
    let error = goldens::relative_error(&values(pooled), &expected);
    assert!(error < 1e-5, "{error}");
}
