//! The autoencoder of a model: its own, or a tiny one in its place.

use std::{path::Path, sync::Arc};

use sd_core::{
    config::VaeConfig,
    models::{TinyVae, Vae},
    weights::{Loaded, Target, TensorFile},
};

use super::{Runtime, Source};
use crate::{Error, Result};

/// What makes pictures of latents and latents of pictures.
#[derive(Clone)]
pub(crate) enum Autoencoder {
    Kl(Arc<Loaded<Vae>>),
    /// In the place of one of this configuration. Its latents are the U-Net's.
    Tiny(Arc<VaeConfig>, Arc<TinyVae>),
}

impl Autoencoder {
    /// The KL autoencoder's configuration, whether or not it is there itself.
    pub fn config(&self) -> &VaeConfig {
        match self {
            Self::Kl(vae) => vae.config(),
            Self::Tiny(config, _) => config,
        }
    }

    /// The tiny one, if it is one.
    pub fn tiny(&self) -> Option<&TinyVae> {
        match self {
            Self::Kl(_) => None,
            Self::Tiny(_, vae) => Some(vae),
        }
    }

    /// # Errors
    /// [`Error::Core`] if its file has no decoder.
    pub fn can_decode(&self) -> Result<()> {
        Ok(match self {
            Self::Kl(vae) => vae.can_decode(),
            Self::Tiny(_, vae) => vae.can_decode(),
        }?)
    }

    /// # Errors
    /// [`Error::Core`] if its file has no encoder.
    pub fn can_encode(&self) -> Result<()> {
        Ok(match self {
            Self::Kl(vae) => vae.can_encode(),
            Self::Tiny(_, vae) => vae.can_encode(),
        }?)
    }
}

/// The name of weights in a diffusers folder of an autoencoder.
const IN_FOLDER: &str = "diffusion_pytorch_model.safetensors";

/// The file of a tiny autoencoder at a path, if it leads to one: to its file, or to its diffusers folder.
pub(crate) fn tiny_file(source: &Source) -> Option<TensorFile> {
    let file = match source {
        Source::Path(path) if path.is_dir() => TensorFile::open(&path.join(IN_FOLDER)),
        Source::Path(path) => TensorFile::open(path),
        Source::Bytes(name, bytes) => TensorFile::from_bytes(name.as_str(), bytes.clone()),
    };
    // Whatever else is wrong with it shows when it is opened as a part.
    file.ok().filter(TinyVae::is_in)
}

/// Loads a tiny autoencoder for latents of this configuration.
///
/// # Errors
/// [`Error::Core`] if the file can't be used or has no decoder, [`Error::InvalidFile`] if it is for other latents.
pub(crate) fn tiny(
    file: TensorFile,
    config: &VaeConfig,
    target: &Target,
    runtime: &Runtime,
) -> Result<TinyVae> {
    let network = runtime.timed("loaded the tiny autoencoder", || Ok(TinyVae::load(file, target)?))?;
    network.can_decode()?;
    let wants = config.latent_channels;
    if network.latent_channels() != Some(wants) || network.factor() != Some(config.downscale()) {
        return Err(Error::InvalidFile {
            path: network.origin().to_owned(),
            reason: format!(
                "a tiny autoencoder for other latents than this model's, of {wants} channels; give that of its family"
            ),
        });
    }
    Ok(network)
}

/// The same from a path.
pub(super) fn tiny_at(
    path: &Path,
    config: &VaeConfig,
    target: &Target,
    runtime: &Runtime,
) -> Result<TinyVae> {
    tiny(TensorFile::open(path)?, config, target, runtime)
}
