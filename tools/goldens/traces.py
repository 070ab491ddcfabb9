"""A trace of diffusers' run of the tiny SD1, recorded by tools/trace: what a user would compare with."""

import sys
import tempfile
from pathlib import Path

from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline

import clip_vocab
import common
import samplers
import tiny_sd1

sys.path.insert(0, str(common.ROOT / "tools" / "trace"))
import record_diffusers  # noqa: E402

STEPS = 3


def make(out):
    parts = tiny_sd1.load(common.ROOT)
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="linspace", use_karras_sigmas=True,
    )
    pipe = StableDiffusionPipeline(
        vae=parts["vae"], text_encoder=parts["text_encoder"], tokenizer=clip_vocab.tokenizer(), unet=parts["unet"],
        scheduler=scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.jsonl"
        record_diffusers.trace(
            pipe, path, samplers.PROMPT, samplers.NEGATIVE, steps=STEPS, seed=samplers.SEED, cfg_scale=samplers.CFG, width=64, height=48
        )
        out.bytes(
            "goldens/tiny-sd1/refs/trace.jsonl",
            path.read_bytes(),
            reference="diffusers' StableDiffusionPipeline with EulerDiscreteScheduler over Karras' sigmas, recorded by tools/trace",
            seed=samplers.SEED,
            tolerance=1e-4,
        )
