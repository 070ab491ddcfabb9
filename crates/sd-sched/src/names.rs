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
named!(Prediction, PREDICTIONS, "prediction type");
named!(Dialect, DIALECTS, "dialect");

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
