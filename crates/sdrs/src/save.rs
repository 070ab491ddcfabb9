//! Pipelines as files.

use std::path::Path;

use sd_core::{Dtype, weights::Checkpoint};

use crate::{Pipeline, Result, lora::patches};

impl Pipeline {
    /// Writes the pipeline as a diffusers folder: weights with its LoRAs merged into them, configurations, tokenizer, noise schedule.
    ///
    /// Everything is made from the base in the checkpoint's files, in `f32` until the cast to `dtype`, one tensor at a time; the type
    /// that the pipeline computes in doesn't matter. The folder appears under its name when it is whole and on the disk. Textual
    /// inversions stay files of their own.
    ///
    /// # Errors
    /// [`Error::Core`](crate::Error::Core) if it can't be written, a folder with something in it is there already, or values go beyond
    /// the type's range.
    pub fn save_folder(&self, path: impl AsRef<Path>, dtype: Dtype) -> Result<()> {
        Ok(self.merged().save_folder(path.as_ref(), dtype)?)
    }

    /// Writes the pipeline as a single `.safetensors` file in LDM's layout, likewise. A file that is there is replaced, which those who
    /// have it open don't notice. Its metadata carries the configurations, and the tokenizer unless it is CLIP's own.
    ///
    /// # Errors
    /// As [`save_folder`](Self::save_folder).
    pub fn save_file(&self, path: impl AsRef<Path>, dtype: Dtype) -> Result<()> {
        Ok(self.merged().save_file(path.as_ref(), dtype)?)
    }

    fn merged(&self) -> Checkpoint {
        let mut checkpoint = Checkpoint::clone(&self.checkpoint);
        checkpoint.set_patches(&patches(&self.loras));
        checkpoint
    }
}
