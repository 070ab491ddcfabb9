"""Saved steps, traces and tiles."""

import json
import tempfile
import unittest
from pathlib import Path

import numpy as np

import sdrs
from support import PROMPT


class States(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.pipe = sdrs.demo(device="cpu")
        cls.folder = tempfile.TemporaryDirectory()
        cls.states = Path(cls.folder.name) / "states"
        cls.settings = {"steps": 4, "seed": 3, "progress": False, "width": 192, "height": 96}
        cls.tiles = {"tiled_diffusion": "mixture of diffusers", "tile_width": 16, "tile_height": 16, "tile_overlap": 4}
        cls.whole = cls.pipe.txt2img(
            PROMPT, save_states=cls.states, save_states_every=2, trace=Path(cls.folder.name) / "trace.jsonl", **cls.tiles, **cls.settings
        )

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_a_run_goes_on_and_branches(self):
        names = sorted(path.name for path in self.states.iterdir())
        self.assertEqual(names, ["picture-1-step-00002.safetensors", "picture-1-step-00004.safetensors"])
        state = self.states / names[0]
        again = self.pipe.resume(state, progress=False)
        np.testing.assert_array_equal(again.arrays[0], self.whole.arrays[0])
        self.assertEqual(again.infotexts, self.whole.infotexts)
        for changed in ({"prompt": "a star"}, {"cfg_scale": 2.0}, {"tiled_diffusion": "none"}):
            branch = self.pipe.resume(state, progress=False, **changed)
            self.assertTrue((branch.arrays[0] != self.whole.arrays[0]).any(), changed)

    def test_what_can_not_be(self):
        state = self.states / "picture-1-step-00002.safetensors"
        with self.assertRaisesRegex(sdrs.InvalidParameterError, "steps: was 4 when"):
            self.pipe.resume(state, steps=9, progress=False)
        with self.assertRaises(sdrs.MissingFileError):
            self.pipe.resume("/no/such", progress=False)
        with self.assertRaisesRegex(sdrs.InvalidParameterError, "save_states_every: must be 1 or more"):
            self.pipe.txt2img(PROMPT, save_states=self.states, save_states_every=0, **self.settings)
        with self.assertRaisesRegex(TypeError, "trace"):
            self.pipe.txt2img(PROMPT, trace=3, **self.settings)

    def test_stages_are_recorded(self):
        lines = (Path(self.folder.name) / "trace.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        self.assertIn("Tiled Diffusion", records[0]["settings"])
        self.assertEqual(records[1]["stage"], "prompt.tokens")
        self.assertEqual(records[-1]["stage"], "picture.1.image")
        self.assertEqual(records[-1]["shape"], [1, 3, 96, 192])


if __name__ == "__main__":
    unittest.main()
