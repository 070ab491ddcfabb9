"""From pictures to words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Callable, Mapping, Sequence

import numpy as np

from . import _arguments, _sdrs
from ._arguments import DeviceLike, DtypeLike, StrPath
from ._arrays import FloatArray, numbers, shaped, take
from ._upscaler import pixels_of


@dataclass(frozen=True)
class RankedPhrase:
    """A phrase that was found."""

    category: str
    """The list that it is from."""
    phrase: str
    """The phrase."""
    score: float
    """The cosine of its vector and the picture's, -1 to 1; in the mode "webui" its probability among its list, 0 to 1."""


@dataclass(frozen=True)
class Interrogation:
    """What a picture says."""

    text: str
    """The prompt."""
    caption: str | None
    """The caption that it begins with; None in the mode "negative"."""
    ranks: list[RankedPhrase]
    """The phrases that were found."""


class Interrogator:
    """Says what is in pictures: a caption by BLIP, phrases by CLIP, and both as a prompt that draws something like it. It holds nothing of a run:
    any number of threads may use one at the same time.

        interrogator = sdrs.Interrogator(clip="ViT-L-14.pt", blip="blip-image-captioning-large")
        print(interrogator.interrogate(image, mode="fast").text)

    `clip`: a folder of transformers' (`CLIPModel`) or open_clip's, OpenAI's `.pt`, or an open_clip checkpoint of a ViT.
    `blip`: a folder of transformers' (`BlipForConditionalGeneration`), or the authors' `.pth` of a captioner. One of the two will do for what
    needs no other.
    `vocabulary`: BERT's vocabulary for BLIP; it is looked for beside it if nothing is said.
    `phrases`: a folder of `.txt` files, one phrase a line, or a dictionary of lists by name; the package's own if nothing is said.
    `cache`: a folder that keeps the phrases' vectors, which take minutes with a large CLIP.
    `clip_tokenizer`, `clip_activation` ("quick_gelu" or "gelu"): for a CLIP whose files don't say it.
    `device`, `threads`: as `Pipeline` takes them; `dtype` too, but "auto" is f32 on the CPU.

    Raises `MissingFileError`, `FileError`, `InvalidFileError`, `InvalidWeightsError`, `UnknownNameError`, `InvalidParameterError`.
    """

    def __init__(
        self,
        *,
        clip: StrPath | None = None,
        blip: StrPath | None = None,
        vocabulary: StrPath | None = None,
        phrases: StrPath | Mapping[str, Sequence[str]] | None = None,
        cache: StrPath | None = None,
        clip_tokenizer: StrPath | None = None,
        clip_activation: str | None = None,
        device: DeviceLike = "auto",
        dtype: DtypeLike = "auto",
        threads: int | None = None,
    ) -> None:
        self._open(
            False,
            {
                "clip": clip,
                "blip": blip,
                "vocabulary": vocabulary,
                "cache": cache,
                "clip_tokenizer": clip_tokenizer,
            },
            clip_activation,
            phrases,
            device,
            dtype,
            threads,
        )

    @classmethod
    def demo(
        cls,
        *,
        phrases: StrPath | Mapping[str, Sequence[str]] | None = None,
        cache: StrPath | None = None,
        device: DeviceLike = "auto",
        dtype: DtypeLike = "auto",
        threads: int | None = None,
    ) -> Interrogator:
        """The small captioner and CLIP that are part of the package, with phrases of their own unless others are named. They know the demo
        model's world alone: one or two coloured shapes on a background.
        """
        interrogator = cls.__new__(cls)
        interrogator._open(True, {"cache": cache}, None, phrases, device, dtype, threads)
        return interrogator

    def _open(
        self,
        demo: bool,
        paths: dict[str, StrPath | None],
        clip_activation: str | None,
        phrases: StrPath | Mapping[str, Sequence[str]] | None,
        device: DeviceLike,
        dtype: DtypeLike,
        threads: int | None,
    ) -> None:
        lists: list[tuple[str, list[str]]] | None = None
        if isinstance(phrases, Mapping):
            lists = []
            for name, listed in phrases.items():
                of = f"phrases[{name!r:.80}]"
                words = [_arguments.text(of, one) for one in _arguments.listed(of, listed, "texts")]
                lists.append((_arguments.text("phrases", name), words))
        else:
            paths = {**paths, "phrases": phrases}
        self._native = _sdrs.Interrogator.open(
            demo,
            {name: _arguments.path(name, value) for name, value in paths.items() if value is not None},
            None if clip_activation is None else _arguments.text("clip_activation", clip_activation),
            lists,
            _arguments.device("device", device),
            _arguments.dtype("dtype", dtype),
            None if threads is None else _arguments.whole("threads", threads, 1),
        )

    def interrogate(
        self,
        image: Any,
        *,
        mode: str = "best",
        caption: str | None = None,
        caption_prompt: str | None = None,
        min_length: int | None = None,
        max_length: int | None = None,
        beams: int | None = None,
        length_penalty: float | None = None,
        repetition_penalty: float | None = None,
        early_stopping: bool = False,
        min_flavors: int | None = None,
        max_flavors: int | None = None,
        limit: int = 1500,
        ranks: bool = False,
        skip: Sequence[str] = ("negative",),
        original: bool = False,
        callback: Callable[[str, int, int], object] | None = None,
        cancel: _sdrs.CancelToken | None = None,
    ) -> Interrogation:
        """What a picture says: of PIL, or bytes `[height, width, 3 or 4]`.

        `mode`: "caption", "classic", "fast", "negative", "best" (clip-interrogator's), or "webui".
        `caption`: a caption to begin with, in place of BLIP's.
        `caption_prompt`, `min_length`, `max_length`, `beams`, `length_penalty`, `repetition_penalty`, `early_stopping`: how BLIP's caption is
        made; lengths count tokens, those before the caption included. What isn't said is the mode's: 24 to 48 behind "a picture of " in
        "webui", 32 new ones at most in others.
        `min_flavors`, `max_flavors`: phrases that a chain has at least (8), and that are added at most (3 in "classic", 32).
        `limit`, `ranks`, `skip`: in "webui" the phrases of each list that it knows (0 for all), whether each is written with its probability, and
        lists that are passed over.
        `original`: whether known faults of the original programs are kept, for their texts.
        `callback`: a function that is called with a stage ("caption", "phrases", "chain"), how much of it is done, and how much there is.
        `cancel`: a token that stops the run.

        Raises `InvalidParameterError`, `UnknownNameError`, `CancelledError`, `NotFiniteError`, `FileError`.
        """
        _arguments.function("callback", callback, "a text and two numbers")
        pixels, size = _rgba(image)

        def count(name: str, value: int | None) -> int | None:
            return None if value is None else _arguments.whole(name, value, 0)

        def number(name: str, value: float | None) -> float | None:
            return None if value is None else _arguments.number(name, value)

        found = json.loads(
            self._native.interrogate(
                pixels,
                size,
                _arguments.text("mode", mode),
                None if caption is None else _arguments.text("caption", caption),
                (
                    None if caption_prompt is None else _arguments.text("caption_prompt", caption_prompt),
                    count("min_length", min_length),
                    count("max_length", max_length),
                    count("beams", beams),
                    number("length_penalty", length_penalty),
                    number("repetition_penalty", repetition_penalty),
                    _arguments.flag("early_stopping", early_stopping),
                ),
                (count("min_flavors", min_flavors), count("max_flavors", max_flavors)),
                _arguments.whole("limit", limit, 0),
                _arguments.flag("ranks", ranks),
                [_arguments.text("skip", one) for one in _arguments.listed("skip", skip, "names")],
                _arguments.flag("original", original),
                callback,
                cancel,
            )
        )
        phrases = [RankedPhrase(rank["category"], rank["phrase"], rank["score"]) for rank in found["ranks"]]
        return Interrogation(found["text"], found["caption"], phrases)

    def caption(self, image: Any) -> str:
        """A caption, as clip-interrogator has it. Raises what `interrogate` does."""
        return self.interrogate(image, mode="caption").text

    def embed_image(self, image: Any) -> FloatArray:
        """A picture's vector by CLIP, `[width]`, of length 1: the product of two vectors is their cosine."""
        vector = self._native.embed_image(*_rgba(image))
        return shaped(vector, np.float32, (len(vector) // 4,))

    def embed_text(self, text: str | Sequence[str]) -> FloatArray:
        """A text's vector, `[width]`, of length 1, or those of several, `[texts, width]`."""
        if isinstance(text, str):
            vectors = take(self._native.embed_texts([text]))
            first: FloatArray = vectors[0]
            return first
        return take(self._native.embed_texts(_texts("text", text)))

    def rank(self, image: Any, texts: Sequence[str]) -> FloatArray:
        """The cosine of a picture with each of these texts, `[texts]`, -1 to 1."""
        given = _texts("texts", texts)
        return shaped(self._native.rank(*_rgba(image), given), np.float32, (len(given),))

    def clip_score(self, image: Any, prompt: str) -> float:
        """The CLIP score of a picture and a prompt (Hessel et al. 2021): 100 times their cosine, or 0 if that is negative."""
        return max(100.0 * float(self.rank(image, [_arguments.text("prompt", prompt)])[0]), 0.0)


class AestheticPredictor:
    """Predicts how much people like a picture, 1 to 10 about, from its vector by CLIP ViT-L/14: LAION's linear head, or the improved predictor,
    as `.pth` or `.safetensors`.

    Raises `MissingFileError`, `FileError`, `InvalidFileError`.
    """

    def __init__(self, path: StrPath) -> None:
        self._native = _sdrs.AestheticPredictor.open(_arguments.path("path", path))

    @property
    def width(self) -> int:
        """The width of the vectors that it rates."""
        return self._native.width

    def rate(self, vector: Any) -> float:
        """The rating of a picture by its vector, `Interrogator.embed_image`. Raises `InvalidParameterError` for another width."""
        values: list[float] = numbers("vector", vector, np.float32).ravel().tolist()
        return self._native.rate(values)


def _texts(name: str, given: Any) -> list[str]:
    return [_arguments.text(f"{name}[{i}]", one) for i, one in enumerate(_arguments.listed(name, given, "texts"))]


def _rgba(image: Any) -> tuple[bytes, tuple[int, int]]:
    pixels, _ = pixels_of(image)
    height, width, channels = pixels.shape
    if channels == 3:
        pixels = np.concatenate([pixels, np.full((height, width, 1), 255, np.uint8)], axis=2)
    return pixels.tobytes(), (width, height)
