"""The passes in which prompts are read, one by one, in the WebUI's language; `sdrs.plan` does all of them."""

from __future__ import annotations

from . import _sdrs
from ._arguments import text as _text
from .errors import UnknownNameError

__all__ = ["parse_attention", "schedule", "subprompts"]


def parse_attention(text: str) -> list[tuple[str, float]]:
    """Text without its brackets, and the weight of each piece: `(a:1.3)`, `(a)`, `[a]`. BREAK is `("BREAK", -1.0)`."""
    return _sdrs.parse_attention(text)


def schedule(
    text: str, steps: int, hires_steps: int | None = None, *, time_rule: str = "current"
) -> list[tuple[int, str]]:
    """The schedule of a text with edits (`[a:b:0.5]`) and alternations (`[a|b]`): last steps, counted from 1, and the text up to each.

    `steps`: 1 to 10,000. `hires_steps`: those of the second pass, if it is the one meant. `time_rule`: "current" or "before-1.6".
    """
    if _text("time_rule", time_rule) not in ("current", "before-1.6"):
        raise UnknownNameError(f"unknown time_rule '{time_rule[:80]}'; known are current, before-1.6")
    return _sdrs.schedule(text, steps, hires_steps, time_rule == "before-1.6")


def subprompts(text: str) -> list[tuple[str, float]]:
    """The prompts that AND joins, each with its weight; tags like `<lora:name:1>` are cut out."""
    return _sdrs.subprompts(text)
