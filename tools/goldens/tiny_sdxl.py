"""What makes SDXL of the tiny SD1: a second text encoder, a U-Net with its conditioning vector, and runs of both together.

The first text encoder and the autoencoder are the tiny SD1's, whose files are not repeated: tests put the folder together.
"""

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

import common
import k_diff
import refs
import tiny_sd1
import tiny_sd2

SEED = 31
FOLDER = "goldens/tiny-sdxl"
STEPS = 8
CFG = 6.0
PROMPT = "a red circle above a blue square"
NEGATIVE = "blurry, low quality"

TEXT_ENCODER_2 = tiny_sd1.TEXT_ENCODER | {
    "architectures": ["CLIPTextModelWithProjection"],
    "hidden_act": "gelu",
    "num_hidden_layers": 4,
    "projection_dim": 24,
}
UNET = {
    "_class_name": "UNet2DConditionModel",
    "_diffusers_version": "0.19.0.dev0",
    "act_fn": "silu",
    "addition_embed_type": "text_time",
    "addition_embed_type_num_heads": 64,
    "addition_time_embed_dim": 256,
    "attention_head_dim": [2, 4],
    "block_out_channels": [32, 32],
    "cross_attention_dim": 32,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 16,
    "out_channels": 4,
    # Pooled text, and six sizes of 256 sinusoids each.
    "projection_class_embeddings_input_dim": 24 + 6 * 256,
    "sample_size": 16,
    "transformer_layers_per_block": [1, 2],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "use_linear_projection": True,
}
SCHEDULER = {
    "_class_name": "EulerDiscreteScheduler",
    "_diffusers_version": "0.19.0.dev0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "interpolation_type": "linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "sample_max_value": 1.0,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "trained_betas": None,
    "use_karras_sigmas": False,
}
MODEL_INDEX = {
    "_class_name": "StableDiffusionXLPipeline",
    "_diffusers_version": "0.19.0.dev0",
    "force_zeros_for_empty_prompt": True,
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
FILES = {
    "text_encoder_2": f"{FOLDER}/text_encoder_2/model.safetensors",
    "unet": f"{FOLDER}/unet/diffusion_pytorch_model.safetensors",
}


def file_name(part, name):
    """transformers 5 dropped a prefix from its parameter names that every file has."""
    plain = part != "text_encoder_2" or name.startswith(("text_projection", "text_model."))
    return name if plain else f"text_model.{name}"


def networks():
    text = CLIPTextModelWithProjection._from_config(CLIPTextConfig(**TEXT_ENCODER_2), attn_implementation="eager")
    return {"text_encoder_2": text.float().eval(), "unet": tiny_sd1.plain(UNet2DConditionModel.from_config(UNET))}


def write(out):
    generator = torch.Generator().manual_seed(SEED)
    for part, module in networks().items():
        weights = tiny_sd1.random_weights(part, module, generator)
        weights = {file_name(part, name): t for name, t in weights.items()}
        out.weights(FILES[part], weights, seed=SEED)
    for path, value in {
        "text_encoder_2/config.json": TEXT_ENCODER_2,
        "unet/config.json": UNET,
        "scheduler/scheduler_config.json": SCHEDULER,
        "model_index.json": MODEL_INDEX,
    }.items():
        out.json(f"{FOLDER}/{path}", value)


def load(root):
    parts = networks()
    for part, module in parts.items():
        file = load_file(root / FILES[part])
        weights = {name: file[file_name(part, name)].float() for name in module.state_dict() if "position_ids" not in name}
        assert len(weights) == len(file)
        module.load_state_dict(weights, strict=False)
    return parts | {"text_encoder": tiny_sd1.load(common.ROOT)["text_encoder"]}


def encoded(parts, ids):
    """Penultimate states of both encoders side by side, without the final norm, and the second one's pooled projection."""
    one = parts["text_encoder"](ids, output_hidden_states=True)
    two = parts["text_encoder_2"](tiny_sd2.padded(ids), output_hidden_states=True)
    return torch.cat([one.hidden_states[-2], two.hidden_states[-2]], -1), two.text_embeds


def weighted(parts, ids):
    """The context where the second word counts 1.5: each encoder's mean is restored by itself (WebUI)."""
    weights = torch.ones(1, 77, 1)
    weights[0, 2] = 1.5
    states = []
    for part in ["text_encoder", "text_encoder_2"]:
        own = tiny_sd2.padded(ids) if part == "text_encoder_2" else ids
        z = parts[part](own, output_hidden_states=True).hidden_states[-2]
        states.append(z * weights * (z.mean() / (z * weights).mean()))
    return torch.cat(states, -1)


def embedded(parts, vectors, text):
    """Context and pooled text where `vectors` of each encoder stand in place of the last word."""
    states, pooled = [], None
    for part, own in zip(["text_encoder", "text_encoder_2"], vectors):
        ids = refs.token_ids([text])
        at, n = int(ids[0].argmax()), len(own)
        # As many tokens as there are vectors, whichever they are.
        ids[0, at : at + n] = ids[0, at - 1]
        ids[0, at + n - 1] = 49407
        ids = tiny_sd2.padded(ids) if part == "text_encoder_2" else ids
        table = next(m for name, m in parts[part].named_modules() if name.endswith("token_embedding"))

        def place(module, args, output):
            output[0, at - 1 : at - 1 + n] = own
            return output

        hook = table.register_forward_hook(place)
        out = parts[part](ids, output_hidden_states=True)
        hook.remove()
        states.append(out.hidden_states[-2])
        pooled = out.text_embeds if part == "text_encoder_2" else None
    return torch.cat(states, -1), pooled


def time_ids(height, width):
    """Original size, crop, target size."""
    return torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32)


class Network:
    """The U-Net as k-diffusion's wrapper calls it."""

    def __init__(self, unet, pooled, ids):
        self.unet, self.added = unet, {"text_embeds": pooled, "time_ids": ids}

    def __call__(self, x, t, context):
        return self.unet(x, t, context, added_cond_kwargs=self.added)


def make(out):
    write(out)
    parts = load(out.root)
    unet = parts["unet"]
    ids = refs.token_ids([PROMPT, NEGATIVE])
    (cond, pooled), (uncond, pooled_uncond) = (encoded(parts, row[None]) for row in ids)

    generator = torch.Generator().manual_seed(SEED)
    latents = torch.randn(2, 4, 16, 24, generator=generator)
    sizes = time_ids(128, 192)
    added = {"text_embeds": torch.cat([pooled, pooled_uncond]), "time_ids": torch.cat([sizes, sizes])}
    output = unet(latents, torch.tensor([900.0, 17.0]), torch.cat([cond, uncond]), added_cond_kwargs=added).sample

    # Whole runs as the WebUI makes them: k-diffusion's Euler, both halves of guidance with their own pooled texts. An empty negative
    # prompt is zeros there.
    sigmas = k_diff.schedule(k_diff.denoiser(Network(unet, pooled, sizes), "eps"), "uniform", STEPS)
    torch.manual_seed(SEED)
    noise = torch.randn(1, 4, 16, 24)

    def run(negative, sizes=sizes):
        def denoise(x, sigma, **_):
            cond_denoised, uncond_denoised = (
                k_diff.denoiser(Network(unet, p, sizes), "eps")(x, sigma, cond=context)
                for context, p in [(cond, pooled), negative]
            )
            return uncond_denoised + CFG * (cond_denoised - uncond_denoised)

        return k_diff.sampling.sample_euler(denoise, noise * sigmas[0], sigmas, disable=True)

    generator = torch.Generator().manual_seed(SEED + 1)
    vectors = [0.5 * torch.randn(2, 16, generator=generator) for _ in range(2)]
    with_vectors, pooled_vectors = embedded(parts, vectors, "a red circle of style")
    out.tensors(
        f"{FOLDER}/refs.safetensors",
        {
            "input_ids": ids, "input_ids_2": tiny_sd2.padded(ids), "cond": cond, "uncond": uncond, "pooled": pooled, "pooled_uncond": pooled_uncond,
            "latents": latents, "output": output, "run": run((uncond, pooled_uncond)),
            "run_without_negative": run((torch.zeros_like(uncond), torch.zeros_like(pooled_uncond))),
            "run_with_empty_text": run(encoded(parts, refs.token_ids([""]))),
            "run_with_sizes": run((uncond, pooled_uncond), torch.tensor([[300.0, 400, 8, 16, 256, 384]])),
            "weighted": weighted(parts, ids[:1]),
            "clip_l": vectors[0], "clip_g": vectors[1], "embedded": with_vectors, "pooled_embedded": pooled_vectors,
        },
        seed=SEED,
        steps=STEPS,
        cfg_scale=CFG,
        prompts={"cond": PROMPT, "uncond": NEGATIVE},
        tolerance={"f32": 1e-5, "run": 1e-4},
        note="output: one call at timesteps 900 and 17 with size 128x192 (height, width), rows cond and uncond; run: latents of "
        "8 steps of k-diffusion's Euler over the uniform schedule at cfg 6 from the noise of torch.manual_seed(31), run_without_negative the same "
        "with zeros for context and pooled text, run_with_empty_text with those of the empty text, run_with_sizes with an original size of 300x400, "
        "a crop at 8, 16 and a target of 256x384; embedded and pooled_embedded: 'a red circle of style' with clip_l and clip_g for style; weighted: the context of 'a (red:1.5) circle above a blue square'",
    )
