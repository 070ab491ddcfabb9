//! Reading infotexts, by the WebUI's rules for them.

use std::str::FromStr;

use sd_core::prompt::TimeRule;
use sd_sched::{Sampler, Schedule};

use super::pairs::{FEWEST_PAIRS, both_prompts, misplaced, pairs};
use super::version::Version;
use super::{HIRES_SIZE, NOT_MASKED, ONLY_MASKED, ZERO_TERMINAL_SNR, first_pass, tiled};
use crate::{
    Error, GenerateParams, Result, Rng, Setting, SettingKind, SettingValue, params::SEEDS, settings,
};

/// Settings that were read.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Infotext {
    /// The parameters of a run. A setting that the text lacks has the value that its absence means in the WebUI; one that no text can carry
    /// has its default.
    pub params: GenerateParams,
    /// The checkpoint's name.
    pub model: Option<String>,
    /// The first digits of its SHA-256.
    pub model_hash: Option<String>,
    /// The refiner's name, in the WebUI's texts with the first digits of its hash in brackets.
    pub refiner: Option<String>,
    /// The other pairs, those that `params` has no place for, in their order, quotes undone.
    pub rest: Vec<(String, String)>,
    /// Remarks for people on values that may have been meant otherwise than they are read.
    pub notes: Vec<String>,
}

/// Reads an infotext: lines of the prompt, lines from `Negative prompt:` on, and a last line of settings, which counts as such with
/// three pairs or more. Of a key that stands twice the last counts.
///
/// As in the WebUI a missing `RNG` is its GPU noise, and settings of old versions have their old meaning: before 1.9 a sampler
/// without a schedule in its name is over the uniform one, before 1.8 noise levels were in 16 bits and a refiner took over by steps, before
/// 1.6 edits of prompts counted differently.
///
/// # Errors
/// [`Error::InvalidParameter`] or [`Error::UnknownName`] if a known key has a value that means nothing. Whether values are in range is
/// for a run to say.
pub fn parse(text: &str) -> Result<Infotext> {
    // Editors write a byte-order mark at the head of files.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (prompts, last) = match text.trim().rsplit_once('\n') {
        Some((prompts, last)) => (prompts, last),
        None => ("", text.trim()),
    };
    let (prompts, pairs) = match pairs(last) {
        pairs if pairs.len() < FEWEST_PAIRS => (text.trim(), Vec::new()),
        pairs => (prompts, pairs),
    };
    let mut read = Infotext {
        params: GenerateParams::default(),
        model: None,
        model_hash: None,
        refiner: None,
        rest: Vec::new(),
        notes: misplaced(prompts).into_iter().collect(),
    };
    read.params.noise.rng = Rng::Nv;
    (read.params.text.prompt, read.params.text.negative_prompt) = both_prompts(prompts);
    let (mut schedule, mut version, mut first_size) = (None, None, None);
    for (key, value) in pairs {
        match key.as_str() {
            "Version" => version = Version::of(&value),
            first_pass::KEY => {
                first_size = Some(sides(&key, &value)?);
                continue;
            }
            _ => {}
        }
        if !read.set(&key, &value)? {
            read.rest.push((key, value));
        } else if key == "Schedule type" {
            schedule = Some(read.params.sampling.schedule);
        }
    }
    if let Some(first) = first_size {
        first_pass::settle(&mut read.params, first);
    }
    read.settle(schedule, version);
    Ok(read)
}

fn bad(key: &str, value: &str, kind: &str) -> Error {
    let value: String = value.chars().take(80).collect();
    Error::parameter("infotext", format!("{key}: '{value}' is no {kind}"))
}

fn number<T: FromStr>(key: &str, value: &str) -> Result<T> {
    value
        .parse()
        .map_err(|_| bad(key, value, "number that fits here"))
}

fn seed(key: &str, value: &str) -> Result<i128> {
    let seed = number(key, value)?;
    match SEEDS.contains(&seed) {
        true => Ok(seed),
        false => Err(bad(key, value, "seed: they are 0 to 2^64-1, or -1")),
    }
}

fn flag(key: &str, value: &str) -> Result<bool> {
    match value.to_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(bad(key, value, "True or False")),
    }
}

/// Whether a value is the second of two.
fn either(key: &str, value: &str, names: [&str; 2]) -> Result<bool> {
    let found = names.iter().position(|name| name.eq_ignore_ascii_case(value));
    found
        .map(|at| at == 1)
        .ok_or_else(|| bad(key, value, &names.join(" or ")))
}

/// The sides of a size.
fn sides(key: &str, value: &str) -> Result<[u32; 2]> {
    let sides = value
        .split_once('x')
        .ok_or_else(|| bad(key, value, "size such as 512x768"))?;
    Ok([number(key, sides.0)?, number(key, sides.1)?])
}

/// A setting's value, from the WebUI's spelling.
fn read(setting: &Setting, key: &str, value: &str) -> Result<SettingValue> {
    let name = |name: &str| SettingValue::Text(name.into());
    Ok(match (setting.name, setting.kind) {
        ("time_rule", _) => name(if flag(key, value)? {
            "before-1.6"
        } else {
            "current"
        }),
        ("rng", _) => match value {
            "CPU" => name("cpu"),
            "GPU" | "NV" => name("nv"),
            _ => return Err(bad(key, value, "kind of noise known here (CPU, GPU, NV)")),
        },
        ("zero_terminal_snr", _) => SettingValue::Flag(either(key, value, ["Default", ZERO_TERMINAL_SNR])?),
        // ComfyUI counts from the end in negative numbers.
        ("clip_skip", _) => SettingValue::Integer(number::<i128>(key, value)?.abs()),
        ("mask_inverted", _) => SettingValue::Flag(either(key, value, ["Inpaint masked", NOT_MASKED])?),
        ("only_masked", _) => SettingValue::Flag(either(key, value, ["Whole picture", ONLY_MASKED])?),
        (_, SettingKind::Flag) => SettingValue::Flag(flag(key, value)?),
        (_, SettingKind::Integer) if setting.is_seed() => SettingValue::Integer(seed(key, value)?),
        (_, SettingKind::Count | SettingKind::Integer) => SettingValue::Integer(number(key, value)?),
        (_, SettingKind::Number) => SettingValue::Number(number(key, value)?),
        (_, SettingKind::Choice | SettingKind::Text) => name(value),
    })
}

impl Infotext {
    /// Takes a pair; false if there is no place for it.
    fn set(&mut self, key: &str, value: &str) -> Result<bool> {
        let GenerateParams {
            size, noise, hires, ..
        } = &mut self.params;
        // 0 is a side that is not given.
        let given = |side| (side > 0).then_some(side);
        match key {
            "Size" => [size.width, size.height] = sides(key, value)?.map(Some),
            HIRES_SIZE => [hires.hires_width, hires.hires_height] = sides(key, value)?.map(given),
            "Seed resize from" => {
                [noise.seed_resize_width, noise.seed_resize_height] = sides(key, value)?.map(Some);
            }
            "Tiling" => {
                let network = &mut self.params.network;
                network.tile_x = flag(key, value)?;
                network.tile_y = network.tile_x;
            }
            "UniPC variant" if self.params.sampling.sampler == Sampler::UniPc => match value {
                "bh1" => {}
                "bh2" => self.params.sampling.sampler = Sampler::UniPcBh2,
                _ => return Ok(false),
            },
            "Model" => self.model = Some(value.to_owned()),
            "Model hash" => self.model_hash = Some(value.to_owned()),
            "Refiner" => self.refiner = Some(value.to_owned()),
            _ => {
                match tiled::read(&mut self.params, key, value) {
                    tiled::Read::Other => {}
                    tiled::Read::Taken(rest) => {
                        self.rest.extend(rest);
                        return Ok(true);
                    }
                    tiled::Read::Bad => return Err(bad(key, value, "setting of tiles that is known here")),
                }
                let key = if key == "Eta DDIM" { "Eta" } else { key };
                let Some(setting) = settings().iter().find(|setting| setting.key() == Some(key)) else {
                    return Ok(false);
                };
                let read = read(setting, key, value)?;
                setting.set(&mut self.params, read).map_err(|error| match error {
                    Error::UnknownName(reason) => Error::UnknownName(format!("infotext: {key}: {reason}")),
                    _ => bad(key, value, "number that fits here"),
                })?;
            }
        }
        Ok(true)
    }

    /// The settings that follow from several pairs together.
    fn settle(&mut self, schedule: Option<Schedule>, version: Option<Version>) {
        let p = &mut self.params;
        let before = |bound| version.is_some_and(|version| version < bound);
        p.sampling.schedule = match schedule {
            Some(schedule) => schedule,
            None if before(Version::AUTOMATIC_SCHEDULES) && p.sampling.schedule == Schedule::Automatic => {
                Schedule::Uniform
            }
            None => p.sampling.schedule,
        };
        if before(Version::TIMES_BY_POINT) {
            p.text.time_rule = TimeRule::Before16;
        }
        // Of prompts in one chunk each there is nothing to pad. A token has a byte at least.
        let long = |text: &String| text.len() > 75 || text.contains("BREAK");
        let timesteps = matches!(p.sampling.sampler, Sampler::Ddim | Sampler::Plms);
        if before(Version::TIMES_BY_POINT)
            && timesteps
            && [&p.text.prompt, &p.text.negative_prompt].into_iter().any(long)
        {
            self.notes.push(format!(
                "{} made a shorter negative prompt as long as the prompt by its last token before WebUI 1.6, and cut a longer one off \
                 (Pad conds v0), which is not done here",
                p.sampling.sampler
            ));
        }
        p.sampling.half_alphas |= before(Version::WHOLE_ALPHAS);
        p.sampling.refiner_by_steps |= self.refiner.is_some() && before(Version::REFINER_BY_TIMESTEPS);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sd_core::prompt::Emphasis;

    use super::*;
    use crate::infotext::{Seeds, infotext};
    use crate::{EmptyNegativeRule, Rng};

    const SHARED: &str = "masterpiece, (a castle:1.2), [day:night:0.5]\nBREAK <lora:ink:0.8>\nNegative prompt: blurry,\nlow quality\n\
         Steps: 28, Sampler: DPM++ 2M Karras, CFG scale: 6.5, Seed: 1234567890, Size: 640x832, Model hash: 1234abcd56, \
         Model: some_model, Denoising strength: 0.4, Clip skip: 2, ENSD: 31337, Hires upscale: 1.5, \
         Lora hashes: \"ink: 0123456789ab, glow: ba9876543210\", Version: v1.7.0";

    #[test]
    fn a_text_as_people_share_it() {
        let read = parse(SHARED).unwrap();
        let p = &read.params;
        assert_eq!(
            p.text.prompt,
            "masterpiece, (a castle:1.2), [day:night:0.5]\nBREAK <lora:ink:0.8>"
        );
        assert_eq!(p.text.negative_prompt, "blurry,\nlow quality");
        assert_eq!(
            (p.sampling.steps, p.guidance.cfg_scale, p.noise.seed),
            (28, 6.5, 1_234_567_890)
        );
        assert_eq!(
            (p.sampling.sampler, p.sampling.schedule),
            (Sampler::DpmPp2m, Schedule::Karras)
        );
        assert_eq!((p.size.width, p.size.height), (Some(640), Some(832)));
        assert_eq!((p.text.clip_skip, p.noise.ensd, p.noise.rng), (2, 31337, Rng::Nv));
        assert_eq!(p.text.time_rule, TimeRule::Current);
        assert_eq!((p.image.strength, p.hires.hires_scale), (Some(0.4), Some(1.5)));
        assert_eq!(
            (read.model.as_deref(), read.model_hash.as_deref()),
            (Some("some_model"), Some("1234abcd56"))
        );
        let rest: Vec<(&str, &str)> = read.rest.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            rest,
            [
                ("Lora hashes", "ink: 0123456789ab, glow: ba9876543210"),
                ("Version", "v1.7.0"),
            ]
        );
    }

    #[test]
    fn versions_decide_old_rules() {
        let read = |version: &str| {
            let text = format!("a\nSteps: 20, Sampler: DPM++ 2M, CFG scale: 7, Seed: 1{version}");
            let p = parse(&text).unwrap().params;
            (p.sampling.schedule, p.text.time_rule)
        };
        assert_eq!(read(", Version: v1.5.2"), (Schedule::Uniform, TimeRule::Before16));
        assert_eq!(
            read(", Version: v1.8.0-RC"),
            (Schedule::Uniform, TimeRule::Current)
        );
        assert_eq!(
            read(", Version: v1.10.1"),
            (Schedule::Automatic, TimeRule::Current)
        );
        assert_eq!(
            read(", Version: f2.0.1v1.10.1"),
            (Schedule::Automatic, TimeRule::Current)
        );
        assert_eq!(read(""), (Schedule::Automatic, TimeRule::Current));
        assert_eq!(
            read(", Schedule type: Karras, Version: v1.5.2").0,
            Schedule::Karras
        );
    }

    /// The keys of Forge and of extensions.
    #[test]
    fn what_extensions_write_is_read() {
        let text = "a\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Tiling: True, Seed resize from: 512x768, freeu_enabled: True, \
                    freeu_b1: 1.3, freeu_b2: 1.4, freeu_s1: 0.9, freeu_s2: 0.2, PerturbedAttentionGuidance_enabled: True, \
                    PerturbedAttentionGuidance_scale: 3.0, sag_enabled: True, sag_scale: 0.5, sag_blur_sigma: 2.0, sag_threshold: 1.0, \
                    Dynamic thresholding enabled: True, Mimic scale: 7, Threshold percentile: 99.5, Version: v1.10.1";
        let read = parse(text).unwrap();
        let (network, guidance, noise) = (&read.params.network, &read.params.guidance, &read.params.noise);
        assert!(network.tile_x && network.tile_y);
        assert_eq!((network.freeu_b1, network.freeu_b2), (1.3, 1.4));
        assert_eq!((network.freeu_s1, network.freeu_s2), (0.9, 0.2));
        assert_eq!(network.freeu_version, 2);
        assert_eq!((guidance.pag_scale, guidance.sag_scale), (3.0, 0.5));
        assert_eq!((guidance.sag_blur_sigma, guidance.sag_threshold), (2.0, 1.0));
        assert_eq!(
            (guidance.mimic_scale, guidance.threshold_percentile),
            (Some(7.0), 99.5)
        );
        assert_eq!(
            (noise.seed_resize_width, noise.seed_resize_height),
            (Some(512), Some(768))
        );
        let off = parse("a\nSteps: 20, CFG scale: 7, Seed: 1, Tiling: False").unwrap();
        assert!(!off.params.network.tile_x && !off.params.network.tile_y);
        let wrong = parse("a\nSteps: 20, CFG scale: 7, Seed: 1, Seed resize from: large");
        let wrong = wrong.unwrap_err().to_string();
        assert!(
            wrong.contains("Seed resize from: 'large' is no size such as 512x768"),
            "{wrong}"
        );
    }

    /// The keys of the WebUI's own settings, as 1.10 spells them.
    #[test]
    fn what_the_sampler_settings_write_is_read() {
        let text = "a\nSteps: 20, Sampler: Euler, Schedule type: Beta, CFG scale: 7, Seed: 1, Size: 512x512, Schedule min sigma: 0.1, \
                    Schedule max sigma: 10.0, Schedule rho: 5, Beta schedule alpha: 0.6, Beta schedule beta: 0.8, Sigma churn: 2, \
                    Sigma tmin: 0.5, Sigma tmax: 9, Sigma noise: 1.01, Discard penultimate sigma: True, SGM noise multiplier: True, \
                    Downcast alphas_cumprod: True, Noise Schedule: Zero Terminal SNR, Token merging ratio: 0.5, Token merging ratio hr: 0.4, \
                    Version: v1.10.1";
        let read = parse(text).unwrap();
        let s = &read.params.sampling;
        assert_eq!((s.sigma_min, s.sigma_max, s.rho), (0.1, 10.0, 5.0));
        assert_eq!((s.beta_alpha, s.beta_beta), (0.6, 0.8));
        assert_eq!((s.s_churn, s.s_tmin, s.s_tmax, s.s_noise), (2.0, 0.5, 9.0, 1.01));
        assert!(
            s.discard_penultimate_sigma && s.sgm_noise_multiplier && s.half_alphas && s.zero_terminal_snr
        );
        assert_eq!(read.params.hires.hires_token_merging, Some(0.4));
        assert_eq!(read.rest.len(), 1);
        let seeds = Seeds {
            seed: 1,
            variation_seed: None,
        };
        let own = infotext(&read.params, seeds, [512, 512], ("m", None), &[]);
        assert_eq!(parse(&own).unwrap().params, read.params, "{own}");
        let unipc = |variant: &str| {
            let text = format!("a\nSteps: 20, Sampler: UniPC, CFG scale: 7, Seed: 1{variant}");
            let read = parse(&text).unwrap();
            (read.params.sampling.sampler, read.rest.len())
        };
        assert_eq!(unipc(", UniPC variant: bh1"), (Sampler::UniPc, 0));
        assert_eq!(unipc(", UniPC variant: bh2"), (Sampler::UniPcBh2, 0));
        assert_eq!(unipc(", UniPC variant: vary_coeff"), (Sampler::UniPc, 1));
    }

    /// Sizes that the WebUI's `old_hires_fix_first_pass_dimensions` gives.
    #[test]
    fn the_first_form_of_the_hires_fix_is_read() {
        let sizes = |size: &str, first: &str| {
            let text = format!(
                "a\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: {size}, Denoising strength: 0.7, First pass size: {first}"
            );
            let params = parse(&text).unwrap().params;
            let hires = [params.hires.hires_width, params.hires.hires_height];
            [[params.size.width, params.size.height], hires].map(|sides| sides.map(Option::unwrap))
        };
        assert_eq!(sizes("768x1024", "384x512"), [[384, 512], [768, 1024]]);
        assert_eq!(sizes("768x1024", "0x0"), [[448, 640], [768, 1024]]);
        assert_eq!(sizes("1024x1024", "0x0"), [[512, 512], [1024, 1024]]);
        assert_eq!(sizes("1920x1080", "0x0"), [[704, 384], [1920, 1080]]);
        let huge = sizes("1x4294967295", "0x0");
        assert_eq!(huge[1], [1, 4_294_967_295]);
        let _ = sizes("0x8", "0x0");
    }

    #[test]
    fn old_versions_imply_what_they_did() {
        let read = |pairs: &str| {
            let text = format!("a\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1{pairs}");
            let sampling = parse(&text).unwrap().params.sampling;
            (sampling.half_alphas, sampling.refiner_by_steps)
        };
        assert_eq!(read(""), (false, false));
        let notes = |prompt: &str, sampler: &str| {
            let text =
                format!("{prompt}\nSteps: 20, Sampler: {sampler}, CFG scale: 7, Seed: 1, Version: v1.5.2");
            parse(&text).unwrap().notes.len()
        };
        assert_eq!(notes("a", "DDIM"), 0);
        assert_eq!(notes(&"a, ".repeat(60), "DDIM"), 1);
        assert_eq!(notes(&"a, ".repeat(60), "Euler a"), 0);
        assert_eq!(read(", Version: v1.6.0"), (true, false));
        assert_eq!(
            read(", Refiner: x, Refiner switch at: 0.7, Version: v1.7.0"),
            (true, true)
        );
        assert_eq!(read(", Refiner: x, Version: v1.8.0"), (false, false));
    }

    #[test]
    fn json_stands_as_a_whole() {
        let resources = r#"[{"type":"lora","weight":0.8,"modelVersionName":"v1, Steps: 9"}]"#;
        let text = format!(
            "a\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Clip skip: -2, Civitai resources: {resources}, Civitai metadata: {{}}"
        );
        let read = parse(&text).unwrap();
        assert_eq!(read.rest[0], ("Civitai resources".into(), resources.into()));
        assert_eq!((read.rest.len(), read.params.text.clip_skip), (2, 2));
    }

    #[test]
    fn fewer_than_three_pairs_are_a_prompt() {
        for text in [
            "",
            "a",
            "a\nSteps: 20, Seed: 3",
            "ratio: 3, tone: dark",
            "a, b: c",
        ] {
            let read = parse(text).unwrap();
            assert_eq!(
                (read.params.text.prompt.as_str(), read.params.sampling.steps),
                (text, 20),
                "{text}"
            );
        }
        assert_eq!(
            parse("Steps: 2, Seed: 3, Size: 8x16").unwrap().params.text.prompt,
            ""
        );
        assert_eq!(
            parse("Negative prompt: x").unwrap().params.text.negative_prompt,
            "x"
        );
    }

    #[test]
    fn values_that_mean_nothing_are_named() {
        for (pair, message) in [
            (
                "Steps: many",
                "infotext: Steps: 'many' is no number that fits here",
            ),
            ("Size: 512", "infotext: Size: '512' is no size such as 512x768"),
            (
                "RNG: dice",
                "infotext: RNG: 'dice' is no kind of noise known here (CPU, GPU, NV)",
            ),
            ("Pad conds: yes", "infotext: Pad conds: 'yes' is no True or False"),
            (
                "Sampler: Eulr",
                "infotext: Sampler: unknown sampler \"Eulr\"; did you mean \"Euler\"?",
            ),
        ] {
            let error = parse(&format!("a\nA1: 1, B2: 2, {pair}")).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn quotes_are_json() {
        let read = |value: &str| parse(&format!("A1: 1, B2: 2, Model: {value}, C3: 3")).unwrap();
        assert_eq!(read(r#""a, \"b\": c\n""#).model.unwrap(), "a, \"b\": c\n");
        assert_eq!(read(r#""a, b"#).model.unwrap(), "\"a");
        assert_eq!(read(r#""""#).model.unwrap(), "");
        assert_eq!(read(r#""\q""#).model.unwrap(), r#""\q""#);
    }

    #[test]
    fn settings_before_the_last_line_are_reported() {
        let settings = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1";
        let read = parse(&format!("a\nNegative prompt: b\n{settings}\nmade by me")).unwrap();
        assert_eq!(
            read.params.text.negative_prompt,
            format!("b\n{settings}\nmade by me")
        );
        assert!(
            read.notes[0].starts_with("line 3, 'Steps: 20, Sampler: Euler a"),
            "{:?}",
            read.notes
        );
        assert!(
            read.notes[0].contains("part of the negative prompt"),
            "{:?}",
            read.notes
        );
        let twice = parse(&format!("a\n{settings}\n{settings}")).unwrap();
        assert!(twice.notes[0].contains("line 2") && twice.notes[0].contains("part of the prompt"));
        let usual = parse(&format!("1: 2, 3: 4, a: b\nNegative prompt: b\n{settings}")).unwrap();
        assert!(usual.notes.is_empty(), "{:?}", usual.notes);
    }

    fn line() -> impl Strategy<Value = String> {
        // Lines are trimmed, and one that begins with the other prompt's mark is the other prompt's.
        "[^\\n\\r\\x0b\\x0c\\x1c-\\x1e\\u{85}\\u{2028}\\u{2029}\\u{feff}]{0,20}"
            .prop_map(|line| line.trim().to_owned())
            .prop_filter("a mark", |line| !line.starts_with("Negative prompt:"))
    }

    fn prompt() -> impl Strategy<Value = String> {
        // Empty lines at either end vanish.
        proptest::collection::vec(line(), 0..4).prop_map(|lines| lines.join("\n").trim().to_owned())
    }

    proptest! {
        #[test]
        fn what_is_written_of_passes_is_read(
            (strength, rule, mode, content) in (proptest::option::of(0.0..1.0), 0usize..3, 0usize..4, 0usize..4),
            (noise, extra, posterior) in (0.0..1.5, 0.0..1.0, proptest::bool::ANY),
            (blur, inverted, soft, only, padding) in (0usize..256, proptest::bool::ANY, proptest::bool::ANY, proptest::bool::ANY, 0usize..4096),
            (scale, width, height, steps) in (
                proptest::option::of(1.0..16.0), proptest::option::of(1u32..9999), proptest::option::of(1u32..9999), 0usize..99,
            ),
            (sampler, schedule, cfg_scale) in (
                proptest::option::of(0..Sampler::ALL.len()), proptest::option::of(0..Schedule::ALL.len()), proptest::option::of(-1000.0..1000.0),
            ),
            (upscaler, prompt, negative) in ("[A-Za-z (),:\"]{1,12}", ".{0,12}", ".{0,12}"),
            tiles in proptest::option::of((proptest::bool::ANY, 16usize..1024, 16usize..1024, 0usize..1024)),
        ) {
            use crate::{MaskedContent, ResizeMode, StrengthRule};
            let mut params = GenerateParams::default();
            let image = &mut params.image;
            image.strength = strength;
            image.strength_rule = [StrengthRule::WebUi, StrengthRule::Exact, StrengthRule::Diffusers][rule];
            image.resize_mode = [ResizeMode::Stretch, ResizeMode::Crop, ResizeMode::Fill, ResizeMode::Latent][mode];
            let contents = [
                MaskedContent::Original, MaskedContent::Fill, MaskedContent::LatentNoise, MaskedContent::LatentNothing,
            ];
            image.masked_content = contents[content];
            (image.noise_multiplier, image.extra_noise, image.posterior_sample) = (noise, extra, posterior);
            (image.mask_blur, image.mask_inverted, image.soft_mask, image.only_masked) = (blur, inverted, soft, only);
            image.only_masked_padding = if only { padding } else { 32 };
            let hires = &mut params.hires;
            (hires.hires_scale, hires.hires_width, hires.hires_height) = (scale, width, height);
            (hires.hires_steps, hires.hires_cfg_scale, hires.hires_upscaler) = (steps, cfg_scale, upscaler);
            hires.hires_sampler = sampler.map(|at| Sampler::ALL[at]);
            hires.hires_schedule = schedule.map(|at| Schedule::ALL[at]);
            (hires.hires_prompt, hires.hires_negative_prompt) = (prompt, negative);
            (params.size.width, params.size.height) = (Some(8), Some(8));
            if let Some((mixture, width, height, overlap)) = tiles {
                let tiles = &mut params.tiles;
                tiles.tiled_diffusion = match mixture {
                    true => crate::TiledDiffusion::MixtureOfDiffusers,
                    false => crate::TiledDiffusion::MultiDiffusion,
                };
                (tiles.tile_width, tiles.tile_height, tiles.tile_overlap) = (width, height, overlap);
            }
            let seeds = Seeds { seed: 0, variation_seed: None };
            params.noise.seed = 0;
            let text = infotext(&params, seeds, [8, 8], ("m", None), &[]);
            let read = parse(&text).unwrap();
            prop_assert_eq!(&read.params, &params, "{}", text);
        }

        #[test]
        fn what_is_written_is_read(
            (prompt, negative_prompt, model) in (prompt(), prompt(), ".{0,12}"),
            (steps, seed, side) in (1usize..10_000, any::<u64>(), 1u32..2000),
            (cfg_scale, eta) in (-1000.0..1000.0, proptest::option::of(0.0..10.0)),
            (sampler, schedule) in (0..Sampler::ALL.len(), 0..Schedule::ALL.len()),
            (clip_skip, emphasis, ensd) in (1usize..12, 0usize..4, 0i64..100_000),
            (old, pad, cpu) in proptest::bool::ANY.prop_flat_map(|a| (Just(a), proptest::bool::ANY, proptest::bool::ANY)),
            variation in proptest::option::of((0u64..1 << 40, 0.001..1.0)),
            resize in proptest::option::of((1u32..2000, 1u32..2000)),
            (ngms, early, sigma_min) in (0.0..20.0, 0.0..1.0, 0.0..20.0),
            (sigma_max, merging) in (proptest::option::of(0.0..20.0), 0.0..1.0),
            (interval, branch, text_as_is) in (1usize..20, 0usize..12, proptest::bool::ANY),
        ) {
            let emphases = [Emphasis::Original, Emphasis::NoNorm, Emphasis::Ignore, Emphasis::None];
            let sampler = Sampler::ALL[sampler];
            let mut params = GenerateParams::default();
            (params.text.prompt, params.text.negative_prompt) = (prompt, negative_prompt);
            (params.text.clip_skip, params.text.emphasis) = (clip_skip, emphases[emphasis]);
            params.text.time_rule = if old { TimeRule::Before16 } else { TimeRule::Current };
            (params.text.pad_prompts, params.text.text_as_is) = (pad, text_as_is);
            (params.size.width, params.size.height) = (Some(8 * side), Some(16 * side));
            params.noise.seed = seed.into();
            params.noise.variation_seed = variation.map_or(-1, |(seed, _)| seed.into());
            params.noise.variation_strength = variation.map_or(0.0, |(_, strength)| strength);
            params.noise.seed_resize_width = resize.map(|(width, _)| 8 * width);
            params.noise.seed_resize_height = resize.map(|(_, height)| 8 * height);
            (params.network.tile_x, params.network.tile_y) = (pad, cpu);
            params.noise.rng = if cpu { Rng::Cpu } else { Rng::Nv };
            params.noise.ensd = if sampler.uses_ensd() { ensd } else { 0 };
            (params.sampling.steps, params.sampling.eta) = (steps, eta);
            (params.sampling.sampler, params.sampling.schedule) = (sampler, Schedule::ALL[schedule]);
            (params.guidance.cfg_scale, params.guidance.skip_early_cfg) = (cfg_scale, early);
            (params.guidance.ngms, params.guidance.ngms_all_steps) = (ngms, old && ngms > 0.0);
            (params.guidance.guidance_sigma_min, params.guidance.guidance_sigma_max) = (sigma_min, sigma_max);
            (params.speed.token_merging, params.speed.deep_cache_interval) = (merging, interval);
            (params.guidance.adaptive_guidance, params.speed.first_block_cache) = (merging, early);
            (params.speed.token_merging_cross_attention, params.speed.token_merging_mlp) = (pad && merging > 0.0, cpu && merging > 0.0);
            params.speed.deep_cache_branch = if interval > 1 { branch } else { 0 };
            (params.sampling.refiner_switch_at, params.sampling.refiner_by_steps) = (early, pad);
            (params.conditioning.original_width, params.conditioning.crop_top) = (Some(side), side);
            params.conditioning.aesthetic_score = merging;
            params.conditioning.empty_negative_rule = match emphasis {
                0 => EmptyNegativeRule::WebUi,
                1 => EmptyNegativeRule::Diffusers,
                _ => EmptyNegativeRule::Comfy,
            };
            let seeds = Seeds { seed, variation_seed: variation.map(|(seed, _)| seed) };
            let refiner = (params.sampling.refiner_switch_at != 0.8 || params.sampling.refiner_by_steps).then_some("fine");
            let text = infotext(&params, seeds, [8 * side, 16 * side], (&model, refiner), &[]);
            let read = parse(&text).unwrap();
            prop_assert_eq!(&read.params, &params, "{}", text);
            prop_assert_eq!(read.refiner.as_deref(), refiner, "{}", text);
            let model_read = read.model.unwrap_or_default();
            prop_assert_eq!(model_read, model, "{}", text);
        }

        #[test]
        fn no_text_is_too_odd(text in "(?s).{0,200}", pairs in "(?s)([\\w ]{1,8}: ?[\"\\\\,\\w]{0,8},? ?){0,8}") {
            let _ = parse(&text);
            let _ = parse(&format!("{text}\n{pairs}"));
        }
    }
}
