import importlib.util
import unittest
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
spec = importlib.util.spec_from_file_location("run", FOLDER / "run.py")
run = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run)


class Notebooks(unittest.TestCase):
    def test_they_hold_what_comes_out(self):
        self.assertEqual(len(run.notebooks()), 5)
        for path in run.notebooks():
            with self.subTest(path.name):
                held = [cell["outputs"] for cell in run.cells(path)]
                for number, (fresh, old) in enumerate(zip(run.execute(path), held), 1):
                    self.assertIsNone(run.difference(fresh, old), f"cell {number}")
                self.assertTrue(any("image/png" in output.get("data", {}) for cell in held for output in cell))


if __name__ == "__main__":
    unittest.main()
