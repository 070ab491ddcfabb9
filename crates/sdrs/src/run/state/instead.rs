//! What is told of a file that is no saved state.

use std::{fs::File, io::Read, path::Path};

use sd_core::FileKind;

use crate::Error;

/// What to do about a file that is something else.
const ADVICE: &str = "save_states (--save-states) writes such files, as picture-1-step-00012.safetensors";

/// The end of a sentence about a file that is something else.
pub(super) fn not_a_state(words: &str) -> String {
    format!("is {words}, not a saved state of a run; {ADVICE}")
}

/// The error of what can't be opened, and begins so: it names what it is where that shows.
pub(super) fn of_bytes(error: sd_core::Error, head: &[u8]) -> Error {
    let sd_core::Error::Malformed { origin, .. } = &error else {
        return error.into();
    };
    let reason = match FileKind::of(head) {
        // A state that is damaged says so.
        Some(FileKind::Safetensors) => return error.into(),
        Some(kind) if kind.carries_infotext() => format!(
            "{}; replay draws a picture again from its infotext",
            not_a_state(kind.words())
        ),
        Some(kind) => match kind.remedy() {
            Some(remedy) => format!("{}; {remedy}", not_a_state(kind.words())),
            None => not_a_state(kind.words()),
        },
        None if head.is_empty() => format!("is empty, so no saved state of a run; {ADVICE}"),
        None => format!("is no file of tensors, so no saved state of a run; {ADVICE}"),
    };
    Error::InvalidFile {
        path: origin.clone(),
        reason,
    }
}

/// The same of what can't be opened at a path.
pub(super) fn at(path: &Path, error: sd_core::Error) -> Error {
    let mut head = Vec::new();
    let meta = std::fs::metadata(path);
    let reason = match meta {
        Ok(meta) if meta.is_dir() => not_a_state("a folder"),
        // Whoever opens a pipe waits for its other end.
        Ok(meta) if meta.is_file() => {
            let read =
                File::open(path).and_then(|file| file.take(FileKind::HEAD as u64).read_to_end(&mut head));
            return match read {
                Ok(_) => of_bytes(error, &head),
                Err(_) => error.into(),
            };
        }
        Ok(_) => not_a_state("no regular file"),
        Err(_) => return error.into(),
    };
    Error::InvalidFile {
        path: path.display().to_string(),
        reason,
    }
}
