//! The configurations of a checkpoint's parts: from a folder's files, a single file's metadata, or its family.

use super::{
    Folder, TensorFile,
    classify::classify,
    inspect::{Family, Kind},
};
use crate::{
    Error, Result,
    config::{self, ClipTextConfig, SchedulerConfig, UnetConfig, VaeConfig},
};

/// The configurations of all parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Configs {
    /// The text encoder's.
    pub text_encoder: ClipTextConfig,
    /// The U-Net's.
    pub unet: UnetConfig,
    /// The autoencoder's.
    pub vae: VaeConfig,
    /// The noise schedule's and prediction type's.
    pub scheduler: SchedulerConfig,
}

/// Keys under which a single file may carry in its metadata what a folder holds in files of its own.
pub(super) mod metadata {
    use crate::weights::Part;

    pub const TEXT_ENCODER: &str = "sdrs.text_encoder.config";
    pub const UNET: &str = "sdrs.unet.config";
    pub const VAE: &str = "sdrs.vae.config";
    pub const SCHEDULER: &str = "sdrs.scheduler.config";
    pub const TOKENIZER: &str = "sdrs.tokenizer.json";
    pub const VOCAB: &str = "sdrs.tokenizer.vocab";
    pub const MERGES: &str = "sdrs.tokenizer.merges";
    pub const RECOMMENDED: &str = "sdrs.recommended";
    pub const SPECIAL: &str = "sdrs.tokenizer.special_tokens_map";

    /// The key of a part's configuration.
    pub fn of(part: Part) -> &'static str {
        match part {
            Part::TextEncoder => TEXT_ENCODER,
            Part::Unet => UNET,
            Part::Vae => VAE,
        }
    }
}

impl Configs {
    /// Reads the configurations of a diffusers folder.
    ///
    /// # Errors
    /// [`Error::Io`] if one is missing, [`Error::Malformed`] or [`Error::Config`] if one can't be used.
    pub fn from_folder(folder: &Folder) -> Result<Self> {
        let read = |name: &str| Ok::<_, Error>((folder.text(name)?, folder.origin(name)));
        if !folder.has("unet/config.json") {
            let reason = "not a diffusers folder: it has no unet/config.json; give the folder that holds model_index.json, or a \
                          .safetensors file";
            return Err(Error::malformed(folder.origin(""), reason));
        }
        let (text_encoder, text_encoder_origin) = read("text_encoder/config.json")?;
        let (unet, unet_origin) = read("unet/config.json")?;
        let (vae, vae_origin) = read("vae/config.json")?;
        let scheduler = match folder.has("scheduler/scheduler_config.json") {
            true => Some(read("scheduler/scheduler_config.json")?),
            false => None,
        };
        Self {
            text_encoder: ClipTextConfig::from_json(&text_encoder, &text_encoder_origin)?,
            unet: UnetConfig::from_json(&unet, &unet_origin)?,
            vae: VaeConfig::from_json(&vae, &vae_origin)?,
            scheduler: match scheduler {
                Some((json, origin)) => SchedulerConfig::from_json(&json, &origin)?,
                None => SchedulerConfig::default(),
            },
        }
        .agreeing(&folder.origin(""))
    }

    /// The configurations that a single file carries in its metadata, or else those of its family.
    pub(super) fn from_file(file: &TensorFile) -> Result<Self> {
        let origin = file.origin();
        let get = |key: &str| file.metadata().get(key).map(String::as_str);
        let parts = (
            get(metadata::TEXT_ENCODER),
            get(metadata::UNET),
            get(metadata::VAE),
        );
        if let (Some(text_encoder), Some(unet), Some(vae)) = parts {
            return Self {
                text_encoder: ClipTextConfig::from_json(text_encoder, origin)?,
                unet: UnetConfig::from_json(unet, origin)?,
                vae: VaeConfig::from_json(vae, origin)?,
                scheduler: match get(metadata::SCHEDULER) {
                    Some(json) => SchedulerConfig::from_json(json, origin)?,
                    None => SchedulerConfig::default(),
                },
            }
            .agreeing(origin);
        }
        let found = classify(&[file]);
        match (found.kind, found.family) {
            (Kind::Checkpoint, Family::Sd1) => {}
            (Kind::Checkpoint, family) => {
                return Err(Error::malformed(
                    origin,
                    format!("a checkpoint of family {family}, which is not supported yet"),
                ));
            }
            (kind, _) => {
                let reason =
                    format!("no checkpoint but {kind}; give a file with U-Net, VAE and text encoder");
                return Err(Error::malformed(origin, reason));
            }
        }
        let in_channels = match found.in_channels {
            Some(n @ (4 | 8 | 9)) => n,
            other => {
                let n = other.map_or("no number of".into(), |n| n.to_string());
                let reason = format!("a U-Net with {n} input channels; SD1 has 4, 8 or 9");
                return Err(Error::malformed(origin, reason));
            }
        };
        let scheduler = SchedulerConfig {
            prediction_type: found.prediction_type.unwrap_or_else(|| "epsilon".into()),
            rescale_betas_zero_snr: found.zero_terminal_snr,
            ..SchedulerConfig::default()
        };
        Ok(Self {
            text_encoder: config::sd1_text_encoder(),
            unet: config::sd1_unet(in_channels),
            vae: config::sd1_vae(),
            scheduler,
        })
    }

    /// Checks that the parts fit together.
    pub(super) fn agreeing(self, origin: &str) -> Result<Self> {
        let (text, context) = (self.text_encoder.hidden_size, self.unet.cross_attention_dim);
        if text != context {
            let reason =
                format!("the text encoder's width {text} is not the U-Net's context width {context}");
            return Err(Error::config(origin, "cross_attention_dim", reason));
        }
        let (latents, out) = (self.vae.latent_channels, self.unet.out_channels);
        if latents != out {
            let reason = format!("the VAE's {latents} latent channels are not the U-Net's {out}");
            return Err(Error::config(origin, "latent_channels", reason));
        }
        for (field, channels) in [
            ("in_channels", self.vae.in_channels),
            ("out_channels", self.vae.out_channels),
        ] {
            if channels != 3 {
                let reason = format!("must be 3, for the colours of the VAE's pictures, not {channels}");
                return Err(Error::config(origin, field, reason));
            }
        }
        let input = self.unet.in_channels;
        if input < latents {
            let reason =
                format!("the U-Net's {input} channels don't hold the VAE's {latents} latent channels");
            return Err(Error::config(origin, "in_channels", reason));
        }
        Ok(self)
    }
}
