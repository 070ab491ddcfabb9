//! Models: a constructor each, and a part with all that it takes to make a sibling.

use std::{ops::Deref, sync::Arc};

use super::{
    Kept, Params, PartWeights, Target, WeightPatch,
    layers::Layers,
    params::{Checked, Made, Requirements, check, make, nowhere, requirements},
};
use crate::{Dtype, Result, config::Part};

/// A part of a pipeline: a constructor that asks [`Params`] for its tensors.
pub trait Model: Sized {
    /// The description that it is built from.
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
    kept: Kept,
}

impl<M> Deref for Loaded<M> {
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

    /// A part that is checked, but not loaded: it knows what it is made of, and nothing can be computed with it.
    ///
    /// # Errors
    /// As [`Loaded::load`].
    pub fn described(config: &M::Config, weights: PartWeights, target: &Target) -> Result<Self> {
        let checked = check(&weights, target, |p| M::build(config, p, target))?;
        Ok(Self {
            model: checked.hollow,
            weights,
            target: target.clone(),
            layers: Layers::default(),
            kept: Kept::default(),
        })
    }

    /// The same with these adapters instead of its own, described alone.
    ///
    /// # Errors
    /// As [`Loaded::with_patches`].
    pub fn described_with(&self, patches: &[Arc<dyn WeightPatch>]) -> Result<Self> {
        let weights = self.weights.with_patches(patches);
        Self::described(self.model.config(), weights, &self.target)
    }

    /// The same part loaded from its files, sharing nothing.
    ///
    /// # Errors
    /// As [`Loaded::load`].
    pub fn loaded_anew(&self) -> Result<Self> {
        let (config, weights, target) = (self.model.config(), self.weights.clone(), self.target.clone());
        Self::make(config, weights, target, Layers::default())
    }

    /// Whether these are the adapters that it has.
    pub fn has_patches(&self, patches: &[Arc<dyn WeightPatch>]) -> bool {
        let own = &self.weights.patches;
        own.len() == patches.len() && own.iter().zip(patches).all(|(a, b)| Arc::ptr_eq(a, b))
    }

    /// The same part with these adapters instead of its own: itself, if nothing changes.
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
    /// the part itself, unless others share it. Layers that `sibling` has as they are to be are shared with it.
    ///
    /// # Errors
    /// As [`Loaded::with_patches`]; then it is as it was, loaded anew if an adapter failed when some layers were changed already.
    pub fn set_patches(
        this: &mut Arc<Self>,
        patches: &[Arc<dyn WeightPatch>],
        sibling: Option<&Self>,
    ) -> Result<()> {
        let Some(own) = Arc::get_mut(this) else {
            *this = Self::with_patches(this, patches)?;
            return Ok(());
        };
        let weights = own.weights.with_patches(patches);
        let hollow = own.hollow(&weights)?;
        if own.layers.all_unchanged(&weights) {
            return Ok(());
        }
        // Without the old model, `layers` alone holds its layers.
        own.model = hollow;
        let mut layers = std::mem::take(&mut own.layers);
        layers.others = sibling.map(|sibling| sibling.layers.clone().into());
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

    /// The same part in another type: of its own, sharing nothing.
    ///
    /// # Errors
    /// As [`Loaded::load`].
    pub fn in_type(&self, dtype: Dtype) -> Result<Self> {
        let target = Target {
            dtype,
            ..self.target.clone()
        };
        Self::load(self.model.config(), self.weights.clone(), &target)
    }

    /// Bytes that all its weights take.
    pub fn weight_bytes(&self) -> usize {
        weight_bytes::<M>(self.model.config(), &self.weights, &self.target)
    }

    /// The numbers of what was loaded for it; layers that it took over from another are not among them.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    fn hollow(&self, weights: &PartWeights) -> Result<M> {
        let checked = check(weights, &self.target, |p| {
            M::build(self.model.config(), p, &self.target)
        });
        Ok(checked?.hollow)
    }

    fn make(config: &M::Config, weights: PartWeights, target: Target, layers: Layers) -> Result<Self> {
        let Made {
            model,
            mut layers,
            kept,
        } = make(&weights, &target, layers, |p| M::build(config, p, &target))?;
        layers.patches.clone_from(&weights.patches);
        layers.requested = Vec::new();
        layers.others = None;
        Ok(Self {
            model,
            weights,
            target,
            layers,
            kept,
        })
    }
}

/// A configuration and weights that fit it.
pub(crate) struct Fit {
    /// The canonical names and shapes of all parameters.
    pub parameters: Vec<(String, Vec<usize>)>,
    /// Tensors that the part has no place for, where these are allowed.
    pub passed_over: Vec<String>,
}

/// Whether weights fit a part of this configuration.
///
/// # Errors
/// [`Error::Weights`](crate::Error::Weights) if they aren't.
pub(crate) fn fit<M: Model>(config: &M::Config, weights: &PartWeights, target: &Target) -> Result<Fit> {
    let Checked {
        parameters,
        passed_over,
        ..
    } = check(weights, target, |p| M::build(config, p, target))?;
    Ok(Fit {
        parameters,
        passed_over,
    })
}

/// Bytes that these weights of a part of this configuration take when they are loaded.
pub(crate) fn weight_bytes<M: Model>(config: &M::Config, weights: &PartWeights, target: &Target) -> usize {
    requirements_of::<M>(config, weights, target).bytes
}

/// Bytes of what such a part doesn't share with a sibling that has other patches.
pub(crate) fn unshared_bytes<M: Model>(
    config: &M::Config,
    weights: &PartWeights,
    patches: &[Arc<dyn WeightPatch>],
    target: &Target,
) -> usize {
    requirements_of::<M>(config, weights, target).unshared_bytes(weights, patches)
}

/// The canonical names and shapes of all parameters of a part of this configuration.
pub(crate) fn parameters<M: Model>(
    config: &M::Config,
    part: Part,
    target: &Target,
) -> Vec<(String, Vec<usize>)> {
    requirements_of::<M>(config, &nowhere(part), target).parameters
}

fn requirements_of<M: Model>(config: &M::Config, weights: &PartWeights, target: &Target) -> Requirements {
    requirements(weights, target, |p| M::build(config, p, target))
}
