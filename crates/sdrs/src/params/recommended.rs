//! Settings that a checkpoint recommends.

use std::fmt;

use sd_sched::{Sampler, Schedule, parse_sampler};
use serde_json::Value;

use super::{ClipSkipRule, GenerateParams, Limits};
use crate::{Error, Result};

/// Those of a run's settings that depend on the model: what a checkpoint recommends, or what a caller has given. `None` is left open.
///
/// A diffusers folder has them as a JSON object in the file `sdrs_recommended.json`, a single file in its metadata under
/// `sdrs.recommended`, by the names of [`GenerateParams`]: `{"steps": 20, "cfg_scale": 4.5, "sampler": "DPM++ 2M", "schedule":
/// "Karras"}`. Where a caller leaves a setting open, the checkpoint's counts, else the WebUI's default.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Recommended {
    /// Sampling steps.
    pub steps: Option<usize>,
    /// Strength of classifier-free guidance.
    pub cfg_scale: Option<f64>,
    /// The sampler.
    pub sampler: Option<Sampler>,
    /// The noise schedule. It belongs to the sampler: with another one a recommended schedule is not taken.
    pub schedule: Option<Schedule>,
    /// Which of the text encoder's layers is used, from the end, 1 the last. It is not taken where layers are to be counted as diffusers
    /// does.
    pub clip_skip: Option<usize>,
}

impl Recommended {
    /// All of them as parameters have them: nothing is left open.
    pub fn all(params: &GenerateParams) -> Self {
        Self {
            steps: Some(params.steps),
            cfg_scale: Some(params.cfg_scale),
            sampler: Some(params.sampler),
            schedule: Some(params.schedule),
            clip_skip: Some(params.clip_skip),
        }
    }

    /// Whether nothing is recommended.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Writes what was `given` to the parameters, and what is recommended where nothing was; returns the latter. What neither says stays
    /// as it is.
    pub fn settle(&self, given: &Self, params: &mut GenerateParams) -> Self {
        let own_sampler = given.sampler.is_none();
        let taken = Self {
            steps: self.steps.filter(|_| given.steps.is_none()),
            cfg_scale: self.cfg_scale.filter(|_| given.cfg_scale.is_none()),
            sampler: self.sampler.filter(|_| own_sampler),
            schedule: self.schedule.filter(|_| own_sampler && given.schedule.is_none()),
            clip_skip: self
                .clip_skip
                .filter(|_| given.clip_skip.is_none() && params.clip_skip_rule == ClipSkipRule::WebUi),
        };
        for settings in [given, &taken] {
            params.steps = settings.steps.unwrap_or(params.steps);
            params.cfg_scale = settings.cfg_scale.unwrap_or(params.cfg_scale);
            params.sampler = settings.sampler.unwrap_or(params.sampler);
            params.schedule = settings.schedule.unwrap_or(params.schedule);
            params.clip_skip = settings.clip_skip.unwrap_or(params.clip_skip);
        }
        taken
    }

    /// What a checkpoint says, `origin` for short, and the keys that mean nothing here.
    pub(crate) fn parse(json: &str, origin: &str) -> Result<(Self, Vec<String>)> {
        let fail = |reason: String| Error::InvalidFile {
            path: origin.to_owned(),
            reason: format!("recommended settings: {reason}"),
        };
        let object: serde_json::Map<String, Value> =
            serde_json::from_str(json).map_err(|e| fail(format!("no JSON object: {e}")))?;
        let (mut found, mut suffix, mut unknown) = (Self::default(), None, Vec::new());
        for (key, value) in &object {
            let shown = || {
                let value: String = value.to_string().chars().take(80).collect();
                fail(format!("{key}: {value} can't be used"))
            };
            let count = || {
                value
                    .as_u64()
                    .and_then(|n| usize::try_from(n).ok())
                    .ok_or_else(shown)
            };
            let name = || value.as_str().ok_or_else(shown);
            let known = |e: sd_sched::Error| fail(format!("{key}: {e}"));
            match key.as_str() {
                "steps" => found.steps = Some(count()?),
                "cfg_scale" => found.cfg_scale = Some(value.as_f64().ok_or_else(shown)?),
                "sampler" => {
                    let (sampler, schedule) = parse_sampler(name()?).map_err(known)?;
                    (found.sampler, suffix) = (Some(sampler), schedule);
                }
                "schedule" => found.schedule = Some(name()?.parse().map_err(known)?),
                "clip_skip" => found.clip_skip = Some(count()?),
                _ => unknown.push(sd_core::shown(key)),
            }
        }
        found.schedule = found.schedule.or(suffix);
        Ok((found, unknown))
    }

    /// Checks that a run of the model takes them.
    pub(crate) fn check(&self, limits: &Limits, origin: &str) -> Result<()> {
        let mut params = GenerateParams::default();
        self.settle(&Self::default(), &mut params);
        let checked = params.validate(limits);
        checked.map(|_| ()).map_err(|error| Error::InvalidFile {
            path: origin.to_owned(),
            reason: format!("recommended settings: {error}"),
        })
    }
}

/// `steps 20, cfg_scale 4.5, sampler DPM++ 2M, schedule Karras`: those that are there, by their names.
impl fmt::Display for Recommended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = [
            self.steps.map(|steps| format!("steps {steps}")),
            self.cfg_scale.map(|scale| format!("cfg_scale {scale}")),
            self.sampler.map(|sampler| format!("sampler {sampler}")),
            self.schedule.map(|schedule| format!("schedule {schedule}")),
            self.clip_skip.map(|skip| format!("clip_skip {skip}")),
        ];
        let told: Vec<String> = told.into_iter().flatten().collect();
        f.write_str(&told.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str =
        r#"{"steps": 30, "cfg_scale": 4.5, "sampler": "Euler a Karras", "clip_skip": 2, "hires": 1}"#;

    fn read(json: &str) -> Recommended {
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
            read(r#"{"sampler": "Euler Karras", "schedule": "simple"}"#).schedule,
            Some(Schedule::Simple)
        );
        assert!(read("{}").is_empty());
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
        let recommended = read(ALL);
        let settled = |given: Recommended, params: GenerateParams| {
            let mut params = params;
            let taken = recommended.settle(&given, &mut params);
            (params, taken.to_string())
        };
        let (params, taken) = settled(Recommended::default(), GenerateParams::default());
        assert_eq!(Recommended::all(&params), recommended);
        assert_eq!(taken, recommended.to_string());
        // A schedule belongs to its sampler.
        let given = Recommended {
            sampler: Some(Sampler::Heun),
            cfg_scale: Some(7.0),
            ..Recommended::default()
        };
        let (params, taken) = settled(given, GenerateParams::default());
        assert_eq!(
            (params.sampler, params.schedule),
            (Sampler::Heun, Schedule::Automatic)
        );
        assert_eq!((params.cfg_scale, taken.as_str()), (7.0, "steps 30, clip_skip 2"));
        let given = Recommended {
            schedule: Some(Schedule::Beta),
            ..Recommended::default()
        };
        let (params, _) = settled(given, GenerateParams::default());
        assert_eq!(
            (params.sampler, params.schedule),
            (Sampler::EulerAncestral, Schedule::Beta)
        );
        // Counted otherwise, 2 would be another layer.
        let counted = GenerateParams {
            clip_skip_rule: ClipSkipRule::Diffusers,
            ..GenerateParams::default()
        };
        assert_eq!(settled(Recommended::default(), counted).0.clip_skip, 1);
        let (params, taken) = settled(
            Recommended::all(&GenerateParams::default()),
            GenerateParams::default(),
        );
        assert_eq!((params, taken.as_str()), (GenerateParams::default(), ""));
    }
}
