"""What hostile and new users give. Every error names the argument in their words, and the process lives on."""

import pathlib
import unittest

import numpy as np

import sdrs
from sdrs import Lora, diffusers, infotext, noise, prompt, sched
from support import DEMO, PROMPT, QUICK, demo

BAD = sdrs.InvalidParameterError


class Arguments(unittest.TestCase):
    def refused(self, error, words, call, *args, **kwargs):
        with self.assertRaisesRegex(error, f"^{words}", msg=words):
            call(*args, **kwargs)

    def test_paths(self):
        pipe, result = demo(), demo().txt2img(PROMPT, **QUICK)
        for name, call in [
            ("checkpoint", sdrs.Pipeline),
            ("path", sdrs.Pipeline.from_pretrained),
            ("path", sdrs.Pipeline.from_single_file),
            ("path", diffusers.StableDiffusionPipeline.from_pretrained),
            ("path", diffusers.DDIMScheduler.from_pretrained),
            ("path", sdrs.inspect),
            ("path", infotext.read),
            ("path", result.save),
            ("vae", pipe.with_vae),
            ("tokenizer", lambda path: sdrs.demo(tokenizer={} if path is None else path)),
            ("config", lambda path: sdrs.Pipeline(DEMO, config={} if path is None else path)),
            (r"lora_dirs\[0\]", lambda path: sdrs.demo(lora_dirs=[path])),
            (r"embeddings\[1\]", lambda path: sdrs.demo(embeddings=[DEMO, path])),
            (r"loras\[0\]: path", lambda path: sdrs.demo(loras=[path])),
            (r"loras\[0\]: path", lambda path: pipe.with_loras([(path, 1)])),
        ]:
            for given in [None, 3, {"a": 1}]:
                self.refused(TypeError, f"{name}: must be a path, a str or a pathlib.Path, not ", call, given)
            for given in ["", "a\0b", "\ud800"]:
                self.refused(BAD, f"{name}: ", call, given)
        self.assertIn("kind", sdrs.inspect(bytes(DEMO)))
        self.assertIn("kind", sdrs.inspect(pathlib.PurePath(DEMO)))
        for given in [None, "x", b"x", DEMO, 3, {"a": 1}]:
            for name in ["lora_dirs", "embeddings"]:
                self.refused(TypeError, f"{name}: must be a list of paths, not ", sdrs.demo, **{name: given})
            self.refused(TypeError, "loras: must be a list of LoRAs, not ", pipe.with_loras, given)

    def test_loras(self):
        for lora, error, words in [
            (Lora("x", weight=2000), BAD, "weight: must be a number from -1000 to 1000, not 2000"),
            (Lora("x", 1, -2000), BAD, "text_encoder: must be a number from -1000 to 1000, not -2000"),
            (Lora("x", weight=float("nan")), BAD, "weight: must be a number from -1000 to 1000, not nan"),
            (Lora("x", weight=10**400), BAD, "weight: "),
            (Lora("x", weight="1"), TypeError, "weight: must be a number, not str"),
            (Lora("x", weight=None), TypeError, "weight: must be a number, not None"),
            (("x", 2000), BAD, "weight: "),
            (("x", 1, 2000), BAD, "text_encoder: "),
            (["x", "1"], TypeError, "weight: "),
            (("x",), TypeError, r"must be \(path, weight\)"),
            (("x", 1, 1, 1), TypeError, r"must be \(path, weight\)"),
            (Lora("x", blocks="1,1"), TypeError, "blocks: must be a list of numbers"),
            (Lora("x", blocks=[1, "1"]), TypeError, r"blocks\[1\]: must be a number, not str"),
            (Lora("x", blocks=[1, 2000]), BAD, r"blocks\[1\]: must be a number from"),
            (Lora("x", blocks={"unet.*": None}), TypeError, r"blocks\['unet.\*'\]: must be a number"),
            (Lora("x", blocks={3: 1}), TypeError, "blocks: a pattern: must be text, not int"),
            (Lora("x", ranks=0), BAD, "ranks: must be 1 or more, not 0"),
            (Lora("x", ranks=2.5), TypeError, "ranks: must be a whole number, not float"),
            (Lora("x", schedule=0.5), TypeError, "schedule: must be text, not float"),
            (Lora("x", name=b"x"), TypeError, "name: must be text, not bytes"),
            (Lora("x", allow_unmatched="no"), TypeError, "allow_unmatched: must be True or False, not str"),
        ]:
            self.refused(error, r"loras\[1\]: " + words, demo().with_loras, [DEMO, lora])
        # What is like the right types is taken.
        with self.assertRaises(sdrs.MissingFileError):
            demo().with_loras([Lora("none", np.float32(1), blocks=np.ones(17), ranks=np.int64(3), allow_unmatched=np.True_)])

    def test_names(self):
        for call, name in [
            (lambda given: sdrs.demo(device=given), "device"),
            (lambda given: sdrs.demo(quantization=given), "quantization"),
            (lambda given: sdrs.Pipeline(DEMO, prediction=given), "prediction"),
            (lambda given: demo().txt2img(PROMPT, sampler=given), "sampler"),
            (lambda given: demo().txt2img(PROMPT, preview=given), "preview"),
            (lambda given: demo().stream(PROMPT, rng=given), "rng"),
            (lambda given: demo().encode_prompt(given), "prompt"),
            (lambda given: demo().encode_text(given), "text"),
            (lambda given: demo().tokenize(given), "text"),
            (lambda given: demo().plan(given), "prompt"),
            (lambda given: demo().plan(PROMPT, emphasis=given), "emphasis"),
            (lambda given: demo().sigmas(given, 5), "schedule"),
            (lambda given: sched.sigmas("karras", 5, sampler=given), "sampler"),
            (lambda given: sched.sigmas("karras", 5, dialect=given), "dialect"),
            (lambda given: sched.sigmas("karras", 5, family=given), "family"),
            (lambda given: sched.sample(lambda x, s: x, [1.0], [2, 1], given), "sampler"),
            (lambda given: sched.sample(lambda x, s: x, [1.0], [2, 1], "Euler", rng=given), "rng"),
            (lambda given: noise.Generator(1, rng=given), "rng"),
            (lambda given: infotext.parse(given), "text"),
            (lambda given: prompt.schedule("a", 3, time_rule=given), "time_rule"),
        ]:
            for given in [3, b"x", ["x"], {"x": 1}]:
                self.refused(TypeError, f"{name}: ", call, given)
            if name not in ("time_rule", "family"):
                self.refused(BAD, f"{name}: ", call, "\ud800")
        self.refused(sdrs.UnknownNameError, "unknown quantization 'x{80}'; known are", sdrs.demo, quantization="x" * 100_000)
        self.refused(sdrs.UnknownNameError, "unknown dtype 'x{80}'; known are", sdrs.demo, dtype="x" * 100_000)

    def test_numbers(self):
        huge, nan = 10**5000, float("nan")
        for call, name in [
            (lambda given: demo().txt2img(PROMPT, steps=given), "steps"),
            (lambda given: demo().txt2img(PROMPT, width=given), "width"),
            (lambda given: demo().txt2img(PROMPT, batch_size=given), "batch_size"),
            (lambda given: demo().txt2img(PROMPT, preview_every=given, preview="full"), "preview_every"),
            (lambda given: demo().encode_prompt(PROMPT, clip_skip=given), "clip_skip"),
            (lambda given: demo().encode_ids([1], clip_skip=given), "clip_skip"),
            (lambda given: sdrs.demo(threads=given), "threads"),
            (lambda given: sdrs.demo(memory_limit=given), "memory_limit"),
            (lambda given: noise.randn([2, given], 1), r"shape\[1\]|shape"),
            (lambda given: noise.brownian([given], 1, 1, 2, [(1, 2)]), r"shape\[0\]|shape"),
            (lambda given: prompt.schedule("a", given), "steps"),
            (lambda given: sched.sigmas("karras", given), "steps"),
        ]:
            for given in ["two", 2.5, nan, [2], {"a": 1}]:
                self.refused(TypeError, f"({name}): ", call, given)
            for given in [-1, huge, -huge]:
                self.refused(BAD, f"({name}): ", call, given)
        for call, name in [
            (lambda given: demo().txt2img(PROMPT, cfg_scale=given), "cfg_scale"),
            (lambda given: demo().scalings(given), "sigma"),
            (lambda given: noise.brownian([2], 1, given, 2, [(1, 2)]), "sigma_min"),
            (lambda given: noise.brownian([2], 1, 1, 2, [(1, given)]), r"ways\[0\]"),
            (lambda given: sched.sigmas("karras", 5, rho=given), "rho"),
            (lambda given: sched.sample(lambda x, s: x, [1.0], [2, 1], "Euler", eta=given), "eta"),
        ]:
            for given in ["two", [2], {"a": 1}]:
                self.refused(TypeError, f"{name}: ", call, given)
            for given in [nan, float("inf"), huge]:
                self.refused(BAD, f"({name}|sigma_m.*): ", call, given)
        self.refused(TypeError, "shape: must be a list of whole numbers, not int", noise.randn, 3, 1)
        self.refused(BAD, "shape: .* values are too many", noise.randn, [2**16, 2**16], 1)
        self.refused(TypeError, "shape: must be a list of whole numbers", noise.randn, np.array(3), 1)
        self.refused(TypeError, "ways: must be a list of pairs of sigmas", noise.brownian, [2], 1, 1, 2, 3)
        self.refused(BAD, r"ways\[1\]: must be a pair", noise.brownian, [2], 1, 1, 2, [(1, 2), (1, 2, 3)])
        for seed in [-2, huge, -huge]:
            self.refused(BAD, "seed: ", demo().txt2img, PROMPT, seed=seed)
        for seed in [-1, huge, -huge]:
            self.refused(BAD, "seed: ", noise.Generator, seed)
        self.refused(TypeError, "prompt: ", demo().txt2img, {"prompt": PROMPT})
        # NumPy's numbers do as well as Python's.
        taken = {"steps": np.int64(2), "seed": np.uint8(1), "cfg_scale": np.float32(7), "pad_prompts": np.False_, "eta": np.array(1.0)}
        expected = demo().txt2img(PROMPT, **QUICK, cfg_scale=7).arrays[0]
        np.testing.assert_array_equal(demo().txt2img(PROMPT, **{**QUICK, **taken}).arrays[0], expected)

    def test_functions(self):
        for given in ["print", 3, [print]]:
            self.refused(TypeError, "callback: must be a function of an Event or None, not", demo().txt2img, PROMPT, callback=given)
            self.refused(TypeError, "progress: must be a function", demo().latents, PROMPT, progress=given)
            self.refused(TypeError, "log: must be a function", sdrs.demo, log=given)
            self.refused(TypeError, "denoiser: must be a function of x and sigma, not", sched.sample, given, [1.0], [2, 1], "Euler")
            for name in ["noise", "callback"]:
                self.refused(
                    TypeError, f"{name}: must be a function", sched.sample, lambda x, s: x, [1.0], [2, 1], "Euler", **{name: given}
                )
        self.refused(TypeError, "denoiser: ", sched.sample, None, [1.0], [2, 1], "Euler")
        self.refused(TypeError, "cancel: 'bool' object is not an instance of 'CancelToken'", demo().txt2img, PROMPT, cancel=True)
        self.refused(TypeError, "cancel: ", demo().stream, PROMPT, cancel="now")

    def test_arrays(self):
        sizes = demo().sizes
        latents = np.zeros((1, sizes.latent_channels, 8, 8), np.float32)
        context = np.zeros((1, 3, sizes.context_width), np.float32)
        self.refused(BAD, r"latents: must have 4 axes, \[batch, unet_channels, h, w\], not the shape", demo().unet, latents[0], 1, context)
        self.refused(BAD, r"context: must have 3 axes, \[batch, tokens, context_width\]", demo().unet, latents, 1, context[0])
        self.refused(BAD, "latents: must have 4 axes", demo().vae_decode, 3.0)
        self.refused(BAD, "latents: must have 4 axes", demo().unet, 3.0, 1, context)
        self.refused(BAD, "latents: .* not None", demo().vae_decode, None)
        self.refused(BAD, "timesteps: .* not None", demo().unet, latents, None, context)
        self.refused(BAD, "x: .* not None", sched.sample, lambda x, s: x, None, [2, 1], "Euler")
        self.refused(BAD, "sigmas: .* not str", sched.sample, lambda x, s: x, [1.0], "karras", "Euler")
        self.refused(BAD, "denoised: .* not str", sched.sample, lambda x, s: "x", [1.0], [2, 1], "Euler")
        # Any size that a U-Net may be asked for: an answer or an error.
        for h in range(1, 10):
            for w in (1, 3, 8):
                try:
                    got = demo().unet(np.zeros((1, sizes.latent_channels, h, w), np.float32), 1, context)
                    self.assertEqual(got.shape, (1, sizes.latent_channels, h, w))
                except BAD as error:
                    self.assertRegex(str(error), "^latents: ")

    def test_results(self):
        result = demo().txt2img(PROMPT, **QUICK)
        self.refused(IndexError, "index: there are 1 pictures, the last is 0, not 1", result.png, 1)
        self.refused(IndexError, "index: ", lambda: result[5])
        self.assertEqual(len(result[-1:]), 1)


class Diffusers(unittest.TestCase):
    refused = Arguments.refused

    def test_calls(self):
        pipe = diffusers.StableDiffusionPipeline.from_pretrained(DEMO, device="cpu")
        pipe.set_progress_bar_config(disable=True)
        for name, wrong, beyond in [
            ("num_inference_steps", "x", 0),
            ("num_inference_steps", 2.5, 10_001),
            ("num_images_per_prompt", None, 0),
            ("guidance_scale", "7", float("nan")),
            ("guidance_rescale", None, 2),
            ("height", "64", 7),
            ("width", 64.0, 12),
            ("clip_skip", "1", 99),
            ("eta", "0", -1),
        ]:
            self.refused(TypeError, f"{name}: ", pipe, PROMPT, **{name: wrong})
            self.refused(BAD, f"{name}: ", pipe, PROMPT, **{name: beyond})
        self.refused(TypeError, "prompt: must be a list of texts, not int", pipe, 3)
        self.refused(TypeError, "prompt: must be text, not bytes", pipe, [b"x"])
        self.refused(TypeError, "negative_prompt: must be text, not int", pipe, PROMPT, negative_prompt=[1])
        self.refused(BAD, "prompt: the list is empty", pipe, [])
        self.refused(BAD, "generator: a seed: must be 0 to", pipe, PROMPT, generator=-1)
        self.refused(TypeError, "callback_on_step_end: must be a function", pipe, PROMPT, callback_on_step_end="x")
        self.refused(BAD, "output_type: must be pil, np or latent", pipe, PROMPT, output_type="jpg")
        self.refused(TypeError, "output_type: must be text", pipe, PROMPT, output_type=np.zeros(2))
        self.refused(TypeError, "device: must be text", pipe.to, 10**5000)
        self.refused(TypeError, "config: must be a scheduler's config", diffusers.DDIMScheduler.from_config, None)
        for given in [3, "DDIMScheduler", diffusers.DDIMScheduler]:
            self.refused(TypeError, "scheduler: must be one of sdrs.diffusers, not", diffusers.StableDiffusionPipeline, demo(), given)
        self.refused(TypeError, "torch_dtype: must be a name", diffusers.StableDiffusionPipeline.from_pretrained, DEMO, torch_dtype=16)
        self.refused(sdrs.FileError, ".*scheduler_config.json", diffusers.DDIMScheduler.from_pretrained, DEMO / "model_index.json")


if __name__ == "__main__":
    unittest.main()
