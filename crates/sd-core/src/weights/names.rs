//! How the layouts spell the canonical names of parameters.
//!
//! Canonical names are those of current diffusers folders. Other layouts are tables from a block's canonical prefix to its prefix
//! there, built from the model's configuration; inside a block a few leaves are renamed.

use super::Part;
use crate::config::{BlockKind, UnetConfig, VaeConfig, Way};

/// The spelling of canonical names in one layout.
pub trait Names: Send + Sync {
    /// All names that this parameter may have in a file of this layout, the usual one first.
    fn spellings(&self, canonical: &str) -> Vec<String>;

    /// Whether a tensor of this name belongs to this part of the model, so that leaving it unused would be a fault.
    fn claims(&self, stored: &str) -> bool;
}

/// Tensors that checkpoints carry and inference needs not: by their names' beginning.
const HARMLESS_PREFIXES: [&str; 25] = [
    // Averages kept by training, and their bookkeeping.
    "model_ema.",
    "first_stage_model.model_ema.",
    // The noise schedule, which is computed.
    "betas",
    "alphas_cumprod",
    "sqrt_",
    "log_one_minus_alphas_cumprod",
    "posterior_",
    "logvar",
    "lvlb_weights",
    "denoiser.sigmas",
    // State of the training loop.
    "optimizer_states",
    "lr_schedulers",
    "callbacks",
    "global_step",
    "epoch",
    // The autoencoder's adversary.
    "loss.",
    "first_stage_model.loss.",
    "scale_factor",
    // Markers of the prediction type and of zero terminal SNR, which are read where the checkpoint is opened.
    "v_pred",
    "ztsnr",
    // What trainers saved beside the model: textual inversion's words, and a ControlNet with its base.
    "embedding_manager.",
    "control_model.",
    // CLIP's other half, which sees pictures.
    "cond_stage_model.transformer.vision_model.",
    "cond_stage_model.transformer.visual_projection.",
    "vision_model.",
];

/// The same, by their names' end: buffers, and CLIP's heads that text conditioning doesn't use.
const HARMLESS_SUFFIXES: [&str; 4] = [
    "position_ids",
    "logit_scale",
    "text_projection",
    "text_projection.weight",
];

/// Whether a stored tensor is known to be unneeded.
pub fn harmless(stored: &str) -> bool {
    HARMLESS_PREFIXES.iter().any(|prefix| stored.starts_with(prefix))
        || HARMLESS_SUFFIXES.iter().any(|suffix| stored.ends_with(suffix))
}

/// A part's folder in diffusers' layout, in current or older spelling.
pub struct Diffusers {
    /// Which part.
    pub part: Part,
}

impl Names for Diffusers {
    fn spellings(&self, canonical: &str) -> Vec<String> {
        let mut names = vec![canonical.to_owned()];
        match self.part {
            Part::Vae => names.extend(old_vae_attention(canonical)),
            // Some writers save the encoder without its outermost name.
            Part::TextEncoder => names.extend(canonical.strip_prefix("text_model.").map(str::to_owned)),
            Part::Unet => {}
        }
        names
    }

    fn claims(&self, stored: &str) -> bool {
        !harmless(stored)
    }
}

/// The VAE's attention as diffusers spelt it before 0.17: `query`, `key`, `value`, `proj_attn`.
fn old_vae_attention(canonical: &str) -> Option<String> {
    let (block, leaf) = canonical.split_once("attentions.0.")?;
    let (layer, kind) = leaf.rsplit_once('.')?;
    let layer = match layer {
        "to_q" => "query",
        "to_k" => "key",
        "to_v" => "value",
        "to_out.0" => "proj_attn",
        _ => return None,
    };
    Some(format!("{block}attentions.0.{layer}.{kind}"))
}

/// A table of blocks: canonical prefix, prefix in the file, and how leaves are renamed inside.
struct Table(Vec<(String, String, Leaves)>);

#[derive(Clone, Copy)]
enum Leaves {
    Same,
    UnetResnet,
    VaeResnet,
    VaeAttention,
}

impl Leaves {
    fn renames(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Same => &[],
            Self::UnetResnet => &[
                ("norm1", "in_layers.0"),
                ("conv1", "in_layers.2"),
                ("time_emb_proj", "emb_layers.1"),
                ("norm2", "out_layers.0"),
                ("conv2", "out_layers.3"),
                ("conv_shortcut", "skip_connection"),
            ],
            Self::VaeResnet => &[("conv_shortcut", "nin_shortcut")],
            Self::VaeAttention => &[
                ("group_norm", "norm"),
                ("to_q", "q"),
                ("to_k", "k"),
                ("to_v", "v"),
                ("to_out.0", "proj_out"),
            ],
        }
    }
}

impl Table {
    fn add(&mut self, canonical: String, stored: String, leaves: Leaves) {
        self.0.push((canonical, stored, leaves));
    }

    fn spell(&self, canonical: &str) -> Option<String> {
        self.0.iter().find_map(|(from, to, leaves)| {
            let leaf = canonical.strip_prefix(from.as_str())?.strip_prefix('.')?;
            let renamed = leaves
                .renames()
                .iter()
                .find_map(|(a, b)| Some(format!("{b}{}", leaf.strip_prefix(a)?)));
            Some(format!("{to}.{}", renamed.unwrap_or_else(|| leaf.to_owned())))
        })
    }
}

/// A part of a single-file checkpoint in the layout of the latent-diffusion repository.
pub struct Ldm {
    prefixes: &'static [&'static str],
    /// Beginnings of the names that belong to the part; empty where it has all that no other part's prefix has.
    claimed: &'static [&'static str],
    /// `None` where only the prefix differs.
    table: Option<Table>,
    /// Diffusers' spelling of the part may stand behind the prefix as well.
    part: Part,
}

impl Ldm {
    /// The U-Net, below `model.diffusion_model.`.
    pub fn unet(config: &UnetConfig) -> Self {
        Self {
            prefixes: &[UNET_PREFIX],
            claimed: &[UNET_PREFIX],
            table: Some(unet_table(config)),
            part: Part::Unet,
        }
    }

    /// The autoencoder, below `first_stage_model.`, or without a prefix.
    pub fn vae(config: &VaeConfig) -> Self {
        Self {
            prefixes: &[VAE_PREFIX, ""],
            claimed: &VAE_BEGINNINGS,
            table: Some(vae_table(config)),
            part: Part::Vae,
        }
    }

    /// SD1's text encoder: transformers' names below a prefix, sometimes without `text_model.` in between.
    pub fn text_encoder() -> Self {
        Self {
            prefixes: &[TEXT_ENCODER_PREFIX],
            claimed: &[TEXT_ENCODER_PREFIX],
            table: None,
            part: Part::TextEncoder,
        }
    }
}

impl Ldm {
    /// A part in a file that may hold it alone: with or without its prefix, under LDM's names or diffusers', as the file's names show.
    pub fn alone<'a>(
        part: Part,
        (unet, vae): (&UnetConfig, &VaeConfig),
        names: impl Iterator<Item = &'a str>,
    ) -> Self {
        let usual = match part {
            Part::TextEncoder => Self::text_encoder(),
            Part::Unet => Self::unet(unet),
            Part::Vae => Self::vae(vae),
        };
        let (mut prefixed, mut diffusers) = (false, false);
        for name in names {
            let inner = name.strip_prefix(usual.prefixes[0]);
            prefixed |= inner.is_some();
            let inner = inner.unwrap_or(name);
            let inner = inner
                .trim_start_matches("encoder.")
                .trim_start_matches("decoder.");
            diffusers |= inner.starts_with("mid_block.") || inner.starts_with("down_blocks.");
        }
        Self {
            prefixes: match prefixed {
                true => &usual.prefixes[..1],
                false => &[""],
            },
            claimed: match prefixed {
                true => &usual.prefixes[..1],
                false => &[],
            },
            table: usual.table.filter(|_| !diffusers),
            part,
        }
    }
}

pub(super) const UNET_PREFIX: &str = "model.diffusion_model.";
/// What averages of a U-Net's weights begin with, whose names have no dots behind it.
pub(super) const EMA_PREFIX: &str = "model_ema.diffusion_model";
pub(super) const VAE_PREFIX: &str = "first_stage_model.";
/// What an autoencoder's names begin with in a checkpoint, some of which were written without the prefix.
pub(super) const VAE_BEGINNINGS: [&str; 5] = [
    VAE_PREFIX,
    "encoder.",
    "decoder.",
    "quant_conv.",
    "post_quant_conv.",
];
pub(super) const TEXT_ENCODER_PREFIX: &str = "cond_stage_model.transformer.";

impl Names for Ldm {
    fn spellings(&self, canonical: &str) -> Vec<String> {
        let spelt = match &self.table {
            Some(table) => table.spell(canonical).into_iter().collect(),
            None => Diffusers { part: self.part }.spellings(canonical),
        };
        let prefixed = |prefix: &&str| {
            spelt
                .iter()
                .map(move |name| format!("{prefix}{name}"))
                .collect::<Vec<_>>()
        };
        self.prefixes.iter().flat_map(prefixed).collect()
    }

    fn claims(&self, stored: &str) -> bool {
        let own = match self.claimed {
            [] => ![UNET_PREFIX, VAE_PREFIX, TEXT_ENCODER_PREFIX]
                .iter()
                .any(|other| stored.starts_with(other)),
            claimed => claimed.iter().any(|prefix| stored.starts_with(prefix)),
        };
        own && !harmless(stored)
    }
}

fn unet_table(config: &UnetConfig) -> Table {
    let mut table = Table(Vec::new());
    for (canonical, stored) in [
        ("conv_in", "input_blocks.0.0"),
        ("time_embedding.linear_1", "time_embed.0"),
        ("time_embedding.linear_2", "time_embed.2"),
        ("add_embedding.linear_1", "label_emb.0.0"),
        ("add_embedding.linear_2", "label_emb.0.2"),
        ("conv_norm_out", "out.0"),
        ("conv_out", "out.2"),
    ] {
        table.add(canonical.into(), stored.into(), Leaves::Same);
    }
    // LDM numbers the groups of a direction through. A change of resolution is a group on the way down, and rides on the last one on the
    // way up; the middle is one group.
    let (mut inputs, mut outputs) = (0, 0);
    let (mut group, mut members) = (String::new(), 0);
    for block in config.blocks() {
        let next = match block.way {
            Way::Down => {
                inputs += 1;
                format!("input_blocks.{inputs}")
            }
            Way::Middle => "middle_block".to_owned(),
            Way::Up => {
                outputs += usize::from(block.kind == BlockKind::Residual);
                format!("output_blocks.{}", outputs - 1)
            }
        };
        if next != group {
            (group, members) = (next, 0);
        }
        let (member, leaves) = match block.kind {
            BlockKind::Residual => (String::new(), Leaves::UnetResnet),
            BlockKind::Downsample => (".op".to_owned(), Leaves::Same),
            BlockKind::Upsample => (".conv".to_owned(), Leaves::Same),
        };
        table.add(block.path, format!("{group}.{members}{member}"), leaves);
        members += 1;
        if let Some(transformer) = block.transformer {
            table.add(transformer.path, format!("{group}.{members}"), Leaves::Same);
            members += 1;
        }
    }
    table
}

fn vae_table(config: &VaeConfig) -> Table {
    let mut table = Table(Vec::new());
    let levels = config.block_out_channels.len();
    for half in ["encoder", "decoder"] {
        for (name, stored, leaves) in [
            ("conv_in", "conv_in", Leaves::Same),
            ("mid_block.resnets.0", "mid.block_1", Leaves::VaeResnet),
            ("mid_block.attentions.0", "mid.attn_1", Leaves::VaeAttention),
            ("mid_block.resnets.1", "mid.block_2", Leaves::VaeResnet),
            ("conv_norm_out", "norm_out", Leaves::Same),
            ("conv_out", "conv_out", Leaves::Same),
        ] {
            table.add(format!("{half}.{name}"), format!("{half}.{stored}"), leaves);
        }
    }
    for i in 0..levels {
        // LDM counts the decoder's levels from the picture's resolution too.
        for (canonical, stored, change, resnets) in [
            (
                "encoder.down_blocks",
                format!("encoder.down.{i}"),
                "downsample",
                config.layers_per_block,
            ),
            (
                "decoder.up_blocks",
                format!("decoder.up.{}", levels - 1 - i),
                "upsample",
                config.layers_per_block + 1,
            ),
        ] {
            for j in 0..resnets {
                let resnet = format!("{canonical}.{i}.resnets.{j}");
                table.add(resnet, format!("{stored}.block.{j}"), Leaves::VaeResnet);
            }
            let canonical = format!("{canonical}.{i}.{change}rs.0.conv");
            table.add(canonical, format!("{stored}.{change}.conv"), Leaves::Same);
        }
    }
    table.add("quant_conv".into(), "quant_conv".into(), Leaves::Same);
    table.add("post_quant_conv".into(), "post_quant_conv".into(), Leaves::Same);
    table
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{
        Device, Dtype,
        config::{sd1_unet, sd1_vae},
        models::{UNet, Vae},
        weights::{Target, parameters},
    };

    /// Every parameter has a name of its own.
    fn injective(names: &dyn Names, canonical: &[(String, Vec<usize>)]) -> HashSet<String> {
        let stored: HashSet<String> = canonical
            .iter()
            .map(|(name, _)| names.spellings(name)[0].clone())
            .collect();
        assert_eq!(stored.len(), canonical.len());
        assert!(stored.iter().all(|name| names.claims(name)));
        stored
    }

    #[test]
    fn sd1_names_are_a_bijection() {
        let target = Target::new(Device::from_name("cpu").unwrap(), Dtype::F32);
        let unet = sd1_unet(4);
        let canonical = parameters::<UNet>(&unet, Part::Unet, &target);
        // The count of SD1.5's U-Net state dict.
        assert_eq!(canonical.len(), 686);
        let stored = injective(&Ldm::unet(&unet), &canonical);
        for known in [
            "input_blocks.3.0.op.weight",
            "input_blocks.4.0.skip_connection.weight",
            "input_blocks.8.1.transformer_blocks.0.attn2.to_out.0.bias",
            "middle_block.2.out_layers.3.weight",
            "output_blocks.2.1.conv.weight",
            "output_blocks.5.2.conv.weight",
            "output_blocks.11.1.proj_out.weight",
            "out.2.bias",
        ] {
            assert!(
                stored.contains(&format!("model.diffusion_model.{known}")),
                "{known}"
            );
        }

        let vae = sd1_vae();
        let canonical = parameters::<Vae>(&vae, Part::Vae, &target);
        assert_eq!(canonical.len(), 248);
        let stored = injective(&Ldm::vae(&vae), &canonical);
        for known in [
            "encoder.down.1.block.0.nin_shortcut.weight",
            "decoder.up.3.upsample.conv.bias",
            "decoder.mid.attn_1.q.weight",
        ] {
            assert!(stored.contains(&format!("first_stage_model.{known}")), "{known}");
        }
    }
}
