"""The Python of the book, of README and of the package's page: it runs, with the demo model in the place of real ones."""

import contextlib
import functools
import io
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
import PIL.Image
from support import DEMO, PROMPT, demo

import sdrs

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", ROOT / "bindings/python/README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```python( no_run)?\n(.*?)^```$", re.S | re.M)


def blocks(page: Path) -> "list[tuple[int, bool, str]]":
    """The page's blocks of Python: the line of each, whether it runs, and its code."""
    text = page.read_text(encoding="utf-8")
    return [(text.count("\n", 0, m.start()) + 2, m[1] is None, m[2]) for m in FENCE.finditer(text)]


@functools.lru_cache(maxsize=None)
def drawn() -> sdrs.Result:
    return demo().txt2img(PROMPT, steps=4, seed=1, progress=False)


def names() -> "dict[str, object]":
    """What the pages speak of without saying it again. Latents are the demo model's."""
    pipe = demo()
    sizes = pipe.sizes
    side = sizes.default_side // sizes.downscale
    result = drawn()
    return {
        "sdrs": sdrs,
        "np": np,
        "PIL": PIL,
        "logging": logging,
        "pipe": pipe,
        "result": result,
        "image": result.images[0],
        "photo": result.images[0],
        "sea": mask(),
        "images": result.arrays,
        "latents": sdrs.noise.randn((1, sizes.latent_channels, side, side), seed=1),
        "timesteps": 500,
        "context": pipe.encode_prompt(PROMPT)[None],
        "ids": pipe.tokenize(PROMPT),
        "show": lambda picture: None,
    }


def mask() -> PIL.Image.Image:
    """White below, black above."""
    pixels = np.zeros_like(drawn().arrays[0])
    pixels[len(pixels) // 2 :] = 255
    return PIL.Image.fromarray(pixels)


def furnish(folder: Path) -> None:
    """Lays down the files that the pages name."""
    pipe, models = demo(), DEMO.parent
    folder.mkdir()
    checkpoint = folder / "v1-5.safetensors"
    pipe.save_file(checkpoint)
    for name in ("models", "loras", "photos"):
        (folder / name).mkdir()
    os.link(checkpoint, folder / "models/v1-5.safetensors")
    os.symlink(models, folder / "models/demo")
    embedding(folder / "mystyle.pt", pipe.sizes.context_width)
    shutil.copytree(DEMO, folder / "stable-diffusion-v1-5")
    for place in (folder, folder / "loras"):
        shutil.copy(models / "outlines.safetensors", place / "ink.safetensors")
        shutil.copy(models / "chalk-lora.safetensors", place / "glow.safetensors")
    shutil.copy(models / "vae-washed.safetensors", folder / "kl-f8.safetensors")
    for name in ("photo.jpg", "photo.png", "shared.png", "photos/one.png", "photos/two.png"):
        drawn().save(folder / name)
    mask().save(folder / "sea.png")


def embedding(path: Path, width: int) -> None:
    """Writes a textual inversion of one vector, in safetensors' form: contents decide, not the ending."""
    values = np.full((1, width), 0.01, dtype=np.float32).tobytes()
    header = json.dumps({"emb_params": {"dtype": "F32", "shape": [1, width], "data_offsets": [0, len(values)]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + values)


class Docs(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.addCleanup(os.chdir, os.getcwd())

    def test_blocks_run(self):
        """Blocks of a page run one after the other, as a reader would type them, each page in a folder of its own."""
        count = 0
        furnished = Path(self.folder.name) / "furnished"
        furnish(furnished)
        for page in PAGES:
            code = blocks(page)
            if not any(runs for _, runs, _ in code):
                continue
            folder = Path(self.folder.name) / page.relative_to(ROOT).as_posix().replace("/", "-")
            # Links do: what is saved replaces a file.
            shutil.copytree(furnished, folder, symlinks=True, copy_function=os.link)
            os.chdir(folder)
            space = names()
            for line, runs, text in code:
                if runs:
                    with self.subTest(f"{page.relative_to(ROOT)}:{line}"), contextlib.redirect_stdout(io.StringIO()):
                        # Line numbers of faults are those of the page.
                        exec(compile("\n" * (line - 1) + text, str(page), "exec"), space)
                        count += 1
            os.chdir(ROOT)
        self.assertGreaterEqual(count, 20)

    def test_the_first_program_draws(self):
        os.chdir(self.folder.name)
        _, _, first = blocks(ROOT / "docs/python.md")[0]
        space: "dict[str, object]" = {}
        exec(compile(first, "docs/python.md", "exec"), space)
        self.assertTrue(Path("out.png").read_bytes().startswith(b"\x89PNG"))

    def test_the_loop_by_hand_draws(self):
        os.chdir(self.folder.name)
        loop = next(code for _, _, code in blocks(ROOT / "docs/python.md") if "denoiser" in code)
        space: "dict[str, object]" = {}
        exec(compile(loop, "docs/python.md", "exec"), space)
        side = space["pipe"].sizes.default_side
        self.assertEqual((space["picture"].shape, space["picture"].dtype), ((side, side, 3), np.uint8))

    def test_blocks_that_do_not_run_have_true_names_and_types(self):
        """Those that need what is not here: mypy looks at them."""
        known = "pipe: sdrs.Pipeline, result: sdrs.Result, image: Image, latents: Any, timesteps: Any, context: Any, ids: Any"
        source = "import logging\nfrom typing import Any\n\nimport numpy as np\nimport PIL\nfrom PIL.Image import Image\n\nimport sdrs\n"
        count = 0
        for page in PAGES:
            for line, runs, text in blocks(page):
                if not runs:
                    count += 1
                    body = "".join(f"    {line}\n" if line else "\n" for line in text.splitlines())
                    source += f"\n\n# {page.relative_to(ROOT)}:{line}\ndef block_{count}({known}) -> None:\n{body}"
        file = Path(self.folder.name) / "blocks.py"
        file.write_text(source, encoding="utf-8")
        mypy = [sys.executable, "-m", "mypy", "--no-error-summary", "--cache-dir", f"{self.folder.name}/cache", str(file)]
        # What mypy takes for installed is the package beside these tests.
        path = {**os.environ, "MYPYPATH": os.environ.get("PYTHONPATH", "")}
        told = subprocess.run(mypy, capture_output=True, text=True, env=path)
        self.assertEqual(told.returncode, 0, told.stdout + told.stderr)


if __name__ == "__main__":
    unittest.main()
