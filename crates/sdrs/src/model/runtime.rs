//! Threads, workspace and log of a pipeline.

use std::{fmt::Display, sync::Arc, time::Instant};

use rayon::{ThreadPool, ThreadPoolBuilder};
use sd_core::weights::Target;
use sd_kernels::{OperationTime, Workspace};

use super::{
    MemoryLimit,
    memory::{Models, Work},
};
use crate::{Error, Result};

/// More threads than any processor has.
const MOST_THREADS: usize = 1024;

/// The importance of a line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LogLevel {
    /// A step that was done, and the time it took.
    Info,
    /// Something was passed over.
    Warning,
}

pub(crate) type Log = Arc<dyn Fn(LogLevel, &str) + Send + Sync>;

/// Threads, workspace and log of a pipeline; a clone shares them.
#[derive(Clone, Default)]
pub(crate) struct Runtime {
    pool: Option<Arc<ThreadPool>>,
    workspace: Workspace,
    /// The most that a run may take, and the room that the pipeline's weights leave for computations.
    memory_limit: Option<(MemoryLimit, usize)>,
    /// Whether text encoders are let go when texts are encoded.
    lets_text_encoders_go: bool,
    log: Option<Log>,
}

impl Runtime {
    /// `threads` of `None` are the process's own, which a GPU's pipelines stay with. The instruction set of the CPU is looked at here.
    pub fn new(threads: Option<usize>, on_cpu: bool, log: Option<Log>) -> Result<Self> {
        let fail = |reason| Err(Error::parameter("threads", reason));
        let pool = match threads {
            Some(n) if !(1..=MOST_THREADS).contains(&n) => {
                return fail(format!("must be 1 to {MOST_THREADS}, not {n}"));
            }
            Some(n) if on_cpu => {
                let named = ThreadPoolBuilder::new()
                    .num_threads(n)
                    .thread_name(|i| format!("sdrs-{i}"));
                match named.build() {
                    Ok(pool) => Some(Arc::new(pool)),
                    Err(error) => return fail(error.to_string()),
                }
            }
            _ => None,
        };
        if let (true, Err(reason)) = (on_cpu, sd_kernels::instruction_set()) {
            return Err(Error::parameter("SDRS_ISA", reason));
        }
        let workspace = Workspace::default();
        Ok(Self {
            pool,
            workspace,
            memory_limit: None,
            lets_text_encoders_go: false,
            log,
        })
    }

    /// Keeps an account of every operation's time from now on.
    pub fn keep_account(&mut self) {
        self.workspace = Workspace::with_account();
    }

    /// Lets go of text encoders when texts are encoded.
    pub fn let_text_encoders_go(&mut self) {
        self.lets_text_encoders_go = true;
    }

    pub fn keeps_text_encoders(&self) -> bool {
        !self.lets_text_encoders_go
    }

    /// Bounds the memory that pipelines of these models take.
    pub fn limit_memory(&mut self, limit: MemoryLimit, models: &Models<'_>, target: &Target) -> Result<()> {
        let room = limit.room(models, target, self.keeps_text_encoders())?;
        self.workspace.set_limit(room);
        self.memory_limit = Some((limit, room));
        Ok(())
    }

    pub fn limits_memory(&self) -> bool {
        self.memory_limit.is_some()
    }

    /// Whether text encoders may stay while such a run draws; an error if a limit doesn't allow it at all. Without a limit its work is not
    /// asked for.
    pub fn admit<'a>(
        &self,
        models: &Models<'_>,
        target: &Target,
        work: impl FnOnce() -> Result<Work<'a>>,
    ) -> Result<bool> {
        let Some((limit, room)) = self.memory_limit else {
            return Ok(true);
        };
        let allowed = limit.check(models, target, &work()?)?;
        let loras = usize::try_from(allowed.loras).unwrap_or(usize::MAX);
        self.workspace.set_limit(room.saturating_sub(loras));
        Ok(allowed.keeps_text_encoders)
    }

    /// Gives back memory that is kept for the next operation.
    pub fn let_idle_memory_go(&self) {
        self.workspace.release();
    }

    pub fn account(&self) -> Vec<OperationTime> {
        self.workspace.account()
    }

    /// Memory that operations hand on to each other is given back when this is dropped: at the end of a run.
    pub fn run(&self) -> impl Drop + use<> {
        struct Release(Workspace);
        impl Drop for Release {
            fn drop(&mut self) {
                self.0.release();
            }
        }
        Release(self.workspace.clone())
    }

    /// Computes on the pipeline's threads. Nothing of the caller's runs there: its callbacks stay in its own thread.
    pub fn compute<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let work = || self.workspace.enter(work);
        match &self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    pub fn info(&self, message: impl FnOnce() -> String) {
        self.write_log(LogLevel::Info, message);
    }

    pub fn warn(&self, message: impl Display) {
        self.write_log(LogLevel::Warning, || message.to_string());
    }

    fn write_log(&self, level: LogLevel, message: impl FnOnce() -> String) {
        if let Some(log) = &self.log {
            log(level, &message());
        }
    }

    /// Does some work and logs the time it took.
    pub fn timed<T>(&self, what: impl Display, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let began = Instant::now();
        let outcome = work()?;
        self.info(|| format!("{what}: {:.3} s", began.elapsed().as_secs_f64()));
        Ok(outcome)
    }
}
