"""diffusers' StableDiffusionPipeline with each of its schedulers: what the Python package's bridge is compared with."""

import io
import types

import diffusers
import torch
from diffusers import StableDiffusionPipeline
from transformers import CLIPTextModel

import common
import demo

FOLDER = "goldens/diffusers"
PROMPT = "a red circle above a blue square"
OTHER = "a yellow star left of a purple heart on a night sky"
# The models' own configuration says leading.
LINSPACE = {"timestep_spacing": "linspace"}

# Name, scheduler, what from_config is given besides, arguments of the call.
SCHEDULERS = [
    ("pndm", "PNDMScheduler", {}, {}),
    ("ddim", "DDIMScheduler", {}, {}),
    ("ddim-eta", "DDIMScheduler", {"timestep_spacing": "trailing"}, {"eta": 0.6}),
    ("ddpm", "DDPMScheduler", {}, {}),
    ("euler", "EulerDiscreteScheduler", LINSPACE, {}),
    ("euler-leading-karras", "EulerDiscreteScheduler", {"use_karras_sigmas": True}, {}),
    ("euler-trailing-exponential", "EulerDiscreteScheduler", {"timestep_spacing": "trailing", "use_exponential_sigmas": True}, {}),
    ("euler-a", "EulerAncestralDiscreteScheduler", {}, {}),
    ("heun", "HeunDiscreteScheduler", LINSPACE, {}),
    ("lms-karras", "LMSDiscreteScheduler", {**LINSPACE, "use_karras_sigmas": True}, {}),
    ("dpm-2m", "DPMSolverMultistepScheduler", LINSPACE, {}),
    ("dpm-2m-karras", "DPMSolverMultistepScheduler", {"use_karras_sigmas": True}, {}),
    ("dpm-2m-sde", "DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}, {}),
    ("unipc", "UniPCMultistepScheduler", {"timestep_spacing": "trailing"}, {}),
    ("unipc-3", "UniPCMultistepScheduler", {"solver_order": 3}, {}),
    ("deis", "DEISMultistepScheduler", {}, {}),
    ("sa-solver", "SASolverScheduler", {}, {}),
    ("lcm", "LCMScheduler", {}, {"num_inference_steps": 8, "guidance_scale": 1.5}),
    ("tcd", "TCDScheduler", {}, {"num_inference_steps": 8, "eta": 0.3}),
]
# A model of v whose betas are rescaled to zero terminal SNR: what is left at the last timestep is each scheduler's own affair.
ZERO = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
TRAILING = {"timestep_spacing": "trailing"}
ZERO_SNR = [
    ("zero-pndm", "PNDMScheduler", {}, {}),
    ("zero-ddim", "DDIMScheduler", TRAILING, {}),
    ("zero-ddpm", "DDPMScheduler", TRAILING, {}),
    ("zero-euler", "EulerDiscreteScheduler", TRAILING, {}),
    ("zero-euler-karras", "EulerDiscreteScheduler", {**LINSPACE, "use_karras_sigmas": True}, {}),
    ("zero-euler-a", "EulerAncestralDiscreteScheduler", TRAILING, {}),
    ("zero-heun-karras", "HeunDiscreteScheduler", {**TRAILING, "use_karras_sigmas": True}, {}),
    ("zero-lms", "LMSDiscreteScheduler", LINSPACE, {}),
    ("zero-dpm-2m", "DPMSolverMultistepScheduler", TRAILING, {}),
    ("zero-dpm-2m-karras", "DPMSolverMultistepScheduler", {"use_karras_sigmas": True}, {}),
    ("zero-unipc-karras", "UniPCMultistepScheduler", {"use_karras_sigmas": True}, {}),
    ("zero-deis-karras", "DEISMultistepScheduler", {"use_karras_sigmas": True}, {}),
    ("zero-sa-solver", "SASolverScheduler", TRAILING, {}),
    ("zero-lcm", "LCMScheduler", {}, {"num_inference_steps": 8, "guidance_scale": 1.5}),
    ("zero-tcd", "TCDScheduler", {}, {"num_inference_steps": 8, "eta": 0.3}),
]
# Two callbacks for a step of the solver, or latents that the next step will correct.
OTHER_STEPS = ["PNDMScheduler", "HeunDiscreteScheduler", "UniPCMultistepScheduler"]
# The rules besides: what is drawn, and how.
RULES = [
    ("clip-skip", {"clip_skip": 1, "negative_prompt": "blue"}),
    ("literal", {"prompt": "a (red:1.4) [circle|ring] AND a blue square, <lora:x:1> BREAK"}),
    ("long", {"prompt": ", ".join([PROMPT] * 12), "width": 64, "height": 128}),
    ("no-guidance", {"guidance_scale": 1.0}),
    ("rescaled", {"guidance_scale": 12.0, "guidance_rescale": 0.7}),
    ("batch", {"prompt": [PROMPT, OTHER], "num_images_per_prompt": 2}),
    ("generators", {"prompt": [PROMPT, OTHER], "generator": [5, 9]}),
]
CALL = {"prompt": PROMPT, "num_inference_steps": 12, "guidance_scale": 5.0, "generator": 3}


def seeded(generator):
    make = lambda seed: torch.Generator("cpu").manual_seed(seed)
    return [make(seed) for seed in generator] if isinstance(generator, list) else make(generator)


def call(pipe, scheduler, config, arguments, **extra):
    # As the demo model's folder has it.
    base = diffusers.PNDMScheduler.load_config(common.ROOT / "models/demo/base/scheduler")
    pipe.scheduler = getattr(diffusers, scheduler).from_config(base, **config)
    arguments = CALL | arguments
    if "prompt_embeds" in extra:
        arguments.pop("prompt")
    return pipe(**arguments | {"generator": seeded(arguments["generator"])} | extra).images


def tiny():
    """The tiny model takes contexts: it has no tokenizer."""
    folder = common.ROOT / "goldens/tiny-sd1"
    return StableDiffusionPipeline(
        vae=diffusers.AutoencoderKL.from_pretrained(folder / "vae"),
        text_encoder=CLIPTextModel.from_pretrained(folder / "text_encoder"),
        tokenizer=None,
        unet=diffusers.UNet2DConditionModel.from_pretrained(folder / "unet"),
        scheduler=diffusers.PNDMScheduler.from_pretrained(folder / "scheduler"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def contexts(pipe):
    width, n = pipe.text_encoder.config.hidden_size, pipe.text_encoder.config.max_position_embeddings
    generator = torch.Generator("cpu").manual_seed(1)
    return [torch.randn(1, n, width, generator=generator) for _ in range(2)]


def make(out):
    cases, tensors = [], {}
    pipe = demo.load()
    # transformers 5 has the text encoder's parts one level higher than diffusers 0.42 looks for them.
    pipe.text_encoder.text_model = types.SimpleNamespace(final_layer_norm=pipe.text_encoder.final_layer_norm)
    rules = [(name, "DDIMScheduler", {}, arguments) for name, arguments in RULES]
    for name, scheduler, config, arguments in SCHEDULERS + rules:
        images = call(pipe, scheduler, config, arguments)
        for i, image in enumerate(images):
            file = io.BytesIO()
            image.save(file, "PNG", optimize=True)
            out.bytes(f"{FOLDER}/{name}-{i}.png", file.getvalue(), psnr_db={"f32": 45})
        cases.append({"name": name, "scheduler": scheduler, "config": config, "call": CALL | arguments, "pictures": len(images)})

    pipe = tiny().to(torch.float32)
    pipe.set_progress_bar_config(disable=True)
    cond, uncond = contexts(pipe)
    tensors |= {"cond": cond, "uncond": uncond}
    zero = [(name, scheduler, {**ZERO, **config}, arguments) for name, scheduler, config, arguments in ZERO_SNR]
    for name, scheduler, config, arguments in zero:
        cases.append({"name": name, "scheduler": scheduler, "config": config, "call": CALL | arguments, "pictures": 0})
    for name, scheduler, config, arguments in SCHEDULERS + zero:
        steps = []

        def seen(pipe, step, timestep, values):
            steps.append(values["latents"].clone())
            return values

        latents = call(
            pipe, scheduler, config, arguments, prompt_embeds=cond, negative_prompt_embeds=uncond, output_type="latent",
            height=64, width=64, callback_on_step_end=seen,
        )
        tensors[f"{name}.latents"] = latents
        if scheduler not in OTHER_STEPS:
            tensors[f"{name}.middle"] = steps[4]
    out.json(f"{FOLDER}/cases.json", cases, note="each call's arguments; generator: seeds of CPU generators")
    out.tensors(
        f"{FOLDER}/latents.safetensors", tensors, tolerance={"f32": 1e-4},
        note="tiny-sd1 with cond and uncond as prompt_embeds, 64x64 pixels; middle: what callback_on_step_end sees at index 4",
    )
