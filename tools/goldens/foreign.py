"""Names by which files of other families are recognised: those that diffusers' readers look for, and those of its own networks' first blocks."""

import re

import diffusers
import torch
from diffusers.loaders.single_file_utils import CHECKPOINT_KEY_NAMES

FILE = "goldens/foreign.json"

# Our name of a family: diffusers' network, its pipelines, and the rows of its table of single files.
FAMILIES = {
    "Stable Diffusion 3.5 Large": (None, [], ["sd35_large"]),
    "Stable Diffusion 3": ("SD3Transformer2DModel", ["StableDiffusion3Pipeline"], ["sd3"]),
    "Flux": ("FluxTransformer2DModel", ["FluxPipeline", "FluxKontextPipeline"], ["flux"]),
    "Flux.2": ("Flux2Transformer2DModel", ["Flux2Pipeline"], ["flux2"]),
    "Chroma": ("ChromaTransformer2DModel", ["ChromaPipeline"], ["chroma"]),
    "PixArt": ("PixArtTransformer2DModel", ["PixArtAlphaPipeline", "PixArtSigmaPipeline"], []),
    "Sana": ("SanaTransformer2DModel", ["SanaPipeline"], []),
    "Hunyuan-DiT": ("HunyuanDiT2DModel", ["HunyuanDiTPipeline"], []),
    "HunyuanVideo": ("HunyuanVideoTransformer3DModel", ["HunyuanVideoPipeline"], ["hunyuan-video"]),
    "Stable Cascade": (None, ["StableCascadeCombinedPipeline", "StableCascadePriorPipeline"], ["stable_cascade_stage_b", "stable_cascade_stage_c"]),
    "AuraFlow": ("AuraFlowTransformer2DModel", ["AuraFlowPipeline"], ["auraflow"]),
    "Lumina": ("Lumina2Transformer2DModel", ["Lumina2Pipeline", "LuminaPipeline"], ["lumina2"]),
    "Z-Image": ("ZImageTransformer2DModel", ["ZImagePipeline"], []),
    "Wan": ("WanTransformer3DModel", ["WanPipeline"], ["wan", "wan_vae"]),
    "Qwen-Image": ("QwenImageTransformer2DModel", ["QwenImagePipeline"], ["qwen-image-2.1"]),
    "Cosmos": ("CosmosTransformer3DModel", ["CosmosTextToWorldPipeline"], ["cosmos-1.0", "cosmos-2.0"]),
    "LTX-Video": ("LTXVideoTransformer3DModel", ["LTXPipeline"], ["ltx-video"]),
    "Mochi": ("MochiTransformer3DModel", ["MochiPipeline"], ["mochi-1-preview"]),
    "CogVideoX or CogView": ("CogVideoXTransformer3DModel", ["CogVideoXPipeline", "CogView4Pipeline"], []),
    "HiDream": ("HiDreamImageTransformer2DModel", ["HiDreamImagePipeline"], ["hidream"]),
    "OmniGen": (None, ["OmniGenPipeline"], []),
    "Kolors": (None, ["KolorsPipeline"], []),
    "DeepFloyd IF": (None, ["IFPipeline"], []),
    "Kandinsky": (None, ["KandinskyV22Pipeline", "Kandinsky3Pipeline"], []),
    "Stable Video Diffusion": ("UNetSpatioTemporalConditionModel", ["StableVideoDiffusionPipeline"], []),
    "AnimateDiff": ("MotionAdapter", ["AnimateDiffPipeline"], []),
}
# As published, where a class has no defaults.
WITHOUT_DEFAULTS = {
    "HiDreamImageTransformer2DModel": {
        "patch_size": 2, "in_channels": 16, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 128, "num_attention_heads": 20,
        "caption_channels": [4096, 4096], "text_emb_dim": 2048, "axes_dims_rope": (64, 32, 32), "max_resolution": (128, 128),
    },
    "HunyuanDiT2DModel": {"patch_size": 2, "in_channels": 4, "sample_size": 128, "activation_fn": "gelu-approximate"},
}
# A file has all of these, of other rows any.
TOGETHER = {"auraflow", "cosmos-1.0", "cosmos-2.0", "ltx-video"}


def parameters(name):
    """Of the first blocks."""
    with torch.device("meta"):
        network = getattr(diffusers, name)(**WITHOUT_DEFAULTS.get(name, {}))
    # Biases stand beside weights.
    weights = (key for key in network.state_dict() if not key.endswith(".bias"))
    return sorted(key for key in weights if all(int(n) == 0 for n in re.findall(r"\.(\d+)\.", key)))


def published(row):
    names = CHECKPOINT_KEY_NAMES[row]
    names = [names] if isinstance(names, str) else names
    return [names] if row in TOGETHER else [[name] for name in names]


def make(out):
    families = {}
    for family, (network, pipelines, rows) in FAMILIES.items():
        assert all(hasattr(diffusers, name) for name in pipelines), family
        families[family] = {
            "classes": pipelines + [network] * (network is not None),
            "files": [names for row in rows for names in published(row)] + ([parameters(network)] if network else []),
        }
    out.json(
        FILE, families,
        note="per family: classes of diffusers, and names of tensors in files: what its reader of single files looks for, and its network's "
        "parameters (first blocks, default configuration)",
    )
