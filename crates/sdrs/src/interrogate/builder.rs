use std::{collections::HashMap, path::PathBuf, sync::Arc};

use sd_core::{
    BertTokenizer, ClipTokenizer, Dtype,
    config::Activation,
    models::{BlipFiles, ClipFiles, ClipGiven},
    weights::Folder,
};

use super::{Interrogator, Phrases, captioner::Captioner, vectors::Eyes};
use crate::{
    Error, LogLevel, Result,
    model::{Log, Machine, machine_setters},
};

/// Where a model lies.
enum Place {
    Path(PathBuf),
    /// A folder, and where in it.
    Folder(Folder, &'static str),
}

/// Where in the demo's folder its captioner lies.
const DEMO_CAPTIONER: &str = "captioner";

/// A description of an [`Interrogator`]: its models, phrases, device and type.
#[derive(Default)]
#[must_use = "a builder does nothing until `build`"]
pub struct InterrogatorBuilder {
    clip: Option<Place>,
    clip_activation: Option<String>,
    clip_tokenizer: Option<PathBuf>,
    blip: Option<Place>,
    vocabulary: Option<PathBuf>,
    phrases: Option<Phrases>,
    cache: Option<PathBuf>,
    machine: Machine,
    log: Option<Log>,
}

impl InterrogatorBuilder {
    /// CLIP: a folder of transformers' (`CLIPModel`) or open_clip's, OpenAI's `.pt`, or an open_clip checkpoint of a ViT.
    pub fn clip(mut self, path: impl Into<PathBuf>) -> Self {
        self.clip = Some(Place::Path(path.into()));
        self
    }

    /// CLIP as the files of a transformers folder under their relative names ("config.json"); `name` stands for it in errors.
    pub fn clip_files(mut self, name: impl Into<String>, files: HashMap<String, Arc<[u8]>>) -> Self {
        self.clip = Some(Place::Folder(Folder::Memory(name.into(), files), ""));
        self
    }

    /// The activation of a CLIP whose files don't say it, "quick_gelu" or "gelu"; another one than files say is refused. If nothing is said,
    /// OpenAI's have the first, open_clip's the second.
    pub fn clip_activation(mut self, name: impl Into<String>) -> Self {
        self.clip_activation = Some(name.into());
        self
    }

    /// Another tokenizer for CLIP than its folder's, or OpenAI's.
    pub fn clip_tokenizer(mut self, path: impl Into<PathBuf>) -> Self {
        self.clip_tokenizer = Some(path.into());
        self
    }

    /// BLIP: a folder of transformers' (`BlipForConditionalGeneration`), or the authors' `.pth` of a captioner.
    pub fn blip(mut self, path: impl Into<PathBuf>) -> Self {
        self.blip = Some(Place::Path(path.into()));
        self
    }

    /// BLIP as the files of a transformers folder, as [`clip_files`](Self::clip_files) takes CLIP's, its vocabulary among them.
    pub fn blip_files(mut self, name: impl Into<String>, files: HashMap<String, Arc<[u8]>>) -> Self {
        self.blip = Some(Place::Folder(Folder::Memory(name.into(), files), ""));
        self
    }

    /// BERT's vocabulary for BLIP (`vocab.txt` of bert-base-uncased, or a `tokenizer.json`); it is looked for beside BLIP if nothing is said.
    pub fn vocabulary(mut self, path: impl Into<PathBuf>) -> Self {
        self.vocabulary = Some(path.into());
        self
    }

    /// The demo's captioner and CLIP, which are compiled in, with phrases of their own unless others are named. They know the demo's world
    /// alone: one or two coloured shapes on a background.
    #[cfg(feature = "demo")]
    pub fn demo(mut self) -> Self {
        let folder = crate::model::demo_seeing();
        self.clip = Some(Place::Folder(folder.clone(), "clip"));
        self.blip = Some(Place::Folder(folder, DEMO_CAPTIONER));
        self.phrases.get_or_insert_with(Phrases::demo);
        self
    }

    /// The phrases that pictures are ranked against; [`Phrases::own`] if nothing is said.
    pub fn phrases(mut self, phrases: Phrases) -> Self {
        self.phrases = Some(phrases);
        self
    }

    /// A folder that keeps the phrases' vectors, which take minutes with a large CLIP: a safetensors file for each list, named by hashes of the
    /// model and the phrases. It is made where it isn't there.
    pub fn cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache = Some(folder.into());
        self
    }

    machine_setters!();

    /// A function that is given a line for each step of the work with the time that it took.
    pub fn on_log(mut self, log: impl Fn(LogLevel, &str) + Send + Sync + 'static) -> Self {
        self.log = Some(Arc::new(log));
        self
    }

    /// Reads and checks the models, then loads them.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if there is neither model, or for settings out of their range; [`Error::Core`] if a file or the device
    /// can't be used.
    pub fn build(self) -> Result<Interrogator> {
        if self.clip.is_none() && self.blip.is_none() {
            return Err(Error::parameter(
                "clip",
                "an interrogator needs a CLIP, a BLIP or both; name their files",
            ));
        }
        let (target, runtime) = self.machine.of_small(self.log)?;
        let activation = match self.clip_activation.as_deref() {
            None => None,
            Some("quick_gelu") => Some(Activation::QuickGelu),
            Some("gelu") => Some(Activation::Gelu),
            Some(other) => {
                let reason = format!("'{other}' is not known; it is \"quick_gelu\" or \"gelu\"");
                return Err(Error::parameter("clip_activation", reason));
            }
        };
        let tokenizer = self
            .clip_tokenizer
            .as_deref()
            .map(ClipTokenizer::open)
            .transpose()?;
        let given = ClipGiven {
            activation,
            tokenizer,
        };
        // Everything is opened before anything is loaded.
        let clip = match self.clip {
            None => None,
            Some(Place::Path(path)) => Some(ClipFiles::open(&path, given)?),
            Some(Place::Folder(folder, part)) => Some(ClipFiles::of_folder(&folder, part, given)?),
        };
        if let (Some(wanted), Some(files)) = (activation, &clip) {
            let config = &files.config;
            if [config.text.hidden_act, config.vision.hidden_act] != [wanted; 2] {
                let origin = &files.weights.origin;
                let reason = format!("the files of {origin} say another one, which counts; leave this out");
                return Err(Error::parameter("clip_activation", reason));
            }
        }
        let vocabulary = self.vocabulary.as_deref();
        let blip = match self.blip {
            None => None,
            Some(Place::Path(path)) => Some(BlipFiles::open(&path, vocabulary)?),
            Some(Place::Folder(_, DEMO_CAPTIONER)) if vocabulary.is_some() => {
                return Err(Error::parameter(
                    "vocabulary",
                    "the demo has its own; leave this out",
                ));
            }
            Some(Place::Folder(folder, part)) => {
                let tokenizer = vocabulary.map(BertTokenizer::open).transpose()?;
                Some(BlipFiles::of_folder(&folder, part, tokenizer)?)
            }
        };
        let hashed = self.cache.is_some();
        let eyes = clip.map(|files| runtime.timed("CLIP", || Eyes::load(files, hashed, &target, &runtime)));
        let captioner = blip.map(|files| runtime.timed("BLIP", || Captioner::load(files, &target, &runtime)));
        Ok(Interrogator {
            eyes: eyes.transpose()?,
            captioner: captioner.transpose()?,
            phrases: self.phrases.unwrap_or_else(Phrases::own),
            cache: self.cache,
            tables: Default::default(),
            runtime,
        })
    }
}
