//! What a run says of itself, and whether it goes on.

use crate::{CancelToken, Error, Result};

/// A stage of an interrogation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InterrogateStage {
    /// Words of the caption: `total` is how many there are at most.
    Caption,
    /// Vectors of phrases, which are made once.
    Phrases,
    /// Phrases that are chained to a prompt.
    Chain,
}

impl InterrogateStage {
    /// "caption", "phrases" or "chain".
    pub fn name(self) -> &'static str {
        match self {
            Self::Caption => "caption",
            Self::Phrases => "phrases",
            Self::Chain => "chain",
        }
    }
}

/// The state of an interrogation, for a progress callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct InterrogateProgress {
    /// What is being done.
    pub stage: InterrogateStage,
    /// How much of it is done.
    pub done: usize,
    /// How much there is at most.
    pub total: usize,
}

pub(super) type Callback<'a> = Box<dyn FnMut(InterrogateProgress) + 'a>;

/// The callback and the token of a run.
#[derive(Default)]
pub(super) struct Watch<'a> {
    pub cancel: CancelToken,
    pub progress: Option<Callback<'a>>,
}

impl Watch<'_> {
    /// Tells how far it is, and fails if nobody wants more.
    pub fn tell(&mut self, stage: InterrogateStage, done: usize, total: usize) -> Result<()> {
        if let Some(progress) = &mut self.progress {
            progress(InterrogateProgress { stage, done, total });
        }
        self.look()
    }

    pub fn look(&self) -> Result<()> {
        match self.cancel.is_cancelled() {
            true => Err(Error::Cancelled),
            false => Ok(()),
        }
    }
}
