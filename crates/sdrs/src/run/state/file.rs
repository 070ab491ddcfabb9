//! States as files.

use std::collections::HashMap;

use safetensors::{Dtype, tensor::TensorView};
use sd_core::{
    checkpoint::Inspection,
    weights::{StoredDtype, TensorFile},
};
use sd_sched::{MAX_STEPS, StepperState};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    super::{
        answers::Received,
        cache::{SavedFeatures, SavedFirstBlock},
        call_state::CallState,
        guide::GuidanceState,
        pass::PassState,
        start::Inputs,
    },
    DrawnWith, Place, RunState,
    instead::not_a_state,
};
use crate::{
    Array, Error, GenerateParams, Picture, Result, Setting, SettingKind, SettingValue, VERSION, settings,
};

/// The form of these files. One that a library doesn't know is refused.
const FORMAT: u64 = 1;

/// The key of the metadata that tells what is in a file.
const KEY: &str = "sdrs.run_state";

/// The tensors of a first block.
const FIRST_BLOCK: [&str; 2] = ["residual", "prediction"];

/// Draws of noise that no run makes.
const MOST_DRAWS: usize = 10 * MAX_STEPS;

/// The part of a file that is JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: u64,
    version: String,
    settings: Map<String, Value>,
    negative_given: bool,
    drawn_with: DrawnWith,
    place: Place,
    draws: usize,
    refining: bool,
    infotext: String,
    /// Whose features the tensors `features.N` are: the refiner's or not, part, text, variant, tile, step, branch.
    features: Vec<(bool, [usize; 6])>,
    /// The same of the tensors `first_blocks.N.residual` and `first_blocks.N.prediction`, without a branch.
    #[serde(default)]
    first_blocks: Vec<(bool, [usize; 5])>,
    /// The steps from which on there is no guidance, the refiner's behind the other.
    #[serde(default)]
    unguided_from: [Option<usize>; 2],
}

/// The version alone, of any format.
#[derive(Deserialize)]
struct Version {
    format: u64,
    version: String,
}

/// Tensors on their way into a file.
#[derive(Default)]
struct Tensors(Vec<(String, Dtype, Vec<usize>, Vec<u8>)>);

impl Tensors {
    fn bytes(&mut self, name: impl Into<String>, shape: Vec<usize>, bytes: Vec<u8>) {
        self.0.push((name.into(), Dtype::U8, shape, bytes));
    }

    fn values(&mut self, name: impl Into<String>, shape: Vec<usize>, values: &[f32]) {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.0.push((name.into(), Dtype::F32, shape, bytes));
    }

    fn guidance(&mut self, prefix: &str, state: &GuidanceState) {
        if !state.momentum.is_empty() {
            self.values(
                format!("{prefix}.momentum"),
                vec![state.momentum.len()],
                &state.momentum,
            );
        }
        if let Some(Received { size, values }) = &state.received {
            self.values(format!("{prefix}.received"), size.to_vec(), values);
        }
    }
}

/// A state as a file's bytes.
pub(super) fn bytes(state: &RunState) -> Vec<u8> {
    let mut tensors = Tensors::default();
    let stepper = state.pass.stepper.to_bytes(|latents, out| {
        latents.iter().for_each(|v| out.extend(v.to_le_bytes()));
    });
    tensors.bytes("stepper", vec![stepper.len()], stepper);
    let (mut features, mut first_blocks) = (Vec::new(), Vec::new());
    let states = [
        ("guidance", Some(&state.pass.own)),
        ("refiner", state.pass.refiner.as_ref()),
    ];
    for (prefix, state) in states {
        let Some(state) = state else { continue };
        tensors.guidance(prefix, &state.guidance);
        for row in &state.cache.features {
            tensors.values(
                format!("features.{}", features.len()),
                row.shape.to_vec(),
                &row.values,
            );
            features.push((prefix == "refiner", row.place()));
        }
        for row in &state.cache.first_blocks {
            for (name, (shape, values)) in FIRST_BLOCK.iter().zip(&row.parts) {
                let name = format!("first_blocks.{}.{name}", first_blocks.len());
                tensors.values(name, shape.to_vec(), values);
            }
            first_blocks.push((prefix == "refiner", row.place()));
        }
    }
    let Inputs {
        image,
        mask,
        depth,
        latents,
    } = &state.inputs;
    for (name, picture) in [("image", image), ("mask", mask), ("depth", depth)] {
        if let Some(picture) = picture {
            let shape = [picture.height(), picture.width(), 4].map(|side| side as usize);
            tensors.bytes(name, shape.to_vec(), picture.rgba().to_vec());
        }
    }
    if let Some(Array { shape, values }) = latents {
        tensors.values("image_latents", shape.clone(), values);
    }
    let head = Head {
        format: FORMAT,
        version: VERSION.to_owned(),
        settings: settings()
            .iter()
            .map(|setting| (setting.name.to_owned(), to_json(&setting.get(&state.params))))
            .collect(),
        negative_given: state.negative_given,
        drawn_with: state.drawn_with.clone(),
        place: state.place,
        draws: state.pass.draws,
        refining: state.pass.refiner.is_some(),
        infotext: state.infotext.clone(),
        features,
        first_blocks,
        unguided_from: states.map(|(_, state)| state.and_then(|it| it.guidance.unguided_from)),
    };
    let head = serde_json::to_string(&head).expect("names and numbers are JSON");
    let metadata = HashMap::from([(KEY.to_owned(), head)]);
    let views = tensors.0.iter().map(|(name, dtype, shape, bytes)| {
        let view = TensorView::new(*dtype, shape.clone(), bytes).expect("shapes are those of the values");
        (name.as_str(), view)
    });
    safetensors::serialize(views, Some(metadata)).expect("all is in memory")
}

/// A state from a file of tensors.
pub(super) fn read(file: &TensorFile) -> Result<RunState> {
    let fail = |reason: String| Error::InvalidFile {
        path: file.origin().to_owned(),
        reason,
    };
    let none = || fail(not_a_state(&Inspection::of_file(file).words()));
    let json = file.metadata().get(KEY).ok_or_else(none)?;
    let bad = |e: serde_json::Error| fail(format!("its metadata {KEY} can't be read: {e}"));
    let Version { format, version } = serde_json::from_str(json).map_err(bad)?;
    if format != FORMAT {
        return Err(fail(format!(
            "was written by sdrs {} in form {format}, and this is {VERSION}, which reads form {FORMAT}: resume it with that version",
            sd_core::shown(&version)
        )));
    }
    let mut head: Head = serde_json::from_str(json).map_err(bad)?;
    let mut params = GenerateParams::default();
    for setting in settings() {
        // One that came later than the file has its default, which leaves a run as it was.
        let Some(value) = head.settings.remove(setting.name) else {
            continue;
        };
        let value = from_json(setting, &value)
            .ok_or_else(|| fail(format!("{}: {value} is no value of this setting", setting.name)))?;
        setting.set(&mut params, value).map_err(|e| fail(e.to_string()))?;
    }
    if let Some(unknown) = head.settings.keys().next() {
        let unknown = sd_core::shown(unknown);
        return Err(fail(format!(
            "has the setting {unknown}, which is not known here"
        )));
    }
    if head.draws > MOST_DRAWS || head.place.pass > 1 {
        return Err(fail("tells of a run that is none".into()));
    }
    let tensors = Reader { file };
    let stepper = tensors
        .bytes("stepper")?
        .ok_or_else(|| fail("lacks the tensor stepper".into()))?;
    let stepper = StepperState::from_bytes(&stepper.1, |bytes| {
        let (values, []) = bytes.as_chunks() else {
            return None;
        };
        let values: Vec<f32> = values.iter().map(|v| f32::from_le_bytes(*v)).collect();
        values.iter().all(|v| v.is_finite()).then_some(values)
    })
    .map_err(|e| fail(e.to_string()))?;
    let mut own = CallState {
        guidance: tensors.guidance("guidance")?,
        ..CallState::default()
    };
    let mut refiner = CallState {
        guidance: tensors.guidance("refiner")?,
        ..CallState::default()
    };
    [own.guidance.unguided_from, refiner.guidance.unguided_from] = head.unguided_from;
    for (i, (refined, place)) in head.features.iter().enumerate() {
        let (shape, values) = tensors.pictures(&format!("features.{i}"))?;
        let state = if *refined { &mut refiner } else { &mut own };
        let row = SavedFeatures::new(*place, shape, values);
        state.cache.features.push(row);
    }
    for (i, (refined, place)) in head.first_blocks.iter().enumerate() {
        let [residual, prediction] =
            FIRST_BLOCK.map(|name| tensors.pictures(&format!("first_blocks.{i}.{name}")));
        let state = if *refined { &mut refiner } else { &mut own };
        let row = SavedFirstBlock::new(*place, [residual?, prediction?]);
        state.cache.first_blocks.push(row);
    }
    let latents = tensors.values("image_latents")?;
    Ok(RunState {
        origin: file.origin().to_owned(),
        params,
        negative_given: head.negative_given,
        drawn_with: head.drawn_with,
        inputs: Inputs {
            image: tensors.picture("image")?,
            mask: tensors.picture("mask")?,
            depth: tensors.picture("depth")?,
            latents: latents.map(|(shape, values)| Array { shape, values }),
        },
        infotext: head.infotext,
        place: head.place,
        pass: PassState {
            stepper,
            draws: head.draws,
            own,
            refiner: head.refining.then_some(refiner),
        },
    })
}

/// The tensors of a file, each by its expected type.
struct Reader<'a> {
    file: &'a TensorFile,
}

impl Reader<'_> {
    fn fail<T>(&self, reason: String) -> Result<T> {
        Err(Error::InvalidFile {
            path: self.file.origin().to_owned(),
            reason,
        })
    }

    fn bytes(&self, name: &str) -> Result<Option<(Vec<usize>, Vec<u8>)>> {
        self.tensor(name, StoredDtype::U8)
    }

    fn values(&self, name: &str) -> Result<Option<(Vec<usize>, Vec<f32>)>> {
        let Some((shape, bytes)) = self.tensor(name, StoredDtype::F32)? else {
            return Ok(None);
        };
        let values: Vec<f32> = bytes
            .as_chunks()
            .0
            .iter()
            .map(|v| f32::from_le_bytes(*v))
            .collect();
        if !values.iter().all(|v| v.is_finite()) {
            return self.fail(format!("{name} has values that are not finite"));
        }
        Ok(Some((shape, values)))
    }

    /// Values that have to be there, with four axes.
    fn pictures(&self, name: &str) -> Result<([usize; 4], Vec<f32>)> {
        let Some((shape, values)) = self.values(name)? else {
            return self.fail(format!("lacks the tensor {name}"));
        };
        match <[usize; 4]>::try_from(shape) {
            Ok(shape) => Ok((shape, values)),
            Err(shape) => self.fail(format!("{name} has the shape {shape:?}; four axes are expected")),
        }
    }

    fn tensor(&self, name: &str, dtype: StoredDtype) -> Result<Option<(Vec<usize>, Vec<u8>)>> {
        let Some(info) = self.file.info(name) else {
            return Ok(None);
        };
        if info.dtype != dtype || info.blocks.is_some() {
            return self.fail(format!(
                "{name} is of the type {}, not {dtype:?}",
                info.type_name()
            ));
        }
        match self.file.tensor_bytes(name) {
            Some(bytes) => Ok(Some((info.shape.clone(), bytes.into_owned()))),
            None => self.fail(format!("{name} can't be read")),
        }
    }

    fn picture(&self, name: &'static str) -> Result<Option<Picture>> {
        let Some((shape, bytes)) = self.bytes(name)? else {
            return Ok(None);
        };
        let sides = match shape[..] {
            [height, width, 4] => [width, height].map(u32::try_from),
            _ => return self.fail(format!("{name} has the shape {shape:?}; [h, w, 4] is expected")),
        };
        let [Ok(width), Ok(height)] = sides else {
            return self.fail(format!("{name} is too large"));
        };
        match Picture::from_rgba(width, height, bytes) {
            Ok(picture) => Ok(Some(picture)),
            Err(error) => self.fail(error.to_string()),
        }
    }

    fn guidance(&self, prefix: &str) -> Result<GuidanceState> {
        let momentum = self.values(&format!("{prefix}.momentum"))?;
        let name = format!("{prefix}.received");
        let received = match self.values(&name)? {
            Some((shape, values)) => match shape[..] {
                [height, width] if height * width > 0 => Some(Received {
                    size: [height, width],
                    values,
                }),
                _ => return self.fail(format!("{name} has the shape {shape:?}; [h, w] is expected")),
            },
            None => None,
        };
        Ok(GuidanceState {
            momentum: momentum.map(|(_, values)| values).unwrap_or_default(),
            received,
            unguided_from: None,
        })
    }
}

/// Numbers are texts: JSON's readers don't all give back what was written.
fn to_json(value: &SettingValue) -> Value {
    match value {
        SettingValue::Open => Value::Null,
        SettingValue::Flag(flag) => Value::Bool(*flag),
        SettingValue::Text(text) => Value::String(text.clone()),
        SettingValue::Integer(n) => Value::String(n.to_string()),
        SettingValue::Number(x) => Value::String(x.to_string()),
    }
}

fn from_json(setting: &Setting, value: &Value) -> Option<SettingValue> {
    Some(match (value, setting.kind) {
        (Value::Null, _) if setting.optional => SettingValue::Open,
        (Value::Bool(flag), SettingKind::Flag) => SettingValue::Flag(*flag),
        (Value::String(text), SettingKind::Count | SettingKind::Integer) => {
            SettingValue::Integer(text.parse().ok()?)
        }
        (Value::String(text), SettingKind::Number) => SettingValue::Number(text.parse().ok()?),
        (Value::String(text), SettingKind::Choice | SettingKind::Text) => SettingValue::Text(text.clone()),
        _ => return None,
    })
}
