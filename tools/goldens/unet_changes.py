"""What networks of the tiny SD1 give with FreeU, perturbed self-attention and wrapped borders: diffusers, and PyTorch's circular padding."""

import copy
import math

import diffusers.models.unets.unet_2d_blocks as blocks
import torch
import torch.nn.functional as F
from diffusers.hooks.smoothed_energy_guidance_utils import _gaussian_blur_2d
from diffusers.models.attention_processor import PAGIdentitySelfAttnProcessor2_0
from diffusers.pipelines.deprecated.stable_diffusion_sag.pipeline_stable_diffusion_sag import CrossAttnStoreProcessor
from diffusers.utils.torch_utils import fourier_filter

import common
import tiny_sd1

SEED = 29
FOLDER = "goldens/tiny-sd1/refs"
FREE_U = {"b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2}
# Layers by the names that sdrs takes, and by a part of the module's name.
LAYERS = {"mid": ["mid_block"], "some": ["down_blocks.1.attentions.0", "up_blocks.2"]}
TIMESTEP = torch.tensor(500.0)


def free_u_2(resolution_idx, hidden_states, res_hidden_states, **factors):
    """ComfyUI's FreeU_V2 (comfy_extras/nodes_freelunch.py) in diffusers' place for version 1."""
    first = tiny_sd1.UNET["block_out_channels"][0]
    stages = {4 * first: ("b1", "s1"), 2 * first: ("b2", "s2")}
    channels = hidden_states.shape[1]
    if channels in stages:
        b, s = (factors[name] for name in stages[channels])
        mean = hidden_states.mean(1, keepdim=True)
        least, most = mean.amin((2, 3), keepdim=True), mean.amax((2, 3), keepdim=True)
        factor = (b - 1) * (mean - least) / (most - least) + 1
        half = channels // 2
        hidden_states = torch.cat([hidden_states[:, :half] * factor, hidden_states[:, half:]], dim=1)
        res_hidden_states = fourier_filter(res_hidden_states, threshold=1, scale=s)
    return hidden_states, res_hidden_states


def free_u(model, sample, context):
    model = copy.deepcopy(model)
    model.enable_freeu(**FREE_U)
    one = model(sample, TIMESTEP, context).sample
    original = blocks.apply_freeu
    blocks.apply_freeu = free_u_2
    two = model(sample, TIMESTEP, context).sample
    blocks.apply_freeu = original
    return {"free_u_1": one, "free_u_2": two}


def self_attention(model, names):
    """The self-attention layers in modules whose names begin with one of these."""
    for name, module in model.named_modules():
        if name.endswith(".attn1") and any(name.startswith(f"{it}.") for it in names):
            yield module


class BlurredQueries:
    """Smoothed energy guidance's blur around a projection to queries: on pictures of any height and width, where diffusers' takes squares."""

    def __init__(self, sizes, sigma):
        self.sizes, self.sigma = sizes, sigma

    def __call__(self, module, inputs, output):
        h, w = self.sizes[output.shape[1]]
        picture = output.transpose(1, 2).reshape(output.shape[0], -1, h, w)
        if math.isinf(self.sigma):
            picture = picture.mean((2, 3), keepdim=True).expand(picture.shape)
        elif h == w:
            taps = math.ceil(6 * self.sigma) + 1 - math.ceil(6 * self.sigma) % 2
            # The last argument makes it blur, and not take the mean.
            return _gaussian_blur_2d(output.clone(), taps, self.sigma, 0.0)
        else:
            raise NotImplementedError
        return picture.flatten(2).transpose(1, 2)


def perturbed(model, sample, context):
    tensors = {}
    # Height and width of a layer by its pixels.
    sizes = {}
    for level in range(4):
        h, w = (math.ceil(side / 2**level) for side in sample.shape[2:])
        sizes[h * w] = (h, w)
    for layers, names in LAYERS.items():
        changed = copy.deepcopy(model)
        for module in self_attention(changed, names):
            # The pipelines' processor for a batch without cond takes the batch's second half for the perturbed one.
            module.processor = PAGIdentitySelfAttnProcessor2_0()
        twice = [torch.cat([t, t]) for t in (sample, context)]
        tensors[f"pag_{layers}"] = changed(twice[0], TIMESTEP, twice[1]).sample.chunk(2)[1]
        for sigma in [1.5, math.inf]:
            if sample.shape[2] != sample.shape[3] and not math.isinf(sigma):
                continue
            changed = copy.deepcopy(model)
            for module in self_attention(changed, names):
                module.to_q.register_forward_hook(BlurredQueries(sizes, sigma))
            tensors[f"seg_{layers}_{sigma:g}"] = changed(sample, TIMESTEP, context).sample
    return tensors


def received(model, sample, context):
    """What self-attention guidance looks at in the middle, before its threshold."""
    model = copy.deepcopy(model)
    store = CrossAttnStoreProcessor()
    attention = model.mid_block.attentions[0].transformer_blocks[0].attn1
    attention.processor = store
    model(sample, TIMESTEP, context)
    n = store.attention_probs.shape[1]
    h, w = (math.ceil(side / 8) for side in sample.shape[2:])
    sums = store.attention_probs.reshape(len(sample), attention.heads, n, n).mean(1).sum(1)
    return {"received": sums.reshape(-1, h, w)}


def tiled(network, axes):
    """A copy whose convolutions pad with what is at the opposite edge, along x, y or both."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if not isinstance(module, torch.nn.Conv2d):
            continue
        if axes == "xy":
            # As the WebUI does it.
            module.padding_mode = "circular"
        else:
            module._conv_forward = along(module, axes)
    return network


def along(module, axis):
    down, across = module.padding

    def forward(x, weight, bias):
        x = F.pad(x, (across, across, 0, 0), mode="circular" if axis == "x" else "constant")
        x = F.pad(x, (0, 0, down, down), mode="circular" if axis == "y" else "constant")
        return F.conv2d(x, weight, bias, module.stride)

    return forward


def tiles(vae, generator):
    latent = torch.randn(1, 4, 4, 6, generator=generator)
    tensors = {"latent": latent}
    for axes in ["xy", "x", "y"]:
        picture = tiled(vae, axes).decode(latent).sample
        tensors[f"picture.{axes}"] = picture
        tensors[f"mean.{axes}"] = tiled(vae, axes).encode(picture).latent_dist.mean
    return tensors


def make(out):
    parts = tiny_sd1.load(common.ROOT)
    model = parts["unet"]
    generator = torch.Generator("cpu").manual_seed(SEED)
    tensors = {}
    for batch, height, width in [(1, 16, 16), (1, 24, 17)]:
        case = f"b{batch}_{height}x{width}"
        sample = torch.randn(batch, 4, height, width, generator=generator)
        context = torch.randn(batch, 77, 16, generator=generator)
        tensors |= {f"{case}.sample": sample, f"{case}.encoder_hidden_states": context}
        made = free_u(model, sample, context) | perturbed(model, sample, context) | received(model, sample, context)
        made |= {f"tiled_{axes}": tiled(model, axes)(sample, TIMESTEP, context).sample for axes in ["xy", "x", "y"]}
        tensors |= {f"{case}.{name}": tensor for name, tensor in made.items()}
    out.tensors(
        f"{FOLDER}/unet_changes.safetensors",
        tensors,
        seed=SEED,
        tolerance={"f32": 1e-5},
        note=f"per case bB_HxW, at timestep 500, around diffusers' UNet2DConditionModel. free_u_1: enable_freeu with {FREE_U}; "
        "free_u_2: the formula of ComfyUI's FreeU_V2. pag_LAYERS: diffusers' PAGIdentitySelfAttnProcessor2_0; seg_LAYERS_SIGMA: "
        "diffusers' blur of queries for smoothed energy guidance; received: the middle's attention as diffusers' pipeline of self-attention guidance sums it. "
        f"tiled_AXES: padding_mode='circular' in all convolutions, or along one axis. Layers: {LAYERS}",
    )
    out.tensors(
        f"{FOLDER}/tiled_vae.safetensors",
        tiles(parts["vae"], generator),
        seed=SEED,
        tolerance={"f32": 1e-5},
        note="picture.AXES is latent decoded, mean.AXES that picture encoded, by diffusers' AutoencoderKL with padding_mode='circular' in all "
        "convolutions, or along one axis",
    )
