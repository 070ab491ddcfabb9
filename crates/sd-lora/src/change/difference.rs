//! The difference itself: of a weight, or of a normalisation's scale.

use super::{Amount, Change, Kind, Values, same_shape};
use crate::keys::Leaf;

#[derive(Debug)]
struct Difference {
    leaf: Leaf,
    shape: Vec<usize>,
}

pub(super) fn read(values: &Values) -> Result<Box<dyn Change>, String> {
    let leaf = match values.has(Leaf::Diff) {
        true => Leaf::Diff,
        false => Leaf::WNorm,
    };
    let shape = values.sizes(leaf, 1..=4)?.to_vec();
    Ok(Box::new(Difference { leaf, shape }))
}

impl Change for Difference {
    fn kind(&self) -> Kind {
        match self.leaf {
            Leaf::WNorm => Kind::Norm,
            _ => Kind::Full,
        }
    }

    fn shape(&self) -> Option<Vec<usize>> {
        Some(self.shape.clone())
    }

    fn fits(&self, shape: &[usize]) -> Result<(), String> {
        match same_shape(&self.shape, shape) {
            true => Ok(()),
            false => Err(format!("{} {:?} is not {shape:?}", self.leaf.name(), self.shape)),
        }
    }

    fn add(&self, values: &Values, amount: Amount, weight: &mut [f32], _: &[usize]) -> Result<(), String> {
        let difference = values.get(self.leaf)?;
        for (out, d) in weight.iter_mut().zip(difference) {
            *out += amount.factor * d;
        }
        Ok(())
    }
}
