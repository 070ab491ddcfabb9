//! From a choice of sampler, schedule and steps to a plan.

use std::sync::Arc;

use crate::options::{self, PlanOptions, Start};
use crate::program::{Builder, Op, Program};
use crate::sampler::{self, Adaptive, AdaptiveState, Attempt, Ctx};
use crate::schedule::timesteps::Style;
use crate::schedule::{MAX_STEPS, check_falling, check_steps, linspace};
use crate::strength::{comfy_total, left, skipped, strength_steps};
use crate::{Dialect, Error, ModelSampling, Prediction, Result, Sampler, Schedule};

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

/// The data from which DPM adaptive goes on writing its program.
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

    /// The number of steps; 0 if [`Plan::is_adaptive`].
    pub fn steps(&self) -> usize {
        self.program.steps as usize
    }

    /// The number of calls of the denoiser; 0 if [`Plan::is_adaptive`].
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

    /// The number of draws of noise.
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
    options::check(options)?;
    let dialect = options.dialect;
    let eta = options.eta.unwrap_or(sampler.default_eta(dialect));
    let schedule = match schedule {
        Schedule::Automatic if dialect == Dialect::WebUi => sampler.automatic_schedule(),
        Schedule::Automatic if dialect == Dialect::Diffusers => Schedule::Leading,
        Schedule::Automatic => Schedule::Uniform,
        s => s,
    };
    let model = &*sampler.noise_levels(model, dialect);
    let plan = lay_out(sampler, schedule, steps, model, eta, options)?;
    if model.prediction() == Prediction::Epsilon && plan.evaluations().any(|(sigma, _)| sigma >= NO_SIGNAL) {
        let reason = format!(
            "epsilon says nothing of the picture where only noise is left, at the last timestep of {sampler} with zero terminal SNR; \
             take a model of v, or leading timesteps"
        );
        return Err(Error::param("prediction", reason));
    }
    Ok(plan)
}

/// Such sigmas are a signal-to-noise ratio of 0, and have no exact number.
const NO_SIGNAL: f64 = (1u64 << 31) as f64;

/// A [`plan`] with everything that can follow from something else given.
fn lay_out(
    sampler: Sampler,
    schedule: Schedule,
    steps: usize,
    model: &ModelSampling,
    eta: f64,
    options: &PlanOptions,
) -> Result<Plan> {
    let dialect = options.dialect;
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
    // diffusers' multistep solvers know whole timesteps alone, wherever their sigmas lie.
    let whole = dialect == Dialect::Diffusers && sampler.style().is_multistep() && !model.is_continuous();
    let rule = |sigma: f64| match timestep(sigma, model, dialect) {
        t if whole => t.round_ties_even(),
        t => t,
    };
    over_sigmas(sampler, schedule, steps, (model, &rule), eta, options)
}

/// The plan with the most steps that makes no more than `calls` calls: for comparing samplers at equal cost.
///
/// # Errors
/// As [`plan`]; `calls` if even one step makes more, or the sampler is adaptive.
pub fn plan_for_calls(
    sampler: Sampler,
    schedule: Schedule,
    calls: usize,
    model: &ModelSampling,
    options: &PlanOptions,
) -> Result<Plan> {
    let make = |steps| plan(sampler, schedule, steps, model, options);
    let (mut low, mut high) = (0, calls.min(MAX_STEPS - 1) + 2);
    let mut best = Err(Error::param(
        "calls",
        format!("{calls} are too few for one step of {sampler}"),
    ));
    while high - low > 1 {
        let mid = low + (high - low) / 2;
        match make(mid) {
            Ok(p) if p.is_adaptive() => {
                return Err(Error::param("calls", "can't be fixed for an adaptive sampler"));
            }
            Ok(p) if p.calls() <= calls => (low, best) = (mid, Ok(p)),
            // Too many calls, or more steps than the schedule can have.
            Ok(_) => high = mid,
            Err(e) => {
                high = mid;
                best = best.or(Err(e));
            }
        }
    }
    best
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
        (Start::Later { skipped }, _) => left(all.len() - 1, skipped).map(|_| skipped)?,
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
        Start::Image { .. } | Start::Later { .. } => (1.0, sigmas[0]),
        Start::Noise => (
            0.0,
            first_noise_scale(sampler, sigmas[0], schedule, model, options),
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

/// The WebUI multiplies by the first sigma, or, if asked to, by `sqrt(1 + sigma^2)`; ComfyUI by that when sigma is the model's largest,
/// diffusers with the leading spacing or a multistep solver: then the network sees unit variance.
fn first_noise_scale(
    sampler: Sampler,
    sigma: f64,
    schedule: Schedule,
    model: &ModelSampling,
    options: &PlanOptions,
) -> f64 {
    let unit = match options.dialect {
        Dialect::WebUi => options.sgm_noise_multiplier,
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
        Start::Noise | Start::Later { .. } => steps,
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
