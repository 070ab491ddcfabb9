//! Rescaled guidance (Lin et al. 2023, arXiv:2305.08891, section 3.4): large scales make a prediction's deviation larger than any that the
//! network was trained on, and pictures too bright. As in diffusers (`guidance_rescale`) it is the network's output that is rescaled,
//! noise or velocity, not the denoised latent.

use sd_sched::Latent;

use super::Origin;

/// The guided latent, with the deviation of cond's output by this share, 0 to 1, and its own by the rest.
pub(super) fn rescaled(guided: &Vec<f32>, cond: &[f32], share: f64, origin: &Origin) -> Vec<f32> {
    let (cond_deviation, deviation) = (deviation(cond, origin), deviation(guided, origin));
    if deviation == 0.0 {
        return guided.clone();
    }
    let factor = share * cond_deviation / deviation + (1.0 - share);
    // What is left of `x` in a denoised latent is no part of the output.
    Vec::lincomb(&[
        (factor, guided),
        ((1.0 - factor) * origin.scalings.c_skip, origin.x),
    ])
}

/// The standard deviation of an output, times `c_out`, which both have in common.
fn deviation(denoised: &[f32], origin: &Origin) -> f64 {
    let c_skip = origin.scalings.c_skip;
    let outputs = || {
        let both = denoised.iter().zip(origin.x);
        both.map(|(&value, &x)| f64::from(value) - c_skip * f64::from(x))
    };
    let n = denoised.len().max(1) as f64;
    let mean = outputs().sum::<f64>() / n;
    (outputs().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt()
}

#[cfg(test)]
mod tests {
    use sd_sched::Prediction;

    use super::{super::tests::Case, *};

    /// diffusers' ClassifierFreeGuidance, whatever the network predicts.
    #[test]
    fn is_diffusers() {
        for prediction in [Prediction::Epsilon, Prediction::V, Prediction::Sample] {
            let case = Case::new(prediction);
            let pair = case.pair();
            for (name, share) in [("0.7", 0.7), ("1", 1.0)] {
                let got = rescaled(&pair.guided(7.5), &pair.cond, share, &case.origin());
                case.refs
                    .assert_close(&format!("rescale.{name}"), &case.output(&got), 1e-6);
            }
        }
    }

    #[test]
    fn what_has_no_deviation_stays() {
        let case = Case::new(Prediction::Sample);
        let flat = vec![0.5; case.pair().cond.len()];
        assert_eq!(rescaled(&flat, &case.pair().cond, 1.0, &case.origin()), flat);
    }
}
