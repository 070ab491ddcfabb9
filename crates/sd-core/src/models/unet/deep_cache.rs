//! Deep features change slowly from step to step, so they can serve for some: DeepCache (Ma et al. 2023, arXiv:2312.00858).

use burn_tensor::Tensor;

use super::{
    FirstBlock, UNet, UnetInput,
    block::{Block, down, last, middle, up},
    shape_error,
};
use crate::{Result, config::BlockKind};

/// The use of deep features in one evaluation.
// There is one of them for a call.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, Default)]
pub enum DeepCache {
    /// None: the whole network is computed.
    #[default]
    Off,
    /// The whole network is computed, and the features that the residual block on the way up at the end of `branch` gets from below are
    /// kept. Branch 0 begins at the first convolution, and is the paper's choice; later ones are deeper, [`UNet::branches`] in all.
    Keep {
        /// The number of the branch.
        branch: usize,
    },
    /// The branch and the layers outside of it are computed, on features that another evaluation kept.
    Reuse(DeepFeatures),
}

/// The features that a residual block on the way up got from below.
#[derive(Debug, Clone)]
pub struct DeepFeatures {
    branch: usize,
    /// `[batch, h, w, c]`.
    x: Tensor<4>,
}

impl DeepFeatures {
    /// Features as they were taken apart: the branch, and `[batch, h, w, c]`.
    pub fn new(branch: usize, x: Tensor<4>) -> Self {
        Self { branch, x }
    }

    /// The branch, and the features themselves, `[batch, h, w, c]`.
    pub fn parts(&self) -> (usize, &Tensor<4>) {
        (self.branch, &self.x)
    }

    /// Each row of the batch by itself.
    pub fn split(&self) -> Vec<Self> {
        let row = |i| Self {
            branch: self.branch,
            x: self.x.clone().narrow(0, i, 1),
        };
        (0..self.x.dims()[0]).map(row).collect()
    }

    /// Rows as one batch; `None` if there are none, or they are of different branches or sizes.
    pub fn join(rows: &[Self]) -> Option<Self> {
        let first = rows.first()?;
        let same = |row: &Self| row.branch == first.branch && row.x.dims()[1..] == first.x.dims()[1..];
        rows.iter().all(same).then(|| Self {
            branch: first.branch,
            x: Tensor::cat(rows.iter().map(|row| row.x.clone()).collect(), 0),
        })
    }
}

/// The output of one evaluation.
#[derive(Debug, Clone)]
pub struct UnetOutput {
    /// The prediction, `[batch, out_channels, h, w]` in `f32`.
    pub prediction: Tensor<4>,
    /// The deep features, where they were to be kept.
    pub deep: Option<DeepFeatures>,
    /// What [`UNet::forward_if_changed`] leaves to later evaluations.
    pub first_block: Option<FirstBlock>,
    /// For each pixel of the middle the sum of what all pixels' attention gives it in the middle's first self-attention, on the mean of the
    /// heads: `[batch, h, w]` in `f32`. There where it was asked for, the network has such a layer, and the middle was computed.
    pub received: Option<Tensor<3>>,
}

impl UNet {
    /// [`forward`](Self::forward) that keeps deep features, or reuses them.
    ///
    /// # Errors
    /// As [`forward`](Self::forward), and if the network has no such branch, or features are of another size or branch.
    pub fn forward_cached(&self, input: &UnetInput, cache: &DeepCache) -> Result<UnetOutput> {
        match cache {
            DeepCache::Off => self.whole(input),
            DeepCache::Keep { branch } => self.keep(input, *branch),
            DeepCache::Reuse(features) => self.reuse(input, features),
        }
    }

    /// The number of residual blocks on the way up, each with a branch to it from the way down: the outermost is branch 0.
    pub fn branches(&self) -> usize {
        self.up
            .iter()
            .filter(|block| matches!(block, Block::Residual(_)))
            .count()
    }

    /// The blocks of the way up, split before the one at the end of a branch.
    fn split(&self, branch: usize) -> Result<(&[Block], &[Block])> {
        let residuals = self
            .up
            .iter()
            .enumerate()
            .filter(|(_, block)| matches!(block, Block::Residual(_)));
        match residuals.rev().nth(branch) {
            Some((at, _)) => Ok(self.up.split_at(at)),
            None => {
                let expected = format!("0 to {} for this network", self.branches() - 1);
                shape_error("branch", expected, &[branch])
            }
        }
    }

    fn keep(&self, input: &UnetInput, branch: usize) -> Result<UnetOutput> {
        let (inner, outer) = self.split(branch)?;
        let (x, conditions) = self.encoder.enter(input, &self.up)?;
        let mut skips = down(&self.encoder.down, vec![x], &conditions);
        let (x, received) = middle(&self.encoder.middle, last(&skips), &conditions);
        input.control_skips(&mut skips)?;
        let x = input.control_middle(x)?;
        let x = up(inner, x, &mut skips, &conditions);
        let deep = DeepFeatures { branch, x: x.clone() };
        let x = up(outer, x, &mut skips, &conditions);
        Ok(UnetOutput {
            prediction: self.leave(x, input),
            deep: Some(deep),
            first_block: None,
            received,
        })
    }

    fn reuse(&self, input: &UnetInput, DeepFeatures { branch, x }: &DeepFeatures) -> Result<UnetOutput> {
        let (_, outer) = self.split(*branch)?;
        let (first, conditions) = self.encoder.enter(input, &self.up)?;
        let mut skips = down(&self.encoder.down[..*branch], vec![first], &conditions);
        let blocks = self.encoder.config.blocks().into_iter().rev();
        let mut residual = blocks.filter(|block| block.kind == BlockKind::Residual);
        let below = residual.nth(*branch).map_or(0, |block| block.input);
        let [_, h, w, _] = last(&skips).dims();
        let expected = [input.batch(), h, w, below];
        if x.dims() != expected {
            return shape_error("deep features", format!("{expected:?}"), &x.dims());
        }
        input.control_skips(&mut skips)?;
        let x = up(outer, x.clone(), &mut skips, &conditions);
        Ok(UnetOutput {
            prediction: self.leave(x, input),
            deep: None,
            first_block: None,
            received: None,
        })
    }
}
