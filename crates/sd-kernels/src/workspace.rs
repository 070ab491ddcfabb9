//! What operations share while a network runs.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Memory that operations hand on to each other and, if wanted, an account of their time.
///
/// A result's memory would otherwise be asked of the system and given back for every operation, and every page of it cleared anew.
/// It is kept until the workspace is dropped or [`release`](Self::release)d. Several threads may use one workspace.
#[derive(Clone, Default)]
pub struct Workspace(Arc<Inner>);

#[derive(Default)]
struct Inner {
    pool: Mutex<Pool>,
    account: Option<Mutex<BTreeMap<Key, OperationTime>>>,
}

/// Memory that is not in use.
#[derive(Default)]
struct Pool {
    /// By length in cache lines.
    #[cfg(feature = "flex")]
    blocks: BTreeMap<usize, Vec<Vec<crate::host::Line>>>,
    kept: usize,
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
}

thread_local! {
    static CURRENT: RefCell<Option<Workspace>> = const { RefCell::new(None) };
}

/// The most memory that is kept: beyond it, a block is given back at once.
const KEPT_BYTES: usize = 768 << 20;

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
        *lock(&self.0.pool) = Pool::default();
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
    let start = Instant::now();
    let result = work();
    let time = start.elapsed();
    let shape = shape();
    if let Some(account) = &current.0.account {
        let mut account = lock(account);
        let entry = account.entry((operation, shape.clone())).or_default();
        (entry.operation, entry.shape) = (operation, shape);
        entry.calls += 1;
        entry.time += time;
        entry.flops += flops;
    }
    result
}

#[cfg(feature = "flex")]
pub(crate) use blocks::{Home, take};

#[cfg(feature = "flex")]
mod blocks {
    use std::sync::Weak;

    use super::{CURRENT, Inner, KEPT_BYTES, lock};
    use crate::host::Line;

    /// Where a block goes when it is no longer used.
    #[derive(Clone, Default)]
    pub(crate) struct Home(Weak<Inner>);

    /// A block of at least so many lines, not much more, with whatever its last user left in it.
    pub(crate) fn take(lines: usize) -> (Vec<Line>, Home) {
        let current = CURRENT.with_borrow(Clone::clone);
        let Some(workspace) = current else {
            return (bytemuck::zeroed_vec(lines), Home::default());
        };
        let home = Home(std::sync::Arc::downgrade(&workspace.0));
        let mut pool = lock(&workspace.0.pool);
        let fitting = pool.blocks.range_mut(lines..=lines + lines / 4).next();
        if let Some((&size, blocks)) = fitting
            && let Some(block) = blocks.pop()
        {
            if blocks.is_empty() {
                pool.blocks.remove(&size);
            }
            pool.kept -= size * size_of::<Line>();
            return (block, home);
        }
        drop(pool);
        (bytemuck::zeroed_vec(lines), home)
    }

    impl Home {
        pub fn give(&self, block: Vec<Line>) {
            let Some(inner) = self.0.upgrade() else {
                return;
            };
            let mut pool = lock(&inner.pool);
            let bytes = size_of_val(block.as_slice());
            if block.is_empty() || pool.kept + bytes > KEPT_BYTES {
                return;
            }
            pool.kept += bytes;
            pool.blocks.entry(block.len()).or_default().push(block);
        }
    }
}
