"""Times stable-diffusion.cpp, for peers.py: prints a JSON line for each part.

    CMAKE_ARGS=-DGGML_LLAMAFILE=ON pip install --no-binary :all: --no-deps stable-diffusion-cpp-python
    python benches/sdcpp.py FILE --dtype bf16 --weights f16 [--size 512] [--threads N] [--repeat 3]

Built without that argument, it has no blocked matrix products, and the U-Net takes almost twice as long.

It has no call for one network, so it draws whole pictures of one step, with guidance, and its log says what each network took.
Peak memory is that of all networks together. It computes in f16 or f32 as it sees fit; what can be chosen is the weights' type.
"""

import argparse
import ctypes
import os
import re
import time

import stable_diffusion_cpp
from peers import report

LINES = []


@stable_diffusion_cpp.sd_log_callback
def listen(_level, text, _data):
    LINES.append(text.decode(errors="replace"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--dtype", default="bf16", help="the row that the figures are for")
    parser.add_argument("--weights", default="f16")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    threads = args.threads or os.cpu_count()
    stable_diffusion_cpp.sd_set_log_callback(listen, ctypes.c_void_p(0))
    began = time.perf_counter()
    # Its flash attention and direct convolutions save memory, but on a CPU it is faster without them.
    model = stable_diffusion_cpp.StableDiffusion(
        args.file, wtype=args.weights, n_threads=threads, vae_decode_only=True, verbose=False
    )
    load = time.perf_counter() - began
    steps = []
    for seed in range(args.repeat):
        model.generate_image(
            "a red circle above a blue square",
            negative_prompt="fog",
            width=args.size,
            height=args.size,
            cfg_scale=7.0,
            sample_method="euler",
            sample_steps=1,
            seed=seed,
            # It is told of step 0 before there was one.
            progress_callback=lambda step, _steps, seconds: steps.append(seconds) if step else None,
        )
    log = "".join(LINES)
    prompts = [int(ms) / 1e3 for ms in re.findall(r"condition graph completed, taking (\d+) ms", log)]
    taken = {
        # Both prompts of a run.
        "text": [sum(prompts[i : i + 2]) for i in range(0, len(prompts), 2)],
        # Both halves of guidance.
        "unet": steps,
        "vae": [float(seconds) for seconds in re.findall(r"vae decode graph completed, taking ([\d.]+)s", log)],
    }
    versions = {"stable_diffusion_cpp": stable_diffusion_cpp.__version__, "weights": args.weights}
    for part, seconds in taken.items():
        # Another version's log may look different.
        assert len(seconds) == args.repeat, f"{part}: the log has {len(seconds)} times"
        report(part, "sdcpp", args.dtype, args.size, threads, load, seconds, versions)


if __name__ == "__main__":
    main()
