"""The errors: a tree under `SdrsError` whose members are also the built-in exceptions that fit."""

from __future__ import annotations

__all__ = [
    "CancelledError",
    "FileError",
    "ForkedError",
    "InternalError",
    "InvalidFileError",
    "InvalidParameterError",
    "InvalidWeightsError",
    "MissingFileError",
    "NotFiniteError",
    "OutOfMemoryError",
    "PicklingError",
    "SdrsError",
    "UnknownNameError",
]


class SdrsError(Exception):
    """Anything that sdrs raises. `code` sorts errors by the same numbers as in Rust and C; 0 is Python's own."""

    code: int = 0


class InvalidParameterError(SdrsError, ValueError):
    """A parameter's value can't be used: out of range, of a wrong shape. Nothing has been computed."""

    code = 1


class UnknownNameError(SdrsError, ValueError):
    """A name (of a sampler, a schedule, a device, a setting) is unknown."""

    code = 2


class FileError(SdrsError, OSError):
    """A file can't be opened, read or written."""

    code = 3


class MissingFileError(FileError, FileNotFoundError):
    """A file or folder is not there."""


class InvalidFileError(SdrsError, ValueError):
    """A file is damaged, or not what it should be."""

    code = 4


class InvalidWeightsError(SdrsError, ValueError):
    """Weights or configurations don't fit a model."""

    code = 5


class CancelledError(SdrsError):
    """The run was cancelled."""

    code = 6


class NotFiniteError(SdrsError, ArithmeticError):
    """The computation gave something that is not a number."""

    code = 7


class InternalError(SdrsError, RuntimeError):
    """A fault of the library. The pipeline stays usable."""

    code = 8


class OutOfMemoryError(SdrsError, MemoryError):
    """A device has less memory than is needed. The pipeline stays usable."""

    code = 9


class ForkedError(SdrsError, RuntimeError):
    """This process was forked from one that had used sdrs. Use multiprocessing's "spawn"."""


class PicklingError(SdrsError, TypeError):
    """A pipeline can't be pickled: make one in each process."""
