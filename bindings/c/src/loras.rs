//! LoRAs with all that may be said of them.

use std::{ffi::c_char, ptr};

use sdrs::Lora;

use crate::{
    builder::{blocks, sdrs_builder},
    error::{Result, guard, sdrs_status},
    pipeline::sdrs_pipeline,
    pointer::{Out, object, object_mut, path, slice, string},
    sized::{get, grows, init},
};

/// A LoRA or an adapter of another kind: a file with its weights. `sdrs_lora_init` sets the defaults, which are those of
/// `sdrs_builder_lora`; only `path` must be set.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sdrs_lora {
    /// Size of this structure, set by `sdrs_lora_init`.
    pub struct_size: usize,
    /// Its file, or a folder that PEFT saved; with `data` a name that stands for it in errors.
    pub path: *const c_char,
    /// Such a file's bytes instead of a path, copied; NULL (the default) reads the file.
    pub data: *const u8,
    /// Bytes of `data`.
    pub data_size: usize,
    /// The name in prompts and infotexts; NULL (the default) is its file's name without extension.
    pub name: *const c_char,
    /// The weight on the U-Net: 1 (the default) is as trained, 0 is no effect, negative the opposite; -1000 to 1000.
    pub weight: f64,
    /// The weight on the text encoder; NAN (the default) is as on the U-Net.
    pub text_encoder_weight: f64,
    /// Factors for blocks, with which both weights are multiplied, as `sdrs_builder_lora_blocks` takes them; NULL (the default) for none.
    pub blocks: *const c_char,
    /// Factors for a run's steps, with which the weight on the U-Net is multiplied: "0.5-1" acts in the second half of the steps, "5-10" in
    /// steps 5 to 9, counted from 0; "0@0,1@0.5" rises evenly from 0 at the first step to 1 in the middle; "hold 1@0,0.4@0.3" has each factor
    /// until the next one's moment. Moments are fractions of the steps if none is over 1. NULL (the default) is 1 at all steps. Where
    /// factors change within a run, its time has that of `sdrs_pipeline_with_loras` besides.
    pub schedule: *const c_char,
    /// Of its ranks only the first so many (`dyn=` in the WebUI); 0 (the default) is all.
    pub ranks: u32,
    /// Whether modules without a place in the model are passed over, and reported in the log: 1, or 0 (the default): they are an error.
    pub allow_unmatched: i32,
}
grows!(sdrs_lora, until: allow_unmatched, init: "sdrs_lora_init");

const DEFAULT: sdrs_lora = sdrs_lora {
    struct_size: size_of::<sdrs_lora>(),
    path: ptr::null(),
    data: ptr::null(),
    data_size: 0,
    name: ptr::null(),
    weight: 1.0,
    text_encoder_weight: f64::NAN,
    blocks: ptr::null(),
    schedule: ptr::null(),
    ranks: 0,
    allow_unmatched: 0,
};

/// Sets the defaults; `struct_size` is `sizeof(sdrs_lora)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_lora_init(lora: *mut sdrs_lora, struct_size: usize) -> sdrs_status {
    // SAFETY: the caller keeps the header's rules for pointers.
    guard(|| unsafe { init(lora, struct_size, DEFAULT, "lora") })
}

/// A caller's LoRA. Ranges are checked when it is applied.
///
/// # Safety
/// As the header says of pointers.
unsafe fn lora(pointer: *const sdrs_lora) -> Result<Lora> {
    // SAFETY: as promised by the caller.
    let c = unsafe { get(pointer, DEFAULT, "lora") }?;
    let word = |pointer: *const c_char, name| -> Result<Option<&str>> {
        // SAFETY: as above.
        let given = (!pointer.is_null()).then(|| unsafe { string(pointer, name) });
        given.transpose()
    };
    let mut lora = if c.data.is_null() {
        // SAFETY: as above.
        Lora::file(unsafe { path(c.path, "path") }?)
    } else {
        // SAFETY: as above.
        let (name, data) = unsafe { (string(c.path, "path")?, slice(c.data, c.data_size, "data")?) };
        Lora::bytes(name, data)
    };
    let text_encoder = if c.text_encoder_weight.is_nan() {
        c.weight
    } else {
        c.text_encoder_weight
    };
    lora = lora
        .unet(c.weight)
        .text_encoder(text_encoder)
        .allow_unmatched(c.allow_unmatched != 0);
    if let Some(name) = word(c.name, "name")? {
        lora = lora.named(name);
    }
    if let Some(text) = word(c.blocks, "blocks")? {
        lora = lora.blocks(blocks(text)?);
    }
    if let Some(text) = word(c.schedule, "schedule")? {
        lora = lora.schedule(text.parse()?);
    }
    Ok(match c.ranks {
        0 => lora,
        ranks => lora.ranks(ranks as usize),
    })
}

/// Adds a LoRA or another adapter with all that may be said of it.
///
/// Fails with `SDRS_ERROR_INVALID_PARAMETER` for blocks or a schedule that can't be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_add_lora(
    builder: *mut sdrs_builder,
    lora: *const sdrs_lora,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (builder, lora) = unsafe { (object_mut(builder, "builder")?, self::lora(lora)?) };
        builder.loras.push(lora);
        Ok(())
    })
}

/// A folder whose LoRAs prompts may name, `<lora:name:weight>`, subfolders included: by file name without extension, or by the name in a
/// file's metadata. They act in the runs whose prompt names them. May be given several times. Folders are looked at again for each run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_lora_dir(
    builder: *mut sdrs_builder,
    folder: *const c_char,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (builder, folder) = unsafe { (object_mut(builder, "builder")?, path(folder, "folder")?) };
        builder.lora_folders.push(folder);
        Ok(())
    })
}

/// Makes the pipeline that `sdrs_pipeline_with_loras` makes, of LoRAs with all their settings: `loras` has `count` pointers to structures,
/// and may be NULL if `count` is 0.
///
/// Fails as `sdrs_builder_add_lora` and `sdrs_builder_build` do for LoRAs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_pipeline_with_lora_list(
    pipeline: *const sdrs_pipeline,
    loras: *const *const sdrs_lora,
    count: usize,
    other: *mut *mut sdrs_pipeline,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (pipeline, out) = unsafe { (object(pipeline, "pipeline")?, Out::new(other, "other")?) };
        // SAFETY: as above.
        let loras = unsafe { listed(loras, count) }?;
        out.give(sdrs_pipeline::new(pipeline.inner.with_loras(loras)?));
        Ok(())
    })
}

/// The LoRAs of a caller's list.
///
/// # Safety
/// As the header says of pointers.
pub(crate) unsafe fn listed(loras: *const *const sdrs_lora, count: usize) -> Result<Vec<Lora>> {
    // SAFETY: as promised by the caller.
    let given = unsafe { slice(loras, count, "loras") }?;
    // SAFETY: as above.
    given.iter().map(|&lora| unsafe { self::lora(lora) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every field arrives: a value for each that differs from the default.
    #[test]
    fn every_field_arrives() {
        let mut c = DEFAULT;
        c.path = c"a/b.pt".as_ptr();
        // SAFETY: whole structures with valid texts, here and below.
        let read = |c: &sdrs_lora| unsafe { lora(ptr::from_ref(c)) };
        assert_eq!(read(&c).unwrap(), Lora::file("a/b.pt"));
        (c.name, c.weight, c.ranks, c.allow_unmatched) = (c"x".as_ptr(), 0.5, 3, 1);
        let expected = Lora::file("a/b.pt")
            .named("x")
            .weight(0.5)
            .ranks(3)
            .allow_unmatched(true);
        assert_eq!(read(&c).unwrap(), expected);
        (c.text_encoder_weight, c.blocks, c.schedule) = (0.25, c"MIDD".as_ptr(), c"5-10".as_ptr());
        let expected = expected
            .text_encoder(0.25)
            .blocks(sdrs::BlockWeights::parse("MIDD").unwrap());
        assert_eq!(read(&c).unwrap(), expected.schedule("5-10".parse().unwrap()));
        let mut c = DEFAULT;
        (c.path, c.data, c.data_size) = (c"held".as_ptr(), [1, 2].as_ptr(), 2);
        assert_eq!(
            format!("{:?}", read(&c).unwrap()),
            format!("{:?}", Lora::bytes("held", [1, 2]))
        );
        let refused = |change: &dyn Fn(&mut sdrs_lora)| {
            let mut c = DEFAULT;
            c.path = c"x".as_ptr();
            change(&mut c);
            read(&c).unwrap_err().to_string()
        };
        assert!(refused(&|c| c.path = ptr::null()).contains("path: is NULL"));
        assert!(refused(&|c| c.blocks = c"1,2".as_ptr()).contains("not 2"));
        assert!(refused(&|c| c.schedule = c"now".as_ptr()).contains("'now' is no FACTOR@MOMENT"));
        assert!(refused(&|c| c.struct_size = 8).contains("call sdrs_lora_init first"));
    }
}
