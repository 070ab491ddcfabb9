"""A LoRA over the tiny SDXL's three networks as PEFT applies it, in diffusers' file and in kohya's, and a run with it."""

import re
import tempfile
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline
from diffusers.loaders.lora_pipeline import StableDiffusionXLLoraLoaderMixin
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

import common
import formula
import k_diff
import refs
import tiny_sdxl

FOLDER = "goldens/tiny-sdxl/lora"
RANK = 2
TARGETS = {
    "unet": [
        "down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q", "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k",
        "down_blocks.1.attentions.0.proj_in", "mid_block.attentions.0.transformer_blocks.1.ff.net.0.proj",
        "up_blocks.0.attentions.1.transformer_blocks.0.attn1.to_out.0",
    ],
    "text_encoder": ["text_model.encoder.layers.0.self_attn.q_proj", "text_model.encoder.layers.2.mlp.fc1"],
    "text_encoder_2": ["text_model.encoder.layers.0.self_attn.v_proj", "text_model.encoder.layers.3.mlp.fc2"],
}


def adapt(part, module):
    """Adds the LoRA to a network; its tensors by diffusers' names."""
    names = {name for name, _ in module.named_modules()}
    targets = TARGETS[part]
    # transformers 5 dropped the outer name.
    own = [name if name in names else name.removeprefix("text_model.") for name in targets]
    module.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=own))
    state = get_peft_model_state_dict(module, adapter_name="default") if part != "unet" else get_peft_model_state_dict(module)
    made = {}
    parameters = dict(module.named_parameters())
    for name in state:
        value = formula.tensor(f"{part}.{name.removeprefix('text_model.')}", tuple(state[name].shape))
        parameters[name.replace(".weight", ".default.weight")].copy_(value)
        outer = name if part == "unet" or name.startswith("text_model.") else f"text_model.{name}"
        made[outer] = value
    assert len(made) == 2 * len(targets), part
    return made


def ldm(module):
    """A module's name in LDM's layout: all attention stands behind a residual block."""
    per_level = tiny_sdxl.UNET["layers_per_block"] + 1

    def block(found):
        way, i, j = found.group(1), int(found.group(2)), int(found.group(3))
        number = 1 + i * per_level + j if way == "down" else i * per_level + j
        return f"{'input' if way == 'down' else 'output'}_blocks.{number}.1"

    return re.sub(r"(down|up)_blocks\.(\d)\.attentions\.(\d)", block, module).replace("mid_block.attentions.0", "middle_block.1")


def kohya(layers):
    """kohya's names: LDM's for the U-Net, as its scripts have them for SDXL."""
    file = {}
    for part, tensors in layers.items():
        prefix = {"unet": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te2"}[part]
        for name, tensor in tensors.items():
            module, leaf = name.rsplit(".lora_", 1)
            if part == "unet":
                module = ldm(module)
            key = f"{prefix}_{module.replace('.', '_')}"
            file[f"{key}.lora_{'down' if leaf.startswith('A') else 'up'}.weight"] = tensor
            file[f"{key}.alpha"] = torch.tensor(float(RANK))
    return file


def current(tensors):
    """PEFT's names for what older versions of diffusers call down and up."""
    projections = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}

    def spelt(name):
        name = re.sub(r"\.processor\.(to_\w)_lora\.", r".\1.lora.", name).replace(".processor.to_out_lora.", ".to_out.0.lora.")
        name = re.sub(r"self_attn\.(to_\w+)_lora\.", lambda found: f"self_attn.{projections[found.group(1)]}.lora.", name)
        name = name.replace(".lora_linear_layer.", ".lora.")
        return name.replace(".lora.down.", ".lora_A.").replace(".lora.up.", ".lora_B.")

    return {spelt(name): tensor for name, tensor in tensors.items()}


def make(out):
    parts = tiny_sdxl.load(common.ROOT)
    unet = parts["unet"]
    layers = {part: adapt(part, parts[part]) for part in TARGETS}
    with tempfile.TemporaryDirectory() as folder:
        StableDiffusionXLPipeline.save_lora_weights(
            folder, unet_lora_layers=layers["unet"], text_encoder_lora_layers=layers["text_encoder"],
            text_encoder_2_lora_layers=layers["text_encoder_2"],
        )
        own = load_file(Path(folder) / "pytorch_lora_weights.safetensors")
        # diffusers' reader must take kohya's file for the same.
        ldm_file, path = kohya(layers), Path(folder) / "kohya.safetensors"
        save_file({name: t.contiguous() for name, t in ldm_file.items()}, path)
        read, _ = StableDiffusionXLLoraLoaderMixin.lora_state_dict(path, unet_config=unet.config)
        read, wanted = current(read), current(own)
        assert set(read) == set(wanted), set(read) ^ set(wanted)
        assert all(torch.equal(read[name], wanted[name]) for name in wanted)
    out.weights(f"{FOLDER}/diffusers.safetensors", own, note="as StableDiffusionXLPipeline.save_lora_weights writes it")
    out.weights(f"{FOLDER}/kohya.safetensors", ldm_file, note="kohya's names over LDM's blocks; diffusers' reader takes it for the same")

    ids = refs.token_ids([tiny_sdxl.PROMPT, tiny_sdxl.NEGATIVE])
    (cond, pooled), negative = (tiny_sdxl.encoded(parts, row[None]) for row in ids)
    sizes = tiny_sdxl.time_ids(128, 192)
    sigmas = k_diff.schedule(k_diff.denoiser(tiny_sdxl.Network(unet, pooled, sizes), "eps"), "uniform", tiny_sdxl.STEPS)
    torch.manual_seed(tiny_sdxl.SEED)
    noise = torch.randn(1, 4, 16, 24)

    def denoise(x, sigma, **_):
        cond_denoised, uncond_denoised = (
            k_diff.denoiser(tiny_sdxl.Network(unet, p, sizes), "eps")(x, sigma, cond=context)
            for context, p in [(cond, pooled), negative]
        )
        return uncond_denoised + tiny_sdxl.CFG * (cond_denoised - uncond_denoised)

    out.tensors(
        f"{FOLDER}/refs.safetensors",
        {"cond": cond, "run": k_diff.sampling.sample_euler(denoise, noise * sigmas[0], sigmas, disable=True)},
        tolerance={"f32": 1e-5, "run": 1e-4}, seed=tiny_sdxl.SEED,
        note="the context and the run of tiny-sdxl/refs.safetensors with this LoRA, applied by PEFT",
    )
