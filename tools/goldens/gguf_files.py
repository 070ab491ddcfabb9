"""A GGUF file with a tensor of each type, packed and unpacked by the gguf package."""

import gguf
import numpy as np
import torch

import common

FOLDER = "goldens/gguf"
SEED = 22
SHAPE = (3, 512)
# The package packs these; of the K types it only unpacks, so their blocks are random bytes with scales that are small numbers.
PACKED = ["F32", "F16", "BF16", "Q8_0", "Q5_0", "Q5_1", "Q4_0", "Q4_1"]
HALVES = {"Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def blocks(name, random):
    kind = gguf.GGMLQuantizationType[name]
    values, size = gguf.GGML_QUANT_SIZES[kind]
    data = random.integers(0, 256, (SHAPE[0], SHAPE[1] // values, size), dtype=np.uint8)
    for at in HALVES[name]:
        scale = random.uniform(-0.1, 0.1, data.shape[:2]).astype(np.float16)
        data[..., at : at + 2] = scale[..., None].view(np.uint8)
    return data.reshape(SHAPE[0], -1)


def make(out):
    random = np.random.default_rng(SEED)
    source = random.standard_normal(SHAPE).astype(np.float32)
    stored = {}
    for name in PACKED:
        stored[name] = gguf.quants.quantize(source, gguf.GGMLQuantizationType[name])
    for name in HALVES:
        stored[name] = blocks(name, random)
    path = out._path(f"{FOLDER}/types.gguf")
    writer = gguf.GGUFWriter(path, "sd1")
    writer.add_name("every type")
    writer.add_array("comfy.gguf.orig_shape.conv.weight", [8, 4, 3, 3])
    values = {}
    for name, data in stored.items():
        kind = gguf.GGMLQuantizationType[name]
        writer.add_tensor(f"{name}.weight", data, raw_dtype=kind)
        values[f"{name}.weight"] = torch.from_numpy(gguf.quants.dequantize(data, kind))
    conv = random.standard_normal((9, 32)).astype(np.float32)
    writer.add_tensor("conv.weight", gguf.quants.quantize(conv, gguf.GGMLQuantizationType.Q8_0),
                      raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    unpacked = gguf.quants.dequantize(gguf.quants.quantize(conv, gguf.GGMLQuantizationType.Q8_0),
                                      gguf.GGMLQuantizationType.Q8_0)
    values["conv.weight"] = torch.from_numpy(unpacked).reshape(8, 4, 3, 3)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    out._describe(f"{FOLDER}/types.gguf", {"note": "a tensor of each type, and one whose own shape is in the metadata",
                                           "package": f"gguf {common.versions()['gguf']}"})
    out.tensors(f"{FOLDER}/values.safetensors", values, tolerance={"f32": 0}, note="unpacked by gguf.quants.dequantize")
