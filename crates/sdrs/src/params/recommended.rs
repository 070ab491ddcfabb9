//! Settings that a checkpoint recommends.

use std::{collections::BTreeSet, fmt};

use sd_sched::Schedule;
use serde_json::Value;

use super::{ClipSkipRule, GenerateParams, Limits, SETTINGS, Setting, SettingKind, SettingValue};
use crate::{Error, Result};

/// The names of the settings that a caller has given: there no recommendation counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given(BTreeSet<&'static str>);

impl Given {
    /// All settings.
    pub fn all() -> Self {
        Self(SETTINGS.iter().map(|setting| setting.name).collect())
    }

    /// Adds a setting's name.
    pub fn insert(&mut self, name: &'static str) {
        self.0.insert(name);
    }

    /// Whether a setting is given.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}

/// The settings that a checkpoint recommends, with their values.
///
/// A diffusers folder has them as a JSON object in the file `sdrs_recommended.json`, a single file in its metadata under
/// `sdrs.recommended`, by the names of the fields of [`GenerateParams`]: `{"steps": 20, "cfg_scale": 4.5, "sampler": "DPM++ 2M",
/// "schedule": "Karras"}`. Where a caller leaves a setting open, the checkpoint's counts, else the WebUI's default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recommended(Vec<(&'static str, SettingValue)>);

/// The order in which they are listed; others follow.
const ORDER: [&str; 4] = ["steps", "cfg_scale", "sampler", "schedule"];

impl Recommended {
    /// Whether nothing is recommended.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The recommended value of the setting of this name.
    pub fn get(&self, name: &str) -> Option<&SettingValue> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value)
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &SettingValue)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }

    /// Writes the recommended values to the parameters, but for settings in `given`, and returns those that it wrote. A schedule belongs to
    /// its sampler: where another sampler is given, it is not taken. Nor is `clip_skip` where layers are to be counted as diffusers does.
    pub fn settle(&self, given: &Given, params: &mut GenerateParams) -> Self {
        let fits = |name| match name {
            "schedule" => !given.contains("sampler"),
            "clip_skip" => params.text.clip_skip_rule == ClipSkipRule::WebUi,
            _ => true,
        };
        let open = |(name, _): &&(&'static str, _)| fits(*name) && !given.contains(name);
        let taken = Self(self.0.iter().filter(open).cloned().collect());
        for setting in SETTINGS {
            if let Some(value) = taken.get(setting.name) {
                // It was read back from parameters, which take it again.
                let _ = (setting.set)(params, value.clone());
            }
        }
        taken
    }

    /// The settings of a checkpoint's text, `origin` for short, and the keys that mean nothing here.
    pub(crate) fn parse(json: &str, origin: &str) -> Result<(Self, Vec<String>)> {
        let fail = |reason: String| Error::InvalidFile {
            path: origin.to_owned(),
            reason: format!("recommended settings: {reason}"),
        };
        let mut object: serde_json::Map<String, Value> =
            serde_json::from_str(json).map_err(|e| fail(format!("no JSON object: {e}")))?;
        let (mut params, mut found) = (GenerateParams::default(), Vec::new());
        for setting in SETTINGS.iter().filter(|setting| setting.recommended) {
            let value = object.remove(setting.name);
            if let Some(value) = &value {
                let unusable = |error| match error {
                    Error::UnknownName(reason) => fail(format!("{}: {reason}", setting.name)),
                    _ => {
                        let value: String = value.to_string().chars().take(80).collect();
                        fail(format!("{}: {value} can't be used", setting.name))
                    }
                };
                setting.set(&mut params, read(setting, value)).map_err(unusable)?;
            }
            // A sampler's name may carry it.
            let suffixed = setting.name == "schedule" && params.sampling.schedule != Schedule::Automatic;
            if value.is_some() || suffixed {
                found.push((setting.name, setting.get(&params)));
            }
        }
        found.sort_by_key(|(name, _)| {
            ORDER
                .iter()
                .position(|known| known == name)
                .unwrap_or(ORDER.len())
        });
        let unknown = object.keys().map(|key| sd_core::shown(key)).collect();
        Ok((Self(found), unknown))
    }

    /// Checks that a run of the model takes them.
    pub(crate) fn check(&self, limits: &Limits, origin: &str) -> Result<()> {
        let mut params = GenerateParams::default();
        self.settle(&Given::default(), &mut params);
        let checked = params.validate(limits);
        checked.map(|_| ()).map_err(|error| Error::InvalidFile {
            path: origin.to_owned(),
            reason: format!("recommended settings: {error}"),
        })
    }
}

/// A JSON value as the setting's kind has it; open if it is of another kind.
fn read(setting: &Setting, value: &Value) -> SettingValue {
    let read = match setting.kind {
        SettingKind::Flag => value.as_bool().map(SettingValue::Flag),
        SettingKind::Count | SettingKind::Integer => value
            .as_i64()
            .map(i128::from)
            .or_else(|| value.as_u64().map(i128::from))
            .map(SettingValue::Integer),
        SettingKind::Number => value.as_f64().map(SettingValue::Number),
        SettingKind::Choice | SettingKind::Text => value.as_str().map(|text| SettingValue::Text(text.into())),
    };
    read.unwrap_or(SettingValue::Open)
}

/// `steps 20, cfg_scale 4.5, sampler DPM++ 2M, schedule Karras`: the recommended settings with their names.
impl fmt::Display for Recommended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self
            .0
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        f.write_str(&pairs.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use sd_sched::Sampler;

    use super::*;

    const ALL: &str =
        r#"{"steps": 30, "cfg_scale": 4.5, "sampler": "Euler a Karras", "clip_skip": 2, "hires": 1}"#;

    fn parsed(json: &str) -> Recommended {
        Recommended::parse(json, "x").unwrap().0
    }

    #[test]
    fn settings_are_read() {
        let (found, unknown) = Recommended::parse(ALL, "x").unwrap();
        let expected = "steps 30, cfg_scale 4.5, sampler Euler a, schedule Karras, clip_skip 2";
        assert_eq!(
            (found.to_string().as_str(), unknown),
            (expected, vec!["hires".to_owned()])
        );
        assert_eq!(
            parsed(r#"{"sampler": "Euler Karras", "schedule": "simple"}"#).get("schedule"),
            Some(&SettingValue::Text("Simple".into()))
        );
        assert!(parsed("{}").is_empty());
        for (json, reason) in [
            ("[]", "no JSON object"),
            ("{", "no JSON object"),
            (r#"{"steps": "20"}"#, r#"steps: "20" can't be used"#),
            (r#"{"steps": -1}"#, "steps: -1 can't be used"),
            (r#"{"cfg_scale": null}"#, "cfg_scale: null can't be used"),
            (
                r#"{"sampler": "Eulr"}"#,
                "sampler: unknown sampler \"Eulr\"; did you mean \"Euler\"?",
            ),
        ] {
            let error = Recommended::parse(json, "x").unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("x: recommended settings: {reason}")),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_given_wins() {
        let recommended = parsed(ALL);
        let settled = |params: &GenerateParams, names: &[&'static str]| {
            let (mut params, mut given) = (params.clone(), Given::default());
            names.iter().for_each(|name| given.insert(name));
            let taken = recommended.settle(&given, &mut params);
            (params, taken)
        };
        let defaults = GenerateParams::default();
        let (params, taken) = settled(&defaults, &[]);
        assert_eq!(taken, recommended);
        let sampling = params.sampling;
        let expected = (30, Sampler::EulerAncestral, Schedule::Karras);
        assert_eq!((sampling.steps, sampling.sampler, sampling.schedule), expected);
        assert_eq!((params.guidance.cfg_scale, params.text.clip_skip), (4.5, 2));
        // A schedule belongs to its sampler.
        let mut given = defaults.clone();
        given.sampling.sampler = Sampler::Heun;
        let (params, taken) = settled(&given, &["sampler", "cfg_scale"]);
        assert_eq!(
            (params.sampling.sampler, params.sampling.schedule),
            (Sampler::Heun, Schedule::Automatic)
        );
        let listed = "steps 30, clip_skip 2";
        assert_eq!(
            (params.guidance.cfg_scale, taken.to_string().as_str()),
            (7.0, listed)
        );
        let mut given = defaults.clone();
        given.sampling.schedule = Schedule::Beta;
        let (params, _) = settled(&given, &["schedule"]);
        assert_eq!(
            (params.sampling.sampler, params.sampling.schedule),
            (Sampler::EulerAncestral, Schedule::Beta)
        );
        // Counted otherwise, 2 would be another layer.
        let mut counted = defaults.clone();
        counted.text.clip_skip_rule = ClipSkipRule::Diffusers;
        assert_eq!(settled(&counted, &[]).0.text.clip_skip, 1);
        let (mut params, none) = (defaults.clone(), Recommended::default());
        assert_eq!(recommended.settle(&Given::all(), &mut params), none);
        assert_eq!(params, defaults);
    }
}
