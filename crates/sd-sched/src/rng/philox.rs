//! CUDA's noise: Philox 4x32-10 (Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3") and Box-Muller.

/// Ten rounds of Philox on a counter and a key.
pub fn philox_4x32_10(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let p0 = 0xd251_1f53u64 * u64::from(counter[0]);
        let p1 = 0xcd9e_8d57u64 * u64::from(counter[2]);
        counter = [
            (p1 >> 32) as u32 ^ counter[1] ^ key[0],
            p1 as u32,
            (p0 >> 32) as u32 ^ counter[3] ^ key[1],
            p0 as u32,
        ];
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    counter
}

/// A graphics card as far as its noise depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Card {
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Resident threads per multiprocessor (1536 or 2048 on most).
    pub threads_per_multiprocessor: u32,
}

/// `torch.Generator("cuda")`: what `torch.randn(..., device="cuda")` draws.
///
/// Without a card every value has a thread of its own (the WebUI's "NV"); with one, PyTorch's grid of blocks of 256 threads,
/// each of which makes up to four values a round. They differ only beyond `256 * multiprocessors * (threads / 256)` values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhiloxRng {
    key: [u32; 2],
    offset: u64,
    card: Option<Card>,
}

impl PhiloxRng {
    /// The infinite grid.
    pub fn new(seed: u64) -> Self {
        Self {
            key: [seed as u32, (seed >> 32) as u32],
            offset: 0,
            card: None,
        }
    }

    /// A real card's grid.
    pub fn on_card(seed: u64, card: Card) -> Self {
        Self {
            card: Some(card),
            ..Self::new(seed)
        }
    }

    /// `randn(n)` in float32.
    pub fn normal_f32(&mut self, n: usize) -> Vec<f32> {
        let Some(card) = self.card else {
            let offset = self.offset;
            self.offset += 1;
            return (0..n as u64).map(|i| self.value(offset, i, 0)).collect();
        };
        let blocks = u64::from(card.multiprocessors) * u64::from(card.threads_per_multiprocessor / 256);
        let threads = 256 * blocks.clamp(1, (n as u64).div_ceil(256).max(1));
        let rounds = (n as u64).max(1).div_ceil(threads * 4);
        let offset = self.offset;
        self.offset += rounds;
        let at = |i: u64| {
            self.value(
                offset + i / (threads * 4),
                i % threads,
                (i / threads % 4) as usize,
            )
        };
        (0..n as u64).map(at).collect()
    }

    /// One of the four values that a thread makes in one round.
    fn value(&self, offset: u64, thread: u64, which: usize) -> f32 {
        let counter = [
            offset as u32,
            (offset >> 32) as u32,
            thread as u32,
            (thread >> 32) as u32,
        ];
        let r = philox_4x32_10(counter, self.key);
        let pair = which / 2 * 2;
        // The constants are cuRAND's float32 ones. The WebUI goes on in float64, cuRAND itself in float32: it shows in the
        // seventh digit.
        let (unit, turn) = (2f32.powi(-32), (2.328_306_4e-10f64 * 6.283_185_5) as f32);
        let scale = |v: u32, c: f32| match self.card {
            None => f64::from(v) * f64::from(c) + f64::from(c / 2.0),
            Some(_) => f64::from((v as f32).mul_add(c, c / 2.0)),
        };
        let (u, v) = (scale(r[pair], unit), scale(r[pair + 1], turn));
        let s = (-2.0 * u.ln()).sqrt();
        (s * if which.is_multiple_of(2) { v.sin() } else { v.cos() }) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first values of PyTorch's CUDA generator with seed 0 and shape (3, 4), as the WebUI documents them. Its own code
    /// gives them to 2e-7 (the golden of its arithmetic is among the integration tests).
    #[test]
    fn seed_0() {
        let want = [-0.92466259, -0.42534415, -2.6438457, 0.14518388];
        let card = Card {
            multiprocessors: 128,
            threads_per_multiprocessor: 1536,
        };
        for mut g in [PhiloxRng::new(0), PhiloxRng::on_card(0, card)] {
            let got = g.normal_f32(12);
            assert!(
                got.iter()
                    .zip(want)
                    .all(|(a, b): (&f32, f64)| (f64::from(*a) - b).abs() < 3e-7),
                "{got:?}"
            );
        }
    }

    #[test]
    fn a_card_agrees_with_the_infinite_grid_while_it_has_threads() {
        let card = Card {
            multiprocessors: 2,
            threads_per_multiprocessor: 512,
        };
        let (mut real, mut ideal) = (PhiloxRng::on_card(5, card), PhiloxRng::new(5));
        let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 2e-6);
        assert!(near(&real.normal_f32(1024), &ideal.normal_f32(1024)));
        assert!(near(&real.normal_f32(10), &ideal.normal_f32(10)));
        let (a, b) = (real.normal_f32(9000), ideal.normal_f32(9000));
        assert!(near(&a[..1024], &b[..1024]));
        assert!(!near(&a[1024..], &b[1024..]));
        // 9000 values are three rounds of 1024 threads with four values each.
        assert_eq!(real.offset, 2 + 3);
    }
}
