"""What every golden script shares: writing a file, describing it in the manifest, comparing two of them."""

import importlib.metadata
import json
import math
import os
import sys
from pathlib import Path

# One thread: sums of a convolution are split by thread, so their last bits depend on the number of threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import diffusers
import torch
import transformers
from safetensors.torch import load_file, save_file

diffusers.utils.logging.set_verbosity_error()
diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True, warn_only=True)
torch.set_grad_enabled(False)

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = [
    "torch", "diffusers", "transformers", "tokenizers", "safetensors", "k-diffusion", "peft", "numpy", "gguf", "lark",
    "lycoris-lora", "tomesd", "DeepCache", "ftfy", "open_clip_torch", "pillow", "opencv-python-headless", "spandrel", "piexif", "clip-interrogator",
]


def versions():
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in PACKAGES:
        found[name] = importlib.metadata.version(name)
    return found


class Out:
    """A tree to write goldens into (the repository, or an empty folder for --check) and what the manifest says of them."""

    def __init__(self, root, script):
        self.root = Path(root)
        self.script = script
        self.entries = {}

    def _path(self, path):
        full = self.root / path
        full.parent.mkdir(parents=True, exist_ok=True)
        return full

    def _describe(self, path, about):
        self.entries[path] = {"script": f"tools/goldens/{self.script}"} | about

    def tensors(self, path, tensors, **about):
        # Tensors may be views; safetensors wants each with its own contiguous memory.
        tensors = {name: t.detach().clone().contiguous() for name, t in tensors.items()}
        save_file(tensors, self._path(path))
        (self.root / path).chmod(0o644)
        self._describe(path, about | {"holds": {name: describe(t) for name, t in tensors.items()}})

    def weights(self, path, tensors, metadata=None, **about):
        """Model weights: their names are the format's own, so the manifest only counts them."""
        tensors = {name: t.clone().contiguous() for name, t in tensors.items()}
        save_file(tensors, self._path(path), {"format": "pt"} | (metadata or {}))
        (self.root / path).chmod(0o644)
        self._describe(path, about | {"holds": f"{len(tensors)} tensors"})

    def json(self, path, value, **about):
        # ASCII only: a control or zero-width character in a golden string must be visible to who reads the file.
        text = json.dumps(value, indent=1, ensure_ascii=True)
        self._path(path).write_text(text + "\n")
        self._describe(path, about)

    def bytes(self, path, data, **about):
        self._path(path).write_bytes(data)
        self._describe(path, about)


def describe(t):
    return f"{str(t.dtype).removeprefix('torch.')}{list(t.shape)}"


def relative_error(got, want):
    """Norm of the difference over norm of the reference: the measure that every tolerance here is in."""
    got, want = got.double(), want.double()
    norm = want.norm().item()
    return (got - want).norm().item() / norm if norm else (got - want).norm().item()


def round_up(x):
    """One significant digit, upwards: a tolerance is a bound, not a measurement."""
    if x == 0:
        return 0.0
    step = 10.0 ** math.floor(math.log10(x))
    return float(f"{math.ceil(x / step) * step:.0e}")


def compare(committed, fresh):
    """None if two golden files agree, else what differs. Other machines may round differently in the last bits."""
    if not committed.exists():
        return "missing"
    if committed.suffix == ".safetensors":
        a, b = load_file(committed), load_file(fresh)
        if a.keys() != b.keys():
            return f"other names: {sorted(a.keys() ^ b.keys())[:5]}"
        for name in a:
            if a[name].dtype != b[name].dtype or a[name].shape != b[name].shape:
                return f"{name}: {describe(a[name])} against {describe(b[name])}"
            if same_bytes(a[name], b[name]):
                continue
            error = relative_error(b[name], a[name])
            if not error <= 1e-5:
                return f"{name}: relative error {error:.1e}"
        return None
    if committed.suffix == ".png":
        from PIL import Image
        import numpy as np

        a, b = (np.asarray(Image.open(f)).astype(int) for f in (committed, fresh))
        if a.shape != b.shape or abs(a - b).max() > 1:
            return "other pixels"
        return None
    if committed.suffix in {".pt", ".bin", ".ckpt"}:
        # Old files name storages by their addresses.
        a, b = (list(leaves(torch.load(f, weights_only=False))) for f in (committed, fresh))
        return None if len(a) == len(b) and all(map(same_bytes, a, b)) else "other tensors"
    return None if committed.read_bytes() == fresh.read_bytes() else "other bytes"


def same_bytes(a, b):
    return torch.equal(*(t.detach().contiguous().reshape(-1).view(torch.uint8) for t in (a, b)))


def leaves(value):
    """All tensors in dictionaries."""
    if isinstance(value, torch.Tensor):
        yield value
    elif hasattr(value, "items"):
        for item in value.values():
            yield from leaves(item)
