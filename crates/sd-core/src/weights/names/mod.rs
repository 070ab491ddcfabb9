//! The names of parameters in the layouts of checkpoints.
//!
//! Canonical names are those of current diffusers folders. Other layouts are tables from a block's canonical name to its name there,
//! built from the model's configuration; inside a block a few leaves are renamed.

mod blip;
mod clip;
mod ldm;
mod table;

pub use blip::BlipNames;
pub use clip::ClipNames;
pub(crate) use ldm::{EMA_PREFIX, TEXT_BEGINNINGS, UNET_PREFIX, VAE_BEGINNINGS, VAE_PREFIX};
pub use ldm::{Ldm, TextEncoderPlace};

use crate::config::Part;

/// The spelling of canonical names in one layout.
pub trait Names: Send + Sync {
    /// All places that this parameter may have in a file of this layout, the usual one first.
    fn spellings(&self, canonical: &str) -> Vec<Spelling>;

    /// Whether a tensor of this name belongs to this part of the model, so that leaving it unused would be a fault.
    fn claims(&self, stored: &str) -> bool;
}

/// The place of a parameter in the files of a layout.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Spelling {
    /// The name of the tensor that holds it.
    pub name: String,
    /// Its place in that tensor.
    pub view: View,
}

/// The place of a parameter in a stored tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum View {
    /// The tensor itself.
    Whole,
    /// The tensor itself, a matrix with two more axes of length 1: a convolution of one pixel.
    Pixelwise,
    /// One of `count` parameters of one shape, which lie one after another along the tensor's first axis.
    Slice {
        /// Its number, from 0.
        index: usize,
        /// Their number.
        count: usize,
    },
    /// The transposed tensor, a matrix.
    Transposed,
}

impl View {
    /// The shape of the tensor that holds a parameter of this shape.
    pub fn stored_shape(self, shape: &[usize]) -> Vec<usize> {
        let mut stored = shape.to_vec();
        match (self, shape) {
            (Self::Pixelwise, [_, _]) => stored.extend([1, 1]),
            (Self::Slice { count, .. }, [rows, ..]) => stored[0] = rows * count,
            (Self::Transposed, [_, _]) => stored.reverse(),
            _ => {}
        }
        stored
    }

    /// The shape of a parameter in a tensor of this shape.
    pub fn parameter_shape(self, stored: &[usize]) -> Vec<usize> {
        let mut shape = stored.to_vec();
        match (self, stored) {
            (Self::Pixelwise, [_, _, 1, 1]) => shape.truncate(2),
            (Self::Slice { count, .. }, [rows, ..]) => shape[0] = rows / count,
            (Self::Transposed, [_, _]) => shape.reverse(),
            _ => {}
        }
        shape
    }
}

impl From<String> for Spelling {
    fn from(name: String) -> Self {
        let view = View::Whole;
        Self { name, view }
    }
}

/// Tensors that checkpoints carry and inference needs not: by their names' beginning.
const HARMLESS_PREFIXES: [&str; 31] = [
    // Averages kept by training, and their bookkeeping.
    "model_ema.",
    "first_stage_model.model_ema.",
    // The noise schedule, which is computed.
    "betas",
    "alphas_cumprod",
    "sqrt_",
    "log_one_minus_alphas_cumprod",
    "posterior_",
    "logvar",
    "lvlb_weights",
    "denoiser.sigmas",
    // State of the training loop.
    "optimizer_states",
    "lr_schedulers",
    "callbacks",
    "global_step",
    "epoch",
    // The autoencoder's adversary.
    "loss.",
    "first_stage_model.loss.",
    "scale_factor",
    // Markers of the prediction type and of zero terminal SNR, which are read where the checkpoint is opened.
    "v_pred",
    "ztsnr",
    // Those of continuous noise levels, and of the latents' mean and deviation.
    "edm_mean",
    "edm_std",
    "edm_vpred.sigma_",
    // What trainers saved beside the model: textual inversion's words, and a ControlNet with its base.
    "embedding_manager.",
    "control_model.",
    // The last layer of SD2's text encoder, whose states are never used.
    "cond_stage_model.model.transformer.resblocks.23.",
    "transformer.resblocks.23.",
    // CLIP's other half, which sees pictures.
    "cond_stage_model.transformer.vision_model.",
    "cond_stage_model.transformer.visual_projection.",
    "vision_model.",
    "visual.",
];

/// The same, by their names' end: buffers, and CLIP's heads that text conditioning doesn't use.
const HARMLESS_SUFFIXES: [&str; 4] = [
    "position_ids",
    "logit_scale",
    "text_projection",
    "text_projection.weight",
];

/// Whether a stored tensor is known to be unneeded.
pub fn harmless(stored: &str) -> bool {
    HARMLESS_PREFIXES.iter().any(|prefix| stored.starts_with(prefix))
        || HARMLESS_SUFFIXES.iter().any(|suffix| stored.ends_with(suffix))
}

/// A part's folder in diffusers' layout, in current or older spelling.
pub struct Diffusers {
    /// The part.
    pub part: Part,
}

impl Names for Diffusers {
    fn spellings(&self, canonical: &str) -> Vec<Spelling> {
        let mut names = vec![canonical.to_owned()];
        match self.part {
            Part::Vae => names.extend(old_vae_attention(canonical)),
            // Some writers save the encoder without its outermost name.
            Part::TextEncoder | Part::TextEncoder2 => {
                names.extend(canonical.strip_prefix("text_model.").map(str::to_owned))
            }
            Part::Unet => {}
        }
        names.into_iter().map(Spelling::from).collect()
    }

    fn claims(&self, stored: &str) -> bool {
        !harmless(stored)
    }
}

/// The VAE's attention as diffusers spelt it before 0.17: `query`, `key`, `value`, `proj_attn`.
fn old_vae_attention(canonical: &str) -> Option<String> {
    let (block, leaf) = canonical.split_once("attentions.0.")?;
    let (layer, kind) = leaf.rsplit_once('.')?;
    let layer = match layer {
        "to_q" => "query",
        "to_k" => "key",
        "to_v" => "value",
        "to_out.0" => "proj_attn",
        _ => return None,
    };
    Some(format!("{block}attentions.0.{layer}.{kind}"))
}
