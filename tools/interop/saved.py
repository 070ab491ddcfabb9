"""Checks that diffusers loads what `sdrs convert` writes, to the same tensors.

    python tools/interop/saved.py SDRS_COMMAND

The tiny model of goldens/ is converted from both of its layouts to both, in every type, with and without its LoRA; diffusers loads the
results, and peft merges the LoRA for comparison. Packages: tools/goldens/requirements.txt.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "goldens/tiny-sd1"
LORA = FOLDER / "lora/lora.safetensors"
TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
PARTS = ["text_encoder", "unet", "vae"]


def parameters(pipeline):
    """All parameters, by part and name."""
    return {
        f"{part}.{name}": tensor
        for part in PARTS
        for name, tensor in getattr(pipeline, part).named_parameters()
    }


def reference():
    """The tiny model as its folder has it."""

    class Parts:
        text_encoder = CLIPTextModel.from_pretrained(FOLDER, subfolder="text_encoder", dtype=torch.float32)
        unet = UNet2DConditionModel.from_pretrained(FOLDER, subfolder="unet", torch_dtype=torch.float32)
        vae = AutoencoderKL.from_pretrained(FOLDER, subfolder="vae", torch_dtype=torch.float32)

    return Parts


def load(path, folder, dtype=torch.float32):
    """What diffusers makes of a saved file or folder."""
    if path.is_dir():
        return StableDiffusionPipeline.from_pretrained(path, torch_dtype=dtype, local_files_only=True)
    # A single file carries no configurations that diffusers would read: it wants a folder for those.
    return StableDiffusionPipeline.from_single_file(
        path, config=str(folder), torch_dtype=dtype, local_files_only=True
    )


def compare(what, got, want, tolerance):
    """Same names; values equal, or within `tolerance` times the tensor's largest."""
    assert got.keys() == want.keys(), f"{what}: {sorted(got.keys() ^ want.keys())[:5]}"
    worst = 0.0
    for name, tensor in want.items():
        have = got[name]
        assert have.shape == tensor.shape, f"{what}: {name}: {have.shape}, not {tensor.shape}"
        if tolerance == 0:
            assert have.dtype == tensor.dtype, f"{what}: {name}: {have.dtype}, not {tensor.dtype}"
            assert torch.equal(have, tensor), f"{what}: {name} differs"
        else:
            error = (have.double() - tensor.double()).abs().max() / tensor.double().abs().max().clamp_min(1e-30)
            worst = max(worst, error.item())
            assert error <= tolerance, f"{what}: {name} is off by {error:.1e}"
    exact = "equal" if tolerance == 0 else f"within {worst:.1e}"
    print(f"{what}: {len(want)} parameters, {exact}")


def single():
    """The tiny model's single file, as the tests have it."""
    made = subprocess.run(
        ["cargo", "run", "--release", "--quiet", "--package", "goldens"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    return pathlib.Path(made.stdout.strip())


def main():
    command = sys.argv[1]
    plain = reference()
    want = {name: tensor.detach().clone() for name, tensor in parameters(plain).items()}
    with tempfile.TemporaryDirectory() as out:
        out = pathlib.Path(out)

        def convert(source, target, *options):
            subprocess.run([command, "convert", source, target, *options], check=True, stdout=subprocess.DEVNULL)
            return target

        whole = convert(FOLDER, out / "whole", "--dtype", "f32")
        for dtype, torch_dtype in TYPES.items():
            for source in [FOLDER, single()]:
                for target in ["", ".safetensors"]:
                    path = convert(source, out / f"{source.stem}-{dtype}{target}", "--dtype", dtype)
                    got = parameters(load(path, whole, torch_dtype))
                    expected = {name: tensor.to(torch_dtype) for name, tensor in want.items()}
                    compare(f"{source.name} to {dtype}, {'file' if target else 'folder'}", got, expected, 0)

        # The tokenizer that is written is CLIP's, and the schedule works.
        pipeline = load(whole, whole)
        cases = json.loads((ROOT / "goldens/tokenizer/clip.json").read_text())["cases"]
        for case in cases:
            ids = pipeline.tokenizer(case["text"]).input_ids
            assert ids == case["ids"], f"{case['text']!r}: {ids}, not {case['ids']}"
        print(f"tokenizer: {len(cases)} texts, equal")
        pipeline("a red circle", num_inference_steps=2, height=64, width=64, output_type="np")

        # The LoRA merged by peft, in f32.
        merged = load(whole, whole)
        merged.load_lora_weights(LORA)
        merged.fuse_lora(lora_scale=0.5)
        merged.unload_lora_weights()
        path = convert(FOLDER, out / "merged", "--dtype", "f32", "--lora", f"{LORA}:0.5")
        got = parameters(load(path, whole))
        compare("with a LoRA", got, parameters(merged), 1e-6)
        changed = sum(not torch.equal(got[name], want[name]) for name in want)
        assert changed > 100, changed


main()
