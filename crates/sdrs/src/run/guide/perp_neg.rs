//! Perp-Neg (Armandpour et al. 2023, arXiv:2304.04968): of the negative prompt only what is perpendicular to the prompt is taken away, so
//! that it can't weaken what both have in common. Both are seen from the empty prompt, as in ComfyUI.

use sd_sched::Latent;

use super::{Pair, dot};

/// Guidance from the empty prompt's latent to cond without `scale` times the perpendicular part of uncond.
pub(super) fn pair(cond: &Vec<f32>, uncond: &Vec<f32>, empty: Vec<f32>, scale: f64) -> Pair {
    let from_empty = |to: &Vec<f32>| Vec::lincomb(&[(1.0, to), (-1.0, &empty)]);
    let (positive, negative) = (from_empty(cond), from_empty(uncond));
    let square = dot(&positive, &positive);
    // Nothing is perpendicular to nothing.
    let along = match square > 0.0 {
        true => dot(&negative, &positive) / square,
        false => 0.0,
    };
    Pair {
        cond: Vec::lincomb(&[
            (1.0, &empty),
            (1.0 + scale * along, &positive),
            (-scale, &negative),
        ]),
        uncond: empty,
    }
}

#[cfg(test)]
mod tests {
    use sd_sched::Prediction;

    use super::{super::tests::Case, *};

    /// The formula of ComfyUI's node in PyTorch.
    #[test]
    fn is_comfyuis() {
        let case = Case::new(Prediction::Sample);
        let [cond, uncond, empty] = ["cond", "uncond", "empty"].map(|name| case.refs.f32s(name));
        for (name, scale) in [("1", 1.0), ("0.4", 0.4)] {
            let got = pair(&cond, &uncond, empty.clone(), scale).guided(7.5);
            case.refs.assert_close(&format!("perp_neg.{name}"), &got, 1e-6);
        }
        let same = pair(&empty, &uncond, empty.clone(), 1.0);
        assert!(same.cond.iter().all(|value| value.is_finite()));
    }
}
