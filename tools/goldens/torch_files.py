"""Files as PyTorch saves them, in both containers and several pickle protocols, with the tensors that are in them."""

import io
import sys
import types
from collections import OrderedDict

import numpy as np
import torch

FOLDER = "goldens/torch"
SEED = 21


def saved(value, **options):
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def tensors():
    """Every type, and every way for a tensor to lie in its storage."""
    generator = torch.Generator().manual_seed(SEED)
    base = torch.randn(6, 8, generator=generator)
    found = OrderedDict()
    for dtype in [torch.float32, torch.float16, torch.bfloat16, torch.float64]:
        found[f"float.{str(dtype).removeprefix('torch.')}"] = torch.randn(3, 5, generator=generator).to(dtype)
    for dtype in [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]:
        found[f"int.{str(dtype).removeprefix('torch.')}"] = torch.arange(-3 if dtype.is_signed else 0, 9).to(dtype)
    found["bool"] = torch.tensor([True, False, True])
    found["scalar"] = torch.tensor(2.5)
    found["empty"] = torch.zeros(0, 4)
    found["parameter"] = torch.nn.Parameter(torch.randn(2, 2, generator=generator))
    # Five views of one storage.
    found["whole"] = base
    found["transposed"] = base.t()
    found["rows"] = base[2:4]
    found["columns"] = base[:, 3:6]
    found["steps"] = base[1::2, ::3]
    found["channels_last"] = torch.randn(2, 3, 4, 5, generator=generator).to(memory_format=torch.channels_last)
    return found


def lightning(state):
    """A training checkpoint: what stands beside the weights, a callback's class among it."""
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    callback = type("ModelCheckpoint", (), {"__module__": module.__name__})
    module.ModelCheckpoint = callback
    sys.modules["pytorch_lightning"] = types.ModuleType("pytorch_lightning")
    sys.modules["pytorch_lightning.callbacks"] = types.ModuleType("pytorch_lightning.callbacks")
    sys.modules[module.__name__] = module
    state = OrderedDict(state)
    state._metadata = {"": {"version": 1}}
    return {
        "epoch": 3,
        "global_step": 470_000,
        "pytorch-lightning_version": "1.4.2",
        "state_dict": state,
        "callbacks": {callback: {"best_model_score": torch.tensor(0.5), "monitor": None, "best_k_models": {}}},
        "optimizer_states": [{"state": {0: {"step": 1, "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4}]}],
        "scores": [np.float64(0.25), np.float32(1.5)],
        "flags": {1, 2},
    }


def make(out):
    found = tensors()
    everything = dict(found)
    views = {"storages": "views of one storage are saved as views"}
    out.bytes(f"{FOLDER}/zip.pt", saved(everything), **views)
    out.bytes(f"{FOLDER}/zip4.pt", saved(everything, pickle_protocol=4), pickle_protocol=4)
    out.bytes(f"{FOLDER}/zip5.pt", saved(everything, pickle_protocol=5), pickle_protocol=5)
    out.bytes(f"{FOLDER}/legacy.pt", saved(everything, _use_new_zipfile_serialization=False), **views)
    out.bytes(f"{FOLDER}/lightning.ckpt", saved(lightning(found)), note="the same tensors below state_dict")
    nested = {"a": {"b": torch.ones(2), "c": torch.nn.ParameterDict({"d": torch.zeros(3)})}, "n": 4, "name": "x"}
    out.bytes(f"{FOLDER}/nested.pt", saved(nested), note="a.b, a.c.d, and two values that are no tensors")
    small = {"e4m3": torch.arange(256).to(torch.uint8).view(torch.float8_e4m3fn),
             "e5m2": torch.arange(256).to(torch.uint8).view(torch.float8_e5m2)}
    out.bytes(f"{FOLDER}/fp8.pt", saved(small), note="all 256 values of both types")
    # NaN has many spellings: what PyTorch makes of a value is held by its bits.
    bits = {f"{name}.f32": t.float().view(torch.int32) for name, t in small.items()}
    out.tensors(f"{FOLDER}/fp8.safetensors", small | bits, note="all 256 values, and the bits of each as f32")
    out.tensors(f"{FOLDER}/tensors.safetensors", found, note="what zip*.pt, legacy.pt and lightning.ckpt hold, row by row")
