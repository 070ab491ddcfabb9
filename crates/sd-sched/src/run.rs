//! The loop around the stepper, for callers with closures.

use crate::{Error, Latent, Plan, Progress, Request, Stepper};

/// One evaluation of the denoiser.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DenoiseCall {
    /// The noise level of the latent.
    pub sigma: f64,
    /// The timestep for the network, not always whole.
    pub timestep: f64,
    /// The step, from 0.
    pub step: usize,
    /// The call, from 0.
    pub call: usize,
    /// Whether [`Denoised::uncond`] is needed.
    pub needs_uncond: bool,
}

/// The denoiser's answer.
#[derive(Debug, Clone)]
pub struct Denoised<X> {
    /// The denoised latent, guidance applied.
    pub denoised: X,
    /// The latent denoised by the unconditional prompt alone, if it was asked for.
    pub uncond: Option<X>,
}

impl<X> From<X> for Denoised<X> {
    fn from(denoised: X) -> Self {
        Self {
            denoised,
            uncond: None,
        }
    }
}

/// One draw of noise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NoiseCall {
    /// The way's first sigma.
    pub sigma_from: f64,
    /// The way's last sigma.
    pub sigma_to: f64,
    /// The step, from 0.
    pub step: usize,
}

/// Samples from `x` on: `denoise` evaluates the denoiser, `noise` draws noise, and `on_step` is called after every step. Each may end
/// the run with an error of the caller's own type.
///
/// # Errors
/// Those of the closures; [`Error::ShapeMismatch`] if a latent that they return has another shape than `x`; [`Error::Diverged`] from DPM
/// adaptive.
pub fn sample<X, D, E>(
    plan: Plan,
    x: X,
    denoise: impl FnMut(&X, DenoiseCall) -> Result<D, E>,
    noise: impl FnMut(NoiseCall) -> Result<X, E>,
    mut on_step: impl FnMut(Progress<'_, X>) -> Result<(), E>,
) -> Result<X, E>
where
    X: Latent,
    D: Into<Denoised<X>>,
    E: From<Error>,
{
    drive(
        Stepper::new(plan, x),
        denoise,
        noise,
        |stepper, step| match stepper.progress(step) {
            Some(progress) => on_step(progress),
            None => Ok(()),
        },
    )
}

/// As [`sample`], from wherever a stepper is. `after_step` is given the stepper and the step that it has made, from 0, and may
/// [look](Stepper::progress), [keep its state](Stepper::state) or [change what it arrived at](Stepper::replace_step).
///
/// # Errors
/// Those of [`sample`].
pub fn drive<X, D, E>(
    mut stepper: Stepper<X>,
    mut denoise: impl FnMut(&X, DenoiseCall) -> Result<D, E>,
    mut noise: impl FnMut(NoiseCall) -> Result<X, E>,
    mut after_step: impl FnMut(&mut Stepper<X>, usize) -> Result<(), E>,
) -> Result<X, E>
where
    X: Latent,
    D: Into<Denoised<X>>,
    E: From<Error>,
{
    let mut reported = stepper.steps_done();
    loop {
        match stepper.request() {
            Request::Done(_) => return Ok(stepper.finish()?),
            Request::Noise {
                sigma_from,
                sigma_to,
                step,
            } => {
                let n = noise(NoiseCall {
                    sigma_from,
                    sigma_to,
                    step,
                })?;
                stepper.provide_noise(n)?;
            }
            Request::Denoise {
                x,
                sigma,
                timestep,
                step,
                call,
                needs_uncond,
            } => {
                let answer = denoise(
                    x,
                    DenoiseCall {
                        sigma,
                        timestep,
                        step,
                        call,
                        needs_uncond,
                    },
                )?
                .into();
                match answer.uncond {
                    Some(u) => stepper.provide_denoised_with_uncond(answer.denoised, u)?,
                    None => stepper.provide_denoised(answer.denoised)?,
                }
            }
        }
        while reported < stepper.steps_done() {
            reported += 1;
            after_step(&mut stepper, reported - 1)?;
        }
    }
}
