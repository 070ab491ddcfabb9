//! Weights that no file has, for measuring how long a network takes.

use std::{collections::HashMap, sync::Arc};

use half::f16;

use super::{
    Model, PartWeights, StoredDtype, Target, TensorFile, TensorInfo, model::parameters, params::nowhere,
};
use crate::{Device, Dtype, Result, config::Part};

/// The largest of the values.
const LARGEST: f32 = 0.04;

impl PartWeights {
    /// The weights of a part of this configuration, in `f16`: small numbers of both signs, the same ones in each tensor. They take the memory
    /// of the largest tensor alone.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if there is no CPU's backend.
    pub fn synthetic<M: Model>(config: &M::Config, part: Part) -> Result<Self> {
        let target = Target::new(Device::from_name("cpu")?, Dtype::F32);
        let parameters = parameters::<M>(config, part, &target);
        let counts = parameters
            .iter()
            .map(|(_, shape)| shape.iter().product::<usize>());
        let most = counts.max().unwrap_or(0);
        // A generator of full period (Knuth, MMIX), of which the upper bits are good.
        let mut state = 1_u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            f16::from_f32(LARGEST * ((state >> 40) as f32 / (1_u32 << 23) as f32 - 1.0))
        };
        let values: Vec<u8> = (0..most).flat_map(|_| next().to_le_bytes()).collect();
        let info = |shape: Vec<usize>| TensorInfo {
            dtype: StoredDtype::F16,
            bytes: 0..2 * shape.iter().product::<usize>(),
            shape,
            blocks: None,
            strides: None,
            scale: 1.0,
        };
        let index: HashMap<_, _> = parameters
            .into_iter()
            .map(|(name, shape)| (name, info(shape)))
            .collect();
        let file = TensorFile::of_tensors("made-up weights", values, index);
        Ok(Self {
            origin: "made-up weights".into(),
            files: vec![Arc::new(file)],
            ..nowhere(part)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::sd1_unet, models::UNet, weights::load};

    #[test]
    fn they_fit_and_are_small() {
        let mut config = sd1_unet(4);
        config.levels.iter_mut().for_each(|level| level.channels /= 10);
        let weights = PartWeights::synthetic::<UNet>(&config, Part::Unet).unwrap();
        let target = Target::new(Device::from_name("cpu").unwrap(), Dtype::F32);
        load(&weights, &target, |p| UNet::build(&config, p, &target)).unwrap();
        let values: Vec<f32> = weights.files[0].values("conv_in.weight").unwrap();
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        assert!(mean.abs() < LARGEST / 10.0, "{mean}");
        assert!(values.iter().all(|value| value.abs() <= LARGEST));
        assert!(values.iter().any(|value| *value < -LARGEST / 2.0));
    }
}
