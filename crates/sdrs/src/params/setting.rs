use sd_sched::parse_sampler;

use super::{ClipSkipRule, GenerateParams, Limits, SEEDS, SettingKind, SettingValue};
use crate::{Error, Result};

/// The values that a setting takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Range {
    /// Every value of its type.
    Any,
    /// A whole number between two.
    Whole(usize, usize),
    /// A number between two.
    Within(f64, f64),
    /// 0 to 1.
    Share,
    /// A noise level: a number from 0 on.
    Level,
    /// A seed, or -1.
    Seed,
    /// Pixels of a side.
    Side,
    /// A layer of the text encoder.
    Layer,
    /// A branch of the U-Net.
    Branch,
}
/// A setting's pair in infotexts, by its key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pair {
    /// No pair.
    Unwritten,
    Always(&'static str),
    /// A pair that is written where the value is not the default.
    Changed(&'static str),
    /// A pair that is written where, besides that, the value acts.
    ChangedIf(&'static str, fn(&GenerateParams) -> bool),
    /// A pair that is written where a refiner draws, but for a flag that is not set.
    Refined(&'static str),
}
/// A scalar of [`GenerateParams`]: its name, its kind, its meaning, and access by value.
#[derive(Debug)]
pub struct Setting {
    /// The name of its field, the same in C, Python and the command.
    pub name: &'static str,
    /// The group that it is in: a field of [`GenerateParams`].
    pub group: &'static str,
    /// The kind of its values.
    pub kind: SettingKind,
    /// Whether it may be left open ([`SettingValue::Open`]).
    pub optional: bool,
    /// Whether a checkpoint may recommend it.
    pub recommended: bool,
    pub(super) doc: &'static str,
    pub(super) range: Range,
    pub(super) pair: Pair,
    pub(super) get: fn(&GenerateParams) -> SettingValue,
    pub(super) set: fn(&mut GenerateParams, SettingValue) -> Result<()>,
}

impl Setting {
    /// Its doc comment, in one line.
    pub fn doc(&self) -> &'static str {
        self.doc.trim_start()
    }

    /// A word for its value in help texts.
    pub fn placeholder(&self) -> &'static str {
        match (self.range, self.kind) {
            (Range::Side, _) => "PIXELS",
            (Range::Share, _) => "0..1",
            (Range::Level, _) => "SIGMA",
            (_, SettingKind::Choice) => "NAME",
            (_, SettingKind::Text) => "TEXT",
            _ => "N",
        }
    }

    /// Its value in these parameters.
    pub fn get(&self, params: &GenerateParams) -> SettingValue {
        (self.get)(params)
    }

    /// Gives it a value. The name of a sampler may carry its schedule, which is set as well, and is automatic if it doesn't.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if the value is of another kind or too large for its field, [`Error::UnknownName`] for an unknown name.
    /// Its range is checked by a run.
    pub fn set(&self, params: &mut GenerateParams, value: SettingValue) -> Result<()> {
        match (self.name, value) {
            ("sampler", SettingValue::Text(name)) => {
                let (sampler, schedule) = parse_sampler(&name)?;
                params.sampling.sampler = sampler;
                params.sampling.schedule = schedule.unwrap_or_default();
                Ok(())
            }
            ("hires_sampler", SettingValue::Text(name)) => {
                let (sampler, schedule) = parse_sampler(&name)?;
                params.hires.hires_sampler = Some(sampler);
                params.hires.hires_schedule = schedule.or(params.hires.hires_schedule);
                Ok(())
            }
            (_, SettingValue::Integer(n)) => {
                let outside = || match self.range {
                    Range::Whole(min, max) => between(n, min, max),
                    _ => None,
                };
                // What the field can't hold is out of its range.
                let told = |error| outside().map_or(error, |reason| Error::parameter(self.name, reason));
                (self.set)(params, SettingValue::Integer(n)).map_err(told)
            }
            (_, value) => (self.set)(params, value),
        }
    }

    /// Its key in infotexts.
    pub(crate) fn key(&self) -> Option<&'static str> {
        match self.pair {
            Pair::Unwritten => None,
            Pair::Always(key) | Pair::Changed(key) | Pair::ChangedIf(key, _) | Pair::Refined(key) => {
                Some(key)
            }
        }
    }

    /// Its value in an infotext of these parameters, if it stands there; `refined` says whether a refiner draws.
    pub(crate) fn written(&self, params: &GenerateParams, refined: bool) -> Option<SettingValue> {
        let value = self.get(params);
        let changed = || value != self.get(&GenerateParams::default());
        let stands = match self.pair {
            Pair::Unwritten => false,
            Pair::Always(_) => true,
            Pair::Changed(_) => changed(),
            Pair::ChangedIf(_, acts) => changed() && acts(params),
            Pair::Refined(_) => refined && value != SettingValue::Flag(false),
        };
        stands.then_some(value)
    }

    /// Whether it is a seed.
    pub(crate) fn is_seed(&self) -> bool {
        matches!(self.range, Range::Seed)
    }

    /// Checks that its value is in range; width and height have a check of their own.
    pub(super) fn check(&self, params: &GenerateParams, limits: &Limits) -> Result<()> {
        let first = usize::from(params.text.clip_skip_rule == ClipSkipRule::WebUi);
        let fault = match (self.range, self.get(params)) {
            (Range::Whole(min, max), SettingValue::Integer(n)) => between(n, min, max),
            (Range::Layer, SettingValue::Integer(n)) => between(n, first, limits.layers - 1 + first),
            (Range::Branch, SettingValue::Integer(n)) => between(n, 0, limits.branches - 1),
            (Range::Seed, SettingValue::Integer(n)) => (!SEEDS.contains(&n)).then(|| {
                let most = SEEDS.end();
                format!("must be 0 to {most}, or -1 for a random one, not {n}")
            }),
            (Range::Share, SettingValue::Number(x)) => {
                (!(0.0..=1.0).contains(&x)).then(|| format!("must be 0 to 1, not {x}"))
            }
            (Range::Level, SettingValue::Number(x)) => {
                (!(x.is_finite() && x >= 0.0)).then(|| format!("must be a number from 0 on, not {x}"))
            }
            (Range::Within(min, max), SettingValue::Number(x)) => {
                (!(min..=max).contains(&x)).then(|| format!("must be a number from {min} to {max}, not {x}"))
            }
            _ => None,
        };
        fault.map_or(Ok(()), |reason| Err(Error::parameter(self.name, reason)))
    }
}

/// What is wrong with a whole number that should lie between two.
fn between(n: i128, min: usize, max: usize) -> Option<String> {
    (!(min as i128..=max as i128).contains(&n)).then(|| format!("must be {min} to {max}, not {n}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::settings;

    #[test]
    fn settings_are_told_apart() {
        let names: BTreeSet<_> = settings().iter().map(|setting| setting.name).collect();
        assert_eq!(names.len(), settings().len());
        let keys: Vec<_> = settings().iter().filter_map(Setting::key).collect();
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
        for setting in settings() {
            let doc = setting.doc();
            assert!(doc.ends_with('.') && !doc.contains("  "), "{doc}");
        }
    }

    #[test]
    fn values_come_back() {
        let mut params = GenerateParams::default();
        for setting in settings() {
            let (before, value) = (params.clone(), setting.get(&params));
            setting.set(&mut params, value).unwrap();
            assert_eq!(params, before, "{}", setting.name);
            let open = setting.set(&mut params, SettingValue::Open);
            assert_eq!(open.is_ok(), setting.optional, "{}", setting.name);
        }
        let named = |name: &str| settings().iter().find(|setting| setting.name == name).unwrap();
        let text = |text: &str| SettingValue::Text(text.into());
        named("sampler").set(&mut params, text("euler karras")).unwrap();
        assert_eq!(named("schedule").get(&params), text("Karras"));
        named("emphasis").set(&mut params, text("No norm")).unwrap();
        assert_eq!(named("emphasis").get(&params), text("nonorm"));
        let fault = |name, value| {
            named(name)
                .set(&mut params.clone(), value)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            fault("steps", SettingValue::Integer(-1)),
            "steps: must be 1 to 10000, not -1"
        );
        assert_eq!(
            fault("width", SettingValue::Integer(-8)),
            "width: must be 0 or more, not -8"
        );
        assert!(fault("steps", text("two")).starts_with("steps: must be a whole number"));
        assert_eq!(
            fault("rng", text("dice")),
            "unknown rng 'dice'; known are cpu, nv"
        );
    }
}
