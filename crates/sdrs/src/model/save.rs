//! Names of the files and folders that weights are saved to.

use std::path::Path;

use crate::{Error, Result, picture::wrong_ending};

/// Endings of files in other formats: safetensors under such a name would not be read, and no folder is meant by it.
const OTHER_FORMATS: &[&str] = &[
    "bin", "ckpt", "gguf", "h5", "jpeg", "jpg", "json", "msgpack", "onnx", "pickle", "pkl", "png", "pt",
    "pth", "webp", "zip",
];

/// Whether a path can be meant for a single file.
pub(crate) fn check_file(path: &Path) -> Result<()> {
    match wrong_ending(path, OTHER_FORMATS) {
        Some(ending) => refuse(path, &ending),
        None => Ok(()),
    }
}

/// Whether a path can be meant for a folder.
pub(crate) fn check_folder(path: &Path) -> Result<()> {
    match wrong_ending(path, &[OTHER_FORMATS, &["safetensors", "sft"]].concat()) {
        Some(ending) => refuse(path, &ending),
        None => Ok(()),
    }
}

fn refuse(path: &Path, ending: &str) -> Result<()> {
    let reason = format!(
        "{}: weights are written as a .safetensors file or as a folder, not as .{ending}; name one of these",
        path.display()
    );
    Err(Error::parameter("path", reason))
}
