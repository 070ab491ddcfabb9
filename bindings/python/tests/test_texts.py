import json
import tempfile
import unittest
from pathlib import Path

import numpy as np

import sdrs
from sdrs import infotext, prompt
from support import DEMO, PROMPT, QUICK, demo, quick

ROOT = Path(__file__).resolve().parents[3]
MODELS = ROOT / "models/demo"


class Prompts(unittest.TestCase):
    def test_the_examples_of_the_webui_s_own_documentation(self):
        self.assertEqual(prompt.parse_attention("normal text"), [("normal text", 1.0)])
        self.assertEqual(prompt.parse_attention("an (important) word"), [("an ", 1.0), ("important", 1.1), (" word", 1.0)])
        self.assertEqual(prompt.parse_attention(r"\(literal\]"), [("(literal]", 1.0)])
        self.assertEqual(prompt.parse_attention("a BREAK b"), [("a", 1.0), ("BREAK", -1.0), ("b", 1.0)])
        self.assertEqual(prompt.schedule("test", 10), [(10, "test")])
        self.assertEqual(prompt.schedule("a [b:3]", 10), [(3, "a "), (10, "a b")])
        self.assertEqual(prompt.schedule("a [b: 3]", 10), [(3, "a "), (10, "a b")])
        self.assertEqual(prompt.schedule("a [[[b]]:2]", 10), [(2, "a "), (10, "a [[b]]")])
        self.assertEqual(prompt.schedule("[(a:2):3]", 10), [(3, ""), (10, "(a:2)")])
        self.assertEqual(prompt.schedule("a [b : c : 1] d", 10), [(1, "a b  d"), (10, "a  c  d")])
        self.assertEqual(prompt.schedule("[a|b]", 3), [(1, "a"), (2, "b"), (3, "a")])
        self.assertEqual(prompt.subprompts("a AND b :0.5"), [("a", 1.0), (" b", 0.5)])

    def test_second_passes(self):
        self.assertEqual(prompt.schedule("[a:b:0.5]", 10, 10), [(10, "b")])
        self.assertEqual(prompt.schedule("[a:b:1.5]", 10, 10), [(5, "a"), (10, "b")])
        self.assertEqual(prompt.schedule("[a:b:0.5]", 10, 10, time_rule="before-1.6"), [(5, "a"), (10, "b")])

    def test_odd_arguments(self):
        for text in ["", "((((", "[a|", "\0", "a" * 10_000, "AND", "BREAK BREAK"]:
            prompt.parse_attention(text), prompt.schedule(text, 5), prompt.subprompts(text)
        for bad in [0, 10_001]:
            with self.assertRaises(sdrs.InvalidParameterError):
                prompt.schedule("a", bad)
            with self.assertRaises(sdrs.InvalidParameterError):
                prompt.schedule("a", 5, bad)
        with self.assertRaises(sdrs.UnknownNameError):
            prompt.schedule("a", 5, time_rule="never")
        with self.assertRaises(TypeError):
            prompt.parse_attention(3)
        with self.assertRaises(sdrs.InvalidParameterError):
            prompt.subprompts("\ud800")


class Infotexts(unittest.TestCase):
    def test_a_picture_s_own_draws_it_again(self):
        result = demo().txt2img(PROMPT, **QUICK)
        told = infotext.parse(result.infotexts[0])
        again = demo().txt2img(**told["settings"])
        np.testing.assert_array_equal(again.arrays[0], quick())
        self.assertEqual(again.infotexts, result.infotexts)
        self.assertEqual((told["model"], told["model_hash"]), (demo().name, None))
        self.assertEqual([key for key, _ in told["rest"]], ["Version"])
        with tempfile.TemporaryDirectory() as folder:
            (file,) = result.save(Path(folder) / "out.png")
            self.assertEqual(infotext.read(file), result.infotexts[0])
            text = Path(folder) / "out.txt"
            text.write_text("a ring", encoding="utf-8")
            self.assertEqual(infotext.read(str(text)), "a ring")
            text.write_bytes(b"\xff")
            with self.assertRaises(sdrs.InvalidFileError):
                infotext.read(text)
            with self.assertRaises(FileNotFoundError):
                infotext.read(Path(folder) / "none")

    def test_shared_ones(self):
        told = infotext.parse("a ring\nSteps: 5, Sampler: Euler a, Seed: 9, Size: 64x32, Wildcard seed: 2")
        settings = told["settings"]
        self.assertEqual((settings["prompt"], settings["steps"], settings["seed"]), ("a ring", 5, 9))
        self.assertEqual((settings["sampler"], settings["width"], settings["height"]), ("Euler a", 64, 32))
        self.assertEqual((settings["rng"], told["rest"]), ("nv", [("Wildcard seed", "2")]))
        json.dumps(told)
        for bad in ["Steps: x", "Sampler: x"]:
            with self.assertRaises(ValueError):
                infotext.parse(f"a\nA1: 1, B1: 2, {bad}")


class Siblings(unittest.TestCase):
    LORA = MODELS / "outlines.safetensors"

    def test_loras_may_have_a_schedule(self):
        file = self.LORA
        drawn = lambda lora: demo().with_loras([lora]).txt2img(PROMPT, **QUICK).arrays[0]  # noqa: E731
        np.testing.assert_array_equal(drawn(sdrs.Lora(file, schedule="0-1", name="x")), drawn(file))
        np.testing.assert_array_equal(drawn(sdrs.Lora(file, schedule="0-0")), drawn((file, 0.0, 1.0)))
        self.assertTrue((drawn(sdrs.Lora(file, schedule="0.5-1")) != drawn(file)).any())
        self.assertTrue((drawn(sdrs.Lora(file, ranks=1)) != drawn(file)).any())
        with self.assertRaisesRegex(sdrs.InvalidParameterError, "schedule: 'late' is no FACTOR@MOMENT"):
            demo().with_loras([sdrs.Lora(file, schedule="late")])
        with self.assertRaisesRegex(sdrs.InvalidParameterError, "ranks: must be 1 or more"):
            demo().with_loras([sdrs.Lora(file, ranks=0)])
        named = demo().with_loras([sdrs.Lora(file, name="lines")]).txt2img(PROMPT, **QUICK)
        self.assertIn('Lora hashes: "lines: ', named.infotexts[0])

    def test_prompts_find_loras_in_folders(self):
        pipe = sdrs.demo(lora_dirs=[MODELS])
        late = demo().with_loras([sdrs.Lora(self.LORA, 0.5, schedule="0.5-1")])
        tagged = pipe.txt2img(PROMPT + "<lora:outlines:0.5:start=0.5>", **QUICK).arrays[0]
        np.testing.assert_array_equal(tagged, late.txt2img(PROMPT, **QUICK).arrays[0])
        np.testing.assert_array_equal(pipe.txt2img(PROMPT, **QUICK).arrays[0], quick())
        planned = pipe.plan("<lora:outlines:0.5:lbw=OUTALL:stop=5>")["loras"][0]
        self.assertEqual((planned["loaded"], planned["blocks"], planned["stop"]), (True, "OUTALL", 5.0))
        with self.assertRaises(sdrs.MissingFileError):
            sdrs.demo(lora_dirs=[MODELS / "none"])
        with self.assertRaisesRegex(TypeError, "lora_dirs: must be a list"):
            sdrs.demo(lora_dirs="loras")

    def test_memory_is_planned(self):
        pipe = sdrs.demo(lora_dirs=[MODELS])
        plain, tagged = pipe.memory_plan(PROMPT), pipe.memory_plan(PROMPT + "<lora:outlines:0.5>")
        self.assertIsInstance(plain, sdrs.MemoryPlan)
        self.assertEqual(plain.weights, plain.text_encoders + plain.unet + plain.vae)
        self.assertEqual((plain.loras, plain.encoding, plain.runs), (0, 0, 1))
        self.assertTrue(plain.weights + plain.other < plain.least < plain.most)
        self.assertEqual(tagged.loras, pipe.memory_of_loras([(self.LORA, 0.5)]))
        more = tagged.least - plain.least
        self.assertTrue(tagged.loras - tagged.lora_text_encoders <= more <= tagged.loras)
        self.assertEqual(pipe.memory_of_loras([]), 0)
        self.assertEqual(pipe.memory_of_vae(DEMO), plain.vae)
        three = pipe.memory_plan(PROMPT, parallel=3)
        self.assertEqual((three.runs, three.weights), (3, plain.weights))
        self.assertTrue(plain.least < three.least < 3 * plain.least)
        larger = pipe.memory_plan(PROMPT, image=np.zeros((128, 192, 3), np.uint8))
        self.assertTrue(larger.encoding > 0 and larger.decoding > plain.decoding)
        self.assertGreater(pipe.memory_plan(width=192).denoising, plain.denoising)
        # A limit is held against it.
        bound = sdrs.demo(lora_dirs=[MODELS], memory_limit=tagged.least - 1)
        bound.txt2img(PROMPT, **QUICK)
        with self.assertRaisesRegex(sdrs.InvalidParameterError, "memory_limit: .* for the layers that LoRAs change"):
            bound.txt2img(PROMPT + "<lora:outlines:0.5>", **QUICK)
        with self.assertRaisesRegex(sdrs.InvalidParameterError, "the LoRA 'nobody'"):
            pipe.memory_plan("<lora:nobody:1>")
        with self.assertRaisesRegex(sdrs.InvalidParameterError, "width"):
            pipe.memory_plan(width=7)
        with self.assertRaisesRegex(TypeError, "parallel: "):
            pipe.memory_plan(parallel="two")
        with self.assertRaises(sdrs.MissingFileError):
            pipe.memory_of_vae(MODELS / "none")

    def test_loras_come_and_go(self):
        file = self.LORA
        styled = demo().with_loras([(file, 0.8)])
        self.assertEqual((styled.loras, demo().loras), ([(str(file), 0.8, 0.8)], []))
        drawn = styled.txt2img(PROMPT, **QUICK).arrays[0]
        self.assertTrue((drawn != quick()).any())
        loaded = sdrs.demo(loras=[(file, 0.8)])
        np.testing.assert_array_equal(loaded.txt2img(PROMPT, **QUICK).arrays[0], drawn)
        np.testing.assert_array_equal(styled.with_loras([]).txt2img(PROMPT, **QUICK).arrays[0], quick())
        self.assertEqual(demo().with_loras([(file, 1.0, 0.5)]).loras, [(str(file), 1.0, 0.5)])
        with self.assertRaises(sdrs.MissingFileError):
            demo().with_loras(["none.safetensors"])
        by_pattern = sdrs.Lora(file, blocks={"*": 0, "unet.*": 0.5})
        halved = demo().with_loras([by_pattern]).txt2img(PROMPT, **QUICK).arrays[0]
        separate = demo().with_loras([(file, 0.5, 0.0)]).txt2img(PROMPT, **QUICK).arrays[0]
        np.testing.assert_array_equal(halved, separate)
        nothing = sdrs.Lora(file, blocks=[0] * 26, allow_unmatched=True)
        self.assertTrue((demo().with_loras([nothing]).txt2img(PROMPT, **QUICK).arrays[0] != drawn).any())
        with self.assertRaisesRegex(sdrs.InvalidParameterError, "17 or 26 numbers"):
            demo().with_loras([sdrs.Lora(file, blocks=[1, 2, 3])])
        with self.assertRaises(TypeError):
            demo().with_loras("none.safetensors")

    def test_another_vae(self):
        again = demo().with_vae(ROOT / "models/demo/base/vae")
        np.testing.assert_array_equal(again.txt2img(PROMPT, **QUICK).arrays[0], quick())
        washed = demo().with_vae(ROOT / "models/demo/vae-washed.safetensors")
        self.assertTrue((washed.txt2img(PROMPT, **QUICK).arrays[0] != quick()).any())
        with self.assertRaises(sdrs.MissingFileError):
            demo().with_vae("none")


if __name__ == "__main__":
    unittest.main()
