//! Traces: what a run computed at each stage, so that two runs can be compared, of this program or another.
//!
//! A trace is a file of JSON lines. The first tells the program, and each other is a [`Record`] of a stage, in the order in which stages
//! came to be:
//!
//! | stage | values |
//! |---|---|
//! | `prompt.tokens`, `negative_prompt.tokens` | token ids of all texts, as numbers |
//! | `pass.1.cond.0`, `pass.1.uncond` | the context of the first call, `[n, width]` |
//! | `pass.1.sigmas` | noise levels |
//! | `picture.1.pass.1.noise` | the first noise of unit variance, `[1, c, h, w]` |
//! | `picture.1.pass.1.step.0.latents` | where sampling begins, with its noise: `x + sigma * noise` |
//! | `picture.1.pass.1.step.3.latents` | where the third step arrived |
//! | `picture.1.pass.1.step.3.denoised` | the last denoised latent of that step |
//! | `picture.1.image` | the decoded picture, `[1, 3, h, w]`, about -1 to 1 |
//!
//! `tools/trace` records the same stages of other programs' runs.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

use sd_core::weights::sha256;
use serde::{Deserialize, Serialize};

use crate::{Error, Result, VERSION};

/// Values of each stage that a trace keeps, at places evenly spaced over all.
const SAMPLES: usize = 256;

/// First values that a record shows.
const FIRST: usize = 4;

/// The longest line that a record can take: samples, a shape and names.
const LONGEST_LINE: u64 = 1 << 20;

/// A stage of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// Its name.
    pub stage: String,
    /// The shape of its values.
    pub shape: Vec<usize>,
    /// The first 16 digits of the SHA-256 of the values as little-endian f32.
    pub hash: String,
    /// The smallest value; none where some are no numbers, here and in the next three.
    pub min: Option<f64>,
    /// The largest value.
    pub max: Option<f64>,
    /// The mean of the values.
    pub mean: Option<f64>,
    /// Their standard deviation.
    pub std: Option<f64>,
    /// The first values.
    pub first: Vec<Option<f32>>,
    /// Values `i * n / k` for each `i` of `k`, which is 256, or `n` where there are fewer.
    pub samples: Vec<Option<f32>>,
}

impl Record {
    fn new(stage: &str, shape: &[usize], values: &[f32]) -> Self {
        let n = values.len();
        let finite = n > 0 && values.iter().all(|v| v.is_finite());
        let sum = |of: &dyn Fn(f64) -> f64| values.iter().map(|&v| of(v.into())).sum::<f64>() / n as f64;
        let mean = sum(&|v| v);
        let known = |value: f64| finite.then_some(value);
        let shown = |v: &f32| v.is_finite().then_some(*v);
        let count = n.min(SAMPLES);
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self {
            stage: stage.to_owned(),
            shape: shape.to_vec(),
            hash: sha256(&bytes)[..16].to_owned(),
            min: known(values.iter().fold(f64::MAX, |a, &v| a.min(v.into()))),
            max: known(values.iter().fold(f64::MIN, |a, &v| a.max(v.into()))),
            mean: known(mean),
            std: known(sum(&|v| (v - mean).powi(2)).sqrt()),
            first: values.iter().take(FIRST).map(shown).collect(),
            samples: (0..count).map(|i| shown(&values[i * n / count])).collect(),
        }
    }
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Header {
    /// The program that wrote it, and its version.
    trace: String,
    /// Settings, in whatever form the program has them.
    settings: String,
}

/// A trace that is being written. Every line is there at once, so that of a run that fails all is told until then.
pub(crate) struct Tracer {
    path: PathBuf,
    file: File,
}

impl Tracer {
    /// Begins a file; one that is there is replaced.
    pub fn begin(path: &Path, settings: &str) -> Result<Self> {
        let file = File::create(path).map_err(|e| unwritten(path, &e))?;
        let mut tracer = Self {
            path: path.to_owned(),
            file,
        };
        tracer.line(&Header {
            trace: format!("sdrs {VERSION}"),
            settings: settings.to_owned(),
        })?;
        Ok(tracer)
    }

    /// Writes what a stage computed.
    pub fn record(&mut self, stage: &str, shape: &[usize], values: &[f32]) -> Result<()> {
        self.line(&Record::new(stage, shape, values))
    }

    fn line(&mut self, value: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(value).unwrap_or_default();
        line.push(b'\n');
        self.file.write_all(&line).map_err(|e| unwritten(&self.path, &e))
    }
}

fn unwritten(path: &Path, error: &std::io::Error) -> Error {
    Error::Write {
        path: path.display().to_string(),
        reason: error.to_string(),
    }
}

/// Reads a trace.
///
/// # Errors
/// [`Error::Core`] if the file can't be read, [`Error::InvalidFile`] if a line is none of a trace.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<Record>> {
    let path = path.as_ref();
    let io = |source| sd_core::Error::Io {
        path: path.to_owned(),
        source,
    };
    let (file, _) = sd_core::input::open(path, "a trace")?;
    let mut reader = BufReader::new(file);
    let mut records = Vec::new();
    for number in 1.. {
        let mut line = Vec::new();
        let mut part = std::io::Read::take(&mut reader, LONGEST_LINE);
        if part.read_until(b'\n', &mut line).map_err(io)? == 0 {
            break;
        }
        let fail = |reason: String| Error::InvalidFile {
            path: path.display().to_string(),
            reason: format!("line {number}: {reason}"),
        };
        if number == 1 {
            let header: std::result::Result<Header, _> = serde_json::from_slice(&line);
            header.map_err(|e| fail(format!("no trace: {e}; `--trace` writes them")))?;
            continue;
        }
        let record: Record = serde_json::from_slice(&line)
            .map_err(|e| fail(format!("no stage of a trace: {e}; is the file whole?")))?;
        records.push(record);
    }
    match records.is_empty() {
        true => Err(Error::InvalidFile {
            path: path.display().to_string(),
            reason: "no stage stands in it".into(),
        }),
        false => Ok(records),
    }
}

/// A stage of two traces.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StageComparison {
    /// Its name.
    pub stage: String,
    /// How its values differ.
    pub difference: Difference,
}

/// The difference between a stage's values in two traces.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Difference {
    /// There is none: all bits are the same.
    None,
    /// Values differ.
    Values {
        /// The norm of the difference over the norm of the second's values, over those that traces keep.
        relative: f64,
        /// The largest difference among these.
        largest: f64,
    },
    /// Some values of one are no numbers.
    NotFinite,
    /// The shapes differ.
    Shape {
        /// The first's.
        first: Vec<usize>,
        /// The second's.
        second: Vec<usize>,
    },
}

impl Difference {
    fn new(a: &Record, b: &Record) -> Self {
        // Axes of length 1 mean nothing.
        let shape = |record: &Record| -> Vec<usize> {
            record.shape.iter().copied().filter(|side| *side != 1).collect()
        };
        if shape(a) != shape(b) || a.samples.len() != b.samples.len() {
            return Self::Shape {
                first: a.shape.clone(),
                second: b.shape.clone(),
            };
        }
        if a.hash == b.hash {
            return Self::None;
        }
        let pairs: Option<Vec<[f64; 2]>> = a
            .samples
            .iter()
            .zip(&b.samples)
            .map(|(a, b)| Some([f64::from((*a)?), f64::from((*b)?)]))
            .collect();
        let Some(pairs) = pairs.filter(|_| a.mean.is_some() && b.mean.is_some()) else {
            return Self::NotFinite;
        };
        let norm =
            |of: &dyn Fn(&[f64; 2]) -> f64| pairs.iter().map(|pair| of(pair).powi(2)).sum::<f64>().sqrt();
        let (off, whole) = (norm(&|[a, b]| a - b), norm(&|[_, b]| *b));
        Self::Values {
            relative: if off == 0.0 { 0.0 } else { off / whole },
            largest: pairs
                .iter()
                .fold(0.0, |most, [a, b]| f64::max(most, (a - b).abs())),
        }
    }

    /// Whether it is more than a relative difference of so much.
    pub fn exceeds(&self, tolerance: f64) -> bool {
        match self {
            Self::None => false,
            Self::Values { relative, .. } => relative.is_nan() || *relative > tolerance,
            Self::NotFinite | Self::Shape { .. } => true,
        }
    }
}

/// Two traces beside each other.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Comparison {
    /// The stages that both have, in the first's order.
    pub stages: Vec<StageComparison>,
    /// Stages of the first alone.
    pub first_alone: Vec<String>,
    /// Stages of the second alone.
    pub second_alone: Vec<String>,
}

impl Comparison {
    /// The first stage whose values differ by more than a relative difference of `tolerance`; 0 is any.
    pub fn first_beyond(&self, tolerance: f64) -> Option<&StageComparison> {
        self.stages
            .iter()
            .find(|stage| stage.difference.exceeds(tolerance))
    }

    /// The first stage that differs in any bit.
    pub fn first_difference(&self) -> Option<&StageComparison> {
        self.stages
            .iter()
            .find(|stage| stage.difference != Difference::None)
    }
}

/// Compares two traces, stage by stage.
///
/// # Errors
/// Those of [`read`]; [`Error::InvalidFile`] if no stage stands in both.
pub fn compare(first: impl AsRef<Path>, second: impl AsRef<Path>) -> Result<Comparison> {
    let (a, b) = (read(&first)?, read(&second)?);
    let of_second: HashMap<&str, &Record> = b.iter().map(|record| (record.stage.as_str(), record)).collect();
    let of_first: HashMap<&str, &Record> = a.iter().map(|record| (record.stage.as_str(), record)).collect();
    let alone = |records: &[Record], others: &HashMap<&str, &Record>| {
        let alone = records
            .iter()
            .filter(|record| !others.contains_key(record.stage.as_str()));
        alone.map(|record| record.stage.clone()).collect()
    };
    let stages: Vec<StageComparison> = a
        .iter()
        .filter_map(|record| {
            let other = of_second.get(record.stage.as_str())?;
            Some(StageComparison {
                stage: record.stage.clone(),
                difference: Difference::new(record, other),
            })
        })
        .collect();
    if stages.is_empty() {
        return Err(Error::InvalidFile {
            path: second.as_ref().display().to_string(),
            reason: format!("no stage of {} stands in it", first.as_ref().display()),
        });
    }
    Ok(Comparison {
        stages,
        first_alone: alone(&a, &of_second),
        second_alone: alone(&b, &of_first),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_told_in_their_kind() {
        let record = |shape: &[usize], values: &[f32]| Record::new("a", shape, values);
        let values: Vec<f32> = (0..1000).map(|i| (i as f32).sin()).collect();
        let own = record(&[1, 10, 100], &values);
        assert_eq!((own.samples.len(), own.first.len()), (256, 4));
        assert_eq!(own.samples[255], Some(values[996]));
        assert!((own.std.unwrap() - 0.707).abs() < 1e-2 && own.max.unwrap() <= 1.0);
        let differs = |other: &Record| Difference::new(&own, other);
        assert_eq!(differs(&record(&[10, 100], &values)), Difference::None);
        let mut off = values.clone();
        off.iter_mut().for_each(|v| *v *= 1.001);
        let Difference::Values { relative, .. } = differs(&record(&[10, 100], &off)) else {
            panic!();
        };
        assert!((relative - 1e-3).abs() < 1e-5);
        // A difference beside the values that are kept shows in the hash alone.
        off = values.clone();
        off[1] += 1.0;
        let hidden = differs(&record(&[10, 100], &off));
        assert_eq!(
            hidden,
            Difference::Values {
                relative: 0.0,
                largest: 0.0
            }
        );
        assert!(!hidden.exceeds(0.0) && hidden != Difference::None);
        off[0] = f32::NAN;
        assert_eq!(differs(&record(&[10, 100], &off)), Difference::NotFinite);
        assert!(matches!(
            differs(&record(&[100, 10], &values)),
            Difference::Shape { .. }
        ));
        assert!(Record::new("a", &[0], &[]).mean.is_none());
    }

    #[test]
    fn what_is_no_trace_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let message = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read(&path).unwrap_err().to_string()
        };
        assert!(message(b"").ends_with("no stage stands in it"));
        assert!(message(b"\x89PNG\n").contains("line 1: no trace"));
        let head = "{\"trace\": \"sdrs 1\", \"settings\": \"\"}\n";
        assert!(message(head.as_bytes()).ends_with("no stage stands in it"));
        assert!(
            message(format!("{head}{{\"stage\": \"a\"").as_bytes()).contains("line 2: no stage of a trace")
        );
        let long = format!("{head}{}", "[".repeat(3 << 20));
        assert!(message(long.as_bytes()).contains("line 2"));
        assert!(read(folder.path().join("none")).is_err());
    }
}
