//! The kind and contents of a file, without loading it.

use std::ffi::{CString, c_char};

use crate::{
    error::{Failure, Result, guard, sdrs_status},
    names::c_string,
    pointer::{Out, path},
};

/// Describes a file of weights or a diffusers folder (kind, family, purpose, parts, types, prediction type with the reason), reading
/// nothing but headers, as JSON. Free the text with `sdrs_string_free`.
///
/// Fails with `SDRS_ERROR_IO`, `SDRS_ERROR_INVALID_FILE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_inspect(path: *const c_char, json: *mut *mut c_char) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (path, out) = unsafe { (self::path(path, "path")?, Out::new(json, "json")?) };
        out.put(json_text(serde_json::to_string(&sdrs::inspect(path)?))?);
        Ok(())
    })
}

/// JSON as a text that the caller frees.
pub(crate) fn json_text(json: serde_json::Result<String>) -> Result<*mut c_char> {
    let text = json.map_err(|e| Failure::Panic(e.to_string()))?;
    Ok(c_string(text).into_raw())
}

/// Lists the devices of this machine that the library can compute on, as a JSON array: `name` (as `sdrs_builder_device` takes it),
/// `title`, `class`, `memory` and `free_memory` in bytes (null where nobody tells), `dtypes`, `default_dtype`, and `is_default`, which is true
/// for the one that "auto" takes. Each GPU is opened, which takes up to a second. Free the text with `sdrs_string_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_devices(json: *mut *mut c_char) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let out = unsafe { Out::new(json, "json")? };
        out.put(json_text(serde_json::to_string(&sdrs::devices()))?);
        Ok(())
    })
}

/// Reads a whole file and gives its SHA-256 as 64 hexadecimal digits; the first ten of them are the WebUI's "model hash". It takes seconds
/// for a checkpoint. Free the text with `sdrs_string_free`.
///
/// Fails with `SDRS_ERROR_IO`, `SDRS_ERROR_INVALID_FILE` if it is no regular file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_model_hash(path: *const c_char, sha256: *mut *mut c_char) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (path, out) = unsafe { (self::path(path, "path")?, Out::new(sha256, "sha256")?) };
        out.put(c_string(sdrs::model_hash(path)?.sha256).into_raw());
        Ok(())
    })
}

/// Frees a text that the library gave to be freed; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_string_free(text: *mut c_char) {
    if !text.is_null() {
        // SAFETY: `into_raw` made it, by the caller's promise, and it is given back once.
        drop(unsafe { CString::from_raw(text) });
    }
}
