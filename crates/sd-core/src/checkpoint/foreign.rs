//! Families of models that have no pipeline here, and what shows them: names of tensors, classes of diffusers, architectures in GGUF.

use serde_json::Value;

use super::structure::Tensors;
use crate::weights::Folder;

/// A family of models that has no pipeline here.
pub(super) struct Foreign {
    /// Its name in sentences.
    pub name: &'static str,
    /// Names of tensors, without what may stand before them (`model.diffusion_model.`): all of a row show the family.
    pub tensors: &'static [&'static [&'static str]],
    /// The beginnings of diffusers' classes, of pipelines and of their networks.
    pub classes: &'static [&'static str],
    /// What GGUF files say in `general.architecture`.
    pub architectures: &'static [&'static str],
    /// Parts of the names of modules in adapters.
    pub adapters: &'static [&'static str],
}

const NONE: Foreign = Foreign {
    name: "",
    tensors: &[],
    classes: &[],
    architectures: &[],
    adapters: &[],
};

/// All families that are known by name, a relative before the one that shares names with it. The tensors' names are the publishers' own, as
/// diffusers' and ComfyUI's readers look for them, then diffusers'.
pub(super) const FOREIGN: &[Foreign] = &[
    Foreign {
        name: "Stable Diffusion 3.5 Large",
        tensors: &[&["joint_blocks.37.x_block.mlp.fc1.weight"]],
        ..NONE
    },
    Foreign {
        name: "Stable Diffusion 3.5 Medium",
        tensors: &[&["joint_blocks.0.x_block.attn2.qkv.weight"]],
        ..NONE
    },
    Foreign {
        name: "Stable Diffusion 3",
        tensors: &[
            &["joint_blocks.0.context_block.adaLN_modulation.1.bias"],
            &[
                "transformer_blocks.0.attn.add_q_proj.weight",
                "pos_embed.pos_embed",
            ],
        ],
        classes: &["StableDiffusion3", "SD3"],
        architectures: &["sd3"],
        adapters: &["joint_blocks"],
    },
    Foreign {
        name: "Chroma",
        tensors: &[
            &["distilled_guidance_layer.in_proj.weight"],
            &["distilled_guidance_layer.in_proj.bias"],
            &["distilled_guidance_layer.norms.0.scale"],
        ],
        classes: &["Chroma"],
        architectures: &["chroma"],
        ..NONE
    },
    Foreign {
        name: "HunyuanVideo",
        tensors: &[
            &["txt_in.individual_token_refiner.blocks.0.adaLN_modulation.1.bias"],
            &["context_embedder.token_refiner.refiner_blocks.0.norm1.weight"],
        ],
        classes: &["HunyuanVideo", "HunyuanImage"],
        architectures: &["hyvid", "hunyuan_video"],
        ..NONE
    },
    Foreign {
        name: "Flux.2",
        tensors: &[
            &["single_stream_modulation.lin.weight"],
            &["single_stream_modulation.linear.weight"],
        ],
        classes: &["Flux2"],
        ..NONE
    },
    Foreign {
        name: "Flux",
        tensors: &[
            &["double_blocks.0.img_attn.norm.key_norm.scale"],
            &[
                "single_transformer_blocks.0.proj_mlp.weight",
                "context_embedder.weight",
            ],
        ],
        classes: &["Flux"],
        architectures: &["flux"],
        adapters: &[
            "double_blocks_0_img",
            "double_blocks.0.img",
            "single_transformer_blocks",
            "single_blocks",
        ],
    },
    Foreign {
        name: "Sana",
        tensors: &[
            &["attention_y_norm.weight"],
            &["transformer_blocks.0.ff.conv_inverted.weight"],
        ],
        classes: &["Sana"],
        architectures: &["sana"],
        ..NONE
    },
    Foreign {
        name: "PixArt",
        tensors: &[
            &["t_block.1.weight"],
            &["adaln_single.linear.weight", "pos_embed.proj.weight"],
        ],
        classes: &["PixArt"],
        architectures: &["pixart"],
        ..NONE
    },
    Foreign {
        name: "DeepFloyd IF",
        tensors: &[&["encoder_hid_proj.weight", "add_embedding.norm1.weight"]],
        classes: &["IF"],
        ..NONE
    },
    Foreign {
        name: "Kolors",
        tensors: &[
            &["encoder_hid_proj.weight", "label_emb.0.0.weight"],
            &["encoder_hid_proj.weight", "add_embedding.linear_1.weight"],
        ],
        classes: &["Kolors", "ChatGLM"],
        ..NONE
    },
    Foreign {
        name: "Kandinsky",
        tensors: &[&["encoder_hid_proj.image_embeds.weight"]],
        classes: &["Kandinsky"],
        ..NONE
    },
    Foreign {
        name: "Hunyuan-DiT",
        tensors: &[
            &["mlp_t5.0.weight"],
            &["time_extra_emb.pooler.positional_embedding"],
        ],
        classes: &["HunyuanDiT"],
        ..NONE
    },
    Foreign {
        name: "Stable Cascade",
        tensors: &[
            &["clip_txt_mapper.weight"],
            &["down_blocks.1.0.channelwise.0.weight"],
        ],
        classes: &["StableCascade", "Wuerstchen"],
        ..NONE
    },
    Foreign {
        name: "AuraFlow",
        tensors: &[
            &["double_layers.0.attn.w1q.weight"],
            &["joint_transformer_blocks.0.attn.add_q_proj.weight"],
        ],
        classes: &["AuraFlow"],
        architectures: &["aura", "auraflow"],
        ..NONE
    },
    Foreign {
        name: "Z-Image",
        tensors: &[&["layers.0.adaLN_modulation.0.weight", "cap_embedder.0.weight"]],
        classes: &["ZImage"],
        architectures: &["z_image"],
        ..NONE
    },
    Foreign {
        name: "Lumina",
        tensors: &[
            &["cap_embedder.0.weight"],
            &["cap_embedder.1.weight"],
            &["time_caption_embed.caption_embedder.0.weight"],
        ],
        classes: &["Lumina"],
        architectures: &["lumina2"],
        ..NONE
    },
    Foreign {
        name: "Wan",
        tensors: &[
            &["head.modulation"],
            &[
                "condition_embedder.time_embedder.linear_1.weight",
                "scale_shift_table",
            ],
            &["decoder.middle.0.residual.0.gamma"],
        ],
        classes: &["Wan", "AutoencoderKLWan"],
        architectures: &["wan"],
        adapters: &["blocks.0.cross_attn.", "blocks_0_cross_attn_"],
    },
    Foreign {
        name: "Qwen-Image",
        tensors: &[
            &["txt_norm.weight", "img_in.weight"],
            &["txt_in.text_norm.weight"],
        ],
        classes: &["QwenImage", "AutoencoderKLQwenImage"],
        architectures: &["qwen_image"],
        ..NONE
    },
    Foreign {
        name: "Cosmos",
        tensors: &[
            &["x_embedder.proj.1.weight"],
            &["blocks.block0.blocks.0.block.attn.to_q.0.weight"],
            &[
                "norm_out.linear_1.weight",
                "time_embed.t_embedder.linear_1.weight",
            ],
        ],
        classes: &["Cosmos"],
        architectures: &["cosmos"],
        ..NONE
    },
    Foreign {
        name: "LTX-Video",
        tensors: &[
            &["patchify_proj.weight"],
            &[
                "time_embed.emb.timestep_embedder.linear_1.weight",
                "scale_shift_table",
            ],
        ],
        classes: &["LTX", "AutoencoderKLLTX"],
        architectures: &["ltxv"],
        ..NONE
    },
    Foreign {
        name: "Mochi",
        tensors: &[
            &["blocks.0.attn.qkv_x.weight"],
            &["t5_yproj.weight"],
            &["pos_frequencies"],
        ],
        classes: &["Mochi"],
        architectures: &["mochi"],
        ..NONE
    },
    Foreign {
        name: "CogVideoX or CogView",
        tensors: &[&["patch_embed.text_proj.weight"]],
        classes: &["CogVideo", "CogView"],
        architectures: &["cogvideox"],
        ..NONE
    },
    Foreign {
        name: "HiDream",
        tensors: &[
            &["double_stream_blocks.0.block.adaLN_modulation.1.bias"],
            &["caption_projection.0.linear.weight"],
        ],
        classes: &["HiDream"],
        architectures: &["hidream"],
        ..NONE
    },
    Foreign {
        name: "OmniGen",
        tensors: &[&["time_caption_embed.timestep_embedder.linear_1.weight"]],
        classes: &["OmniGen"],
        architectures: &["omnigen2"],
        ..NONE
    },
    Foreign {
        name: "Stable Video Diffusion",
        tensors: &[
            &["input_blocks.1.0.time_stack.in_layers.2.weight"],
            &["down_blocks.0.resnets.0.temporal_res_block.conv1.weight"],
        ],
        classes: &["StableVideoDiffusion", "UNetSpatioTemporal"],
        ..NONE
    },
    Foreign {
        name: "AnimateDiff",
        tensors: &[
            &["down_blocks.0.motion_modules.0.temporal_transformer.norm.weight"],
            &["down_blocks.0.motion_modules.0.proj_in.weight"],
        ],
        classes: &["AnimateDiff", "MotionAdapter", "UNetMotionModel"],
        ..NONE
    },
    Foreign {
        name: "T5 (a text encoder of SD3, Flux and others)",
        tensors: &[
            &["encoder.block.0.layer.0.SelfAttention.k.weight"],
            &["enc.blk.0.attn_k.weight"],
        ],
        classes: &["T5", "UMT5"],
        architectures: &["t5", "t5encoder"],
        ..NONE
    },
    Foreign {
        name: "a language model (a text encoder of newer families)",
        tensors: &[
            &["layers.0.self_attn.q_proj.weight", "embed_tokens.weight"],
            &["blk.0.attn_q.weight", "token_embd.weight"],
        ],
        architectures: &[
            "llama", "qwen2", "qwen2vl", "qwen3", "gemma2", "gemma3", "chatglm",
        ],
        ..NONE
    },
];

/// The family of a file's tensors, if it is none of those that have a pipeline.
pub(super) fn of_tensors(all: &Tensors) -> Option<&'static str> {
    let is = |name: &str, tensor: &str| {
        let before = name.strip_suffix(tensor);
        before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
    };
    let has = |tensor: &&str| all.any(|name| is(name, tensor));
    let architecture = all.metadata("general.architecture");
    let shown = |it: &&Foreign| {
        architecture.is_some_and(|named| it.architectures.contains(&named))
            || it.tensors.iter().any(|row| row.iter().all(has))
    };
    FOREIGN.iter().find(shown).map(|it| it.name)
}

/// The family that an adapter is for, if it is none of those that have a pipeline.
pub(super) fn of_adapter(all: &Tensors) -> Option<&'static str> {
    let named = |part: &&str| all.any(|name| name.contains(part));
    let mut families = FOREIGN.iter();
    families
        .find(|it| it.adapters.iter().any(named))
        .map(|it| it.name)
}

/// The family of a class of diffusers or transformers, a pipeline's or a network's.
fn of_class(class: &str) -> Option<&'static str> {
    let begins = |it: &&Foreign| it.classes.iter().any(|beginning| class.starts_with(beginning));
    // The longest beginning counts: "Flux2" before "Flux".
    let longest = |it: &&Foreign| {
        let matching = it
            .classes
            .iter()
            .filter(|beginning| class.starts_with(**beginning));
        matching.map(|beginning| beginning.len()).max()
    };
    FOREIGN
        .iter()
        .filter(begins)
        .max_by_key(longest)
        .map(|it| it.name)
}

impl Folder {
    /// The family of a diffusers folder, of a pipeline or a network, if it is none of those that have a pipeline here.
    pub(super) fn foreign(&self) -> Option<&'static str> {
        let places = [
            ("model_index.json", "_class_name"),
            ("config.json", "_class_name"),
            ("transformer/config.json", "_class_name"),
            ("config.json", "architectures"),
        ];
        places.into_iter().find_map(|(name, field)| {
            let class = match self.config_field(name, field)? {
                Value::String(class) => class,
                Value::Array(classes) => classes.first()?.as_str()?.to_owned(),
                _ => return None,
            };
            of_class(&class)
        })
    }
}
