"""A run whose steps a loop sees."""

from __future__ import annotations

from types import TracebackType

from . import _sdrs
from ._progress import Event, event
from ._result import Result


class Stream:
    """The events of a run, one for each step and a last one with the result. The run has a thread of its own, and is at most one step
    ahead of the loop. It is cancelled when the loop is left, as soon as nothing refers to the stream any more; `close` or `with` do so
    at once, and wait until the run has ended."""

    def __init__(self, run: _sdrs.Run) -> None:
        self._run = run
        self._last: Event | None = None
        self._done: dict[int, Result] = {}

    @property
    def done(self) -> dict[int, Result]:
        """The pictures of the batch that are done so far, each alone, by their indices. A run that is cancelled or fails leaves them here."""
        return dict(self._done)

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Event:
        reported = self._run.next()
        while isinstance(reported, tuple) and len(reported) == 2:
            self._done[reported[0]] = Result([reported[1]])
            reported = self._run.next()
        if reported is None:
            raise StopIteration
        if isinstance(reported, tuple):
            self._last = event(*reported)
            return self._last
        last = self._last or Event(0, 0, 0.0, 0, len(reported))
        return last._replace(preview=None, result=Result(reported))

    def cancel(self) -> None:
        """Asks the run to stop: the loop then raises `CancelledError`, within a step. Any thread may call it."""
        self._run.cancel()

    def close(self) -> None:
        """Stops the run and waits until it has ended, at most a step. The stream has no more events then."""
        self._run.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
