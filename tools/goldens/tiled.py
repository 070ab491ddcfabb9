"""Runs of the tiny SD1 over tiles: diffusers' StableDiffusionPanoramaPipeline, and the formulas of both papers over diffusers' U-Net."""

import math

import numpy as np
import torch
from diffusers.pipelines.deprecated.stable_diffusion_panorama.pipeline_stable_diffusion_panorama import StableDiffusionPanoramaPipeline

import common
import from_pictures
import guidance_runs
import k_diff
import samplers

STEPS = 5
FOLDER = "goldens/tiny-sd1/refs"
# Height and width in latents.
WHOLE = (16, 32)


class Panorama(StableDiffusionPanoramaPipeline):
    """Its window, 64 latents, is as large as it gets for the tiny network."""

    def get_views(self, height, width, circular_padding=False):
        return super().get_views(height, width, window_size=16, stride=8, circular_padding=circular_padding)


def panorama(parts, contexts, circular):
    pipe = Panorama(
        vae=parts["vae"], text_encoder=parts["text_encoder"], tokenizer=None, unet=parts["unet"],
        scheduler=guidance_runs.scheduler("epsilon"), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )
    cond, uncond = contexts
    return pipe(
        prompt_embeds=cond, negative_prompt_embeds=uncond, latents=noise(WHOLE), num_inference_steps=STEPS,
        guidance_scale=samplers.CFG, height=8 * WHOLE[0], width=8 * WHOLE[1], circular_padding=circular, output_type="latent",
    ).images


def noise(size):
    torch.manual_seed(samplers.SEED)
    return torch.randn(1, 4, *size)


def corners(side, tile, overlap):
    """multidiffusion-upscaler-for-automatic1111's split_bboxes along one axis."""
    if tile >= side:
        return [0]
    count = math.ceil((side - overlap) / (tile - overlap))
    return [min(int(i * (side - tile) / (count - 1)), side - tile) for i in range(count)]


def normal(height, width):
    """The weights of Mixture of Diffusers (section 3 of the paper), with the extension's middles and its one scale."""

    def density(at, middle):
        return np.exp(-((at - middle) ** 2) / width**2 / (2 * 0.01)) / np.sqrt(2 * np.pi * 0.01)

    rows = density(np.arange(height), height / 2)
    columns = density(np.arange(width), (width - 1) / 2)
    return torch.from_numpy(np.outer(rows, columns)).float()


class Tiled:
    """Equation 5 of MultiDiffusion, whose least squares are a weighted mean, on what the network gives at each call."""

    def __init__(self, unet, method, tile, overlap):
        self.unet, self.method, self.tile, self.overlap = unet, method, tile, overlap

    def __call__(self, x, t, context):
        class Output:
            pass

        height, width = x.shape[-2:]
        tile = min(self.tile[0], height), min(self.tile[1], width)
        weight = normal(*tile) if self.method == "mixture" else torch.ones(tile)
        total, weights = torch.zeros_like(x[:, :4]), torch.zeros(height, width)
        for top in corners(height, tile[0], self.overlap):
            for left in corners(width, tile[1], self.overlap):
                place = slice(top, top + tile[0]), slice(left, left + tile[1])
                total[(..., *place)] += weight * self.unet(x[(..., *place)], t, context).sample
                weights[place] += weight
        output = Output()
        output.sample = total / weights
        return output

    def parameters(self):
        return self.unet.parameters()


def euler(networks, unet, size):
    guided = networks.guided(unet)
    sigmas = k_diff.schedule(networks.model, "karras", STEPS)
    return from_pictures.sample(guided, noise(size) * sigmas[0], sigmas)


def make(out):
    networks = from_pictures.Networks()
    unet = networks.parts["unet"]
    tensors = {}
    tensors["multi"] = euler(networks, Tiled(unet, "multi", (16, 16), 8), (27, 30))
    tensors["mixture"] = euler(networks, Tiled(unet, "mixture", (16, 16), 8), (27, 30))
    tensors["mixture.oblong"] = euler(networks, Tiled(unet, "mixture", (20, 16), 5), (36, 16))

    # A masked picture, 200x160, and an inpainting model, whose other channels are cut too.
    image = from_pictures.picture(200, 160)
    mask = from_pictures.mask_of(200, 160)
    values = torch.from_numpy(np.array(image).astype(np.float32)).permute(2, 0, 1)[None] / 255 * 2 - 1
    held, keep = from_pictures.inpainting(networks, image, mask, "original")
    whole = torch.from_numpy(np.array(mask).astype(np.float32) / 255)[None, None].round()
    small = torch.nn.functional.interpolate(whole, size=held.shape[-2:])
    extra = torch.cat([small, networks.encode_values(values * (1 - whole))], 1)
    nine = from_pictures.widened(unet, 9)

    class Concat:
        def __call__(self, x, t, context):
            return tiled(torch.cat([x, extra.repeat(x.shape[0], 1, 1, 1)], 1), t, context)

    tiled = Tiled(nine, "mixture", (16, 16), 8)
    plain = Tiled(unet, "multi", (16, 16), 8)
    start = noise(held.shape[-2:])
    for name, network in [("mask", plain), ("concat", Concat())]:
        guided = networks.guided(network)
        sigmas = from_pictures.entry(networks.model, 0.6, STEPS)
        drawn = from_pictures.sample(from_pictures.Masked(guided, held, keep), held + start * sigmas[0], sigmas)
        tensors[name] = drawn * (1 - keep) + held * keep

    ids = from_pictures.refs.token_ids([samplers.PROMPT, samplers.NEGATIVE])
    contexts = networks.parts["text_encoder"](ids).last_hidden_state.split(1)
    # Last: a pipeline leaves its processors in a network.
    for name, circular in [("panorama", False), ("panorama.circular", True)]:
        tensors[name] = panorama(networks.parts, contexts, circular)
    out.tensors(
        f"{FOLDER}/tiled.safetensors",
        tensors,
        seed=samplers.SEED,
        steps=STEPS,
        cfg_scale=samplers.CFG,
        tolerance={"f32": 1e-4},
        note="the last latents. panorama: diffusers' StableDiffusionPanoramaPipeline with windows of 16 and strides of 8, DDIM as "
        "samplers.safetensors' ddim.diffusers. The others: Euler over Karras' schedule, tiles placed and weighted as by "
        "multidiffusion-upscaler-for-automatic1111, written anew in tiled.py over diffusers' U-Net",
    )
