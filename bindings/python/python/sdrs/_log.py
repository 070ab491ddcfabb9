"""Where a pipeline's log goes."""

from __future__ import annotations

import logging
from typing import Callable, Union

from ._arguments import function

Log = Union[Callable[[str, str], object], logging.Logger]


def log_callback(log: Log | None) -> Callable[[str, str], object] | None:
    """The function that the native module calls with a line's level and text."""
    if isinstance(log, logging.Logger):
        levels = {"info": logging.INFO, "warning": logging.WARNING}
        return lambda level, message: log.log(levels[level], "%s", message)
    function("log", log, "a level and a message, a logging.Logger")
    return log
