//! PEFT's settings, which say what its files don't: in diffusers' files they are in the header, in PEFT's folders beside the tensors.

mod fields;
mod patterns;
mod settings;

use std::collections::BTreeMap;

use sd_core::{shown, weights::TensorFile};

use crate::{
    change::{Kind, Rotation},
    names::Network,
};
use patterns::Setting;
use settings::Settings;

/// The key under which diffusers keeps them, as JSON, each setting behind its network's name.
const KEY: &str = "lora_adapter_metadata";

/// The settings that decide the factors and rotations of modules.
#[derive(Debug, Default)]
pub(crate) struct PeftSettings(
    /// By a network's name; under no name where a folder is one network's.
    BTreeMap<&'static str, Settings>,
);

/// The parts of a module that settings speak of.
pub(crate) struct Parts {
    pub kind: Kind,
    pub rank: Option<usize>,
    pub dora: bool,
    /// Of the second matrix.
    pub bias: bool,
}

impl PeftSettings {
    /// Reads the settings in a file's header.
    ///
    /// # Errors
    /// A message with the setting that can't be read or isn't supported.
    pub fn read(file: &TensorFile) -> Result<Self, String> {
        let Some(json) = file.metadata().get(KEY) else {
            return Ok(Self::default());
        };
        let named = |reason| format!("{KEY}: {reason}");
        let all = patterns::settings(json).map_err(named)?;
        let mut peft = Self::default();
        for network in [Network::Unet, Network::TextEncoder, Network::TextEncoder2] {
            let own = all.iter().filter_map(|(name, setting)| {
                let name = name.strip_prefix(network.name())?.strip_prefix('.')?;
                Some((name, setting))
            });
            let own: BTreeMap<&str, &Setting> = own.collect();
            if !own.is_empty() {
                let settings = Settings::new(&own);
                let settings = settings.map_err(|reason| named(format!("{}.{reason}", network.name())))?;
                peft.0.insert(network.name(), settings);
            }
        }
        Ok(peft)
    }

    /// Reads a folder's `adapter_config.json`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn of_folder(config: &str) -> Result<Self, String> {
        let all = patterns::settings(config)?;
        let all = all.iter().map(|(name, setting)| (name.as_str(), setting));
        Ok(Self([("", Settings::new(&all.collect())?)].into()))
    }

    /// A module's settings, and the layer's name in its network.
    fn of<'a>(&self, module: &'a str) -> Option<(&Settings, &'a str)> {
        let named = module
            .split_once('.')
            .and_then(|(network, layer)| Some((self.0.get(network)?, layer)));
        let (settings, mut layer) = named.or_else(|| Some((self.0.get("")?, module)))?;
        // The wrapper, around the model whose names patterns are for.
        while let Some(inner) = layer.strip_prefix("base_model.model.") {
            layer = inner;
        }
        Some((settings, layer))
    }

    /// The way in which a module's rotations are made.
    pub fn rotation(&self, module: &str) -> Rotation {
        let settings = self.of(module);
        settings.map_or_else(Rotation::default, |(settings, _)| settings.rotation)
    }

    /// The factor on a module's change, if it is for the settings to say: alpha over rank.
    ///
    /// # Errors
    /// If the module isn't as the settings say.
    pub fn scale(&self, module: &str, parts: &Parts) -> Result<Option<f32>, String> {
        let Some((settings, layer)) = self.of(module) else {
            return Ok(None);
        };
        let kind = match parts.kind {
            Kind::Lora | Kind::Locon => "LORA",
            Kind::Loha => "LOHA",
            Kind::Lokr => "LOKR",
            Kind::Oft => "OFT",
            _ => "",
        };
        if kind != settings.kind {
            return Err(format!(
                "it is {}, but the settings' peft_type is {}",
                parts.kind, settings.kind
            ));
        }
        if kind == "OFT" {
            return Ok(None);
        }
        let rank = settings.ranks.of(layer).unwrap_or(settings.rank);
        if parts.rank.is_some_and(|own| own as f64 != rank) {
            let own = parts.rank.unwrap_or_default();
            return Err(format!(
                "its tensors have rank {own}, the settings (r, rank_pattern) say {rank}"
            ));
        }
        if parts.dora != settings.dora {
            let tensor = if parts.dora { "a" } else { "no" };
            let reason = format!(
                "it has {tensor} lora_magnitude_vector, but use_dora is {}",
                settings.dora
            );
            return Err(reason);
        }
        if parts.bias && !settings.bias {
            return Err("it has a bias, but lora_bias is false".into());
        }
        let alpha = settings.alphas.of(layer).unwrap_or(settings.alpha);
        let rank = match settings.root {
            true => rank.sqrt(),
            false => rank,
        };
        Ok(Some((alpha / rank) as f32))
    }

    /// Patterns that none of these modules has the name for, in words: they change nothing.
    pub fn idle<'a>(&self, modules: impl Iterator<Item = &'a str> + Clone) -> Vec<String> {
        let mut idle = Vec::new();
        for (network, settings) in &self.0 {
            let own = modules.clone().filter_map(|module| {
                let (of, layer) = self.of(module)?;
                std::ptr::eq(of, settings).then_some(layer)
            });
            for (field, patterns) in [
                ("alpha_pattern", &settings.alphas),
                ("rank_pattern", &settings.ranks),
            ] {
                let field = match *network {
                    "" => field.to_owned(),
                    network => format!("{network}.{field}"),
                };
                let none = patterns.idle(own.clone()).into_iter();
                idle.extend(none.map(|key| format!("{field}: '{}' is no layer's name here", shown(key))));
            }
        }
        idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(kind: Kind, rank: Option<usize>) -> Parts {
        Parts {
            kind,
            rank,
            dora: false,
            bias: false,
        }
    }

    #[test]
    fn what_changes_values_is_refused_by_name() {
        for (settings, says) in [
            (
                r#"{"peft_type": "VERA"}"#,
                "peft_type: 'VERA' is not supported; supported: LORA, LOHA",
            ),
            (r#"{"peft_type": 3}"#, "peft_type: '' is not"),
            (
                r#"{"init_lora_weights": "pissa_niter_4"}"#,
                "init_lora_weights: 'pissa_niter_4' is not supported, since",
            ),
            (r#"{"init_lora_weights": "olora"}"#, "init_lora_weights: 'olora'"),
            (
                r#"{"modules_to_save": ["conv_in"]}"#,
                "modules_to_save: a list is not supported",
            ),
            (
                r#"{"layer_replication": [[0, 4]]}"#,
                "layer_replication: a list is not supported",
            ),
            (r#"{"use_qalora": true}"#, "use_qalora: true is not supported"),
            (
                r#"{"kasa_config": {"beta": 1}}"#,
                "kasa_config: an object is not supported",
            ),
            (r#"{"a_new_setting": 3}"#, "a_new_setting: 3 is not known here"),
            (
                r#"{"peft_type": "LOKR", "lora_alpha": 3}"#,
                "lora_alpha: 3 is not known here",
            ),
            (
                r#"{"peft_type": "LOHA", "use_dora": true}"#,
                "use_dora: true is not known here",
            ),
            (r#"{"lora_alpha": "8"}"#, "lora_alpha: \"8\" is not possible"),
            (r#"{"use_rslora": 1}"#, "use_rslora: 1 is not possible"),
            (r#"{"r": 0}"#, "r: 0 is no rank"),
            (
                r#"{"alpha_pattern": {"to_q": "x"}}"#,
                "is no JSON object of PEFT's settings: invalid type",
            ),
            (
                r#"{"alpha_pattern": ["to_q"]}"#,
                "expected an object of patterns and numbers",
            ),
            (
                r#"{"alpha_pattern": {"to_k": 1, "(?=to_q)": 2}}"#,
                "alpha_pattern: '(?=to_q)' can't be read as a regular",
            ),
            (
                r#"{"rank_pattern": {"(": 2}}"#,
                "rank_pattern: '(' can't be read as a regular expression",
            ),
            (r#"{"peft_type": "OFT", "r": 2}"#, "oft_block_size: is missing"),
            (
                r#"{"peft_type": "OFT", "oft_block_size": 4, "use_cayley_neumann": true, "peft_version": "0.17.1"}"#,
                "use_cayley_neumann: true is not supported of PEFT before 0.18",
            ),
            ("[]", "is no JSON object of PEFT's settings"),
        ] {
            let reason = PeftSettings::of_folder(settings).map(drop).unwrap_err();
            assert!(reason.contains(says), "{settings}: {reason}");
            assert!(!reason.contains('\n'), "{reason}");
        }
    }

    #[test]
    fn what_changes_nothing_is_passed_over() {
        for settings in [
            r#"{"peft_type": "LORA", "a_new_setting": false, "another": [], "loftq_config": {}, "init_lora_weights": "gaussian",
                "target_modules": ["to_q"], "lora_dropout": 0.1, "fan_in_fan_out": true, "modules_to_save": null,
                "runtime_config": {"ephemeral_gpu_offload": false}, "_note": 1}"#,
            r#"{"peft_type": "OFT", "oft_block_size": 4, "use_cayley_neumann": true, "peft_version": "0.18.0@abc", "r": 0}"#,
            r#"{"peft_type": "OFT", "oft_block_size": 4, "use_cayley_neumann": false}"#,
            r#"{"peft_type": "LOKR", "decompose_both": true, "decompose_factor": 4, "rank_dropout": 0.5}"#,
        ] {
            PeftSettings::of_folder(settings).unwrap();
        }
    }

    #[test]
    fn scales() {
        let peft = PeftSettings::of_folder(
            r#"{"r": 4, "lora_alpha": 2, "use_rslora": true, "rank_pattern": {"^down.*": 16},
                "alpha_pattern": {"to_(q|k)": 6, "attn1.to_q": 9}}"#,
        )
        .unwrap();
        let scale = |layer: &str, rank| peft.scale(layer, &parts(Kind::Lora, Some(rank)));
        for (layer, rank, expected) in [
            ("base_model.model.up.attn1.to_v", 4, 1.0),
            ("base_model.model.up.attn1.to_q", 4, 3.0),
            // Only a whole name, or what follows a dot.
            ("base_model.model.up.attn1.sto_q", 4, 1.0),
            ("base_model.model.down.attn1.to_q", 16, 1.5),
            // `^` is the beginning of the name inside of the wrapper.
            ("base_model.model.x.down.attn1.to_v", 4, 1.0),
        ] {
            assert_eq!(scale(layer, rank), Ok(Some(expected)), "{layer}");
        }
        assert!(
            scale("up.to_q", 8)
                .unwrap_err()
                .contains("its tensors have rank 8, the settings")
        );
        let wrong = peft.scale("up.to_q", &parts(Kind::Loha, Some(4))).unwrap_err();
        assert!(
            wrong.contains("it is LoHa, but the settings' peft_type is LORA"),
            "{wrong}"
        );
        let dora = Parts {
            dora: true,
            ..parts(Kind::Lora, Some(4))
        };
        assert!(
            peft.scale("up.to_q", &dora)
                .unwrap_err()
                .contains("use_dora is false")
        );
        let bias = Parts {
            bias: true,
            ..parts(Kind::Lora, Some(4))
        };
        assert!(
            peft.scale("up.to_q", &bias)
                .unwrap_err()
                .contains("lora_bias is false")
        );

        // PEFT's defaults, 8 over 8.
        let peft = PeftSettings::of_folder(r#"{"peft_type": "LOKR"}"#).unwrap();
        assert_eq!(peft.scale("x", &parts(Kind::Lokr, None)), Ok(Some(1.0)));
        assert_eq!(
            PeftSettings::default().scale("x", &parts(Kind::Lokr, None)),
            Ok(None)
        );
    }

    /// As many patterns as a large model has layers, each for one of them.
    #[test]
    fn many_patterns() {
        let name = |i: usize| format!("down_blocks.{}.attentions.{}.attn1.to_q", i / 100, i % 100);
        let pairs: Vec<String> = (0..2000).map(|i| format!(r#""{}": {i}"#, name(i))).collect();
        let settings = format!(r#"{{"r": 1, "alpha_pattern": {{{}}}}}"#, pairs.join(","));
        let peft = PeftSettings::of_folder(&settings).unwrap();
        for i in (0..2000).step_by(7) {
            let scale = peft.scale(&name(i), &parts(Kind::Lora, Some(1)));
            assert_eq!(scale, Ok(Some(i as f32)));
        }
        let names: Vec<String> = (0..1999).map(name).collect();
        let idle = peft.idle(names.iter().map(String::as_str));
        assert_eq!(
            idle,
            [format!("alpha_pattern: '{}' is no layer's name here", name(1999))]
        );
    }
}
