//! Dynamic thresholding of mcmonkey's extension "CFG scale fix" (github.com/mcmonkeyprojects/sd-dynamic-thresholding), after Imagen's
//! (Saharia et al. 2022, arXiv:2205.11487): each channel of the guided latent is brought into the range that a smaller scale, the mimicked
//! one, would give it. Here are its defaults: constant scales, channels apart, around the mean, by the largest absolute deviation.

use super::{Origin, Pair};
use crate::GenerateParams;

/// The method's settings.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DynamicThreshold {
    mimic_scale: f64,
    /// The share of a channel's values that are within its range before; those beyond are clamped.
    quantile: f64,
}

impl DynamicThreshold {
    pub fn new(params: &GenerateParams) -> Option<Self> {
        let guidance = &params.guidance;
        guidance.mimic_scale.map(|mimic_scale| Self {
            mimic_scale,
            quantile: guidance.threshold_percentile / 100.0,
        })
    }

    /// The guided latent in the range of the mimicked one.
    pub fn limited(&self, guided: &[f32], pair: &Pair, origin: &Origin) -> Vec<f32> {
        let mimicked = pair.guided(self.mimic_scale);
        let channel = guided.len() / origin.channels;
        let channels = guided.chunks(channel).zip(mimicked.chunks(channel));
        channels
            .flat_map(|(guided, mimicked)| self.channel(guided, mimicked))
            .collect()
    }

    fn channel(&self, guided: &[f32], mimicked: &[f32]) -> Vec<f32> {
        let (mean, guided) = centred(guided);
        let (_, mimicked) = centred(mimicked);
        let wanted = mimicked
            .iter()
            .fold(0.0, |most: f64, value| most.max(value.abs()));
        let range = wanted.max(quantile(&guided, self.quantile));
        let limited = guided.iter().map(|value| match range > 0.0 {
            true => (value.clamp(-range, range) / range * wanted + mean) as f32,
            false => mean as f32,
        });
        limited.collect()
    }
}

/// The mean, and what is left without it.
fn centred(values: &[f32]) -> (f64, Vec<f64>) {
    let values = || values.iter().map(|&value| f64::from(value));
    let mean = values().sum::<f64>() / values().len().max(1) as f64;
    (mean, values().map(|value| value - mean).collect())
}

/// The quantile of absolute values, linear between two of them.
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sizes: Vec<f64> = values.iter().map(|value| value.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    let at = share * sizes.len().saturating_sub(1) as f64;
    let value = |at: f64| sizes.get(at as usize).copied().unwrap_or(0.0);
    let (below, above) = (value(at.floor()), value(at.ceil()));
    below + (above - below) * at.fract()
}

#[cfg(test)]
mod tests {
    use sd_sched::Prediction;

    use super::{super::tests::Case, *};

    /// The extension's formula in PyTorch.
    #[test]
    fn is_the_extensions() {
        let case = Case::new(Prediction::Sample);
        let pair = case.pair();
        for (name, mimic_scale, quantile) in [("100", 3.0, 1.0), ("90", 3.0, 0.9), ("wide", 12.0, 1.0)] {
            let method = DynamicThreshold {
                mimic_scale,
                quantile,
            };
            let got = method.limited(&pair.guided(7.5), &pair, &case.origin());
            case.refs
                .assert_close(&format!("dynamic_threshold.{name}"), &got, 1e-6);
        }
        let flat = vec![0.25; pair.cond.len()];
        let same = Pair {
            cond: flat.clone(),
            uncond: flat.clone(),
        };
        let method = DynamicThreshold {
            mimic_scale: 3.0,
            quantile: 1.0,
        };
        assert_eq!(method.limited(&flat, &same, &case.origin()), flat);
    }
}
