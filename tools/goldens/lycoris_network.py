"""A LyCORIS network of several kinds over the whole tiny SD1, saved by LyCORIS, and both networks' outputs under it."""

import torch
from lycoris import LycorisNetwork, create_lycoris

import common
import refs
import tiny_sd1

FOLDER = "goldens/lora"
SEED = 61

# The kind of what lies in each kind of block.
UNET = {
    "enable_conv": True,
    "target_module": ["Attention", "FeedForward", "ResnetBlock2D", "Downsample2D"],
    "module_algo_map": {
        "Attention": {"algo": "lokr", "factor": 4},
        "FeedForward": {"algo": "ia3"},
        "ResnetBlock2D": {"algo": "diag-oft", "dim": 4},
        "Downsample2D": {"algo": "loha", "dim": 1, "alpha": 1},
    },
}
TEXT_ENCODER = {
    "enable_conv": False,
    "target_module": ["CLIPAttention", "CLIPMLP"],
    "module_algo_map": {"CLIPAttention": {"algo": "glora", "dim": 1}, "CLIPMLP": {"algo": "lora", "dora_wd": True, "dim": 1}},
}


def attach(model, preset, generator):
    """Random modules on a network, and their tensors as LyCORIS saves them."""
    LycorisNetwork.apply_preset(preset)
    network = create_lycoris(model, 1.0, linear_dim=1, linear_alpha=1, algo="lora", train_norm=True)
    network.apply_to()
    for name, parameter in network.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "dora_scale" in name:
            parameter.data *= 1 + 0.3 * noise.abs()
        else:
            parameter.data = 0.1 * noise
    network.eval()
    return network.state_dict()


def make(out):
    parts = tiny_sd1.load(common.ROOT)
    unet, text_encoder = parts["unet"], parts["text_encoder"]
    ids = refs.token_ids(refs.PROMPTS[:1])
    generator = torch.Generator().manual_seed(SEED)
    sample = torch.randn(1, 4, 16, 16, generator=generator)
    context = torch.randn(1, 77, unet.config.cross_attention_dim, generator=generator)

    def run():
        return {"text": text_encoder(ids).last_hidden_state, "unet": unet(sample, 500, context).sample}

    plain = run()
    tensors = attach(unet, UNET, generator)
    # Newer versions of transformers leave the outer name out, which files have.
    text = attach(text_encoder, TEXT_ENCODER, generator)
    tensors |= {name.replace("lycoris_encoder_", "lycoris_text_model_encoder_"): t for name, t in text.items()}
    changed = run()
    for name in plain:
        assert common.relative_error(changed[name], plain[name]) > 0.05, f"the adapter must show in {name}"
    out.weights(f"{FOLDER}/network.safetensors", tensors, note="LoKr, IA3, OFT, LoHa, GLoRA, DoRA and norms, random")
    out.tensors(
        f"{FOLDER}/network_refs.safetensors",
        {"input_ids": ids, "sample": sample, "context": context} | changed,
        tolerance={"f32": 1e-5},
        note="outputs under network.safetensors; text: last hidden state after the final norm; unet: at timestep 500",
    )
