//! PEFT's settings, which say what its files don't: in diffusers' files they are in the header, in PEFT's folders beside the tensors.

use std::collections::HashMap;

use sd_core::weights::TensorFile;
use serde_json::Value;

use crate::names::Network;

/// Where diffusers keeps them, as JSON, each setting behind its network's name.
const KEY: &str = "lora_adapter_metadata";

/// The settings that say how strongly modules act.
#[derive(Debug, Default)]
pub(crate) struct Noted(
    /// By a network's name; under no name where a folder is one network's.
    HashMap<&'static str, Settings>,
);

#[derive(Debug, Default)]
struct Settings {
    alpha: Option<f64>,
    /// By a layer's name or its end.
    alphas: Vec<(String, f64)>,
    /// Rank-stabilised: alpha is divided by the root of the rank (Kalajdzievski 2023, arXiv:2312.03732).
    root: bool,
    rotation: Rotation,
}

/// How OFT's rotations follow from their skew-symmetric parts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rotation {
    /// Terms of Cayley's transform as a series; `None` for the transform itself.
    pub terms: Option<u64>,
    /// Most that a block's norm times the root of their number may be; `None` for no limit.
    pub limit: Option<f64>,
}

impl Default for Rotation {
    /// As PEFT 0.21 has it.
    fn default() -> Self {
        Self {
            terms: Some(5),
            limit: None,
        }
    }
}

impl Noted {
    /// Reads them, if they are there and can be read.
    pub fn read(file: &TensorFile) -> Self {
        let json = file
            .metadata()
            .get(KEY)
            .and_then(|text| serde_json::from_str::<Value>(text).ok());
        let Some(Value::Object(settings)) = json else {
            return Self::default();
        };
        let mut noted = Self::default();
        for network in [Network::Unet, Network::TextEncoder, Network::TextEncoder2] {
            let get = |name: &str| settings.get(&format!("{}.{name}", network.name()));
            noted.0.insert(network.name(), Settings::new(get));
        }
        noted
    }

    /// Reads a folder's `adapter_config.json`; `None` if that is none.
    pub fn of_folder(config: &str) -> Option<Self> {
        let Ok(Value::Object(settings)) = serde_json::from_str(config) else {
            return None;
        };
        Some(Self([("", Settings::new(|name| settings.get(name)))].into()))
    }

    /// A module's settings, and the layer's name in its network.
    fn of<'a>(&self, module: &'a str) -> Option<(&Settings, &'a str)> {
        let named = module
            .split_once('.')
            .and_then(|(network, layer)| Some((self.0.get(network)?, layer)));
        named.or_else(|| Some((self.0.get("")?, module)))
    }

    /// How a module's rotations are made.
    pub fn rotation(&self, module: &str) -> Rotation {
        let settings = self.of(module);
        settings.map_or_else(Rotation::default, |(settings, _)| settings.rotation)
    }

    /// What a module of this rank is multiplied by: alpha over rank where one is noted, else 1.
    pub fn scale(&self, module: &str, rank: usize) -> f32 {
        let Some((settings, layer)) = self.of(module) else {
            return 1.0;
        };
        let own = settings.alphas.iter().find(|(name, _)| {
            let before = layer.strip_suffix(name.as_str());
            before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
        });
        let alpha = own.map(|(_, alpha)| *alpha).or(settings.alpha);
        let rank = match settings.root {
            true => (rank as f64).sqrt(),
            false => rank as f64,
        };
        match alpha {
            Some(alpha) if alpha.is_finite() => (alpha / rank) as f32,
            _ => 1.0,
        }
    }
}

impl Settings {
    fn new<'a>(get: impl Fn(&str) -> Option<&'a Value>) -> Self {
        let flag = |name, default| get(name).and_then(Value::as_bool).unwrap_or(default);
        let alphas = get("alpha_pattern").and_then(Value::as_object);
        let alphas = alphas.into_iter().flatten();
        Self {
            // LoHa's and LoKr's is called alpha alone.
            alpha: get("lora_alpha").or_else(|| get("alpha")).and_then(Value::as_f64),
            alphas: alphas
                .filter_map(|(name, alpha)| Some((name.clone(), alpha.as_f64()?)))
                .collect(),
            root: flag("use_rslora", false),
            rotation: Rotation {
                terms: flag("use_cayley_neumann", true).then(|| {
                    let terms = get("num_cayley_neumann_terms").and_then(Value::as_u64);
                    terms.or(Rotation::default().terms).unwrap_or_default()
                }),
                limit: flag("coft", false).then(|| get("eps").and_then(Value::as_f64).unwrap_or(6e-5)),
            },
        }
    }
}
