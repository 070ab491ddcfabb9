"""Times sdrs and what it is compared with on the full-size model of make_sd15.py or make_sdxl.py, network by network, in turn.

    cargo build --release -p benches
    python benches/peers.py FOLDER [--program sdrs torch openvino sdcpp] [--part text unet vae] [--dtype f32 bf16 int8] [--size 512]
                                   [--threads N] [--repeat 3] [--file FILE] [--sdcpp-half f16]

text2 is SDXL's second text encoder. int8, and f32 with weights in another type (f32/f16), are sdrs' alone.

torch needs PyTorch, diffusers and transformers; openvino also OpenVINO, whose converted models are kept in
SD15_FOLDER/openvino-SIZE; sdcpp the package stable-diffusion-cpp-python and the model as a single FILE, SD15_FOLDER-ldm.safetensors
unless told, which is made if it isn't there. Each measurement runs in a process of its own, so that its peak memory is its own, but
for sdcpp's (sdcpp.py says why); its weights are --sdcpp-half in bf16's rows. Prints one JSON line for each, then a table with the
first program's seconds as the unit.
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

PARTS = ["text", "text2", "unet", "vae", "encode"]
FOLDERS = {"text": "text_encoder", "text2": "text_encoder_2", "unet": "unet", "vae": "vae", "encode": "vae"}
PROGRAMS = ["sdrs", "torch", "openvino", "sdcpp"]


def model_of(part, folder, dtype):
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    kinds = {"text": CLIPTextModel, "text2": CLIPTextModelWithProjection, "unet": UNet2DConditionModel, "vae": AutoencoderKL, "encode": AutoencoderKL}
    return kinds[part].from_pretrained(folder, subfolder=FOLDERS[part], dtype=dtype).eval()


def inputs_of(part, folder, dtype, size):
    """One U-Net call of batch 2 (cond and uncond), one picture decoded or encoded, two prompts encoded."""
    import torch

    latent = size // 8
    if part.startswith("text"):
        return (torch.randint(0, 49406, (2, 77)),)
    if part == "vae":
        return (torch.randn(1, 4, latent, latent, dtype=dtype),)
    if part == "encode":
        return (torch.randn(1, 3, size, size, dtype=dtype),)
    with open(os.path.join(folder, "unet/config.json")) as file:
        config = json.load(file)
    x, t = torch.randn(2, 4, latent, latent, dtype=dtype), torch.full((2,), 500.0)
    context = torch.randn(2, 77, config["cross_attention_dim"], dtype=dtype)
    if "addition_embed_type" not in config:
        return x, t, context
    pooled = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
    return x, t, context, torch.randn(2, pooled, dtype=dtype), torch.full((2, 6), float(size), dtype=dtype)


def called(part, model):
    """The part's call, of its inputs in order."""
    if part == "vae":
        return lambda z: model.decode(z, return_dict=False)[0]
    if part == "encode":
        return lambda x: model.encode(x).latent_dist.mean
    if part != "unet":
        return lambda ids: model(ids, return_dict=False)[0]

    def unet(x, t, context, pooled=None, sizes=None):
        added = None if pooled is None else {"text_embeds": pooled, "time_ids": sizes}
        return model(x, t, context, added_cond_kwargs=added, return_dict=False)[0]

    return unet


def workload(part, folder, dtype, size):
    call, inputs = called(part, model_of(part, folder, dtype)), inputs_of(part, folder, dtype, size)
    return lambda: call(*inputs)


def openvino_call(part, folder, dtype, size, threads):
    """The same, compiled by OpenVINO for this processor."""
    import openvino
    import torch

    path = os.path.join(folder, f"openvino-{size}", f"{part}.xml")
    inputs = inputs_of(part, folder, torch.float32, size)
    if not os.path.exists(path):

        class Call(torch.nn.Module):
            def __init__(self, model):
                super().__init__()
                self.model, self.call = model, called(part, model)

            def forward(self, *inputs):
                return self.call(*inputs)

        from openvino.frontend.pytorch.patch_model import __make_16bit_traceable as trace_in_16_bits

        # In f16: SDXL's weights in f32 are there twice while they are converted, which is more than 24 GB.
        os.makedirs(os.path.dirname(path), exist_ok=True)
        model = Call(model_of(part, folder, torch.float16))
        trace_in_16_bits(model)
        openvino.save_model(openvino.convert_model(model, example_input=inputs), path, compress_to_fp16=True)
        # The conversion's memory is not the program's.
        os.execv(sys.executable, [sys.executable, *sys.argv])
    config = {"INFERENCE_PRECISION_HINT": dtype, "PERFORMANCE_HINT": "LATENCY"}
    if threads:
        config["INFERENCE_NUM_THREADS"] = threads
    request = openvino.Core().compile_model(path, "CPU", config).create_infer_request()
    arrays = [x.numpy() for x in inputs]
    return lambda: request.infer(arrays)


def report(part, program, dtype, size, threads, load, seconds, versions):
    figures = {
        "part": part,
        "program": program,
        "dtype": dtype,
        "size": size,
        "threads": threads,
        "load_s": round(load, 2),
        "median_s": round(statistics.median(seconds), 3),
        "best_s": round(min(seconds), 3),
        # Linux counts in KiB.
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        **versions,
    }
    print(json.dumps(figures), flush=True)


def measure(program, part, folder, dtype, size, threads, repeat):
    import torch

    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    if threads:
        torch.set_num_threads(threads)
    began = time.perf_counter()
    if program == "openvino":
        import openvino

        versions = {"openvino": openvino.__version__}
        call = openvino_call(part, folder, {"f32": "f32", "bf16": "bf16"}[dtype], size, threads)
    else:
        import diffusers

        versions = {"torch": torch.__version__, "diffusers": diffusers.__version__}
        call = workload(part, folder, {"f32": torch.float32, "bf16": torch.bfloat16}[dtype], size)
    load = time.perf_counter() - began
    call()
    seconds = []
    for _ in range(repeat):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    report(part, program, dtype, size, torch.get_num_threads(), load, seconds, versions)


def beside(script):
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), script)


def command(args, program, part, dtype):
    if program == "sdrs":
        target = os.environ.get("CARGO_TARGET_DIR", "target")
        own = [os.path.join(target, "release/parts"), args.folder, dtype, str(args.size), str(args.repeat), part]
        return own, {**os.environ, **({"RAYON_NUM_THREADS": str(args.threads)} if args.threads else {})}
    common = ["--size", str(args.size), "--threads", str(args.threads), "--repeat", str(args.repeat)]
    if program == "sdcpp":
        weights = {"f32": "f32", "bf16": args.sdcpp_half}[dtype]
        return [sys.executable, beside("sdcpp.py"), args.file, "--dtype", dtype, "--weights", weights, *common], dict(os.environ)
    one = [sys.executable, __file__, args.folder, "--program", program, "--part", part, "--dtype", dtype, *common, "--one"]
    return one, dict(os.environ)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--program", nargs="+", choices=PROGRAMS, default=PROGRAMS)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=["text", "unet", "vae"])
    parser.add_argument("--dtype", nargs="+", default=["f32", "bf16"])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--file")
    parser.add_argument("--sdcpp-half", choices=["f16", "bf16", "q8_0"], default="f16")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.file = args.file or args.folder.rstrip("/") + "-ldm.safetensors"
    if args.one:
        measure(args.program[0], args.part[0], args.folder, args.dtype[0], args.size, args.threads, args.repeat)
        return
    if "sdcpp" in args.program and not os.path.exists(args.file):
        subprocess.run([sys.executable, beside("make_sd15.py"), args.file, "--layout", "ldm"], check=True)
    figures = {}
    for part in args.part:
        for dtype in args.dtype:
            for program in args.program:
                if (part, dtype, program) in figures or program != "sdrs" and dtype not in ("f32", "bf16"):
                    continue
                words, environment = command(args, program, part, dtype)
                done = subprocess.run(words, env=environment, check=program == "sdrs", stdout=subprocess.PIPE, text=True)
                if done.returncode:  # A peer that isn't installed leaves its cells empty.
                    print(f"{program} failed: {part}, {dtype}", file=sys.stderr)
                print(done.stdout, end="", flush=True)
                for line in map(json.loads, done.stdout.splitlines()):
                    figures[line["part"], dtype, program] = line
    print("\n| part, type | " + " | ".join(f"{p}: s (ratio), peak GB" for p in args.program) + " |")
    print("|---" * (1 + len(args.program)) + "|")
    for part in args.part:
        for dtype in args.dtype:
            unit = figures[part, dtype, args.program[0]]["median_s"]
            cells = (figures.get((part, dtype, p)) for p in args.program)
            cells = (f and f"{f['median_s']:.3g} ({f['median_s'] / unit:.2f}), {f['peak_gb']:.2f}" or "" for f in cells)
            print(f"| {part}, {dtype} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
