//! Self-attention that is made worse in some layers, for guidance away from what it gives: perturbed attention guidance (Ahn et al. 2024,
//! arXiv:2403.17377) and smoothed energy guidance (Hong 2024, arXiv:2408.00760).

use std::collections::BTreeSet;

use crate::config::UnetConfig;

/// What self-attention does in place of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Perturbation {
    /// Each pixel sees itself alone.
    Identity,
    /// The queries are blurred over the picture.
    BlurredQueries {
        /// The deviation of the Gaussian in pixels of the layer; infinite is the mean of all.
        sigma: f64,
    },
}

/// Self-attention layers of a U-Net.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SelfAttentionLayers(
    /// The place of the transformer, and which of its blocks.
    BTreeSet<(usize, usize)>,
);

impl SelfAttentionLayers {
    /// The layers whose canonical names begin with one of `names`, which are separated by commas or spaces: "mid_block",
    /// "down_blocks.1", "up_blocks.1.attentions.0.transformer_blocks.0". "mid", "down" and "up" are whole ways.
    ///
    /// # Errors
    /// The names that stand for no layer.
    pub fn named(names: &str, config: &UnetConfig) -> Result<Self, Vec<String>> {
        let all = self_attention(config);
        let (mut layers, mut unknown) = (BTreeSet::new(), Vec::new());
        let names = names.split([',', ' ']).map(str::trim);
        for name in names.filter(|name| !name.is_empty()) {
            let prefix = match name {
                "mid" => "mid_block",
                "down" => "down_blocks",
                "up" => "up_blocks",
                name => name,
            };
            let within = |path: &str| {
                let rest = path.strip_prefix(prefix);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            let found: Vec<_> = all.iter().filter(|(path, _)| within(path)).collect();
            if found.is_empty() {
                unknown.push(name.to_owned());
            }
            layers.extend(found.into_iter().map(|(_, layer)| *layer));
        }
        match unknown.is_empty() {
            true => Ok(Self(layers)),
            false => Err(unknown),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a block of a transformer is among them.
    pub(super) fn contains(&self, place: usize, block: usize) -> bool {
        self.0.contains(&(place, block))
    }
}

/// All self-attention layers of a U-Net: the canonical name, the place of the transformer, and which of its blocks.
fn self_attention(config: &UnetConfig) -> Vec<(String, (usize, usize))> {
    let transformers = config.blocks().into_iter().filter_map(|block| block.transformer);
    let layers = transformers.flat_map(|transformer| {
        (0..transformer.depth).map(move |block| {
            let path = format!("{}.transformer_blocks.{block}.attn1", transformer.path);
            (path, (transformer.place, block))
        })
    });
    layers.collect()
}
