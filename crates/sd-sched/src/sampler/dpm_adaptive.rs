//! DPM-Solver with adaptive steps (Lu et al. 2022, arXiv:2206.00927, appendix C): each step is tried with two orders, their
//! difference steers a PID controller (k-diffusion), and a step whose error is too large is tried again, shorter.
//!
//! The only sampler whose program depends on the latents: it is written one attempt at a time.

use super::dpm_solver::{Step, ancestral_target, sigma};
use crate::program::{Builder, Program, Reg, START};
use crate::{Error, PlanOptions, Result};

/// Attempts after which it is taken to be going nowhere.
const MAX_ATTEMPTS: u32 = 100_000;

/// The solver's constants.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Adaptive {
    start: f64,
    end: f64,
    order: usize,
    rtol: f64,
    atol: f64,
    eta: f64,
    s_noise: f64,
    h_init: f64,
    /// Proportional, integral, derivative.
    pid: [f64; 3],
    safety: f64,
}

/// The state that changes from attempt to attempt.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AdaptiveState {
    /// `-ln(sigma)` reached, and the step to try.
    pub t: f64,
    pub h: f64,
    /// Inverse errors: this, the last, the one before; 0 before the first attempt.
    pub errors: [f64; 3],
    /// Attempts and those accepted.
    pub attempts: u32,
    pub accepted: u32,
    /// The attempt before was accepted: where it began, and what noise it needs.
    pub landed: Option<(f64, f64)>,
}

/// The slots an attempt ends with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Attempt {
    /// The latent it began at, the low-order latent of the step before, and the denoised latent.
    pub x: u32,
    pub previous: u32,
    pub denoised: u32,
    /// The results of both orders.
    pub low: u32,
    pub high: u32,
}

impl Adaptive {
    pub fn new((min, max): (f64, f64), eta: f64, o: &PlanOptions) -> Result<Self> {
        let order = o.order.unwrap_or(3);
        if !(2..=3).contains(&order) {
            return Err(Error::param(
                "order",
                format!("must be 2 or 3 for DPM adaptive, not {order}"),
            ));
        }
        let a = &o.adaptive;
        for (name, v) in [
            ("rtol", a.rtol),
            ("atol", a.atol),
            ("h_init", a.h_init),
            ("accept_safety", a.accept_safety),
        ] {
            if !(v > 0.0 && v.is_finite()) {
                return Err(Error::param(name, format!("must be over 0, not {v}")));
            }
        }
        let pid = [a.pcoeff, a.icoeff, a.dcoeff];
        if pid.iter().any(|c| !c.is_finite()) {
            return Err(Error::param("pcoeff", "icoeff and dcoeff must be finite"));
        }
        Ok(Self {
            start: -max.ln(),
            end: -min.ln(),
            order,
            rtol: a.rtol,
            atol: a.atol,
            eta,
            s_noise: o.s_noise,
            h_init: a.h_init,
            pid,
            safety: a.accept_safety,
        })
    }

    pub fn tolerances(&self) -> (f64, f64) {
        (self.atol, self.rtol)
    }

    pub fn calls_per_attempt(&self) -> usize {
        self.order
    }

    pub fn begin(&self) -> AdaptiveState {
        AdaptiveState {
            t: self.start,
            h: self.h_init,
            errors: [0.0; 3],
            attempts: 0,
            accepted: 0,
            landed: None,
        }
    }

    /// The share of the way that is done, 0..=1.
    pub fn fraction(&self, s: &AdaptiveState) -> f64 {
        ((s.t - self.start) / (self.end - self.start)).clamp(0.0, 1.0)
    }

    fn target(&self, s: &AdaptiveState) -> f64 {
        self.end.min(s.t + s.h)
    }

    /// The operations up to the next judgement: slot 0 holds the latent, slot 1 the last low-order one, slot 2 the last
    /// denoised one. The end is reached when no attempt follows.
    pub fn program(&self, s: &AdaptiveState, timestep: &dyn Fn(f64) -> f64) -> (Program, Option<Attempt>) {
        let mut b = Builder::with_inputs(timestep, 3);
        b.count_from(
            s.attempts * self.order as u32,
            s.accepted.saturating_sub(u32::from(s.landed.is_some())),
        );
        let (mut x, previous, denoised) = (START, Reg::input(1), Reg::input(2));
        if let Some((from, spread)) = s.landed {
            if self.eta > 0.0 {
                let noise = b.noise(sigma(from), sigma(s.t));
                x = b.lin(&[(1.0, x), (self.s_noise * spread, noise)]);
            }
            b.end_step(x, denoised, sigma(from));
        }
        if s.t >= self.end - 1e-5 {
            return (b.finish(x), None);
        }
        let (target, _) = ancestral_target(s.t, self.target(s), self.end, self.eta);
        let mut step = Step::begin(&mut b, x, s.t, target);
        let (low, high) = if self.order == 2 {
            (step.first(&mut b), step.second(&mut b, 0.5))
        } else {
            (step.second(&mut b, 1.0 / 3.0), step.third(&mut b))
        };
        let (program, slots) = b.finish_with(&[x, previous, step.denoised, low, high]);
        let attempt = Attempt {
            x: slots[0],
            previous: slots[1],
            denoised: slots[2],
            low: slots[3],
            high: slots[4],
        };
        (program, Some(attempt))
    }

    /// Takes the error ratio of an attempt; says whether it was accepted.
    ///
    /// # Errors
    /// [`Error::Diverged`] if the error is not a number or the attempts are too many.
    pub fn judge(&self, s: &mut AdaptiveState, error: f64) -> Result<bool> {
        let inverse = 1.0 / (error + 1e-8);
        if !inverse.is_finite() || s.attempts >= MAX_ATTEMPTS {
            let reason = format!(
                "error {error} at sigma {} after {} attempts",
                sigma(s.t),
                s.attempts
            );
            return Err(Error::Diverged { reason });
        }
        if s.errors[0] == 0.0 {
            s.errors = [inverse; 3];
        }
        s.errors[0] = inverse;
        let order = if self.eta > 0.0 { 1.5 } else { self.order as f64 };
        let [p, i, d] = self.pid;
        let powers = [(p + i + d) / order, -(p + 2.0 * d) / order, d / order];
        let raw: f64 = s.errors.iter().zip(powers).map(|(e, b)| e.powf(b)).product();
        let factor = 1.0 + (raw - 1.0).atan();
        let accept = factor >= self.safety;
        let target = self.target(s);
        s.attempts += 1;
        s.landed = None;
        if accept {
            s.errors[2] = s.errors[1];
            s.errors[1] = s.errors[0];
            let (_, spread) = ancestral_target(s.t, target, self.end, self.eta);
            s.landed = Some((s.t, spread));
            s.t = target;
            s.accepted += 1;
        }
        s.h *= factor;
        Ok(accept)
    }
}

impl AdaptiveState {
    pub fn numbers(&self) -> Vec<f64> {
        let (from, spread) = self.landed.unwrap_or((f64::INFINITY, 0.0));
        let [a, b, c] = self.errors;
        vec![
            self.t,
            self.h,
            a,
            b,
            c,
            self.attempts.into(),
            self.accepted.into(),
            from,
            spread,
        ]
    }

    pub fn from_numbers(n: &[f64]) -> Option<Self> {
        let &[t, h, a, b, c, attempts, accepted, from, spread] = n else {
            return None;
        };
        let whole = |v: f64| (v >= 0.0 && v <= f64::from(u32::MAX) && v.fract() == 0.0).then_some(v as u32);
        let landed = from.is_finite().then_some((from, spread));
        Some(Self {
            t,
            h,
            errors: [a, b, c],
            attempts: whole(attempts)?,
            accepted: whole(accepted)?,
            landed,
        })
    }
}
