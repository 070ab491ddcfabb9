//! Skimmed CFG (github.com/Extraltodeus/Skimmed_CFG, the node "Skimmed CFG"): where guidance at a large scale drives a value further the way
//! that it leans to by itself, it goes no further than a smaller scale, the skimming scale, would take it. First uncond is changed so, seen
//! from cond, then cond, seen from that.

use super::{Origin, Pair};
use crate::GenerateParams;

/// The method's settings.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Skimmed {
    scale: f64,
    /// The skimming scale for uncond.
    uncond_scale: f64,
    /// Whether values count as well whose guided latent lies on the other side of 0 than its way from the noisy one.
    flipped: bool,
}

impl Skimmed {
    pub fn new(params: &GenerateParams) -> Option<Self> {
        let guidance = &params.guidance;
        guidance.skimming_scale.map(|scale| Self {
            scale,
            uncond_scale: if guidance.full_skim_negative { 0.0 } else { scale },
            flipped: guidance.disable_flipping_filter,
        })
    }

    /// The pair that guidance at `cfg_scale` is to take.
    pub fn skimmed(&self, pair: Pair, cfg_scale: f64, origin: &Origin) -> Pair {
        let uncond = self.toward(&pair.uncond, &pair.cond, (cfg_scale, self.uncond_scale), origin.x);
        let cond = self.toward(&pair.cond, &uncond, (cfg_scale, self.scale), origin.x);
        Pair { cond, uncond }
    }

    /// `to`, nearer to `from` where guidance from this one at the first scale goes too far: there it arrives where the second scale would.
    fn toward(&self, to: &[f32], from: &[f32], (cfg_scale, scale): (f64, f64), x: &[f32]) -> Vec<f32> {
        let skim = |((&to, &from), &x): ((&f32, &f32), &f32)| {
            let [a, b, x] = [to, from, x].map(f64::from);
            let guided = b + cfg_scale * (a - b);
            let outward = sign(a - b) == sign(a) && sign(guided) == sign(a);
            match outward && (self.flipped || sign(guided) == sign(guided - x)) && cfg_scale != 0.0 {
                true => (a - (cfg_scale - scale) * (a - b) / cfg_scale) as f32,
                false => to,
            }
        };
        to.iter().zip(from).zip(x).map(skim).collect()
    }
}

/// -1, 0 or 1.
fn sign(value: f64) -> i8 {
    i8::from(value > 0.0) - i8::from(value < 0.0)
}

#[cfg(test)]
mod tests {
    use sd_sched::Prediction;

    use super::{super::tests::Case, *};

    /// The extension's formula in PyTorch.
    #[test]
    fn is_the_extensions() {
        let case = Case::new(Prediction::Sample);
        for (name, scale, full, flipped) in [
            ("3", 3.0, false, false),
            ("3.full", 3.0, true, false),
            ("1.flipped", 1.0, false, true),
        ] {
            let mut params = GenerateParams::default();
            params.guidance.skimming_scale = Some(scale);
            params.guidance.full_skim_negative = full;
            params.guidance.disable_flipping_filter = flipped;
            let method = Skimmed::new(&params).unwrap();
            let pair = method.skimmed(case.pair(), 7.5, &case.origin());
            case.refs
                .assert_close(&format!("skimmed.{name}"), &pair.guided(7.5), 1e-6);
        }
        let method = Skimmed {
            scale: 3.0,
            uncond_scale: 0.0,
            flipped: true,
        };
        let pair = method.skimmed(case.pair(), 0.0, &case.origin());
        assert!((pair.cond, pair.uncond) == (case.pair().cond, case.pair().uncond));
    }
}
