//! Betas and the cumulative products of alphas that come of them.

use crate::{Dialect, Error, Result};

/// The rule for the noise that each training step adds.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum BetaSchedule {
    /// Linear in the root of beta: Stable Diffusion 1, 2 and XL with 0.00085 to 0.012 (CompVis latent-diffusion).
    ScaledLinear {
        /// The first beta, over 0.
        start: f64,
        /// The last beta, under 1.
        end: f64,
    },
    /// Linear in beta (Ho et al. 2020, arXiv:2006.11239: 0.0001 to 0.02).
    Linear {
        /// The first beta, over 0.
        start: f64,
        /// The last beta, under 1.
        end: f64,
    },
    /// Squared cosine of the time with offset 0.008, betas capped at 0.999 (Nichol & Dhariwal 2021, arXiv:2102.09672).
    Cosine,
}

impl BetaSchedule {
    /// The schedule that every Stable Diffusion shares.
    pub const STABLE_DIFFUSION: Self = Self::ScaledLinear {
        start: 0.00085,
        end: 0.012,
    };

    /// `alphas_cumprod` for `n` training steps, each the product of `1 - beta` so far.
    ///
    /// Programs round at different places and the smallest sigma shows it in the fifth digit: latent-diffusion (and with it
    /// the WebUI) computes in `f64` and stores `f32`; ComfyUI stays in `f64`; diffusers computes the betas in `f32`.
    ///
    /// # Errors
    /// `beta_start`, `beta_end` unless `0 < start <= end < 1`; `train_steps` unless in 2..=100000.
    pub fn alphas_cumprod(self, n: usize, dialect: Dialect) -> Result<Vec<f64>> {
        if !(2..=100_000).contains(&n) {
            return Err(Error::param(
                "train_steps",
                format!("must be from 2 to 100000, not {n}"),
            ));
        }
        if let Self::ScaledLinear { start, end } | Self::Linear { start, end } = self {
            if !(start > 0.0 && start < 1.0) {
                return Err(Error::param(
                    "beta_start",
                    format!("must lie between 0 and 1, not {start}"),
                ));
            }
            if !(end >= start && end < 1.0) {
                return Err(Error::param(
                    "beta_end",
                    format!("must lie between beta_start and 1, not {end}"),
                ));
            }
        }
        let single = dialect == Dialect::Diffusers;
        let round = |v: f64| if single { f64::from(v as f32) } else { v };
        let betas: Vec<f64> = match self {
            Self::ScaledLinear { start, end } => linspace(start.sqrt(), end.sqrt(), n, single)
                .map(|b| round(b * b))
                .collect(),
            Self::Linear { start, end } => linspace(start, end, n, single).collect(),
            Self::Cosine => {
                let bar = |t: f64| ((t + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
                let beta = |i: usize| 1.0 - bar((i + 1) as f64 / n as f64) / bar(i as f64 / n as f64);
                (0..n).map(|i| round(beta(i).min(0.999))).collect()
            }
        };
        let store = |v: f64| {
            if dialect == Dialect::Comfy {
                v
            } else {
                f64::from(v as f32)
            }
        };
        let mut product = 1.0;
        let cumulate = |b: f64| {
            product *= round(1.0 - b);
            store(product)
        };
        Ok(betas.into_iter().map(cumulate).collect())
    }
}

/// `n` evenly spaced points; with `single`, as PyTorch's `linspace` makes them in `f32`: from both ends to the middle.
fn linspace(a: f64, b: f64, n: usize, single: bool) -> Box<dyn Iterator<Item = f64>> {
    if !single {
        let step = (b - a) / (n - 1) as f64;
        return Box::new((0..n).map(move |i| if i == n - 1 { b } else { a + step * i as f64 }));
    }
    let (a, b) = (a as f32, b as f32);
    let step = (b - a) / (n - 1) as f32;
    Box::new((0..n).map(move |i| {
        f64::from(if i < n / 2 {
            a + step * i as f32
        } else {
            b - step * (n - 1 - i) as f32
        })
    }))
}

/// The values at the last timestep of a table that is rescaled to zero terminal SNR. An exact 0 would make sigma infinite.
pub(crate) mod terminal {
    /// The WebUI's and ComfyUI's.
    pub const WEBUI: f64 = 4.897_345_189_085_343_5e-8;
    /// diffusers' schedulers over sigmas (Euler, DPMSolverMultistep, ...): 2^-24.
    pub const SMALL: f64 = 1.0 / 16_777_216.0;
    /// diffusers' schedulers over alphas (DDIM, DDPM, ...) have an exact 0. With 2^-64 the signal beside the noise is far below what
    /// f32 resolves, and latents that keep their signal stay finite.
    pub const ZERO: f64 = SMALL * SMALL / 65_536.0;
}

/// Rescales so that the last step keeps no signal (Lin et al. 2023, arXiv:2305.08891, algorithm 1): the roots are shifted and
/// stretched until the last is 0, the first unchanged; then the last becomes `last`.
pub(crate) fn zero_terminal_snr(alphas_cumprod: &mut [f64], last: f64) {
    let [first, .., end] = alphas_cumprod else { return };
    let (first, end) = (first.sqrt(), end.sqrt());
    for a in alphas_cumprod.iter_mut() {
        *a = ((a.sqrt() - end) * first / (first - end)).powi(2);
    }
    if let Some(a) = alphas_cumprod.last_mut() {
        *a = last;
    }
}

/// The same with diffusers' rounding: in `f32`, by way of betas.
pub(crate) fn zero_terminal_snr_single(alphas_cumprod: &mut [f64], last: f64) {
    let roots: Vec<f32> = alphas_cumprod.iter().map(|a| (*a as f32).sqrt()).collect();
    let [first, .., end] = roots[..] else { return };
    let stretch = first / (first - end);
    let (mut before, mut product) = (1.0, 1.0);
    for (a, root) in alphas_cumprod.iter_mut().zip(&roots) {
        let bar = ((root - end) * stretch).powi(2);
        let beta = 1.0 - bar / before;
        before = bar;
        product *= f64::from(1.0 - beta);
        *a = f64::from(product as f32);
    }
    if let Some(a) = alphas_cumprod.last_mut() {
        *a = last;
    }
}
