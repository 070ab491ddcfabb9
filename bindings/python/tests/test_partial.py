import json
import unittest

import numpy as np
from PIL import Image

import sdrs
from sdrs import diffusers
from sdrs.diffusers import (
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
)
from support import DEMO, GOLDENS, psnr, tensors, tiny_sdxl, whole_refiner, widened

CASES = json.loads((GOLDENS / "diffusers/partial.json").read_text())
CONFIG = json.loads((DEMO / "scheduler/scheduler_config.json").read_text())
XL_CONFIG = json.loads((GOLDENS / "tiny-sdxl/scheduler/scheduler_config.json").read_text())
XL_CONFIG.pop("interpolation_type")
KINDS = {
    "img2img": (StableDiffusionImg2ImgPipeline, lambda: GOLDENS / "tiny-sd1"),
    "inpaint": (StableDiffusionInpaintPipeline, lambda: GOLDENS / "tiny-sd1"),
    "inpaint-9": (StableDiffusionInpaintPipeline, lambda: widened(9)),
    "xl-img2img": (StableDiffusionXLImg2ImgPipeline, tiny_sdxl),
    "refiner": (StableDiffusionXLImg2ImgPipeline, whole_refiner),
    "xl-inpaint": (StableDiffusionXLInpaintPipeline, tiny_sdxl),
    "xl-inpaint-9": (StableDiffusionXLInpaintPipeline, lambda: widened(9, large=True)),
}


class AgainstDiffusers(unittest.TestCase):
    """The references are tools/goldens/diffusers_partial.py's."""

    def test_calls(self):
        refs = tensors(GOLDENS / "diffusers/partial.safetensors")
        image, mask = (Image.fromarray(refs[name]) for name in ("image", "mask"))
        embeds = {"prompt_embeds": refs["cond"], "negative_prompt_embeds": refs["uncond"]}
        self.assertEqual({case["pipeline"] for case in CASES}, set(KINDS))
        loaded = {name: kind.from_pretrained(folder(), device="cpu") for name, (kind, folder) in KINDS.items()}
        for case in CASES:
            with self.subTest(case["name"]):
                pipe, large = loaded[case["pipeline"]], "prompt" in case["call"]
                pipe.scheduler = getattr(diffusers, case["scheduler"]).from_config(XL_CONFIG if large else CONFIG, **case["config"])
                given = {} if large else dict(embeds)
                given["image"] = image
                if "inpaint" in case["pipeline"]:
                    given["mask_image"] = mask
                for argument, array in case["arrays"].items():
                    resized = isinstance(array, list)
                    given[argument] = image.resize(array, Image.Resampling.LANCZOS) if resized else refs[array]
                got, want = pipe(**case["call"], **given).images, refs[case["name"]]
                if case["call"]["output_type"] == "latent":
                    self.assertEqual(got.shape, want.shape)
                    self.assertLessEqual(np.linalg.norm(got - want) / np.linalg.norm(want), 1e-4)
                else:
                    self.compare(np.asarray(got[0]), want, refs["image"], refs["mask"])

    def compare(self, got, want, image, mask):
        self.assertEqual(got.shape, image.shape)
        self.assertGreaterEqual(psnr(got, want), 55)
        np.testing.assert_array_equal(got[mask == 0], image[mask == 0])
        self.assertTrue((got[mask == 255] != image[mask == 255]).any())


class Arguments(unittest.TestCase):
    QUICK = {"prompt": "a", "num_inference_steps": 4, "generator": 1, "guidance_scale": 1.0, "output_type": "latent"}

    @classmethod
    def setUpClass(cls):
        cls.pipe = StableDiffusionXLImg2ImgPipeline.from_pretrained(tiny_sdxl(), device="cpu")
        cls.inpaint = StableDiffusionXLInpaintPipeline(cls.pipe.pipeline, cls.pipe.scheduler)
        cls.base = StableDiffusionXLPipeline(cls.pipe.pipeline, cls.pipe.scheduler)

    def test_two_parts_make_a_whole(self):
        size = {"height": 64, "width": 48}
        whole = self.base(**self.QUICK, **size).images
        first = self.base(**self.QUICK, **size, denoising_end=0.5).images
        second = self.pipe(**self.QUICK, image=first, denoising_start=0.5).images
        np.testing.assert_allclose(second, whole, rtol=1e-5, atol=1e-5)

    def test_inpainting_models_by_the_webuis_rules_too(self):
        pipe = sdrs.Pipeline(widened(9, large=True), device="cpu")
        photo, mask = Image.new("RGB", (64, 48), "teal"), Image.new("L", (64, 48))
        mask.paste(255, (0, 0, 32, 48))
        drawn = pipe.img2img("a", photo, mask=mask, mask_blur=0, steps=2, seed=1).arrays[0]
        self.assertTrue((drawn[:, 32:] == np.asarray(photo)[:, 32:]).all() and (drawn[:, :32] != np.asarray(photo)[:, :32]).any())

    def test_refusals(self):
        image = Image.new("RGB", (64, 48))
        for arguments, message in (
            ({"denoising_start": 0.6, "denoising_end": 0.5}, "denoising_start: must be less than denoising_end"),
            ({"denoising_start": 1.5}, "denoising_start: "),
            ({"denoising_start": 0.9999}, "denoising_start: no step of 4 is left after"),
            ({"strength": 0.1}, "strength: 0.1 leaves nothing of 4 steps"),
            ({"latents": np.zeros((1, 3, 6, 8))}, "latents: must have the shape"),
            ({"image": np.zeros((2, 4, 6, 8))}, "image: 2 of them are not for 1 pictures"),
            ({"aesthetic_score": float("nan")}, "aesthetic_score: "),
        ):
            with self.subTest(arguments), self.assertRaisesRegex(sdrs.InvalidParameterError, message):
                self.pipe(**{**self.QUICK, "image": image, **arguments})
        given = {**self.QUICK, "image": image, "mask_image": Image.new("L", image.size, 255), "height": 48, "width": 64}
        for arguments, message in (
            ({"padding_mask_crop": -1}, "padding_mask_crop: "),
            ({"padding_mask_crop": 4}, "output_type: must be pil"),
            ({"padding_mask_crop": 4, "image": np.zeros((48, 64, 3), np.float32)}, "image: must be PIL's"),
            ({"padding_mask_crop": 4, "output_type": "pil", "mask_image": Image.new("L", (64, 40))}, "mask_image: must be as large"),
            ({"padding_mask_crop": 4, "output_type": "pil", "mask_image": Image.new("L", image.size)}, "mask_image: is black all over"),
            ({"image": np.zeros((1, 4, 8, 6), np.float32)}, "image: latents must have the shape"),
        ):
            with self.subTest(arguments), self.assertRaisesRegex(sdrs.InvalidParameterError, message):
                self.inpaint(**{**given, **arguments})
        seen = StableDiffusionXLInpaintPipeline.from_pretrained(widened(9, large=True), device="cpu")
        with self.assertRaisesRegex(sdrs.InvalidParameterError, "masked_image_latents: an inpainting model needs them"):
            seen(**{**given, "image": np.zeros((1, 4, 6, 8), np.float32)})
        refiner = StableDiffusionXLPipeline.from_pretrained(whole_refiner(), device="cpu")
        with self.assertRaisesRegex(sdrs.InvalidParameterError, "is a refiner, which goes on from a picture"):
            refiner(**self.QUICK)


if __name__ == "__main__":
    unittest.main()
