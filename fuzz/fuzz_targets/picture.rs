//! Files of pictures: pixels as many as their sides say, and an infotext with its settings, or an error each.

#![no_main]

use std::{io::Cursor, path::PathBuf, sync::LazyLock};

use image::ImageReader;
use libfuzzer_sys::fuzz_target;
use sdrs::{Picture, infotext};

/// Larger pictures are within the limits, and take seconds each.
const MOST_PIXELS: u64 = 1 << 20;

/// Infotexts are read from files alone.
static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("sdrs-fuzz-{}", std::process::id())));

fuzz_target!(|bytes: &[u8]| {
    let size = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map(ImageReader::into_dimensions);
    if let Ok(Ok((width, height))) = size
        && u64::from(width) * u64::from(height) > MOST_PIXELS
    {
        return;
    }
    if let Ok(picture) = Picture::decode(bytes) {
        let pixels = u64::from(picture.width()) * u64::from(picture.height());
        assert_eq!(picture.rgba().len() as u64, 4 * pixels);
    }
    std::fs::write(&*FILE, bytes).expect("a folder for temporary files");
    if let Ok(text) = infotext::of_file(&*FILE) {
        let _ = infotext::parse(&text);
    }
});
