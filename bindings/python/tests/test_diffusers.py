import json
import tempfile
import unittest
from pathlib import Path

import numpy as np
from PIL import Image

import sdrs
from sdrs import diffusers
from sdrs._schedulers import of_folder
from sdrs.diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from support import DEMO, GOLDENS, PROMPT, psnr, tensors

CASES = json.loads((GOLDENS / "diffusers/cases.json").read_text())
# Both models' folders have it, but for clip_sample.
CONFIG = json.loads((DEMO / "scheduler/scheduler_config.json").read_text())


def scheduler(case):
    return getattr(diffusers, case["scheduler"]).from_config(CONFIG, **case["config"])


class AgainstDiffusers(unittest.TestCase):
    """The references are tools/goldens/diffusers_pipeline.py's."""

    def test_pictures_of_the_demo_model(self):
        pipe = StableDiffusionPipeline.from_pretrained(DEMO, device="cpu")
        for case in filter(lambda case: case["pictures"], CASES):
            with self.subTest(case["name"]):
                pipe.scheduler = scheduler(case)
                images = pipe(**case["call"]).images
                self.assertEqual(len(images), case["pictures"])
                for i, image in enumerate(images):
                    with Image.open(GOLDENS / f"diffusers/{case['name']}-{i}.png") as expected:
                        self.assertGreaterEqual(psnr(np.asarray(image), np.asarray(expected)), 45)

    def test_latents_of_a_random_model(self):
        eps = StableDiffusionPipeline.from_pretrained(GOLDENS / "tiny-sd1", device="cpu")
        v = StableDiffusionPipeline(sdrs.Pipeline(GOLDENS / "tiny-sd1", device="cpu", dtype="f32", prediction="v"), eps.scheduler)
        refs = tensors(GOLDENS / "diffusers/latents.safetensors")
        compared = 0
        for case in CASES:
            name, steps = case["name"], []
            if f"{name}.latents" not in refs:
                continue
            pipe = v if "prediction_type" in case["config"] else eps
            pipe.scheduler = scheduler(case)
            arguments = {key: value for key, value in case["call"].items() if key != "prompt"}
            latents = pipe(
                **arguments,
                prompt_embeds=refs["cond"],
                negative_prompt_embeds=refs["uncond"],
                output_type="latent",
                height=64,
                width=64,
                callback_on_step_end=lambda _pipe, _step, _timestep, values: steps.append(values["latents"]),
            ).images
            self.close(name, latents, refs[f"{name}.latents"])
            if f"{name}.middle" in refs:
                self.close(f"{name}, after step 5", steps[4], refs[f"{name}.middle"])
            compared += 1
        self.assertEqual({case["scheduler"] for case in CASES}, set(diffusers.SCHEDULERS))
        self.assertGreaterEqual(compared, len(diffusers.SCHEDULERS))

    def test_pictures_from_pictures(self):
        refs = tensors(GOLDENS / "diffusers/img2img.safetensors")
        loaded = StableDiffusionImg2ImgPipeline.from_pretrained(GOLDENS / "tiny-sd1", device="cpu")
        image = Image.fromarray(refs["image"])
        for case in json.loads((GOLDENS / "diffusers/img2img.json").read_text()):
            with self.subTest(case["name"]):
                loaded.scheduler = scheduler(case)
                latents = loaded(
                    **case["call"],
                    image=image,
                    prompt_embeds=refs["cond"],
                    negative_prompt_embeds=refs["uncond"],
                    output_type="latent",
                ).images
                self.close(case["name"], latents, refs[case["name"]])
        loaded.scheduler = diffusers.PNDMScheduler(skip_prk_steps=True, steps_offset=1)
        with self.assertRaisesRegex(sdrs.InvalidParameterError, "take another scheduler"):
            loaded(image=image, prompt_embeds=refs["cond"], guidance_scale=1)
        loaded.scheduler = diffusers.DDIMScheduler(steps_offset=1, clip_sample=False)
        for arguments in ({"image": None}, {"image": np.zeros((9, 8, 3), np.float32)}, {"image": [image] * 3}, {"strength": 2}):
            with self.assertRaises(sdrs.InvalidParameterError):
                loaded(**{"image": image, "prompt_embeds": refs["cond"], "guidance_scale": 1, **arguments})

    def close(self, name, got, want):
        error = np.linalg.norm(got - want) / np.linalg.norm(want)
        self.assertLessEqual(error, 1e-4, name)


class Bridge(unittest.TestCase):
    QUICK = {"prompt": PROMPT, "num_inference_steps": 2, "generator": 1}

    @classmethod
    def setUpClass(cls):
        cls.pipe = StableDiffusionPipeline.from_pretrained(str(DEMO))

    def test_outputs(self):
        image = self.pipe(**self.QUICK).images[0]
        (array,) = self.pipe(**self.QUICK, output_type="np").images
        np.testing.assert_array_equal((array * 255).round().astype(np.uint8), np.asarray(image))
        images, nsfw = self.pipe(**self.QUICK, return_dict=False)
        self.assertEqual((len(images), nsfw), (1, None))
        self.assertIs(self.pipe.to("cpu"), self.pipe)
        given = self.pipe(**self.QUICK, latents=sdrs.noise.randn((1, 4, 12, 12), 1)).images[0]
        np.testing.assert_array_equal(np.asarray(given), np.asarray(image))

    def test_generators(self):
        def latents(generator):
            return self.pipe(**{**self.QUICK, "generator": generator}, output_type="latent").images

        np.testing.assert_array_equal(latents(7), latents(np.int64(7)))
        np.testing.assert_array_equal(latents([7]), latents(7))
        np.testing.assert_array_equal(latents(np.random.default_rng(1)), latents(np.random.default_rng(1)))
        self.assertTrue((latents(None) != latents(None)).any())
        for bad in ["1", [1, 2], 1.5, object()]:
            with self.assertRaises(sdrs.InvalidParameterError):
                latents(bad)

    def test_schedulers(self):
        config = self.pipe.scheduler.config
        self.assertIsInstance(self.pipe.scheduler, diffusers.PNDMScheduler)
        euler = diffusers.EulerDiscreteScheduler.from_config(diffusers.DDIMScheduler(steps_offset=1, clip_sample=False).config)
        # The defaults of the other class stay behind.
        self.assertEqual((euler.config["timestep_spacing"], euler.config["steps_offset"]), ("linspace", 1))
        again = diffusers.DDIMScheduler.from_pretrained(DEMO)
        self.assertEqual(again.config["timestep_spacing"], "leading")
        for make in [
            lambda: diffusers.DDIMScheduler.from_config(config, clip_sample=True),
            lambda: diffusers.PNDMScheduler(),
            lambda: diffusers.DPMSolverMultistepScheduler(solver_order=3),
            lambda: diffusers.UniPCMultistepScheduler(solver_type="bh1"),
        ]:
            with self.assertRaises(sdrs.InvalidParameterError):
                make()
        for scheduler in [
            diffusers.DDIMScheduler(clip_sample=False),
            diffusers.EulerDiscreteScheduler(timestep_spacing="random"),
            diffusers.EulerDiscreteScheduler(use_karras_sigmas=True, use_beta_sigmas=True),
            diffusers.EulerDiscreteScheduler(prediction_type="v_prediction"),
            diffusers.EulerDiscreteScheduler(beta_start=0.0001),
            diffusers.EulerDiscreteScheduler(beta_schedule="linear"),
            diffusers.EulerDiscreteScheduler(num_train_timesteps=500),
            diffusers.EulerDiscreteScheduler(trained_betas=[0.1, 0.2]),
            # Its last timestep is noise alone, and epsilon says nothing of it.
            diffusers.DDIMScheduler(rescale_betas_zero_snr=True, timestep_spacing="trailing", clip_sample=False),
            diffusers.DPMSolverMultistepScheduler(algorithm_type="dpmsolver"),
        ]:
            with self.assertRaises(sdrs.InvalidParameterError):
                StableDiffusionPipeline(self.pipe.pipeline, scheduler)(**self.QUICK)

    def test_refusals(self):
        embeds = np.zeros((1, 77, 128), np.float32)
        for arguments in [
            {"prompt": None},
            {"prompt": []},
            {"prompt_embeds": embeds},
            {"prompt": None, "prompt_embeds": embeds[0]},
            {"negative_prompt": ["a", "b"]},
            {"height": 60},
            {"width": 1 << 20},
            {"num_inference_steps": 0},
            {"latents": np.zeros((1, 4, 5, 5))},
            {"output_type": "pt"},
            {"clip_skip": 99},
        ]:
            with self.subTest(arguments), self.assertRaises(sdrs.InvalidParameterError):
                self.pipe(**{**self.QUICK, **arguments})
        with self.assertRaises(sdrs.InvalidParameterError):
            self.pipe.to("cuda")
        with self.assertRaises(TypeError):
            self.pipe(PROMPT, timesteps=[1])

        def stop(*_):
            raise KeyError("mine")

        with self.assertRaises(KeyError):
            self.pipe(**self.QUICK, callback_on_step_end=stop)

    def test_folders(self):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for text in ["", "[]", '{"_class_name": "VQDiffusionScheduler"}']:
                (folder / "scheduler").mkdir(exist_ok=True)
                (folder / "scheduler/scheduler_config.json").write_text(text)
                with self.assertRaises(sdrs.InvalidFileError):
                    of_folder(folder)
            with self.assertRaises(sdrs.MissingFileError):
                diffusers.DDIMScheduler.from_pretrained(folder / "none")


if __name__ == "__main__":
    unittest.main()
