//! BLIP's files: transformers' folders, and the authors' `.pth`.

use std::{path::Path, sync::Arc};

use super::{super::clip::prepared, structure};
use crate::{
    BertTokenizer, Error, Result,
    config::{BlipConfig, Preparation},
    weights::{Folder, PartWeights, TensorFile, in_part, names::BlipNames},
};

/// BLIP as it lies in files, of which headers and small files have been read.
pub struct BlipFiles {
    /// The configuration.
    pub config: BlipConfig,
    /// The weights.
    pub weights: PartWeights,
    /// The tokenizer.
    pub tokenizer: BertTokenizer,
    /// What becomes of pictures.
    pub preparation: Preparation,
}

impl BlipFiles {
    /// Opens a folder of transformers', or a file: the authors' `.pth` with a caption's decoder. `vocabulary` is BERT's `vocab.txt` (or
    /// `tokenizer.json`), which is looked for beside the model if nothing is said.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`], [`Error::Config`] or [`Error::Tokenizer`] if they can't be used.
    pub fn open(path: &Path, vocabulary: Option<&Path>) -> Result<Self> {
        let tokenizer = vocabulary.map(BertTokenizer::open).transpose()?;
        if std::fs::metadata(path).map_err(|e| Error::io(path, e))?.is_dir() {
            return Self::of_folder(&Folder::Disk(path.to_owned()), "", tokenizer);
        }
        let folder = Folder::Disk(path.parent().unwrap_or(Path::new("")).to_owned());
        let file = TensorFile::open(path)?;
        if let Some(prefix) = BlipNames::original_prefix(file.names()) {
            let tokenizer = match tokenizer {
                Some(tokenizer) => tokenizer,
                None => BertTokenizer::of_folder(&folder, "")?,
            };
            let config = structure::of(&file, prefix, &tokenizer)?;
            let names = BlipNames::original(&config, prefix);
            let preparation = Preparation::blip(config.vision.image_size, true);
            return Self::new(vec![Arc::new(file)], names, config, preparation, tokenizer);
        }
        match file.info("vision_model.embeddings.class_embedding").is_some() {
            true => Self::transformers(vec![Arc::new(file)], &folder, "", tokenizer),
            false => Err(Error::malformed(
                file.origin(),
                "is no BLIP for captions; the authors' .pth files, and transformers' BlipForConditionalGeneration can be read",
            )),
        }
    }

    /// The same of a folder that may be compiled in; `part` is where in it, "" for the folder itself.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn of_folder(folder: &Folder, part: &str, tokenizer: Option<BertTokenizer>) -> Result<Self> {
        let files = folder.part_tensors(part, "model")?;
        Self::transformers(files, folder, part, tokenizer)
    }

    fn transformers(
        files: Vec<Arc<TensorFile>>,
        folder: &Folder,
        part: &str,
        tokenizer: Option<BertTokenizer>,
    ) -> Result<Self> {
        let name = in_part(part, "config.json");
        let config = BlipConfig::from_json(&folder.text(&name)?, &folder.origin(&name))?;
        let preparation = prepared(folder, part, Preparation::blip(config.vision.image_size, false))?;
        let names = BlipNames::transformers(&config);
        let tokenizer = match tokenizer {
            Some(tokenizer) => tokenizer,
            None => BertTokenizer::of_folder(folder, part)?,
        };
        Self::new(files, names, config, preparation, tokenizer)
    }

    fn new(
        files: Vec<Arc<TensorFile>>,
        names: BlipNames,
        config: BlipConfig,
        preparation: Preparation,
        tokenizer: BertTokenizer,
    ) -> Result<Self> {
        let origin = files
            .first()
            .map_or_else(String::new, |file| file.origin().to_owned());
        let (tokens, rows) = (tokenizer.vocab_size(), config.text.vocab_size);
        if tokens > rows {
            let reason = format!("it has {tokens} tokens, but the decoder of {origin} knows {rows}");
            return Err(Error::Tokenizer {
                origin: tokenizer.origin().to_owned(),
                reason,
            });
        }
        Ok(Self {
            weights: PartWeights::alone(format!("BLIP of {origin}"), files, Arc::new(names)),
            config,
            tokenizer,
            preparation,
        })
    }
}
