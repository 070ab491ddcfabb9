//! Files of pictures, brought to 8-bit sRGB with alpha.

use std::{io::Cursor, path::Path};

use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits,
    codecs::{png::PngDecoder, webp::WebPDecoder},
    metadata::Orientation,
};
use moxcms::{ColorProfile, DataColorSpace, Layout, TransformOptions};

use sd_core::FileKind;

use super::size;
use crate::Result;

/// Longer files hold no picture that may be read.
const MAX_FILE: u64 = 1 << 30;

/// More than any picture within the limits takes while it is read: 16 bits of four channels, and buffers.
const MAX_MEMORY: u64 = 3 << 30;

/// A picture that was read.
pub(super) struct Read {
    pub width: u32,
    pub height: u32,
    pub rgba: Vec<u8>,
    /// What was done to it.
    pub notes: Vec<String>,
}

/// A file's bytes.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>> {
    Ok(sd_core::input::read(path, "a picture", MAX_FILE)?)
}

/// Reads a file's bytes; the error is a sentence on what is wrong with them.
pub(super) fn read(bytes: &[u8]) -> std::result::Result<Read, String> {
    let Known { reader, format, name } = known(bytes)?;
    let unusable = |e: ImageError| fault(name, &e);
    let mut decoder = reader.into_decoder().map_err(unusable)?;
    let (width, height) = decoder.dimensions();
    if let Some((_, reason)) = size::fault(width, height) {
        return Err(reason);
    }
    if format == ImageFormat::Jpeg && !jpeg_is_whole(bytes) {
        return Err("the JPEG picture ends before its last row: it is cut short".into());
    }
    let mut notes = Vec::new();
    let stored = decoder.original_color_type();
    // Metadata that can't be read are no reason to refuse a picture that can.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let profile = decoder.icc_profile().unwrap_or(None);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(unusable)?;
    if matches!(
        stored,
        ExtendedColorType::L16
            | ExtendedColorType::La16
            | ExtendedColorType::Rgb16
            | ExtendedColorType::Rgba16
    ) {
        notes.push("16 bits a channel became 8".into());
    }
    if is_animated(format, bytes) {
        notes.push("it is an animation: its first frame was taken".into());
    }
    if orientation != Orientation::NoTransforms {
        notes.push("it was turned as its EXIF data say".into());
        picture.apply_orientation(orientation);
    }
    let (width, height) = (picture.width(), picture.height());
    let grey = !picture.color().has_color();
    let mut rgba = eight_bits(picture);
    if let Some(profile) = profile {
        notes.extend(to_srgb(&profile, &mut rgba, grey));
    }
    Ok(Read {
        width,
        height,
        rgba,
        notes,
    })
}

/// The EXIF data of a picture, which is not decoded; the error is a sentence on what is wrong with it.
pub(super) fn exif_of_picture(bytes: &[u8]) -> std::result::Result<Option<Vec<u8>>, String> {
    let Known { reader, name, .. } = known(bytes)?;
    let unusable = |e: ImageError| fault(name, &e);
    reader
        .into_decoder()
        .and_then(|mut decoder| decoder.exif_metadata())
        .map_err(unusable)
}

/// A picture of a known format, and its reader, which keeps the limits.
struct Known<'a> {
    reader: ImageReader<Cursor<&'a [u8]>>,
    format: ImageFormat,
    name: &'static str,
}

fn known(bytes: &[u8]) -> std::result::Result<Known<'_>, String> {
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|e| e.to_string())?;
    let found = reader.format().and_then(|format| Some((format, name(format)?)));
    let (format, name) = found.ok_or_else(|| unknown(bytes))?;
    let mut limits = Limits::no_limits();
    limits.max_image_width = Some(size::MAX_SIDE);
    limits.max_image_height = Some(size::MAX_SIDE);
    limits.max_alloc = Some(MAX_MEMORY);
    reader.limits(limits);
    Ok(Known { reader, format, name })
}

/// A file that is no picture of a known kind.
fn unknown(bytes: &[u8]) -> String {
    const READ: &str = "PNG, JPEG, WebP, BMP and GIF can be read";
    match FileKind::of(bytes) {
        Some(FileKind::Picture(kind)) => format!("{kind}, which can't be read here; {READ}"),
        Some(kind) => kind.instead_of("a picture", READ),
        None if bytes.is_empty() => format!("an empty file; {READ}"),
        None => format!("no picture of a known kind; {READ}"),
    }
}

/// The name of a format that can be read.
fn name(format: ImageFormat) -> Option<&'static str> {
    match format {
        ImageFormat::Png => Some("PNG"),
        ImageFormat::Jpeg => Some("JPEG"),
        ImageFormat::WebP => Some("WebP"),
        ImageFormat::Bmp => Some("BMP"),
        ImageFormat::Gif => Some("GIF"),
        _ => None,
    }
}

fn fault(name: &str, error: &ImageError) -> String {
    match error {
        ImageError::Limits(_) => format!(
            "a {name} picture that is too large: a side has {} pixels at most, and all of it {}",
            size::MAX_SIDE,
            size::MAX_PIXELS
        ),
        _ => format!("not a usable {name} picture, damaged or cut short: {error}"),
    }
}

/// 8 bits of each channel: of 16 the upper ones.
fn eight_bits(picture: DynamicImage) -> Vec<u8> {
    let upper = |v: &u16| (v >> 8) as u8;
    match picture {
        DynamicImage::ImageLuma16(image) => grey(image.iter().map(upper).map(|v| [v, 255])),
        DynamicImage::ImageLumaA16(image) => {
            grey(image.as_chunks::<2>().0.iter().map(|[v, a]| [upper(v), upper(a)]))
        }
        DynamicImage::ImageRgb16(image) => {
            let pixels = image.as_chunks::<3>().0.iter();
            pixels
                .flat_map(|[r, g, b]| [upper(r), upper(g), upper(b), 255])
                .collect()
        }
        DynamicImage::ImageRgba16(image) => image.iter().map(upper).collect(),
        other => other.into_rgba8().into_raw(),
    }
}

fn grey(pixels: impl Iterator<Item = [u8; 2]>) -> Vec<u8> {
    pixels.flat_map(|[v, a]| [v, v, v, a]).collect()
}

fn is_animated(format: ImageFormat, bytes: &[u8]) -> bool {
    let bytes = Cursor::new(bytes);
    match format {
        ImageFormat::Gif => gif_has_another_picture(bytes.get_ref()).unwrap_or(false),
        ImageFormat::Png => PngDecoder::new(bytes).is_ok_and(|d| d.is_apng().unwrap_or(false)),
        ImageFormat::WebP => WebPDecoder::new(bytes).is_ok_and(|d| d.has_animation()),
        _ => false,
    }
}

/// Whether a GIF has more than one picture, by its blocks: nothing is unpacked. Nothing, where it ends before that shows.
fn gif_has_another_picture(bytes: &[u8]) -> Option<bool> {
    const EXTENSION: u8 = 0x21;
    const PICTURE: u8 = 0x2c;
    let table = |flags: u8| match flags & 0x80 {
        0 => 0,
        _ => 3usize << ((flags & 7) + 1),
    };
    // The header, and a table of colours.
    let mut at = 13 + table(*bytes.get(10)?);
    let mut pictures = 0;
    loop {
        match *bytes.get(at)? {
            EXTENSION => at += 2,
            PICTURE if pictures == 1 => return Some(true),
            PICTURE => {
                pictures = 1;
                at += 11 + table(*bytes.get(at + 9)?);
            }
            _ => return Some(false),
        }
        while let length @ 1.. = *bytes.get(at)? {
            at += 1 + usize::from(length);
        }
        at += 1;
    }
}

/// Whether a JPEG's end is there. A decoder fills what is missing with grey, as browsers show it.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    let (mut at, mut in_scan) = (2, false);
    while let Some(&[mark, kind]) = bytes.get(at..at + 2) {
        match (mark, kind) {
            (0xff, 0xd9) => return true,
            // Fill bytes; in a scan, an escaped byte or a restart.
            (0xff, 0xff) => at += 1,
            (0xff, 0x00 | 0x01 | 0xd0..=0xd7) => at += 2,
            (0xff, _) => {
                let Some(&[high, low]) = bytes.get(at + 2..at + 4) else {
                    return false;
                };
                at += 2 + usize::from(u16::from_be_bytes([high, low])).max(2);
                in_scan = kind == 0xda;
            }
            _ if in_scan => at += 1,
            // What stands between segments is no part of them.
            _ => at += 1,
        }
    }
    false
}

/// Converts colours to sRGB in place, if they aren't as good as that; gives what there is to tell.
fn to_srgb(profile: &[u8], rgba: &mut [u8], grey: bool) -> Option<String> {
    let unused = |why: &str| Some(format!("its colour profile was not used: {why}"));
    let Ok(profile) = ColorProfile::new_from_slice(profile) else {
        return unused("it can't be read");
    };
    match profile.color_space {
        DataColorSpace::Rgb => {}
        // A grey profile's curve is near sRGB's.
        DataColorSpace::Gray if grey => return None,
        _ => return unused("it is none for RGB"),
    }
    let srgb = ColorProfile::new_srgb();
    let options = TransformOptions::default();
    let Ok(transform) = profile.create_transform_8bit(Layout::Rgba, &srgb, Layout::Rgba, options) else {
        return unused("its kind is unknown");
    };
    // Most profiles say sRGB, each in slightly other numbers: such pictures keep their bytes.
    let levels = (0..=15).map(|level| level * 17);
    let grid: Vec<u8> = levels
        .clone()
        .flat_map(|r| levels.clone().map(move |g| (r, g)))
        .flat_map(|(r, g)| (0..=15).flat_map(move |b| [r, g, b * 17, 255]))
        .collect();
    let mut converted = vec![0; grid.len()];
    if transform.transform(&grid, &mut converted).is_err() {
        return unused("it can't be applied");
    }
    const SAME: u8 = 3;
    if grid.iter().zip(&converted).all(|(a, b)| a.abs_diff(*b) <= SAME) {
        return None;
    }
    let source = rgba.to_vec();
    match transform.transform(&source, rgba) {
        Ok(()) => Some("its colours were converted from its profile to sRGB".into()),
        Err(_) => {
            rgba.copy_from_slice(&source);
            unused("it can't be applied")
        }
    }
}

#[cfg(test)]
mod tests {
    use goldens::Refs;

    use super::*;

    fn file(name: &str) -> Vec<u8> {
        Refs::open("pictures/files.safetensors").u8s(&format!("file.{name}"))
    }

    #[test]
    fn files_are_read_as_pillow_reads_them() {
        let refs = Refs::open("pictures/files.safetensors");
        let mut seen = 0;
        for name in refs.names() {
            let Some(name) = name.strip_prefix("file.") else {
                continue;
            };
            let got = read(&refs.u8s(&format!("file.{name}"))).unwrap_or_else(|e| panic!("{name}: {e}"));
            let (shape, expected) = (
                refs.shape(&format!("rgba.{name}")),
                refs.u8s(&format!("rgba.{name}")),
            );
            assert_eq!([got.height as usize, got.width as usize, 4], shape[..], "{name}");
            let differences = got.rgba.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b));
            let (largest, sum) = differences.fold((0, 0), |(m, s), d| (m.max(d), s + u32::from(d)));
            let mean = f64::from(sum) / expected.len() as f64;
            println!("{name}: {largest} at most, {mean:.3} on average; {:?}", got.notes);
            let (most, average) = match name {
                "jpeg.420" | "jpeg.progressive" | "webp.lossy" => (8, 1.0),
                "png.wide" => (2, 0.5),
                _ if name.starts_with("jpeg") => (3, 0.5),
                _ => (0, 0.0),
            };
            assert!(largest <= most && mean <= average, "{name}: {largest}, {mean}");
            let told = match name {
                "png.rgb16" | "png.rgba16" | "png.grey16" => Some("16 bits"),
                "png.wide" => Some("converted from its profile"),
                _ if name.contains("animated") => Some("first frame"),
                "jpeg.turned1" => None,
                _ if name.contains("turned") => Some("EXIF"),
                _ => None,
            };
            match told {
                Some(words) => assert!(got.notes.len() == 1 && got.notes[0].contains(words), "{name}"),
                None => assert!(got.notes.is_empty(), "{name}: {:?}", got.notes),
            }
            seen += 1;
        }
        assert_eq!(seen, 36);
    }

    #[test]
    fn pictures_that_are_cut_short_are_refused() {
        for name in [
            "png.rgb",
            "jpeg.420",
            "jpeg.progressive",
            "webp.lossless",
            "webp.lossy",
            "bmp.rgb",
            "gif.clear",
        ] {
            let bytes = file(name);
            for end in [0, 1, 9, 30, bytes.len() / 2, bytes.len() * 3 / 4] {
                let Err(message) = read(&bytes[..end]) else {
                    panic!("{name} is read from {end} of {} bytes", bytes.len());
                };
                assert!(!message.is_empty() && message.len() < 400, "{message}");
            }
        }
    }

    #[test]
    fn damaged_pictures_never_panic() {
        let refs = Refs::open("pictures/files.safetensors");
        for name in refs.names().iter().filter(|name| name.starts_with("file.")) {
            let bytes = refs.u8s(name);
            for at in (0..bytes.len()).step_by(7) {
                for value in [0, 0x80, 0xff] {
                    let mut damaged = bytes.clone();
                    damaged[at] = value;
                    let _ = read(&damaged);
                }
            }
        }
    }

    #[test]
    fn sizes_are_known_before_anything_is_allocated() {
        // A header that says 65,536 by 65,536, then 30,000 by 30,000.
        for side in [65_536u32, 30_000] {
            let mut png = file("png.rgb");
            png[16..20].copy_from_slice(&side.to_be_bytes());
            png[20..24].copy_from_slice(&side.to_be_bytes());
            let sum = crc32(&png[12..29]);
            png[29..33].copy_from_slice(&sum.to_be_bytes());
            let message = read(&png).err().unwrap();
            assert!(
                message.contains("65535") || message.contains("900000000"),
                "{message}"
            );
        }
        // The second picture of an animation.
        let mut gif = file("gif.animated");
        let picture = [0x2c, 0, 0, 0, 0];
        let at = gif.windows(5).rposition(|w| w == picture).unwrap();
        gif[at + 5..at + 9].fill(0xff);
        assert!(read(&gif).unwrap().notes[0].contains("first frame"));
        let mut jpeg = file("jpeg.420");
        let at = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
        jpeg[at + 5..at + 9].fill(0xff);
        assert!(
            read(&jpeg).err().unwrap().contains("more than"),
            "a JPEG's largest"
        );
        // Wide, but small.
        let wide = image::GrayImage::from_pixel(30_000, 1, image::Luma([9]));
        let mut bytes = Cursor::new(Vec::new());
        wide.write_to(&mut bytes, ImageFormat::Png).unwrap();
        assert_eq!(read(bytes.get_ref()).unwrap().width, 30_000);
    }

    fn crc32(bytes: &[u8]) -> u32 {
        let step = |crc: u32, byte: &u8| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                (crc >> 1) ^ (0xedb8_8320 & 0u32.wrapping_sub(crc & 1))
            })
        };
        !bytes.iter().fold(u32::MAX, step)
    }

    #[test]
    fn other_files_are_named() {
        let cases: [(&[u8], &str); 4] = [
            (b"", "an empty file; PNG, JPEG"),
            (
                b"II*\0\x08\0\0\0",
                "a TIFF picture, which can't be read here; PNG",
            ),
            (b"\0\0\0\x20ftypavif\0\0", "an AVIF picture, which"),
            (b"hello, world", "a text, not a picture; PNG, JPEG"),
        ];
        for (bytes, expected) in cases {
            let message = read(bytes).err().unwrap();
            assert!(message.starts_with(expected), "{message}");
        }
        let error = crate::Picture::open("none.png").unwrap_err();
        assert_eq!(error.code(), crate::ErrorCode::Io);
    }
}
