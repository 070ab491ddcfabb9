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
    stepper: Stepper<X>,
    mut denoise: impl FnMut(&X, DenoiseCall) -> Result<D, E>,
    mut noise: impl FnMut(NoiseCall) -> Result<X, E>,
    mut after_step: impl FnMut(&mut Stepper<X>, usize) -> Result<(), E>,
) -> Result<X, E>
where
    X: Latent,
    D: Into<Denoised<X>>,
    E: From<Error>,
{
    let mut results = drive_together(
        vec![stepper],
        |latents, call| Ok(vec![denoise(latents[0].1, call)?]),
        |_, call| noise(call),
        |_, stepper, step| after_step(stepper, step),
    )?;
    Ok(results.swap_remove(0))
}

/// As [`drive`], of several steppers at once: those that ask for the same call are answered together. `denoise` is given the place of each,
/// from 0, with its latent, and answers in that order; the other closures are given the place of the one that asks. What comes of a stepper
/// is what [`drive`] makes of it, as long as `denoise` answers each as it would alone. Steppers of one plan ask for the same call all the way,
/// but for DPM adaptive's.
///
/// # Errors
/// Those of [`sample`]; [`Error::OutOfTurn`] if `denoise` gives fewer or more answers than it was asked for.
pub fn drive_together<X, D, E>(
    mut steppers: Vec<Stepper<X>>,
    mut denoise: impl FnMut(&[(usize, &X)], DenoiseCall) -> Result<Vec<D>, E>,
    mut noise: impl FnMut(usize, NoiseCall) -> Result<X, E>,
    mut after_step: impl FnMut(usize, &mut Stepper<X>, usize) -> Result<(), E>,
) -> Result<Vec<X>, E>
where
    X: Latent,
    D: Into<Denoised<X>>,
    E: From<Error>,
{
    let mut reported: Vec<usize> = steppers.iter().map(Stepper::steps_done).collect();
    let mut report = |place: usize, stepper: &mut Stepper<X>| {
        while reported[place] < stepper.steps_done() {
            reported[place] += 1;
            after_step(place, stepper, reported[place] - 1)?;
        }
        Ok::<_, E>(())
    };
    loop {
        for (place, stepper) in steppers.iter_mut().enumerate() {
            while let Request::Noise {
                sigma_from,
                sigma_to,
                step,
            } = stepper.request()
            {
                let call = NoiseCall {
                    sigma_from,
                    sigma_to,
                    step,
                };
                stepper.provide_noise(noise(place, call)?)?;
                report(place, stepper)?;
            }
        }
        let waiting = steppers.iter().enumerate();
        let waiting = waiting.filter_map(|(place, stepper)| Some((place, asked(stepper)?)));
        let waiting: Vec<_> = waiting.collect();
        let Some(&(_, (_, call))) = waiting.first() else {
            break;
        };
        let same = waiting.into_iter().filter(|(_, (_, other))| *other == call);
        let latents: Vec<(usize, &X)> = same.map(|(place, (x, _))| (place, x)).collect();
        let answers = denoise(&latents, call)?;
        if answers.len() != latents.len() {
            let expected = "a denoised latent for each stepper";
            let got = "another number of them";
            return Err(Error::OutOfTurn { expected, got }.into());
        }
        let places: Vec<usize> = latents.iter().map(|(place, _)| *place).collect();
        for (place, answer) in places.into_iter().zip(answers) {
            let (stepper, answer) = (&mut steppers[place], answer.into());
            match answer.uncond {
                Some(u) => stepper.provide_denoised_with_uncond(answer.denoised, u)?,
                None => stepper.provide_denoised(answer.denoised)?,
            }
            report(place, stepper)?;
        }
    }
    let finished = steppers.into_iter().map(|stepper| Ok(stepper.finish()?));
    finished.collect()
}

/// The latent that a stepper asks to have denoised, and the call.
fn asked<X: Latent>(stepper: &Stepper<X>) -> Option<(&X, DenoiseCall)> {
    match stepper.request() {
        Request::Denoise {
            x,
            sigma,
            timestep,
            step,
            call,
            needs_uncond,
        } => Some((
            x,
            DenoiseCall {
                sigma,
                timestep,
                step,
                call,
                needs_uncond,
            },
        )),
        Request::Noise { .. } | Request::Done(_) => None,
    }
}
