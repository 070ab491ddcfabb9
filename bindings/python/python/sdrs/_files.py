"""Paths, and LoRAs with their weights."""

from __future__ import annotations

import os
from typing import Iterable, Union

StrPath = Union[str, "os.PathLike[str]"]
Lora = Union[StrPath, "tuple[StrPath, float]", "tuple[StrPath, float, float]"]


def lora_files(loras: Iterable[Lora]) -> list[tuple[str, float, float]]:
    """Paths with the weights on U-Net and text encoder."""
    if isinstance(loras, (str, os.PathLike)):
        raise TypeError("loras: must be a list of paths, not one")
    files: list[tuple[str, float, float]] = []
    for lora in loras:
        if not isinstance(lora, tuple):
            lora = (lora, 1.0)
        files.append((os.fspath(lora[0]), float(lora[1]), float(lora[-1])))
    return files
