//! The weight of a LoRA on the U-Net, step by step.

use std::{fmt, result::Result};

use crate::Error;

/// A moment of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum When {
    /// A share of the steps, 0 to 1.
    Fraction(f64),
    /// Steps that are done, so a step counted from 0.
    Step(usize),
}

impl When {
    /// The first step from then on, of so many.
    fn begin(self, steps: usize) -> usize {
        match self {
            // A share of a count that was checked.
            Self::Fraction(share) => (share * steps as f64).round_ties_even() as usize,
            Self::Step(step) => step,
        }
    }

    /// Its place between the first step, 0, and the last.
    fn place(self, steps: usize) -> f64 {
        match self {
            Self::Fraction(share) => share * steps.saturating_sub(1) as f64,
            Self::Step(step) => step as f64,
        }
    }
}

impl From<f64> for When {
    fn from(share: f64) -> Self {
        Self::Fraction(share)
    }
}

impl From<usize> for When {
    fn from(step: usize) -> Self {
        Self::Step(step)
    }
}

impl fmt::Display for When {
    /// Fractions have a point, steps have none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fraction(share) => write!(f, "{share:?}"),
            Self::Step(step) => write!(f, "{step}"),
        }
    }
}

/// Factors by step with which a LoRA's weight on the U-Net is multiplied. Text is encoded before the first step, so text encoders have
/// none.
///
/// ```
/// use sdrs::{Lora, LoraSchedule};
///
/// // For the last half of the steps; for steps 5 to 9, counted from 0.
/// let late = Lora::file("ink.safetensors").schedule(LoraSchedule::between(0.5, 1.0));
/// let some = Lora::file("ink.safetensors").schedule(LoraSchedule::between(5, 10));
/// // From nothing at the first step up to its weight in the middle of the run.
/// let rising = LoraSchedule::linear([(0.0, 0.0), (0.5, 1.0)]);
/// assert_eq!(rising, "0@0,1@0.5".parse()?);
/// # Ok::<(), sdrs::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LoraSchedule {
    /// None is 1 at all times.
    points: Vec<(When, f64)>,
    linear: bool,
    span: (When, When),
}

const WHOLE: (When, When) = (When::Fraction(0.0), When::Fraction(1.0));

impl LoraSchedule {
    /// 1 from one moment until another, that step excepted, and 0 before and after. A fraction means the step nearest to it.
    pub fn between(start: impl Into<When>, stop: impl Into<When>) -> Self {
        Self::hold::<When>([]).within(start, stop)
    }

    /// Each factor from its moment on until the next one's; the first before it as well. A fraction means the step nearest to it.
    pub fn hold<W: Into<When>>(points: impl IntoIterator<Item = (W, f64)>) -> Self {
        Self::of(points, false)
    }

    /// Factors that change evenly from one moment to the next, and stay as they are before the first and after the last. Here fraction 0 is
    /// the first step, and 1 the last.
    pub fn linear<W: Into<When>>(points: impl IntoIterator<Item = (W, f64)>) -> Self {
        Self::of(points, true)
    }

    /// The same schedule, but 0 outside of a span as of [`between`](Self::between).
    pub fn within(mut self, start: impl Into<When>, stop: impl Into<When>) -> Self {
        self.span = (start.into(), stop.into());
        self
    }

    fn of<W: Into<When>>(points: impl IntoIterator<Item = (W, f64)>, linear: bool) -> Self {
        Self {
            points: points
                .into_iter()
                .map(|(when, factor)| (when.into(), factor))
                .collect(),
            linear,
            span: WHOLE,
        }
    }

    /// Refuses a schedule without a meaning.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (start, stop) = self.span;
        for when in self.points.iter().map(|(when, _)| *when).chain([start, stop]) {
            if let When::Fraction(share) = when
                && !(0.0..=1.0).contains(&share)
            {
                return Err(format!(
                    "{share} is no fraction of the steps: give one from 0 to 1, or a step"
                ));
            }
        }
        match self.points.iter().find(|(_, factor)| !factor.is_finite()) {
            Some((when, factor)) => Err(format!("the factor at {when} is {factor}")),
            None => Ok(()),
        }
    }

    /// The factor of each of so many steps.
    pub(crate) fn factors(&self, steps: usize) -> Vec<f64> {
        let (start, stop) = (self.span.0.begin(steps), self.span.1.begin(steps));
        let place = |when: When| match self.linear {
            true => when.place(steps),
            false => when.begin(steps) as f64,
        };
        let mut points: Vec<(f64, f64)> = self
            .points
            .iter()
            .map(|&(when, factor)| (place(when), factor))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let factor = |step: usize| {
            let here = step as f64;
            let next = points.partition_point(|(place, _)| *place <= here);
            match (next.checked_sub(1).map(|i| points[i]), points.get(next)) {
                (None, None) => 1.0,
                (None, Some((_, first))) => *first,
                (Some((from, a)), Some((to, b))) if self.linear => {
                    a + (b - a) * ((here - from) / (to - from))
                }
                (Some((_, factor)), _) => factor,
            }
        };
        let within = |step| {
            if (start..stop).contains(&step) {
                factor(step)
            } else {
                0.0
            }
        };
        (0..steps).map(within).collect()
    }
}

impl std::str::FromStr for LoraSchedule {
    type Err = Error;

    /// `0.2-0.8`: active from one moment until another. `0@0,1@0.5`: factors at moments, evenly between them, as the WebUI's extension
    /// loractl writes them. `hold 0@0,1@0.5`: each until the next one. Moments are fractions of the steps if none is over 1; else those
    /// between 0 and 1 are fractions, the others steps counted from 0.
    fn from_str(text: &str) -> crate::Result<Self> {
        let read = || {
            let (rest, linear) = match text.trim().strip_prefix("hold ") {
                Some(rest) => (rest, false),
                None => (text, true),
            };
            if linear && let Some((start, stop)) = rest.split_once('-').filter(|_| !rest.contains('@')) {
                let (start, stop) = (number(start)?, number(stop)?);
                let steps = start > 1.0 || stop > 1.0;
                return Ok(Self::between(moment(start, steps)?, moment(stop, steps)?));
            }
            let pair = |piece: &str| {
                let (factor, when) = piece
                    .split_once('@')
                    .ok_or_else(|| format!("'{}' is no FACTOR@MOMENT", shown(piece)))?;
                Ok((number(factor)?, number(when)?))
            };
            let pairs: Vec<(f64, f64)> = rest.split([',', ';']).map(pair).collect::<Result<_, String>>()?;
            Self::from_pairs(&pairs, linear)
        };
        let schedule = read().and_then(|schedule| schedule.check().map(|()| schedule));
        schedule.map_err(|reason| Error::parameter("schedule", reason))
    }
}

impl LoraSchedule {
    /// A schedule from factors and moments as numbers; the size of the moments decides their unit.
    pub(crate) fn from_pairs(pairs: &[(f64, f64)], linear: bool) -> Result<Self, String> {
        let mut points = Vec::with_capacity(pairs.len());
        let steps = pairs.iter().any(|(_, when)| *when > 1.0);
        for &(factor, when) in pairs {
            points.push((moment(when, steps)?, factor));
        }
        Ok(Self::of(points, linear))
    }
}

/// A moment as a number; `steps` says whether it may be a step, which its neighbours decide.
pub(crate) fn moment(number: f64, steps: bool) -> Result<When, String> {
    /// More steps than any run has.
    const MAX: f64 = 1e6;
    match number {
        share if !steps || (share > 0.0 && share < 1.0) => Ok(When::Fraction(share)),
        step if step.fract() == 0.0 && (0.0..=MAX).contains(&step) => Ok(When::Step(step as usize)),
        other => Err(format!("{other} is no step, which is a whole number from 0")),
    }
}

fn number(word: &str) -> Result<f64, String> {
    let parsed = word
        .trim()
        .parse::<f64>()
        .ok()
        .filter(|number| number.is_finite());
    parsed.ok_or_else(|| format!("'{}' is no number", shown(word)))
}

/// A word of the caller's that is not too long to be quoted.
fn shown(word: &str) -> String {
    word.trim()
        .chars()
        .take(40)
        .flat_map(char::escape_debug)
        .collect()
}

impl fmt::Display for LoraSchedule {
    /// As [`FromStr`](std::str::FromStr) reads it, if it is all points or all span.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.points.is_empty() || self.span != WHOLE {
            write!(f, "{}-{}", self.span.0, self.span.1)?;
            if self.points.is_empty() {
                return Ok(());
            }
            f.write_str(" of ")?;
        }
        if !self.linear {
            f.write_str("hold ")?;
        }
        for (i, (when, factor)) in self.points.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{factor}@{when}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(text: &str, steps: usize) -> Vec<f64> {
        text.parse::<LoraSchedule>().unwrap().factors(steps)
    }

    #[test]
    fn spans() {
        assert_eq!(factors("0.5-1", 4), [0.0, 0.0, 1.0, 1.0]);
        assert_eq!(factors("0-0.5", 5), [1.0, 1.0, 0.0, 0.0, 0.0]);
        assert_eq!(factors("2-3", 4), [0.0, 0.0, 1.0, 0.0]);
        assert_eq!(factors("0.25-3", 4), [0.0, 1.0, 1.0, 0.0]);
        assert_eq!(factors("3-2", 4), [0.0; 4]);
        assert_eq!(factors("2-900", 4), [0.0, 0.0, 1.0, 1.0]);
        // resolve_step of the block-weight extension: 0.4 of 20 steps is 8, 0.33 is 7.
        for (share, begin) in [(0.4, 8), (0.33, 7), (0.31, 6), (0.7, 14)] {
            let found = LoraSchedule::between(share, 1.0).factors(20);
            assert_eq!(found.iter().position(|factor| *factor == 1.0), Some(begin));
        }
    }

    #[test]
    fn points() {
        assert_eq!(factors("0@0,1@1", 5), [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!(factors("1@1;0@0", 3), [0.0, 0.5, 1.0]);
        assert_eq!(factors("0@0,1@0.5,0@1", 5), [0.0, 0.5, 1.0, 0.5, 0.0]);
        assert_eq!(factors("0.25@0.5,1@1", 5), [0.25, 0.25, 0.25, 0.625, 1.0]);
        assert_eq!(factors("0@1,1@2", 4), [0.0, 0.0, 1.0, 1.0]);
        assert_eq!(factors("hold 0@0,1@0.5,-2@0.75", 4), [0.0, 0.0, 1.0, -2.0]);
        assert_eq!(factors("hold 0.5@2,1@3", 4), [0.5, 0.5, 0.5, 1.0]);
        assert_eq!(factors("1@0,0@0", 2), [0.0, 0.0]);
        assert_eq!(factors("0@0,1@1", 1), [1.0]);
        let both = LoraSchedule::linear([(0.0, 0.0), (1.0, 1.0)]).within(0.0, 0.6);
        assert_eq!(both.factors(5), [0.0, 0.25, 0.5, 0.0, 0.0]);
    }

    #[test]
    fn written_as_read() {
        for text in ["0.2-0.8", "5-10", "0@0.0,1@0.5", "hold 0.5@2,1@3"] {
            assert_eq!(text.parse::<LoraSchedule>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for (text, message) in [
            ("", "schedule: '' is no FACTOR@MOMENT"),
            ("1", "schedule: '1' is no FACTOR@MOMENT"),
            ("1@0,x@1", "schedule: 'x' is no number"),
            ("0.5-late", "schedule: 'late' is no number"),
            (
                "1@5.5",
                "schedule: 5.5 is no step, which is a whole number from 0",
            ),
            (
                "1@-1",
                "schedule: -1 is no fraction of the steps: give one from 0 to 1, or a step",
            ),
            ("1@1e300", "is no step, which is a whole number from 0"),
            ("inf@0", "schedule: 'inf' is no number"),
        ] {
            let error = text.parse::<LoraSchedule>().unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        let endless = LoraSchedule::hold([(0.0, f64::NAN)]);
        assert_eq!(endless.check(), Err("the factor at 0.0 is NaN".into()));
    }
}
