//! What operations share while a network runs.

#[cfg(feature = "flex")]
use std::time::Instant;
use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Memory that operations hand on to each other and, if wanted, an account of their time.
///
/// A result's memory would otherwise be asked of the system and given back for every operation, and every page of it cleared anew.
/// It is kept until the workspace is dropped or [`release`](Self::release)d, as long as not much more is held than was ever in use at
/// once; what has lain idle longest goes first. Several threads may use one workspace.
#[derive(Clone, Default)]
pub struct Workspace(Arc<Inner>);

#[derive(Default)]
struct Inner {
    pool: Mutex<Pool>,
    account: Option<Mutex<BTreeMap<Key, OperationTime>>>,
}

/// Memory that is in use, and memory that is not.
#[derive(Default)]
struct Pool {
    /// What is not in use, by length in cache lines, each with its age: the oldest of a length first.
    #[cfg(feature = "flex")]
    blocks: BTreeMap<usize, std::collections::VecDeque<(u64, crate::host::Kept<crate::host::Line>)>>,
    /// Bytes of these.
    kept: usize,
    /// Bytes in use.
    live: usize,
    /// The most bytes in use at once since the last release.
    most_live: usize,
    /// The most bytes at once, in use or not.
    most: usize,
    /// The most bytes in use at once since the last operation began that is accounted for.
    #[cfg(feature = "flex")]
    during: usize,
    /// The most bytes that may be kept and in use together, if that is bounded.
    limit: Option<usize>,
    #[cfg(feature = "flex")]
    clock: u64,
}

type Key = (&'static str, String);

/// What one kind of operation took.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OperationTime {
    /// What it is: "linear", "conv 3x3", "attention" and so on.
    pub operation: &'static str,
    /// Its sizes.
    pub shape: String,
    /// How often it ran.
    pub calls: usize,
    /// Wall-clock time in it, all calls together.
    pub time: Duration,
    /// Floating-point operations, a multiplication and an addition counted as two; 0 where memory is what counts.
    pub flops: f64,
    /// The most bytes in use at once while it ran: what goes in and comes out, what it needs meanwhile, and what others need later.
    pub bytes: usize,
}

thread_local! {
    static CURRENT: RefCell<Option<Workspace>> = const { RefCell::new(None) };
}

/// How much may lie idle beside a quarter of what is in use at once, in bytes. A network whose sizes differ then asks the system for a
/// tenth of its memory anew.
const IDLE: usize = 32 << 20;

impl Workspace {
    /// A workspace that keeps an account.
    pub fn with_account() -> Self {
        Self(Arc::new(Inner {
            account: Some(Mutex::default()),
            ..Inner::default()
        }))
    }

    /// Runs `work` on this thread with this workspace.
    pub fn enter<R>(&self, work: impl FnOnce() -> R) -> R {
        /// Puts back what was there, also when `work` panics.
        struct Restore(Option<Workspace>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _restore = Restore(CURRENT.replace(Some(self.clone())));
        work()
    }

    /// Gives back all memory that is not in use.
    pub fn release(&self) {
        let mut pool = lock(&self.0.pool);
        #[cfg(feature = "flex")]
        pool.blocks.clear();
        pool.kept = 0;
        pool.most_live = pool.live;
    }

    /// How many bytes are held at most, in use or idle, where so many are in use at once.
    pub fn held_bytes(in_use: usize) -> usize {
        in_use + in_use / 4 + IDLE
    }

    /// Keeps no memory that isn't in use when more than this many bytes would be in use and kept together.
    pub fn set_limit(&self, bytes: usize) {
        lock(&self.0.pool).limit = Some(bytes);
    }

    /// The most bytes that operations' results and what they needed for them took at once, what is kept included.
    pub fn peak_bytes(&self) -> usize {
        lock(&self.0.pool).most
    }

    /// Begins to look for the peak anew.
    pub fn reset_peak(&self) {
        let mut pool = lock(&self.0.pool);
        pool.most = pool.live + pool.kept;
    }

    /// What operations took so far, the longest first; empty without an account.
    pub fn account(&self) -> Vec<OperationTime> {
        let Some(account) = &self.0.account else {
            return Vec::new();
        };
        let mut entries: Vec<OperationTime> = lock(account).values().cloned().collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.time));
        entries
    }
}

/// A panic while it was held leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs an operation, and notes its time where an account is kept.
#[cfg(feature = "flex")]
pub(crate) fn timed<R>(
    operation: &'static str,
    shape: impl FnOnce() -> String,
    flops: f64,
    work: impl FnOnce() -> R,
) -> R {
    let current = CURRENT.with_borrow(|current| current.clone().filter(|w| w.0.account.is_some()));
    let Some(current) = current else {
        return work();
    };
    let during = |inner: &Inner| {
        let mut pool = lock(&inner.pool);
        let live = pool.live;
        std::mem::replace(&mut pool.during, live)
    };
    during(&current.0);
    let start = Instant::now();
    let result = work();
    let time = start.elapsed();
    let (shape, bytes) = (shape(), during(&current.0));
    if let Some(account) = &current.0.account {
        let mut account = lock(account);
        let entry = account.entry((operation, shape.clone())).or_default();
        (entry.operation, entry.shape) = (operation, shape);
        entry.calls += 1;
        entry.time += time;
        entry.flops += flops;
        entry.bytes = entry.bytes.max(bytes);
    }
    result
}

#[cfg(feature = "flex")]
pub(crate) use blocks::{Home, take};

#[cfg(feature = "flex")]
mod blocks {
    use std::sync::Weak;

    use super::{CURRENT, Inner, Pool, Workspace, lock};
    use crate::host::{Kept, Line};

    /// Where a block goes when it is no longer used.
    #[derive(Clone, Default)]
    pub(crate) struct Home(Weak<Inner>);

    /// A block of at least so many lines, twice as many at most, with whatever its last user left in it.
    pub(crate) fn take(lines: usize) -> (Kept<Line>, Home) {
        let current = CURRENT.with_borrow(Clone::clone);
        let Some(workspace) = current else {
            return (Kept::zeroed(lines), Home::default());
        };
        let home = Home(std::sync::Arc::downgrade(&workspace.0));
        let block = lock(&workspace.0.pool).take(lines);
        (block.unwrap_or_else(|| Kept::zeroed(lines)), home)
    }

    impl Home {
        pub fn give(&self, block: Kept<Line>) {
            if let Some(inner) = self.0.upgrade()
                && !block.is_empty()
            {
                lock(&inner.pool).give(block);
            }
        }
    }

    impl Pool {
        /// A kept block; `None` if there is none that fits, and a new one is to be made, for which there is room then.
        fn take(&mut self, lines: usize) -> Option<Kept<Line>> {
            let fitting = self.blocks.range_mut(lines..=2 * lines).next();
            let found =
                fitting.and_then(|(&size, blocks)| Some((size, blocks.pop_back()?.1, blocks.is_empty())));
            let bytes = found.as_ref().map_or(lines, |(size, ..)| *size) * size_of::<Line>();
            self.live += bytes;
            self.most_live = self.most_live.max(self.live);
            self.during = self.during.max(self.live);
            let block = found.map(|(size, block, last)| {
                self.kept -= bytes;
                if last {
                    self.blocks.remove(&size);
                }
                block
            });
            self.trim();
            self.most = self.most.max(self.live + self.kept);
            block
        }

        fn give(&mut self, block: Kept<Line>) {
            let bytes = size_of_val(&*block);
            self.live -= bytes;
            self.kept += bytes;
            self.clock += 1;
            let age = self.clock;
            self.blocks
                .entry(block.len())
                .or_default()
                .push_back((age, block));
            self.trim();
        }

        /// Gives back what has lain idle longest while there is too much.
        fn trim(&mut self) {
            let wanted = Workspace::held_bytes(self.most_live);
            let bound = self.limit.map_or(wanted, |limit| wanted.min(limit));
            while self.live + self.kept > bound {
                let ages = self
                    .blocks
                    .iter()
                    .filter_map(|(&size, blocks)| Some((blocks.front()?.0, size)));
                let Some((_, size)) = ages.min() else {
                    return;
                };
                self.kept -= size * size_of::<Line>();
                if let Some(blocks) = self.blocks.get_mut(&size) {
                    blocks.pop_front();
                    if blocks.is_empty() {
                        self.blocks.remove(&size);
                    }
                }
            }
        }
    }
}
