//! Pictures as bytes: reading, joining and writing them.

use std::{
    fs::File,
    io::{BufReader, BufWriter},
    path::Path,
};

use crate::shell::Outcome;

/// A picture, 3 bytes a pixel.
pub(super) struct Rgb {
    pub width: usize,
    pub height: usize,
    pub bytes: Vec<u8>,
}

/// The way in which pictures stand beside each other.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    pub columns: usize,
    /// The number of times that a pixel is repeated.
    pub scale: usize,
    /// The white space between pictures, in pixels.
    pub gap: usize,
}

impl Grid {
    /// The pictures on white, row by row.
    pub fn join(self, pictures: &[Rgb]) -> Rgb {
        let Self { columns, scale, gap } = self;
        let side = |of: fn(&Rgb) -> usize| pictures.iter().map(of).max().unwrap_or(0) * scale + gap;
        let (cell_width, cell_height) = (side(|p| p.width), side(|p| p.height));
        let width = columns * cell_width + gap;
        let height = pictures.len().div_ceil(columns) * cell_height + gap;
        let mut bytes = vec![255; 3 * width * height];
        for (i, picture) in pictures.iter().enumerate() {
            let (left, top) = (gap + i % columns * cell_width, gap + i / columns * cell_height);
            for y in 0..picture.height * scale {
                for x in 0..picture.width * scale {
                    let from = 3 * (y / scale * picture.width + x / scale);
                    let to = 3 * ((top + y) * width + left + x);
                    bytes[to..to + 3].copy_from_slice(&picture.bytes[from..from + 3]);
                }
            }
        }
        Rgb { width, height, bytes }
    }
}

impl Rgb {
    /// Each colour in 5 bits: less than half the file, and hardly another picture.
    pub fn coarse(mut self) -> Self {
        for byte in &mut self.bytes {
            *byte = byte.saturating_add(4) & 0xf8;
            if *byte == 0xf8 {
                *byte = 255;
            }
        }
        self
    }

    pub fn read(path: &Path) -> Outcome<Self> {
        let fail = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let file = File::open(path).map_err(|e| fail(&e))?;
        let mut reader = png::Decoder::new(BufReader::new(file))
            .read_info()
            .map_err(|e| fail(&e))?;
        let size = reader.output_buffer_size().ok_or_else(|| fail(&"too large"))?;
        let mut bytes = vec![0; size];
        let info = reader.next_frame(&mut bytes).map_err(|e| fail(&e))?;
        if (info.color_type, info.bit_depth) != (png::ColorType::Rgb, png::BitDepth::Eight) {
            return Err(fail(&"not RGB of 8 bits"));
        }
        bytes.truncate(info.buffer_size());
        Ok(Self {
            width: info.width as usize,
            height: info.height as usize,
            bytes,
        })
    }

    pub fn write(&self, path: &Path) -> Outcome {
        let fail = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let file = File::create(path).map_err(|e| fail(&e))?;
        let mut encoder = png::Encoder::new(BufWriter::new(file), self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::High);
        let mut writer = encoder.write_header().map_err(|e| fail(&e))?;
        writer.write_image_data(&self.bytes).map_err(|e| fail(&e))?;
        writer.finish().map_err(|e| fail(&e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_stand_in_rows() {
        let picture = |value: u8| Rgb {
            width: 2,
            height: 1,
            bytes: vec![value; 6],
        };
        let grid = Grid {
            columns: 4,
            scale: 2,
            gap: 8,
        };
        let sheet = grid.join(&(0..5).map(picture).collect::<Vec<_>>());
        assert_eq!((sheet.width, sheet.height), (4 * 12 + 8, 2 * 10 + 8));
        let at = |x: usize, y: usize| sheet.bytes[3 * (y * sheet.width + x)];
        assert_eq!(
            [at(0, 0), at(8, 8), at(12, 8), at(20, 9), at(8, 18)],
            [255, 0, 255, 1, 4]
        );
    }

    #[test]
    fn coarse_colours_are_near() {
        let all = Rgb {
            width: 256,
            height: 1,
            bytes: (0..=255).flat_map(|value| [value; 3]).collect(),
        };
        let coarse = all.coarse();
        for value in 0..=255u8 {
            assert!(
                coarse.bytes[3 * usize::from(value)].abs_diff(value) <= 7,
                "{value}"
            );
        }
        let mut kinds = coarse.bytes;
        kinds.dedup();
        assert_eq!((kinds.len(), kinds[0], kinds[kinds.len() - 1]), (32, 0, 255));
    }
}
