"""Times PyTorch with diffusers on the full-size model of make_sd15.py: what sdrs is compared with.

    python tools/fullsize/peers.py SD15_FOLDER [--dtype f32 bf16] [--size 512] [--threads N] [--repeat 3]

Each part runs in a process of its own, so that its peak memory is its own. Prints one JSON line per part and dtype.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time

PARTS = ["text", "unet", "vae"]


def workload(part, folder, dtype, size):
    """The part's model, and what to call: one U-Net call of batch 2 (cond and uncond), one picture decoded."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    latent = size // 8
    if part == "text":
        model = CLIPTextModel.from_pretrained(folder, subfolder="text_encoder", dtype=dtype).eval()
        ids = torch.randint(0, 49406, (2, 77))
        return lambda: model(ids)
    if part == "unet":
        model = UNet2DConditionModel.from_pretrained(folder, subfolder="unet", dtype=dtype).eval()
        x, context = torch.randn(2, 4, latent, latent, dtype=dtype), torch.randn(2, 77, 768, dtype=dtype)
        t = torch.tensor(500.0)
        return lambda: model(x, t, context)
    model = AutoencoderKL.from_pretrained(folder, subfolder="vae", dtype=dtype).eval()
    z = torch.randn(1, 4, latent, latent, dtype=dtype)
    return lambda: model.decode(z)


def measure(part, folder, dtype, size, threads, repeat):
    import diffusers
    import torch

    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    if threads:
        torch.set_num_threads(threads)
    began = time.perf_counter()
    call = workload(part, folder, {"f32": torch.float32, "bf16": torch.bfloat16}[dtype], size)
    load = time.perf_counter() - began
    call()
    seconds = []
    for _ in range(repeat):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    print(
        json.dumps(
            {
                "part": part,
                "dtype": dtype,
                "size": size,
                "threads": torch.get_num_threads(),
                "load_s": round(load, 2),
                "median_s": round(statistics.median(seconds), 3),
                "best_s": round(min(seconds), 3),
                # Linux counts in KiB.
                "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
                "torch": torch.__version__,
                "diffusers": diffusers.__version__,
                "machine": platform.machine(),
                "cores": os.cpu_count(),
            }
        ),
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--dtype", nargs="+", choices=["f32", "bf16"], default=["f32", "bf16"])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    if len(args.part) == len(args.dtype) == 1:
        measure(args.part[0], args.folder, args.dtype[0], args.size, args.threads, args.repeat)
        return
    common = ["--size", str(args.size), "--threads", str(args.threads), "--repeat", str(args.repeat)]
    for part in args.part:
        for dtype in args.dtype:
            command = [sys.executable, __file__, args.folder, "--part", part, "--dtype", dtype, *common]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
