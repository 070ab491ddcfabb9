//! `GenerateParams` from the package's keyword arguments, and back for its tests.

use pyo3::{prelude::*, types::PyDict};
use sdrs::{ClipSkipRule, Dtype, GenerateParams, PreviewMethod, Recommended, Rng, TimeRule};

use crate::{
    error::{argument, detached, exception, raised, sched, unknown},
    json,
};

const RNGS: &[(&str, Rng)] = &[("cpu", Rng::Cpu), ("nv", Rng::Nv)];
const CLIP_SKIP_RULES: &[(&str, ClipSkipRule)] = &[
    ("webui", ClipSkipRule::WebUi),
    ("diffusers", ClipSkipRule::Diffusers),
];
const PREVIEWS: &[(&str, PreviewMethod)] = &[
    ("approximate", PreviewMethod::Approximate),
    ("full", PreviewMethod::Full),
];
const TIME_RULES: &[(&str, TimeRule)] = &[("current", TimeRule::Current), ("before-1.6", TimeRule::Before16)];

/// The value of a name; case doesn't matter.
pub(crate) fn named<T: Copy>(what: &str, name: &str, known: &[(&str, T)]) -> PyResult<T> {
    let found = known.iter().find(|(known, _)| name.eq_ignore_ascii_case(known));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        unknown(what, name, &names.join(", "))
    })
}

pub(crate) fn dtype_of(given: &Bound<'_, PyAny>) -> PyResult<Dtype> {
    let name: String = argument("dtype", given)?;
    Dtype::from_name(&name).ok_or_else(|| unknown("dtype", &name, "f32, bf16, f16"))
}

pub(crate) fn rng(name: &str) -> PyResult<Rng> {
    named("rng", name, RNGS)
}

/// Every word that a run understands, and what was given of those that a model may recommend. Values that are not there keep their
/// defaults.
pub(crate) fn settings(given: &Bound<'_, PyDict>) -> PyResult<(GenerateParams, Recommended)> {
    let (mut p, mut own) = (GenerateParams::default(), Recommended::default());
    let mut suffix = None;
    for (key, value) in given {
        let key: String = key.extract()?;
        let name = key.as_str();
        let text = || argument::<String>(name, &value);
        match name {
            "prompt" => p.prompt = text()?,
            "negative_prompt" => p.negative_prompt = text()?,
            "width" => p.width = argument(name, &value)?,
            "height" => p.height = argument(name, &value)?,
            "steps" => own.steps = argument(name, &value)?,
            "cfg_scale" => own.cfg_scale = argument(name, &value)?,
            "sampler" => {
                let named: Option<String> = argument(name, &value)?;
                let read = named
                    .map(|name| sdrs::parse_sampler(&name))
                    .transpose()
                    .map_err(sched)?;
                (own.sampler, suffix) = read.unzip();
            }
            "schedule" => {
                let named: Option<String> = argument(name, &value)?;
                own.schedule = named.map(|name| name.parse()).transpose().map_err(sched)?;
            }
            "seed" => p.seed = argument(name, &value)?,
            "batch_size" => p.batch_size = argument(name, &value)?,
            "clip_skip" => own.clip_skip = argument(name, &value)?,
            "clip_skip_rule" => p.clip_skip_rule = named("clip_skip_rule", &text()?, CLIP_SKIP_RULES)?,
            "prompt_dialect" => {
                p.prompt_dialect = sdrs::parse_prompt_dialect(&text()?).map_err(|e| raised(&e))?
            }
            "emphasis" => p.emphasis = sdrs::parse_emphasis(&text()?).map_err(|e| raised(&e))?,
            "time_rule" => p.time_rule = named("time_rule", &text()?, TIME_RULES)?,
            "comma_backtrack" => p.comma_backtrack = argument(name, &value)?,
            "text_as_is" => p.text_as_is = argument(name, &value)?,
            "pad_prompts" => p.pad_prompts = argument(name, &value)?,
            "eta" => p.eta = argument(name, &value)?,
            "ensd" => p.ensd = argument(name, &value)?,
            "variation_seed" => p.variation_seed = argument(name, &value)?,
            "variation_strength" => p.variation_strength = argument(name, &value)?,
            "rng" => p.rng = rng(&text()?)?,
            "ngms" => p.ngms = argument(name, &value)?,
            "ngms_all_steps" => p.ngms_all_steps = argument(name, &value)?,
            "skip_early_cfg" => p.skip_early_cfg = argument(name, &value)?,
            "guidance_sigma_min" => p.guidance_sigma_min = argument(name, &value)?,
            "guidance_sigma_max" => p.guidance_sigma_max = argument(name, &value)?,
            "token_merging" => p.token_merging = argument(name, &value)?,
            "deep_cache_interval" => p.deep_cache_interval = argument(name, &value)?,
            "deep_cache_branch" => p.deep_cache_branch = argument(name, &value)?,
            other => {
                return Err(exception(
                    "UnknownNameError",
                    &format!("unknown setting '{other}'"),
                ));
            }
        }
    }
    own.schedule = own.schedule.or(suffix.flatten());
    Ok((p, own))
}

/// Settings in the package's words: what `settings` reads.
fn words(p: &GenerateParams) -> serde_json::Value {
    fn name<T: PartialEq>(value: &T, known: &[(&'static str, T)]) -> Option<&'static str> {
        let found = known.iter().find(|(_, known)| known == value);
        found.map(|(name, _)| *name)
    }
    serde_json::json!({
        "prompt": p.prompt,
        "negative_prompt": p.negative_prompt,
        "width": p.width,
        "height": p.height,
        "steps": p.steps,
        "cfg_scale": p.cfg_scale,
        "sampler": p.sampler.to_string(),
        "schedule": p.schedule.to_string(),
        "seed": p.seed,
        "batch_size": p.batch_size,
        "clip_skip": p.clip_skip,
        "clip_skip_rule": name(&p.clip_skip_rule, CLIP_SKIP_RULES),
        "prompt_dialect": format!("{:?}", p.prompt_dialect).to_lowercase(),
        "emphasis": format!("{:?}", p.emphasis).to_lowercase(),
        "time_rule": name(&p.time_rule, TIME_RULES),
        "comma_backtrack": p.comma_backtrack,
        "text_as_is": p.text_as_is,
        "pad_prompts": p.pad_prompts,
        "eta": p.eta,
        "ensd": p.ensd,
        "variation_seed": p.variation_seed,
        "variation_strength": p.variation_strength,
        "rng": name(&p.rng, RNGS),
        "ngms": p.ngms,
        "ngms_all_steps": p.ngms_all_steps,
        "skip_early_cfg": p.skip_early_cfg,
        "guidance_sigma_min": p.guidance_sigma_min,
        "guidance_sigma_max": p.guidance_sigma_max,
        "token_merging": p.token_merging,
        "deep_cache_interval": p.deep_cache_interval,
        "deep_cache_branch": p.deep_cache_branch,
    })
}

/// The library's defaults, as JSON: a test compares them with the package's signatures. What a model may recommend is null.
#[pyfunction]
pub(crate) fn default_settings() -> PyResult<String> {
    let mut words = words(&GenerateParams::default());
    for (name, value) in recommended_words(&Recommended::default()) {
        words[name] = value;
    }
    json(&words)
}

/// What a model may recommend, by name; null where it doesn't.
pub(crate) fn recommended_words(r: &Recommended) -> [(&'static str, serde_json::Value); 5] {
    [
        ("steps", r.steps.into()),
        ("cfg_scale", r.cfg_scale.into()),
        ("sampler", r.sampler.map(|sampler| sampler.to_string()).into()),
        ("schedule", r.schedule.map(|schedule| schedule.to_string()).into()),
        ("clip_skip", r.clip_skip.into()),
    ]
}

/// What an infotext says, as JSON.
#[pyfunction]
pub(crate) fn parse_infotext(py: Python<'_>, text: &Bound<'_, PyAny>) -> PyResult<String> {
    let text: String = argument("text", text)?;
    let read = detached(py, || sdrs::infotext::parse(&text))?;
    json(&serde_json::json!({
        "settings": words(&read.params),
        "model": read.model,
        "model_hash": read.model_hash,
        "rest": read.rest,
        "notes": read.notes,
    }))
}

/// The infotext of a PNG picture or of a text file.
#[pyfunction]
pub(crate) fn read_infotext(py: Python<'_>, path: std::path::PathBuf) -> PyResult<String> {
    detached(py, || sdrs::infotext::of_file(path))
}

/// How previews are asked for: a method's name, and after how many steps.
pub(crate) fn previews(
    method: &Bound<'_, PyAny>,
    every: &Bound<'_, PyAny>,
) -> PyResult<Option<(PreviewMethod, usize)>> {
    let every: usize = argument("preview_every", every)?;
    let method: Option<String> = argument("preview", method)?;
    let method = method.map(|name| named("preview", &name, PREVIEWS)).transpose()?;
    Ok(method.map(|method| (method, every)))
}

/// How prompts are read, without a checkpoint, as JSON.
#[pyfunction]
pub(crate) fn plan_prompts(py: Python<'_>, given: &Bound<'_, PyDict>) -> PyResult<String> {
    let (mut params, given) = settings(given)?;
    Recommended::default().settle(&given, &mut params);
    detached(py, || sdrs::plan_prompts(&params)).and_then(|plan| json(&plan))
}
