"""The error of single calls on the full-size model of make_sd15.py, sdrs's beside PyTorch's own in the same type.

    pip install ./bindings/python
    python benches/accuracy.py SD15_FOLDER [--size 512] [--seeds 3]

The reference is PyTorch with diffusers and transformers in f32. Weights are random, but f16 on disk, so f32 and bf16 start from
the same numbers. Each program runs in a process of its own, so that one model is in memory at a time. Prints a Markdown table: norm
of the difference over norm of the reference, the largest of all seeds.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

PARTS = {"text": "text encoder, last layer", "unet": "U-Net, batch of 2", "vae": "VAE decoder"}
RUNS = [("torch", "f32"), ("sdrs", "f32"), ("sdrs", "bf16"), ("torch", "bf16")]


def inputs(seed, size):
    """Token ids, and noise in place of latents and texts."""
    rng, latent = np.random.default_rng(seed), size // 8
    return {
        "ids": rng.integers(0, 49406, 77),
        "x": rng.standard_normal((2, 4, latent, latent), dtype=np.float32),
        "context": rng.standard_normal((2, 77, 768), dtype=np.float32),
        "z": rng.standard_normal((1, 4, latent, latent), dtype=np.float32),
    }


def of_sdrs(folder, dtype, cases):
    import sdrs

    pipe = sdrs.Pipeline(folder, device="cpu", dtype=dtype)
    # What it decodes are the U-Net's latents, which are the VAE's own times this.
    scaling_factor = np.float32(0.18215)
    return {
        "text": [pipe.text_hidden_states(case["ids"])[-1] for case in cases],
        "unet": [pipe.unet(case["x"], 500.0, case["context"]) for case in cases],
        "vae": [pipe.vae_decode(case["z"] * scaling_factor) for case in cases],
    }


def of_torch(folder, dtype, cases):
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    torch.set_grad_enabled(False)
    kind = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype]

    def load(model, part):
        return model.from_pretrained(folder, subfolder=part, dtype=kind).eval()

    def tensor(case, name):
        return torch.from_numpy(case[name]).to(kind)

    outputs = {}
    model = load(CLIPTextModel, "text_encoder")
    outputs["text"] = []
    for case in cases:
        output = model(torch.from_numpy(case["ids"])[None], output_hidden_states=True)
        # sdrs's hidden states are without the final norm; what transformers' are has changed over its versions.
        last = output.hidden_states[-1]
        assert torch.equal(model.final_layer_norm(last), output.last_hidden_state)
        outputs["text"].append(last[0])
    model = load(UNet2DConditionModel, "unet")
    t = torch.tensor(500.0)
    outputs["unet"] = [model(tensor(case, "x"), t, tensor(case, "context")).sample for case in cases]
    model = load(AutoencoderKL, "vae")
    outputs["vae"] = [model.decode(tensor(case, "z")).sample for case in cases]
    return {part: [tensor.float().numpy() for tensor in tensors] for part, tensors in outputs.items()}


def error(output, reference):
    output, reference = output.astype(np.float64), reference.astype(np.float64)
    return np.linalg.norm(output - reference) / np.linalg.norm(reference)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--one", nargs=3, metavar=("PROGRAM", "DTYPE", "OUT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        program, dtype, out = args.one
        cases = [inputs(seed, args.size) for seed in range(args.seeds)]
        outputs = {"sdrs": of_sdrs, "torch": of_torch}[program](args.folder, dtype, cases)
        np.savez(out, **{part: np.stack(arrays) for part, arrays in outputs.items()})
        return
    results = {}
    with tempfile.TemporaryDirectory() as scratch:
        for program, dtype in RUNS:
            out = Path(scratch) / f"{program}-{dtype}.npz"
            words = [sys.executable, __file__, args.folder, "--size", str(args.size), "--seeds", str(args.seeds)]
            subprocess.run([*words, "--one", program, dtype, out], check=True)
            with np.load(out) as file:
                results[program, dtype] = dict(file)
    reference = results["torch", "f32"]
    for part in PARTS:
        # A model whose outputs are all alike, or not numbers, would show nothing.
        deviation = reference[part].std()
        print(f"{part}: reference of mean {reference[part].mean():.3g}, standard deviation {deviation:.3g}")
        assert np.isfinite(reference[part]).all() and deviation > 1e-3, part
    names = {"sdrs": "sdrs", "torch": "PyTorch"}
    print("\n| network | " + " | ".join(f"{names[program]} {dtype}" for program, dtype in RUNS[1:]) + " |")
    print("|---" * len(RUNS) + "|")
    for part, title in PARTS.items():
        errors = [max(map(error, results[run][part], reference[part])) for run in RUNS[1:]]
        print(f"| {title} | " + " | ".join(f"{e:.1e}".replace("e-0", "e-") for e in errors) + " |")


if __name__ == "__main__":
    main()
