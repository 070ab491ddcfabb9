//! Models that share what they have in common: layers by path, and a part with all that it takes to make a sibling.

use std::{any::Any, collections::HashMap, sync::Arc};

use super::{
    Params, PartWeights, Target, WeightPatch,
    params::{check, make},
};
use crate::Result;

/// The layers of a part, by path.
#[derive(Default, Clone)]
pub(super) struct Layers {
    made: HashMap<String, Made>,
    /// What changed the weights that they were made from.
    patches: Vec<Arc<dyn WeightPatch>>,
    /// Parameters in the order in which they were loaded.
    asked: Vec<String>,
}

#[derive(Clone)]
struct Made {
    parameters: Arc<[String]>,
    layer: Arc<dyn Any + Send + Sync>,
}

impl Layers {
    /// The layer at a path, if nothing changes it now that didn't before, and nothing did that doesn't now. One that can't be taken
    /// over is let go, so that its memory is free before it is made anew.
    pub fn take_over<T: Clone + 'static>(&mut self, path: &str, weights: &PartWeights) -> Option<T> {
        let made = self.made.get(path)?;
        let kept = made.parameters.iter().all(|name| self.unchanged(name, weights));
        match kept {
            true => made.layer.downcast_ref::<T>().cloned(),
            false => {
                self.made.remove(path);
                None
            }
        }
    }

    fn unchanged(&self, name: &str, weights: &PartWeights) -> bool {
        let before = self.patches.iter();
        let before: Vec<_> = before.filter(|patch| patch.touches(weights.part, name)).collect();
        let now = weights.patches(name);
        before.len() == now.len() && before.iter().zip(&now).all(|(a, b)| Arc::ptr_eq(a, b))
    }

    fn all_unchanged(&self, weights: &PartWeights) -> bool {
        let mut parameters = self.made.values().flat_map(|made| made.parameters.iter());
        parameters.all(|name| self.unchanged(name, weights))
    }

    /// Where the parameters of the layer that is made next will begin.
    pub fn mark(&self) -> usize {
        self.asked.len()
    }

    /// Notes a parameter that was loaded.
    pub fn asked(&mut self, name: String) {
        self.asked.push(name);
    }

    /// Keeps a layer, made of the parameters since `mark`.
    pub fn keep<T: Send + Sync + 'static>(&mut self, path: &str, mark: usize, layer: T) {
        let parameters = self.asked[mark..].into();
        let layer = Arc::new(layer);
        self.made.insert(path.to_owned(), Made { parameters, layer });
    }
}

/// A part of a pipeline: a constructor that asks [`Params`] for its tensors.
pub trait Model: Sized {
    /// What says how it is built.
    type Config;

    /// The configuration it was built from.
    fn config(&self) -> &Self::Config;

    /// Builds it. Runs twice: see [`Params`].
    fn build(config: &Self::Config, p: &Params, target: &Target) -> Self;
}

/// A loaded part that knows where it came from, so that the same part with other adapters can be made of it: from the base weights as
/// they are in the files, and sharing all layers that no adapter changes.
pub struct Loaded<M> {
    model: M,
    weights: PartWeights,
    target: Target,
    layers: Layers,
}

impl<M> std::ops::Deref for Loaded<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.model
    }
}

impl<M: Model> Loaded<M> {
    /// Loads a part.
    ///
    /// # Errors
    /// [`Error::Weights`](crate::Error::Weights) if the weights, or what adapters change in them, don't fit `config`.
    pub fn load(config: &M::Config, weights: PartWeights, target: &Target) -> Result<Self> {
        check(&weights, target, |p| M::build(config, p, target))?;
        Self::make(config, weights, target.clone(), Layers::default())
    }

    /// The same part with these adapters instead of those that it has: itself, if that changes nothing.
    ///
    /// # Errors
    /// [`Error::Weights`](crate::Error::Weights) if what they change doesn't fit, or can't be changed.
    pub fn with_patches(this: &Arc<Self>, patches: &[Arc<dyn WeightPatch>]) -> Result<Arc<Self>> {
        let weights = this.weights.with_patches(patches);
        this.hollow(&weights)?;
        if this.layers.all_unchanged(&weights) {
            return Ok(this.clone());
        }
        let (config, target) = (this.model.config(), this.target.clone());
        Ok(Arc::new(Self::make(
            config,
            weights,
            target,
            this.layers.clone(),
        )?))
    }

    /// Whether these adapters fit, which [`Loaded::set_patches`] asks first.
    ///
    /// # Errors
    /// As [`Loaded::with_patches`].
    pub fn check_patches(&self, patches: &[Arc<dyn WeightPatch>]) -> Result<()> {
        self.hollow(&self.weights.with_patches(patches)).map(drop)
    }

    /// Changes the adapters in place: layers are let go one by one as their successors are made, so that it takes no more memory than
    /// the part itself, unless others share it.
    ///
    /// # Errors
    /// As [`Loaded::with_patches`]; then it is as it was, loaded anew if an adapter failed when some layers were changed already.
    pub fn set_patches(this: &mut Arc<Self>, patches: &[Arc<dyn WeightPatch>]) -> Result<()> {
        let Some(own) = Arc::get_mut(this) else {
            *this = Self::with_patches(this, patches)?;
            return Ok(());
        };
        let weights = own.weights.with_patches(patches);
        let hollow = own.hollow(&weights)?;
        if own.layers.all_unchanged(&weights) {
            return Ok(());
        }
        // Without the old model, `layers` alone holds what it was made of.
        own.model = hollow;
        let layers = std::mem::take(&mut own.layers);
        let target = own.target.clone();
        let made = Self::make(own.model.config(), weights, target, layers);
        let failed = match made {
            Ok(made) => {
                *own = made;
                return Ok(());
            }
            Err(error) => error,
        };
        let (before, target) = (own.weights.clone(), own.target.clone());
        *own = Self::make(own.model.config(), before, target, Layers::default())?;
        Err(failed)
    }

    fn hollow(&self, weights: &PartWeights) -> Result<M> {
        let checked = check(weights, &self.target, |p| {
            M::build(self.model.config(), p, &self.target)
        });
        Ok(checked?.hollow)
    }

    fn make(config: &M::Config, weights: PartWeights, target: Target, layers: Layers) -> Result<Self> {
        let (model, mut layers) = make(&weights, &target, layers, |p| M::build(config, p, &target))?;
        layers.patches.clone_from(&weights.patches);
        layers.asked = Vec::new();
        Ok(Self {
            model,
            weights,
            target,
            layers,
        })
    }
}
