//! An adapter's file, opened but not yet fitted to a model.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

use sd_core::{
    checkpoint::{self, Expected, Inspection, adapter_family},
    config::Family,
    embedding::Embedding,
    shown,
    weights::{Folder, TensorFile},
};

use crate::{
    Error, Kind, Result,
    keys::{self, BUNDLE, Key, Leaf},
    module::Module,
    peft::PeftSettings,
};

/// An adapter's file: its header has been read and its values have not, so it is cheap to keep, and may be bound to any number of
/// models, or to one again with other strengths. Clones share everything.
#[derive(Debug, Clone)]
pub struct AdapterFile {
    pub(crate) contents: Arc<Contents>,
}

#[derive(Debug)]
pub(crate) struct Contents {
    pub tensors: TensorFile,
    /// Sorted by name.
    pub modules: Vec<Module>,
    /// Keys of no known kind, sorted.
    pub unknown: Vec<String>,
    /// Names of bundled embeddings.
    bundled: BTreeSet<String>,
    /// The settings that have no effect.
    notes: Vec<String>,
}

/// The tensors of a module, and its name.
#[derive(Default)]
struct ModuleKeys {
    name: String,
    keys: BTreeMap<Leaf, String>,
    fault: Option<String>,
}

impl AdapterFile {
    /// Maps a file of any container that weights come in, safetensors, PyTorch's or GGUF; or opens a folder as PEFT saves it
    /// (`adapter_model.safetensors` or `.bin`, with its settings in `adapter_config.json`).
    ///
    /// # Errors
    /// [`Error::Core`] if it can't be read, [`Error::Unsupported`] if it holds no adapter.
    pub fn open(path: &Path) -> Result<Self> {
        const CONFIG: &str = "adapter_config.json";
        let folder = Folder::Disk(path.to_owned());
        let place = Self::tensors_at(path);
        if place == path && path.is_dir() {
            let reason = match checkpoint::inspect(path) {
                Ok(found) => found.instead_of(Expected::Adapter),
                Err(_) => {
                    "is a folder without adapter_model.safetensors, in which PEFT saves an adapter".into()
                }
            };
            let origin = path.display().to_string();
            return Err(Error::Unsupported { origin, reason });
        }
        let tensors = TensorFile::open(&place)?;
        if place == path || !folder.has(CONFIG) {
            return Self::from_tensors(tensors);
        }
        let peft = PeftSettings::of_folder(&folder.text(CONFIG)?).map_err(|reason| Error::Unsupported {
            origin: folder.origin(CONFIG),
            reason,
        })?;
        Self::with_settings(tensors, &peft)
    }

    /// The file that holds the tensors: a path itself, or the one in a folder that PEFT saved.
    pub fn tensors_at(path: &Path) -> PathBuf {
        const TENSORS: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];
        let folder = Folder::Disk(path.to_owned());
        let inside = TENSORS.iter().find(|name| folder.has(name));
        inside.map_or_else(|| path.to_owned(), |name| path.join(name))
    }

    /// The same from an opened file.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if it holds no adapter.
    pub fn from_tensors(tensors: TensorFile) -> Result<Self> {
        let peft = PeftSettings::read(&tensors).map_err(|reason| Error::Unsupported {
            origin: tensors.origin().to_owned(),
            reason,
        })?;
        Self::with_settings(tensors, &peft)
    }

    fn with_settings(tensors: TensorFile, peft: &PeftSettings) -> Result<Self> {
        // By flattened name: diffusers' converter to kohya's names leaves a dot in some.
        let mut modules: BTreeMap<String, ModuleKeys> = BTreeMap::new();
        let (mut unknown, mut bundled) = (Vec::new(), BTreeSet::new());
        // Sorted, so that the same file always gives the same message.
        let names: BTreeSet<&str> = tensors.names().collect();
        for name in names {
            match keys::parse(name) {
                Key::Module(module, leaf) => {
                    let gathered = modules.entry(module.replace('.', "_")).or_default();
                    module.clone_into(&mut gathered.name);
                    if let Some(other) = gathered.keys.insert(leaf, name.to_owned()) {
                        gathered.fault = Some(format!(
                            "{} and {} are the same tensor of two adapters",
                            shown(&other),
                            shown(name)
                        ));
                    }
                }
                Key::Bundled(embedding, _) => {
                    bundled.insert(embedding.to_owned());
                }
                Key::Unknown => unknown.push(name.to_owned()),
            }
        }
        // Whole weights look like IA3's but for one tensor.
        let adapts = |module: &ModuleKeys| module.keys.keys().any(|leaf| *leaf != Leaf::Ia3Weight);
        if !modules.values().any(adapts) && bundled.is_empty() {
            return Err(Error::Unsupported {
                reason: no_adapter(&tensors),
                origin: tensors.origin().to_owned(),
            });
        }
        let modules = modules.into_values().map(|gathered| {
            let ModuleKeys { name, keys, fault } = gathered.with_magnitude();
            let mut module = Module::read(&tensors, name, keys, peft);
            if let Some(reason) = fault {
                module.parsed = Err(reason);
            }
            module
        });
        let mut modules: Vec<Module> = modules.collect();
        modules.sort_by(|a, b| a.name.cmp(&b.name));
        let notes = peft.idle(modules.iter().map(|module| module.name.as_str()));
        Ok(Self {
            contents: Arc::new(Contents {
                tensors,
                modules,
                unknown,
                bundled,
                notes,
            }),
        })
    }

    /// The path, or the name given with the bytes.
    pub fn origin(&self) -> &str {
        self.contents.tensors.origin()
    }

    /// The trainer's notes in the header.
    pub fn metadata(&self) -> &HashMap<String, String> {
        self.contents.tensors.metadata()
    }

    /// The settings that have no effect, a sentence each: patterns that are no layer's name.
    pub fn notes(&self) -> &[String] {
        &self.contents.notes
    }

    /// The number of modules of each kind; those that can't be read are not counted.
    pub fn kinds(&self) -> BTreeMap<Kind, usize> {
        let mut kinds = BTreeMap::new();
        for parsed in self
            .contents
            .modules
            .iter()
            .filter_map(|module| module.parsed.as_ref().ok())
        {
            *kinds.entry(parsed.kind()).or_default() += 1;
        }
        kinds
    }

    /// The family of models that it was made for: by the width of the context that the attention's keys take, else by the trainer's notes.
    pub fn family(&self) -> Family {
        let widths = self.contents.modules.iter().filter_map(|module| {
            let keys = module.name.contains("attn2") && module.name.ends_with("to_k");
            let change = module.parsed.as_ref().ok()?.change.as_ref()?;
            keys.then(|| change.shape()?.get(1).copied())?
        });
        let families = widths.filter_map(|width| match width {
            768 => Some(Family::Sd1),
            1024 => Some(Family::Sd2),
            2048 => Some(Family::Sdxl),
            1280 => Some(Family::SdxlRefiner),
            _ => None,
        });
        let mut families = families;
        families
            .next()
            .unwrap_or_else(|| adapter_family(&self.contents.tensors))
    }

    /// The textual inversions that come along in the file, sorted by name: whoever uses the adapter adds them to the pipeline.
    ///
    /// # Errors
    /// [`Error::Core`] if one can't be used.
    pub fn embeddings(&self) -> Result<Vec<Embedding>> {
        self.embeddings_by_name()
            .map(|(_, embedding)| embedding)
            .collect()
    }

    pub(crate) fn embeddings_by_name(&self) -> impl Iterator<Item = (String, Result<Embedding>)> {
        let tensors = &self.contents.tensors;
        self.contents.bundled.iter().map(move |name| {
            let embedding = Embedding::bundled(name, tensors, &format!("{BUNDLE}{name}."));
            (name.clone(), embedding.map_err(Error::from))
        })
    }
}

impl ModuleKeys {
    /// PEFT's magnitudes that diffusers' converter calls `dora_scale`, recognised by the dot that it leaves in the module's name: they are
    /// of outputs, whatever their shape.
    fn with_magnitude(mut self) -> Self {
        let own = |key: &String| keys::parse(key) == Key::Module(&self.name, Leaf::DoraScale);
        if self.keys.get(&Leaf::DoraScale).is_some_and(|key| !own(key))
            && !self.keys.contains_key(&Leaf::Magnitude)
            && let Some(key) = self.keys.remove(&Leaf::DoraScale)
        {
            self.keys.insert(Leaf::Magnitude, key);
        }
        self
    }
}

/// The description of a file without an adapter.
fn no_adapter(tensors: &TensorFile) -> String {
    let Some(first) = tensors.names().min() else {
        return "holds no tensors".into();
    };
    let found = Inspection::of_file(tensors);
    match found.kind {
        checkpoint::Kind::Lora | checkpoint::Kind::Unknown => format!(
            "holds no adapter of a known kind: '{}' is none's tensor; `sdrs inspect` tells what it is",
            shown(first)
        ),
        _ => found.instead_of(Expected::Adapter),
    }
}
