import os
import pickle
import tempfile
import unittest
from pathlib import Path

import sdrs
from support import DEMO, PROMPT, QUICK, demo, python


class Tree(unittest.TestCase):
    def test_every_error_is_a_built_in_too(self):
        for name, builtin, code in [
            ("InvalidParameterError", ValueError, 1),
            ("UnknownNameError", ValueError, 2),
            ("FileError", OSError, 3),
            ("MissingFileError", FileNotFoundError, 3),
            ("InvalidFileError", ValueError, 4),
            ("InvalidWeightsError", ValueError, 5),
            ("CancelledError", Exception, 6),
            ("NotFiniteError", ArithmeticError, 7),
            ("InternalError", RuntimeError, 8),
            ("OutOfMemoryError", MemoryError, 9),
            ("ForkedError", RuntimeError, 0),
            ("PicklingError", TypeError, 0),
        ]:
            error = getattr(sdrs, name)
            self.assertTrue(issubclass(error, sdrs.SdrsError) and issubclass(error, builtin), name)
            self.assertEqual(error.code, code, name)
            copy = pickle.loads(pickle.dumps(error("why")))
            self.assertEqual((type(copy), str(copy)), (error, "why"))


class Parameters(unittest.TestCase):
    def refused(self, error, words, **settings):
        with self.assertRaises(error) as caught:
            demo().txt2img(PROMPT, **{**QUICK, **settings})
        for word in words if isinstance(words, list) else [words]:
            self.assertIn(word, str(caught.exception))

    def test_out_of_range(self):
        bad = sdrs.InvalidParameterError
        self.refused(bad, "width: must be a multiple of", width=demo().sizes.downscale * 4 + 1)
        self.refused(bad, "width: ", width=-8)
        self.refused(bad, "height: ", height=2**40)
        self.refused(bad, "height: ", height=0)
        self.refused(bad, "steps: must be 1 to 10000, not 0", steps=0)
        self.refused(bad, "steps: ", steps=-1)
        self.refused(bad, "batch_size: ", batch_size=0)
        self.refused(bad, "seed: ", seed=-2)
        self.refused(bad, "seed: ", seed=2**70)
        self.refused(bad, "clip_skip: ", clip_skip=99)
        self.refused(bad, "cfg_scale: ", cfg_scale=float("nan"))
        self.refused(bad, "cfg_scale: ", cfg_scale=float("inf"))
        self.refused(bad, "eta", eta=float("nan"))
        self.refused(bad, "variation_strength: ", variation_strength=1.5)
        self.refused(bad, "negative_prompt: ", negative_prompt="\ud800")

    def test_a_lora_that_is_not_there(self):
        with self.assertRaises(sdrs.InvalidParameterError) as caught:
            demo().txt2img("a ring <lora:none:1>", **QUICK)
        self.assertIn("prompt: it asks for the LoRA 'none'", str(caught.exception))

    def test_unknown_names(self):
        unknown = sdrs.UnknownNameError
        self.refused(unknown, 'unknown sampler "Eulr"; did you mean "Euler"?', sampler="Eulr")
        self.refused(unknown, "unknown schedule", schedule="nothing")
        self.refused(unknown, ["unknown rng", "cpu, nv"], rng="dice")
        self.refused(unknown, "unknown emphasis", emphasis="loud")
        self.refused(unknown, "unknown prompt dialect", prompt_dialect="klingon")
        self.refused(unknown, "unknown time_rule", time_rule="never")
        self.refused(unknown, "unknown clip_skip_rule", clip_skip_rule="x" * 10_000)

    def test_wrong_types(self):
        self.refused(TypeError, "steps: ", steps="two")
        self.refused(TypeError, "steps: ", steps=2.5)
        self.refused(TypeError, "seed: ", seed=None)
        self.refused(TypeError, "sampler: ", sampler=3)
        self.refused(TypeError, "pad_prompts: ", pad_prompts="yes")
        self.refused(TypeError, "", nothing=1)
        with self.assertRaises(TypeError):
            demo().txt2img(b"bytes", **QUICK)

    def test_lone_surrogates(self):
        for call in [demo().tokenize, demo().encode_prompt, sdrs.plan, demo().plan]:
            with self.assertRaises(sdrs.InvalidParameterError):
                call("a \ud800 b")


class Files(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def test_missing(self):
        for path in [self.folder / "none.safetensors", str(self.folder / "nöne")]:
            with self.assertRaises(FileNotFoundError) as caught:
                sdrs.Pipeline(path)
            self.assertIsInstance(caught.exception, sdrs.MissingFileError)
            self.assertIn("none" if isinstance(path, Path) else "nöne", str(caught.exception))
            with self.assertRaises(sdrs.FileError):
                sdrs.inspect(path)
        with self.assertRaises(sdrs.MissingFileError):
            sdrs.demo(vae=self.folder / "none")
        with self.assertRaises(sdrs.MissingFileError):
            sdrs.demo(loras=[self.folder / "none"])
        with self.assertRaises(sdrs.MissingFileError):
            sdrs.demo(embeddings=[self.folder / "none"])

    def test_damaged(self):
        file = self.folder / "bad.safetensors"
        file.write_bytes(b"\xff" * 100)
        with self.assertRaises(sdrs.InvalidFileError):
            sdrs.Pipeline.from_single_file(file)
        with self.assertRaises(sdrs.InvalidFileError):
            sdrs.inspect(file)

    def test_weights_that_do_not_fit(self):
        # The U-Net's file where the VAE's is expected.
        with self.assertRaises((sdrs.InvalidWeightsError, sdrs.InvalidFileError)):
            sdrs.demo(vae=DEMO / "unet" / "diffusion_pytorch_model.safetensors")

    def test_unwritable(self):
        result = demo().txt2img(PROMPT, **QUICK)
        with self.assertRaises(OSError) as caught:
            result.save(self.folder / "none" / "out.png")
        self.assertIsInstance(caught.exception, sdrs.FileError)

    def test_arguments(self):
        with self.assertRaises(sdrs.UnknownNameError):
            sdrs.demo(device="abacus")
        with self.assertRaises(sdrs.UnknownNameError):
            sdrs.demo(dtype="f8")
        with self.assertRaisesRegex(sdrs.UnknownNameError, "int8"):
            sdrs.demo(quantization="int4")
        with self.assertRaises(sdrs.UnknownNameError):
            sdrs.Pipeline(DEMO, prediction="the future")
        with self.assertRaisesRegex(sdrs.MissingFileError, "no-table.json"):
            sdrs.Pipeline(DEMO, predictions="no-table.json")
        with self.assertRaises(sdrs.InvalidParameterError):
            sdrs.Pipeline.from_single_file(DEMO)
        with self.assertRaises(sdrs.InvalidParameterError):
            sdrs.Pipeline.from_pretrained(DEMO / "unet" / "config.json")
        with self.assertRaises(sdrs.InvalidParameterError):
            sdrs.demo(loras=[(DEMO / "x", float("nan"))])
        with self.assertRaises(TypeError):
            sdrs.demo(loras="x.safetensors")
        with self.assertRaises(TypeError):
            sdrs.Pipeline(None)


class Processes(unittest.TestCase):
    def test_pickling_says_what_to_do(self):
        with self.assertRaises(TypeError) as caught:
            pickle.dumps(demo())
        self.assertIsInstance(caught.exception, sdrs.PicklingError)
        self.assertIn("in each process", str(caught.exception))

    @unittest.skipUnless(hasattr(os, "fork"), "no fork here")
    def test_a_fork_after_use_is_refused(self):
        process = python(
            "import os, sys, sdrs\n"
            "pipe = sdrs.demo()\n"
            "child = os.fork()\n"
            "if child == 0:\n"
            "    refused = 0\n"
            "    for call in [lambda: pipe.txt2img('a ring', steps=1), sdrs.demo, lambda: pipe.stream('a ring')]:\n"
            "        try:\n"
            "            call()\n"
            "        except sdrs.ForkedError as error:\n"
            "            refused += 'spawn' in str(error)\n"
            "    os._exit(refused)\n"
            "sys.exit(os.WEXITSTATUS(os.waitpid(child, 0)[1]))\n"
        )
        _, told = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 3, told)

    def test_importing_is_light(self):
        process = python("import sys, sdrs; sys.exit('PIL' in sys.modules)")
        _, told = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, told)


if __name__ == "__main__":
    unittest.main()
