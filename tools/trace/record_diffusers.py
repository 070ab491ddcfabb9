"""Records what diffusers computes at each stage of a run, in the form of sdrs' traces.

    python tools/trace/record_diffusers.py MODEL OUT.jsonl --prompt "a red circle" --steps 20 --seed 1 --karras
    sdrs txt2img "a red circle" --model MODEL --steps 20 --seed 1 --sampler Euler --schedule karras --trace own.jsonl
    sdrs trace compare own.jsonl OUT.jsonl

Another program is recorded in the same way: `Recorder` writes a stage, and the library's documentation of `sdrs::trace` names them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math

SAMPLES = 256
FIRST = 4


def record(stage, values):
    """A stage as a trace has it: `values` is a tensor or an array of numbers."""
    import numpy as np

    values = np.asarray(values.detach().float().cpu() if hasattr(values, "detach") else values, dtype="<f4")
    flat = values.reshape(-1)
    finite = bool(flat.size) and bool(np.isfinite(flat).all())
    count = min(flat.size, SAMPLES)

    def shown(value):
        return float(value) if math.isfinite(value) else None

    def known(value):
        return float(value) if finite else None

    wide = flat.astype(np.float64)
    return {
        "stage": stage,
        "shape": list(values.shape),
        "hash": hashlib.sha256(flat.tobytes()).hexdigest()[:16],
        "min": known(wide.min()) if finite else None,
        "max": known(wide.max()) if finite else None,
        "mean": known(wide.mean()) if finite else None,
        "std": known(wide.std()) if finite else None,
        "first": [shown(value) for value in flat[:FIRST]],
        "samples": [shown(flat[i * flat.size // count]) for i in range(count)],
    }


class Recorder:
    """Writes a trace. `settings` is any text that says what was asked for."""

    def __init__(self, path, program, settings):
        self.file = open(path, "w", encoding="utf-8")
        self._line({"trace": program, "settings": settings})

    def _line(self, value):
        self.file.write(json.dumps(value) + "\n")
        self.file.flush()

    def __call__(self, stage, values):
        self._line(record(stage, values))


def sigmas_of(scheduler):
    """The noise levels in front of each step, and the last, of variance exploding latents; whether the scheduler's own latents are such."""
    import torch

    exploding = hasattr(scheduler, "sigmas") and type(scheduler).__name__.startswith(("Euler", "Heun", "KDPM2", "LMS"))
    if exploding:
        return scheduler.sigmas.cpu().float(), True
    cumprod = scheduler.alphas_cumprod.cpu().double()
    at = scheduler.timesteps.cpu().long()
    return torch.cat([((1 - cumprod[at]) / cumprod[at]).sqrt().float(), torch.zeros(1)]), False


def trace(pipe, path, prompt, negative_prompt="", *, steps=20, seed=0, cfg_scale=7.0, width=512, height=512):
    """Runs a StableDiffusionPipeline in f32 on the CPU, one picture with the CPU's noise, and records it."""
    import diffusers
    import torch

    settings = f"{prompt!r}, {negative_prompt!r}, {steps} steps, seed {seed}, cfg_scale {cfg_scale}, {width}x{height}, {type(pipe.scheduler).__name__}"
    out = Recorder(path, f"diffusers {diffusers.__version__}", settings)
    for name, text in [("prompt", prompt), ("negative_prompt", negative_prompt)]:
        ids = pipe.tokenizer(text, truncation=True, max_length=pipe.tokenizer.model_max_length).input_ids
        # Start and end are in every input.
        out(f"{name}.tokens", [float(token) for token in ids[1:-1]])
    cond, uncond = pipe.encode_prompt(prompt, "cpu", 1, True, negative_prompt=negative_prompt)
    out("pass.1.cond.0", cond[0])
    out("pass.1.uncond", uncond[0])
    pipe.scheduler.set_timesteps(steps)
    sigmas, exploding = sigmas_of(pipe.scheduler)
    out("pass.1.sigmas", sigmas)
    factor = pipe.vae_scale_factor
    shape = (1, pipe.unet.config.in_channels, height // factor, width // factor)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    out("picture.1.pass.1.noise", noise)
    out("picture.1.pass.1.step.0.latents", noise * sigmas[0])

    def widened(latents, sigma):
        """Variance preserving latents as variance exploding ones."""
        return latents if exploding else latents * (1 + sigma**2).sqrt()

    denoised = []
    step_of = pipe.scheduler.step

    def step(*args, **kwargs):
        kwargs["return_dict"] = True
        result = step_of(*args, **kwargs)
        denoised.append(getattr(result, "pred_original_sample", None))
        return (result.prev_sample,)

    def on_step(_, i, __, given):
        at = f"picture.1.pass.1.step.{i + 1}"
        out(f"{at}.latents", widened(given["latents"], sigmas[i + 1]))
        if denoised[-1] is not None:
            out(f"{at}.denoised", denoised[-1])
        return given

    pipe.scheduler.step = step
    try:
        latents = pipe(
            prompt_embeds=cond, negative_prompt_embeds=uncond, latents=noise.clone(), num_inference_steps=steps,
            guidance_scale=cfg_scale, width=width, height=height, output_type="latent", callback_on_step_end=on_step,
        ).images
    finally:
        del pipe.scheduler.step
    with torch.no_grad():
        out("picture.1.image", pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample)
    return latents


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a diffusers folder of Stable Diffusion 1 or 2")
    parser.add_argument("out", help="the trace to write")
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--negative-prompt", default="")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cfg-scale", type=float, default=7.0)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--karras", action="store_true", help="Karras' schedule, else evenly spaced timesteps; Euler's method in both cases")
    args = parser.parse_args()
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(args.model, safety_checker=None, requires_safety_checker=False)
    pipe.scheduler = EulerDiscreteScheduler.from_config(
        pipe.scheduler.config, timestep_spacing="linspace", use_karras_sigmas=args.karras, steps_offset=0
    )
    trace(
        pipe, args.out, args.prompt, args.negative_prompt, steps=args.steps, seed=args.seed, cfg_scale=args.cfg_scale,
        width=args.width, height=args.height,
    )


if __name__ == "__main__":
    main()
