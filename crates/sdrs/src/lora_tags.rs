//! `<lora:..>` tags: which files they mean, and the pipelines that runs with tags draw with.

use std::{
    collections::HashMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sd_core::{
    prompt::{LoraTag, Prompt},
    weights::{FileId, TensorFile, files_below},
};

use sd_lora::BlockWeights;

use crate::{
    Error, Lora, LoraSchedule, Pipeline, Result, conditioning::Embeddings, lora, lora_schedule::moment,
};

/// Endings of files that may hold a LoRA.
const ENDINGS: [&str; 4] = ["safetensors", "pt", "ckpt", "bin"];

/// Folders that tags are looked up in.
#[derive(Default)]
pub(crate) struct LoraFolders {
    folders: Vec<PathBuf>,
    /// The names that files carry inside, for as long as the files stay the same.
    aliases: Mutex<HashMap<FileId, Option<String>>>,
}

impl LoraFolders {
    /// # Errors
    /// [`Error::Core`] if one can't be read.
    pub fn new(folders: Vec<PathBuf>) -> Result<Self> {
        for folder in &folders {
            files_below(folder)?;
        }
        Ok(Self {
            folders,
            aliases: Mutex::default(),
        })
    }

    /// Files by name, as they are now: of two with one name in a folder the later path counts (WebUI), and earlier folders win.
    fn files(&self) -> Result<Vec<(String, PathBuf)>> {
        let mut files: Vec<(String, PathBuf)> = Vec::new();
        for folder in &self.folders {
            let (mut found, _) = files_below(folder)?;
            found.reverse();
            for path in found {
                let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
                if ENDINGS.iter().any(|known| ending == *known)
                    && let Some(stem) = path.file_stem()
                {
                    files.push((stem.to_string_lossy().into_owned(), path));
                }
            }
        }
        Ok(files)
    }

    /// The file that a tag means: by its name without the ending, else by the name that training left in its metadata. Both as
    /// they are spelt, as in the WebUI.
    fn find(&self, name: &str) -> Result<Option<PathBuf>> {
        let files = self.files()?;
        let by_name = files.iter().find(|(stem, _)| stem == name);
        let by_alias = || {
            files
                .iter()
                .find(|(_, path)| self.alias(path).as_deref() == Some(name))
        };
        Ok(by_name.or_else(by_alias).map(|(_, path)| path.clone()))
    }

    /// A file that can't be read has none: it may be no LoRA at all.
    fn alias(&self, path: &Path) -> Option<String> {
        let id = FileId::of(path).ok()?;
        if let Some(alias) = self.known().get(&id) {
            return alias.clone();
        }
        let file = TensorFile::open(path).ok();
        let alias = file.and_then(|file| file.metadata().get("ss_output_name").cloned());
        self.known().insert(id, alias.clone());
        alias
    }

    fn known(&self) -> MutexGuard<'_, HashMap<FileId, Option<String>>> {
        self.aliases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names most like one that wasn't found.
    fn near(&self, name: &str) -> Result<Vec<String>> {
        let distance = |other: &str| strsim::osa_distance(&name.to_lowercase(), &other.to_lowercase());
        let mut names: Vec<String> = self.files()?.into_iter().map(|(stem, _)| stem).collect();
        names.sort_by_cached_key(|other| (distance(other), other.clone()));
        names.dedup();
        names.truncate(3);
        Ok(names)
    }
}

/// The tags for LoRAs in a prompt, and where they stand.
pub(crate) fn lora_tags(prompt: &Prompt) -> Result<Vec<(LoraTag, Range<usize>)>> {
    let read = prompt
        .tags
        .iter()
        .filter_map(|tag| Some((tag.lora()?, tag.span.clone())));
    read.map(|(lora, span)| match lora {
        Ok(lora) => Ok((lora, span)),
        Err(reason) => {
            let reason = format!("{reason}, in its <lora:..> tag at byte {}", span.start);
            Err(Error::parameter("prompt", reason))
        }
    })
    .collect()
}

/// A LoRA with what a tag says of it; what the tag leaves open stays.
fn weighed(lora: Lora, tag: &LoraTag) -> Result<Lora> {
    let refuse =
        |reason: String| Error::parameter("prompt", format!("its tag for the LoRA '{}': {reason}", tag.name));
    let mut lora = lora.text_encoder(tag.text_encoder).unet(tag.unet);
    if let Some(ranks) = tag.dynamic_rank {
        lora = lora.ranks(ranks as usize);
    }
    if let Some(blocks) = &tag.blocks {
        let blocks = BlockWeights::parse(blocks).map_err(|error| match error {
            sd_lora::Error::Strength(reason) => refuse(reason),
            error => error.into(),
        })?;
        lora = lora.blocks(blocks);
    }
    match tagged_schedule(tag).map_err(refuse)? {
        // Its factors are the weights.
        Some(schedule) if !tag.course.is_empty() => Ok(lora.unet(1.0).schedule(schedule)),
        Some(schedule) => Ok(lora.schedule(schedule)),
        None => Ok(lora),
    }
}

fn tagged_schedule(tag: &LoraTag) -> std::result::Result<Option<LoraSchedule>, String> {
    let (start, stop) = (tag.start, tag.stop);
    if tag.course.is_empty() && start.is_none() && stop.is_none() {
        return Ok(None);
    }
    let steps = [start, stop].iter().flatten().any(|when| *when > 1.0);
    let when =
        |given: Option<f64>, default: f64| given.map_or(Ok(default.into()), |when| moment(when, steps));
    let schedule = LoraSchedule::from_pairs(&tag.course, true)?.within(when(start, 0.0)?, when(stop, 1.0)?);
    schedule.check()?;
    Ok(Some(schedule))
}

impl Pipeline {
    /// The pipeline that a prompt's tags ask for; `None` if it is this one. The last one is kept for runs with the same tags.
    pub(crate) fn for_tags(&self, prompt: &Prompt) -> Result<Option<Arc<Self>>> {
        let wanted = self.wanted(&lora_tags(prompt)?)?;
        if wanted.iter().eq(self.loras()) {
            return Ok(None);
        }
        let kept = || self.tagged.lock().unwrap_or_else(PoisonError::into_inner);
        let last = kept().take();
        if let Some(last) = last {
            if last.has(&wanted)? {
                *kept() = Some(last.clone());
                return Ok(Some(last));
            }
            // Its memory serves the next one, unless another run still draws with it.
            if let Ok(mut own) = Arc::try_unwrap(last) {
                own.set_loras(&wanted)?;
                return Ok(Some(kept().insert(own.into()).clone()));
            }
        }
        let made = Arc::new(self.with_loras(&wanted)?);
        Ok(Some(kept().insert(made).clone()))
    }

    /// This pipeline's LoRAs and those that tags ask for: a tag for one that the pipeline has gives it other weights.
    fn wanted(&self, tags: &[(LoraTag, Range<usize>)]) -> Result<Vec<Lora>> {
        let mut wanted: Vec<Lora> = self.loras().cloned().collect();
        let mut named = vec![false; wanted.len()];
        for (tag, _) in tags {
            let own = (0..named.len()).find(|&i| !named[i] && wanted[i].name() == tag.name);
            match own {
                Some(i) => {
                    named[i] = true;
                    wanted[i] = weighed(wanted[i].clone(), tag)?;
                }
                None => wanted.push(weighed(self.find_lora(&tag.name)?, tag)?),
            }
        }
        Ok(wanted)
    }

    fn find_lora(&self, name: &str) -> Result<Lora> {
        if let Some(own) = self.loras().find(|lora| lora.name() == name) {
            return Ok(own.clone());
        }
        if let Some(path) = self.lora_folders.find(name)? {
            return Ok(Lora::file(path).named(name));
        }
        let advice = match self.lora_folders.near(name)?.as_slice() {
            [] => "add its file or folder to the pipeline, or take the tag out".to_owned(),
            near => format!("the names most like it are: {}", near.join(", ")),
        };
        let reason = format!("it asks for the LoRA '{name}', which was not found; {advice}");
        Err(Error::parameter("prompt", reason))
    }

    /// Whether a run would have what a tag asks for.
    pub(crate) fn resolves(&self, tag: &LoraTag) -> bool {
        self.find_lora(&tag.name).is_ok()
    }

    /// The textual inversions that a run has: the pipeline's, and those of the LoRAs that tags ask for, as far as these are found.
    pub(crate) fn embeddings_for(&self, prompt: &Prompt) -> Result<Arc<Embeddings>> {
        let mut tags = lora_tags(prompt)?;
        tags.retain(|(tag, _)| self.resolves(tag));
        let wanted = self.wanted(&tags)?;
        if wanted.iter().eq(self.loras()) {
            return Ok(self.embeddings.clone());
        }
        let applied = lora::apply(wanted, &self.checkpoint, &self.loras, &self.runtime)?;
        self.bundled(&applied)
    }

    /// Whether it has these LoRAs and no others.
    fn has(&self, wanted: &[Lora]) -> Result<bool> {
        if wanted.len() != self.loras.len() {
            return Ok(false);
        }
        for (applied, lora) in self.loras.iter().zip(wanted) {
            if !applied.is(lora)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A single call of a network can't change weights for itself, so it takes the tags of LoRAs that the pipeline has, and no others.
    pub(crate) fn check_tags(&self, prompt: &Prompt) -> Result<()> {
        for (tag, _) in lora_tags(prompt)? {
            let same = self.loras().filter(|lora| lora.name() == tag.name);
            let mut meant = false;
            for lora in same {
                meant |= weighed(lora.clone(), &tag)? == *lora;
            }
            if meant {
                continue;
            }
            let reason = format!(
                "it asks for the LoRA '{}' at {} and {}, which this pipeline does not have; make one that has it (with_loras), or take \
                 the tag out",
                tag.name, tag.text_encoder, tag.unet
            );
            return Err(Error::parameter("prompt", reason));
        }
        Ok(())
    }
}
