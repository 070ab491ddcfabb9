//! The kind of single files, by the names and shapes of their tensors and by their metadata.

use super::{
    foreign,
    kind::Kind,
    prediction::Marks,
    structure::{Tensors, Unet, unet},
};
use crate::{
    config::Family,
    weights::{
        TensorFile,
        names::{EMA_PREFIX, UNET_PREFIX, VAE_PREFIX},
    },
};

/// The result of [`classify`].
pub(super) struct Classified {
    pub kind: Kind,
    pub family: Family,
    pub variant: Option<&'static str>,
    pub adapter: Option<&'static str>,
    pub in_channels: Option<usize>,
    /// A family that has no pipeline here.
    pub architecture: Option<&'static str>,
    pub marks: Marks,
}

impl Classified {
    /// What belongs to a family without a pipeline.
    pub fn foreign(architecture: &'static str) -> Self {
        Self {
            kind: Kind::Unknown,
            family: Family::Other,
            variant: None,
            adapter: None,
            in_channels: None,
            architecture: Some(architecture),
            marks: Marks::default(),
        }
    }
}

/// The contents of single files.
pub(super) fn classify(files: &[&TensorFile]) -> Classified {
    let all = Tensors(files);
    let kind = kind(&all);
    let architecture = match kind {
        Kind::Lora => foreign::of_adapter(&all),
        _ => foreign::of_tensors(&all),
    };
    if let (false, Some(architecture)) = (kind == Kind::Lora, architecture) {
        return Classified::foreign(architecture);
    }
    let unet = match kind {
        Kind::Checkpoint | Kind::Unet | Kind::ControlNet => unet(&all),
        _ => Unet::default(),
    };
    let family = match kind {
        Kind::Lora => lora_family(&all),
        Kind::TextualInversion => embedding_family(&all),
        _ => unet.family,
    };
    Classified {
        kind,
        family,
        variant: unet.variant,
        adapter: (kind == Kind::Lora).then(|| adapter(&all)),
        in_channels: unet.in_channels,
        architecture,
        marks: match kind {
            Kind::Checkpoint | Kind::Unet => Marks::of(&all, &unet),
            _ => Marks::default(),
        },
    }
}

/// The family of models that an adapter is for, if its names, shapes or notes tell.
pub fn adapter_family(file: &TensorFile) -> Family {
    lora_family(&Tensors(&[file]))
}

/// The family without a pipeline here that an adapter is for, if its names tell.
pub fn adapter_architecture(file: &TensorFile) -> Option<&'static str> {
    foreign::of_adapter(&Tensors(&[file]))
}

fn kind(all: &Tensors) -> Kind {
    let unet = all.has_prefix(UNET_PREFIX);
    let text = ["cond_stage_model.", "conditioner.embedders."]
        .iter()
        .any(|prefix| all.has_prefix(prefix));
    let vae = all.has_prefix(VAE_PREFIX);
    let averages = all.has_prefix(EMA_PREFIX);
    let control = ["control_model.", "input_hint_block.", "controlnet_", "lllite_"];
    let has = |names: [&str; 2]| all.any(|name| names.contains(&name));
    let halves = all.has_prefix("decoder.") && all.has_prefix("encoder.");
    if [unet || averages, text, vae]
        .into_iter()
        .filter(|there| *there)
        .count()
        > 1
    {
        Kind::Checkpoint
    } else if all.any(is_lora_name) {
        Kind::Lora
    } else if control.iter().any(|prefix| all.has_prefix(prefix)) {
        Kind::ControlNet
    } else if unet || averages || all.has_prefix("input_blocks.") || all.has_prefix("down_blocks.") {
        Kind::Unet
    } else if vae || halves || has(["decoder.conv_in.weight", "encoder.conv_in.weight"]) {
        Kind::Vae
    } else if text
        || [
            "text_model.",
            "transformer.resblocks.",
            "embeddings.token_embedding.",
        ]
        .iter()
        .any(|prefix| all.has_prefix(prefix))
    {
        text_encoder(all)
    } else if is_embedding(all) {
        Kind::TextualInversion
    } else {
        Kind::Unknown
    }
}

/// SDXL's second text encoder is OpenCLIP's ViT-bigG; its first, and the only ones of SD1 and SD2, are narrower.
fn text_encoder(all: &Tensors) -> Kind {
    const BIG_G: usize = 1280;
    match all.size(1, |name| name.ends_with("token_embedding.weight")) {
        Some(BIG_G) => Kind::TextEncoder2,
        _ => Kind::TextEncoder,
    }
}

fn is_lora_name(name: &str) -> bool {
    ["lora_unet_", "lora_te_", "lora_te1_", "lora_te2_", "lycoris_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
        || [
            ".lora_A.",
            ".lora_B.",
            ".lora_down.",
            ".lora_up.",
            ".lora.down.",
            ".lora.up.",
            "_lora.down.",
            "_lora.up.",
            ".hada_w1",
            ".lokr_w1",
            ".oft_blocks",
            ".oft_diag",
            ".oft_R.",
            ".on_input",
            "bundle_emb.",
        ]
        .iter()
        .any(|infix| name.contains(infix))
}

/// One tensor of an encoder's width, or the names that embeddings have.
fn is_embedding(all: &Tensors) -> bool {
    let mut names: Vec<&str> = all.names().collect();
    names.sort_unstable();
    let wide = |name: &str| {
        let shape = all.shape(name).unwrap_or_default();
        shape.len() <= 2 && matches!(shape.last(), Some(768 | 1024 | 1280))
    };
    match names.as_slice() {
        ["clip_g", "clip_l"] | ["clip_g"] | ["clip_l"] | ["emb_params"] => true,
        [one] if wide(one) => true,
        names => names.iter().any(|name| name.starts_with("string_to_param.")),
    }
}

/// The kind of an adapter, by the names of its tensors' leaves.
fn adapter(all: &Tensors) -> &'static str {
    let has = |infix: &str| all.any(|name| name.contains(infix));
    let wide_down = || {
        all.names().any(|name| {
            let kernel = all.shape(name).unwrap_or_default().get(2..).unwrap_or_default();
            name.contains("lora_down") && kernel.iter().any(|&n| n > 1)
        })
    };
    if has(".hada_w1") {
        "LoHa"
    } else if has(".lokr_w") {
        "LoKr"
    } else if all
        .names()
        .any(|name| name.ends_with(".oft_blocks") && all.shape(name).is_some_and(|shape| shape.len() == 4))
    {
        "BOFT"
    } else if has(".oft_blocks") || has(".oft_diag") || has(".oft_R") {
        "OFT"
    } else if has(".on_input") {
        "IA3"
    } else if has(".a1.weight") && has(".b1.weight") {
        "GLoRA"
    } else if has(".dora_scale") || has(".lora_magnitude_vector") {
        "DoRA"
    } else if has(".lora_mid.") || wide_down() {
        "LoCon"
    } else if has(".lora_A.") || has(".lora.down.") || has("_lora.down.") {
        "LoRA (diffusers)"
    } else if has(".lora_down.") {
        "LoRA"
    } else if has(".diff") {
        "full difference"
    } else if has(".w_norm") {
        "norm"
    } else {
        "unknown"
    }
}

/// By the width of the context that the attention's keys take, by what its trainer noted, by its second text encoder.
fn lora_family(all: &Tensors) -> Family {
    let keys = |name: &str| {
        let (module, leaf) = name.rsplit_once("attn2").unwrap_or_default();
        !module.is_empty() && leaf.contains("to_k") && (leaf.contains("down") || leaf.contains("lora_A"))
    };
    match all.size(1, keys) {
        Some(768) => return Family::Sd1,
        Some(1024) => return Family::Sd2,
        Some(2048) => return Family::Sdxl,
        Some(1280) => return Family::SdxlRefiner,
        _ => {}
    }
    match all.metadata("ss_base_model_version") {
        Some(version) if version.starts_with("sd_v1") => Family::Sd1,
        Some(version) if version.starts_with("sd_v2") => Family::Sd2,
        Some(version) if version.starts_with("sdxl") => Family::Sdxl,
        _ if all.has_prefix("lora_te2_") => Family::Sdxl,
        _ => Family::Other,
    }
}

fn embedding_family(all: &Tensors) -> Family {
    if all.any(|name| name == "clip_g") {
        return Family::Sdxl;
    }
    let name = all.names().find(|name| name.starts_with("string_to_param."));
    let name = name.or_else(|| all.names().min()).unwrap_or_default();
    match all.shape(name).and_then(<[usize]>::last) {
        Some(768) => Family::Sd1,
        Some(1024) => Family::Sd2,
        Some(1280) => Family::Sdxl,
        _ => Family::Other,
    }
}
