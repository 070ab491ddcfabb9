"""A tiny autoencoder (TAESD) of random weights, and what diffusers makes of latents and pictures with it."""

import torch
from diffusers import AutoencoderTiny

FOLDER = "goldens/tiny-vae"
SEED = 41


def make(out):
    generator = torch.Generator().manual_seed(SEED)
    model = AutoencoderTiny(encoder_block_out_channels=(4,) * 4, decoder_block_out_channels=(4,) * 4).eval()
    state = model.state_dict()
    for name, value in state.items():
        drawn = torch.randn(value.shape, generator=generator)
        # Twice the usual variance, since half of all values are cut off; blocks add up.
        state[name] = (drawn * (2 / (9 * value.shape[1])) ** 0.5 * 0.7 if value.dim() == 4 else 0.1 * drawn).half()
    model.load_state_dict({name: value.float() for name, value in state.items()})
    out.weights(f"{FOLDER}/diffusion_pytorch_model.safetensors", state, reference="diffusers", seed=SEED)
    latents = torch.randn(1, 4, 3, 4, generator=generator) * 2
    pictures = torch.rand(1, 3, 16, 24, generator=generator) * 2 - 1
    refs = {
        "latents": latents,
        "decoded": model.decode(latents).sample,
        "pictures": pictures,
        "encoded": model.encode(pictures).latents,
    }
    out.tensors(f"{FOLDER}/refs.safetensors", refs, reference="diffusers", seed=SEED, tolerance=1e-5)
