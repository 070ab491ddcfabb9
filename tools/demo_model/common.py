"""What the training scripts share: configs, banks of pictures, averaging, schedules."""

import math
import os
import random
import time

import torch
import torch.distributed as dist

import scenes

WORK = os.environ.get("DEMO_MODEL_WORK", "/tmp/demo")
PUBLISHED = os.path.normpath(f"{os.path.dirname(os.path.abspath(__file__))}/../../models/demo/base")
torch.set_flush_denormal(True)
os.makedirs(WORK, exist_ok=True)

VAE = dict(
    in_channels=3, out_channels=3, latent_channels=4, sample_size=scenes.SIZE,
    block_out_channels=(32, 32, 64, 64), layers_per_block=1, norm_num_groups=2,
    down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
)


def autocast():
    return torch.autocast("cpu", torch.bfloat16)


def bank(seed, n, style):
    """`n` scenes drawn in a style: (scenes, uint8 pictures, uint8 owners), drawn once and kept on disk."""
    path = f"{WORK}/bank-{style}-{seed}-{n}.pt"
    if os.path.exists(path):
        return torch.load(path, weights_only=False)
    all_scenes = scenes.scenes_from(seed, n)
    pictures = torch.empty(n, 3, scenes.SIZE, scenes.SIZE, dtype=torch.uint8)
    owners = torch.empty(n, scenes.SIZE, scenes.SIZE, dtype=torch.uint8)
    for i in range(0, n, 256):
        p, o = scenes.render(all_scenes[i:i + 256], style, masks=True)
        pictures[i:i + 256] = ((p + 1) * 127.5).round().byte()
        owners[i:i + 256] = o.byte()
    out = (all_scenes, pictures, owners)
    torch.save(out, path)
    return out


def to_float(pictures):
    x = pictures.float() / 127.5 - 1
    return x.contiguous(memory_format=torch.channels_last)


class Clock:
    """Learning rate by the wall clock, so that a run ends when it was asked to; or by `time.process_time`, the processor's."""

    def __init__(self, minutes, peak, warmup=50, spent=0.0, floor=0.0, time=time.time):
        self.total, self.peak, self.warmup, self.floor, self.time = minutes * 60, peak, warmup, floor, time
        self.start = time() - spent
        self.now = spent  # as agreed with the team

    def spent(self):
        return self.time() - self.start

    def done(self):
        return self.now >= self.total

    def lr(self, step):
        p = min(1.0, self.now / self.total)
        cosine = self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * p))
        return self.peak * cosine * min(1.0, (step + 1) / self.warmup)


class Average:
    """Exponential average of a module's parameters."""

    def __init__(self, module, decay):
        self.decay = decay
        self.shadow = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module, step):
        d = min(self.decay, (1 + step) / (10 + step))
        new = module.state_dict()
        keys = [k for k in self.shadow if self.shadow[k].is_floating_point()]
        torch._foreach_lerp_([self.shadow[k] for k in keys], [new[k].detach() for k in keys], 1 - d)


def seed_all(seed):
    random.seed(seed)
    torch.manual_seed(seed)


class Team:
    """Several one-thread processes training one model: `RANK` and `WORLD` say who we are.

    One thread each, because oneDNN's threads spin at their barriers: on a machine shared with other
    work two threads in one process can lose nine tenths of the time to that.
    """

    def __init__(self):
        # Two teams at once need two ports.
        port = int(os.environ.get("TEAM_PORT", 29511))
        self.rank, self.size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD", 1))
        if self.size > 1:
            dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=self.rank, world_size=self.size)
            torch.set_num_threads(1)

    def sum(self, tensor):
        if self.size > 1:
            dist.all_reduce(tensor)

    def average(self, parameters, spent):
        """Averages gradients, and the time spent, so that all stop at the same step."""
        if self.size == 1:
            return spent
        grads = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in grads] + [torch.tensor([spent])])
        dist.all_reduce(flat)
        flat /= self.size
        at = 0
        for g in grads:
            g.copy_(flat[at:at + g.numel()].view_as(g))
            at += g.numel()
        return flat[-1].item()
