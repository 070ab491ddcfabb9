//! A sampler as a straight-line program.
//!
//! Every coefficient of a non-adaptive sampler follows from the sigmas alone, so a sampler is written once as a loop that
//! *emits* operations (evaluate, draw noise, combine linearly), and the stepper needs no more than a program counter and a few
//! registers. Saving, resuming and branching come for free, and so does the number of calls.

/// A value of the program: written once, read any number of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reg(u32);

impl Reg {
    /// One of the latents that a program begins with.
    pub const fn input(i: u32) -> Self {
        Self(i)
    }
}

/// The register of the latent before the first operation.
pub(crate) const START: Reg = Reg(0);

/// The most terms that one linear combination may have.
pub(crate) const MAX_TERMS: usize = 16;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Op {
    /// Ask for the denoised latent (and the unconditional one).
    Eval {
        x: u32,
        dst: u32,
        uncond: Option<u32>,
        sigma: f64,
        timestep: f64,
        step: u32,
        call: u32,
    },
    /// Ask for unit noise on the way from one sigma to another.
    Noise { dst: u32, from: f64, to: f64, step: u32 },
    /// `dst = sum c_i * x_i`, the terms being a range of [`Program::terms`].
    Lin { dst: u32, first: u32, len: u32 },
    /// A step is complete.
    StepEnd {
        x: u32,
        denoised: u32,
        step: u32,
        sigma: f64,
    },
}

/// A finished program; registers are slots that are used again once their value is dead.
#[derive(Clone, PartialEq, Default)]
pub(crate) struct Program {
    pub ops: Vec<Op>,
    pub terms: Vec<(f64, u32)>,
    /// The number of slots; slot 0 holds the first latent.
    pub slots: u32,
    /// The slot that holds the result after the last operation.
    pub result: u32,
    pub calls: u32,
    pub steps: u32,
    live: Vec<u64>,
}

/// A program in full would fill screens.
impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut d = f.debug_struct("Program");
        d.field("calls", &self.calls)
            .field("steps", &self.steps)
            .field("slots", &self.slots)
            .finish_non_exhaustive()
    }
}

impl Program {
    /// Whether a slot's content is still needed when the operation at `pc` comes next: to be read, or to be looked at as part
    /// of the last step.
    pub fn is_live(&self, pc: usize, slot: u32) -> bool {
        self.live
            .get(pc)
            .is_none_or(|mask| slot >= 64 || mask >> slot & 1 == 1)
    }

    /// The operation behind the last step that was complete before the one at `pc`, and the slot of what the step arrived at, if another
    /// latent may stand there: it is read later, and nothing but combinations that can be repeated came since.
    pub fn replaceable(&self, pc: usize) -> Option<(usize, u32)> {
        let end = self.ops[..pc]
            .iter()
            .rposition(|op| matches!(op, Op::StepEnd { .. }))?;
        let Op::StepEnd { x, .. } = self.ops[end] else {
            return None;
        };
        let mut read = Vec::new();
        for op in &self.ops[end + 1..pc] {
            if !matches!(op, Op::Lin { .. }) {
                return None;
            }
            for_reads(op, &self.terms, |slot| read.push(slot));
            let mut lost = false;
            for_writes(op, |slot| lost |= read.contains(&slot) || slot == x);
            if lost {
                return None;
            }
        }
        (read.contains(&x) || self.is_read(pc, x)).then_some((end + 1, x))
    }

    /// Whether a slot's content is read from the operation at `pc` on, or is the result.
    fn is_read(&self, pc: usize, slot: u32) -> bool {
        for op in &self.ops[pc..] {
            let (mut reads, mut writes) = (false, false);
            for_reads(op, &self.terms, |read| reads |= read == slot);
            for_writes(op, |written| writes |= written == slot);
            if reads || writes {
                return reads;
            }
        }
        slot == self.result
    }

    /// The last step that was complete before the operation at `pc`.
    pub fn last_step_end(&self, pc: usize) -> Option<&Op> {
        self.ops[..pc]
            .iter()
            .rev()
            .find(|op| matches!(op, Op::StepEnd { .. }))
    }

    /// A bit for each slot and operation, and one set for the end.
    fn find_live(&mut self, keep: &[u32]) {
        let bit = |slot: u32| 1u64.checked_shl(slot).unwrap_or(0);
        let mut mask = keep.iter().fold(0, |m, &s| m | bit(s));
        let mut live = vec![mask];
        for op in self.ops.iter().rev() {
            for_writes(op, |w| mask &= !bit(w));
            for_reads(op, &self.terms, |r| mask |= bit(r));
            live.push(mask);
        }
        live.reverse();
        let mut last_step = 0;
        for (i, op) in self.ops.iter().enumerate() {
            live[i] |= last_step;
            if let Op::StepEnd { x, denoised, .. } = *op {
                last_step = bit(x) | bit(denoised);
            }
        }
        live[self.ops.len()] |= last_step;
        self.live = live;
    }
}

fn for_reads(op: &Op, terms: &[(f64, u32)], mut f: impl FnMut(u32)) {
    match *op {
        Op::Eval { x, .. } => f(x),
        Op::Noise { .. } => {}
        Op::Lin { first, len, .. } => terms[first as usize..(first + len) as usize]
            .iter()
            .for_each(|t| f(t.1)),
        Op::StepEnd { x, denoised, .. } => {
            f(x);
            f(denoised);
        }
    }
}

fn for_writes(op: &Op, mut f: impl FnMut(u32)) {
    match *op {
        Op::Eval { dst, uncond, .. } => {
            f(dst);
            uncond.iter().for_each(|u| f(*u));
        }
        Op::Noise { dst, .. } | Op::Lin { dst, .. } => f(dst),
        Op::StepEnd { .. } => {}
    }
}

/// Collects operations in single-assignment form.
pub(crate) struct Builder<'a> {
    program: Program,
    inputs: u32,
    next: u32,
    timestep_of: &'a dyn Fn(f64) -> f64,
}

impl<'a> Builder<'a> {
    /// `timestep_of` says which timestep belongs to a sigma where a sampler doesn't say it itself.
    pub fn new(timestep_of: &'a dyn Fn(f64) -> f64) -> Self {
        Self::with_inputs(timestep_of, 1)
    }

    /// The same for a program that begins with more than one latent, in slots 0, 1, ...
    pub fn with_inputs(timestep_of: &'a dyn Fn(f64) -> f64, inputs: u32) -> Self {
        Self {
            program: Program::default(),
            inputs,
            next: inputs,
            timestep_of,
        }
    }

    /// Numbers calls and steps from here on: for a program that goes on from another.
    pub fn count_from(&mut self, calls: u32, steps: u32) {
        (self.program.calls, self.program.steps) = (calls, steps);
    }

    /// The timestep that belongs to a sigma.
    pub fn timestep(&self, sigma: f64) -> f64 {
        (self.timestep_of)(sigma)
    }

    fn fresh(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }

    /// The denoised latent of `x` at noise level `sigma`.
    pub fn eval(&mut self, x: Reg, sigma: f64) -> Reg {
        self.eval_at(x, sigma, (self.timestep_of)(sigma))
    }

    /// The same at a timestep that the sampler names.
    pub fn eval_at(&mut self, x: Reg, sigma: f64, timestep: f64) -> Reg {
        let (dst, call) = (self.fresh(), self.program.calls);
        let step = self.program.steps;
        self.program.ops.push(Op::Eval {
            x: x.0,
            dst,
            uncond: None,
            sigma,
            timestep,
            step,
            call,
        });
        self.program.calls += 1;
        Reg(dst)
    }

    /// The denoised latent and the unconditional one of the same call.
    pub fn eval_with_uncond(&mut self, x: Reg, sigma: f64) -> (Reg, Reg) {
        self.eval_with_uncond_at(x, sigma, (self.timestep_of)(sigma))
    }

    /// The same at a timestep that the sampler names.
    pub fn eval_with_uncond_at(&mut self, x: Reg, sigma: f64, timestep: f64) -> (Reg, Reg) {
        let denoised = self.eval_at(x, sigma, timestep);
        let unconditional = self.fresh();
        if let Some(Op::Eval { uncond, .. }) = self.program.ops.last_mut() {
            *uncond = Some(unconditional);
        }
        (denoised, Reg(unconditional))
    }

    /// Unit noise for the way from sigma `from` to sigma `to`.
    pub fn noise(&mut self, from: f64, to: f64) -> Reg {
        let dst = self.fresh();
        self.program.ops.push(Op::Noise {
            dst,
            from,
            to,
            step: self.program.steps,
        });
        Reg(dst)
    }

    /// A linear combination; terms with coefficient 0 are left out.
    pub fn lin(&mut self, terms: &[(f64, Reg)]) -> Reg {
        let first = self.program.terms.len() as u32;
        self.program
            .terms
            .extend(terms.iter().filter(|t| t.0 != 0.0).map(|t| (t.0, t.1.0)));
        if self.program.terms.len() as u32 == first {
            self.program.terms.extend(terms.first().map(|t| (0.0, t.1.0)));
        }
        let len = self.program.terms.len() as u32 - first;
        debug_assert!(len > 0 && len as usize <= MAX_TERMS);
        let dst = self.fresh();
        self.program.ops.push(Op::Lin { dst, first, len });
        Reg(dst)
    }

    /// Marks the end of a step that arrived at `x` and had the (last) denoised latent `denoised` at noise level `sigma`.
    pub fn end_step(&mut self, x: Reg, denoised: Reg, sigma: f64) {
        let step = self.program.steps;
        self.program.ops.push(Op::StepEnd {
            x: x.0,
            denoised: denoised.0,
            step,
            sigma,
        });
        self.program.steps += 1;
    }

    /// Assigns slots and ends the program with `result`.
    pub fn finish(self, result: Reg) -> Program {
        self.finish_with(&[result]).0
    }

    /// The same with several values to keep: also says in which slots they are. The first is the result.
    pub fn finish_with(self, keep: &[Reg]) -> (Program, Vec<u32>) {
        let Self {
            mut program,
            inputs,
            next,
            ..
        } = self;
        let last_use = last_uses(&program, next, keep);
        let mut slot = vec![u32::MAX; next as usize];
        let mut free: Vec<u32> = Vec::new();
        let mut dies_at: Vec<Vec<u32>> = vec![Vec::new(); program.ops.len() + 1];
        last_use
            .iter()
            .enumerate()
            .for_each(|(r, &at)| dies_at[at].push(r as u32));
        (0..inputs).for_each(|i| slot[i as usize] = i);
        program.slots = inputs;
        for (i, op) in program.ops.iter_mut().enumerate() {
            // New values first: a combination must never be written over one of its terms.
            for_writes(op, |w| {
                slot[w as usize] = free.pop().unwrap_or_else(|| {
                    program.slots += 1;
                    program.slots - 1
                });
            });
            dies_at[i].iter().for_each(|&r| free.push(slot[r as usize]));
            rename(op, &mut program.terms, &slot);
        }
        let results: Vec<u32> = keep.iter().map(|r| slot[r.0 as usize]).collect();
        program.result = results[0];
        program.find_live(&results);
        (program, results)
    }
}

/// The operation after which each value is dead. A step's end keeps its values until the next step's end, so that a caller
/// can look at them at any request in between.
fn last_uses(program: &Program, values: u32, keep: &[Reg]) -> Vec<usize> {
    let mut last = vec![0; values as usize];
    let mut previous: Option<[u32; 2]> = None;
    for (i, op) in program.ops.iter().enumerate() {
        for_writes(op, |w| last[w as usize] = i);
        for_reads(op, &program.terms, |r| last[r as usize] = i);
        if let Op::StepEnd { x, denoised, .. } = *op {
            previous
                .replace([x, denoised])
                .iter()
                .flatten()
                .for_each(|&r| last[r as usize] = i);
        }
    }
    let end = program.ops.len();
    previous.iter().flatten().for_each(|&r| last[r as usize] = end);
    keep.iter().for_each(|r| last[r.0 as usize] = end);
    last
}

fn rename(op: &mut Op, terms: &mut [(f64, u32)], slot: &[u32]) {
    let to = |r: &mut u32| *r = slot[*r as usize];
    match op {
        Op::Eval { x, dst, uncond, .. } => {
            to(x);
            to(dst);
            uncond.iter_mut().for_each(to);
        }
        Op::Noise { dst, .. } => to(dst),
        Op::Lin { dst, first, len } => {
            to(dst);
            terms[*first as usize..(*first + *len) as usize]
                .iter_mut()
                .for_each(|t| to(&mut t.1));
        }
        Op::StepEnd { x, denoised, .. } => {
            to(x);
            to(denoised);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_used_again_and_never_overwrite_a_term() {
        let timestep = |s: f64| s;
        let mut b = Builder::new(&timestep);
        let mut x = START;
        for i in 0..50 {
            let d = b.eval(x, f64::from(i));
            x = b.lin(&[(0.5, x), (0.5, d)]);
            b.end_step(x, d, 1.0);
        }
        let p = b.finish(x);
        assert_eq!((p.calls, p.steps), (50, 50));
        assert!(p.slots <= 6, "{}", p.slots);
        for op in &p.ops {
            if let Op::Lin { dst, first, len } = *op {
                assert!(
                    p.terms[first as usize..(first + len) as usize]
                        .iter()
                        .all(|t| t.1 != dst)
                );
            }
        }
    }
}
