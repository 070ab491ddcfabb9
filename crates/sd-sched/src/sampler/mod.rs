//! The samplers, one file each.

mod ancestral;
mod ddim;
mod dpmpp_2m;
mod euler;
mod euler_ancestral;

use crate::program::{Builder, Program, Reg};
use crate::{Dialect, ModelSampling, PlanOptions, Schedule};

/// The algorithms that take a latent from noise to a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Sampler {
    /// Euler's method on the probability flow (Karras et al. 2022, algorithm 2 without its second half), with optional churn.
    Euler,
    /// Euler steps to below the next sigma, then fresh noise up to it.
    EulerAncestral,
    /// DPM-Solver++(2M) (Lu et al. 2022).
    DpmPp2m,
    /// Denoising diffusion implicit models (Song et al. 2020).
    Ddim,
}

impl Sampler {
    /// Every sampler, in the order programs list them.
    pub const ALL: &'static [Sampler] = &[
        Sampler::DpmPp2m,
        Sampler::EulerAncestral,
        Sampler::Euler,
        Sampler::Ddim,
    ];

    /// Whether a step makes two calls (but the last): such samplers count double in prompt schedules.
    pub fn is_second_order(self) -> bool {
        false
    }

    /// What [`Schedule::Automatic`] means for it (WebUI 1.9 and later).
    pub fn automatic_schedule(self) -> Schedule {
        match self {
            Sampler::DpmPp2m => Schedule::Karras,
            _ => Schedule::Uniform,
        }
    }

    /// Whether the schedule gets one step more and loses its last sigma but one (WebUI).
    pub fn discards_next_to_last_sigma(self) -> bool {
        false
    }

    /// Whether it works over the network's own timesteps, whatever the schedule, in that dialect.
    pub fn is_timestep_based(self, dialect: Dialect) -> bool {
        matches!(self, Sampler::Ddim) && dialect != Dialect::Comfy
    }

    /// Whether the eta noise seed delta acts on it (WebUI): it draws noise after the first from the image's own generator.
    pub fn uses_ensd(self) -> bool {
        matches!(self, Sampler::EulerAncestral | Sampler::Ddim)
    }

    /// Whether its noise comes from a Brownian tree by default.
    pub fn uses_brownian_noise(self) -> bool {
        false
    }

    /// eta where none is given: 1 for ancestral and SDE samplers, 0 for DDIM.
    pub fn default_eta(self) -> f64 {
        match self {
            Sampler::EulerAncestral => 1.0,
            _ => 0.0,
        }
    }
}

/// What an algorithm sees of a plan.
pub(crate) struct Ctx<'a> {
    /// Falling; the last may be 0.
    pub sigmas: &'a [f64],
    pub eta: f64,
    pub options: &'a PlanOptions,
}

/// Writes the program of a sampler that works over sigmas.
pub(crate) fn emit(sampler: Sampler, b: &mut Builder<'_>, ctx: &Ctx<'_>) -> Reg {
    match sampler {
        Sampler::Euler => euler::emit(b, ctx),
        Sampler::EulerAncestral => euler_ancestral::emit(b, ctx),
        Sampler::DpmPp2m => dpmpp_2m::emit(b, ctx),
        Sampler::Ddim => euler::emit(b, ctx),
    }
}

/// A timestep-based sampler's program, and how to begin.
pub(crate) struct TimestepPlan {
    pub program: Program,
    pub sigmas: Vec<f64>,
    pub image_scale: f64,
    pub noise_scale: f64,
}

/// Writes the program of a sampler that works over timesteps.
pub(crate) fn emit_timesteps(
    sampler: Sampler,
    steps: usize,
    schedule: Schedule,
    model: &ModelSampling,
    eta: f64,
    options: &PlanOptions,
) -> crate::Result<TimestepPlan> {
    match sampler {
        Sampler::Ddim => ddim::plan(steps, schedule, model, eta, options),
        _ => unreachable!("only called for samplers over timesteps"),
    }
}
