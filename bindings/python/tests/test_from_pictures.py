"""Runs that begin at pictures, and second passes."""

import tempfile
import unittest
from pathlib import Path

import numpy as np
from PIL import Image

import sdrs
from support import PROMPT


class FromPictures(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.pipe = sdrs.demo(device="cpu")
        cls.settings = {"steps": 4, "seed": 3, "progress": False}
        cls.first = cls.pipe.txt2img(PROMPT, **cls.settings).arrays[0]

    def pixels(self, *args, **kwargs):
        return self.pipe.img2img(*args, **self.settings, **kwargs).arrays[0]

    def test_every_form_of_a_picture(self):
        array = self.first
        expected = self.pixels("a star", array, strength=0.5)
        self.assertEqual(expected.shape, array.shape)
        self.assertTrue((expected != array).any())
        pil = Image.fromarray(array)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "first.png"
            pil.save(path)
            for form in (pil, pil.convert("RGBA"), path, str(path), np.dstack([array, np.full(array.shape[:2], 255, np.uint8)])):
                np.testing.assert_array_equal(self.pixels("a star", form, strength=0.5), expected)

    def test_a_mask_keeps_the_rest(self):
        array = self.first
        mask = np.zeros(array.shape[:2], np.uint8)
        mask[:, 48:] = 255
        drawn = self.pixels("a star", array, mask=mask, strength=1.0, mask_blur=0, masked_content="latent noise")
        np.testing.assert_array_equal(drawn[:, :48], array[:, :48])
        self.assertTrue((drawn[:, 48:] != array[:, 48:]).any())
        part = self.pixels("a star", array, mask=mask, strength=0.9, only_masked=True, only_masked_padding=0)
        self.assertEqual(part.shape, array.shape)

    def test_latents_and_streams(self):
        encoded = self.pipe.vae_encode(self.first)
        from_latents = self.pipe.txt2img("a star", image_latents=encoded.mean, strength=0.5, **self.settings)
        expected = self.pixels("a star", self.first, strength=0.5)
        np.testing.assert_array_equal(from_latents.arrays[0], expected)
        with self.pipe.stream("a star", image=self.first, strength=0.5, steps=4, seed=3) as stream:
            last = list(stream)[-1]
        np.testing.assert_array_equal(last.result.arrays[0], expected)

    def test_a_second_pass(self):
        events = []
        result = self.pipe.txt2img(
            PROMPT, hires_scale=1.5, hires_steps=2, hires_upscaler="Lanczos", callback=events.append, **self.settings
        )
        self.assertEqual(result.arrays[0].shape, (144, 144, 3))
        self.assertEqual([event.step for event in events], [1, 2, 3, 4, 5, 6])
        self.assertIn("Denoising strength: 0.7", result.infotexts[0])
        read = sdrs.infotext.parse(result.infotexts[0])
        self.assertEqual(read["settings"]["hires_scale"], 1.5)

    def test_what_does_not_fit(self):
        array = self.first
        for name, arguments in {
            "mask": {"mask": array[:5]},
            "image": {"image": array.astype(float)},
            "depth": {"depth": array},
            "image_latents": {"image_latents": np.zeros((1, 4, 3, 3)), "image": None},
            "strength": {"strength": 2},
        }.items():
            with self.subTest(name):
                with self.assertRaises(sdrs.InvalidParameterError) as caught:
                    self.pipe.txt2img("a", **{"image": array, "width": 96, "height": 96, **self.settings, **arguments})
                self.assertIn(name.split("_")[-1], str(caught.exception))
        with self.assertRaises(sdrs.MissingFileError):
            self.pipe.img2img("a", "/no/such.png")


if __name__ == "__main__":
    unittest.main()
