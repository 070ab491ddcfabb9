"""The settings of a run. Made from the library's table by `cargo xtask settings`."""

from __future__ import annotations

from typing import Any, TypedDict


class Settings(TypedDict, total=False):
    """The settings of a picture besides its prompt: keyword arguments of `Pipeline.txt2img` and its like.

    `negative_prompt`: The negative prompt: a description of things that the picture should not show.
    `clip_skip`: The layer of the text encoder that is used, from the end: 1 is the last. The final norm follows in any case. None is what
    the checkpoint recommends, else 1.
    `clip_skip_rule`: The rule by which `clip_skip` counts: "webui", or "diffusers", where 0 is the last layer.
    `prompt_dialect`: The dialect of the prompt language: "webui" or "comfy".
    `emphasis`: The rule by which weights in prompts act: "original", "no norm", "ignore" or "none".
    `time_rule`: The numbers of prompt edits that are fractions of the steps: those with a point ("current"), or those under 1
    ("before-1.6", as in older versions of the WebUI).
    `comma_backtrack`: The number of tokens that the last comma may lie back for a long prompt to be cut after it, instead of after 75
    tokens; 0 never cuts there.
    `text_as_is`: Whether prompts are tokenized as they are, like by transformers' fast tokenizer. Else they are repaired first as ftfy does
    it, like in the WebUI: typographic quotes, ligatures, full-width letters, HTML's entities, texts in wrong encodings. Most texts are
    alike to both; ComfyUI's dialect always takes them as they are.
    `pad_prompts`: Whether the shorter of both prompts is padded with the empty one, where they are of different length. Else each has its
    own call of the U-Net; pictures differ slightly.
    `width`: Width in pixels, a multiple of 8; not given, it is the size that the model was trained on.
    `height`: Height in pixels, likewise.
    `batch_size`: Number of pictures, 1 to 1,000, with consecutive seeds.
    `seed`: Seed of the first picture, 0 to 2^64-1; -1 draws one at random. The others of a batch follow it by one each, and 0 follows the
    last. PyTorch's CPU noise (the default of `rng`) is that of a seed's low 32 bits.
    `variation_seed`: Seed of the noise that the first noise is mixed with, and -1 draws one at random. Range and batches are as for `seed`.
    `variation_strength`: The share of the variation seed's noise in the first noise, 0 to 1. Above 0 all pictures of a batch share `seed`.
    `seed_resize_width`: Width in pixels of the picture whose noise is kept, with the same seed, in the middle of this one's (the WebUI's
    seed resize); not given, or with `seed_resize_height` 0 or not given, all noise is that of this size.
    `seed_resize_height`: Height in pixels of that picture.
    `rng`: The source of the noise: "cpu" or "nv", PyTorch's generators on a CPU and on CUDA. Noise is the same on every device.
    `ensd`: Eta noise seed delta: if not 0, noise after the first draw comes from the seed plus this, modulo 2^64.
    `steps`: Sampling steps, 1 to 10,000. None is what the checkpoint recommends, else 20.
    `sampler`: The sampler, such as "Euler", "Euler a", "DDIM"; may carry its schedule: "DPM++ 2M Karras". None is what the checkpoint
    recommends, else "DPM++ 2M".
    `schedule`: The noise schedule, such as "uniform" or "karras"; "automatic" is the one that suits the sampler. With another sampler than
    the recommended one, a recommended schedule is not taken. None is what the checkpoint recommends, else "Automatic".
    `eta`: The amount of fresh noise that replaces old, 0 or more; not given, it is the sampler's own (1 for ancestral ones, 0 for DDIM).
    `sigma_min`: The smallest noise level of a schedule before the last, which is 0; 0 is the model's own. Uniform and Align Your Steps
    don't heed it.
    `sigma_max`: The largest noise level of a schedule, likewise.
    `rho`: The exponent of the schedules Karras and Polyexponential; 0 is their own, 7 and 1.
    `beta_alpha`: The first parameter of the distribution whose quantiles are the schedule Beta, 0.01 to 100.
    `beta_beta`: The second parameter of that distribution, likewise.
    `discard_penultimate_sigma`: Whether the last noise level but one is left out with every sampler, as it is with DPM2.
    `s_churn`: The amount of noise that Euler, Heun and DPM2 add at each step before they take it away, 0 or more (Karras et al. 2022,
    arXiv:2206.00364, algorithm 2).
    `s_tmin`: The noise level from which on they do.
    `s_tmax`: The noise level up to which they do; 0 is any.
    `s_noise`: The factor on all noise that a sampler adds, 0 or more.
    `sgm_noise_multiplier`: Whether the first noise has the deviation that the model was trained with at the largest noise level, as in
    Stability's own program: slightly more than that level.
    `half_alphas`: Whether the model's noise levels are rounded as in 16 bits, as the WebUI had them up to 1.7 on models in half precision.
    `zero_terminal_snr`: Whether the model's noise levels are stretched until nothing is left of the picture at the largest (Lin et al.
    2023, arXiv:2305.08891), also where the checkpoint doesn't ask for it.
    `refiner_switch_at`: The share of the way from noise to the picture, 0 to 1, after which the pipeline's refiner takes over, if it has
    one; 1 is never. The way is counted in timesteps of the model (WebUI 1.9, diffusers' `denoising_end`).
    `refiner_by_steps`: Whether that share is counted in sampling steps, as by older versions of the WebUI.
    `cfg_scale`: Strength of guidance by the prompts, -1000 to 1000; 1 is none, and halves the work. It is classifier-free guidance (Ho and
    Salimans 2022, arXiv:2207.12598). None is what the checkpoint recommends, else 7.0.
    `ngms`: Negative guidance minimum sigma: below this noise level every second call of the U-Net goes without the negative prompt, which
    halves it. 0 is never; samplers over timesteps (DDIM, PLMS, UniPC) compare their timestep (WebUI).
    `ngms_all_steps`: Whether every call goes without the negative prompt below `ngms`, not every second.
    `skip_early_cfg`: The share of the steps, 0 to 1, at the beginning of which the negative prompt is left out.
    `guidance_sigma_min`: The noise level, 0 or more, at which and below which the negative prompt is left out. It is the lower end of a
    guidance interval (Kynkäänniemi et al. 2024, arXiv:2404.07724).
    `guidance_sigma_max`: The noise level above which the negative prompt is left out. It is the interval's upper end; not given, there is
    none.
    `adaptive_guidance`: The similarity, 0 to 1, of the denoised latents for the prompt and for the negative prompt from which on the
    remaining steps go without the negative prompt. It is the cosine of the angle between them; 0.99 is usual, 0 is never (adaptive
    guidance, Castillo et al. 2023, arXiv:2312.12487).
    `guidance_rescale`: The share, 0 to 1, by which the guided output of the network gets the deviation of the one for the prompt alone,
    against overexposure at large scales (Lin et al. 2023, arXiv:2305.08891; diffusers' `guidance_rescale`).
    `mimic_scale`: The smaller scale whose range of values the guided latent is brought into (mcmonkey's dynamic thresholding, "CFG scale
    fix"); not given, it keeps its own.
    `threshold_percentile`: The percentile of the values, 0 to 100, that are in range before; those beyond are clamped.
    `skimming_scale`: The smaller scale, 0 to 1000, that guidance keeps to where it drives a value further the way that it leans to by
    itself; 2 to 7 are usual, and not given, it keeps to `cfg_scale` everywhere (Extraltodeus' Skimmed CFG).
    `full_skim_negative`: Whether the negative prompt's part keeps to 0 there, and not to `skimming_scale`.
    `disable_flipping_filter`: Whether values are skimmed as well whose guided latent lies on the other side of 0 than its way from the
    noisy one.
    `apg_eta`: The factor on the part of guidance that is parallel to the prediction, -10 to 10: less than 1 keeps colours from saturating,
    the paper has 0 (adaptive projected guidance, Sadat et al. 2024, arXiv:2410.02416).
    `apg_norm_threshold`: The longest step from uncond to cond, by its norm, in adaptive projected guidance; 0 is any.
    `apg_momentum`: The factor on the steps of the calls before, -1 to 1, in adaptive projected guidance; the paper has -0.5.
    `cfg_zero_star`: Whether the output for the negative prompt is scaled to come nearest to the prompt's (CFG-Zero*, Fan et al. 2025,
    arXiv:2503.18886).
    `perp_neg_scale`: The factor, 0 to 100, on the part of the negative prompt that is perpendicular to the prompt: it alone is taken away
    then, and a call computes the empty prompt too (Perp-Neg, Armandpour et al. 2023, arXiv:2304.04968). 0 is plain guidance.
    `pag_scale`: Strength of guidance away from what the network gives where each pixel sees itself alone in some layers, -100 to 100; 3 is
    usual, 0 is none, and one more evaluation for each prompt is saved (perturbed attention guidance, Ahn et al. 2024, arXiv:2403.17377).
    `seg_scale`: Strength of guidance away from what the network gives with blurred queries in some layers, -100 to 100; 3 is usual, 0 is
    none (smoothed energy guidance, Hong 2024, arXiv:2408.00760).
    `seg_sigma`: The deviation of that blur in pixels of the layer, 0 or more; not given, queries are the mean of all.
    `perturbed_layers`: The layers of those two: beginnings of diffusers' names, separated by commas, such as "mid,
    up_blocks.1.attentions.0".
    `sag_scale`: Strength of guidance away from what the network makes of a latent that is blurred where the middle's attention looks most,
    -100 to 100; 0.75 is usual, 0 is none (self-attention guidance, Hong et al. 2022, arXiv:2210.00939).
    `sag_blur_sigma`: The deviation of that blur in pixels of the latent, 0 or more.
    `sag_threshold`: The attention, 1 is the mean, beyond which a pixel is blurred.
    `freeu_b1`: The factor on half of what comes from below at the smallest resolution of the U-Net's way up, 0 to 10; with all four factors
    at 1 nothing is changed (FreeU, Si et al. 2023, arXiv:2309.11497).
    `freeu_b2`: The same at the next resolution.
    `freeu_s1`: The factor on the lowest frequencies of the skips at the smallest resolution, 0 to 10.
    `freeu_s2`: The same at the next resolution.
    `freeu_version`: The version of FreeU: 1 as in diffusers, or 2 as in ComfyUI and Forge, where factors go with the pixel.
    `tile_x`: Whether the left and the right edge of the picture fit together, so that copies side by side have no seam: all convolutions
    see what is at the opposite edge (circular padding). With `tile_y` it is the WebUI's "Tiling".
    `tile_y`: Whether its upper and lower edge fit together.
    `tiled_diffusion`: The way in which tiles become one picture at every call of the U-Net: "none", where it sees the whole,
    "multidiffusion" (their mean, Bar-Tal et al. 2023, arXiv:2302.08113), or "mixture of diffusers" (with Gaussian weights, Barbero Jimenez
    2023, arXiv:2302.02412).
    `tile_width`: Width of a tile in latents, 16 to 1,024: an eighth of its pixels.
    `tile_height`: Height of a tile in latents, likewise.
    `tile_overlap`: Latents that neighbouring tiles share at least, 0 to 1,024; no more than the smaller side of a tile less 4.
    `strength`: The share of the schedule that is run over a picture, or in a hires pass, 0 to 1: 0 keeps the picture, 1 draws another; not
    given, it is 0.75 for a picture, and 0.7 for a hires pass.
    `strength_rule`: The rule by which `strength` counts steps: "webui" runs `strength * steps` of them and one more, "exact" as many as
    `steps` says (the WebUI's option; ComfyUI), "diffusers" `strength * steps`. A hires pass always runs exactly its steps.
    `resize_mode`: The way in which a picture of another size is fitted: "stretch", "crop", "fill" (edges are repeated), or "latent" (its
    latents are stretched).
    `noise_multiplier`: A factor of the first noise over a picture, 0 to 1.5.
    `extra_noise`: Noise beyond that of the first noise level, 0 to 1: more details, over a picture and in a hires pass.
    `image_cfg_scale`: Strength of guidance by the picture, 0 to 100, of models that edit one by instruction (InstructPix2Pix); 1 is none,
    and no model else heeds it.
    `posterior_sample`: Whether a picture's latents are drawn from the Gaussian that the VAE encodes it to, with the seed's first noise, as
    in diffusers. Else they are its mean.
    `color_correction`: Whether the result gets the colours of the picture that it began at: histograms in LAB, then its own lightness (the
    WebUI's "Apply color correction").
    `mask_blur`: The radius in pixels, 0 to 256, over which the edge of a mask is blurred.
    `mask_inverted`: Whether what the mask does not cover is drawn anew.
    `soft_mask`: Whether the mask's greys say for how much of the run each pixel is drawn anew (differential diffusion, Levin and Fried
    2023, arXiv:2306.00950). Else each latent is masked or not.
    `masked_content`: The start of the masked part: "original", "fill" (colours around it), "latent noise" or "latent nothing".
    `only_masked`: Whether only the masked part is drawn, at the whole size, and put back into the picture.
    `only_masked_padding`: The pixels around the masked part that are drawn with it, 0 to 4,096.
    `hires_scale`: The factor from the first pass's size to the second's, 1 to 16; not given, there is no second pass unless a size is.
    `hires_width`: Width of the second pass in pixels, in place of `hires_scale`. Where only one side is given, the other follows; where
    both are, what doesn't fit is cut off.
    `hires_height`: Height of the second pass in pixels, likewise.
    `hires_steps`: Steps of the second pass; 0 is as many as in the first.
    `hires_upscaler`: The upscaler between the passes: "Latent" and its kinds ("Latent (antialiased)", "Latent (bicubic)", "Latent (bicubic
    antialiased)", "Latent (nearest)", "Latent (nearest-exact)"), or on the picture "Lanczos", "Nearest" or a network that the pipeline was
    given, by its file's name without the ending.
    `hires_sampler`: The sampler of the second pass; not given, it is the first's.
    `hires_schedule`: The schedule of the second pass; not given, it is the first's.
    `hires_cfg_scale`: `cfg_scale` of the second pass; not given, it is the first's.
    `hires_token_merging`: `token_merging` of the second pass; not given, it is the first's.
    `hires_prompt`: The prompt of the second pass; empty, it is the first's.
    `hires_negative_prompt`: The negative prompt of the second pass; empty, it is the first's.
    `original_width`: The width in pixels that SDXL is told the picture had before it was scaled; not given, it is the picture's. A small
    one means a blurred picture.
    `original_height`: The height, likewise.
    `crop_top`: The pixels that SDXL is told were cut off at the top; 0 puts the subject in the middle.
    `crop_left`: The pixels that were cut off at the left, likewise.
    `target_width`: The width in pixels that SDXL is told the picture is to have; not given, it is the picture's.
    `target_height`: The height, likewise.
    `aesthetic_score`: The score of beauty, 0 to 10, that SDXL's refiner is told of the prompt's picture.
    `negative_aesthetic_score`: The score that it is told of the negative prompt's.
    `empty_negative_rule`: The meaning of an empty negative prompt to SDXL: "webui", where it is zeros in place of an encoded text;
    "diffusers", where it is zeros unless it is given, and never to the refiner; or "comfy", where it is encoded.
    `token_merging`: The share of the pixels, 0 to 1, that self-attention merges with others: faster for large pictures, and coarser. It
    acts at the resolution of the latents (token merging, Bolya and Hoffman 2023, arXiv:2303.17604), and no more than three quarters can be
    merged.
    `token_merging_cross_attention`: Whether attention to the text sees merged pixels too (tomesd's `merge_crossattn`).
    `token_merging_mlp`: Whether the feed-forward networks behind attention see merged pixels too (tomesd's `merge_mlp`): less work, and
    coarser still.
    `deep_cache_interval`: The number of steps from one call of the whole U-Net to the next; the calls in between compute its outermost
    layers alone, on features of the last whole one (DeepCache, Ma et al. 2023, arXiv:2312.00858). 1 is the whole U-Net at every step.
    `deep_cache_branch`: The layers that are computed in between: those up to this branch from the way down to the way up, 0 is the
    outermost.
    `first_block_cache`: The change, 0 to 1, of what the U-Net's first block gives since the last whole call, below which the rest is left
    out, and that call's output serves again; 0.15 is usual, 0 is never. Not with DeepCache (first-block caching, after TeaCache, Liu et al.
    2024, arXiv:2411.19108).
    `batch_per_call`: The number of a batch's pictures that go through the U-Net together, up to 1,000; 0 is as many as fit up to eight on a
    GPU, and one on the CPU. With 1 a picture is exactly what a single run gives, with more it differs by the type's rounding.
    """

    negative_prompt: str
    clip_skip: int | None
    clip_skip_rule: str
    prompt_dialect: str
    emphasis: str
    time_rule: str
    comma_backtrack: int
    text_as_is: bool
    pad_prompts: bool
    width: int | None
    height: int | None
    batch_size: int
    seed: int
    variation_seed: int
    variation_strength: float
    seed_resize_width: int | None
    seed_resize_height: int | None
    rng: str
    ensd: int
    steps: int | None
    sampler: str | None
    schedule: str | None
    eta: float | None
    sigma_min: float
    sigma_max: float
    rho: float
    beta_alpha: float
    beta_beta: float
    discard_penultimate_sigma: bool
    s_churn: float
    s_tmin: float
    s_tmax: float
    s_noise: float
    sgm_noise_multiplier: bool
    half_alphas: bool
    zero_terminal_snr: bool
    refiner_switch_at: float
    refiner_by_steps: bool
    cfg_scale: float | None
    ngms: float
    ngms_all_steps: bool
    skip_early_cfg: float
    guidance_sigma_min: float
    guidance_sigma_max: float | None
    adaptive_guidance: float
    guidance_rescale: float
    mimic_scale: float | None
    threshold_percentile: float
    skimming_scale: float | None
    full_skim_negative: bool
    disable_flipping_filter: bool
    apg_eta: float
    apg_norm_threshold: float
    apg_momentum: float
    cfg_zero_star: bool
    perp_neg_scale: float
    pag_scale: float
    seg_scale: float
    seg_sigma: float | None
    perturbed_layers: str
    sag_scale: float
    sag_blur_sigma: float
    sag_threshold: float
    freeu_b1: float
    freeu_b2: float
    freeu_s1: float
    freeu_s2: float
    freeu_version: int
    tile_x: bool
    tile_y: bool
    tiled_diffusion: str
    tile_width: int
    tile_height: int
    tile_overlap: int
    strength: float | None
    strength_rule: str
    resize_mode: str
    noise_multiplier: float
    extra_noise: float
    image_cfg_scale: float
    posterior_sample: bool
    color_correction: bool
    mask_blur: int
    mask_inverted: bool
    soft_mask: bool
    masked_content: str
    only_masked: bool
    only_masked_padding: int
    hires_scale: float | None
    hires_width: int | None
    hires_height: int | None
    hires_steps: int
    hires_upscaler: str
    hires_sampler: str | None
    hires_schedule: str | None
    hires_cfg_scale: float | None
    hires_token_merging: float | None
    hires_prompt: str
    hires_negative_prompt: str
    original_width: int | None
    original_height: int | None
    crop_top: int
    crop_left: int
    target_width: int | None
    target_height: int | None
    aesthetic_score: float
    negative_aesthetic_score: float
    empty_negative_rule: str
    token_merging: float
    token_merging_cross_attention: bool
    token_merging_mlp: bool
    deep_cache_interval: int
    deep_cache_branch: int
    first_block_cache: float
    batch_per_call: int


DEFAULTS: dict[str, Any] = {
    "negative_prompt": "",
    "clip_skip": None,
    "clip_skip_rule": "webui",
    "prompt_dialect": "webui",
    "emphasis": "original",
    "time_rule": "current",
    "comma_backtrack": 20,
    "text_as_is": False,
    "pad_prompts": False,
    "width": None,
    "height": None,
    "batch_size": 1,
    "seed": -1,
    "variation_seed": -1,
    "variation_strength": 0.0,
    "seed_resize_width": None,
    "seed_resize_height": None,
    "rng": "cpu",
    "ensd": 0,
    "steps": None,
    "sampler": None,
    "schedule": None,
    "eta": None,
    "sigma_min": 0.0,
    "sigma_max": 0.0,
    "rho": 0.0,
    "beta_alpha": 0.6,
    "beta_beta": 0.6,
    "discard_penultimate_sigma": False,
    "s_churn": 0.0,
    "s_tmin": 0.0,
    "s_tmax": 0.0,
    "s_noise": 1.0,
    "sgm_noise_multiplier": False,
    "half_alphas": False,
    "zero_terminal_snr": False,
    "refiner_switch_at": 0.8,
    "refiner_by_steps": False,
    "cfg_scale": None,
    "ngms": 0.0,
    "ngms_all_steps": False,
    "skip_early_cfg": 0.0,
    "guidance_sigma_min": 0.0,
    "guidance_sigma_max": None,
    "adaptive_guidance": 0.0,
    "guidance_rescale": 0.0,
    "mimic_scale": None,
    "threshold_percentile": 100.0,
    "skimming_scale": None,
    "full_skim_negative": False,
    "disable_flipping_filter": False,
    "apg_eta": 1.0,
    "apg_norm_threshold": 0.0,
    "apg_momentum": 0.0,
    "cfg_zero_star": False,
    "perp_neg_scale": 0.0,
    "pag_scale": 0.0,
    "seg_scale": 0.0,
    "seg_sigma": None,
    "perturbed_layers": "mid",
    "sag_scale": 0.0,
    "sag_blur_sigma": 1.0,
    "sag_threshold": 1.0,
    "freeu_b1": 1.0,
    "freeu_b2": 1.0,
    "freeu_s1": 1.0,
    "freeu_s2": 1.0,
    "freeu_version": 2,
    "tile_x": False,
    "tile_y": False,
    "tiled_diffusion": "none",
    "tile_width": 96,
    "tile_height": 96,
    "tile_overlap": 48,
    "strength": None,
    "strength_rule": "webui",
    "resize_mode": "stretch",
    "noise_multiplier": 1.0,
    "extra_noise": 0.0,
    "image_cfg_scale": 1.5,
    "posterior_sample": False,
    "color_correction": False,
    "mask_blur": 4,
    "mask_inverted": False,
    "soft_mask": False,
    "masked_content": "original",
    "only_masked": False,
    "only_masked_padding": 32,
    "hires_scale": None,
    "hires_width": None,
    "hires_height": None,
    "hires_steps": 0,
    "hires_upscaler": "Latent",
    "hires_sampler": None,
    "hires_schedule": None,
    "hires_cfg_scale": None,
    "hires_token_merging": None,
    "hires_prompt": "",
    "hires_negative_prompt": "",
    "original_width": None,
    "original_height": None,
    "crop_top": 0,
    "crop_left": 0,
    "target_width": None,
    "target_height": None,
    "aesthetic_score": 6.0,
    "negative_aesthetic_score": 2.5,
    "empty_negative_rule": "webui",
    "token_merging": 0.0,
    "token_merging_cross_attention": False,
    "token_merging_mlp": False,
    "deep_cache_interval": 1,
    "deep_cache_branch": 0,
    "first_block_cache": 0.0,
    "batch_per_call": 0,
}
