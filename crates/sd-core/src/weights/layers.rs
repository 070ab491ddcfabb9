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
        let made = self.made.get(path)?;
        let unchanged = made.parameters.iter().all(|name| self.unchanged(name, weights));
        match unchanged {
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

    pub fn all_unchanged(&self, weights: &PartWeights) -> bool {
        let mut parameters = self.made.values().flat_map(|made| made.parameters.iter());
        parameters.all(|name| self.unchanged(name, weights))
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
