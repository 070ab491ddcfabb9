//! The change of a module to a layer's weight: a type for each kind of adapter.

mod difference;
mod dora;
mod glora;
mod hadamard;
mod kronecker;
mod low_rank;
mod oft;
mod oft_inputs;
mod scaling;

use std::{collections::BTreeMap, fmt};

use sd_core::weights::TensorFile;
use serde::Serialize;

use crate::keys::Leaf;

pub(crate) use dora::{Axis, decompose};
pub(crate) use oft_inputs::Rotation;

/// A kind of adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Kind {
    /// A product of two thin matrices (Hu et al. 2021, arXiv:2106.09685).
    Lora,
    /// The same on a convolution with a kernel wider than 1x1, perhaps with a core in between (LyCORIS, arXiv:2309.14859).
    Locon,
    /// A Hadamard product of two such products (Hyeon-Woo et al. 2021, arXiv:2108.06098).
    Loha,
    /// A Kronecker product (LyCORIS).
    Lokr,
    /// Factors for inputs or outputs (Liu et al. 2022, arXiv:2205.05638).
    Ia3,
    /// The difference itself.
    Full,
    /// The difference of a normalisation's parameters.
    Norm,
    /// A low-rank change that depends on the weight (Chavan et al. 2023, arXiv:2306.07967).
    Glora,
    /// Rotations of blocks of outputs, or PEFT's of inputs (Qiu et al. 2023, arXiv:2306.07280).
    Oft,
    /// Rotations in butterfly order (Liu et al. 2023, arXiv:2311.06243).
    Boft,
    /// A bias alone.
    Bias,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lora => "LoRA",
            Self::Locon => "LoCon",
            Self::Loha => "LoHa",
            Self::Lokr => "LoKr",
            Self::Ia3 => "IA3",
            Self::Full => "full difference",
            Self::Norm => "norm",
            Self::Glora => "GLoRA",
            Self::Oft => "OFT",
            Self::Boft => "BOFT",
            Self::Bias => "bias",
        })
    }
}

/// The amount of a change that is to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amount {
    pub factor: f32,
    /// Only so many of a product's ranks (the WebUI's `dyn`).
    pub ranks: Option<usize>,
}

/// A change of a weight, whose own tensors fit each other.
pub(crate) trait Change: fmt::Debug + Send + Sync {
    fn kind(&self) -> Kind;

    /// The rank, where there is one: `alpha` is divided by it, unless the kind gives `alpha` another meaning.
    fn rank(&self) -> Option<usize> {
        None
    }

    /// The shape of its change, where that doesn't depend on the weight.
    fn shape(&self) -> Option<Vec<usize>> {
        None
    }

    /// Whether it can change a weight of this shape.
    fn fits(&self, shape: &[usize]) -> Result<(), String>;

    /// `weight += factor * change(weight)`; the weight is row-major, and of a shape that fits.
    fn add(&self, values: &Values, amount: Amount, weight: &mut [f32], shape: &[usize])
    -> Result<(), String>;
}

/// The tensors of one module in a file.
pub(crate) struct Values<'a> {
    pub file: &'a TensorFile,
    /// The key of each.
    pub keys: &'a BTreeMap<Leaf, String>,
}

impl<'a> Values<'a> {
    pub fn has(&self, leaf: Leaf) -> bool {
        self.keys.contains_key(&leaf)
    }

    /// A tensor's shape, if the module has it.
    pub fn shape(&self, leaf: Leaf) -> Option<&'a [usize]> {
        let info = self.file.info(self.keys.get(&leaf)?)?;
        Some(&info.shape)
    }

    /// The shape of a tensor that the module can't do without: of `axes` axes, none of them empty.
    pub fn sizes(&self, leaf: Leaf, axes: std::ops::RangeInclusive<usize>) -> Result<&'a [usize], String> {
        let shape = self
            .shape(leaf)
            .ok_or_else(|| format!("it has no tensor {}", leaf.name()))?;
        if !axes.contains(&shape.len()) || shape.contains(&0) {
            return Err(format!("{} has shape {shape:?}", leaf.name()));
        }
        Ok(shape)
    }

    /// A tensor's values, all of them finite.
    pub fn get(&self, leaf: Leaf) -> Result<Vec<f32>, String> {
        let key = self.keys.get(&leaf).map_or("", String::as_str);
        let values = self
            .file
            .values_f32(key)
            .ok_or_else(|| format!("{} can't be read", leaf.name()))?;
        match all_finite(&values) {
            true => Ok(values),
            false => Err(format!("{} holds values that are not finite", leaf.name())),
        }
    }

    /// The value of a tensor that is one number.
    pub fn number(&self, leaf: Leaf) -> Result<Option<f32>, String> {
        let Some(shape) = self.shape(leaf) else {
            return Ok(None);
        };
        // Asked before reading: a hostile file may put a gigabyte here.
        if shape.iter().any(|&n| n != 1) {
            return Err(format!("{} is not one number", leaf.name()));
        }
        match self.get(leaf)?.as_slice() {
            [value] => Ok(Some(*value)),
            _ => Err(format!("{} is not one number", leaf.name())),
        }
    }
}

/// Whether no value is infinite or not a number.
pub(crate) fn all_finite(values: &[f32]) -> bool {
    // In lanes, so that the sums vectorise: anything that is not finite, times zero, is not zero.
    const LANES: usize = 16;
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut sums = [0f32; LANES];
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value * 0.0;
        }
    }
    sums.iter().chain(rest).all(|value| (value * 0.0) == 0.0)
}

/// A weight's shape as a matrix: outputs, and everything else.
pub(crate) fn as_matrix(shape: &[usize]) -> (usize, usize) {
    let rows = shape.first().copied().unwrap_or(1);
    (rows, shape.iter().skip(1).product())
}

/// Whether two shapes are the same but for axes of length 1 at their ends, so that a 1x1 convolution is a linear layer.
pub(crate) fn same_shape(a: &[usize], b: &[usize]) -> bool {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    long.starts_with(short) && long[short.len()..].iter().all(|&n| n == 1)
}

/// The change that a module's tensors make to a weight, if they make one; `rotation` has the settings beside the file for PEFT's.
///
/// # Errors
/// A message with the tensor that is missing, or doesn't fit.
pub(crate) fn read(values: &Values, rotation: Rotation) -> Result<Option<Box<dyn Change>>, String> {
    type Read<'a> = &'a dyn Fn(&Values) -> Result<Box<dyn Change>, String>;
    let kinds: [(&[Leaf], Read); 9] = [
        (&[Leaf::Down, Leaf::Up, Leaf::Mid], &low_rank::read),
        (
            &[
                Leaf::HadaW1A,
                Leaf::HadaW1B,
                Leaf::HadaW2A,
                Leaf::HadaW2B,
                Leaf::HadaT1,
                Leaf::HadaT2,
            ],
            &hadamard::read,
        ),
        (
            &[
                Leaf::LokrW1,
                Leaf::LokrW1A,
                Leaf::LokrW1B,
                Leaf::LokrW2,
                Leaf::LokrW2A,
                Leaf::LokrW2B,
                Leaf::LokrT2,
            ],
            &kronecker::read,
        ),
        (&[Leaf::Ia3Weight, Leaf::OnInput], &scaling::read),
        (&[Leaf::Diff], &difference::read),
        (&[Leaf::WNorm], &difference::read),
        (
            &[Leaf::GloraA1, Leaf::GloraA2, Leaf::GloraB1, Leaf::GloraB2],
            &glora::read,
        ),
        (&[Leaf::OftBlocks, Leaf::OftDiag], &oft::read),
        (&[Leaf::OftR], &|values| oft_inputs::read(values, rotation)),
    ];
    let mut found = kinds
        .iter()
        .filter(|(leaves, _)| leaves.iter().any(|leaf| values.has(*leaf)));
    let Some((_, read)) = found.next() else {
        return Ok(None);
    };
    if found.next().is_some() {
        return Err("its tensors are of more than one kind of adapter".into());
    }
    read(values).map(Some)
}
