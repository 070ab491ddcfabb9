//! A pool of memory: idle regions, and an account of the bytes in use.

use std::collections::{BTreeMap, VecDeque};

use super::region::{Line, Region};

/// Bytes that may lie idle beside a quarter of what is in use at once. A network whose sizes differ then asks the system for a tenth of
/// its memory anew.
const IDLE: usize = 32 << 20;

/// The most bytes that a pool holds, in use or idle, where so many are in use at once.
pub(super) fn held_bytes(in_use: usize) -> usize {
    in_use + in_use / 4 + IDLE
}

#[derive(Default)]
pub(super) struct Pool {
    /// Idle regions by length in cache lines, each with its age: the oldest of a length first.
    regions: BTreeMap<usize, VecDeque<(u64, Region<Line>)>>,
    /// Bytes of these.
    idle: usize,
    /// Bytes in use.
    pub in_use: usize,
    /// The most bytes in use at once since the last release.
    most_in_use: usize,
    /// The most bytes at once, in use or idle.
    pub peak: usize,
    /// The most bytes in use at once since the last operation with an account began.
    pub operation_peak: usize,
    /// The most bytes that may be in use and idle together, if that is bounded.
    pub limit: Option<usize>,
    clock: u64,
}

impl Pool {
    /// An idle region of at least so many lines, twice as many at most; `None` if there is none that fits, and a new one is to be made,
    /// for which there is room then.
    pub fn take(&mut self, lines: usize) -> Option<Region<Line>> {
        let fitting = self.regions.range_mut(lines..=2 * lines).next();
        let found =
            fitting.and_then(|(&size, regions)| Some((size, regions.pop_back()?.1, regions.is_empty())));
        let bytes = found.as_ref().map_or(lines, |(size, ..)| *size) * size_of::<Line>();
        self.in_use += bytes;
        self.most_in_use = self.most_in_use.max(self.in_use);
        self.operation_peak = self.operation_peak.max(self.in_use);
        let region = found.map(|(size, region, last)| {
            self.idle -= bytes;
            if last {
                self.regions.remove(&size);
            }
            region
        });
        self.trim();
        self.peak = self.peak.max(self.in_use + self.idle);
        region
    }

    /// Takes back a region that is no longer in use.
    pub fn give(&mut self, region: Region<Line>) {
        let bytes = size_of_val(&*region);
        self.in_use -= bytes;
        self.idle += bytes;
        self.clock += 1;
        let age = self.clock;
        self.regions
            .entry(region.len())
            .or_default()
            .push_back((age, region));
        self.trim();
    }

    /// Gives all idle memory back to the system.
    pub fn release(&mut self) {
        self.regions.clear();
        self.idle = 0;
        self.most_in_use = self.in_use;
    }

    /// Begins to look for the peak anew.
    pub fn reset_peak(&mut self) {
        self.peak = self.in_use + self.idle;
    }

    /// Gives back what has lain idle longest while there is too much.
    fn trim(&mut self) {
        let wanted = held_bytes(self.most_in_use);
        let bound = self.limit.map_or(wanted, |limit| wanted.min(limit));
        while self.in_use + self.idle > bound {
            let ages = self
                .regions
                .iter()
                .filter_map(|(&size, regions)| Some((regions.front()?.0, size)));
            let Some((_, size)) = ages.min() else {
                return;
            };
            self.idle -= size * size_of::<Line>();
            if let Some(regions) = self.regions.get_mut(&size) {
                regions.pop_front();
                if regions.is_empty() {
                    self.regions.remove(&size);
                }
            }
        }
    }
}
