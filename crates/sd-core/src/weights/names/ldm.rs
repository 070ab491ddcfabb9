//! The layout of the latent-diffusion repository: one file with a prefix for each part.

use super::{
    Diffusers, Names, Spelling, harmless,
    table::{self, Numbering, Table},
};
use crate::config::{ClipTextConfig, Part, UnetConfig, VaeConfig};

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
            table: Some(table::unet(config, &Numbering::Through)),
            part: Part::Unet,
        }
    }

    /// The U-Net in a file with these names, whose numbering may be another.
    pub fn unet_among<'a>(config: &UnetConfig, stored: impl Iterator<Item = &'a str>) -> Self {
        let inner = stored.map(|name| name.strip_prefix(UNET_PREFIX).unwrap_or(name));
        Self {
            table: Some(table::unet(config, &Numbering::of(config, inner))),
            ..Self::unet(config)
        }
    }

    /// The autoencoder, below `first_stage_model.`, or without a prefix.
    pub fn vae(config: &VaeConfig) -> Self {
        Self {
            prefixes: &[VAE_PREFIX, ""],
            claimed: &VAE_BEGINNINGS,
            table: Some(table::vae(config)),
            part: Part::Vae,
        }
    }

    /// OpenAI's text encoder (SD1, SDXL's first): transformers' names below a prefix, sometimes without `text_model.` in between.
    pub fn text_encoder(place: TextEncoderPlace) -> Self {
        let [prefixes, _] = place.prefixes();
        Self {
            prefixes,
            claimed: prefixes,
            table: None,
            part: place.part(),
        }
    }

    /// OpenCLIP's text encoder (SD2, SDXL's second): its own names below a prefix.
    pub fn open_clip(config: &ClipTextConfig, place: TextEncoderPlace) -> Self {
        let [_, prefixes] = place.prefixes();
        Self {
            prefixes,
            claimed: prefixes,
            table: Some(table::open_clip(config)),
            part: place.part(),
        }
    }

    /// The same part in a file that may hold it alone: with or without its prefix, under LDM's names or diffusers', as the file's names
    /// show.
    pub fn alone<'a>(self, names: impl Iterator<Item = &'a str>) -> Self {
        let (mut prefixed, mut diffusers) = (None, false);
        for name in names {
            let with = |prefix: &&&str| !prefix.is_empty() && name.starts_with(**prefix);
            let prefix = self.prefixes.iter().find(with);
            prefixed = prefixed.or(prefix);
            let inner = &name[prefix.map_or(0, |prefix| prefix.len())..];
            let inner = inner
                .trim_start_matches("encoder.")
                .trim_start_matches("decoder.");
            diffusers |= inner.starts_with("mid_block.") || inner.starts_with("down_blocks.");
        }
        Self {
            prefixes: prefixed.map_or(&[""], std::slice::from_ref),
            claimed: prefixed.map_or(&[], std::slice::from_ref),
            table: self.table.filter(|_| !diffusers),
            part: self.part,
        }
    }
}

pub(crate) const UNET_PREFIX: &str = "model.diffusion_model.";
/// The beginning of the names of averages of a U-Net's weights, which have no dots behind it.
pub(crate) const EMA_PREFIX: &str = "model_ema.diffusion_model";
pub(crate) const VAE_PREFIX: &str = "first_stage_model.";
/// Beginnings of an autoencoder's names in a checkpoint, some of which were written without the prefix.
pub(crate) const VAE_BEGINNINGS: [&str; 5] = [
    VAE_PREFIX,
    "encoder.",
    "decoder.",
    "quant_conv.",
    "post_quant_conv.",
];
/// Beginnings of the names of text encoders.
pub(crate) const TEXT_BEGINNINGS: [&str; 2] = ["cond_stage_model.", "conditioner."];

/// The place of a text encoder among those of its pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextEncoderPlace {
    /// The only one.
    Only,
    /// The first of several.
    First,
    /// The second one.
    Second,
    /// The second one where there is no first one (SDXL's refiner).
    SecondAlone,
}

impl TextEncoderPlace {
    fn part(self) -> Part {
        match self {
            Self::Only | Self::First => Part::TextEncoder,
            Self::Second | Self::SecondAlone => Part::TextEncoder2,
        }
    }

    /// The prefixes of transformers' names, and of OpenCLIP's, the usual ones first.
    fn prefixes(self) -> [&'static [&'static str]; 2] {
        match self {
            Self::Only => [
                &[
                    "cond_stage_model.transformer.",
                    "conditioner.embedders.0.transformer.",
                ],
                &["cond_stage_model.model.", "conditioner.embedders.0.model."],
            ],
            Self::First => [
                &[
                    "conditioner.embedders.0.transformer.",
                    "cond_stage_model.transformer.",
                ],
                &["conditioner.embedders.0.model.", "cond_stage_model.model."],
            ],
            Self::Second => [
                &["conditioner.embedders.1.transformer."],
                &["conditioner.embedders.1.model."],
            ],
            Self::SecondAlone => [
                &[
                    "conditioner.embedders.0.transformer.",
                    "conditioner.embedders.1.transformer.",
                ],
                &["conditioner.embedders.0.model.", "conditioner.embedders.1.model."],
            ],
        }
    }

    /// Whether these names are OpenCLIP's.
    pub fn is_open_clip<'a>(self, names: impl Iterator<Item = &'a str>) -> bool {
        let below = |prefixes: &[&str], name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix));
        let ([transformers, open_clip], mut bare) = (self.prefixes(), false);
        for name in names {
            if below(open_clip, name) || below(transformers, name) {
                return below(open_clip, name);
            }
            bare |= name.starts_with("transformer.resblocks.");
        }
        bare
    }
}

impl Names for Ldm {
    fn spellings(&self, canonical: &str) -> Vec<Spelling> {
        let spelt: Vec<Spelling> = match &self.table {
            Some(table) => table.spell(canonical).into_iter().collect(),
            None => Diffusers { part: self.part }.spellings(canonical),
        };
        let prefixed = |prefix: &&str| {
            spelt
                .iter()
                .map(move |Spelling { name, view }| Spelling {
                    name: format!("{prefix}{name}"),
                    view: *view,
                })
                .collect::<Vec<_>>()
        };
        self.prefixes.iter().flat_map(prefixed).collect()
    }

    fn claims(&self, stored: &str) -> bool {
        let own = match self.claimed {
            [] => ![UNET_PREFIX, VAE_PREFIX]
                .iter()
                .chain(&TEXT_BEGINNINGS)
                .any(|other| stored.starts_with(other)),
            claimed => claimed.iter().any(|prefix| stored.starts_with(prefix)),
        };
        own && !harmless(stored)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::{super::View, *};
    use crate::{
        Device, Dtype,
        config::{
            sd1_unet, sd1_vae, sd2_text_encoder, sd2_unet, sdxl_text_encoder, sdxl_text_encoder_2, sdxl_unet,
        },
        models::{ClipTextModel, UNet, Vae},
        weights::{Target, parameters},
    };

    /// Every parameter has a place of its own, and slices make up whole tensors.
    fn injective(names: &dyn Names, canonical: &[(String, Vec<usize>)]) -> HashSet<String> {
        let mut stored: HashMap<String, HashSet<View>> = HashMap::new();
        for (name, shape) in canonical {
            let Spelling { name, view } = names.spellings(name).swap_remove(0);
            assert_eq!(view.parameter_shape(&view.stored_shape(shape)), *shape);
            assert!(names.claims(&name) || harmless(&name), "{name}");
            assert!(stored.entry(name).or_default().insert(view));
        }
        for (name, views) in &stored {
            let count = match views.iter().next() {
                Some(View::Slice { count, .. }) => *count,
                _ => 1,
            };
            let all: HashSet<View> = match count {
                1 => views.clone(),
                count => (0..count).map(|index| View::Slice { index, count }).collect(),
            };
            assert!(views.len() == count && *views == all, "{name}");
        }
        stored.into_keys().collect()
    }

    #[test]
    fn open_clip_names_are_a_bijection() {
        let target = Target::new(Device::from_name("cpu").unwrap(), Dtype::F32);
        let config = ClipTextConfig {
            projection: Some(1024),
            ..sd2_text_encoder()
        };
        let canonical = parameters::<ClipTextModel>(&config, Part::TextEncoder, &target);
        let stored = injective(&Ldm::open_clip(&config, TextEncoderPlace::Only), &canonical);
        assert_eq!(stored.len(), 23 * 12 + 5);
        for known in [
            "positional_embedding",
            "token_embedding.weight",
            "transformer.resblocks.22.attn.in_proj_weight",
            "transformer.resblocks.22.attn.in_proj_bias",
            "transformer.resblocks.0.attn.out_proj.weight",
            "transformer.resblocks.0.ln_1.bias",
            "transformer.resblocks.0.mlp.c_proj.weight",
            "ln_final.weight",
            "text_projection",
        ] {
            assert!(
                stored.contains(&format!("cond_stage_model.model.{known}")),
                "{known}"
            );
        }
    }

    /// The known names are those of Stability's own checkpoint.
    #[test]
    fn sdxl_names_are_a_bijection() {
        let target = Target::new(Device::from_name("cpu").unwrap(), Dtype::F32);
        let unet = sdxl_unet();
        let canonical = parameters::<UNet>(&unet, Part::Unet, &target);
        assert_eq!(canonical.len(), 1680);
        let mut stored = injective(&Ldm::unet(&unet), &canonical);
        for (part, config, place, count) in [
            (
                Part::TextEncoder,
                sdxl_text_encoder(),
                TextEncoderPlace::First,
                12 * 16 + 4,
            ),
            (
                Part::TextEncoder2,
                sdxl_text_encoder_2(),
                TextEncoderPlace::Second,
                32 * 12 + 5,
            ),
        ] {
            let names = match config.is_open_clip() {
                true => Ldm::open_clip(&config, place),
                false => Ldm::text_encoder(place),
            };
            let text = injective(&names, &parameters::<ClipTextModel>(&config, part, &target));
            assert_eq!(text.len(), count);
            assert_eq!(
                place.is_open_clip(text.iter().map(String::as_str)),
                config.is_open_clip()
            );
            stored.extend(text);
        }
        for known in [
            "model.diffusion_model.label_emb.0.0.weight",
            "model.diffusion_model.label_emb.0.2.bias",
            "model.diffusion_model.input_blocks.3.0.op.weight",
            "model.diffusion_model.input_blocks.4.1.transformer_blocks.1.attn2.to_k.weight",
            "model.diffusion_model.input_blocks.8.1.transformer_blocks.9.ff.net.0.proj.weight",
            "model.diffusion_model.middle_block.1.proj_in.weight",
            "model.diffusion_model.output_blocks.2.2.conv.weight",
            "model.diffusion_model.output_blocks.5.2.conv.weight",
            "model.diffusion_model.output_blocks.8.0.skip_connection.weight",
            "conditioner.embedders.0.transformer.text_model.encoder.layers.11.self_attn.q_proj.weight",
            "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight",
            "conditioner.embedders.1.model.transformer.resblocks.31.attn.in_proj_weight",
            "conditioner.embedders.1.model.transformer.resblocks.0.mlp.c_fc.bias",
            "conditioner.embedders.1.model.token_embedding.weight",
            "conditioner.embedders.1.model.positional_embedding",
            "conditioner.embedders.1.model.ln_final.bias",
            "conditioner.embedders.1.model.text_projection",
        ] {
            assert!(stored.contains(known), "{known}");
        }
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

        // SD2's has the same names: what is linear there has other shapes alone.
        let sd2 = sd2_unet(4);
        let names: HashSet<String> =
            injective(&Ldm::unet(&sd2), &parameters::<UNet>(&sd2, Part::Unet, &target));
        assert_eq!(names, stored);

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
