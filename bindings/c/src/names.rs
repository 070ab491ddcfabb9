//! From names to numbers and back.

use std::{
    collections::HashMap,
    ffi::{CString, c_char},
    ptr,
    sync::OnceLock,
};

use sdrs::{Dtype, Quantization, Schedule, WeightDtype, parse_sampler};

use crate::{
    enums::{
        Enumeration, number, sdrs_dtype, sdrs_dtype_value, sdrs_quantization, sdrs_quantization_value,
        sdrs_sampler, sdrs_sampler_value, sdrs_schedule, sdrs_schedule_value, sdrs_weight_dtype,
        sdrs_weight_dtype_value,
    },
    error::{Failure, guard, sdrs_status},
    pointer::{Out, string},
};

/// The sampler of a name, in the WebUI's, ComfyUI's or diffusers' spelling, in any case. The name may carry its schedule, as in "DPM++ 2M
/// Karras": then `schedule` gets that, else `SDRS_SCHEDULE_AUTOMATIC`. `schedule` may be NULL.
///
/// Fails with `SDRS_ERROR_UNKNOWN_NAME`; the message has the nearest known name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_sampler_from_name(
    name: *const c_char,
    sampler: *mut sdrs_sampler_value,
    schedule: *mut sdrs_schedule_value,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (name, out) = unsafe { (string(name, "name")?, Out::new(sampler, "sampler")?) };
        let (sampler, suffix) = parse_sampler(name)?;
        let sampler = number::<sdrs_sampler>(sampler)?;
        let suffix = number::<sdrs_schedule>(suffix.unwrap_or_default())?;
        if !schedule.is_null() {
            // SAFETY: as above.
            unsafe { Out::new(schedule, "schedule") }?.put(suffix);
        }
        out.put(sampler);
        Ok(())
    })
}

/// The WebUI's name of a sampler, such as "Euler a"; NULL if it is none. Valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn sdrs_sampler_name(sampler: sdrs_sampler_value) -> *const c_char {
    static NAMES: OnceLock<HashMap<i32, CString>> = OnceLock::new();
    name_of::<sdrs_sampler>(&NAMES, sampler, |s| s.to_string())
}

/// The schedule of a name, in any spelling.
///
/// Fails with `SDRS_ERROR_UNKNOWN_NAME`; the message has the nearest known name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_schedule_from_name(
    name: *const c_char,
    schedule: *mut sdrs_schedule_value,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (name, out) = unsafe { (string(name, "name")?, Out::new(schedule, "schedule")?) };
        out.put(number::<sdrs_schedule>(name.parse::<Schedule>()?)?);
        Ok(())
    })
}

/// The WebUI's name of a schedule, such as "Karras"; NULL if it is none. Valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn sdrs_schedule_name(schedule: sdrs_schedule_value) -> *const c_char {
    static NAMES: OnceLock<HashMap<i32, CString>> = OnceLock::new();
    name_of::<sdrs_schedule>(&NAMES, schedule, |s| s.to_string())
}

/// The type of a name: "f32", "bf16", "f16", also as "float32", "fp16" and so on; "auto".
///
/// Fails with `SDRS_ERROR_UNKNOWN_NAME`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_dtype_from_name(
    name: *const c_char,
    dtype: *mut sdrs_dtype_value,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (name, out) = unsafe { (string(name, "name")?, Out::new(dtype, "dtype")?) };
        let dtype = Dtype::from_name(name);
        if dtype.is_none() && name != "auto" {
            let message = format!("unknown dtype \"{name}\"; there are auto, f32, bf16, f16");
            return Err(Failure::Sdrs(sdrs::Error::UnknownName(message)));
        }
        out.put(number::<sdrs_dtype>(dtype)?);
        Ok(())
    })
}

/// The name of a type: "auto", "f32", "bf16", "f16"; NULL if it is none. Valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn sdrs_dtype_name(dtype: sdrs_dtype_value) -> *const c_char {
    static NAMES: OnceLock<HashMap<i32, CString>> = OnceLock::new();
    name_of::<sdrs_dtype>(&NAMES, dtype, |d| d.map_or("auto", Dtype::name).to_owned())
}

/// The type for weights of a name: "auto", "f32", "bf16", "f16", "f8", and other spellings of these.
///
/// Fails with `SDRS_ERROR_UNKNOWN_NAME`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_weight_dtype_from_name(
    name: *const c_char,
    weight_dtype: *mut sdrs_weight_dtype_value,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (name, out) = unsafe { (string(name, "name")?, Out::new(weight_dtype, "weight_dtype")?) };
        let found = WeightDtype::from_name(name).ok_or_else(|| {
            let message = format!("unknown weight_dtype \"{name}\"; there are auto, f32, bf16, f16, f8");
            Failure::Sdrs(sdrs::Error::UnknownName(message))
        })?;
        out.put(number::<sdrs_weight_dtype>(found)?);
        Ok(())
    })
}

/// The name of a type for weights: "auto", "f32", "bf16", "f16", "f8"; NULL if it is none. Valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn sdrs_weight_dtype_name(weight_dtype: sdrs_weight_dtype_value) -> *const c_char {
    static NAMES: OnceLock<HashMap<i32, CString>> = OnceLock::new();
    name_of::<sdrs_weight_dtype>(&NAMES, weight_dtype, |d| d.name().to_owned())
}

/// The quantization of a name: "none", "int8", "auto".
///
/// Fails with `SDRS_ERROR_UNKNOWN_NAME`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_quantization_from_name(
    name: *const c_char,
    quantization: *mut sdrs_quantization_value,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (name, out) = unsafe { (string(name, "name")?, Out::new(quantization, "quantization")?) };
        let found = Quantization::from_name(name).ok_or_else(|| {
            let message = format!("unknown quantization \"{name}\"; there are none, int8, auto");
            Failure::Sdrs(sdrs::Error::UnknownName(message))
        })?;
        out.put(number::<sdrs_quantization>(found)?);
        Ok(())
    })
}

/// The name of a quantization: "none", "int8", "auto"; NULL if it is none. Valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn sdrs_quantization_name(quantization: sdrs_quantization_value) -> *const c_char {
    static NAMES: OnceLock<HashMap<i32, CString>> = OnceLock::new();
    name_of::<sdrs_quantization>(&NAMES, quantization, |q| q.name().to_owned())
}

/// The header's name of a status, such as "SDRS_ERROR_IO"; NULL if it is none. Valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn sdrs_status_name(status: i32) -> *const c_char {
    match status {
        0 => c"SDRS_OK",
        1 => c"SDRS_ERROR_INVALID_PARAMETER",
        2 => c"SDRS_ERROR_UNKNOWN_NAME",
        3 => c"SDRS_ERROR_IO",
        4 => c"SDRS_ERROR_INVALID_FILE",
        5 => c"SDRS_ERROR_INVALID_WEIGHTS",
        6 => c"SDRS_ERROR_CANCELLED",
        7 => c"SDRS_ERROR_NOT_FINITE",
        8 => c"SDRS_ERROR_INTERNAL",
        9 => c"SDRS_ERROR_OUT_OF_MEMORY",
        _ => return ptr::null(),
    }
    .as_ptr()
}

/// A kind of device that this library was built with, counted from 0: "cpu", "cuda", "vulkan". NULL past the last. Valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn sdrs_available_device(index: usize) -> *const c_char {
    static NAMES: OnceLock<Vec<CString>> = OnceLock::new();
    let mut found = ptr::null();
    guard(|| {
        let names = NAMES.get_or_init(|| sdrs::available_devices().into_iter().map(c_string).collect());
        found = names.get(index).map_or(ptr::null(), |name| name.as_ptr());
        Ok(())
    });
    found
}

fn name_of<E: Enumeration>(
    names: &'static OnceLock<HashMap<i32, CString>>,
    number: i32,
    name: impl Fn(E::Value) -> String,
) -> *const c_char {
    let mut found = ptr::null();
    guard(|| {
        let all = || {
            let entries = E::TABLE.iter();
            entries.map(|(c, v)| (c.number(), c_string(name(*v)))).collect()
        };
        found = names
            .get_or_init(all)
            .get(&number)
            .map_or(ptr::null(), |name| name.as_ptr());
        Ok(())
    });
    found
}

/// A name is never one with a zero byte.
pub(crate) fn c_string(name: impl Into<String>) -> CString {
    CString::new(name.into().replace('\0', "\u{fffd}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use sdrs::Sampler;

    use super::*;

    #[test]
    fn names_come_back() {
        for sampler in Sampler::ALL {
            let number = number::<sdrs_sampler>(*sampler).unwrap();
            let (mut back, mut schedule) = (-1, -1);
            // SAFETY: a valid name and two valid places.
            let status = unsafe {
                sdrs_sampler_from_name(sdrs_sampler_name(number), &raw mut back, &raw mut schedule)
            };
            assert_eq!((status, back, schedule), (sdrs_status::SDRS_OK, number, 0));
        }
        for schedule in Schedule::ALL {
            let number = number::<sdrs_schedule>(*schedule).unwrap();
            let mut back = -1;
            // SAFETY: a valid name and a valid place.
            let status = unsafe { sdrs_schedule_from_name(sdrs_schedule_name(number), &raw mut back) };
            assert_eq!((status, back), (sdrs_status::SDRS_OK, number));
        }
        assert!(sdrs_sampler_name(-1).is_null() && sdrs_schedule_name(99).is_null());
    }

    #[test]
    fn statuses_are_named_as_in_the_header() {
        use sdrs_status::*;
        let all = [
            SDRS_OK,
            SDRS_ERROR_INVALID_PARAMETER,
            SDRS_ERROR_UNKNOWN_NAME,
            SDRS_ERROR_IO,
            SDRS_ERROR_INVALID_FILE,
            SDRS_ERROR_INVALID_WEIGHTS,
            SDRS_ERROR_CANCELLED,
            SDRS_ERROR_NOT_FINITE,
            SDRS_ERROR_INTERNAL,
            SDRS_ERROR_OUT_OF_MEMORY,
        ];
        for status in all {
            // SAFETY: the names live for ever.
            let name = unsafe { CStr::from_ptr(sdrs_status_name(status as i32)) };
            assert_eq!(name.to_str().unwrap(), format!("{status:?}"));
        }
        assert!(sdrs_status_name(10).is_null());
    }
}
