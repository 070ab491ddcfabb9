//! The configuration of one part, and the model that it describes.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{
    Device, Dtype, Result,
    config::{ClipTextConfig, Fields, UnetConfig, VaeConfig},
    models::{ClipTextModel, UNet, Vae},
    weights::{
        Fit, PartWeights, Target, WeightPatch, fit,
        names::{Ldm, TextEncoderPlace},
        unshared_bytes, weight_bytes,
    },
};

/// The configuration of one part.
#[derive(Debug, Clone, Copy)]
pub enum PartConfig<'a> {
    /// A text encoder's, and the place that it has.
    TextEncoder(&'a ClipTextConfig, TextEncoderPlace),
    /// The U-Net's.
    Unet(&'a UnetConfig),
    /// The autoencoder's.
    Vae(&'a VaeConfig),
}

impl PartConfig<'_> {
    /// The parameters that the model asks for, if the weights have them.
    ///
    /// # Errors
    /// [`Error::Weights`](crate::Error::Weights) if they don't fit, [`Error::Device`](crate::Error::Device) if this build has no device
    /// at all.
    pub(super) fn fit(self, weights: &PartWeights) -> Result<Fit> {
        let target = Target::new(Device::for_descriptions()?, Dtype::F32);
        match self {
            Self::TextEncoder(config, _) => fit::<ClipTextModel>(config, weights, &target),
            Self::Unet(config) => fit::<UNet>(config, weights, &target),
            Self::Vae(config) => fit::<Vae>(config, weights, &target),
        }
    }

    /// Bytes that these weights take when they are loaded.
    pub(super) fn weight_bytes(self, weights: &PartWeights, target: &Target) -> usize {
        match self {
            Self::TextEncoder(config, _) => weight_bytes::<ClipTextModel>(config, weights, target),
            Self::Unet(config) => weight_bytes::<UNet>(config, weights, target),
            Self::Vae(config) => weight_bytes::<Vae>(config, weights, target),
        }
    }

    /// Bytes of what they don't share with a sibling that has other patches.
    pub(super) fn unshared_bytes(
        self,
        weights: &PartWeights,
        patches: &[Arc<dyn WeightPatch>],
        target: &Target,
    ) -> usize {
        match self {
            Self::TextEncoder(config, _) => unshared_bytes::<ClipTextModel>(config, weights, patches, target),
            Self::Unet(config) => unshared_bytes::<UNet>(config, weights, patches, target),
            Self::Vae(config) => unshared_bytes::<Vae>(config, weights, patches, target),
        }
    }

    /// Its names in a single file with these tensors.
    pub(super) fn ldm_of<'a>(self, stored: impl Iterator<Item = &'a str>) -> Ldm {
        match self {
            Self::TextEncoder(config, place) => match place.is_open_clip(stored) {
                true => Ldm::open_clip(config, place),
                false => Ldm::text_encoder(place),
            },
            Self::Unet(config) => Ldm::unet_among(config, stored),
            Self::Vae(_) => self.ldm(),
        }
    }

    /// Its usual names in a single file.
    pub(super) fn ldm(self) -> Ldm {
        match self {
            Self::TextEncoder(config, place) => match config.is_open_clip() {
                true => Ldm::open_clip(config, place),
                false => Ldm::text_encoder(place),
            },
            Self::Unet(config) => Ldm::unet(config),
            Self::Vae(config) => Ldm::vae(config),
        }
    }

    /// Its `config.json`, written over the one that it was read from, if there was one.
    pub(super) fn to_json(self, original: Option<&str>) -> Map<String, Value> {
        match self {
            Self::TextEncoder(config, _) => config.to_json(original),
            Self::Unet(config) => config.to_json(original),
            Self::Vae(config) => config.to_json(original),
        }
    }
}
