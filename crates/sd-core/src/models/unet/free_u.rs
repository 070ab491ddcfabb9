//! FreeU (Si et al. 2023, arXiv:2309.11497): on the way up, what comes from below counts for more, and of the skips the lowest frequencies
//! for less. It acts in the two stages from the smallest resolution on.

use burn_tensor::{DType, Tensor, TensorData};

/// The factors of FreeU, for each of its two stages.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FreeU {
    /// The factors on half of the channels that come from below (b1, b2).
    pub backbone: [f64; 2],
    /// The factors on the lowest frequencies of the skips (s1, s2).
    pub skip: [f64; 2],
    /// The way in which the first factors act.
    pub version: FreeUVersion,
}

/// The two versions of FreeU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreeUVersion {
    /// Every pixel gets the whole factor, as in diffusers; the stages are the two smallest resolutions.
    One,
    /// A pixel's factor goes with the mean of its channels, from 1 at the smallest of a picture to the whole at the largest. The stages are
    /// told by what comes from below: four times the channels of the first level, or twice (ComfyUI's FreeU_V2).
    Two,
}

impl FreeU {
    /// What a residual block on the way up gets from below, `[batch, h, w, c]`, and its skip. `resolution` is counted from the smallest,
    /// `first` are the channels of the first level.
    pub(super) fn apply(
        &self,
        resolution: usize,
        first: usize,
        x: Tensor<4>,
        skip: Tensor<4>,
    ) -> (Tensor<4>, Tensor<4>) {
        let channels = x.dims()[3];
        let stage = match self.version {
            FreeUVersion::One => Some(resolution).filter(|&stage| stage < 2),
            FreeUVersion::Two => [4 * first, 2 * first].iter().position(|&c| c == channels),
        };
        let Some(stage) = stage else { return (x, skip) };
        (
            self.amplified(x, self.backbone[stage]),
            with_low_frequencies(skip, self.skip[stage]),
        )
    }

    /// The first half of the channels by a factor.
    fn amplified(&self, x: Tensor<4>, factor: f64) -> Tensor<4> {
        let (dtype, device, channels) = (x.dtype(), x.device(), x.dims()[3]);
        let more = (0..channels).map(|c| {
            if c < channels / 2 {
                factor as f32 - 1.0
            } else {
                0.0
            }
        });
        let more = TensorData::new(more.collect(), [1, 1, 1, channels]);
        let more = Tensor::<4>::from_data(more, (&device, DType::F32));
        let x = x.cast(DType::F32);
        let more = match self.version {
            FreeUVersion::One => more,
            FreeUVersion::Two => more * structure(&x),
        };
        (x * (more + 1.0)).cast(dtype)
    }
}

/// The mean of each pixel's channels, `[batch, h, w, 1]`, from 0 at a picture's smallest to 1 at its largest.
fn structure(x: &Tensor<4>) -> Tensor<4> {
    let [batch, h, w, _] = x.dims();
    let means = x.clone().mean_dim(3).reshape([batch, h * w]);
    let (least, most) = (means.clone().min_dim(1), means.clone().max_dim(1));
    // Where all are alike there is no structure.
    let range = (most - least.clone()).clamp_min(f32::MIN_POSITIVE);
    ((means - least) / range).reshape([batch, h, w, 1])
}

/// A picture whose lowest frequencies are multiplied: 0 and the one below it along each axis, of which diffusers and ComfyUI keep the
/// real part. They are few, so that no other need be known.
fn with_low_frequencies(x: Tensor<4>, factor: f64) -> Tensor<4> {
    let [batch, h, w, c] = x.dims();
    let (dtype, device) = (x.dtype(), x.device());
    let waves = waves(h, w);
    let n = waves.len() / (h * w);
    let waves = Tensor::<3>::from_data(TensorData::new(waves, [1, n, h * w]), (&device, DType::F32));
    let waves = waves.expand([batch, n, h * w]);
    let x = x.cast(DType::F32).reshape([batch, h * w, c]);
    let amounts = waves.clone().matmul(x.clone());
    let low = waves.swap_dims(1, 2).matmul(amounts);
    let factor = (factor - 1.0) / (h * w) as f64;
    (x + low * factor).reshape([batch, h, w, c]).cast(dtype)
}

/// Cosine and sine of each low frequency, a row of `h w` values for each.
fn waves(h: usize, w: usize) -> Vec<f32> {
    let frequencies = |n: usize| if n > 1 { vec![0.0, -1.0] } else { vec![0.0] };
    let mut waves = Vec::new();
    for vertical in frequencies(h) {
        for horizontal in frequencies(w) {
            let angles: Vec<f64> = (0..h * w)
                .map(|i| {
                    let [y, x] = [i / w, i % w].map(|at| at as f64);
                    let turns: f64 = vertical * y / h as f64 + horizontal * x / w as f64;
                    std::f64::consts::TAU * turns
                })
                .collect();
            waves.extend(angles.iter().map(|angle| angle.cos() as f32));
            waves.extend(angles.iter().map(|angle| angle.sin() as f32));
        }
    }
    waves
}
