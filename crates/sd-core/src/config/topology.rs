//! The blocks of a U-Net, one after another.

use super::{UnetConfig, UnetMiddle};

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
            for (j, &depth) in level.down.iter().enumerate() {
                walk.residual(&parent, j, (i, level.channels, 0), (depth, level.heads));
                skips.push(walk.channels);
            }
            if i < last {
                walk.resample(&parent, "downsamplers", (i, BlockKind::Downsample));
                skips.push(walk.channels);
            }
        }
        let middle = match self.middle {
            None => vec![],
            Some(UnetMiddle::Residual) => vec![(0, 1)],
            Some(UnetMiddle::Transformer { depth, heads }) => vec![(depth, heads), (0, 1)],
        };
        for (j, transformer) in middle.into_iter().enumerate() {
            let parent = (Way::Middle, "mid_block".to_owned());
            walk.residual(&parent, j, (last, walk.channels, 0), transformer);
        }
        for (i, level) in self.levels.iter().enumerate().rev() {
            let parent = (Way::Up, format!("up_blocks.{}", last - i));
            for (j, &depth) in level.up.iter().enumerate() {
                let skip = skips
                    .pop()
                    .expect("one skip for each residual block on the way up");
                walk.residual(&parent, j, (i, level.channels, skip), (depth, level.heads));
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
    /// A residual block at a level, of so many channels, that takes a skip of so many; with the depth and heads of its transformer.
    fn residual(
        &mut self,
        (way, parent): &(Way, String),
        j: usize,
        (level, output, skip): (usize, usize, usize),
        (depth, heads): (usize, usize),
    ) {
        let transformer = (depth > 0).then(|| UnetTransformer {
            path: format!("{parent}.attentions.{j}"),
            place: self.transformers,
            depth,
            heads,
        });
        self.transformers += usize::from(transformer.is_some());
        self.blocks.push(UnetBlock {
            path: format!("{parent}.resnets.{j}"),
            way: *way,
            kind: BlockKind::Residual,
            level,
            input: self.channels,
            skip,
            output,
            transformer,
        });
        self.channels = output;
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
