//! Embeddings in PNG pictures, in the two ways of the WebUI.
//!
//! The text chunk `sd-ti-embedding` holds base64 of JSON, in which a tensor is `{"TORCHTENSOR": lists}`. Or the same JSON, compressed,
//! lies in the low four bits of two blocks of columns, left and right of the picture and parted from it by a black column each: the low
//! halves of the bytes left, the high ones right, each xored with a linear congruential sequence. The upper bits are decoration.

use std::io::{Cursor, Read};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, de};

use crate::png_text;

/// The keyword of the text.
const KEY: &str = "sd-ti-embedding";
/// Larger pictures hold no embeddings: their blocks are a few hundred columns.
const MAX_PIXELS: u64 = 16 << 20;
/// JSON of a thousand vectors takes a tenth of this.
const MAX_JSON: u64 = 64 << 20;

/// The data in a picture.
#[derive(Debug)]
pub(super) struct Stored {
    pub name: Option<String>,
    pub step: Option<u64>,
    pub sd_checkpoint: Option<String>,
    pub sd_checkpoint_name: Option<String>,
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// Reads a picture; `None` if there is no embedding in it.
///
/// # Errors
/// A sentence with the fault.
pub(super) fn read(bytes: &[u8]) -> Result<Option<Stored>, String> {
    let fail = |e: png::DecodingError| format!("not a usable PNG picture: {e}");
    let limits = png::Limits {
        bytes: (4 * MAX_PIXELS) as usize,
    };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(fail)?;
    // A text may stand before the pixels, where Pillow writes it, or behind them.
    if let Some(text) = png_text::of_info(reader.info(), KEY)? {
        return from_text(&text).map(Some);
    }
    let (width, height) = (reader.info().width, reader.info().height);
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Ok(None);
    }
    let size = reader
        .output_buffer_size()
        .ok_or("not a usable PNG picture: too large")?;
    let mut pixels = vec![0; size];
    let frame = reader.next_frame(&mut pixels).map_err(fail)?;
    reader.finish().map_err(fail)?;
    if let Some(text) = png_text::of_info(reader.info(), KEY)? {
        return from_text(&text).map(Some);
    }
    pixels.truncate(frame.buffer_size());
    let channels = frame.color_type.samples();
    let rgb: Vec<[u8; 3]> = pixels
        .chunks_exact(channels)
        .map(|p| match *p {
            [grey] | [grey, _] => [grey; 3],
            [r, g, b, ..] => [r, g, b],
            [] => [0; 3],
        })
        .collect();
    match hidden(&rgb, frame.width as usize) {
        Some(stream) => from_stream(&stream),
        None => Ok(None),
    }
}

fn from_text(text: &str) -> Result<Stored, String> {
    let json = STANDARD
        .decode(text.trim())
        .map_err(|e| format!("its text 'sd-ti-embedding' is not base64: {e}"))?;
    from_json(&json)
}

/// The compressed JSON in the low bits, with what follows it; `None` if the picture has no two black columns.
fn hidden(pixels: &[[u8; 3]], width: usize) -> Option<Vec<u8>> {
    let rows: Vec<&[[u8; 3]]> = pixels.chunks_exact(width.max(1)).collect();
    // A frame without any light is cut away first.
    let lit = |pixel: &[u8; 3]| pixel.iter().all(|&v| v > 0);
    let top = rows.iter().position(|row| row.iter().any(lit))?;
    let bottom = rows.iter().rposition(|row| row.iter().any(lit))? + 1;
    let column = |x: usize| rows.iter().any(|row| lit(&row[x]));
    let left = (0..width).find(|&x| column(x))?;
    let right = (0..width).rfind(|&x| column(x))? + 1;
    let rows: Vec<&[[u8; 3]]> = rows[top..bottom].iter().map(|row| &row[left..right]).collect();
    let black = |x: usize| rows.iter().all(|row| row[x].iter().all(|v| v & 15 == 0));
    let mut columns = (0..right - left).filter(|&x| black(x));
    let first = columns.next()?;
    let last = columns.next_back()?;
    let low = block(&rows, 0, first);
    let high = block(&rows, last + 1, right - left);
    // Blocks of other sizes are no blocks.
    (low.len() == high.len() && !low.is_empty())
        .then(|| low.iter().zip(&high).map(|(low, high)| high << 4 | low).collect())
}

/// The low bits of some columns, row by row, without the sequence over them.
fn block(rows: &[&[[u8; 3]]], from: usize, to: usize) -> Vec<u8> {
    let mut seed = 0u32;
    let values = rows.iter().flat_map(|row| row[from..to].as_flattened());
    values
        .map(|value| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (value ^ (seed % 255) as u8) & 15
        })
        .collect()
}

fn from_stream(stream: &[u8]) -> Result<Option<Stored>, String> {
    let mut json = Vec::new();
    let mut inflated = flate2::read::ZlibDecoder::new(stream).take(MAX_JSON + 1);
    if inflated.read_to_end(&mut json).is_err() {
        // Pictures with black columns are no rarity.
        return Ok(None);
    }
    if json.len() as u64 > MAX_JSON {
        return Err("the text hidden in it is over the limit".into());
    }
    from_json(&json).map(Some)
}

fn from_json(json: &[u8]) -> Result<Stored, String> {
    #[derive(Deserialize)]
    struct Data {
        #[serde(default)]
        name: Option<String>,
        #[serde(default)]
        step: Option<f64>,
        #[serde(default)]
        sd_checkpoint: Option<String>,
        #[serde(default)]
        sd_checkpoint_name: Option<String>,
        string_to_param: std::collections::BTreeMap<String, Tensor>,
    }
    let data: Data = serde_json::from_slice(json).map_err(|e| format!("its embedding can't be used: {e}"))?;
    let mut tensors = data.string_to_param.into_values();
    let (Some(Tensor { shape, values }), None) = (tensors.next(), tensors.next()) else {
        return Err("its embedding has not exactly one tensor in string_to_param".into());
    };
    Ok(Stored {
        name: data.name,
        step: data.step.filter(|step| *step >= 0.0).map(|step| step as u64),
        sd_checkpoint: data.sd_checkpoint,
        sd_checkpoint_name: data.sd_checkpoint_name,
        shape,
        values,
    })
}

struct Tensor {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl<'de> Deserialize<'de> for Tensor {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Raw {
            #[serde(rename = "TORCHTENSOR")]
            rows: Vec<Row>,
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Row {
            One(f32),
            Many(Vec<f32>),
        }
        let rows = Raw::deserialize(from)?.rows;
        let (count, mut values) = (rows.len(), Vec::new());
        let mut width = None;
        for row in rows {
            let own = match row {
                Row::One(value) => {
                    values.push(value);
                    None
                }
                Row::Many(row) => {
                    values.extend_from_slice(&row);
                    Some(row.len())
                }
            };
            if *width.get_or_insert(own) != own {
                return Err(de::Error::custom("its vectors differ in length"));
            }
        }
        let shape = match width.flatten() {
            Some(width) => vec![count, width],
            None => vec![count],
        };
        Ok(Self { shape, values })
    }
}
