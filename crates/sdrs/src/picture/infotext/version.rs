//! Versions of the WebUI, as Python's `packaging` orders those that it writes.

/// A version: its numbers, 0 for one before the release and 1 otherwise, and commits since then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version([u32; 3], u8, u32);

impl Version {
    /// Edits of prompts know fractions by their point from here on.
    pub const TIMES_BY_POINT: Self = Self([1, 6, 0], 1, 0);
    /// `alphas_cumprod` is no longer in the type of the weights.
    pub const WHOLE_ALPHAS: Self = Self([1, 7, 0], 1, 225);
    /// Refiners take over by timesteps.
    pub const REFINER_BY_TIMESTEPS: Self = Self([1, 8, 0], 1, 0);
    /// Samplers without a schedule have one that suits them.
    pub const AUTOMATIC_SCHEDULES: Self = Self([1, 9, 0], 0, 0);

    /// The version that a text says; `None` for other programs, and for revisions alone. It is `v1.7.0`, `v1.8.0-RC`, or what git says between two:
    /// `v1.7.0-225-g0f2de4cf`.
    pub fn of(text: &str) -> Option<Self> {
        let text = text.trim();
        let mut parts = text.strip_prefix(['v', 'V']).unwrap_or(text).split('-');
        let mut numbers = [0; 3];
        let said: Vec<&str> = parts.next()?.split('.').collect();
        if !(2..=3).contains(&said.len()) {
            return None;
        }
        for (number, said) in numbers.iter_mut().zip(said) {
            *number = said.parse().ok()?;
        }
        Some(match parts.next() {
            None => Self(numbers, 1, 0),
            Some(part) => match part.parse() {
                Ok(commits) => Self(numbers, 1, commits),
                Err(_) if ["rc", "pre"].contains(&part.to_lowercase().as_str()) => Self(numbers, 0, 0),
                Err(_) => return None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What packaging 26.4 says of the WebUI's own bounds (1.6.0, v1.7.0-225, 1.8.0), after the WebUI has cut off the revision; `-` is
    /// none that it can read.
    #[test]
    fn versions_are_ordered_as_packaging_does() {
        for (text, older) in [
            ("v1.3.0", Some([true, true, true])),
            ("v1.5.2", Some([true, true, true])),
            ("v1.6.0", Some([false, true, true])),
            ("1.6.0", Some([false, true, true])),
            ("v1.6.0-2-g4afaaf8a", Some([false, true, true])),
            ("v1.6.0-RC-12-gabcdef01", Some([true, true, true])),
            ("v1.0.0-pre-1578-g394ffa7b", Some([true, true, true])),
            ("v1.7.0", Some([false, true, true])),
            ("v1.7.0-RC-5-gf92d6149", Some([false, true, true])),
            ("v1.7.0-133-gde03882d", Some([false, true, true])),
            ("v1.7.0-225-g0f2de4cf", Some([false, false, true])),
            ("v1.7.0-224-gcf2772fab", Some([false, true, true])),
            ("v1.8.0-RC", Some([false, false, true])),
            ("v1.8.0", Some([false, false, false])),
            ("v1.8.0-139-g5bd27247", Some([false, false, false])),
            ("v1.9.4", Some([false, false, false])),
            ("v1.10.1", Some([false, false, false])),
            ("v1.10.0-RC-63-gc19d0443", Some([false, false, false])),
            ("f2.0.1v1.10.1-previous-636-gb835f24a", None),
            ("sdrs 0.1.0", None),
            ("5ef669de", None),
            ("f0.0.17v1.8.0rc-latest-276-g29be1da7", None),
            ("ComfyUI", None),
            ("1.10", Some([false, false, false])),
            ("v1.10.1-amd-24-g63895a83", None),
        ] {
            let bounds = [
                Version::TIMES_BY_POINT,
                Version::WHOLE_ALPHAS,
                Version::REFINER_BY_TIMESTEPS,
            ];
            let got = Version::of(text).map(|version| bounds.map(|bound| version < bound));
            assert_eq!(got, older, "{text}");
        }
    }
}
