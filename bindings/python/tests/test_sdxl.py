import json
import unittest

import numpy as np

import sdrs
from sdrs import diffusers
from sdrs.diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from support import DEMO, GOLDENS, PROMPT, demo, tensors, tiny_refiner, tiny_sdxl

CASES = json.loads((GOLDENS / "diffusers/sdxl.json").read_text())
CONFIG = json.loads((GOLDENS / "tiny-sdxl/scheduler/scheduler_config.json").read_text())
# Another scheduler's setting.
CONFIG.pop("interpolation_type")


def error(got, want):
    return np.linalg.norm(got - want) / np.linalg.norm(want)


class AgainstDiffusers(unittest.TestCase):
    """The references are tools/goldens/diffusers_sdxl.py's."""

    def test_latents(self):
        pipe = StableDiffusionXLPipeline.from_pretrained(tiny_sdxl(), device="cpu")
        self.assertIsInstance(pipe.scheduler, diffusers.EulerDiscreteScheduler)
        refs = tensors(GOLDENS / "diffusers/sdxl.safetensors")
        self.assertEqual(set(refs), {case["name"] for case in CASES})
        for case in CASES:
            with self.subTest(case["name"]):
                pipe.scheduler = getattr(diffusers, case["scheduler"]).from_config(CONFIG, **case["config"])
                got = pipe(**case["call"], output_type="latent").images
                self.assertEqual(got.shape, refs[case["name"]].shape)
                self.assertLessEqual(error(got, refs[case["name"]]), 1e-4)


class Bridge(unittest.TestCase):
    QUICK = {"prompt": PROMPT, "num_inference_steps": 2, "generator": 1, "height": 64, "width": 64, "output_type": "latent"}

    @classmethod
    def setUpClass(cls):
        cls.pipe = StableDiffusionXLPipeline.from_pretrained(tiny_sdxl(), device="cpu")

    def test_contexts_in_place_of_prompts(self):
        context, pooled = self.pipe.encode_prompt([PROMPT, "a cat"], ["a dog", "a cat"])
        self.assertEqual((context.shape, pooled.shape), ((2, 77, 32), (2, 24)))
        negative, negative_pooled = self.pipe.encode_prompt("grey")
        drawn = self.pipe(**{**self.QUICK, "prompt": [PROMPT, "a cat"]}, prompt_2=["a dog", "a cat"], negative_prompt="grey").images
        given = self.pipe(
            **{**self.QUICK, "prompt": None},
            prompt_embeds=context,
            pooled_prompt_embeds=pooled,
            negative_prompt_embeds=negative,
            negative_pooled_prompt_embeds=negative_pooled,
        ).images
        np.testing.assert_array_equal(given, drawn)

    def test_outputs(self):
        steps = []
        images = self.pipe(
            **{**self.QUICK, "output_type": "pil"}, callback_on_step_end=lambda pipe, step, timestep, values: steps.append(step)
        ).images
        self.assertEqual((images[0].size, steps), ((64, 64), [0, 1]))
        (arrays,) = self.pipe(**{**self.QUICK, "output_type": "np"}, return_dict=False)
        self.assertEqual(arrays.shape, (1, 64, 64, 3))

    def test_no_negative_prompt(self):
        encoded = StableDiffusionXLPipeline(self.pipe.pipeline, self.pipe.scheduler, force_zeros_for_empty_prompt=False)
        zeros, text = (pipe(**self.QUICK).images for pipe in (self.pipe, encoded))
        self.assertTrue((zeros != text).any())
        np.testing.assert_array_equal(self.pipe(**self.QUICK, negative_prompt="").images, text)

    def test_refusals(self):
        for arguments in [
            {"prompt": None},
            {"prompt_2": ["a", "b"]},
            {"negative_prompt": ["a", "b"]},
            {"prompt": None, "prompt_embeds": np.zeros((1, 77, 32))},
            {"prompt": None, "prompt_embeds": np.zeros((1, 77, 31)), "pooled_prompt_embeds": np.zeros((1, 24))},
            {"prompt": None, "prompt_embeds": np.zeros((1, 77, 32)), "pooled_prompt_embeds": np.zeros((2, 24))},
            {"negative_prompt_embeds": np.zeros((1, 76, 32)), "negative_pooled_prompt_embeds": np.zeros((1, 24))},
            {"original_size": (64,)},
            {"target_size": (0, 64)},
            {"denoising_end": 1.5},
            {"denoising_end": 0.001},
            {"clip_skip": 3},
            {"height": 60},
            {"output_type": "pt"},
        ]:
            with self.subTest(arguments), self.assertRaises(sdrs.InvalidParameterError):
                self.pipe(**{**self.QUICK, **arguments})
        corrected = StableDiffusionXLPipeline(self.pipe.pipeline, diffusers.UniPCMultistepScheduler.from_config(CONFIG))
        with self.assertRaisesRegex(sdrs.InvalidParameterError, "denoising_end: UniPCMultistepScheduler corrects"):
            corrected(**self.QUICK, denoising_end=0.6)
        heun = StableDiffusionXLPipeline(self.pipe.pipeline, diffusers.HeunDiscreteScheduler.from_config(CONFIG))
        with self.assertRaisesRegex(sdrs.InvalidParameterError, "HeunDiscreteScheduler makes one step of two"):
            heun(**self.QUICK, denoising_end=0.6)
        scheduler = diffusers.PNDMScheduler.from_config(CONFIG, skip_prk_steps=True, steps_offset=1)
        pndm = StableDiffusionXLPipeline(self.pipe.pipeline, scheduler)
        with self.assertRaisesRegex(sdrs.InvalidParameterError, "first step with two calls, and 0.15 is between"):
            pndm(**{**self.QUICK, "num_inference_steps": 10}, denoising_end=0.15)
        steps = []
        pndm(
            **{**self.QUICK, "num_inference_steps": 10},
            denoising_end=0.25,
            callback_on_step_end=lambda pipe, step, timestep, values: steps.append(step),
        )
        self.assertEqual(steps, [0, 1])
        with self.assertRaisesRegex(sdrs.InvalidParameterError, "pipeline: StableDiffusionXLPipeline is for SDXL"):
            StableDiffusionXLPipeline(demo(), self.pipe.scheduler)
        with self.assertRaisesRegex(sdrs.InvalidParameterError, "pipeline: StableDiffusionPipeline is for SD1"):
            StableDiffusionPipeline.from_pretrained(tiny_sdxl(), device="cpu")
        with self.assertRaises(TypeError):
            StableDiffusionXLPipeline.from_pretrained(tiny_sdxl(), device="cpu", safety_checker=None)
        with self.assertRaises(TypeError):
            StableDiffusionPipeline.from_pretrained(DEMO, add_watermarker=False)


class Calls(unittest.TestCase):
    """The references are transformers' and diffusers' networks: tools/goldens/tiny_sdxl.py."""

    def test_networks(self):
        pipe = sdrs.Pipeline(tiny_sdxl(), device="cpu", dtype="f32")
        refs = tensors(GOLDENS / "tiny-sdxl/refs.safetensors")
        sizes = pipe.sizes
        self.assertEqual((sizes.text_width, sizes.text_width_2, sizes.pooled_width, sizes.added_width), (16, 16, 24, 1560))
        for encoder, ids in enumerate([refs["input_ids"][0], refs["input_ids_2"][0]]):
            half = refs["cond"][0][:, 16 * encoder : 16 * (encoder + 1)]
            self.assertLess(error(pipe.encode_ids(ids, encoder=encoder), half), 1e-5)
            self.assertLess(error(pipe.text_hidden_states(ids, encoder=encoder)[-2], half), 1e-5)
            self.assertLess(error(pipe.encode_text(PROMPT, encoder=encoder), half), 1e-5)
        for pooled in (pipe.pooled_text(PROMPT), pipe.pooled_prompt(PROMPT)):
            self.assertLess(error(pooled, refs["pooled"][0]), 1e-5)
        told = pipe.size_vector([128, 192, 0, 0, 128, 192])
        added = [np.concatenate([pooled[0], told]) for pooled in (refs["pooled"], refs["pooled_uncond"])]
        contexts = np.concatenate([refs["cond"], refs["uncond"]])
        output = pipe.unet(refs["latents"], [900, 17], contexts, added)
        self.assertLess(error(output, refs["output"]), 1e-5)
        for bad in [None, added[:1], added[0], np.zeros((2, 3))]:
            with self.assertRaisesRegex(sdrs.InvalidParameterError, "^added: "):
                pipe.unet(refs["latents"], [900, 17], contexts, bad)
        with self.assertRaisesRegex(sdrs.InvalidParameterError, "^sizes: must be 6 numbers"):
            pipe.size_vector([1, 2])
        with self.assertRaisesRegex(sdrs.InvalidParameterError, "^encoder: must be 0 to 1"):
            pipe.encode_ids([1], encoder=2)
        with self.assertRaisesRegex(sdrs.InvalidParameterError, "^text: no text encoder"):
            demo().pooled_text("a")

    def test_settings(self):
        pipe = sdrs.Pipeline(tiny_sdxl(), device="cpu", dtype="f32")
        refs = tensors(GOLDENS / "tiny-sdxl/refs.safetensors")
        run = {"steps": 8, "cfg_scale": 6.0, "seed": 31, "width": 192, "height": 128, "sampler": "Euler", "schedule": "uniform"}
        told = {"original_width": 400, "original_height": 300, "crop_top": 8, "crop_left": 16, "target_width": 384, "target_height": 256}
        made = pipe.latents(PROMPT, negative_prompt="blurry, low quality", **run, **told)
        self.assertLess(error(made.latents, refs["run_with_sizes"]), 1e-4)
        self.assertIn("Original width: 400", made.infotexts[0])
        for rule, negative, name in [
            ("webui", {}, "run_without_negative"),
            ("diffusers", {}, "run_without_negative"),
            ("diffusers", {"negative_prompt": ""}, "run_with_empty_text"),
            ("comfy", {}, "run_with_empty_text"),
        ]:
            latents = pipe.latents(PROMPT, **negative, **run, empty_negative_rule=rule).latents
            self.assertLess(error(latents, refs[name]), 1e-4, (rule, negative))


class Refined(unittest.TestCase):
    """The references are tools/goldens/tiny_refiner.py's."""

    def test_runs(self):
        refs = tensors(GOLDENS / "tiny-refiner/refs.safetensors")
        pipe = sdrs.Pipeline(tiny_sdxl(), refiner=tiny_refiner(), device="cpu", dtype="f32")
        self.assertEqual((pipe.refiner_name, sdrs.Pipeline(tiny_sdxl(), device="cpu").refiner_name), (tiny_refiner().name, None))
        run = {"steps": 8, "cfg_scale": 6.0, "seed": 37, "width": 192, "height": 128, "sampler": "Euler", "schedule": "uniform"}
        for arguments, name in [
            ({"refiner_switch_at": 0.7}, "run"),
            ({"refiner_switch_at": 0.7, "refiner_by_steps": True}, "run_by_steps"),
            ({"refiner_switch_at": 0}, "run_alone"),
        ]:
            made = pipe.latents(PROMPT, negative_prompt="blurry, low quality", **run, **arguments)
            self.assertLess(error(made.latents, refs[name]), 1e-4, name)
            self.assertEqual(sdrs.infotext.parse(made.infotexts[0])["refiner"], tiny_refiner().name)
        with self.assertRaises(sdrs.MissingFileError):
            sdrs.Pipeline(tiny_sdxl(), refiner="no/such/file", device="cpu")


if __name__ == "__main__":
    unittest.main()
