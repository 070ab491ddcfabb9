"""Settings as the WebUI and sdrs write them into pictures, read back."""

from __future__ import annotations

import json
from typing import Any

from . import _sdrs
from ._arguments import StrPath
from ._arguments import path as _path

__all__ = ["parse", "read"]


def parse(text: str) -> dict[str, Any]:
    """What an infotext says: "settings", keyword arguments of `Pipeline.txt2img`; "model" and "model_hash", or None; "rest", pairs
    that have no place among the settings, in their order; and "notes", what looks as if it was meant otherwise, for people.

        pipe.txt2img(**sdrs.infotext.parse(text)["settings"])

    What the text doesn't say has the meaning that this has in the WebUI: no RNG is its GPU noise, and texts of old versions have their
    old rules. Raises `InvalidParameterError` or `UnknownNameError` for a value that means nothing.
    """
    told: dict[str, Any] = json.loads(_sdrs.parse_infotext(text))
    told["rest"] = [(key, value) for key, value in told["rest"]]
    return told


def read(path: StrPath) -> str:
    """The infotext of a PNG picture, or a text file that is one. Raises `FileError`, and `InvalidFileError` if there is none."""
    return _sdrs.read_infotext(_path("path", path))
