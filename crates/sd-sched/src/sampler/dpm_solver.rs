//! DPM-Solver's single steps of order 1 to 3 in the noise prediction (Lu et al. 2022, arXiv:2206.00927, algorithms 1 and 2),
//! over `t = -ln(sigma)`: the parts of DPM fast and DPM adaptive.

use super::slope::derivative;
use crate::program::{Builder, Reg};

/// One point of a step: evaluations that the orders share are made once.
pub(super) struct Step {
    /// The latent and where it is.
    pub x: Reg,
    pub t: f64,
    /// The end of the step.
    pub to: f64,
    /// Its denoised latent and slope (the predicted noise).
    pub denoised: Reg,
    pub eps: Reg,
    /// The slope a third of the way, once known.
    third: Option<Reg>,
}

pub(super) fn sigma(t: f64) -> f64 {
    (-t).exp()
}

impl Step {
    /// Evaluates the beginning.
    pub fn begin(b: &mut Builder<'_>, x: Reg, t: f64, to: f64) -> Self {
        let denoised = b.eval(x, sigma(t));
        let eps = derivative(b, x, denoised, sigma(t));
        Self {
            x,
            t,
            to,
            denoised,
            eps,
            third: None,
        }
    }

    fn h(&self) -> f64 {
        self.to - self.t
    }

    /// Order `1`, `2` (middle at `r1`) or `3` (a third and two thirds).
    pub fn of_order(&mut self, b: &mut Builder<'_>, order: usize) -> Reg {
        match order {
            1 => self.first(b),
            2 => self.second(b, 0.5),
            _ => self.third(b),
        }
    }

    pub fn first(&self, b: &mut Builder<'_>) -> Reg {
        b.lin(&[(1.0, self.x), (-sigma(self.to) * self.h().exp_m1(), self.eps)])
    }

    /// The slope at `t + r * h`, reached by a step of order 1.
    fn slope_at(&mut self, b: &mut Builder<'_>, r: f64) -> Reg {
        let is_third = r == 1.0 / 3.0;
        if let Some(e) = self.third.filter(|_| is_third) {
            return e;
        }
        let at = self.t + r * self.h();
        let u = b.lin(&[(1.0, self.x), (-sigma(at) * (r * self.h()).exp_m1(), self.eps)]);
        let denoised = b.eval(u, sigma(at));
        let e = derivative(b, u, denoised, sigma(at));
        if is_third {
            self.third = Some(e);
        }
        e
    }

    pub fn second(&mut self, b: &mut Builder<'_>, r: f64) -> Reg {
        let e = self.slope_at(b, r);
        let gain = sigma(self.to) * self.h().exp_m1();
        let c = gain / (2.0 * r);
        b.lin(&[(1.0, self.x), (c - gain, self.eps), (-c, e)])
    }

    pub fn third(&mut self, b: &mut Builder<'_>) -> Reg {
        let (r1, r2, h) = (1.0 / 3.0, 2.0 / 3.0, self.h());
        let e1 = self.slope_at(b, r1);
        let at = self.t + r2 * h;
        let c = sigma(at) * (r2 / r1) * ((r2 * h).exp_m1() / (r2 * h) - 1.0);
        let u = b.lin(&[
            (1.0, self.x),
            (c - sigma(at) * (r2 * h).exp_m1(), self.eps),
            (-c, e1),
        ]);
        let denoised = b.eval(u, sigma(at));
        let e2 = derivative(b, u, denoised, sigma(at));
        let c = sigma(self.to) / r2 * (h.exp_m1() / h - 1.0);
        b.lin(&[
            (1.0, self.x),
            (c - sigma(self.to) * h.exp_m1(), self.eps),
            (-c, e2),
        ])
    }
}

/// The noise level where an ancestral step ends before its noise, and the amount of noise that follows.
pub(super) fn ancestral_target(t: f64, to: f64, end: f64, eta: f64) -> (f64, f64) {
    if eta == 0.0 {
        return (to, 0.0);
    }
    let (down, _) = super::ancestral::split(sigma(t), sigma(to), eta);
    let target = end.min(-down.ln());
    (
        target,
        (sigma(to).powi(2) - sigma(target).powi(2)).max(0.0).sqrt(),
    )
}
