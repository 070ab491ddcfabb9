//! The settings of one network.

use std::collections::BTreeMap;

use sd_core::{config::Others, shown};
use serde_json::Value;

use super::{
    fields,
    patterns::{Patterns, Setting},
};
use crate::change::Rotation;

/// The settings that change values, as far as tensors don't say the same.
#[derive(Debug)]
pub(super) struct Settings {
    /// `LORA`, `LOHA`, `LOKR` or `OFT`.
    pub kind: String,
    pub rank: f64,
    pub ranks: Patterns,
    pub alpha: f64,
    pub alphas: Patterns,
    /// Rank-stabilised: alpha is divided by the root of the rank (Kalajdzievski 2023, arXiv:2312.03732).
    pub root: bool,
    pub dora: bool,
    pub bias: bool,
    pub rotation: Rotation,
}

impl Settings {
    pub fn new(all: &BTreeMap<&str, &Setting>) -> Result<Self, String> {
        let get = |name: &str| match all.get(name) {
            Some(Setting::Value(value)) if !value.is_null() => Some(value),
            _ => None,
        };
        let wrong = |name: &str, value: &Value| format!("{name}: {value} is not possible");
        let flag = |name: &str, default| {
            get(name).map_or(Ok(default), |value| {
                value.as_bool().ok_or_else(|| wrong(name, value))
            })
        };
        let number = |name: &str, default: f64| {
            let number = get(name).map_or(Ok(default), |value| {
                value.as_f64().ok_or_else(|| wrong(name, value))
            })?;
            Ok::<f64, String>(number)
        };
        let pattern = |name: &str| match all.get(name) {
            Some(Setting::Pattern(pairs)) => {
                Patterns::new(pairs).map_err(|reason| format!("{name}: {reason}"))
            }
            _ => Ok(Patterns::default()),
        };
        let kind = get("peft_type")
            .map_or(Some("LORA"), Value::as_str)
            .unwrap_or_default();
        // What is not said has PEFT's default.
        let (others, alpha, read): (&Others, _, &[&str]) = match kind {
            "LORA" => {
                let read = &[
                    "init_lora_weights",
                    "lora_alpha",
                    "lora_bias",
                    "r",
                    "use_dora",
                    "use_rslora",
                ];
                (&fields::LORA, "lora_alpha", read)
            }
            "LOHA" | "LOKR" => (&fields::LYCORIS, "alpha", &["alpha", "r"]),
            "OFT" => {
                let read = &["coft", "eps", "num_cayley_neumann_terms", "use_cayley_neumann"];
                (&fields::OFT, "", read)
            }
            other => {
                let other = shown(other);
                return Err(format!(
                    "peft_type: '{other}' is not supported; supported: LORA, LOHA, LOKR, OFT"
                ));
            }
        };
        for (name, setting) in all {
            let Setting::Value(value) = setting else { continue };
            let off = match value {
                Value::Bool(value) => !value,
                Value::String(value) => value.is_empty(),
                Value::Array(values) => values.is_empty(),
                Value::Object(values) => values.is_empty(),
                other => other.is_null(),
            };
            if !off && !read.contains(name) && !fields::EVERYWHERE.contains(name) {
                others
                    .allows(name, value)
                    .map_err(|reason| format!("{}: {reason}", shown(name)))?;
            }
        }
        beginning(get("init_lora_weights"))?;
        if kind == "OFT" {
            // As PEFT itself asks: its rotations were others before.
            if !all.contains_key("oft_block_size") {
                return Err("oft_block_size: is missing, as in PEFT's OFT of before 0.15, whose rotations were others".into());
            }
            if flag("use_cayley_neumann", false)? && !since_0_18(get("peft_version")) {
                return Err(
                    "use_cayley_neumann: true is not supported of PEFT before 0.18, whose series was another"
                        .into(),
                );
            }
        }
        let [rank, alpha] = [number("r", 8.0)?, number(alpha, 8.0)?];
        if kind != "OFT" && !(rank >= 1.0 && alpha.is_finite()) {
            return Err(format!("r: {rank} is no rank"));
        }
        Ok(Self {
            kind: kind.to_owned(),
            rank,
            ranks: pattern("rank_pattern")?,
            alpha,
            alphas: pattern("alpha_pattern")?,
            root: flag("use_rslora", false)?,
            dora: flag("use_dora", false)?,
            bias: flag("lora_bias", false)?,
            rotation: Rotation {
                terms: match flag("use_cayley_neumann", true)? {
                    true => Some(number("num_cayley_neumann_terms", 5.0)? as u64),
                    false => None,
                },
                limit: match flag("coft", false)? {
                    true => Some(number("eps", 6e-5)?),
                    false => None,
                },
            },
        })
    }
}

/// Whether the adapter acts on the model's own weights: some beginnings of training take their part out of these.
fn beginning(init: Option<&Value>) -> Result<(), String> {
    let reason = match init {
        None | Some(Value::Bool(_)) => return Ok(()),
        Some(Value::String(init)) if fields::PLAIN_BEGINNINGS.contains(&init.as_str()) => return Ok(()),
        Some(Value::String(init)) => format!("'{}'", shown(init)),
        Some(other) => other.to_string(),
    };
    Err(format!(
        "init_lora_weights: {reason} is not supported, since training changed the base weights; let PEFT save the adapter with \
         path_initial_model_for_weight_conversion"
    ))
}

/// Whether a version, as PEFT notes it since 0.18, is that or a later one.
fn since_0_18(version: Option<&Value>) -> bool {
    let version = version.and_then(Value::as_str).unwrap_or_default();
    let mut numbers = version
        .split('.')
        .map(|number| number.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version >= (0, 18)
}
