"""What methods around classifier-free guidance make of random arrays: diffusers' guiders, and formulas of two extensions."""

import torch
from diffusers.guiders import (
    AdaptiveProjectedGuidance,
    ClassifierFreeGuidance,
    ClassifierFreeZeroStarGuidance,
)

SEED = 23
SCALE = 7.5
# As a run calls them: cond and uncond of three steps.
STEPS = [("cond", "uncond"), ("uncond", "empty"), ("empty", "cond")]


def apg(arrays):
    tensors = {}
    for name, eta, threshold, momentum in [("plain", 0.0, 0.0, None), ("bounded", 0.3, 3.0, None), ("all", 0.0, 3.0, -0.5)]:
        guider = AdaptiveProjectedGuidance(
            # The paper's formulation goes from cond on.
            guidance_scale=SCALE - 1,
            use_original_formulation=True,
            adaptive_projected_guidance_momentum=momentum,
            adaptive_projected_guidance_rescale=threshold,
            eta=eta,
        )
        guider.set_state(step=0, num_inference_steps=3, timestep=torch.tensor(999))
        # Makes the running sum.
        guider.prepare_inputs({"x": (arrays["cond"], arrays["uncond"])})
        for i, (cond, uncond) in enumerate(STEPS):
            tensors[f"apg.{name}.{i}"] = guider(pred(guider, arrays[cond], arrays[uncond])).pred
    return tensors


def pred(guider, cond, uncond):
    """The two predictions in the form that a guider takes."""
    batches = guider.prepare_inputs({"x": (cond, uncond)}) if guider.__class__ is not AdaptiveProjectedGuidance else [
        guider._prepare_batch({"x": (cond, uncond)}, i, name) for i, name in enumerate(guider._input_predictions)
    ]
    for batch, output in zip(batches, [cond, uncond]):
        batch.noise_pred = output
    return batches


def call(guider, cond, uncond):
    guider.set_state(step=1, num_inference_steps=10, timestep=torch.tensor(500))
    return guider(pred(guider, cond, uncond)).pred


def perp_neg(cond, uncond, empty, neg_scale):
    """The arithmetic of ComfyUI's node PerpNeg (comfy_extras/nodes_perpneg.py), arXiv:2304.04968."""
    positive, negative = cond - empty, uncond - empty
    perpendicular = negative - (negative * positive).sum() / positive.norm() ** 2 * positive
    return empty + SCALE * (positive - neg_scale * perpendicular)


def dynamic_threshold(cond, uncond, mimic_scale, percentile):
    """The arithmetic of sd-dynamic-thresholding at its defaults (dynthres_core.py)."""
    mimicked, guided = ((uncond + scale * (cond - uncond)).flatten(2) for scale in (mimic_scale, SCALE))
    mean = guided.mean(dim=2, keepdim=True)
    centred = guided - mean
    wanted = (mimicked - mimicked.mean(dim=2, keepdim=True)).abs().amax(dim=2, keepdim=True)
    most = torch.maximum(wanted, torch.quantile(centred.abs(), percentile, dim=2, keepdim=True))
    return (centred.clamp(-most, most) / most * wanted + mean).reshape(cond.shape)


def skimmed(x, cond, uncond, scale, full, flipped):
    """The arithmetic of the node "Skimmed CFG" (github.com/Extraltodeus/Skimmed_CFG)."""

    def skim(to, origin, scale):
        guided, less = (origin + factor * (to - origin) for factor in (SCALE, scale))
        outward = ((to - origin).sign() == to.sign()) & (guided.sign() == to.sign())
        if not flipped:
            outward &= guided.sign() == (guided - x).sign()
        return torch.where(outward, to - (guided - less) / SCALE, to)

    uncond = skim(uncond, cond, 0.0 if full else scale)
    return uncond + SCALE * (skim(cond, uncond, scale) - uncond)


def make(out):
    generator = torch.Generator("cpu").manual_seed(SEED)
    arrays = {name: torch.randn(1, 4, 6, 5, generator=generator) for name in ["x", "cond", "uncond", "empty"]}
    # Predictions of one latent are alike.
    for name in ["uncond", "empty"]:
        arrays[name] = 0.7 * arrays["cond"] + 0.4 * arrays[name]
    cond, uncond, empty = arrays["cond"], arrays["uncond"], arrays["empty"]
    tensors = dict(arrays)
    for share in [0.7, 1.0]:
        guider = ClassifierFreeGuidance(guidance_scale=SCALE, guidance_rescale=share)
        tensors[f"rescale.{share:g}"] = call(guider, cond, uncond)
    zero = ClassifierFreeZeroStarGuidance(guidance_scale=SCALE, zero_init_steps=0)
    tensors["cfg_zero_star"] = call(zero, cond, uncond)
    zero = ClassifierFreeZeroStarGuidance(guidance_scale=SCALE, zero_init_steps=0, guidance_rescale=0.7)
    tensors["cfg_zero_star.rescaled"] = call(zero, cond, uncond)
    tensors |= apg(arrays)
    for neg_scale in [1.0, 0.4]:
        tensors[f"perp_neg.{neg_scale:g}"] = perp_neg(cond, uncond, empty, neg_scale)
    for name, mimic_scale, percentile in [("100", 3.0, 1.0), ("90", 3.0, 0.9), ("wide", 12.0, 1.0)]:
        tensors[f"dynamic_threshold.{name}"] = dynamic_threshold(cond, uncond, mimic_scale, percentile)
    for name, scale, full, flipped in [("3", 3.0, False, False), ("3.full", 3.0, True, False), ("1.flipped", 1.0, False, True)]:
        tensors[f"skimmed.{name}"] = skimmed(arrays["x"], cond, uncond, scale, full, flipped)
    out.tensors(
        "goldens/guidance.safetensors",
        tensors,
        seed=SEED,
        tolerance={"f32": 1e-6},
        note=f"cond, uncond and empty are random outputs of a network, guided at scale {SCALE}. rescale.SHARE, cfg_zero_star and apg: "
        "diffusers' guiders, of apg three calls one after another. perp_neg.SCALE: the formula of ComfyUI's node; "
        "dynamic_threshold: the formula of sd-dynamic-thresholding, mimicking scale 3 or 12; skimmed.SCALE: that of Skimmed_CFG",
    )
