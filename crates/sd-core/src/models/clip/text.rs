//! CLIP's text encoder (Radford et al. 2021, arXiv:2103.00020), as Stable Diffusion conditions on it.

use burn_tensor::{Int, Tensor, TensorData};

use sd_kernels::{LayerNorm, Linear};

use super::super::{
    encoder::{EncoderLayer, EncoderSpec},
    nn::{Embedding, KeysValues, layer_norm, linear_without_bias},
};
use crate::{
    Error, Result,
    config::ClipTextConfig,
    weights::{Model, Params, PartWeights, Target, load},
};

/// The text encoder: token and position embeddings, causal transformer layers, a final layer norm.
pub struct ClipTextModel {
    config: ClipTextConfig,
    target: Target,
    tokens: Embedding,
    positions: Embedding,
    layers: Vec<EncoderLayer>,
    final_norm: LayerNorm,
    projection: Option<Linear>,
}

/// A batch of texts as the U-Net is conditioned on them.
pub struct EncodedText {
    /// `[batch, n, width]`.
    pub context: Tensor<3>,
    /// The last state of each end token behind the final norm and the projection, `[batch, projection]`, where the configuration has one.
    pub pooled: Option<Tensor<2>>,
}

/// Tokens that several texts begin with, as the layers remember them: each token sees those before it alone, so these are computed once.
#[derive(Clone, Default)]
pub struct TextStart {
    tokens: usize,
    layers: Vec<KeysValues>,
}

impl Model for ClipTextModel {
    type Config = ClipTextConfig;

    fn config(&self) -> &ClipTextConfig {
        &self.config
    }

    fn build(config: &ClipTextConfig, p: &Params, target: &Target) -> Self {
        let width = config.hidden_size;
        let projection = |output| linear_without_bias(&p.at("text_projection"), width, output);
        let projection = config.projection.map(projection);
        let p = p.at("text_model");
        let spec = EncoderSpec {
            width,
            inner: config.intermediate_size,
            heads: config.num_attention_heads,
            eps: config.layer_norm_eps,
            activation: config.hidden_act,
        };
        Self {
            projection,
            tokens: Embedding::new(&p.at("embeddings.token_embedding"), config.vocab_size, width),
            positions: Embedding::new(
                &p.at("embeddings.position_embedding"),
                config.max_position_embeddings,
                width,
            ),
            layers: (0..config.num_hidden_layers)
                .map(|i| EncoderLayer::new(&p.at(format_args!("encoder.layers.{i}")), spec))
                .collect(),
            final_norm: layer_norm(&p.at("final_layer_norm"), width, config.layer_norm_eps),
            config: config.clone(),
            target: target.clone(),
        }
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

    /// The configuration it was built from.
    pub fn config(&self) -> &ClipTextConfig {
        &self.config
    }

    /// Encodes token ids, one row of equal length for each text. `clip_skip` counts the hidden state that becomes the context back from
    /// the configuration's own, which is 1. `placed` is as for [`hidden_states`](Self::hidden_states).
    ///
    /// # Errors
    /// [`Error::Shape`], as [`hidden_states`](Self::hidden_states), and for a `clip_skip` that no layer has.
    pub fn encode(
        &self,
        ids: &[Vec<u32>],
        placed: &[Vec<(usize, &[f32])>],
        clip_skip: usize,
    ) -> Result<EncodedText> {
        self.encode_behind(&TextStart::default(), ids, placed, clip_skip)
    }

    /// The same of texts that all go on behind one `start`; their rows, and the context, are what comes behind it.
    ///
    /// # Errors
    /// As [`encode`](Self::encode); the start counts among the positions. [`Error::Shape`] for a start of another model, as far as that shows.
    pub fn encode_behind(
        &self,
        start: &TextStart,
        ids: &[Vec<u32>],
        placed: &[Vec<(usize, &[f32])>],
        clip_skip: usize,
    ) -> Result<EncodedText> {
        let ClipTextConfig {
            num_hidden_layers,
            skipped_layers,
            final_norm,
            ..
        } = self.config;
        let most = num_hidden_layers.saturating_sub(skipped_layers);
        if !(1..=most).contains(&clip_skip) {
            return Err(Error::Shape {
                name: "clip_skip",
                expected: format!("1 to {most}"),
                got: vec![clip_skip],
            });
        }
        let mut states = self.states(start, ids, placed, |_| {})?;
        let pooled = self.projection.as_ref().map(|projection| {
            let last = self.final_norm.forward(states[num_hidden_layers].clone());
            let end_states = ids.iter().enumerate().map(|(row, ids)| {
                // The end token has the highest id.
                let end = (0..ids.len()).rev().max_by_key(|&at| ids[at]).unwrap_or_default();
                last.clone().narrow(0, row, 1).narrow(1, end, 1)
            });
            let end_states = Tensor::cat(end_states.collect(), 0);
            projection.forward(end_states).flatten(1, 2)
        });
        let context = states.swap_remove(num_hidden_layers + 1 - skipped_layers - clip_skip);
        let context = match final_norm {
            true => self.final_norm.forward(context),
            false => context,
        };
        Ok(EncodedText { context, pooled })
    }

    /// All hidden states for token ids, one row of equal length for each text: `layers + 1` tensors `[batch, n, width]`, the embeddings,
    /// then the output of every layer, without the final norm.
    ///
    /// Vectors may be `placed` over the embeddings of some tokens (textual inversion, Gal et al. 2022, arXiv:2208.01618): for each row
    /// the first position and `[vectors, width]` values, row-major.
    ///
    /// # Errors
    /// [`Error::Shape`] if rows differ in length, are empty or longer than the position table, an id is outside the vocabulary, or
    /// vectors don't fit the width or the row.
    pub fn hidden_states(&self, ids: &[Vec<u32>], placed: &[Vec<(usize, &[f32])>]) -> Result<Vec<Tensor<3>>> {
        self.states(&TextStart::default(), ids, placed, |_| {})
    }

    /// The start of several texts, which begin with these token ids.
    ///
    /// # Errors
    /// [`Error::Shape`], as [`hidden_states`](Self::hidden_states).
    pub fn start(&self, ids: &[u32]) -> Result<TextStart> {
        let mut layers = Vec::with_capacity(self.layers.len());
        let rows = [ids.to_vec()];
        self.states(&TextStart::default(), &rows, &[], |keys_values| {
            layers.push(keys_values)
        })?;
        Ok(TextStart {
            tokens: ids.len(),
            layers,
        })
    }

    /// `keep` is given each layer's keys and values.
    fn states(
        &self,
        start: &TextStart,
        ids: &[Vec<u32>],
        placed: &[Vec<(usize, &[f32])>],
        mut keep: impl FnMut(KeysValues),
    ) -> Result<Vec<Tensor<3>>> {
        let vocabulary = self.config.vocab_size;
        let max = self.config.max_position_embeddings.saturating_sub(start.tokens);
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
        let texts = ids.len();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(flat, [texts, n]), options);
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
        let mut x = x + self.positions.first(start.tokens + n).narrow(1, start.tokens, n);
        let fits = |one: &Tensor<3>| one.dims() == [1, start.tokens, width] && one.dtype() == x.dtype();
        if start.tokens > 0
            && (start.layers.len() != self.layers.len() || !start.layers.iter().flatten().all(fits))
        {
            return Err(Error::Shape {
                name: "start",
                expected: format!(
                    "one of {} layers of width {width}, in this model's type",
                    self.layers.len()
                ),
                got: start.layers.iter().map(|[keys, _]| keys.dims()[2]).collect(),
            });
        }
        let mut hidden_states = Vec::with_capacity(self.layers.len() + 1);
        for (i, layer) in self.layers.iter().enumerate() {
            hidden_states.push(x.clone());
            let before = start.layers.get(i).cloned();
            let before = before.map(|both| both.map(|one| one.expand([texts, start.tokens, width])));
            let keys_values;
            (x, keys_values) = layer.forward_causal(x, before);
            keep(keys_values);
        }
        hidden_states.push(x);
        Ok(hidden_states)
    }
}
