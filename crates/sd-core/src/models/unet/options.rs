//! What a call of the U-Net may take over from others, and what it may leave out.

use burn_tensor::Tensor;

/// What cross-attention has to know of a context: keys and values, for every block that looks at it. They don't depend on the
/// timestep. Made by [`UNet::remember`](super::UNet::remember).
#[derive(Debug, Clone)]
pub struct TextMemory {
    pub(crate) rows: usize,
    /// By the place of the transformer, for each of its blocks.
    pub(crate) layers: Vec<Vec<[Tensor<3>; 2]>>,
}

impl TextMemory {
    /// How much memory it holds.
    pub fn bytes(&self) -> usize {
        let tensors = self.layers.iter().flatten().flatten();
        tensors
            .map(|t| t.dims().iter().product::<usize>() * t.dtype().size())
            .sum()
    }
}

/// How a call of the U-Net is made cheaper. The default leaves nothing out.
#[derive(Debug, Clone, Default)]
pub struct UnetOptions {
    /// The share of the pixels, 0 to 1, that are merged with others where they look at each other, at the resolution of the latents:
    /// [`TokenMerging`](sd_kernels::TokenMerging).
    pub token_merging: f64,
    /// What happens to deep features.
    pub deep: Deep,
}

/// Deep features change slowly from step to step, so they can be kept for some: DeepCache (Ma et al. 2023, arXiv:2312.00858).
// There is one of them for a call.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, Default)]
pub enum Deep {
    /// The whole network is computed.
    #[default]
    Whole,
    /// The same, and what the layer on the way up that `branch` leads to gets from below is kept. Branch 0 comes from the first
    /// convolution, and is the paper's choice; later ones are deeper, [`UNet::branches`](super::UNet::branches) in all.
    Keep {
        /// Which branch.
        branch: usize,
    },
    /// Only the branch and what is outside of it is computed, on features that another call kept.
    Reuse(DeepFeatures),
}

/// What a layer on the way up got from below.
#[derive(Debug, Clone)]
pub struct DeepFeatures {
    pub(crate) branch: usize,
    /// `[batch, h, w, c]`.
    pub(crate) x: Tensor<4>,
}

impl DeepFeatures {
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

/// What a call of the U-Net gives.
#[derive(Debug, Clone)]
pub struct UnetCall {
    /// The prediction, `[batch, out_channels, h, w]` in `f32`.
    pub prediction: Tensor<4>,
    /// What was kept, if that was asked for.
    pub deep: Option<DeepFeatures>,
}
