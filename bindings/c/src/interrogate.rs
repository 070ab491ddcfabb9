//! From pictures to words: captions, prompts, and CLIP's vectors.

use std::{
    ffi::{c_char, c_void},
    ptr,
};

use sdrs::{
    AestheticPredictor, CancelToken, CaptionParams, InterrogateMode, InterrogateProgress, InterrogateStage,
    Interrogator, InterrogatorBuilder, Phrases, Picture,
};

use crate::{
    enums::{enumeration, sdrs_dtype, sdrs_dtype_value, value},
    error::{Failure, Result, guard, sdrs_status},
    inspect::json_text,
    pointer::{Out, fill, free, object, optional, slice, slice_mut, string},
    run::sdrs_cancel_token,
    sized::{get, grows, init},
};

/// Says what is in pictures. Threads may share it.
pub struct sdrs_interrogator {
    inner: Interrogator,
}
crate::pointer::handle!(sdrs_interrogator, 20);

/// The models and phrases of an interrogator. `sdrs_interrogator_options_init` sets the defaults; `clip`, `blip` or both must be set.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sdrs_interrogator_options {
    /// Size of this structure, set by `sdrs_interrogator_options_init`.
    pub struct_size: usize,
    /// CLIP: a folder of transformers' (`CLIPModel`) or open_clip's, OpenAI's `.pt`, or an open_clip checkpoint of a ViT; NULL for none.
    pub clip: *const c_char,
    /// The activation of a CLIP whose files don't say it, "quick_gelu" or "gelu"; NULL (the default) for what its kind usually has.
    pub clip_activation: *const c_char,
    /// Another tokenizer for CLIP; NULL (the default) for its folder's, or OpenAI's.
    pub clip_tokenizer: *const c_char,
    /// BLIP: a folder of transformers' (`BlipForConditionalGeneration`), or the authors' `.pth` of a captioner; NULL for none.
    pub blip: *const c_char,
    /// BERT's vocabulary for BLIP; NULL (the default) looks for `vocab.txt` and `tokenizer.json` beside it.
    pub vocabulary: *const c_char,
    /// A folder of phrases, a list in each `.txt`, one phrase a line; NULL (the default) for the library's own.
    pub phrases: *const c_char,
    /// A folder that keeps the phrases' vectors; NULL (the default) for none.
    pub cache: *const c_char,
    /// The device, as `sdrs_builder_device` takes it; NULL (the default) for "auto".
    pub device: *const c_char,
    /// The compute type; `SDRS_DTYPE_AUTO` (the default) is f32 on the CPU and f16 on a GPU.
    pub dtype: sdrs_dtype_value,
    /// Threads, as `sdrs_builder_threads` takes them; 0 (the default) for those of the process.
    pub threads: u32,
    /// 1 for the demo's models and phrases, which are compiled in and know coloured shapes alone: `clip` and `blip` are then NULL. 0 is the
    /// default.
    pub demo: i32,
}
grows!(sdrs_interrogator_options, until: threads, init: "sdrs_interrogator_options_init");

const OPTIONS: sdrs_interrogator_options = sdrs_interrogator_options {
    struct_size: size_of::<sdrs_interrogator_options>(),
    clip: ptr::null(),
    clip_activation: ptr::null(),
    clip_tokenizer: ptr::null(),
    blip: ptr::null(),
    vocabulary: ptr::null(),
    phrases: ptr::null(),
    cache: ptr::null(),
    device: ptr::null(),
    dtype: sdrs_dtype::SDRS_DTYPE_AUTO as i32,
    threads: 0,
    demo: 0,
};

/// Sets the defaults; `struct_size` is `sizeof(sdrs_interrogator_options)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_interrogator_options_init(
    options: *mut sdrs_interrogator_options,
    struct_size: usize,
) -> sdrs_status {
    // SAFETY: the caller keeps the header's rules for pointers.
    guard(|| unsafe { init(options, struct_size, OPTIONS, "options") })
}

/// Opens, checks and loads the models. The options are copied.
///
/// Fails with `SDRS_ERROR_INVALID_PARAMETER`, `SDRS_ERROR_UNKNOWN_NAME`, `SDRS_ERROR_IO`, `SDRS_ERROR_INVALID_FILE`,
/// `SDRS_ERROR_INVALID_WEIGHTS`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_interrogator_new(
    options: *const sdrs_interrogator_options,
    interrogator: *mut *mut sdrs_interrogator,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (c, out) = unsafe {
            (
                get(options, OPTIONS, "options")?,
                Out::new(interrogator, "interrogator")?,
            )
        };
        // SAFETY: as above.
        let word = |pointer, name| unsafe { optional(pointer, name) };
        let mut builder = Interrogator::builder();
        if c.demo != 0 {
            if !c.clip.is_null() || !c.blip.is_null() {
                let reason = "the demo has models of its own; leave clip and blip at NULL";
                return Err(Failure::argument("demo", reason));
            }
            builder = demo(builder)?;
        }
        if let Some(path) = word(c.clip, "clip")? {
            builder = builder.clip(path);
        }
        if let Some(name) = word(c.clip_activation, "clip_activation")? {
            builder = builder.clip_activation(name);
        }
        if let Some(path) = word(c.clip_tokenizer, "clip_tokenizer")? {
            builder = builder.clip_tokenizer(path);
        }
        if let Some(path) = word(c.blip, "blip")? {
            builder = builder.blip(path);
        }
        if let Some(path) = word(c.vocabulary, "vocabulary")? {
            builder = builder.vocabulary(path);
        }
        if let Some(folder) = word(c.phrases, "phrases")? {
            builder = builder.phrases(Phrases::open(folder)?);
        }
        if let Some(folder) = word(c.cache, "cache")? {
            builder = builder.cache(folder);
        }
        if let Some(name) = word(c.device, "device")? {
            builder = builder.device(name);
        }
        if let Some(dtype) = value::<sdrs_dtype>(c.dtype)? {
            builder = builder.dtype(dtype);
        }
        if c.threads != 0 {
            builder = builder.threads(c.threads as usize);
        }
        out.give(sdrs_interrogator {
            inner: builder.build()?,
        });
        Ok(())
    })
}

#[cfg(feature = "demo")]
fn demo(builder: InterrogatorBuilder) -> Result<InterrogatorBuilder> {
    Ok(builder.demo())
}

#[cfg(not(feature = "demo"))]
fn demo(_: InterrogatorBuilder) -> Result<InterrogatorBuilder> {
    Err(crate::builder::no_demo("demo"))
}

/// Frees an interrogator; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_interrogator_free(interrogator: *mut sdrs_interrogator) {
    // SAFETY: the caller keeps the header's rules for pointers.
    unsafe { free(interrogator) }
}

/// The way from a picture to a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum sdrs_interrogate_mode {
    /// "best": phrases are chained to the caption; the best of all modes' texts by CLIP.
    SDRS_INTERROGATE_MODE_BEST = 0,
    /// "caption": BLIP's caption alone.
    SDRS_INTERROGATE_MODE_CAPTION = 1,
    /// "classic": the caption, then the medium, artist, site, movement and flavors that fit best.
    SDRS_INTERROGATE_MODE_CLASSIC = 2,
    /// "fast": the caption, then the phrases of all lists that fit best.
    SDRS_INTERROGATE_MODE_FAST = 3,
    /// "negative": a negative prompt of what fits least.
    SDRS_INTERROGATE_MODE_NEGATIVE = 4,
    /// "webui": the WebUI's: the caption, then the best phrases of each list.
    SDRS_INTERROGATE_MODE_WEBUI = 5,
}

/// `sdrs_interrogate_mode` as callers give it: any number.
pub type sdrs_interrogate_mode_value = i32;

/// A stage of an interrogation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum sdrs_interrogate_stage {
    /// Words of the caption.
    SDRS_INTERROGATE_STAGE_CAPTION = 0,
    /// Vectors of phrases, which are made once.
    SDRS_INTERROGATE_STAGE_PHRASES = 1,
    /// Phrases that are chained to a prompt.
    SDRS_INTERROGATE_STAGE_CHAIN = 2,
}

/// `sdrs_interrogate_stage` as callers get it.
pub type sdrs_interrogate_stage_value = i32;

#[rustfmt::skip]
const MODES: &[(sdrs_interrogate_mode, InterrogateMode)] = &[
    (sdrs_interrogate_mode::SDRS_INTERROGATE_MODE_BEST, InterrogateMode::Best),
    (sdrs_interrogate_mode::SDRS_INTERROGATE_MODE_CAPTION, InterrogateMode::Caption),
    (sdrs_interrogate_mode::SDRS_INTERROGATE_MODE_CLASSIC, InterrogateMode::Classic),
    (sdrs_interrogate_mode::SDRS_INTERROGATE_MODE_FAST, InterrogateMode::Fast),
    (sdrs_interrogate_mode::SDRS_INTERROGATE_MODE_NEGATIVE, InterrogateMode::Negative),
    (sdrs_interrogate_mode::SDRS_INTERROGATE_MODE_WEBUI, InterrogateMode::WebUi),
];

enumeration! {
    sdrs_interrogate_mode, InterrogateMode, "mode", MODES;
}

fn stage(stage: InterrogateStage) -> sdrs_interrogate_stage_value {
    match stage {
        InterrogateStage::Caption => sdrs_interrogate_stage::SDRS_INTERROGATE_STAGE_CAPTION as i32,
        InterrogateStage::Chain => sdrs_interrogate_stage::SDRS_INTERROGATE_STAGE_CHAIN as i32,
        _ => sdrs_interrogate_stage::SDRS_INTERROGATE_STAGE_PHRASES as i32,
    }
}

/// Settings of an interrogation. `sdrs_interrogate_params_init` sets the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sdrs_interrogate_params {
    /// Size of this structure, set by `sdrs_interrogate_params_init`.
    pub struct_size: usize,
    /// The way.
    pub mode: sdrs_interrogate_mode_value,
    /// Phrases that a chain has at least, 0 to 1000; `SDRS_NOT_SET` (the default) is 8.
    pub min_flavors: u32,
    /// Phrases that are added at most, 0 to 1000; `SDRS_NOT_SET` (the default) is 3 in the classic mode, 32 in others.
    pub max_flavors: u32,
    /// Phrases of each list that the WebUI's mode knows, from the first on; 0 for all; 1500 by default.
    pub limit: u32,
    /// Whether the WebUI's mode writes each phrase with its probability: 1, or 0 (the default).
    pub ranks: i32,
    /// Whether known faults of the original programs are kept, for their texts: 1, or 0 (the default).
    pub original: i32,
    /// A caption to begin with, in place of BLIP's; NULL (the default) for BLIP's.
    pub caption: *const c_char,
    /// The words that a caption begins with, which are not part of it; NULL (the default) for the mode's.
    pub caption_prompt: *const c_char,
    /// Tokens that a caption has at least, those before it included; 0 (the default) for the mode's number.
    pub min_length: u32,
    /// Tokens that a caption has at most, counted alike; 0 (the default) for the mode's number.
    pub max_length: u32,
    /// Texts that are followed at a time on the way to a caption, 1 to 64; 0 (the default) is 1.
    pub beams: u32,
}
grows!(sdrs_interrogate_params, until: beams, init: "sdrs_interrogate_params_init");

const PARAMS: sdrs_interrogate_params = sdrs_interrogate_params {
    struct_size: size_of::<sdrs_interrogate_params>(),
    mode: sdrs_interrogate_mode::SDRS_INTERROGATE_MODE_BEST as i32,
    min_flavors: crate::SDRS_NOT_SET,
    max_flavors: crate::SDRS_NOT_SET,
    limit: 1500,
    ranks: 0,
    original: 0,
    caption: ptr::null(),
    caption_prompt: ptr::null(),
    min_length: 0,
    max_length: 0,
    beams: 0,
};

/// Sets the defaults; `struct_size` is `sizeof(sdrs_interrogate_params)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_interrogate_params_init(
    params: *mut sdrs_interrogate_params,
    struct_size: usize,
) -> sdrs_status {
    // SAFETY: the caller keeps the header's rules for pointers.
    guard(|| unsafe { init(params, struct_size, PARAMS, "params") })
}

/// Called now and then during an interrogation, in the calling thread: what is being done, how much of it, of how much. 0 goes on; anything
/// else cancels. The callback must return: no exception and no `longjmp` may leave it.
pub type sdrs_interrogate_fn = Option<
    unsafe extern "C" fn(
        stage: sdrs_interrogate_stage_value,
        done: usize,
        count: usize,
        user_data: *mut c_void,
    ) -> i32,
>;

/// A caller's picture.
///
/// # Safety
/// `pixels` is NULL or to as many bytes as the numbers say.
unsafe fn picture(pixels: *const u8, width: u32, height: u32, channels: u32) -> Result<Picture> {
    Picture::check_size(width, height)?;
    let length = width as usize * height as usize * channels as usize;
    match channels {
        // SAFETY: as promised by the caller.
        3 => Ok(Picture::from_rgb(width, height, unsafe {
            slice(pixels, length, "pixels")
        }?)?),
        4 => {
            // SAFETY: as above.
            let pixels = unsafe { slice(pixels, length, "pixels") }?;
            Ok(Picture::from_rgba(width, height, pixels.to_vec())?)
        }
        _ => Err(Failure::argument(
            "channels",
            format!("{channels}: 3 or 4 are known"),
        )),
    }
}

/// Finds a text for a picture, whose `pixels` are as `sdrs_upscale` takes them. `params`, `cancel`, `on_progress` and `user_data` may be NULL.
/// `json` gets an object that the caller frees with `sdrs_string_free`: "text", "caption" (null in the negative mode), and "ranks", a list
/// of phrases, each with "category", "phrase" and "score".
///
/// Fails with `SDRS_ERROR_INVALID_PARAMETER` before any work, also if the mode needs a model that isn't there; `SDRS_ERROR_CANCELLED`,
/// `SDRS_ERROR_NOT_FINITE`, `SDRS_ERROR_IO` if vectors can't be kept.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_interrogate(
    interrogator: *const sdrs_interrogator,
    pixels: *const u8,
    width: u32,
    height: u32,
    channels: u32,
    params: *const sdrs_interrogate_params,
    cancel: *const sdrs_cancel_token,
    on_progress: sdrs_interrogate_fn,
    user_data: *mut c_void,
    json: *mut *mut c_char,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (interrogator, picture, out) = unsafe {
            (
                object(interrogator, "interrogator")?,
                picture(pixels, width, height, channels)?,
                Out::new(json, "json")?,
            )
        };
        let c = match params.is_null() {
            true => PARAMS,
            // SAFETY: as above.
            false => unsafe { get(params, PARAMS, "params") }?,
        };
        let token = match cancel.is_null() {
            true => CancelToken::new(),
            // SAFETY: as above.
            false => unsafe { object(cancel, "cancel") }?.token(),
        };
        // SAFETY: as above.
        let word = |pointer, name| unsafe { optional(pointer, name) };
        let count = |number: u32| (number != 0).then_some(number as usize);
        let mut captions = CaptionParams::default();
        captions.prompt = word(c.caption_prompt, "caption_prompt")?.map(str::to_owned);
        captions.min_length = count(c.min_length);
        captions.max_length = count(c.max_length);
        captions.beams = count(c.beams);
        let mut request = interrogator
            .inner
            .interrogate(&picture)
            .mode(value::<sdrs_interrogate_mode>(c.mode)?)
            .caption_params(captions)
            .limit(c.limit as usize)
            .ranks(c.ranks != 0)
            .original(c.original != 0)
            .cancel_token(&token);
        if let Some(caption) = word(c.caption, "caption")? {
            request = request.caption(caption);
        }
        if c.min_flavors != crate::SDRS_NOT_SET {
            request = request.min_flavors(c.min_flavors as usize);
        }
        if c.max_flavors != crate::SDRS_NOT_SET {
            request = request.max_flavors(c.max_flavors as usize);
        }
        let told = |progress: InterrogateProgress| {
            let Some(callback) = on_progress else {
                return;
            };
            let InterrogateProgress { done, total, .. } = progress;
            // SAFETY: the caller gave this function for this purpose, with this user data.
            if unsafe { callback(stage(progress.stage), done, total, user_data) } != 0 {
                token.cancel();
            }
        };
        let found = request.on_progress(told).run()?;
        out.put(json_text(serde_json::to_string(&found))?);
        Ok(())
    })
}

/// A picture's vector by CLIP, of length 1: the product of two pictures' vectors, or of a picture's and a text's, is their cosine. Writes at
/// most `capacity` values to `vector`, and to `count` how many there are; `vector` may be NULL if `capacity` is 0. `pixels` are as
/// `sdrs_upscale` takes them.
///
/// Fails with `SDRS_ERROR_INVALID_PARAMETER` if there is no CLIP, `SDRS_ERROR_NOT_FINITE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_embed_picture(
    interrogator: *const sdrs_interrogator,
    pixels: *const u8,
    width: u32,
    height: u32,
    channels: u32,
    vector: *mut f32,
    capacity: usize,
    count: *mut usize,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (interrogator, picture) = unsafe {
            (
                object(interrogator, "interrogator")?,
                picture(pixels, width, height, channels)?,
            )
        };
        // SAFETY: as above.
        let (vector, count) = unsafe { (slice_mut(vector, capacity, "vector")?, Out::new(count, "count")?) };
        fill(&interrogator.inner.embed_image(&picture)?, vector, count);
        Ok(())
    })
}

/// The same of a text, which is cut at CLIP's 77 tokens. `length` is the text's in bytes, or `SDRS_NUL_TERMINATED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_embed_text(
    interrogator: *const sdrs_interrogator,
    text: *const c_char,
    length: usize,
    vector: *mut f32,
    capacity: usize,
    count: *mut usize,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (interrogator, text) = unsafe {
            (
                object(interrogator, "interrogator")?,
                crate::pointer::text(text, length, "text")?,
            )
        };
        // SAFETY: as above.
        let (vector, count) = unsafe { (slice_mut(vector, capacity, "vector")?, Out::new(count, "count")?) };
        fill(&interrogator.inner.embed_text(text)?, vector, count);
        Ok(())
    })
}

/// How much people like a picture, 1 to 10 about, by its vector of `count` values: `path` is the file of LAION's linear head or of the
/// improved aesthetic predictor, both for CLIP ViT-L/14, as `.pth` or `.safetensors`.
///
/// Fails with `SDRS_ERROR_IO`, `SDRS_ERROR_INVALID_FILE`, `SDRS_ERROR_INVALID_PARAMETER` if it is for vectors of another width.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_rate_vector(
    path: *const c_char,
    vector: *const f32,
    count: usize,
    rating: *mut f32,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (path, vector, out) = unsafe {
            (
                string(path, "path")?,
                slice(vector, count, "vector")?,
                Out::new(rating, "rating")?,
            )
        };
        out.put(AestheticPredictor::open(path)?.rate(vector)?);
        Ok(())
    })
}
