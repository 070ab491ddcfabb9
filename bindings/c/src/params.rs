//! A run's parameters: `sdrs::GenerateParams` as a structure that may grow.

use std::{
    ffi::{CString, c_char},
    mem::offset_of,
};

use sdrs::{GenerateParams, Given, Recommended};

use crate::{
    SDRS_NOT_SET, SDRS_NUL_TERMINATED,
    enums::{
        number, sdrs_rng, sdrs_rng_value, sdrs_sampler, sdrs_sampler_value, sdrs_schedule,
        sdrs_schedule_value, value,
    },
    error::{Failure, Result, guard, sdrs_status},
    inputs::{
        sdrs_masked_content, sdrs_masked_content_value, sdrs_resize_mode, sdrs_resize_mode_value,
        sdrs_strength_rule, sdrs_strength_rule_value, sdrs_tiled_diffusion, sdrs_tiled_diffusion_value,
    },
    pointer::text,
    prompts::{
        sdrs_clip_skip_rule, sdrs_clip_skip_rule_value, sdrs_emphasis, sdrs_emphasis_value,
        sdrs_empty_negative_rule, sdrs_empty_negative_rule_value, sdrs_prompt_dialect,
        sdrs_prompt_dialect_value, sdrs_time_rule, sdrs_time_rule_value,
    },
    sized::{get, grows, init},
};

/// Everything that decides a picture, besides the weights. `sdrs_generate_params_init` sets the WebUI's defaults, and leaves open the
/// settings that a model may recommend: there the pipeline's recommendation counts, if its checkpoint has one (see `sdrs_pipeline_info`),
/// and else the default in brackets. The pipeline's log says which value was taken.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sdrs_generate_params {
    /// Size of this structure, set by `sdrs_generate_params_init`.
    pub struct_size: usize,
    /// The prompt, a description of the picture, in UTF-8 and the language of `prompt_dialect`; NULL is empty.
    pub prompt: *const c_char,
    /// Bytes of `prompt`; `SDRS_NUL_TERMINATED` (the default) if it ends in a zero byte.
    pub prompt_length: usize,
    /// The negative prompt, a description of things that the picture should not show; NULL is empty.
    pub negative_prompt: *const c_char,
    /// Bytes of `negative_prompt`, likewise.
    pub negative_prompt_length: usize,
    /// Width in pixels, a multiple of the model's `downscale` (8 for Stable Diffusion); 0 is the width that the model was trained on.
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
    /// The share of that noise in the first noise, 0 (the default) to 1. Above 0 all pictures of a batch share `seed`.
    pub variation_strength: f64,
    /// The amount of fresh noise that replaces old; NAN (the default) is the sampler's own.
    pub eta: f64,
    /// Eta noise seed delta (0): if not 0, noise after the first draw comes from the seed plus this, modulo 2^64.
    pub ensd: i64,
    /// The layer of the text encoder that is used, from the end: 1 is the last, or by diffusers' `clip_skip_rule` the one before it;
    /// `SDRS_NOT_SET` (the default) is what the model recommends, if the rule is the WebUI's (1). The final norm follows in any case.
    pub clip_skip: u32,
    /// The rule by which `clip_skip` counts (`SDRS_CLIP_SKIP_RULE_WEBUI`).
    pub clip_skip_rule: sdrs_clip_skip_rule_value,
    /// The dialect of the prompt language (`SDRS_PROMPT_DIALECT_WEBUI`).
    pub prompt_dialect: sdrs_prompt_dialect_value,
    /// The rule by which weights in prompts act (`SDRS_EMPHASIS_ORIGINAL`).
    pub emphasis: sdrs_emphasis_value,
    /// The numbers of prompt edits that are fractions of the steps (`SDRS_TIME_RULE_CURRENT`).
    pub time_rule: sdrs_time_rule_value,
    /// The number of tokens that the last comma may lie back for a long prompt to be cut after it, instead of after 75 tokens (20); 0 never
    /// cuts there.
    pub comma_backtrack: u32,
    /// Whether the shorter of both prompts is padded with the empty one, where they are of different length: 1, or 0 (the default): each
    /// has its own call of the U-Net. Pictures differ slightly.
    pub pad_prompts: i32,
    /// The source of the noise (`SDRS_RNG_CPU`).
    pub rng: sdrs_rng_value,
    /// Negative guidance minimum sigma: below this noise level every second call of the U-Net goes without the negative prompt; 0 (the
    /// default) is never. Samplers over timesteps (DDIM, PLMS, UniPC) compare their timestep.
    pub ngms: f64,
    /// The share of the steps, 0 (the default) to 1, at the beginning of which the negative prompt is left out.
    pub skip_early_cfg: f64,
    /// The noise level, 0 (the default) or more, at which and below which the negative prompt is left out.
    pub guidance_sigma_min: f64,
    /// The noise level above which the negative prompt is left out; NAN (the default) is without end.
    pub guidance_sigma_max: f64,
    /// The share of the pixels, 0 (the default) to 1, that self-attention merges with others: faster for large pictures, and coarser.
    pub token_merging: f64,
    /// Whether `ngms` acts in every call, not every second: 1, or 0 (the default).
    pub ngms_all_steps: i32,
    /// The number of steps from one call of the whole U-Net to the next; the calls in between compute its outermost layers alone. 1 (the
    /// default) is the whole U-Net at every step.
    pub deep_cache_interval: u32,
    /// The layers that are computed in between: those up to this branch from the way down to the way up; 0 (the default) is the outermost.
    pub deep_cache_branch: u32,
    /// Whether `seed` and `variation_seed` are the bits of unsigned numbers: 1, as in `params.seed = (int64_t)image.seed`, so that there
    /// are all seeds up to 2^64-1 and no random one; or 0 (the default).
    pub unsigned_seeds: i32,
    /// Whether prompts are tokenized as they are, like by transformers' fast tokenizer: 1, or 0 (the default): they are repaired first as
    /// ftfy does it, like by the WebUI (typographic quotes, ligatures, full-width letters, HTML's entities, texts in wrong encodings).
    pub text_as_is: i32,
    /// The share of the schedule that is run over a picture, or in a hires pass, 0 to 1; NAN (the default) is 0.75 for a picture, and 0.7 for
    /// a hires pass.
    pub strength: f64,
    /// A factor of the first noise over a picture, 0 to 1.5 (1).
    pub noise_multiplier: f64,
    /// Noise beyond that of the first noise level, 0 (the default) to 1: more details, over a picture and in a hires pass.
    pub extra_noise: f64,
    /// The rule by which `strength` counts steps (`SDRS_STRENGTH_RULE_WEBUI`). A hires pass always runs exactly its steps.
    pub strength_rule: sdrs_strength_rule_value,
    /// The way in which a picture of another size is fitted (`SDRS_RESIZE_MODE_STRETCH`).
    pub resize_mode: sdrs_resize_mode_value,
    /// Whether a picture's latents are drawn from the Gaussian that the VAE encodes it to, as in diffusers: 1, or 0 (the default): they are
    /// its mean.
    pub posterior_sample: i32,
    /// The radius in pixels, 0 to 256, over which the edge of a mask is blurred (4).
    pub mask_blur: u32,
    /// Whether what the mask does not cover is drawn anew: 1, or 0 (the default).
    pub mask_inverted: i32,
    /// Whether the mask's greys say for how much of the run each pixel is drawn anew (differential diffusion): 1, or 0 (the default): each
    /// latent is masked or not.
    pub soft_mask: i32,
    /// The start of the masked part (`SDRS_MASKED_CONTENT_ORIGINAL`).
    pub masked_content: sdrs_masked_content_value,
    /// Whether only the masked part is drawn, at the whole size, and put back into the picture: 1, or 0 (the default).
    pub only_masked: i32,
    /// The pixels around the masked part that are drawn with it, 0 to 4,096 (32).
    pub only_masked_padding: u32,
    /// Steps of a hires pass; 0 (the default) is as many as in the first.
    pub hires_steps: u32,
    /// The factor from the first pass's size to that of a second one (hires fix), 1 to 16; NAN (the default) is no second pass, unless a
    /// size is given.
    pub hires_scale: f64,
    /// `cfg_scale` of the hires pass; NAN (the default) is the first's.
    pub hires_cfg_scale: f64,
    /// Width of the hires pass in pixels, in place of `hires_scale`; 0 (the default) follows from the height.
    pub hires_width: u32,
    /// Height of the hires pass in pixels, likewise.
    pub hires_height: u32,
    /// The sampler of the hires pass; `SDRS_SAMPLER_NOT_SET` (the default) is the first's.
    pub hires_sampler: sdrs_sampler_value,
    /// The schedule of the hires pass; `SDRS_SCHEDULE_NOT_SET` (the default) is the first's.
    pub hires_schedule: sdrs_schedule_value,
    /// The upscaler between the passes, by the WebUI's name, such as "Latent (bicubic)" or "Lanczos"; NULL (the default) is "Latent". This
    /// and the next two end in a zero byte.
    pub hires_upscaler: *const c_char,
    /// The prompt of the hires pass; NULL (the default) or empty, it is the first's.
    pub hires_prompt: *const c_char,
    /// The negative prompt of the hires pass, likewise.
    pub hires_negative_prompt: *const c_char,
    /// Width in pixels of the picture whose noise is kept, with the same seed, in the middle of this one's; with 0 (the default) here or
    /// in `seed_resize_height` all noise is that of this size.
    pub seed_resize_width: u32,
    /// Height in pixels of that picture.
    pub seed_resize_height: u32,
    /// The share, 0 (the default) to 1, by which the guided output of the network gets the deviation of the one for the prompt alone.
    pub guidance_rescale: f64,
    /// The smaller scale whose range of values the guided latent is brought into; NAN (the default) leaves it its own.
    pub mimic_scale: f64,
    /// The percentile of the values, 0 to 100 (the default), that are in range before `mimic_scale` acts; those beyond are clamped.
    pub threshold_percentile: f64,
    /// The factor on the part of guidance that is parallel to the prediction, -10 to 10 (1); the paper on adaptive projected guidance has 0.
    pub apg_eta: f64,
    /// The longest step from uncond to cond, by its norm, in adaptive projected guidance; 0 (the default) is any.
    pub apg_norm_threshold: f64,
    /// The factor on the steps of the calls before, -1 to 1 (0), in adaptive projected guidance.
    pub apg_momentum: f64,
    /// The factor, 0 (the default, plain guidance) to 100, on the part of the negative prompt that is perpendicular to the prompt: it
    /// alone is taken away then, and a call computes the empty prompt too.
    pub perp_neg_scale: f64,
    /// Whether the output for the negative prompt is scaled to come nearest to the prompt's (CFG-Zero*): 1, or 0 (the default).
    pub cfg_zero_star: i32,
    /// The version of FreeU (2): 1 as in diffusers, or 2 as in ComfyUI, where factors go with the pixel.
    pub freeu_version: u32,
    /// Strength of perturbed attention guidance, -100 to 100; 0 (the default) is none.
    pub pag_scale: f64,
    /// Strength of smoothed energy guidance, -100 to 100; 0 (the default) is none.
    pub seg_scale: f64,
    /// The deviation of its blur in pixels of the layer; NAN (the default) is the mean of all.
    pub seg_sigma: f64,
    /// The layers of those two: beginnings of diffusers' names, separated by commas, ended by a zero byte; NULL (the default) is "mid".
    pub perturbed_layers: *const c_char,
    /// Strength of self-attention guidance, -100 to 100; 0 (the default) is none.
    pub sag_scale: f64,
    /// The deviation of its blur in pixels of the latent (1).
    pub sag_blur_sigma: f64,
    /// The attention, 1 (the default) is the mean, beyond which a pixel is blurred.
    pub sag_threshold: f64,
    /// The factor of FreeU on half of what comes from below at the smallest resolution of the U-Net's way up, 0 to 10; with all four factors
    /// at 1 (the default) nothing is changed.
    pub freeu_b1: f64,
    /// The same at the next resolution.
    pub freeu_b2: f64,
    /// The factor of FreeU on the lowest frequencies of the skips at the smallest resolution, 0 to 10.
    pub freeu_s1: f64,
    /// The same at the next resolution.
    pub freeu_s2: f64,
    /// Whether the left and the right edge of the picture fit together, so that copies side by side have no seam: 1, or 0 (the default).
    pub tile_x: i32,
    /// Whether its upper and lower edge fit together, likewise.
    pub tile_y: i32,
    /// The width in pixels that SDXL is told the picture had before it was scaled; 0 (the default) is the picture's. A small one means a
    /// blurred picture. This and the next fields are for SDXL and its refiner; with other models the log says that they are not used.
    pub original_width: u32,
    /// The height, likewise.
    pub original_height: u32,
    /// The pixels that SDXL is told were cut off at the top (0).
    pub crop_top: u32,
    /// The pixels that were cut off at the left (0).
    pub crop_left: u32,
    /// The width in pixels that SDXL is told the picture is to have; 0 (the default) is the picture's.
    pub target_width: u32,
    /// The height, likewise.
    pub target_height: u32,
    /// The meaning of an empty negative prompt to SDXL (`SDRS_EMPTY_NEGATIVE_RULE_WEBUI`).
    pub empty_negative_rule: sdrs_empty_negative_rule_value,
    /// The score of beauty, 0 to 10, that SDXL's refiner is told of the prompt's picture (6).
    pub aesthetic_score: f64,
    /// The score that it is told of the negative prompt's (2.5).
    pub negative_aesthetic_score: f64,
    /// The share of the way from noise to the picture, 0 to 1, after which the pipeline's refiner takes over, if it has one (0.8); 1 is
    /// never. The way is counted in timesteps of the model.
    pub refiner_switch_at: f64,
    /// Whether that share is counted in sampling steps: 1, or 0 (the default).
    pub refiner_by_steps: i32,
    /// Strength of guidance by the picture, 0 to 100 (1.5), of models that edit one by instruction (InstructPix2Pix).
    pub image_cfg_scale: f64,
    /// Whether the result gets the colours of the picture that it began at (the WebUI's "Apply color correction"): 1, or 0 (the default).
    pub color_correction: i32,
    /// The way in which tiles become one picture at every call of the U-Net (`SDRS_TILED_DIFFUSION_NONE`: it sees the whole).
    pub tiled_diffusion: sdrs_tiled_diffusion_value,
    /// Width of a tile in latents, 16 to 1,024 (96).
    pub tile_width: u32,
    /// Height of a tile in latents, likewise.
    pub tile_height: u32,
    /// Latents that neighbouring tiles share at least (48).
    pub tile_overlap: u32,
    /// The smaller scale, 0 to 1000, that guidance keeps to where it drives a value further the way that it leans to by itself (Skimmed CFG);
    /// NAN (the default) is none.
    pub skimming_scale: f64,
    /// Whether the negative prompt's part keeps to 0 there: 1, or 0 (the default).
    pub full_skim_negative: i32,
    /// Whether values are skimmed as well whose guided latent lies on the other side of 0 than its way from the noisy one: 1, or 0 (the
    /// default).
    pub disable_flipping_filter: i32,
    /// The similarity, 0 (the default) to 1, of the denoised latents for the prompt and for the negative prompt from which on the remaining
    /// steps go without the negative prompt: the cosine of the angle between them. 0.99 is usual, 0 is never.
    pub adaptive_guidance: f64,
    /// Whether attention to the text sees merged pixels too: 1, or 0 (the default).
    pub token_merging_cross_attention: i32,
    /// Whether the feed-forward networks behind attention see merged pixels too: 1, or 0 (the default).
    pub token_merging_mlp: i32,
    /// The change, 0 to 1, of what the U-Net's first block gives since the last whole call, below which the rest is left out, and that call's
    /// output serves again. 0.15 is usual, 0 (the default) is never. Not with DeepCache.
    pub first_block_cache: f64,
    /// The number of a batch's pictures that go through the U-Net together, up to 1,000; 0 (the default) is as many as fit up to eight on a GPU,
    /// and one on the CPU. With 1 a picture is exactly what a single run gives, with more it differs by the type's rounding.
    pub batch_per_call: u32,
    /// The smallest noise level of a schedule before the last, which is 0; 0 (the default) is the model's own. Uniform and Align Your Steps
    /// don't heed it.
    pub sigma_min: f64,
    /// The largest noise level of a schedule, likewise.
    pub sigma_max: f64,
    /// The exponent of the schedules Karras and Polyexponential; 0 (the default) is their own, 7 and 1.
    pub rho: f64,
    /// The first parameter of the distribution whose quantiles are the schedule Beta, 0.01 to 100 (0.6).
    pub beta_alpha: f64,
    /// The second parameter of that distribution, likewise.
    pub beta_beta: f64,
    /// The amount of noise that Euler, Heun and DPM2 add at each step before they take it away, 0 (the default) or more.
    pub s_churn: f64,
    /// The noise level from which on they do (0).
    pub s_tmin: f64,
    /// The noise level up to which they do; 0 (the default) is any.
    pub s_tmax: f64,
    /// The factor on all noise that a sampler adds, 0 or more (1).
    pub s_noise: f64,
    /// `token_merging` of the second pass; NAN (the default) is the first's.
    pub hires_token_merging: f64,
    /// Whether the last noise level but one is left out with every sampler, as it is with DPM2: 1, or 0 (the default).
    pub discard_penultimate_sigma: i32,
    /// Whether the first noise has the deviation that the model was trained with at the largest noise level: 1, or 0 (the default).
    pub sgm_noise_multiplier: i32,
    /// Whether the model's noise levels are rounded as in 16 bits, as the WebUI had them up to 1.7: 1, or 0 (the default).
    pub half_alphas: i32,
    /// Whether the model's noise levels are stretched until nothing is left of the picture at the largest: 1, or 0 (the default).
    pub zero_terminal_snr: i32,
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
            true => closed()?,
            false => defaults()?,
        };
        // SAFETY: the caller keeps the header's rules for pointers.
        unsafe { init(params, struct_size, default, "params") }
    })
}

/// From this size on a caller's header says that parameters may be left open.
const LEAVES_OPEN: usize = offset_of!(sdrs_generate_params, unsigned_seeds) + size_of::<i32>();

/// A setting's type, and the type of its field.
trait Field: Copy {
    type C: Copy;

    fn to_c(self) -> Result<Self::C>;
    fn from_c(c: Self::C) -> Result<Self>;
}

macro_rules! conversions {
    ($($type:ty, $c:ty: $to:expr, $from:expr;)*) => {$(
        impl Field for $type {
            type C = $c;

            fn to_c(self) -> Result<$c> {
                let to: fn(Self) -> Result<$c> = $to;
                to(self)
            }

            fn from_c(c: $c) -> Result<Self> {
                let from: fn($c) -> Result<Self> = $from;
                from(c)
            }
        }
    )*};
}

/// Parameters as C has them, with the texts that they point to.
pub(crate) struct Held {
    c: sdrs_generate_params,
    _texts: Vec<CString>,
}

// SAFETY: the pointers lead to the texts beside them, which nobody changes.
unsafe impl Send for Held {}
// SAFETY: as above.
unsafe impl Sync for Held {}

impl Held {
    /// All parameters, given; a negative prompt that was not is NULL.
    pub fn new(params: &GenerateParams, given: &Given) -> Result<Self> {
        let mut c = numbers(params)?;
        let mut texts = Vec::new();
        let mut held = |text: &str| -> Result<*const c_char> {
            let text =
                CString::new(text).map_err(|_| Failure::argument("prompt", "has a zero byte in it"))?;
            texts.push(text);
            Ok(texts.last().map_or(std::ptr::null(), |text| text.as_ptr()))
        };
        c.prompt = held(&params.text.prompt)?;
        if given.contains("negative_prompt") {
            c.negative_prompt = held(&params.text.negative_prompt)?;
        }
        let hires = &params.hires;
        c.hires_upscaler = held(&hires.hires_upscaler)?;
        c.hires_prompt = held(&hires.hires_prompt)?;
        c.hires_negative_prompt = held(&hires.hires_negative_prompt)?;
        c.perturbed_layers = held(&params.guidance.perturbed_layers)?;
        // Any of them may be beyond the signed ones.
        c.unsigned_seeds = 1;
        (c.seed, c.variation_seed) = (params.noise.seed as i64, params.noise.variation_seed as i64);
        Ok(Self { c, _texts: texts })
    }

    /// The structure; valid as long as this is.
    pub fn get(&self) -> sdrs_generate_params {
        self.c
    }
}

conversions! {
    u32, u32: Ok, Ok;
    usize, u32: |n| Ok(u32::try_from(n).unwrap_or(u32::MAX)), |n| Ok(n as usize);
    Option<u32>, u32: |n| Ok(n.unwrap_or(0)), |n| Ok((n != 0).then_some(n));
    f64, f64: Ok, Ok;
    Option<f64>, f64: |x| Ok(x.unwrap_or(f64::NAN)), |x| Ok((!x.is_nan()).then_some(x));
    i64, i64: Ok, Ok;
    bool, i32: |flag| Ok(flag.into()), |n| Ok(n != 0);
    sdrs::ClipSkipRule, i32: number::<sdrs_clip_skip_rule>, value::<sdrs_clip_skip_rule>;
    sdrs::Emphasis, i32: number::<sdrs_emphasis>, value::<sdrs_emphasis>;
    sdrs::EmptyNegativeRule, i32: number::<sdrs_empty_negative_rule>, value::<sdrs_empty_negative_rule>;
    sdrs::PromptDialect, i32: number::<sdrs_prompt_dialect>, value::<sdrs_prompt_dialect>;
    sdrs::Rng, i32: number::<sdrs_rng>, value::<sdrs_rng>;
    sdrs::Sampler, i32: number::<sdrs_sampler>, value::<sdrs_sampler>;
    sdrs::Schedule, i32: number::<sdrs_schedule>, value::<sdrs_schedule>;
    Option<sdrs::Sampler>, i32: |sampler| sampler.map_or(Ok(NO_SAMPLER), number::<sdrs_sampler>),
        |n| (n != NO_SAMPLER).then(|| value::<sdrs_sampler>(n)).transpose();
    Option<sdrs::Schedule>, i32: |schedule| schedule.map_or(Ok(NO_SCHEDULE), number::<sdrs_schedule>),
        |n| (n != NO_SCHEDULE).then(|| value::<sdrs_schedule>(n)).transpose();
    sdrs::MaskedContent, i32: number::<sdrs_masked_content>, value::<sdrs_masked_content>;
    sdrs::ResizeMode, i32: number::<sdrs_resize_mode>, value::<sdrs_resize_mode>;
    sdrs::StrengthRule, i32: number::<sdrs_strength_rule>, value::<sdrs_strength_rule>;
    sdrs::TiledDiffusion, i32: number::<sdrs_tiled_diffusion>, value::<sdrs_tiled_diffusion>;
    sdrs::TimeRule, i32: number::<sdrs_time_rule>, value::<sdrs_time_rule>;
}

/// The fields that are settings, group by group: those that have a value, and those that may be left open, with what says so.
macro_rules! fields {
    ({$($group:ident: $($name:ident),*;)*} {$($open_group:ident: $open:ident = $not_set:expr, $is_set:expr;)*}) => {
        /// The names of all of them.
        #[cfg(test)]
        const NAMES: &[&str] = &[$($(stringify!($name),)*)* $(stringify!($open),)*];

        /// Numbers in all places, as older headers promise them.
        fn closed() -> Result<sdrs_generate_params> {
            let params = GenerateParams::default();
            // SAFETY: any bytes are a valid value of it.
            let mut c: sdrs_generate_params = unsafe { std::mem::zeroed() };
            c.struct_size = size_of::<sdrs_generate_params>();
            (c.prompt_length, c.negative_prompt_length) = (SDRS_NUL_TERMINATED, SDRS_NUL_TERMINATED);
            (c.seed, c.variation_seed) = (-1, -1);
            $($(c.$name = params.$group.$name.to_c()?;)*)*
            $(c.$open = params.$open_group.$open.to_c()?;)*
            Ok(c)
        }

        /// The defaults: the library's own, and open what a model may recommend.
        fn defaults() -> Result<sdrs_generate_params> {
            Ok(sdrs_generate_params { $($open: $not_set,)* ..closed()? })
        }

        /// The defaults, with what a checkpoint recommends.
        pub(crate) fn recommended(recommended: &Recommended) -> Result<sdrs_generate_params> {
            let (mut params, mut c) = (GenerateParams::default(), defaults()?);
            recommended.settle(&Given::default(), &mut params);
            $(if recommended.get(stringify!($open)).is_some() {
                c.$open = params.$open_group.$open.to_c()?;
            })*
            Ok(c)
        }

        /// Parameters as the structure has them, but for their texts and seeds.
        fn numbers(params: &GenerateParams) -> Result<sdrs_generate_params> {
            let mut c = closed()?;
            $($(c.$name = params.$group.$name.to_c()?;)*)*
            $(c.$open = params.$open_group.$open.to_c()?;)*
            Ok(c)
        }

        /// Writes the fields to parameters, and returns which are given.
        fn read(c: &sdrs_generate_params, params: &mut GenerateParams) -> Result<Given> {
            let mut given = Given::default();
            $($(params.$group.$name = Field::from_c(c.$name)?;)*)*
            $(if $is_set(c.$open) {
                params.$open_group.$open = Field::from_c(c.$open)?;
                given.insert(stringify!($open));
            })*
            Ok(given)
        }
    };
}

fields! {
    {
        text: clip_skip_rule, prompt_dialect, emphasis, time_rule, comma_backtrack, text_as_is, pad_prompts;
        size: width, height, batch_size;
        noise: variation_strength, rng, ensd, seed_resize_width, seed_resize_height;
        sampling: eta, sigma_min, sigma_max, rho, beta_alpha, beta_beta, discard_penultimate_sigma, s_churn, s_tmin, s_tmax, s_noise,
            sgm_noise_multiplier, half_alphas, zero_terminal_snr, refiner_switch_at, refiner_by_steps;
        image: image_cfg_scale, strength, strength_rule, resize_mode, noise_multiplier, extra_noise, posterior_sample, mask_blur, mask_inverted, soft_mask,
            masked_content, only_masked, only_masked_padding, color_correction;
        tiles: tiled_diffusion, tile_width, tile_height, tile_overlap;
        hires: hires_scale, hires_width, hires_height, hires_steps, hires_sampler, hires_schedule, hires_cfg_scale, hires_token_merging;
        guidance: ngms, ngms_all_steps, skip_early_cfg, adaptive_guidance, guidance_sigma_min, guidance_sigma_max, guidance_rescale, mimic_scale,
            threshold_percentile, skimming_scale, full_skim_negative, disable_flipping_filter, apg_eta, apg_norm_threshold, apg_momentum, cfg_zero_star, perp_neg_scale, pag_scale,
            seg_scale, seg_sigma, sag_scale, sag_blur_sigma, sag_threshold;
        network: freeu_b1, freeu_b2, freeu_s1, freeu_s2, freeu_version, tile_x, tile_y;
        speed: token_merging, token_merging_cross_attention, token_merging_mlp, deep_cache_interval, deep_cache_branch, first_block_cache, batch_per_call;
        conditioning: original_width, original_height, crop_top, crop_left, target_width, target_height, aesthetic_score,
            negative_aesthetic_score, empty_negative_rule;
    }
    {
        text: clip_skip = SDRS_NOT_SET, |n| n != SDRS_NOT_SET;
        sampling: steps = SDRS_NOT_SET, |n| n != SDRS_NOT_SET;
        sampling: sampler = NO_SAMPLER, |n| n != NO_SAMPLER;
        sampling: schedule = NO_SCHEDULE, |n| n != NO_SCHEDULE;
        guidance: cfg_scale = f64::NAN, |x: f64| !x.is_nan();
    }
}

const NO_SAMPLER: sdrs_sampler_value = sdrs_sampler::SDRS_SAMPLER_NOT_SET as sdrs_sampler_value;
const NO_SCHEDULE: sdrs_schedule_value = sdrs_schedule::SDRS_SCHEDULE_NOT_SET as sdrs_schedule_value;

/// A caller's parameters, and which of them are given. Ranges are checked by the run itself.
///
/// # Safety
/// As the header says of pointers.
pub(crate) unsafe fn params(pointer: *const sdrs_generate_params) -> Result<(GenerateParams, Given)> {
    // SAFETY: as promised by the caller.
    let c = unsafe { get(pointer, defaults()?, "params") }?;
    let prompt = |pointer: *const c_char, length: usize, name| {
        if pointer.is_null() && length == SDRS_NUL_TERMINATED {
            return Ok(String::new());
        }
        // SAFETY: as promised by the caller.
        unsafe { text(pointer, length, name) }.map(str::to_owned)
    };
    let seed = |seed: i64| match c.unsigned_seeds {
        0 => seed.into(),
        _ => i128::from(seed as u64),
    };
    let mut params = GenerateParams::default();
    params.text.prompt = prompt(c.prompt, c.prompt_length, "prompt")?;
    params.text.negative_prompt = prompt(c.negative_prompt, c.negative_prompt_length, "negative_prompt")?;
    if !c.perturbed_layers.is_null() {
        params.guidance.perturbed_layers =
            prompt(c.perturbed_layers, SDRS_NUL_TERMINATED, "perturbed_layers")?;
    }
    (params.noise.seed, params.noise.variation_seed) = (seed(c.seed), seed(c.variation_seed));
    let hires = &mut params.hires;
    for (field, pointer, name) in [
        (&mut hires.hires_upscaler, c.hires_upscaler, "hires_upscaler"),
        (&mut hires.hires_prompt, c.hires_prompt, "hires_prompt"),
        (
            &mut hires.hires_negative_prompt,
            c.hires_negative_prompt,
            "hires_negative_prompt",
        ),
    ] {
        if !pointer.is_null() {
            *field = prompt(pointer, SDRS_NUL_TERMINATED, name)?;
        }
    }
    let mut given = read(&c, &mut params)?;
    if !c.negative_prompt.is_null() {
        given.insert("negative_prompt");
    }
    Ok((params, given))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recommendable() -> impl Iterator<Item = &'static sdrs::Setting> {
        sdrs::settings().iter().filter(|setting| setting.recommended)
    }

    #[test]
    fn defaults_are_the_librarys() {
        let default = defaults().unwrap();
        // SAFETY: a whole structure.
        let got = unsafe { params(&raw const default) }.unwrap();
        assert_eq!(got, (GenerateParams::default(), Given::default()));
    }

    #[test]
    fn every_setting_has_a_field() {
        let by_hand = [
            "prompt",
            "negative_prompt",
            "seed",
            "variation_seed",
            "hires_upscaler",
            "hires_prompt",
            "hires_negative_prompt",
            "perturbed_layers",
        ];
        for setting in sdrs::settings() {
            let known = NAMES.contains(&setting.name) || by_hand.contains(&setting.name);
            assert!(known, "sdrs_generate_params has no field for {}", setting.name);
        }
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
        assert_eq!(params, GenerateParams::default());
        assert!(recommendable().all(|setting| given.contains(setting.name)));
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
        (c.strength, c.noise_multiplier, c.extra_noise) = (0.25, 0.5, 0.75);
        (c.image_cfg_scale, c.color_correction) = (2.25, 1);
        (c.tiled_diffusion, c.tile_width) = (2, 64);
        (c.tile_height, c.tile_overlap) = (80, 16);
        (c.strength_rule, c.resize_mode, c.masked_content) = (2, 3, 1);
        (c.posterior_sample, c.mask_blur, c.mask_inverted, c.soft_mask) = (1, 7, 1, 1);
        (c.only_masked, c.only_masked_padding, c.hires_steps) = (1, 9, 11);
        (c.hires_scale, c.hires_cfg_scale, c.hires_width, c.hires_height) = (2.0, 4.0, 80, 88);
        (c.hires_sampler, c.hires_schedule) = (6, 1);
        (c.hires_upscaler, c.hires_prompt) = (c"Lanczos".as_ptr(), c"e".as_ptr());
        c.hires_negative_prompt = c"f".as_ptr();
        (c.seed_resize_width, c.seed_resize_height) = (80, 88);
        (c.guidance_rescale, c.mimic_scale, c.threshold_percentile) = (0.75, 2.0, 95.0);
        (c.apg_eta, c.apg_norm_threshold, c.apg_momentum) = (0.5, 15.0, -0.25);
        (c.cfg_zero_star, c.perp_neg_scale) = (1, 1.5);
        (c.skimming_scale, c.full_skim_negative) = (2.5, 1);
        (c.disable_flipping_filter, c.adaptive_guidance) = (1, 0.875);
        (c.token_merging_cross_attention, c.token_merging_mlp) = (1, 1);
        (c.first_block_cache, c.batch_per_call) = (0.0625, 4);
        (c.sigma_min, c.sigma_max, c.rho) = (0.125, 12.0, 5.0);
        (c.beta_alpha, c.beta_beta, c.s_churn) = (0.5, 0.75, 3.0);
        (c.s_tmin, c.s_tmax, c.s_noise) = (0.25, 8.0, 1.0625);
        (c.hires_token_merging, c.discard_penultimate_sigma) = (0.625, 1);
        (c.sgm_noise_multiplier, c.half_alphas, c.zero_terminal_snr) = (1, 1, 1);
        (c.pag_scale, c.seg_scale, c.seg_sigma) = (3.0, -2.0, 10.0);
        c.perturbed_layers = c"down".as_ptr();
        (c.sag_scale, c.sag_blur_sigma, c.sag_threshold) = (0.5, 2.0, 1.25);
        (c.freeu_b1, c.freeu_b2, c.freeu_version) = (1.3, 1.4, 1);
        (c.freeu_s1, c.freeu_s2) = (0.9, 0.2);
        (c.tile_x, c.tile_y) = (1, 1);
        (c.original_width, c.original_height) = (640, 480);
        (c.crop_top, c.crop_left, c.target_width, c.target_height) = (1, 2, 320, 240);
        (
            c.aesthetic_score,
            c.negative_aesthetic_score,
            c.empty_negative_rule,
        ) = (7.5, 3.5, 2);
        (c.refiner_switch_at, c.refiner_by_steps) = (0.25, 1);
        // SAFETY: a whole structure with valid texts.
        let (got, given) = unsafe { params(&raw const c) }.unwrap();
        assert!(recommendable().all(|setting| given.contains(setting.name)));
        let mut expected = GenerateParams::default();
        (expected.text.prompt, expected.text.negative_prompt) = ("a".into(), "bc".into());
        (expected.size.width, expected.size.height) = (Some(64), Some(72));
        (expected.sampling.steps, expected.size.batch_size) = (3, 2);
        (expected.sampling.sampler, expected.sampling.schedule) =
            (sdrs::Sampler::Euler, sdrs::Schedule::Karras);
        (expected.guidance.cfg_scale, expected.noise.seed) = (3.5, 5);
        (expected.noise.variation_seed, expected.noise.variation_strength) = (6, 0.5);
        (
            expected.sampling.eta,
            expected.noise.ensd,
            expected.text.clip_skip,
        ) = (Some(0.25), 9, 2);
        expected.noise.rng = sdrs::Rng::Nv;
        expected.text.clip_skip_rule = sdrs::ClipSkipRule::Diffusers;
        expected.text.prompt_dialect = sdrs::PromptDialect::Comfy;
        (expected.text.emphasis, expected.text.time_rule) =
            (sdrs::Emphasis::Ignore, sdrs::TimeRule::Before16);
        (expected.text.comma_backtrack, expected.text.pad_prompts) = (7, true);
        (
            expected.guidance.ngms,
            expected.guidance.ngms_all_steps,
            expected.guidance.skip_early_cfg,
        ) = (2.5, true, 0.125);
        (
            expected.guidance.guidance_sigma_min,
            expected.guidance.guidance_sigma_max,
        ) = (0.5, Some(6.0));
        (expected.speed.token_merging, expected.speed.deep_cache_interval) = (0.375, 3);
        expected.speed.token_merging_cross_attention = true;
        expected.speed.token_merging_mlp = true;
        (expected.speed.first_block_cache, expected.speed.batch_per_call) = (0.0625, 4);
        (expected.speed.deep_cache_branch, expected.text.text_as_is) = (4, true);
        let image = &mut expected.image;
        (image.image_cfg_scale, image.color_correction) = (2.25, true);
        (image.strength, image.noise_multiplier, image.extra_noise) = (Some(0.25), 0.5, 0.75);
        (image.strength_rule, image.resize_mode) = (sdrs::StrengthRule::Diffusers, sdrs::ResizeMode::Latent);
        image.masked_content = sdrs::MaskedContent::Fill;
        (image.posterior_sample, image.mask_blur) = (true, 7);
        (image.mask_inverted, image.soft_mask) = (true, true);
        (image.only_masked, image.only_masked_padding) = (true, 9);
        let tiles = &mut expected.tiles;
        tiles.tiled_diffusion = sdrs::TiledDiffusion::MixtureOfDiffusers;
        (tiles.tile_width, tiles.tile_height, tiles.tile_overlap) = (64, 80, 16);
        let hires = &mut expected.hires;
        (hires.hires_scale, hires.hires_cfg_scale, hires.hires_steps) = (Some(2.0), Some(4.0), 11);
        (hires.hires_width, hires.hires_height) = (Some(80), Some(88));
        hires.hires_sampler = Some(sdrs::Sampler::EulerAncestral);
        hires.hires_schedule = got.hires.hires_schedule;
        assert!(hires.hires_schedule.is_some());
        (hires.hires_upscaler, hires.hires_prompt) = ("Lanczos".into(), "e".into());
        hires.hires_negative_prompt = "f".into();
        let resize = &mut expected.noise;
        (resize.seed_resize_width, resize.seed_resize_height) = (Some(80), Some(88));
        let guidance = &mut expected.guidance;
        (guidance.guidance_rescale, guidance.mimic_scale) = (0.75, Some(2.0));
        (guidance.threshold_percentile, guidance.apg_eta) = (95.0, 0.5);
        (guidance.apg_norm_threshold, guidance.apg_momentum) = (15.0, -0.25);
        (guidance.cfg_zero_star, guidance.perp_neg_scale) = (true, 1.5);
        (guidance.skimming_scale, guidance.full_skim_negative) = (Some(2.5), true);
        guidance.disable_flipping_filter = true;
        guidance.adaptive_guidance = 0.875;
        (guidance.pag_scale, guidance.seg_scale) = (3.0, -2.0);
        (guidance.seg_sigma, guidance.perturbed_layers) = (Some(10.0), "down".into());
        (guidance.sag_scale, guidance.sag_blur_sigma) = (0.5, 2.0);
        guidance.sag_threshold = 1.25;
        let network = &mut expected.network;
        (network.freeu_b1, network.freeu_b2) = (1.3, 1.4);
        (network.freeu_s1, network.freeu_s2) = (0.9, 0.2);
        network.freeu_version = 1;
        (network.tile_x, network.tile_y) = (true, true);
        let told = &mut expected.conditioning;
        (told.original_width, told.original_height) = (Some(640), Some(480));
        (told.crop_top, told.crop_left) = (1, 2);
        (told.target_width, told.target_height) = (Some(320), Some(240));
        (told.aesthetic_score, told.negative_aesthetic_score) = (7.5, 3.5);
        told.empty_negative_rule = sdrs::EmptyNegativeRule::Comfy;
        (
            expected.sampling.refiner_switch_at,
            expected.sampling.refiner_by_steps,
        ) = (0.25, true);
        let sampling = &mut expected.sampling;
        (sampling.sigma_min, sampling.sigma_max, sampling.rho) = (0.125, 12.0, 5.0);
        (sampling.beta_alpha, sampling.beta_beta) = (0.5, 0.75);
        (sampling.s_churn, sampling.s_tmin) = (3.0, 0.25);
        (sampling.s_tmax, sampling.s_noise) = (8.0, 1.0625);
        (sampling.discard_penultimate_sigma, sampling.sgm_noise_multiplier) = (true, true);
        (sampling.half_alphas, sampling.zero_terminal_snr) = (true, true);
        expected.hires.hires_token_merging = Some(0.625);
        assert_eq!(got, expected);
        // And back.
        let held = Held::new(&expected, &given).unwrap();
        let c = held.get();
        // SAFETY: a whole structure with valid texts.
        assert_eq!(unsafe { params(&raw const c) }.unwrap(), (expected, given));
    }
}
