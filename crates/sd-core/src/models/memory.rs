//! The memory that a run of a network takes on the CPU, by its configuration: the bytes that are in use at once where it takes the
//! most. These are the kernels' inputs, results and what they need meanwhile; the weights are not among them.

use sd_kernels::{Quantization, conv_workspace_bytes};

use super::vae::CPU_BAND;
use crate::{
    Dtype,
    config::{BlockKind, UnetBlock, UnetConfig, VaeConfig, Way},
};

/// Copies of a transformer's input that are in use at once, in its attention: the input that the result is added to, the normalised one,
/// queries, keys, values, attention's result, and a copy of keys and values for the kernel.
const ATTENTION: usize = 9;

/// Pictures of one size and type.
#[derive(Clone, Copy)]
pub(super) struct Size {
    dtype: Dtype,
    quantization: Quantization,
    /// `[batch, h, w]`.
    pub shape: [usize; 3],
}

impl Size {
    pub fn new(dtype: Dtype, quantization: Quantization, shape: [usize; 3]) -> Self {
        Self {
            dtype,
            quantization,
            shape,
        }
    }

    /// Pictures of another size.
    pub fn sized(self, shape: [usize; 3]) -> Self {
        Self { shape, ..self }
    }

    /// Bytes of so many channels.
    pub fn of(self, channels: usize) -> usize {
        self.shape.iter().product::<usize>() * channels * self.dtype.size()
    }

    /// Bytes that a convolution to this size needs meanwhile.
    pub fn conv(self, input: usize, output: usize) -> usize {
        conv_workspace_bytes(self.dtype.burn(), self.quantization, self.shape, input, output)
    }

    /// A residual block: first its input, the normalised input, and the first convolution's result; then the skip that is added, the values
    /// normalised a second time, and the result.
    fn resnet(self, input: usize, output: usize) -> usize {
        let first = self.of(2 * input + output) + self.conv(input, output);
        first.max(self.of(3 * output) + self.conv(output, output))
    }

    fn transformer(self, depth: usize, channels: usize) -> usize {
        if depth > 0 {
            self.of(ATTENTION * channels)
        } else {
            0
        }
    }
}

/// Keys and values of texts of one chunk, for all cross-attention.
fn texts(blocks: &[UnetBlock], dtype: Dtype, batch: usize) -> usize {
    const TOKENS: usize = 77;
    let channels = blocks.iter().map(|block| depth(block) * block.output);
    2 * batch * TOKENS * channels.sum::<usize>() * dtype.size()
}

fn depth(block: &UnetBlock) -> usize {
    block.transformer.as_ref().map_or(0, |it| it.depth)
}

/// Bytes that a U-Net has in use at once for latents `[batch, in_channels, h, w]`.
pub fn unet_bytes(
    config: &UnetConfig,
    dtype: Dtype,
    quantization: Quantization,
    batch: usize,
    [h, w]: [usize; 2],
) -> usize {
    let size = |i: usize| {
        Size::new(
            dtype,
            quantization,
            [batch, h.div_ceil(1 << i), w.div_ceil(1 << i)],
        )
    };
    let blocks = config.blocks();
    // The skips, and what serves all blocks.
    let mut live = size(0).of(config.levels[0].channels) + texts(&blocks, dtype, batch);
    let mut most = 0;
    for block in blocks {
        let here = size(block.level);
        let (input, output) = (block.input, block.output);
        live -= here.of(block.skip);
        let (room, after) = match block.kind {
            BlockKind::Residual => {
                let resnet = here.resnet(input + block.skip, output);
                // On the way down the input is a skip, which is in memory already.
                let skip = if block.way == Way::Down { here.of(input) } else { 0 };
                let room = (resnet - skip).max(here.transformer(depth(&block), output));
                (room, here)
            }
            BlockKind::Downsample => {
                let small = size(block.level + 1);
                (here.of(input) + small.of(output), small)
            }
            BlockKind::Upsample => {
                let large = size(block.level - 1);
                let room = here.of(input) + large.of(output) + large.conv(input, output);
                (room, large)
            }
        };
        most = most.max(live + room);
        if block.way == Way::Down {
            live += after.of(output);
        }
    }
    most
}

/// Bytes of the deep features (DeepCache) of a branch that calls on latents `[batch, in_channels, h, w]` hand on.
pub fn deep_feature_bytes(
    config: &UnetConfig,
    dtype: Dtype,
    batch: usize,
    branch: usize,
    [h, w]: [usize; 2],
) -> usize {
    let blocks = config.blocks().into_iter().rev();
    let mut residual = blocks.filter(|block| block.kind == BlockKind::Residual);
    residual.nth(branch).map_or(0, |block| {
        let sides = [h, w].map(|side| side.div_ceil(1 << block.level));
        batch * sides[0] * sides[1] * block.input * dtype.size()
    })
}

/// A picture that an autoencoder goes through in bands.
#[derive(Clone, Copy)]
struct Banded(Size);

impl Banded {
    fn band(self) -> Size {
        let [_, h, w] = self.0.shape;
        self.0.sized([1, h.min((CPU_BAND / w / 8 * 8).max(8)), w])
    }

    /// A band's inputs, with the rows around it, and the workspace of its convolution.
    fn from(self, input: usize, output: usize) -> usize {
        let band = self.band();
        let [_, h, w] = band.shape;
        band.sized([1, h + 2, w]).of(input) + band.conv(input, output)
    }

    fn resnet(self, input: usize, output: usize) -> usize {
        let first = self.0.of(input + output) + self.from(input, output);
        // It lets go of its input, and of the shortcut, as it goes.
        let second = self.0.of(2 * output) + self.band().of(output) + self.from(output, output);
        first.max(second)
    }
}

/// The middle of an autoencoder, which sees latents of `h` by `w`.
fn middle(config: &VaeConfig, small: Size) -> usize {
    let channels = config.block_out_channels.last().copied().unwrap_or_default();
    small
        .resnet(channels, channels)
        .max(small.of(ATTENTION * channels))
}

/// Bytes of the [`FirstBlock`](super::FirstBlock) that calls on latents `[batch, in_channels, h, w]` leave to later ones.
pub fn first_block_bytes(config: &UnetConfig, dtype: Dtype, batch: usize, [h, w]: [usize; 2]) -> usize {
    let prediction = config.out_channels * size_of::<f32>();
    batch * h * w * (config.levels[0].channels * dtype.size() + prediction)
}

/// Bytes that an autoencoder has in use at once when it decodes one latent of `h` by `w`.
pub fn decoder_bytes(config: &VaeConfig, dtype: Dtype, [h, w]: [usize; 2]) -> usize {
    let widths = &config.block_out_channels;
    let mut channels = widths[widths.len() - 1];
    let small = Size::new(dtype, Quantization::None, [1, h, w]);
    let mut most = middle(config, small);
    for (i, &width) in widths.iter().rev().enumerate() {
        let whole = Banded(small.sized([1, h << i, w << i]));
        for _ in 0..=config.layers_per_block {
            most = most.max(whole.resnet(channels, width));
            channels = width;
        }
        if i + 1 < widths.len() {
            let large = Banded(small.sized([1, h << (i + 1), w << (i + 1)]));
            let both = whole.0.of(channels) + large.0.of(channels);
            most = most.max(both + large.from(channels, channels));
        }
    }
    most
}

/// Bytes that it has in use at once when it encodes one picture to a latent of `h` by `w`. Halving a picture takes less than the residual
/// blocks before it.
pub fn encoder_bytes(config: &VaeConfig, dtype: Dtype, [h, w]: [usize; 2]) -> usize {
    let widths = &config.block_out_channels;
    let small = Size::new(dtype, Quantization::None, [1, h, w]);
    let mut most = middle(config, small);
    let mut channels = widths[0];
    for (i, &width) in widths.iter().enumerate() {
        let times = widths.len() - 1 - i;
        let whole = Banded(small.sized([1, h << times, w << times]));
        for _ in 0..config.layers_per_block {
            most = most.max(whole.resnet(channels, width));
            channels = width;
        }
    }
    most
}
