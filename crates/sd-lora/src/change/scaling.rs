//! IA3: a factor for each input or each output of a layer, less 1.

use super::{Amount, Change, Kind, Values, as_matrix};
use crate::keys::Leaf;

#[derive(Debug)]
struct Scaling {
    factors: usize,
    on_input: bool,
}

pub(super) fn read(values: &Values) -> Result<Box<dyn Change>, String> {
    if !values.has(Leaf::OnInput) {
        return Err(
            "it has a weight of its own, not a change of one: is this a part of a checkpoint?".into(),
        );
    }
    let shape = values.sizes(Leaf::Ia3Weight, 1..=4)?;
    let factors = shape.iter().copied().max().unwrap_or(0);
    if shape.iter().filter(|&&n| n > 1).count() > 1 {
        return Err(format!("weight {shape:?} is not a row of factors"));
    }
    let on_input = values.number(Leaf::OnInput)?.unwrap_or(0.0) != 0.0;
    Ok(Box::new(Scaling { factors, on_input }))
}

impl Change for Scaling {
    fn kind(&self) -> Kind {
        Kind::Ia3
    }

    fn fits(&self, shape: &[usize]) -> Result<(), String> {
        let axis = usize::from(self.on_input);
        match shape.len() > 1 && shape[axis] == self.factors {
            true => Ok(()),
            false => {
                let side = if self.on_input { "inputs" } else { "outputs" };
                Err(format!(
                    "weight has {} factors for the {side} of {shape:?}",
                    self.factors
                ))
            }
        }
    }

    fn add(
        &self,
        values: &Values,
        amount: Amount,
        weight: &mut [f32],
        shape: &[usize],
    ) -> Result<(), String> {
        let factors = values.get(Leaf::Ia3Weight)?;
        let (_, columns) = as_matrix(shape);
        let kernel = columns / shape[1];
        for (i, row) in weight.chunks_exact_mut(columns).enumerate() {
            for (j, cell) in row.chunks_exact_mut(kernel).enumerate() {
                let factor = amount.factor * factors[if self.on_input { j } else { i }];
                cell.iter_mut().for_each(|w| *w += *w * factor);
            }
        }
        Ok(())
    }
}
