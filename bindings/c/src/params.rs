//! A run's parameters: `sdrs::GenerateParams` as a structure that may grow.

use std::{ffi::c_char, mem::offset_of};

use sdrs::{GenerateParams, Recommended};

use crate::{
    SDRS_NOT_SET, SDRS_NUL_TERMINATED,
    enums::{
        number, sdrs_rng, sdrs_rng_value, sdrs_sampler, sdrs_sampler_value, sdrs_schedule,
        sdrs_schedule_value, value,
    },
    error::{Failure, Result, guard, sdrs_status},
    pointer::text,
    prompts::{
        sdrs_clip_skip_rule, sdrs_clip_skip_rule_value, sdrs_emphasis, sdrs_emphasis_value,
        sdrs_prompt_dialect, sdrs_prompt_dialect_value, sdrs_time_rule, sdrs_time_rule_value,
    },
    sized::{get, grows, init},
};

/// Everything that decides a picture, besides the weights. `sdrs_generate_params_init` sets the WebUI's defaults, and leaves open what a
/// model may recommend: there the pipeline's recommendation counts, if its checkpoint has one (`sdrs_pipeline_info` tells), and else the
/// default in brackets. The pipeline's log says what was taken.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sdrs_generate_params {
    /// Size of this structure, set by `sdrs_generate_params_init`.
    pub struct_size: usize,
    /// What the picture should show, in UTF-8 and the language of `prompt_dialect`; NULL is empty.
    pub prompt: *const c_char,
    /// Bytes of `prompt`; `SDRS_NUL_TERMINATED` (the default) if it ends in a zero byte.
    pub prompt_length: usize,
    /// What it should not show; NULL is empty.
    pub negative_prompt: *const c_char,
    /// Bytes of `negative_prompt`, likewise.
    pub negative_prompt_length: usize,
    /// Width in pixels, a multiple of the model's `downscale` (8 for Stable Diffusion); 0 is what the model was trained on.
    pub width: u32,
    /// Height in pixels, likewise.
    pub height: u32,
    /// Sampling steps, 1 to 10,000; `SDRS_NOT_SET` (the default) is what the model recommends (20).
    pub steps: u32,
    /// Number of pictures, 1 to 1,000 (1). A batch gives exactly what single runs with its seeds give.
    pub batch_size: u32,
    /// The sampler; `SDRS_SAMPLER_NOT_SET` (the default) is what the model recommends (`SDRS_SAMPLER_DPMPP_2M`).
    pub sampler: sdrs_sampler_value,
    /// The noise schedule; `SDRS_SCHEDULE_NOT_SET` (the default) is what the model recommends, if the sampler isn't set either
    /// (`SDRS_SCHEDULE_AUTOMATIC`: what suits the sampler).
    pub schedule: sdrs_schedule_value,
    /// Strength of classifier-free guidance, 1 is none; NAN (the default) is what the model recommends (7).
    pub cfg_scale: f64,
    /// Seed of the first picture; the others of a batch follow it by one each, and 0 follows 2^64-1. -1 (the default) draws one at
    /// random. For seeds from 2^63 on set `unsigned_seeds`.
    pub seed: i64,
    /// Seed of the noise that the first noise is mixed with; -1 (the default) draws one at random.
    pub variation_seed: i64,
    /// How far to go towards that noise, 0 (the default) to 1. Above 0 all pictures of a batch share `seed`.
    pub variation_strength: f64,
    /// How much fresh noise replaces old; NAN (the default) is the sampler's own.
    pub eta: f64,
    /// Eta noise seed delta (0): if not 0, noise after the first draw comes from the seed plus this, modulo 2^64.
    pub ensd: i64,
    /// Which of the text encoder's layers is used, from the end: 1 is the last, or by diffusers' `clip_skip_rule` the one before it;
    /// `SDRS_NOT_SET` (the default) is what the model recommends, if the rule is the WebUI's (1). The final norm follows in any case.
    pub clip_skip: u32,
    /// How `clip_skip` counts (`SDRS_CLIP_SKIP_RULE_WEBUI`).
    pub clip_skip_rule: sdrs_clip_skip_rule_value,
    /// Whose prompt language is meant (`SDRS_PROMPT_DIALECT_WEBUI`).
    pub prompt_dialect: sdrs_prompt_dialect_value,
    /// What weights in prompts do (`SDRS_EMPHASIS_ORIGINAL`).
    pub emphasis: sdrs_emphasis_value,
    /// Which numbers of prompt edits are fractions of the steps (`SDRS_TIME_RULE_CURRENT`).
    pub time_rule: sdrs_time_rule_value,
    /// How many tokens back the last comma may lie for a long prompt to be cut after it, instead of after 75 tokens (20); 0 never cuts
    /// there.
    pub comma_backtrack: u32,
    /// Whether the shorter of both prompts is padded with the empty one, where they are of different length: 1, or 0 (the default): each
    /// has its own call of the U-Net. Pictures differ slightly.
    pub pad_prompts: i32,
    /// Whose random numbers the noise is made of (`SDRS_RNG_CPU`).
    pub rng: sdrs_rng_value,
    /// Negative guidance minimum sigma: below this noise level every second call of the U-Net goes without the negative prompt; 0 (the
    /// default) is never. Samplers over timesteps (DDIM, PLMS, UniPC) compare their timestep.
    pub ngms: f64,
    /// The share of the steps, 0 (the default) to 1, at the beginning of which the negative prompt is left out.
    pub skip_early_cfg: f64,
    /// The negative prompt is left out at this noise level and below (0), and
    pub guidance_sigma_min: f64,
    /// above this one; NAN (the default) is without end.
    pub guidance_sigma_max: f64,
    /// The share of the pixels, 0 (the default) to 1, that are merged with others where they look at each other: faster for large
    /// pictures, and coarser.
    pub token_merging: f64,
    /// Whether `ngms` acts in every call, not every second: 1, or 0 (the default).
    pub ngms_all_steps: i32,
    /// Every how many steps the whole U-Net is computed, in between its outermost layers alone: 1 (the default) is every step.
    pub deep_cache_interval: u32,
    /// How many layers are computed in between: those up to this branch from the way down to the way up; 0 (the default) is the
    /// outermost.
    pub deep_cache_branch: u32,
    /// Whether `seed` and `variation_seed` are the bits of unsigned numbers: 1, as in `params.seed = (int64_t)image.seed`, so that there
    /// are all seeds up to 2^64-1 and no random one; or 0 (the default).
    pub unsigned_seeds: i32,
    /// Whether prompts are tokenized as they are, like by transformers' fast tokenizer: 1, or 0 (the default): they are repaired first as
    /// ftfy does it, like by the WebUI (typographic quotes, ligatures, full-width letters, HTML's entities, texts in wrong encodings).
    pub text_as_is: i32,
}
grows!(sdrs_generate_params, until: rng, init: "sdrs_generate_params_init");

/// Sets every parameter to its default; `struct_size` is `sizeof(sdrs_generate_params)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_generate_params_init(
    params: *mut sdrs_generate_params,
    struct_size: usize,
) -> sdrs_status {
    guard(|| {
        let default = match struct_size < LEAVES_OPEN {
            true => numbers()?,
            false => defaults()?,
        };
        // SAFETY: the caller keeps the header's rules for pointers.
        unsafe { init(params, struct_size, default, "params") }
    })
}

/// From this size on a caller's header says that parameters may be left open.
const LEAVES_OPEN: usize = offset_of!(sdrs_generate_params, unsigned_seeds) + size_of::<i32>();

fn small(name: &'static str, n: usize) -> Result<u32> {
    u32::try_from(n).map_err(|e| Failure::argument(name, e.to_string()))
}

/// The defaults are `sdrs`'s own.
fn defaults() -> Result<sdrs_generate_params> {
    let d = GenerateParams::default();
    Ok(sdrs_generate_params {
        struct_size: size_of::<sdrs_generate_params>(),
        prompt: std::ptr::null(),
        prompt_length: SDRS_NUL_TERMINATED,
        negative_prompt: std::ptr::null(),
        negative_prompt_length: SDRS_NUL_TERMINATED,
        width: d.width.unwrap_or(0),
        height: d.height.unwrap_or(0),
        steps: SDRS_NOT_SET,
        batch_size: small("batch_size", d.batch_size)?,
        sampler: sdrs_sampler::SDRS_SAMPLER_NOT_SET as sdrs_sampler_value,
        schedule: sdrs_schedule::SDRS_SCHEDULE_NOT_SET as sdrs_schedule_value,
        cfg_scale: f64::NAN,
        seed: -1,
        variation_seed: -1,
        variation_strength: d.variation_strength,
        eta: d.eta.unwrap_or(f64::NAN),
        ensd: d.ensd,
        clip_skip: SDRS_NOT_SET,
        clip_skip_rule: number::<sdrs_clip_skip_rule>(d.clip_skip_rule)?,
        prompt_dialect: number::<sdrs_prompt_dialect>(d.prompt_dialect)?,
        emphasis: number::<sdrs_emphasis>(d.emphasis)?,
        time_rule: number::<sdrs_time_rule>(d.time_rule)?,
        comma_backtrack: small("comma_backtrack", d.comma_backtrack)?,
        pad_prompts: i32::from(d.pad_prompts),
        rng: number::<sdrs_rng>(d.rng)?,
        ngms: d.ngms,
        skip_early_cfg: d.skip_early_cfg,
        guidance_sigma_min: d.guidance_sigma_min,
        guidance_sigma_max: d.guidance_sigma_max.unwrap_or(f64::NAN),
        token_merging: d.token_merging,
        ngms_all_steps: i32::from(d.ngms_all_steps),
        deep_cache_interval: small("deep_cache_interval", d.deep_cache_interval)?,
        deep_cache_branch: small("deep_cache_branch", d.deep_cache_branch)?,
        unsigned_seeds: 0,
        text_as_is: i32::from(d.text_as_is),
    })
}

/// The same with numbers in all places, as older headers promise them.
fn numbers() -> Result<sdrs_generate_params> {
    let d = GenerateParams::default();
    Ok(sdrs_generate_params {
        steps: small("steps", d.steps)?,
        sampler: number::<sdrs_sampler>(d.sampler)?,
        schedule: number::<sdrs_schedule>(d.schedule)?,
        cfg_scale: d.cfg_scale,
        clip_skip: small("clip_skip", d.clip_skip)?,
        ..defaults()?
    })
}

/// A caller's parameters, and what was set of those that a model may recommend. Ranges are checked by the run itself.
///
/// # Safety
/// As the header says of pointers.
pub(crate) unsafe fn params(pointer: *const sdrs_generate_params) -> Result<(GenerateParams, Recommended)> {
    // SAFETY: as promised by the caller.
    let c = unsafe { get(pointer, defaults()?, "params") }?;
    let prompt = |pointer: *const c_char, length: usize, name| {
        if pointer.is_null() && length == SDRS_NUL_TERMINATED {
            return Ok(String::new());
        }
        // SAFETY: as promised by the caller.
        unsafe { text(pointer, length, name) }.map(str::to_owned)
    };
    let mut params = GenerateParams::default();
    params.prompt = prompt(c.prompt, c.prompt_length, "prompt")?;
    params.negative_prompt = prompt(c.negative_prompt, c.negative_prompt_length, "negative_prompt")?;
    params.width = (c.width != 0).then_some(c.width);
    params.height = (c.height != 0).then_some(c.height);
    params.batch_size = c.batch_size as usize;
    let seed = |seed: i64| match c.unsigned_seeds {
        0 => seed.into(),
        _ => i128::from(seed as u64),
    };
    params.seed = seed(c.seed);
    params.variation_seed = seed(c.variation_seed);
    params.variation_strength = c.variation_strength;
    params.eta = (!c.eta.is_nan()).then_some(c.eta);
    params.ensd = c.ensd;
    params.clip_skip_rule = value::<sdrs_clip_skip_rule>(c.clip_skip_rule)?;
    params.prompt_dialect = value::<sdrs_prompt_dialect>(c.prompt_dialect)?;
    params.emphasis = value::<sdrs_emphasis>(c.emphasis)?;
    params.time_rule = value::<sdrs_time_rule>(c.time_rule)?;
    params.comma_backtrack = c.comma_backtrack as usize;
    params.pad_prompts = c.pad_prompts != 0;
    params.rng = value::<sdrs_rng>(c.rng)?;
    params.ngms = c.ngms;
    params.ngms_all_steps = c.ngms_all_steps != 0;
    params.skip_early_cfg = c.skip_early_cfg;
    params.guidance_sigma_min = c.guidance_sigma_min;
    params.guidance_sigma_max = (!c.guidance_sigma_max.is_nan()).then_some(c.guidance_sigma_max);
    params.token_merging = c.token_merging;
    params.deep_cache_interval = c.deep_cache_interval as usize;
    params.deep_cache_branch = c.deep_cache_branch as usize;
    params.text_as_is = c.text_as_is != 0;
    let mut given = Recommended::default();
    given.steps = set(c.steps);
    given.cfg_scale = (!c.cfg_scale.is_nan()).then_some(c.cfg_scale);
    if c.sampler != sdrs_sampler::SDRS_SAMPLER_NOT_SET as sdrs_sampler_value {
        given.sampler = Some(value::<sdrs_sampler>(c.sampler)?);
    }
    if c.schedule != sdrs_schedule::SDRS_SCHEDULE_NOT_SET as sdrs_schedule_value {
        given.schedule = Some(value::<sdrs_schedule>(c.schedule)?);
    }
    given.clip_skip = set(c.clip_skip);
    Ok((params, given))
}

fn set(n: u32) -> Option<usize> {
    (n != SDRS_NOT_SET).then_some(n as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_librarys() {
        let default = defaults().unwrap();
        // SAFETY: a whole structure.
        let got = unsafe { params(&raw const default) }.unwrap();
        assert_eq!(got, (GenerateParams::default(), Recommended::default()));
    }

    #[test]
    fn older_callers_get_numbers() {
        let mut c = defaults().unwrap();
        let old = offset_of!(sdrs_generate_params, ngms);
        // SAFETY: a whole structure, of which the beginning is asked for.
        assert_eq!(
            // SAFETY: the structure is whole, and `old` bytes are within it.
            unsafe { sdrs_generate_params_init(&raw mut c, old) },
            sdrs_status::SDRS_OK
        );
        assert_eq!(
            (c.struct_size, c.steps, c.clip_skip, c.cfg_scale),
            (old, 20, 1, 7.0)
        );
        let named = (c.sampler, c.schedule);
        assert_eq!(
            named,
            (
                sdrs_sampler::SDRS_SAMPLER_DPMPP_2M as i32,
                sdrs_schedule::SDRS_SCHEDULE_AUTOMATIC as i32
            )
        );
        // SAFETY: as above.
        let (params, given) = unsafe { params(&raw const c) }.unwrap();
        assert_eq!(
            (&params, given),
            (&GenerateParams::default(), Recommended::all(&params))
        );
    }

    /// Every field arrives: a value for each that differs from the default.
    #[test]
    fn every_field_arrives() {
        let mut c = defaults().unwrap();
        (c.prompt, c.negative_prompt) = (c"a".as_ptr(), c"bcd".as_ptr());
        c.negative_prompt_length = 2;
        (c.width, c.height, c.steps, c.batch_size) = (64, 72, 3, 2);
        (c.sampler, c.schedule, c.cfg_scale) = (7, 2, 3.5);
        (c.seed, c.variation_seed, c.variation_strength) = (5, 6, 0.5);
        (c.eta, c.ensd, c.clip_skip, c.rng) = (0.25, 9, 2, 1);
        (c.clip_skip_rule, c.prompt_dialect, c.emphasis) = (1, 1, 2);
        (c.time_rule, c.comma_backtrack, c.pad_prompts) = (1, 7, 1);
        (c.ngms, c.ngms_all_steps, c.skip_early_cfg) = (2.5, 1, 0.125);
        (c.guidance_sigma_min, c.guidance_sigma_max) = (0.5, 6.0);
        (c.token_merging, c.deep_cache_interval, c.deep_cache_branch) = (0.375, 3, 4);
        c.text_as_is = 1;
        // SAFETY: a whole structure with valid texts.
        let (mut got, given) = unsafe { params(&raw const c) }.unwrap();
        Recommended::default().settle(&given, &mut got);
        assert_eq!(given, Recommended::all(&got));
        let mut expected = GenerateParams::default();
        (expected.prompt, expected.negative_prompt) = ("a".into(), "bc".into());
        (expected.width, expected.height) = (Some(64), Some(72));
        (expected.steps, expected.batch_size) = (3, 2);
        (expected.sampler, expected.schedule) = (sdrs::Sampler::Euler, sdrs::Schedule::Karras);
        (expected.cfg_scale, expected.seed) = (3.5, 5);
        (expected.variation_seed, expected.variation_strength) = (6, 0.5);
        (expected.eta, expected.ensd, expected.clip_skip) = (Some(0.25), 9, 2);
        expected.rng = sdrs::Rng::Nv;
        expected.clip_skip_rule = sdrs::ClipSkipRule::Diffusers;
        expected.prompt_dialect = sdrs::PromptDialect::Comfy;
        (expected.emphasis, expected.time_rule) = (sdrs::Emphasis::Ignore, sdrs::TimeRule::Before16);
        (expected.comma_backtrack, expected.pad_prompts) = (7, true);
        (expected.ngms, expected.ngms_all_steps, expected.skip_early_cfg) = (2.5, true, 0.125);
        (expected.guidance_sigma_min, expected.guidance_sigma_max) = (0.5, Some(6.0));
        (expected.token_merging, expected.deep_cache_interval) = (0.375, 3);
        (expected.deep_cache_branch, expected.text_as_is) = (4, true);
        assert_eq!(got, expected);
    }
}
