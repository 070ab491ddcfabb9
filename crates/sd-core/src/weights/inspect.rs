//! What a file is, from names, shapes and metadata alone.

use std::{collections::BTreeMap, fmt, path::Path};

use serde::Serialize;

use super::{
    Folder, Part, TensorFile,
    classify::{Classified, classify},
    names::{TEXT_ENCODER_PREFIX, UNET_PREFIX, VAE_PREFIX},
};
use crate::{Error, Result, config::SchedulerConfig};

/// What a file or folder holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// Everything that a pipeline needs.
    Checkpoint,
    /// A U-Net alone.
    Unet,
    /// An autoencoder alone.
    Vae,
    /// A text encoder alone.
    TextEncoder,
    /// A LoRA or a relative of it.
    Lora,
    /// Vectors for a word of the prompt.
    TextualInversion,
    /// A ControlNet.
    ControlNet,
    /// None of these.
    Unknown,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Checkpoint => "a checkpoint",
            Self::Unet => "a U-Net alone",
            Self::Vae => "a VAE alone",
            Self::TextEncoder => "a text encoder alone",
            Self::Lora => "a LoRA",
            Self::TextualInversion => "a textual inversion embedding",
            Self::ControlNet => "a ControlNet",
            Self::Unknown => "a file of unknown kind",
        })
    }
}

/// The family of models that a checkpoint belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Family {
    /// Stable Diffusion 1.x.
    Sd1,
    /// Stable Diffusion 2.x.
    Sd2,
    /// SD1 distilled to fewer layers (BK-SDM, small-sd).
    Sd1Small,
    /// The same without the deepest level (tiny-sd).
    Sd1Tiny,
    /// Stable Diffusion XL.
    Sdxl,
    /// The second model of SDXL, for the last steps.
    SdxlRefiner,
    /// SDXL distilled to half its size.
    Ssd1b,
    /// SDXL distilled further.
    Vega,
    /// The structure of these with other widths, or not told by the names and shapes.
    #[default]
    Other,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sd1 => "SD1",
            Self::Sd2 => "SD2",
            Self::Sd1Small => "SD1, distilled (small)",
            Self::Sd1Tiny => "SD1, distilled (tiny)",
            Self::Sdxl => "SDXL",
            Self::SdxlRefiner => "SDXL refiner",
            Self::Ssd1b => "SSD-1B",
            Self::Vega => "Segmind Vega",
            Self::Other => "other",
        })
    }
}

/// One part of what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PartInspection {
    /// Number of tensors.
    pub tensors: usize,
    /// Number of values in them.
    pub parameters: u64,
    /// Tensors of each stored type.
    pub dtypes: BTreeMap<String, usize>,
}

/// What a file or folder is, told without loading it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// The path.
    pub path: String,
    /// What it holds.
    pub kind: Kind,
    /// Its family: its own, or the one that an adapter, embedding or ControlNet is for.
    pub family: Family,
    /// What the U-Net is for, where that is more than drawing from noise: "inpainting", "InstructPix2Pix", "depth", "upscaler", or "LCM"
    /// where it takes the guidance as an input.
    pub variant: Option<&'static str>,
    /// An adapter's kind: "LoRA", "LoRA (diffusers)", "LoCon", "LoHa", "LoKr", "OFT", "BOFT", "DoRA" and others.
    pub adapter: Option<&'static str>,
    /// "diffusers" for a folder, "single file" else.
    pub layout: &'static str,
    /// Channels of the U-Net's input, if there is a U-Net.
    pub in_channels: Option<usize>,
    /// "epsilon", "v_prediction" or "sample", if the file says so or shows it.
    pub prediction_type: Option<String>,
    /// Why the prediction type is thought so, in words.
    pub prediction_reason: Option<String>,
    /// Whether it is marked as trained with zero terminal SNR.
    pub zero_terminal_snr: bool,
    /// The parts by name; "other" holds what belongs to none.
    pub parts: BTreeMap<String, PartInspection>,
    /// The free-form strings of the file's header.
    pub metadata: BTreeMap<String, String>,
}

/// Tells what a file or diffusers folder is, reading nothing but headers.
///
/// # Errors
/// [`Error::Io`] or [`Error::Malformed`] if it can't be read.
pub fn inspect(path: &Path) -> Result<Inspection> {
    let meta = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
    let origin = path.display().to_string();
    if !meta.is_dir() {
        let file = TensorFile::open(path)?;
        return Ok(describe(
            origin,
            "single file",
            &[(None, &file)],
            &classify(&[&file]),
        ));
    }
    let folder = Folder::Disk(path.to_owned());
    let mut files = Vec::new();
    for part in [Part::TextEncoder, Part::Unet, Part::Vae] {
        if folder.has(&format!("{}/config.json", part.name())) {
            let stem = if part == Part::TextEncoder {
                "model"
            } else {
                "diffusion_pytorch_model"
            };
            files.extend(
                folder
                    .part_tensors(part.name(), stem)?
                    .into_iter()
                    .map(|file| (part, file)),
            );
        }
    }
    if files.is_empty() {
        return Err(Error::malformed(
            origin,
            "not a diffusers folder: no part of it has a config.json",
        ));
    }
    let mut found = classify_folder(&folder, &files.iter().map(|(part, _)| *part).collect::<Vec<_>>());
    if folder.has("scheduler/scheduler_config.json") {
        let name = "scheduler/scheduler_config.json";
        // Other models' schedulers are no reason to say nothing of their files.
        match SchedulerConfig::from_json(&folder.text(name)?, &folder.origin(name)) {
            Ok(scheduler) => {
                found.prediction_type = Some(scheduler.prediction_type);
                found.prediction_reason = Some(format!("{name} says so"));
                found.zero_terminal_snr = scheduler.rescale_betas_zero_snr;
            }
            Err(error) => found.prediction_reason = Some(error.to_string()),
        }
    }
    let files: Vec<_> = files
        .iter()
        .map(|(part, file)| (Some(*part), file.as_ref()))
        .collect();
    Ok(describe(origin, "diffusers", &files, &found))
}

fn classify_folder(folder: &Folder, parts: &[Part]) -> Classified {
    let kind = match (
        parts.contains(&Part::Unet),
        parts.contains(&Part::Vae),
        parts.contains(&Part::TextEncoder),
    ) {
        (true, true, true) => Kind::Checkpoint,
        (true, ..) => Kind::Unet,
        (_, true, _) => Kind::Vae,
        _ => Kind::TextEncoder,
    };
    let unet = folder.text("unet/config.json").ok();
    let unet = unet.and_then(|json| crate::config::UnetConfig::from_json(&json, "").ok());
    let family = match unet
        .as_ref()
        .map(|unet| (unet.levels[0].channels, unet.cross_attention_dim))
    {
        Some((320, 768)) => Family::Sd1,
        Some((320, 1024)) => Family::Sd2,
        Some((320, 2048)) => Family::Sdxl,
        Some((384, 1280)) => Family::SdxlRefiner,
        _ => Family::Other,
    };
    let in_channels = unet.map(|unet| unet.in_channels);
    Classified {
        kind,
        family,
        variant: match in_channels {
            Some(9) => Some("inpainting"),
            Some(8) => Some("InstructPix2Pix"),
            _ => None,
        },
        adapter: None,
        in_channels,
        prediction_type: None,
        prediction_reason: None,
        zero_terminal_snr: false,
    }
}

fn describe(
    path: String,
    layout: &'static str,
    files: &[(Option<Part>, &TensorFile)],
    found: &Classified,
) -> Inspection {
    let mut parts: BTreeMap<String, PartInspection> = BTreeMap::new();
    for (part, file) in files {
        for name in file.names() {
            let Some(info) = file.info(name) else { continue };
            let part = match (part, found.kind) {
                (Some(part), _) => part.name(),
                (None, Kind::Checkpoint) => part_of(name),
                (None, Kind::Unet) => Part::Unet.name(),
                (None, Kind::Vae) => Part::Vae.name(),
                (None, Kind::TextEncoder) => Part::TextEncoder.name(),
                (None, Kind::Lora) => "lora",
                (None, Kind::ControlNet) => "controlnet",
                (None, Kind::TextualInversion) => "embedding",
                (None, _) => "other",
            };
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
    Inspection {
        path,
        kind: found.kind,
        family: found.family,
        layout,
        variant: found.variant,
        adapter: found.adapter,
        in_channels: found.in_channels,
        prediction_type: found.prediction_type.clone(),
        prediction_reason: found.prediction_reason.clone(),
        zero_terminal_snr: found.zero_terminal_snr,
        parts,
        metadata,
    }
}

fn part_of(name: &str) -> &'static str {
    if name.starts_with(UNET_PREFIX) {
        Part::Unet.name()
    } else if name.starts_with(VAE_PREFIX) {
        Part::Vae.name()
    } else if name.starts_with(TEXT_ENCODER_PREFIX)
        || name.starts_with("cond_stage_model.")
        || name.starts_with("conditioner.")
    {
        Part::TextEncoder.name()
    } else {
        "other"
    }
}
