//! The structure of a U-Net, by the names and shapes of its tensors.

use crate::{
    config::Family,
    weights::{TensorFile, names::UNET_PREFIX},
};

/// The names of the files' tensors, with their shapes.
pub(super) struct Tensors<'a>(pub &'a [&'a TensorFile]);

impl<'a> Tensors<'a> {
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.0.iter().flat_map(|file| file.names())
    }

    pub fn any(&self, test: impl Fn(&str) -> bool) -> bool {
        self.names().any(test)
    }

    pub fn has_prefix(&self, prefix: &str) -> bool {
        self.any(|name| name.starts_with(prefix))
    }

    pub fn shape(&self, name: &str) -> Option<&'a [usize]> {
        let info = self.0.iter().find_map(|file| file.info(name))?;
        Some(&info.shape)
    }

    /// A size of the first tensor by name whose name is so.
    pub fn size(&self, axis: usize, test: impl Fn(&str) -> bool) -> Option<usize> {
        let name = self.names().filter(|name| test(name)).min()?;
        self.shape(name)?.get(axis).copied()
    }

    pub fn metadata(&self, key: &str) -> Option<&'a str> {
        self.0
            .iter()
            .find_map(|file| file.metadata().get(key))
            .map(String::as_str)
    }

    /// A tensor's values, if there aren't many.
    pub fn small(&self, name: &str) -> Option<Vec<f32>> {
        let few = self.shape(name)?.iter().product::<usize>() <= 1 << 16;
        let mut files = self.0.iter().filter(|_| few);
        files.find_map(|file| file.values_f32(name))
    }
}

/// The structure of a U-Net or ControlNet.
#[derive(Default)]
pub(super) struct Unet {
    pub family: Family,
    pub variant: Option<&'static str>,
    pub in_channels: Option<usize>,
    pub prefix: &'static str,
}

/// The structure of a U-Net or ControlNet, under LDM's names or diffusers'.
pub(super) fn unet(all: &Tensors) -> Unet {
    let prefixes = [UNET_PREFIX, "control_model.", ""];
    let prefix = prefixes.into_iter().find(|p| all.has_prefix(p)).unwrap_or("");
    let named = |name: &str| format!("{prefix}{name}");
    let first = all
        .shape(&named("input_blocks.0.0.weight"))
        .or_else(|| all.shape(&named("conv_in.weight")))
        .unwrap_or_default();
    let (width, in_channels) = (first.first().copied(), first.get(1).copied());
    let context = all.size(1, |name| {
        name.starts_with(prefix) && name.ends_with("attn2.to_k.weight")
    });
    let family = match (width, context) {
        (Some(320), Some(768)) => small_sd1(all, prefix),
        (Some(320), Some(1024)) => Family::Sd2,
        (Some(320), Some(2048)) => small_sdxl(all, prefix),
        (Some(384), Some(1280)) => Family::SdxlRefiner,
        // Of other widths, as models for tests have them.
        _ if all.has_prefix("conditioner.embedders.1.") => Family::Sdxl,
        _ if all.has_prefix("conditioner.embedders.0.model.") => Family::SdxlRefiner,
        _ => Family::Other,
    };
    let has = |leaf: &str| all.any(|name| name.strip_prefix(prefix) == Some(leaf));
    let variant = match in_channels {
        // Guidance is an input of a latent consistency model (Luo et al. 2023, arXiv:2310.04378).
        _ if has("time_embed.cond_proj.weight") || has("time_embedding.cond_proj.weight") => Some("LCM"),
        Some(9) => Some("inpainting"),
        Some(8) => Some("InstructPix2Pix"),
        Some(5) => Some("depth"),
        Some(7) => Some("upscaler"),
        _ => None,
    };
    Unet {
        family,
        variant,
        in_channels,
        prefix,
    }
}

/// SD1, or one of its distilled children (Kim et al. 2023, arXiv:2305.15798), which lack layers.
fn small_sd1(all: &Tensors, prefix: &str) -> Family {
    let below = |parts: [&str; 2]| {
        all.any(|name| {
            name.strip_prefix(prefix)
                .is_some_and(|name| parts.iter().any(|part| name.starts_with(part)))
        })
    };
    // Whether it is whole enough to miss anything.
    let whole = below(["output_blocks.", "up_blocks."]);
    match whole && !below(["input_blocks.11.", "down_blocks.3.resnets.1."]) {
        true if below(["middle_block.", "mid_block."]) => Family::Sd1Small,
        true => Family::Sd1Tiny,
        false => Family::Sd1,
    }
}

/// SDXL, or one of its distilled children, which have fewer transformers on the deepest level of the way down (Gupta et al. 2024,
/// arXiv:2401.02677), or fewer blocks too (Lee et al. 2023, arXiv:2312.04005).
fn small_sdxl(all: &Tensors, prefix: &str) -> Family {
    match depth(all, prefix, ["input_blocks.7.1.", "down_blocks.2.attentions.0."]) {
        4 => return Family::Ssd1b,
        2 => return Family::Vega,
        _ => {}
    }
    match depth(all, prefix, ["input_blocks.5.1.", "down_blocks.2.attentions.0."]) {
        5 => Family::Koala700m,
        6 => Family::Koala1b,
        _ => Family::Sdxl,
    }
}

/// The number of transformers that follow each other at a place: LDM's name, and diffusers'.
fn depth(all: &Tensors, prefix: &str, places: [&str; 2]) -> usize {
    let block = |name: &str| -> Option<usize> {
        let name = name.strip_prefix(prefix)?;
        let inner = places.iter().find_map(|place| name.strip_prefix(place))?;
        let number = inner.strip_prefix("transformer_blocks.")?.split('.').next()?;
        number.parse().ok()
    };
    all.names()
        .filter_map(block)
        .max()
        .map_or(0, |last| last.saturating_add(1))
}
