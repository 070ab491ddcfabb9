//! Finished pictures.

use std::{ffi::c_char, sync::OnceLock};

use sdrs::{Image, SaveOptions};

use crate::{
    error::{Failure, Result, guard, sdrs_status},
    pointer::{Out, free, object},
    sized::{SizedOut, grows, init},
};

/// The pictures of a run. Threads may share it.
pub struct sdrs_images {
    items: Vec<Item>,
}
crate::pointer::handle!(sdrs_images, 4);

struct Item {
    image: Image,
    /// With a zero byte at its end.
    infotext: String,
    png: OnceLock<Vec<u8>>,
}

impl sdrs_images {
    pub(crate) fn new(images: Vec<Image>) -> Self {
        let item = |image: Image| Item {
            infotext: format!("{}\0", image.infotext),
            image,
            png: OnceLock::new(),
        };
        Self {
            items: images.into_iter().map(item).collect(),
        }
    }

    fn item(&self, index: usize) -> Result<&Item> {
        self.items.get(index).ok_or_else(|| {
            let reason = format!(
                "{index} is none: there are {} pictures, counted from 0",
                self.items.len()
            );
            Failure::argument("index", reason)
        })
    }
}

/// One picture. What it points to is the library's, and valid as long as its `sdrs_images`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sdrs_image {
    /// Size of this structure, set by `sdrs_image_init`.
    pub struct_size: usize,
    /// Red, green, blue, a byte each, row by row from the top.
    pub rgb: *const u8,
    /// Bytes from one row to the next.
    pub stride: usize,
    /// Pixels of a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// The seed that gives this picture alone.
    pub seed: u64,
    /// The settings in the WebUI's text form, UTF-8, with a zero byte at its end.
    pub infotext: *const c_char,
    /// Bytes of `infotext`, without the zero byte.
    pub infotext_length: usize,
}
grows!(sdrs_image, until: infotext_length, init: "sdrs_image_init");

/// Prepares `image` for `sdrs_images_get`; `struct_size` is `sizeof(sdrs_image)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_image_init(image: *mut sdrs_image, struct_size: usize) -> sdrs_status {
    const EMPTY: sdrs_image = sdrs_image {
        struct_size: size_of::<sdrs_image>(),
        rgb: std::ptr::null(),
        stride: 0,
        width: 0,
        height: 0,
        seed: 0,
        infotext: std::ptr::null(),
        infotext_length: 0,
    };
    // SAFETY: the caller keeps the header's rules for pointers.
    guard(|| unsafe { init(image, struct_size, EMPTY, "image") })
}

/// The number of pictures; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_images_count(images: *const sdrs_images) -> usize {
    let mut count = 0;
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        count = unsafe { object(images, "images") }?.items.len();
        Ok(())
    });
    count
}

/// A picture, counted from 0 in the order of the seeds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_images_get(
    images: *const sdrs_images,
    index: usize,
    image: *mut sdrs_image,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (images, out) = unsafe { (object(images, "images")?, SizedOut::new(image, "image")?) };
        let Item { image, infotext, .. } = images.item(index)?;
        out.put(sdrs_image {
            struct_size: size_of::<sdrs_image>(),
            rgb: image.rgb.as_ptr(),
            stride: 3 * image.width as usize,
            width: image.width,
            height: image.height,
            seed: image.seed,
            infotext: infotext.as_ptr().cast(),
            infotext_length: infotext.len() - 1,
        });
        Ok(())
    })
}

/// A picture as a PNG file's bytes, with the infotext in its `parameters` chunk. They are the library's, and valid as long as `images`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_images_png(
    images: *const sdrs_images,
    index: usize,
    data: *mut *const u8,
    size: *mut usize,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (images, data) = unsafe { (object(images, "images")?, Out::new(data, "data")?) };
        // SAFETY: as above.
        let size = unsafe { Out::new(size, "size") }?;
        let item = images.item(index)?;
        let png = match item.png.get() {
            Some(png) => png,
            None => {
                let png = item.image.png()?;
                item.png.get_or_init(|| png)
            }
        };
        data.put(png.as_ptr());
        size.put(png.len());
        Ok(())
    })
}

/// Writes a picture to a PNG file, with the infotext in its `parameters` chunk. An existing file is replaced only by a whole new one,
/// with its permissions; what is no regular file is written into.
///
/// Fails with `SDRS_ERROR_IO`, or with `SDRS_ERROR_INVALID_PARAMETER` if the name ends as another format's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_images_save_png(
    images: *const sdrs_images,
    index: usize,
    path: *const c_char,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (images, path) = unsafe { (object(images, "images")?, crate::pointer::path(path, "path")?) };
        images.item(index)?.image.save_png(path)?;
        Ok(())
    })
}

/// Writes a picture to a PNG, JPEG or WebP file, by the ending of `path`, with the infotext in it; WebP is lossless. `quality` is that of a
/// JPEG, 1 to 100, or 0 for 80. An existing file is replaced only by a whole new one, with its permissions.
///
/// Fails with `SDRS_ERROR_IO`, or with `SDRS_ERROR_INVALID_PARAMETER` if the name ends as another format's or `quality` is out of its range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_images_save(
    images: *const sdrs_images,
    index: usize,
    path: *const c_char,
    quality: u32,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (images, path) = unsafe { (object(images, "images")?, crate::pointer::path(path, "path")?) };
        let image = &images.item(index)?.image;
        let options = match quality {
            0 => SaveOptions::default(),
            // More than any quality, to be refused as such.
            quality => SaveOptions::default().quality(u8::try_from(quality).unwrap_or(u8::MAX)),
        };
        image.save_with(path, &options)?;
        Ok(())
    })
}

/// Frees pictures with all that was had of them; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_images_free(images: *mut sdrs_images) {
    // SAFETY: the caller keeps the header's rules for pointers.
    unsafe { free(images) }
}
