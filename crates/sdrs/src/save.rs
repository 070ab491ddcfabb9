//! Pipelines as files.

use std::path::Path;

use sd_core::{Dtype, checkpoint::Checkpoint};

use crate::{Error, Pipeline, Result, image::wrong_ending, lora::patches};

impl Pipeline {
    /// Writes the pipeline as a diffusers folder: weights with its LoRAs merged into them, configurations, tokenizer, noise schedule.
    ///
    /// Everything is made from the base in the checkpoint's files, in `f32` until the cast to `dtype`, one tensor at a time; the type
    /// that the pipeline computes in doesn't matter. The folder appears under its name when it is whole and on the disk. Textual
    /// inversions stay files of their own.
    ///
    /// # Errors
    /// [`Error::Core`] if it can't be written, a folder with something in it is there already, or values go beyond
    /// the type's range; [`Error::InvalidParameter`] if the name ends as a file of weights does.
    pub fn save_folder(&self, path: impl AsRef<Path>, dtype: Dtype) -> Result<()> {
        check_folder(path.as_ref())?;
        Ok(self.merged().save_folder(path.as_ref(), dtype)?)
    }

    /// Writes the pipeline as a single `.safetensors` file in LDM's layout, likewise. A file that is there is replaced, which those who
    /// have it open don't notice; its permissions and links to it stay. Its metadata carries the configurations, and the tokenizer unless
    /// it is CLIP's own.
    ///
    /// # Errors
    /// As [`save_folder`](Self::save_folder), and if the name ends as another format's.
    pub fn save_file(&self, path: impl AsRef<Path>, dtype: Dtype) -> Result<()> {
        check_file(path.as_ref())?;
        Ok(self.merged().save_file(path.as_ref(), dtype)?)
    }

    fn merged(&self) -> Checkpoint {
        let mut checkpoint = Checkpoint::clone(&self.checkpoint);
        checkpoint.set_patches(&patches(&self.loras));
        checkpoint
    }
}

/// How files of weights in other formats are called: safetensors under such a name would not be read.
const OTHER_FORMATS: &[&str] = &[
    "bin", "ckpt", "gguf", "h5", "msgpack", "onnx", "pickle", "pkl", "pt", "pth",
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
