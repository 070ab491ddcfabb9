"""What the tests share. They run by `cargo xtask python`, which says where the command and the demo model's folder are."""

import atexit
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import sdrs

GOLDENS = Path(__file__).resolve().parents[3] / "goldens"
DEMO = Path(os.environ["SDRS_DEMO"])
COMMAND = os.environ["SDRS_COMMAND"]
PROMPT = "a red circle above a blue square"
# Few steps: what is tested here does not depend on how good a picture is.
QUICK = {"steps": 2, "seed": 1, "sampler": "Euler"}


@functools.lru_cache(maxsize=None)
def demo() -> sdrs.Pipeline:
    return sdrs.demo()


@functools.lru_cache(maxsize=None)
def quick() -> np.ndarray:
    """The picture of PROMPT and QUICK."""
    return demo().txt2img(PROMPT, **QUICK).arrays[0]


TINY_SDXL = {
    "tiny-sd1": ["text_encoder", "vae"],
    "tiny-sdxl": ["model_index.json", "scheduler", "text_encoder_2", "unet"],
}


TINY_REFINER = {
    "tiny-sdxl": ["scheduler", "text_encoder_2"],
    "tiny-refiner": ["model_index.json", "unet"],
}


@functools.lru_cache(maxsize=None)
def tiny_sdxl() -> Path:
    """The folder of a small SDXL."""
    return _put_together(TINY_SDXL)


@functools.lru_cache(maxsize=None)
def tiny_refiner() -> Path:
    """The folder of its refiner, without a VAE."""
    return _put_together(TINY_REFINER)


@functools.lru_cache(maxsize=None)
def whole_refiner() -> Path:
    """The same with a VAE, so that it draws by itself."""
    return _put_together({**TINY_REFINER, "tiny-sd1": ["vae"]})


TINY_SD1 = {"tiny-sd1": ["model_index.json", "scheduler", "text_encoder", "unet", "vae"]}


@functools.lru_cache(maxsize=None)
def widened(channels: int, large: bool = False) -> Path:
    """The folder of the tiny SD1 or SDXL whose U-Net takes more channels: their weights are those of tools/goldens/from_pictures.py."""
    folder = _put_together(TINY_SDXL if large else TINY_SD1)
    config = folder / "unet/config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "in_channels": channels}))
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    held = tensors(weights)
    old = held["conv_in.weight"].astype(np.float32)
    count = len(old) * (channels - old.shape[1]) * 9
    more = (0.1 * np.sin(0.37 * np.arange(count))).astype(np.float32).reshape(len(old), -1, 3, 3)
    held["conv_in.weight"] = np.concatenate([old, more], axis=1)
    header, data = {}, b""
    for name, values in held.items():
        kind = {"float16": "F16", "float32": "F32"}[values.dtype.name]
        header[name] = {"dtype": kind, "shape": values.shape, "data_offsets": [len(data), len(data) + values.nbytes]}
        data += values.tobytes()
    text = json.dumps(header).encode()
    weights.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return folder


def _put_together(parts: "dict[str, list[str]]") -> Path:
    """A folder of which the goldens have the parts."""
    folder = Path(tempfile.mkdtemp(prefix="sdrs-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for source, names in parts.items():
        for name in names:
            path = GOLDENS / source / name
            if path.is_dir():
                shutil.copytree(path, folder / name)
            else:
                shutil.copy(path, folder / name)
    return folder


def command(*args: str) -> "tuple[np.ndarray, str]":
    """Pixels and infotext of what `sdrs txt2img` draws."""
    out = Path(args[-1])
    told = subprocess.run([COMMAND, "txt2img", *args[:-1], "-o", str(out)], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    with Image.open(out) as image:
        return np.asarray(image), image.info["parameters"]


def python(code: str, **kwargs: object) -> "subprocess.Popen[str]":
    """Another Python that runs `code`, with pipes."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code], **{**pipes, **kwargs})


def tensors(path: Path) -> "dict[str, np.ndarray]":
    """What a .safetensors file holds."""
    data = path.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    types = {"F32": np.float32, "F16": np.float16, "I64": np.int64, "U8": np.uint8, "BF16": np.uint16}
    read = {}
    for name, about in json.loads(data[8:begin]).items():
        if name != "__metadata__":
            first, last = about["data_offsets"]
            read[name] = np.frombuffer(data[begin + first : begin + last], types[about["dtype"]]).reshape(about["shape"])
    return read


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two pictures of bytes, in dB."""
    error = float(((a.astype(float) - b.astype(float)) ** 2).mean())
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))
