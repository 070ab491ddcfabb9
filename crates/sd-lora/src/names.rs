//! The names that a model's layers have in adapters.

use std::collections::HashMap;

use sd_core::config::Part;
use serde::Serialize;

/// A network that adapters change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Network {
    /// The U-Net.
    Unet,
    /// The text encoder; SDXL's first.
    TextEncoder,
    /// SDXL's second text encoder.
    TextEncoder2,
}

impl Network {
    /// The network that a part is; no adapter changes the autoencoder.
    pub fn of(part: Part) -> Option<Self> {
        match part {
            Part::Unet => Some(Self::Unet),
            Part::TextEncoder => Some(Self::TextEncoder),
            Part::TextEncoder2 => Some(Self::TextEncoder2),
            Part::Vae => None,
        }
    }

    /// Its name in diffusers' folders, with which the keys of diffusers' adapters begin.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unet => "unet",
            Self::TextEncoder => "text_encoder",
            Self::TextEncoder2 => "text_encoder_2",
        }
    }
}

/// The beginning of the names of modules of kohya's own OFT.
pub(crate) const KOHYA_OFT: &str = "oft_unet_";

/// Beginnings of flattened module names, with the network that each means; where one begins with another, the longer comes first.
const PREFIXES: [(&str, Network); 20] = [
    // kohya's scripts and what follows them; LyCORIS' own wrapper.
    ("lora_unet_", Network::Unet),
    ("lora_te1_", Network::TextEncoder),
    ("lora_te2_", Network::TextEncoder2),
    ("lora_te_", Network::TextEncoder),
    (KOHYA_OFT, Network::Unet),
    ("lycoris_", Network::Unet),
    ("lycoris_", Network::TextEncoder),
    // diffusers.
    ("unet_", Network::Unet),
    ("text_encoder_2_", Network::TextEncoder2),
    ("text_encoder_", Network::TextEncoder),
    // What ComfyUI saves, and checkpoints' own prefixes.
    ("diffusion_model_", Network::Unet),
    ("model_diffusion_model_", Network::Unet),
    ("text_encoders_clip_l_transformer_", Network::TextEncoder),
    ("text_encoders_clip_g_transformer_", Network::TextEncoder2),
    ("clip_l_", Network::TextEncoder),
    ("clip_g_", Network::TextEncoder2),
    ("cond_stage_model_transformer_", Network::TextEncoder),
    // A network's adapter saved alone names no network.
    ("", Network::Unet),
    ("", Network::TextEncoder),
    ("", Network::TextEncoder2),
];

/// Wrappers around the model that PEFT leaves in its keys.
const WRAPPERS: [&str; 2] = ["base_model_model_", "module_"];

/// A layer that adapters may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub network: Network,
    /// Canonical (diffusers) name, without `.weight`.
    pub layer: String,
    pub bias: bool,
    /// The block of LDM's layout that it is in, as "IN04".
    pub block: Option<String>,
}

impl Place {
    /// Network and layer as one name: "unet.conv_in".
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.network.name(), self.layer)
    }
}

/// A model's layers under all names that adapters call them by. Made once, it serves any number of adapters.
#[derive(Debug, Clone, Default)]
pub struct ModelNames {
    places: Vec<Place>,
    /// From a network and a flattened name to a place.
    flat: HashMap<(Network, String), usize>,
}

impl ModelNames {
    /// Takes what [`Checkpoint::parameters`](sd_core::checkpoint::Checkpoint::parameters) gives: the part of each parameter and all
    /// spellings of its name, the canonical one first.
    pub fn new<'a>(parameters: impl IntoIterator<Item = &'a (Part, Vec<String>)>) -> Self {
        let parameters = parameters.into_iter();
        Self::from_networks(
            parameters.filter_map(|(part, spellings)| Some((Network::of(*part)?, spellings.as_slice()))),
        )
    }

    /// The same for networks that no part stands for.
    pub fn from_networks<'a>(parameters: impl IntoIterator<Item = (Network, &'a [String])>) -> Self {
        let mut names = Self::default();
        let mut biases = Vec::new();
        for (network, spellings) in parameters {
            let Some(canonical) = spellings.first() else {
                continue;
            };
            if let Some(layer) = canonical.strip_suffix(".bias") {
                biases.push((network, layer.to_owned()));
            } else if let Some(layer) = canonical.strip_suffix(".weight") {
                names.add(network, layer, spellings);
            }
        }
        for (network, layer) in biases {
            if let Some(&place) = names.flat.get(&(network, layer.replace('.', "_"))) {
                names.places[place].bias = true;
            }
        }
        names
    }

    fn add(&mut self, network: Network, layer: &str, spellings: &[String]) {
        let place = self.places.len();
        let spelt = spellings.iter().filter_map(|name| name.strip_suffix(".weight"));
        let old = old_spellings(layer);
        for name in spelt.clone().chain(old.iter().map(String::as_str)) {
            self.flat
                .entry((network, name.replace('.', "_")))
                .or_insert(place);
        }
        self.places.push(Place {
            network,
            layer: layer.to_owned(),
            bias: false,
            block: spelt.skip(1).find_map(ldm_block),
        });
    }

    /// The layer that a module of an adapter changes.
    pub(crate) fn find(&self, module: &str) -> Option<&Place> {
        let flat = module.replace('.', "_");
        let mut flat = flat.as_str();
        while let Some(inner) = WRAPPERS.iter().find_map(|wrapper| flat.strip_prefix(wrapper)) {
            flat = inner;
        }
        PREFIXES.iter().find_map(|(prefix, network)| {
            let rest = flat.strip_prefix(prefix)?;
            let rest = WRAPPERS
                .iter()
                .find_map(|wrapper| rest.strip_prefix(wrapper))
                .unwrap_or(rest);
            let place = self.flat.get(&(*network, rest.to_owned()))?;
            Some(&self.places[*place])
        })
    }

    /// The name most like a module's that would have a place, in the module's own dialect.
    pub(crate) fn nearest(&self, module: &str) -> Option<String> {
        /// Longer than any layer's name.
        const MAX: usize = 256;
        /// Less alike than this, it is another thing altogether.
        const ALIKE: f64 = 0.75;
        let flat = module.replace('.', "_");
        if flat.len() > MAX {
            return None;
        }
        let (prefix, network) = PREFIXES.iter().find(|(prefix, network)| {
            flat.starts_with(prefix) && self.flat.keys().any(|(known, _)| known == network)
        })?;
        let rest = &flat[prefix.len()..];
        let alike = |name: &str| strsim::normalized_levenshtein(rest, name);
        let names = self.flat.keys().filter(|(known, _)| known == network);
        let (likeness, name) = names
            .map(|(_, name)| (alike(name), name))
            .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)))?;
        (likeness >= ALIKE).then(|| format!("{prefix}{name}"))
    }
}

/// The names of an attention's layers in older versions of diffusers: inside a processor, and the projections of CLIP like those of the
/// U-Net.
fn old_spellings(layer: &str) -> Vec<String> {
    let Some((attention, projection)) = [
        "to_q", "to_k", "to_v", "to_out.0", "q_proj", "k_proj", "v_proj", "out_proj",
    ]
    .iter()
    .find_map(|projection| Some((layer.strip_suffix(projection)?, *projection))) else {
        return Vec::from_iter(layer.strip_prefix("text_model.").map(str::to_owned));
    };
    let old = match projection {
        "to_out.0" | "out_proj" => "to_out",
        "q_proj" => "to_q",
        "k_proj" => "to_k",
        "v_proj" => "to_v",
        same => same,
    };
    let mut names = vec![format!("{attention}{old}"), format!("{attention}processor.{old}")];
    if let Some(short) = layer.strip_prefix("text_model.") {
        names.push(short.to_owned());
    }
    names
}

/// The block of LDM's layout that a name in it is in, as block weights call it: "IN04", "M00", "OUT11".
fn ldm_block(name: &str) -> Option<String> {
    let mut words = name.split('.');
    let direction = match words.next()? {
        "input_blocks" => "IN",
        "output_blocks" => "OUT",
        "middle_block" => return Some("M00".into()),
        _ => return None,
    };
    Some(format!("{direction}{:02}", words.next()?.parse::<usize>().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> ModelNames {
        let spelt = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        ModelNames::new(&[
            (
                Part::Unet,
                spelt(&[
                    "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0.weight",
                    "input_blocks.4.1.transformer_blocks.0.attn1.to_out.0.weight",
                ]),
            ),
            (
                Part::Unet,
                spelt(&[
                    "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0.bias",
                    "input_blocks.4.1.transformer_blocks.0.attn1.to_out.0.bias",
                ]),
            ),
            (Part::Unet, spelt(&["conv_in.weight", "input_blocks.0.0.weight"])),
            (
                Part::TextEncoder,
                spelt(&["text_model.encoder.layers.0.self_attn.q_proj.weight"]),
            ),
            (Part::Vae, spelt(&["decoder.conv_in.weight"])),
        ])
    }

    #[test]
    fn a_layer_has_many_names() {
        let names = names();
        assert_eq!(names.places.len(), 3);
        let out = &names.places[0];
        assert!(out.bias && out.block.as_deref() == Some("IN04"));
        for module in [
            "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_out_0",
            "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_out_0",
            "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0",
            "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.processor.to_out",
            "down_blocks.1.attentions.0.transformer_blocks.0.attn1.processor.to_out",
            "base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0",
            "unet.base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0",
            "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_out.0",
            "lycoris_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_out_0",
        ] {
            assert_eq!(names.find(module), Some(out), "{module}");
        }
        for module in [
            "lora_te_text_model_encoder_layers_0_self_attn_q_proj",
            "lora_te1_text_model_encoder_layers_0_self_attn_q_proj",
            "text_encoder.text_model.encoder.layers.0.self_attn.q_proj",
            "text_encoder.text_model.encoder.layers.0.self_attn.to_q",
            "base_model.model.text_model.encoder.layers.0.self_attn.q_proj",
            "clip_l.text_model.encoder.layers.0.self_attn.q_proj",
        ] {
            assert_eq!(names.find(module), Some(&names.places[2]), "{module}");
        }
        for module in [
            "lora_te2_text_model_encoder_layers_0_self_attn_q_proj",
            "lora_te_conv_in",
            "",
            "unet",
        ] {
            assert_eq!(names.find(module), None, "{module}");
        }
    }

    #[test]
    fn a_wrong_name_has_a_neighbour() {
        let names = names();
        assert_eq!(
            names.nearest("lora_unet_conv_inn").as_deref(),
            Some("lora_unet_conv_in")
        );
        assert_eq!(names.nearest("lora_unet_something_else"), None);
        assert_eq!(names.nearest(&"lora_unet_".repeat(100)), None);
    }
}
