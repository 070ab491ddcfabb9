"""A random LoRA in kohya's format for the tiny SD1, and what diffusers (through peft) makes of the networks with it."""

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

import common
import refs
import tiny_sd1

SEED = 11
FOLDER = "goldens/tiny-sd1/lora"
WEIGHT = 0.7
ALPHA = 2.0


def modules(unet, text_encoder):
    """Which layers it changes: attention and feed-forward everywhere, the projections around the transformers, text attention."""
    for prefix, model in [("lora_unet", unet), ("lora_te_text_model", text_encoder)]:
        for name, module in model.named_modules():
            leaf = name.split(".")[-1]
            attention = leaf in {"to_q", "to_k", "to_v", "proj_in", "proj_out", "q_proj", "k_proj", "v_proj", "out_proj"}
            if attention or name.endswith(("to_out.0", "ff.net.0.proj", "ff.net.2")):
                path = name.removeprefix("text_model.").replace(".", "_")
                yield f"{prefix}_{path}", module.weight


def random_lora(unet, text_encoder):
    generator = torch.Generator().manual_seed(SEED)
    tensors = {}
    for i, (name, weight) in enumerate(modules(unet, text_encoder)):
        # Ranks differ by module. The alphas are equal: where they differ, or some are missing, diffusers gives most modules
        # another module's alpha (seen in 0.42.1), where the WebUI and kohya's own scripts take each module's own, or its rank.
        rank = 2 + i % 3
        kernel = weight.shape[2:]
        down = torch.randn(rank, weight.shape[1], *kernel, generator=generator) / weight.shape[1] ** 0.5
        up = torch.randn(weight.shape[0], rank, *[1 for _ in kernel], generator=generator) * 0.5
        tensors[f"{name}.lora_down.weight"] = down.half()
        tensors[f"{name}.lora_up.weight"] = up.half()
        tensors[f"{name}.alpha"] = torch.tensor(ALPHA)
    return tensors


def make(out):
    parts = tiny_sd1.load(common.ROOT)
    text_encoder, unet, vae = parts["text_encoder"], parts["unet"], parts["vae"]
    pipe = StableDiffusionPipeline(
        vae=vae, text_encoder=text_encoder, tokenizer=None, unet=unet, scheduler=DDIMScheduler(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )
    ids = refs.token_ids(refs.PROMPTS[:1])
    generator = torch.Generator().manual_seed(SEED + 1)
    sample = torch.randn(1, 4, 16, 16, generator=generator)
    context = torch.randn(1, 77, unet.config.cross_attention_dim, generator=generator)

    def run():
        return {"text": pipe.text_encoder(ids).last_hidden_state, "unet": pipe.unet(sample, 500, context).sample}

    plain = run()
    lora = random_lora(unet, text_encoder)
    pipe.load_lora_weights({name: t.float() for name, t in lora.items()}, adapter_name="lora")
    pipe.set_adapters(["lora"], [WEIGHT])
    patched = run()
    for name in plain:
        assert common.relative_error(patched[name], plain[name]) > 0.05, f"the LoRA must show in {name}"
    out.weights(f"{FOLDER}/lora.safetensors", lora, note="random, ranks 2 to 4, alpha 2")
    out.tensors(
        f"{FOLDER}/refs.safetensors",
        {"input_ids": ids, "sample": sample, "context": context}
        | {f"plain.{name}": t for name, t in plain.items()}
        | {f"lora.{name}": t for name, t in patched.items()},
        weight=WEIGHT,
        tolerance={"f32": 1e-5},
        note="text: last hidden state after the final norm; unet: at timestep 500; without and with the LoRA at that weight",
    )
