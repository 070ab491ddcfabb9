//! The operations that a sampler needs from a latent.

/// A latent, or a batch of them: something with finitely many elements that can be combined linearly.
///
/// Every sampler but DPM adaptive needs [`lincomb`](Latent::lincomb) alone.
pub trait Latent: Clone {
    /// `sum_i c_i * x_i`, element by element. `terms` is never empty and all its latents have one shape.
    fn lincomb(terms: &[(f64, &Self)]) -> Self;

    /// The same, into a value whose old content is of no interest: override it to reuse memory.
    fn lincomb_into(out: &mut Self, terms: &[(f64, &Self)]) {
        *out = Self::lincomb(terms);
    }

    /// Whether two latents can be combined. The default trusts the caller.
    fn same_shape(&self, _other: &Self) -> bool {
        true
    }

    /// The error ratio of DPM adaptive: the root of the mean over all elements of
    /// `((low - high) / max(atol, rtol * max(|low|, |previous|)))^2`. The default is `None`: the latent can't be sampled
    /// adaptively.
    fn error_ratio(_low: &Self, _high: &Self, _previous: &Self, _atol: f64, _rtol: f64) -> Option<f64> {
        None
    }
}

/// Elements combined at a time: the sums stay in the first-level cache and in `f64`.
const BLOCK: usize = 256;

macro_rules! latent_for_vec {
    ($t:ty) => {
        impl Latent for Vec<$t> {
            fn lincomb(terms: &[(f64, &Self)]) -> Self {
                let mut out = Vec::new();
                Self::lincomb_into(&mut out, terms);
                out
            }

            fn lincomb_into(out: &mut Self, terms: &[(f64, &Self)]) {
                let n = terms.iter().map(|t| t.1.len()).min().unwrap_or(0);
                out.resize(n, 0.0);
                let mut acc = [0f64; BLOCK];
                for (b, chunk) in out.chunks_mut(BLOCK).enumerate() {
                    let (from, len) = (b * BLOCK, chunk.len());
                    let acc = &mut acc[..len];
                    acc.fill(0.0);
                    for &(c, x) in terms {
                        for (a, v) in acc.iter_mut().zip(&x[from..from + len]) {
                            *a += c * *v as f64;
                        }
                    }
                    for (o, a) in chunk.iter_mut().zip(acc.iter()) {
                        *o = *a as $t;
                    }
                }
            }

            fn same_shape(&self, other: &Self) -> bool {
                self.len() == other.len()
            }

            fn error_ratio(low: &Self, high: &Self, previous: &Self, atol: f64, rtol: f64) -> Option<f64> {
                let sum: f64 = (low.iter().zip(high).zip(previous))
                    .map(|((&l, &h), &p)| {
                        let (l, h, p) = (l as f64, h as f64, p as f64);
                        ((l - h) / atol.max(rtol * l.abs().max(p.abs()))).powi(2)
                    })
                    .sum();
                Some((sum / low.len().max(1) as f64).sqrt())
            }
        }
    };
}
latent_for_vec!(f32);
latent_for_vec!(f64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combines_over_block_borders() {
        let a: Vec<f64> = (0..600).map(f64::from).collect();
        let b: Vec<f64> = a.iter().map(|v| v * v).collect();
        let c = Latent::lincomb(&[(2.0, &a), (-0.5, &b)]);
        assert!(c.iter().zip(&a).all(|(c, a)| *c == 2.0 * a - 0.5 * a * a));
        assert_eq!(c.len(), 600);
    }

    #[test]
    fn reuses_memory() {
        let a = vec![1f32; 10];
        let mut out = vec![0f32; 10];
        let p = out.as_ptr();
        Latent::lincomb_into(&mut out, &[(3.0, &a)]);
        assert_eq!((out.as_ptr(), out[9]), (p, 3.0));
    }
}
