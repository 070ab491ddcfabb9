//! The configuration of a U-Net that comes without one, read off the names and shapes of its tensors: the blocks of each level, the depth
//! of the transformers behind them, and the middle.
//!
//! Neither shows how many heads an attention has: SD1's have 8, all others heads of 64 channels.

use std::collections::HashMap;

use serde_json::Value;

use super::structure::Tensors;
use crate::{
    config::{Family, Fields, UnetConfig, UnetLevel, UnetMiddle, sd1_unet},
    weights::names::UNET_PREFIX,
};

/// The shapes of tensors by name, without the U-Net's prefix.
pub(super) struct Shapes<'a>(HashMap<&'a str, &'a [usize]>);

/// Residual blocks: the channels of each, and the depth of the transformer behind it, or 0.
type Blocks = Vec<(usize, usize)>;

/// The blocks of each level, in the order in which latents go through them, and the middle's transformer, if there is a middle.
struct Ways {
    down: Vec<Blocks>,
    middle: Option<usize>,
    up: Vec<Blocks>,
}

/// The configuration of the U-Net of a family among these tensors; `None` if it isn't whole.
pub(super) fn unet_config(all: &Tensors, family: Family) -> Option<UnetConfig> {
    let names = all.names();
    let prefix = match all.has_prefix(UNET_PREFIX) {
        true => UNET_PREFIX,
        false => "",
    };
    let shapes = names.filter_map(|name| Some((name.strip_prefix(prefix)?, all.shape(name)?)));
    Shapes(shapes.collect()).config(family)
}

impl Shapes<'_> {
    fn config(&self, family: Family) -> Option<UnetConfig> {
        let depths = self.depths();
        let depth = |path: &str| depths.get(path).copied().unwrap_or(0);
        let (ways, ends) = match self.get("input_blocks.0.0.weight") {
            Some(first) => (self.ldm(&depth), [Some(first), self.get("out.2.weight")]),
            None => {
                let ends = ["conv_in.weight", "conv_out.weight"];
                (self.diffusers(&depth), ends.map(|name| self.get(name)))
            }
        };
        let [Some([_, in_channels, ..]), Some([out_channels, ..])] = ends else {
            return None;
        };
        let base = family.base();
        let heads = |channels: usize| match base {
            Family::Sd1 => 8,
            _ => channels / 64,
        };
        let ends_with = |leaf: &str| self.0.iter().filter(|(name, _)| name.ends_with(leaf)).min();
        let (_, keys) = ends_with("attn2.to_k.weight")?;
        let width = |names: [&str; 2]| names.iter().find_map(|name| self.get(name)?.get(1).copied());
        let config = UnetConfig {
            out_channels: *out_channels,
            levels: ways.levels(heads)?,
            middle: match (ways.middle, ways.down.last()?.first()?) {
                (None, _) => None,
                (Some(0), _) => Some(UnetMiddle::Residual),
                (Some(depth), (channels, _)) => Some(UnetMiddle::Transformer {
                    depth,
                    heads: heads(*channels),
                }),
            },
            cross_attention_dim: *keys.get(1)?,
            use_linear_projection: ends_with("proj_in.weight")?.1.len() == 2,
            sample_size: match base {
                Family::Sdxl | Family::SdxlRefiner => 128,
                _ => 64,
            },
            added_width: width(["label_emb.0.0.weight", "add_embedding.linear_1.weight"]),
            time_cond_proj_dim: width(["time_embed.cond_proj.weight", "time_embedding.cond_proj.weight"]),
            ..sd1_unet(*in_channels)
        };
        // One that diffusers can't describe, or that is beyond all bounds, is none.
        let json = Value::Object(config.to_json(None)).to_string();
        let read = UnetConfig::from_json(&json, "").ok()?;
        (read == config).then_some(config)
    }

    fn get(&self, name: &str) -> Option<&[usize]> {
        self.0.get(name).copied()
    }

    /// The number of transformer blocks below each path that has any.
    fn depths(&self) -> HashMap<&str, usize> {
        let mut depths = HashMap::new();
        for name in self.0.keys() {
            let Some((path, inner)) = name.split_once(".transformer_blocks.") else {
                continue;
            };
            let number = inner.split('.').next().and_then(|number| number.parse().ok());
            let depth = number.map_or(0, |last: usize| last.saturating_add(1));
            let entry = depths.entry(path).or_insert(0);
            *entry = depth.max(*entry);
        }
        depths
    }

    /// The channels that a convolution gives.
    fn channels(&self, path: &str) -> Option<usize> {
        self.get(&format!("{path}.weight"))?.first().copied()
    }

    fn has(&self, path: &str) -> bool {
        self.channels(path).is_some()
    }

    /// The numbers of groups below a name, as far as they may go.
    fn groups(&self, way: &str) -> impl Iterator<Item = String> {
        const MOST: usize = 200;
        let number = |name: &&str| {
            name.strip_prefix(way)?
                .strip_prefix('.')?
                .split('.')
                .next()?
                .parse()
                .ok()
        };
        let last = self.0.keys().filter_map(number).max().unwrap_or(0);
        let way = way.to_owned();
        (0..=last.min(MOST)).map(move |n| format!("{way}.{n}"))
    }

    /// Under LDM's names, where the groups of a way are numbered through, or with gaps (`names/table.rs`).
    fn ldm(&self, depth: &dyn Fn(&str) -> usize) -> Ways {
        let (mut down, mut up) = (vec![Blocks::new()], vec![Blocks::new()]);
        for group in self.groups("input_blocks").skip(1) {
            match self.channels(&format!("{group}.0.in_layers.2")) {
                Some(channels) => {
                    let level = down.last_mut().expect("one at least");
                    level.push((channels, depth(&format!("{group}.1"))));
                }
                None if self.has(&format!("{group}.0.op")) => down.push(Blocks::new()),
                None => {}
            }
        }
        for group in self.groups("output_blocks") {
            if let Some(channels) = self.channels(&format!("{group}.0.in_layers.2")) {
                let depth = depth(&format!("{group}.1"));
                up.last_mut().expect("one at least").push((channels, depth));
            }
            // An upsampler stands behind what its group has, or alone.
            if (1..=2).any(|member| self.has(&format!("{group}.{member}.conv"))) {
                up.push(Blocks::new());
            }
        }
        let middle = self.has("middle_block.0.in_layers.2");
        Ways {
            down,
            middle: middle.then(|| depth("middle_block.1")),
            up,
        }
    }

    /// Under diffusers' names.
    fn diffusers(&self, depth: &dyn Fn(&str) -> usize) -> Ways {
        let level = |parent: &str| -> Blocks {
            let blocks = (0..).map_while(|j| {
                let channels = self.channels(&format!("{parent}.resnets.{j}.conv1"))?;
                Some((channels, depth(&format!("{parent}.attentions.{j}"))))
            });
            blocks.collect()
        };
        let way = |name: &str| -> Vec<Blocks> {
            let levels = (0..).map(|i| level(&format!("{name}.{i}")));
            levels.take_while(|blocks| !blocks.is_empty()).collect()
        };
        let middle = self.has("mid_block.resnets.0.conv1");
        Ways {
            down: way("down_blocks"),
            middle: middle.then(|| depth("mid_block.attentions.0")),
            up: way("up_blocks"),
        }
    }
}

impl Ways {
    /// The levels, if the ways mirror each other.
    fn levels(&self, heads: impl Fn(usize) -> usize) -> Option<Vec<UnetLevel>> {
        let (down, up) = (self.down.iter(), self.up.iter().rev());
        let levels = down.zip(up).map(|(down, up)| {
            let (channels, _) = *down.first()?;
            let wide = |blocks: &Blocks| blocks.iter().all(|block| block.0 == channels);
            let fits = up.len() == down.len() + 1 && wide(down) && wide(up);
            fits.then(|| UnetLevel {
                channels,
                heads: heads(channels),
                down: down.iter().map(|block| block.1).collect(),
                up: up.iter().map(|block| block.1).collect(),
            })
        });
        let levels = levels.collect::<Option<Vec<_>>>()?;
        (self.down.len() == self.up.len()).then_some(levels)
    }
}

#[cfg(test)]
mod tests;
