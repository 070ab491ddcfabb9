//! An adapter bound to a model.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use sd_core::{
    checkpoint::adapter_architecture,
    config::{Family, Part},
    shown,
    weights::WeightPatch,
};

use crate::{
    AdapterFile, Error, ModelNames, Network, Result, Strengths, Unmatched,
    change::Values,
    error::SHOWN,
    file::Contents,
    module::{Module, Parsed},
    names::Place,
};

/// An adapter whose modules have found their places in a model, with its strengths.
#[derive(Debug, Clone)]
pub struct Adapter {
    file: Arc<Contents>,
    /// From a network and a parameter's canonical name to what changes it.
    bound: HashMap<Network, HashMap<String, Bound>>,
    ranks: Option<usize>,
    unmatched: Vec<Unmatched>,
    /// The family that it was made for, in words for errors.
    made_for: String,
}

#[derive(Debug, Clone, Copy)]
struct Bound {
    module: usize,
    strength: f32,
    bias: bool,
}

impl AdapterFile {
    /// Finds the place of every module in a model, and sets the strength of each.
    ///
    /// # Errors
    /// [`Error::Unmatched`] if modules have no place in the model, unless that is allowed, [`Error::Module`] if a module's own tensors
    /// don't fit together, [`Error::Strength`] for strengths that can't be used.
    pub fn bind(&self, model: &ModelNames, strengths: &Strengths) -> Result<Adapter> {
        Adapter::new(self, model, strengths)
    }
}

impl Adapter {
    fn new(file: &AdapterFile, model: &ModelNames, strengths: &Strengths) -> Result<Self> {
        strengths.check()?;
        let contents = file.contents.clone();
        let fault = |module: &Module, reason: String| Error::Module {
            origin: file.origin().to_owned(),
            module: shown(&module.name),
            reason,
        };
        let mut bound: HashMap<Network, HashMap<String, Bound>> = HashMap::new();
        let mut unmatched = unknown(&contents);
        for (index, module) in contents.modules.iter().enumerate() {
            let parsed = match &module.parsed {
                Ok(parsed) => parsed,
                Err(reason) => return Err(fault(module, reason.clone())),
            };
            let Some(place) = model.find(&module.name) else {
                unmatched.push(Unmatched::without_place(module, model, unmatched.len() < SHOWN));
                continue;
            };
            let strength = strengths.at(place);
            let mut parameters = vec![];
            if parsed.change.is_some() {
                parameters.push((format!("{}.weight", place.layer), false));
            }
            if parsed.has_bias() && !place.bias {
                unmatched.push(Unmatched::without_bias(module, place));
            } else if parsed.has_bias() {
                parameters.push((format!("{}.bias", place.layer), true));
            }
            for (parameter, bias) in parameters {
                let new = Bound {
                    module: index,
                    strength,
                    bias,
                };
                match bound.entry(place.network).or_default().entry(parameter) {
                    Entry::Vacant(entry) => {
                        entry.insert(new);
                    }
                    Entry::Occupied(entry) => {
                        let other = &contents.modules[entry.get().module].name;
                        return Err(fault(module, format!("{} changes the same layer", shown(other))));
                    }
                }
            }
        }
        if !unmatched.is_empty() && !strengths.allow_unmatched {
            return Err(Error::Unmatched {
                origin: file.origin().to_owned(),
                modules: contents.modules.len(),
                hint: hint(file, model),
                keys: unmatched,
            });
        }
        // What doesn't act doesn't touch anything, so that it costs nothing and changes not one bit.
        bound
            .values_mut()
            .for_each(|network| network.retain(|_, bound| bound.strength != 0.0));
        Ok(Self {
            file: contents,
            bound,
            ranks: strengths.ranks,
            unmatched,
            made_for: made_for(file),
        })
    }

    /// The path of the file, or the name given with its bytes.
    pub fn origin(&self) -> &str {
        self.file.tensors.origin()
    }

    /// The modules without a place in the model, which were passed over because that was allowed.
    pub fn unmatched(&self) -> &[Unmatched] {
        &self.unmatched
    }

    /// Whether it changes a parameter, given by its canonical (diffusers) name.
    pub fn touches_in(&self, network: Network, name: &str) -> bool {
        self.find(network, name).is_some()
    }

    /// Whether it can change a parameter of this shape; if not, why not.
    ///
    /// # Errors
    /// A message with the fault, the file and the module.
    pub fn check_in(&self, network: Network, name: &str, shape: &[usize]) -> std::result::Result<(), String> {
        self.with(network, name, |bound, parsed, values| match bound.bias {
            true => parsed.check_bias(values, shape),
            false => parsed.check(values, shape),
        })
        .map_err(|reason| format!("{reason}{}", self.made_for))
    }

    /// Changes a parameter, row-major, if it touches it.
    ///
    /// # Errors
    /// A message with the fault (a misfit, or a value that isn't finite), the file and the module; the values may then be anything.
    pub fn apply_in(
        &self,
        network: Network,
        name: &str,
        shape: &[usize],
        parameter: &mut [f32],
    ) -> std::result::Result<(), String> {
        if shape.iter().try_fold(1, |n: usize, k| n.checked_mul(*k)) != Some(parameter.len()) {
            return Err(format!(
                "{}: {name}: {} values are no {shape:?}",
                self.origin(),
                parameter.len()
            ));
        }
        self.with(network, name, |bound, parsed, values| match bound.bias {
            true => parsed.apply_bias(values, bound.strength, parameter, shape),
            false => parsed.apply(values, bound.strength, self.ranks, parameter, shape),
        })
    }

    fn find(&self, network: Network, name: &str) -> Option<&Bound> {
        self.bound.get(&network)?.get(name)
    }

    fn with(
        &self,
        network: Network,
        name: &str,
        run: impl FnOnce(&Bound, &Parsed, &Values) -> std::result::Result<(), String>,
    ) -> std::result::Result<(), String> {
        let Some(bound) = self.find(network, name) else {
            return Ok(());
        };
        let module = &self.file.modules[bound.module];
        let Ok(parsed) = &module.parsed else { return Ok(()) };
        let values = Values {
            file: &self.file.tensors,
            keys: &module.keys,
        };
        let named = |reason| format!("{}: {}: {reason}", self.origin(), shown(&module.name));
        run(bound, parsed, &values).map_err(named)
    }
}

impl WeightPatch for Adapter {
    fn touches(&self, part: Part, name: &str) -> bool {
        Network::of(part).is_some_and(|network| self.touches_in(network, name))
    }

    fn check(&self, part: Part, name: &str, shape: &[usize]) -> std::result::Result<(), String> {
        Network::of(part).map_or(Ok(()), |network| self.check_in(network, name, shape))
    }

    fn apply(
        &self,
        part: Part,
        name: &str,
        shape: &[usize],
        values: &mut [f32],
    ) -> std::result::Result<(), String> {
        Network::of(part).map_or(Ok(()), |network| self.apply_in(network, name, shape, values))
    }
}

impl Unmatched {
    /// A module that changes a bias, at a layer without one.
    pub(crate) fn without_bias(module: &Module, place: &Place) -> Self {
        Self {
            name: module.name.clone(),
            reason: Some(format!("{} has no bias to change", place.full_name())),
            nearest: None,
        }
    }

    /// A module whose name means nothing to the model; its neighbour is looked for only if `search`, since that compares all names.
    pub(crate) fn without_place(module: &Module, model: &ModelNames, search: bool) -> Self {
        Self {
            name: module.name.clone(),
            reason: None,
            nearest: search.then(|| model.nearest(&module.name)).flatten(),
        }
    }
}

/// Keys that belong to no module.
pub(crate) fn unknown(file: &Contents) -> Vec<Unmatched> {
    let unknown = file.unknown.iter().map(|key| Unmatched {
        name: key.clone(),
        reason: Some("its ending is of no known kind of adapter".into()),
        nearest: None,
    });
    unknown.collect()
}

/// The reason why nothing fits, if it can be found.
fn hint(file: &AdapterFile, model: &ModelNames) -> String {
    let modules = &file.contents.modules;
    let matched = modules
        .iter()
        .filter(|module| model.find(&module.name).is_some())
        .count();
    match matched == modules.len() {
        true => String::new(),
        false => made_for(file),
    }
}

/// The family that an adapter was made for, in brackets; nothing where that doesn't show.
fn made_for(file: &AdapterFile) -> String {
    match (adapter_architecture(&file.contents.tensors), file.family()) {
        (Some(name), _) => format!(" (it was made for {name})"),
        (None, Family::Other) => String::new(),
        (None, family) => format!(" (it was made for {family})"),
    }
}
