//! The blocks of a U-Net, one after another.

use super::{UnetConfig, UnetLevel};

/// A block of a U-Net: a residual block with the transformer behind it, or a change of resolution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnetBlock {
    /// The canonical name of the residual block ("down_blocks.0.resnets.1"), or of the convolution that changes the resolution.
    pub path: String,
    /// The part of the network that it belongs to.
    pub way: Way,
    /// Its operation.
    pub kind: BlockKind,
    /// Its resolution, before a change: both sides of the latents are halved so often.
    pub level: usize,
    /// Channels that the block before hands on.
    pub input: usize,
    /// Channels of the skip that is put behind those; 0 but for residual blocks on the way up.
    pub skip: usize,
    /// Channels that it hands on.
    pub output: usize,
    /// The transformer behind a residual block.
    pub transformer: Option<UnetTransformer>,
}

/// A transformer behind a residual block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnetTransformer {
    /// Its canonical name ("down_blocks.0.attentions.1").
    pub path: String,
    /// Its place among all transformers of the network.
    pub place: usize,
    /// Transformer blocks.
    pub depth: usize,
    /// Attention heads of each.
    pub heads: usize,
}

/// The three parts of a U-Net.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the latents to the smallest resolution; each block, and the first convolution, leaves a skip.
    Down,
    /// At the smallest resolution.
    Middle,
    /// Back to the latents' resolution; each residual block takes the last skip that is left.
    Up,
}

/// The operation of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockKind {
    /// A residual block, and the transformer behind it if there is one.
    Residual,
    /// A convolution that halves both sides.
    Downsample,
    /// A convolution behind a doubling of both sides.
    Upsample,
}

impl UnetConfig {
    /// All blocks between the first and the last convolution, in the order in which the latents go through them. Constructor, names,
    /// memory plan and evaluation all follow it.
    pub fn blocks(&self) -> Vec<UnetBlock> {
        let last = self.levels.len() - 1;
        let mut walk = Walk {
            blocks: Vec::new(),
            channels: self.levels[0].channels,
            transformers: 0,
        };
        let mut skips = vec![walk.channels];
        for (i, level) in self.levels.iter().enumerate() {
            let parent = (Way::Down, format!("down_blocks.{i}"));
            for j in 0..self.layers_per_block {
                walk.residual(&parent, j, (i, *level), 0);
                skips.push(walk.channels);
            }
            if i < last {
                walk.resample(&parent, "downsamplers", (i, BlockKind::Downsample));
                skips.push(walk.channels);
            }
        }
        if let Some(middle) = self.middle {
            let parent = (Way::Middle, "mid_block".to_owned());
            for (j, transformer_depth) in [middle.transformer_depth, 0].into_iter().enumerate() {
                let level = UnetLevel {
                    channels: walk.channels,
                    transformer_depth,
                    heads: middle.heads,
                };
                walk.residual(&parent, j, (last, level), 0);
            }
        }
        for (i, level) in self.levels.iter().enumerate().rev() {
            let parent = (Way::Up, format!("up_blocks.{}", last - i));
            for j in 0..=self.layers_per_block {
                let skip = skips
                    .pop()
                    .expect("one skip for each residual block on the way up");
                walk.residual(&parent, j, (i, *level), skip);
            }
            if i > 0 {
                walk.resample(&parent, "upsamplers", (i, BlockKind::Upsample));
            }
        }
        walk.blocks
    }
}

struct Walk {
    blocks: Vec<UnetBlock>,
    /// Channels that the last block handed on.
    channels: usize,
    transformers: usize,
}

impl Walk {
    fn residual(
        &mut self,
        (way, parent): &(Way, String),
        j: usize,
        (i, level): (usize, UnetLevel),
        skip: usize,
    ) {
        let transformer = (level.transformer_depth > 0).then(|| UnetTransformer {
            path: format!("{parent}.attentions.{j}"),
            place: self.transformers,
            depth: level.transformer_depth,
            heads: level.heads,
        });
        self.transformers += usize::from(transformer.is_some());
        self.blocks.push(UnetBlock {
            path: format!("{parent}.resnets.{j}"),
            way: *way,
            kind: BlockKind::Residual,
            level: i,
            input: self.channels,
            skip,
            output: level.channels,
            transformer,
        });
        self.channels = level.channels;
    }

    fn resample(&mut self, (way, parent): &(Way, String), name: &str, (level, kind): (usize, BlockKind)) {
        self.blocks.push(UnetBlock {
            path: format!("{parent}.{name}.0.conv"),
            way: *way,
            kind,
            level,
            input: self.channels,
            skip: 0,
            output: self.channels,
            transformer: None,
        });
    }
}
