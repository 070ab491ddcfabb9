use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Stops a run from anywhere: keep a clone, and the run returns [`Error::Cancelled`](crate::Error::Cancelled) within one step.
#[derive(Debug, Clone, Default)]
pub struct CancelToken {
    asked: Arc<AtomicBool>,
    /// That of the run that this one's is a part of.
    whole: Option<Box<Self>>,
}

impl CancelToken {
    /// A token that has not been used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the runs that hold this token to stop.
    pub fn cancel(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Whether it has been asked.
    pub fn is_cancelled(&self) -> bool {
        let whole = self.whole.as_ref();
        self.asked.load(Ordering::Relaxed) || whole.is_some_and(|whole| whole.is_cancelled())
    }

    /// A token for a part of the run, which stops with the whole, and alone if it is asked.
    pub(crate) fn part(&self) -> Self {
        Self {
            asked: Arc::default(),
            whole: Some(self.clone().into()),
        }
    }
}
