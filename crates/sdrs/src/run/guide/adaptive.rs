//! Adaptive guidance (Castillo et al. 2023, arXiv:2312.12487): once cond and uncond are alike enough, the remaining steps compute cond alone.
//!
//! Alike is the cosine of the angle between the denoised latents, as in ComfyUI's node of that name. That between the predicted noises, which
//! the paper has, is near 1 from the first step on for networks that predict noise, which is nearly the latent itself there.

use super::{Pair, dot};

/// The cosine of the angle between cond and uncond; NaN where one of them is zero.
pub(super) fn similarity(Pair { cond, uncond }: &Pair) -> f64 {
    dot(cond, uncond) / (dot(cond, cond) * dot(uncond, uncond)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_cosine() {
        let of = |cond: [f32; 3], uncond: [f32; 3]| {
            let (cond, uncond) = (cond.to_vec(), uncond.to_vec());
            similarity(&Pair { cond, uncond })
        };
        assert_eq!(of([3.0, 0.0, 4.0], [6.0, 0.0, 8.0]), 1.0);
        assert_eq!(of([3.0, 0.0, 4.0], [0.0, 1.0, 0.0]), 0.0);
        assert_eq!(of([1.0, 0.0, 0.0], [3.0, 4.0, 0.0]), 0.6);
        assert!(of([0.0; 3], [1.0; 3]).is_nan());
    }
}
