//! Diffusion samplers, schedules and noise as pure mathematics in `f64`.
//!
//! The crate knows no tensor library: a latent is anything that can be combined linearly ([`Latent`]). Four things are kept
//! apart, as k-diffusion taught:
//!
//! * the **schedule** says which noise levels (sigmas) are visited: [`Schedule`];
//! * the **prediction type** says how a network's output becomes a denoised latent: [`Prediction`], [`ModelSampling`];
//! * the **sampler** combines latents, denoised latents and noise: [`Sampler`]; it sees only a denoiser that returns x0;
//! * the **noise source** is the caller's, or one of those in [`rng`].
//!
//! [`plan()`] turns a choice of them into a [`Plan`]: a list of linear combinations with every coefficient known in advance. [`Stepper`]
//! walks a plan and gives one request after the other; [`sample`] is the loop around it for callers with closures.
//!
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod betas;
mod error;
mod latent;
mod model;
mod names;
mod options;
mod plan;
mod program;
pub mod rng;
mod run;
mod sampler;
mod schedule;
mod state;
mod stepper;
mod strength;

pub use betas::BetaSchedule;
pub use error::{Error, Result};
pub use latent::Latent;
pub use model::{ModelSampling, Prediction, Scalings};
pub use names::parse_sampler;
pub use options::{AdaptiveOptions, PlanOptions, Start};
pub use plan::{Plan, plan, plan_for_calls};
pub use run::{DenoiseCall, Denoised, NoiseCall, drive, drive_together, sample};
pub use sampler::Sampler;
pub use schedule::{MAX_STEPS, Schedule, ScheduleOptions};
pub use stepper::{Progress, Request, Stepper, StepperState};

/// The program whose meaning of a name counts, where programs differ: schedules, timesteps, first noise, img2img entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Dialect {
    /// AUTOMATIC1111's WebUI 1.10 (and Forge where the WebUI has no such name).
    #[default]
    WebUi,
    /// ComfyUI.
    Comfy,
    /// Hugging Face's diffusers.
    Diffusers,
}
