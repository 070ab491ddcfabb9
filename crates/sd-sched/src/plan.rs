//! From a choice of sampler, schedule and steps to a plan.

use std::sync::Arc;

use crate::program::{Builder, Op, Program};
use crate::sampler::{self, Adaptive, AdaptiveState, Attempt, Ctx};
use crate::schedule::timesteps::Style;
use crate::schedule::{check_falling, check_steps, linspace};
use crate::{Dialect, Error, ModelSampling, Result, Sampler, Schedule, ScheduleOptions};

/// The most steps a plan may have.
pub const MAX_STEPS: usize = 10_000;

/// Where sampling starts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Start {
    /// From noise alone (txt2img).
    #[default]
    Noise,
    /// From an image's latent with noise added (img2img).
    Image {
        /// How much of the schedule is run, 0..=1.
        strength: f64,
        /// Run exactly the steps asked for, of a longer schedule (the WebUI's hires pass, and its option for img2img).
        /// ComfyUI always does; diffusers never.
        exact_steps: bool,
    },
}

/// Everything about a plan besides sampler, schedule and steps. The defaults are the WebUI's.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanOptions {
    /// Whose rules.
    pub dialect: Dialect,
    /// Where to start.
    pub start: Start,
    /// How much fresh noise replaces old; `None` is the sampler's own ([`Sampler::default_eta`]). At least 0.
    pub eta: Option<f64>,
    /// Karras' churn of Euler, Heun and DPM2: at least 0.
    pub s_churn: f64,
    /// Churn only from this sigma on.
    pub s_tmin: f64,
    /// Churn only up to this sigma (may be infinite).
    pub s_tmax: f64,
    /// Factor of all noise that a sampler adds; at least 0.
    pub s_noise: f64,
    /// The schedule's own numbers.
    pub schedule: ScheduleOptions,
    /// The user's own sigmas in place of a schedule: strictly falling, finite, the last may be 0. `steps` is then ignored.
    pub sigmas: Option<Vec<f64>>,
    /// Make one sigma more and drop the last but one; `None` is the sampler's own habit
    /// ([`Sampler::discards_next_to_last_sigma`]).
    pub discard_next_to_last_sigma: Option<bool>,
    /// Order of LMS (4), DEIS (3; diffusers 2), UniPC (3; diffusers 2), SA-Solver's predictor (3), DPM adaptive (3): 1..=4.
    /// `None` is the sampler's own.
    pub order: Option<usize>,
    /// DPM adaptive's step control.
    pub adaptive: AdaptiveOptions,
    /// diffusers' DDIM: end at alpha 1 and not at the table's first.
    pub set_alpha_to_one: bool,
}

/// The step control of DPM adaptive (k-diffusion's names and defaults).
#[derive(Debug, Clone, PartialEq)]
pub struct AdaptiveOptions {
    /// Relative tolerance, over 0.
    pub rtol: f64,
    /// Absolute tolerance, over 0.
    pub atol: f64,
    /// The first step, in `ln(sigma)`, over 0.
    pub h_init: f64,
    /// The controller's proportional part.
    pub pcoeff: f64,
    /// The controller's integral part.
    pub icoeff: f64,
    /// The controller's derivative part.
    pub dcoeff: f64,
    /// Steps are accepted when they would be lengthened by this factor or more; over 0.
    pub accept_safety: f64,
}

impl Default for AdaptiveOptions {
    fn default() -> Self {
        Self {
            rtol: 0.05,
            atol: 0.0078,
            h_init: 0.05,
            pcoeff: 0.0,
            icoeff: 1.0,
            dcoeff: 0.0,
            accept_safety: 0.81,
        }
    }
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            dialect: Dialect::WebUi,
            start: Start::Noise,
            eta: None,
            s_churn: 0.0,
            s_tmin: 0.0,
            s_tmax: f64::INFINITY,
            s_noise: 1.0,
            schedule: ScheduleOptions::default(),
            sigmas: None,
            discard_next_to_last_sigma: None,
            order: None,
            adaptive: AdaptiveOptions::default(),
            set_alpha_to_one: false,
        }
    }
}

/// A sampler laid out over its sigmas: what will be evaluated, in which order, and how to begin.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub(crate) program: Arc<Program>,
    pub(crate) adaptive: Option<AdaptivePlan>,
    sampler: Sampler,
    schedule: Schedule,
    sigmas: Vec<f64>,
    image_scale: f64,
    noise_scale: f64,
    brownian_range: (f64, f64),
}

/// What DPM adaptive needs to go on writing its program.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AdaptivePlan {
    pub solver: Adaptive,
    model: Arc<ModelSampling>,
    dialect: Dialect,
}

impl AdaptivePlan {
    pub fn program(&self, state: &AdaptiveState) -> (Program, Option<Attempt>) {
        self.solver
            .program(state, &|sigma| timestep(sigma, &self.model, self.dialect))
    }
}

/// The timestep that the network is given for a sigma: ComfyUI rounds to the table.
fn timestep(sigma: f64, model: &ModelSampling, dialect: Dialect) -> f64 {
    match dialect {
        Dialect::Comfy if !model.is_continuous() => model.nearest_index(sigma) as f64,
        _ => model.timestep(sigma),
    }
}

impl Plan {
    /// The sampler.
    pub fn sampler(&self) -> Sampler {
        self.sampler
    }

    /// The schedule, Automatic resolved.
    pub fn schedule(&self) -> Schedule {
        self.schedule
    }

    /// The noise levels at the steps' borders, falling.
    pub fn sigmas(&self) -> &[f64] {
        &self.sigmas
    }

    /// Whether the number of steps and calls is known only at the end (DPM adaptive).
    pub fn is_adaptive(&self) -> bool {
        self.adaptive.is_some()
    }

    /// How many steps there are; 0 if [`Plan::is_adaptive`].
    pub fn steps(&self) -> usize {
        self.program.steps as usize
    }

    /// How many calls of the denoiser it takes; 0 if [`Plan::is_adaptive`].
    pub fn calls(&self) -> usize {
        self.program.calls as usize
    }

    /// Begin at `image_scale * image + noise_scale * noise`. 0 if there is no image.
    pub fn image_scale(&self) -> f64 {
        self.image_scale
    }

    /// See [`Plan::image_scale`].
    pub fn noise_scale(&self) -> f64 {
        self.noise_scale
    }

    /// The smallest sigma over 0 and the largest of the whole schedule: the range of the WebUI's Brownian trees.
    pub fn brownian_range(&self) -> (f64, f64) {
        self.brownian_range
    }

    /// Every call's sigma and timestep, in order.
    pub fn evaluations(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.program.ops.iter().filter_map(|op| match *op {
            Op::Eval { sigma, timestep, .. } => Some((sigma, timestep)),
            _ => None,
        })
    }

    /// How many times noise will be asked for.
    pub fn noise_draws(&self) -> usize {
        self.program
            .ops
            .iter()
            .filter(|op| matches!(op, Op::Noise { .. }))
            .count()
    }

    /// A number that differs between plans that compute differently.
    pub fn fingerprint(&self) -> u64 {
        let mut h = Fnv(0xcbf2_9ce4_8422_2325);
        for op in &self.program.ops {
            match *op {
                Op::Eval {
                    x,
                    dst,
                    uncond,
                    sigma,
                    timestep,
                    ..
                } => {
                    h.words(&[1, x.into(), dst.into(), uncond.map_or(u64::MAX, u64::from)]);
                    h.words(&[sigma.to_bits(), timestep.to_bits()]);
                }
                Op::Noise { dst, from, to, .. } => h.words(&[2, dst.into(), from.to_bits(), to.to_bits()]),
                Op::Lin { dst, first, len } => h.words(&[3, dst.into(), first.into(), len.into()]),
                Op::StepEnd { x, denoised, .. } => h.words(&[4, x.into(), denoised.into()]),
            }
        }
        self.program
            .terms
            .iter()
            .for_each(|t| h.words(&[t.0.to_bits(), t.1.into()]));
        h.0
    }
}

/// Fowler, Noll and Vo's hash, variant 1a.
struct Fnv(u64);

impl Fnv {
    fn words(&mut self, words: &[u64]) {
        for b in words.iter().flat_map(|w| w.to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Lays out `sampler` over `steps` steps of `schedule`.
///
/// # Errors
/// [`Error::InvalidParameter`] with the parameter's name, before any work: `steps`, `strength`, `eta`, `s_churn`, `s_noise`,
/// `sigmas`, `sigma_min`, `sigma_max`, `rho`, `schedule`, `order`, ...
pub fn plan(
    sampler: Sampler,
    schedule: Schedule,
    steps: usize,
    model: &ModelSampling,
    options: &PlanOptions,
) -> Result<Plan> {
    check(options)?;
    let dialect = options.dialect;
    let eta = options.eta.unwrap_or(sampler.default_eta(dialect));
    let schedule = match schedule {
        Schedule::Automatic if dialect == Dialect::WebUi => sampler.automatic_schedule(),
        Schedule::Automatic if dialect == Dialect::Diffusers => Schedule::Leading,
        Schedule::Automatic => Schedule::Uniform,
        s => s,
    };
    if sampler.is_timestep_based(dialect) && options.sigmas.is_none() {
        check_steps(steps)?;
        if model.is_continuous() {
            return Err(Error::param(
                "sampler",
                format!("{sampler} works over timesteps, which this model has not"),
            ));
        }
        let t = sampler::emit_timesteps(sampler, steps, schedule, model, eta, options)?;
        return Ok(Plan {
            brownian_range: range_of(&t.sigmas),
            program: Arc::new(t.program),
            adaptive: None,
            sampler,
            schedule,
            sigmas: t.sigmas,
            image_scale: t.image_scale,
            noise_scale: t.noise_scale,
        });
    }
    if sampler == Sampler::Lcm && dialect == Dialect::WebUi && !model.is_continuous() {
        return lcm_plan(schedule, steps, model, eta, options);
    }
    let rule = |sigma: f64| timestep(sigma, model, dialect);
    over_sigmas(sampler, schedule, steps, (model, &rule), eta, options)
}

/// The WebUI's LCM knows no more than the 50 timesteps of distillation (19, 39, ...): schedules are laid over their sigmas, and
/// the network is given the nearest of them.
fn lcm_plan(
    schedule: Schedule,
    steps: usize,
    model: &ModelSampling,
    eta: f64,
    o: &PlanOptions,
) -> Result<Plan> {
    const ORIGINAL: usize = 50;
    let stride = model.train_steps() / ORIGINAL;
    if stride == 0 {
        return Err(Error::param(
            "sampler",
            format!("LCM needs a model of at least {ORIGINAL} timesteps"),
        ));
    }
    let first = model.train_steps() - 1 - (ORIGINAL - 1) * stride;
    let alphas = model
        .alphas_cumprod()
        .iter()
        .copied()
        .skip(first)
        .step_by(stride)
        .collect();
    let sparse = ModelSampling::from_alphas_cumprod(alphas, model.prediction())?;
    let rule = |sigma: f64| (sparse.nearest_index(sigma) * stride + stride - 1) as f64;
    over_sigmas(Sampler::Lcm, schedule, steps, (&sparse, &rule), eta, o)
}

fn over_sigmas(
    sampler: Sampler,
    schedule: Schedule,
    steps: usize,
    (model, rule): (&ModelSampling, &dyn Fn(f64) -> f64),
    eta: f64,
    options: &PlanOptions,
) -> Result<Plan> {
    let all = all_sigmas(sampler, schedule, steps, model, options)?;
    let skip = match (options.start, &options.sigmas) {
        (Start::Noise, _) => 0,
        (Start::Image { strength, .. }, Some(_)) => {
            skipped(all.len() - 1, all.len(), strength, false, options)?
        }
        (
            Start::Image {
                strength,
                exact_steps,
            },
            None,
        ) => skipped(steps, all.len(), strength, exact_steps, options)?,
    };
    let sigmas = all[skip..].to_vec();
    check_falling(&sigmas)?;
    let partial = options.sigmas.is_some() || options.start != Start::Noise;
    let ctx = Ctx {
        sigmas: &sigmas,
        eta,
        options,
        model,
        partial,
    };
    // diffusers' linspace interpolates sigma between timesteps and keeps their fractions.
    let plain = options.dialect == Dialect::Diffusers && sampler.style() == Style::Plain;
    let fractional: Vec<(f64, f64)> = if plain && schedule == Schedule::Uniform && options.sigmas.is_none() {
        let top = (model.train_steps() - 1) as f64;
        all.iter()
            .copied()
            .zip(linspace(0.0, top, all.len() - 1).rev())
            .collect()
    } else {
        Vec::new()
    };
    let (mut program, mut adaptive) = (Program::default(), None);
    if sampler == Sampler::DpmAdaptive {
        let (model, dialect) = (Arc::new(model.clone()), options.dialect);
        adaptive = Some(AdaptivePlan {
            solver: Adaptive::new(ctx.range()?, eta, options)?,
            model,
            dialect,
        });
    } else {
        if sampler == Sampler::DpmFast {
            ctx.range()?;
        }
        let rule = |sigma: f64| match fractional.iter().find(|f| f.0 == sigma) {
            Some(f) => f.1,
            None => rule(sigma),
        };
        let mut b = Builder::new(&rule);
        let mut result = sampler::emit(sampler, &mut b, &ctx);
        let last = sigmas[sigmas.len() - 1];
        if options.dialect == Dialect::Diffusers && sampler.style() != Style::Plain && last > 0.0 {
            // Schedulers of this style hand out variance-preserving latents.
            result = b.lin(&[(1.0 / (1.0 + last * last).sqrt(), result)]);
        }
        program = b.finish(result);
    }
    let (image_scale, noise_scale) = match options.start {
        Start::Image { .. } => (1.0, sigmas[0]),
        Start::Noise => (
            0.0,
            first_noise_scale(sampler, sigmas[0], schedule, model, options.dialect),
        ),
    };
    let range = range_of(&all);
    let program = Arc::new(program);
    Ok(Plan {
        program,
        adaptive,
        sampler,
        schedule,
        sigmas,
        image_scale,
        noise_scale,
        brownian_range: range,
    })
}

fn range_of(sigmas: &[f64]) -> (f64, f64) {
    let positive = sigmas.iter().copied().filter(|s| *s > 0.0);
    (
        positive.clone().fold(f64::INFINITY, f64::min),
        positive.fold(0.0, f64::max),
    )
}

/// The WebUI multiplies by the first sigma; ComfyUI by `sqrt(1 + sigma^2)` when that is the model's largest, diffusers with the
/// leading spacing or a multistep solver: then the network sees unit variance.
fn first_noise_scale(
    sampler: Sampler,
    sigma: f64,
    schedule: Schedule,
    model: &ModelSampling,
    dialect: Dialect,
) -> f64 {
    let unit = match dialect {
        Dialect::WebUi => false,
        Dialect::Comfy => sigma >= model.sigma_max() * (1.0 - 1e-5),
        Dialect::Diffusers => {
            sampler.style() != Style::Plain || !matches!(schedule, Schedule::Uniform | Schedule::Trailing)
        }
    };
    if unit { (1.0 + sigma * sigma).sqrt() } else { sigma }
}

fn all_sigmas(
    sampler: Sampler,
    schedule: Schedule,
    steps: usize,
    model: &ModelSampling,
    o: &PlanOptions,
) -> Result<Vec<f64>> {
    if let Some(own) = &o.sigmas {
        check_falling(own)?;
        check_steps(own.len() - 1)?;
        return Ok(own.clone());
    }
    check_steps(steps)?;
    let total = match o.start {
        Start::Noise => steps,
        Start::Image { .. } if o.dialect == Dialect::Comfy => comfy_total(steps, o)?,
        Start::Image { .. } if o.dialect == Dialect::WebUi => strength_steps(steps, o)?.steps,
        Start::Image { .. } => steps,
    };
    let discard = o
        .discard_next_to_last_sigma
        .unwrap_or(sampler.discards_next_to_last_sigma(o.dialect));
    let points = total + usize::from(discard);
    let mut sigmas = schedule.sigmas_in_style(sampler.style(), points, model, o.dialect, &o.schedule)?;
    if discard && sigmas.len() > 2 {
        sigmas.remove(sigmas.len() - 2);
    }
    Ok(sigmas)
}

/// What the WebUI's rules make of steps and strength.
pub(crate) struct Entry {
    /// Steps of the whole schedule.
    pub steps: usize,
    /// How many of them, less one, are run (None: all, from noise).
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
fn comfy_total(steps: usize, o: &PlanOptions) -> Result<usize> {
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

/// How many of `steps` diffusers runs.
pub(crate) fn diffusers_strength_steps(steps: usize, strength: f64) -> Result<usize> {
    match ((steps as f64 * strength) as usize).min(steps) {
        0 => Err(Error::param(
            "strength",
            format!("{strength} leaves nothing of {steps} steps"),
        )),
        n => Ok(n),
    }
}

/// How many of the first sigmas an image skips.
fn skipped(steps: usize, sigmas: usize, strength: f64, exact: bool, o: &PlanOptions) -> Result<usize> {
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

fn check(o: &PlanOptions) -> Result<()> {
    let at_least_0 = |name: &'static str, v: f64, finite: bool| {
        if v >= 0.0 && (v.is_finite() || !finite) {
            return Ok(());
        }
        Err(Error::param(name, format!("must be at least 0, not {v}")))
    };
    at_least_0("eta", o.eta.unwrap_or(0.0), true)?;
    at_least_0("s_churn", o.s_churn, true)?;
    at_least_0("s_tmin", o.s_tmin, true)?;
    at_least_0("s_tmax", o.s_tmax, false)?;
    at_least_0("s_noise", o.s_noise, true)?;
    if let Some(order) = o.order.filter(|order| !(1..=4).contains(order)) {
        return Err(Error::param("order", format!("must be from 1 to 4, not {order}")));
    }
    if let Start::Image { strength, .. } = o.start
        && !(0.0..=1.0).contains(&strength)
    {
        return Err(Error::param(
            "strength",
            format!("must lie in 0..=1, not {strength}"),
        ));
    }
    Ok(())
}
