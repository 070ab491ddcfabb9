//! The contents of a diffusers folder.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use serde_json::Value;

use super::{
    classify::{Classified, classify},
    inspection::{FOLDER, Inspection, value_or_fault},
    kind::Kind,
    prediction::StatedScheduler,
    words::{Expected, not_supported},
};
use crate::{
    Error, Result,
    config::{Family, Part, UnetConfig, WITH_PROJECTION},
    weights::{Folder, TensorFile},
};

/// A diffusers folder, opened: the files of each part that it has.
pub(super) struct FolderContents {
    pub folder: Folder,
    /// By part.
    pub files: BTreeMap<Part, Vec<Arc<TensorFile>>>,
    pub found: Classified,
}

impl Folder {
    /// A folder on disk, which must be there.
    ///
    /// # Errors
    /// [`Error::Io`] if it can't be read, [`Error::Malformed`] if it is no folder.
    pub fn open(path: &Path) -> Result<Self> {
        match std::fs::metadata(path).map_err(|e| Error::io(path, e))?.is_dir() {
            true => Ok(Self::Disk(path.to_owned())),
            false => {
                let reason = format!("is a file, not a folder{}", folder_of_config(path));
                Err(Error::malformed(path.display().to_string(), reason))
            }
        }
    }

    /// Whether it holds the configuration of a part.
    pub(super) fn has_part(&self, part: Part) -> bool {
        self.has(&format!("{}/config.json", part.name()))
    }

    /// A member of one of its configurations, if it can be read.
    pub(super) fn config_field(&self, name: &str, field: &str) -> Option<Value> {
        let json: Value = serde_json::from_str(&self.text(name).ok()?).ok()?;
        json.get(field).cloned()
    }

    /// Refuses a folder of a family without a pipeline.
    pub(super) fn check_family(&self) -> Result<()> {
        let refused = |name| Error::malformed(self.origin(""), not_supported(&format!("a folder of {name}")));
        self.foreign().map(refused).map_or(Ok(()), Err)
    }

    /// The part whose own folder it is, by the class that its configuration names.
    pub(super) fn own_part(&self) -> Option<Part> {
        let named = |field| Some(self.config_field("config.json", field)?.to_string());
        let class = named("_class_name").or_else(|| named("architectures"))?;
        [
            (Part::TextEncoder2, WITH_PROJECTION),
            (Part::Unet, "UNet2D"),
            (Part::Vae, "Autoencoder"),
            (Part::TextEncoder, "CLIPText"),
        ]
        .into_iter()
        .find_map(|(part, name)| class.contains(name).then_some(part))
    }

    /// The reason why it can't be used as a part, as the end of a sentence that begins with its name.
    pub(super) fn instead_of(&self, expected: Expected) -> String {
        match FolderContents::open(self) {
            Ok(contents) => contents.inspection().instead_of(expected),
            Err(_) => match self.own_part() {
                Some(own) => format!("is the folder of {}, not of {}", own.words(), expected.words()),
                None => format!("is not the folder of {}: it has no config.json", expected.words()),
            },
        }
    }

    /// The reason why no part can be found in it, as the end of a sentence that begins with its name.
    pub(super) fn no_parts(&self) -> String {
        const INDEX: &str = "model_index.json";
        if let Some(part) = self.own_part() {
            let (words, name) = (part.words(), part.name());
            return format!(
                "not a diffusers folder, but that of {words} alone: give the folder above it, or this one with {name} beside a \
                 checkpoint"
            );
        }
        if self.has("adapter_config.json") {
            return "not a diffusers folder, but a LoRA's, as PEFT saves it: its place is lora (--lora)"
                .into();
        }
        let class = self.config_field(INDEX, "_class_name");
        let class = class.as_ref().and_then(Value::as_str).unwrap_or_default();
        if !class.is_empty() && !class.starts_with("StableDiffusion") {
            return not_supported(&format!("a folder of {}", crate::error::shown(class)));
        }
        format!(
            "not a diffusers folder: it has no unet/config.json; give the folder that holds {INDEX}, or a .safetensors file"
        )
    }
}

impl FolderContents {
    /// Opens the weights of all parts that are there.
    pub fn open(folder: &Folder) -> Result<Self> {
        folder.check_family()?;
        let mut files = BTreeMap::new();
        for &part in Part::ALL {
            if folder.has_part(part) {
                files.insert(part, folder.part_tensors(part.name(), part.stem())?);
            }
        }
        if files.is_empty() {
            return Err(Error::malformed(folder.origin(""), folder.no_parts()));
        }
        let there: Vec<Part> = files.keys().copied().collect();
        let unet = files.get(&Part::Unet).into_iter().flatten();
        let unet: Vec<&TensorFile> = unet.map(AsRef::as_ref).collect();
        let Classified { marks, family, .. } = classify(&unet);
        let config = folder.text("unet/config.json").ok();
        let config = config.and_then(|json| UnetConfig::from_json(&json, "").ok());
        let in_channels = config.as_ref().map(|unet| unet.in_channels);
        Ok(Self {
            found: Classified {
                kind: match there[..] {
                    [Part::Unet] => Kind::Unet,
                    [Part::TextEncoder] => Kind::TextEncoder,
                    [Part::TextEncoder2] => Kind::TextEncoder2,
                    [Part::Vae] => Kind::Vae,
                    _ => Kind::Checkpoint,
                },
                family: match family {
                    distilled if distilled.base() != distilled => distilled,
                    _ => self::family(folder, config.as_ref()),
                },
                variant: match in_channels {
                    Some(9) => Some("inpainting"),
                    Some(8) => Some("InstructPix2Pix"),
                    _ => None,
                },
                adapter: None,
                in_channels,
                architecture: None,
                marks,
            },
            folder: folder.clone(),
            files,
        })
    }

    /// The folder as its headers show it.
    pub fn inspection(&self) -> Inspection {
        let files = self.files.iter().flat_map(|(part, files)| {
            let files = files.iter();
            files.map(move |file| (Some(*part), file.as_ref()))
        });
        let (stated, fault) = value_or_fault(StatedScheduler::of_folder(&self.folder));
        let (origin, files) = (self.folder.origin(""), files.collect::<Vec<_>>());
        Inspection::new(origin, FOLDER, &files, &self.found, stated.as_ref()).with_fault(fault)
    }

    /// Refuses a folder that no pipeline can be made of.
    pub fn supported(&self) -> Result<()> {
        let found = self.inspection();
        match found.unsupported() {
            true => {
                let reason = found.instead_of(Expected::Checkpoint);
                Err(Error::malformed(self.folder.origin(""), reason))
            }
            false => Ok(()),
        }
    }
}

/// By the U-Net's widths, or by what only SDXL and its refiner have, whatever their widths.
fn family(folder: &Folder, unet: Option<&UnetConfig>) -> Family {
    match unet.map(|unet| (unet.levels[0].channels, unet.cross_attention_dim)) {
        Some((320, 768)) => Family::Sd1,
        Some((320, 1024)) => Family::Sd2,
        Some((320, 2048)) => Family::Sdxl,
        Some((384, 1280)) => Family::SdxlRefiner,
        _ if !folder.has_part(Part::TextEncoder2) => Family::Other,
        _ if folder.has_part(Part::TextEncoder) => Family::Sdxl,
        _ => Family::SdxlRefiner,
    }
}

/// The folder that is meant where one of its configurations is given: "; give the folder ...", or nothing.
pub(super) fn folder_of_config(path: &Path) -> String {
    if !path
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("json"))
    {
        return String::new();
    }
    let mut folder = path.parent().unwrap_or(Path::new(""));
    let others = ["scheduler", "tokenizer", "tokenizer_2"];
    let parts: Vec<&str> = Part::ALL.iter().map(|part| part.name()).chain(others).collect();
    let inner = folder.file_name().and_then(|name| name.to_str());
    if inner.is_some_and(|name| parts.contains(&name)) {
        folder = folder.parent().unwrap_or(Path::new(""));
    }
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    format!("; give the folder, {}", folder.display())
}
