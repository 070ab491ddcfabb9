"""Times PyTorch on the model that the program `gpu` has made (benches/src/bin/gpu), which carries this script and runs it.

    python gpu_peers.py FOLDER --kind eager|compile --dtype f16 --side 512 --batch 1,4,8 --steps 20 --repeat 20

Prints a line of JSON for each: a call of the U-Net for one picture, decoding one picture, whole pictures. Needs torch, diffusers, transformers
and a GPU. TF32 is off. `compile` is torch.compile with mode "reduce-overhead", which replays CUDA graphs.
"""

import argparse
import json
import os
import statistics
import time

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
TOKENS, TIMESTEP = 77, 500.0


def numbers(*shape):
    """As the program has them."""
    count = int(np.prod(shape, dtype=np.int64))
    return torch.from_numpy((np.arange(count) * 7919 % 2003 / 1000.0 - 1.0).astype(np.float32).reshape(shape))


class Case:
    def __init__(self, args):
        self.args, self.dtype = args, DTYPES[args.dtype]
        with open(os.path.join(args.folder, "unet/config.json"), encoding="utf-8") as file:
            self.config = json.load(file)

    def on_gpu(self, x):
        x = x.cuda().to(self.dtype)
        return x.to(memory_format=torch.channels_last) if x.dim() == 4 else x

    def load(self, kind, part):
        model = kind.from_pretrained(self.args.folder, subfolder=part, torch_dtype=self.dtype).cuda().eval()
        return model.to(memory_format=torch.channels_last)

    def unet(self):
        model = self.load(UNet2DConditionModel, "unet")
        if self.args.kind == "compile":
            model.compile(mode="reduce-overhead", fullgraph=True)
        return model

    def vae(self):
        model = self.load(AutoencoderKL, "vae")
        if self.args.kind == "compile":
            model.decoder.compile(mode="reduce-overhead", fullgraph=True)
        return model

    def added(self, rows):
        """SDXL's pooled texts and sizes."""
        if "addition_embed_type" not in self.config:
            return None
        pooled = self.config["projection_class_embeddings_input_dim"] - 6 * self.config["addition_time_embed_dim"]
        text = self.on_gpu(numbers(2, pooled)).repeat_interleave(rows // 2, 0)
        return {"text_embeds": text, "time_ids": torch.full((rows, 6), float(self.args.side), device="cuda", dtype=self.dtype)}

    def call(self, model, pictures=1):
        """A call of the U-Net for so many pictures, both halves of guidance: the texts in turn, each with all pictures."""
        side, rows = self.args.side // 8, 2 * pictures
        x = self.on_gpu(numbers(1, self.config["in_channels"], side, side)).repeat(rows, 1, 1, 1).contiguous(memory_format=torch.channels_last)
        context = self.on_gpu(numbers(2, TOKENS, self.config["cross_attention_dim"])).repeat_interleave(pictures, 0)
        times, added = torch.full((rows,), TIMESTEP, device="cuda"), self.added(rows)
        return lambda latents=x: model(latents, times, context, added_cond_kwargs=added, return_dict=False)[0]

    def timed(self, what, call):
        began = time.perf_counter()
        output = call().float().cpu().numpy()
        first = time.perf_counter() - began
        for _ in range(3):
            call().float().cpu()
        seconds = []
        for _ in range(self.args.repeat):
            began = time.perf_counter()
            # The output reaches the host, as the other program's does.
            call().float().cpu()
            seconds.append(time.perf_counter() - began)
        median, best = 1e3 * statistics.median(seconds), 1e3 * min(seconds)
        self.tell(what=what, first_s=first, median_ms=median, best_ms=best, error=self.error(what, output))

    def error(self, what, output):
        path = os.path.join(self.args.folder, f"reference-{what}-{self.args.side}.f32")
        if not os.path.exists(path):
            return None
        wanted = np.fromfile(path, dtype="<f4").astype(np.float64)
        return float(np.linalg.norm(output.ravel() - wanted) / np.linalg.norm(wanted))

    def pictures(self, unet, vae, batch):
        """Euler's steps with guidance, and decoding."""
        side = self.args.side // 8
        call = self.call(unet, batch)

        def run():
            x = self.on_gpu(torch.randn(batch, self.config["in_channels"], side, side))
            for _ in range(self.args.steps):
                both = torch.cat([x, x]).contiguous(memory_format=torch.channels_last)
                cond, uncond = call(both).chunk(2)
                x = x + 0.01 * (uncond + 7.0 * (cond - uncond))
            for latents in x.split(1):
                vae.decode(latents.contiguous(memory_format=torch.channels_last), return_dict=False)[0].clamp(-1, 1).float().cpu()

        began = time.perf_counter()
        run()
        first, seconds = time.perf_counter() - began, []
        for _ in range(2):
            began = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - began)
        self.tell(what=f"pictures of {batch}", first_s=first, pictures_per_s=batch / min(seconds))

    def tell(self, **figures):
        memory = torch.cuda.max_memory_reserved() / 1e9
        common = {"program": self.args.kind, "dtype": self.args.dtype, "side": self.args.side, "memory_gb": memory}
        print(json.dumps({**common, **figures, "torch": torch.__version__}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--kind", choices=["eager", "compile"], required=True)
    parser.add_argument("--dtype", choices=list(DTYPES), required=True)
    parser.add_argument("--side", type=int, required=True)
    parser.add_argument("--batch", default="1")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=20)
    case = Case(parser.parse_args())
    torch.set_grad_enabled(False)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    unet = case.unet()
    case.timed("unet", case.call(unet))
    vae, side = case.vae(), case.args.side // 8
    latents = case.on_gpu(numbers(1, vae.config.latent_channels, side, side))
    case.timed("vae", lambda: vae.decode(latents, return_dict=False)[0])
    for batch in map(int, case.args.batch.split(",")):
        case.pictures(unet, vae, batch)


if __name__ == "__main__":
    main()
