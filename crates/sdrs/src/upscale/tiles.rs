//! Squares of a picture that a network sees one at a time, and the seams between their results.

use std::ops::Range;

/// The squares along one side, each with the pixels that it sees. Neighbours share at least `overlap` pixels, and all have `tile` pixels, or
/// fewer if the side has. What they begin at is a multiple of `multiple`, as are `side` and `tile`.
pub(super) fn ranges(side: usize, tile: usize, overlap: usize, multiple: usize) -> Vec<Range<usize>> {
    if side <= tile {
        return std::iter::once(0..side).collect();
    }
    let count = (side - overlap).div_ceil(tile - overlap);
    let last = side - tile;
    (0..count)
        .map(|i| {
            // Evenly spread; rounding down makes no overlap smaller than that of a neighbour that is rounded too, by `multiple` at most.
            let start = match i + 1 == count {
                true => last,
                false => i * last / (count - 1) / multiple * multiple,
            };
            start..start + tile
        })
        .collect()
}

/// The share that a square's result has in each pixel of the enlarged picture: from 0 to 1 and back over the middle half of what it shares
/// with its neighbours, so that pixels near its own edge, which lack their surroundings, count for nothing. The shares of all add up to 1.
pub(super) fn shares(ranges: &[Range<usize>], index: usize, factor: usize) -> Vec<f32> {
    let own = &ranges[index];
    // 0 to 1 over the middle half of what `left` and `right` share.
    let risen = |left: &Range<usize>, right: &Range<usize>, place: f64| {
        let (start, end) = (right.start as f64, left.end as f64);
        let quarter = (end - start) / 4.0;
        (((place - start - quarter) / (2.0 * quarter)).clamp(0.0, 1.0)) as f32
    };
    let share = |pixel: usize| {
        let place = own.start as f64 + (pixel as f64 + 0.5) / factor as f64;
        let before = index.checked_sub(1).map(|i| risen(&ranges[i], own, place));
        let after = ranges.get(index + 1).map(|next| 1.0 - risen(own, next, place));
        before.unwrap_or(1.0).min(after.unwrap_or(1.0))
    };
    (0..own.len() * factor).map(share).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn squares_cover_a_side(side in 1usize..300, tile in 4usize..40, overlap in 0usize..16, multiple in 1usize..5, factor in 1usize..5) {
            let (side, tile) = (side * multiple, tile * multiple);
            // So little that seams of three neighbours don't meet.
            let overlap = (overlap + multiple).min(tile / 4);
            let ranges = ranges(side, tile, overlap, multiple);
            let mut sums = vec![0.0; side * factor];
            for (i, range) in ranges.iter().enumerate() {
                prop_assert!(range.start % multiple == 0 && range.end <= side && range.len() == tile.min(side));
                for (sum, share) in sums[range.start * factor..].iter_mut().zip(shares(&ranges, i, factor)) {
                    *sum += share;
                }
            }
            prop_assert!(sums.iter().all(|sum| (sum - 1.0f32).abs() < 1e-5), "{:?}", ranges);
        }
    }
}
