use std::ops::RangeInclusive;

use sd_core::prompt::{Emphasis, PromptDialect, PromptOptions, Steps, TimeRule};
use sd_sched::{MAX_STEPS, Sampler, Schedule, rng::Source};

mod recommended;

pub use recommended::Recommended;

use crate::{Error, Result};

/// Everything that decides a picture, besides the weights. The defaults are the WebUI's.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct GenerateParams {
    /// What the picture should show.
    pub prompt: String,
    /// What it should not show.
    pub negative_prompt: String,
    /// Width in pixels, a multiple of 8; `None` is the size that the model was trained on.
    pub width: Option<u32>,
    /// Height in pixels, likewise.
    pub height: Option<u32>,
    /// Sampling steps, 1 to 10,000.
    pub steps: usize,
    /// Strength of classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598); 1 is none.
    pub cfg_scale: f64,
    /// The sampler.
    pub sampler: Sampler,
    /// The noise schedule; automatic is the one that suits the sampler.
    pub schedule: Schedule,
    /// Seed of the first picture, 0 to 2^64-1; the others of a batch follow it by one each, and 0 follows the last. -1 draws one at
    /// random. PyTorch's CPU noise (the default of `rng`) is that of a seed's low 32 bits.
    pub seed: i128,
    /// Number of pictures, 1 to 1,000.
    pub batch_size: usize,
    /// Which of the text encoder's layers is used, from the end: 1 is the last. The final norm follows in any case.
    pub clip_skip: usize,
    /// How `clip_skip` counts.
    pub clip_skip_rule: ClipSkipRule,
    /// Whose prompt language is meant.
    pub prompt_dialect: PromptDialect,
    /// What weights in prompts do.
    pub emphasis: Emphasis,
    /// Which numbers of prompt edits are fractions of the steps.
    pub time_rule: TimeRule,
    /// How many tokens back the last comma may lie for a long prompt to be cut after it, instead of after 75 tokens; 0 never cuts
    /// there.
    pub comma_backtrack: usize,
    /// Whether prompts are tokenized as they are, like by transformers' fast tokenizer. Else they are repaired first as ftfy does it, like
    /// by the WebUI: typographic quotes, ligatures, full-width letters, HTML's entities, texts in wrong encodings. Most texts are alike to
    /// both; ComfyUI's dialect always takes them as they are.
    pub text_as_is: bool,
    /// Whether the shorter of both prompts is padded with the empty one, where they are of different length; else each has its own
    /// call of the U-Net. Pictures differ slightly.
    pub pad_prompts: bool,
    /// How much fresh noise replaces old; `None` is the sampler's own (1 for ancestral ones, 0 for DDIM).
    pub eta: Option<f64>,
    /// Eta noise seed delta: if not 0, noise after the first draw comes from the seed plus this, modulo 2^64.
    pub ensd: i64,
    /// Seed of the noise that the first noise is mixed with; range and batches are as for `seed`, -1 draws one at random.
    pub variation_seed: i128,
    /// How far to go towards that noise, 0 to 1. Above 0 all pictures of a batch share `seed`.
    pub variation_strength: f64,
    /// Whose random numbers the noise is made of.
    pub rng: Rng,
    /// Negative guidance minimum sigma (WebUI): below this noise level every second call of the U-Net goes without the negative prompt,
    /// which halves it; 0 is never. Samplers over timesteps (DDIM, PLMS, UniPC) compare their timestep.
    pub ngms: f64,
    /// Whether that is so in every call, not every second.
    pub ngms_all_steps: bool,
    /// The share of the steps, 0 to 1, at the beginning of which the negative prompt is left out; 0 is none (WebUI).
    pub skip_early_cfg: f64,
    /// The negative prompt is left out at this noise level and below: the lower end of a guidance interval (Kynkäänniemi et al. 2024,
    /// arXiv:2404.07724), 0 or more.
    pub guidance_sigma_min: f64,
    /// The negative prompt is left out above this noise level: the interval's upper end; `None` is without end.
    pub guidance_sigma_max: Option<f64>,
    /// The share of the pixels, 0 to 1, that are merged with others where they look at each other, at the resolution of the latents
    /// (token merging, Bolya and Hoffman 2023, arXiv:2303.17604): faster for large pictures, and coarser; 0 is none. No more than
    /// three quarters can be.
    pub token_merging: f64,
    /// Only every so many steps the whole U-Net is computed, in between its outermost layers, on what the others gave before (DeepCache,
    /// Ma et al. 2023, arXiv:2312.00858): faster, and another picture; 1 is every step.
    pub deep_cache_interval: usize,
    /// How many layers are computed in between: those up to this branch from the way down to the way up, 0 is the outermost.
    pub deep_cache_branch: usize,
}

/// An emphasis mode by its name in the WebUI: "Original", "No norm", "Ignore", "None". Case, spaces and hyphens don't matter.
///
/// # Errors
/// [`Error::UnknownName`].
pub fn parse_emphasis(name: &str) -> Result<Emphasis> {
    named(
        "emphasis mode",
        name,
        &[
            ("original", Emphasis::Original),
            ("nonorm", Emphasis::NoNorm),
            ("ignore", Emphasis::Ignore),
            ("none", Emphasis::None),
        ],
    )
}

/// A prompt dialect by its name: "webui", "comfy". Case, spaces and hyphens don't matter.
///
/// # Errors
/// [`Error::UnknownName`].
pub fn parse_prompt_dialect(name: &str) -> Result<PromptDialect> {
    named(
        "prompt dialect",
        name,
        &[
            ("webui", PromptDialect::WebUi),
            ("comfy", PromptDialect::Comfy),
            ("comfyui", PromptDialect::Comfy),
        ],
    )
}

fn named<T: Copy>(what: &str, name: &str, known: &[(&str, T)]) -> Result<T> {
    let bare: String = name.chars().filter(|c| !matches!(c, ' ' | '-' | '_')).collect();
    let found = known.iter().find(|(known, _)| bare.eq_ignore_ascii_case(known));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        Error::UnknownName(format!("unknown {what} '{name}'; known are {}", names.join(", ")))
    })
}

/// How layers of the text encoder are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ClipSkipRule {
    /// 1 is the last layer, 2 the one before it.
    #[default]
    WebUi,
    /// 0 is the last layer, 1 the one before it.
    Diffusers,
}

/// Whose random numbers, on every device alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Rng {
    /// PyTorch's CPU generator: the WebUI's "CPU", ComfyUI's noise.
    #[default]
    Cpu,
    /// PyTorch's CUDA generator: the WebUI's "NV", and "GPU" for pictures that are not very large.
    Nv,
}

impl Rng {
    /// The WebUI's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Nv => "NV",
        }
    }

    pub(crate) fn source(self) -> Source {
        match self {
            Self::Cpu => Source::TorchCpu,
            Self::Nv => Source::Philox,
        }
    }
}

impl Default for GenerateParams {
    fn default() -> Self {
        let prompt = PromptOptions::default();
        Self {
            prompt: String::new(),
            negative_prompt: String::new(),
            width: None,
            height: None,
            steps: 20,
            cfg_scale: 7.0,
            sampler: Sampler::DpmPp2m,
            schedule: Schedule::Automatic,
            seed: -1,
            batch_size: 1,
            clip_skip: 1,
            clip_skip_rule: ClipSkipRule::default(),
            prompt_dialect: prompt.dialect,
            emphasis: prompt.emphasis,
            time_rule: prompt.time_rule,
            comma_backtrack: prompt.comma_backtrack,
            text_as_is: prompt.text_as_is,
            pad_prompts: false,
            eta: None,
            ensd: 0,
            variation_seed: -1,
            variation_strength: 0.0,
            rng: Rng::default(),
            ngms: 0.0,
            ngms_all_steps: false,
            skip_early_cfg: 0.0,
            guidance_sigma_min: 0.0,
            guidance_sigma_max: None,
            token_merging: 0.0,
            deep_cache_interval: 1,
            deep_cache_branch: 0,
        }
    }
}

/// Rules by which a run's prompts are read.
#[derive(Clone, Copy)]
pub(crate) struct Reading {
    pub options: PromptOptions,
    /// Calls of the denoiser that prompts are scheduled over.
    pub steps: Steps,
    /// Which layer of the text encoder, from the end: 1 is the last.
    pub clip_skip: usize,
    /// Whether the shorter of cond and uncond is padded, so that one call of the U-Net does for both.
    pub pad: bool,
}

/// Bounds that a model sets to a run's parameters.
pub(crate) struct Limits {
    /// Pixels of a side for each latent.
    pub downscale: u32,
    /// Side of a picture where none is given.
    pub default_side: u32,
    /// Layers of the text encoder.
    pub layers: usize,
    /// Branches of the U-Net.
    pub branches: usize,
}

/// The largest side: well beyond what anyone's memory holds, and far from any overflow.
const MAX_SIDE: u32 = 16_384;

impl GenerateParams {
    /// How its prompts are to be read; its values have been validated.
    pub(crate) fn reading(&self) -> Reading {
        let mut options = PromptOptions::default();
        options.dialect = self.prompt_dialect;
        options.emphasis = self.emphasis;
        options.time_rule = self.time_rule;
        options.comma_backtrack = self.comma_backtrack;
        options.text_as_is = self.text_as_is;
        let calls = if self.sampler.is_second_order() { 2 } else { 1 };
        Reading {
            options,
            steps: Steps {
                base: self.steps * calls,
                hires: None,
                rule: self.time_rule,
            },
            clip_skip: match self.clip_skip_rule {
                ClipSkipRule::WebUi => self.clip_skip,
                ClipSkipRule::Diffusers => self.clip_skip + 1,
            },
            pad: self.pad_prompts,
        }
    }

    /// Checks every value and returns width and height in pixels.
    pub(crate) fn validate(&self, limits: &Limits) -> Result<[u32; 2]> {
        let within = |name, value: usize, min, max| match (min..=max).contains(&value) {
            true => Ok(()),
            false => Err(Error::parameter(
                name,
                format!("must be {min} to {max}, not {value}"),
            )),
        };
        within("steps", self.steps, 1, MAX_STEPS)?;
        within("batch_size", self.batch_size, 1, 1000)?;
        within("deep_cache_interval", self.deep_cache_interval, 1, MAX_STEPS)?;
        within(
            "deep_cache_branch",
            self.deep_cache_branch,
            0,
            limits.branches - 1,
        )?;
        let first = usize::from(self.clip_skip_rule == ClipSkipRule::WebUi);
        within("clip_skip", self.clip_skip, first, limits.layers - 1 + first)?;
        for (name, seed) in [("seed", self.seed), ("variation_seed", self.variation_seed)] {
            if !SEEDS.contains(&seed) {
                let most = SEEDS.end();
                let reason = format!("must be 0 to {most}, or -1 for a random one, not {seed}");
                return Err(Error::parameter(name, reason));
            }
        }
        for (name, share) in [
            ("variation_strength", self.variation_strength),
            ("skip_early_cfg", self.skip_early_cfg),
            ("token_merging", self.token_merging),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return Err(Error::parameter(name, format!("must be 0 to 1, not {share}")));
            }
        }
        for (name, level) in [
            ("ngms", Some(self.ngms)),
            ("guidance_sigma_min", Some(self.guidance_sigma_min)),
            ("guidance_sigma_max", self.guidance_sigma_max),
        ] {
            if let Some(level) = level.filter(|level| !(level.is_finite() && *level >= 0.0)) {
                let reason = format!("must be a number from 0 on, not {level}");
                return Err(Error::parameter(name, reason));
            }
        }
        if !(self.cfg_scale.is_finite() && self.cfg_scale.abs() <= 1000.0) {
            let reason = format!("must be a number from -1000 to 1000, not {}", self.cfg_scale);
            return Err(Error::parameter("cfg_scale", reason));
        }
        let width = side("width", self.width, limits)?;
        let height = side("height", self.height, limits)?;
        Ok([width, height])
    }
}

/// -1, and the seeds of generators.
pub(crate) const SEEDS: RangeInclusive<i128> = -1..=u64::MAX as i128;

/// The seed given, or for -1 32 random bits, which is the range of the seeds that people share.
pub(crate) fn resolve_seed(seed: i128) -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    // The standard library's hash keys are the operating system's random numbers.
    u64::try_from(seed).unwrap_or_else(|_| RandomState::new().build_hasher().finish() & 0xffff_ffff)
}

fn side(name: &'static str, value: Option<u32>, limits: &Limits) -> Result<u32> {
    let f = limits.downscale;
    let value = value.unwrap_or(limits.default_side);
    if value < f || value > MAX_SIDE {
        return Err(Error::parameter(
            name,
            format!("must be {f} to {MAX_SIDE}, not {value}"),
        ));
    }
    if !value.is_multiple_of(f) {
        let below = value / f * f;
        let reason = format!(
            "must be a multiple of {f}: {value} is not; the nearest are {below} and {}",
            below + f
        );
        return Err(Error::parameter(name, reason));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        downscale: 8,
        default_side: 512,
        layers: 12,
        branches: 12,
    };

    fn message(change: impl Fn(&mut GenerateParams)) -> String {
        let mut params = GenerateParams::default();
        change(&mut params);
        params.validate(&LIMITS).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_valid() {
        assert_eq!(GenerateParams::default().validate(&LIMITS).unwrap(), [512, 512]);
    }

    #[test]
    fn each_bad_value_is_named() {
        assert_eq!(
            message(|p| p.width = Some(515)),
            "width: must be a multiple of 8: 515 is not; the nearest are 512 and 520"
        );
        assert_eq!(
            message(|p| p.height = Some(0)),
            "height: must be 8 to 16384, not 0"
        );
        assert_eq!(
            message(|p| p.height = Some(u32::MAX)),
            "height: must be 8 to 16384, not 4294967295"
        );
        assert_eq!(message(|p| p.steps = 0), "steps: must be 1 to 10000, not 0");
        assert_eq!(
            message(|p| p.seed = -2),
            "seed: must be 0 to 18446744073709551615, or -1 for a random one, not -2"
        );
        assert_eq!(
            message(|p| p.variation_seed = 1 << 64),
            "variation_seed: must be 0 to 18446744073709551615, or -1 for a random one, not 18446744073709551616"
        );
        assert_eq!(
            message(|p| p.batch_size = 0),
            "batch_size: must be 1 to 1000, not 0"
        );
        assert_eq!(
            message(|p| p.clip_skip = 13),
            "clip_skip: must be 1 to 12, not 13"
        );
        assert_eq!(
            message(|p| p.cfg_scale = f64::NAN),
            "cfg_scale: must be a number from -1000 to 1000, not NaN"
        );
        assert_eq!(
            message(|p| p.token_merging = 1.5),
            "token_merging: must be 0 to 1, not 1.5"
        );
        assert_eq!(
            message(|p| p.skip_early_cfg = f64::NAN),
            "skip_early_cfg: must be 0 to 1, not NaN"
        );
        assert_eq!(
            message(|p| p.ngms = -1.0),
            "ngms: must be a number from 0 on, not -1"
        );
        assert_eq!(
            message(|p| p.guidance_sigma_max = Some(f64::INFINITY)),
            "guidance_sigma_max: must be a number from 0 on, not inf"
        );
        assert_eq!(
            message(|p| p.deep_cache_interval = 0),
            "deep_cache_interval: must be 1 to 10000, not 0"
        );
        assert_eq!(
            message(|p| p.deep_cache_branch = 12),
            "deep_cache_branch: must be 0 to 11, not 12"
        );
    }
}
