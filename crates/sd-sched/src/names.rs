//! The names that programs give to samplers and schedules.

use std::fmt;
use std::str::FromStr;

use crate::{Dialect, Error, Prediction, Result, Sampler, Schedule};

struct Names<T: 'static> {
    value: T,
    webui: &'static str,
    comfy: &'static str,
    diffusers: &'static str,
    aliases: &'static [&'static str],
}

const fn n<T: Copy>(
    value: T,
    webui: &'static str,
    comfy: &'static str,
    diffusers: &'static str,
    aliases: &'static [&'static str],
) -> Names<T> {
    Names {
        value,
        webui,
        comfy,
        diffusers,
        aliases,
    }
}

/// Value, the WebUI's (or Forge's) name, ComfyUI's, diffusers', and other spellings: the A1111 API's, what people write.
#[rustfmt::skip]
const SAMPLERS: &[Names<Sampler>] = &[
    n(Sampler::DpmPp2m, "DPM++ 2M", "dpmpp_2m", "DPMSolverMultistepScheduler", &["k_dpmpp_2m", "DPM-Solver++(2M)"]),
    n(Sampler::DpmPpSde, "DPM++ SDE", "dpmpp_sde", "DPMSolverSDEScheduler", &["k_dpmpp_sde", "dpmpp_sde_gpu"]),
    n(Sampler::DpmPp2mSde, "DPM++ 2M SDE", "dpmpp_2m_sde", "DPMSolverMultistepScheduler (sde-dpmsolver++)", &["k_dpmpp_2m_sde", "dpmpp_2m_sde_gpu"]),
    n(Sampler::DpmPp2mSdeHeun, "DPM++ 2M SDE Heun", "dpmpp_2m_sde_heun", "DPMSolverMultistepScheduler (sde-dpmsolver++, heun)", &["k_dpmpp_2m_sde_heun", "dpmpp_2m_sde_heun_gpu"]),
    n(Sampler::DpmPp2sAncestral, "DPM++ 2S a", "dpmpp_2s_ancestral", "DPMSolverSinglestepScheduler", &["k_dpmpp_2s_a"]),
    n(Sampler::DpmPp3mSde, "DPM++ 3M SDE", "dpmpp_3m_sde", "DPMSolverMultistepScheduler (sde-dpmsolver++, 3)", &["k_dpmpp_3m_sde", "dpmpp_3m_sde_gpu"]),
    n(Sampler::EulerAncestral, "Euler a", "euler_ancestral", "EulerAncestralDiscreteScheduler", &["k_euler_a", "k_euler_ancestral"]),
    n(Sampler::Euler, "Euler", "euler", "EulerDiscreteScheduler", &["k_euler"]),
    n(Sampler::Lms, "LMS", "lms", "LMSDiscreteScheduler", &["k_lms"]),
    n(Sampler::Heun, "Heun", "heun", "HeunDiscreteScheduler", &["k_heun"]),
    n(Sampler::Dpm2, "DPM2", "dpm_2", "KDPM2DiscreteScheduler", &["k_dpm_2"]),
    n(Sampler::Dpm2Ancestral, "DPM2 a", "dpm_2_ancestral", "KDPM2AncestralDiscreteScheduler", &["k_dpm_2_a"]),
    n(Sampler::DpmFast, "DPM fast", "dpm_fast", "DPMSolverSinglestepScheduler (fast)", &["k_dpm_fast"]),
    n(Sampler::DpmAdaptive, "DPM adaptive", "dpm_adaptive", "dpm_adaptive", &["k_dpm_ad"]),
    n(Sampler::Restart, "Restart", "restart", "restart", &[]),
    n(Sampler::Lcm, "LCM", "lcm", "LCMScheduler", &["k_lcm"]),
    n(Sampler::Ddim, "DDIM", "ddim", "DDIMScheduler", &[]),
    n(Sampler::DdimCfgPp, "DDIM CFG++", "ddim_cfg_pp", "DDIMScheduler (cfg++)", &["ddim_cfgpp"]),
    n(Sampler::Plms, "PLMS", "plms", "PNDMScheduler", &["PNDM"]),
    n(Sampler::UniPc, "UniPC", "uni_pc", "UniPCMultistepScheduler (bh1)", &[]),
    n(Sampler::UniPcBh2, "UniPC bh2", "uni_pc_bh2", "UniPCMultistepScheduler", &[]),
    n(Sampler::HeunPp2, "HeunPP2", "heunpp2", "HeunPP2", &["Heun++2"]),
    n(Sampler::Ipndm, "IPNDM", "ipndm", "IPNDMScheduler", &[]),
    n(Sampler::IpndmV, "IPNDM_V", "ipndm_v", "ipndm_v", &[]),
    n(Sampler::Deis, "DEIS", "deis", "DEISMultistepScheduler", &[]),
    n(Sampler::Ddpm, "DDPM", "ddpm", "DDPMScheduler", &[]),
    n(Sampler::Tcd, "TCD", "tcd", "TCDScheduler", &[]),
    n(Sampler::EulerCfgPp, "Euler CFG++", "euler_cfg_pp", "EulerDiscreteScheduler (cfg++)", &["euler_cfgpp"]),
    n(Sampler::EulerAncestralCfgPp, "Euler a CFG++", "euler_ancestral_cfg_pp", "EulerAncestralDiscreteScheduler (cfg++)", &["euler_a_cfgpp"]),
    n(Sampler::ResMultistep, "Res Multistep", "res_multistep", "res_multistep", &[]),
    n(Sampler::SaSolver, "SA-Solver", "sa_solver", "SASolverScheduler", &[]),
    n(Sampler::DpmPp2mCfgPp, "DPM++ 2M CFG++", "dpmpp_2m_cfg_pp", "DPMSolverMultistepScheduler (cfg++)", &["dpmpp_2m_cfgpp"]),
    n(Sampler::ResMultistepCfgPp, "Res Multistep CFG++", "res_multistep_cfg_pp", "res_multistep_cfg_pp", &[]),
];

#[rustfmt::skip]
const SCHEDULES: &[Names<Schedule>] = &[
    n(Schedule::Automatic, "Automatic", "automatic", "automatic", &["auto"]),
    n(Schedule::Uniform, "Uniform", "normal", "linspace", &["default"]),
    n(Schedule::Karras, "Karras", "karras", "karras", &["use_karras_sigmas"]),
    n(Schedule::Exponential, "Exponential", "exponential", "exponential", &["use_exponential_sigmas"]),
    n(Schedule::Polyexponential, "Polyexponential", "polyexponential", "polyexponential", &[]),
    n(Schedule::SgmUniform, "SGM Uniform", "sgm_uniform", "sgm_uniform", &[]),
    n(Schedule::KlOptimal, "KL Optimal", "kl_optimal", "kl_optimal", &[]),
    n(Schedule::AlignYourSteps, "Align Your Steps", "align_your_steps", "align_your_steps", &["AYS", "Align Your Steps 11"]),
    n(Schedule::Simple, "Simple", "simple", "simple", &[]),
    n(Schedule::Normal, "Normal", "normal", "normal", &[]),
    n(Schedule::Ddim, "DDIM", "ddim_uniform", "ddim", &["DDIM Uniform"]),
    n(Schedule::Beta, "Beta", "beta", "beta", &["use_beta_sigmas"]),
    n(Schedule::Turbo, "Turbo", "sd_turbo", "turbo", &[]),
    n(Schedule::AlignYourStepsGits, "Align Your Steps GITS", "gits", "gits", &["AYS GITS"]),
    n(Schedule::AlignYourSteps32, "Align Your Steps 32", "align_your_steps_32", "align_your_steps_32", &["AYS 32"]),
    n(Schedule::LinearQuadratic, "Linear Quadratic", "linear_quadratic", "linear_quadratic", &[]),
    n(Schedule::Leading, "Leading", "leading", "leading", &[]),
    n(Schedule::Trailing, "Trailing", "trailing", "trailing", &[]),
];

#[rustfmt::skip]
const PREDICTIONS: &[Names<Prediction>] = &[
    n(Prediction::Epsilon, "epsilon", "eps", "epsilon", &["noise"]),
    n(Prediction::V, "v", "v_prediction", "v_prediction", &["velocity"]),
    n(Prediction::Sample, "sample", "x0", "sample", &["data"]),
    n(Prediction::EdmV, "edm", "v_prediction_edm", "edm", &["edm_v"]),
];

#[rustfmt::skip]
const DIALECTS: &[Names<Dialect>] = &[
    n(Dialect::WebUi, "webui", "webui", "webui", &["a1111", "automatic1111", "forge"]),
    n(Dialect::Comfy, "comfy", "comfy", "comfy", &["comfyui"]),
    n(Dialect::Diffusers, "diffusers", "diffusers", "diffusers", &["huggingface"]),
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

/// The first letters: a name can be anything, of any length, and nothing is compared with a novel.
fn first(name: &str, most: usize) -> &str {
    name.char_indices()
        .nth(most)
        .map_or(name, |(end, _)| &name[..end])
}

/// The entry with a name near a folded one, and how many letters must be put in, taken out, exchanged or swapped with their
/// neighbour: at most half of the name's.
fn nearest<'a, T: Copy>(table: &'a [Names<T>], folded: &str) -> Option<(usize, &'a Names<T>)> {
    (table.iter().flat_map(|e| e.all().map(move |n| (fold(n), e))))
        .map(|(n, e)| (strsim::osa_distance(&n, folded), n.chars().count(), e))
        .filter(|(d, length, _)| *d <= (*length).max(4) / 2)
        .min_by_key(|(d, ..)| *d)
        .map(|(d, _, e)| (d, e))
}

fn unknown<T: Copy>(kind: &'static str, table: &[Names<T>], name: &str) -> Error {
    let near = nearest(table, first(&fold(name), 64));
    let dots = if first(name, 80) == name { "" } else { "…" };
    Error::UnknownName {
        kind,
        name: format!("{}{dots}", first(name, 80)),
        suggestion: near.map(|(_, e)| e.webui.to_owned()),
        known: table.iter().map(|e| e.webui).collect(),
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
named!(Prediction, PREDICTIONS, "prediction type");
named!(Dialect, DIALECTS, "dialect");

/// A sampler's name that may carry its schedule as a suffix, as infotexts before WebUI 1.9 do: "DPM++ 2M Karras".
///
/// # Errors
/// [`Error::UnknownName`] with the nearest known name, schedule included if it seems to have one.
pub fn parse_sampler(name: &str) -> Result<(Sampler, Option<Schedule>)> {
    if let Some(sampler) = find(SAMPLERS, name) {
        return Ok((sampler, None));
    }
    let folded = fold(name);
    let suffixed = || heads(&folded).filter(|(_, rest)| !rest.is_empty());
    let whole = suffixed().find_map(|(e, rest)| Some((e.value, suffix(rest)?)));
    if let Some((sampler, schedule)) = whole {
        return Ok((sampler, Some(schedule)));
    }
    // One of both may be misspelt.
    let folded = first(&folded, 64);
    let tails = SCHEDULES.iter().flat_map(move |e| {
        let stripped = e.all().filter_map(move |n| folded.strip_suffix(&fold(n)));
        stripped.map(move |head| (head, e))
    });
    let misspelt_tail = heads(folded).filter_map(|(sampler, rest)| {
        let (d, schedule) = nearest(SCHEDULES, rest)?;
        Some((d, sampler.webui, schedule.webui))
    });
    let misspelt_head = tails.filter_map(|(head, schedule)| {
        let (d, sampler) = nearest(SAMPLERS, head)?;
        Some((d, sampler.webui, schedule.webui))
    });
    let both = misspelt_tail.chain(misspelt_head).min_by_key(|(d, ..)| *d);
    let alone = nearest(SAMPLERS, folded).map_or(usize::MAX, |(d, _)| d);
    let mut error = unknown("sampler", SAMPLERS, name);
    if let Some((_, sampler, schedule)) = both.filter(|(d, ..)| *d < alone)
        && let Error::UnknownName { suggestion, .. } = &mut error
    {
        *suggestion = Some(format!("{sampler} {schedule}"));
    }
    Err(error)
}

/// Samplers whose name a folded one begins with, and what follows.
fn heads(folded: &str) -> impl Iterator<Item = (&'static Names<Sampler>, &str)> {
    SAMPLERS.iter().flat_map(move |e| {
        let stripped = e.all().filter_map(move |n| folded.strip_prefix(&fold(n)));
        stripped.map(move |rest| (e, rest))
    })
}

/// A schedule after a sampler's name; the A1111 API has short ones, as in k_dpmpp_2m_ka.
fn suffix(folded: &str) -> Option<Schedule> {
    match folded {
        "ka" => Some(Schedule::Karras),
        _ => find(SCHEDULES, folded),
    }
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
        for d in [Dialect::WebUi, Dialect::Comfy, Dialect::Diffusers] {
            assert_eq!(d.to_string().parse::<Dialect>(), Ok(d));
            for p in [
                Prediction::Epsilon,
                Prediction::V,
                Prediction::Sample,
                Prediction::EdmV,
            ] {
                assert_eq!(p.name(d).parse::<Prediction>(), Ok(p));
            }
        }
    }

    /// Nobody's name for one sampler is another's with a suffix.
    #[test]
    fn suffixes_are_unambiguous() {
        for sampler in SAMPLERS {
            for (schedule, n) in SCHEDULES.iter().flat_map(|e| e.all().map(move |n| (e, n))) {
                let wanted = find(SCHEDULES, n).unwrap_or(schedule.value);
                for name in sampler.all() {
                    for between in ["", " ", "_"] {
                        let name = format!("{name}{between}{n}");
                        assert_eq!(parse_sampler(&name), Ok((sampler.value, Some(wanted))), "{name}");
                    }
                }
            }
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
        for name in [
            "DPM++2MKarras",
            "dpmpp2m_karras",
            "DPM++ 2M-Karras",
            "d p m + + 2 m karras",
        ] {
            assert_eq!(
                parse_sampler(name),
                Ok((Sampler::DpmPp2m, Some(Schedule::Karras))),
                "{name}"
            );
        }
        assert_eq!(
            parse_sampler("DPM++ 2M SDE Heun Align Your Steps 32"),
            Ok((Sampler::DpmPp2mSdeHeun, Some(Schedule::AlignYourSteps32)))
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
        let told = e.to_string();
        assert!(
            told.starts_with("unknown schedule \"qqqqqqqqqqqqqqqq\"; known are Automatic, "),
            "{told}"
        );
        for (name, wanted) in [
            ("dpm++ 2m karas", Some("DPM++ 2M Karras")),
            ("dpm+ 2m karras", Some("DPM++ 2M Karras")),
            ("Euler a exponentail", Some("Euler a Exponential")),
            ("DPM++ 2M SDE Karas", Some("DPM++ 2M SDE Karras")),
            ("ddmi", Some("DDIM")),
            ("elueraa", Some("Euler a")),
            ("dpm++ 2m foo", Some("DPM++ 2M")),
            ("the quick brown fox", None),
        ] {
            let Err(Error::UnknownName { suggestion, .. }) = parse_sampler(name) else {
                panic!("{name} is known");
            };
            assert_eq!(suggestion.as_deref(), wanted, "{name}");
        }
        let nothing = "".parse::<Sampler>().unwrap_err().to_string();
        assert!(
            nothing.starts_with("unknown sampler \"\"; known are "),
            "{nothing}"
        );
        assert!(
            nothing.contains(", Euler a, ") && nothing.contains("DPM++ 2M"),
            "{nothing}"
        );
        assert!(parse_sampler(&"\u{e9}".repeat(100_000)).is_err());
    }
}
