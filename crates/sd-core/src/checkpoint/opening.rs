//! Opening a checkpoint, whole or in parts.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use super::{
    About, Checkpoint, Layout, Texts, TokenizerSource,
    classify::classify,
    configs::{Configs, GivenConfigs},
    contents::{FolderContents, folder_of_config},
    inspection::Inspection,
    kind::Kind,
    prediction::Decided,
    words::{Expected, lacking},
};
use crate::{
    Error, Result, WeightsError,
    config::Part,
    weights::{
        Folder, PartWeights, TensorFile,
        names::{Diffusers, Names, harmless},
    },
};

impl About {
    fn new(found: &Inspection, decided: Decided) -> Self {
        let alone = found.kind != Kind::Unet && found.kind.part().is_some();
        Self {
            named: found.named(),
            alone: alone.then(|| found.instead_of(Expected::Checkpoint)),
            strays: Vec::new(),
            allow_unexpected: false,
            prediction_reason: decided.reason,
        }
    }
}

impl Checkpoint {
    /// Opens a diffusers folder or a single file.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`] or [`Error::Config`], naming the file that can't be read or used, or the parts that it
    /// lacks.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_parts(path)?.checked()
    }

    /// Opens a diffusers folder, on disk or in memory.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn from_folder(folder: Folder) -> Result<Self> {
        Self::parts_of_folder(&folder)?.checked()
    }

    /// Opens a single file, whose configurations are those in its metadata, else those of the family that its tensors show.
    ///
    /// # Errors
    /// As [`Checkpoint::open`]; [`Error::Malformed`] if it is no checkpoint, or one of a family that isn't supported.
    pub fn from_file(file: TensorFile) -> Result<Self> {
        Self::parts_of_file(file, None)?.checked()
    }

    /// Opens a single file with configurations from elsewhere: for models that no family describes.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn from_file_and_configs(file: TensorFile, configs: Configs) -> Result<Self> {
        Self::parts_of_file(file, Some(&GivenConfigs::of(configs)))?.checked()
    }

    /// Opens those parts of a pipeline that a diffusers folder or a single file has, as [`Checkpoint::open`] does; others may be put beside
    /// them ([`Checkpoint::put_part`]). [`Checkpoint::check`] says what is still missing.
    ///
    /// # Errors
    /// As [`Checkpoint::open`], but for parts that are missing.
    pub fn open_parts(path: &Path) -> Result<Self> {
        if std::fs::metadata(path).map_err(|e| Error::io(path, e))?.is_dir() {
            return Self::parts_of_folder(&Folder::Disk(path.to_owned()));
        }
        let meant = folder_of_config(path);
        if !meant.is_empty() {
            let reason = format!("is a configuration, not a checkpoint{meant}");
            return Err(Error::malformed(path.display().to_string(), reason));
        }
        Self::parts_of_file(TensorFile::open(path)?, None)
    }

    /// The same of a folder, on disk or in memory.
    ///
    /// # Errors
    /// As [`Checkpoint::open_parts`].
    pub fn parts_of_folder(folder: &Folder) -> Result<Self> {
        let contents = FolderContents::open(folder)?;
        contents.supported()?;
        let (configs, decided) = Configs::of_contents(&contents)?;
        let found = contents.inspection();
        let weights = |part: Part| PartWeights {
            origin: folder.origin(part.name()),
            files: contents.files.get(&part).cloned().unwrap_or_default(),
            names: Arc::new(Diffusers { part }),
            part,
            patches: Vec::new(),
            allow_unexpected: false,
        };
        Ok(Self {
            texts: Texts::of_folder(folder)?,
            origin: folder.origin(""),
            layout: Layout::Diffusers,
            weights: configs
                .parts()
                .into_iter()
                .map(|part| (part, weights(part)))
                .collect(),
            configs,
            tokenizers: TokenizerSource::of_folder(folder),
            about: About::new(&found, decided),
        })
    }

    /// The same of a single file. The configurations `given`, if there are any, decide its structure.
    ///
    /// # Errors
    /// As [`Checkpoint::open_parts`]; [`Error::Malformed`] if no part is in it, or one of a family that isn't supported.
    pub fn parts_of_file(file: TensorFile, given: Option<&GivenConfigs>) -> Result<Self> {
        let found = classify(&[&file]);
        let (found, marks) = (Inspection::of_classified(&file, &found, None), found.marks);
        if found.kind != Kind::Checkpoint && found.kind.part().is_none() {
            let reason = found.instead_of(Expected::Checkpoint);
            return Err(Error::malformed(file.origin(), reason));
        }
        let (configs, decided) = Configs::of_file(&file, (&found, &marks), given)?;
        Ok(Self::of_parts(file, configs, &found, decided))
    }

    fn of_parts(file: TensorFile, configs: Configs, found: &Inspection, decided: Decided) -> Self {
        let (origin, file) = (file.origin().to_owned(), Arc::new(file));
        let alone = found.kind.part();
        let weights = |part: Part| {
            let names = configs.of(part).ldm_of(file.names());
            let names = match alone == Some(part) {
                true => names.alone(file.names()),
                false => names,
            };
            let there = match alone {
                // A file of averages alone has none.
                Some(alone) => alone == part && !found.lacks.contains(&part),
                None => file.names().any(|name| names.claims(name)),
            };
            PartWeights {
                origin: format!("{} of {origin}", part.name()),
                files: if there { vec![file.clone()] } else { Vec::new() },
                names: Arc::new(names),
                part,
                patches: Vec::new(),
                allow_unexpected: false,
            }
        };
        let parts = configs.parts().into_iter();
        let weights: BTreeMap<Part, PartWeights> = parts.map(|part| (part, weights(part))).collect();
        let claimed = |name: &str| weights.values().any(|part| part.names.claims(name));
        let stray = |name: &&str| !harmless(name) && !claimed(name);
        let mut strays: Vec<String> = file.names().filter(stray).map(str::to_owned).collect();
        strays.sort();
        let about = About {
            strays,
            ..About::new(found, decided)
        };
        Self {
            texts: Texts::of_file(&file),
            origin,
            layout: Layout::Ldm,
            configs,
            weights,
            tokenizers: TokenizerSource::of_file(&file),
            about,
        }
    }

    /// The checkpoint, if nothing is missing.
    fn checked(self) -> Result<Self> {
        self.check()?;
        Ok(self)
    }

    /// Whether every part is there and they fit together by their configurations.
    ///
    /// # Errors
    /// [`Error::Malformed`] with the missing parts and a remedy, [`Error::Config`] if parts don't fit, [`Error::Weights`] if a
    /// single file holds tensors of no part, unless that is allowed.
    pub fn check(&self) -> Result<()> {
        let lacks = self.lacks();
        if !lacks.is_empty() {
            let reason = match &self.about.alone {
                Some(reason) if lacks.len() > 1 => reason.clone(),
                _ => format!("is {}: {}", self.about.named, lacking(&lacks, self.layout)),
            };
            return Err(Error::malformed(&self.origin, reason));
        }
        self.configs.agree(&self.origin)?;
        if self.about.strays.is_empty() || self.about.allow_unexpected {
            return Ok(());
        }
        Err(Error::Weights(Box::new(WeightsError {
            origin: self.origin.clone(),
            unexpected: self.about.strays.clone(),
            ..WeightsError::default()
        })))
    }

    /// The parts that are missing.
    pub fn lacks(&self) -> Vec<Part> {
        let missing = self
            .weights
            .iter()
            .filter(|(_, weights)| weights.files.is_empty());
        missing.map(|(part, _)| *part).collect()
    }

    /// Whether tensors that no part has a place for are passed over: [`Checkpoint::passed_over`] names them. They are an error
    /// otherwise.
    pub fn set_allow_unexpected(&mut self, allow: bool) {
        self.about.allow_unexpected = allow;
        for part in self.weights.values_mut() {
            part.allow_unexpected = allow;
        }
    }

    /// Tensors that are passed over if that is allowed: those that neither belong to a part nor are known to be unneeded.
    ///
    /// # Errors
    /// [`Error::Weights`] if the weights don't fit, [`Error::Device`] if this build has no device at all.
    pub fn passed_over(&self) -> Result<Vec<String>> {
        let mut names = self.about.strays.clone();
        for (part, weights) in &self.weights {
            names.extend(self.configs.of(*part).fit(weights)?.passed_over);
        }
        Ok(names)
    }

    /// The reason for the prediction type, in words.
    pub fn prediction_reason(&self) -> Option<&str> {
        self.about.prediction_reason.as_deref()
    }
}
