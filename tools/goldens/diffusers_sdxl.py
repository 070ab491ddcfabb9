"""diffusers' StableDiffusionXLPipeline on the tiny SDXL: what the Python package's bridge is compared with."""

import diffusers
from diffusers import AutoencoderKL, StableDiffusionXLPipeline

import clip_vocab
import common
import tiny_sdxl
from diffusers_pipeline import seeded

FOLDER = "goldens/diffusers"
PROMPT = "a red circle above a blue square"
OTHER = "a yellow star left of a purple heart on a night sky"
CALL = {"prompt": PROMPT, "num_inference_steps": 8, "guidance_scale": 5.0, "generator": 3, "height": 64, "width": 64}

# Name, scheduler, what from_config is given besides, arguments of the call.
CASES = [
    ("plain", "EulerDiscreteScheduler", {}, {}),
    ("empty", "EulerDiscreteScheduler", {}, {"negative_prompt": ""}),
    (
        "texts", "EulerDiscreteScheduler", {},
        {"prompt_2": OTHER, "negative_prompt": "blurry, (low:1.4) quality", "negative_prompt_2": "grey"},
    ),
    ("negative-2", "EulerDiscreteScheduler", {}, {"negative_prompt": "", "negative_prompt_2": "grey"}),
    (
        "sizes", "EulerDiscreteScheduler", {},
        {
            "original_size": [300, 400], "crops_coords_top_left": [8, 16], "target_size": [256, 384],
            "negative_original_size": [100, 200], "negative_crops_coords_top_left": [1, 2], "negative_target_size": [64, 96],
        },
    ),
    # Without both of the others it is not used.
    ("negative-size", "EulerDiscreteScheduler", {}, {"negative_original_size": [100, 200]}),
    ("clip-skip", "EulerDiscreteScheduler", {}, {"clip_skip": 1, "negative_prompt": "grey"}),
    ("no-guidance", "DDIMScheduler", {}, {"guidance_scale": 1.0}),
    ("rescaled", "DDIMScheduler", {}, {"guidance_scale": 12.0, "guidance_rescale": 0.7, "negative_prompt": "grey"}),
    ("end", "EulerDiscreteScheduler", {}, {"denoising_end": 0.6}),
    ("end-ddim", "DDIMScheduler", {}, {"denoising_end": 0.7, "negative_prompt": "grey"}),
    ("end-dpm", "DPMSolverMultistepScheduler", {"use_karras_sigmas": True}, {"denoising_end": 0.5}),
    ("batch", "EulerAncestralDiscreteScheduler", {}, {"prompt": [PROMPT, OTHER], "num_images_per_prompt": 2}),
]


def pipeline():
    parts = tiny_sdxl.load(common.ROOT)
    second = clip_vocab.tokenizer()
    second.pad_token = "!"
    pipe = StableDiffusionXLPipeline(
        vae=AutoencoderKL.from_pretrained(common.ROOT / "goldens/tiny-sd1/vae"),
        text_encoder=parts["text_encoder"],
        text_encoder_2=parts["text_encoder_2"],
        tokenizer=clip_vocab.tokenizer(),
        tokenizer_2=second,
        unet=parts["unet"],
        scheduler=diffusers.EulerDiscreteScheduler.from_config(tiny_sdxl.SCHEDULER),
        add_watermarker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def make(out):
    pipe, cases, tensors = pipeline(), [], {}
    for name, scheduler, config, arguments in CASES:
        # Euler's settings would be refused: they are not the others'.
        base = {key: value for key, value in tiny_sdxl.SCHEDULER.items() if key not in ["interpolation_type"]}
        pipe.scheduler = getattr(diffusers, scheduler).from_config(base, **config)
        call = CALL | arguments
        seed = call["generator"]
        tensors[name] = pipe(**call | {"generator": seeded(seed)}, output_type="latent").images
        cases.append({"name": name, "scheduler": scheduler, "config": config, "call": call})
    out.json(f"{FOLDER}/sdxl.json", cases, note="each call's arguments; generator: seeds of CPU generators")
    out.tensors(
        f"{FOLDER}/sdxl.safetensors", tensors, tolerance={"f32": 1e-4},
        note="latents of diffusers' StableDiffusionXLPipeline on tiny-sdxl with tiny-sd1's first text encoder, 64x64 pixels",
    )
