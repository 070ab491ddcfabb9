//! Weights that follow from their names, so that no file has to hold them: `tools/goldens/formula.py` makes the same for the reference.

/// Numbers from -1 to 1: SplitMix64 (Steele, Lea and Flood 2014), seeded with the name's FNV-1a hash.
pub fn uniform(name: &str, n: usize) -> Vec<f32> {
    let hash = |seed: u64, byte: u8| (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    let seed = name.bytes().fold(0xCBF2_9CE4_8422_2325, hash);
    let number = |i: u64| {
        let z = seed.wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        // 24 bits: exact in f32.
        let bits = ((z ^ (z >> 31)) >> 40) as i32 - (1 << 23);
        bits as f32 / (1 << 23) as f32
    };
    (0..n as u64).map(number).collect()
}

/// A parameter: norms near 1, biases near 0, weights of variance 1 over their inputs.
pub fn tensor(name: &str, shape: &[usize]) -> Vec<f32> {
    let values = uniform(name, shape.iter().product()).into_iter();
    match shape {
        [_, inputs @ ..] if !inputs.is_empty() => {
            let scale = (3.0 / inputs.iter().product::<usize>() as f64).sqrt() as f32;
            values.map(|value| value * scale).collect()
        }
        _ => {
            let centre = if name.ends_with(".weight") { 1.0 } else { 0.0 };
            values.map(|value| value * 0.25 + centre).collect()
        }
    }
}
