"""Settings as the WebUI and sdrs write them into pictures, read back."""

from __future__ import annotations

import json
from typing import Any

from . import _sdrs
from ._arguments import StrPath
from ._arguments import path as _path

__all__ = ["parse", "read"]


def parse(text: str) -> dict[str, Any]:
    """The contents of an infotext: "settings", keyword arguments of `Pipeline.txt2img`; "model" and "model_hash", or None; "rest", pairs
    that have no place among the settings, in their order; and "notes", remarks for people on values that may have been meant otherwise.

        pipe.txt2img(**sdrs.infotext.parse(text)["settings"])

    A setting that the text lacks has the value that its absence means in the WebUI: no RNG is its GPU noise, and texts of old versions have
    their old rules. Raises `InvalidParameterError` or `UnknownNameError` for a value that means nothing.
    """
    contents: dict[str, Any] = json.loads(_sdrs.parse_infotext(text))
    contents["rest"] = [(key, value) for key, value in contents["rest"]]
    return contents


def read(path: StrPath) -> str:
    """The infotext of a PNG, JPEG or WebP picture, or a text file that is one. Raises `FileError`, and `InvalidFileError` if there is none."""
    return _sdrs.read_infotext(_path("path", path))
