//! Sizes of pictures, and places in them.

use crate::{Error, Result};

/// Pixels of a side that no picture has.
pub(super) const MAX_SIDE: u32 = 65_535;

/// Half a gigabyte of RGBA: a picture of 11,585 by 11,585.
pub(super) const MAX_PIXELS: u64 = 1 << 27;

/// The fault of a size, if it has one.
pub(super) fn fault(width: u32, height: u32) -> Option<(&'static str, String)> {
    for (name, side) in [("width", width), ("height", height)] {
        if side == 0 || side > MAX_SIDE {
            return Some((name, format!("{side}: a side has 1 to {MAX_SIDE} pixels")));
        }
    }
    let pixels = u64::from(width) * u64::from(height);
    (pixels > MAX_PIXELS).then(|| {
        let reason =
            format!("{width}x{height} is {pixels} pixels, more than {MAX_PIXELS}; make the picture smaller");
        ("width", reason)
    })
}

/// A size as indices, if a picture may have it.
pub(super) fn checked(width: u32, height: u32) -> Result<[usize; 2]> {
    match fault(width, height) {
        Some((name, reason)) => Err(Error::parameter(name, reason)),
        None => Ok([width as usize, height as usize]),
    }
}

/// Whether so many bytes are a picture of this size.
pub(super) fn check(width: u32, height: u32, bytes: usize, channels: usize) -> Result<()> {
    let [columns, rows] = checked(width, height)?;
    let expected = columns * rows * channels;
    match bytes == expected {
        true => Ok(()),
        false => Err(Error::parameter(
            "picture",
            format!(
                "{bytes} bytes, but {width}x{height} pixels of {channels} bytes are {expected}; give rows from the top, without padding"
            ),
        )),
    }
}

/// The bytes of a rectangle: left, top, width, height.
pub(super) fn crop<const C: usize>(
    pixels: &[u8],
    [columns, rows]: [u32; 2],
    [x, y, width, height]: [u32; 4],
) -> Result<Vec<u8>> {
    let inside = |from: u32, length: u32, side: u32| {
        length > 0 && from.checked_add(length).is_some_and(|end| end <= side)
    };
    if !inside(x, width, columns) || !inside(y, height, rows) {
        let reason =
            format!("{width}x{height} pixels at {x}, {y} are not within the picture's {columns}x{rows}");
        return Err(Error::parameter("crop", reason));
    }
    let [x, y, width, height] = [x, y, width, height].map(|n| n as usize);
    let lines = pixels.chunks_exact(C * columns as usize).skip(y).take(height);
    Ok(lines
        .flat_map(|row| &row[C * x..C * (x + width)])
        .copied()
        .collect())
}

/// A blur's radius, if it is in its range.
pub(super) fn radius(radius: f64) -> Result<f64> {
    match (0.0..=10_000.0).contains(&radius) {
        true => Ok(radius),
        false => Err(Error::parameter(
            "radius",
            format!("{radius}: a blur's radius is 0 to 10,000 pixels"),
        )),
    }
}
