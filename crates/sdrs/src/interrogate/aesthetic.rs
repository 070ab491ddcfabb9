//! Predictors of how much people like a picture, from its CLIP vector.

use std::path::Path;

use sd_core::weights::TensorFile;

use crate::{Error, Result};

/// A predictor of ratings, 1 to 10 about, from vectors of CLIP ViT-L/14: LAION's linear head (`sa_0_4_vit_l_14_linear.pth`), or the improved
/// predictor's row of linear layers (`sac+logos+ava1-l14-linearMSE.pth`).
pub struct AestheticPredictor {
    /// Weights `[outputs, inputs]` and biases, one after another; nothing lies between them.
    layers: Vec<Layer>,
}

struct Layer {
    inputs: usize,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl Layer {
    fn forward(&self, x: &[f32]) -> Vec<f32> {
        let rows = self.weights.chunks_exact(self.inputs).zip(&self.bias);
        rows.map(|(row, bias)| {
            let products = row.iter().zip(x).map(|(a, b)| f64::from(*a) * f64::from(*b));
            (products.sum::<f64>() + f64::from(*bias)) as f32
        })
        .collect()
    }
}

impl AestheticPredictor {
    /// Reads a file: safetensors, or what PyTorch saves.
    ///
    /// # Errors
    /// [`Error::Core`] if it can't be read, [`Error::InvalidFile`] if it holds no such predictor.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let file = TensorFile::open(path.as_ref())?;
        let fail = |reason: String| Error::InvalidFile {
            path: file.origin().to_owned(),
            reason,
        };
        let no = |what: &str| {
            fail(format!(
                "{what}: no aesthetic predictor; LAION's linear head, and the improved predictor's linear layers can be read"
            ))
        };
        // The number of a layer, and the beginning of its names.
        let mut found: Vec<(usize, String)> = Vec::new();
        for name in file.names() {
            let Some(prefix) = name.strip_suffix("weight") else {
                match name.ends_with("bias") {
                    true => continue,
                    false => return Err(no(&sd_core::shown(name))),
                }
            };
            let number = match prefix {
                "" | "linear." => Some(0),
                prefix => prefix
                    .strip_prefix("layers.")
                    .and_then(|rest| rest.strip_suffix('.'))
                    .and_then(|number| number.parse().ok()),
            };
            let number = number.ok_or_else(|| no(&sd_core::shown(name)))?;
            found.push((number, prefix.to_owned()));
        }
        found.sort_unstable();
        let mut layers: Vec<Layer> = Vec::new();
        for (_, prefix) in found {
            let tensor = |leaf: &str| {
                let name = format!("{prefix}{leaf}");
                let values = file.values_f32(&name).zip(file.info(&name));
                values.ok_or_else(|| no(&format!("{name} is missing")))
            };
            let ((weights, shape), (bias, _)) = (tensor("weight")?, tensor("bias")?);
            let &[outputs, inputs] = shape.shape.as_slice() else {
                return Err(no(&format!("{prefix}weight is no matrix")));
            };
            let before = layers.last().map(|layer| layer.bias.len());
            if inputs == 0 || bias.len() != outputs || before.is_some_and(|n| n != inputs) {
                return Err(no(&format!(
                    "{prefix}weight: shape {:?} doesn't fit",
                    shape.shape
                )));
            }
            if !weights.iter().chain(&bias).all(|value| value.is_finite()) {
                return Err(fail(format!("{prefix}weight holds what is no number")));
            }
            layers.push(Layer {
                inputs,
                weights,
                bias,
            });
        }
        match layers.last() {
            Some(last) if last.bias.len() == 1 => Ok(Self { layers }),
            _ => Err(no("its last layer doesn't give one number")),
        }
    }

    /// The width of the vectors that it rates: 768 for ViT-L/14.
    pub fn width(&self) -> usize {
        self.layers[0].inputs
    }

    /// The rating of a picture by its [vector](crate::Interrogator::embed_image).
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for a vector of another width.
    pub fn rate(&self, vector: &[f32]) -> Result<f32> {
        if vector.len() != self.width() {
            let reason = format!(
                "{} values, but this predictor is for vectors of {}; take the CLIP that it was made for",
                vector.len(),
                self.width()
            );
            return Err(Error::parameter("vector", reason));
        }
        let rated = self
            .layers
            .iter()
            .fold(vector.to_vec(), |x, layer| layer.forward(&x));
        Ok(rated[0])
    }
}
