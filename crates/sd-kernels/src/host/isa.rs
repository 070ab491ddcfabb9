//! What this processor can do.

/// The instruction sets for which there are kernels; each includes what stands before it as far as the kernels need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What every machine has that Rust compiles for, left to the compiler.
    Portable,
    /// x86 with AVX2 and FMA, left to the compiler.
    Avx2,
    /// x86 with AVX-512 (F, BW, DQ, VL).
    Avx512,
    /// AVX-512 with dot products of bytes (Cascade Lake and later).
    Avx512Vnni,
    /// AVX-512 with dot products of `bf16` (Zen 4 and later, Cooper Lake and later).
    Avx512Bf16,
    /// Tiles of `bf16` and of bytes (Sapphire Rapids and later), where the operating system allows them.
    Amx,
}

impl Isa {
    /// The best one here. Asks the processor once.
    pub fn detect() -> Self {
        static FOUND: std::sync::OnceLock<Isa> = std::sync::OnceLock::new();
        *FOUND.get_or_init(|| *Self::available().last().unwrap_or(&Isa::Portable))
    }

    /// All that work here, from the plainest to the best.
    pub fn available() -> Vec<Self> {
        #[allow(unused_mut)]
        let mut found = vec![Isa::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            let vnni = avx512 && is_x86_feature_detected!("avx512vnni");
            let bf16 = vnni && is_x86_feature_detected!("avx512bf16");
            let all = [
                (avx2, Isa::Avx2),
                (avx512, Isa::Avx512),
                (vnni, Isa::Avx512Vnni),
                (bf16, Isa::Avx512Bf16),
                (bf16 && super::amx::available(), Isa::Amx),
            ];
            found.extend(all.into_iter().filter(|(here, _)| *here).map(|(_, isa)| isa));
        }
        found
    }
}
