//! Workspaces: memory and an account that operations share while a network runs.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use super::{
    pool::{self, Pool},
    region::{Line, Region},
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

type Key = (&'static str, String);

/// The time that one kind of operation took.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OperationTime {
    /// Its name: "linear", "conv", "attention" and so on.
    pub operation: &'static str,
    /// Its sizes.
    pub shape: String,
    /// The number of times that it ran.
    pub calls: usize,
    /// Wall-clock time in it, all calls together.
    pub time: Duration,
    /// Floating-point operations, a multiplication and an addition counted as two; 0 where memory is what counts.
    pub flops: f64,
    /// The most bytes in use at once while it ran: its input and output, what it needs meanwhile, and what others need later.
    pub bytes: usize,
}

thread_local! {
    static CURRENT: RefCell<Option<Workspace>> = const { RefCell::new(None) };
}

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
        lock(&self.0.pool).release();
    }

    /// The most bytes that are held, in use or idle, where so many are in use at once.
    pub fn held_bytes(in_use: usize) -> usize {
        pool::held_bytes(in_use)
    }

    /// Keeps no memory that isn't in use when more than this many bytes would be in use and kept together.
    pub fn set_limit(&self, bytes: usize) {
        lock(&self.0.pool).limit = Some(bytes);
    }

    /// The most bytes that operations' results and what they needed for them took at once, idle memory included.
    pub fn peak_bytes(&self) -> usize {
        lock(&self.0.pool).peak
    }

    /// Begins to look for the peak anew.
    pub fn reset_peak(&self) {
        lock(&self.0.pool).reset_peak();
    }

    /// The time of all operations so far, the longest first; empty without an account.
    pub fn account(&self) -> Vec<OperationTime> {
        let Some(account) = &self.0.account else {
            return Vec::new();
        };
        let mut entries: Vec<OperationTime> = lock(account).values().cloned().collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.time));
        entries
    }

    /// Runs an operation, and notes its time where the workspace in use keeps an account.
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
        let peak = || {
            let pool = &mut *lock(&current.0.pool);
            std::mem::replace(&mut pool.operation_peak, pool.in_use)
        };
        peak();
        let start = std::time::Instant::now();
        let result = work();
        let time = start.elapsed();
        let (shape, bytes) = (shape(), peak());
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
}

/// A panic while it was held leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A region that a workspace lends: it goes back when it is dropped, if the workspace is still there.
pub(super) struct Loan {
    /// There until it is dropped.
    region: Option<Region<Line>>,
    lender: Weak<Inner>,
}

impl Loan {
    /// At least so many lines from the workspace in use, twice as many at most, with whatever their last user left in them.
    pub fn new(lines: usize) -> Self {
        let current = CURRENT.with_borrow(Clone::clone);
        let lent = current
            .as_ref()
            .and_then(|current| lock(&current.0.pool).take(lines));
        Self {
            region: Some(lent.unwrap_or_else(|| Region::zeroed(lines))),
            lender: current.map_or_else(Weak::new, |current| Arc::downgrade(&current.0)),
        }
    }

    pub fn lines(&self) -> &[Line] {
        self.region.as_deref().unwrap_or_default()
    }

    pub fn lines_mut(&mut self) -> &mut [Line] {
        self.region.as_deref_mut().unwrap_or_default()
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let (Some(region), Some(lender)) = (self.region.take(), self.lender.upgrade())
            && !region.is_empty()
        {
            lock(&lender.pool).give(region);
        }
    }
}
