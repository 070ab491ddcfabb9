//! CFG-Zero* (Fan et al. 2025, arXiv:2503.18886): uncond's output is scaled so that it comes as near to cond's as it can. As in diffusers it
//! acts on the network's output. The paper's other half, steps at the beginning whose output is taken as zero, is for flow models alone.

use sd_sched::Latent;

use super::{Origin, Pair, dot};

/// Uncond with its output scaled.
pub(super) fn scaled_uncond(Pair { cond, uncond }: &Pair, origin: &Origin) -> Vec<f32> {
    let c_skip = origin.scalings.c_skip;
    let output = |denoised: &Vec<f32>| Vec::lincomb(&[(1.0, denoised), (-c_skip, origin.x)]);
    let (cond, own) = (output(cond), output(uncond));
    // Outputs times `c_out`: so is diffusers' term against a division by zero.
    let least = 1e-8 * origin.scalings.c_out.powi(2);
    let factor = dot(&cond, &own) / (dot(&own, &own) + least);
    Vec::lincomb(&[(factor, uncond), ((1.0 - factor) * c_skip, origin.x)])
}

#[cfg(test)]
mod tests {
    use sd_sched::Prediction;

    use super::{super::tests::Case, *};

    /// diffusers' ClassifierFreeZeroStarGuidance.
    #[test]
    fn is_diffusers() {
        for prediction in [Prediction::Epsilon, Prediction::V] {
            let case = Case::new(prediction);
            let mut pair = case.pair();
            pair.uncond = scaled_uncond(&pair, &case.origin());
            case.refs
                .assert_close("cfg_zero_star", &case.output(&pair.guided(7.5)), 1e-6);
        }
    }
}
