//! Brownian trees as torchsde's `BrownianTree` grows them: a path whose increments don't depend on which were asked for before
//! (Kidger et al. 2021, arXiv:2105.13493).
//!
//! The interval is halved again and again; the increment of a left half is a Brownian bridge with noise whose seed numpy's
//! `SeedSequence` makes of the tree's entropy and the node's place. Times are rounded to 6 decimals, entropy is pooled in 24
//! words.

use std::collections::HashMap;

use super::{Dtype, Generator, SeedSequence, Source};
use crate::{Error, Result};

const POOL: usize = 24;

/// Nodes whose increments are kept: about three paths from the root.
const CACHE: usize = 80;

/// A Brownian path of `n` values over a range of sigmas.
#[derive(Debug, Clone)]
pub struct BrownianTree {
    seed: u64,
    source: Source,
    n: usize,
    start: f64,
    end: f64,
    root: Vec<f32>,
    /// Left and right increments by the depth and key of their parent.
    cache: HashMap<(u64, u64), [Vec<f32>; 2]>,
}

/// A node on the way down.
#[derive(Clone, Copy)]
struct Node {
    start: f64,
    end: f64,
    key: u64,
    depth: u64,
}

/// Rounded to 6 decimals, exactly and ties to even, as Python's `round`.
fn round(t: f64) -> f64 {
    format!("{t:.6}").parse().unwrap_or(t)
}

impl BrownianTree {
    /// A tree over `sigma_min..=sigma_max` (its order doesn't matter) with the image's seed as entropy.
    ///
    /// # Errors
    /// `sigma_min`, `sigma_max` unless finite and apart by at least a millionth.
    pub fn new(seed: u64, source: Source, n: usize, sigma_min: f64, sigma_max: f64) -> Result<Self> {
        if !(sigma_min.is_finite() && sigma_max.is_finite()) {
            return Err(Error::param("sigma_min", "and sigma_max must be finite"));
        }
        let (a, b) = (single(sigma_min.min(sigma_max)), single(sigma_min.max(sigma_max)));
        let (start, end) = (round(a), round(b));
        if start >= end {
            return Err(Error::param(
                "sigma_max",
                format!("must be over sigma_min ({sigma_min}), not {sigma_max}"),
            ));
        }
        let seeds = SeedSequence::new(seed, &[], POOL).state(1);
        let mut root = Generator::new(source, seeds[0].into()).normal(n, Dtype::F32);
        let scale = (b - a).sqrt() as f32;
        root.iter_mut().for_each(|v| *v *= scale);
        Ok(Self {
            seed,
            source,
            n,
            start,
            end,
            root,
            cache: HashMap::new(),
        })
    }

    /// Noise of unit variance for the way from one sigma to another (k-diffusion's `BrownianTreeNoiseSampler`): the increment
    /// over the root of the distance, negative when sigma falls. Sigmas outside the tree's range count as its ends.
    pub fn noise(&mut self, sigma_from: f64, sigma_to: f64) -> Vec<f32> {
        let (from, to) = (single(sigma_from), single(sigma_to));
        let sign = if from < to { 1.0 } else { -1.0 };
        let scale = sign / ((to as f32 - from as f32).abs().sqrt());
        let mut w = self.increment(from.min(to), from.max(to));
        if scale.is_finite() {
            w.iter_mut().for_each(|v| *v *= scale);
        }
        w
    }

    /// The path's increment from one time to a later one.
    fn increment(&mut self, from: f64, to: f64) -> Vec<f32> {
        let clamp = |t: f64| round(if t.is_nan() { self.start } else { t }).clamp(self.start, self.end);
        let (from, to) = (clamp(from), clamp(to));
        let mut sum = vec![0.0; self.n];
        if from < to {
            if self.cache.len() > CACHE {
                self.cache.clear();
            }
            let root = Node {
                start: self.start,
                end: self.end,
                key: 0,
                depth: 0,
            };
            let w = std::mem::take(&mut self.root);
            self.add(root, &w, from, to, &mut sum);
            self.root = w;
        }
        sum
    }

    /// Adds the increment over the part of `node` between `from` and `to`.
    fn add(&mut self, node: Node, w: &[f32], from: f64, to: f64, sum: &mut [f32]) {
        if from == node.start && to == node.end {
            sum.iter_mut().zip(w).for_each(|(s, w)| *s += w);
            return;
        }
        let mid = round(0.5 * (node.end + node.start));
        let place = (node.depth, node.key);
        let halves = match self.cache.remove(&place) {
            Some(halves) => halves,
            None => self.halves(node, w, mid),
        };
        let child = |start, end, right| Node {
            start,
            end,
            key: 2 * node.key + right,
            depth: node.depth + 1,
        };
        if from < mid {
            self.add(child(node.start, mid, 0), &halves[0], from, to.min(mid), sum);
        }
        if to > mid {
            self.add(child(mid, node.end, 1), &halves[1], from.max(mid), to, sum);
        }
        self.cache.insert(place, halves);
    }

    /// The increments of both halves: a bridge, in float32 as the reference computes it.
    fn halves(&self, node: Node, w: &[f32], mid: f64) -> [Vec<f32>; 2] {
        let seeds = SeedSequence::new(self.seed, &[node.key, node.depth], POOL).state(1);
        let noise = Generator::new(self.source, seeds[0].into()).normal(self.n, Dtype::F32);
        let reciprocal = 1.0 / (node.end - node.start);
        let (left, right) = (mid - node.start, node.end - mid);
        let spread = (left * right * reciprocal).sqrt() as f32;
        let (l, r) = (left as f32, reciprocal as f32);
        let left: Vec<f32> = w
            .iter()
            .zip(&noise)
            .map(|(w, n)| l * w * r + spread * n)
            .collect();
        let right = w.iter().zip(&left).map(|(w, l)| w - l).collect();
        [left, right]
    }
}

/// Sigmas are float32 in the reference programs, and times are compared to the millionth.
fn single(sigma: f64) -> f64 {
    f64::from(sigma as f32)
}
