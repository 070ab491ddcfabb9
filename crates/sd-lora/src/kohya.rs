//! kohya's format: `lora_unet_<path>.lora_down.weight`, `.lora_up.weight`, `.alpha`, with the dots of the path flattened to
//! underscores.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use sd_core::weights::{Part, TensorFile, WeightPatch};

use crate::{AdapterFile, Error, ModelNames, Result, Strengths, names::PREFIXES};

/// An adapter whose modules have found their places in a model.
pub struct Adapter {
    file: Arc<TensorFile>,
    /// From a parameter's part and canonical name to its module.
    modules: HashMap<(Part, String), Module>,
    strengths: Strengths,
}

struct Module {
    name: String,
    down: Vec<usize>,
    up: Vec<usize>,
    /// alpha over rank.
    scale: f32,
}

impl Adapter {
    pub(crate) fn new(file: &AdapterFile, model: &ModelNames, strengths: &Strengths) -> Result<Self> {
        let (file, origin) = (file.tensors.clone(), file.origin());
        let (mut modules, mut unmatched) = (HashMap::new(), Vec::new());
        let names = module_names(&file, origin)?;
        for name in &names {
            match model.places.get(name) {
                Some(place) => {
                    modules.insert(place.clone(), Module::read(&file, origin, name)?);
                }
                None => unmatched.push(name.clone()),
            }
        }
        if !unmatched.is_empty() {
            return Err(Error::Unmatched {
                origin: origin.to_owned(),
                modules: names.len(),
                keys: unmatched,
            });
        }
        Ok(Self {
            file,
            modules,
            strengths: strengths.clone(),
        })
    }

    /// The file.
    pub fn origin(&self) -> &str {
        self.file.origin()
    }

    fn strength(&self, part: Part) -> f32 {
        self.strengths.of(part) as f32
    }
}

/// The modules of a file, sorted.
fn module_names(file: &TensorFile, origin: &str) -> Result<Vec<String>> {
    let mut modules: BTreeMap<String, ()> = BTreeMap::new();
    for name in file.names() {
        let (module, leaf) = name.split_once('.').unwrap_or((name, ""));
        let known = matches!(leaf, "lora_down.weight" | "lora_up.weight" | "alpha");
        if !known || !PREFIXES.iter().any(|(prefix, _)| module.starts_with(prefix)) {
            let reason =
                format!("'{name}' is not of a LoRA in kohya's format, the only one that is read so far");
            return Err(Error::Unsupported {
                origin: origin.to_owned(),
                reason,
            });
        }
        modules.insert(module.to_owned(), ());
    }
    if modules.is_empty() {
        return Err(Error::Unsupported {
            origin: origin.to_owned(),
            reason: "holds no tensors".into(),
        });
    }
    Ok(modules.into_keys().collect())
}

impl Module {
    fn read(file: &TensorFile, origin: &str, name: &str) -> Result<Self> {
        let fail = |reason: String| Error::Module {
            origin: origin.to_owned(),
            module: name.to_owned(),
            reason,
        };
        let shape = |leaf: &str| {
            let info = file
                .info(&format!("{name}.{leaf}"))
                .ok_or_else(|| fail(format!("{leaf} is missing")))?;
            if !info.is_readable() {
                return Err(fail(format!(
                    "{leaf} is of type {:?}, which is not supported",
                    info.dtype
                )));
            }
            Ok(info.shape.clone())
        };
        let (down, up) = (shape("lora_down.weight")?, shape("lora_up.weight")?);
        let fits = matches!(down.len(), 2 | 4)
            && up.len() >= 2
            && up[1] == down[0]
            && up[2..].iter().all(|&n| n == 1)
            && down.iter().chain(&up).all(|&n| n > 0);
        if !fits {
            return Err(fail(format!(
                "lora_up {up:?} and lora_down {down:?} can't be multiplied"
            )));
        }
        let rank = down[0] as f32;
        let scale = match file.info(&format!("{name}.alpha")) {
            None => 1.0,
            Some(_) => match file.values_f32(&format!("{name}.alpha")).as_deref() {
                Some([alpha]) if alpha.is_finite() => alpha / rank,
                _ => return Err(fail("alpha is not one number".into())),
            },
        };
        Ok(Self {
            name: name.to_owned(),
            down,
            up,
            scale,
        })
    }

    /// Elements of the change: outputs times everything else of `lora_down`.
    fn len(&self) -> usize {
        self.up[0] * self.down[1..].iter().product::<usize>()
    }
}

impl WeightPatch for Adapter {
    fn touches(&self, part: Part, name: &str) -> bool {
        self.strength(part) != 0.0 && self.modules.contains_key(&(part, name.to_owned()))
    }

    fn check(&self, part: Part, name: &str, shape: &[usize]) -> std::result::Result<(), String> {
        let Some(module) = self.modules.get(&(part, name.to_owned())) else {
            return Ok(());
        };
        let same = module.len() == shape.iter().product::<usize>() && shape.first() == module.up.first();
        let (up, down) = (&module.up, &module.down);
        match same {
            true => Ok(()),
            false => Err(format!(
                "{}: {} is up {up:?}, down {down:?}, the model's {shape:?}",
                self.origin(),
                module.name
            )),
        }
    }

    /// `W += strength * alpha / rank * up * down`.
    fn apply(&self, part: Part, name: &str, values: &mut [f32]) {
        let Some(module) = self.modules.get(&(part, name.to_owned())) else {
            return;
        };
        let tensor = |leaf: &str| {
            self.file
                .values_f32(&format!("{}.{leaf}", module.name))
                .unwrap_or_default()
        };
        let (down, up) = (tensor("lora_down.weight"), tensor("lora_up.weight"));
        let (rank, columns) = (module.down[0], down.len() / module.down[0]);
        let factor = self.strength(part) * module.scale;
        for (row, up) in values.chunks_exact_mut(columns).zip(up.chunks_exact(rank)) {
            for (&u, down) in up.iter().zip(down.chunks_exact(columns)) {
                let u = u * factor;
                row.iter_mut().zip(down).for_each(|(w, d)| *w += u * d);
            }
        }
    }
}
