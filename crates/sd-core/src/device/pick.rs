//! The choice among several GPUs.

/// The place of the best GPU, and its free memory where that decided. Of `ranks` the smallest is best, and `None` is never taken. `free` is
/// asked for the free memory at a place, and only where several have the best rank: opening a GPU takes time and memory.
pub(super) fn best(
    ranks: &[Option<u8>],
    free: impl Fn(usize) -> Option<u64>,
) -> Option<(usize, Option<u64>)> {
    let top = ranks.iter().flatten().min()?;
    let places: Vec<usize> = (0..ranks.len())
        .filter(|&place| ranks[place] == Some(*top))
        .collect();
    if let [only] = places[..] {
        return Some((only, None));
    }
    let known = places.iter().filter_map(|&place| Some((free(place)?, place)));
    // The first of those with most.
    let most = known.min_by_key(|&(free, place)| (std::cmp::Reverse(free), place));
    Some(most.map_or((places[0], None), |(free, place)| (place, Some(free))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_the_gpu_with_most_free_memory_of_the_best_kind() {
        let at = |free: &[Option<u64>]| {
            let free = free.to_vec();
            move |place: usize| free[place]
        };
        let unasked = |_: usize| -> Option<u64> { panic!("a single one isn't asked") };
        assert_eq!(best(&[], unasked), None);
        assert_eq!(best(&[None], unasked), None);
        assert_eq!(best(&[None, Some(2), Some(1)], unasked), Some((2, None)));
        let two = [Some(0), Some(0), Some(1)];
        assert_eq!(best(&two, at(&[Some(5), Some(8), Some(9)])), Some((1, Some(8))));
        assert_eq!(best(&two, at(&[Some(8), Some(8), None])), Some((0, Some(8))));
        assert_eq!(best(&two, at(&[None, Some(1), None])), Some((1, Some(1))));
        assert_eq!(best(&two, at(&[None, None, Some(9)])), Some((0, None)));
    }
}
