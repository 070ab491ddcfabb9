//! Drawing a picture again from its infotext: the files that it names are looked up in folders.

mod loras;

use std::path::{Path, PathBuf};

use sd_core::{checkpoint::Kind, weights::files_below};

use crate::{
    Error, GenerateParams, Lora, Pipeline, PipelineBuilder, Result,
    infotext::{Infotext, LORAS},
    upscale::means,
};

/// Endings of files with weights.
const ENDINGS: [&str; 6] = ["safetensors", "ckpt", "pt", "pth", "bin", "gguf"];

/// Digits of the hash that the WebUI wrote up to the end of 2022.
const OLD_HASH: usize = 8;

/// Larger files are no textual inversions.
const MOST_EMBEDDING: u64 = 16 << 20;

/// Keys of infotexts that name what is found otherwise, or say nothing of the picture.
const SILENT: [&str; 10] = [
    LORAS,
    "Source",
    "Version",
    "Lora hashes",
    "TI hashes",
    "VAE",
    "VAE hash",
    "TI",
    "User",
    "Time taken",
];

/// What draws a picture again: the files that its infotext names, and its settings.
///
/// ```no_run
/// # fn main() -> Result<(), sdrs::Error> {
/// let text = sdrs::infotext::of_file("picture.png")?;
/// let replay = sdrs::Replay::find(&sdrs::infotext::parse(&text)?, ["models"])?;
/// let pipeline = replay.builder.build()?;
/// pipeline.txt2img("").params(replay.params).run()?.images[0].save_png("again.png")?;
/// # Ok(())
/// # }
/// ```
#[non_exhaustive]
pub struct Replay {
    /// With checkpoint, VAE, refiner, textual inversions, upscaler, and the folders for LoRAs.
    pub builder: PipelineBuilder,
    /// The settings of the run.
    pub params: GenerateParams,
    /// A sentence for each thing that can't be honoured: the picture may become another one.
    pub missing: Vec<String>,
}

impl Replay {
    /// Looks up what an infotext names in folders and what is below them: checkpoint, VAE and refiner by the first digits of their SHA-256, if it
    /// has them, else by their names, also as diffusers folders; textual inversions and upscalers by their names. LoRAs are found by the run
    /// itself, by the tags of the prompt; a tag of a file that has another name here, by its hash, gets that name. The first folder that has
    /// something wins.
    ///
    /// # Errors
    /// [`Error::Core`] if a folder can't be read; [`Error::InvalidParameter`] if the checkpoint is not there.
    pub fn find<P: AsRef<Path>>(infotext: &Infotext, folders: impl IntoIterator<Item = P>) -> Result<Self> {
        let folders: Vec<PathBuf> = folders
            .into_iter()
            .map(|folder| folder.as_ref().to_owned())
            .collect();
        let files = Files::below(&folders)?;
        let mut missing = Vec::new();
        let value = |key: &str| {
            let found = infotext.rest.iter().find(|(known, _)| known == key);
            found.map(|(_, value)| value.as_str())
        };
        let mut params = infotext.params.clone();
        let mut builder = Pipeline::builder();
        let model = infotext.model.as_deref().unwrap_or_default();
        builder = match files.checkpoint(model, infotext.model_hash.as_deref(), &mut missing)? {
            Some(path) => builder.checkpoint(path),
            #[cfg(feature = "demo")]
            None if model == "demo" => builder.demo(),
            None if model.is_empty() && infotext.model_hash.is_none() => {
                let reason = "the infotext names no checkpoint (Model, Model hash): draw with one of your own and --from-infotext";
                return Err(Error::parameter("models", reason));
            }
            None => {
                let hash = infotext.model_hash.as_deref();
                let hash = hash.map(|hash| format!(" ({hash})")).unwrap_or_default();
                let reason = format!("the checkpoint '{model}'{hash} is not in these folders");
                return Err(Error::parameter("models", reason));
            }
        };
        if let Some(name) = value("VAE").filter(|name| !["None", "Automatic"].contains(name)) {
            match files.part(stem(name), value("VAE hash"), &mut missing)? {
                Some(path) => builder = builder.vae(path),
                None => missing.push(format!("the VAE '{name}' is not in these folders")),
            }
        }
        if let Some(refiner) = &infotext.refiner {
            // The WebUI's has the hash in brackets.
            let (name, hash) = match refiner.split_once(" [") {
                Some((name, hash)) => (name, Some(hash.trim_end_matches(']'))),
                None => (refiner.as_str(), None),
            };
            match files.checkpoint(name, hash, &mut missing)? {
                Some(path) => builder = builder.refiner(path),
                None => missing.push(format!("the refiner '{refiner}' is not in these folders")),
            }
        }
        let prompts = [&params.text.prompt, &params.text.negative_prompt].map(|text| text.to_lowercase());
        for path in files.embeddings(&prompts)? {
            builder = builder.embedding(path);
        }
        let upscaler = &params.hires.hires_upscaler;
        let second = params.hires.asks_for_one();
        if second && !upscaler.starts_with("Latent") && crate::Upscaler::from_name(upscaler).is_err() {
            match files.upscaler(upscaler) {
                Some(path) => builder = builder.upscaler(path),
                None => missing.push(format!("the upscaler '{upscaler}' is not in these folders")),
            }
        }
        if let Some(list) = value("Lora hashes") {
            loras::by_hash(list, &files, &mut params, &mut missing);
        }
        for folder in &folders {
            builder = builder.lora_dir(folder);
        }
        for lora in value(LORAS).into_iter().flat_map(|list| list.split(", ")) {
            let (name, weights) = lora.split_once(':').unwrap_or((lora, "1"));
            let weights: Vec<f64> = weights
                .split(':')
                .filter_map(|weight| weight.parse().ok())
                .collect();
            match (files.named(name), weights.as_slice()) {
                (Some(path), [text, rest @ ..]) => {
                    let unet = rest.first().unwrap_or(text);
                    builder = builder.loras([Lora::file(path).text_encoder(*text).unet(*unet)]);
                }
                _ => missing.push(format!("the LoRA '{name}' is not in these folders")),
            }
        }
        if params.image.strength.is_some() && !second {
            missing.push("it began at a picture, which infotexts don't carry: give it as well".into());
        }
        let others = infotext
            .rest
            .iter()
            .filter(|(key, _)| !SILENT.contains(&key.as_str()));
        missing.extend(others.map(|(key, value)| format!("{key}: {value}")));
        missing.extend(infotext.notes.iter().cloned());
        Ok(Self {
            builder,
            params,
            missing,
        })
    }
}

/// A file's name without ending, as infotexts have it with or without one.
fn stem(name: &str) -> &str {
    let ending = name.rsplit_once('.');
    match ending {
        Some((stem, ending)) if ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)) => stem,
        _ => name,
    }
}

/// The files with weights in some folders, and diffusers folders.
struct Files {
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

impl Files {
    fn below(folders: &[PathBuf]) -> Result<Self> {
        let mut found = Self {
            files: Vec::new(),
            folders: Vec::new(),
        };
        for folder in folders {
            for path in files_below(folder)?.0 {
                if path.file_name().is_some_and(|name| name == "model_index.json") {
                    found.folders.extend(path.parent().map(Path::to_owned));
                }
                let ending = path
                    .extension()
                    .and_then(|ending| ending.to_str())
                    .unwrap_or_default();
                if ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)) {
                    found.files.push(path);
                }
            }
        }
        // A part of a diffusers folder is found as the whole.
        let Self { files, folders } = &mut found;
        files.retain(|file| !folders.iter().any(|folder| file.starts_with(folder)));
        Ok(found)
    }

    fn named(&self, name: &str) -> Option<&PathBuf> {
        let is = |path: &&PathBuf| {
            path.file_stem()
                .is_some_and(|stem| stem.eq_ignore_ascii_case(name))
        };
        self.files.iter().find(is)
    }

    fn upscaler(&self, name: &str) -> Option<&PathBuf> {
        let is = |path: &&PathBuf| {
            path.file_stem()
                .is_some_and(|stem| means(name, &stem.to_string_lossy()))
        };
        self.files.iter().find(is)
    }

    /// A checkpoint by its hash, else by its name.
    fn checkpoint(
        &self,
        name: &str,
        hash: Option<&str>,
        missing: &mut Vec<String>,
    ) -> Result<Option<PathBuf>> {
        if let Some(path) = self.part(name, hash, missing)? {
            return Ok(Some(path));
        }
        let is = |path: &&PathBuf| path.file_name().is_some_and(|own| own.eq_ignore_ascii_case(name));
        Ok(self.folders.iter().find(is).cloned())
    }

    /// A file by its hash, else by its name. Files of that name are hashed first; only if none fits are all checkpoints.
    fn part(&self, name: &str, hash: Option<&str>, missing: &mut Vec<String>) -> Result<Option<PathBuf>> {
        let by_name = self.named(name);
        let Some(hash) = hash else {
            return Ok(by_name.cloned());
        };
        let hash = hash.to_lowercase();
        let fits = |path: &Path| match hash.len() {
            OLD_HASH => sd_core::weights::old_model_hash(path).is_ok_and(|own| own == hash),
            _ => crate::model_hash(path).is_ok_and(|own| own.sha256.starts_with(&hash)),
        };
        if let Some(path) = by_name.filter(|path| fits(path)) {
            return Ok(Some(path.clone()));
        }
        let whole = |path: &&PathBuf| {
            crate::inspect(path).is_ok_and(|seen| matches!(seen.kind, Kind::Checkpoint | Kind::Vae))
        };
        if let Some(path) = self.files.iter().filter(whole).find(|path| fits(path)) {
            return Ok(Some(path.clone()));
        }
        if let Some(path) = by_name {
            missing.push(format!(
                "{} is another file than the one with the hash {hash}",
                path.display()
            ));
        }
        Ok(by_name.cloned())
    }

    /// The textual inversions whose names stand in the prompts.
    fn embeddings(&self, prompts: &[String]) -> Result<Vec<PathBuf>> {
        let mut found: Vec<PathBuf> = Vec::new();
        for path in &self.files {
            let name = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .to_lowercase();
            let small = std::fs::metadata(path).is_ok_and(|about| about.len() <= MOST_EMBEDDING);
            let new = !found.iter().any(|other| other.file_stem() == path.file_stem());
            if small
                && new
                && prompts.iter().any(|prompt| prompt.contains(&name))
                && crate::inspect(path).is_ok_and(|seen| seen.kind == Kind::TextualInversion)
            {
                found.push(path.clone());
            }
        }
        Ok(found)
    }
}
