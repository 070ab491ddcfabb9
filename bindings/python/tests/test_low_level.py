import unittest
from pathlib import Path

import numpy as np

import sdrs
from support import GOLDENS, PROMPT, demo, tensors


class Text(unittest.TestCase):
    def test_tokens(self):
        ids = demo().tokenize(PROMPT)
        self.assertEqual((ids.dtype, ids.ndim), (np.int64, 1))
        self.assertLess(ids.max(), demo().sizes.vocabulary)
        self.assertEqual(demo().tokenize("").shape, (0,))

    def test_typographic_quotes(self):
        def ids(**how):
            (part,) = sdrs.plan("it\u2019s", **how)["prompt"]
            return [token["id"] for token in part["texts"][0]["chunks"][0]]

        # As transformers' slow tokenizer with ftfy has it, and its fast one.
        self.assertEqual(ids(), [585, 568])
        self.assertEqual(ids(text_as_is=True), [585, 728, 503, 338])
        self.assertEqual(demo().tokenize("\u201cred\u201d").tolist(), demo().tokenize('"red"').tolist())
        # What diffusers encodes is taken as it is.
        encoded = [demo().encode_text(text) for text in ("it\u2019s", "it's")]
        self.assertFalse(np.array_equal(*encoded))

    def test_tokenizers(self):
        folder = Path(__file__).resolve().parents[3] / "models/demo/base"
        for path in (folder, folder / "tokenizer"):
            pipe = sdrs.Pipeline.demo(tokenizer=path, device="cpu")
            self.assertEqual(pipe.tokenize(PROMPT).tolist(), demo().tokenize(PROMPT).tolist())
        with self.assertRaises(sdrs.MissingFileError):
            sdrs.Pipeline.demo(tokenizer="no/such/folder")

    def test_contexts(self):
        sizes = demo().sizes
        context = demo().encode_prompt(PROMPT)
        self.assertEqual((context.shape, context.dtype), ((sizes.context_length, sizes.context_width), np.float32))
        self.assertTrue(context.flags.writeable)
        self.assertTrue(np.isfinite(context).all())
        long = demo().encode_prompt("a red circle, " * 30)
        self.assertEqual(len(long) % sizes.context_length, 0)
        self.assertGreater(len(long), sizes.context_length)
        skipped = demo().encode_prompt(PROMPT, clip_skip=sizes.text_layers)
        self.assertEqual(skipped.shape, context.shape)
        for bad in [0, sizes.text_layers + 1, -1]:
            with self.assertRaises(sdrs.InvalidParameterError):
                demo().encode_prompt(PROMPT, clip_skip=bad)
        with self.assertRaisesRegex(sdrs.InvalidParameterError, "^prompt: AND"):
            demo().encode_prompt("a ring AND a star")

    def test_hidden_states(self):
        sizes = demo().sizes
        states = demo().text_hidden_states([1, 2, 3])
        self.assertEqual(states.shape, (sizes.text_layers + 1, 3, sizes.context_width))
        np.testing.assert_array_equal(demo().text_hidden_states(np.array([1, 2, 3], dtype=np.uint16)), states)
        last, most = sizes.vocabulary - 1, sizes.context_length
        for bad, words in [
            ([], f"must be 1 to {most}, not 0"),
            ([0] * (most + 1), f"must be 1 to {most}, not {most + 1}"),
            ([5, -1], f"-1 at index 1 is no token: this model's are 0 to {last}"),
            ([last + 1], f"{last + 1} at index 0 is no token"),
            ([2**40], f"{2**40} at index 0 is no token"),
            ([[1]], r"must have one axis, \[tokens\], not the shape \[1, 1\]"),
            (3, "must have one axis"),
            ([1.5], "must be whole numbers, not of float64"),
            ([True], "real numbers, not of bool"),
            (["a"], "real numbers, not of <U1"),
            (None, "not None"),
        ]:
            for encode in [demo().text_hidden_states, demo().encode_ids]:
                with self.assertRaisesRegex(sdrs.InvalidParameterError, f"^ids: .*{words}"):
                    encode(bad)

    def test_the_final_norm_of_ids(self):
        """The reference is transformers' last_hidden_state."""
        pipe = sdrs.Pipeline(GOLDENS / "tiny-sd1", device="cpu", dtype="f32")
        refs = tensors(GOLDENS / "tiny-sd1/refs/text_encoder.safetensors")
        ids, final = refs["input_ids"][0], refs["final"][0]
        np.testing.assert_allclose(pipe.encode_ids(ids), final, atol=1e-4)
        np.testing.assert_allclose(pipe.text_hidden_states(ids)[-1], refs[f"hidden_state.{pipe.sizes.text_layers}"][0], atol=1e-4)
        start, end = demo().sizes.vocabulary - 2, demo().sizes.vocabulary - 1
        row = np.full(demo().sizes.context_length, end)
        row[0] = start
        tokens = demo().tokenize(PROMPT)
        row[1 : 1 + len(tokens)] = tokens
        for clip_skip in (1, 2):
            expected = demo().encode_text(PROMPT, clip_skip=clip_skip)
            np.testing.assert_array_equal(demo().encode_ids(row, clip_skip=clip_skip), expected)
        for bad in [0, demo().sizes.text_layers + 1, -1]:
            with self.assertRaisesRegex(sdrs.InvalidParameterError, "^clip_skip: "):
                demo().encode_ids(row, clip_skip=bad)


class Networks(unittest.TestCase):
    def setUp(self):
        self.sizes = demo().sizes
        self.latents = np.random.default_rng(0).standard_normal((2, self.sizes.latent_channels, 8, 16), np.float32)
        context = demo().encode_prompt(PROMPT)
        self.context = np.stack([context, context])

    def test_unet(self):
        output = demo().unet(self.latents, [10, 500.5], self.context)
        self.assertEqual((output.shape, output.dtype), (self.latents.shape, np.float32))
        np.testing.assert_allclose(
            demo().unet(self.latents[1:], 500.5, self.context[1:])[0], output[1], rtol=1e-3, atol=1e-4
        )
        # Any layout and type of real numbers is taken.
        turned = np.asfortranarray(self.latents.astype(np.float64))
        np.testing.assert_array_equal(demo().unet(turned, (10, 500.5), self.context.tolist()), output)
        self.assertTrue(np.isnan(demo().unet(self.latents * np.nan, 1, self.context)).all())
        with self.assertRaisesRegex(sdrs.InvalidParameterError, "cfg_scale: .*takes no scale"):
            demo().unet(self.latents, 1, self.context, cfg_scale=8)

    def test_wrong_shapes(self):
        latents, context = self.latents, self.context
        for bad in [
            (latents[0], 1, context),
            (latents[:, :1], 1, context),
            (latents[:0], 1, context[:0]),
            (latents, [1, 2, 3], context),
            (latents, [[1, 2]], context),
            (latents, float("nan"), context),
            (latents, 1, context[0]),
            (latents, 1, context[:1]),
            (latents, 1, context[:, :, :-1]),
            (latents.astype(complex), 1, context),
            ("text", 1, context),
            (None, 1, context),
            ([[1], [2, 3]], 1, context),
            (latents, "now", context),
        ]:
            with self.assertRaises(sdrs.InvalidParameterError):
                demo().unet(*bad)

    def test_vae(self):
        f, side = self.sizes.downscale, self.sizes.default_side
        x = np.linspace(-1, 1, side, dtype=np.float32)
        images = np.broadcast_to(x, (1, 3, side, side))
        encoded = demo().vae_encode(images)
        shape = (1, self.sizes.latent_channels, side // f, side // f)
        self.assertEqual((encoded.mean.shape, encoded.std.shape), (shape, shape))
        self.assertTrue((encoded.std > 0).all())
        back = demo().vae_decode(encoded.mean)
        self.assertEqual((back.shape, back.dtype), (images.shape, np.float32))
        self.assertLess(np.abs(back - images).mean(), 0.3)
        for bad in [images[0], images[:, :2], images[:, :, :-1], images[:, :, :, 1:], images[:0]]:
            with self.assertRaises(sdrs.InvalidParameterError):
                demo().vae_encode(bad)
        for bad in [encoded.mean[0], encoded.mean[:, 1:], encoded.mean[:0]]:
            with self.assertRaises(sdrs.InvalidParameterError):
                demo().vae_decode(bad)


class ByHand(unittest.TestCase):
    """The pictures of txt2img, from the parts."""

    def draw(self, sampler, steps=3, seed=5, cfg_scale=7.0):
        pipe = demo()
        sizes, side = pipe.sizes, pipe.sizes.default_side // pipe.sizes.downscale
        contexts = np.stack([pipe.encode_prompt(PROMPT), pipe.encode_prompt("")])

        def denoiser(x, sigma):
            s = pipe.scalings(sigma)
            # The library's rounding: sums in float64, rounded to float32 once.
            scaled = (x.astype(np.float64) * s.c_in).astype(np.float32)
            output = pipe.unet(np.concatenate([scaled, scaled]), s.timestep, contexts)
            cond, uncond = (s.c_skip * x.astype(np.float64) + s.c_out * output[i : i + 1] for i in range(2))
            return uncond + cfg_scale * (cond - uncond)

        sigmas = pipe.sigmas("automatic", steps, sampler=sampler)
        x = sdrs.noise.randn((1, sizes.latent_channels, side, side), seed)
        start = (x * sigmas[0]).astype(np.float32)
        latents = sdrs.sched.sample(denoiser, start, sigmas, sampler, seed=seed)
        picture = np.clip((pipe.vae_decode(latents)[0] + 1) / 2, 0, 1) * 255
        return picture.astype(np.uint8).transpose(1, 2, 0)

    def test_a_loop_over_the_parts_draws_the_same(self):
        for sampler in ["Euler", "Heun"]:
            drawn = self.draw(sampler).astype(int)
            meant = demo().txt2img(PROMPT, steps=3, seed=5, sampler=sampler, cfg_scale=7.0).arrays[0]
            self.assertLessEqual(np.abs(drawn - meant).max(), 2, sampler)


if __name__ == "__main__":
    unittest.main()
