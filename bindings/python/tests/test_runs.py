import concurrent.futures
import io
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import unittest
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np

import sdrs
from support import GOLDENS, PROMPT, QUICK, demo, python, quick

# Long enough that nobody waits for its end.
LONG = {"steps": 10_000, "seed": 1, "sampler": "Euler"}


class Logs(unittest.TestCase):
    def test_a_function_is_called(self):
        lines = []
        pipe = sdrs.demo(log=lambda level, message: lines.append((level, message)))
        loaded = len(lines)
        self.assertTrue(any(level == "info" and line.startswith("loaded the U-Net: ") for level, line in lines), lines)
        np.testing.assert_array_equal(pipe.txt2img(PROMPT, **QUICK).arrays[0], quick())
        self.assertTrue(any("sampled picture 1 of 1" in line for _, line in lines[loaded:]))
        drawn = len(lines)
        # In the stream's own thread as well, and for siblings.
        self.assertTrue([event for event in pipe.with_loras([]).stream(PROMPT, **QUICK)][-1].final)
        self.assertTrue(any("sampled picture 1 of 1" in line for _, line in lines[drawn:]))

    def test_a_logger_is_called(self):
        with self.assertLogs("sdrs.test", logging.INFO) as seen, tempfile.TemporaryDirectory() as folder:
            Path(folder, "broken.pt").write_bytes(b"nothing")
            sdrs.demo(log=logging.getLogger("sdrs.test"), embeddings=[folder])
        self.assertTrue(any(r.levelno == logging.INFO and "loaded the VAE" in r.getMessage() for r in seen.records))
        self.assertTrue(any(r.levelno == logging.WARNING and "broken.pt" in r.getMessage() for r in seen.records))

    def test_what_it_raises_is_reported(self):
        raised, before = [], sys.unraisablehook

        def fail(level, message):
            raise KeyError(message)

        sys.unraisablehook = lambda told: raised.append((told.exc_type, told.object is fail))
        try:
            pipe = sdrs.demo(log=fail)
            np.testing.assert_array_equal(pipe.txt2img(PROMPT, **QUICK).arrays[0], quick())
        finally:
            sys.unraisablehook = before
        self.assertTrue(len(raised) > 3 and set(raised) == {(KeyError, True)}, raised)
        with self.assertRaisesRegex(TypeError, "log: must be a function"):
            sdrs.demo(log="sdrs")

    def test_an_interpreter_may_end_before_its_stream(self):
        code = f"import sdrs; p = sdrs.demo(log=print); s = iter(p.stream({PROMPT!r}, **{LONG!r})); next(s); print('left')"
        process = python(code)
        told, error = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, error)
        self.assertIn("left", told)


class Watching(unittest.TestCase):
    def test_callbacks_see_every_step(self):
        events, more = [], []
        result = demo().txt2img(PROMPT, **QUICK, batch_size=2, callback=events.append, progress=more.append)
        self.assertEqual([(e.image, e.step) for e in events], [(0, 1), (0, 2), (1, 1), (1, 2)])
        self.assertEqual(events, more)
        self.assertTrue(all(e.total == 2 and e.batch_size == 2 and not e.final for e in events))
        self.assertGreater(events[0].sigma, events[1].sigma)
        np.testing.assert_array_equal(result.arrays[0], quick())

    def test_devices_share_a_batch(self):
        several, events = sdrs.demo(device="cpu,cpu"), []
        self.assertEqual(several.device, "cpu,cpu")
        result = several.txt2img(PROMPT, **QUICK, batch_size=3, callback=events.append)
        alone = sdrs.demo(device="cpu").txt2img(PROMPT, **QUICK, batch_size=3)
        self.assertEqual(result.infotexts, alone.infotexts)
        for a, b in zip(result.arrays, alone.arrays):
            np.testing.assert_array_equal(a, b)
        self.assertEqual(sorted((e.image, e.step) for e in events), [(image, step) for image in range(3) for step in (1, 2)])

    def test_previews(self):
        side, small = demo().sizes.default_side, demo().sizes.default_side // demo().sizes.downscale
        for method, size in [("approximate", small), ("full", side)]:
            events = []
            result = demo().txt2img(PROMPT, **QUICK, preview=method, preview_every=2, callback=events.append)
            self.assertIsNone(events[0].preview)
            self.assertEqual((events[1].preview.shape, events[1].preview.dtype), ((size, size, 3), np.uint8))
            np.testing.assert_array_equal(result.arrays[0], quick())
        # The last step's denoised latent is what is decoded.
        np.testing.assert_array_equal(events[1].preview, quick())
        shown = [event.preview is not None for event in demo().stream(PROMPT, **QUICK, preview="approximate")]
        self.assertEqual(shown, [True, True, False])
        with self.assertRaises(sdrs.UnknownNameError):
            demo().txt2img(PROMPT, **QUICK, preview="sketch")
        with self.assertRaisesRegex(sdrs.InvalidParameterError, "wants its file"):
            demo().txt2img(PROMPT, **QUICK, preview="taesd")
        tiny = sdrs.Pipeline(GOLDENS / "tiny-sd1", taesd=GOLDENS / "tiny-vae" / "diffusion_pytorch_model.safetensors", device="cpu", dtype="f32")
        events.clear()
        tiny.txt2img(PROMPT, **QUICK, width=32, height=40, preview="taesd", callback=events.append)
        self.assertEqual([event.preview.shape for event in events], [(40, 32, 3)] * 2)
        with self.assertRaises(sdrs.InvalidParameterError):
            demo().txt2img(PROMPT, **QUICK, preview="full", preview_every=0)

    def test_latents(self):
        events = []
        made = demo().latents(PROMPT, **QUICK, batch_size=2, callback=events.append)
        side = demo().sizes.default_side // demo().sizes.downscale
        self.assertEqual(made.latents.shape, (2, demo().sizes.latent_channels, side, side))
        self.assertEqual((made.seeds, len(events)), ([1, 2], 4))
        self.assertTrue(made.infotexts[1].startswith(PROMPT + "\nSteps: 2, Sampler: Euler,"))
        pixels = (np.clip((demo().vae_decode(made.latents)[0] + 1) / 2, 0, 1) * 255).astype(np.uint8)
        np.testing.assert_array_equal(pixels.transpose(1, 2, 0), quick())
        with self.assertRaises(sdrs.InvalidParameterError):
            demo().latents(PROMPT, steps=0)

    def test_what_a_callback_raises_is_raised(self):
        class Mine(Exception):
            pass

        def callback(event):
            raise Mine(event.step)

        with self.assertRaises(Mine) as caught:
            demo().txt2img(PROMPT, **LONG, callback=callback)
        self.assertEqual(caught.exception.args, (1,))

    def test_pictures_come_as_they_are_done(self):
        for pipe in (demo(), sdrs.demo(device="cpu,cpu")):
            whole, here, seen = pipe.txt2img(PROMPT, **QUICK, batch_size=3), threading.get_ident(), {}

            def keep(index, result):
                self.assertEqual((threading.get_ident(), len(result)), (here, 1))
                seen[index] = result

            result = pipe.txt2img(PROMPT, **QUICK, batch_size=3, on_image=keep)
            self.assertEqual(sorted(seen), [0, 1, 2])
            for i, alone in seen.items():
                np.testing.assert_array_equal(alone.arrays[0], whole.arrays[i])
                np.testing.assert_array_equal(alone.arrays[0], result.arrays[i])
                self.assertEqual((alone.seeds, alone.infotexts), ([whole.seeds[i]], [whole.infotexts[i]]))
                self.assertEqual(alone.png(), whole.png(i))
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            noise = np.zeros((32, 48, 3), np.uint8)
            demo().img2img(PROMPT, noise, **QUICK, on_image=lambda i, one: paths.extend(one.save(Path(folder, f"{i}.png"))))
            self.assertEqual([path.is_file() for path in paths], [True])
        with self.assertRaisesRegex(TypeError, "on_image: must be a function of an index and a Result or None"):
            demo().txt2img(PROMPT, **QUICK, on_image="a.png")

    def test_what_on_image_raises_is_raised(self):
        class Mine(Exception):
            pass

        for pipe, devices in ((demo(), 1), (sdrs.demo(device="cpu,cpu"), 2)):
            # With the last picture as well, when nothing is left to stop.
            for last in (2, 4):
                done = []

                def fail(index, result):
                    done.append(result)
                    if len(done) == last:
                        raise Mine(len(done))

                with self.assertRaises(Mine) as caught:
                    pipe.txt2img(PROMPT, **QUICK, batch_size=4, on_image=fail)
                self.assertEqual(caught.exception.args, (last,))
                self.assertIn(len(done), range(last, last + devices))

    def test_what_was_drawn_outlasts_what_comes_later(self):
        done = []

        def stop(event):
            if event.image == 1:
                raise KeyError(event.image)

        with self.assertRaises(KeyError):
            demo().txt2img(PROMPT, **QUICK, batch_size=3, callback=stop, on_image=lambda *one: done.append(one))
        self.assertEqual([index for index, _ in done], [0])
        np.testing.assert_array_equal(done[0][1].arrays[0], quick())
        # And in a stream.
        stream = demo().stream(PROMPT, **QUICK, batch_size=3)
        with self.assertRaises(sdrs.CancelledError):
            for event in stream:
                if event.image == 1:
                    stream.cancel()
        self.assertEqual(list(stream.done), [0])
        np.testing.assert_array_equal(stream.done[0].arrays[0], quick())
        stream = demo().stream(PROMPT, **QUICK, batch_size=2)
        events = list(stream)
        self.assertEqual([len(events), sorted(stream.done), len(events[-1].result)], [5, [0, 1], 2])

    def test_a_callback_may_draw(self):
        inner = []
        demo().txt2img(
            PROMPT, **QUICK, callback=lambda e: inner.append(demo().txt2img(PROMPT, **QUICK)) if e.step == 1 else None
        )
        np.testing.assert_array_equal(inner[0].arrays[0], quick())

    def test_the_bar(self):
        for progress, shown in [(True, True), (False, False), (None, False)]:
            with redirect_stderr(io.StringIO()) as told:
                demo().txt2img(PROMPT, **QUICK, progress=progress)
            self.assertEqual("2/2 steps" in told.getvalue(), shown)
            if shown:
                self.assertTrue(told.getvalue().endswith(" \r"))

    def test_the_bar_of_an_adaptive_sampler(self):
        with redirect_stderr(io.StringIO()) as told:
            demo().txt2img(PROMPT, seed=1, steps=2, sampler="DPM adaptive", progress=True)
        self.assertRegex(told.getvalue(), r"\d+ steps, ")


    @unittest.skipIf(os.name == "nt", "no pseudo-terminals there")
    def test_the_bar_is_for_who_looks(self):
        import pty

        code = f"import sdrs; sdrs.demo().txt2img('a ring', **{QUICK})"
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        process = python(code, stderr=theirs)
        os.close(theirs)
        told = b""
        try:
            while chunk := os.read(ours, 4096):
                told += chunk
        except OSError:  # how Linux says that the other end is closed
            pass
        process.communicate(timeout=60)
        self.assertIn("2/2 steps", told.decode())
        process = python(code)
        self.assertEqual(process.communicate(timeout=60), ("", ""))


class Memory(unittest.TestCase):
    @unittest.skipUnless(os.path.exists("/proc/self/statm"), "needs /proc")
    def test_it_stays_flat(self):
        def resident():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        def draw(times):
            for seed in range(times):
                result = demo().txt2img(PROMPT, **{**QUICK, "steps": 1, "seed": seed}, callback=lambda event: None)
                result.images, result.png()

        draw(10)
        before = resident()
        draw(50)
        self.assertLess(resident() - before, 16 << 20)


# Whoever runs the tests in the background may have told all below to ignore Ctrl-C.
HEED = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"


class Stopping(unittest.TestCase):
    def setUp(self):
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, before)

    def test_a_token_stops_from_another_thread(self):
        token, began = sdrs.CancelToken(), threading.Event()
        threading.Thread(target=lambda: (began.wait(), token.cancel())).start()
        with self.assertRaises(sdrs.CancelledError):
            demo().txt2img(PROMPT, **LONG, cancel=token, callback=lambda event: began.set())
        self.assertTrue(token.cancelled)
        with self.assertRaises(sdrs.CancelledError):
            demo().txt2img(PROMPT, **QUICK, cancel=token)

    def test_a_signal_stops_within_a_step(self):
        steps = []

        def callback(event):
            steps.append(event.step)
            if event.step == 2:
                os.kill(os.getpid(), signal.SIGINT)

        with self.assertRaises(KeyboardInterrupt):
            demo().txt2img(PROMPT, **LONG, callback=callback)
        self.assertLessEqual(len(steps), 3)

    def interrupted(self, code):
        # Its own group, as a terminal would have it; only this process is meant.
        process = python(HEED + code, start_new_session=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.assertEqual(process.stdout.readline(), "begun\n", "did not begin")
        began = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        self.assertEqual(process.wait(60), 0, process.stderr.read())
        return time.monotonic() - began

    @unittest.skipIf(os.name == "nt", "signals are different there")
    def test_ctrl_c(self):
        took = self.interrupted(
            "import sdrs, sys\n"
            "def tell(event):\n"
            "    if event.step == 1: print('begun', flush=True)\n"
            "try:\n"
            f"    sdrs.demo().txt2img('a ring', steps=10_000, sampler='Euler', callback=tell)\n"
            "except KeyboardInterrupt:\n"
            "    sys.exit(0)\n"
            "sys.exit(3)\n"
        )
        self.assertLess(took, 30)

    @unittest.skipIf(os.name == "nt", "signals are different there")
    def test_ctrl_c_in_a_stream(self):
        self.interrupted(
            "import sdrs, sys\n"
            "try:\n"
            "    for event in sdrs.demo().stream('a ring', steps=10_000, sampler='Euler'):\n"
            "        if event.step == 1: print('begun', flush=True)\n"
            "except KeyboardInterrupt:\n"
            "    sys.exit(0)\n"
            "sys.exit(3)\n"
        )


class Streams(unittest.TestCase):
    def test_events_then_the_result(self):
        events = list(demo().stream(PROMPT, **QUICK))
        self.assertEqual([(e.step, e.total, e.final) for e in events], [(1, 2, False), (2, 2, False), (2, 2, True)])
        np.testing.assert_array_equal(events[-1].result.arrays[0], quick())

    def threads(self):
        # The run's thread is not Python's: the system's list has it.
        names = []
        for task in os.listdir("/proc/self/task"):
            try:
                with open(f"/proc/self/task/{task}/comm") as file:
                    names.append(file.read().strip())
            except OSError:  # it has just ended
                pass
        return names.count("sdrs")

    @unittest.skipUnless(os.path.isdir("/proc/self/task"), "needs /proc")
    def test_leaving_the_loop_cancels(self):
        for event in demo().stream(PROMPT, **LONG):
            self.assertEqual(self.threads(), 1)
            if event.step == 2:
                break
        until = time.monotonic() + 60
        while self.threads() and time.monotonic() < until:
            time.sleep(0.05)
        self.assertEqual(self.threads(), 0)

    def test_close_and_with(self):
        with demo().stream(PROMPT, **LONG) as stream:
            self.assertEqual(next(stream).step, 1)
        self.assertEqual(list(stream), [])
        stream.close()

    def test_cancel(self):
        stream = demo().stream(PROMPT, **LONG)
        with self.assertRaises(sdrs.CancelledError):
            for _ in stream:
                stream.cancel()
        self.assertEqual(list(stream), [])

    def test_errors_come_with_the_first_event(self):
        with self.assertRaises(sdrs.InvalidParameterError):
            next(demo().stream(PROMPT, width=13))
        with self.assertRaises(sdrs.UnknownNameError):
            demo().stream(PROMPT, sampler="nothing")


class Threads(unittest.TestCase):
    def test_their_number_changes_nothing(self):
        for threads in [1, 3]:
            np.testing.assert_array_equal(sdrs.demo(threads=threads).txt2img(PROMPT, **QUICK).arrays[0], quick())
        for bad in [0, -1, 5000]:
            with self.assertRaises(sdrs.InvalidParameterError):
                sdrs.demo(threads=bad)

    def test_many_threads_share_a_pipeline(self):
        def draw(seed):
            return demo().txt2img(PROMPT, **{**QUICK, "seed": seed}).arrays[0]

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            drawn = list(pool.map(draw, [1, 2, 1, 2, 1, 2]))
        for array in drawn[::2]:
            np.testing.assert_array_equal(array, quick())
        for array in drawn[3::2]:
            np.testing.assert_array_equal(array, drawn[1])

    def test_other_threads_run_meanwhile(self):
        ticks, done = [], threading.Event()

        def tick():
            while not done.is_set():
                ticks.append(time.monotonic())
                time.sleep(0.001)

        thread = threading.Thread(target=tick)
        thread.start()
        began = time.monotonic()
        demo().vae_decode(np.zeros((4, demo().sizes.latent_channels, 16, 16)))
        took = time.monotonic() - began
        done.set()
        thread.join()
        within = [t for t in ticks if began <= t <= began + took]
        self.assertGreater(len(within), min(took / 0.1, 5), took)


if __name__ == "__main__":
    unittest.main()
