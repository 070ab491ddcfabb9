import math
import unittest

import numpy as np

import sdrs
from sdrs import noise, sched
from support import demo


class Sigmas(unittest.TestCase):
    def test_karras_is_its_formula(self):
        # Karras et al. 2022, arXiv:2206.00364, eq. 5.
        train = demo().train_sigmas()
        ramp = np.linspace(0, 1, 10)
        low, high = train[0] ** (1 / 7), train[-1] ** (1 / 7)
        expected = np.append((high + ramp * (low - high)) ** 7, 0)
        np.testing.assert_allclose(demo().sigmas("karras", 10), expected, rtol=1e-12)

    def test_options(self):
        levels = sched.sigmas("exponential", 5, sigma_min=0.1, sigma_max=10)
        np.testing.assert_allclose(levels, [*np.exp(np.linspace(math.log(10), math.log(0.1), 5)), 0], rtol=1e-12)
        self.assertEqual(len(sched.sigmas("Align Your Steps", 10, family="sdxl")), 11)
        self.assertEqual(len(sched.sigmas("automatic", 7, sampler="Euler", dialect="diffusers")), 8)
        for bad in [{"rho": -1.0}, {"sigma_min": math.nan}, {"family": "sd9"}, {"steps": 0}, {"steps": -3}]:
            with self.assertRaises(sdrs.InvalidParameterError):
                sched.sigmas(**{"schedule": "karras", "steps": 5, **bad})
        for bad in [{"schedule": "none"}, {"sampler": "none"}, {"dialect": "none"}, {"speed": 1.0}]:
            with self.assertRaises(sdrs.UnknownNameError):
                sched.sigmas(**{"schedule": "karras", "steps": 5, **bad})

    def test_every_name(self):
        for schedule in sdrs.schedules():
            levels = sched.sigmas(schedule, 10)
            self.assertTrue((np.diff(levels) < 0).all(), schedule)

    def test_scalings(self):
        sigma = demo().train_sigmas()[500]
        s = demo().scalings(sigma)
        self.assertAlmostEqual(s.timestep, 500)
        self.assertAlmostEqual(s.c_in, 1 / math.sqrt(sigma**2 + 1))
        for bad in [0, -1, math.nan, math.inf]:
            with self.assertRaises(sdrs.InvalidParameterError):
                demo().scalings(bad)


class Noise(unittest.TestCase):
    def test_pytorch_s_values(self):
        # torch.manual_seed(0); torch.randn(4)
        np.testing.assert_allclose(
            noise.randn((4,), 0), [1.5409961, -0.2934289, -2.1787894, 0.56843126], rtol=0, atol=1e-6
        )

    def test_forms(self):
        drawn = noise.randn((2, 3, 4), 1, rng="nv")
        self.assertEqual((drawn.shape, drawn.dtype), ((2, 3, 4), np.float32))
        self.assertEqual(noise.randn((0, 3), 1).shape, (0, 3))
        tree = noise.brownian((2, 5), 1, 0.1, 10, [(10, 5), (5, 1)])
        self.assertEqual((tree.shape, tree.dtype), ((2, 2, 5), np.float32))
        for call in [
            lambda: noise.randn((-1,), 1),
            lambda: noise.randn((2**40,), 1),
            lambda: noise.randn((1,), -1),
            lambda: noise.brownian((1,), 1, 1, 1, [(1, 1)]),
        ]:
            with self.assertRaises(sdrs.InvalidParameterError):
                call()


class Samples(unittest.TestCase):
    LEVELS = [4.0, 2.0, 1.0, 0.0]

    def test_euler_is_its_formula(self):
        x0 = np.array([[1.0, -2.0, 0.5]])
        for dtype in [np.float32, np.float64]:
            start = np.array([[5.0, 3.0, -4.0]], dtype=dtype)
            seen = []

            def denoiser(x, sigma):
                seen.append((sigma, x.dtype))
                return x0 * (1 + 0.1 * sigma)

            x = start.astype(np.float64)
            for sigma, following in zip(self.LEVELS, self.LEVELS[1:]):
                x = x + (x - x0 * (1 + 0.1 * sigma)) / sigma * (following - sigma)
            steps = []
            got = sched.sample(denoiser, start, self.LEVELS, "Euler", callback=lambda *told: steps.append(told))
            np.testing.assert_allclose(got, x, rtol=1e-6 if dtype == np.float32 else 1e-12)
            self.assertEqual((got.dtype, got.shape), (dtype, start.shape))
            self.assertEqual(seen, [(s, dtype) for s in self.LEVELS[:-1]])
            self.assertEqual([(step, count, sigma) for step, count, sigma, _, _ in steps], [(0, 3, 4), (1, 3, 2), (2, 3, 1)])
            np.testing.assert_array_equal(steps[-1][3], got)

    def test_every_sampler_arrives(self):
        x0 = np.linspace(-1, 1, 12).reshape(3, 4)
        start = x0 + noise.randn((3, 4), 3) * 10
        levels = sched.sigmas("karras", 12, sigma_min=0.05, sigma_max=10)
        for sampler in sdrs.samplers():
            plus = "CFG++" in sampler
            got = sched.sample(lambda x, s: (x0, x0) if plus else x0, start, levels, sampler, seed=4)
            self.assertLess(np.abs(got - x0).max(), 0.2, sampler)

    def test_noise_is_the_caller_s(self):
        drawn = []

        def mine(sigma, following):
            drawn.append((sigma, following))
            return np.zeros(3)

        args = (lambda x, s: x * 0.5, np.ones(3), self.LEVELS, "Euler a")
        first = sched.sample(*args, noise=mine)
        self.assertEqual(drawn, [(4, 2), (2, 1)])
        again = sched.sample(*args, noise=mine)
        np.testing.assert_array_equal(first, again)
        self.assertFalse((sched.sample(*args, seed=1) == sched.sample(*args, seed=2)).all())
        np.testing.assert_array_equal(sched.sample(*args, seed=1), sched.sample(*args, seed=1))

    def test_failures(self):
        class Mine(Exception):
            pass

        def fail(*args):
            raise Mine

        ones = np.ones(3)
        with self.assertRaises(Mine):
            sched.sample(fail, ones, self.LEVELS, "Euler")
        with self.assertRaises(Mine):
            sched.sample(lambda x, s: x, ones, self.LEVELS, "Euler a", noise=fail)
        with self.assertRaises(Mine):
            sched.sample(lambda x, s: x, ones, self.LEVELS, "Euler", callback=fail)
        for denoiser, levels, sampler, options in [
            (lambda x, s: x[:2], self.LEVELS, "Euler", {}),
            (lambda x, s: None, self.LEVELS, "Euler", {}),
            (lambda x, s: x, self.LEVELS, "Euler CFG++", {}),
            (lambda x, s: x, [1, 2], "Euler", {}),
            (lambda x, s: x, [[2, 1]], "Euler", {}),
            (lambda x, s: x, [2, math.nan], "Euler", {}),
            (lambda x, s: x, [], "Euler", {}),
            (lambda x, s: x, self.LEVELS, "Euler", {"eta": -1}),
            (lambda x, s: x, self.LEVELS, "Euler", {"seed": -1}),
            (lambda x, s: x, self.LEVELS, "Euler", {"order": 7}),
        ]:
            with self.assertRaises(sdrs.InvalidParameterError):
                sched.sample(denoiser, ones, levels, sampler, **options)
        for options in [{"speed": 1}, {"rng": "dice"}]:
            with self.assertRaises(sdrs.UnknownNameError):
                sched.sample(lambda x, s: x, ones, self.LEVELS, "Euler", **options)
        with self.assertRaises(sdrs.UnknownNameError):
            sched.sample(lambda x, s: x, ones, self.LEVELS, "none")


if __name__ == "__main__":
    unittest.main()
