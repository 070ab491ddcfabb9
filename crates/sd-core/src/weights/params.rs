//! The tensors of one part for its constructor: each by its canonical name, with its shape checked.

use std::{cell::RefCell, collections::HashSet, ops::Range, sync::Arc};

use burn_tensor::Tensor;
use half::{bf16, f16};
use sd_kernels::{Quantization, Weight, WeightType, Workspace};

use super::{
    Kept, PartWeights, Stored, Target, WeightPatch,
    kept::{narrow, tensor},
    layers::{Layers, unchanged},
    names::{Diffusers, View},
};
use crate::{Device, Dtype, Error, Result, WeightsError, config::Part, error::Misshapen};

/// Hands a model's constructor its tensors, addressed by a path such as `down_blocks.0.resnets.1`.
///
/// A constructor runs twice over the same code: first to check that every tensor is there with the right shape (tiny placeholders
/// are handed out), then to load. So all faults are found, and reported together, before anything large is allocated.
#[derive(Clone)]
pub struct Params<'a> {
    shared: &'a Shared<'a>,
    path: String,
    /// Whether weights here lose too much in eight bits.
    sensitive: bool,
}

struct Shared<'a> {
    weights: &'a PartWeights,
    target: &'a Target,
    mode: Mode,
}

enum Mode {
    Check(RefCell<Check>),
    Load(RefCell<Load>),
}

struct Load {
    layers: Layers,
    /// The reason why a patch could not change a parameter.
    unpatched: Option<String>,
    kept: Kept,
}

#[derive(Default)]
struct Check {
    used: HashSet<String>,
    /// Canonical names and shapes of all that was asked for.
    requested: Vec<(String, Vec<usize>)>,
    /// The bytes of all that when it is loaded.
    bytes: usize,
    layers: Vec<LayerBytes>,
    faults: WeightsError,
}

/// The parameters of a layer, by their places among all, and the bytes that they take.
struct LayerBytes {
    parameters: Range<usize>,
    bytes: usize,
}

impl Check {
    /// A layer that was described from this place on, where so many bytes were asked for before.
    fn end_layer(&mut self, (start, bytes): (usize, usize)) {
        // Layers within it come and go with it.
        while self
            .layers
            .last()
            .is_some_and(|layer| layer.parameters.start >= start)
        {
            self.layers.pop();
        }
        self.layers.push(LayerBytes {
            parameters: start..self.requested.len(),
            bytes: self.bytes - bytes,
        });
    }
}

impl<'a> Shared<'a> {
    fn root(&'a self) -> Params<'a> {
        Params {
            shared: self,
            path: String::new(),
            sensitive: self.weights.part == Part::Vae,
        }
    }
}

/// Builds a part of a model from its weights.
///
/// # Errors
/// [`Error::Weights`] with every missing, unexpected, misshapen or unreadable tensor, or with the parameters that a patch can't be
/// applied to.
pub fn load<M>(weights: &PartWeights, target: &Target, build: impl Fn(&Params) -> M) -> Result<M> {
    check(weights, target, &build)?;
    Ok(make(weights, target, Layers::default(), build)?.model)
}

/// A constructor's result for checked weights.
pub(super) struct Checked<M> {
    /// The model, of placeholders.
    pub hollow: M,
    /// The canonical names and shapes of all parameters that it asked for.
    pub parameters: Vec<(String, Vec<usize>)>,
    /// Tensors that it has no place for, where these are allowed.
    pub passed_over: Vec<String>,
}

/// Whether the weights have the tensors that a constructor asks for.
pub(super) fn check<M>(
    weights: &PartWeights,
    target: &Target,
    build: impl Fn(&Params) -> M,
) -> Result<Checked<M>> {
    let shared = Shared {
        weights,
        target,
        mode: Mode::Check(RefCell::default()),
    };
    let hollow = build(&shared.root());
    let Check {
        used,
        mut faults,
        requested,
        ..
    } = shared.mode.into_check();
    let names = weights.files.iter().flat_map(|file| file.names());
    let unexpected = names.filter(|name| !used.contains(*name) && weights.names.claims(name));
    let mut unexpected: Vec<String> = unexpected.map(str::to_owned).collect();
    unexpected.sort();
    let mut passed_over = Vec::new();
    match weights.allow_unexpected {
        true => passed_over = unexpected,
        false => faults.unexpected = unexpected,
    }
    faults.origin.clone_from(&weights.origin);
    match faults.is_empty() {
        true => Ok(Checked {
            hollow,
            parameters: requested,
            passed_over,
        }),
        false => Err(Error::Weights(Box::new(faults))),
    }
}

/// A constructor's result.
pub(super) struct Made<M> {
    pub model: M,
    pub layers: Layers,
    /// The numbers of all that was loaded, not taken over.
    pub kept: Kept,
}

/// Runs a constructor on checked weights; `layers` are those of an earlier run, which are taken over where nothing changes them.
///
/// # Errors
/// [`Error::Weights`] if a patch can't be applied: its own values are read only now.
pub(super) fn make<M>(
    weights: &PartWeights,
    target: &Target,
    layers: Layers,
    build: impl Fn(&Params) -> M,
) -> Result<Made<M>> {
    let shared = Shared {
        weights,
        target,
        mode: Mode::Load(RefCell::new(Load {
            layers,
            unpatched: None,
            kept: Kept::default(),
        })),
    };
    let workspace = Workspace::default();
    workspace.set_limit(STAGED);
    let model = workspace.enter(|| build(&shared.root()));
    weights.files.iter().for_each(|file| file.let_go());
    match shared.mode {
        Mode::Load(load) => match load.into_inner() {
            Load {
                layers,
                unpatched: None,
                kept,
            } => Ok(Made { model, layers, kept }),
            Load { unpatched, .. } => Err(weights.unpatched(unpatched.into_iter().collect())),
        },
        Mode::Check(_) => unreachable!("it was set to load"),
    }
}

impl Mode {
    fn into_check(self) -> Check {
        match self {
            Self::Check(check) => check.into_inner(),
            Self::Load(_) => Check::default(),
        }
    }
}

impl<'a> Params<'a> {
    /// The parameters below `name` ("down_blocks.0").
    pub fn at(&self, name: impl std::fmt::Display) -> Params<'a> {
        let path = if self.path.is_empty() {
            name.to_string()
        } else {
            format!("{}.{name}", self.path)
        };
        Params { path, ..*self }
    }

    /// The name of the part in errors.
    pub fn origin(&self) -> &str {
        &self.shared.weights.origin
    }

    /// The device of the tensors.
    pub fn device(&self) -> &Device {
        &self.shared.target.device
    }

    /// Whether the files hold anything of the parameters here, of which `one` is a parameter's path that every layout spells alike
    /// ("conv_in.weight"). Without files, as when only names are needed, all is there.
    pub fn any(&self, one: &str) -> bool {
        let PartWeights { files, names, .. } = self.shared.weights;
        let beginnings = names.spellings(&self.at(one).path);
        let beginnings: Vec<&str> = beginnings
            .iter()
            .filter_map(|spelling| spelling.name.strip_suffix(one))
            .collect();
        let mut stored = files.iter().flat_map(|file| file.names());
        files.is_empty() || stored.any(|name| beginnings.iter().any(|beginning| name.starts_with(beginning)))
    }

    /// The same for layers that lose too much in eight bits, and save too little.
    pub fn sensitive(self) -> Params<'a> {
        let sensitive = true;
        Params { sensitive, ..self }
    }

    /// The numbers that layers here compute in.
    pub fn quantization(&self) -> Quantization {
        match self.shared.weights.part {
            Part::Unet if !self.sensitive => self.shared.target.quantization.resolved(),
            _ => Quantization::None,
        }
    }

    /// A layer made of the tensors here, which a model's siblings share where nothing changes these. The result of `build` is kept beside
    /// the model, so a clone of it must share its memory, as tensors do.
    pub fn layer<T: Clone + Send + Sync + 'static>(&self, build: impl FnOnce(&Self) -> T) -> T {
        let load = match &self.shared.mode {
            Mode::Load(load) => load,
            Mode::Check(check) => {
                let place = (check.borrow().requested.len(), check.borrow().bytes);
                let layer = build(self);
                check.borrow_mut().end_layer(place);
                return layer;
            }
        };
        let taken = load
            .borrow_mut()
            .layers
            .take_over(&self.path, self.shared.weights);
        if let Some(layer) = taken {
            return layer;
        }
        let mark = load.borrow().layers.mark();
        let layer = build(self);
        load.borrow_mut().layers.keep(&self.path, mark, layer.clone());
        layer
    }

    /// The tensor `name` here in the compute type, which must have this shape; axes of length 1 at the end may be there or not, so that a 1x1
    /// convolution and a linear layer are the same thing.
    pub fn tensor<const D: usize>(&self, name: &str, shape: [usize; D]) -> Tensor<D> {
        let full = self.shared.target.full();
        self.ask(name, shape, full, |weights, canonical, _| {
            self.whole(weights, canonical, shape, full)
        })
    }

    /// The same for a layer's matrix or kernel, in the numbers that it is kept in.
    pub fn weight<const D: usize>(&self, name: &str, shape: [usize; D]) -> Weight<D> {
        let target = self.shared.target;
        let full = target.full();
        let quantized = self.quantization() != Quantization::None;
        let kind = match quantized {
            true => full,
            false => self.kept(name, &shape),
        };
        self.ask(name, shape, kind, |weights, canonical, kept| {
            let found = weights.find(canonical);
            let narrowed = match kind == full {
                true => None,
                false => narrow(weights, canonical, shape, kind, target)?,
            };
            let count = shape.iter().product();
            kept.too_large += usize::from(kind != full && narrowed.is_none());
            if let Some(stored) = found.filter(|stored| stored.info.blocks.is_some())
                && (WeightType::Bf16..=WeightType::F16).contains(&kind)
            {
                kept.rounded.insert(stored.info.type_name());
            }
            let (weight, kind) = match narrowed {
                Some(weight) => (weight, kind),
                None => (self.whole(weights, canonical, shape, full)?.into(), full),
            };
            if !quantized {
                *kept.bytes.entry(kind).or_default() += kind.bytes(count);
            }
            Ok(weight)
        })
    }

    /// The same for a table of rows, in the compute type or in 16 bits, if it is kept so.
    pub fn table(&self, name: &str, shape: [usize; 2]) -> Tensor<2> {
        let kind = match self.kept(name, &shape) {
            kind @ (WeightType::F16 | WeightType::Bf16) => kind,
            _ => self.shared.target.full(),
        };
        self.ask(name, shape, kind, |weights, canonical, _| {
            self.whole(weights, canonical, shape, kind)
        })
    }

    /// The compute type.
    pub fn dtype(&self) -> Dtype {
        self.shared.target.dtype
    }

    fn kept(&self, name: &str, shape: &[usize]) -> WeightType {
        let Shared { weights, target, .. } = self.shared;
        let canonical = self.at(name).path;
        let patched = !weights.patches(&canonical).is_empty();
        target.kept(weights.find(&canonical).as_ref(), shape, self.sensitive, patched)
    }

    fn whole<const D: usize>(
        &self,
        weights: &PartWeights,
        canonical: &str,
        shape: [usize; D],
        kind: WeightType,
    ) -> std::result::Result<Tensor<D>, String> {
        let device = self.device().burn();
        match kind {
            WeightType::Bf16 => tensor::<bf16, D>(weights, canonical, shape, device),
            WeightType::F16 => tensor::<f16, D>(weights, canonical, shape, device),
            _ => tensor::<f32, D>(weights, canonical, shape, device),
        }
    }

    /// Checks that a parameter is there and fits, or loads it; it takes memory as this type does.
    fn ask<const D: usize, R: From<Tensor<D>>>(
        &self,
        name: &str,
        shape: [usize; D],
        kind: WeightType,
        read: impl FnOnce(&PartWeights, &str, &mut Kept) -> std::result::Result<R, String>,
    ) -> R {
        let canonical = self.at(name).path;
        let Shared {
            weights,
            target,
            mode,
        } = self.shared;
        let hollow = || Tensor::zeros([1; D], (target.device.burn(), target.dtype.burn())).into();
        let check = match mode {
            Mode::Check(check) => check,
            Mode::Load(load) => {
                let load = &mut *load.borrow_mut();
                load.layers.requested.push(canonical.clone());
                if load.unpatched.is_none() {
                    match read(weights, &canonical, &mut load.kept) {
                        Ok(read) => return read,
                        // Nothing will come of this: the rest is not read.
                        Err(reason) => load.unpatched = Some(reason),
                    }
                }
                return hollow();
            }
        };
        let mut check = check.borrow_mut();
        check.requested.push((canonical.clone(), shape.to_vec()));
        // Of a quantized layer the bias stays as it is.
        let count: usize = shape.iter().product();
        check.bytes += match self.quantization() {
            Quantization::Int8 if D > 1 => count,
            _ => kind.bytes(count),
        };
        for patch in weights.patches(&canonical) {
            let fits = patch.check(weights.part, &canonical, &shape);
            check.faults.patches.extend(fits.err());
        }
        match weights.find(&canonical) {
            None => check.faults.missing.push(canonical),
            Some(Stored { info, spelling, .. }) => {
                let expected = spelling.view.stored_shape(&shape);
                if without_trailing_ones(&info.shape) != without_trailing_ones(&expected) {
                    let expected = match spelling.view {
                        View::Pixelwise => shape.to_vec(),
                        _ => expected,
                    };
                    check.faults.misshapen.push(Misshapen {
                        name: canonical,
                        expected,
                        got: info.shape.clone(),
                    });
                } else if !info.is_readable() {
                    check.faults.unreadable.push((canonical, info.type_name()));
                }
                check.used.insert(spelling.name);
            }
        }
        hollow()
    }
}

/// The most bytes that may lie idle between two layers, less those in use then: nearly all layers find room in them.
const STAGED: usize = 128 << 20;

fn without_trailing_ones(shape: &[usize]) -> &[usize] {
    let end = shape.iter().rposition(|&n| n != 1).map_or(0, |last| last + 1);
    &shape[..end]
}

/// All that a constructor asks for.
pub(super) struct Requirements {
    /// Canonical names and shapes.
    pub parameters: Vec<(String, Vec<usize>)>,
    /// Bytes that they take when they are loaded.
    pub bytes: usize,
    layers: Vec<LayerBytes>,
}

impl Requirements {
    /// Bytes of what these weights don't share with the same ones under other patches: the layers that one of both changes. What is in no
    /// layer is made anew with them.
    pub fn unshared_bytes(&self, weights: &PartWeights, patches: &[Arc<dyn WeightPatch>]) -> usize {
        let shared = |layer: &&LayerBytes| {
            let mut parameters = self.parameters[layer.parameters.clone()].iter();
            parameters.all(|(name, _)| unchanged(patches, weights, name))
        };
        let shared = self.layers.iter().filter(shared);
        let (count, bytes) = shared.fold((0, 0), |(n, bytes), layer| (n + 1, bytes + layer.bytes));
        match count == self.layers.len() {
            true => 0,
            false => self.bytes - bytes,
        }
    }
}

/// Weights of no files: all that a constructor asks for is there.
pub(super) fn nowhere(part: Part) -> PartWeights {
    PartWeights {
        origin: String::new(),
        files: Vec::new(),
        names: Arc::new(Diffusers { part }),
        part,
        patches: Vec::new(),
        allow_unexpected: false,
    }
}

/// Runs a constructor for what it asks for alone.
pub(super) fn requirements<M>(
    weights: &PartWeights,
    target: &Target,
    build: impl Fn(&Params) -> M,
) -> Requirements {
    let shared = Shared {
        weights,
        target,
        mode: Mode::Check(RefCell::default()),
    };
    build(&shared.root());
    let Check {
        requested,
        bytes,
        layers,
        ..
    } = shared.mode.into_check();
    Requirements {
        parameters: requested,
        bytes,
        layers,
    }
}
