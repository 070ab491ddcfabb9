//! The samplers, one file each.

mod ancestral;
mod cfg_pp;
mod ddim;
mod ddpm;
mod deis;
mod dpm2;
mod dpm_adaptive;
mod dpm_fast;
mod dpm_solver;
mod dpmpp_2m;
mod dpmpp_2m_sde;
mod dpmpp_2s_ancestral;
mod dpmpp_3m_sde;
mod dpmpp_sde;
mod euler;
mod euler_ancestral;
mod heun;
mod heunpp2;
mod ipndm;
mod lcm;
mod linear;
mod lms;
mod plms;
mod polynomial;
mod res_multistep;
mod restart;
mod sa_solver;
mod slope;
mod tcd;
mod timestep_plan;
mod unipc;

pub(crate) use dpm_adaptive::{Adaptive, AdaptiveState, Attempt};
use slope::derivative;
pub(crate) use timestep_plan::{TimestepPlan, TimestepStart};

use std::borrow::Cow;

use crate::betas::terminal;
use crate::program::{Builder, Reg};
use crate::schedule::timesteps::Style;
use crate::{Dialect, Error, ModelSampling, PlanOptions, Result, Schedule};

/// The algorithms that take a latent from noise to a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Sampler {
    /// DPM-Solver++(2M) (Lu et al. 2022).
    DpmPp2m,
    /// DPM-Solver++ for the SDE, single step of order 2.
    DpmPpSde,
    /// DPM-Solver++(2M) for the SDE, midpoint form.
    DpmPp2mSde,
    /// DPM-Solver++(2M) for the SDE, Heun form.
    DpmPp2mSdeHeun,
    /// DPM-Solver++(2S) with ancestral noise.
    DpmPp2sAncestral,
    /// DPM-Solver++(3M) for the SDE.
    DpmPp3mSde,
    /// Euler steps to below the next sigma, then fresh noise up to it.
    EulerAncestral,
    /// Euler's method on the probability flow (Karras et al. 2022), with optional churn.
    Euler,
    /// Linear multistep of order 4 in sigma.
    Lms,
    /// Heun's method (Karras et al. 2022), with optional churn.
    Heun,
    /// DPM-Solver-2 in sigma, with optional churn.
    Dpm2,
    /// DPM-Solver-2 with ancestral noise.
    Dpm2Ancestral,
    /// DPM-Solver-fast: a fixed number of calls in steps of order 3.
    DpmFast,
    /// DPM-Solver with adaptive steps: the number of calls is known only at the end.
    DpmAdaptive,
    /// Heun with a stretch run again from fresh noise (Xu et al. 2023).
    Restart,
    /// Latent consistency sampling (Luo et al. 2023).
    Lcm,
    /// Denoising diffusion implicit models (Song et al. 2020).
    Ddim,
    /// DDIM that renoises with the unconditional prediction (Chung et al. 2024).
    DdimCfgPp,
    /// Pseudo linear multistep (Liu et al. 2022).
    Plms,
    /// UniPC with B(h) = h (Zhao et al. 2023).
    UniPc,
    /// UniPC with B(h) = e^h - 1.
    UniPcBh2,
    /// Heun++: slopes of three sigmas.
    HeunPp2,
    /// Improved pseudo numerical methods, coefficients of even steps (Zhang & Chen 2022).
    Ipndm,
    /// The same with coefficients of uneven steps.
    IpndmV,
    /// Diffusion exponential integrator (Zhang & Chen 2022).
    Deis,
    /// The diffusion's own posterior (Ho et al. 2020).
    Ddpm,
    /// Trajectory consistency sampling (Zheng et al. 2024).
    Tcd,
    /// Euler with CFG++.
    EulerCfgPp,
    /// Euler a with CFG++.
    EulerAncestralCfgPp,
    /// Refined exponential solver, second-order multistep (Zhang et al. 2023).
    ResMultistep,
    /// Stochastic Adams (Xue et al. 2023).
    SaSolver,
    /// DPM++ 2M with CFG++.
    DpmPp2mCfgPp,
    /// Res Multistep with CFG++.
    ResMultistepCfgPp,
}

use Sampler as S;

impl Sampler {
    /// Every sampler: the WebUI's in its order, then Forge's, then the rest.
    #[rustfmt::skip]
    pub const ALL: &'static [Sampler] = &[
        S::DpmPp2m, S::DpmPpSde, S::DpmPp2mSde, S::DpmPp2mSdeHeun, S::DpmPp2sAncestral, S::DpmPp3mSde, S::EulerAncestral,
        S::Euler, S::Lms, S::Heun, S::Dpm2, S::Dpm2Ancestral, S::DpmFast, S::DpmAdaptive, S::Restart, S::Lcm, S::Ddim,
        S::DdimCfgPp, S::Plms, S::UniPc, S::UniPcBh2, S::HeunPp2, S::Ipndm, S::IpndmV, S::Deis, S::Ddpm, S::Tcd,
        S::EulerCfgPp, S::EulerAncestralCfgPp, S::ResMultistep, S::SaSolver,
        S::DpmPp2mCfgPp, S::ResMultistepCfgPp,
    ];

    /// Whether a step makes two calls (but the last): such samplers count double in the WebUI's prompt schedules.
    pub fn is_second_order(self) -> bool {
        matches!(
            self,
            S::Heun | S::Dpm2 | S::Dpm2Ancestral | S::DpmPp2sAncestral | S::DpmPpSde | S::Restart
        )
    }

    /// The schedule that [`Schedule::Automatic`] means for it (WebUI 1.9 and later).
    pub fn automatic_schedule(self) -> Schedule {
        match self {
            S::DpmPp2m | S::DpmPpSde | S::DpmPp2sAncestral | S::Dpm2 | S::Dpm2Ancestral | S::Restart => {
                Schedule::Karras
            }
            S::DpmPp2mSde | S::DpmPp2mSdeHeun | S::DpmPp3mSde => Schedule::Exponential,
            _ => Schedule::Uniform,
        }
    }

    /// Whether the schedule gets one step more and loses its last sigma but one.
    pub fn discards_next_to_last_sigma(self, dialect: Dialect) -> bool {
        match dialect {
            Dialect::WebUi => matches!(self, S::Dpm2 | S::Dpm2Ancestral | S::DpmPp3mSde),
            Dialect::Comfy => matches!(self, S::Dpm2 | S::Dpm2Ancestral | S::UniPc | S::UniPcBh2),
            Dialect::Diffusers => false,
        }
    }

    /// Whether it works over the network's own timesteps, whatever the schedule, in that dialect.
    pub fn is_timestep_based(self, dialect: Dialect) -> bool {
        match dialect {
            Dialect::WebUi => {
                matches!(
                    self,
                    S::Ddim | S::DdimCfgPp | S::Plms | S::UniPc | S::UniPcBh2 | S::Tcd
                )
            }
            Dialect::Comfy => self == S::Tcd,
            Dialect::Diffusers => matches!(self, S::Ddim | S::DdimCfgPp | S::Plms | S::Lcm | S::Tcd),
        }
    }

    /// Whether the eta noise seed delta acts on it (WebUI): it draws noise after the first from the image's own generator.
    pub fn uses_ensd(self) -> bool {
        matches!(
            self,
            S::EulerAncestral
                | S::Dpm2Ancestral
                | S::DpmPp2sAncestral
                | S::DpmFast
                | S::DpmAdaptive
                | S::Ddim
                | S::DdimCfgPp
        )
    }

    /// Whether its noise comes from a Brownian tree by default.
    pub fn uses_brownian_noise(self) -> bool {
        matches!(
            self,
            S::DpmPpSde | S::DpmPp2mSde | S::DpmPp2mSdeHeun | S::DpmPp3mSde
        )
    }

    /// The model over the noise levels that this sampler's program computes with. WebUI and ComfyUI: the model's own.
    ///
    /// diffusers' schedulers round their tables in their own way, and the rest of the signal at the last timestep of a model with zero
    /// terminal SNR differs between them (diffusers 0.42): 2^-24 for Euler, Euler a, DPM++ 2M and its kin and UniPC, so that the largest
    /// sigma is 4096; nothing for DDIM, DDPM, LCM and TCD (2^-64 here, which in `f32` is the same). The others know no such rescaling and
    /// have the table before it.
    pub fn noise_levels(self, model: &ModelSampling, dialect: Dialect) -> Cow<'_, ModelSampling> {
        let last = match self {
            _ if dialect != Dialect::Diffusers => return Cow::Borrowed(model),
            S::Euler | S::EulerAncestral | S::EulerCfgPp | S::EulerAncestralCfgPp => Some(terminal::SMALL),
            S::DpmPp2m | S::DpmPp2mSde | S::DpmPp2mSdeHeun | S::DpmPp3mSde => Some(terminal::SMALL),
            S::UniPc | S::UniPcBh2 => Some(terminal::SMALL),
            S::Ddim | S::DdimCfgPp | S::Ddpm | S::Lcm | S::Tcd => Some(terminal::ZERO),
            _ => None,
        };
        model.as_in_diffusers(last)
    }

    /// The habits of its scheduler in diffusers.
    pub(crate) fn style(self) -> Style {
        match self {
            S::DpmPp2m | S::DpmPp2mSde | S::DpmPp2mSdeHeun | S::DpmPp3mSde => Style::Multistep,
            S::UniPc | S::UniPcBh2 => Style::Multistep,
            S::Deis | S::SaSolver => Style::MultistepToMin,
            S::Ddpm => Style::Whole,
            _ => Style::Plain,
        }
    }

    /// Whether it asks for the latent by the unconditional prompt alone.
    pub fn needs_uncond(self) -> bool {
        matches!(
            self,
            S::DdimCfgPp | S::EulerCfgPp | S::EulerAncestralCfgPp | S::DpmPp2mCfgPp | S::ResMultistepCfgPp
        )
    }

    /// The factor on the guidance scale before use: 1/12.5 for the WebUI's DDIM CFG++, so that the usual scales fit.
    pub fn cfg_scale_multiplier(self) -> f64 {
        if self == S::DdimCfgPp { 1.0 / 12.5 } else { 1.0 }
    }

    /// eta where none is given: 1 for ancestral and SDE samplers, 0.3 for TCD, 0 for the rest. DPM fast and DPM adaptive are
    /// ancestral in the WebUI alone.
    pub fn default_eta(self, dialect: Dialect) -> f64 {
        match self {
            S::EulerAncestral | S::Dpm2Ancestral | S::DpmPp2sAncestral | S::EulerAncestralCfgPp => 1.0,
            S::DpmPpSde | S::DpmPp2mSde | S::DpmPp2mSdeHeun | S::DpmPp3mSde | S::SaSolver => 1.0,
            S::DpmFast | S::DpmAdaptive if dialect == Dialect::WebUi => 1.0,
            S::Tcd => 0.3,
            _ => 0.0,
        }
    }
}

/// A plan as an algorithm sees it.
pub(crate) struct Ctx<'a> {
    /// Falling; the last may be 0.
    pub sigmas: &'a [f64],
    pub eta: f64,
    pub options: &'a PlanOptions,
    pub model: &'a ModelSampling,
    /// The schedule was the user's own, or part of one is skipped.
    pub partial: bool,
}

impl Ctx<'_> {
    /// The range of the solvers that lay out their own steps: the model's in the WebUI's txt2img, else from the first sigma to
    /// the last over 0.
    ///
    /// # Errors
    /// `steps` if only one sigma is over 0.
    pub fn range(&self) -> Result<(f64, f64)> {
        if self.options.dialect == Dialect::WebUi && !self.partial {
            return Ok((self.model.sigma_min(), self.model.sigma_max()));
        }
        match self.sigmas.iter().rev().copied().find(|s| *s > 0.0) {
            Some(last) if last < self.sigmas[0] => Ok((last, self.sigmas[0])),
            _ => Err(Error::param(
                "steps",
                "leaves this sampler no range: it needs two sigmas over 0",
            )),
        }
    }
}

/// Writes the program of a sampler that works over sigmas.
pub(crate) fn emit(sampler: Sampler, b: &mut Builder<'_>, ctx: &Ctx<'_>) -> Reg {
    match sampler {
        S::Euler | S::Ddim => euler::emit(b, ctx),
        S::EulerAncestral => euler_ancestral::emit(b, ctx),
        S::Lms | S::Plms => lms::emit(b, ctx),
        S::Heun => heun::emit(b, ctx),
        S::Dpm2 => dpm2::emit(b, ctx),
        S::Dpm2Ancestral => dpm2::emit_ancestral(b, ctx),
        S::DpmPp2sAncestral => dpmpp_2s_ancestral::emit(b, ctx),
        S::DpmPp2m => dpmpp_2m::emit(b, ctx),
        S::DpmPpSde => dpmpp_sde::emit(b, ctx),
        S::DpmPp2mSde => dpmpp_2m_sde::emit(b, ctx, dpmpp_2m_sde::Kind::Midpoint),
        S::DpmPp2mSdeHeun => dpmpp_2m_sde::emit(b, ctx, dpmpp_2m_sde::Kind::Heun),
        S::DpmPp3mSde => dpmpp_3m_sde::emit(b, ctx),
        S::DpmFast => dpm_fast::emit(b, ctx),
        S::Restart => restart::emit(b, ctx),
        S::Lcm | S::Tcd => lcm::emit(b, ctx),
        S::UniPc => unipc::emit(b, ctx, unipc::Variant::Bh1),
        S::UniPcBh2 => unipc::emit(b, ctx, unipc::Variant::Bh2),
        S::HeunPp2 => heunpp2::emit(b, ctx),
        S::Ipndm => ipndm::emit(b, ctx, false),
        S::IpndmV => ipndm::emit(b, ctx, true),
        S::Deis => deis::emit(b, ctx),
        S::Ddpm => ddpm::emit(b, ctx),
        S::EulerCfgPp | S::DdimCfgPp => cfg_pp::emit(b, ctx, 0.0),
        S::EulerAncestralCfgPp => cfg_pp::emit(b, ctx, ctx.eta),
        S::DpmPp2mCfgPp => cfg_pp::emit_dpmpp_2m(b, ctx),
        S::ResMultistep => res_multistep::emit(b, ctx, false),
        S::ResMultistepCfgPp => res_multistep::emit(b, ctx, true),
        S::SaSolver => sa_solver::emit(b, ctx),
        S::DpmAdaptive => unreachable!("its program is made step by step"),
    }
}

/// Writes the program of a sampler that works over timesteps.
pub(crate) fn emit_timesteps(
    sampler: Sampler,
    steps: usize,
    schedule: Schedule,
    model: &ModelSampling,
    eta: f64,
    options: &PlanOptions,
) -> Result<TimestepPlan> {
    match sampler {
        S::Ddim => ddim::plan(steps, schedule, model, eta, false, options),
        S::DdimCfgPp => ddim::plan(steps, schedule, model, eta, true, options),
        S::Plms => plms::plan(steps, schedule, model, options),
        S::UniPc => unipc::webui(steps, model, unipc::Variant::Bh1, options),
        S::UniPcBh2 => unipc::webui(steps, model, unipc::Variant::Bh2, options),
        S::Lcm => lcm::diffusers(steps, model, options),
        S::Tcd => tcd::plan(steps, model, eta, options),
        _ => unreachable!("only called for samplers over timesteps"),
    }
}
