//! The layer of text and vision transformers that normalise first.

use burn_tensor::Tensor;
use sd_kernels::{LayerNorm, Linear};

use super::nn::{Attention, KeysValues, behind, layer_norm, linear};
use crate::{config::Activation, weights::Params};

/// The sizes of a layer.
#[derive(Clone, Copy)]
pub(crate) struct EncoderSpec {
    pub width: usize,
    pub inner: usize,
    pub heads: usize,
    pub eps: f64,
    pub activation: Activation,
}

/// Self-attention and a feed-forward network, each behind a norm and around a shortcut.
pub(crate) struct EncoderLayer {
    norm1: LayerNorm,
    attention: Attention,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    activation: Activation,
}

impl EncoderLayer {
    pub fn new(p: &Params, spec: EncoderSpec) -> Self {
        let EncoderSpec {
            width, inner, eps, ..
        } = spec;
        let projection = |name: &str| linear(&p.at("self_attn").at(name), width, width);
        Self {
            norm1: layer_norm(&p.at("layer_norm1"), width, eps),
            attention: Attention {
                q: projection("q_proj"),
                k: projection("k_proj"),
                v: projection("v_proj"),
                out: projection("out_proj"),
                heads: spec.heads,
            },
            norm2: layer_norm(&p.at("layer_norm2"), width, eps),
            fc1: linear(&p.at("mlp.fc1"), width, inner),
            fc2: linear(&p.at("mlp.fc2"), inner, width),
            activation: spec.activation,
        }
    }

    /// `[batch, n, width]` to the same: each token sees all.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let normed = self.norm1.forward(x.clone());
        let x = self.attention.forward_onto(x, normed, None, false);
        self.feed_forward(x)
    }

    /// The same where each token sees those up to itself, among them the tokens `before` all of these. Also the keys and values of all.
    pub fn forward_causal(&self, x: Tensor<3>, before: Option<KeysValues>) -> (Tensor<3>, KeysValues) {
        let normed = self.norm1.forward(x.clone());
        let all = behind(before, self.attention.keys_values(normed.clone()));
        let x = self.attention.forward_onto(x, normed, Some(all.clone()), true);
        (self.feed_forward(x), all)
    }

    fn feed_forward(&self, x: Tensor<3>) -> Tensor<3> {
        let normed = self.norm2.forward(x.clone());
        let inner = self.fc1.forward_then(normed, self.activation.kernel());
        self.fc2.forward_onto(inner, x)
    }
}
