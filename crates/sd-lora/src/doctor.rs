//! A diagnosis of an adapter and of each of its tensors: for people who wonder why it doesn't work.

use std::collections::{BTreeMap, HashMap};

use sd_core::{checkpoint::Checkpoint, config::Family};
use serde::Serialize;

use crate::{
    AdapterFile, Kind, ModelNames, Network, Result, Unmatched,
    adapter::unknown,
    change::Values,
    families::family_parameters,
    module::{Module, Parsed},
};

/// The diagnosis of an adapter.
#[derive(Debug, Clone, Serialize)]
pub struct Diagnosis {
    /// The path of the file.
    pub file: String,
    /// The number of modules of each kind.
    pub kinds: BTreeMap<Kind, usize>,
    /// The number of modules with magnitudes of their own (DoRA).
    pub dora: usize,
    /// The number of modules of each rank.
    pub ranks: BTreeMap<usize, usize>,
    /// The smallest and the largest alpha, if there are any.
    pub alpha: Option<[f32; 2]>,
    /// The family of models that it was made for.
    pub family: Family,
    /// The thing that it was compared with: the model's path, or the name of a family; nothing where neither is known.
    pub compared_with: Option<String>,
    /// The trainer's notes.
    pub metadata: BTreeMap<String, String>,
    /// The textual inversions in it.
    pub embeddings: Vec<BundledEmbedding>,
    /// Every module that can be read.
    pub modules: Vec<ModuleDiagnosis>,
    /// The modules that can't be read, by name, each with the reason.
    pub faults: BTreeMap<String, String>,
    /// The modules without a place in the model.
    pub unmatched: Vec<Unmatched>,
    /// The settings that have no effect.
    pub notes: Vec<String>,
}

/// A textual inversion in an adapter's file.
#[derive(Debug, Clone, Serialize)]
pub struct BundledEmbedding {
    /// The name in prompts.
    pub name: String,
    /// The number of its vectors; 0 if it can't be used.
    pub vectors: usize,
    /// The reason why it can't be used.
    pub fault: Option<String>,
}

/// The diagnosis of one module.
#[derive(Debug, Clone, Serialize)]
pub struct ModuleDiagnosis {
    /// As the file names it.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// Its rank, where the kind has one.
    pub rank: Option<usize>,
    /// As the file has it.
    pub alpha: Option<f32>,
    /// The factor on the change: alpha over rank, usually.
    pub scale: f32,
    /// Whether it has magnitudes of its own.
    pub dora: bool,
    /// The keys of its tensors.
    pub keys: Vec<String>,
    /// The layer that it changes, by its full canonical name ("unet.conv_in"), if there is one.
    pub layer: Option<String>,
    /// The block that the layer is in, as block weights call it.
    pub block: Option<String>,
    /// The norm of the change that it makes at strength 1, where that could be computed: kinds that depend on the weight need the model.
    pub change: Option<f64>,
    /// The same over the norm of the weight, with a model.
    pub relative_change: Option<f64>,
}

impl Diagnosis {
    /// Whether all of it can be read and has its place.
    pub fn is_healthy(&self) -> bool {
        self.faults.is_empty()
            && self.unmatched.is_empty()
            && self.embeddings.iter().all(|embedding| embedding.fault.is_none())
    }
}

/// The names, shapes and weights that modules are compared with.
struct Reference<'a> {
    names: ModelNames,
    shapes: HashMap<(Network, String), Vec<usize>>,
    model: Option<&'a Checkpoint>,
}

/// Examines an adapter: against a model, or else against the family that it was made for.
///
/// # Errors
/// [`Error::Core`](crate::Error::Core) if the model's parameters can't be found out. Faults of the adapter stand in the diagnosis.
pub fn doctor(file: &AdapterFile, model: Option<&Checkpoint>) -> Result<Diagnosis> {
    let family = file.family();
    let (reference, compared_with) = match model {
        Some(model) => (Some(Reference::of_model(model)?), Some(model.origin().to_owned())),
        None => match Reference::of_family(family) {
            Some(reference) => (Some(reference), Some(family.to_string())),
            None => (None, None),
        },
    };
    let mut found = Diagnosis {
        file: file.origin().to_owned(),
        kinds: file.kinds(),
        dora: 0,
        ranks: BTreeMap::new(),
        alpha: None,
        family,
        compared_with,
        metadata: file.metadata().clone().into_iter().collect(),
        embeddings: Vec::new(),
        modules: Vec::new(),
        faults: BTreeMap::new(),
        unmatched: unknown(&file.contents),
        notes: file.notes().to_vec(),
    };
    for (name, embedding) in file.embeddings_by_name() {
        found.embeddings.push(BundledEmbedding {
            name,
            vectors: embedding.as_ref().map_or(0, |embedding| embedding.vectors()),
            fault: embedding.err().map(|error| error.to_string()),
        });
    }
    for module in &file.contents.modules {
        match &module.parsed {
            Ok(parsed) => found.examine(file, module, parsed, reference.as_ref()),
            Err(reason) => {
                found.faults.insert(module.name.clone(), reason.clone());
            }
        }
    }
    Ok(found)
}

impl Diagnosis {
    fn examine(
        &mut self,
        file: &AdapterFile,
        module: &Module,
        parsed: &Parsed,
        reference: Option<&Reference>,
    ) {
        /// Looking for a name's neighbours takes a while.
        const SEARCHED: usize = 50;
        let rank = parsed.change.as_ref().and_then(|change| change.rank());
        if let Some(rank) = rank {
            *self.ranks.entry(rank).or_default() += 1;
        }
        self.dora += usize::from(parsed.dora);
        if let Some(alpha) = parsed.alpha {
            let [low, high] = self.alpha.unwrap_or([alpha; 2]);
            self.alpha = Some([low.min(alpha), high.max(alpha)]);
        }
        let values = Values {
            file: &file.contents.tensors,
            keys: &module.keys,
        };
        let place = reference.and_then(|reference| reference.names.find(&module.name));
        let mut norms = (None, None);
        match (reference, place) {
            (Some(reference), None) => {
                let search = self.unmatched.len() < SEARCHED;
                self.unmatched
                    .push(Unmatched::without_place(module, &reference.names, search));
            }
            (Some(_), Some(place)) if parsed.has_bias() && !place.bias => {
                self.unmatched.push(Unmatched::without_bias(module, place));
            }
            _ => {}
        }
        let weight = reference.zip(place).and_then(|(reference, place)| {
            let name = format!("{}.weight", place.layer);
            let shape = reference.shapes.get(&(place.network, name.clone()))?;
            Some((reference, place.network, name, shape.clone()))
        });
        let fits = weight
            .as_ref()
            .map_or(Ok(()), |(.., shape)| parsed.check(&values, shape));
        let measured = fits.and_then(|()| {
            let base = weight.and_then(|(reference, network, name, shape)| {
                Some((reference.weight(network, &name)?, shape))
            });
            measure(parsed, &values, base)
        });
        match measured {
            Ok(found) => norms = found,
            Err(reason) => {
                self.faults.insert(module.name.clone(), reason);
            }
        }
        self.modules.push(ModuleDiagnosis {
            name: module.name.clone(),
            kind: parsed.kind(),
            rank,
            alpha: parsed.alpha,
            scale: parsed.scale,
            dora: parsed.dora,
            keys: module.keys.values().cloned().collect(),
            layer: place.map(|place| place.full_name()),
            block: place.and_then(|place| place.block.clone()),
            change: norms.0,
            relative_change: norms.1,
        });
    }
}

impl<'a> Reference<'a> {
    fn of_model(model: &'a Checkpoint) -> Result<Self> {
        let parameters = model.parameters()?;
        let mut shapes = HashMap::new();
        for (part, spellings) in &parameters {
            let stored = spellings.first().and_then(|name| model.weights(*part).find(name));
            if let (Some(network), Some(stored)) = (Network::of(*part), stored) {
                shapes.insert((network, spellings[0].clone()), stored.shape());
            }
        }
        Ok(Self {
            names: ModelNames::new(&parameters),
            shapes,
            model: Some(model),
        })
    }

    fn of_family(family: Family) -> Option<Self> {
        let parameters = family_parameters(family).into_iter();
        Some(Self {
            names: ModelNames::of_family(family)?,
            shapes: parameters
                .map(|parameter| {
                    (
                        (parameter.network, parameter.spellings[0].clone()),
                        parameter.shape,
                    )
                })
                .collect(),
            model: None,
        })
    }

    fn weight(&self, network: Network, name: &str) -> Option<Vec<f32>> {
        let model = self.model?;
        let mut parts = model.configs().parts().into_iter();
        let part = parts.find(|part| Network::of(*part) == Some(network))?;
        model.weights(part).find(name)?.values_f32()
    }
}

/// The norm of a change at strength 1, and that over the weight's norm. Without a weight only where the change doesn't depend on it.
fn measure(
    parsed: &Parsed,
    values: &Values,
    weight: Option<(Vec<f32>, Vec<usize>)>,
) -> std::result::Result<(Option<f64>, Option<f64>), String> {
    /// Values of the largest layer there is, and some: hostile shapes are larger.
    const MAX: usize = 1 << 27;
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let Some(change) = &parsed.change else {
        return Ok((None, None));
    };
    if let Some((base, shape)) = weight {
        let mut changed = base.clone();
        parsed.apply(values, 1.0, None, &mut changed, &shape)?;
        let difference = norm(&mut base.iter().zip(&changed).map(|(a, b)| f64::from(b - a)));
        let whole = norm(&mut base.iter().map(|x| f64::from(*x)));
        return Ok((Some(difference), (whole > 0.0).then(|| difference / whole)));
    }
    let Some(shape) = change.shape().filter(|_| !parsed.dora) else {
        return Ok((None, None));
    };
    let count = shape.iter().try_fold(1usize, |n, k| n.checked_mul(*k));
    let Some(count) = count.filter(|count| *count <= MAX) else {
        return Err(format!(
            "it makes a weight of shape {shape:?}, larger than any layer"
        ));
    };
    let mut changed = vec![0f32; count];
    parsed.apply(values, 1.0, None, &mut changed, &shape)?;
    Ok((Some(norm(&mut changed.iter().map(|x| f64::from(*x)))), None))
}
