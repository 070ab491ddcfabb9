//! numpy's `SeedSequence` (Melissa O'Neill's `seed_seq_fe`): many good seeds from a few numbers.

/// A pool of mixed entropy, from which seeds are drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedSequence {
    pool: Vec<u32>,
}

fn words(v: u64) -> impl Iterator<Item = u32> {
    let high = (v >> 32) as u32;
    [v as u32].into_iter().chain((high != 0).then_some(high))
}

impl SeedSequence {
    /// `SeedSequence(entropy, spawn_key=key, pool_size=pool)`; numpy wants a pool of at least 4, smaller ones become 4.
    pub fn new(entropy: u64, key: &[u64], pool: usize) -> Self {
        let size = pool.max(4);
        let mut all: Vec<u32> = words(entropy).collect();
        if !key.is_empty() {
            // So that a spawned sequence never equals one of longer entropy.
            all.resize(size.max(all.len()), 0);
        }
        all.extend(key.iter().flat_map(|&k| words(k)));
        let mut constant = 0x43b0_d7e5u32;
        let mut hash = |v: u32| {
            let v = v ^ constant;
            constant = constant.wrapping_mul(0x931e_8875);
            let v = v.wrapping_mul(constant);
            v ^ (v >> 16)
        };
        let mix = |x: u32, y: u32| {
            let r = x
                .wrapping_mul(0xca01_f9dd)
                .wrapping_sub(y.wrapping_mul(0x4973_f715));
            r ^ (r >> 16)
        };
        let mut pool: Vec<u32> = (0..size)
            .map(|i| hash(all.get(i).copied().unwrap_or(0)))
            .collect();
        for src in 0..size {
            for dst in (0..size).filter(|&d| d != src) {
                pool[dst] = mix(pool[dst], hash(pool[src]));
            }
        }
        for &extra in all.iter().skip(size) {
            pool.iter_mut().for_each(|p| *p = mix(*p, hash(extra)));
        }
        Self { pool }
    }

    /// `generate_state(n)`: `n` seeds of 32 bits.
    pub fn state(&self, n: usize) -> Vec<u32> {
        let mut constant = 0x8b51_f9ddu32;
        let draw = |&p: &u32| {
            let v = p ^ constant;
            constant = constant.wrapping_mul(0x58f3_8ded);
            let v = v.wrapping_mul(constant);
            v ^ (v >> 16)
        };
        self.pool.iter().cycle().take(n).map(draw).collect()
    }
}
