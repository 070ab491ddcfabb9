//! A stepper's state as bytes.

use crate::{Error, Result, StepperState};

/// The beginning of such bytes: a name and a version.
const MAGIC: &[u8; 8] = b"sdsched\x01";

impl<X> StepperState<X> {
    /// The state as bytes, little-endian; `encode` appends one latent's bytes.
    pub fn to_bytes(&self, encode: impl Fn(&X, &mut Vec<u8>)) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        let counts = [
            self.plan,
            self.position,
            self.numbers.len() as u64,
            self.latents.len() as u64,
        ];
        counts.iter().for_each(|v| out.extend(v.to_le_bytes()));
        self.numbers
            .iter()
            .for_each(|v| out.extend(v.to_bits().to_le_bytes()));
        for (place, x) in &self.latents {
            let mut bytes = Vec::new();
            encode(x, &mut bytes);
            out.extend(u64::from(*place).to_le_bytes());
            out.extend((bytes.len() as u64).to_le_bytes());
            out.extend(bytes);
        }
        out
    }

    /// The state from such bytes; `decode` makes a latent of its bytes, or `None` if they are none.
    ///
    /// # Errors
    /// [`Error::BadState`] for anything else than what [`StepperState::to_bytes`] gave. Nothing larger than `bytes` is ever
    /// allocated.
    pub fn from_bytes(bytes: &[u8], decode: impl Fn(&[u8]) -> Option<X>) -> Result<Self> {
        let bad = |reason: &str| Error::BadState {
            reason: reason.into(),
        };
        let rest = bytes
            .strip_prefix(MAGIC)
            .ok_or_else(|| bad("these bytes are no stepper's state"))?;
        let mut reader = Reader(rest);
        let short = || bad("it ends too early");
        let mut word = || reader.word().ok_or_else(short);
        let (plan, position, numbers, latents) = (word()?, word()?, word()?, word()?);
        let mut state = Self {
            plan,
            position,
            numbers: Vec::new(),
            latents: Vec::new(),
        };
        for _ in 0..numbers {
            state
                .numbers
                .push(f64::from_bits(reader.word().ok_or_else(short)?));
        }
        for _ in 0..latents {
            let place = reader
                .word()
                .and_then(|p| u32::try_from(p).ok())
                .ok_or_else(short)?;
            let length = reader.word().ok_or_else(short)?;
            let x = reader.take(length).ok_or_else(short)?;
            state
                .latents
                .push((place, decode(x).ok_or_else(|| bad("a latent can't be read"))?));
        }
        if !reader.0.is_empty() {
            return Err(bad("something follows its end"));
        }
        Ok(state)
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: u64) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(usize::try_from(n).ok()?)?;
        self.0 = tail;
        Some(head)
    }

    fn word(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
}
