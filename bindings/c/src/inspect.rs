//! What a file is.

use std::ffi::{CString, c_char};

use crate::{
    error::{Failure, guard, sdrs_status},
    names::c_string,
    pointer::{Out, path},
};

/// Tells what a `.safetensors` file or a diffusers folder is (family, parts, types, prediction type), reading nothing but headers, as
/// JSON. Free the text with `sdrs_string_free`.
///
/// Fails with `SDRS_ERROR_IO`, `SDRS_ERROR_INVALID_FILE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_inspect(path: *const c_char, json: *mut *mut c_char) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (path, out) = unsafe { (self::path(path, "path")?, Out::new(json, "json")?) };
        let text = serde_json::to_string(&sdrs::inspect(path)?).map_err(|e| Failure::Panic(e.to_string()))?;
        out.put(c_string(text).into_raw());
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
