"""Arguments as users give them: paths, types, devices, numbers. An error about one has its name."""

from __future__ import annotations

import math
import operator
import os
import re
from typing import Any, Mapping, Protocol, Union

import numpy as np

from .errors import InvalidParameterError

StrPath = Union[str, "os.PathLike[str]"]


class _TorchDtype(Protocol):
    """torch.float16 and the like."""

    @property
    def is_floating_point(self) -> bool: ...


class _TorchDevice(Protocol):
    """torch.device("cuda:0")."""

    @property
    def type(self) -> str: ...


DeviceLike = Union[str, _TorchDevice]
"""A device's name, or torch's device."""
DtypeLike = Union[str, "np.dtype[Any]", "type[np.generic]", _TorchDtype]
"""A type's name, or the type itself of NumPy, ml_dtypes or torch."""


def kind(value: object) -> str:
    """The type of a value, for people."""
    return "None" if value is None else type(value).__name__


def path(name: str, value: Any) -> str:
    """A path as text."""
    try:
        given = os.fsdecode(value)
    except TypeError:
        raise TypeError(f"{name}: must be a path, a str or a pathlib.Path, not {kind(value)}") from None
    if not given or "\0" in given:
        raise InvalidParameterError(f"{name}: is an empty path" if not given else f"{name}: no path has a zero byte in it")
    try:
        os.fsencode(given)
    except UnicodeEncodeError as error:
        raise InvalidParameterError(f"{name}: no path has this in it: {error}") from None
    return given


def optional_path(name: str, value: Any) -> str | None:
    """A path, or None."""
    return None if value is None else path(name, value)


def listed(name: str, value: Any, what: str) -> list[Any]:
    """The members of a list, of which one alone is no list."""
    alone = issubclass(type(value), (str, bytes, Mapping)) or hasattr(value, "__fspath__")
    if alone or not hasattr(value, "__iter__"):
        raise TypeError(f"{name}: must be a list of {what}, not {kind(value)}")
    try:
        return list(value)
    except TypeError as error:  # an array without axes
        raise TypeError(f"{name}: must be a list of {what}: {error}") from None


def paths(name: str, value: Any) -> list[str]:
    """A list of paths."""
    return [path(f"{name}[{i}]", one) for i, one in enumerate(listed(name, value, "paths"))]


def number(name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number in a range, both ends included."""
    if isinstance(value, (str, bytes)) or not (hasattr(value, "__float__") or hasattr(value, "__index__")):
        raise TypeError(f"{name}: must be a number, not {kind(value)}")
    try:
        taken = float(value)
    except OverflowError:
        taken = math.inf
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: must be a number: {error}") from None
    if not (math.isfinite(taken) and low <= taken <= high):
        wanted = "a finite number" if math.isinf(low) else f"a number from {low:g} to {high:g}"
        raise InvalidParameterError(f"{name}: must be {wanted}, not {taken:g}")
    return taken


def whole(name: str, value: Any, low: int, high: float = math.inf) -> int:
    """A whole number in a range, both ends included."""
    try:
        taken = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: must be a whole number, not {kind(value)}") from None
    if not low <= taken <= high:
        wanted = f"{low} or more" if math.isinf(high) else f"{low} to {high}"
        raise InvalidParameterError(f"{name}: must be {wanted}, not {taken if abs(taken) < 10**30 else 'a larger one'}")
    return taken


def shape(name: str, value: Any) -> tuple[int, ...]:
    """An array's shape."""
    return tuple(whole(f"{name}[{i}]", axis, 0) for i, axis in enumerate(listed(name, value, "whole numbers")))


def text(name: str, value: Any) -> str:
    """Text."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: must be text, not {kind(value)}")
    return value


def flag(name: str, value: Any) -> bool:
    """True or False."""
    if type(value) not in (bool, np.bool_):
        raise TypeError(f"{name}: must be True or False, not {kind(value)}")
    return bool(value)


def dtype(name: str, value: Any) -> str:
    """The name of a type: of its own name, or of NumPy's, torch's or another library's type. Whether it is known is decided later."""
    if isinstance(value, str):
        return value.rsplit(".", 1)[-1]
    if issubclass(type(value), (np.dtype, type)):
        as_numpy: Any = np.dtype
        try:
            return str(as_numpy(value).name)
        except TypeError:
            pass
    # torch.float16, mlx.core.float16: without them nothing is to be imported.
    named = None if isinstance(value, int) else re.fullmatch(r"(?:[A-Za-z_]\w*\.)+(\w+)", str(value))
    if named is None:
        raise TypeError(f'{name}: must be a name such as "f16", or a type of NumPy or torch, not {kind(value)}')
    return named[1]


def device(name: str, value: Any) -> str:
    """The name of a device, also of torch's."""
    if type(value).__name__ == "device":
        return str(value)
    return text(name, value)


def function(name: str, value: Any, of: str, optional: bool = True) -> None:
    """A function, or None if that will do."""
    if not callable(value) and not (optional and value is None):
        raise TypeError(f"{name}: must be a function of {of}{' or None' if optional else ''}, not {kind(value)}")


def kept(save_states: StrPath | None, save_states_every: int, trace: StrPath | None) -> dict[str, Any]:
    """What is written of a run meanwhile, as the native module takes it."""
    return {
        "save_states": None if save_states is None else path("save_states", save_states),
        "save_states_every": save_states_every,
        "trace": None if trace is None else path("trace", trace),
    }
