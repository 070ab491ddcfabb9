//! Checkpoints of parts from different sources.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use super::{
    Checkpoint, TokenizerSource,
    classify::classify,
    configs::Configs,
    inspection::Inspection,
    kind::Kind,
    metadata,
    prediction::{StatedScheduler, decide},
    structure::Tensors,
    unet_config::unet_config,
    words::Expected,
};
use crate::{
    Error, Result,
    config::{Family, Part, UnetConfig},
    weights::{
        Folder, PartWeights, TensorFile,
        names::{Diffusers, Names},
    },
};

/// Whether it is certainly another text encoder than the second one that is wanted: OpenAI's, or SD2's.
fn first_for_second(file: &TensorFile, part: Part) -> bool {
    let width = Tensors(&[file]).size(1, |name| name.ends_with("token_embedding.weight"));
    part == Part::TextEncoder2 && matches!(width, Some(768 | 1024))
}

/// Whether an autoencoder without configuration has the latents' channels of the one that it replaces.
fn check_latents(file: &TensorFile, configs: &Configs) -> Result<()> {
    let own = Tensors(&[file]).size(1, |name| name.ends_with("decoder.conv_in.weight"));
    let wanted = configs.vae.latent_channels;
    match own {
        Some(channels) if channels != wanted && !file.metadata().contains_key(metadata::VAE) => {
            let whose = match channels {
                16 => ", as those of SD3, Flux and others are",
                _ => "",
            };
            let reason = format!(
                "a VAE of {channels} latent channels{whose}, for a U-Net that works on {wanted}; give a VAE of SD1, SD2 or SDXL"
            );
            Err(Error::malformed(file.origin(), reason))
        }
        _ => Ok(()),
    }
}

impl Checkpoint {
    /// Takes a part from elsewhere: from a diffusers folder, of the part or of a whole pipeline, or from a single file, alone or
    /// among others, under LDM's names or diffusers', with or without the part's prefix.
    ///
    /// A file's part must have the structure of the one that it replaces, unless the file carries its configuration. A text encoder brings
    /// its tokenizer along, and a U-Net its prediction type, where the source states it.
    ///
    /// # Errors
    /// As [`Checkpoint::put_part`] and [`Checkpoint::check`]. The checkpoint is then as it was.
    pub fn replace_part(&mut self, part: Part, path: &Path) -> Result<()> {
        let mut changed = self.clone();
        changed.put_part(part, path)?;
        changed.check_beside(path.display().to_string())?;
        *self = changed;
        Ok(())
    }

    /// The same from an opened file, which may be one in memory.
    ///
    /// # Errors
    /// As [`Checkpoint::replace_part`].
    pub fn replace_part_by_file(&mut self, part: Part, file: TensorFile) -> Result<()> {
        let (mut changed, origin) = (self.clone(), file.origin().to_owned());
        changed.put_part_of_file(part, file)?;
        changed.check_beside(origin)?;
        *self = changed;
        Ok(())
    }

    /// [`Checkpoint::replace_part`] for a checkpoint that isn't whole yet: whether the parts fit together, and whether all are there,
    /// is left to [`Checkpoint::check`].
    ///
    /// # Errors
    /// As [`Checkpoint::open_parts`]; [`Error::Malformed`] if the part isn't there. The checkpoint is then as it was.
    pub fn put_part(&mut self, part: Part, path: &Path) -> Result<()> {
        if !std::fs::metadata(path).map_err(|e| Error::io(path, e))?.is_dir() {
            return self.put_part_of_file(part, TensorFile::open(path)?);
        }
        let folder = Folder::Disk(path.to_owned());
        folder.check_family()?;
        let (inner, config) = match folder.own_part() {
            _ if folder.has_part(part) => (part.name(), format!("{}/config.json", part.name())),
            None if folder.has("config.json") => (".", "config.json".to_owned()),
            Some(own) if own == part || own.is_text_encoder() && part.is_text_encoder() => {
                (".", "config.json".to_owned())
            }
            _ => {
                let reason = folder.instead_of(Expected::Part(part));
                return Err(Error::malformed(path.display().to_string(), reason));
            }
        };
        let origin = folder.origin(&config);
        let (mut configs, json) = (self.configs.clone(), folder.text(&config)?);
        configs.set(part, &json, &origin)?;
        let files = folder.part_tensors(inner, part.stem())?;
        let stated = StatedScheduler::of_folder(&folder)?;
        let about = self.settle_prediction(part, &files, stated.as_ref(), &mut configs);
        self.texts.put(
            part,
            Some(json),
            stated.filter(|_| part == Part::Unet).map(|it| it.json),
        );
        let tokenizers = TokenizerSource::of_folder(&folder);
        let names = Arc::new(Diffusers { part });
        self.put(part, &path.display().to_string(), (configs, about), files, names);
        self.put_tokenizer(part, tokenizers);
        Ok(())
    }

    /// The same from an opened file, which may be one in memory.
    ///
    /// # Errors
    /// As [`Checkpoint::put_part`].
    pub fn put_part_of_file(&mut self, part: Part, file: TensorFile) -> Result<()> {
        let origin = file.origin().to_owned();
        let found = Inspection::of_classified(&file, &classify(&[&file]), None);
        if part == Part::Vae {
            check_latents(&file, &self.configs)?;
        }
        let there = found.parts.contains_key(part.name())
            || found.kind == Kind::TextEncoder && part.is_text_encoder() && !first_for_second(&file, part);
        if !there || part == Part::Unet && found.unsupported() {
            return Err(Error::malformed(origin, found.instead_of(Expected::Part(part))));
        }
        let mut configs = self.configs.clone();
        let json = file.metadata().get(metadata::of(part)).cloned();
        if let Some(json) = &json {
            configs.set(part, json, &origin)?;
        } else if part == Part::Unet {
            self.same_family(&found)?;
            // Distilled ones have other blocks than the one that they replace.
            if let Some(unet) = unet_config(&Tensors(&[&file]), found.family) {
                let sample_size = configs.unet.sample_size;
                configs.unet = UnetConfig { sample_size, ..unet };
            }
        }
        if part == Part::Vae && json.is_none() {
            configs.set_latents(&file)?;
        }
        let names = configs.of(part).ldm_of(file.names()).alone(file.names());
        let (stated, file) = (StatedScheduler::of_file(&file)?, Arc::new(file));
        let about = self.settle_prediction(part, std::slice::from_ref(&file), stated.as_ref(), &mut configs);
        self.texts.put(
            part,
            json,
            stated.filter(|_| part == Part::Unet).map(|it| it.json),
        );
        let tokenizers = TokenizerSource::of_file(&file);
        self.put(part, &origin, (configs, about), vec![file], Arc::new(names));
        self.put_tokenizer(part, tokenizers);
        Ok(())
    }

    /// Takes a part of another opened checkpoint in place of its own, which it may lack.
    pub fn share_part(&mut self, part: Part, from: &Self) {
        match part {
            Part::Unet => self.configs.unet = from.configs.unet.clone(),
            Part::Vae => self.configs.vae = from.configs.vae.clone(),
            Part::TextEncoder | Part::TextEncoder2 => {
                let config = from.configs.text_encoders[&part].clone();
                self.configs.text_encoders.insert(part, config);
            }
        }
        self.texts.put(part, from.json(part).map(str::to_owned), None);
        self.weights.insert(part, from.weights(part).clone());
    }

    /// A file's U-Net without configuration must have the structure of the one that it replaces.
    fn same_family(&self, found: &Inspection) -> Result<()> {
        let own: Vec<&TensorFile> = self.weights(Part::Unet).files.iter().map(AsRef::as_ref).collect();
        let own = classify(&own).family;
        let alike = found.family.base() == own.base();
        if alike || found.family == Family::Other || own == Family::Other {
            return Ok(());
        }
        let reason = format!(
            "a U-Net of family {} for a checkpoint of family {own}; give one of the same family",
            found.family
        );
        Err(Error::malformed(&found.path, reason))
    }

    /// The scheduler's configuration by the source of a U-Net, which counts whatever the old one's said.
    fn settle_prediction(
        &self,
        part: Part,
        files: &[Arc<TensorFile>],
        stated: Option<&StatedScheduler>,
        configs: &mut Configs,
    ) -> Option<String> {
        let before = self.about.prediction_reason.clone();
        if part != Part::Unet {
            return before;
        }
        let files: Vec<&TensorFile> = files.iter().map(AsRef::as_ref).collect();
        let marks = classify(&files).marks;
        let elsewhere = (!self.lacks().contains(&part)).then(|| {
            let mut elsewhere = configs.scheduler.clone();
            elsewhere.rescale_betas_zero_snr &= !marks.say();
            elsewhere
        });
        let decided = decide(stated, &marks, elsewhere.as_ref());
        configs.scheduler = decided.config;
        decided.reason
    }

    /// [`Checkpoint::check`] where the last part may be to blame.
    fn check_beside(&self, origin: String) -> Result<()> {
        match self.lacks().is_empty() {
            true => self.configs.agree(&origin),
            false => Ok(()),
        }
    }

    fn put(
        &mut self,
        part: Part,
        origin: &str,
        (configs, reason): (Configs, Option<String>),
        files: Vec<Arc<TensorFile>>,
        names: Arc<dyn Names>,
    ) {
        self.configs = configs;
        self.about.prediction_reason = reason;
        let weights = PartWeights {
            origin: format!("{} {origin}", part.name()),
            files,
            names,
            part,
            patches: self.weights(Part::Unet).patches.clone(),
            allow_unexpected: self.about.allow_unexpected,
        };
        self.weights.insert(part, weights);
    }

    fn put_tokenizer(&mut self, part: Part, mut tokenizers: BTreeMap<Part, TokenizerSource>) {
        if let Some(tokenizer) = tokenizers.remove(&part) {
            self.tokenizers.insert(part, tokenizer);
        }
    }
}
