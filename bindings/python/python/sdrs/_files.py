"""Paths, and LoRAs with their weights."""

from __future__ import annotations

import os
from typing import Iterable, List, Mapping, NamedTuple, Sequence, Tuple, Union

StrPath = Union[str, "os.PathLike[str]"]
_Blocks = Union[List[float], List[Tuple[str, float]]]


class Lora(NamedTuple):
    """A LoRA or another adapter, and how strongly it acts; 1 is as trained. Its first two or three fields alone do as well."""

    path: StrPath
    """A file, or a folder that PEFT saved."""
    weight: float = 1.0
    """How strongly it acts on the U-Net, from -1000 to 1000."""
    text_encoder: float | None = None
    """How strongly it acts on the text encoder; as on the U-Net if None."""
    blocks: Sequence[float] | Mapping[str, float] | None = None
    """Factors for blocks: 17 or 26 numbers (SD1, SD2), 12 or 20 (SDXL), as the WebUI's block-weight extension has them; or by
    patterns of names, `{"*": 0, "unet.up_blocks.*": 1}`, of which the last that matches counts."""
    allow_unmatched: bool = False
    """Whether what has no place in the model is passed over; it is an error otherwise."""
    schedule: str | None = None
    """Factors for the steps of a run, with which the weight on the U-Net is multiplied: "0.5-1" acts in the second half of the steps,
    "5-10" in steps 5 to 9, counted from 0; "0@0,1@0.5" rises evenly from 0 at the first step to 1 in the middle; "hold 1@0,0.4@0.3" has
    each factor until the next one's moment. Moments are fractions of the steps if none is over 1."""
    ranks: int | None = None
    """Of its ranks only the first so many, 1 or more; all if None."""
    name: str | None = None
    """What prompts and infotexts call it; its file's name without extension if None."""


LoraLike = Union[StrPath, "tuple[StrPath, float]", "tuple[StrPath, float, float]", Lora]


_Native = Tuple[str, float, float, Union[_Blocks, None], bool, Union[str, None], Union[int, None], Union[str, None]]


def lora_files(loras: Iterable[LoraLike]) -> list[_Native]:
    """All that is to be said of each."""
    if isinstance(loras, (str, os.PathLike, Lora)):
        raise TypeError("loras: must be a list of paths, not one")
    files: list[_Native] = []
    for given in loras:
        if isinstance(given, Lora):
            lora = given
        elif isinstance(given, tuple):
            lora = Lora(given[0], given[1], given[-1])
        else:
            lora = Lora(given)
        text_encoder = lora.weight if lora.text_encoder is None else lora.text_encoder
        blocks: _Blocks | None = None
        if isinstance(lora.blocks, Mapping):
            blocks = [(str(pattern), float(factor)) for pattern, factor in lora.blocks.items()]
        elif lora.blocks is not None:
            blocks = [float(factor) for factor in lora.blocks]
        strengths = float(lora.weight), float(text_encoder), blocks, bool(lora.allow_unmatched)
        files.append((os.fspath(lora.path), *strengths, lora.schedule, lora.ranks, lora.name))
    return files
