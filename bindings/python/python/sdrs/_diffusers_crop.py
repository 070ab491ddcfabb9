"""The part around a mask that is drawn by itself and put back, as `VaeImageProcessor` of diffusers does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .errors import InvalidParameterError

if TYPE_CHECKING:
    from PIL.Image import Image


class Crop(NamedTuple):
    """A part of a picture, in its pixels."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def around(cls, mask: Image, sides: tuple[int, int], padding: int) -> Crop:
        """What is not black in a mask, with padding, and as much more as the proportions of a height and width ask for."""
        marked = np.asarray(mask.convert("L")) != 0
        columns, rows = (np.flatnonzero(marked.any(axis)) for axis in (0, 1))
        if columns.size == 0:
            raise InvalidParameterError("mask_image: is black all over, so that there is nothing to draw")
        ends = [
            (max(int(at[0]) - padding, 0), min(int(at[-1]) + 1 + padding, length))
            for at, length in zip((columns, rows), mask.size)
        ]
        (left, right), (top, bottom) = ends
        ratio = sides[1] / sides[0]
        if (right - left) / (bottom - top) > ratio:
            top, bottom = _longer(top, bottom, (right - left) / ratio, mask.height)
        else:
            left, right = _longer(left, right, (bottom - top) * ratio, mask.width)
        return cls(left, top, right, bottom)

    def of(self, image: Image, sides: tuple[int, int]) -> Image:
        """This part of a picture in a height and width: as large as fits, in the middle, and its edges repeated on both sides. The result
        is RGB."""
        part = image.crop(self)
        height, width = sides
        inner, place = _within(part, (width, height), fills=False)
        whole = _placed(inner, (width, height), place)
        if place[1] > 0:
            size = (width, place[1])
            whole.paste(inner.resize(size, box=(0, 0, width, 0)), (0, 0))
            whole.paste(inner.resize(size, box=(0, inner.height, width, inner.height)), (0, place[1] + inner.height))
        elif place[0] > 0:
            size = (place[0], height)
            whole.paste(inner.resize(size, box=(0, 0, 0, height)), (0, 0))
            whole.paste(inner.resize(size, box=(inner.width, 0, inner.width, height)), (place[0] + inner.width, 0))
        return whole

    def put_back(self, image: Image, mask: Image, drawn: Image) -> Image:
        """A picture with what was drawn for this part where a mask of its size is white, by the mask's grey."""
        from PIL import Image as pil
        from PIL import ImageOps

        size = (self.right - self.left, self.bottom - self.top)
        inner, place = _within(drawn, size, fills=True)
        result = pil.new("RGB", image.size)
        result.paste(_placed(inner, size, place), (self.left, self.top))
        # Colours are multiplied by alpha on the way, as there, which rounds them.
        kept = pil.new("RGBa", image.size)
        kept.paste(image.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(mask.convert("L")))
        result = result.convert("RGBA")
        result.alpha_composite(kept.convert("RGBA"))
        return result.convert("RGB")


def _longer(low: int, high: int, wanted: float, length: int) -> tuple[int, int]:
    """A range of about so many pixels, within a side's length as far as that goes."""
    more = int(wanted - (high - low))
    low, high = low - more // 2, high + more - more // 2
    beyond = max(high - length, 0)
    low, high = low - beyond, high - beyond
    if low < 0:
        low, high = 0, high - low
    return low, min(high, length)


def _within(image: Image, size: tuple[int, int], fills: bool) -> tuple[Image, tuple[int, int]]:
    """A picture scaled to fill a size, or to fit in it, and the place of its upper left corner where both have one middle."""
    from PIL import Image as pil

    width, height = size
    wider, own = width / height, image.width / image.height
    by_width = wider > own if fills else wider < own
    wide, high = max(image.width * height // image.height, 1), max(image.height * width // image.width, 1)
    scaled = (width, high) if by_width else (wide, height)
    resized = image.resize(scaled, pil.Resampling.LANCZOS)
    return resized, (width // 2 - scaled[0] // 2, height // 2 - scaled[1] // 2)


def _placed(image: Image, size: tuple[int, int], place: tuple[int, int]) -> Image:
    from PIL import Image as pil

    whole = pil.new("RGB", size)
    whole.paste(image, place)
    return whole
