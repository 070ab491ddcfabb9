"""The pictures of a run."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from . import _arguments, _sdrs
from ._arguments import StrPath
from ._arrays import shaped

if TYPE_CHECKING:
    from PIL.Image import Image


class Result:
    """The pictures of a run, in the order of their seeds. A notebook shows them."""

    def __init__(self, pictures: Sequence[_sdrs.Image]) -> None:
        self._pictures = list(pictures)
        self._images: list[Image] | None = None
        self._arrays: list[npt.NDArray[np.uint8]] | None = None

    @property
    def images(self) -> list[Image]:
        """The pictures as `PIL.Image.Image` (RGB). `image.info["parameters"]` is the infotext."""
        if self._images is None:
            from PIL import Image as pil

            self._images = [pil.fromarray(array) for array in self.arrays]
            for image, picture in zip(self._images, self._pictures):
                image.info["parameters"] = picture.infotext
        return self._images

    @property
    def arrays(self) -> list[npt.NDArray[np.uint8]]:
        """The pictures as NumPy arrays: `uint8`, `[height, width, 3]`, RGB."""
        if self._arrays is None:
            self._arrays = [shaped(p.pixels(), np.uint8, (p.height, p.width, 3)) for p in self._pictures]
        return self._arrays

    @property
    def seeds(self) -> list[int]:
        """For each picture the seed that gives it alone."""
        return [picture.seed for picture in self._pictures]

    @property
    def infotexts(self) -> list[str]:
        """For each picture its settings, in the WebUI's text form."""
        return [picture.infotext for picture in self._pictures]

    def png(self, index: int = 0) -> bytes:
        """A picture as the bytes of a PNG file, with its infotext in the `parameters` chunk."""
        return self._picture(index).png()

    def _picture(self, index: int) -> _sdrs.Image:
        try:
            return self._pictures[index]
        except IndexError:
            raise IndexError(f"index: there are {len(self)} pictures, the last is {len(self) - 1}, not {index}") from None

    def save(self, path: StrPath, *, quality: int = 80) -> list[Path]:
        """Writes PNG, JPEG or (lossless) WebP files, by the ending of `path`, with their infotexts, and returns their paths: `path`, or of
        several pictures `name-1.png` and so on. `quality` is that of a JPEG, 1 to 100.

        Raises `FileError`, and `InvalidParameterError` for a name that ends as another format's (`images` can be saved as such). An
        existing file is replaced only by a whole new one, with its permissions; what is no regular file is written into.
        """
        quality = _arguments.whole("quality", quality, 1, 100)
        first = Path(_arguments.path("path", path))
        paths = [first]
        if len(self) > 1:
            paths = [first.with_name(f"{first.stem}-{i + 1}{first.suffix}") for i in range(len(self))]
        for picture, file in zip(self._pictures, paths):
            picture.save(file, quality)
        return paths

    def __len__(self) -> int:
        return len(self._pictures)

    def __iter__(self) -> Iterator[Image]:
        return iter(self.images)

    def __getitem__(self, index: int) -> Image:
        self._picture(index)
        return self.images[index]

    def __repr__(self) -> str:
        first = self._pictures[0]
        count = "1 picture" if len(self) == 1 else f"{len(self)} pictures"
        return f"<sdrs.Result: {count}, {first.width}x{first.height}, seeds {', '.join(map(str, self.seeds))}>"

    def _repr_png_(self) -> bytes | None:
        return self.png() if len(self) == 1 else None

    def _repr_html_(self) -> str | None:
        if len(self) == 1:
            return None
        pictures: list[str] = []
        for picture in self._pictures:
            data = base64.b64encode(picture.png()).decode()
            text = html.escape(picture.infotext, quote=True)
            style = "display:inline-block;margin:2px;max-width:100%"
            pictures.append(f'<img src="data:image/png;base64,{data}" title="{text}" alt="seed {picture.seed}" style="{style}">')
        return "<div>" + "".join(pictures) + "</div>"


ImageCallback = Callable[[int, Result], object]


def image_callback(on_image: ImageCallback | None) -> Callable[[int, _sdrs.Image], object] | None:
    """The function that the native module calls with each picture that is done."""
    _arguments.function("on_image", on_image, "an index and a Result")
    if on_image is None:
        return None
    call = on_image
    return lambda index, picture: call(index, Result([picture]))
