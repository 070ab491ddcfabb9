"""k-diffusion itself, without what only its training needs, and the denoisers that the runs use."""

import importlib.machinery
import sys
import types

import torch


def stub(name, **attributes):
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.__dict__.update(attributes)
    sys.modules[name] = module
    return module


def import_sampling():
    """external.py and sampling.py as they are: the package's __init__ would import training code and torchvision."""
    import importlib.util

    folder = importlib.util.find_spec("k_diffusion").submodule_search_locations[0]
    package = stub("k_diffusion")
    package.__path__ = [folder]
    unneeded = []
    if importlib.util.find_spec("torchvision") is None:
        # utils.py imports it for image files.
        unneeded = ["torchvision", "torchvision.transforms"]
        stub("torchvision")
        stub("torchvision.transforms", functional=None)
    from k_diffusion import external, sampling

    # Left behind, they would make other packages believe in them.
    for name in unneeded:
        del sys.modules[name]

    return external, sampling


external, sampling = import_sampling()


def ldm_alphas_cumprod():
    """LDM's scaled-linear schedule, computed in f64 and kept in f32 as LDM does (diffusers computes it in f32)."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


class CompVis:
    """The face of an LDM model that k-diffusion's CompVis wrappers expect, over a diffusers U-Net."""

    def __init__(self, unet):
        self.unet = unet
        self.alphas_cumprod = ldm_alphas_cumprod()

    def apply_model(self, x, t, cond):
        return self.unet(x, t, cond).sample


class Guided(torch.nn.Module):
    """Classifier-free guidance on denoised: both halves in one call, uncond first."""

    def __init__(self, denoiser, cond, uncond, scale):
        super().__init__()
        self.denoiser, self.context, self.scale = denoiser, torch.cat([uncond, cond]), scale

    def forward(self, x, sigma):
        n = x.shape[0]
        context = self.context.repeat_interleave(n, 0)
        uncond, cond = self.denoiser(torch.cat([x, x]), torch.cat([sigma, sigma]), cond=context).chunk(2)
        return uncond + (cond - uncond) * self.scale


def denoiser(unet, prediction):
    wrapper = {"eps": external.CompVisDenoiser, "v": external.CompVisVDenoiser}[prediction]
    return wrapper(CompVis(unet), quantize=False)


def schedule(denoiser, name, steps):
    if name == "uniform":
        return denoiser.get_sigmas(steps)
    return sampling.get_sigmas_karras(steps, denoiser.sigma_min.item(), denoiser.sigma_max.item())


def run(sampler, model, noise, sigmas):
    """From sigmas[0] * noise. Returns x before every step and after the last, and the first step's denoised."""
    seen = []
    x = sampler(model, noise * sigmas[0], sigmas, disable=True, callback=seen.append)
    return torch.cat([*(s["x"] for s in seen), x]), seen[0]["denoised"]
