import os
import tempfile
import unittest
from pathlib import Path

import numpy as np

import sdrs
from support import DEMO, PROMPT, QUICK, demo, quick, tensors

LORA = DEMO.parent / "outlines.safetensors"


class Saving(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def test_what_is_loaded_again_draws_the_same(self):
        # Weights that a LoRA changes are rounded to their file's 16 bits, if nothing else is said.
        types = {"dtype": "f32", "weight_dtype": "f32"}
        styled = sdrs.demo(**types).with_loras([(LORA, 0.5)])
        expected = styled.txt2img(PROMPT, **QUICK).arrays[0]
        self.assertFalse((expected == quick()).all())
        file, folder = self.folder / "styled.safetensors", self.folder / "styled"
        self.assertIsNone(styled.save_file(file, dtype=np.float32))
        self.assertIsNone(styled.save_folder(str(folder), dtype="f32"))
        for saved in [sdrs.Pipeline.from_single_file(file, **types), sdrs.Pipeline.from_pretrained(folder, **types)]:
            self.assertEqual(saved.loras, [])
            np.testing.assert_array_equal(saved.txt2img(PROMPT, **QUICK).arrays[0], expected)

    def test_types(self):
        sizes = {}
        for dtype in ["f32", "f16", "bf16"]:
            path = self.folder / f"{dtype}.safetensors"
            demo().save_file(path, dtype=dtype)
            sizes[dtype] = os.path.getsize(path)
            kinds = {tensor.dtype for tensor in tensors(path).values()}
            self.assertEqual(kinds, {np.dtype({"f32": "f4", "f16": "f2", "bf16": "u2"}[dtype])})
        self.assertLess(sizes["bf16"], 0.6 * sizes["f32"])
        # f16 unless another is asked for, and a file is replaced.
        demo().save_file(self.folder / "f32.safetensors")
        self.assertEqual(os.path.getsize(self.folder / "f32.safetensors"), sizes["f16"])

    def test_what_can_not_be_written(self):
        occupied = self.folder / "occupied"
        occupied.mkdir()
        (occupied / "notes.txt").write_text("mine")
        with self.assertRaisesRegex(sdrs.FileError, "occupied"):
            demo().save_folder(occupied)
        with self.assertRaisesRegex(sdrs.FileError, "occupied"):
            demo().save_file(occupied)
        with self.assertRaisesRegex(sdrs.FileError, "none"):
            demo().save_file(self.folder / "none" / "x.safetensors")
        for save in [demo().save_file, demo().save_folder]:
            for dtype in ["auto", "f8", np.float64]:
                with self.assertRaisesRegex(sdrs.UnknownNameError, "unknown dtype '.*'; known are f32, bf16, f16"):
                    save(self.folder / "x", dtype=dtype)
            for path in [None, 3, ["x"]]:
                with self.assertRaisesRegex(TypeError, "^path: must be a path"):
                    save(path)
            for path in ["", "a\0b", "\ud800"]:
                with self.assertRaisesRegex(sdrs.InvalidParameterError, "^path: "):
                    save(path)
        self.assertEqual([entry.name for entry in self.folder.iterdir()], ["occupied"])
        self.assertEqual([entry.name for entry in occupied.iterdir()], ["notes.txt"])


if __name__ == "__main__":
    unittest.main()
