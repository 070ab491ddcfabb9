//! A network's output changes little while what its first block adds to its input does, so it can serve again: the idea of TeaCache (Liu et al.
//! 2024, arXiv:2411.19108), by the first block.

use burn_tensor::{DType, Tensor};

use super::{
    FirstBlock, UNet, UnetInput, UnetOutput,
    block::{down, last},
    shape_error,
};
use crate::{Result, models::nn::broadcast_rows};

impl UNet {
    /// [`forward`](Self::forward) that computes the first block alone, and gives the prediction that `before` has, where the block's residual
    /// has changed since by less than `threshold`: the mean of the changes' magnitudes against that of its own, over all rows. Else the
    /// whole network is computed, and the output has [`UnetOutput::first_block`].
    ///
    /// # Errors
    /// As [`forward`](Self::forward), and if `before` is of another size or network.
    pub fn forward_if_changed(
        &self,
        input: &UnetInput,
        before: Option<&FirstBlock>,
        threshold: f64,
    ) -> Result<UnetOutput> {
        let blocks = &self.encoder.down;
        let (first, others) = blocks.split_at(blocks.len().min(1));
        let (x, conditions) = self.encoder.enter(input, &self.up)?;
        let skips = down(first, vec![x.clone()], &conditions);
        let batch = input.batch();
        let residual = broadcast_rows(last(&skips), batch) - broadcast_rows(x, batch);
        if let Some(FirstBlock {
            residual: before,
            prediction,
        }) = before
        {
            let [_, _, h, w] = input.latents.dims();
            let expected = [batch, self.config().out_channels, h, w];
            if before.dims() != residual.dims() {
                let expected = format!("{:?}", residual.dims());
                return shape_error("first block's residual", expected, &before.dims());
            }
            if prediction.dims() != expected {
                return shape_error("kept prediction", format!("{expected:?}"), &prediction.dims());
            }
            if self.change(before, &residual) < threshold {
                return Ok(UnetOutput {
                    prediction: prediction.clone(),
                    deep: None,
                    first_block: None,
                    received: None,
                });
            }
        }
        let output = self.rest(others, skips, input, &conditions)?;
        let kept = FirstBlock::new(residual, output.prediction.clone());
        Ok(UnetOutput {
            first_block: Some(kept),
            ..output
        })
    }

    /// The mean magnitude of what changed, against that of what was.
    fn change(&self, before: &Tensor<4>, now: &Tensor<4>) -> f64 {
        match self.target().device.is_cpu() {
            true => on_host(before, now),
            false => on_device(before, now),
        }
    }
}

/// In one order, so that it is the same on every number of threads.
fn on_host(before: &Tensor<4>, now: &Tensor<4>) -> f64 {
    let (Some(before), Some(now)) = (floats(before.clone()), floats(now.clone())) else {
        return f64::NAN;
    };
    let changes = before.iter().zip(&now).map(|(before, now)| now - before);
    sum(&mut { changes }) / sum(&mut before.iter().copied())
}

/// The sums of pixels alone are brought to the host, both at once: features are megabytes.
fn on_device(before: &Tensor<4>, now: &Tensor<4>) -> f64 {
    let [batch, h, w, c] = now.dims();
    let [before, now] = [before, now].map(|x| x.clone().cast(DType::F32).reshape([batch * h * w, c]));
    let sums = [now - before.clone(), before].map(|x| x.abs().sum_dim(1));
    let Some(sums) = floats(Tensor::cat(sums.into(), 1)) else {
        return f64::NAN;
    };
    let each = |at: usize| sum(&mut sums.chunks_exact(2).map(|pixel| pixel[at]));
    each(0) / each(1)
}

fn floats<const D: usize>(x: Tensor<D>) -> Option<Vec<f32>> {
    x.cast(DType::F32).into_data().try_to_vec::<f32>().ok()
}

fn sum(values: &mut dyn Iterator<Item = f32>) -> f64 {
    values.map(|v| f64::from(v.abs())).sum()
}

#[cfg(test)]
mod tests {
    use burn_tensor::{Device, TensorData};

    use super::*;

    #[test]
    fn devices_sum_as_the_host_does() {
        let shape = [2, 3, 5, 40];
        let tensor = |step: f32, dtype| {
            let values: Vec<f32> = (0..1200).map(|i| (i as f32 * step).sin()).collect();
            Tensor::<4>::from_data(TensorData::new(values, shape), (&Device::flex(), DType::F32)).cast(dtype)
        };
        for dtype in [DType::F32, DType::F16] {
            let (before, now) = (tensor(0.7, dtype), tensor(0.71, dtype));
            let (host, device) = (on_host(&before, &now), on_device(&before, &now));
            assert!(
                host > 0.1 && (host - device).abs() < 1e-5 * host,
                "{host} {device}"
            );
            let nothing = tensor(f32::NAN, dtype);
            assert!(on_device(&before, &nothing).is_nan() && on_device(&nothing, &now).is_nan());
        }
    }
}
