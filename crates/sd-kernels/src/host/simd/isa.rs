//! Instruction sets: which of them this processor has, and code compiled for their vectors.

/// The instruction sets for which there are kernels; each includes what stands before it as far as the kernels need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// The instructions of every machine that Rust compiles for, left to the compiler.
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
    /// The best one here. The processor is asked once.
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

/// Work whose loops should use all of a processor's vectors. `run` must be `#[inline(always)]`, and so must what it calls: only what
/// is inlined is compiled for them.
pub(crate) trait Work {
    type Output;

    fn run(self) -> Self::Output;
}

/// Runs work, compiled for `isa`'s vectors.
pub(crate) fn vectorised<W: Work>(isa: Isa, work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma")]
        fn avx2<W: Work>(work: W) -> W::Output {
            work.run()
        }
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        fn avx512<W: Work>(work: W) -> W::Output {
            work.run()
        }
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
        fn avx512_bf16<W: Work>(work: W) -> W::Output {
            work.run()
        }
        // SAFETY: an `Isa` is only made where it works.
        unsafe {
            match isa {
                Isa::Portable => work.run(),
                Isa::Avx2 => avx2(work),
                Isa::Avx512 | Isa::Avx512Vnni => avx512(work),
                Isa::Avx512Bf16 | Isa::Amx => avx512_bf16(work),
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = isa;
        work.run()
    }
}
