"""Runs the notebooks beside it without Jupyter: compares what comes out with what they hold, or with --write stores it.

A cell's output is what it prints, and its last expression as a notebook would show it.
"""

import ast
import base64
import contextlib
import io
import json
import os
import re
import sys
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
# Other processors round differently; fine details of a picture may then differ a little.
PSNR = 35


def shown(value):
    """A value's representations."""
    data = {"text/plain": [repr(value)]}
    for name, kind in [("_repr_html_", "text/html"), ("_repr_png_", "image/png")]:
        made = getattr(value, name, lambda: None)()
        if isinstance(made, bytes):
            made = base64.b64encode(made).decode()
        if made is not None:
            data[kind] = made
    if len(data) > 1:
        # An object's address is another one every time.
        data["text/plain"] = [f"<{type(value).__name__}>"]
    return data


def execute(path):
    """The outputs of a notebook's code cells, run one after the other in its folder."""
    names, outputs = {"__name__": "__main__"}, []
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        for number, cell in enumerate(cells(path), 1):
            code = ast.parse("".join(cell["source"]), f"{path.name}, cell {number}")
            last = code.body.pop() if code.body and isinstance(code.body[-1], ast.Expr) else None
            made, printed = [], io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(code, f"{path.name}, cell {number}", "exec"), names)
                value = eval(compile(ast.Expression(last.value), path.name, "eval"), names) if last else None
            if printed.getvalue():
                lines = printed.getvalue().splitlines(keepends=True)
                made.append({"name": "stdout", "output_type": "stream", "text": lines})
            if value is not None:
                data = shown(value)
                made.append({"data": data, "execution_count": number, "metadata": {}, "output_type": "execute_result"})
            outputs.append(made)
    finally:
        os.chdir(here)
    return outputs


def cells(path):
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(float)


def difference(fresh, held):
    """What differs between two lists of outputs; None if nothing does."""
    if [output["output_type"] for output in fresh] != [output["output_type"] for output in held]:
        return "other kinds of output"
    for new, old in zip(fresh, held):
        if told(new) != told(old):
            return f"prints {new['text']} for {old['text']}"
        new, old = new.get("data", {}), old.get("data", {})
        if new.keys() != old.keys():
            return "other representations"
        if "image/png" in new:
            a, b = pixels(new["image/png"]), pixels(old["image/png"])
            error = ((a - b) ** 2).mean() if a.shape == b.shape else 255**2
            if error and 10 * np.log10(255**2 / error) < PSNR:
                return "another picture"
        elif new != old:
            return f"shows {new} for {old}"
    return None


def told(output):
    """What was printed, whichever version wrote the infotexts in it."""
    return re.sub(r"Version: sdrs [\d.]+", "Version", "".join(output.get("text", [])))


def notebooks():
    return sorted(HERE.glob("*.ipynb"))


def write(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, (cell, outputs) in enumerate(zip(code, execute(path)), 1):
        cell["execution_count"], cell["outputs"] = number, outputs
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main():
    wrong = 0
    for path in notebooks():
        if "--write" in sys.argv[1:]:
            write(path)
            print(f"wrote {path.name}")
            continue
        for number, (cell, outputs) in enumerate(zip(cells(path), execute(path)), 1):
            found = difference(outputs, cell["outputs"])
            if found:
                wrong += 1
                print(f"{path.name}, cell {number}: {found}")
    sys.exit(min(wrong, 1))


if __name__ == "__main__":
    main()
