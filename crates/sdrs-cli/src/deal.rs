//! Runs dealt out to devices: each takes the next as soon as it is done with one.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::{Failure, out::note};

/// Does all jobs, in their order as far as there are workers. After a failure none is begun, and those that were are brought to their end.
/// Returns the failure that comes first in the order of the jobs, and reports others.
pub fn deal<W: Sync, J: Sync>(
    workers: &[W],
    jobs: &[J],
    run: impl Fn(&W, &J) -> Result<(), Failure> + Sync,
) -> Result<(), Failure> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = |worker: &W| {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(number) else {
                return;
            };
            if let Err(failure) = run(worker, job) {
                next.store(jobs.len(), Ordering::Relaxed);
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                failed.push((number, failure));
            }
        }
    };
    if let [first, others @ ..] = workers {
        thread::scope(|scope| {
            for worker in others {
                // Where none can be started, the others have more to do.
                let _ = thread::Builder::new().spawn_scoped(scope, || work(worker));
            }
            work(first);
        });
    }
    let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort_by_key(|(number, _)| *number);
    let mut failed = failed.into_iter().map(|(_, failure)| failure);
    let first = failed.next().map_or(Ok(()), Err);
    for failure in failed.filter(|failure| !failure.is_cancelled()) {
        if let Some(message) = failure.report().1 {
            note(format_args!("error: {message}"));
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use std::{sync::Barrier, time::Duration};

    use super::*;

    #[test]
    fn every_job_is_done_once_by_all_workers_at_once() {
        let (done, both) = (Mutex::new(Vec::new()), Barrier::new(2));
        deal(&['a', 'b'], &[1, 2, 3, 4], |worker, job| {
            if *job <= 2 {
                both.wait();
            }
            done.lock().unwrap().push((*job, *worker));
            Ok(())
        })
        .unwrap();
        let mut done = done.into_inner().unwrap();
        done.sort_unstable();
        assert_eq!(done.iter().map(|(job, _)| *job).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_ne!(done[0].1, done[1].1);
        deal(&[(); 3], &[(); 0], |(), ()| unreachable!()).unwrap();
    }

    #[test]
    fn the_first_failure_counts_and_nothing_is_begun_after_it() {
        let (begun, both) = (Mutex::new(Vec::new()), Barrier::new(2));
        let failure = deal(&[(), ()], &[1, 2, 3, 4, 5], |(), job| {
            begun.lock().unwrap().push(*job);
            both.wait();
            if *job == 1 {
                thread::sleep(Duration::from_millis(50));
            }
            Err(Failure::Usage(format!("job {job}")))
        })
        .unwrap_err();
        assert_eq!(failure.report(), (2, Some("job 1".to_owned())));
        let mut begun = begun.into_inner().unwrap();
        begun.sort_unstable();
        assert_eq!(begun, [1, 2]);
    }
}
