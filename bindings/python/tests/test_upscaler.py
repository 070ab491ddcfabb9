"""Upscalers: networks and filters, on PIL's pictures and on arrays."""

import unittest

import numpy as np
from PIL import Image
from support import GOLDENS

import sdrs

NETWORK = GOLDENS / "upscalers" / "compact-x2.safetensors"


def picture(mode: str = "RGB") -> Image.Image:
    shape = (13, 19, len(mode))
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8), mode)


class Upscalers(unittest.TestCase):
    def test_filters_are_pillows(self):
        for name in ("lanczos", "Bicubic", "nearest"):
            upscaler = sdrs.Upscaler(name)
            self.assertIsNone(upscaler.factor)
            for mode in ("RGB", "RGBA"):
                got = upscaler.upscale(picture(mode), size=(31, 20))
                want = picture(mode).resize((31, 20), Image.Resampling[name.upper()])
                np.testing.assert_array_equal(np.asarray(got), np.asarray(want))
                self.assertEqual(got.mode, mode)

    def test_networks(self):
        upscaler = sdrs.Upscaler(NETWORK, device="cpu")
        self.assertEqual((upscaler.name, upscaler.factor), ("compact-x2", 2))
        told = []
        image = picture()
        image.info["parameters"] = "a cat"
        large = upscaler.upscale(image, callback=lambda done, count: told.append((done, count)))
        self.assertEqual((large.size, told, large.info["parameters"]), ((38, 26), [(1, 1)], "a cat"))
        array = upscaler.upscale(np.asarray(image))
        np.testing.assert_array_equal(array, np.asarray(large))
        half = upscaler.upscale(image, scale=1.5)
        np.testing.assert_array_equal(np.asarray(half), np.asarray(large.resize((29, 20), Image.Resampling.LANCZOS)))

    def test_mistakes(self):
        upscaler = sdrs.Upscaler("lanczos")
        token = sdrs.CancelToken()
        token.cancel()
        cases = [
            (lambda: sdrs.Upscaler("lanczos4"), sdrs.UnknownNameError, "no upscaler 'lanczos4'"),
            (lambda: sdrs.Upscaler("none.pth"), sdrs.MissingFileError, "none.pth"),
            (lambda: sdrs.Upscaler(GOLDENS / "noise.safetensors"), sdrs.InvalidFileError, "no upscaler of a known structure"),
            (lambda: upscaler.upscale("a.png"), sdrs.InvalidParameterError, "not a path"),
            (lambda: upscaler.upscale(np.zeros((3, 4))), sdrs.InvalidParameterError, "image: must be a picture"),
            (lambda: upscaler.upscale(picture(), scale=2, size=(4, 4)), sdrs.InvalidParameterError, "not both"),
            (lambda: upscaler.upscale(picture(), scale=-1), sdrs.InvalidParameterError, "scale: -1"),
            (lambda: upscaler.upscale(picture(), size=(4,)), sdrs.InvalidParameterError, "size: must be width and height"),
            (lambda: upscaler.upscale(picture(), tile=3), sdrs.InvalidParameterError, "tile: 3"),
            (lambda: upscaler.upscale(picture(), cancel=token), sdrs.CancelledError, "cancelled"),
        ]
        for call, error, message in cases:
            with self.assertRaisesRegex(error, message):
                call()

    def test_a_callback_ends_it(self):
        def stop(done: int, count: int) -> None:
            raise RuntimeError("enough")

        with self.assertRaisesRegex(RuntimeError, "enough"):
            sdrs.Upscaler(NETWORK, device="cpu").upscale(picture(), callback=stop)


if __name__ == "__main__":
    unittest.main()
