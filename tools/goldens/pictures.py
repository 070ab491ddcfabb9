"""Pillow's and OpenCV's arithmetic on 8-bit pictures, and files of many kinds with the pixels that Pillow reads from them."""

import io
import struct

import cv2
import numpy as np
import torch
from PIL import Image, ImageCms, ImageFilter, ImageOps

FILTERS = ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
SIZES = [(31, 20), (7, 5), (19, 29)]
EXACT = "equal bytes"


def make(out):
    out.tensors("goldens/pictures/arithmetic.safetensors", as_tensors(arithmetic()), reference="Pillow, OpenCV", tolerance=EXACT)
    out.tensors(
        "goldens/pictures/files.safetensors",
        as_tensors(files()),
        reference="Pillow, which also wrote the files but for those of 16 bits (OpenCV)",
        tolerance="equal bytes; JPEG and lossy WebP, whose decoders round differently, within a few levels; colour profiles within two",
    )
    out.tensors("goldens/pictures/interpolation.safetensors", interpolated(), reference="torch.nn.functional.interpolate", tolerance=1e-5)


def as_tensors(arrays):
    return {name: torch.from_numpy(np.array(array, dtype=np.uint8)) for name, array in arrays.items()}


def sample(width, height, channels, seed):
    """Smooth colours with noise over them and hard edges, so that filters overshoot; alpha with both ends and all between."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = [127 + 110 * np.sin(x / (2.1 + c) + c) * np.cos(y / (3.3 - c / 2)) + rng.normal(0, 25, (height, width)) for c in range(channels)]
    picture = np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)
    picture[height // 3 : height // 2, width // 2 :] = 255
    picture[height // 2 :, : width // 4] = 0
    return picture


def arithmetic():
    rgba, grey = sample(19, 13, 4, 1), sample(19, 13, 1, 2)[..., 0]
    cases = {"rgba": rgba, "grey": grey}
    modes = {"alpha": Image.fromarray(rgba, "RGBA"), "channels": Image.fromarray(rgba, "CMYK"), "grey": Image.fromarray(grey, "L")}
    for mode in ("alpha", "grey"):
        for name in FILTERS:
            for size in SIZES:
                cases[f"resize.{mode}.{name}.{size[0]}x{size[1]}"] = modes[mode].resize(size, Image.Resampling[name.upper()])
    for radius in (0.5, 2, 7, 64):
        cases[f"gaussian.channels:{radius}"] = modes["channels"].filter(ImageFilter.GaussianBlur(radius))
    for radius in (0.3, 1, 3.5, 256):
        cases[f"gaussian.grey:{radius}"] = modes["grey"].filter(ImageFilter.GaussianBlur(radius))
    for radius in (0.5, 1, 2.7):
        cases[f"box.grey:{radius}"] = modes["grey"].filter(ImageFilter.BoxBlur(radius))
    for sigma in (0.8, 2.5):
        cases[f"opencv.both:{sigma}"] = cv2.GaussianBlur(grey, (5, 9), sigma)
    for sigma in (1, 4, 9.5, 20):
        cases[f"opencv.rows:{sigma}"] = cv2.GaussianBlur(grey, (2 * int(2.5 * sigma + 0.5) + 1, 1), sigma)
    cases["grey_of"] = modes["alpha"].convert("L")
    background = Image.new("RGBA", modes["alpha"].size, (200, 30, 90, 255))
    background.paste(modes["alpha"], mask=modes["alpha"])
    cases["flattened"] = background.convert("RGB")
    mask = np.zeros((13, 19), np.uint8)
    mask[3:9, 5:12] = 255
    mask[10, 2] = 90
    blurred = cv2.GaussianBlur(mask, (11, 1), 2)
    cases |= {"mask": mask, "mask_blurred": cv2.GaussianBlur(blurred, (1, 11), 2)}
    cases["filled"] = filled(modes["alpha"], Image.fromarray(mask, "L"))
    return {name: np.asarray(case) for name, case in cases.items()}


def filled(picture, mask):
    """Masked content "fill": the WebUI's radii and repetitions (its modules/masking.py) in Pillow's operations."""
    around = Image.new("RGBa", picture.size)
    around.paste(picture.convert("RGBa"), mask=ImageOps.invert(mask))
    result = Image.new("RGBA", picture.size)
    for radius, times in [(256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1)]:
        blurred = around.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        for _ in range(times):
            result.alpha_composite(blurred)
    return result.convert("RGB")


def saved(picture, kind, **options):
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


def interpolated():
    planes = torch.from_numpy(np.random.default_rng(6).normal(size=(1, 2, 7, 9)).astype(np.float32))
    cases = {"planes": planes}
    for mode, antialias in [("nearest", False), ("nearest-exact", False)] + [(m, a) for m in ("bilinear", "bicubic") for a in (False, True)]:
        for size in [(13, 11), (3, 4), (7, 20), (1, 1), (8, 5)]:
            name = f"{mode}{'-antialiased' if antialias else ''}:{size[0]}x{size[1]}"
            cases[name] = torch.nn.functional.interpolate(planes, size=size, mode=mode, antialias=antialias)
    return cases


def files():
    rgba = Image.fromarray(sample(11, 7, 4, 3), "RGBA")
    rgb, grey = rgba.convert("RGB"), rgba.convert("L")
    smooth = Image.fromarray(sample(6, 4, 3, 4), "RGB").resize((24, 17), Image.Resampling.BICUBIC)
    deep = (np.random.default_rng(5).integers(0, 65536, (7, 11, 4))).astype(np.uint16)
    deep_png = {n: cv2.imencode(".png", deep[..., :n] if n > 1 else deep[..., 0])[1].tobytes() for n in (1, 3, 4)}
    palette = rgb.quantize(16)
    frames = [rgb.transpose(Image.Transpose.ROTATE_180)]
    written = {
        "png.rgb": saved(rgb, "PNG"),
        "png.rgba": saved(rgba, "PNG"),
        "png.grey": saved(grey, "PNG"),
        "png.grey_alpha": saved(rgba.convert("LA"), "PNG"),
        "png.palette": saved(palette, "PNG"),
        "png.palette_clear": saved(palette, "PNG", transparency=3),
        "png.one_bit": saved(rgb.convert("1"), "PNG"),
        "png.rgb16": deep_png[3],
        "png.rgba16": deep_png[4],
        "png.grey16": deep_png[1],
        "png.animated": saved(rgb, "PNG", save_all=True, append_images=frames),
        "png.one": saved(rgba.crop((0, 0, 1, 1)), "PNG"),
        "png.srgb": saved(rgb, "PNG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()),
        "png.wide": saved(rgb, "PNG", icc_profile=wide_profile()),
        "jpeg.444": saved(smooth, "JPEG", quality=95, subsampling=0),
        "jpeg.420": saved(smooth, "JPEG", quality=90, subsampling=2),
        "jpeg.progressive": saved(smooth, "JPEG", quality=90, progressive=True),
        "jpeg.grey": saved(smooth.convert("L"), "JPEG", quality=95),
        "jpeg.cmyk": saved(smooth.convert("CMYK"), "JPEG", quality=95),
        "webp.lossless": saved(rgba, "WEBP", lossless=True, exact=True),
        "webp.lossy": saved(smooth, "WEBP", quality=95),
        "webp.animated": saved(rgb, "WEBP", lossless=True, save_all=True, append_images=frames),
        "bmp.rgb": saved(rgb, "BMP"),
        "bmp.palette": saved(palette, "BMP"),
        "gif.clear": saved(palette, "GIF", transparency=3),
        "gif.animated": saved(rgb, "GIF", save_all=True, append_images=frames),
    }
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        written[f"jpeg.turned{orientation}"] = saved(smooth.crop((0, 0, 8, 5)), "JPEG", quality=95, subsampling=0, exif=exif)
    exif = Image.Exif()
    exif[0x0112] = 6
    written |= {"png.turned": saved(rgb, "PNG", exif=exif), "webp.turned": saved(rgb, "WEBP", lossless=True, exif=exif)}
    cases = {}
    for name, data in written.items():
        cases[f"file.{name}"] = np.frombuffer(data, np.uint8)
        cases[f"rgba.{name}"] = deep[..., [0, 0, 0]] >> 8 if name == "png.grey16" else read(data, name == "png.wide")
    opaque = np.full((7, 11, 1), 255)
    cases["rgba.png.grey16"] = np.concatenate([cases["rgba.png.grey16"], opaque], -1)
    return cases


def read(data, convert):
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if convert:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))
        picture = ImageCms.profileToProfile(picture, profile, ImageCms.createProfile("sRGB"))
    return np.asarray(picture.convert("RGBA"))


def wide_profile():
    """A display profile (ICC.1:2001) with Adobe RGB's primaries, adapted to D50, and a gamma of 2.2."""

    def fixed(*values):
        return b"".join(struct.pack(">i", round(v * 65536)) for v in values)

    primaries = {b"rXYZ": (0.60974, 0.31111, 0.01947), b"gXYZ": (0.20528, 0.62567, 0.06087), b"bXYZ": (0.14919, 0.06322, 0.74457)}
    tags = {b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1.0, 0.8249)}
    tags |= {name: b"XYZ \0\0\0\0" + fixed(*xyz) for name, xyz in primaries.items()}
    tags |= {name: b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(2.2 * 256), 0) for name in (b"rTRC", b"gTRC", b"bTRC")}
    tags[b"desc"] = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"wide\0" + bytes(4 + 4 + 2 + 1 + 67 + 3)
    tags[b"cprt"] = b"text\0\0\0\0none\0\0\0\0"
    at, table, data = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += name + struct.pack(">II", at + len(data), len(value))
        data += value
    head = struct.pack(">I4sI4s4s4s", at + len(data), bytes(4), 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp").ljust(44, b"\0") + fixed(0.9642, 1.0, 0.8249)
    return head.ljust(128, b"\0") + table + data
