"""Upscalers: larger pictures."""

from __future__ import annotations

import os
from typing import Any, Callable

import numpy as np

from . import _arguments, _sdrs
from ._arguments import DeviceLike, DtypeLike, StrPath
from ._arrays import plain, shaped
from .errors import InvalidParameterError


class Upscaler:
    """Enlarges pictures, by a network or a filter. It holds nothing of a run: any number of threads may use one at the same time.

        upscaler = sdrs.Upscaler("4x-UltraSharp.pth")
        upscaler.upscale(image, scale=2).save("large.png")

    `path_or_name`: a network's file (ESRGAN, Real-ESRGAN or its compact kind; `.pth` or `.safetensors`), or a filter's name: "lanczos",
    "bicubic", "bilinear", "nearest", "box", "hamming".
    `device`, `dtype`, `threads`: as `Pipeline` takes them. A filter needs none of them.

    Raises `MissingFileError`, `FileError`, `InvalidFileError`, `InvalidWeightsError`, `UnknownNameError`, `InvalidParameterError`.
    """

    def __init__(
        self,
        path_or_name: StrPath,
        *,
        device: DeviceLike = "auto",
        dtype: DtypeLike = "auto",
        threads: int | None = None,
    ) -> None:
        path = _arguments.path("path_or_name", path_or_name)
        is_word = isinstance(path_or_name, str) and not any(c in path for c in "/\\.")
        if is_word and not os.path.exists(path):
            self._native = _sdrs.Upscaler.named(path)
            return
        self._native = _sdrs.Upscaler.open(
            path,
            _arguments.device("device", device),
            _arguments.dtype("dtype", dtype),
            None if threads is None else _arguments.whole("threads", threads, 1),
        )

    @property
    def name(self) -> str:
        """The filter's name, or that of the network's file without its ending."""
        return self._native.name

    @property
    def factor(self) -> int | None:
        """Pixels of a side that the network makes of one; None of a filter."""
        return self._native.factor

    def upscale(
        self,
        image: Any,
        *,
        scale: float | None = None,
        size: tuple[int, int] | None = None,
        tile: int = 256,
        callback: Callable[[int, int], object] | None = None,
        cancel: _sdrs.CancelToken | None = None,
    ) -> Any:
        """A picture of another size: of a `PIL.Image.Image` one of PIL (RGB, or RGBA if it has alpha), of bytes `[height, width, 3 or 4]` such an
        array.

        `scale` is the pixels of a side for each of the picture's, `size` the width and height instead; without either the network's own
        factor counts, or 4. A network's factor is applied until the picture is large enough, three times at most, then Lanczos brings it to
        the size; one that gets smaller sees Lanczos alone. Alpha goes through Lanczos.

        `tile`: the side in pixels of the square that a network sees at a time, 128 to 8192; 0 is the whole picture at once.
        `callback`: a function that is called after each square with those that are done and their number.
        `cancel`: a token that stops the run.

        Raises `InvalidParameterError`, `CancelledError`, `NotFiniteError`.
        """
        if scale is not None and size is not None:
            raise InvalidParameterError("scale: give it or a size, not both")
        _arguments.function("callback", callback, "two numbers")
        pixels, is_pil = pixels_of(image)
        height, width, channels = pixels.shape
        if channels == 3:
            pixels = np.concatenate([pixels, np.full((height, width, 1), 255, np.uint8)], axis=2)
        target = None
        if size is not None:
            sides = _arguments.listed("size", size, "two whole numbers")
            if len(sides) != 2:
                raise InvalidParameterError(f"size: must be width and height, not {len(sides)} numbers")
            target = (_arguments.whole("size[0]", sides[0], 1, 65535), _arguments.whole("size[1]", sides[1], 1, 65535))
        made, width, height = self._native.upscale(
            pixels.tobytes(),
            (width, height),
            None if scale is None else _arguments.number("scale", scale),
            target,
            _arguments.whole("tile", tile, 0, 65535),
            callback,
            cancel,
        )
        array = shaped(made, np.uint8, (height, width, 4))[:, :, :channels]
        if not is_pil:
            return np.ascontiguousarray(array)
        from PIL import Image as pil

        enlarged = pil.fromarray(np.ascontiguousarray(array))
        # What made the picture stays with it.
        if "parameters" in image.info:
            enlarged.info["parameters"] = image.info["parameters"]
        return enlarged

    def __repr__(self) -> str:
        return f"<sdrs.Upscaler: {self.name}, {self._native.description}>"


def pixels_of(image: Any) -> tuple[Any, bool]:
    """`[height, width, 3 or 4]`, and whether it came as a picture of PIL."""
    if isinstance(image, (str, os.PathLike)):
        raise InvalidParameterError("image: must be a picture, not a path: give PIL.Image.open(path)")
    if all(hasattr(image, name) for name in ("mode", "convert", "getbands")):
        alpha = "A" in image.getbands() or "transparency" in image.info
        return np.array(image.convert("RGBA" if alpha else "RGB"), dtype=np.uint8), True
    array = plain("image", image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (3, 4) or array.size == 0:
        raise InvalidParameterError(
            f"image: must be a picture of PIL, or bytes (uint8) [height, width, 3 or 4], not {array.dtype} {list(array.shape)}"
        )
    return array, False
