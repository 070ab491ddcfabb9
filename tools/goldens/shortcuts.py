"""What the U-Net of the tiny SD1 gives with tokens merged (tomesd) and with deep features reused (DeepCache)."""

from types import SimpleNamespace

import tomesd
import torch
from DeepCache.extension.deepcache import DeepCacheSDHelper

import common
import tiny_sd1
from refs import SEED

FOLDER = "goldens/tiny-sd1/refs"
# Odd sides too: their last row and column are in no 2x2 tokens.
SIZES = [(1, 16, 16), (2, 24, 40), (2, 15, 17)]
RATIOS = [0.2, 0.5, 0.75, 0.9]
# What sees merged tokens beside self-attention.
MORE = {
    "cross": ["merge_crossattn"],
    "mlp": ["merge_mlp"],
    "all": ["merge_crossattn", "merge_mlp"],
}
TIMESTEPS = [981, 801, 621]
# Of the outermost level, its last layer, the next level's first and second, and the innermost.
BRANCHES = [0, 1, 2, 3, 4, 11]


def inputs(generator, batch, height, width):
    sample = torch.randn(batch, 4, height, width, generator=generator)
    return sample, torch.randn(batch, 77, 16, generator=generator)


def merged(model, generator):
    tensors = {}
    for batch, height, width in SIZES:
        case = f"b{batch}_{height}x{width}"
        sample, context = inputs(generator, batch, height, width)
        tensors |= {f"{case}.sample": sample, f"{case}.encoder_hidden_states": context}
        for ratio in RATIOS:
            # As the WebUI applies it; strides and depth are the package's defaults.
            tomesd.apply_patch(model, ratio=ratio, use_rand=False)
            tensors[f"{case}.out_{ratio:g}"] = model(sample, torch.tensor(500.0), context).sample
            tomesd.remove_patch(model)
        for name, parts in MORE.items():
            tomesd.apply_patch(model, ratio=0.5, use_rand=False, **dict.fromkeys(parts, True))
            tensors[f"{case}.{name}_0.5"] = model(sample, torch.tensor(500.0), context).sample
            tomesd.remove_patch(model)
    return tensors


def reused(model, generator):
    _, context = inputs(generator, 2, 16, 24)
    samples = [inputs(generator, 2, 16, 24)[0] for _ in TIMESTEPS]
    tensors = {"encoder_hidden_states": context, "timesteps": torch.tensor(TIMESTEPS, dtype=torch.float32)}
    tensors |= {f"sample.{i}": sample for i, sample in enumerate(samples)}
    for branch in BRANCHES:
        pipe = SimpleNamespace(unet=model, scheduler=SimpleNamespace(timesteps=torch.tensor(TIMESTEPS)))
        helper = DeepCacheSDHelper(pipe)
        helper.set_params(cache_interval=len(TIMESTEPS), cache_branch_id=branch)
        helper.enable()
        for i, (sample, t) in enumerate(zip(samples, pipe.scheduler.timesteps)):
            out = model.forward(sample, t, context).sample
            if i > 0:
                tensors[f"branch_{branch}.out.{i}"] = out
        helper.disable()
    return tensors


def make(out):
    model = tiny_sd1.load(common.ROOT)["unet"]
    generator = torch.Generator("cpu").manual_seed(SEED)
    out.tensors(
        f"{FOLDER}/token_merging.safetensors",
        merged(model, generator),
        seed=SEED,
        tolerance={"f32": 1e-5},
        note="per case bB_HxW: sample, encoder_hidden_states, and out_RATIO at timestep 500, cross_RATIO, mlp_RATIO and all_RATIO with "
        "merge_crossattn, merge_mlp and both. tomesd with use_rand=False around diffusers' UNet2DConditionModel",
    )
    out.tensors(
        f"{FOLDER}/deep_cache.safetensors",
        reused(model, generator),
        seed=SEED,
        tolerance={"f32": 1e-5},
        note="three calls on samples and timesteps of their own: the first computes everything, branch_B.out.I are the others with "
        "what it left for branch B. DeepCacheSDHelper around diffusers' UNet2DConditionModel",
    )
