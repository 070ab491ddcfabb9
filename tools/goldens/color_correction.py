"""The WebUI's colour correction (setup_color_correction and apply_color_correction of its processing.py) by OpenCV, scikit-image, blendmodes."""

import cv2
import numpy as np
import torch
from blendmodes.blend import BlendType, blendLayers
from PIL import Image
from skimage import exposure

import from_pictures

SEED = 31


def corrected(drawn, like):
    reference = cv2.cvtColor(np.asarray(like), cv2.COLOR_RGB2LAB)
    matched = exposure.match_histograms(cv2.cvtColor(np.asarray(drawn), cv2.COLOR_RGB2LAB), reference, channel_axis=2)
    matched = Image.fromarray(cv2.cvtColor(matched, cv2.COLOR_LAB2RGB).astype("uint8"))
    return blendLayers(matched, drawn, BlendType.LUMINOSITY).convert("RGB")


def make(out):
    generator = np.random.default_rng(SEED)
    # Ends of the range count more than its middle.
    rgb = generator.choice([0, 1, 2, 127, 254, 255, *range(0, 256, 3)], (1, 8000, 3)).astype(np.uint8)
    tensors = {
        "rgb": rgb,
        "lab": cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB),
        "rgb.of_lab": cv2.cvtColor(rgb, cv2.COLOR_LAB2RGB),
    }
    drawn = from_pictures.picture(64, 48)
    noise = generator.normal(0, 20, (48, 64, 3))
    drawn = Image.fromarray(np.clip(np.asarray(drawn) + noise, 0, 255).astype(np.uint8))
    likes = {
        "like": from_pictures.picture(64, 48),
        # Another size, and other colours.
        "unlike": Image.fromarray(generator.integers(30, 200, (31, 45, 3)).astype(np.uint8)),
        "flat": Image.new("RGB", (8, 8), (250, 3, 120)),
    }
    tensors["drawn"] = np.asarray(drawn)
    for name, like in likes.items():
        tensors[name] = np.asarray(like)
        tensors[f"corrected.{name}"] = np.asarray(corrected(drawn, like))
    out.tensors(
        "goldens/pictures/color_correction.safetensors",
        {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in tensors.items()},
        seed=SEED,
        tolerance="equal bytes",
        note="pictures [h, w, 3] as bytes; rgb.of_lab is rgb read as LAB. OpenCV's 8-bit LAB, scikit-image 0.26.0's match_histograms, "
        "the luminosity of blendmodes 2025, joined as in the WebUI",
    )
