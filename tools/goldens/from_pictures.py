"""Runs that begin at a picture, and second passes: the WebUI's rules over Pillow, OpenCV, k-diffusion and diffusers' networks."""

import math

import cv2
import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps

import common
import k_diff
import refs
import tiny_sd1

SEED = 42
STEPS = 10
CFG = 7.0
SIZE = (64, 48)
FOLDER = "goldens/tiny-sd1/refs"
PROMPT = "a red circle above a blue square"
NEGATIVE = "blurry, low quality"
FACTOR = 0.18215


def picture(width, height):
    """Stripes, a gradient and a disc: whatever scales, crops or blurs wrongly shows."""
    y, x = np.mgrid[0:height, 0:width]
    red = 255 * x / (width - 1)
    green = np.where((x // 5 + y // 7) % 2 == 0, 220, 40)
    blue = 255 * ((x - width / 3) ** 2 + (y - height / 2) ** 2 < (height / 3) ** 2)
    return Image.fromarray(np.stack([red, green, blue], -1).astype(np.uint8), "RGB")


def mask_of(width, height):
    """White in a rectangle and at a point, grey in a strip."""
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : height // 2, width // 3 : width // 2] = 255
    mask[height // 2 : height // 2 + 6, width // 3 : width // 2] = 90
    mask[height - 9, width - 12] = 255
    return Image.fromarray(mask, "L")


def fitted(image, width, height, mode):
    """The resize modes "just resize", "crop and resize", "resize and fill" of the WebUI's images.py, by Lanczos."""
    if mode == "stretch":
        return image.resize((width, height), Image.Resampling.LANCZOS)
    wider = width / height > image.width / image.height
    by_width = wider if mode == "crop" else not wider
    inner = (width, image.height * width // image.width) if by_width else (image.width * height // image.height, height)
    small = image.resize(inner, Image.Resampling.LANCZOS)
    whole = Image.new("RGB", (width, height))
    left, top = width // 2 - inner[0] // 2, height // 2 - inner[1] // 2
    whole.paste(small, (left, top))
    if mode == "fill" and top > 0:
        whole.paste(small.resize((width, top), box=(0, 0, width, 0)), (0, 0))
        whole.paste(small.resize((width, height - top - inner[1]), box=(0, inner[1], width, inner[1])), (0, top + inner[1]))
    if mode == "fill" and left > 0:
        whole.paste(small.resize((left, height), box=(0, 0, 0, height)), (0, 0))
        whole.paste(small.resize((width - left - inner[0], height), box=(inner[0], 0, inner[0], height)), (left + inner[0], 0))
    return whole


def blurred(mask, blur):
    kernel = 2 * int(2.5 * blur + 0.5) + 1
    mask = cv2.GaussianBlur(np.array(mask), (kernel, 1), blur)
    return Image.fromarray(cv2.GaussianBlur(mask, (1, kernel), blur))


def filled(image, mask):
    """Masked content "fill": blurs of what is around, each laid over the ones before."""
    result = Image.new("RGBA", image.size)
    around = Image.new("RGBa", image.size)
    around.paste(image.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(mask.convert("L")))
    for radius, times in [(256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1)]:
        layer = around.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        for _ in range(times):
            result.alpha_composite(layer)
    return result.convert("RGB")


def region(mask, padding, size, image_size):
    """What "only masked" draws: the mask's box, padded, grown to the proportions of the picture that is drawn."""
    left, top, right, bottom = mask.getbbox()
    left, top = max(left - padding, 0), max(top - padding, 0)
    right, bottom = min(right + padding, image_size[0]), min(bottom + padding, image_size[1])
    ratio = size[0] / size[1]

    def widened(a, b, by, length):
        a, b = a - by // 2, b + by - by // 2
        if b >= length:
            a, b = a - (b - length), length
        if a < 0:
            a, b = 0, b - a
        return a, min(b, length)

    if (right - left) / (bottom - top) > ratio:
        top, bottom = widened(top, bottom, int((right - left) / ratio - (bottom - top)), image_size[1])
    else:
        left, right = widened(left, right, int((bottom - top) * ratio - (right - left)), image_size[0])
    return left, top, right, bottom


class Networks:
    def __init__(self):
        self.parts = tiny_sd1.load(common.ROOT)
        ids = refs.token_ids([PROMPT, NEGATIVE])
        self.contexts = self.parts["text_encoder"](ids).last_hidden_state.split(1)

    def encode(self, image):
        values = torch.from_numpy(np.array(image).astype(np.float32)) / 255 * 2 - 1
        return self.encode_values(values.permute(2, 0, 1)[None])

    def encode_values(self, values):
        return self.parts["vae"].encode(values).latent_dist.mean * FACTOR

    def guided(self, unet=None):
        self.model = k_diff.denoiser(unet or self.parts["unet"], "eps")
        return k_diff.Guided(self.model, *self.contexts, CFG)

    def bytes(self, latents):
        values = self.parts["vae"].decode(latents / FACTOR).sample[0]
        values = torch.clamp((values + 1) / 2, 0, 1).permute(1, 2, 0).numpy()
        return Image.fromarray((255 * values).astype(np.uint8))


def noise(shape):
    torch.manual_seed(SEED)
    return torch.randn(shape)


def sample(guided, x, sigmas):
    return k_diff.sampling.sample_euler(guided, x, sigmas, disable=True)


def entry(model, strength, steps=STEPS, exact=False):
    """The WebUI's setup_img2img_steps, over Karras' schedule."""
    strength = min(strength, 0.999)
    total = int(steps / strength) if exact else steps
    t_enc = steps - 1 if exact else int(strength * steps)
    return k_diff.schedule(model, "karras", total)[total - t_enc - 1 :]


class Masked(torch.nn.Module):
    def __init__(self, guided, init, keep):
        super().__init__()
        self.guided, self.init, self.keep = guided, init, keep

    def forward(self, x, sigma):
        return self.guided(x, sigma) * (1 - self.keep) + self.init * self.keep


class Soft(torch.nn.Module):
    """Differential diffusion as ComfyUI's node and its KSamplerX0Inpaint have it."""

    def __init__(self, guided, model, init, start, mask, sigmas):
        super().__init__()
        self.guided, self.model, self.init, self.start, self.mask = guided, model, init, start, mask
        low = max(sigmas[-1].item(), model.sigma_min.item())
        self.bounds = [model.sigma_to_t(torch.tensor(s)).item() for s in (sigmas[0].item(), low)]

    def forward(self, x, sigma):
        high, low = self.bounds
        threshold = (self.model.sigma_to_t(sigma[0]).item() - low) / (high - low)
        mask = (self.mask >= threshold).to(x.dtype)
        x = x * mask + (self.init + self.start * sigma) * (1 - mask)
        return self.guided(x, sigma) * mask + self.init * (1 - mask)


def latent_mask(mask, size, soft=False):
    values = np.array(mask.convert("RGB").resize((size[1], size[0])), np.float32)[:, :, 0] / 255
    return torch.from_numpy(values if soft else np.around(values))[None, None]


def inpainting(networks, image, mask, content):
    """(init latents, keep mask) of a picture at the size of the run."""
    if content != "original":
        image = filled(image, mask)
    init = networks.encode(image)
    new = latent_mask(mask, init.shape[-2:])
    if content == "latent noise":
        init = init * (1 - new) + noise(init.shape) * new
    elif content == "latent nothing":
        init = init * (1 - new)
    return init, 1 - new


def overlaid(drawn, original, mask, box=None):
    """The picture that was drawn, the original over it where the mask does not cover it."""
    over = Image.new("RGBa", original.size)
    over.paste(original.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(mask))
    if box:
        left, top, right, bottom = box
        under = Image.new("RGBA", original.size)
        under.paste(fitted(drawn, right - left, bottom - top, "crop"), (left, top))
        drawn = under
    drawn = drawn.convert("RGBA")
    drawn.alpha_composite(over.convert("RGBA"))
    return drawn.convert("RGB")


def ddim(networks, unet, init, keep, strength):
    """The WebUI's DDIM over a picture: the clean latents are put into what the network is given, and only there."""
    cumprod = k_diff.ldm_alphas_cumprod().double()
    all_steps = torch.clip(torch.arange(0, 1000, 1000 // STEPS) + 1, 0, 999)
    t_enc = int(min(strength, 0.999) * STEPS)
    # The noise is that of the timestep beyond the first that is run.
    timesteps, a = all_steps[:t_enc], cumprod[all_steps[t_enc]]
    x = (a.sqrt() * init + (1 - a).sqrt() * noise(init.shape)).float()
    cond, uncond = networks.contexts
    for i in range(len(timesteps) - 1, 0, -1):
        now, then = cumprod[timesteps[i]], cumprod[timesteps[i - 1]]
        given = x * (1 - keep) + init * keep
        t = torch.full((2,), float(timesteps[i]))
        eps_uncond, eps_cond = unet(torch.cat([given] * 2), t, torch.cat([uncond, cond])).sample.chunk(2)
        eps = eps_uncond + CFG * (eps_cond - eps_uncond)
        x0 = (x - (1 - now).sqrt().float() * eps) / now.sqrt().float()
        x = then.sqrt().float() * x0 + (1 - then).sqrt().float() * eps
    return x * (1 - keep) + init * keep


class Concat(torch.nn.Module):
    """A U-Net with channels behind those of the latents."""

    def __init__(self, unet, extra):
        super().__init__()
        self.unet, self.extra = unet, extra

    def forward(self, x, t, context):
        return self.unet(torch.cat([x, self.extra.repeat(x.shape[0], 1, 1, 1)], 1), t, context)


def widened(unet, channels):
    """The tiny U-Net with more input channels, whose weights are 0.1 sin(0.37 i)."""
    import copy

    unet = copy.deepcopy(unet)
    old = unet.conv_in.weight
    n, extra = old.shape[0], channels - old.shape[1]
    more = 0.1 * torch.sin(0.37 * torch.arange(n * extra * 9, dtype=torch.float64)).float().reshape(n, extra, 3, 3)
    unet.conv_in.weight = torch.nn.Parameter(torch.cat([old, more], 1))
    return unet


def make(out):
    networks = Networks()
    unet = networks.parts["unet"]
    tensors = {}

    def pixels(name, image):
        tensors[name] = torch.from_numpy(np.array(image))

    image, mask = picture(90, 70), mask_of(90, 70)
    pixels("image", image)
    pixels("mask", mask)
    width, height = SIZE
    for mode in ("stretch", "crop", "fill"):
        pixels(f"fitted.{mode}", fitted(image, width, height, mode))
        pixels(f"fitted.{mode}.tall", fitted(image, 48, 96, mode))

    guided = networks.guided()
    model = networks.model
    small = fitted(image, width, height, "stretch")
    init = networks.encode(small)
    start = noise(init.shape)
    tensors["encoded"] = init
    sigmas = entry(model, 0.6)
    tensors["img2img"] = sample(guided, init + start * sigmas[0], sigmas)
    tensors["img2img.exact"] = sample(guided, init + start * entry(model, 0.6, exact=True)[0], entry(model, 0.6, exact=True))
    # Noise multiplier 0.8, extra noise 0.1.
    tensors["img2img.noise"] = sample(guided, init + 0.8 * start * (sigmas[0] + 0.1), sigmas)
    # diffusers: int(10 * 0.6) = 6 steps.
    six = k_diff.schedule(model, "karras", STEPS)[STEPS - 6 :]
    tensors["img2img.diffusers"] = sample(guided, init + start * six[0], six)
    stretched = torch.nn.functional.interpolate(
        networks.encode(image.crop((0, 0, 88, 64))), size=init.shape[-2:], mode="bilinear"
    )
    tensors["img2img.latent"] = sample(guided, stretched + start * sigmas[0], sigmas)

    blur = blurred(mask, 4)
    small_mask = Image.fromarray(np.array(fitted(blur.convert("RGB"), width, height, "stretch"))[:, :, 0])
    pixels("mask.fitted", small_mask)
    pixels("filled", filled(small, small_mask))
    for content in ("original", "fill", "latent noise", "latent nothing"):
        held, keep = inpainting(networks, small, small_mask, content)
        drawn = sample(Masked(guided, held, keep), held + start * sigmas[0], sigmas)
        tensors[f"inpaint.{content}"] = drawn * (1 - keep) + held * keep
    keep_mask = Image.fromarray(np.clip(np.array(small_mask).astype(np.float32) * 2, 0, 255).astype(np.uint8))
    held, keep = inpainting(networks, small, small_mask, "original")
    pixels("inpaint.pixels", overlaid(networks.bytes(tensors["inpaint.original"]), small, keep_mask))
    tensors["inpaint.ddim"] = ddim(networks, unet, held, keep, 0.6)
    soft = latent_mask(small_mask, init.shape[-2:], soft=True)
    tensors["inpaint.soft"] = sample(Soft(guided, model, init, start, soft, sigmas), init + start * sigmas[0], sigmas)

    box = region(blur, 8, SIZE, image.size)
    part = fitted(image.crop(box), width, height, "fill")
    part_mask = Image.fromarray(np.array(fitted(blur.crop(box).convert("RGB"), width, height, "fill"))[:, :, 0])
    held, keep = inpainting(networks, part, part_mask, "original")
    drawn = sample(Masked(guided, held, keep), held + start * sigmas[0], sigmas)
    tensors["only_masked"] = drawn * (1 - keep) + held * keep
    tensors["only_masked.box"] = torch.tensor(box)
    pixels("only_masked.pixels", overlaid(networks.bytes(tensors["only_masked"]), image, blur, box))

    # An inpainting model: the mask and the picture without what it covers, grey there.
    nine = widened(unet, 9)
    whole = torch.from_numpy(np.array(small_mask).astype(np.float32) / 255)[None, None].round()
    values = torch.from_numpy(np.array(small).astype(np.float32)).permute(2, 0, 1)[None] / 255 * 2 - 1
    hidden = networks.encode_values(values * (1 - whole))
    extra = torch.cat([torch.nn.functional.interpolate(whole, size=init.shape[-2:]), hidden], 1)
    held, keep = inpainting(networks, small, small_mask, "original")
    over = networks.guided(Concat(nine, extra))
    drawn = sample(Masked(over, held, keep), held + start * sigmas[0], sigmas)
    tensors["inpaint.model"] = drawn * (1 - keep) + held * keep
    grey = torch.cat([torch.ones_like(init[:, :1]), networks.encode_values(torch.zeros_like(values))], 1)
    first = k_diff.schedule(model, "karras", STEPS)
    tensors["inpaint.model.txt2img"] = sample(networks.guided(Concat(nine, grey)), start * first[0], first)

    # A model that draws after depth.
    depth = small.convert("L")
    five = widened(unet, 5)
    values = torch.from_numpy(np.array(depth).astype(np.float32))[None, None]
    values = torch.nn.functional.interpolate(values, size=init.shape[-2:], mode="bicubic", align_corners=False)
    values = 2 * (values - values.min()) / (values.max() - values.min()) - 1
    tensors["depth"] = sample(networks.guided(Concat(five, values)), start * first[0], first)

    # A model that edits a picture by instruction: guidance by text, and by the picture (2.0).
    eight = widened(unet, 8)
    encoded = init / FACTOR
    seen = networks.guided(Concat(eight, encoded))
    unseen = k_diff.denoiser(Concat(eight, torch.zeros_like(encoded)), "eps")

    class Edited(torch.nn.Module):
        def forward(self, x, sigma):
            cond, uncond = networks.contexts
            cond, uncond = (seen.denoiser(x, sigma, cond=context) for context in (cond, uncond))
            neither = unseen(x, sigma, cond=networks.contexts[1])
            return neither + CFG * (cond - uncond) + 2.0 * (uncond - neither)

    whole_way = entry(model, 1.0)
    tensors["edit"] = sample(Edited(), init + start * whole_way[0], whole_way)

    # Second passes: 6 steps at 1.5 times the size, strength 0.7; the second of 128x64, of which the sides are cut off.
    guided = networks.guided()
    base = sample(guided, start * first[0], first)
    second = entry(model, 0.7, 6, exact=True)

    def passed(latents):
        return sample(guided, latents + noise(latents.shape) * second[0], second)

    modes = {
        "Latent": ("bilinear", False), "Latent (antialiased)": ("bilinear", True), "Latent (bicubic)": ("bicubic", False),
        "Latent (bicubic antialiased)": ("bicubic", True), "Latent (nearest)": ("nearest", False),
        "Latent (nearest-exact)": ("nearest-exact", False),
    }
    large = (math.floor(height * 1.5) // 8, math.floor(width * 1.5) // 8)
    for name, (mode, antialias) in modes.items():
        enlarged = torch.nn.functional.interpolate(base, size=large, mode=mode, antialias=antialias)
        tensors[f"hires.{name}"] = passed(enlarged)
    cut = torch.nn.functional.interpolate(base, size=(12, 16), mode="bilinear")
    tensors["hires.cut"] = passed(cut[:, :, 2:10])
    drawn = networks.bytes(base).resize((large[1] * 8, large[0] * 8), Image.Resampling.LANCZOS)
    tensors["hires.Lanczos"] = passed(networks.encode(drawn))

    out.tensors(
        f"{FOLDER}/from_pictures.safetensors",
        tensors,
        seed=SEED,
        steps=STEPS,
        cfg_scale=CFG,
        strength=0.6,
        tolerance={"f32": 1e-4},
        note="Euler over Karras' schedule. Pictures are [h, w, 3] or [h, w] bytes. The rules are the WebUI's (processing.py, images.py, "
        "masking.py), written anew in from_pictures.py over Pillow and OpenCV; inpaint.soft is ComfyUI's differential diffusion.",
    )
