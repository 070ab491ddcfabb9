"""Tiny random upscalers in the layouts of their trainers, and what spandrel, the loader of the WebUI, makes of a picture with them."""

import io
import re
import sys
from unittest.mock import MagicMock

import torch

FOLDER = "goldens/upscalers"
SEED = 31
WIDTH, GROWTH = 4, 2


def spandrel():
    # Architectures that are not used here want torchvision.
    for name in ["", ".transforms", ".transforms.functional", ".models", ".ops", ".ops.misc"]:
        sys.modules.setdefault(f"torchvision{name}", MagicMock())
    from spandrel.architectures import Compact, ESRGAN
    from spandrel.architectures.ESRGAN import _get_num_blocks  # noqa: F401
    import spandrel.architectures.ESRGAN.__arch.RRDB as rrdb

    # The package's dense blocks always grow by 32 channels.
    whole = rrdb.B.RRDB
    rrdb.B.RRDB = lambda **options: whole(**(options | {"gc": GROWTH}))
    return ESRGAN, Compact


def make(out):
    esrgan, compact = spandrel()
    generator = torch.Generator().manual_seed(SEED)
    picture = torch.rand(1, 3, 4, 8, generator=generator)
    refs = {"picture": picture}
    networks = {
        "esrgan-x4.pth": (esrgan.ESRGAN(num_filters=WIDTH, num_blocks=1, scale=4), esrgan.ESRGANArch(), numbered),
        "esrgan-x8.safetensors": (esrgan.ESRGAN(num_filters=WIDTH, num_blocks=1, scale=8), esrgan.ESRGANArch(), numbered),
        "trunk-x2.safetensors": (esrgan.ESRGAN(num_filters=WIDTH, num_blocks=2, scale=2), esrgan.ESRGANArch(), trunk),
        "realesrgan-x2.pth": (unshuffled(esrgan, 2), esrgan.ESRGANArch(), named),
        "realesrgan-x1.safetensors": (unshuffled(esrgan, 4), esrgan.ESRGANArch(), named),
        "compact-x4.pth": (compact.Compact(num_feat=WIDTH, num_conv=2, upscale=4), compact.CompactArch(), numbered),
        "compact-x2.safetensors": (compact.Compact(num_feat=6, num_conv=3, upscale=2), compact.CompactArch(), numbered),
    }
    for name, (network, architecture, rename) in networks.items():
        state = {key: values(value, key, generator) for key, value in network.state_dict().items()}
        state = rename(state)
        model = architecture.load({key: value.float() for key, value in state.items()}).model.eval()
        refs[name] = model(picture)
        nest = {"realesrgan-x2.pth": "params_ema", "compact-x4.pth": "params"}.get(name)
        if name.endswith(".pth"):
            data = io.BytesIO()
            torch.save({nest: state} if nest else state, data)
            out.bytes(f"{FOLDER}/{name}", data.getvalue(), reference="spandrel", seed=SEED)
        else:
            out.weights(f"{FOLDER}/{name}", state, reference="spandrel", seed=SEED)
    out.tensors(f"{FOLDER}/refs.safetensors", refs, reference="spandrel", seed=SEED, tolerance=1e-5)


def unshuffled(esrgan, side):
    return esrgan.ESRGAN(in_nc=3 * side * side, num_filters=WIDTH, num_blocks=1, scale=4, shuffle_factor=side)


def values(like, key, generator):
    """Weights that keep activations near 1, slopes about 0.2, and biases that show; as exact in 16 bits as in 32."""
    drawn = torch.randn(like.shape, generator=generator)
    if like.dim() == 4:
        drawn /= (like.shape[1] * 9) ** 0.5
    else:
        drawn = 0.2 + 0.1 * drawn if "bias" not in key else 0.1 * drawn
    return drawn.half()


def numbered(state):
    return state


def named(state):
    """BasicSR's names of today."""
    blocks = 1 + max(int(key.split(".")[3]) for key in state if ".RDB" in key)
    layers = {"model.0": "conv_first", f"model.1.sub.{blocks}": "conv_body", "model.3": "conv_up1"}
    ups = [int(n) for n in {key.split(".")[1] for key in state} if n not in "01"]
    layers |= {f"model.{n}": f"conv_up{n // 3}" for n in ups if n % 3 == 0}
    layers |= {f"model.{max(ups) - 2}": "conv_hr", f"model.{max(ups)}": "conv_last"}
    renamed = {}
    for key, value in state.items():
        layer, leaf = key.rsplit(".", 1)
        dense = re.fullmatch(r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0", layer)
        layer = "body.{}.rdb{}.conv{}".format(*dense.groups()) if dense else layers[layer]
        renamed[f"{layer}.{leaf}"] = value
    return renamed


def trunk(state):
    """ESRGAN's and BSRGAN's names between the two."""
    layers = {"conv_body": "trunk_conv", "conv_hr": "HRconv"}
    renamed = {}
    for key, value in named(state).items():
        layer, leaf = key.rsplit(".", 1)
        layer = layers.get(layer, layer).replace("conv_up", "upconv")
        renamed[f"{layer.replace('body.', 'RRDB_trunk.').replace('rdb', 'RDB')}.{leaf}"] = value
    return renamed
