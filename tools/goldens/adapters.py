"""Adapters of every kind on a few small layers, and what the packages that train them make of the layers' weights."""

import json
import math
import tempfile
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_kohya
from lycoris.modules.boft import ButterflyOFTModule
from lycoris.modules.diag_oft import DiagOFTModule
from lycoris.modules.full import FullModule
from lycoris.modules.glora import GLoRAModule
from lycoris.modules.ia3 import IA3Module
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from lycoris.modules.norms import NormModule
from peft import LoHaConfig, LoKrConfig, LoraConfig, OFTConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors import safe_open
from torch import nn

import common
import tiny_sd1

FOLDER = "goldens/lora"
SEED = 31

# Names that a U-Net has; the sizes are made up, and no two axes of a layer are alike.
LAYERS = {
    "down_blocks.0.attentions.0.transformer_blocks.0.ff.net.2": lambda: nn.Linear(20, 24),
    "down_blocks.0.attentions.0.proj_in": lambda: nn.Conv2d(12, 16, 1),
    "down_blocks.0.resnets.0.conv1": lambda: nn.Conv2d(6, 8, 3),
    "down_blocks.0.resnets.0.norm1": lambda: nn.GroupNorm(2, 6),
    "down_blocks.0.attentions.0.transformer_blocks.0.norm1": lambda: nn.LayerNorm(20),
}
LINEAR, POINT, CONV, GROUP, LAYER = LAYERS


def randomise(module, generator, size=0.3):
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * size


def base_layers():
    generator = torch.Generator().manual_seed(SEED)
    layers = {name: make() for name, make in LAYERS.items()}
    for layer in layers.values():
        randomise(layer, generator)
    return layers


def effective(forward, layer):
    """Weight and bias that a layer acts with, told by its outputs alone."""
    if isinstance(layer, (nn.GroupNorm, nn.LayerNorm)):
        return None
    shape = layer.weight.shape
    dtype = layer.weight.dtype
    probes = torch.eye(math.prod(shape[1:]), dtype=dtype).reshape(-1, *shape[1:])
    bias = forward(torch.zeros_like(probes[:1])).reshape(-1)
    outputs = forward(probes).reshape(len(probes), -1)
    return {"weight": (outputs - bias).T.reshape(shape), "bias": bias}


def lycoris_case(kind, layers, generator, rank=3, alpha=2.0, strength=1.0, exact=True, setup=None, **options):
    """A file's tensors in LyCORIS' words, and the layers as its forward pass has them."""
    tensors, merged = {}, {}
    for name, layer in layers.items():
        if exact:
            layer = layer.double()
        module = kind("x", layer, lora_dim=rank, alpha=alpha, **options)
        randomise(module, generator, 0.6)
        if setup:
            setup(module)
        if exact:
            module = module.double()
        module.eval()
        module.multiplier = strength
        flat = "lora_unet_" + name.replace(".", "_")
        state = module.state_dict()
        if kind is FullModule:
            # Before it takes over its layer, its own state is less by the layer's weight than what acts.
            state = dict(zip(["diff", "diff_b"], module.get_diff_weight()))
        tensors |= {f"{flat}.{key}": t.float() for key, t in state.items()}
        if kind is NormModule:
            weight, bias = module.make_weight(strength)
            merged[name] = {"weight": weight, "bias": bias}
        else:
            merged[name] = effective(module.forward, layer)
    return tensors, merged


def magnitudes(module):
    """Away from the weight's own norms, so that they show."""
    module.dora_scale.data = module.dora_scale.data.abs() + 0.5


def cases():
    """Name of the file, kind, layers, options."""
    weights = [LINEAR, POINT, CONV]
    yield "lora", LoConModule, [LINEAR, POINT], {}
    yield "locon", LoConModule, weights, {"rank": 2, "alpha": 1.5}
    yield "locon_tucker", LoConModule, [CONV], {"use_tucker": True}
    yield "dora", LoConModule, weights, {"weight_decompose": True, "setup": magnitudes}
    yield "dora_input", LoConModule, weights, {"weight_decompose": True, "wd_on_out": False, "setup": magnitudes}
    yield "loha", LohaModule, weights, {}
    yield "loha_tucker", LohaModule, [CONV], {"use_tucker": True}
    yield "loha_dora", LohaModule, weights, {"weight_decompose": True, "setup": magnitudes}
    yield "lokr", LokrModule, weights, {"rank": 1, "factor": 2}
    yield "lokr_both", LokrModule, [LINEAR], {"rank": 1, "decompose_both": True}
    yield "lokr_tucker", LokrModule, [CONV], {"rank": 1, "use_tucker": True, "factor": 2}
    yield "lokr_full", LokrModule, weights, {"full_matrix": True, "factor": 4}
    yield "lokr_dora", LokrModule, weights, {"rank": 1, "factor": 2, "weight_decompose": True, "setup": magnitudes}
    yield "ia3", IA3Module, weights, {}
    yield "ia3_input", IA3Module, weights, {"train_on_input": True}
    yield "full", FullModule, weights, {}
    yield "norm", NormModule, [GROUP, LAYER], {}
    yield "glora", GLoRAModule, weights, {}
    yield "oft", DiagOFTModule, weights, {"rank": 4, "exact": False}
    yield "oft_constraint", DiagOFTModule, weights, {"rank": 4, "exact": False, "constraint": 0.05}
    yield "oft_rescale", DiagOFTModule, weights, {"rank": 4, "exact": False, "rescaled": True}
    yield "boft", ButterflyOFTModule, weights, {"rank": 6, "exact": False}
    yield "boft_rescale", ButterflyOFTModule, weights, {"rank": 6, "exact": False, "rescaled": True, "constraint": 0.1}


# Where the strength is not a factor of the whole change in LyCORIS, but in the WebUI.
NOT_LINEAR = {
    "dora", "dora_input", "loha_dora", "lokr_dora", "oft_rescale", "boft", "boft_rescale",
}


class Tree(nn.Module):
    """The layers in modules that nest as their names say."""

    def __init__(self, layers):
        super().__init__()
        for name, layer in layers.items():
            *path, leaf = name.split(".")
            here = self
            for part in path:
                if not hasattr(here, part):
                    here.add_module(part, nn.Module())
                here = getattr(here, part)
            here.add_module(leaf, layer)


# Folders as PEFT saves them, whose settings lie beside the tensors: the kind and its settings. Patterns are regular expressions, the
# first that is for a layer counts, and what none is for has the default.
PEFT_FOLDERS = {
    "peft": (LoraConfig, {"r": 3, "lora_alpha": 5, "use_rslora": True, "alpha_pattern": {CONV: 2}}),
    "peft_patterns": (LoraConfig, {
        "r": 3, "lora_alpha": 5, "rank_pattern": {r"^down_blocks\.\d\.resnets.*": 2},
        "alpha_pattern": {"nothing.here": 7, r"down_blocks.*net.\d": 9, "proj_in|conv1": 4, "conv1": 8, "roj_in": 6},
    }),
    # As alpha over r is what PEFT multiplies by, also where no tensor has the rank: both factors are whole here.
    "peft_lokr": (LoKrConfig, {"r": 32, "alpha": 8}),
    "peft_lokr_patterns": (LoKrConfig, {
        "r": 1, "alpha": 3, "decompose_both": True, "use_effective_conv2d": True, "rank_pattern": {"proj.in": 16}, "alpha_pattern": {".*in$": 5},
    }),
    "peft_loha": (LoHaConfig, {"r": 3, "alpha": 2, "use_effective_conv2d": True, "alpha_pattern": {"(conv|linear)1": 9}}),
}


def peft_folder(out, case, generator):
    kind, settings = PEFT_FOLDERS[case]
    tensors, changed, config = peft_case(generator, kind, **settings)
    out.weights(f"{FOLDER}/{case}/adapter_model.safetensors", tensors, note=f"PEFT {kind.__name__}, random {settings}")
    config["target_modules"] = sorted(config["target_modules"])
    # In this order, as PEFT writes it.
    config = {name: config[name] for name in sorted(config)}
    out.json(f"{FOLDER}/{case}/adapter_config.json", config, note="the settings of adapter_model.safetensors")
    return changed


def peft_case(generator, kind=LoraConfig, **options):
    layers = {name: layer.double() for name, layer in base_layers().items() if name in (LINEAR, POINT, CONV)}
    config = kind(target_modules=list(layers), **options)
    model = get_peft_model(Tree(layers), config).double()
    for name, parameter in model.named_parameters():
        if any(prefix in name for prefix in ["lora_", "lokr_", "hada_"]):
            noise = torch.randn(parameter.shape, generator=generator) * 0.3
            parameter.data = (noise.abs() + 0.5 if "magnitude" in name else noise).to(parameter.dtype)
    tensors = {name: t.float() for name, t in get_peft_model_state_dict(model).items()}
    model.eval()
    modules = dict(model.base_model.model.named_modules())
    config = json.loads(json.dumps(config.to_dict(), default=list))
    return tensors, {name: effective(modules[name].forward, layer) for name, layer in layers.items()}, config


def peft_oft(out, case, generator, **settings):
    """PEFT's OFT in a folder, and the weights that it merges. Its forward pass on convolutions wider than 1x1 is none of a convolution."""
    layers = {name: layer for name, layer in base_layers().items() if name in (LINEAR, POINT, CONV)}
    config = OFTConfig(target_modules=list(layers), **settings)
    model = get_peft_model(Tree(layers), config)
    for name, parameter in model.named_parameters():
        if "oft_R" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    tensors = {name: t.clone() for name, t in get_peft_model_state_dict(model).items()}
    # The series is exact in f64.
    merged = model.double().merge_and_unload()
    modules = dict(merged.named_modules())
    out.weights(f"{FOLDER}/{case}/adapter_model.safetensors", tensors, note=f"PEFT OFT, random {settings}")
    config = json.loads(json.dumps(config.to_dict(), default=list))
    config["target_modules"] = sorted(config["target_modules"])
    out.json(f"{FOLDER}/{case}/adapter_config.json", config, note="the settings of adapter_model.safetensors")
    return {name: {"weight": modules[name].weight.data, "bias": modules[name].bias.data} for name in layers}


def kohya_oft(generator, strength, blocks=4, alpha=0.02):
    """OFT of kohya's sd-scripts (networks/oft.py, OFTModule): no package, so its formula is written down here.

    Q is skew-symmetric, its norm over all blocks at most alpha times the outputs; R = (I + Q)(I - Q)^-1 turns blocks of outputs from
    the other side, and the strength is a share of R - I.
    """
    tensors, merged = {}, {}
    for name in (LINEAR, POINT, CONV):
        layer = base_layers()[name].double()
        weight = layer.weight.data
        outputs = weight.shape[0]
        size = outputs // blocks
        stored = (torch.randn(blocks, size, size, generator=generator) * 0.6)
        flat = "oft_unet_" + name.replace(".", "_")
        tensors |= {f"{flat}.oft_blocks": stored, f"{flat}.alpha": torch.tensor(alpha)}
        q = (stored - stored.transpose(1, 2)).double()
        # In f32 there, as stored.
        limit = torch.tensor(alpha).double() * outputs
        norm = q.norm()
        q = q * ((norm.clamp(max=limit) + 1e-8) / (norm + 1e-8))
        eye = torch.eye(size, dtype=torch.float64).expand(blocks, size, size)
        r = strength * ((eye + q) @ torch.linalg.inv(eye - q) - eye) + eye
        turned = torch.einsum("knm,knp->kmp", r, weight.reshape(blocks, size, -1)).reshape(weight.shape)
        merged[name] = {"weight": turned, "bias": layer.bias.data}
    return tensors, merged


# Layers of the tiny SD1.
UNET_TARGETS = ["down_blocks.0.attentions.0.proj_in", "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0"]
TEXT_TARGETS = ["text_model.encoder.layers.0.self_attn.q_proj"]


def diffusers_case(out, strength):
    """What a pipeline saves, with its settings in the header, and the weights that it fuses when it loads that."""
    generator = torch.Generator().manual_seed(SEED + 200)
    parts = tiny_sd1.load(common.ROOT)
    unet, text_encoder = parts["unet"], parts["text_encoder"]
    # transformers leaves the outer name out in memory, where files have it.
    layers = dict(text_encoder.named_modules())
    text_targets = [name if name in layers else name.removeprefix("text_model.") for name in TEXT_TARGETS]
    configs = {
        "unet": LoraConfig(r=2, lora_alpha=3, alpha_pattern={UNET_TARGETS[1]: 5}, target_modules=UNET_TARGETS),
        "text_encoder": LoraConfig(r=3, lora_alpha=2, use_rslora=True, target_modules=text_targets),
    }
    unet.add_adapter(configs["unet"])
    text_encoder.add_adapter(configs["text_encoder"])
    for model in [unet, text_encoder]:
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    with tempfile.TemporaryDirectory() as folder:
        StableDiffusionPipeline.save_lora_weights(
            folder,
            unet_lora_layers=get_peft_model_state_dict(unet),
            text_encoder_lora_layers=get_peft_model_state_dict(text_encoder),
            unet_lora_adapter_metadata=configs["unet"].to_dict(),
            text_encoder_lora_adapter_metadata=configs["text_encoder"].to_dict(),
        )
        path = Path(folder) / "pytorch_lora_weights.safetensors"
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        parts = tiny_sd1.load(common.ROOT)
        pipe = StableDiffusionPipeline(
            **{name: parts[name] for name in ["vae", "text_encoder", "unet"]}, tokenizer=None, scheduler=None,
            safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        )
        pipe.load_lora_weights(folder, adapter_name="lora")
        pipe.fuse_lora(lora_scale=strength, adapter_names=["lora"])
        pipe.unload_lora_weights()
    out.weights(f"{FOLDER}/diffusers.safetensors", tensors, metadata, note="as diffusers saves it, with PEFT's settings")
    merged = {f"unet.{name}": {"weight": pipe.unet.get_submodule(name).weight.data} for name in UNET_TARGETS}
    for name, inner in zip(TEXT_TARGETS, text_targets):
        merged[f"text_encoder.{name}"] = {"weight": pipe.text_encoder.get_submodule(inner).weight.data}
    return merged


def make(out):
    out.tensors(
        f"{FOLDER}/base.safetensors",
        {f"{name}.{leaf}": t for name, layer in base_layers().items() for leaf, t in layer.state_dict().items()},
        note="the layers that the adapters here change, random",
    )
    merged = {}

    def add(case, strength, changed):
        merged.update({
            f"{case}@{strength}/{name}.{leaf}": t.float()
            for name, pair in changed.items() for leaf, t in pair.items() if t is not None
        })

    for i, (case, kind, names, options) in enumerate(cases()):
        for strength in [1.0] if case in NOT_LINEAR else [1.0, -0.6]:
            generator = torch.Generator().manual_seed(SEED + 1 + i)
            chosen = {name: layer for name, layer in base_layers().items() if name in names}
            tensors, changed = lycoris_case(kind, chosen, generator, strength=strength, **dict(options))
            add(case, strength, changed)
        out.weights(f"{FOLDER}/{case}.safetensors", tensors, note=f"LyCORIS {kind.__name__}, random")
        if case == "oft":
            # Before, LyCORIS kept the rotations themselves.
            old = {}
            for name in names:
                flat = "lora_unet_" + name.replace(".", "_")
                module = DiagOFTModule("x", base_layers()[name], lora_dim=4)
                module.oft_blocks.data = tensors[f"{flat}.oft_blocks"]
                old[f"{flat}.oft_diag"] = module.get_r()
            out.weights(f"{FOLDER}/oft_diag.safetensors", old, note="the rotations of oft.safetensors as they are")
    for i, (case, options) in enumerate({
        "peft": {}, "peft_dora": {"use_dora": True}, "peft_bias": {"lora_bias": True},
    }.items()):
        # The file has no alpha: with alpha as the rank it acts as the file alone says.
        tensors, changed, _ = peft_case(torch.Generator().manual_seed(SEED + 100 + i), r=3, lora_alpha=3, **options)
        add(case, 1.0, changed)
        out.weights(f"{FOLDER}/{case}.safetensors", tensors, note=f"PEFT LoRA, random {options}")
        if case == "peft_dora":
            bare = {name.removeprefix("base_model.model."): t for name, t in tensors.items()}
            for name, prefix in [("kohya_dora", "unet."), ("kohya_dora_bare", "")]:
                converted = convert_state_dict_to_kohya({f"{prefix}{key}": t for key, t in bare.items()})
                out.weights(
                    f"{FOLDER}/{name}.safetensors", converted,
                    note=f"peft_dora.safetensors, its names with the prefix '{prefix}', through diffusers' convert_state_dict_to_kohya",
                )
    for i, case in enumerate(PEFT_FOLDERS):
        add(case if case != "peft" else "peft_folder", 1.0, peft_folder(out, case, torch.Generator().manual_seed(SEED + 150 + i)))
    for strength in [1.0, -0.6]:
        tensors, changed = kohya_oft(torch.Generator().manual_seed(SEED + 400), strength)
        add("kohya_oft", strength, changed)
    out.weights(f"{FOLDER}/kohya_oft.safetensors", tensors, note="kohya's OFT, random; formula of sd-scripts' networks/oft.py")
    for i, (case, settings) in enumerate({
        "peft_oft": {"r": 2},
        "peft_oft_exact": {"r": 2, "use_cayley_neumann": False},
        "peft_oft_shared": {"oft_block_size": 2, "block_share": True, "num_cayley_neumann_terms": 8},
        "peft_coft": {"r": 2, "coft": True, "eps": 0.2},
    }.items()):
        settings = {"r": 0, "oft_block_size": 0} | settings
        add(case, 1.0, peft_oft(out, case, torch.Generator().manual_seed(SEED + 300 + i), **settings))
    add("diffusers", 0.8, diffusers_case(out, 0.8))
    out.tensors(
        f"{FOLDER}/merged.safetensors", merged,
        tolerance={"f32": 1e-6, "f32 of DoRA, OFT and BOFT": 1e-5},
        note="case@strength/layer: weights and biases that the packages' forward passes act with, in f64 but for OFT, BOFT and diffusers",
    )
