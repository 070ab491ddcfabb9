//! CLIP's text encoder (Radford et al. 2021, arXiv:2103.00020), as Stable Diffusion conditions on it.

use burn_tensor::{Int, Tensor, TensorData};

use sd_kernels::{LayerNorm, Linear};

use super::nn::{Attention, Embedding, layer_norm, linear};
use crate::{
    Error, Result,
    config::{Activation, ClipTextConfig},
    weights::{Model, Params, PartWeights, Target, load},
};

/// The text encoder: token and position embeddings, causal transformer layers, a final layer norm.
pub struct ClipTextModel {
    config: ClipTextConfig,
    target: Target,
    tokens: Embedding,
    positions: Embedding,
    layers: Vec<Layer>,
    final_norm: LayerNorm,
}

/// What the encoder gives for a batch of texts.
pub struct ClipOutput {
    /// `layers + 1` tensors `[batch, n, width]`: the embeddings, then the output of every layer, without the final norm.
    pub hidden_states: Vec<Tensor<3>>,
}

struct Layer {
    norm1: LayerNorm,
    attention: Attention,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    activation: Activation,
}

impl Model for ClipTextModel {
    type Config = ClipTextConfig;

    fn config(&self) -> &ClipTextConfig {
        &self.config
    }

    fn build(config: &ClipTextConfig, p: &Params, target: &Target) -> Self {
        Self::build(config, p, target)
    }
}

impl ClipTextModel {
    /// Loads the encoder.
    ///
    /// # Errors
    /// [`Error::Weights`] if the weights don't fit `config`.
    pub fn load(config: &ClipTextConfig, weights: &PartWeights, target: &Target) -> Result<Self> {
        load(weights, target, |p| Self::build(config, p, target))
    }

    pub(crate) fn build(config: &ClipTextConfig, p: &Params, target: &Target) -> Self {
        let p = p.at("text_model");
        let width = config.hidden_size;
        Self {
            tokens: Embedding::new(&p.at("embeddings.token_embedding"), config.vocab_size, width),
            positions: Embedding::new(
                &p.at("embeddings.position_embedding"),
                config.max_position_embeddings,
                width,
            ),
            layers: (0..config.num_hidden_layers)
                .map(|i| Layer::new(&p.at(format_args!("encoder.layers.{i}")), config))
                .collect(),
            final_norm: layer_norm(&p.at("final_layer_norm"), width, config.layer_norm_eps),
            config: config.clone(),
            target: target.clone(),
        }
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &ClipTextConfig {
        &self.config
    }

    /// Runs the encoder on token ids, one row of equal length for each text.
    ///
    /// # Errors
    /// [`Error::Shape`] if rows differ in length, are empty or longer than the position table, or an id is outside the
    /// vocabulary.
    pub fn forward(&self, ids: &[Vec<u32>]) -> Result<ClipOutput> {
        self.forward_with(ids, &[])
    }

    /// The same with vectors in place of some tokens' embeddings (textual inversion, Gal et al. 2022, arXiv:2208.01618):
    /// for each row the first position and `[vectors, width]` values, row-major.
    ///
    /// # Errors
    /// [`Error::Shape`], as [`forward`](Self::forward), and if vectors don't fit the width or the row.
    pub fn forward_with(&self, ids: &[Vec<u32>], placed: &[Vec<(usize, &[f32])>]) -> Result<ClipOutput> {
        let (max, vocabulary) = (self.config.max_position_embeddings, self.config.vocab_size);
        let n = ids.first().map_or(0, Vec::len);
        let in_vocabulary = |row: &Vec<u32>| row.iter().all(|&id| (id as usize) < vocabulary);
        if n == 0 || n > max || !ids.iter().all(|row| row.len() == n && in_vocabulary(row)) {
            return Err(Error::Shape {
                name: "token ids",
                expected: format!("rows of one length, 1 to {max}, of ids below {vocabulary}"),
                got: ids.iter().map(Vec::len).collect(),
            });
        }
        let width = self.config.hidden_size;
        for (at, values) in placed.iter().flatten() {
            let vectors = values.len() / width;
            if values.len() % width != 0
                || at.checked_add(vectors).is_none_or(|end| end > n)
                || placed.len() > ids.len()
            {
                return Err(Error::Shape {
                    name: "embedding",
                    expected: format!("vectors of {width} values within the {n} tokens"),
                    got: vec![*at, values.len()],
                });
            }
        }
        let flat: Vec<i32> = ids.iter().flatten().map(|&id| id as i32).collect();
        let options = (self.target.device.burn(), burn_tensor::DType::I32);
        let ids = Tensor::<2, Int>::from_data(TensorData::new(flat, [ids.len(), n]), options);
        let mut x = self.tokens.forward(ids);
        for (row, (at, values)) in placed
            .iter()
            .enumerate()
            .flat_map(|(row, list)| list.iter().map(move |p| (row, p)))
        {
            let vectors = values.len() / width;
            let options = (self.target.device.burn(), burn_tensor::DType::F32);
            let values =
                Tensor::<3>::from_data(TensorData::new(values.to_vec(), [1, vectors, width]), options);
            x = x.clone().slice_assign(
                [row..row + 1, *at..at + vectors, 0..width],
                values.cast(x.dtype()),
            );
        }
        let mut x = x + self.positions.first(n);
        let mut hidden_states = Vec::with_capacity(self.layers.len() + 1);
        for layer in &self.layers {
            hidden_states.push(x.clone());
            x = layer.forward(x);
        }
        hidden_states.push(x);
        Ok(ClipOutput { hidden_states })
    }

    /// The final layer norm, on any hidden state: `[batch, n, width]`.
    pub fn final_norm(&self, hidden_state: Tensor<3>) -> Tensor<3> {
        self.final_norm.forward(hidden_state)
    }
}

impl Layer {
    fn new(p: &Params, config: &ClipTextConfig) -> Self {
        let (width, inner, eps) = (
            config.hidden_size,
            config.intermediate_size,
            config.layer_norm_eps,
        );
        let projection = |name: &str| linear(&p.at("self_attn").at(name), width, width);
        Self {
            norm1: layer_norm(&p.at("layer_norm1"), width, eps),
            attention: Attention {
                q: projection("q_proj"),
                k: projection("k_proj"),
                v: projection("v_proj"),
                out: projection("out_proj"),
                heads: config.num_attention_heads,
            },
            norm2: layer_norm(&p.at("layer_norm2"), width, eps),
            fc1: linear(&p.at("mlp.fc1"), width, inner),
            fc2: linear(&p.at("mlp.fc2"), inner, width),
            activation: config.hidden_act,
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let normed = self.norm1.forward(x.clone());
        let x = self.attention.forward_onto(x, normed, None, true);
        let normed = self.norm2.forward(x.clone());
        let inner = self.fc1.forward_then(normed, self.activation.kernel());
        self.fc2.forward_onto(inner, x)
    }
}
