//! A table of what U-Nets predict, by the hashes of their files: for checkpoints that don't say it themselves.

use std::{collections::BTreeMap, io::Read, path::Path};

use sd_core::{
    checkpoint::Checkpoint,
    config::{Part, PredictionType},
    weights::{ModelHash, model_hash},
};

use crate::{Error, Result};

/// No list of names for that many models is so long.
const MAX_BYTES: u64 = 16 << 20;

/// Prediction types by SHA-256, or by its first ten digits, the WebUI's hash of a model.
pub(super) struct Predictions {
    origin: String,
    by_hash: BTreeMap<String, PredictionType>,
}

impl Predictions {
    /// Reads a JSON object from hashes to prediction types.
    pub fn open(path: &Path) -> Result<Self> {
        let origin = path.display().to_string();
        let fault = |reason: String| Error::InvalidFile {
            path: origin.clone(),
            reason,
        };
        let unreadable = |source| sd_core::Error::Io {
            path: path.to_owned(),
            source,
        };
        // A device may say that it has no bytes, and never end.
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let length = file
            .take(MAX_BYTES + 1)
            .read_to_string(&mut text)
            .map_err(unreadable)?;
        if length as u64 > MAX_BYTES {
            return Err(fault(format!(
                "more than {MAX_BYTES} bytes are too many for a table of prediction types"
            )));
        }
        let rows: BTreeMap<String, String> = serde_json::from_str(&text).map_err(|e| {
            fault(format!(
                "not a table of prediction types, {{\"SHA-256\": \"v_prediction\", ..}}: {e}"
            ))
        })?;
        let row = |(hash, kind): (String, String)| {
            let hash = hash.to_ascii_lowercase();
            let digits = hash.bytes().all(|digit| digit.is_ascii_hexdigit());
            if !(digits && [10, 64].contains(&hash.len())) {
                let reason = "is neither a SHA-256, of 64 hexadecimal digits, nor the first ten of one";
                return Err(fault(format!("'{}' {reason}", sd_core::shown(&hash))));
            }
            let kind = PredictionType::from_name(&kind).ok_or_else(|| {
                let kind = sd_core::shown(&kind);
                fault(format!(
                    "{hash}: '{kind}' is not one of epsilon, v_prediction, sample"
                ))
            })?;
            Ok((hash, kind))
        };
        Ok(Self {
            by_hash: rows.into_iter().map(row).collect::<Result<_>>()?,
            origin,
        })
    }

    /// Lets the table say what the U-Net of a checkpoint predicts, if it knows the file that this lies in. The file is read as a whole.
    pub fn settle(&self, checkpoint: &mut Checkpoint) -> Result<()> {
        let [file] = &checkpoint.weights(Part::Unet).files[..] else {
            return Ok(());
        };
        let Some(path) = file.path().filter(|_| !self.by_hash.is_empty()) else {
            return Ok(());
        };
        let hash = model_hash(path)?;
        if let Some(kind) = self.find(&hash) {
            let reason = format!("{} says so of {}", self.origin, hash.short());
            checkpoint.set_prediction_type(kind, reason);
        }
        Ok(())
    }

    fn find(&self, hash: &ModelHash) -> Option<PredictionType> {
        let whole = self.by_hash.get(&hash.sha256);
        whole.or_else(|| self.by_hash.get(hash.short())).copied()
    }
}
