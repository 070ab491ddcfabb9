//! Checkpoints: all parts of a pipeline, whatever their layout; opened, put together, inspected and saved.

mod classify;
mod configs;
mod contents;
mod foreign;
mod inspect;
mod inspection;
mod kind;
mod metadata;
mod opening;
mod part_config;
mod parts;
mod prediction;
mod save;
mod structure;
mod unet_config;
mod words;

pub use classify::{adapter_architecture, adapter_family};
pub use configs::{Configs, GivenConfigs};
pub use inspect::inspect;
pub use inspection::{Inspection, PartInspection};
pub use kind::Kind;
pub use part_config::PartConfig;
pub use words::Expected;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use serde_json::{Map, Value};

use crate::{
    ClipTokenizer, Device, Dtype, Error, Result, TokenizerFiles,
    config::{Fields, Part, PredictionType},
    models::{ClipTextModel, UNet},
    tokenizer::SavedTokenizer,
    weights::{
        Folder, PartWeights, Target, TensorFile, WeightPatch,
        names::{Ldm, Names, UNET_PREFIX},
        parameters,
    },
};

/// The layout of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A folder with a folder for each part.
    Diffusers,
    /// One file with the names of the latent-diffusion repository.
    Ldm,
}

/// An opened checkpoint: configurations read and checked, weights mapped but not loaded.
#[derive(Clone)]
pub struct Checkpoint {
    origin: String,
    layout: Layout,
    configs: Configs,
    weights: BTreeMap<Part, PartWeights>,
    /// By text encoder; one without has CLIP's own, which is compiled in.
    tokenizers: BTreeMap<Part, TokenizerSource>,
    texts: Texts,
    about: About,
}

/// Facts of a checkpoint beside its parts.
#[derive(Clone)]
struct About {
    /// Its kind, in words.
    named: String,
    /// The reason why it can't be used as a checkpoint if it is but one part, and no other is given.
    alone: Option<String>,
    /// Names in a single file that belong to no part and are not known to be unneeded.
    strays: Vec<String>,
    allow_unexpected: bool,
    /// The reason for the prediction type.
    prediction_reason: Option<String>,
}

/// The file of a folder in which a checkpoint may recommend settings.
const RECOMMENDED: &str = "sdrs_recommended.json";

/// The configurations as they were found, for saving: other programs read more in them.
#[derive(Clone, Default)]
struct Texts {
    parts: BTreeMap<Part, String>,
    scheduler: Option<String>,
    /// Settings that the checkpoint recommends, behind their place.
    recommended: Option<(String, String)>,
}

impl Texts {
    pub fn of_folder(folder: &Folder) -> Result<Self> {
        let text = |name: &str| folder.has(name).then(|| folder.text(name)).transpose();
        let mut parts = BTreeMap::new();
        for &part in Part::ALL {
            let json = text(&format!("{}/config.json", part.name()))?;
            parts.extend(json.map(|json| (part, json)));
        }
        Ok(Self {
            parts,
            scheduler: text("scheduler/scheduler_config.json")?,
            recommended: text(RECOMMENDED)?.map(|text| (folder.origin(RECOMMENDED), text)),
        })
    }

    pub fn of_file(file: &TensorFile) -> Self {
        let text = |key: &str| file.metadata().get(key).cloned();
        Self {
            parts: Part::ALL
                .iter()
                .filter_map(|&part| Some((part, text(metadata::of(part))?)))
                .collect(),
            scheduler: text(metadata::SCHEDULER),
            recommended: text(metadata::RECOMMENDED)
                .map(|text| (format!("{}: {}", file.origin(), metadata::RECOMMENDED), text)),
        }
    }

    /// Of a part from elsewhere.
    pub fn put(&mut self, part: Part, json: Option<String>, scheduler: Option<String>) {
        match json {
            Some(json) => drop(self.parts.insert(part, json)),
            None => drop(self.parts.remove(&part)),
        }
        self.scheduler = scheduler.or(self.scheduler.take());
    }
}

/// The place of a tokenizer.
#[derive(Clone)]
enum TokenizerSource {
    /// In a pipeline's folder.
    Folder(Folder),
    Metadata(Arc<TensorFile>),
    /// Given by itself, with its name for errors.
    Given(String, Arc<TokenizerFiles>),
}

impl TokenizerSource {
    /// Those of a pipeline's folder.
    pub fn of_folder(folder: &Folder) -> BTreeMap<Part, Self> {
        let parts = text_parts().filter(|&part| {
            let inner = format!("{}/", tokenizer_folder(part));
            TokenizerFiles::are_in(folder, &inner)
        });
        parts.map(|part| (part, Self::Folder(folder.clone()))).collect()
    }

    /// Those that a file carries.
    pub fn of_file(file: &Arc<TensorFile>) -> BTreeMap<Part, Self> {
        let has = |key: &str| file.metadata().contains_key(key);
        let parts = text_parts().filter(|&part| {
            let keys = metadata::tokenizer(part);
            has(keys.vocab) || has(keys.json)
        });
        parts.map(|part| (part, Self::Metadata(file.clone()))).collect()
    }

    /// Its files, with their name for errors.
    fn files(&self, part: Part) -> Result<(String, Arc<TokenizerFiles>)> {
        Ok(match self {
            Self::Folder(folder) => {
                let inner = tokenizer_folder(part);
                let files = TokenizerFiles::of_folder(folder, &format!("{inner}/"))?;
                (folder.origin(inner), files.into())
            }
            Self::Metadata(file) => {
                let (value, keys) = (
                    |key: &str| file.metadata().get(key).cloned(),
                    metadata::tokenizer(part),
                );
                let files = TokenizerFiles {
                    tokenizer: value(keys.json),
                    vocab: value(keys.vocab),
                    merges: value(keys.merges),
                    special_tokens_map: value(keys.special),
                    ..TokenizerFiles::default()
                };
                (file.origin().to_owned(), files.into())
            }
            Self::Given(origin, files) => (origin.clone(), files.clone()),
        })
    }
}

fn text_parts() -> impl Iterator<Item = Part> {
    Part::ALL.iter().copied().filter(|part| part.is_text_encoder())
}

/// The folder of a text encoder's tokenizer in diffusers' layout.
fn tokenizer_folder(part: Part) -> &'static str {
    match part {
        Part::TextEncoder2 => "tokenizer_2",
        _ => "tokenizer",
    }
}

impl Checkpoint {
    /// The path, or the name given with the bytes.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Its layout.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The configurations.
    pub fn configs(&self) -> &Configs {
        &self.configs
    }

    /// The weights of a part.
    pub fn weights(&self, part: Part) -> &PartWeights {
        &self.weights[&part]
    }

    /// Bytes that a part's weights take when they are loaded with these patches.
    pub fn part_bytes(&self, part: Part, patches: &[Arc<dyn WeightPatch>], target: &Target) -> usize {
        let weights = self.weights(part).with_patches(patches);
        self.configs.of(part).weight_bytes(&weights, target)
    }

    /// Bytes that a part with these patches takes beside a sibling with the patches `before`, whose unchanged layers it shares.
    pub fn unshared_bytes(
        &self,
        part: Part,
        [before, patches]: [&[Arc<dyn WeightPatch>]; 2],
        target: &Target,
    ) -> usize {
        let weights = self.weights(part).with_patches(patches);
        self.configs.of(part).unshared_bytes(&weights, before, target)
    }

    /// Lets adapters change the weights of all parts while they are loaded, in this order.
    pub fn set_patches(&mut self, patches: &[Arc<dyn WeightPatch>]) {
        for part in self.weights.values_mut() {
            part.patches = patches.to_vec();
        }
    }

    /// All parameters of the models, by part: the canonical name first, then the names in other layouts, without their prefix. Adapters
    /// find their places by these.
    ///
    /// # Errors
    /// [`Error::Device`] if this build has no device at all.
    pub fn parameters(&self) -> Result<Vec<(Part, Vec<String>)>> {
        let target = Target::new(Device::for_descriptions()?, Dtype::F32);
        let configs = &self.configs;
        let text = configs.text_encoders.iter().flat_map(|(&part, config)| {
            let names = parameters::<ClipTextModel>(config, part, &target).into_iter();
            names.map(move |(name, _)| (part, vec![name]))
        });
        let unet = parameters::<UNet>(&configs.unet, Part::Unet, &target);
        let ldm = Ldm::unet(&configs.unet);
        let both = |name: String| {
            let other = ldm
                .spellings(&name)
                .into_iter()
                .filter_map(|spelt| spelt.name.strip_prefix(UNET_PREFIX).map(str::to_owned));
            let other: Vec<String> = other.collect();
            [vec![name], other].concat()
        };
        Ok(text
            .chain(unet.into_iter().map(|(name, _)| (Part::Unet, both(name))))
            .collect())
    }

    /// Takes another prediction type, where the checkpoint says it wrongly or not at all, for this reason.
    pub fn set_prediction_type(&mut self, prediction_type: PredictionType, reason: impl Into<String>) {
        self.configs.scheduler.prediction_type = prediction_type;
        self.about.prediction_reason = Some(reason.into());
    }

    /// Settings that it recommends, as JSON, behind the place where they stand.
    pub fn recommended(&self) -> Option<(&str, &str)> {
        let (origin, json) = self.texts.recommended.as_ref()?;
        Some((origin.as_str(), json.as_str()))
    }

    /// A part's configuration as it was found.
    fn json(&self, part: Part) -> Option<&str> {
        self.texts.parts.get(&part).map(String::as_str)
    }

    /// The noise schedule, as diffusers' `scheduler_config.json`.
    fn scheduler_json(&self) -> Map<String, Value> {
        self.configs.scheduler.to_json(self.texts.scheduler.as_deref())
    }

    /// Takes a tokenizer from elsewhere for the first text encoder: from its folder, from a pipeline's, or from a `tokenizer.json`.
    ///
    /// # Errors
    /// As [`TokenizerFiles::open`]. The checkpoint is then as it was.
    pub fn set_tokenizer(&mut self, path: &Path) -> Result<()> {
        let files = TokenizerFiles::open(path)?;
        let given = TokenizerSource::Given(path.display().to_string(), files.into());
        let first = self.configs.text_parts().next();
        self.tokenizers.insert(first.unwrap_or(Part::TextEncoder), given);
        Ok(())
    }

    /// Takes the tokenizers that lie in a pipeline's folder, unless it has its own already.
    pub fn take_tokenizer(&mut self, folder: &Folder) {
        for (part, tokenizer) in TokenizerSource::of_folder(folder) {
            self.tokenizers.entry(part).or_insert(tokenizer);
        }
    }

    /// The files of a text encoder's own tokenizer.
    fn tokenizer_files(&self, part: Part) -> Result<Option<(String, Arc<TokenizerFiles>)>> {
        let source = self.tokenizers.get(&part);
        source.map(|source| source.files(part)).transpose()
    }

    /// The tokenizer of a text encoder: its own if the checkpoint carries one, else CLIP's.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if its own can't be used, or knows more tokens than the text encoder.
    pub fn tokenizer(&self, part: Part) -> Result<ClipTokenizer> {
        let (files, config) = (self.tokenizer_files(part)?, &self.configs.text_encoders[&part]);
        let tokenizer = match &files {
            None if config.is_open_clip() => ClipTokenizer::embedded_open_clip(),
            None => ClipTokenizer::embedded(),
            Some((origin, files)) => ClipTokenizer::from_files(origin, files)?,
        };
        // Every id must have a row in the embedding, also where the vocabulary leaves ids out.
        let rows = config.vocab_size;
        if tokenizer.vocab_size() > rows {
            let whose = match files {
                None => format!(
                    "{} carries no tokenizer, and CLIP's own is another model's: ",
                    self.origin
                ),
                Some(_) => String::new(),
            };
            let reason = format!(
                "{whose}its token ids go up to {}, but the text encoder's vocab_size is {rows}; give the tokenizer that the text \
                 encoder was trained with, its folder or its tokenizer.json, as `tokenizer`",
                tokenizer.vocab_size() - 1
            );
            return Err(Error::Tokenizer {
                origin: tokenizer.origin().to_owned(),
                reason,
            });
        }
        Ok(tokenizer)
    }

    /// A text encoder's tokenizer as the files that a folder has.
    fn saved_tokenizer(&self, part: Part) -> Result<SavedTokenizer> {
        self.tokenizer(part)?;
        let text = &self.configs.text_encoders[&part];
        let length = text.max_position_embeddings;
        match self.tokenizer_files(part)? {
            None => Ok(SavedTokenizer::embedded(length, text.is_open_clip())),
            Some((origin, files)) => SavedTokenizer::of_files(&origin, &files, length),
        }
    }
}
