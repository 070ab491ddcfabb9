"""LoRAs with their weights."""

from __future__ import annotations

from typing import Any, Iterable, List, Mapping, NamedTuple, Sequence, Tuple, Union, cast

from ._arguments import StrPath, flag, listed, number, path, text, whole

_Blocks = Union[List[float], List[Tuple[str, float]]]


class Lora(NamedTuple):
    """A LoRA or another adapter, with its weights; 1 is as trained. Its first two or three fields alone do as well."""

    path: StrPath
    """A file, or a folder that PEFT saved."""
    weight: float = 1.0
    """The weight on the U-Net, from -1000 to 1000."""
    text_encoder: float | None = None
    """The weight on the text encoder; as on the U-Net if None."""
    blocks: Sequence[float] | Mapping[str, float] | None = None
    """Factors for blocks: 17 or 26 numbers (SD1, SD2), 12 or 20 (SDXL), as the WebUI's block-weight extension has them; or by
    patterns of names, `{"*": 0, "unet.up_blocks.*": 1}`, of which the last that matches counts."""
    allow_unmatched: bool = False
    """Whether modules without a place in the model are passed over; they are an error otherwise."""
    schedule: str | None = None
    """Factors for the steps of a run, with which the weight on the U-Net is multiplied: "0.5-1" acts in the second half of the steps,
    "5-10" in steps 5 to 9, counted from 0; "0@0,1@0.5" rises evenly from 0 at the first step to 1 in the middle; "hold 1@0,0.4@0.3" has
    each factor until the next one's moment. Moments are fractions of the steps if none is over 1."""
    ranks: int | None = None
    """Of its ranks only the first so many, 1 or more; all if None."""
    name: str | None = None
    """The name in prompts and infotexts; its file's name without extension if None."""


LoraLike = Union[StrPath, "tuple[StrPath, float]", "tuple[StrPath, float, float]", Lora]


_Native = Tuple[str, float, float, Union[_Blocks, None], bool, Union[str, None], Union[int, None], Union[str, None]]

_MOST = 1000.0


def lora_files(loras: Iterable[LoraLike]) -> list[_Native]:
    """All that is to be said of each."""
    if isinstance(loras, Lora):
        raise TypeError("loras: must be a list of LoRAs, not one")
    return [_native(f"loras[{i}]", given) for i, given in enumerate(listed("loras", loras, "LoRAs"))]


def _native(place: str, given: Any) -> _Native:
    if isinstance(given, Lora):
        lora = given
    elif isinstance(given, (tuple, list)):
        parts = cast("Sequence[Any]", given)
        if len(parts) not in (2, 3):
            raise TypeError(f"{place}: must be (path, weight) or (path, weight, text_encoder), not {len(parts)} values")
        lora = Lora(parts[0], parts[1], parts[-1])
    else:
        lora = Lora(given)
    file = path(f"{place}: path", lora.path)
    weight = number(f"{place}: weight", lora.weight, -_MOST, _MOST)
    text_encoder = weight
    if lora.text_encoder is not None:
        text_encoder = number(f"{place}: text_encoder", lora.text_encoder, -_MOST, _MOST)
    allowed = flag(f"{place}: allow_unmatched", lora.allow_unmatched)
    schedule = None if lora.schedule is None else text(f"{place}: schedule", lora.schedule)
    ranks = None if lora.ranks is None else whole(f"{place}: ranks", lora.ranks, 1)
    name = None if lora.name is None else text(f"{place}: name", lora.name)
    return file, weight, text_encoder, _factors(f"{place}: blocks", lora.blocks), allowed, schedule, ranks, name


def _factors(name: str, blocks: Any) -> _Blocks | None:
    if blocks is None:
        return None
    if issubclass(type(blocks), Mapping):
        return [
            (text(f"{name}: a pattern", pattern), number(f"{name}[{pattern!r:.80}]", factor, -_MOST, _MOST))
            for pattern, factor in blocks.items()
        ]
    factors = listed(name, blocks, "numbers or a dictionary of them")
    return [number(f"{name}[{i}]", factor, -_MOST, _MOST) for i, factor in enumerate(factors)]
