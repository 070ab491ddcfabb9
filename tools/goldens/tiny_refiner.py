"""What makes SDXL's refiner of the tiny SDXL: a U-Net whose vector has an aesthetic score, and runs in which it takes over.

Its text encoder is the tiny SDXL's second one, whose files are not repeated: tests put the folder together.
"""

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file

import k_diff
import refs
import tiny_sd1
import tiny_sd2
import tiny_sdxl
from tiny_sdxl import CFG, NEGATIVE, PROMPT, STEPS, Network, time_ids

SEED = 37
FOLDER = "goldens/tiny-refiner"
SWITCH_AT = 0.7
SCORES = [6.0, 2.5]

UNET = tiny_sdxl.UNET | {
    "attention_head_dim": [1, 2, 4],
    "block_out_channels": [4, 8, 8],
    "cross_attention_dim": 16,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    # Over single channels it would take away what the time embedding adds.
    "norm_num_groups": 2,
    # Pooled text, and five numbers of 256 sinusoids each.
    "projection_class_embeddings_input_dim": 24 + 5 * 256,
    "transformer_layers_per_block": 2,
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
}
MODEL_INDEX = tiny_sdxl.MODEL_INDEX | {
    "_class_name": "StableDiffusionXLImg2ImgPipeline",
    "force_zeros_for_empty_prompt": False,
    "requires_aesthetics_score": True,
    "text_encoder": [None, None],
    "tokenizer": [None, None],
}
FILE = f"{FOLDER}/unet/diffusion_pytorch_model.safetensors"


def network():
    return tiny_sd1.plain(UNet2DConditionModel.from_config(UNET))


def write(out):
    weights = tiny_sd1.random_weights("unet", network(), torch.Generator().manual_seed(SEED))
    out.weights(FILE, weights, seed=SEED)
    out.json(f"{FOLDER}/unet/config.json", UNET)
    out.json(f"{FOLDER}/model_index.json", MODEL_INDEX)


def load(root):
    unet = network()
    unet.load_state_dict({name: t.float() for name, t in load_file(root / FILE).items()})
    return unet


def encoded(parts, ids):
    """Penultimate states of the second encoder alone, and its pooled projection."""
    two = parts["text_encoder_2"](tiny_sd2.padded(ids), output_hidden_states=True)
    return two.hidden_states[-2], two.text_embeds


def numbers(score):
    return torch.tensor([[128.0, 192.0, 0.0, 0.0, score]])


def make(out):
    write(out)
    unet = load(out.root)
    base = tiny_sdxl.load(tiny_sdxl.common.ROOT)
    ids = refs.token_ids([PROMPT, NEGATIVE])
    texts = {
        "base": [tiny_sdxl.encoded(base, row[None]) for row in ids],
        "refiner": [encoded(base, row[None]) for row in ids],
    }
    networks = {
        "base": [Network(base["unet"], pooled, time_ids(128, 192)) for _, pooled in texts["base"]],
        "refiner": [Network(unet, pooled, numbers(score)) for (_, pooled), score in zip(texts["refiner"], SCORES)],
    }

    generator = torch.Generator().manual_seed(SEED)
    latents = torch.randn(2, 4, 16, 24, generator=generator)
    contexts, pooled = (torch.cat(both) for both in zip(*texts["refiner"]))
    added = {"text_embeds": pooled, "time_ids": torch.cat([numbers(score) for score in SCORES])}
    output = unet(latents, torch.tensor([900.0, 17.0]), contexts, added_cond_kwargs=added).sample

    table = k_diff.denoiser(networks["base"][0], "eps")
    sigmas = k_diff.schedule(table, "uniform", STEPS)
    torch.manual_seed(SEED)
    noise = torch.randn(1, 4, 16, 24)

    def run(refines):
        """A run whose calls are the refiner's from the first one on that it takes over (WebUI)."""
        call = 0

        def denoise(x, sigma, **_):
            nonlocal call
            model = "refiner" if refines(call, int((table.sigmas - sigma).abs().argmin())) else "base"
            call += 1
            cond, uncond = (
                k_diff.denoiser(network, "eps")(x, sigma, cond=context)
                for network, (context, _) in zip(networks[model], texts[model])
            )
            return uncond + CFG * (cond - uncond)

        return k_diff.sampling.sample_euler(denoise, noise * sigmas[0], sigmas, disable=True)

    out.tensors(
        f"{FOLDER}/refs.safetensors",
        {
            "latents": latents, "context": contexts, "pooled": pooled, "output": output,
            "run": run(lambda call, timestep: (999 - timestep) / 1000 >= SWITCH_AT),
            "run_by_steps": run(lambda call, timestep: call / STEPS >= SWITCH_AT),
            "run_alone": run(lambda call, timestep: True),
        },
        seed=SEED,
        steps=STEPS,
        cfg_scale=CFG,
        prompts=[PROMPT, NEGATIVE],
        tolerance={"f32": 1e-5, "run": 1e-4},
        note="output: one call at timesteps 900 and 17 with size 128x192 and scores of 6 and 2.5; run: latents of 8 steps of k-diffusion's Euler over "
        "the uniform schedule at cfg 6, the tiny SDXL's U-Net first and this one where 0.7 of the timesteps are over, run_by_steps where 0.7 of the "
        "steps are, run_alone from the start",
    )
