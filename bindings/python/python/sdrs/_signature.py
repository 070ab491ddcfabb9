"""Signatures that show every setting, where a function takes them as `**settings`."""

from __future__ import annotations

import inspect
from typing import Any, Callable, TypeVar

from ._settings import DEFAULTS, Settings

_Function = TypeVar("_Function", bound=Callable[..., Any])


def shows_settings(function: _Function) -> _Function:
    """The same function. `help` and notebooks see its settings one by one, with their types and defaults."""
    signature = inspect.signature(function)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    keywords = [p for p in own if p.kind is p.KEYWORD_ONLY]
    types = Settings.__annotations__
    settings = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=getattr(types[name], "__forward_arg__", types[name]))
        for name, default in DEFAULTS.items()
    ]
    shown = signature.replace(parameters=[*own[: len(own) - len(keywords)], *settings, *keywords])
    setattr(function, "__signature__", shown)
    return function
