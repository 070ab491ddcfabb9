"""Types and arrays of other libraries, and pictures. What stands in for torch has its protocol; torch itself is tried where it is there."""

import importlib.util
import unittest

import numpy as np
from PIL import Image

import sdrs
from sdrs import _arrays, diffusers
from support import DEMO, GOLDENS, PROMPT, demo, quick, tensors


class Dtype:
    """torch.float16 and the like."""

    def __init__(self, name):
        self.name = name
        self.is_floating_point = True

    def __str__(self):
        return f"torch.{self.name}"


class Tensor:
    """What torch lets NumPy have of a tensor: nothing while it needs a gradient, lies on a GPU, or is of a type that NumPy lacks."""

    def __init__(self, values, dtype="float32", requires_grad=False, device="cpu"):
        self.values, self.dtype, self.requires_grad, self.device = values, Dtype(dtype), requires_grad, device

    def detach(self):
        return Tensor(self.values, self.dtype.name, False, self.device)

    def cpu(self):
        return Tensor(self.values, self.dtype.name, self.requires_grad, "cpu")

    def float(self):
        return Tensor(self.values, "float32", self.requires_grad, self.device)

    def numpy(self):
        if self.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        if self.device != "cpu":
            raise TypeError("can't convert cuda:0 device type tensor to numpy.")
        if self.dtype.name.startswith(("bfloat16", "float8", "complex32")):
            raise TypeError(f"Got unsupported ScalarType {self.dtype.name}")
        return self.values.astype(self.dtype.name)

    def __array__(self, dtype=None, copy=None):
        return self.numpy()

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        return Tensor(self.values[index], self.dtype.name, self.requires_grad, self.device)


class Latent(unittest.TestCase):
    """Half precision holds these values exactly."""

    VALUES = np.arange(-4, 4, 0.125).reshape(1, 4, 4, 4).astype(np.float32)

    def is_taken(self, given):
        np.testing.assert_array_equal(_arrays.numbers("latents", given, np.float32).reshape(self.VALUES.shape), self.VALUES)

    def is_refused(self, words, given):
        with self.assertRaisesRegex(sdrs.InvalidParameterError, f"^latents: .*{words}"):
            _arrays.numbers("latents", given, np.float32)

    def test_what_stands_in_for_torch(self):
        for dtype in ["float32", "float64", "float16", "bfloat16"]:
            self.is_taken(Tensor(self.VALUES, dtype))
        self.is_taken(Tensor(self.VALUES, "bfloat16", requires_grad=True, device="cuda:0"))
        self.is_taken([Tensor(row, "bfloat16") for row in self.VALUES])
        self.is_taken(tuple(self.VALUES))
        self.is_refused("unsupported ScalarType complex32; give one of NumPy, or of float32", Tensor(self.VALUES, "complex32"))

    def test_other_protocols(self):
        class Plain:
            def __init__(self, values):
                self.values = values

        class ByArray(Plain):
            def __array__(self, dtype=None, copy=None):
                return self.values

        class ByMethod(Plain):
            def numpy(self):
                return self.values

        class ByCapsule(Plain):
            def __dlpack__(self, **options):
                return self.values.__dlpack__(**options)

            def __dlpack_device__(self):
                return self.values.__dlpack_device__()

        class ByInterface(Plain):
            @property
            def __array_interface__(self):
                return self.values.__array_interface__

        for kind in [ByArray, ByMethod, ByCapsule, ByInterface]:
            self.is_taken(kind(self.VALUES))
        self.is_taken(memoryview(self.VALUES))

        class Failing:
            def __array__(self, dtype=None, copy=None):
                raise LookupError("it is elsewhere")

        self.is_refused("can't be read as an array of numbers: it is elsewhere", Failing())
        self.is_refused("not Plain", Plain(self.VALUES))

    def test_what_is_no_array(self):
        for given, words in [
            (None, "not None"),
            ("a", "not str"),
            ({"latents": 1}, "not dict"),
            ({1.0}, "not set"),
            ([1, None], "not of object"),
            ([[1], [2, 3]], "inhomogeneous|sequence|object"),
            (np.ones(2, bool), "not of bool"),
            (np.ones(2, complex), "not of complex128"),
            ([2**70], "not of object"),
            ([1e300], "1e\\+300 is beyond the range of float32"),
            (np.zeros(2, "f4,i4"), "real numbers"),
        ]:
            self.is_refused(words, given)
        self.assertTrue(np.isinf(_arrays.numbers("latents", [np.inf], np.float32)[0]))

    @unittest.skipUnless(importlib.util.find_spec("ml_dtypes"), "ml_dtypes is not there")
    def test_ml_dtypes(self):
        import ml_dtypes

        self.is_taken(self.VALUES.astype(ml_dtypes.bfloat16))
        self.assertEqual(sdrs.demo(dtype=ml_dtypes.bfloat16).dtype, "bf16")

    @unittest.skipUnless(importlib.util.find_spec("torch"), "torch is not there")
    def test_torch(self):
        import torch

        tensor = torch.from_numpy(self.VALUES)
        for dtype in [torch.float32, torch.float64, torch.float16, torch.bfloat16]:
            self.is_taken(tensor.to(dtype))
        self.is_taken(tensor.to(torch.bfloat16).requires_grad_())
        self.is_taken(torch.nn.Parameter(tensor))
        self.is_taken(list(tensor.to(torch.bfloat16)))
        self.is_refused("meta", tensor.to("meta"))
        self.is_refused("Sparse", tensor.to_sparse())
        self.assertEqual(sdrs.demo(dtype=torch.bfloat16, device=torch.device("cpu")).dtype, "bf16")
        context = demo().encode_prompt(PROMPT)[None]
        np.testing.assert_array_equal(
            demo().unet(tensor.bfloat16(), torch.tensor([3]), torch.from_numpy(context)), demo().unet(self.VALUES, 3, context)
        )


class Types(unittest.TestCase):
    def test_of_a_pipeline(self):
        for given in [Dtype("bfloat16"), "bfloat16", "torch.bfloat16", "BF16"]:
            self.assertEqual(sdrs.demo(dtype=given).dtype, "bf16")
        for given in [np.float32, np.dtype("float32"), Dtype("float32")]:
            self.assertEqual(sdrs.demo(dtype=given, device="cpu").dtype, "f32")
        # Whichever is faster on this processor.
        self.assertIn(sdrs.demo(dtype="auto", device="cpu").dtype, ("f32", "bf16"))
        pipe = diffusers.StableDiffusionPipeline.from_pretrained(DEMO, torch_dtype=Dtype("bfloat16"), device="cpu")
        self.assertEqual(pipe.pipeline.dtype, "bf16")

    def test_unknown(self):
        for given in [np.float64, np.int8, Dtype("float8_e4m3fn"), float, "f8"]:
            with self.assertRaisesRegex(sdrs.UnknownNameError, "unknown dtype '.*'; known are auto, f32, bf16, f16"):
                sdrs.demo(dtype=given)
        for given in [None, 16, object(), ["f16"]]:
            with self.assertRaisesRegex(TypeError, "^dtype: must be a name"):
                sdrs.demo(dtype=given)

    def test_of_noise(self):
        drawn = sdrs.noise.Generator(1).randn((2, 3), dtype="f16")
        np.testing.assert_array_equal(sdrs.noise.Generator(1).randn((2, 3), dtype=np.float16), drawn)
        np.testing.assert_array_equal(sdrs.noise.Generator(1).randn((2, 3), dtype=Dtype("float16")), drawn)

    def test_devices(self):
        device = type("device", (), {"type": "cpu", "__str__": lambda self: "cpu"})
        self.assertEqual(sdrs.demo(device=device()).device, "cpu")
        with self.assertRaisesRegex(TypeError, "^device: must be text, not int"):
            sdrs.demo(device=0)


class Pictures(unittest.TestCase):
    """All of them are the same picture."""

    def setUp(self):
        self.bytes = quick()
        floats = self.bytes.astype(np.float32) / np.float32(127.5) - 1
        self.expected = demo().vae_encode(floats.transpose(2, 0, 1)[None])

    def test_bytes_and_pil(self):
        picture = Image.fromarray(self.bytes)
        for given in [
            self.bytes,
            self.bytes[None],
            [self.bytes],
            self.bytes.transpose(2, 0, 1)[None],
            picture,
            [picture],
            Tensor(self.bytes, "uint8"),
        ]:
            encoded = demo().vae_encode(given)
            np.testing.assert_array_equal(encoded.mean, self.expected.mean)
            np.testing.assert_array_equal(encoded.std, self.expected.std)
        self.assertEqual(len(demo().vae_encode([picture, picture]).mean), 2)
        grey = picture.convert("L")
        np.testing.assert_array_equal(demo().vae_encode(grey).mean, demo().vae_encode(grey.convert("RGB")).mean)

    def test_what_is_no_picture(self):
        side = demo().sizes.default_side
        for given, words in [
            (self.bytes.astype(np.float32).transpose(2, 0, 1)[None], "values must be -1 to 1, not .*; bytes are divided by 127.5"),
            (self.bytes.astype(int).transpose(2, 0, 1)[None], r"or bytes \(uint8\), not of int64"),
            (np.full((1, 3, side, side), np.nan), "not NaN"),
            (self.bytes[..., 0], "bytes must have the shape"),
            (self.bytes[..., :2], "bytes must have the shape"),
            (Image.new("RGBA", (side, side)), r'must be RGB, not RGBA: give picture.convert\("RGB"\)'),
            ([Image.new("RGB", (8, 8)), Image.new("RGB", (8, 16))], "can't be read as an array"),
            (DEMO, r"not a path: give PIL.Image.open\(path\)"),
            ("picture.png", r"not a path"),
            (self.bytes[:-1], "sides multiples of"),
            (np.zeros((side, side, 3)), r"must have 4 axes, \[batch, 3, height, width\], not the shape"),
            ([], "must have 4 axes"),
        ]:
            with self.assertRaisesRegex(sdrs.InvalidParameterError, f"^images(\\[0\\])?: .*{words}"):
                demo().vae_encode(given)

    def test_latents_are_the_u_net_s(self):
        """The references are diffusers' own latents, without the factor: tools/goldens has the script."""
        pipe = sdrs.Pipeline(GOLDENS / "tiny-sd1", device="cpu", dtype="f32")
        refs = tensors(GOLDENS / "tiny-sd1/refs/vae.safetensors")
        self.assertEqual(pipe.scaling_factor, 0.18215)
        encoded = pipe.vae_encode(refs["encode.image"])
        np.testing.assert_allclose(encoded.mean / pipe.scaling_factor, refs["encode.mean"], atol=1e-4)
        np.testing.assert_allclose(2 * np.log(encoded.std / pipe.scaling_factor), refs["encode.logvar"], atol=1e-3)
        decoded = pipe.vae_decode(refs["decode.latent"] * pipe.scaling_factor)
        np.testing.assert_allclose(decoded, refs["decode.out"], atol=1e-4)


if __name__ == "__main__":
    unittest.main()
