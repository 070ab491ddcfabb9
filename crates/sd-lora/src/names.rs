//! The names that a model's parameters have in adapters.

use std::collections::HashMap;

use sd_core::weights::Part;

/// The beginnings of a module's name, by part.
pub(crate) const PREFIXES: [(&str, Part); 2] = [("lora_unet_", Part::Unet), ("lora_te_", Part::TextEncoder)];

/// A model's parameters under the names that adapters call them by. Made once, it serves any number of adapters.
#[derive(Debug, Clone)]
pub struct ModelNames {
    /// From a flattened name to the part and canonical name.
    pub(crate) places: HashMap<String, (Part, String)>,
}

impl ModelNames {
    /// Takes what [`Checkpoint::parameters`](sd_core::weights::Checkpoint::parameters) gives: the part of each parameter and all
    /// spellings of its name, the canonical one first.
    pub fn new<'a>(parameters: impl IntoIterator<Item = &'a (Part, Vec<String>)>) -> Self {
        let mut places = HashMap::new();
        for (part, spellings) in parameters {
            let Some((prefix, _)) = PREFIXES.iter().find(|(_, p)| p == part) else {
                continue;
            };
            let Some(canonical) = spellings.first() else {
                continue;
            };
            for path in spellings.iter().filter_map(|name| name.strip_suffix(".weight")) {
                let flat = format!("{prefix}{}", path.replace('.', "_"));
                places.insert(flat, (*part, canonical.clone()));
            }
        }
        Self { places }
    }
}
