//! The layers of a part, by path: what siblings of the part share.

use std::{any::Any, collections::HashMap, sync::Arc};

use super::{PartWeights, WeightPatch};

/// The layers of a part, by path.
#[derive(Default, Clone)]
pub(super) struct Layers {
    made: HashMap<String, BuiltLayer>,
    /// The patches of the weights that they were made from.
    pub patches: Vec<Arc<dyn WeightPatch>>,
    /// Parameters in the order in which they were loaded.
    pub requested: Vec<String>,
    /// Those of a sibling, which are taken before a layer is made anew.
    pub others: Option<Box<Layers>>,
}

#[derive(Clone)]
struct BuiltLayer {
    parameters: Arc<[String]>,
    layer: Arc<dyn Any + Send + Sync>,
}

impl Layers {
    /// The layer at a path, if nothing changes it now that didn't before, and nothing did that doesn't now. One that can't be taken
    /// over is let go, so that its memory is free before it is made anew.
    pub fn take_over<T: Clone + 'static>(&mut self, path: &str, weights: &PartWeights) -> Option<T> {
        if let Some(made) = self.unchanged_at(path, weights) {
            return made.layer.downcast_ref::<T>().cloned();
        }
        self.made.remove(path);
        let made = self.others.as_ref()?.unchanged_at(path, weights)?.clone();
        let layer = made.layer.downcast_ref::<T>().cloned();
        self.made.insert(path.to_owned(), made);
        layer
    }

    fn unchanged_at(&self, path: &str, weights: &PartWeights) -> Option<&BuiltLayer> {
        let made = self.made.get(path)?;
        let mut parameters = made.parameters.iter();
        parameters
            .all(|name| unchanged(&self.patches, weights, name))
            .then_some(made)
    }

    pub fn all_unchanged(&self, weights: &PartWeights) -> bool {
        let mut parameters = self.made.values().flat_map(|made| made.parameters.iter());
        parameters.all(|name| unchanged(&self.patches, weights, name))
    }

    /// The place where the parameters of the layer that is made next will begin.
    pub fn mark(&self) -> usize {
        self.requested.len()
    }

    /// Keeps a layer, made of the parameters since `mark`.
    pub fn keep<T: Send + Sync + 'static>(&mut self, path: &str, mark: usize, layer: T) {
        let parameters = self.requested[mark..].into();
        let layer = Arc::new(layer);
        self.made
            .insert(path.to_owned(), BuiltLayer { parameters, layer });
    }
}

/// Whether a parameter of these weights is changed as it is by the patches `before`.
pub(super) fn unchanged(before: &[Arc<dyn WeightPatch>], weights: &PartWeights, name: &str) -> bool {
    let before = before.iter();
    let before: Vec<_> = before.filter(|patch| patch.touches(weights.part, name)).collect();
    let now = weights.patches(name);
    before.len() == now.len() && before.iter().zip(&now).all(|(a, b)| Arc::ptr_eq(a, b))
}
