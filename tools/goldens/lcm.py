"""Runs of a tiny U-Net that takes the guidance's scale itself, as latent consistency models do: tiny-sd1's, and one layer of a formula."""

import torch
from diffusers import LatentConsistencyModelPipeline, UNet2DConditionModel

import common
import formula
import k_diff
import refs
import tiny_sd1

FILE = "goldens/distilled/lcm_runs.safetensors"
LAYER = "time_embedding.cond_proj.weight"
WIDTH = 256
SEED = 42
STEPS = 4
PROMPT = refs.PROMPTS[0]


class Network:
    """The U-Net as k-diffusion's wrapper calls it."""

    def __init__(self, unet, embedding):
        self.unet, self.embedding = unet, embedding

    def __call__(self, x, t, context):
        return self.unet(x, t, context, timestep_cond=self.embedding)


def make(out):
    parts = tiny_sd1.load(common.ROOT)
    unet = tiny_sd1.plain(UNet2DConditionModel.from_config(tiny_sd1.UNET | {"time_cond_proj_dim": WIDTH}))
    weights = parts["unet"].state_dict()
    weights[LAYER] = formula.tensor(LAYER, (tiny_sd1.UNET["block_out_channels"][0], WIDTH))
    unet.load_state_dict(weights)
    context = parts["text_encoder"](refs.token_ids([PROMPT])).last_hidden_state
    torch.manual_seed(SEED)
    noise = torch.randn(1, 4, 16, 16)
    tensors = {}
    for scale in [1.0, 8.0]:
        w = torch.tensor([scale - 1])
        embedding = LatentConsistencyModelPipeline.get_guidance_scale_embedding(None, w, embedding_dim=WIDTH)
        denoiser = k_diff.denoiser(Network(unet, embedding), "eps")
        sigmas = k_diff.schedule(denoiser, "uniform", STEPS)
        denoise = lambda x, sigma, **_: denoiser(x, sigma, cond=context)
        tensors[f"cfg_{scale:.0f}"] = k_diff.sampling.sample_euler(denoise, noise * sigmas[0], sigmas, disable=True)
    out.tensors(
        FILE, tensors, seed=SEED, steps=STEPS, prompt=PROMPT, tolerance={"f32": 1e-4},
        note="latents of k-diffusion's Euler over the uniform schedule, 4 steps, by cfg_scale, which goes through diffusers' "
        "get_guidance_scale_embedding into the U-Net; no negative prompt",
    )
