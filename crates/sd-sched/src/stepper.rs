//! Walks a plan one request at a time.

use std::sync::Arc;

use crate::program::{MAX_TERMS, Op, Program};
use crate::sampler::{AdaptiveState, Attempt};
use crate::{Error, Latent, Plan, Result};

/// The next request of the stepper.
#[derive(Debug, PartialEq)]
#[non_exhaustive]
pub enum Request<'a, X> {
    /// The denoised latent of `x`: answer with [`Stepper::provide_denoised`], or with
    /// [`Stepper::provide_denoised_with_uncond`] if `needs_uncond`.
    Denoise {
        /// The noisy latent, variance exploding: the network's input is `c_in * x`
        /// ([`ModelSampling::scalings`](crate::ModelSampling::scalings)).
        x: &'a X,
        /// Its noise level.
        sigma: f64,
        /// The timestep for the network, not always whole.
        timestep: f64,
        /// The step this call belongs to, from 0.
        step: usize,
        /// The number of this call, from 0: prompt schedules count calls.
        call: usize,
        /// Whether the sampler also needs the latent by the unconditional prompt alone.
        needs_uncond: bool,
    },
    /// Noise of unit variance, of the latent's shape: answer with [`Stepper::provide_noise`].
    Noise {
        /// The way's first sigma (a Brownian tree needs it; others don't).
        sigma_from: f64,
        /// The way's last sigma.
        sigma_to: f64,
        /// The step, from 0.
        step: usize,
    },
    /// Nothing: this is the result.
    Done(&'a X),
}

/// A sampler under way: a plan, a place in it, and a few latents.
///
/// A clone is a branch. [`Stepper::state`] can be kept, and [`Stepper::resume`] goes on from it bit for bit.
#[derive(Debug, Clone)]
pub struct Stepper<X> {
    plan: Plan,
    program: Arc<Program>,
    pc: usize,
    slots: Vec<Option<X>>,
    steps_done: usize,
    calls_done: usize,
    /// DPM adaptive: where it is, and the attempt that the program makes, if it isn't the end.
    adaptive: Option<(AdaptiveState, Option<Attempt>)>,
}

/// Everything a stepper knows besides its plan.
#[derive(Debug, Clone, PartialEq)]
pub struct StepperState<X> {
    /// Fingerprint of the plan, see [`Plan::fingerprint`].
    pub plan: u64,
    /// The place in the plan.
    pub position: u64,
    /// DPM adaptive's own numbers; empty for all others.
    pub numbers: Vec<f64>,
    /// The latents still needed, with their places.
    pub latents: Vec<(u32, X)>,
}

/// The state of a run after a step, for a callback.
#[derive(Debug)]
pub struct Progress<'a, X> {
    /// The step just completed, from 0.
    pub step: usize,
    /// The number of steps; 0 if that is known only at the end (DPM adaptive).
    pub steps: usize,
    /// Calls made so far.
    pub calls: usize,
    /// The noise level the step began at.
    pub sigma: f64,
    /// The latent the step arrived at.
    pub x: &'a X,
    /// The last denoised latent: the picture as far as it is known.
    pub denoised: &'a X,
}

impl<X: Latent> Stepper<X> {
    /// Begins at `x`: see [`Plan::image_scale`] and [`Plan::noise_scale`] for its making.
    pub fn new(plan: Plan, x: X) -> Self {
        let mut slots = vec![Some(x)];
        let mut program = Arc::clone(&plan.program);
        let mut adaptive = None;
        if let Some(a) = &plan.adaptive {
            let state = a.solver.begin();
            let (first, attempt) = a.program(&state);
            program = Arc::new(first);
            slots.push(slots[0].clone());
            adaptive = Some((state, attempt));
        }
        slots.resize_with(program.slots as usize, || None);
        let mut s = Self {
            plan,
            program,
            pc: 0,
            slots,
            steps_done: 0,
            calls_done: 0,
            adaptive,
        };
        if s.run().is_err() {
            unreachable!("nothing is judged before the first request");
        }
        s
    }

    /// The plan being followed.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The request to answer next. Asking twice changes nothing.
    pub fn request(&self) -> Request<'_, X> {
        match self.program.ops.get(self.pc) {
            Some(&Op::Eval {
                x,
                uncond,
                sigma,
                timestep,
                step,
                call,
                ..
            }) => Request::Denoise {
                x: self.slot(x),
                sigma,
                timestep,
                step: step as usize,
                call: call as usize,
                needs_uncond: uncond.is_some(),
            },
            Some(&Op::Noise { from, to, step, .. }) => Request::Noise {
                sigma_from: from,
                sigma_to: to,
                step: step as usize,
            },
            _ => Request::Done(self.slot(self.program.result)),
        }
    }

    /// Answers [`Request::Denoise`].
    ///
    /// # Errors
    /// [`Error::OutOfTurn`] if something else was asked for (or the unconditional latent as well); [`Error::ShapeMismatch`];
    /// [`Error::Diverged`] from DPM adaptive.
    pub fn provide_denoised(&mut self, denoised: X) -> Result<()> {
        self.denoised(denoised, None)
    }

    /// Answers [`Request::Denoise`] with the latent by the unconditional prompt alone as well. Always allowed: it is dropped where the
    /// sampler has no use for it.
    ///
    /// # Errors
    /// As [`Stepper::provide_denoised`].
    pub fn provide_denoised_with_uncond(&mut self, denoised: X, uncond: X) -> Result<()> {
        self.denoised(denoised, Some(uncond))
    }

    fn denoised(&mut self, value: X, uncond_value: Option<X>) -> Result<()> {
        let Some(&Op::Eval { dst, uncond, x, .. }) = self.program.ops.get(self.pc) else {
            return Err(self.out_of_turn("a denoised latent"));
        };
        if !self.slot(x).same_shape(&value) {
            return Err(Error::ShapeMismatch { what: "denoised" });
        }
        match (uncond, uncond_value) {
            (Some(_), None) => return Err(self.out_of_turn("a denoised latent alone")),
            (Some(u), Some(v)) => {
                if !self.slot(x).same_shape(&v) {
                    return Err(Error::ShapeMismatch {
                        what: "uncond denoised",
                    });
                }
                self.slots[u as usize] = Some(v);
            }
            (None, _) => {}
        }
        self.slots[dst as usize] = Some(value);
        self.calls_done += 1;
        self.pc += 1;
        self.run()
    }

    /// Answers [`Request::Noise`].
    ///
    /// # Errors
    /// [`Error::OutOfTurn`], [`Error::ShapeMismatch`].
    pub fn provide_noise(&mut self, noise: X) -> Result<()> {
        let Some(&Op::Noise { dst, .. }) = self.program.ops.get(self.pc) else {
            return Err(self.out_of_turn("noise"));
        };
        let live = |i: &usize| self.program.is_live(self.pc, *i as u32);
        let mut others = (0..self.slots.len())
            .filter(live)
            .filter_map(|i| self.slots[i].as_ref());
        if others.next().is_some_and(|x| !x.same_shape(&noise)) {
            return Err(Error::ShapeMismatch { what: "noise" });
        }
        self.slots[dst as usize] = Some(noise);
        self.pc += 1;
        self.run()
    }

    fn out_of_turn(&self, got: &'static str) -> Error {
        let expected = match self.request() {
            Request::Denoise {
                needs_uncond: true, ..
            } => "a denoised latent with its unconditional one",
            Request::Denoise { .. } => "a denoised latent",
            Request::Noise { .. } => "noise",
            Request::Done(_) => "nothing more",
        };
        Error::OutOfTurn { expected, got }
    }

    /// Does everything up to the next request.
    fn run(&mut self) -> Result<()> {
        loop {
            while let Some(op) = self.program.ops.get(self.pc) {
                match *op {
                    Op::Eval { .. } | Op::Noise { .. } => return Ok(()),
                    Op::Lin { dst, first, len } => {
                        let out = self.slots[dst as usize].take();
                        let spec = &self.program.terms[first as usize..(first + len) as usize];
                        self.slots[dst as usize] = combine(spec, &self.slots, out);
                    }
                    Op::StepEnd { step, .. } => self.steps_done = step as usize + 1,
                }
                self.pc += 1;
            }
            if !self.next_attempt()? {
                return Ok(());
            }
        }
    }

    /// Judges the attempt that the program made and begins the next; false if there is none.
    fn next_attempt(&mut self) -> Result<bool> {
        let (Some(a), Some((state, Some(attempt)))) = (&self.plan.adaptive, &mut self.adaptive) else {
            return Ok(false);
        };
        let attempt = *attempt;
        let slot = |i: u32| self.slots[i as usize].as_ref();
        let (Some(low), Some(high), Some(previous)) =
            (slot(attempt.low), slot(attempt.high), slot(attempt.previous))
        else {
            unreachable!("an attempt has all its latents");
        };
        let (atol, rtol) = a.solver.tolerances();
        let Some(error) = X::error_ratio(low, high, previous, atol, rtol) else {
            return Err(Error::param(
                "sampler",
                "is adaptive, but these latents can't measure errors",
            ));
        };
        let accepted = a.solver.judge(state, error)?;
        let order = match accepted {
            true => [attempt.high, attempt.low, attempt.denoised],
            false => [attempt.x, attempt.previous, attempt.denoised],
        };
        let (program, next) = a.program(state);
        let mut slots: Vec<Option<X>> = order.iter().map(|&i| self.slots[i as usize].take()).collect();
        // The rest are spares for what comes.
        let spares = self.slots.iter_mut().filter_map(Option::take).map(Some);
        slots.extend(spares.take((program.slots as usize).saturating_sub(3)));
        slots.resize_with(program.slots as usize, || None);
        self.slots = slots;
        self.adaptive = Some((state.clone(), next));
        self.program = Arc::new(program);
        self.pc = 0;
        Ok(true)
    }

    fn slot(&self, slot: u32) -> &X {
        match &self.slots[slot as usize] {
            Some(x) => x,
            None => unreachable!("the program reads only what it has written"),
        }
    }

    /// Whether the result is there.
    pub fn is_done(&self) -> bool {
        self.pc >= self.program.ops.len()
    }

    /// Steps completed so far.
    pub fn steps_done(&self) -> usize {
        self.steps_done
    }

    /// Calls answered so far, of [`Plan::calls`].
    pub fn calls_done(&self) -> usize {
        self.calls_done
    }

    /// The share that is done, 0..=1: by calls, or by the way in `ln(sigma)` where nobody knows how many there will be.
    pub fn fraction_done(&self) -> f64 {
        match (&self.plan.adaptive, &self.adaptive) {
            _ if self.is_done() => 1.0,
            (Some(a), Some((state, _))) => a.solver.fraction(state),
            _ => self.calls_done as f64 / self.plan.calls().max(1) as f64,
        }
    }

    /// The last completed step: the latent it arrived at, the denoised latent it used last, and its noise level.
    pub fn last_step(&self) -> Option<(&X, &X, f64)> {
        match self.program.last_step_end(self.pc) {
            Some(&Op::StepEnd {
                x, denoised, sigma, ..
            }) => Some((self.slot(x), self.slot(denoised), sigma)),
            _ => None,
        }
    }

    /// The state of the run after its last step, whose number is `step`, if it has made one.
    pub fn progress(&self, step: usize) -> Option<Progress<'_, X>> {
        let (x, denoised, sigma) = self.last_step()?;
        Some(Progress {
            step,
            steps: self.plan.steps(),
            calls: self.calls_done,
            sigma,
            x,
            denoised,
        })
    }

    /// Puts another latent in the place of the one that the last step arrived at: what it did with it before, such as a multistep
    /// solver's earlier answers, stays.
    ///
    /// # Errors
    /// [`Error::OutOfTurn`] if the run isn't between two steps, or the sampler has gone on from what it arrived at already;
    /// [`Error::ShapeMismatch`].
    pub fn replace_step(&mut self, latent: X) -> Result<()> {
        let Some((from, slot)) = self.program.replaceable(self.pc) else {
            return Err(self.out_of_turn("a latent in place of the last step's"));
        };
        if !self.slot(slot).same_shape(&latent) {
            return Err(Error::ShapeMismatch {
                what: "the replaced latent",
            });
        }
        self.slots[slot as usize] = Some(latent);
        // What was combined of it since.
        self.pc = from;
        self.run()
    }

    /// A latent that is no longer needed, if there is one: fill it instead of allocating the next answer.
    pub fn take_spare(&mut self) -> Option<X> {
        // The place of the answer itself comes first, so that buffers go round without a loss.
        let own = match self.program.ops.get(self.pc) {
            Some(&Op::Eval { dst, uncond, .. }) => [Some(dst), uncond],
            Some(&Op::Noise { dst, .. }) => [Some(dst), None],
            _ => [None; 2],
        };
        let all = own.into_iter().flatten().chain(0..self.slots.len() as u32);
        let is_dead = |i: &u32| !self.program.is_live(self.pc, *i) && self.slots[*i as usize].is_some();
        let dead = all.into_iter().find(is_dead)?;
        self.slots[dead as usize].take()
    }

    /// The result.
    ///
    /// # Errors
    /// [`Error::OutOfTurn`] before the last answer.
    pub fn finish(mut self) -> Result<X> {
        if !self.is_done() {
            return Err(self.out_of_turn("the wish to finish"));
        }
        match self.slots[self.program.result as usize].take() {
            Some(x) => Ok(x),
            None => unreachable!("a finished program has its result"),
        }
    }

    /// A copy of everything needed to go on later.
    pub fn state(&self) -> StepperState<X> {
        let live = self
            .slots
            .iter()
            .enumerate()
            .filter(|(i, _)| self.program.is_live(self.pc, *i as u32));
        StepperState {
            plan: self.plan.fingerprint(),
            position: self.pc as u64,
            numbers: self.adaptive.as_ref().map_or_else(Vec::new, |(s, _)| s.numbers()),
            latents: live
                .filter_map(|(i, x)| x.clone().map(|x| (i as u32, x)))
                .collect(),
        }
    }

    /// Goes on from a saved state, bit for bit.
    ///
    /// # Errors
    /// [`Error::BadState`] if the state was made with another plan or lacks something that the plan needs.
    pub fn resume(plan: Plan, state: StepperState<X>) -> Result<Self> {
        let bad = |reason: &str| Error::BadState {
            reason: reason.into(),
        };
        if state.plan != plan.fingerprint() {
            return Err(bad("it was made with another plan"));
        }
        let mut program = Arc::clone(&plan.program);
        let mut adaptive = None;
        if let Some(a) = &plan.adaptive {
            let numbers =
                AdaptiveState::from_numbers(&state.numbers).filter(|s| s.t.is_finite() && s.h > 0.0);
            let numbers = numbers.ok_or_else(|| bad("its numbers are not those of an adaptive solver"))?;
            let (p, attempt) = a.program(&numbers);
            program = Arc::new(p);
            adaptive = Some((numbers, attempt));
        }
        let ops = &program.ops;
        let pc = usize::try_from(state.position).unwrap_or(usize::MAX);
        let at_request = matches!(ops.get(pc), Some(Op::Eval { .. } | Op::Noise { .. }));
        let at_end = pc == ops.len() && adaptive.as_ref().is_none_or(|(_, attempt)| attempt.is_none());
        if !(at_request || at_end) {
            return Err(bad("its position is not a place to wait at"));
        }
        let mut slots: Vec<Option<X>> = Vec::new();
        slots.resize_with(program.slots as usize, || None);
        for (i, x) in state.latents {
            match slots.get_mut(i as usize) {
                Some(slot) => *slot = Some(x),
                None => return Err(bad("it holds a latent that the plan has no place for")),
            }
        }
        if (0..slots.len())
            .any(|i| slots[i].is_none() && program.is_live(pc, i as u32) && !is_blank(&program, i, pc))
        {
            return Err(bad("a latent that the plan needs is missing"));
        }
        let mut shapes = slots.iter().flatten();
        let first = shapes.next();
        if first.is_some_and(|first| shapes.any(|x| !x.same_shape(first))) {
            return Err(bad("its latents differ in shape"));
        }
        let count = |f: fn(&Op) -> bool| ops[..pc].iter().filter(|op| f(op)).count();
        let (mut steps_done, mut calls_done) = (
            count(|op| matches!(op, Op::StepEnd { .. })),
            count(|op| matches!(op, Op::Eval { .. })),
        );
        if let Some((s, _)) = &adaptive {
            steps_done += s.accepted.saturating_sub(u32::from(s.landed.is_some())) as usize;
            calls_done +=
                s.attempts as usize * plan.adaptive.as_ref().map_or(0, |a| a.solver.calls_per_attempt());
        }
        Ok(Self {
            plan,
            program,
            pc,
            slots,
            steps_done,
            calls_done,
            adaptive,
        })
    }
}

/// Whether a slot of a first adaptive attempt has nothing in it yet: the denoised latent of the step before.
fn is_blank(program: &Program, slot: usize, pc: usize) -> bool {
    slot == 2
        && !program.ops[..pc]
            .iter()
            .any(|op| matches!(op, Op::StepEnd { .. }))
}

/// One linear combination over slots; the list of terms lives on the stack.
fn combine<X: Latent>(spec: &[(f64, u32)], slots: &[Option<X>], out: Option<X>) -> Option<X> {
    let first = slots[spec[0].1 as usize].as_ref()?;
    let mut terms = [(0.0, first); MAX_TERMS];
    for (t, &(c, slot)) in terms.iter_mut().zip(spec) {
        *t = (c, slots[slot as usize].as_ref()?);
    }
    let terms = &terms[..spec.len()];
    Some(match out {
        Some(mut out) => {
            X::lincomb_into(&mut out, terms);
            out
        }
        None => X::lincomb(terms),
    })
}
