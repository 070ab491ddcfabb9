//! The kind and the parts of a file, from names, shapes and metadata alone.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    classify::{Classified, classify},
    kind::Kind,
    prediction::{StatedScheduler, decide},
};
use crate::{
    Result,
    config::{Family, Part},
    weights::{
        TensorFile,
        names::{EMA_PREFIX, TEXT_BEGINNINGS, UNET_PREFIX, VAE_BEGINNINGS, harmless},
    },
};

/// The layout of a folder.
pub(super) const FOLDER: &str = "diffusers";
/// Under which name averages of a U-Net's weights are counted.
pub(super) const AVERAGES: &str = "ema";

/// One part of a file or folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PartInspection {
    /// Number of tensors.
    pub tensors: usize,
    /// Number of values in them.
    pub parameters: u64,
    /// Tensors of each stored type.
    pub dtypes: BTreeMap<String, usize>,
}

/// A file or folder as its headers show it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// The path.
    pub path: String,
    /// Its kind.
    pub kind: Kind,
    /// Its family: its own, or the one that an adapter, embedding or ControlNet is for.
    pub family: Family,
    /// The U-Net's purpose, where that is more than drawing from noise: "inpainting", "InstructPix2Pix", "depth", "upscaler", or "LCM"
    /// where it takes the guidance as an input.
    pub variant: Option<&'static str>,
    /// An adapter's kind: "LoRA", "LoRA (diffusers)", "LoCon", "LoHa", "LoKr", "OFT", "BOFT", "DoRA" and others.
    pub adapter: Option<&'static str>,
    /// The family that it is of, or an adapter is for, where that has no pipeline here: "Flux".
    pub architecture: Option<&'static str>,
    /// "diffusers" for a folder, "single file" else.
    pub layout: &'static str,
    /// Channels of the U-Net's input, if there is a U-Net.
    pub in_channels: Option<usize>,
    /// "epsilon", "v_prediction" or "sample", if the file says so or shows it.
    pub prediction_type: Option<String>,
    /// The reason for this prediction type, in words.
    pub prediction_reason: Option<String>,
    /// Whether it is marked as trained with zero terminal SNR.
    pub zero_terminal_snr: bool,
    /// The parts by name; "ema" are averages of the U-Net's weights, "other" holds what belongs to none.
    pub parts: BTreeMap<String, PartInspection>,
    /// The parts that a checkpoint, or a U-Net alone, lacks to be a whole one.
    pub lacks: Vec<Part>,
    /// "encoder" or "decoder" where a VAE has but this half.
    pub vae_half: Option<&'static str>,
    /// The free-form strings of the file's header.
    pub metadata: BTreeMap<String, String>,
}

impl Inspection {
    /// The inspection of an opened file.
    pub fn of_file(file: &TensorFile) -> Self {
        let found = classify(&[file]);
        let stated = match found.kind {
            Kind::Checkpoint | Kind::Unet => StatedScheduler::of_file(file),
            _ => Ok(None),
        };
        let (stated, fault) = value_or_fault(stated);
        Self::of_classified(file, &found, stated.as_ref()).with_fault(fault)
    }

    /// That of a scheduler's configuration that can't be used, which is no reason to say nothing of the file.
    pub(super) fn with_fault(self, fault: Option<String>) -> Self {
        let prediction_reason = fault.or(self.prediction_reason.clone());
        Self {
            prediction_reason,
            ..self
        }
    }

    pub(super) fn of_classified(
        file: &TensorFile,
        found: &Classified,
        stated: Option<&StatedScheduler>,
    ) -> Self {
        let files = [(None, file)];
        Self::new(file.origin().to_owned(), "single file", &files, found, stated)
    }

    pub(super) fn new(
        path: String,
        layout: &'static str,
        files: &[(Option<Part>, &TensorFile)],
        found: &Classified,
        stated: Option<&StatedScheduler>,
    ) -> Self {
        let mut parts: BTreeMap<String, PartInspection> = BTreeMap::new();
        let (mut encoder, mut decoder) = (false, false);
        for (part, file) in files {
            for name in file.names() {
                let Some(info) = file.info(name) else { continue };
                let part = match (part, found.kind) {
                    (Some(part), _) => part.name(),
                    (None, kind) => part_of(kind, name),
                };
                if part == Part::Vae.name() {
                    let inner = name.strip_prefix(VAE_BEGINNINGS[0]).unwrap_or(name);
                    encoder |= inner.starts_with("encoder.");
                    decoder |= inner.starts_with("decoder.");
                }
                let entry = parts.entry(part.to_owned()).or_default();
                entry.tensors += 1;
                entry.parameters += info.shape.iter().map(|&n| n as u64).product::<u64>();
                *entry.dtypes.entry(info.type_name()).or_default() += 1;
            }
        }
        let metadata = files
            .iter()
            .flat_map(|(_, file)| file.metadata().clone())
            .collect();
        let lacks = match found.kind {
            Kind::Checkpoint | Kind::Unet => {
                let all = found.family.parts().iter().copied();
                all.filter(|part| !parts.contains_key(part.name())).collect()
            }
            _ => Vec::new(),
        };
        let decided = decide(stated, &found.marks, None);
        Self {
            path,
            kind: found.kind,
            family: found.family,
            layout,
            variant: found.variant,
            adapter: found.adapter,
            architecture: found.architecture,
            in_channels: found.in_channels,
            prediction_type: (decided.known).then(|| decided.config.prediction_type.name().to_owned()),
            prediction_reason: decided.reason,
            zero_terminal_snr: decided.config.rescale_betas_zero_snr,
            parts,
            lacks,
            vae_half: match (encoder, decoder) {
                (true, false) => Some("encoder"),
                (false, true) => Some("decoder"),
                _ => None,
            },
            metadata,
        }
    }
}

/// A stated configuration, or the reason why it can't be used.
pub(super) fn value_or_fault(
    stated: Result<Option<StatedScheduler>>,
) -> (Option<StatedScheduler>, Option<String>) {
    match stated {
        Ok(stated) => (stated, None),
        Err(error) => (None, Some(error.to_string())),
    }
}

fn part_of(kind: Kind, name: &str) -> &'static str {
    match kind {
        Kind::Lora => return "lora",
        Kind::ControlNet => return "controlnet",
        Kind::TextualInversion => return "embedding",
        _ if name.starts_with(EMA_PREFIX) => return AVERAGES,
        Kind::Unet if harmless(name) => return "other",
        Kind::Unet | Kind::Vae | Kind::TextEncoder | Kind::TextEncoder2 => {
            return kind.part().map_or("other", Part::name);
        }
        Kind::Unknown => return "other",
        Kind::Checkpoint => {}
    }
    let begins = |with: &[&str]| with.iter().any(|prefix| name.starts_with(prefix));
    if begins(&[UNET_PREFIX]) {
        Part::Unet.name()
    } else if begins(&VAE_BEGINNINGS) {
        Part::Vae.name()
    } else if begins(&["conditioner.embedders.1.", "conditioner.embedders.0.model."]) {
        Part::TextEncoder2.name()
    } else if begins(&TEXT_BEGINNINGS) {
        Part::TextEncoder.name()
    } else {
        "other"
    }
}
