//! From files to the tensors of one model part: every tensor by its canonical name, with its shape checked.

use std::{cell::RefCell, collections::HashSet, sync::Arc};

use burn::tensor::{Element, Tensor, TensorData};
use half::{bf16, f16};

use super::{Part, TensorFile, TensorInfo, WeightPatch, cast, names::Names};
use crate::{Device, Dtype, Error, Result, WeightsError, error::Misshapen};

/// Where the weights of one part (U-Net, VAE, text encoder) lie and how they are named there.
#[derive(Clone)]
pub struct PartWeights {
    /// What errors call this part: "unet of /models/x.safetensors".
    pub origin: String,
    /// The files that hold it; a name is looked up in each.
    pub files: Vec<Arc<TensorFile>>,
    /// How canonical names are spelt in these files.
    pub names: Arc<dyn Names>,
    /// Which part they belong to.
    pub part: Part,
    /// What changes them on their way, in this order.
    pub patches: Vec<Arc<dyn WeightPatch>>,
}

impl PartWeights {
    fn patches(&self, canonical: &str) -> Vec<&dyn WeightPatch> {
        let patches = self.patches.iter().map(AsRef::as_ref);
        patches
            .filter(|patch| patch.touches(self.part, canonical))
            .collect()
    }

    fn find(&self, canonical: &str) -> Option<(&TensorFile, String, &TensorInfo)> {
        self.names.spellings(canonical).into_iter().find_map(|name| {
            let file = self.files.iter().find(|file| file.info(&name).is_some())?;
            Some((file.as_ref(), name.clone(), file.info(&name)?))
        })
    }
}

/// Where the loaded tensors go.
#[derive(Debug, Clone)]
pub struct Target {
    /// The device.
    pub device: Device,
    /// The compute type that every tensor is cast to.
    pub dtype: Dtype,
}

/// Hands a model's constructor its tensors, addressed by a path such as `down_blocks.0.resnets.1`.
///
/// A constructor runs twice over the same code: first to check that every tensor is there with the right shape (tiny placeholders
/// are handed out), then to load. So all faults are found, and reported together, before anything large is allocated.
#[derive(Clone)]
pub struct Params<'a> {
    shared: &'a Shared<'a>,
    path: String,
}

struct Shared<'a> {
    weights: &'a PartWeights,
    target: &'a Target,
    /// `None` while loading.
    check: Option<RefCell<Check>>,
    /// What patches could not change while loading.
    unpatched: RefCell<Vec<String>>,
}

#[derive(Default)]
struct Check {
    used: HashSet<String>,
    faults: WeightsError,
}

/// Builds a part of a model from its weights.
///
/// # Errors
/// [`Error::Weights`] with every missing, unexpected, misshapen or unreadable tensor, or with what a patch can't be applied to.
pub fn load<M>(weights: &PartWeights, target: &Target, build: impl Fn(&Params) -> M) -> Result<M> {
    let mut shared = Shared {
        weights,
        target,
        check: Some(RefCell::default()),
        unpatched: RefCell::default(),
    };
    build(&Params {
        shared: &shared,
        path: String::new(),
    });
    if let Some(check) = shared.check.take() {
        let Check { used, mut faults } = check.into_inner();
        let names = weights.files.iter().flat_map(|file| file.names());
        let unexpected = names.filter(|name| !used.contains(*name) && weights.names.claims(name));
        faults.unexpected = unexpected.map(str::to_owned).collect();
        faults.unexpected.sort();
        faults.origin.clone_from(&weights.origin);
        if !faults.is_empty() {
            return Err(Error::Weights(Box::new(faults)));
        }
    }
    let model = build(&Params {
        shared: &shared,
        path: String::new(),
    });
    let patches = shared.unpatched.into_inner();
    if patches.is_empty() {
        return Ok(model);
    }
    let origin = weights.origin.clone();
    Err(Error::Weights(Box::new(WeightsError {
        origin,
        patches,
        ..WeightsError::default()
    })))
}

impl<'a> Params<'a> {
    /// The parameters below `name` ("down_blocks.0").
    pub fn at(&self, name: impl std::fmt::Display) -> Params<'a> {
        let path = if self.path.is_empty() {
            name.to_string()
        } else {
            format!("{}.{name}", self.path)
        };
        Params {
            shared: self.shared,
            path,
        }
    }

    /// The tensor `name` here, which must have this shape; axes of length 1 at the end may be there or not, so that a 1x1
    /// convolution and a linear layer are the same thing.
    pub fn tensor<const D: usize>(&self, name: &str, shape: [usize; D]) -> Tensor<D> {
        let canonical = self.at(name).path;
        let Shared {
            weights,
            target,
            check,
            unpatched,
        } = self.shared;
        let device = target.device.burn();
        let found = weights.find(&canonical);
        let Some(check) = check else {
            if !unpatched.borrow().is_empty() {
                // Nothing will come of this: don't read the rest.
                return Tensor::zeros([1; D], (device, target.dtype.burn()));
            }
            let (file, name, _) = found.expect("checked before loading");
            let patches = weights.patches(&canonical);
            let data = if patches.is_empty() {
                match target.dtype {
                    Dtype::F32 => values::<f32, D>(file, &name, shape),
                    Dtype::F16 => values::<f16, D>(file, &name, shape),
                    Dtype::Bf16 => values::<bf16, D>(file, &name, shape),
                }
            } else {
                let mut values = file.values::<f32>(&name).expect("checked before loading");
                let changed = patches
                    .iter()
                    .try_for_each(|patch| patch.apply(weights.part, &canonical, &shape, &mut values));
                if let Err(reason) = changed {
                    unpatched.borrow_mut().push(reason);
                }
                TensorData::new(values, shape).convert_dtype(target.dtype.burn())
            };
            return Tensor::from_data(data, (device, target.dtype.burn()));
        };
        let mut check = check.borrow_mut();
        match found {
            None => check.faults.missing.push(canonical),
            Some((_, name, info)) => {
                if without_trailing_ones(&info.shape) != without_trailing_ones(&shape) {
                    let (expected, got) = (shape.to_vec(), info.shape.clone());
                    check.faults.misshapen.push(Misshapen {
                        name: canonical.clone(),
                        expected,
                        got,
                    });
                } else if !info.is_readable() {
                    check
                        .faults
                        .unreadable
                        .push((canonical.clone(), info.type_name()));
                }
                for patch in weights.patches(&canonical) {
                    let fits = patch.check(weights.part, &canonical, &shape);
                    check.faults.patches.extend(fits.err());
                }
                check.used.insert(name);
            }
        }
        Tensor::zeros([1; D], (device, target.dtype.burn()))
    }
}

fn values<E: cast::Element + Element, const D: usize>(
    file: &TensorFile,
    name: &str,
    shape: [usize; D],
) -> TensorData {
    TensorData::new(file.values::<E>(name).expect("checked before loading"), shape)
}

fn without_trailing_ones(shape: &[usize]) -> &[usize] {
    let end = shape.iter().rposition(|&n| n != 1).map_or(0, |last| last + 1);
    &shape[..end]
}

/// The canonical names of all parameters that a constructor asks for.
pub(crate) fn parameters<M>(part: Part, target: &Target, build: impl Fn(&Params) -> M) -> Vec<String> {
    let names = Arc::new(super::names::Diffusers { part });
    let weights = PartWeights {
        origin: String::new(),
        files: Vec::new(),
        names,
        part,
        patches: Vec::new(),
    };
    let shared = Shared {
        weights: &weights,
        target,
        check: Some(RefCell::default()),
        unpatched: RefCell::default(),
    };
    build(&Params {
        shared: &shared,
        path: String::new(),
    });
    // With no files at all, everything that is asked for is missing.
    shared
        .check
        .map_or_else(Vec::new, |check| check.into_inner().faults.missing)
}
