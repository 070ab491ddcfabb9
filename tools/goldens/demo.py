"""What diffusers and k-diffusion make of the demo model: its networks' outputs, and final pictures."""

import io

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from diffusers.models.attention_processor import AttnProcessor
from PIL import Image

import common
import k_diff
import refs

MODEL = common.ROOT / "models/demo/base"
FOLDER = "goldens/demo"
STEPS = 20
CFG = 5.0
# Each picture with its seed.
PROMPTS = {
    1: "a red circle above a blue square",
    2: "a yellow star left of a purple heart on a night sky",
    3: "a small white diamond inside a big green ring",
    4: "a striped orange triangle on a meadow",
}
NEGATIVE = ""


def load():
    pipe = StableDiffusionPipeline.from_pretrained(MODEL, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    pipe.text_encoder.config._attn_implementation = "eager"
    pipe.unet.set_attn_processor(AttnProcessor())
    pipe.vae.set_attn_processor(AttnProcessor())
    # SD1's own settings of DDIM as its config file gives them.
    pipe.scheduler = DDIMScheduler.from_config(
        pipe.scheduler.config, clip_sample=False, set_alpha_to_one=False, steps_offset=1, timestep_spacing="leading"
    )
    return pipe


def token_ids(pipe, prompts):
    n = pipe.text_encoder.config.max_position_embeddings
    return pipe.tokenizer(prompts, padding="max_length", truncation=True, max_length=n, return_tensors="pt")["input_ids"]


def start(pipe, seed):
    size = pipe.unet.config.sample_size
    return torch.randn(1, 4, size, size, generator=torch.Generator("cpu").manual_seed(seed))


def decode(pipe, latents):
    return pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample


def png(image):
    """As diffusers: clamped and rounded (the WebUI truncates)."""
    pixels = ((image[0] / 2 + 0.5).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", optimize=True)
    return file.getvalue()


def networks(out, pipe, image):
    prompt = PROMPTS[1]
    ids = token_ids(pipe, [prompt])
    context = pipe.text_encoder(token_ids(pipe, [prompt, NEGATIVE])).last_hidden_state
    sample = torch.cat([start(pipe, 7), start(pipe, 8)])
    latent = start(pipe, 9)

    def run(dtype):
        encoder, unet, vae = (refs.cast(m, dtype) for m in (pipe.text_encoder, pipe.unet, pipe.vae))
        moments = vae.encode(image.to(dtype)).latent_dist
        # The same context for every dtype: what the text encoder loses is not the U-Net's.
        return {f"text.{name}": t for name, t in refs.text_states(encoder, ids).items()} | {
            "unet.out": unet(sample.to(dtype), torch.tensor(500.0), context.to(dtype)).sample,
            "vae.encode.mean": moments.mean,
            "vae.encode.logvar": moments.logvar,
            "vae.decode.out": vae.decode(latent.to(dtype)).sample,
        }

    want = run(torch.float32)
    about = refs.measured(run, want)
    inputs = {"text.input_ids": ids, "unet.sample": sample, "unet.context": context}
    inputs |= {"vae.encode.image": image, "vae.decode.latent": latent}
    out.tensors(
        f"{FOLDER}/networks.safetensors",
        inputs | want,
        prompt=prompt,
        note="text: as in tiny-sd1; the U-Net at timestep 500 for both pictures, its context that of the prompt and of the "
        "empty one; vae.encode.image is picture 1 of ddim; latents are not scaled",
        **about,
    )


def make(out):
    pipe = load()
    tensors, pictures = {}, {}
    for seed, prompt in PROMPTS.items():
        noise = start(pipe, seed)
        tensors[f"noise.{seed}"] = noise
        latents = pipe(
            prompt, negative_prompt=NEGATIVE, latents=noise, guidance_scale=CFG, num_inference_steps=STEPS,
            height=noise.shape[2] * 8, width=noise.shape[3] * 8, output_type="latent",
        ).images
        tensors[f"ddim.{seed}.latents"] = latents
        tensors[f"ddim.{seed}.image"] = pictures["ddim", seed] = decode(pipe, latents)

        cond, uncond = pipe.text_encoder(token_ids(pipe, [prompt, NEGATIVE])).last_hidden_state.split(1)
        denoiser = k_diff.denoiser(pipe.unet, "eps")
        for sampler, schedule in [("euler", "uniform"), ("dpmpp_2m", "karras")]:
            sigmas = k_diff.schedule(denoiser, schedule, STEPS)
            run = getattr(k_diff.sampling, f"sample_{sampler}")
            steps, _ = k_diff.run(run, k_diff.Guided(denoiser, cond, uncond, CFG), noise, sigmas)
            name = f"{sampler}-{schedule}"
            tensors[f"{name}.{seed}.latents"] = steps[-1:]
            pictures[name, seed] = decode(pipe, steps[-1:])

    about = {"prompts": PROMPTS, "negative_prompt": NEGATIVE, "steps": STEPS, "cfg_scale": CFG}
    out.tensors(
        f"{FOLDER}/pictures.safetensors",
        tensors,
        tolerance={"f32": 1e-4},
        psnr_db={"f32": 45},
        note="per picture its seed: noise from a CPU generator of that seed; final latents; image as decoded, not "
        "clamped (of the others as PNG only). ddim: diffusers' StableDiffusionPipeline with DDIMScheduler (leading, steps_offset 1, "
        "set_alpha_to_one false); euler-uniform, dpmpp_2m-karras: k-diffusion's, LDM's alphas_cumprod",
        **about,
    )
    for (name, seed), image in pictures.items():
        out.bytes(f"{FOLDER}/{name}-{seed}.png", png(image), psnr_db={"f32": 45}, prompt=PROMPTS[seed], seed=seed)
    networks(out, pipe, pictures["ddim", 1])
