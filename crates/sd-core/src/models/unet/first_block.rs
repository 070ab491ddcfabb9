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
            if change(before, &residual) < threshold {
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
}

/// The mean magnitude of what changed, against that of what was. On the host in one order, so that it is the same on every number of threads.
fn change(before: &Tensor<4>, now: &Tensor<4>) -> f64 {
    let values = |x: &Tensor<4>| x.clone().cast(DType::F32).into_data().try_to_vec::<f32>();
    let (Ok(before), Ok(now)) = (values(before), values(now)) else {
        return f64::NAN;
    };
    let sum = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v.abs())).sum::<f64>();
    let changes = before.iter().zip(&now).map(|(before, now)| now - before);
    sum(&mut { changes }) / sum(&mut before.iter().copied())
}
