"""What other programs write into their pictures, in the forms of files that they have written, and how two readers of such pictures,
sd-parsers and stable-diffusion-prompt-reader, read it. Prompts and settings are of our own."""

import io
import json
import tempfile

import piexif
import piexif.helper
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from sd_parsers import ParserManager
from sd_prompt_reader.image_data_reader import ImageDataReader

PROMPT, NEGATIVE = "a lighthouse at dawn, (storm:1.2), [sea]", "blurry, low quality"


def node(kind, **inputs):
    return {"inputs": inputs, "class_type": kind}


def comfy(**more):
    """ComfyUI's first example."""
    graph = {
        "3": node(
            "KSampler", seed=156680208700286, steps=20, cfg=8.0, sampler_name="dpmpp_2m", scheduler="karras", denoise=1.0,
            model=["4", 0], positive=["6", 0], negative=["7", 0], latent_image=["5", 0],
        ),
        "4": node("CheckpointLoaderSimple", ckpt_name="sub\\coast_v2.safetensors"),
        "5": node("EmptyLatentImage", width=512, height=768, batch_size=1),
        "6": node("CLIPTextEncode", text=PROMPT, clip=["4", 1]),
        "7": node("CLIPTextEncode", text=NEGATIVE, clip=["4", 1]),
        "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": node("SaveImage", filename_prefix="ComfyUI", images=["8", 0]),
    }
    return graph | more


def loras():
    graph = comfy()
    graph["10"] = node("LoraLoader", lora_name="ink.safetensors", strength_model=0.8, strength_clip=0.6, model=["4", 0], clip=["4", 1])
    graph["11"] = node("CLIPSetLastLayer", stop_at_clip_layer=-2, clip=["10", 1])
    graph["12"] = node("FreeU_V2", b1=1.3, b2=1.4, s1=0.9, s2=0.2, model=["10", 0])
    graph["13"] = node("VAELoader", vae_name="kl-f8.safetensors")
    graph["3"]["inputs"]["model"] = ["12", 0]
    for text in "67":
        graph[text]["inputs"]["clip"] = ["11", 0]
    graph["8"]["inputs"]["vae"] = ["13", 0]
    return graph


def second_pass():
    graph = comfy()
    graph["20"] = node("LatentUpscaleBy", upscale_method="nearest-exact", scale_by=1.5, samples=["3", 0])
    graph["21"] = node(
        "KSampler", seed=7, steps=14, cfg=7.0, sampler_name="euler", scheduler="normal", denoise=0.5,
        model=["4", 0], positive=["6", 0], negative=["7", 0], latent_image=["20", 0],
    )
    graph["8"]["inputs"]["samples"] = ["21", 0]
    return graph


def image_to_image():
    graph = comfy()
    graph["5"] = node("VAEEncode", pixels=["30", 0], vae=["4", 2])
    graph["30"] = node("LoadImage", image="boat.png")
    graph["3"]["inputs"]["denoise"] = 0.6
    graph["31"] = node("ControlNetLoader", control_net_name="depth.safetensors")
    graph["32"] = node("ControlNetApply", strength=0.9, conditioning=["6", 0], control_net=["31", 0], image=["30", 0])
    graph["3"]["inputs"]["positive"] = ["32", 0]
    return graph


def refined():
    """SDXL's base and refiner, with texts that stand in nodes of their own."""
    graph = comfy()
    graph["40"] = node("CheckpointLoaderSimple", ckpt_name="fine.safetensors")
    graph["41"] = node("PrimitiveString", value=PROMPT)
    graph["6"]["inputs"]["text"] = ["41", 0]
    shared = {"noise_seed": 11, "steps": 25, "cfg": 6.5, "sampler_name": "euler", "scheduler": "normal"}
    graph["3"] = node(
        "KSamplerAdvanced", add_noise="enable", start_at_step=0, end_at_step=20, return_with_leftover_noise="enable", **shared,
        model=["4", 0], positive=["6", 0], negative=["7", 0], latent_image=["5", 0],
    )
    graph["42"] = node("CLIPTextEncode", text=PROMPT, clip=["40", 1])
    graph["43"] = node("CLIPTextEncode", text=NEGATIVE, clip=["40", 1])
    graph["44"] = node(
        "KSamplerAdvanced", add_noise="disable", start_at_step=20, end_at_step=10000, return_with_leftover_noise="disable", **shared,
        model=["40", 0], positive=["42", 0], negative=["43", 0], latent_image=["3", 0],
    )
    graph["8"]["inputs"]["samples"] = ["44", 0]
    return graph


def custom():
    graph = comfy()
    graph["3"] = node(
        "SamplerCustomAdvanced", noise=["50", 0], guider=["51", 0], sampler=["52", 0], sigmas=["53", 0], latent_image=["5", 0],
    )
    graph["50"] = node("RandomNoise", noise_seed=99)
    graph["51"] = node("CFGGuider", cfg=5.5, model=["4", 0], positive=["6", 0], negative=["7", 0])
    graph["52"] = node("KSamplerSelect", sampler_name="dpmpp_2m_sde")
    graph["53"] = node("KarrasScheduler", steps=18, sigma_max=14.61, sigma_min=0.03, rho=7.0)
    return graph


FOOOCUS = {
    "adm_guidance": "(1.5, 0.8, 0.3)", "base_model": "coastXL", "base_model_hash": "aeb7e9e689", "clip_skip": 2,
    "full_negative_prompt": [NEGATIVE], "full_prompt": [f"cinematic still {PROMPT} . film grain", f"{PROMPT}, elegant"],
    "guidance_scale": 4, "loras": [["sd_xl_offset", 0.1, "4852686128"]], "metadata_scheme": "fooocus", "negative_prompt": NEGATIVE,
    "performance": "Speed", "prompt": PROMPT, "prompt_expansion": "", "refiner_model": "None", "refiner_switch": 0.5,
    "resolution": "(896, 1152)", "sampler": "dpmpp_2m_sde_gpu", "scheduler": "karras", "seed": "6952411511246973023", "sharpness": 2,
    "steps": 30, "styles": "['Fooocus V2']", "vae": "Default (model)", "version": "Fooocus v2.5.5",
}
INVOKE = {
    "generation_mode": "sdxl_txt2img", "positive_prompt": "a lighthouse++ at (early dawn)1.3", "negative_prompt": "blurry+, noise--",
    "width": 832, "height": 1216, "seed": 3293022630, "rand_device": "cpu", "cfg_scale": 6.5, "cfg_rescale_multiplier": 0.7, "steps": 35,
    "scheduler": "dpmpp_2m_k", "model": {"key": "5f2", "hash": "blake3:1a", "name": "coastXL", "base": "sdxl", "type": "main"},
    "vae": {"key": "1b", "name": "sdxl-vae", "base": "sdxl", "type": "vae"},
    "loras": [{"model": {"key": "77", "name": "ink", "base": "sdxl", "type": "lora"}, "weight": 0.75}],
    "controlnets": [], "ipAdapters": [{"weight": 0.45}],
}
SD_METADATA = {
    "model": "stable diffusion", "model_weights": "coast_v08", "model_hash": "56d1442a0feefd64836a", "app_id": "invoke-ai/InvokeAI",
    "app_version": "2.3.0",
    "image": {
        "prompt": [{"prompt": "a lighthouse at dawn [blurry, grey]", "weight": 1.0}], "steps": 50, "cfg_scale": 5, "threshold": 0, "perlin": 0,
        "height": 768, "width": 512, "seed": 2980747362, "seamless": False, "hires_fix": False, "type": "txt2img",
        "postprocessing": [{"type": "codeformer", "strength": 0.9}], "sampler": "k_lms", "variations": [],
    },
}
DREAM = '"a lighthouse at dawn [blurry, grey]" -s 50 -S 2980747362 -W 512 -H 768 -C 5 -A k_euler_a -U 4 0.95'
NOVELAI = {
    "steps": 28, "sampler": "k_euler_ancestral", "seed": 2253955223, "strength": 0.7, "noise": 0.0, "scale": 11.0, "uc": NEGATIVE,
    "noise_schedule": "karras", "cfg_rescale": 0.2, "sm": True,
}
DRAW_THINGS = {
    "c": "a lighthouse & \"dawn\"", "uc": NEGATIVE, "model": "coast_f16.ckpt", "sampler": "DPM++ 2M Karras", "scale": 7.5, "seed": 815,
    "seed_mode": "Scale Alike", "size": "512x768", "steps": 24, "strength": 1, "lora": [{"model": "ink_lora.ckpt", "weight": 0.6}],
}
SWARM = {
    "sui_image_params": {
        "prompt": PROMPT, "negativeprompt": NEGATIVE, "model": "OfficialStableDiffusion/coast", "seed": 1234, "steps": 21, "cfgscale": 6.0,
        "width": 640, "height": 832, "sampler": "euler_ancestral", "scheduler": "karras", "swarm_version": "0.9.2.1", "date": "2025-01-01",
        "refinerupscale": 1.5,
    }
}


def xmp(comment):
    text = json.dumps(comment).replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return f"""<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 6.0.0">
   <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
      <rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/">
         <xmp:CreatorTool>Draw Things</xmp:CreatorTool>
         <exif:UserComment>
            <rdf:Alt>
               <rdf:li xml:lang="x-default">{text}</rdf:li>
            </rdf:Alt>
         </exif:UserComment>
      </rdf:Description>
   </rdf:RDF>
</x:xmpmeta>"""


def graph(build):
    nodes = build()
    links = [
        [0, int(value[0]), value[1], int(to), 0, name.upper()]
        for to, node in nodes.items() for name, value in node["inputs"].items() if isinstance(value, list)
    ]
    return {"prompt": json.dumps(nodes), "workflow": json.dumps({"links": links})}


# The reader, and the texts of a PNG.
CASES = {
    "comfy": ("parsers", graph(comfy)),
    "comfy-loras": ("parsers", graph(loras)),
    "comfy-second-pass": ("parsers", graph(second_pass)),
    "comfy-img2img": ("parsers", graph(image_to_image)),
    "comfy-refiner": ("parsers", graph(refined)),
    "comfy-custom": ("parsers", graph(custom)),
    "fooocus": ("parsers", {"parameters": json.dumps(FOOOCUS), "fooocus_scheme": "fooocus"}),
    "invokeai": ("parsers", {"invokeai_metadata": json.dumps(INVOKE)}),
    "invokeai-2": ("parsers", {"sd-metadata": json.dumps(SD_METADATA), "Dream": DREAM}),
    "invokeai-1": ("parsers", {"Dream": DREAM}),
    "novelai": (
        "parsers",
        {
            "Title": "AI generated image", "Description": "a {{lighthouse}} at [dawn], (sea)", "Software": "NovelAI",
            "Source": "Stable Diffusion 1D44365E", "Comment": json.dumps(NOVELAI),
        },
    ),
    "draw-things": ("prompt-reader", {"XML:com.adobe.xmp": xmp(DRAW_THINGS)}),
    "swarm": ("prompt-reader", {"parameters": json.dumps(SWARM)}),
}


def by_parsers(path):
    read = ParserManager().parse(path)
    # It doesn't know samplers whose parts are nodes.
    return [
        {
            "sampler": sampler.name, "steps": sampler.parameters.get("steps"), "cfg": sampler.parameters.get("cfg_scale"),
            "seed": sampler.parameters.get("seed"), "schedule": sampler.parameters.get("scheduler"),
            "model": sampler.model and sampler.model.name, "prompts": [prompt.value for prompt in sampler.prompts],
            "negative_prompts": [prompt.value for prompt in sampler.negative_prompts],
        }
        for sampler in (read.samplers if read else [])
    ]


def by_prompt_reader(path):
    read = ImageDataReader(path)
    return [read.parameter | {"prompts": [read.positive], "negative_prompts": [read.negative]}]


def make(out):
    cases = {}
    for name, (reader, texts) in CASES.items():
        info = PngInfo()
        for key, text in texts.items():
            (info.add_itxt if key.startswith("XML") else info.add_text)(key, text)
        with tempfile.NamedTemporaryFile(suffix=".png") as file:
            Image.new("RGB", (64, 96)).save(file.name, pnginfo=info)
            read = {"parsers": by_parsers, "prompt-reader": by_prompt_reader}[reader](file.name)
        assert read or name == "comfy-custom", name
        cases[name] = {"texts": texts, "reader": reader, "read": read}
    out.json("goldens/infotexts/foreign.json", cases, note="what two readers of such pictures make of them; the pictures are of 64x96 pixels")
    exif = {"0th": {piexif.ImageIFD.Model: "prompt:" + json.dumps(comfy()), piexif.ImageIFD.Make: "workflow:{}"}}
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "webp", lossless=True, exif=piexif.dump(exif))
    out.bytes("goldens/infotexts/comfy.webp", buffer.getvalue(), note="ComfyUI's graph in the EXIF data of a WebP, as its SaveAnimatedWEBP has it")
    comment = piexif.helper.UserComment.dump(json.dumps(FOOOCUS), encoding="unicode")
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "jpeg", exif=piexif.dump({"Exif": {piexif.ExifIFD.UserComment: comment}}))
    out.bytes("goldens/infotexts/fooocus.jpg", buffer.getvalue(), note="Fooocus' scheme in the EXIF comment of a JPEG")
