import os
import re
import tempfile
import unittest
from pathlib import Path

import numpy as np

DOCS = Path(__file__).resolve().parents[3] / "docs" / "python.md"


class Docs(unittest.TestCase):
    def test_programs_run(self):
        """The programs of docs/python.md that bring their imports."""
        text = DOCS.read_text(encoding="utf-8")
        programs = [code for code in re.findall(r"```python\n(.*?)```", text, re.S) if code.startswith("import")]
        self.assertGreaterEqual(len(programs), 2)
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            for code in programs:
                names = {}
                exec(compile(code, str(DOCS), "exec"), names)
            self.assertTrue(Path("out.png").read_bytes().startswith(b"\x89PNG"))
            side = names["pipe"].sizes.default_side
            self.assertEqual((names["picture"].shape, names["picture"].dtype), ((side, side, 3), np.uint8))
            os.chdir(here)


if __name__ == "__main__":
    unittest.main()
