//! The fields of a configuration that its reader doesn't read: features of other networks, which are refused, and what changes nothing.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::parse;
use crate::{Error, Result, shown};

/// The fields that a reader doesn't read, from the parameters of the classes that write them: diffusers 0.42.1's and transformers 5's,
/// and their older versions'. Any other field is refused, since a network might depend on it.
pub struct Others {
    /// Features that the networks here lack, each with the values that do without it. No value at all, null, always does.
    pub only: &'static [(&'static str, &'static [Plain])],
    /// Of no influence on what a network computes.
    pub harmless: &'static [&'static str],
}

/// A value of a configuration that stands for itself.
pub enum Plain {
    /// True or false.
    Bool(bool),
    /// A number, whole or not.
    Number(f64),
    /// A text.
    Text(&'static str),
}

/// The activation of all networks but the text encoder, under both its names.
pub(super) const SILU: (&str, &[Plain]) = ("act_fn", &[Plain::Text("silu"), Plain::Text("swish")]);

/// Harmless in any configuration: the types of numbers in files, and what diffusers' `EMAModel` notes of its averages.
const EVERYWHERE: [&str; 9] = [
    "dtype",
    "torch_dtype",
    "decay",
    "inv_gamma",
    "min_decay",
    "optimization_step",
    "power",
    "update_after_step",
    "use_ema_warmup",
];

impl Others {
    /// Parses a configuration, and checks all fields that `T` leaves.
    pub(super) fn parse<T: DeserializeOwned>(&self, json: &str, origin: &str) -> Result<T> {
        let mut ignored = Vec::new();
        let parsed = parse(json, origin, &mut |field| ignored.push(field))?;
        let all: Map<String, Value> = parse(json, origin, &mut |_| {})?;
        for field in ignored {
            let value = all.get(&field).unwrap_or(&Value::Null);
            self.allows(&field, value)
                .map_err(|reason| Error::config(origin, shown(&field), reason))?;
        }
        Ok(parsed)
    }

    /// Whether a field may have this value.
    ///
    /// # Errors
    /// The reason for the refusal, without the field's name.
    pub fn allows(&self, field: &str, value: &Value) -> std::result::Result<(), String> {
        // Names that begin so are the writing library's own notes.
        let known = field.starts_with('_') || EVERYWHERE.contains(&field) || self.harmless.contains(&field);
        if known || value.is_null() {
            return Ok(());
        }
        let Some((_, plain)) = self.only.iter().find(|(name, _)| *name == field) else {
            return Err(format!(
                "{} is not known here and may change what is computed; remove the field if it doesn't",
                excerpt(value)
            ));
        };
        if plain.iter().any(|plain| plain.is(value)) {
            return Ok(());
        }
        let supported = plain.iter().map(Plain::to_string);
        let supported: Vec<_> = match plain {
            [] => vec!["null".to_owned()],
            _ => supported.collect(),
        };
        Err(format!(
            "{} is not supported; supported: {}",
            excerpt(value),
            supported.join(", ")
        ))
    }
}

impl Plain {
    /// Whether a value is this, or a list of it: some fields have a value for each level.
    fn is(&self, value: &Value) -> bool {
        match (self, value) {
            (plain, Value::Array(values)) => {
                !values.is_empty() && values.iter().all(|v| !v.is_array() && plain.is(v))
            }
            (Self::Bool(plain), Value::Bool(value)) => plain == value,
            (Self::Number(plain), Value::Number(value)) => value.as_f64() == Some(*plain),
            (Self::Text(plain), Value::String(value)) => plain == value,
            _ => false,
        }
    }
}

impl std::fmt::Display for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
        }
    }
}

/// A value as errors show it.
fn excerpt(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
        Value::String(text) => format!("'{}'", shown(text)),
        other => other.to_string(),
    }
}
