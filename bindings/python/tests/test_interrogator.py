"""From pictures to words, on tiny random models."""

import json
import tempfile
import unittest
from pathlib import Path

import numpy as np
from PIL import Image
from support import GOLDENS

import sdrs

MODELS = GOLDENS / "interrogation"
PHRASES = {
    "artists": ["Ada", "Bea"],
    "mediums": ["a photo", "a print"],
    "movements": ["cubism", "op art"],
    "flavors.top2": ["red", "blue", "green"],
    "sites": ["Flickr"],
    "negative": ["bad"],
}


def interrogator(**more: object) -> sdrs.Interrogator:
    options = {"clip": MODELS / "clip", "blip": MODELS / "blip", "phrases": PHRASES, "device": "cpu"} | more
    return sdrs.Interrogator(clip_tokenizer=GOLDENS.parent / "models/demo/base/tokenizer", **options)


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (13, 19, 3), dtype=np.uint8), "RGB")


class Interrogators(unittest.TestCase):
    def test_modes(self):
        words = interrogator()
        caption = words.caption(picture())
        told = []
        for mode in ("caption", "classic", "fast", "negative", "best", "webui"):
            found = words.interrogate(
                np.asarray(picture()), mode=mode, max_flavors=2, callback=lambda *told_of: told.append(told_of)
            )
            self.assertIsInstance(found, sdrs.Interrogation)
            if mode == "caption":
                self.assertEqual(found.text, caption)
            if mode == "negative":
                self.assertIsNone(found.caption)
            if mode == "webui":
                self.assertEqual([rank.category for rank in found.ranks].count("flavors.top2"), 2)
        self.assertEqual({stage for stage, _, _ in told}, {"caption", "phrases", "chain"})
        given = words.interrogate(picture(), mode="fast", caption="a cat")
        self.assertTrue(given.text.startswith("a cat, "))

    def test_demo(self):
        drawn = sdrs.demo().txt2img("a red circle above a blue square", seed=1).images[0]
        words = sdrs.Interrogator.demo(device="cpu")
        self.assertRegex(words.caption(drawn), "a red circle above a (big )?blue square")
        red, green = words.rank(drawn, ["red", "green"])
        self.assertGreater(red, green)
        own = sdrs.Interrogator.demo(phrases=PHRASES).interrogate(drawn, mode="fast", max_flavors=1)
        self.assertIn(own.ranks[0].phrase.split(" ")[-1], json.dumps(PHRASES))

    def test_vectors(self):
        words = interrogator(blip=None)
        image, texts = words.embed_image(picture()), words.embed_text(["a red circle", "blue"])
        self.assertEqual((image.shape, texts.shape, words.embed_text("blue").shape), ((20,), (2, 20), (20,)))
        np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(words.rank(picture(), ["a red circle", "blue"]), texts @ image, atol=1e-5)
        score = words.clip_score(picture(), "blue")
        self.assertAlmostEqual(score, max(0.0, 100 * float(texts[1] @ image)), places=3)
        self.assertEqual(words.rank(picture(), []).shape, (0,))

    def test_ratings(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "linear.safetensors"
            header = json.dumps({
                "weight": {"dtype": "F32", "shape": [1, 3], "data_offsets": [0, 12]},
                "bias": {"dtype": "F32", "shape": [1], "data_offsets": [12, 16]},
            }).encode()
            values = np.array([1, 2, 3, 0.5], "<f4").tobytes()
            path.write_bytes(len(header).to_bytes(8, "little") + header + values)
            predictor = sdrs.AestheticPredictor(path)
            self.assertEqual((predictor.width, predictor.rate(np.array([1, 1, 2]))), (3, 9.5))
            with self.assertRaisesRegex(sdrs.InvalidParameterError, "vectors of 3"):
                predictor.rate([1.0])

    def test_mistakes(self):
        words = interrogator()
        token = sdrs.CancelToken()
        token.cancel()
        cases = [
            (lambda: sdrs.Interrogator(), sdrs.InvalidParameterError, "a CLIP, a BLIP or both"),
            (lambda: sdrs.Interrogator(clip="none"), sdrs.MissingFileError, "none"),
            (lambda: interrogator(phrases={"a": []}), sdrs.InvalidParameterError, "holds no phrase"),
            (lambda: interrogator(phrases={"a": "red"}), TypeError, r"phrases\['a'\]: must be a list of texts, not str"),
            (lambda: interrogator(phrases={"a": None}), TypeError, r"phrases\['a'\]: must be a list of texts"),
            (lambda: words.interrogate(picture(), mode="slow"), sdrs.UnknownNameError, "mode: 'slow'"),
            (lambda: words.interrogate("a.png"), sdrs.InvalidParameterError, "not a path"),
            (lambda: words.interrogate(picture(), beams=0), sdrs.InvalidParameterError, "beams"),
            (lambda: words.interrogate(picture(), cancel=token), sdrs.CancelledError, "cancelled"),
            (lambda: interrogator(blip=None).caption(picture()), sdrs.InvalidParameterError, "blip"),
        ]
        for call, error, message in cases:
            with self.assertRaisesRegex(error, message):
                call()

    def test_a_callback_ends_it(self):
        def stop(stage: str, done: int, count: int) -> None:
            raise RuntimeError("enough")

        with self.assertRaisesRegex(RuntimeError, "enough"):
            interrogator().interrogate(picture(), callback=stop)


if __name__ == "__main__":
    unittest.main()
