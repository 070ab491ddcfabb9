import json
import unittest

import numpy as np
from PIL import Image

import sdrs
from sdrs import diffusers
from sdrs.diffusers import (
    StableDiffusionInpaintPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionXLImg2ImgPipeline,
)
from support import DEMO, GOLDENS, tensors, tiny_sdxl, widened

CASES = json.loads((GOLDENS / "diffusers/masked.json").read_text())
CONFIG = json.loads((DEMO / "scheduler/scheduler_config.json").read_text())
XL_CONFIG = json.loads((GOLDENS / "tiny-sdxl/scheduler/scheduler_config.json").read_text())
XL_CONFIG.pop("interpolation_type")


class AgainstDiffusers(unittest.TestCase):
    """The references are tools/goldens/diffusers_masked.py's."""

    @classmethod
    def setUpClass(cls):
        cls.refs = tensors(GOLDENS / "diffusers/masked.safetensors")
        cls.image, cls.mask = (Image.fromarray(cls.refs[name]) for name in ("image", "mask"))
        cls.embeds = {"prompt_embeds": cls.refs["cond"], "negative_prompt_embeds": cls.refs["uncond"]}

    def compare(self, pipe, channels, config, **given):
        cases = [case for case in CASES if case["channels"] == channels]
        self.assertGreaterEqual(len(cases), 4)
        for case in cases:
            with self.subTest(case["name"]):
                pipe.scheduler = getattr(diffusers, case["scheduler"]).from_config(config, **case["config"])
                got, want = pipe(**case["call"], output_type="latent", **given).images, self.refs[case["name"]]
                self.assertEqual(got.shape, want.shape)
                self.assertLessEqual(np.linalg.norm(got - want) / np.linalg.norm(want), 1e-4)

    def test_any_model_with_a_mask(self):
        pipe = StableDiffusionInpaintPipeline.from_pretrained(GOLDENS / "tiny-sd1", device="cpu")
        self.compare(pipe, 4, CONFIG, image=self.image, mask_image=self.mask, **self.embeds)

    def test_inpainting_models(self):
        pipe = StableDiffusionInpaintPipeline.from_pretrained(widened(9), device="cpu")
        self.compare(pipe, 9, CONFIG, image=self.image, mask_image=self.mask, **self.embeds)

    def test_models_that_are_told_what_to_change(self):
        pipe = StableDiffusionInstructPix2PixPipeline.from_pretrained(widened(8), device="cpu")
        self.compare(pipe, 8, CONFIG, image=self.image, **self.embeds)

    def test_sdxl(self):
        pipe = StableDiffusionXLImg2ImgPipeline.from_pretrained(tiny_sdxl(), device="cpu")
        self.compare(pipe, 0, XL_CONFIG, image=self.image)


class Arguments(unittest.TestCase):
    QUICK = {"num_inference_steps": 2, "generator": 1, "guidance_scale": 1.0, "output_type": "latent"}

    @classmethod
    def setUpClass(cls):
        cls.pipe = StableDiffusionInpaintPipeline.from_pretrained(GOLDENS / "tiny-sd1", device="cpu")
        cls.pipe.scheduler = diffusers.DDIMScheduler(steps_offset=1, clip_sample=False)
        context = np.zeros((1, 77, 16), np.float32)
        image = np.full((32, 32, 3), 0.5, np.float32)
        mask = np.zeros((32, 32), np.float32)
        mask[:, :16] = 1
        cls.given = {**cls.QUICK, "prompt_embeds": context, "image": image, "mask_image": mask, "height": 32, "width": 32}

    def test_forms_of_a_picture_and_a_mask(self):
        latents = self.pipe(**self.given).images
        image, mask = self.given["image"], self.given["mask_image"]
        for other in (
            {"mask_image": mask[None]},
            {"mask_image": Image.fromarray((mask * 255).astype(np.uint8))},
            {"image": [image]},
            {"image": image[None]},
        ):
            np.testing.assert_array_equal(self.pipe(**{**self.given, **other}).images, latents)

    def test_what_the_mask_leaves_stays(self):
        steps = []
        self.pipe(**self.given, callback_on_step_end=lambda _pipe, _step, _timestep, values: steps.append(values["latents"]))
        black = {**self.given, "mask_image": np.zeros((32, 32))}
        kept = self.pipe(**black).images
        np.testing.assert_array_equal(steps[-1][..., 2:], kept[..., 2:])
        self.assertTrue((steps[-1][..., :2] != kept[..., :2]).any())

    def test_latents_that_a_function_changes_count(self):
        def halved(_pipe, step, _timestep, values):
            return {"latents": values["latents"] * np.float32(0.5)} if step == 1 else values

        plain = self.pipe(**self.given).images
        changed = self.pipe(**self.given, callback_on_step_end=halved).images
        np.testing.assert_allclose(changed, plain / 2, rtol=1e-6)
        unipc = StableDiffusionInpaintPipeline(self.pipe.pipeline, diffusers.UniPCMultistepScheduler())
        with self.assertRaisesRegex(sdrs.InvalidParameterError, "corrects a step"):
            unipc(**self.given)

    def test_refusals(self):
        for arguments in (
            {"image": None},
            {"mask_image": None},
            {"mask_image": np.zeros((32, 24))},
            {"mask_image": np.full((32, 32), 2.0)},
            {"image": np.zeros((24, 32, 3))},
            {"image": np.full((32, 32, 3), np.nan)},
            {"masked_image_latents": np.zeros((1, 4, 3, 4))},
            {"strength": -1},
            {"image": [self.given["image"]] * 2},
        ):
            with self.subTest(arguments), self.assertRaises(sdrs.InvalidParameterError):
                self.pipe(**{**self.given, **arguments})
        for scheduler in (diffusers.PNDMScheduler(skip_prk_steps=True, steps_offset=1), diffusers.HeunDiscreteScheduler()):
            with self.assertRaisesRegex(sdrs.InvalidParameterError, "mask_image: .* take another scheduler"):
                StableDiffusionInpaintPipeline(self.pipe.pipeline, scheduler)(**self.given)
        edit = StableDiffusionInstructPix2PixPipeline(self.pipe.pipeline, self.pipe.scheduler)
        with self.assertRaisesRegex(sdrs.InvalidParameterError, "no InstructPix2Pix model"):
            edit(**self.QUICK, prompt_embeds=self.given["prompt_embeds"], image=self.given["image"])


if __name__ == "__main__":
    unittest.main()
