//! CLIP's vectors of pictures and texts, and tables of phrases.

use std::{collections::HashMap, path::Path, sync::Arc};

use half::f16;
use safetensors::{Dtype as Stored, SafeTensors, tensor::TensorView};
use sd_core::{
    ClipTokenizer,
    config::Preparation,
    models::{Clip, ClipFiles, TextStart},
    output,
    weights::{Target, digest},
};

use super::{
    prepare::{prepared, tensor},
    watch::{InterrogateStage, Watch},
};
use crate::{
    Error, Picture, Result,
    model::{Runtime, values},
};

/// Tokens that go through the text model together, and texts.
const MOST_TOKENS: usize = 2048;
const MOST_TEXTS: usize = 128;

/// Tokens that texts begin with in common, from which on these are computed once for all of them.
const LEAST_IN_COMMON: usize = 4;

/// CLIP with what surrounds it.
pub(super) struct Eyes {
    clip: Clip,
    tokenizer: ClipTokenizer,
    repairs_texts: bool,
    preparation: Preparation,
    target: Target,
    runtime: Runtime,
    /// A hash of the text model and its tokenizer, where vectors are kept.
    pub text_hash: Option<String>,
}

/// Vectors of length 1, one after another.
pub(super) struct Vectors {
    pub width: usize,
    pub values: Vec<f32>,
}

/// Phrases with their vectors.
pub(super) struct Table {
    pub phrases: Vec<String>,
    pub vectors: Vectors,
}

impl Vectors {
    pub fn of(&self, at: usize) -> &[f32] {
        &self.values[at * self.width..][..self.width]
    }

    /// The cosines of all with a vector of length 1.
    pub fn cosines(&self, with: &[f32]) -> Vec<f32> {
        self.values
            .chunks_exact(self.width)
            .map(|vector| dot(vector, with))
            .collect()
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
    products.sum::<f64>() as f32
}

impl Eyes {
    pub fn load(files: ClipFiles, hashed: bool, target: &Target, runtime: &Runtime) -> Result<Self> {
        let clip = runtime.compute(|| Ok(Clip::load(&files, target)?))?;
        Ok(Self {
            clip,
            text_hash: hashed.then(|| files.text_hash(target)),
            tokenizer: files.tokenizer,
            repairs_texts: files.repairs_texts,
            preparation: files.preparation,
            target: target.clone(),
            runtime: runtime.clone(),
        })
    }

    /// The width of vectors.
    pub fn width(&self) -> usize {
        self.clip.config().projection
    }

    /// The vector of a picture, of length 1.
    pub fn picture(&self, picture: &Picture) -> Result<Vec<f32>> {
        let side = self.preparation.side;
        let pixels = prepared(picture, &self.preparation)?;
        let made = self
            .runtime
            .compute(|| values(self.clip.embed_pictures(tensor(pixels, side, &self.target))?))?;
        normalised(made, self.width())
    }

    /// The tokens of a text with those that open and close it, not cut.
    fn tokens(&self, text: &str) -> Result<Vec<u32>> {
        let tokenizer = &self.tokenizer;
        let mut ids = vec![tokenizer.start()];
        match self.repairs_texts {
            true => ids.extend(tokenizer.encode_repaired(text)?.into_iter().map(|(id, _)| id)),
            false => ids.extend(tokenizer.encode(text)?),
        }
        ids.push(tokenizer.end());
        Ok(ids)
    }

    fn longest(&self) -> usize {
        self.clip.config().text.max_position_embeddings
    }

    /// Whether a text takes all tokens that there is room for.
    pub fn is_full(&self, text: &str) -> Result<bool> {
        Ok(self.tokens(text)?.len() >= self.longest())
    }

    /// The vectors of texts, of length 1. Texts that are too long are cut.
    pub fn texts<T: AsRef<str>>(
        &self,
        texts: &[T],
        stage: Option<InterrogateStage>,
        watch: &mut Watch,
    ) -> Result<Vectors> {
        let longest = self.longest();
        let mut rows = Vec::with_capacity(texts.len());
        for (at, text) in texts.iter().enumerate() {
            let mut ids = self.tokens(text.as_ref())?;
            if ids.len() > longest {
                ids.truncate(longest);
                ids[longest - 1] = self.tokenizer.end();
            }
            rows.push((ids, at));
        }
        // A chain's texts differ in their last phrase alone.
        let common = common(&rows, self.tokenizer.end());
        let start = match common < LEAST_IN_COMMON {
            true => TextStart::default(),
            false => {
                let ids: Vec<u32> = rows[0].0[..common].to_vec();
                rows.iter_mut().for_each(|(ids, _)| drop(ids.drain(..common)));
                self.runtime.compute(|| Ok(self.clip.text().start(&ids)?))?
            }
        };
        // Texts of about one length go together, so that little is computed of what stands behind their ends.
        rows.sort_by_key(|(ids, at)| (ids.len(), *at));
        let width = self.width();
        let mut all = vec![0.0; texts.len() * width];
        let (mut rest, mut done) = (&rows[..], 0);
        while !rest.is_empty() {
            let fitting = |n: &usize| rest[n - 1].0.len() * n <= MOST_TOKENS;
            let most = rest.len().min(MOST_TEXTS);
            let count = (1..=most).take_while(fitting).last().unwrap_or(1);
            let (now, later) = rest.split_at(count);
            let n = now[count - 1].0.len();
            let padded = now.iter().map(|(ids, _)| {
                let mut ids = ids.clone();
                ids.resize(n, self.tokenizer.end());
                ids
            });
            let padded: Vec<_> = padded.collect();
            let made = self
                .runtime
                .compute(|| values(self.clip.embed_texts(&start, &padded)?))?;
            let made = normalised(made, width)?;
            for ((_, at), vector) in now.iter().zip(made.chunks_exact(width)) {
                all[at * width..][..width].copy_from_slice(vector);
            }
            done += count;
            rest = later;
            match stage {
                Some(stage) => watch.tell(stage, done, texts.len())?,
                None => watch.look()?,
            }
        }
        Ok(Vectors { width, values: all })
    }
}

/// The tokens that all rows of several begin with, up to the first end token: its state is a text's vector, and a text itself may have it
/// before it ends.
fn common(rows: &[(Vec<u32>, usize)], end: u32) -> usize {
    let [(first, _), rest @ ..] = rows else { return 0 };
    let with_first = |(ids, _): &(Vec<u32>, usize)| {
        let same = first.iter().zip(ids).take_while(|(a, b)| a == b && **a < end);
        same.count()
    };
    rest.iter().map(with_first).min().unwrap_or(0)
}

/// Vectors divided by their lengths.
fn normalised(mut values: Vec<f32>, width: usize) -> Result<Vec<f32>> {
    for vector in values.chunks_exact_mut(width) {
        let length = dot(vector, vector).sqrt();
        if !(length.is_finite() && length > 0.0) {
            return Err(Error::NotFinite {
                what: "CLIP's vector",
                advice: "compute in a wider dtype (f32), or check the model's weights",
            });
        }
        vector.iter_mut().for_each(|value| *value /= length);
    }
    Ok(values)
}

/// Tables by name, made when they are first needed.
#[derive(Default)]
pub(super) struct Tables(std::sync::Mutex<HashMap<String, Arc<Table>>>);

impl Tables {
    /// The table of this name, of these phrases. `cache` is a folder that keeps vectors.
    pub fn get(
        &self,
        eyes: &Eyes,
        name: &str,
        phrases: Vec<String>,
        cache: Option<&Path>,
        watch: &mut Watch,
    ) -> Result<Arc<Table>> {
        let known = || self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(table) = known().get(name).filter(|table| table.phrases == phrases) {
            return Ok(table.clone());
        }
        let vectors = match (cache, &eyes.text_hash) {
            (Some(folder), Some(model)) => kept(eyes, folder, name, model, &phrases, watch)?,
            _ => eyes.texts(&phrases, Some(InterrogateStage::Phrases), watch)?,
        };
        let table = Arc::new(Table { phrases, vectors });
        known().insert(name.to_owned(), table.clone());
        Ok(table)
    }
}

/// Vectors as a folder keeps them, or new ones, which it keeps then.
fn kept(
    eyes: &Eyes,
    folder: &Path,
    name: &str,
    model: &str,
    phrases: &[String],
    watch: &mut Watch,
) -> Result<Vectors> {
    let of_phrases = digest(phrases.iter().map(|phrase| phrase.as_bytes().into()));
    // File systems take 255 bytes for a name; hashes tell lists apart.
    let safe: String = name
        .chars()
        .map(|c| if c.is_alphanumeric() { c } else { '_' })
        .take(40)
        .collect();
    let path = folder.join(format!(
        "{safe}-{}-{}.safetensors",
        &model[..12],
        &of_phrases[..12]
    ));
    let shape = [phrases.len(), eyes.width()];
    if let Some(vectors) = stored(&path, model, &of_phrases, shape) {
        return Ok(vectors);
    }
    let internal = |error: String| Error::Write {
        path: path.display().to_string(),
        reason: error,
    };
    // Before the work, which may take minutes.
    std::fs::create_dir_all(folder).map_err(|error| internal(error.to_string()))?;
    output::check_file(&path)?;
    let made = eyes.texts(phrases, Some(InterrogateStage::Phrases), watch)?;
    let bytes: Vec<u8> = made.values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let view = TensorView::new(Stored::F32, shape.to_vec(), &bytes).map_err(|e| internal(e.to_string()))?;
    let metadata = HashMap::from([
        ("model".to_owned(), model.to_owned()),
        ("phrases".to_owned(), of_phrases),
    ]);
    let file =
        safetensors::serialize([("vectors", view)], Some(metadata)).map_err(|e| internal(e.to_string()))?;
    output::write_file(&path, &file)?;
    Ok(made)
}

/// What a file keeps, if it is of this model and these phrases, and whole: anything else is made anew.
fn stored(path: &Path, model: &str, phrases: &str, shape: [usize; 2]) -> Option<Vectors> {
    // No file of another size can hold it.
    let most = 4 * shape[0] as u64 * shape[1] as u64 + (1 << 16);
    let bytes = sd_core::input::read(path, "vectors", most).ok()?;
    let (_, header) = SafeTensors::read_metadata(&bytes).ok()?;
    let said = header.metadata().as_ref()?;
    if said.get("model")? != model || said.get("phrases")? != phrases {
        return None;
    }
    let file = SafeTensors::deserialize(&bytes).ok()?;
    let view = file.tensor("vectors").ok()?;
    if view.dtype() != Stored::F32 || view.shape() != shape {
        return None;
    }
    let values = view.data().as_chunks::<4>().0.iter();
    let values: Vec<f32> = values.map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let width = shape[1];
    let of_length_1 = values.chunks_exact(width).all(|v| (dot(v, v) - 1.0).abs() < 1e-3);
    of_length_1.then_some(Vectors { width, values })
}

/// Rounded to 16 bits, as clip-interrogator keeps its vectors.
pub(super) fn rounded(vectors: &Vectors) -> Vectors {
    let round = |value: &f32| f16::from_f32(*value).to_f32();
    Vectors {
        width: vectors.width,
        values: vectors.values.iter().map(round).collect(),
    }
}

/// The places of the greatest values, the greatest first, of equal ones the first.
pub(super) fn top(values: &[f32], count: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..values.len()).collect();
    places.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    places.truncate(count);
    places
}
