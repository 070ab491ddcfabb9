//! Checkpoints of parts from different sources.

use std::{path::Path, sync::Arc};

use super::{
    Checkpoint, Configs, Folder, Part, PartWeights, TensorFile,
    checkpoint::Tokenizer,
    classify::classify,
    configs::metadata,
    inspect::Family,
    names::{Diffusers, Ldm, Names},
};
use crate::{
    Error, Result,
    config::{ClipTextConfig, SchedulerConfig, UnetConfig, VaeConfig},
};

impl Checkpoint {
    /// Takes a part from elsewhere: from a diffusers folder, of the part or of a whole pipeline, or from a single file, alone or
    /// among others, under LDM's names or diffusers', with or without the part's prefix.
    ///
    /// A file's part must have the structure of the one that it replaces, unless the file carries its configuration. A text encoder
    /// brings its tokenizer along, and a U-Net what it predicts, where the source says it.
    ///
    /// # Errors
    /// As [`Checkpoint::open`]; [`Error::Config`] if the part doesn't fit the others. The checkpoint is then as it was.
    pub fn replace_part(&mut self, part: Part, path: &Path) -> Result<()> {
        if !std::fs::metadata(path).map_err(|e| Error::io(path, e))?.is_dir() {
            return self.replace_part_by_file(part, TensorFile::open(path)?);
        }
        let folder = Folder::Disk(path.to_owned());
        let whole = format!("{}/config.json", part.name());
        let (inner, config) = match folder.has(&whole) {
            true => (part.name(), whole),
            false => (".", "config.json".into()),
        };
        let origin = folder.origin(&config);
        let (mut configs, json) = (self.configs.clone(), folder.text(&config)?);
        configs.set(part, &json, &origin)?;
        let name = "scheduler/scheduler_config.json";
        let mut scheduler = None;
        if part == Part::Unet && folder.has(name) {
            let json = folder.text(name)?;
            configs.scheduler = SchedulerConfig::from_json(&json, &folder.origin(name))?;
            scheduler = Some(json);
        }
        let configs = configs.agreeing(&origin)?;
        let files = folder.part_tensors(inner, part.stem())?;
        self.texts.put(part, Some(json), scheduler);
        let tokenizer = Tokenizer::of_folder(&folder);
        self.put(
            part,
            &path.display().to_string(),
            configs,
            files,
            Arc::new(Diffusers { part }),
        );
        self.put_tokenizer(part, tokenizer);
        Ok(())
    }

    /// The same from an opened file, which may be one in memory.
    ///
    /// # Errors
    /// As [`Checkpoint::replace_part`].
    pub fn replace_part_by_file(&mut self, part: Part, file: TensorFile) -> Result<()> {
        let origin = file.origin().to_owned();
        let (mut configs, mut scheduler) = (self.configs.clone(), None);
        let json = file.metadata().get(metadata::of(part)).cloned();
        if let Some(json) = &json {
            configs.set(part, json, &origin)?;
        }
        if part == Part::Unet {
            let found = classify(&[&file]);
            let own: Vec<&TensorFile> = self.weights(part).files.iter().map(AsRef::as_ref).collect();
            let own = classify(&own).family;
            if found.family != own && found.family != Family::Other && own != Family::Other {
                let reason = format!(
                    "a U-Net of family {} for a checkpoint of family {own}; give one of the same family",
                    found.family
                );
                return Err(Error::malformed(origin, reason));
            }
            scheduler = file.metadata().get(metadata::SCHEDULER).cloned();
            if let Some(json) = &scheduler {
                configs.scheduler = SchedulerConfig::from_json(json, &origin)?;
            } else if let Some(said) = found.prediction_type {
                configs.scheduler.prediction_type = said;
                configs.scheduler.rescale_betas_zero_snr = found.zero_terminal_snr;
            }
        }
        let configs = configs.agreeing(&origin)?;
        self.texts.put(part, json, scheduler);
        let names = Ldm::alone(part, (&configs.unet, &configs.vae), file.names());
        let file = Arc::new(file);
        let tokenizer = Tokenizer::of_file(&file);
        self.put(part, &origin, configs, vec![file], Arc::new(names));
        self.put_tokenizer(part, tokenizer);
        Ok(())
    }

    fn put(
        &mut self,
        part: Part,
        origin: &str,
        configs: Configs,
        files: Vec<Arc<TensorFile>>,
        names: Arc<dyn Names>,
    ) {
        self.configs = configs;
        self.weights[part as usize] = PartWeights {
            origin: format!("{} {origin}", part.name()),
            files,
            names,
            part,
            patches: self.weights[part as usize].patches.clone(),
        };
    }

    fn put_tokenizer(&mut self, part: Part, tokenizer: Option<Tokenizer>) {
        if let (Part::TextEncoder, Some(tokenizer)) = (part, tokenizer) {
            self.tokenizer = tokenizer;
        }
    }
}

impl Configs {
    fn set(&mut self, part: Part, json: &str, origin: &str) -> Result<()> {
        match part {
            Part::TextEncoder => self.text_encoder = ClipTextConfig::from_json(json, origin)?,
            Part::Unet => self.unet = UnetConfig::from_json(json, origin)?,
            Part::Vae => self.vae = VaeConfig::from_json(json, origin)?,
        }
        Ok(())
    }
}
