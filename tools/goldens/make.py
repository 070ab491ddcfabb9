"""Makes the reference values under goldens/, or checks that they are what the reference packages give.

    python tools/goldens/make.py                    # everything but the demo model's
    python tools/goldens/make.py tokenizer noise    # some parts
    python tools/goldens/make.py --check            # recompute in a temporary folder and compare
"""

import argparse
import importlib
import json
import sys
import tempfile
from pathlib import Path

import common

# In order: later parts read what earlier ones wrote.
PARTS = [
    "tokenizer", "text_repair", "tokenizer_files", "noise", "tiny_sd1", "refs", "tiny_sd2", "tiny_sdxl", "tiny_refiner", "xl_lora", "no_middle",
    "distilled", "lcm", "edm", "shortcuts", "unet_changes", "lora", "samplers", "from_pictures",
    "prompts", "conditioning", "torch_files", "gguf_files", "config_fields", "foreign", "embeddings", "lora_names", "adapters",
    "lycoris_network", "guidance", "guidance_runs", "tiled", "traces", "pictures", "color_correction", "upscalers", "tiny_vae",
    "interrogation", "interrogation_modes", "demo", "diffusers_pipeline", "diffusers_img2img", "diffusers_sdxl", "diffusers_masked",
    "diffusers_partial", "foreign_infotexts",
]
# Of the demo model, which is trained anew now and then.
DEMO = ["demo", "diffusers_pipeline"]
MANIFEST = "goldens/manifest.json"


def run(part, root):
    out = common.Out(root, f"{part}.py")
    importlib.import_module(part).make(out)
    return out


def write_manifest(outs):
    path = common.ROOT / MANIFEST
    manifest = json.loads(path.read_text()) if path.exists() else {"files": {}}
    files = manifest["files"]
    for out in outs:
        files = {p: e for p, e in files.items() if e["script"] != f"tools/goldens/{out.script}"}
        files |= out.entries
    manifest = {
        "tolerance": "norm of the difference over norm of the reference, per tensor, unless a file says otherwise",
        "packages": common.versions(),
        "files": dict(sorted(files.items())),
    }
    path.write_text(json.dumps(manifest, indent=1) + "\n")


def check(parts):
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for part in parts:
            # Only files are compared, not what the manifest measured: that depends on the machine.
            for name in run(part, folder).entries:
                difference = common.compare(common.ROOT / name, Path(folder) / name)
                wrong += difference is not None
                print(f"{'DIFFERS' if difference else 'same'}  {name}  {difference or ''}")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="which parts (default: all but demo and diffusers_pipeline)")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    parts = [p for p in PARTS if p in args.parts] or [p for p in PARTS if p not in DEMO]
    if args.check:
        sys.exit(1 if check(parts) else 0)
    outs = []
    for part in parts:
        print(part, flush=True)
        outs.append(run(part, common.ROOT))
    write_manifest(outs)


if __name__ == "__main__":
    main()
