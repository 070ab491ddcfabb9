//! The names that programs give to samplers and schedules.

use std::fmt;
use std::str::FromStr;

use crate::{Dialect, Error, Result, Sampler, Schedule};

struct Names<T: 'static> {
    value: T,
    webui: &'static str,
    comfy: &'static str,
    diffusers: &'static str,
    /// Other spellings: the A1111 API's, Forge's, what people write.
    aliases: &'static [&'static str],
}

const SAMPLERS: &[Names<Sampler>] = &[
    Names {
        value: Sampler::Euler,
        webui: "Euler",
        comfy: "euler",
        diffusers: "EulerDiscreteScheduler",
        aliases: &["k_euler"],
    },
    Names {
        value: Sampler::EulerAncestral,
        webui: "Euler a",
        comfy: "euler_ancestral",
        diffusers: "EulerAncestralDiscreteScheduler",
        aliases: &["k_euler_a", "k_euler_ancestral", "euler_a"],
    },
    Names {
        value: Sampler::DpmPp2m,
        webui: "DPM++ 2M",
        comfy: "dpmpp_2m",
        diffusers: "DPMSolverMultistepScheduler",
        aliases: &["k_dpmpp_2m", "DPMpp 2M", "DPM-Solver++(2M)"],
    },
    Names {
        value: Sampler::Ddim,
        webui: "DDIM",
        comfy: "ddim",
        diffusers: "DDIMScheduler",
        aliases: &[],
    },
];

const SCHEDULES: &[Names<Schedule>] = &[
    Names {
        value: Schedule::Automatic,
        webui: "Automatic",
        comfy: "automatic",
        diffusers: "automatic",
        aliases: &["auto"],
    },
    Names {
        value: Schedule::Uniform,
        webui: "Uniform",
        comfy: "normal",
        diffusers: "linspace",
        aliases: &["model", "default"],
    },
    Names {
        value: Schedule::Karras,
        webui: "Karras",
        comfy: "karras",
        diffusers: "karras",
        aliases: &["use_karras_sigmas"],
    },
    Names {
        value: Schedule::Exponential,
        webui: "Exponential",
        comfy: "exponential",
        diffusers: "exponential",
        aliases: &[],
    },
    Names {
        value: Schedule::Polyexponential,
        webui: "Polyexponential",
        comfy: "polyexponential",
        diffusers: "polyexponential",
        aliases: &[],
    },
    Names {
        value: Schedule::SgmUniform,
        webui: "SGM Uniform",
        comfy: "sgm_uniform",
        diffusers: "sgm_uniform",
        aliases: &["SGMUniform"],
    },
    Names {
        value: Schedule::Simple,
        webui: "Simple",
        comfy: "simple",
        diffusers: "simple",
        aliases: &[],
    },
    Names {
        value: Schedule::Normal,
        webui: "Normal",
        comfy: "normal",
        diffusers: "normal",
        aliases: &[],
    },
    Names {
        value: Schedule::Ddim,
        webui: "DDIM",
        comfy: "ddim_uniform",
        diffusers: "ddim",
        aliases: &["DDIM Uniform"],
    },
    Names {
        value: Schedule::Leading,
        webui: "Leading",
        comfy: "leading",
        diffusers: "leading",
        aliases: &[],
    },
    Names {
        value: Schedule::Trailing,
        webui: "Trailing",
        comfy: "trailing",
        diffusers: "trailing",
        aliases: &[],
    },
];

impl<T> Names<T> {
    fn all(&self) -> impl Iterator<Item = &'static str> + '_ {
        [self.webui, self.comfy, self.diffusers]
            .into_iter()
            .chain(self.aliases.iter().copied())
    }

    fn in_dialect(&self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::WebUi => self.webui,
            Dialect::Comfy => self.comfy,
            Dialect::Diffusers => self.diffusers,
        }
    }
}

/// Letters and digits only, in lower case; `+` counts as `p` so that "DPM++ 2M" is "dpmpp_2m".
fn fold(name: &str) -> String {
    let letters = name.chars().map(|c| if c == '+' { 'p' } else { c });
    letters
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

fn find<T: Copy>(table: &[Names<T>], name: &str) -> Option<T> {
    let (folded, is) = (fold(name), |n: &str| n.trim().eq_ignore_ascii_case(name.trim()));
    // One name can mean two things to two programs ("normal"): the WebUI's meaning wins.
    let webui = table.iter().find(|e| is(e.webui));
    let exact = || table.iter().find(|e| e.all().any(is));
    let near = || table.iter().find(|e| e.all().any(|n| fold(n) == folded));
    webui
        .or_else(exact)
        .or_else(near)
        .filter(|_| !folded.is_empty())
        .map(|e| e.value)
}

/// How many letters must be put in, taken out or exchanged.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let cost = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn unknown<T>(kind: &'static str, table: &[Names<T>], name: &str) -> Error {
    // A name can be anything, of any length: no distance is measured to a novel.
    let folded: String = fold(name).chars().take(64).collect();
    let folded = folded.as_str();
    let near = (table
        .iter()
        .flat_map(|e| e.all().map(move |n| (distance(&fold(n), folded), e.webui, n))))
    .filter(|(d, _, n)| *d <= fold(n).chars().count().max(4) / 2)
    .min_by_key(|(d, _, _)| *d);
    let name = if name.chars().count() > 80 {
        name.chars().take(80).chain(['…']).collect()
    } else {
        name.to_owned()
    };
    Error::UnknownName {
        kind,
        name,
        suggestion: near.map(|(_, webui, _)| webui.to_owned()),
    }
}

macro_rules! named {
    ($t:ty, $table:expr, $kind:literal) => {
        impl $t {
            /// Its name in a program's spelling.
            pub fn name(self, dialect: Dialect) -> &'static str {
                $table
                    .iter()
                    .find(|e| e.value == self)
                    .map_or("", |e| e.in_dialect(dialect))
            }
        }

        impl fmt::Display for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name(Dialect::WebUi))
            }
        }

        /// Any program's spelling; case, spaces, `_` and `-` don't matter.
        impl FromStr for $t {
            type Err = Error;

            fn from_str(name: &str) -> Result<Self> {
                find($table, name).ok_or_else(|| unknown($kind, $table, name))
            }
        }
    };
}
named!(Sampler, SAMPLERS, "sampler");
named!(Schedule, SCHEDULES, "schedule");

/// A sampler's name that may carry its schedule as a suffix, as infotexts before WebUI 1.9 do: "DPM++ 2M Karras".
///
/// # Errors
/// [`Error::UnknownName`] with the nearest known sampler.
pub fn parse_sampler(name: &str) -> Result<(Sampler, Option<Schedule>)> {
    if let Some(sampler) = find(SAMPLERS, name) {
        return Ok((sampler, None));
    }
    let cuts = name.char_indices().filter(|(_, c)| matches!(c, ' ' | '_' | '-'));
    for (at, _) in cuts {
        let (head, tail) = name.split_at(at);
        if let (Some(sampler), Some(schedule)) = (find(SAMPLERS, head), find(SCHEDULES, &tail[1..])) {
            return Ok((sampler, Some(schedule)));
        }
    }
    // The A1111 API's suffixes: k_dpmpp_2m_ka.
    if let Some(sampler) = name.strip_suffix("_ka").and_then(|head| find(SAMPLERS, head)) {
        return Ok((sampler, Some(Schedule::Karras)));
    }
    Err(unknown("sampler", SAMPLERS, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_comes_back() {
        for &s in Sampler::ALL {
            for d in [Dialect::WebUi, Dialect::Comfy, Dialect::Diffusers] {
                assert_eq!(s.name(d).parse::<Sampler>(), Ok(s), "{s}");
            }
            assert_eq!(
                parse_sampler(&format!("{s} Karras")),
                Ok((s, Some(Schedule::Karras)))
            );
        }
        for &s in Schedule::ALL {
            assert_eq!(s.to_string().parse::<Schedule>(), Ok(s));
        }
    }

    #[test]
    fn spellings() {
        assert_eq!(
            parse_sampler("DPM++ 2M Karras"),
            Ok((Sampler::DpmPp2m, Some(Schedule::Karras)))
        );
        assert_eq!(
            parse_sampler("k_dpmpp_2m_ka"),
            Ok((Sampler::DpmPp2m, Some(Schedule::Karras)))
        );
        assert_eq!(
            parse_sampler("dpm++ 2m SGM Uniform"),
            Ok((Sampler::DpmPp2m, Some(Schedule::SgmUniform)))
        );
        assert_eq!("euler_a".parse(), Ok(Sampler::EulerAncestral));
        assert_eq!("EULER A".parse(), Ok(Sampler::EulerAncestral));
        assert_eq!("normal".parse::<Schedule>(), Ok(Schedule::Normal));
    }

    #[test]
    fn unknown_names_suggest_the_nearest() {
        let e = "Eulr".parse::<Sampler>().unwrap_err();
        assert_eq!(e.to_string(), "unknown sampler \"Eulr\"; did you mean \"Euler\"?");
        let e = "qqqqqqqqqqqqqqqq".parse::<Schedule>().unwrap_err();
        assert_eq!(e.to_string(), "unknown schedule \"qqqqqqqqqqqqqqqq\"");
        assert!("".parse::<Sampler>().is_err());
        assert!(parse_sampler(&"\u{e9}".repeat(100_000)).is_err());
    }
}
