//! Embeddings between two words of the demo model: nothing was trained for them, their vectors are made from its own table.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::shell::{Outcome, root};

const ENCODER: &str = "models/demo/base/text_encoder/model.safetensors";
const VOCABULARY: &str = "models/demo/base/tokenizer/vocab.json";
const TABLE: &str = "text_model.embeddings.token_embedding.weight";

/// The percents of the second word, which are the names of the embeddings: "mix40".
pub(super) const PERCENTS: [u8; 6] = [0, 20, 40, 60, 80, 100];

/// Writes an embedding of one vector for each percent into a folder, on the way from one word to the other.
pub(super) fn write(folder: &Path, [from, to]: [&str; 2]) -> Outcome {
    let [from, to] = [vector(from)?, vector(to)?];
    fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    for percent in PERCENTS {
        let share = f32::from(percent) / 100.0;
        let mixed = from.iter().zip(&to).map(|(a, b)| a + share * (b - a));
        let bytes: Vec<u8> = mixed.flat_map(f32::to_le_bytes).collect();
        let mut header = format!(
            r#"{{"emb_params":{{"dtype":"F32","shape":[1,{}],"data_offsets":[0,{}]}}}}"#,
            from.len(),
            bytes.len()
        );
        header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
        let file = [
            &(header.len() as u64).to_le_bytes()[..],
            header.as_bytes(),
            &bytes,
        ]
        .concat();
        let path = folder.join(format!("mix{percent}.safetensors"));
        fs::write(&path, file).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(())
}

/// A word's row of the text encoder's table.
fn vector(word: &str) -> Outcome<Vec<f32>> {
    let read = |name: &str| -> Outcome<(PathBuf, Vec<u8>)> {
        let path = root().join(name);
        let bytes = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok((path, bytes))
    };
    let json = |path: &Path, bytes: &[u8]| -> Outcome<serde_json::Value> {
        serde_json::from_slice(bytes).map_err(|e| format!("{}: {e}", path.display()))
    };
    let (path, bytes) = read(VOCABULARY)?;
    let id = json(&path, &bytes)?[format!("{word}</w>")]
        .as_u64()
        .ok_or_else(|| format!("{}: no token {word}", path.display()))? as usize;

    let (path, bytes) = read(ENCODER)?;
    let unexpected = || format!("{}: {TABLE} is not what it was", path.display());
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(unexpected)?;
    let (header, values) = rest
        .split_at_checked(u64::from_le_bytes(*length) as usize)
        .ok_or_else(unexpected)?;
    let table = &json(&path, header)?[TABLE];
    let number = |value: &serde_json::Value| value.as_u64().map(|n| n as usize).ok_or_else(unexpected);
    let (width, begin) = (number(&table["shape"][1])?, number(&table["data_offsets"][0])?);
    let row = values
        .get(begin + 2 * width * id..)
        .and_then(|from| from.get(..2 * width));
    match (&table["dtype"], row) {
        (serde_json::Value::String(dtype), Some(row)) if dtype == "F16" => Ok(row
            .chunks_exact(2)
            .map(|pair| half(u16::from_le_bytes([pair[0], pair[1]])))
            .collect()),
        _ => Err(unexpected()),
    }
}

/// A number of IEEE half precision, finite.
fn half(bits: u16) -> f32 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023) / 1024.0);
    let size = match exponent {
        0 => fraction * 2f32.powi(-14),
        _ => (1.0 + fraction) * 2f32.powi(exponent - 15),
    };
    if bits >> 15 == 1 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves() {
        let bits = [0x3c00, 0xc000, 0x3555, 0x0001, 0x7bff, 0x8000];
        let values = [1.0, -2.0, 0.33325195, 5.9604645e-8, 65504.0, 0.0];
        assert_eq!(bits.map(half), values);
    }

    #[test]
    fn words_have_vectors() {
        let [circle, square] = ["circle", "square"].map(|word| vector(word).unwrap());
        assert_eq!((circle.len(), square.len()), (128, 128));
        assert_ne!(circle, square);
        assert!(vector("lighthouse").is_err());
    }
}
