//! Sentences about a file or folder: its kind, its parts, those that it lacks, and what to do.

use super::{
    Layout,
    inspection::{AVERAGES, FOLDER, Inspection},
    kind::Kind,
};
use crate::config::{Family, Part};

/// The thing that a file or folder is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// A checkpoint, whole or with its other parts given beside it.
    Checkpoint,
    /// One part of a pipeline.
    Part(Part),
    /// A LoRA or another adapter.
    Adapter,
    /// A textual inversion.
    Embedding,
}

impl Expected {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Checkpoint => "a checkpoint",
            Self::Part(part) => part.words(),
            Self::Adapter => "a LoRA or another adapter",
            Self::Embedding => "a textual inversion",
        }
    }

    /// The options that take it: the library's name, and the command's.
    fn option(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint (--model)",
            Self::Part(Part::TextEncoder) => "text_encoder (--text-encoder)",
            Self::Part(Part::TextEncoder2) => "text_encoder_2 (--text-encoder-2)",
            Self::Part(Part::Unet) => "unet (--unet)",
            Self::Part(Part::Vae) => "vae (--vae)",
            Self::Adapter => "lora (--lora)",
            Self::Embedding => "embedding (--embedding)",
        }
    }
}

impl Part {
    /// Its name in sentences: "a VAE".
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::TextEncoder => "a text encoder",
            Self::TextEncoder2 => "a second text encoder",
            Self::Unet => "a U-Net",
            Self::Vae => "a VAE",
        }
    }
}

/// Advice about missing parts: "it lacks a VAE; give one with vae (--vae)".
pub(super) fn lacking(parts: &[Part], layout: Layout) -> String {
    let options: Vec<&str> = parts.iter().map(|part| Expected::Part(*part).option()).collect();
    let looked_for: Vec<String> = match layout {
        Layout::Diffusers => parts
            .iter()
            .map(|part| format!("{}/config.json", part.name()))
            .collect(),
        Layout::Ldm => Vec::new(),
    };
    let looked_for = match looked_for.is_empty() {
        true => String::new(),
        false => format!(" (no {})", looked_for.join(", ")),
    };
    let (listed, options) = (listed(parts), options.join(" and "));
    format!(
        "it lacks {listed}{looked_for}; give {} with {options}",
        one_or_them(parts)
    )
}

fn one_or_them(parts: &[Part]) -> &'static str {
    match parts {
        [_] => "one",
        _ => "them",
    }
}

fn listed(parts: &[Part]) -> String {
    let words: Vec<&str> = parts.iter().map(|part| part.words()).collect();
    match words.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        words => words.concat(),
    }
}

/// The families that have a pipeline.
const SUPPORTED: &str = "SD1, SD2 or SDXL";

/// The end of a sentence about a thing of a family without a pipeline.
pub(super) fn not_supported(thing: &str) -> String {
    format!("{thing}, which is not supported; give one of {SUPPORTED}")
}

impl Inspection {
    /// Its kind, in words: "a LoRA for SD1", "a checkpoint of SD1 without a VAE".
    pub fn words(&self) -> String {
        let named = self.named();
        match self.kind {
            Kind::Checkpoint if !self.lacks.is_empty() => format!("{named} without {}", listed(&self.lacks)),
            _ => named,
        }
    }

    /// The same without the missing parts.
    pub(super) fn named(&self) -> String {
        match (self.architecture, self.kind) {
            (Some(name), Kind::Lora) => return format!("a LoRA for {name}"),
            (Some(name), _) => return format!("a file of {name}"),
            _ => {}
        }
        let checkpoint = self.kind == Kind::Checkpoint;
        let what = match (self.kind, self.averages_alone(), self.vae_half) {
            (Kind::Unet, true, _) => "averages (EMA) of a U-Net's weights alone".to_owned(),
            (Kind::Vae, _, Some(half)) => format!("a VAE's {half} alone"),
            (Kind::Checkpoint, ..) if self.layout == FOLDER => "a diffusers folder".to_owned(),
            (kind, ..) => kind.to_string(),
        };
        let family = match self.family {
            Family::Other if checkpoint && !self.lacks.contains(&Part::Unet) => {
                " of no known family".to_owned()
            }
            Family::Other => String::new(),
            family if checkpoint => format!(" of {family}"),
            family if self.kind == Kind::Unet => format!(", of {family}"),
            family => format!(" for {family}"),
        };
        let variant = self.variant.map(|variant| format!(" ({variant})"));
        let averages = match self.averages_alone() && checkpoint {
            true => " with averages (EMA) of a U-Net's weights",
            false => "",
        };
        format!("{what}{family}{}{averages}", variant.unwrap_or_default())
    }

    /// Whether the pipeline of its family can't be made.
    pub(super) fn unsupported(&self) -> bool {
        let family = match self.family {
            Family::Sdxl => self.in_channels.is_some_and(|n| !matches!(n, 4 | 9)),
            Family::SdxlRefiner => self.in_channels.is_some_and(|n| n != 4),
            _ => false,
        };
        family && matches!(self.kind, Kind::Checkpoint | Kind::Unet)
    }

    /// Advice where names and shapes don't tell its structure.
    pub(super) fn unknown_structure(&self) -> String {
        match self.unsupported() {
            true => self.instead_of(Expected::Checkpoint),
            false => format!(
                "is {}, whose configurations are not known; give those of its diffusers folder with config (--config)",
                self.words()
            ),
        }
    }

    /// The reason why it can't be used as expected, and a remedy, as the end of a sentence that begins with its name.
    pub fn instead_of(&self, expected: Expected) -> String {
        let words = self.words();
        if self.architecture.is_some() {
            return format!("is {}", not_supported(&words));
        }
        if self.unsupported() && matches!(expected, Expected::Checkpoint | Expected::Part(_)) {
            return format!(
                "is {}, which is not supported yet; give one of {SUPPORTED}",
                self.named()
            );
        }
        let place = match self.kind {
            Kind::Checkpoint => Some(Expected::Checkpoint),
            Kind::Lora => Some(Expected::Adapter),
            Kind::TextualInversion => Some(Expected::Embedding),
            part => part.part().map(Expected::Part),
        };
        let lacks_it = match expected {
            Expected::Part(part) => self.kind == Kind::Checkpoint && self.lacks.contains(&part),
            Expected::Checkpoint => matches!(self.kind, Kind::Checkpoint | Kind::Unet),
            _ => false,
        };
        if lacks_it {
            return match expected {
                Expected::Part(part) => format!("is {words}, so {} can't be taken from it", part.words()),
                _ => format!("is {}: {}", self.named(), lacking(&self.lacks, Layout::Ldm)),
            };
        }
        let advice = match place {
            _ if self.averages_alone() => {
                "; its U-Net must be given under its own names (model.diffusion_model.)".to_owned()
            }
            Some(place) if expected == Expected::Checkpoint => {
                format!("; give a checkpoint, and this beside it with {}", place.option())
            }
            Some(place) => format!("; its place is {}", place.option()),
            None => format!("; give {}", expected.words()),
        };
        format!("is {words}, not {}{advice}", expected.words())
    }

    /// Averages of the U-Net's weights without the weights.
    fn averages_alone(&self) -> bool {
        self.parts.contains_key(AVERAGES) && !self.parts.contains_key(Part::Unet.name())
    }
}
