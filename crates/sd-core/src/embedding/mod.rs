//! Textual inversion (Gal et al. 2022, arXiv:2208.01618): files with vectors that stand for a word of the prompt.
//!
//! ```no_run
//! # fn main() -> sd_core::Result<()> {
//! let found = sd_core::embedding::from_folder("embeddings".as_ref())?;
//! for embedding in &found.embeddings {
//!     println!("{}: {} vectors", embedding.name, embedding.vectors());
//! }
//! for error in &found.unreadable {
//!     eprintln!("{error}");
//! }
//! # Ok(())
//! # }
//! ```

mod picture;

use std::path::Path;

use crate::{
    Error, FileKind, Result,
    checkpoint::{Expected, Inspection, Kind},
    config::Part,
    error::shown,
    input,
    weights::{TensorFile, files_below},
};

/// More vectors than any prompt has room for.
const MAX_VECTORS: usize = 1024;
/// Wider than any text encoder.
const MAX_WIDTH: usize = 1 << 14;
/// Longer than any embedding's file: a thousand vectors of 2048 values, as text in a picture.
const MAX_BYTES: u64 = 256 << 20;

/// A text encoder that vectors are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Encoder {
    /// CLIP ViT-L/14: SD1's, and SDXL's first; 768 wide.
    ClipL,
    /// OpenCLIP ViT-H/14: SD2's; 1024 wide.
    OpenClipH,
    /// OpenCLIP ViT-bigG/14: SDXL's second; 1280 wide.
    OpenClipG,
    /// One of another width, as small models have it.
    Other,
}

impl Encoder {
    fn of_width(width: usize) -> Self {
        match width {
            768 => Self::ClipL,
            1024 => Self::OpenClipH,
            1280 => Self::OpenClipG,
            _ => Self::Other,
        }
    }
}

/// The vectors for one text encoder, in place of token embeddings.
#[derive(Debug, Clone, PartialEq)]
pub struct Vectors {
    /// The encoder.
    pub encoder: Encoder,
    /// Values of a vector: the width of the encoder.
    pub width: usize,
    /// `[vectors, width]`, row-major; finite.
    pub values: Vec<f32>,
}

/// An embedding. It takes as many places in the prompt as it has vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// Its name in prompts: the file's name without its ending, or for a picture the name stored in it.
    pub name: String,
    /// Its name in errors: the path.
    pub origin: String,
    /// The vectors for each encoder, equally many: one entry, or two for SDXL.
    pub parts: Vec<Vectors>,
    /// The number of training steps after which it was saved, if that was noted.
    pub step: Option<u64>,
    /// The short hash of the checkpoint that it was trained with, if that was noted.
    pub sd_checkpoint: Option<String>,
    /// That checkpoint's name, if it was noted.
    pub sd_checkpoint_name: Option<String>,
}

/// The embeddings of a folder.
#[derive(Debug, Default)]
pub struct FolderEmbeddings {
    /// Its embeddings, sorted by path.
    pub embeddings: Vec<Embedding>,
    /// Files that could not be read, sorted by path.
    pub unreadable: Vec<Error>,
}

impl Embedding {
    /// Reads `.pt`, `.bin`, `.safetensors` or a PNG picture; which of these it is, the file's contents say. Nothing in a pickle is run.
    ///
    /// Known are the WebUI's `string_to_param`, diffusers' single tensor under any name, `emb_params`, SDXL's `clip_l` and `clip_g`, and
    /// pictures with an embedding in their text or in their low bits.
    ///
    /// # Errors
    /// [`Error::Io`] if it can't be opened, [`Error::Malformed`] if it holds no embedding or one that can't be used: of no vectors or too
    /// many, of another shape than `[vectors, width]`, or with values that are not finite.
    pub fn open(path: &Path) -> Result<Self> {
        let origin = path.display().to_string();
        if let Some(bytes) = read_picture(path)? {
            return Self::from_bytes(stem(path), &origin, bytes);
        }
        Self::of_file(stem(path), &TensorFile::open(path)?, "")
    }

    /// Reads a file's bytes; `name` is the name in prompts, `origin` the name in errors.
    ///
    /// # Errors
    /// As [`Embedding::open`].
    pub fn from_bytes(
        name: impl Into<String>,
        origin: &str,
        bytes: impl Into<std::sync::Arc<[u8]>>,
    ) -> Result<Self> {
        let (name, bytes) = (name.into(), bytes.into());
        if FileKind::of(&bytes) != Some(FileKind::Png) {
            return Self::of_file(name, &TensorFile::from_bytes(origin, bytes)?, "");
        }
        let stored = picture::read(&bytes)
            .map_err(|reason| Error::malformed(origin, reason))?
            .ok_or_else(|| Error::malformed(origin, "a picture without an embedding in it"))?;
        Self::of_picture(name, origin, stored)
    }

    /// Number of its vectors, and so of the places that it takes in a prompt.
    pub fn vectors(&self) -> usize {
        self.parts
            .first()
            .map_or(0, |part| part.values.len() / part.width)
    }

    /// The vectors for a text encoder of this width. Where there are several, those that are meant for it count: their keys say it.
    pub fn for_encoder(&self, part: Part, width: usize) -> Option<&Vectors> {
        let meant = match part {
            Part::TextEncoder2 => Encoder::OpenClipG,
            _ => Encoder::ClipL,
        };
        let one = self.parts.len() == 1;
        let mut fitting = self.parts.iter().filter(|it| it.width == width);
        fitting.find(|it| one || it.encoder == meant)
    }

    fn of_picture(name: String, origin: &str, stored: picture::Stored) -> Result<Self> {
        let picture::Stored {
            name: own,
            step,
            sd_checkpoint,
            sd_checkpoint_name,
            shape,
            values,
        } = stored;
        let part = vectors(origin, "string_to_param", None, &shape, values)?;
        Ok(Self {
            name: own.filter(|own| !own.is_empty()).unwrap_or(name),
            origin: origin.to_owned(),
            parts: vec![part],
            step,
            sd_checkpoint,
            sd_checkpoint_name,
        })
    }

    /// Reads an embedding that lies among other tensors, as in an adapter's file: its tensors are those whose names begin with
    /// `prefix`, and have an embedding's own names behind it.
    ///
    /// # Errors
    /// [`Error::Malformed`] as [`Embedding::open`].
    pub fn bundled(name: impl Into<String>, file: &TensorFile, prefix: &str) -> Result<Self> {
        Self::of_file(name.into(), file, prefix)
    }

    fn of_file(name: String, file: &TensorFile, prefix: &str) -> Result<Self> {
        let origin = file.origin();
        let mut names: Vec<&str> = file
            .names()
            .filter_map(|name| name.strip_prefix(prefix))
            .collect();
        names.sort_unstable();
        let (in_webui, others): (Vec<&str>, Vec<&str>) = names
            .iter()
            .partition(|name| name.starts_with("string_to_param."));
        let chosen = match (in_webui.as_slice(), others.as_slice()) {
            ([_, ..], _) => in_webui.clone(),
            ([], ["clip_g", "clip_l"] | ["clip_g"] | ["clip_l"] | [_]) => others.clone(),
            ([], _) if others.contains(&"emb_params") => vec!["emb_params"],
            _ => Vec::new(),
        };
        let parts: Vec<(&str, Option<Encoder>)> = match chosen.as_slice() {
            // Width before width, as SDXL joins its encoders.
            ["clip_g", "clip_l"] => vec![
                ("clip_l", Some(Encoder::ClipL)),
                ("clip_g", Some(Encoder::OpenClipG)),
            ],
            ["clip_g"] => vec![("clip_g", Some(Encoder::OpenClipG))],
            ["clip_l"] => vec![("clip_l", Some(Encoder::ClipL))],
            [one] => vec![(one, None)],
            _ => return Err(Error::malformed(origin, no_embedding(file, &names))),
        };
        let read = |(name, encoder): &(&str, Option<Encoder>)| {
            let key = format!("{prefix}{name}");
            let info = file.info(&key).filter(|info| info.is_readable());
            let info = info.ok_or_else(|| fault(origin, name, "its values are no floating-point numbers"))?;
            check_shape(origin, name, &info.shape)?;
            let values = file.values_f32(&key).unwrap_or_default();
            vectors(origin, name, *encoder, &info.shape, values)
        };
        let parts = parts.iter().map(read).collect::<Result<Vec<_>>>()?;
        if let [a, b] = parts.as_slice()
            && a.values.len() / a.width != b.values.len() / b.width
        {
            let reason = "clip_l and clip_g have not equally many vectors";
            return Err(Error::malformed(origin, reason));
        }
        let note = |key: &str| file.metadata().get(key).filter(|text| !text.is_empty()).cloned();
        // A file's notes are about what the file is for.
        let text = |key: &str| prefix.is_empty().then(|| note(key)).flatten();
        Ok(Self {
            name,
            origin: origin.to_owned(),
            parts,
            step: text("step").and_then(|step| step.parse().ok()),
            sd_checkpoint: text("sd_checkpoint"),
            sd_checkpoint_name: text("sd_checkpoint_name"),
        })
    }
}

/// Reads every embedding below a folder. Files of other kinds, empty ones and pictures without an embedding are passed over; unreadable
/// files are listed, and stop nothing. Where two have one name, both are there, the one in the earlier path first.
///
/// # Errors
/// [`Error::Io`] if the folder itself can't be read.
pub fn from_folder(folder: &Path) -> Result<FolderEmbeddings> {
    let (files, unreadable) = files_below(folder)?;
    let mut found = FolderEmbeddings {
        unreadable,
        ..FolderEmbeddings::default()
    };
    for path in files {
        match one_of_folder(&path) {
            Ok(embedding) => found.embeddings.extend(embedding),
            Err(error) => found.unreadable.push(error),
        }
    }
    Ok(found)
}

/// A file of a folder, if its ending is one of an embedding's.
fn one_of_folder(path: &Path) -> Result<Option<Embedding>> {
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    match ending.to_str() {
        Some("pt" | "bin" | "safetensors") => Embedding::open(path).map(Some),
        Some("png") => {
            let name = stem(path);
            // A picture that the embedding draws, beside it.
            if name.to_ascii_lowercase().ends_with(".preview") {
                return Ok(None);
            }
            let origin = path.display().to_string();
            let Some(bytes) = read_picture(path)? else {
                return Ok(None);
            };
            let stored = picture::read(&bytes).map_err(|reason| Error::malformed(&origin, reason))?;
            stored
                .map(|stored| Embedding::of_picture(name, &origin, stored))
                .transpose()
        }
        _ => Ok(None),
    }
}

/// The bytes of a picture; `None` if it is something else.
fn read_picture(path: &Path) -> Result<Option<Vec<u8>>> {
    use std::io::Read;
    let io = |e| Error::io(path, e);
    let (file, length) = input::open(path, "an embedding")?;
    let mut file = file.take(MAX_BYTES);
    let mut bytes = Vec::new();
    let head = FileKind::HEAD as u64;
    file.by_ref().take(head).read_to_end(&mut bytes).map_err(io)?;
    if FileKind::of(&bytes) != Some(FileKind::Png) {
        return Ok(None);
    }
    if length >= MAX_BYTES {
        let reason = format!("{length} bytes are too many for an embedding");
        return Err(Error::malformed(path.display().to_string(), reason));
    }
    file.read_to_end(&mut bytes).map_err(io)?;
    Ok(Some(bytes))
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn no_embedding(file: &TensorFile, names: &[&str]) -> String {
    if names.is_empty() {
        return "no embedding: it holds no tensors".into();
    }
    let found = Inspection::of_file(file);
    if !matches!(found.kind, Kind::TextualInversion | Kind::Unknown) {
        return found.instead_of(Expected::Embedding);
    }
    let first: Vec<String> = names.iter().take(3).map(|name| shown(name)).collect();
    format!(
        "no embedding: one tensor is wanted, or clip_l and clip_g; it holds {} ({}{})",
        names.len(),
        first.join(", "),
        if names.len() > 3 { ", ..." } else { "" }
    )
}

fn fault(origin: &str, name: &str, reason: &str) -> Error {
    Error::malformed(origin, format!("tensor '{}': {reason}", shown(name)))
}

/// The number of vectors and their width.
fn check_shape(origin: &str, name: &str, shape: &[usize]) -> Result<(usize, usize)> {
    match *shape {
        // diffusers saves a single vector without the outer axis.
        [width @ 1..=MAX_WIDTH] => Ok((1, width)),
        [n @ 1..=MAX_VECTORS, width @ 1..=MAX_WIDTH] => Ok((n, width)),
        _ => {
            let reason = format!(
                "shape {shape:?} is no embedding's, which is [vectors, width] with 1 to {MAX_VECTORS} vectors"
            );
            Err(fault(origin, name, &reason))
        }
    }
}

fn vectors(
    origin: &str,
    name: &str,
    encoder: Option<Encoder>,
    shape: &[usize],
    values: Vec<f32>,
) -> Result<Vectors> {
    let (n, width) = check_shape(origin, name, shape)?;
    debug_assert_eq!(n * width, values.len());
    if !values.iter().all(|x| x.is_finite()) {
        return Err(fault(
            origin,
            name,
            "a value is not finite; the training failed, use another file",
        ));
    }
    let encoder = encoder.unwrap_or_else(|| Encoder::of_width(width));
    Ok(Vectors {
        encoder,
        width,
        values,
    })
}
