//! The place where an image enters the schedule: the rules of three programs for strength.

use crate::options::{PlanOptions, Start};
use crate::schedule::{MAX_STEPS, check_steps};
use crate::{Dialect, Error, Result};

/// The steps that the WebUI's rules make of steps and strength.
pub(crate) struct Entry {
    /// Steps of the whole schedule.
    pub steps: usize,
    /// The number of steps that are run, less one (None: all, from noise).
    pub t_enc: Option<usize>,
}

/// The WebUI's `setup_img2img_steps`.
pub(crate) fn strength_steps(steps: usize, o: &PlanOptions) -> Result<Entry> {
    let Start::Image {
        strength,
        exact_steps,
    } = o.start
    else {
        return Ok(Entry { steps, t_enc: None });
    };
    let capped = strength.min(0.999);
    if !exact_steps {
        return Ok(Entry {
            steps,
            t_enc: Some((capped * steps as f64) as usize),
        });
    }
    if strength == 0.0 {
        return Err(Error::param(
            "strength",
            "must be over 0 where exactly the steps asked for are run",
        ));
    }
    let total = (steps as f64 / capped) as usize;
    check_steps(total).map_err(|_| too_long(total))?;
    Ok(Entry {
        steps: total,
        t_enc: Some(steps - 1),
    })
}

/// ComfyUI's `denoise`: the last steps of a schedule of `int(steps / denoise)`.
pub(crate) fn comfy_total(steps: usize, o: &PlanOptions) -> Result<usize> {
    let Start::Image { strength, .. } = o.start else {
        return Ok(steps);
    };
    if strength == 0.0 {
        return Err(Error::param("strength", "must be over 0: nothing would be run"));
    }
    let total = if strength > 0.9999 {
        steps
    } else {
        (steps as f64 / strength) as usize
    };
    check_steps(total).map_err(|_| too_long(total))?;
    Ok(total)
}

fn too_long(total: usize) -> Error {
    Error::param(
        "strength",
        format!("is too small: the whole schedule would have {total} steps, over {MAX_STEPS}"),
    )
}

/// The number of `steps` that diffusers runs.
pub(crate) fn diffusers_strength_steps(steps: usize, strength: f64) -> Result<usize> {
    match ((steps as f64 * strength) as usize).min(steps) {
        0 => Err(Error::param(
            "strength",
            format!("{strength} leaves nothing of {steps} steps"),
        )),
        n => Ok(n),
    }
}

/// The number of `steps` that are left of a schedule without its first ones.
pub(crate) fn left(steps: usize, skipped: usize) -> Result<usize> {
    match steps.saturating_sub(skipped) {
        0 => Err(Error::param(
            "skipped_steps",
            format!("must be fewer than the {steps} steps, not {skipped}"),
        )),
        left => Ok(left),
    }
}

/// The number of first sigmas that an image skips.
pub(crate) fn skipped(
    steps: usize,
    sigmas: usize,
    strength: f64,
    exact: bool,
    o: &PlanOptions,
) -> Result<usize> {
    let skip = match o.dialect {
        Dialect::WebUi => {
            let start = Start::Image {
                strength,
                exact_steps: exact,
            };
            let e = strength_steps(steps, &PlanOptions { start, ..o.clone() })?;
            e.steps - e.t_enc.unwrap_or(0) - 1
        }
        Dialect::Comfy => sigmas.saturating_sub(steps + 1),
        Dialect::Diffusers => steps - diffusers_strength_steps(steps, strength)?,
    };
    if skip + 2 > sigmas {
        return Err(Error::param(
            "strength",
            format!("{strength} leaves no sigma of this schedule to start at"),
        ));
    }
    Ok(skip)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ModelSampling, Prediction, Sampler, Schedule, plan};

    /// Steps run, and the first sigma's place in the schedule of `of` steps.
    fn entry(dialect: Dialect, steps: usize, strength: f64, exact_steps: bool, of: usize) -> (usize, usize) {
        let model = ModelSampling::stable_diffusion(Prediction::Epsilon);
        let o = PlanOptions {
            dialect,
            start: Start::Image {
                strength,
                exact_steps,
            },
            ..PlanOptions::default()
        };
        let p = plan(Sampler::Euler, Schedule::SgmUniform, steps, &model, &o).expect("a plan");
        let whole = PlanOptions {
            dialect,
            ..PlanOptions::default()
        };
        let all = plan(Sampler::Euler, Schedule::SgmUniform, of, &model, &whole).expect("a plan");
        assert_eq!((p.image_scale(), p.noise_scale()), (1.0, p.sigmas()[0]));
        let at = all
            .sigmas()
            .iter()
            .position(|s| *s == p.sigmas()[0])
            .expect("a sigma of the schedule");
        assert_eq!(all.sigmas()[at..], *p.sigmas());
        (p.steps(), at)
    }

    /// The numbers follow from each program's own formula, by hand.
    #[test]
    fn strengths() {
        // t_enc = int(0.75 * 20) = 15: from sigma 20 - 15 - 1 on.
        assert_eq!(entry(Dialect::WebUi, 20, 0.75, false, 20), (16, 4));
        assert_eq!(entry(Dialect::WebUi, 20, 1.0, false, 20), (20, 0));
        assert_eq!(entry(Dialect::WebUi, 20, 0.0, false, 20), (1, 19));
        // int(20 / 0.7) = 28 steps, of which 20 are run.
        assert_eq!(entry(Dialect::WebUi, 20, 0.7, true, 28), (20, 8));
        // int(20 / 0.5) = 40 steps, of which the last 20.
        assert_eq!(entry(Dialect::Comfy, 20, 0.5, false, 40), (20, 20));
        // int(20 * 0.75) = 15 steps.
        assert_eq!(entry(Dialect::Diffusers, 20, 0.75, false, 20), (15, 5));
        let model = ModelSampling::stable_diffusion(Prediction::Epsilon);
        let o = |strength| {
            let start = Start::Image {
                strength,
                exact_steps: true,
            };
            plan(
                Sampler::Euler,
                Schedule::Karras,
                20,
                &model,
                &PlanOptions {
                    start,
                    ..PlanOptions::default()
                },
            )
        };
        assert!(o(0.0).is_err());
        assert!(o(1e-9).is_err());
    }

    /// Strength is steps that are left out, but to distilled models, whose timesteps are picked anew.
    #[test]
    fn steps_are_left_out() {
        let model = ModelSampling::stable_diffusion(Prediction::Epsilon);
        let evaluations = |sampler, start| {
            let o = PlanOptions {
                dialect: Dialect::Diffusers,
                start,
                ..PlanOptions::default()
            };
            let plan = plan(sampler, Schedule::Leading, 8, &model, &o).expect("a plan");
            plan.evaluations().collect::<Vec<_>>()
        };
        let strength = Start::Image {
            strength: 0.7,
            exact_steps: false,
        };
        let later = Start::Later { skipped: 3 };
        for sampler in [Sampler::Euler, Sampler::Ddim, Sampler::DpmPp2m, Sampler::UniPc] {
            assert_eq!(
                evaluations(sampler, later),
                evaluations(sampler, strength),
                "{sampler}"
            );
        }
        let whole = evaluations(Sampler::Lcm, Start::Noise);
        assert_eq!(evaluations(Sampler::Lcm, later), whole[3..]);
    }
}
