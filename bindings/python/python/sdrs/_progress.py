"""A progress bar, shown on a terminal or in a notebook, nowhere else."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, Optional, Tuple, Union

import numpy as np
import numpy.typing as npt

from ._arguments import function
from ._arrays import shaped

if TYPE_CHECKING:
    from ._result import Result


class Event(NamedTuple):
    """The state of a run after a step."""

    step: int
    """Steps of this picture that are done."""
    total: int
    """Steps of each picture; 0 if known only at the end (DPM adaptive)."""
    sigma: float
    """The noise level that the step began at."""
    image: int
    """The index of the picture in its batch, from 0."""
    batch_size: int
    """Pictures in the batch."""
    preview: npt.NDArray[np.uint8] | None = None
    """The picture as far as it is known, `[height, width, 3]`, RGB, if a preview of this step was asked for."""
    result: Result | None = None
    """The pictures: None but in the last event of `Pipeline.stream`."""

    @property
    def final(self) -> bool:
        """Whether this is the last event, which has the result."""
        return self.result is not None


Callback = Callable[[Event], object]
Pixels = Tuple[bytearray, int, int]
Step = Callable[[int, int, int, int, float, Optional[Pixels]], object]
Progress = Union[bool, Callback, None]


def event(image: int, images: int, step: int, steps: int, sigma: float, preview: Pixels | None) -> Event:
    """An event from the values that the native module reports."""
    shown = None
    if preview is not None:
        pixels, width, height = preview
        shown = shaped(pixels, np.uint8, (height, width, 3))
    return Event(step=step, total=steps, sigma=sigma, image=image, batch_size=images, preview=shown)


def watched() -> bool:
    """Whether a person looks at standard error, on a terminal or in a notebook."""
    shell = sys.modules.get("IPython")
    if shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell":
        return True
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # no standard error, or a closed one
        return False


class Bar:
    """A line that is written over after each step, and goes when all is done."""

    WIDTH = 30

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._shown = 0
        self._done: dict[int, int] = {}  # of each picture: they may be drawn together

    def __call__(self, event: Event) -> None:
        total = max(event.total * event.batch_size, 1)
        self._done[event.image] = event.step
        done = sum(self._done.values())
        seconds = max(time.monotonic() - self._began, 1e-9)
        if event.total:
            filled = self.WIDTH * min(done, total) // total
            left = seconds / max(done, 1) * (total - done)
            line = f"{'█' * filled}{'·' * (self.WIDTH - filled)} {done}/{total} steps"
            line += f", {done / seconds:.2f} it/s, {left:.0f} s left"
        else:
            line = f"{done} steps, {done / seconds:.2f} it/s"
        self._write("\r" + line.ljust(self._shown))
        self._shown = len(line)

    def close(self) -> None:
        """Takes the line away."""
        if self._shown:
            self._write("\r" + " " * self._shown + "\r")
            self._shown = 0

    @staticmethod
    def _write(text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except UnicodeEncodeError:
            sys.stderr.write(text.encode("ascii", "replace").decode())


class Watch:
    """The bar and the caller's callback together, for one run."""

    def __init__(self, progress: Progress, callback: Callback | None) -> None:
        function("callback", callback, "an Event")
        if progress is not None and not isinstance(progress, bool):
            function("progress", progress, "an Event, True, False", optional=True)
        self._bar = Bar() if (watched() if progress is None else progress is True) else None
        callbacks: list[Any] = [self._bar, progress if callable(progress) else None, callback]
        self._callbacks: list[Callback] = [call for call in callbacks if call is not None]

    @property
    def step(self) -> Step | None:
        """The function that the native module calls, if there are callbacks."""
        return self._step if self._callbacks else None

    def _step(self, *values: Any) -> None:
        now = event(*values)
        for call in self._callbacks:
            call(now)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()
