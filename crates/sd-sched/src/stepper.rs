//! Walks a plan one request at a time.

use crate::program::{MAX_TERMS, Op};
use crate::{Error, Latent, Plan, Result};

/// What the stepper needs next.
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
        /// Which call this is, from 0: prompt schedules count calls.
        call: usize,
        /// Whether the sampler also needs what the unconditional prompt alone gives.
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
    pc: usize,
    slots: Vec<Option<X>>,
    steps_done: usize,
    calls_done: usize,
}

/// Everything a stepper knows besides its plan.
#[derive(Debug, Clone, PartialEq)]
pub struct StepperState<X> {
    /// Fingerprint of the plan, see [`Plan::fingerprint`].
    pub plan: u64,
    /// The place in the plan.
    pub position: u64,
    /// The latents still needed, with their places.
    pub latents: Vec<(u32, X)>,
}

impl<X: Latent> Stepper<X> {
    /// Begins at `x`: see [`Plan::image_scale`] and [`Plan::noise_scale`] for what that is.
    pub fn new(plan: Plan, x: X) -> Self {
        let mut slots: Vec<Option<X>> = Vec::new();
        slots.resize_with(plan.program.slots as usize, || None);
        slots[0] = Some(x);
        let mut s = Self {
            plan,
            pc: 0,
            slots,
            steps_done: 0,
            calls_done: 0,
        };
        s.run();
        s
    }

    /// The plan being followed.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What to provide next. Asking twice changes nothing.
    pub fn request(&self) -> Request<'_, X> {
        match self.plan.program.ops.get(self.pc) {
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
            _ => Request::Done(self.slot(self.plan.program.result)),
        }
    }

    /// Answers [`Request::Denoise`].
    ///
    /// # Errors
    /// [`Error::OutOfTurn`] if something else was asked for (or the unconditional latent as well); [`Error::ShapeMismatch`].
    pub fn provide_denoised(&mut self, denoised: X) -> Result<()> {
        self.denoised(denoised, None)
    }

    /// Answers [`Request::Denoise`] with what the unconditional prompt alone gave as well. Always allowed: it is dropped where
    /// the sampler has no use for it.
    ///
    /// # Errors
    /// As [`Stepper::provide_denoised`].
    pub fn provide_denoised_with_uncond(&mut self, denoised: X, uncond: X) -> Result<()> {
        self.denoised(denoised, Some(uncond))
    }

    fn denoised(&mut self, value: X, uncond_value: Option<X>) -> Result<()> {
        let Some(&Op::Eval { dst, uncond, x, .. }) = self.plan.program.ops.get(self.pc) else {
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
        self.run();
        Ok(())
    }

    /// Answers [`Request::Noise`].
    ///
    /// # Errors
    /// [`Error::OutOfTurn`], [`Error::ShapeMismatch`].
    pub fn provide_noise(&mut self, noise: X) -> Result<()> {
        let Some(&Op::Noise { dst, .. }) = self.plan.program.ops.get(self.pc) else {
            return Err(self.out_of_turn("noise"));
        };
        if !self.slots.iter().flatten().all(|x| x.same_shape(&noise)) {
            return Err(Error::ShapeMismatch { what: "noise" });
        }
        self.slots[dst as usize] = Some(noise);
        self.pc += 1;
        self.run();
        Ok(())
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
    fn run(&mut self) {
        let program = &self.plan.program;
        while let Some(op) = program.ops.get(self.pc) {
            match *op {
                Op::Eval { .. } | Op::Noise { .. } => return,
                Op::Lin { dst, first, len } => {
                    let out = self.slots[dst as usize].take();
                    let spec = &program.terms[first as usize..(first + len) as usize];
                    let value = combine(spec, &self.slots, out);
                    self.slots[dst as usize] = value;
                }
                Op::StepEnd { step, .. } => self.steps_done = step as usize + 1,
            }
            self.pc += 1;
        }
    }

    fn slot(&self, slot: u32) -> &X {
        match &self.slots[slot as usize] {
            Some(x) => x,
            None => unreachable!("the program reads only what it has written"),
        }
    }

    /// Whether the result is there.
    pub fn is_done(&self) -> bool {
        self.pc >= self.plan.program.ops.len()
    }

    /// Steps completed so far.
    pub fn steps_done(&self) -> usize {
        self.steps_done
    }

    /// Calls answered so far, of [`Plan::calls`].
    pub fn calls_done(&self) -> usize {
        self.calls_done
    }

    /// The last completed step: the latent it arrived at, the denoised latent it used last, and its noise level.
    pub fn last_step(&self) -> Option<(&X, &X, f64)> {
        match self.plan.program.last_step_end(self.pc) {
            Some(&Op::StepEnd {
                x, denoised, sigma, ..
            }) => Some((self.slot(x), self.slot(denoised), sigma)),
            _ => None,
        }
    }

    /// A latent that is no longer needed, if there is one: fill it instead of allocating the next answer.
    pub fn take_spare(&mut self) -> Option<X> {
        let mut live = self.plan.program.live_slots(self.pc);
        if let Some(&Op::StepEnd { x, denoised, .. }) = self.plan.program.last_step_end(self.pc) {
            live[x as usize] = true;
            live[denoised as usize] = true;
        }
        let dead = (0..live.len()).find(|&i| !live[i] && self.slots[i].is_some())?;
        self.slots[dead].take()
    }

    /// The result.
    ///
    /// # Errors
    /// [`Error::OutOfTurn`] before the last answer.
    pub fn finish(mut self) -> Result<X> {
        if !self.is_done() {
            return Err(self.out_of_turn("the wish to finish"));
        }
        let result = self.plan.program.result as usize;
        match self.slots[result].take() {
            Some(x) => Ok(x),
            None => unreachable!("a finished program has its result"),
        }
    }

    /// A copy of everything needed to go on later.
    pub fn state(&self) -> StepperState<X> {
        let mut live = self.plan.program.live_slots(self.pc);
        if let Some(&Op::StepEnd { x, denoised, .. }) = self.plan.program.last_step_end(self.pc) {
            live[x as usize] = true;
            live[denoised as usize] = true;
        }
        let keep = self.slots.iter().enumerate().filter(|(i, _)| live[*i]);
        StepperState {
            plan: self.plan.fingerprint(),
            position: self.pc as u64,
            latents: keep
                .filter_map(|(i, x)| x.clone().map(|x| (i as u32, x)))
                .collect(),
        }
    }

    /// Goes on from a saved state, bit for bit.
    ///
    /// # Errors
    /// [`Error::BadState`] if the state was made with another plan or doesn't hold what the plan needs.
    pub fn resume(plan: Plan, state: StepperState<X>) -> Result<Self> {
        let bad = |reason: &str| {
            Err(Error::BadState {
                reason: reason.into(),
            })
        };
        if state.plan != plan.fingerprint() {
            return bad("it was made with another plan");
        }
        let ops = &plan.program.ops;
        let pc = usize::try_from(state.position).unwrap_or(usize::MAX);
        let at_request = matches!(ops.get(pc), Some(Op::Eval { .. } | Op::Noise { .. }));
        if pc > ops.len() || !(at_request || pc == ops.len()) {
            return bad("its position is not a place to wait at");
        }
        let mut slots: Vec<Option<X>> = Vec::new();
        slots.resize_with(plan.program.slots as usize, || None);
        for (i, x) in state.latents {
            match slots.get_mut(i as usize) {
                Some(slot) => *slot = Some(x),
                None => return bad("it holds a latent that the plan has no place for"),
            }
        }
        let mut live = plan.program.live_slots(pc);
        if let Some(&Op::StepEnd { x, denoised, .. }) = plan.program.last_step_end(pc) {
            live[x as usize] = true;
            live[denoised as usize] = true;
        }
        if live.iter().zip(&slots).any(|(live, x)| *live && x.is_none()) {
            return bad("a latent that the plan needs is missing");
        }
        let mut shapes = slots.iter().flatten();
        if let Some(first) = shapes.next()
            && shapes.any(|x| !x.same_shape(first))
        {
            return bad("its latents differ in shape");
        }
        let count = |f: fn(&Op) -> bool| ops[..pc].iter().filter(|op| f(op)).count();
        let steps_done = count(|op| matches!(op, Op::StepEnd { .. }));
        let calls_done = count(|op| matches!(op, Op::Eval { .. }));
        Ok(Self {
            plan,
            pc,
            slots,
            steps_done,
            calls_done,
        })
    }
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
