//! The parameters of the families of models, for adapters that come without their model.

use std::io::Read;

use sd_core::config::Family;

use crate::names::{ModelNames, Network};

/// A line for each parameter, by family and network; made by tools/goldens/lora_names.py from diffusers.
static NAMES: &[u8] = include_bytes!("../data/names.txt.gz");

/// A parameter of a family's models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FamilyParameter {
    /// The network that it is in.
    pub network: Network,
    /// Canonical (diffusers) name, and LDM's behind it where that is another.
    pub spellings: Vec<String>,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// All parameters of SD1, SD2 or SDXL that adapters can change; nothing for other families.
pub fn family_parameters(family: Family) -> Vec<FamilyParameter> {
    let label = match family {
        Family::Sd1 => "sd1",
        Family::Sd2 => "sd2",
        Family::Sdxl => "sdxl",
        _ => return Vec::new(),
    };
    let mut text = String::new();
    flate2::read::GzDecoder::new(NAMES)
        .read_to_string(&mut text)
        .expect("compiled in as text");
    let mut section = None;
    let mut parameters = Vec::new();
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("# ") {
            section = match head.split_once(' ') {
                Some((family, "unet")) if family == label => Some(Network::Unet),
                Some((family, "text_encoder")) if family == label => Some(Network::TextEncoder),
                Some((family, "text_encoder_2")) if family == label => Some(Network::TextEncoder2),
                _ => None,
            };
        } else if let (Some(network), [name, ldm, shape]) =
            (section, line.split('\t').collect::<Vec<_>>().as_slice())
        {
            let spellings = [*name, *ldm].into_iter().filter(|name| !name.is_empty());
            parameters.push(FamilyParameter {
                network,
                spellings: spellings.map(str::to_owned).collect(),
                shape: shape.split(',').filter_map(|n| n.parse().ok()).collect(),
            });
        }
    }
    parameters
}

impl ModelNames {
    /// The names of SD1's, SD2's or SDXL's layers; `None` for other families.
    pub fn of_family(family: Family) -> Option<Self> {
        let parameters = family_parameters(family);
        let names = parameters
            .iter()
            .map(|parameter| (parameter.network, parameter.spellings.as_slice()));
        (!parameters.is_empty()).then(|| Self::from_networks(names))
    }
}
