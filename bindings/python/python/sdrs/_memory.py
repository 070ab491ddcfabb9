"""The memory that runs take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MemoryPlan:
    """The most of the CPU's memory that a run needs, in bytes: an estimate from the model's files and configuration.

    A GPU's own memory, other pipelines, networks that enlarge pictures, and the pictures themselves are not counted.
    """

    weights: int
    """The weights of all networks, with the LoRAs that the pipeline was given."""
    text_encoders: int
    """The part of these that is text encoders'."""
    unet: int
    """The part of these that is the U-Net's, and the refiner's."""
    vae: int
    """The part of these that is the autoencoder's."""
    loras: int
    """The layers that the LoRAs of the run's prompts change, which lie beside the pipeline's own, and those that follow a schedule once more."""
    lora_text_encoders: int
    """The part of these that is text encoders'."""
    encoding: int
    """The memory that encoding a picture has in use at once; 0 where the run encodes none."""
    denoising: int
    """The memory that a call of the U-Net has in use at once, both halves of guidance together."""
    decoding: int
    """The memory that decoding a picture has in use at once."""
    other: int
    """The program itself, vocabularies, and pages of files that are being read."""
    runs: int
    """The number of such runs at once on one pipeline. Weights are there once; the figures above are a single run's."""
    least: int
    """The least that the runs get by with: for one it is the smallest `memory_limit` that allows it."""
    most: int
    """The most that they take without a limit."""
