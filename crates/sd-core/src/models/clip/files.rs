//! CLIP's files: transformers' folders, OpenAI's archives, open_clip's checkpoints.

use std::{borrow::Cow, path::Path, sync::Arc};

use serde::Deserialize;

use super::structure;
use crate::{
    ClipTokenizer, Error, Result, TokenizerFiles,
    config::{Activation, ClipConfig, Preparation},
    weights::{Folder, PartWeights, Target, TensorFile, digest, in_part, names::ClipNames},
};

/// CLIP as it lies in files, of which headers and small files have been read.
pub struct ClipFiles {
    /// The configuration.
    pub config: ClipConfig,
    /// The weights.
    pub weights: PartWeights,
    /// The tokenizer.
    pub tokenizer: ClipTokenizer,
    /// Whether texts are [repaired](ClipTokenizer::encode_repaired) first, as OpenAI's code and open_clip do it.
    pub repairs_texts: bool,
    /// What becomes of pictures.
    pub preparation: Preparation,
}

/// What a caller says of a CLIP whose files don't say it.
#[derive(Debug, Default)]
pub struct ClipGiven {
    /// The activation, where files don't say it: without this OpenAI's archives and transformers' configurations have
    /// [`Activation::QuickGelu`] then, and open_clip's checkpoints [`Activation::Gelu`].
    pub activation: Option<Activation>,
    /// The tokenizer; OpenAI's if there is none and nothing is given.
    pub tokenizer: Option<ClipTokenizer>,
}

/// The files of open_clip's folders.
const OPEN_CLIP_CONFIG: &str = "open_clip_config.json";
const OPEN_CLIP_WEIGHTS: [&str; 2] = ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"];

/// What open_clip writes beside weights, as far as the weights don't tell it.
#[derive(Deserialize, Default)]
struct OpenClip {
    #[serde(default)]
    model_cfg: ModelConfig,
    #[serde(default)]
    preprocess_cfg: PreprocessConfig,
}

#[derive(Deserialize, Default)]
struct ModelConfig {
    quick_gelu: Option<bool>,
    #[serde(default)]
    vision_cfg: VisionConfig,
    #[serde(default)]
    text_cfg: TextConfig,
}

#[derive(Deserialize, Default)]
struct TextConfig {
    heads: Option<usize>,
}

#[derive(Deserialize, Default)]
struct VisionConfig {
    head_width: Option<usize>,
}

#[derive(Deserialize, Default)]
struct PreprocessConfig {
    mean: Option<[f32; 3]>,
    std: Option<[f32; 3]>,
    interpolation: Option<String>,
    resize_mode: Option<String>,
}

impl ClipFiles {
    /// Opens a folder of transformers' or open_clip's, or a file: OpenAI's `.pt`, or an open_clip checkpoint.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`], [`Error::Config`] or [`Error::Tokenizer`] if they can't be used.
    pub fn open(path: &Path, given: ClipGiven) -> Result<Self> {
        if std::fs::metadata(path).map_err(|e| Error::io(path, e))?.is_dir() {
            return Self::of_folder(&Folder::Disk(path.to_owned()), "", given);
        }
        let folder = Folder::Disk(path.parent().unwrap_or(Path::new("")).to_owned());
        let file = TensorFile::open(path)?;
        match ClipNames::open_clip_prefix(file.names()) {
            Some(prefix) => {
                let tokenizer = given.tokenizer;
                let given = ClipGiven {
                    // What lies beside a file may be another model's.
                    tokenizer: Some(tokenizer.unwrap_or_else(ClipTokenizer::embedded_open_clip)),
                    ..given
                };
                Self::open_clip(file, prefix, &folder, "", given)
            }
            None if file.info("vision_model.embeddings.class_embedding").is_some() => {
                Self::transformers(vec![Arc::new(file)], &folder, "", given)
            }
            None => Err(Error::malformed(
                file.origin(),
                "is no CLIP with both halves; OpenAI's archives, open_clip's checkpoints of its ViT models, and transformers' CLIPModel can be read",
            )),
        }
    }

    /// The same of a folder that may be compiled in; `part` is where in it, "" for the folder itself.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn of_folder(folder: &Folder, part: &str, given: ClipGiven) -> Result<Self> {
        let named = OPEN_CLIP_WEIGHTS.map(|name| in_part(part, name));
        let open_clip = named.iter().find(|name| folder.has(name));
        let weights = folder.part_tensors(part, "model");
        match (weights, open_clip) {
            (Ok(files), _) if folder.has(&in_part(part, "config.json")) => {
                Self::transformers(files, folder, part, given)
            }
            (_, Some(name)) => {
                let file = folder.tensors(name)?;
                let prefix = ClipNames::open_clip_prefix(file.names()).ok_or_else(|| {
                    Error::malformed(
                        file.origin(),
                        "lacks visual.class_embedding: it is no ViT of open_clip's",
                    )
                })?;
                Self::open_clip(file, prefix, folder, part, given)
            }
            (Err(error), None) => Err(error),
            (Ok(_), None) => {
                // Says that it is missing.
                folder.text(&in_part(part, "config.json"))?;
                Err(Error::malformed(folder.origin(part), "lacks config.json"))
            }
        }
    }

    fn transformers(
        files: Vec<Arc<TensorFile>>,
        folder: &Folder,
        part: &str,
        given: ClipGiven,
    ) -> Result<Self> {
        let name = in_part(part, "config.json");
        let config = ClipConfig::from_json(&folder.text(&name)?, &folder.origin(&name), given.activation)?;
        let preparation = prepared(folder, part, Preparation::clip(config.vision.image_size, false))?;
        let origin = format!("CLIP of {}", folder.origin(part));
        Self {
            tokenizer: match given.tokenizer {
                Some(tokenizer) => tokenizer,
                None => tokenizer(folder, part)?.unwrap_or_else(ClipTokenizer::embedded),
            },
            weights: PartWeights::alone(origin, files, Arc::new(ClipNames::transformers())),
            repairs_texts: false,
            preparation,
            config,
        }
        .checked()
    }

    fn open_clip(
        file: TensorFile,
        prefix: &'static str,
        folder: &Folder,
        part: &str,
        given: ClipGiven,
    ) -> Result<Self> {
        let name = in_part(part, OPEN_CLIP_CONFIG);
        let beside: OpenClip = match folder.has(&name) {
            true => serde_json::from_str(&folder.text(&name)?)
                .map_err(|e| Error::malformed(folder.origin(&name), e.to_string()))?,
            false => OpenClip::default(),
        };
        let said = beside.model_cfg.quick_gelu.map(|quick| match quick {
            true => Activation::QuickGelu,
            false => Activation::Gelu,
        });
        let stated = structure::Stated {
            activation: said.or(given.activation),
            head_width: beside.model_cfg.vision_cfg.head_width,
            text_heads: beside.model_cfg.text_cfg.heads,
        };
        let config = structure::of(&file, prefix, stated)?;
        let mut preparation = Preparation::clip(config.vision.image_size, true);
        let how = beside.preprocess_cfg;
        let fail = |field: &str, value: &str| {
            let reason = format!(
                "'{}' is not supported; supported: bicubic, shortest",
                crate::shown(value)
            );
            Err(Error::config(
                folder.origin(&name),
                format!("preprocess_cfg.{field}"),
                reason,
            ))
        };
        match (how.interpolation.as_deref(), how.resize_mode.as_deref()) {
            (Some(other), _) if other != "bicubic" => return fail("interpolation", other),
            (_, Some(other)) if other != "shortest" => return fail("resize_mode", other),
            _ => {}
        }
        preparation.mean = how.mean.unwrap_or(preparation.mean);
        preparation.std = how.std.unwrap_or(preparation.std);
        let origin = format!("CLIP of {}", file.origin());
        let names = Arc::new(ClipNames::open_clip(&config, prefix));
        Self {
            weights: PartWeights::alone(origin, vec![Arc::new(file)], names),
            // Padding stands behind the end token, and doesn't count.
            tokenizer: match given.tokenizer {
                Some(tokenizer) => tokenizer,
                None => tokenizer(folder, part)?.unwrap_or_else(ClipTokenizer::embedded_open_clip),
            },
            repairs_texts: true,
            preparation,
            config,
        }
        .checked()
    }

    /// A hash of the text model and its tokenizer on this target: of two with one hash texts have the same vectors. All its weights are read.
    pub fn text_hash(&self, target: &Target) -> String {
        let mut tensors = Vec::new();
        for file in &self.weights.files {
            let of_text = |name: &&str| !name.contains("visual") && !name.contains("vision_model");
            tensors.extend(file.names().filter(of_text).map(|name| (name, file)));
        }
        tensors.sort_unstable_by_key(|(name, _)| *name);
        let Target { dtype, weights, .. } = target;
        let config = format!(
            "{:?} {} {dtype:?} {weights:?} {}",
            self.config.text,
            self.repairs_texts,
            self.tokenizer.hash()
        )
        .into_bytes();
        let weights = tensors.iter().flat_map(|(name, file)| {
            let bytes = file.tensor_bytes(name).unwrap_or_default();
            [Cow::Borrowed(name.as_bytes()), bytes]
        });
        digest(std::iter::once(Cow::Owned(config)).chain(weights))
    }

    /// Whether the tokenizer's ids are rows of the text model's.
    fn checked(self) -> Result<Self> {
        let (tokens, rows) = (self.tokenizer.vocab_size(), self.config.text.vocab_size);
        match tokens <= rows {
            true => Ok(self),
            false => Err(Error::Tokenizer {
                origin: self.tokenizer.origin().to_owned(),
                reason: format!(
                    "it has {tokens} tokens, but the text model of {} knows {rows}; put the tokenizer's own files beside the model",
                    self.weights.origin
                ),
            }),
        }
    }
}

/// The tokenizer of a folder, if it has one.
fn tokenizer(folder: &Folder, part: &str) -> Result<Option<ClipTokenizer>> {
    let inner = match part {
        "" => String::new(),
        part => format!("{part}/"),
    };
    if !TokenizerFiles::are_in(folder, &inner) {
        return Ok(None);
    }
    let files = TokenizerFiles::of_folder(folder, &inner)?;
    ClipTokenizer::from_files(&folder.origin(part), &files).map(Some)
}

/// The preparation that a folder says, or the usual one.
pub(in crate::models) fn prepared(folder: &Folder, part: &str, usual: Preparation) -> Result<Preparation> {
    for name in ["preprocessor_config.json", "processor_config.json"] {
        let name = in_part(part, name);
        if folder.has(&name) {
            return Preparation::from_json(&folder.text(&name)?, &folder.origin(&name), &usual);
        }
    }
    Ok(usual)
}
