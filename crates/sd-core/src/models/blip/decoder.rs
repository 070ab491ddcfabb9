//! BERT as a decoder (Devlin et al. 2019, arXiv:1810.04805) with cross-attention: layers that normalise last, and keys and values of what was
//! said before.

use burn_tensor::{DType, Int, Tensor, TensorData};
use sd_kernels::{Activation, LayerNorm, Linear};

use super::{
    super::nn::{Attention, Embedding, KeysValues, behind, layer_norm, linear},
    EncodedImage,
};
use crate::{
    Error, Result,
    config::BlipConfig,
    weights::{Params, Target},
};

pub(super) struct TextDecoder {
    target: Target,
    vocabulary: usize,
    longest: usize,
    pub first: u32,
    pub end: u32,
    words: Embedding,
    positions: Embedding,
    norm: LayerNorm,
    layers: Vec<Layer>,
    head: Linear,
    head_activation: Activation,
    head_norm: LayerNorm,
    scores: Linear,
}

struct Layer {
    attention: Attention,
    attention_norm: LayerNorm,
    cross: Attention,
    cross_norm: LayerNorm,
    inner: Linear,
    activation: Activation,
    outer: Linear,
    norm: LayerNorm,
}

/// Keys and values of the tokens so far, `[texts, n, width]` each, by layer.
#[derive(Clone, Default)]
pub(super) struct Cache(Vec<KeysValues>);

impl Cache {
    /// Those of these texts, in this order; a text may be there more than once.
    pub fn select(&mut self, texts: &[usize]) {
        for tensor in self.0.iter_mut().flatten() {
            let rows = texts.iter().map(|&text| tensor.clone().narrow(0, text, 1));
            *tensor = Tensor::cat(rows.collect(), 0);
        }
    }

    fn tokens(&self) -> usize {
        self.0.first().map_or(0, |[keys, _]| keys.dims()[1])
    }
}

impl TextDecoder {
    pub fn new(config: &BlipConfig, p: &Params, target: &Target) -> Self {
        let text = &config.text;
        let (width, eps) = (text.hidden_size, text.layer_norm_eps);
        let (embeddings, head) = (p.at("bert.embeddings"), p.at("cls.predictions"));
        let layer = |i: usize| Layer::new(config, &p.at(format_args!("bert.encoder.layer.{i}")));
        Self {
            target: target.clone(),
            vocabulary: text.vocab_size,
            longest: text.max_position_embeddings,
            first: text.bos_token_id,
            end: text.sep_token_id,
            words: Embedding::new(&embeddings.at("word_embeddings"), text.vocab_size, width),
            positions: Embedding::new(
                &embeddings.at("position_embeddings"),
                text.max_position_embeddings,
                width,
            ),
            norm: layer_norm(&embeddings.at("LayerNorm"), width, eps),
            layers: (0..text.num_hidden_layers).map(layer).collect(),
            head: linear(&head.at("transform.dense"), width, width),
            head_activation: text.hidden_act.kernel(),
            head_norm: layer_norm(&head.at("transform.LayerNorm"), width, eps),
            scores: linear(&head.at("decoder"), width, text.vocab_size),
        }
    }

    /// The keys and values that cross-attention has of what the vision model sees.
    pub fn look(&self, seen: Tensor<3>) -> Vec<KeysValues> {
        let of = |layer: &Layer| layer.cross.keys_values(seen.clone());
        self.layers.iter().map(of).collect()
    }

    /// Whether a text of these tokens can become so long.
    pub fn check(&self, ids: &[u32], longest: usize) -> Result<()> {
        let known = ids.iter().all(|&id| (id as usize) < self.vocabulary);
        match known && !ids.is_empty() && longest <= self.longest {
            true => Ok(()),
            false => Err(Error::Shape {
                name: "caption",
                expected: format!("1 to {} tokens of ids below {}", self.longest, self.vocabulary),
                got: vec![longest.max(ids.len())],
            }),
        }
    }

    /// The scores of the token that follows each text, `[texts, vocabulary]`, in `f32` on the host. `rows` are what comes behind what `cache`
    /// holds, of one length; they are added to it.
    pub fn next(&self, image: &EncodedImage, rows: &[Vec<u32>], cache: &mut Cache) -> Result<Vec<Vec<f32>>> {
        let (states, last) = (self.forward(image, rows, cache, |_| {}), rows[0].len() - 1);
        let scores = self.score(states.narrow(1, last, 1));
        let scores = scores.cast(DType::F32).try_into_vec_as::<f32>();
        let scores = scores.map_err(|_| Error::Device {
            name: self.target.device.name().to_owned(),
            reason: "it gives no results; try the CPU".into(),
        })?;
        Ok(scores
            .chunks_exact(self.vocabulary)
            .map(<[f32]>::to_vec)
            .collect())
    }

    pub fn states(&self, image: &EncodedImage, ids: &[u32]) -> Result<(Vec<Tensor<3>>, Tensor<2>)> {
        self.check(ids, ids.len())?;
        let mut states = Vec::new();
        let row = [ids.to_vec()];
        let last = self.forward(image, &row, &mut Cache::default(), |x| states.push(x.clone()));
        let scores = self.score(last.narrow(1, ids.len() - 1, 1));
        Ok((states, scores))
    }

    fn score(&self, last: Tensor<3>) -> Tensor<2> {
        let x = self.head.forward_then(last, self.head_activation);
        self.scores.forward(self.head_norm.forward(x)).flatten(1, 2)
    }

    fn forward(
        &self,
        image: &EncodedImage,
        rows: &[Vec<u32>],
        cache: &mut Cache,
        mut see: impl FnMut(&Tensor<3>),
    ) -> Tensor<3> {
        let (before, texts, n) = (cache.tokens(), rows.len(), rows[0].len());
        let flat: Vec<i32> = rows.iter().flatten().map(|&id| id as i32).collect();
        let options = (self.target.device.burn(), burn_tensor::DType::I32);
        let ids = Tensor::<2, Int>::from_data(TensorData::new(flat, [texts, n]), options);
        let positions = self.positions.first(before + n).narrow(1, before, n);
        let mut x = self.norm.forward(self.words.forward(ids) + positions);
        see(&x);
        for (i, (layer, seen)) in self.layers.iter().zip(&image.0).enumerate() {
            let own = layer.attention.keys_values(x.clone());
            let all = behind(cache.0.get(i).cloned(), own);
            match cache.0.get_mut(i) {
                Some(old) => old.clone_from(&all),
                None => cache.0.push(all.clone()),
            }
            x = layer.forward(x, all, seen.clone());
            see(&x);
        }
        x
    }
}

impl Layer {
    fn new(config: &BlipConfig, p: &Params) -> Self {
        let text = &config.text;
        let (width, eps) = (text.hidden_size, text.layer_norm_eps);
        let attention = |name: &str, context: usize| {
            let p = p.at(name);
            Attention {
                q: linear(&p.at("self.query"), width, width),
                k: linear(&p.at("self.key"), context, width),
                v: linear(&p.at("self.value"), context, width),
                out: linear(&p.at("output.dense"), width, width),
                heads: text.num_attention_heads,
            }
        };
        let norm = |name: &str| layer_norm(&p.at(name), width, eps);
        Self {
            attention: attention("attention", width),
            attention_norm: norm("attention.output.LayerNorm"),
            cross: attention("crossattention", config.vision.hidden_size),
            cross_norm: norm("crossattention.output.LayerNorm"),
            inner: linear(&p.at("intermediate.dense"), width, text.intermediate_size),
            activation: text.hidden_act.kernel(),
            outer: linear(&p.at("output.dense"), text.intermediate_size, width),
            norm: norm("output.LayerNorm"),
        }
    }

    fn forward(&self, x: Tensor<3>, keys_values: KeysValues, seen: KeysValues) -> Tensor<3> {
        let shape = x.dims();
        let [texts, n, width] = shape;
        let x = self.attention.forward_onto(x.clone(), x, Some(keys_values), true);
        let x = self.attention_norm.forward(x);
        // All texts look at one picture: their tokens are rows of one.
        let x = x.reshape([1, texts * n, width]);
        let x = self.cross.forward_onto(x.clone(), x, Some(seen), false);
        let x = self.cross_norm.forward(x);
        let inner = self.inner.forward_then(x.clone(), self.activation);
        let x = self.norm.forward(self.outer.forward_onto(inner, x));
        x.reshape(shape)
    }
}
