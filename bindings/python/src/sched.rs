//! Schedules, samplers and noise alone: the caller brings the network.

use std::{
    str::FromStr,
    sync::{Mutex, PoisonError},
};

use pyo3::{
    prelude::*,
    types::{PyByteArray, PyDict},
};
use sd_sched::{
    BetaSchedule, Denoised, Dialect, Error, Latent, ModelSampling, PlanOptions, Prediction, Sampler,
    Schedule, ScheduleOptions, Start, Stepper,
    rng::{self, BrownianTree, Dtype, Source},
};
use sdrs::Rng;

use crate::{
    array::{doubles, floats, take, take_doubles},
    error::{argument, exception, parameter, sched},
    pipeline::Pipeline,
    settings::{dtype_of, rng as rng_of},
};

/// The names of the samplers, the WebUI's.
#[pyfunction]
pub(crate) fn samplers() -> Vec<String> {
    Sampler::ALL.iter().map(ToString::to_string).collect()
}

/// The names of the schedules, the WebUI's.
#[pyfunction]
pub(crate) fn schedules() -> Vec<String> {
    Schedule::ALL.iter().map(ToString::to_string).collect()
}

fn model(pipeline: Option<&Bound<'_, Pipeline>>) -> ModelSampling {
    match pipeline {
        Some(pipeline) => pipeline.get().inner.sampling().clone(),
        None => ModelSampling::stable_diffusion(Prediction::Epsilon),
    }
}

/// The table that a sampler's scheduler in diffusers has for a model, as bytes of float64, by timestep. `zero_terminal_snr`: whether
/// it is rescaled; None if the model's is.
#[pyfunction]
pub(crate) fn noise_levels(
    py: Python<'_>,
    pipeline: &Bound<'_, Pipeline>,
    sampler: &str,
    zero_terminal_snr: Option<bool>,
) -> PyResult<Py<PyByteArray>> {
    let sampler: Sampler = sampler.parse().map_err(sched)?;
    let model = rescaled(model(Some(pipeline)), zero_terminal_snr);
    Ok(doubles(
        py,
        sampler.noise_levels(&model, Dialect::Diffusers).sigmas(),
    ))
}

fn rescaled(model: ModelSampling, zero_terminal_snr: Option<bool>) -> ModelSampling {
    match zero_terminal_snr {
        Some(true) => model.with_zero_terminal_snr(),
        Some(false) => model.without_zero_terminal_snr(),
        None => model,
    }
}

/// diffusers' name of a model's betas, with the first and the last where they have them.
#[pyfunction]
pub(crate) fn betas(pipeline: &Bound<'_, Pipeline>) -> Option<(&'static str, Option<(f64, f64)>)> {
    match pipeline.get().inner.sampling().betas()? {
        BetaSchedule::ScaledLinear { start, end } => Some(("scaled_linear", Some((start, end)))),
        BetaSchedule::Linear { start, end } => Some(("linear", Some((start, end)))),
        BetaSchedule::Cosine => Some(("squaredcos_cap_v2", None)),
        _ => None,
    }
}

fn finite_and_positive(sigma: f64) -> PyResult<()> {
    match sigma.is_finite() && sigma > 0.0 {
        true => Ok(()),
        false => Err(parameter(
            "sigma",
            format!("must be a number over 0, not {sigma}"),
        )),
    }
}

/// The scalings of a network at a noise level: timestep, `c_in`, `c_skip`, `c_out`.
#[pyfunction]
pub(crate) fn scalings(
    pipeline: Option<&Bound<'_, Pipeline>>,
    sigma: &Bound<'_, PyAny>,
) -> PyResult<[f64; 4]> {
    let sigma = argument("sigma", sigma)?;
    finite_and_positive(sigma)?;
    let model = model(pipeline);
    let s = model.scalings(sigma);
    Ok([model.timestep(sigma), s.c_in, s.c_skip, s.c_out])
}

/// The noise levels of a schedule, or those that a sampler visits with it.
#[pyfunction]
pub(crate) fn sigmas(
    py: Python<'_>,
    pipeline: Option<&Bound<'_, Pipeline>>,
    schedule: &Bound<'_, PyAny>,
    steps: &Bound<'_, PyAny>,
    sampler: &Bound<'_, PyAny>,
    dialect: &Bound<'_, PyAny>,
    options: &Bound<'_, PyDict>,
) -> PyResult<Py<PyByteArray>> {
    let schedule: Schedule = name("schedule", schedule)?;
    let dialect: Dialect = name("dialect", dialect)?;
    let steps: usize = argument("steps", steps)?;
    let model = model(pipeline);
    let mut bent = ScheduleOptions::default();
    for (key, value) in options {
        let key: String = key.extract()?;
        if !schedule_option(&mut bent, &key, &value)? {
            return Err(unknown(&key));
        }
    }
    let sigmas = match argument::<Option<String>>("sampler", sampler)? {
        None => schedule.sigmas(steps, &model, dialect, &bent),
        Some(name) => {
            let options = PlanOptions {
                dialect,
                schedule: bent,
                ..PlanOptions::default()
            };
            let sampler: Sampler = name.parse().map_err(sched)?;
            sd_sched::plan(sampler, schedule, steps, &model, &options).map(|plan| plan.sigmas().to_vec())
        }
    };
    Ok(doubles(py, &sigmas.map_err(sched)?))
}

/// Takes a number of a schedule; false if it is none.
fn schedule_option(bent: &mut ScheduleOptions, key: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    match key {
        "rho" => bent.rho = argument(key, value)?,
        "sigma_min" => bent.sigma_min = argument(key, value)?,
        "sigma_max" => bent.sigma_max = argument(key, value)?,
        "beta_alpha" => bent.beta_alpha = argument(key, value)?,
        "beta_beta" => bent.beta_beta = argument(key, value)?,
        "sdxl" => bent.sdxl = argument(key, value)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn unknown(option: &str) -> PyErr {
    exception("UnknownNameError", &format!("unknown option '{option}'"))
}

/// The value that an argument names.
fn name<T: FromStr<Err = Error>>(name: &str, value: &Bound<'_, PyAny>) -> PyResult<T> {
    argument::<String>(name, value)?.parse().map_err(sched)
}

fn source(name: &Bound<'_, PyAny>) -> PyResult<Source> {
    match rng_of(&argument::<String>("rng", name)?)? {
        Rng::Cpu => Ok(Source::TorchCpu),
        Rng::Nv => Ok(Source::Philox),
        other => Err(parameter(
            "rng",
            format!("{} is not for noise alone", other.name()),
        )),
    }
}

/// Sixteen times what the largest picture's latents have: where memory runs out, the process ends.
fn count(n: usize) -> PyResult<usize> {
    const MOST: usize = 1 << 28;
    match n <= MOST {
        true => Ok(n),
        false => Err(parameter(
            "shape",
            format!("{n} values are too many; {MOST} are the most"),
        )),
    }
}

/// Seeded noise, drawn one array after the other.
#[pyclass(frozen, module = "sdrs._sdrs")]
pub(crate) struct Generator {
    inner: Mutex<rng::Generator>,
}

#[pymethods]
impl Generator {
    #[new]
    fn new(seed: &Bound<'_, PyAny>, rng: &Bound<'_, PyAny>) -> PyResult<Self> {
        let inner = rng::Generator::new(source(rng)?, argument("seed", seed)?);
        Ok(Self { inner: inner.into() })
    }

    /// Standard normal noise, as bytes of float32; `dtype` is the type that it is drawn in.
    fn normal(
        &self,
        py: Python<'_>,
        n: &Bound<'_, PyAny>,
        dtype: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyByteArray>> {
        let n = count(argument("shape", n)?)?;
        let dtype = match dtype_of(dtype)? {
            sdrs::Dtype::F32 => Dtype::F32,
            sdrs::Dtype::Bf16 => Dtype::Bf16,
            sdrs::Dtype::F16 => Dtype::F16,
        };
        let values = py.detach(|| {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            inner.normal(n, dtype)
        });
        Ok(floats(py, &values))
    }
}

/// Brownian noise for ways between sigmas, one after the other, as bytes of float32.
#[pyfunction]
pub(crate) fn brownian(
    py: Python<'_>,
    n: &Bound<'_, PyAny>,
    seed: &Bound<'_, PyAny>,
    range: (f64, f64),
    ways: Vec<(f64, f64)>,
    rng: &Bound<'_, PyAny>,
) -> PyResult<Py<PyByteArray>> {
    let (n, seed, source) = (
        count(argument("shape", n)?)?,
        argument("seed", seed)?,
        source(rng)?,
    );
    count(n.saturating_mul(ways.len()))?;
    let values = py.detach(|| {
        let mut tree = BrownianTree::new(seed, source, n, range.0, range.1)?;
        let noise = ways.iter().flat_map(|&(from, to)| tree.noise(from, to));
        Ok(noise.collect::<Vec<f32>>())
    });
    Ok(floats(py, &values.map_err(sched)?))
}

/// A sampler laid out over its steps.
#[pyclass(frozen, module = "sdrs._sdrs")]
pub(crate) struct Plan {
    inner: sd_sched::Plan,
}

#[pymethods]
impl Plan {
    /// Over `steps` steps of `schedule`, or over sigmas of the caller's; for a pipeline's model, or for Stable Diffusion's.
    #[new]
    fn new(
        pipeline: Option<&Bound<'_, Pipeline>>,
        sampler: &Bound<'_, PyAny>,
        schedule: &Bound<'_, PyAny>,
        steps: &Bound<'_, PyAny>,
        sigmas: Option<Vec<f64>>,
        dialect: &Bound<'_, PyAny>,
        options: &Bound<'_, PyDict>,
    ) -> PyResult<Self> {
        let sampler: Sampler = name("sampler", sampler)?;
        let schedule: Schedule = name("schedule", schedule)?;
        let mut plan = PlanOptions {
            sigmas,
            dialect: name("dialect", dialect)?,
            ..PlanOptions::default()
        };
        let mut zero_terminal_snr = None;
        for (key, value) in options {
            let key: String = key.extract()?;
            let number = || argument::<f64>(&key, &value);
            match key.as_str() {
                "eta" => plan.eta = argument(&key, &value)?,
                "strength" => {
                    plan.start = Start::Image {
                        strength: number()?,
                        exact_steps: false,
                    }
                }
                "skipped_steps" => {
                    plan.start = Start::Later {
                        skipped: argument(&key, &value)?,
                    }
                }
                "s_churn" => plan.s_churn = number()?,
                "s_tmin" => plan.s_tmin = number()?,
                "s_tmax" => plan.s_tmax = number()?,
                "s_noise" => plan.s_noise = number()?,
                "order" => plan.order = argument(&key, &value)?,
                "zero_terminal_snr" => zero_terminal_snr = argument(&key, &value)?,
                "set_alpha_to_one" => plan.set_alpha_to_one = argument(&key, &value)?,
                _ if schedule_option(&mut plan.schedule, &key, &value)? => {}
                _ => return Err(unknown(&key)),
            }
        }
        let steps = argument("steps", steps)?;
        let model = rescaled(model(pipeline), zero_terminal_snr);
        let inner = sd_sched::plan(sampler, schedule, steps, &model, &plan).map_err(sched)?;
        Ok(Self { inner })
    }

    /// The noise levels at the borders of the steps, as bytes of float64.
    fn sigmas(&self, py: Python<'_>) -> Py<PyByteArray> {
        doubles(py, self.inner.sigmas())
    }

    /// The timestep of each call of the denoiser, as bytes of float64.
    fn timesteps(&self, py: Python<'_>) -> Py<PyByteArray> {
        let timesteps: Vec<f64> = self.inner.evaluations().map(|(_, timestep)| timestep).collect();
        doubles(py, &timesteps)
    }

    /// The number of steps.
    #[getter]
    fn steps(&self) -> usize {
        self.inner.steps()
    }

    /// The number of calls of the denoiser.
    #[getter]
    fn calls(&self) -> usize {
        self.inner.calls()
    }

    /// The factor on the image that is begun at; 0 without one.
    #[getter]
    fn image_scale(&self) -> f64 {
        self.inner.image_scale()
    }

    /// The factor on the first noise.
    #[getter]
    fn noise_scale(&self) -> f64 {
        self.inner.noise_scale()
    }
}

/// Samples with Python's denoiser from `x` on, the bytes of float32 (`single`) or float64 values.
///
/// `denoiser(bytes, sigma, timestep, needs_uncond)` gives bytes, or two if the uncond is needed; `noise(sigma, sigma_next)` gives
/// bytes; `callback(step, steps, sigma, x, denoised)` may raise, and gives bytes that go in x's place, or none.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "keywords")]
pub(crate) fn sample(
    py: Python<'_>,
    denoiser: &Bound<'_, PyAny>,
    x: &[u8],
    single: bool,
    plan: &Bound<'_, Plan>,
    noise: Option<&Bound<'_, PyAny>>,
    seed: &Bound<'_, PyAny>,
    rng: &Bound<'_, PyAny>,
    callback: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyByteArray>> {
    let plan = plan.get().inner.clone();
    let calls = Calls {
        denoiser,
        noise,
        callback,
        seed: argument("seed", seed)?,
        source: source(rng)?,
    };
    match single {
        true => Ok(floats(py, &calls.run(plan, take(x))?)),
        false => Ok(doubles(py, &calls.run(plan, take_doubles(x))?)),
    }
}

/// Values that latents have here.
trait Value: Copy + Into<f64> + 'static {
    fn list(bytes: &[u8]) -> Vec<Self>;
    fn bytes(py: Python<'_>, values: &[Self]) -> Py<PyByteArray>;
    fn of(value: f32) -> Self;
}

impl Value for f32 {
    fn list(bytes: &[u8]) -> Vec<Self> {
        take(bytes)
    }

    fn bytes(py: Python<'_>, values: &[Self]) -> Py<PyByteArray> {
        floats(py, values)
    }

    fn of(value: f32) -> Self {
        value
    }
}

impl Value for f64 {
    fn list(bytes: &[u8]) -> Vec<Self> {
        take_doubles(bytes)
    }

    fn bytes(py: Python<'_>, values: &[Self]) -> Py<PyByteArray> {
        doubles(py, values)
    }

    fn of(value: f32) -> Self {
        value.into()
    }
}

struct Calls<'a, 'py> {
    denoiser: &'a Bound<'py, PyAny>,
    noise: Option<&'a Bound<'py, PyAny>>,
    callback: Option<&'a Bound<'py, PyAny>>,
    seed: u64,
    source: Source,
}

impl Calls<'_, '_> {
    fn run<V: Value>(&self, plan: sd_sched::Plan, x: Vec<V>) -> PyResult<Vec<V>>
    where
        Vec<V>: Latent,
    {
        let (py, n) = (self.denoiser.py(), x.len());
        let mut tree = None;
        let mut generator = rng::Generator::new(self.source, self.seed);
        let (sampler, range) = (plan.sampler(), plan.brownian_range());
        let outcome = sd_sched::drive::<_, _, Raised>(
            Stepper::new(plan, x),
            |x, call| {
                let given = (V::bytes(py, x), call.sigma, call.timestep, call.needs_uncond);
                let answer = self.denoiser.call1(given)?;
                let (denoised, uncond): (Vec<u8>, Option<Vec<u8>>) = answer.extract()?;
                Ok(Denoised {
                    denoised: V::list(&denoised),
                    uncond: uncond.map(|bytes| V::list(&bytes)),
                })
            },
            |way| {
                if let Some(noise) = self.noise {
                    let drawn = noise.call1((way.sigma_from, way.sigma_to))?;
                    return Ok(V::list(&drawn.extract::<Vec<u8>>()?));
                }
                let values = if sampler.uses_brownian_noise() {
                    if tree.is_none() {
                        tree = Some(BrownianTree::new(self.seed, self.source, n, range.0, range.1)?);
                    }
                    let tree = tree.as_mut();
                    tree.map(|tree| tree.noise(way.sigma_from, way.sigma_to))
                        .unwrap_or_default()
                } else {
                    generator.normal(n, Dtype::F32)
                };
                Ok(values.into_iter().map(V::of).collect())
            },
            |stepper, step| {
                if let (Some(callback), Some(progress)) = (self.callback, stepper.progress(step)) {
                    let (x, denoised) = (V::bytes(py, progress.x), V::bytes(py, progress.denoised));
                    let given = (step, progress.steps, progress.sigma, x, denoised);
                    if let Some(replaced) = callback.call1(given)?.extract::<Option<Vec<u8>>>()? {
                        stepper.replace_step(V::list(&replaced))?;
                    }
                }
                Ok(())
            },
        );
        outcome.map_err(|Raised(error)| error)
    }
}

/// The error that ended a run: an exception of a Python function's, or of sd-sched's making.
struct Raised(PyErr);

impl From<PyErr> for Raised {
    fn from(error: PyErr) -> Self {
        Self(error)
    }
}

impl From<Error> for Raised {
    fn from(error: Error) -> Self {
        Self(sched(error))
    }
}
