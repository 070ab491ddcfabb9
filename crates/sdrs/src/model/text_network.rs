//! A text encoder's network, which may be let go once texts are encoded, and comes back from its files.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sd_core::{
    config::{ClipTextConfig, Part},
    models::ClipTextModel,
    weights::{Loaded, PartWeights, Target},
};

use super::{Patches, Runtime};
use crate::Result;

/// A clone shares it.
#[derive(Clone)]
pub(crate) struct TextNetwork {
    part: Part,
    /// What it is made of, without its weights.
    described: Arc<Loaded<ClipTextModel>>,
    loaded: Arc<Mutex<Option<Arc<Loaded<ClipTextModel>>>>>,
}

impl TextNetwork {
    /// Checks the weights; nothing is loaded yet.
    pub fn new(part: Part, config: &ClipTextConfig, weights: PartWeights, target: &Target) -> Result<Self> {
        Ok(Self {
            part,
            described: Loaded::<ClipTextModel>::described(config, weights, target)?.into(),
            loaded: Arc::default(),
        })
    }

    /// The configuration, whether it is loaded or not.
    pub fn config(&self) -> &ClipTextConfig {
        self.described.config()
    }

    /// The network, loaded if it isn't there.
    pub fn get(&self, runtime: &Runtime) -> Result<Arc<Loaded<ClipTextModel>>> {
        let mut loaded = self.lock();
        if let Some(network) = &*loaded {
            return Ok(network.clone());
        }
        let title = self.part.title();
        let network = runtime.timed(format_args!("loaded the {title}"), || {
            Ok(self.described.loaded_anew()?)
        })?;
        super::tell_kept(title, network.kept(), runtime);
        Ok(loaded.insert(network.into()).clone())
    }

    /// Lets go of the weights; whether there were any. Who uses them still keeps them meanwhile.
    pub fn let_go(&self) -> bool {
        self.lock().take().is_some()
    }

    /// The same network with these patches in place of its own, loaded if this one is. Layers that neither touch are shared.
    pub fn with_patches(&self, patches: &Patches) -> Result<Self> {
        if self.described.has_patches(patches) {
            return Ok(self.clone());
        }
        let loaded = self.lock().clone();
        let changed = loaded.map(|it| Ok::<_, crate::Error>((Loaded::with_patches(&it, patches)?, it)));
        let loaded = match changed.transpose()? {
            // Nothing that it is made of changes.
            Some((changed, before)) if Arc::ptr_eq(&changed, &before) => return Ok(self.clone()),
            changed => changed.map(|(changed, _)| changed),
        };
        Ok(Self {
            part: self.part,
            described: self.described.described_with(patches)?.into(),
            loaded: Arc::new(Mutex::new(loaded)),
        })
    }

    /// Whether these patches fit.
    pub fn check_patches(&self, patches: &Patches) -> Result<()> {
        Ok(self.described.check_patches(patches)?)
    }

    /// Replaces the patches, each old layer gone before the new one is made, where nobody shares them and a sibling has none like it.
    pub fn set_patches(&mut self, patches: &Patches, sibling: Option<&Self>) -> Result<()> {
        let described = self.described.described_with(patches)?.into();
        let before = match Arc::get_mut(&mut self.loaded) {
            Some(own) => own.get_mut().unwrap_or_else(PoisonError::into_inner).take(),
            None => self.lock().clone(),
        };
        let loaded = match before {
            None => None,
            Some(mut network) => {
                let sibling = sibling.and_then(|sibling| sibling.lock().clone());
                let changed = Loaded::set_patches(&mut network, patches, sibling.as_deref());
                if let Err(error) = changed {
                    *self.lock() = Some(network);
                    return Err(error.into());
                }
                Some(network)
            }
        };
        self.loaded = Arc::new(Mutex::new(loaded));
        self.described = described;
        Ok(())
    }

    /// Whether both are one.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.described, &other.described)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Loaded<ClipTextModel>>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
