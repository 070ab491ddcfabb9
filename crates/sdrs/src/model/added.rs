//! The U-Net's vector beside the timestep: a pooled text, and numbers as sinusoids behind it (Podell et al. 2023, arXiv:2307.01952).

use sd_core::{checkpoint::Checkpoint, models::timestep_embedding};

use super::Model;
use crate::{Error, Result, params::ConditioningParams};

/// Sinusoids of one number.
const SINUSOIDS: usize = 256;

/// The numbers in the vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AddedNumbers {
    /// SDXL's: original height and width, the crop's upper and left edge, target height and width.
    Sizes,
    /// Its refiner's: original height and width, the crop's upper and left edge, the aesthetic score.
    Score,
}

impl AddedNumbers {
    const ALL: [Self; 2] = [Self::Sizes, Self::Score];

    /// How many there are.
    pub fn count(self) -> usize {
        match self {
            Self::Sizes => 6,
            Self::Score => 5,
        }
    }

    /// Their names.
    pub fn words(self) -> &'static str {
        match self {
            Self::Sizes => "original height and width, crop top and left, target height and width",
            Self::Score => "original height and width, crop top and left, aesthetic score",
        }
    }

    /// Those that widths show.
    fn of(added: usize, pooled: usize) -> Option<Self> {
        let fits = |it: &Self| added == pooled + it.count() * SINUSOIDS;
        Self::ALL.into_iter().find(fits)
    }

    /// For a picture of this width and height; a negative prompt has a score of its own.
    fn values(self, params: &ConditioningParams, [width, height]: [u32; 2], negative: bool) -> Vec<f64> {
        let side = |given: Option<u32>, own: u32| f64::from(given.unwrap_or(own));
        let mut values = vec![
            side(params.original_height, height),
            side(params.original_width, width),
            f64::from(params.crop_top),
            f64::from(params.crop_left),
        ];
        match (self, negative) {
            (Self::Sizes, _) => values.extend([
                side(params.target_height, height),
                side(params.target_width, width),
            ]),
            (Self::Score, false) => values.push(params.aesthetic_score),
            (Self::Score, true) => values.push(params.negative_aesthetic_score),
        }
        values
    }
}

impl Model {
    /// The text encoder whose pooled text counts: the last one that has one.
    pub fn pooling_encoder(&self) -> Option<usize> {
        let mut stack = self.text_encoders.iter();
        stack.rposition(|encoder| encoder.network.config().projection.is_some())
    }

    /// The width of the pooled text.
    pub fn pooled_width(&self) -> Option<usize> {
        let encoder = &self.text_encoders[self.pooling_encoder()?];
        encoder.network.config().projection
    }

    /// The numbers that the U-Net's additional vector has; `None` without such a vector.
    pub fn added_numbers(&self) -> Option<AddedNumbers> {
        AddedNumbers::of(self.unet.config().added_width?, self.pooled_width()?)
    }

    /// Numbers as the additional vector has them, sinusoids one after another.
    pub fn sinusoids(&self, numbers: &[f64]) -> Vec<f32> {
        timestep_embedding(numbers, SINUSOIDS, self.unet.config())
    }

    /// The part of the additional vector behind the pooled text for a picture of this width and height: the prompt's, and the negative
    /// prompt's.
    pub fn size_vectors(&self, params: &ConditioningParams, size: [u32; 2]) -> Option<[Vec<f32>; 2]> {
        let numbers = self.added_numbers()?;
        Some([false, true].map(|negative| self.sinusoids(&numbers.values(params, size, negative))))
    }
}

/// Refuses an additional vector of the U-Net that is none of the known ones.
pub(super) fn check_added_width(checkpoint: &Checkpoint) -> Result<()> {
    let configs = checkpoint.configs();
    let mut stack = configs.text_encoders.values().rev();
    let pooled = stack.find_map(|text| text.projection);
    match (configs.unet.added_width, pooled) {
        (Some(width), pooled)
            if pooled
                .and_then(|pooled| AddedNumbers::of(width, pooled))
                .is_none() =>
        {
            Err(Error::InvalidFile {
                path: checkpoint.origin().to_owned(),
                reason: format!(
                    "its U-Net takes a vector of {width} values beside the timestep; SDXL's and its refiner's, of pooled text and sizes, \
                     are the ones that are known"
                ),
            })
        }
        _ => Ok(()),
    }
}
