//! From a network to a denoiser: noise levels, timesteps, and the meaning of the output.

use std::borrow::Cow;

use crate::{BetaSchedule, Dialect, Error, Result, betas, rng::round_f16};

/// The quantity that a network was trained to predict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Prediction {
    /// The noise (Ho et al. 2020, arXiv:2006.11239).
    #[default]
    Epsilon,
    /// The velocity `alpha * noise - sigma * x0` (Salimans & Ho 2022, arXiv:2202.00512).
    V,
    /// The clean latent itself.
    Sample,
    /// The preconditioned output of Karras et al. 2022 (arXiv:2206.00364), as Playground v2.5 uses it: like v, with the sign
    /// turned.
    EdmV,
}

/// The factors around a network at one noise level: `denoised = c_skip * x + c_out * network(c_in * x, timestep)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scalings {
    /// Factor for the network's input.
    pub c_in: f64,
    /// Factor of the latent in the denoised latent.
    pub c_skip: f64,
    /// Factor of the network's output in the denoised latent.
    pub c_out: f64,
}

/// A model's noise levels: sigma against timestep, and its prediction type.
///
/// Latents are in the variance-exploding form throughout: `x = x0 + sigma * noise`.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSampling {
    alphas_cumprod: Vec<f64>,
    sigmas: Vec<f64>,
    log_sigmas: Vec<f64>,
    prediction: Prediction,
    sigma_data: f64,
    continuous: bool,
    betas: Option<BetaSchedule>,
    /// `alphas_cumprod` before they were rescaled to zero terminal SNR.
    unscaled: Option<Vec<f64>>,
    /// Whether sigmas and their logarithms are rounded to float16, each by itself.
    half: bool,
}

impl ModelSampling {
    /// Stable Diffusion's betas over 1000 steps, in the WebUI's rounding.
    pub fn stable_diffusion(prediction: Prediction) -> Self {
        match Self::from_betas(BetaSchedule::STABLE_DIFFUSION, 1000, prediction, Dialect::WebUi) {
            Ok(m) => m,
            Err(_) => unreachable!("the constants are in range"),
        }
    }

    /// Any betas, rounded as `dialect` rounds them.
    ///
    /// # Errors
    /// As [`BetaSchedule::alphas_cumprod`].
    pub fn from_betas(b: BetaSchedule, n: usize, prediction: Prediction, dialect: Dialect) -> Result<Self> {
        Ok(Self {
            betas: Some(b),
            ..Self::from_alphas_cumprod(b.alphas_cumprod(n, dialect)?, prediction)?
        })
    }

    /// Any falling `alphas_cumprod`, one for each timestep.
    ///
    /// # Errors
    /// `alphas_cumprod` if there are fewer than 2, or they don't fall strictly between 1 and 0.
    pub fn from_alphas_cumprod(alphas_cumprod: Vec<f64>, prediction: Prediction) -> Result<Self> {
        let bad = |why: String| Err(Error::param("alphas_cumprod", why));
        if alphas_cumprod.len() < 2 {
            return bad(format!("needs at least 2 values, not {}", alphas_cumprod.len()));
        }
        let mut last = 1.0;
        for (i, &a) in alphas_cumprod.iter().enumerate() {
            if !(a > 0.0 && a < last) {
                return bad(format!(
                    "must fall strictly between 1 and 0, but value {i} is {a}"
                ));
            }
            last = a;
        }
        let mut model = Self {
            alphas_cumprod: Vec::new(),
            sigmas: Vec::new(),
            log_sigmas: Vec::new(),
            prediction,
            sigma_data: 1.0,
            continuous: false,
            betas: None,
            unscaled: None,
            half: false,
        };
        model.set_table(alphas_cumprod);
        Ok(model)
    }

    /// A model over a continuous range of sigmas whose timestep is `ln(sigma) / 4` (Karras et al. 2022). Playground v2.5 is
    /// `edm(0.002, 80.0, 0.5, Prediction::EdmV)`.
    ///
    /// # Errors
    /// `sigma_min`, `sigma_max` unless `0 < sigma_min < sigma_max < inf`; `sigma_data` unless over 0.
    pub fn edm(sigma_min: f64, sigma_max: f64, sigma_data: f64, prediction: Prediction) -> Result<Self> {
        check_range(sigma_min, sigma_max)?;
        if !(sigma_data > 0.0 && sigma_data.is_finite()) {
            return Err(Error::param(
                "sigma_data",
                format!("must be over 0, not {sigma_data}"),
            ));
        }
        let (lo, hi) = (sigma_min.ln(), sigma_max.ln());
        let log_sigmas: Vec<f64> = (0..1000).map(|i| lo + (hi - lo) * f64::from(i) / 999.0).collect();
        let sigmas: Vec<f64> = log_sigmas.iter().map(|l| l.exp()).collect();
        let alphas_cumprod = sigmas.iter().map(|s| 1.0 / (1.0 + s * s)).collect();
        Ok(Self {
            alphas_cumprod,
            sigmas,
            log_sigmas,
            prediction,
            sigma_data,
            continuous: true,
            betas: None,
            unscaled: None,
            half: false,
        })
    }

    fn set_table(&mut self, alphas_cumprod: Vec<f64>) {
        self.sigmas = alphas_cumprod.iter().map(|a| ((1.0 - a) / a).sqrt()).collect();
        self.log_sigmas = self.sigmas.iter().map(|s| s.ln()).collect();
        self.half = false;
        self.alphas_cumprod = alphas_cumprod;
    }

    /// Rescales to zero terminal signal-to-noise ratio (Lin et al. 2023, arXiv:2305.08891), if it isn't yet; the last
    /// `alphas_cumprod` becomes `4.8973451890853435e-08`, as in the WebUI, so the largest sigma is about 4518. Other programs keep
    /// something else there: see [`Sampler::noise_levels`](super::Sampler::noise_levels).
    pub fn with_zero_terminal_snr(mut self) -> Self {
        if self.unscaled.is_none() && !self.continuous {
            let mut rescaled = self.alphas_cumprod.clone();
            betas::zero_terminal_snr(&mut rescaled, betas::terminal::WEBUI);
            self.unscaled = Some(std::mem::take(&mut self.alphas_cumprod));
            self.set_table(rescaled);
        }
        self
    }

    /// The same model with its table in float16, as programs have it that keep buffers in the type of the weights: the WebUI up to 1.7, and
    /// later ones with "Downcast alphas_cumprod". `alphas_cumprod`, sigmas and their logarithms are rounded after each operation, so the
    /// smallest sigma of Stable Diffusion is 0.0313 in place of 0.0292.
    ///
    /// # Errors
    /// `alphas_cumprod` if the table has equal neighbours then. Models over continuous noise levels have no table, and stay as they are.
    pub fn with_half_alphas(self) -> Result<Self> {
        if self.continuous {
            return Ok(self);
        }
        let half = |v: f64| f64::from(round_f16(v as f32));
        let rescaled = self.unscaled.is_some();
        let alphas = self.unscaled.unwrap_or(self.alphas_cumprod);
        let alphas = alphas.into_iter().map(half).collect();
        let mut model = Self::from_alphas_cumprod(alphas, self.prediction)?;
        let sigma = |a: &f64| half(half(half(1.0 - a) / a).sqrt());
        model.sigmas = model.alphas_cumprod.iter().map(sigma).collect();
        model.log_sigmas = model.sigmas.iter().map(|sigma| half(sigma.ln())).collect();
        if !model.log_sigmas.is_sorted_by(|a, b| a < b) {
            let reason = "has equal neighbours in float16";
            return Err(Error::param("alphas_cumprod", reason));
        }
        model.half = true;
        Ok(match rescaled {
            true => model.with_zero_terminal_snr(),
            false => model,
        })
    }

    /// The same model before [`ModelSampling::with_zero_terminal_snr`].
    pub fn without_zero_terminal_snr(mut self) -> Self {
        if let Some(alphas) = self.unscaled.take() {
            self.set_table(alphas);
        }
        self
    }

    /// Whether the table was rescaled to zero terminal signal-to-noise ratio.
    pub fn has_zero_terminal_snr(&self) -> bool {
        self.unscaled.is_some()
    }

    /// The betas that the table was made of, if they were given.
    pub fn betas(&self) -> Option<BetaSchedule> {
        self.betas
    }

    /// The table as diffusers rounds it; if it was rescaled to zero terminal SNR, with `last` as its last alpha, or unscaled.
    pub(crate) fn as_in_diffusers(&self, last: Option<f64>) -> Cow<'_, Self> {
        let made = self
            .betas
            .and_then(|b| b.alphas_cumprod(self.train_steps(), Dialect::Diffusers).ok());
        let Some(mut alphas) = made.clone().or_else(|| self.unscaled.clone()) else {
            return Cow::Borrowed(self);
        };
        let mut model = self.clone();
        match last.filter(|_| self.has_zero_terminal_snr()) {
            Some(last) if made.is_some() => betas::zero_terminal_snr_single(&mut alphas, last),
            Some(last) => betas::zero_terminal_snr(&mut alphas, last),
            None => model.unscaled = None,
        }
        model.set_table(alphas);
        Cow::Owned(model)
    }

    /// One noise level for each timestep, rising.
    pub fn sigmas(&self) -> &[f64] {
        &self.sigmas
    }

    /// The products of `1 - beta`, one for each timestep, falling.
    pub fn alphas_cumprod(&self) -> &[f64] {
        &self.alphas_cumprod
    }

    /// The prediction type of the network.
    pub fn prediction(&self) -> Prediction {
        self.prediction
    }

    /// The smallest sigma of the table.
    pub fn sigma_min(&self) -> f64 {
        self.sigmas[0]
    }

    /// The largest sigma of the table.
    pub fn sigma_max(&self) -> f64 {
        self.sigmas[self.sigmas.len() - 1]
    }

    /// The number of timesteps of the table (1000 for every Stable Diffusion).
    pub fn train_steps(&self) -> usize {
        self.sigmas.len()
    }

    /// Whether the timestep is a function of sigma alone (EDM models).
    pub fn is_continuous(&self) -> bool {
        self.continuous
    }

    /// Where sigma lies in the table, linear in `ln(sigma)` between neighbours and clamped to the table's ends; not rounded
    /// (k-diffusion's `sigma_to_t` without quantisation).
    pub fn table_position(&self, sigma: f64) -> f64 {
        let (log, table) = (sigma.ln(), &self.log_sigmas);
        let low = table
            .partition_point(|&l| l <= log)
            .saturating_sub(1)
            .min(table.len() - 2);
        let w = (log - table[low]) / (table[low + 1] - table[low]);
        low as f64 + if w.is_nan() { 0.0 } else { w.clamp(0.0, 1.0) }
    }

    /// The sigma at a position of the table, linear in `ln(sigma)` between timesteps (k-diffusion's `t_to_sigma`).
    pub fn sigma_at(&self, position: f64) -> f64 {
        let top = (self.sigmas.len() - 1) as f64;
        let t = if position.is_nan() {
            0.0
        } else {
            position.clamp(0.0, top)
        };
        let (low, high) = (t.floor() as usize, t.ceil() as usize);
        if low == high && !self.half {
            return self.sigmas[low];
        }
        let w = t - t.floor();
        ((1.0 - w) * self.log_sigmas[low] + w * self.log_sigmas[high]).exp()
    }

    /// The timestep to give the network for a sigma: the position in the table, or `ln(sigma) / 4` for a continuous model.
    pub fn timestep(&self, sigma: f64) -> f64 {
        if self.continuous {
            0.25 * sigma.ln()
        } else {
            self.table_position(sigma)
        }
    }

    /// The index of the nearest sigma in the table, by logarithm (ComfyUI's timesteps, k-diffusion's quantised ones).
    pub fn nearest_index(&self, sigma: f64) -> usize {
        let log = sigma.ln();
        let p = self
            .log_sigmas
            .partition_point(|&l| l < log)
            .min(self.log_sigmas.len() - 1);
        // The first of equals wins, as argmin does.
        if p > 0 && (log - self.log_sigmas[p - 1]) <= (self.log_sigmas[p] - log) {
            p - 1
        } else {
            p
        }
    }

    /// The factors around the network at `sigma`.
    pub fn scalings(&self, sigma: f64) -> Scalings {
        let d = self.sigma_data;
        let total = sigma * sigma + d * d;
        let c_in = 1.0 / total.sqrt();
        let (c_skip, c_out) = match self.prediction {
            Prediction::Epsilon => (1.0, -sigma),
            Prediction::V => (d * d / total, -sigma * d / total.sqrt()),
            Prediction::Sample => (0.0, 1.0),
            Prediction::EdmV => (d * d / total, sigma * d / total.sqrt()),
        };
        Scalings { c_in, c_skip, c_out }
    }
}

/// `0 < sigma_min < sigma_max`, both finite.
pub(crate) fn check_range(sigma_min: f64, sigma_max: f64) -> Result<()> {
    if !(sigma_min > 0.0 && sigma_min.is_finite()) {
        return Err(Error::param(
            "sigma_min",
            format!("must be over 0, not {sigma_min}"),
        ));
    }
    if !(sigma_max > sigma_min && sigma_max.is_finite()) {
        return Err(Error::param(
            "sigma_max",
            format!("must be over sigma_min ({sigma_min}), not {sigma_max}"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_and_sigmas_are_inverse() {
        let m = ModelSampling::stable_diffusion(Prediction::Epsilon);
        for t in [0.0, 0.25, 1.0, 499.5, 998.75, 999.0] {
            assert!((m.table_position(m.sigma_at(t)) - t).abs() < 1e-9, "{t}");
        }
        assert_eq!(m.table_position(1e9), 999.0);
        assert_eq!(m.table_position(1e-9), 0.0);
        assert_eq!(m.table_position(0.0), 0.0);
    }

    #[test]
    fn nearest_index_is_the_argmin() {
        let m = ModelSampling::stable_diffusion(Prediction::Epsilon);
        for s in [0.01, 0.0292, 0.05, 1.0, 3.3, 14.5, 20.0] {
            let by_hand = (0..1000).min_by(|&a, &b| {
                let d = |i: usize| (m.sigmas()[i].ln() - f64::ln(s)).abs();
                d(a).total_cmp(&d(b))
            });
            assert_eq!(Some(m.nearest_index(s)), by_hand, "{s}");
        }
    }

    #[test]
    fn every_prediction_recovers_a_known_latent() {
        // x = x0 + sigma n; each network answers exactly what it was trained to.
        let (x0, n, sigma) = (0.7, -1.3, 2.5f64);
        let x = x0 + sigma * n;
        let a = 1.0 / (sigma * sigma + 1.0).sqrt();
        let answers = [
            (Prediction::Epsilon, n),
            (Prediction::V, a * n - sigma * a * x0),
            (Prediction::Sample, x0),
        ];
        for (p, out) in answers {
            let s = ModelSampling::stable_diffusion(p).scalings(sigma);
            assert!((s.c_skip * x + s.c_out * out - x0).abs() < 1e-12, "{p:?}");
            assert!((s.c_in * x - (a * x0 + sigma * a * n)).abs() < 1e-12);
        }
        // Karras et al. 2022, table 1: c_skip x + c_out F with F = (x0 - c_skip x) / c_out has c_out > 0.
        let m = ModelSampling::edm(0.002, 120.0, 0.5, Prediction::EdmV).unwrap();
        let s = m.scalings(sigma);
        assert!((s.c_skip - 0.25 / (sigma * sigma + 0.25)).abs() < 1e-15);
        assert!((s.c_out - sigma * 0.5 / (sigma * sigma + 0.25).sqrt()).abs() < 1e-15);
    }

    #[test]
    fn refuses_nonsense() {
        assert!(ModelSampling::from_alphas_cumprod(vec![0.9], Prediction::V).is_err());
        assert!(ModelSampling::from_alphas_cumprod(vec![0.9, 0.95], Prediction::V).is_err());
        assert!(ModelSampling::from_alphas_cumprod(vec![0.9, f64::NAN], Prediction::V).is_err());
        assert!(ModelSampling::edm(1.0, 1.0, 0.5, Prediction::V).is_err());
    }

    #[test]
    fn zero_terminal_snr_ends_where_the_webui_does() {
        let m = ModelSampling::stable_diffusion(Prediction::V).with_zero_terminal_snr();
        assert_eq!(m.alphas_cumprod()[999], 4.8973451890853435e-08);
        assert!((m.sigma_max() - 4518.757).abs() < 0.01);
    }
}
