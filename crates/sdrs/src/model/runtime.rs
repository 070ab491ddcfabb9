//! Threads, workspace and log of a pipeline.

use std::{
    any::Any,
    fmt::Display,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    time::Instant,
};

use rayon::{ThreadPool, ThreadPoolBuilder};
use sd_core::{Device, weights::Target};
use sd_kernels::{NoMemory, OperationTime, Workspace};

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
    /// Something was passed over, or is not as whoever asked for it may expect, such as slower.
    Warning,
}

pub(crate) type Log = Arc<dyn Fn(LogLevel, &str) + Send + Sync>;

/// The error of a GPU that could not go on, and what it needs to go on with something else.
fn failed(gpu: &Device, reason: &str) -> Error {
    let memory = gpu.memory();
    let device = gpu.name().to_owned();
    let error = match lacking(reason) {
        Some(needed) => Error::OutOfMemory {
            device,
            needed,
            free: memory.and_then(|memory| memory.free),
            total: memory.map(|memory| memory.total),
        },
        None => Error::Device {
            device,
            reason: reason.lines().next().unwrap_or_default().trim().to_owned(),
        },
    };
    // What failed is known; what was kept for the next operation goes, so that there is room for something smaller.
    let tidy = || {
        let _ = gpu.burn().sync();
        gpu.burn().memory_cleanup();
    };
    let _ = catch_unwind(AssertUnwindSafe(tidy));
    error
}

/// The bytes that a failure of CubeCL's was for, if it was for want of memory.
fn lacking(reason: &str) -> Option<Option<u64>> {
    const WORDS: [&str; 4] = [
        "out of device memory allocating ",
        "can't allocate buffer of size: ",
        "Can't allocate ",
        "Out of Memory",
    ];
    let (_, behind) = WORDS.iter().find_map(|words| reason.split_once(words))?;
    let digits: String = behind.chars().take_while(char::is_ascii_digit).collect();
    Some(digits.parse().ok())
}

/// The words of a panic.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "for a reason that it doesn't tell".to_owned())
}

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
    /// The GPU that computes, if one does.
    gpu: Option<Device>,
}

impl Runtime {
    /// `threads` of `None` are the process's own, which a GPU's pipelines stay with. The instruction set of the CPU is looked at here. Without a
    /// `device` nothing is computed.
    pub fn new(threads: Option<usize>, device: Option<&Device>, log: Option<Log>) -> Result<Self> {
        let on_cpu = device.is_some_and(Device::is_cpu);
        let fail = |reason| Err(Error::parameter("threads", reason));
        // Rayon takes any number for the process's own threads, and starting them may never end.
        let own = std::env::var("RAYON_NUM_THREADS")
            .ok()
            .and_then(|n| n.parse::<usize>().ok());
        if let Some(n) = own.filter(|&n| n > MOST_THREADS) {
            let reason = format!("must be 1 to {MOST_THREADS}, not {n}");
            return Err(Error::parameter("RAYON_NUM_THREADS", reason));
        }
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
            gpu: device.filter(|device| !device.is_cpu()).cloned(),
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
    ///
    /// # Errors
    /// Those of the work; [`Error::OutOfMemory`] and [`Error::Device`] where a GPU fails, whose libraries may panic then.
    pub fn compute<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let work = || self.workspace.enter(work);
        let Some(gpu) = &self.gpu else {
            let work = AssertUnwindSafe(|| match &self.pool {
                Some(pool) => pool.install(work),
                None => work(),
            });
            return catch_unwind(work).unwrap_or_else(|panic| match panic.downcast_ref() {
                Some(NoMemory { bytes }) => Err(Error::OutOfMemory {
                    device: "cpu".into(),
                    needed: Some(*bytes as u64),
                    free: None,
                    total: None,
                }),
                None => resume_unwind(panic),
            });
        };
        // Tensors that are left behind half done are dropped with the work.
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(made) => made.map_err(|error| match error {
                Error::Device { reason, .. } => failed(gpu, &reason),
                other => other,
            }),
            Err(panic) => Err(failed(gpu, &message(&*panic))),
        }
    }

    /// Waits until all that was given to a GPU is done there.
    ///
    /// # Errors
    /// As [`compute`](Self::compute).
    pub fn finish(&self) -> Result<()> {
        match self.gpu.clone() {
            None => Ok(()),
            Some(gpu) => self.compute(|| match gpu.burn().sync() {
                Ok(()) => Ok(()),
                Err(error) => Err(Error::Device {
                    device: String::new(),
                    reason: error.to_string(),
                }),
            }),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The words are CubeCL's: `IoError` in cubecl-runtime 0.11.3.
    #[test]
    fn want_of_memory_is_told_from_other_failures() {
        let out = "An error happened during execution\nCaused by:\n  out of device memory allocating 2147483648 bytes\nBacktrace:";
        assert_eq!(lacking(out), Some(Some(2_147_483_648)));
        assert_eq!(lacking("can't allocate buffer of size: 12\n"), Some(Some(12)));
        assert_eq!(lacking("wgpu error: Out of Memory"), Some(None));
        assert_eq!(lacking("illegal address"), None);
    }

    #[test]
    fn want_of_memory_on_the_cpu_is_an_error() {
        let cpu = Device::from_name("cpu").unwrap();
        for threads in [None, Some(2)] {
            let runtime = Runtime::new(threads, Some(&cpu), None).unwrap();
            // More than any system has addresses for.
            let allocate = |bytes| runtime.compute(|| Ok(sd_kernels::Staging::<u8>::new(bytes).len()));
            let error = allocate(1 << 60).unwrap_err();
            assert!(
                matches!(&error, Error::OutOfMemory { device, needed: Some(n), .. } if device == "cpu" && *n == 1 << 60),
                "{error:?}"
            );
            allocate(1 << 20).unwrap();
        }
    }

    #[test]
    fn panics_have_words() {
        let panic = |work: fn()| catch_unwind(work).unwrap_err();
        assert_eq!(message(&*panic(|| panic!("so"))), "so");
        assert_eq!(message(&*panic(|| panic!("{}", 1 + 1))), "2");
    }

    /// On Mesa's software driver: it refuses, the work that panics is an error, and the device goes on.
    #[cfg(feature = "vulkan")]
    #[test]
    fn a_gpu_that_fails_goes_on() {
        use burn_tensor::{DType, Tensor};

        use super::super::values;

        let Ok(gpu) = Device::from_name("vulkan:cpu") else {
            println!("left out: this machine has no software Vulkan driver");
            return;
        };
        let runtime = Runtime::new(None, Some(&gpu), None).unwrap();
        let sum = |count: usize| {
            runtime.compute(|| {
                let ones = Tensor::<1>::ones([count], (gpu.burn(), DType::F32));
                values(ones.sum())
            })
        };
        assert_eq!(sum(1000).unwrap(), [1000.0]);
        let error = sum(1 << 40).unwrap_err();
        assert!(
            matches!(&error, Error::OutOfMemory { device, .. } if device == "vulkan:cpu"),
            "{error:?}"
        );
        assert_eq!(sum(1000).unwrap(), [1000.0]);
        let error = runtime.compute::<()>(|| panic!("a kernel")).unwrap_err();
        assert_eq!(error.to_string(), "vulkan:cpu failed: a kernel");
        assert_eq!(sum(1000).unwrap(), [1000.0]);
    }
}
