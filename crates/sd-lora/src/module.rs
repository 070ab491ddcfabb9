//! A module of an adapter: all tensors that change one layer.

use std::collections::BTreeMap;

use sd_core::weights::TensorFile;

use crate::{
    change::{self, Amount, Axis, Change, Kind, Values, all_finite, decompose},
    keys::Leaf,
    peft::{Parts, PeftSettings},
};

/// The tensors that change one layer, read as far as their shapes go.
#[derive(Debug)]
pub(crate) struct Module {
    /// As the file names it.
    pub name: String,
    /// The key of each tensor.
    pub keys: BTreeMap<Leaf, String>,
    /// The change that they make, or the reason why they can't make any.
    pub parsed: Result<Parsed, String>,
}

/// The change of a module, with its factors.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub change: Option<Box<dyn Change>>,
    /// The tensor that is added to the bias, and its own factor.
    bias: Option<(Leaf, f32)>,
    /// As the file has it.
    pub alpha: Option<f32>,
    /// The factor on the change, but for strengths.
    pub scale: f32,
    pub dora: bool,
}

impl Module {
    pub fn read(file: &TensorFile, name: String, keys: BTreeMap<Leaf, String>, peft: &PeftSettings) -> Self {
        let parsed = parse(&Values { file, keys: &keys }, &name, peft);
        Self { name, keys, parsed }
    }
}

fn parse(values: &Values, name: &str, peft: &PeftSettings) -> Result<Parsed, String> {
    for (leaf, key) in values.keys {
        let number = matches!(leaf, Leaf::Alpha | Leaf::Scale | Leaf::OnInput);
        if let Some(info) = values
            .file
            .info(key)
            .filter(|info| !number && !info.is_readable())
        {
            return Err(format!(
                "{} is of type {}, which is not supported",
                leaf.name(),
                info.type_name()
            ));
        }
    }
    let change = change::read(values, peft.rotation(name))?;
    let alpha = values.number(Leaf::Alpha)?;
    let rank = change.as_ref().and_then(|change| change.rank());
    let dora = [Leaf::DoraScale, Leaf::Magnitude].map(|leaf| values.has(leaf));
    let stated = match &change {
        Some(change) => {
            let parts = Parts {
                kind: change.kind(),
                rank,
                dora: dora != [false, false],
                bias: values.has(Leaf::UpBias),
            };
            peft.scale(name, &parts)?
        }
        None => None,
    };
    let scale = match (values.number(Leaf::Scale)?, alpha, rank) {
        (Some(scale), ..) => scale,
        (None, Some(alpha), Some(rank)) => alpha / rank as f32,
        _ => stated.unwrap_or(1.0),
    };
    let biases = [(Leaf::DiffBias, 1.0), (Leaf::BNorm, 1.0), (Leaf::UpBias, scale)];
    let mut biases = biases.into_iter().filter(|(leaf, _)| values.has(*leaf));
    let bias = biases.next();
    if biases.next().is_some() {
        return Err("it has more than one tensor for the bias".into());
    }
    if let Some((leaf, _)) = bias {
        values.sizes(leaf, 1..=1)?;
    }
    if change.is_none() && bias.is_none() {
        return Err("none of its tensors changes anything".into());
    }
    if dora == [true, true] || (dora != [false, false] && change.is_none()) {
        return Err("it has magnitudes (DoRA) twice, or for no change".into());
    }
    Ok(Parsed {
        change,
        bias,
        alpha,
        scale,
        dora: dora != [false, false],
    })
}

impl Parsed {
    pub fn kind(&self) -> Kind {
        self.change.as_ref().map_or(Kind::Bias, |change| change.kind())
    }

    pub fn has_bias(&self) -> bool {
        self.bias.is_some()
    }

    /// Whether it can change a weight of this shape.
    pub fn check(&self, values: &Values, shape: &[usize]) -> Result<(), String> {
        let Some(change) = &self.change else { return Ok(()) };
        if shape.contains(&0) {
            return Err(format!("there is nothing to change in {shape:?}"));
        }
        match change.fits(shape) {
            Ok(()) if self.dora => Axis::of(values, shape).map(drop),
            Ok(()) => Ok(()),
            Err(reason) => match narrower(shape) {
                Some(narrow) if !self.dora && change.fits(&narrow).is_ok() => Ok(()),
                _ => Err(reason),
            },
        }
    }

    /// Whether it can change a bias of this shape.
    pub fn check_bias(&self, values: &Values, shape: &[usize]) -> Result<(), String> {
        let Some((leaf, _)) = self.bias else { return Ok(()) };
        match values.shape(leaf) {
            Some(own) if own == shape => Ok(()),
            own => Err(format!(
                "{} {:?} is not {shape:?}",
                leaf.name(),
                own.unwrap_or_default()
            )),
        }
    }

    /// Changes a weight that it was checked for; see [`Change::add`].
    pub fn apply(
        &self,
        values: &Values,
        strength: f32,
        ranks: Option<usize>,
        weight: &mut [f32],
        shape: &[usize],
    ) -> Result<(), String> {
        let Some(change) = &self.change else { return Ok(()) };
        self.check(values, shape)?;
        let amount = |factor| Amount { factor, ranks };
        if self.dora {
            let axis = Axis::of(values, shape)?;
            let mut changed = weight.to_vec();
            change.add(values, amount(self.scale), &mut changed, shape)?;
            decompose(values, axis, strength, weight, changed, shape)?;
        } else {
            let amount = amount(strength * self.scale);
            match narrower(shape).filter(|_| change.fits(shape).is_err()) {
                None => change.add(values, amount, weight, shape)?,
                Some(narrow) => {
                    let (wide, few): (usize, usize) =
                        (shape[1..].iter().product(), narrow[1..].iter().product());
                    let rows = weight.chunks_exact(wide);
                    let mut part: Vec<f32> = rows.flat_map(|row| &row[..few]).copied().collect();
                    change.add(values, amount, &mut part, &narrow)?;
                    for (row, part) in weight.chunks_exact_mut(wide).zip(part.chunks_exact(few)) {
                        row[..few].copy_from_slice(part);
                    }
                }
            }
        }
        finite(weight)
    }

    /// Changes a bias that it was checked for.
    pub fn apply_bias(
        &self,
        values: &Values,
        strength: f32,
        bias: &mut [f32],
        shape: &[usize],
    ) -> Result<(), String> {
        let Some((leaf, factor)) = self.bias else {
            return Ok(());
        };
        self.check_bias(values, shape)?;
        for (out, value) in bias.iter_mut().zip(values.get(leaf)?) {
            *out += strength * factor * value;
        }
        finite(bias)
    }
}

/// The first convolution without the channels that inpainting and InstructPix2Pix add behind its four: adapters of plain models leave
/// these as they are, as in the WebUI.
fn narrower(shape: &[usize]) -> Option<Vec<usize>> {
    match shape {
        [outputs, 8 | 9, rest @ ..] if rest.len() == 2 => Some([&[*outputs, 4], rest].concat()),
        _ => None,
    }
}

fn finite(changed: &[f32]) -> Result<(), String> {
    match all_finite(changed) {
        true => Ok(()),
        false => {
            Err("what it changes is not finite afterwards: its values or its strength are too large".into())
        }
    }
}
