//! Files of pictures that are damaged at random: pixels and an infotext, or an error each. `SDRS_DAMAGES` says how often each file is.

use std::io::Cursor;

use goldens::Refs;
use image::ImageReader;
use sdrs::{Picture, PictureFormat, SaveOptions, infotext};

/// Larger pictures are within the limits, and take seconds each.
const MOST_PIXELS: u64 = 1 << 20;

/// Numbers that are random enough (Marsaglia 2003, xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }
}

/// Files of all kinds, and some with an infotext.
fn files() -> Vec<(String, Vec<u8>)> {
    let refs = Refs::open("pictures/files.safetensors");
    let of_refs = |name: String| (name.clone(), refs.u8s(&name));
    let names = refs.names().into_iter().filter(|name| name.starts_with("file."));
    let mut files: Vec<_> = names.map(of_refs).collect();
    for name in ["comfy.webp", "fooocus.jpg"] {
        let path = goldens::root().join("infotexts").join(name);
        files.push((name.to_owned(), std::fs::read(path).unwrap()));
    }
    let picture = Picture::from_rgb(3, 2, &[90; 18]).unwrap();
    let text = "a ring, ä\nNegative prompt: b\nSteps: 3, Sampler: Euler, Seed: 1, Size: 8x8, Model: \"a, b\"";
    for format in PictureFormat::ALL {
        let bytes = picture
            .encode(format, &SaveOptions::default(), Some(text))
            .unwrap();
        files.push((format!("infotext.{}", format.name()), bytes));
    }
    files
}

/// Changes a file here and there, cuts it, or doubles a part of it.
fn damage(bytes: &mut Vec<u8>, numbers: &mut Numbers) {
    match numbers.below(8) {
        0 => bytes.truncate(numbers.below(bytes.len())),
        1 => {
            let from = numbers.below(bytes.len());
            let part = bytes[from..(from + numbers.below(64)).min(bytes.len())].to_vec();
            let at = numbers.below(bytes.len());
            bytes.splice(at..at, part);
        }
        _ => {
            for _ in 0..=numbers.below(4) {
                let at = numbers.below(bytes.len());
                bytes[at] = match numbers.below(3) {
                    0 => 0xff,
                    1 => bytes[at].wrapping_add(1),
                    _ => numbers.below(256) as u8,
                };
            }
        }
    }
}

/// A PNG's checksums set right, so that damage gets past them.
fn with_checksums(bytes: &mut [u8]) {
    let mut at = 8;
    while bytes.starts_with(b"\x89PNG") && at + 12 <= bytes.len() {
        let length = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let Some(end) = at.checked_add(8 + length).filter(|end| end + 4 <= bytes.len()) else {
            return;
        };
        let mut sum = flate2::Crc::new();
        sum.update(&bytes[at + 4..end]);
        bytes[end..end + 4].copy_from_slice(&sum.sum().to_be_bytes());
        at = end + 4;
    }
}

#[test]
fn damage_is_an_error_or_a_picture() {
    let times = std::env::var("SDRS_DAMAGES").map_or(40, |times| times.parse().unwrap());
    let (folder, mut numbers) = (tempfile::tempdir().unwrap(), Numbers(0x9e37_79b9_7f4a_7c15));
    let path = folder.path().join("picture");
    let (mut read, mut told, mut refused) = (0, 0, 0);
    for (name, whole) in files() {
        for time in 0..times {
            let mut bytes = whole.clone();
            damage(&mut bytes, &mut numbers);
            if time % 2 == 0 {
                with_checksums(&mut bytes);
            }
            let reader = ImageReader::new(Cursor::new(&bytes))
                .with_guessed_format()
                .unwrap();
            let (width, height) = reader.into_dimensions().unwrap_or((0, 0));
            if u64::from(width) * u64::from(height) > MOST_PIXELS {
                continue;
            }
            match Picture::decode(&bytes) {
                Ok(picture) => {
                    let pixels = u64::from(picture.width()) * u64::from(picture.height());
                    assert_eq!(picture.rgba().len() as u64, 4 * pixels, "{name}");
                    read += 1;
                }
                Err(_) => refused += 1,
            }
            std::fs::write(&path, &bytes).unwrap();
            if let Ok(text) = infotext::of_file(&path) {
                told += 1;
                let _ = infotext::parse(&text);
            }
        }
    }
    println!("{read} read, {refused} refused, {told} infotexts");
    assert!(read > 0 && refused > 0 && told > 0);
}
