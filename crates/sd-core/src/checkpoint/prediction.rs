//! The prediction type of a U-Net: one rule, which all who want to know it ask.
//!
//! The sources that count, in this order: a scheduler's configuration that belongs to the weights, marks in the weights' file, configurations from
//! elsewhere, a guess by the values of a tensor, SD1's usual. Beyond all of these is what a caller says.

use super::{
    metadata,
    structure::{Tensors, Unet},
};
use crate::{
    Result,
    config::{EdmConfig, Family, PredictionType, SchedulerConfig},
    weights::{Folder, TensorFile},
};

/// A prediction type, and why it is thought so.
type Verdict = (PredictionType, String);

/// Marks of weights that show their prediction type, apart from a configuration.
#[derive(Default, Clone)]
pub(super) struct Marks {
    stated: Option<Verdict>,
    guess: Option<Verdict>,
    /// The words for weights that have neither.
    usual: Option<&'static str>,
    /// A tensor marks training with zero terminal SNR.
    zero_terminal_snr: bool,
    /// Tensors mark training on continuous noise levels.
    edm: Option<EdmConfig>,
}

/// A scheduler's configuration, as text too.
#[derive(Clone)]
pub(super) struct StatedScheduler {
    pub config: SchedulerConfig,
    pub json: String,
    /// Its place.
    place: String,
}

impl StatedScheduler {
    /// The one that a diffusers folder has.
    pub fn of_folder(folder: &Folder) -> Result<Option<Self>> {
        const NAME: &str = "scheduler/scheduler_config.json";
        if !folder.has(NAME) {
            return Ok(None);
        }
        let json = folder.text(NAME)?;
        Ok(Some(Self {
            config: SchedulerConfig::from_json(&json, &folder.origin(NAME))?,
            json,
            place: NAME.into(),
        }))
    }

    /// The one that a file carries in its metadata.
    pub fn of_file(file: &TensorFile) -> Result<Option<Self>> {
        let json = file.metadata().get(metadata::SCHEDULER);
        json.map(|json| {
            Ok(Self {
                config: SchedulerConfig::from_json(json, file.origin())?,
                json: json.clone(),
                place: format!("its metadata ({})", metadata::SCHEDULER),
            })
        })
        .transpose()
    }
}

/// The scheduler's configuration that counts, and what decided.
#[derive(Clone)]
pub(super) struct Decided {
    pub config: SchedulerConfig,
    /// Whether the weights, or the files beside them, state the prediction type.
    pub known: bool,
    /// The reason, in words.
    pub reason: Option<String>,
}

/// Decides by what belongs to the weights, and by configurations from `elsewhere`.
pub(super) fn decide(
    own: Option<&StatedScheduler>,
    marks: &Marks,
    elsewhere: Option<&SchedulerConfig>,
) -> Decided {
    if let Some(StatedScheduler { config, place, .. }) = own {
        return Decided {
            config: config.clone(),
            known: true,
            reason: Some(format!("{place} says so")),
        };
    }
    let mut config = elsewhere.cloned().unwrap_or_default();
    config.rescale_betas_zero_snr |= marks.zero_terminal_snr;
    config.edm = marks.edm.or(config.edm);
    let guess = marks.guess.as_ref().filter(|_| elsewhere.is_none());
    let Some((kind, reason)) = marks.stated.as_ref().or(guess) else {
        let reason = match elsewhere {
            Some(_) => Some("nothing in it says otherwise, and the configurations given say so"),
            None => marks.usual,
        };
        return Decided {
            config,
            known: false,
            reason: reason.map(str::to_owned),
        };
    };
    let mut reason = reason.clone();
    if elsewhere.is_some_and(|other| other.prediction_type != *kind) {
        reason = format!(
            "{reason}, though the configurations given say {}",
            config.prediction_type.name()
        );
    }
    config.prediction_type = *kind;
    Decided {
        config,
        known: true,
        reason: Some(reason),
    }
}

impl Marks {
    /// Whether the weights themselves state the prediction type.
    pub fn say(&self) -> bool {
        self.stated.is_some()
    }

    /// Of the files that hold a U-Net.
    pub fn of(all: &Tensors, unet: &Unet) -> Self {
        let usual = "nothing in it says otherwise, and its family's usual is epsilon";
        Self {
            stated: stated(all),
            guess: guess(all, unet),
            usual: (unet.family != Family::Other).then_some(usual),
            zero_terminal_snr: all.any(|name| name == "ztsnr"),
            edm: edm(all),
        }
    }
}

fn stated(all: &Tensors) -> Option<Verdict> {
    let reason = || "its metadata says so (modelspec.prediction_type)".to_owned();
    match all.metadata("modelspec.prediction_type") {
        Some("v" | "v_prediction") => return Some((PredictionType::V, reason())),
        Some("epsilon") => return Some((PredictionType::Epsilon, reason())),
        _ => {}
    }
    let markers = [
        (EDM_MEAN, PredictionType::Epsilon),
        (EDM_V, PredictionType::V),
        ("v_pred", PredictionType::V),
    ];
    let (marker, kind) = markers
        .into_iter()
        .find(|(marker, _)| all.any(|name| name == *marker))?;
    Some((kind, format!("it has a tensor named {marker}")))
}

/// Tensors that mark Playground v2.5's files, and those of models like CosXL, by ComfyUI's names.
pub(super) const EDM_MEAN: &str = "edm_mean";
pub(super) const EDM_STD: &str = "edm_std";
const EDM_V: &str = "edm_vpred.sigma_max";

/// Continuous noise levels, as ComfyUI takes them.
fn edm(all: &Tensors) -> Option<EdmConfig> {
    let number = |name: &str| all.small(name)?.first().map(|&value| f64::from(value));
    if all.any(|name| name == EDM_MEAN) {
        return Some(EdmConfig::PLAYGROUND);
    }
    let found = EdmConfig {
        sigma_max: number(EDM_V)?,
        sigma_min: number("edm_vpred.sigma_min").unwrap_or(0.002),
        sigma_data: 1.0,
    };
    found.is_possible().then_some(found)
}

/// Nothing else tells SD2's two kinds apart without running them; the rule and its bound are ComfyUI's.
fn guess(all: &Tensors, unet: &Unet) -> Option<Verdict> {
    const BOUND: f64 = 0.09;
    if unet.family != Family::Sd2 || unet.in_channels != Some(4) {
        return None;
    }
    let leaves = [
        "output_blocks.11.1.transformer_blocks.0.norm1.bias",
        "up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias",
    ];
    let (leaf, values) = leaves.iter().find_map(|leaf| {
        let values = all.small(&format!("{}{leaf}", unet.prefix))?;
        (!values.is_empty()).then_some((*leaf, values))
    })?;
    let n = values.len() as f64;
    let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let spread = (values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n).sqrt();
    let (kind, side) = if spread > BOUND {
        (PredictionType::V, "over")
    } else {
        (PredictionType::Epsilon, "not over")
    };
    Some((
        kind,
        format!("the spread of {leaf} is {spread:.3}, {side} {BOUND}: a guess, as ComfyUI makes it"),
    ))
}
