"""What each network of the tiny SD1 gives for given inputs."""

import copy

import torch

import clip_vocab
import common
import tiny_sd1

SEED = 7
FOLDER = "goldens/tiny-sd1/refs"
PROMPTS = [
    "a red circle above a blue square",
    # Longer than 77 tokens: cut by the tokenizer, so that no padding is in it.
    "masterpiece, best quality, " + "a small green triangle left of a yellow star, " * 12,
]


def token_ids(prompts):
    tokenizer = clip_vocab.tokenizer()
    return tokenizer(prompts, padding="max_length", truncation=True, max_length=77, return_tensors="pt")["input_ids"]


def cast(model, dtype):
    """A copy: casting in place and back would lose what the narrower type can't hold."""
    return copy.deepcopy(model).to(dtype)


def measured(run, want):
    """Tolerance per dtype: 1e-5 is asked of f32; half precision is three times what PyTorch itself loses in it."""
    tolerance = {"f32": 1e-5}
    for dtype in (torch.bfloat16, torch.float16):
        got = run(dtype)
        worst = max(common.relative_error(got[name], want[name]) for name in got)
        tolerance[{torch.bfloat16: "bf16", torch.float16: "f16"}[dtype]] = common.round_up(3 * worst)
    exact = run(torch.float64)
    return {
        "tolerance": tolerance,
        "f32_against_f64": f"{max(common.relative_error(want[name], exact[name]) for name in exact):.0e}",
    }


def text_states(model, ids):
    out = model(ids, output_hidden_states=True)
    tensors = {f"hidden_state.{i}": h for i, h in enumerate(out.hidden_states)}
    return tensors | {"final": out.last_hidden_state, "pooled": out.pooler_output}


def text(out, model):
    ids = token_ids(PROMPTS)
    want = text_states(model, ids)
    about = measured(lambda dtype: text_states(cast(model, dtype), ids), want)
    out.tensors(
        f"{FOLDER}/text_encoder.safetensors",
        {"input_ids": ids} | want,
        prompts=PROMPTS,
        note="hidden_state.0 is the embeddings' output, hidden_state.5 the last layer's; final is the last one after the "
        "final layer norm; pooled is final at the first <|endoftext|>. transformers' CLIPTextModel, eager attention",
        **about,
    )


def unet(out, model):
    generator = torch.Generator("cpu").manual_seed(SEED)
    inputs = {}
    cases = [(b, h, w, [t] * b) for b, h, w in [(1, 16, 16), (2, 24, 40)] for t in [999.0, 500.0, 1.0, 261.37]]
    # A timestep of its own for each picture of a batch.
    cases.append((2, 16, 16, [999.0, 37.5]))
    for batch, height, width, timesteps in cases:
        name = "_".join(f"{t:g}" for t in dict.fromkeys(timesteps))
        inputs[f"b{batch}_{height}x{width}_t{name}"] = {
            "sample": torch.randn(batch, 4, height, width, generator=generator),
            "timestep": torch.tensor(timesteps, dtype=torch.float32),
            "encoder_hidden_states": torch.randn(batch, 77, 16, generator=generator),
        }

    def run(dtype):
        unet = cast(model, dtype)
        return {
            f"{case}.out": unet(
                i["sample"].to(dtype), i["timestep"], i["encoder_hidden_states"].to(dtype)
            ).sample
            for case, i in inputs.items()
        }

    want = run(torch.float32)
    about = measured(run, want)
    out.tensors(
        f"{FOLDER}/unet.safetensors",
        {f"{case}.{name}": t for case, i in inputs.items() for name, t in i.items()} | want,
        seed=SEED,
        note="per case bB_HxW_tT: sample, timestep (one per picture), encoder_hidden_states, out. "
        "diffusers' UNet2DConditionModel, AttnProcessor",
        **about,
    )


def vae(out, model):
    generator = torch.Generator("cpu").manual_seed(SEED + 1)
    # Smooth in places and noisy in others, as pictures are.
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 96), indexing="ij")
    image = torch.stack([torch.sin(5 * x) * y, torch.cos(4 * y + x), x * y])[None]
    image = (0.7 * image + 0.3 * torch.randn(image.shape, generator=generator)).clamp(-1, 1)
    latent = torch.randn(1, 4, 8, 12, generator=generator)

    def run(dtype):
        vae = cast(model, dtype)
        moments = vae.encode(image.to(dtype)).latent_dist
        # The distribution clamps its logvar to [-30, 20].
        return {
            "encode.mean": moments.mean,
            "encode.logvar": moments.logvar,
            "decode.out": vae.decode(latent.to(dtype)).sample,
        }

    want = run(torch.float32)
    about = measured(run, want)
    out.tensors(
        f"{FOLDER}/vae.safetensors",
        {"encode.image": image, "decode.latent": latent} | want,
        seed=SEED + 1,
        note="mean and logvar after quant_conv, not scaled; decode.latent is what post_quant_conv gets, not scaled "
        "either; out is not clamped. diffusers' AutoencoderKL, AttnProcessor",
        **about,
    )


def make(out):
    parts = tiny_sd1.load(common.ROOT)
    text(out, parts["text_encoder"])
    unet(out, parts["unet"])
    vae(out, parts["vae"])
