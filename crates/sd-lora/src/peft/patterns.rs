//! Settings as JSON, and the patterns among them: regular expressions for the names of layers that a value is for.

use std::{collections::HashSet, fmt};

use regex::{RegexSet, RegexSetBuilder};
use sd_core::shown;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// More than any model has layers.
const MOST: usize = 20_000;

/// A setting: a value, or a pattern's pairs in their order.
#[derive(Debug)]
pub(super) enum Setting {
    Value(Value),
    Pattern(Vec<(String, f64)>),
}

/// Values by patterns.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    set: RegexSet,
    pairs: Vec<(String, f64)>,
}

/// Reads a JSON object of settings.
pub(super) fn settings(json: &str) -> Result<Vec<(String, Setting)>, String> {
    let All(settings) =
        serde_json::from_str(json).map_err(|e| format!("is no JSON object of PEFT's settings: {e}"))?;
    Ok(settings)
}

impl Patterns {
    /// As PEFT matches them (`get_pattern_key`): a key is the whole name, or what follows a dot in it.
    pub fn new(pairs: &[(String, f64)]) -> Result<Self, String> {
        if pairs.len() > MOST {
            return Err(format!("{} patterns are more than {MOST}", pairs.len()));
        }
        let build = |keys: &[(String, f64)]| {
            let keys = keys.iter().map(|(key, _)| format!(r"^(.*\.)?({key})$"));
            RegexSetBuilder::new(keys).size_limit(1 << 26).build()
        };
        let set = build(pairs).map_err(|e| {
            let key = pairs
                .iter()
                .find(|pair| build(std::slice::from_ref(pair)).is_err());
            let key = key.map_or("all together", |(key, _)| key.as_str());
            // The error draws a picture of many lines.
            let reason = e.to_string();
            let reason = reason.lines().last().unwrap_or_default();
            format!(
                "'{}' can't be read as a regular expression: {}",
                shown(key),
                shown(reason)
            )
        })?;
        Ok(Self {
            set,
            pairs: pairs.to_vec(),
        })
    }

    /// The value of the first pattern that is for this layer.
    pub fn of(&self, layer: &str) -> Option<f64> {
        let first = self.set.matches(layer).iter().next()?;
        Some(self.pairs[first].1)
    }

    /// Keys of patterns that are for none of these layers.
    pub fn idle<'a>(&self, layers: impl Iterator<Item = &'a str>) -> Vec<&str> {
        if self.pairs.is_empty() {
            return Vec::new();
        }
        let matched: HashSet<usize> = layers.flat_map(|layer| self.set.matches(layer)).collect();
        let pairs = self.pairs.iter().enumerate();
        let idle = pairs.filter(|(at, _)| !matched.contains(at));
        idle.map(|(_, (key, _))| key.as_str()).collect()
    }
}

struct All(Vec<(String, Setting)>);

impl<'de> Deserialize<'de> for All {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Settings;
        impl<'de> Visitor<'de> for Settings {
            type Value = All;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<All, A::Error> {
                let mut all = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    let setting = match name.ends_with("alpha_pattern") || name.ends_with("rank_pattern") {
                        true => Setting::Pattern(
                            map.next_value::<Option<Pairs>>()?
                                .map_or(Vec::new(), |pairs| pairs.0),
                        ),
                        false => Setting::Value(map.next_value()?),
                    };
                    all.push((name, setting));
                }
                Ok(All(all))
            }
        }
        from.deserialize_map(Settings)
    }
}

/// Patterns with their numbers. The first that matches decides, so their order is kept.
struct Pairs(Vec<(String, f64)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Numbers;
        impl<'de> Visitor<'de> for Numbers {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of patterns and numbers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some((key, number)) = map.next_entry::<String, f64>()? {
                    if !number.is_finite() {
                        return Err(de::Error::custom("a pattern's value is not finite"));
                    }
                    pairs.push((key, number));
                }
                Ok(Pairs(pairs))
            }
        }
        from.deserialize_map(Numbers)
    }
}
