//! How much memory a run of a network takes on the CPU, by its configuration: the bytes that are in use at once where it takes the
//! most. These are the kernels' inputs, results and what they need meanwhile; the weights are not among them.

use sd_kernels::{Quantization, conv_workspace_bytes};

use super::vae::CPU_BAND;
use crate::{
    Dtype,
    config::{UnetConfig, VaeConfig},
};

/// Copies of a transformer's input that are in use at once, in its attention: what goes in and is added to, normalised, queries, keys,
/// values, what was seen, and a copy of keys and values for the kernel.
const ATTENTION: usize = 9;

/// Pictures of one size and type.
#[derive(Clone, Copy)]
struct Size {
    dtype: Dtype,
    quantization: Quantization,
    /// `[batch, h, w]`.
    shape: [usize; 3],
}

impl Size {
    fn new(dtype: Dtype, quantization: Quantization, shape: [usize; 3]) -> Self {
        Self {
            dtype,
            quantization,
            shape,
        }
    }

    /// Pictures of another size.
    fn sized(self, shape: [usize; 3]) -> Self {
        Self { shape, ..self }
    }

    /// Bytes of so many channels.
    fn of(self, channels: usize) -> usize {
        self.shape.iter().product::<usize>() * channels * self.dtype.size()
    }

    /// What a convolution to this size needs meanwhile.
    fn conv(self, input: usize, output: usize) -> usize {
        conv_workspace_bytes(self.dtype.burn(), self.quantization, self.shape, input, output)
    }

    /// A residual block: first its input, that normalised, and what comes of it; then what was kept to be added, a second time the
    /// normalised values, and the result.
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
fn texts(config: &UnetConfig, dtype: Dtype, batch: usize) -> usize {
    const TOKENS: usize = 77;
    let levels = config.levels.iter();
    let blocks = 2 * config.layers_per_block + 1;
    let levels = levels.map(|level| blocks * level.transformer_depth * level.channels);
    let last = config.levels.last().map_or(0, |level| level.channels);
    let middle = config.middle.map_or(0, |middle| middle.transformer_depth);
    let channels = levels.sum::<usize>() + middle * last;
    2 * batch * TOKENS * channels * dtype.size()
}

/// Bytes that a U-Net has in use at once for latents `[batch, in_channels, h, w]`.
pub fn unet_bytes(
    config: &UnetConfig,
    dtype: Dtype,
    quantization: Quantization,
    batch: usize,
    [h, w]: [usize; 2],
) -> usize {
    let levels = &config.levels;
    let size = |i: usize| {
        Size::new(
            dtype,
            quantization,
            [batch, h.div_ceil(1 << i), w.div_ceil(1 << i)],
        )
    };
    let mut channels = levels[0].channels;
    // Each with its level.
    let mut skips = vec![(0, channels)];
    let mut held = size(0).of(channels) + texts(config, dtype, batch);
    let mut most = 0;
    for (i, level) in levels.iter().enumerate() {
        for _ in 0..config.layers_per_block {
            // The input is held already, for the way up.
            let resnet = size(i).resnet(channels, level.channels) - size(i).of(channels);
            let layer = resnet.max(size(i).transformer(level.transformer_depth, level.channels));
            most = most.max(held + layer);
            channels = level.channels;
            skips.push((i, channels));
            held += size(i).of(channels);
        }
        if i + 1 < levels.len() {
            most = most.max(held + size(i).of(channels) + size(i + 1).of(channels));
            skips.push((i + 1, channels));
            held += size(i + 1).of(channels);
        }
    }
    if let Some(middle) = config.middle {
        let last = size(levels.len() - 1);
        let middle = last
            .resnet(channels, channels)
            .max(last.transformer(middle.transformer_depth, channels));
        most = most.max(held + middle);
    }
    for (i, level) in levels.iter().enumerate().rev() {
        for _ in 0..=config.layers_per_block {
            let (at, skip) = skips.pop().unwrap_or_default();
            held -= size(at).of(skip);
            let layer = size(i)
                .resnet(channels + skip, level.channels)
                .max(size(i).transformer(level.transformer_depth, level.channels));
            most = most.max(held + layer);
            channels = level.channels;
        }
        if i > 0 {
            let (small, large) = (size(i), size(i - 1));
            most = most.max(held + small.of(channels) + large.of(channels) + large.conv(channels, channels));
        }
    }
    most
}

/// Bytes that an autoencoder has in use at once when it decodes one latent of `h` by `w`.
pub fn decoder_bytes(config: &VaeConfig, dtype: Dtype, [h, w]: [usize; 2]) -> usize {
    let widths = &config.block_out_channels;
    let mut channels = widths[widths.len() - 1];
    let small = Size::new(dtype, Quantization::None, [1, h, w]);
    let mut most = small
        .resnet(channels, channels)
        .max(small.of(ATTENTION * channels));
    for (i, &width) in widths.iter().rev().enumerate() {
        let whole = small.sized([1, h << i, w << i]);
        let large = small.sized([1, h << (i + 1), w << (i + 1)]);
        let band = |whole: Size| {
            let [_, h, w] = whole.shape;
            small.sized([1, h.min((CPU_BAND / w / 8 * 8).max(8)), w])
        };
        // What a band is convolved from, with the rows around it, and what that needs.
        let from = |whole: Size, input: usize, output: usize| {
            let band = band(whole);
            let [_, h, w] = band.shape;
            small.sized([1, h + 2, w]).of(input) + band.conv(input, output)
        };
        for _ in 0..=config.layers_per_block {
            let first = whole.of(channels + width) + from(whole, channels, width);
            // It lets go of what goes in, and of what is added, as it goes.
            let second = whole.of(2 * width) + band(whole).of(width) + from(whole, width, width);
            most = most.max(first).max(second);
            channels = width;
        }
        if i + 1 < widths.len() {
            let upsampled = whole.of(channels) + large.of(channels) + from(large, channels, channels);
            most = most.max(upsampled);
        }
    }
    most
}
