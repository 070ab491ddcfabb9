//! BLIP for captions (Li et al. 2022, arXiv:2201.12086): a vision transformer, and a decoder of words that looks at what it sees.

mod decoder;
mod files;
mod generate;
mod structure;

use burn_tensor::{DType, Tensor};

pub use files::BlipFiles;
pub use generate::{CaptionOptions, Captioning, EarlyStopping};

use self::decoder::TextDecoder;
use super::vision::{VisionKind, VisionTransformer};
use crate::{
    Result,
    config::BlipConfig,
    weights::{Params, Target, load},
};

/// BLIP for captions.
pub struct Blip {
    config: BlipConfig,
    vision: VisionTransformer,
    decoder: TextDecoder,
}

/// A picture as the decoder looks at it: the keys and values of each layer.
#[derive(Clone)]
pub struct EncodedImage(Vec<[Tensor<3>; 2]>);

impl Blip {
    /// Loads both halves.
    ///
    /// # Errors
    /// [`Error::Weights`](crate::Error::Weights) with all that doesn't fit.
    pub fn load(files: &BlipFiles, target: &Target) -> Result<Self> {
        load(&files.weights, target, |p| Self::build(&files.config, p, target))
    }

    fn build(config: &BlipConfig, p: &Params, target: &Target) -> Self {
        Self {
            vision: VisionTransformer::new(VisionKind::Blip, &config.vision, &p.at("vision_model"), target),
            decoder: TextDecoder::new(config, &p.at("text_decoder"), target),
            config: config.clone(),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &BlipConfig {
        &self.config
    }

    /// Looks at one prepared picture, `[1, side, side, 3]`.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for a picture of another size, or more than one.
    pub fn encode(&self, picture: Tensor<4>) -> Result<EncodedImage> {
        if picture.dims()[0] != 1 {
            return Err(crate::Error::Shape {
                name: "picture",
                expected: "one picture".into(),
                got: picture.dims().to_vec(),
            });
        }
        Ok(EncodedImage(self.decoder.look(self.vision.encode(picture)?)))
    }

    /// Begins a caption of a picture. The first of the prompt's tokens takes the place of the token that opens texts, as the authors do it;
    /// without a prompt that token stands alone.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) if the prompt or the caption is longer than the decoder can be, or a token is unknown to it.
    pub fn caption<'a>(
        &'a self,
        image: &EncodedImage,
        prompt: &[u32],
        options: CaptionOptions,
    ) -> Result<Captioning<'a>> {
        Captioning::new(&self.decoder, image, prompt, options)
    }

    /// All hidden states of a prepared picture: `layers + 1` tensors `[1, tokens, width]`, then the last one behind the final norm.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn vision_states(&self, picture: Tensor<4>) -> Result<Vec<Tensor<3>>> {
        let mut states = self.vision.hidden_states(picture.clone())?;
        states.push(self.vision.encode(picture)?);
        Ok(states)
    }

    /// All hidden states of the decoder for one row of token ids, `layers + 1` tensors `[1, n, width]`, and the scores of the token that
    /// follows, `[1, vocabulary]` in `f32`.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) if the row is longer than the decoder can be, or a token is unknown to it.
    pub fn decoder_states(&self, image: &EncodedImage, ids: &[u32]) -> Result<(Vec<Tensor<3>>, Tensor<2>)> {
        let (states, scores) = self.decoder.states(image, ids)?;
        Ok((states, scores.cast(DType::F32)))
    }
}
