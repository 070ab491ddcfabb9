//! Self-attention guidance (Hong et al. 2022, arXiv:2210.00939): away from what the network makes of a latent that is blurred where its own
//! attention looks most. It adds `scale * (output - output for the blurred latent)` of the negative prompt, or of the prompt where there is
//! no guidance by the negative one, and takes one more evaluation. As in diffusers.

use sd_core::{
    config::{UnetConfig, UnetMiddle},
    models::blur_matrix,
};
use sd_sched::Latent;

use super::super::answers::Received;
use crate::{Error, GenerateParams, Result};

/// Places of the blur along each axis.
const TAPS: usize = 9;

/// The method's settings.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SelfAttentionGuidance {
    pub scale: f64,
    blur_sigma: f64,
    threshold: f64,
}

impl SelfAttentionGuidance {
    /// The method, if parameters ask for it.
    pub fn new(params: &GenerateParams, config: &UnetConfig) -> Result<Option<Self>> {
        let guidance = &params.guidance;
        if guidance.sag_scale == 0.0 {
            return Ok(None);
        }
        if !matches!(config.middle, Some(UnetMiddle::Transformer { depth: 1.., .. })) {
            let reason = "this U-Net has no self-attention in its middle, which this guidance looks at; 0 does without";
            return Err(Error::parameter("sag_scale", reason));
        }
        Ok(Some(Self {
            scale: guidance.sag_scale,
            blur_sigma: guidance.sag_blur_sigma,
            threshold: guidance.sag_threshold,
        }))
    }

    /// `x` with the noise that it has on `denoised`, on `denoised` blurred where more than the threshold is received. `[height, width]` is the
    /// size of a latent.
    pub fn degraded(
        &self,
        x: &Vec<f32>,
        denoised: &Vec<f32>,
        received: &Received,
        [height, width]: [usize; 2],
    ) -> Vec<f32> {
        let rows = blur_matrix(height, TAPS, self.blur_sigma);
        let columns = blur_matrix(width, TAPS, self.blur_sigma);
        let mut blurred = Vec::with_capacity(denoised.len());
        for channel in denoised.chunks(height * width) {
            blurred.extend(blur(channel, &rows, &columns, width));
        }
        let [inner_height, inner_width] = received.size;
        for (i, (blurred, own)) in blurred.iter_mut().zip(denoised).enumerate() {
            let (y, x) = (i / width % height, i % width);
            let place = y * inner_height / height * inner_width + x * inner_width / width;
            if f64::from(received.values[place]) <= self.threshold {
                *blurred = *own;
            }
        }
        Vec::lincomb(&[(1.0, x), (1.0, &blurred), (-1.0, denoised)])
    }
}

/// A channel blurred along its rows, then along its columns. Most of a matrix is zeros.
fn blur(channel: &[f32], rows: &[f32], columns: &[f32], width: usize) -> Vec<f32> {
    let height = channel.len() / width;
    let weights = |matrix: &[f32], n: usize, at: usize| -> Vec<(usize, f64)> {
        let row = matrix[at * n..][..n].iter().enumerate();
        row.filter(|(_, weight)| **weight != 0.0)
            .map(|(i, weight)| (i, f64::from(*weight)))
            .collect()
    };
    let columns: Vec<_> = (0..width).map(|x| weights(columns, width, x)).collect();
    let mut across = Vec::with_capacity(channel.len());
    for line in channel.chunks(width) {
        let value = |taps: &Vec<(usize, f64)>| taps.iter().map(|(i, w)| w * f64::from(line[*i])).sum();
        across.extend(columns.iter().map(value).collect::<Vec<f64>>());
    }
    let mut down = Vec::with_capacity(channel.len());
    for y in 0..height {
        let taps = weights(rows, height, y);
        let value = |x: usize| taps.iter().map(|(i, w)| w * across[i * width + x]).sum::<f64>() as f32;
        down.extend((0..width).map(value));
    }
    down
}
