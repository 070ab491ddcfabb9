//! How much memory a run of a network takes on the CPU, by its configuration: the values that are in use at once where it takes the
//! most. These are the kernels' inputs, results and copies; the weights are not among them.

use super::vae::CPU_BAND;
use crate::config::{UnetConfig, VaeConfig};

/// Copies of a transformer's input that are in use at once, in its attention: what goes in and is added to, normalised, queries, keys,
/// values, what was seen, and a copy of keys and values for the kernel.
const ATTENTION: usize = 9;

/// Values of a residual block: first its input, that normalised, a copy of it with a border, and what comes of it; then what was kept to
/// be added, a second time the normalised values and their copy, and the result.
fn resnet(input: usize, output: usize) -> usize {
    (3 * input + output).max(4 * output)
}

/// Values that a U-Net has in use at once for latents `[batch, in_channels, h, w]`.
pub fn unet_values(config: &UnetConfig, batch: usize, [h, w]: [usize; 2]) -> usize {
    let levels = &config.levels;
    let pixels = |i: usize| batch * h.div_ceil(1 << i) * w.div_ceil(1 << i);
    let attention = |depth: usize, channels: usize| if depth > 0 { ATTENTION * channels } else { 0 };
    let mut channels = levels[0].channels;
    let mut skips = vec![pixels(0) * channels];
    let mut held = skips[0];
    let mut most = 0;
    for (i, level) in levels.iter().enumerate() {
        for _ in 0..config.layers_per_block {
            // The input is held already, for the way up.
            let layer = (resnet(channels, level.channels) - channels)
                .max(attention(level.transformer_depth, level.channels));
            most = most.max(held + pixels(i) * layer);
            channels = level.channels;
            skips.push(pixels(i) * channels);
            held += pixels(i) * channels;
        }
        if i + 1 < levels.len() {
            most = most.max(held + (pixels(i) + pixels(i + 1)) * channels);
            skips.push(pixels(i + 1) * channels);
            held += pixels(i + 1) * channels;
        }
    }
    let last = levels.len() - 1;
    let middle = resnet(channels, channels).max(attention(config.middle.transformer_depth, channels));
    most = most.max(held + pixels(last) * middle);
    for (i, level) in levels.iter().enumerate().rev() {
        for _ in 0..=config.layers_per_block {
            let skip = skips.pop().unwrap_or_default();
            held -= skip;
            let input = channels + skip / pixels(i);
            let layer = resnet(input, level.channels).max(attention(level.transformer_depth, level.channels));
            most = most.max(held + pixels(i) * layer);
            channels = level.channels;
        }
        if i > 0 {
            most = most.max(held + (pixels(i) + 2 * pixels(i - 1)) * channels);
        }
    }
    most
}

/// Values that an autoencoder has in use at once when it decodes one latent of `h` by `w`.
pub fn decoder_values(config: &VaeConfig, [h, w]: [usize; 2]) -> usize {
    let widths = &config.block_out_channels;
    let mut channels = widths[widths.len() - 1];
    let middle = h * w * resnet(channels, channels).max(ATTENTION * channels);
    let mut most = middle;
    for (i, &width) in widths.iter().rev().enumerate() {
        let (w, pixels) = (w << i, (h << i) * (w << i));
        let band = |w: usize, pixels: usize| pixels.min((CPU_BAND / w / 8 * 8).max(8) * w);
        // Of a band what it is convolved from, with the rows around it, and a copy of that with a border.
        let copies = |w: usize, pixels: usize| 2 * (band(w, pixels) + 4 * w);
        for _ in 0..=config.layers_per_block {
            let first = pixels * (channels + width) + copies(w, pixels) * channels;
            // It lets go of what goes in, and of what is added, as it goes.
            let second = (2 * pixels + band(w, pixels) + copies(w, pixels)) * width;
            most = most.max(first).max(second);
            channels = width;
        }
        if i + 1 < widths.len() {
            most = most.max((5 * pixels + copies(2 * w, 4 * pixels)) * channels);
        }
    }
    most
}
