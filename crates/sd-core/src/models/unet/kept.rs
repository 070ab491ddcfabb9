//! What a whole evaluation keeps for later ones whose first block gives nearly the same.

use burn_tensor::Tensor;

/// What a whole evaluation leaves to those after it.
#[derive(Debug, Clone)]
pub struct FirstBlock {
    /// What the first block added to its input, `[batch, h, w, c]`.
    pub(super) residual: Tensor<4>,
    /// The network's output, `[batch, out_channels, h, w]` in `f32`.
    pub(super) prediction: Tensor<4>,
}

impl FirstBlock {
    /// What was taken apart.
    pub fn new(residual: Tensor<4>, prediction: Tensor<4>) -> Self {
        Self { residual, prediction }
    }

    /// What the first block added to its input, `[batch, h, w, c]`, and the network's output, `[batch, out_channels, h, w]`.
    pub fn parts(&self) -> [&Tensor<4>; 2] {
        [&self.residual, &self.prediction]
    }

    /// Each row of the batch by itself.
    pub fn split(&self) -> Vec<Self> {
        let row = |i| self.each(|x| x.clone().narrow(0, i, 1));
        (0..self.residual.dims()[0]).map(row).collect()
    }

    /// Rows as one batch; `None` if there are none, or they are of different sizes.
    pub fn join(rows: &[Self]) -> Option<Self> {
        let sizes = |row: &Self| row.parts().map(|x| x.dims()[1..].to_vec());
        let first = rows.first()?;
        let join = |part: usize| {
            let parts = rows.iter().map(|row| row.parts()[part].clone());
            Tensor::cat(parts.collect(), 0)
        };
        let same = rows.iter().all(|row| sizes(row) == sizes(first));
        same.then(|| Self::new(join(0), join(1)))
    }

    fn each(&self, change: impl Fn(&Tensor<4>) -> Tensor<4>) -> Self {
        Self::new(change(&self.residual), change(&self.prediction))
    }
}
