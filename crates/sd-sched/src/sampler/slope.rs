//! The direction of the way at a denoised latent.

use crate::program::{Builder, Reg};

/// The slope of the probability flow in sigma, which is also the predicted noise: `(x - denoised) / sigma`.
pub(super) fn derivative(b: &mut Builder<'_>, x: Reg, denoised: Reg, sigma: f64) -> Reg {
    b.lin(&[(1.0 / sigma, x), (-1.0 / sigma, denoised)])
}
