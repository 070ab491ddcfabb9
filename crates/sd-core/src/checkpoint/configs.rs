//! The configurations of a checkpoint's parts: from a folder's files, a single file's metadata, or its family.

use std::collections::BTreeMap;

use super::{
    contents::FolderContents,
    inspection::Inspection,
    metadata,
    part_config::PartConfig,
    prediction::{Decided, EDM_MEAN, EDM_STD, Marks, StatedScheduler, decide},
    structure::Tensors,
    unet_config::unet_config,
};
use crate::{
    Error, Result,
    config::{self, ClipTextConfig, Family, Part, PredictionType, SchedulerConfig, UnetConfig, VaeConfig},
    weights::{Folder, TensorFile, names::TextEncoderPlace},
};

/// The configurations of all parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Configs {
    /// The text encoders', of which each is a part.
    pub text_encoders: BTreeMap<Part, ClipTextConfig>,
    /// The U-Net's.
    pub unet: UnetConfig,
    /// The autoencoder's.
    pub vae: VaeConfig,
    /// The noise schedule's and prediction type's.
    pub scheduler: SchedulerConfig,
}

/// Configurations for a single file, from elsewhere.
#[derive(Debug, Clone)]
pub struct GivenConfigs {
    pub(super) configs: Configs,
    /// Whether its scheduler's is more than the usual one.
    pub(super) scheduler: bool,
}

impl GivenConfigs {
    /// These configurations.
    pub fn of(configs: Configs) -> Self {
        let scheduler = true;
        Self { configs, scheduler }
    }

    /// Those of a diffusers folder, of which nothing else is read.
    ///
    /// # Errors
    /// As [`Configs::from_folder`].
    pub fn from_folder(folder: &Folder) -> Result<Self> {
        let stated = StatedScheduler::of_folder(folder)?;
        let configs = Configs::from_folder(folder)?;
        Ok(Self {
            scheduler: stated.is_some(),
            configs,
        })
    }
}

impl Configs {
    /// All parts, in the order in which they are loaded.
    pub fn parts(&self) -> Vec<Part> {
        self.text_parts().chain([Part::Unet, Part::Vae]).collect()
    }

    /// A part's.
    pub fn of(&self, part: Part) -> PartConfig<'_> {
        match part {
            Part::TextEncoder | Part::TextEncoder2 => {
                let place = match part {
                    Part::TextEncoder2 if self.text_encoders.len() > 1 => TextEncoderPlace::Second,
                    Part::TextEncoder2 => TextEncoderPlace::SecondAlone,
                    _ if self.text_encoders.len() > 1 => TextEncoderPlace::First,
                    _ => TextEncoderPlace::Only,
                };
                PartConfig::TextEncoder(&self.text_encoders[&part], place)
            }
            Part::Unet => PartConfig::Unet(&self.unet),
            Part::Vae => PartConfig::Vae(&self.vae),
        }
    }

    /// The parts that are text encoders.
    pub fn text_parts(&self) -> impl Iterator<Item = Part> {
        self.text_encoders.keys().copied()
    }

    /// The first text encoder's.
    pub fn text_encoder(&self) -> &ClipTextConfig {
        let mut stack = self.text_encoders.values();
        stack.next().expect("every family has a text encoder")
    }

    /// Reads the configurations of a diffusers folder.
    ///
    /// # Errors
    /// [`Error::Io`] if one is missing, [`Error::Malformed`] or [`Error::Config`] if one can't be used.
    pub fn from_folder(folder: &Folder) -> Result<Self> {
        if !folder.has_part(Part::Unet) {
            return Err(Error::malformed(folder.origin(""), folder.no_parts()));
        }
        let second = folder.has_part(Part::TextEncoder2).then_some(Part::TextEncoder2);
        let mut configs = match second.is_some() && !folder.has_part(Part::TextEncoder) {
            true => Self::sdxl_refiner(),
            false => Self::sd1(4),
        };
        let more = second.filter(|part| !configs.text_encoders.contains_key(part));
        for part in configs.parts().into_iter().chain(more) {
            configs.read(part, folder, &format!("{}/config.json", part.name()))?;
        }
        if let Some(stated) = StatedScheduler::of_folder(folder)? {
            configs.scheduler = stated.config;
        }
        configs.agree(&folder.origin(""))?;
        Ok(configs)
    }

    /// Reads a part's from a folder.
    fn read(&mut self, part: Part, folder: &Folder, name: &str) -> Result<()> {
        self.set(part, &folder.text(name)?, &folder.origin(name))
    }

    /// Those of an opened folder; of parts that it lacks, its family's.
    pub(super) fn of_contents(contents: &FolderContents) -> Result<(Self, Decided)> {
        let folder = &contents.folder;
        let mut configs = match contents.found.family.base() {
            Family::Sdxl => Self::sdxl(4),
            Family::SdxlRefiner => Self::sdxl_refiner(),
            _ => Self::sd1(4),
        };
        for &part in contents.files.keys() {
            configs.read(part, folder, &format!("{}/config.json", part.name()))?;
        }
        let decided = decide(
            StatedScheduler::of_folder(folder)?.as_ref(),
            &contents.found.marks,
            None,
        );
        configs.scheduler = decided.config.clone();
        Ok((configs, decided))
    }

    /// The configurations of a single file: those `given`, those in its metadata, or else its family's; for parts that it lacks, SD1's or
    /// SDXL's.
    pub(super) fn of_file(
        file: &TensorFile,
        (found, marks): (&Inspection, &Marks),
        given: Option<&GivenConfigs>,
    ) -> Result<(Self, Decided)> {
        let mut configs = match given {
            Some(given) => given.configs.clone(),
            None => Self::carried(file, found)?,
        };
        let elsewhere = given.filter(|given| given.scheduler);
        let elsewhere = elsewhere.map(|given| &given.configs.scheduler);
        let decided = decide(StatedScheduler::of_file(file)?.as_ref(), marks, elsewhere);
        configs.scheduler = decided.config.clone();
        // SD2 was trained on larger pictures where it learnt to predict v; nothing else in a file says so.
        let explicit = given.is_some() || file.metadata().contains_key(metadata::of(Part::Unet));
        if !explicit && found.family == Family::Sd2 && decided.config.prediction_type == PredictionType::V {
            configs.unet.sample_size = 96;
        }
        Ok((configs, decided))
    }

    fn carried(file: &TensorFile, found: &Inspection) -> Result<Self> {
        let origin = file.origin();
        let text = |part: Part| file.metadata().get(metadata::of(part));
        let unknown = !found.lacks.contains(&Part::Unet) && text(Part::Unet).is_none();
        let unread = unknown && found.parts.contains_key(Part::Unet.name());
        let mut configs = match (unread, found.family.base()) {
            (_, Family::Sdxl) if !found.unsupported() => Self::sdxl(found.in_channels.unwrap_or(4)),
            (_, Family::SdxlRefiner) => Self::sdxl_refiner(),
            (false, _) => Self::sd1(4),
            (true, Family::Sd1) => Self::sd1(match found.in_channels {
                Some(n @ (4 | 8 | 9)) => n,
                other => {
                    let n = other.map_or("no number of".into(), |n| n.to_string());
                    let reason = format!("a U-Net with {n} input channels; SD1 has 4, 8 or 9");
                    return Err(Error::malformed(origin, reason));
                }
            }),
            (true, Family::Sd2) => Self::sd2(match found.in_channels {
                Some(n @ (4 | 5 | 9)) => n,
                other => {
                    let n = other.map_or("no number of".into(), |n| n.to_string());
                    let reason = format!("a U-Net with {n} input channels; SD2 has 4, 5 or 9");
                    return Err(Error::malformed(origin, reason));
                }
            }),
            (true, _) => return Err(Error::malformed(origin, found.unknown_structure())),
        };
        if let Some(unet) = unread
            .then(|| unet_config(&Tensors(&[file]), found.family))
            .flatten()
        {
            configs.unet = unet;
        }
        for &part in Part::ALL {
            if let Some(json) = text(part) {
                configs.set(part, json, origin)?;
            }
        }
        if text(Part::Vae).is_none() {
            configs.set_latents(file)?;
        }
        Ok(configs)
    }

    /// SD1's.
    fn sd1(in_channels: usize) -> Self {
        Self {
            text_encoders: BTreeMap::from([(Part::TextEncoder, config::sd1_text_encoder())]),
            unet: config::sd1_unet(in_channels),
            vae: config::sd1_vae(),
            scheduler: SchedulerConfig::default(),
        }
    }

    fn sd2(in_channels: usize) -> Self {
        Self {
            text_encoders: BTreeMap::from([(Part::TextEncoder, config::sd2_text_encoder())]),
            unet: config::sd2_unet(in_channels),
            ..Self::sd1(4)
        }
    }

    fn sdxl(in_channels: usize) -> Self {
        Self {
            text_encoders: BTreeMap::from([
                (Part::TextEncoder, config::sdxl_text_encoder()),
                (Part::TextEncoder2, config::sdxl_text_encoder_2()),
            ]),
            unet: UnetConfig {
                in_channels,
                ..config::sdxl_unet()
            },
            vae: config::sdxl_vae(),
            scheduler: SchedulerConfig::default(),
        }
    }

    fn sdxl_refiner() -> Self {
        Self {
            text_encoders: BTreeMap::from([(Part::TextEncoder2, config::sdxl_text_encoder_2())]),
            unet: config::sdxl_refiner_unet(),
            ..Self::sdxl(4)
        }
    }

    /// Reads a part's configuration.
    pub(super) fn set(&mut self, part: Part, json: &str, origin: &str) -> Result<()> {
        match part {
            Part::TextEncoder | Part::TextEncoder2 => {
                let mut config = ClipTextConfig::from_json(json, origin)?;
                if part == Part::TextEncoder {
                    // The first one's pooled text conditions nothing.
                    config.projection = None;
                } else if config.projection.is_none() {
                    let reason = "the second text encoder must be a CLIPTextModelWithProjection";
                    return Err(Error::config(origin, "architectures", reason));
                }
                self.text_encoders.insert(part, config);
                if self.text_encoders.contains_key(&Part::TextEncoder2) {
                    for config in self.text_encoders.values_mut() {
                        (config.skipped_layers, config.final_norm) = (1, false);
                    }
                }
            }
            Part::Unet => self.unet = UnetConfig::from_json(json, origin)?,
            Part::Vae => self.vae = VaeConfig::from_json(json, origin)?,
        }
        Ok(())
    }

    /// The mean and deviation of the autoencoder's latents, where a single file has them (Playground v2.5, arXiv:2402.17245).
    pub(super) fn set_latents(&mut self, file: &TensorFile) -> Result<()> {
        let all = Tensors(&[file]);
        let row = |name| Some(all.small(name)?.into_iter().map(f64::from).collect::<Vec<_>>());
        if let (Some(mean), Some(std)) = (row(EDM_MEAN), row(EDM_STD)) {
            self.vae.latents_mean = Some(mean);
            self.vae.latents_std = Some(std);
            self.vae.scaling_factor = 0.5;
            self.vae.check_latents(file.origin())?;
        }
        Ok(())
    }

    /// Checks that the parts fit together.
    pub(super) fn agree(&self, origin: &str) -> Result<()> {
        let text: usize = self.text_encoders.values().map(|it| it.hidden_size).sum();
        let context = self.unet.cross_attention_dim;
        if text != context {
            let reason =
                format!("the text encoder's width {text} is not the U-Net's context width {context}");
            return Err(Error::config(origin, "cross_attention_dim", reason));
        }
        let (latents, out) = (self.vae.latent_channels, self.unet.out_channels);
        if latents != out {
            let reason = format!("the VAE's {latents} latent channels are not the U-Net's {out}");
            return Err(Error::config(origin, "latent_channels", reason));
        }
        for (field, channels) in [
            ("in_channels", self.vae.in_channels),
            ("out_channels", self.vae.out_channels),
        ] {
            if channels != 3 {
                let reason = format!("must be 3, for the colours of the VAE's pictures, not {channels}");
                return Err(Error::config(origin, field, reason));
            }
        }
        let input = self.unet.in_channels;
        if input < latents {
            let reason =
                format!("the U-Net's {input} channels don't hold the VAE's {latents} latent channels");
            return Err(Error::config(origin, "in_channels", reason));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The `config.json` files of a family's parts say what the family's table says, whichever is read first.
    #[test]
    fn families_are_read_from_their_files() {
        for family in [
            Configs::sd1(9),
            Configs::sd2(4),
            Configs::sdxl(4),
            Configs::sdxl_refiner(),
        ] {
            let mut read = family.clone();
            read.text_encoders.clear();
            for part in family.parts().into_iter().rev() {
                let json = Value::Object(family.of(part).to_json(None)).to_string();
                read.set(part, &json, "x").unwrap();
            }
            assert_eq!(read, family);
            read.agree("x").unwrap();
        }
    }
}
