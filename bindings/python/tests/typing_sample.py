"""Not run: what mypy says of a program that uses the package, in its strict mode."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL.Image import Image

import sdrs


def watch(event: sdrs.Event) -> None:
    total: int = event.total
    print(event.step, total, event.sigma)


def keep(index: int, result: sdrs.Result) -> None:
    print(result.save(f"{index}.png"))


def draw(path: Path) -> list[Image]:
    pipe = sdrs.Pipeline(path, loras=["a.safetensors", ("b.safetensors", 0.5)], dtype="bf16", log=logging.getLogger("a"))
    pipe = sdrs.Pipeline(path, loras=[sdrs.Lora(path, schedule="0-0.5", ranks=4)], lora_dirs=[path], log=lambda level, line: print(line))
    token = sdrs.CancelToken()
    try:
        result = pipe.txt2img("a ring", seed=1, width=None, callback=watch, progress=True, on_image=keep, cancel=token)
    except (sdrs.CancelledError, ValueError):
        return []
    arrays: list[npt.NDArray[np.uint8]] = result.arrays
    print(arrays[0].shape, result.seeds[0] + 1, result.infotexts[0].splitlines())
    stream = sdrs.demo().stream("a star", steps=3)
    done: dict[int, sdrs.Result] = stream.done
    print(done)
    for event in stream:
        if event.result is not None:
            return event.result.images
    return result.images


def by_hand(pipe: sdrs.Pipeline) -> npt.NDArray[np.float32]:
    context = pipe.encode_prompt("a ring")
    scalings = pipe.scalings(1.0)
    latents = sdrs.noise.randn((1, pipe.sizes.latent_channels, 8, 8), 1)
    output = pipe.unet(latents * scalings.c_in, scalings.timestep, context[None])
    told: dict[str, Any] = pipe.plan("a ring")
    memory: sdrs.MemoryPlan = pipe.memory_plan("a ring", width=192, parallel=2)
    print(memory.least + memory.loras, pipe.memory_of_loras(["a.safetensors"]) + pipe.memory_of_vae("vae.safetensors"))
    print(told, pipe.vae_encode(pipe.vae_decode(output)).mean.shape)
    pipe.save_file("a.safetensors", dtype="bf16")
    pipe.save_folder(Path("a"), dtype=np.dtype(np.float16))
    states: npt.NDArray[np.float32] = pipe.encode_ids(pipe.tokenize("a ring"), clip_skip=2)
    print(states, pipe.vae_encode([image for image in pipe.txt2img("a ring")]), pipe.scaling_factor + 1)
    return pipe.text_hidden_states([1, 2])


class Torch:
    """As torch's types and devices are declared."""

    is_floating_point: bool
    type: str


def of_torch(dtype: Torch, device: Torch) -> sdrs.Pipeline:
    return sdrs.demo(dtype=dtype, device=device)


pipe = sdrs.demo()
pipe.txt2img("a ring", stepps=3)  # type: ignore[call-arg]
pipe.txt2img("a ring", steps="3")  # type: ignore[arg-type]
pipe.txt2img("a ring", on_image=watch)  # type: ignore[arg-type]
pipe.seed  # type: ignore[attr-defined]
