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
    `rng`: The source of the noise: "cpu" or "nv", PyTorch's generators on a CPU and on CUDA. Noise is the same on every device.
    `ensd`: Eta noise seed delta: if not 0, noise after the first draw comes from the seed plus this, modulo 2^64.
    `steps`: Sampling steps, 1 to 10,000. None is what the checkpoint recommends, else 20.
    `sampler`: The sampler, such as "Euler", "Euler a", "DDIM"; may carry its schedule: "DPM++ 2M Karras". None is what the checkpoint
    recommends, else "DPM++ 2M".
    `schedule`: The noise schedule, such as "uniform" or "karras"; "automatic" is the one that suits the sampler. With another sampler than
    the recommended one, a recommended schedule is not taken. None is what the checkpoint recommends, else "Automatic".
    `eta`: The amount of fresh noise that replaces old, 0 or more; not given, it is the sampler's own (1 for ancestral ones, 0 for DDIM).
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
    `deep_cache_interval`: The number of steps from one call of the whole U-Net to the next; the calls in between compute its outermost
    layers alone, on features of the last whole one (DeepCache, Ma et al. 2023, arXiv:2312.00858). 1 is the whole U-Net at every step.
    `deep_cache_branch`: The layers that are computed in between: those up to this branch from the way down to the way up, 0 is the
    outermost.
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
    rng: str
    ensd: int
    steps: int | None
    sampler: str | None
    schedule: str | None
    eta: float | None
    cfg_scale: float | None
    ngms: float
    ngms_all_steps: bool
    skip_early_cfg: float
    guidance_sigma_min: float
    guidance_sigma_max: float | None
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
    deep_cache_interval: int
    deep_cache_branch: int


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
    "rng": "cpu",
    "ensd": 0,
    "steps": None,
    "sampler": None,
    "schedule": None,
    "eta": None,
    "cfg_scale": None,
    "ngms": 0.0,
    "ngms_all_steps": False,
    "skip_early_cfg": 0.0,
    "guidance_sigma_min": 0.0,
    "guidance_sigma_max": None,
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
    "deep_cache_interval": 1,
    "deep_cache_branch": 0,
}
