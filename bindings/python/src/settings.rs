//! `GenerateParams` from the package's keyword arguments, and back for its tests.

use pyo3::{exceptions::PyTypeError, prelude::*, types::PyDict};
use sdrs::{Dtype, GenerateParams, Given, PreviewMethod, Rng, Setting, SettingKind, SettingValue};

use crate::{
    error::{argument, detached, raised, unknown},
    json,
};

const RNGS: &[(&str, Rng)] = &[("cpu", Rng::Cpu), ("nv", Rng::Nv)];
const PREVIEWS: &[(&str, PreviewMethod)] = &[
    ("approximate", PreviewMethod::Approximate),
    ("full", PreviewMethod::Full),
    ("taesd", PreviewMethod::Taesd),
];

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

/// The settings among a function's keyword arguments, and which of them are given: those that a model may recommend are not where they are
/// None.
pub(crate) fn settings(arguments: &Bound<'_, PyDict>) -> PyResult<(GenerateParams, Given)> {
    settings_over(arguments, (GenerateParams::default(), Given::default()))
}

/// The same over settings that there are.
pub(crate) fn settings_over(
    arguments: &Bound<'_, PyDict>,
    (mut params, mut given): (GenerateParams, Given),
) -> PyResult<(GenerateParams, Given)> {
    for setting in sdrs::settings() {
        let value = arguments.get_item(setting.name)?;
        if let Some(value) = value.filter(|value| !(setting.recommended && value.is_none())) {
            let value = read(setting, &value)?;
            setting.set(&mut params, value).map_err(|e| raised(&e))?;
            given.insert(setting.name);
        }
    }
    for key in arguments.keys() {
        let key: String = key.extract()?;
        if sdrs::settings().iter().all(|setting| setting.name != key) {
            let message = format!("got an unexpected keyword argument '{key}'");
            return Err(PyTypeError::new_err(message));
        }
    }
    Ok((params, given))
}

fn read(setting: &Setting, value: &Bound<'_, PyAny>) -> PyResult<SettingValue> {
    let name = setting.name;
    if setting.optional && value.is_none() {
        return Ok(SettingValue::Open);
    }
    Ok(match setting.kind {
        SettingKind::Flag => SettingValue::Flag(argument(name, value)?),
        SettingKind::Count => SettingValue::Integer(argument::<u64>(name, value)?.into()),
        SettingKind::Integer => SettingValue::Integer(argument(name, value)?),
        SettingKind::Number => SettingValue::Number(argument(name, value)?),
        _ => SettingValue::Text(argument(name, value)?),
    })
}

/// A value as JSON, for the package.
pub(crate) fn word(value: &SettingValue) -> serde_json::Value {
    match value {
        SettingValue::Flag(flag) => (*flag).into(),
        SettingValue::Integer(n) => serde_json::json!(n),
        SettingValue::Number(x) => (*x).into(),
        SettingValue::Text(text) => text.as_str().into(),
        _ => serde_json::Value::Null,
    }
}

/// Settings in the package's words: what `settings` reads.
fn words(params: &GenerateParams) -> serde_json::Map<String, serde_json::Value> {
    let settings = sdrs::settings().iter();
    settings
        .map(|s| (s.name.to_owned(), word(&s.get(params))))
        .collect()
}

/// The contents of an infotext, as JSON.
#[pyfunction]
pub(crate) fn parse_infotext(py: Python<'_>, text: &Bound<'_, PyAny>) -> PyResult<String> {
    let text: String = argument("text", text)?;
    let read = detached(py, || sdrs::infotext::parse(&text))?;
    json(&serde_json::json!({
        "settings": words(&read.params),
        "model": read.model,
        "model_hash": read.model_hash,
        "refiner": read.refiner,
        "rest": read.rest,
        "notes": read.notes,
    }))
}

/// The infotext of a PNG picture or of a text file.
#[pyfunction]
pub(crate) fn read_infotext(py: Python<'_>, path: std::path::PathBuf) -> PyResult<String> {
    detached(py, || sdrs::infotext::of_file(path))
}

/// The request for previews: a method's name, and the number of steps between two.
pub(crate) fn previews(
    method: &Bound<'_, PyAny>,
    every: &Bound<'_, PyAny>,
) -> PyResult<Option<(PreviewMethod, usize)>> {
    let every: usize = argument("preview_every", every)?;
    let method: Option<String> = argument("preview", method)?;
    let method = method.map(|name| named("preview", &name, PREVIEWS)).transpose()?;
    Ok(method.map(|method| (method, every)))
}

/// The plan of prompts without a checkpoint, as JSON.
#[pyfunction]
pub(crate) fn plan_prompts(py: Python<'_>, given: &Bound<'_, PyDict>) -> PyResult<String> {
    let (params, _) = settings(given)?;
    detached(py, || sdrs::plan_prompts(&params)).and_then(|plan| json(&plan))
}
