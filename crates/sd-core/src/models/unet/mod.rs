//! The U-Net of latent diffusion (Rombach et al. 2022, arXiv:2112.10752).

mod block;
mod deep_cache;
mod encoder;
mod first_block;
mod free_u;
mod input;
mod kept;
mod perturbed;

use burn_tensor::{DType, Tensor};
use sd_kernels::{Conv2d, ConvExtras, GroupNorm};

use super::nn::{channels_first, conv, group_norm};
use crate::{
    Error, Result,
    config::{UnetConfig, Way},
    weights::{Model, Params, PartWeights, Target, load},
};
use block::{Block, Conditions, down, last, middle, up};

pub use deep_cache::{DeepCache, DeepFeatures, UnetOutput};
pub use encoder::{UnetEncoder, guidance_embedding, timestep_embedding};
pub use free_u::{FreeU, FreeUVersion};
pub use input::{CrossAttentionCache, TextInput, UnetFeatures, UnetInput};
pub use kept::FirstBlock;
pub use perturbed::{Perturbation, SelfAttentionLayers};

/// The denoising network: latents, timesteps and text in, a prediction of the latents' shape out.
pub struct UNet {
    encoder: UnetEncoder,
    up: Vec<Block>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Model for UNet {
    type Config = UnetConfig;

    fn config(&self) -> &UnetConfig {
        &self.encoder.config
    }

    fn build(config: &UnetConfig, p: &Params, target: &Target) -> Self {
        let (first, groups) = (config.levels[0].channels, config.norm_num_groups);
        Self {
            encoder: UnetEncoder::build(config, p, target),
            up: Block::all(p, config, Way::Up),
            norm_out: group_norm(&p.at("conv_norm_out"), first, groups, config.norm_eps),
            conv_out: conv(&p.at("conv_out").sensitive(), first, config.out_channels, 3),
        }
    }
}

impl UNet {
    /// Loads the network.
    ///
    /// # Errors
    /// [`Error::Weights`] if the weights don't fit `config`.
    pub fn load(config: &UnetConfig, weights: &PartWeights, target: &Target) -> Result<Self> {
        load(weights, target, |p| Self::build(config, p, target))
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &UnetConfig {
        &self.encoder.config
    }

    /// The device and type in which it computes.
    pub fn target(&self) -> &Target {
        &self.encoder.target
    }

    /// The keys and values of a context, `[batch, m, cross_attention_dim]`, for every cross-attention, at any timestep.
    ///
    /// # Errors
    /// [`Error::Shape`] if its shape is not as above.
    pub fn cross_attention_cache(&self, context: Tensor<3>) -> Result<CrossAttentionCache> {
        self.encoder.cache(&self.up, context)
    }

    /// One evaluation: the prediction, `[batch, out_channels, h, w]` in `f32`.
    ///
    /// # Errors
    /// [`Error::Shape`] if an input's shape is not as [`UnetInput`] says, or keys and values are of another network or batch.
    pub fn forward(&self, input: &UnetInput) -> Result<Tensor<4>> {
        Ok(self.whole(input)?.prediction)
    }

    fn whole(&self, input: &UnetInput) -> Result<UnetOutput> {
        let (x, conditions) = self.encoder.enter(input, &self.up)?;
        self.rest(&self.encoder.down, vec![x], input, &conditions)
    }

    /// The blocks of the way down that are left, and all that is behind them, on the skips so far.
    fn rest(
        &self,
        left: &[Block],
        skips: Vec<Tensor<4>>,
        input: &UnetInput,
        conditions: &Conditions,
    ) -> Result<UnetOutput> {
        let mut skips = down(left, skips, conditions);
        let (x, received) = middle(&self.encoder.middle, last(&skips), conditions);
        input.control_skips(&mut skips)?;
        let x = input.control_middle(x)?;
        let x = up(&self.up, x, &mut skips, conditions);
        Ok(UnetOutput {
            prediction: self.leave(x, input),
            deep: None,
            first_block: None,
            received,
        })
    }

    /// The last convolution.
    fn leave(&self, x: Tensor<4>, input: &UnetInput) -> Tensor<4> {
        let extras = ConvExtras {
            wrap: input.wrap,
            ..ConvExtras::default()
        };
        let x = self.conv_out.forward(self.norm_out.forward_silu(x), extras);
        channels_first(x).cast(DType::F32)
    }
}

fn shape_error<T>(name: &'static str, expected: String, got: &[usize]) -> Result<T> {
    Err(Error::Shape {
        name,
        expected,
        got: got.to_vec(),
    })
}
