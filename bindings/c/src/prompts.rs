//! The enumerations that say how prompts are read, with their names.

mod plan;

use std::{
    ffi::{CStr, c_char},
    ptr,
};

use sdrs::{ClipSkipRule, Emphasis, EmptyNegativeRule, PromptDialect, TimeRule};

use crate::{
    enums::{enumeration, number},
    error::{Failure, Result, guard, sdrs_status},
    pointer::{Out, string},
};

/// The rule by which weights in prompts act. ComfyUI's dialect has its own way and takes no notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum sdrs_emphasis {
    /// "Original": multiplies the text encoder's output, then gives all of it the mean that it had.
    SDRS_EMPHASIS_ORIGINAL = 0,
    /// "No norm": multiplies only.
    SDRS_EMPHASIS_NO_NORM = 1,
    /// "Ignore": reads brackets and weights, and doesn't use them.
    SDRS_EMPHASIS_IGNORE = 2,
    /// "None": brackets are text, and so is BREAK.
    SDRS_EMPHASIS_NONE = 3,
}

/// The dialect of the prompt language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum sdrs_prompt_dialect {
    /// "webui": the AUTOMATIC1111 WebUI's.
    SDRS_PROMPT_DIALECT_WEBUI = 0,
    /// "comfy": ComfyUI's: weights that interpolate from the empty prompt; tags, AND, edits and alternations are text.
    SDRS_PROMPT_DIALECT_COMFY = 1,
}

/// The numbers of prompt edits that are fractions of the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum sdrs_time_rule {
    /// "current": those with a point.
    SDRS_TIME_RULE_CURRENT = 0,
    /// "before 1.6": those under 1, as before version 1.6 of the WebUI.
    SDRS_TIME_RULE_BEFORE_16 = 1,
}

/// The rule by which layers of the text encoder are counted, from the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum sdrs_clip_skip_rule {
    /// "webui": 1 is the last layer, 2 the one before it.
    SDRS_CLIP_SKIP_RULE_WEBUI = 0,
    /// "diffusers": 0 is the last layer, 1 the one before it.
    SDRS_CLIP_SKIP_RULE_DIFFUSERS = 1,
}

/// The meaning of an empty negative prompt to SDXL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum sdrs_empty_negative_rule {
    /// "webui": zeros in place of an encoded text.
    SDRS_EMPTY_NEGATIVE_RULE_WEBUI = 0,
    /// "diffusers": zeros where none is given (NULL), an encoded text where an empty one is; the refiner always has the text.
    SDRS_EMPTY_NEGATIVE_RULE_DIFFUSERS = 1,
    /// "comfy": an encoded text.
    SDRS_EMPTY_NEGATIVE_RULE_COMFY = 2,
}

/// `sdrs_emphasis` as callers give it: any number.
pub type sdrs_emphasis_value = i32;
/// `sdrs_prompt_dialect` as callers give it.
pub type sdrs_prompt_dialect_value = i32;
/// `sdrs_time_rule` as callers give it.
pub type sdrs_time_rule_value = i32;
/// `sdrs_clip_skip_rule` as callers give it.
pub type sdrs_clip_skip_rule_value = i32;
/// `sdrs_empty_negative_rule` as callers give it.
pub type sdrs_empty_negative_rule_value = i32;

const EMPHASES: &[(sdrs_emphasis, Emphasis)] = &[
    (sdrs_emphasis::SDRS_EMPHASIS_ORIGINAL, Emphasis::Original),
    (sdrs_emphasis::SDRS_EMPHASIS_NO_NORM, Emphasis::NoNorm),
    (sdrs_emphasis::SDRS_EMPHASIS_IGNORE, Emphasis::Ignore),
    (sdrs_emphasis::SDRS_EMPHASIS_NONE, Emphasis::None),
];

#[rustfmt::skip]
const DIALECTS: &[(sdrs_prompt_dialect, PromptDialect)] = &[
    (sdrs_prompt_dialect::SDRS_PROMPT_DIALECT_WEBUI, PromptDialect::WebUi),
    (sdrs_prompt_dialect::SDRS_PROMPT_DIALECT_COMFY, PromptDialect::Comfy),
];

const TIME_RULES: &[(sdrs_time_rule, TimeRule)] = &[
    (sdrs_time_rule::SDRS_TIME_RULE_CURRENT, TimeRule::Current),
    (sdrs_time_rule::SDRS_TIME_RULE_BEFORE_16, TimeRule::Before16),
];

#[rustfmt::skip]
const CLIP_SKIP_RULES: &[(sdrs_clip_skip_rule, ClipSkipRule)] = &[
    (sdrs_clip_skip_rule::SDRS_CLIP_SKIP_RULE_WEBUI, ClipSkipRule::WebUi),
    (sdrs_clip_skip_rule::SDRS_CLIP_SKIP_RULE_DIFFUSERS, ClipSkipRule::Diffusers),
];

#[rustfmt::skip]
const EMPTY_NEGATIVE_RULES: &[(sdrs_empty_negative_rule, EmptyNegativeRule)] = &[
    (sdrs_empty_negative_rule::SDRS_EMPTY_NEGATIVE_RULE_WEBUI, EmptyNegativeRule::WebUi),
    (sdrs_empty_negative_rule::SDRS_EMPTY_NEGATIVE_RULE_DIFFUSERS, EmptyNegativeRule::Diffusers),
    (sdrs_empty_negative_rule::SDRS_EMPTY_NEGATIVE_RULE_COMFY, EmptyNegativeRule::Comfy),
];

enumeration! {
    sdrs_emphasis, Emphasis, "emphasis", EMPHASES;
    sdrs_prompt_dialect, PromptDialect, "prompt_dialect", DIALECTS;
    sdrs_time_rule, TimeRule, "time_rule", TIME_RULES;
    sdrs_clip_skip_rule, ClipSkipRule, "clip_skip_rule", CLIP_SKIP_RULES;
    sdrs_empty_negative_rule, EmptyNegativeRule, "empty_negative_rule", EMPTY_NEGATIVE_RULES;
}

// By number.
const EMPHASIS_NAMES: &[&CStr] = &[c"Original", c"No norm", c"Ignore", c"None"];
const DIALECT_NAMES: &[&CStr] = &[c"webui", c"comfy"];
const TIME_RULE_NAMES: &[&CStr] = &[c"current", c"before 1.6"];
const CLIP_SKIP_RULE_NAMES: &[&CStr] = &[c"webui", c"diffusers"];
const EMPTY_NEGATIVE_RULE_NAMES: &[&CStr] = &[c"webui", c"diffusers", c"comfy"];

fn name_of(names: &[&'static CStr], number: i32) -> *const c_char {
    let name = usize::try_from(number).ok().and_then(|i| names.get(i));
    name.map_or(ptr::null(), |name| name.as_ptr())
}

/// The number of a name for which `sdrs` has no parser, spelt as loosely as it takes the others.
fn number_of(what: &str, names: &[&'static CStr], name: &str) -> Result<i32> {
    let bare = |name: &str| name.replace([' ', '-', '_'], "").to_ascii_lowercase();
    let known: Vec<_> = names.iter().map(|name| name.to_string_lossy()).collect();
    let at = known.iter().position(|known| bare(known) == bare(name));
    match at.and_then(|at| i32::try_from(at).ok()) {
        Some(number) => Ok(number),
        None => {
            let message = format!("unknown {what} '{name}'; known are {}", known.join(", "));
            Err(Failure::Sdrs(sdrs::Error::UnknownName(message)))
        }
    }
}

/// The emphasis mode of a name; case, spaces, hyphens and underscores don't matter.
///
/// Fails with `SDRS_ERROR_UNKNOWN_NAME`; the message lists the names.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_emphasis_from_name(
    name: *const c_char,
    emphasis: *mut sdrs_emphasis_value,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (name, out) = unsafe { (string(name, "name")?, Out::new(emphasis, "emphasis")?) };
        out.put(number::<sdrs_emphasis>(sdrs::parse_emphasis(name)?)?);
        Ok(())
    })
}

/// The WebUI's name of an emphasis mode, such as "No norm"; NULL if it is none. Valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn sdrs_emphasis_name(emphasis: sdrs_emphasis_value) -> *const c_char {
    name_of(EMPHASIS_NAMES, emphasis)
}

/// The prompt dialect of a name; case, spaces, hyphens and underscores don't matter.
///
/// Fails with `SDRS_ERROR_UNKNOWN_NAME`; the message lists the names.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_prompt_dialect_from_name(
    name: *const c_char,
    prompt_dialect: *mut sdrs_prompt_dialect_value,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (name, out) = unsafe { (string(name, "name")?, Out::new(prompt_dialect, "prompt_dialect")?) };
        out.put(number::<sdrs_prompt_dialect>(sdrs::parse_prompt_dialect(name)?)?);
        Ok(())
    })
}

/// The name of a prompt dialect: "webui", "comfy"; NULL if it is none. Valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn sdrs_prompt_dialect_name(prompt_dialect: sdrs_prompt_dialect_value) -> *const c_char {
    name_of(DIALECT_NAMES, prompt_dialect)
}

/// The time rule of a name; case, spaces, hyphens and underscores don't matter.
///
/// Fails with `SDRS_ERROR_UNKNOWN_NAME`; the message lists the names.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_time_rule_from_name(
    name: *const c_char,
    time_rule: *mut sdrs_time_rule_value,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (name, out) = unsafe { (string(name, "name")?, Out::new(time_rule, "time_rule")?) };
        out.put(number_of("time rule", TIME_RULE_NAMES, name)?);
        Ok(())
    })
}

/// The name of a time rule: "current", "before 1.6"; NULL if it is none. Valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn sdrs_time_rule_name(time_rule: sdrs_time_rule_value) -> *const c_char {
    name_of(TIME_RULE_NAMES, time_rule)
}

/// The clip skip rule of a name; case, spaces, hyphens and underscores don't matter.
///
/// Fails with `SDRS_ERROR_UNKNOWN_NAME`; the message lists the names.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_clip_skip_rule_from_name(
    name: *const c_char,
    clip_skip_rule: *mut sdrs_clip_skip_rule_value,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (name, out) = unsafe { (string(name, "name")?, Out::new(clip_skip_rule, "clip_skip_rule")?) };
        out.put(number_of("clip skip rule", CLIP_SKIP_RULE_NAMES, name)?);
        Ok(())
    })
}

/// The name of a clip skip rule: "webui", "diffusers"; NULL if it is none. Valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn sdrs_clip_skip_rule_name(clip_skip_rule: sdrs_clip_skip_rule_value) -> *const c_char {
    name_of(CLIP_SKIP_RULE_NAMES, clip_skip_rule)
}

/// The rule for empty negative prompts of a name; case, spaces, hyphens and underscores don't matter.
///
/// Fails with `SDRS_ERROR_UNKNOWN_NAME`; the message lists the names.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_empty_negative_rule_from_name(
    name: *const c_char,
    empty_negative_rule: *mut sdrs_empty_negative_rule_value,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (name, out) = unsafe {
            (
                string(name, "name")?,
                Out::new(empty_negative_rule, "empty_negative_rule")?,
            )
        };
        out.put(number_of("empty negative rule", EMPTY_NEGATIVE_RULE_NAMES, name)?);
        Ok(())
    })
}

/// The name of a rule for empty negative prompts: "webui", "diffusers", "comfy"; NULL if it is none. Valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn sdrs_empty_negative_rule_name(
    empty_negative_rule: sdrs_empty_negative_rule_value,
) -> *const c_char {
    name_of(EMPTY_NEGATIVE_RULE_NAMES, empty_negative_rule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enums::tests::numbered;

    #[test]
    fn tables_are_whole() {
        numbered::<sdrs_emphasis>();
        numbered::<sdrs_prompt_dialect>();
        numbered::<sdrs_time_rule>();
        numbered::<sdrs_clip_skip_rule>();
        numbered::<sdrs_empty_negative_rule>();
    }

    type Named = extern "C" fn(i32) -> *const c_char;
    type FromName = unsafe extern "C" fn(*const c_char, *mut i32) -> sdrs_status;

    #[test]
    fn names_come_back() {
        let all: [(usize, Named, FromName); 5] = [
            (EMPHASES.len(), sdrs_emphasis_name, sdrs_emphasis_from_name),
            (
                DIALECTS.len(),
                sdrs_prompt_dialect_name,
                sdrs_prompt_dialect_from_name,
            ),
            (TIME_RULES.len(), sdrs_time_rule_name, sdrs_time_rule_from_name),
            (
                CLIP_SKIP_RULES.len(),
                sdrs_clip_skip_rule_name,
                sdrs_clip_skip_rule_from_name,
            ),
            (
                EMPTY_NEGATIVE_RULES.len(),
                sdrs_empty_negative_rule_name,
                sdrs_empty_negative_rule_from_name,
            ),
        ];
        for (count, name, from_name) in all {
            let count = i32::try_from(count).unwrap();
            for number in 0..count {
                let mut back = -1;
                // SAFETY: a valid name and a valid place.
                let status = unsafe { from_name(name(number), &raw mut back) };
                assert_eq!((status, back), (sdrs_status::SDRS_OK, number));
            }
            assert!(name(count).is_null() && name(-1).is_null());
            let mut untouched = -1;
            // SAFETY: as above.
            let status = unsafe { from_name(c"no such".as_ptr(), &raw mut untouched) };
            assert_eq!((status, untouched), (sdrs_status::SDRS_ERROR_UNKNOWN_NAME, -1));
        }
    }
}
