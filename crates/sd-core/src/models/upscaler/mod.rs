//! Networks that enlarge pictures.

mod compact;
mod names;
mod rrdb;
mod structure;

use std::{path::Path, sync::Arc};

use burn_tensor::{DType, Tensor};
use sd_kernels::{Conv2d, ConvShape, Padding};

pub use structure::{UpscalerKind, UpscalerStructure};

use self::{compact::Compact, rrdb::Rrdb};
use crate::{
    Error, Result,
    weights::{Params, PartWeights, Target, TensorFile, load},
};

/// A network that enlarges pictures.
pub struct Upscaler {
    structure: UpscalerStructure,
    target: Target,
    network: Network,
}

enum Network {
    Rrdb(Box<Rrdb>),
    Compact(Compact),
}

impl Upscaler {
    /// Loads a file: safetensors, or what PyTorch saves.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Malformed`] if it can't be read or is no upscaler, [`Error::Weights`] if tensors don't fit its structure.
    pub fn open(path: &Path, target: &Target) -> Result<Self> {
        Self::load(TensorFile::open(path)?, target)
    }

    /// Loads a file that is open.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is no upscaler, [`Error::Weights`] if tensors don't fit its structure.
    pub fn load(file: TensorFile, target: &Target) -> Result<Self> {
        let (structure, names) = UpscalerStructure::named(&file)?;
        let origin = format!("upscaler {}", file.origin());
        let weights = PartWeights::alone(origin, vec![Arc::new(file)], Arc::new(names));
        let network = load(&weights, target, |p| match structure.kind {
            UpscalerKind::Rrdb { .. } => Network::Rrdb(Box::new(Rrdb::new(&structure, p))),
            UpscalerKind::Compact { convolutions } => {
                Network::Compact(Compact::new(&structure, convolutions, p))
            }
        })?;
        Ok(Self {
            structure,
            target: target.clone(),
            network,
        })
    }

    /// Its structure.
    pub fn structure(&self) -> &UpscalerStructure {
        &self.structure
    }

    /// Enlarges pictures `[batch, h, w, channels]`, values 0 to 1, sides multiples of [`UpscalerStructure::multiple`], to
    /// `[batch, factor h, factor w, channels]` in `f32`, values about 0 to 1.
    ///
    /// # Errors
    /// [`Error::Shape`] for other shapes.
    pub fn forward(&self, pictures: Tensor<4>) -> Result<Tensor<4>> {
        let UpscalerStructure { channels, .. } = self.structure;
        let [batch, h, w, c] = pictures.dims();
        let multiple = self.structure.multiple();
        if c != channels || batch * h * w == 0 || h % multiple != 0 || w % multiple != 0 {
            return Err(Error::Shape {
                name: "pictures",
                expected: format!("[batch, height, width, {channels}], sides multiples of {multiple}"),
                got: pictures.dims().to_vec(),
            });
        }
        let x = pictures.cast(self.target.dtype.burn());
        let y = match &self.network {
            Network::Rrdb(network) => network.forward(x),
            Network::Compact(network) => network.forward(x),
        };
        Ok(y.cast(DType::F32))
    }
}

/// A convolution of 3x3 at the picture's size, whose results below zero are multiplied by `slopes`, if there are any.
fn conv(p: &Params, [input, output]: [usize; 2], scale: f64, slopes: Option<Slopes>) -> Conv2d {
    let shape = ConvShape {
        stride: 1,
        padding: Padding::Even(1),
    };
    p.layer(|p| {
        let weight = p.tensor("weight", [output, input, 3, 3]);
        let bias = p.tensor("bias", [output]);
        let (weight, bias) = match scale {
            1.0 => (weight, bias),
            _ => (weight * scale, bias * scale),
        };
        let layer = Conv2d::new(weight, Some(bias), shape, p.quantization());
        match slopes {
            Some(slopes) => layer.with_slopes(slopes.tensor(output, p)),
            None => layer,
        }
    })
}

/// Where a convolution's slopes come from.
enum Slopes<'a> {
    /// All are this one.
    All(f64),
    /// PReLU's weights.
    Learned(Params<'a>),
}

impl Slopes<'_> {
    fn tensor(&self, channels: usize, p: &Params) -> Tensor<1> {
        match self {
            Self::All(slope) => Tensor::full([channels], *slope, (p.device().burn(), DType::F32)),
            Self::Learned(p) => p.tensor("weight", [channels]),
        }
    }
}
