import base64
import inspect
import io
import tempfile
import unittest
from pathlib import Path

import numpy as np
from PIL import Image

import sdrs
from support import DEMO, PROMPT, QUICK, command, demo, quick


class SameAsTheCommand(unittest.TestCase):
    def compare(self, args, **settings):
        with tempfile.TemporaryDirectory() as folder:
            pixels, infotext = command(*args, f"{folder}/out.png")
        result = demo().txt2img(settings.pop("prompt", PROMPT), **settings)
        np.testing.assert_array_equal(result.arrays[0], pixels)
        self.assertEqual(result.infotexts[0], infotext)

    def test_plain(self):
        self.compare([PROMPT, "--steps", "4", "--seed", "7"], steps=4, seed=7)

    def test_every_word_of_both(self):
        size = demo().sizes.default_side + demo().sizes.downscale
        self.compare(
            ["a (red:1.3) [circle:square:0.5] ünï 円", "--negative-prompt", "blue", "--steps", "4", "--seed", "3"]
            + ["--width", str(size), "--sampler", "Euler a Karras", "--cfg-scale", "5.5", "--clip-skip", "1"]
            + ["--diffusers-clip-skip", "--emphasis", "no-norm", "--old-prompt-times", "--comma-backtrack", "3"]
            + ["--pad-prompts"],
            prompt="a (red:1.3) [circle:square:0.5] ünï 円",
            negative_prompt="blue",
            steps=4,
            seed=3,
            width=size,
            sampler="euler_a karras",
            cfg_scale=5.5,
            clip_skip=1,
            clip_skip_rule="diffusers",
            emphasis="No norm",
            time_rule="before-1.6",
            comma_backtrack=3,
            pad_prompts=True,
        )

    def test_schedule_wins_over_the_suffix(self):
        args = [PROMPT, "--steps", "3", "--seed", "3", "--sampler", "DPM++ 2M Karras", "--schedule", "exponential"]
        self.compare(args, steps=3, seed=3, sampler="DPM++ 2M Karras", schedule="exponential")


class Pictures(unittest.TestCase):
    def test_a_batch_is_its_pictures(self):
        batch = demo().txt2img(PROMPT, **QUICK, batch_size=2)
        self.assertEqual((len(batch), batch.seeds), (2, [1, 2]))
        np.testing.assert_array_equal(batch.arrays[0], quick())
        second = demo().txt2img(PROMPT, **{**QUICK, "seed": 2})
        np.testing.assert_array_equal(batch.arrays[1], second.arrays[0])
        self.assertEqual(batch.infotexts[1], second.infotexts[0])
        self.assertIsNone(batch._repr_png_())
        html = batch._repr_html_()
        self.assertEqual(html.count("<img "), 2)
        png = base64.b64decode(html.split("base64,")[1].split('"')[0])
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), quick())
        with tempfile.TemporaryDirectory() as folder:
            paths = batch.save(Path(folder) / "a.b.png")
            self.assertEqual([path.name for path in paths], ["a.b-1.png", "a.b-2.png"])
            np.testing.assert_array_equal(np.asarray(Image.open(paths[1])), batch.arrays[1])
            # Another picture under such a name would deceive.
            with self.assertRaisesRegex(sdrs.InvalidParameterError, "name it .*b-1.png"):
                batch.save(Path(folder) / "b.gif")
            self.assertEqual(len(list(Path(folder).iterdir())), 2)
            sizes = []
            for name, quality in [("low.jpg", 10), ("high.jpg", 95), ("a.webp", 80)]:
                for path, text, array in zip(batch.save(Path(folder) / name, quality=quality), batch.infotexts, batch.arrays):
                    with Image.open(path) as picture:
                        self.assertEqual(picture.format, "WEBP" if name == "a.webp" else "JPEG")
                        comment = picture.getexif().get_ifd(0x8769)[0x9286]
                        pixels = np.asarray(picture)
                    self.assertEqual((comment[:8], comment[8:].decode("utf-16-be")), (b"UNICODE\0", text))
                    self.assertEqual(sdrs.infotext.read(path), text)
                    if name == "a.webp":
                        np.testing.assert_array_equal(pixels, array)
                sizes.append(path.stat().st_size)
            self.assertLess(sizes[0], sizes[1])
            with self.assertRaisesRegex(sdrs.InvalidParameterError, "quality"):
                batch.save(Path(folder) / "c.jpg", quality=0)

    def test_forms(self):
        result = demo().txt2img(PROMPT, **QUICK)
        array, image = result.arrays[0], result.images[0]
        side = demo().sizes.default_side
        self.assertEqual((array.shape, array.dtype), ((side, side, 3), np.uint8))
        self.assertTrue(array.flags.writeable)
        self.assertEqual((image.mode, image.size), ("RGB", (side, side)))
        np.testing.assert_array_equal(np.asarray(image), quick())
        self.assertIs(result[0], image)
        self.assertEqual(list(result), result.images)
        self.assertEqual(image.info["parameters"], result.infotexts[0])
        self.assertTrue(result.infotexts[0].startswith(PROMPT + "\nSteps: 2, Sampler: Euler,"))
        opened = Image.open(io.BytesIO(result._repr_png_()))
        np.testing.assert_array_equal(np.asarray(opened), quick())
        self.assertEqual(opened.info["parameters"], result.infotexts[0])
        self.assertIsNone(result._repr_html_())
        self.assertIn(f"1 picture, {side}x{side}, seeds 1", repr(result))

    def test_seeds_up_to_the_last(self):
        last = demo().txt2img(PROMPT, **{**QUICK, "seed": 2**64 - 1, "batch_size": 2})
        self.assertEqual(last.seeds, [2**64 - 1, 0])
        self.assertEqual(sdrs.infotext.parse(last.infotexts[0])["settings"]["seed"], 2**64 - 1)
        # The CPU's noise is that of the low 32 bits.
        low = demo().txt2img(PROMPT, **{**QUICK, "seed": 2**32 - 1})
        np.testing.assert_array_equal(low.arrays[0], last.arrays[0])

    def test_a_random_seed_can_be_repeated(self):
        first = demo().txt2img(PROMPT, **{**QUICK, "seed": -1})
        again = demo().txt2img(PROMPT, **{**QUICK, "seed": first.seeds[0]})
        np.testing.assert_array_equal(first.arrays[0], again.arrays[0])

    def test_odd_prompts(self):
        for prompt in ["", " ", "\n", "円 🔴 ü", "\0", "((((", "[a|b:", "a" * 5000, "\u202e\ufffd\U0010ffff"]:
            with self.subTest(prompt=prompt[:20]):
                result = demo().txt2img(prompt, **{**QUICK, "steps": 1})
                self.assertEqual(len(result), 1)
                result.png()

    def test_checkpoints_of_a_folder(self):
        # The type that is best depends on the processor.
        dtype = demo().dtype
        for pipeline in [sdrs.Pipeline(DEMO), sdrs.Pipeline.from_pretrained(str(DEMO), device="cpu", dtype=dtype)]:
            np.testing.assert_array_equal(pipeline.txt2img(PROMPT, **QUICK).arrays[0], quick())
        self.assertEqual((pipeline.name, pipeline.device, pipeline.dtype), (DEMO.name, "cpu", dtype))
        self.assertEqual((pipeline.prediction, pipeline.loras, pipeline.embeddings), ("epsilon", [], []))
        self.assertEqual(repr(pipeline), f"<sdrs.Pipeline: {DEMO.name}, cpu, {dtype}>")

    def test_narrow_types(self):
        pipeline = sdrs.demo(dtype="bf16", quantization="int8")
        self.assertEqual(pipeline.dtype, "bf16")
        far = np.abs(pipeline.txt2img(PROMPT, **QUICK).arrays[0].astype(int) - quick()).mean()
        self.assertTrue(0 < far < 8, far)

    def test_settings_of_numpy(self):
        settings = {**QUICK, "seed": np.int64(1), "steps": np.uint8(2), "cfg_scale": np.float32(4.5)}
        np.testing.assert_array_equal(demo().txt2img(PROMPT, **settings).arrays[0], quick())


class Recommended(unittest.TestCase):
    def test_the_demo_s(self):
        settings = {"steps": 20, "cfg_scale": 4.5, "sampler": "DPM++ 2M", "schedule": "Karras"}
        self.assertEqual(demo().recommended, settings)
        self.assertEqual(sdrs.Pipeline(DEMO).recommended, settings)
        result = demo().txt2img(PROMPT, steps=2, width=48, height=32, seed=1)
        self.assertIn("Steps: 2, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 4.5, ", result.infotexts[0])
        result = demo().txt2img(PROMPT, steps=2, width=48, height=32, seed=1, sampler="Euler", cfg_scale=7)
        self.assertIn("Steps: 2, Sampler: Euler, Schedule type: Automatic, CFG scale: 7, ", result.infotexts[0])
        self.assertEqual(demo().plan("a", sampler="Heun")["calls"], 40)

    def test_the_log_has_it(self):
        lines = []
        pipeline = sdrs.demo(log=lambda level, line: lines.append(line))
        pipeline.txt2img(PROMPT, width=48, height=32, steps=1)
        self.assertIn("as the checkpoint recommends: cfg_scale 4.5, sampler DPM++ 2M, schedule Karras", lines)


class Words(unittest.TestCase):
    def test_settings_are_shown(self):
        known = sdrs.infotext.parse("a ring")["settings"]
        for function in [sdrs.Pipeline.txt2img, sdrs.Pipeline.latents, sdrs.Pipeline.stream, sdrs.Pipeline.plan, sdrs.plan]:
            shown = inspect.signature(function).parameters
            self.assertEqual([name for name in known if name not in shown], [])
            self.assertEqual((shown["seed"].default, shown["steps"].default, shown["steps"].annotation), (-1, None, "int | None"))
        for name in set(known) - {"prompt"}:
            self.assertIn(f"`{name}`: ", sdrs.Settings.__doc__)

    def test_plan(self):
        text = "a [red:(blue:1.3):0.5] circle AND a ring :2"
        plan = demo().plan(text, steps=4, sampler="Heun")
        self.assertEqual(plan["calls"], 8)
        self.assertEqual([part["weight"] for part in plan["prompt"]], [1.0, 2.0])
        first, second = plan["prompt"][0]["texts"]
        self.assertEqual((first["calls"]["start"], second["calls"]["end"]), (0, 8))
        self.assertEqual(first["calls"]["end"], second["calls"]["start"])
        self.assertEqual((first["text"], second["text"]), ("a red circle", "a (blue:1.3) circle"))
        token = next(token for token in second["chunks"][0] if token["weight"] != 1)
        self.assertEqual((token["text"], text.encode()[token["span"]["start"] : token["span"]["end"]]), ("blue", b"blue"))
        self.assertEqual(sdrs.plan(text, steps=4, sampler="Heun")["calls"], 8)

    def test_inspect(self):
        told = sdrs.inspect(DEMO)
        self.assertIsInstance(told, dict)
        self.assertIn("family", told)
        self.assertEqual(told, sdrs.inspect(str(DEMO)))

    def test_names(self):
        self.assertIn("DPM++ 2M", sdrs.samplers())
        self.assertIn("Karras", sdrs.schedules())
        self.assertIn("cpu", sdrs.available_devices())
        cpu = sdrs.devices()[-1]
        self.assertEqual((cpu["name"], cpu["class"]), ("cpu", "cpu"))
        self.assertIn(cpu["default_dtype"], cpu["dtypes"])
        self.assertEqual(sum(device["is_default"] for device in sdrs.devices()), 1)
        self.assertRegex(sdrs.__version__, r"^\d+\.\d+\.\d+")


if __name__ == "__main__":
    unittest.main()
