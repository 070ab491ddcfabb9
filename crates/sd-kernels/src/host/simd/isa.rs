//! Instruction sets: which of them this processor has, and code compiled for their vectors.

/// The instruction sets for which there are kernels. Of one architecture's, each includes what stands before it as far as the kernels
/// need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// The instructions of every machine that Rust compiles for, left to the compiler.
    Portable,
    /// 64-bit ARM's vectors, which each of these processors has.
    Neon,
    /// NEON with dot products of bytes (ARMv8.2's `dotprod`: Apple M1, Cortex-A76, Neoverse N1 and later).
    NeonDot,
    /// The same with dot products of `bf16`, and of bytes with and without a sign (ARMv8.6's `bf16` and `i8mm`: Apple M2, Cortex-X2,
    /// Neoverse V1 and later).
    NeonBf16,
    /// x86 with AVX2, FMA and F16C, left to the compiler.
    Avx2,
    /// AVX2 with dot products of bytes (Alder Lake and later, Zen 5).
    AvxVnni,
    /// x86 with AVX-512 (F, BW, DQ, VL).
    Avx512,
    /// AVX-512 with dot products of bytes (Cascade Lake and later).
    Avx512Vnni,
    /// AVX-512 with dot products of `bf16` (Zen 4 and later, Cooper Lake and later).
    Avx512Bf16,
    /// Tiles of `bf16` and of bytes (Sapphire Rapids and later), where the operating system allows them.
    Amx,
}

/// The environment variable that names the instruction set to use, instead of the best one.
const VARIABLE: &str = "SDRS_ISA";

impl Isa {
    const ALL: [Self; 10] = [
        Self::Portable,
        Self::Neon,
        Self::NeonDot,
        Self::NeonBf16,
        Self::Avx2,
        Self::AvxVnni,
        Self::Avx512,
        Self::Avx512Vnni,
        Self::Avx512Bf16,
        Self::Amx,
    ];

    /// The one to use: the best one here, or that which `SDRS_ISA` names. Both are asked once.
    pub fn detect() -> Self {
        let best = || *Self::available().last().unwrap_or(&Isa::Portable);
        Self::chosen().clone().ok().flatten().unwrap_or_else(best)
    }

    /// The one that `SDRS_ISA` names, if it is set; an error if it names none that works here.
    pub fn chosen() -> &'static Result<Option<Self>, String> {
        static CHOSEN: std::sync::OnceLock<Result<Option<Isa>, String>> = std::sync::OnceLock::new();
        CHOSEN.get_or_init(|| match std::env::var(VARIABLE) {
            Ok(name) if !name.is_empty() => Self::named(&name).map(Some),
            Err(std::env::VarError::NotUnicode(_)) => Self::named("\u{fffd}").map(Some),
            _ => Ok(None),
        })
    }

    pub(super) fn named(name: &str) -> Result<Self, String> {
        let available = Self::available();
        let names = |all: &[Self]| all.iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", ");
        match Self::ALL.into_iter().find(|isa| isa.name() == name) {
            None => Err(format!(
                "'{name}' is no instruction set; there are {}",
                names(&Self::ALL)
            )),
            Some(isa) if !available.contains(&isa) => Err(format!(
                "this processor has no {name}; it has {}",
                names(&available)
            )),
            Some(isa) => Ok(isa),
        }
    }

    /// Its name, as `SDRS_ISA` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Neon => "neon",
            Self::NeonDot => "neon-dot",
            Self::NeonBf16 => "neon-bf16",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avx-vnni",
            Self::Avx512 => "avx512",
            Self::Avx512Vnni => "avx512-vnni",
            Self::Avx512Bf16 => "avx512-bf16",
            Self::Amx => "amx",
        }
    }

    /// Whether it multiplies bytes, with sums of four products; else whole numbers are multiplied as words.
    pub fn multiplies_bytes(self) -> bool {
        !matches!(self, Self::Portable | Self::Neon | Self::Avx2 | Self::Avx512)
    }

    /// Whether products of whole numbers are faster than those of `f32`: by measurements on x86; on ARM by how many values an
    /// instruction takes, since ARM's guides to optimization give all of them one throughput.
    pub fn prefers_whole(self) -> bool {
        self > Self::Neon
    }

    /// Whether products of `bf16` are faster than those of `f32`, by the same.
    pub fn prefers_bf16(self) -> bool {
        matches!(self, Self::NeonBf16 | Self::Avx512Bf16 | Self::Amx)
    }

    /// All that work here, from the plainest to the best.
    pub fn available() -> Vec<Self> {
        let here = of_processor().into_iter().filter(|(here, _)| *here);
        std::iter::once(Isa::Portable)
            .chain(here.map(|(_, isa)| isa))
            .collect()
    }
}

/// The architecture's instruction sets, and whether this processor has them.
#[cfg(target_arch = "x86_64")]
fn of_processor() -> [(bool, Isa); 6] {
    let avx2 = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c");
    let avx512 = avx2
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    let vnni = avx512 && is_x86_feature_detected!("avx512vnni");
    let bf16 = vnni && is_x86_feature_detected!("avx512bf16");
    [
        (avx2, Isa::Avx2),
        (avx2 && is_x86_feature_detected!("avxvnni"), Isa::AvxVnni),
        (avx512, Isa::Avx512),
        (vnni, Isa::Avx512Vnni),
        (bf16, Isa::Avx512Bf16),
        (bf16 && amx_available(), Isa::Amx),
    ]
}

#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
fn of_processor() -> [(bool, Isa); 3] {
    use std::arch::is_aarch64_feature_detected;
    let dot = is_aarch64_feature_detected!("dotprod");
    let bf16 = dot && is_aarch64_feature_detected!("i8mm") && is_aarch64_feature_detected!("bf16");
    [(true, Isa::Neon), (dot, Isa::NeonDot), (bf16, Isa::NeonBf16)]
}

#[cfg(not(any(
    target_arch = "x86_64",
    all(target_arch = "aarch64", target_endian = "little")
)))]
fn of_processor() -> [(bool, Isa); 0] {
    []
}

/// Work whose loops should use all of a processor's vectors. `run` must be `#[inline(always)]`, and so must what it calls: only what
/// is inlined is compiled for them.
pub(crate) trait Work {
    type Output;

    fn run(self) -> Self::Output;
}

/// Runs work, compiled for `isa`'s vectors. All code for 64-bit ARM may use NEON.
pub(crate) fn vectorised<W: Work>(isa: Isa, work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma,f16c")]
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
                Isa::Avx2 | Isa::AvxVnni => avx2(work),
                Isa::Avx512 | Isa::Avx512Vnni => avx512(work),
                Isa::Avx512Bf16 | Isa::Amx => avx512_bf16(work),
                _ => work.run(),
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = isa;
        work.run()
    }
}

/// True if the processor has AMX for `bf16` and bytes, and the operating system lets this process use it.
#[cfg(target_arch = "x86_64")]
fn amx_available() -> bool {
    use std::arch::asm;
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    let leaves = __cpuid(0).eax;
    if leaves < 7 {
        return false;
    }
    let features = __cpuid_count(7, 0).edx;
    let [bf16, tile, int8] = [22, 24, 25].map(|bit| features & (1 << bit) != 0);
    // XCR0 says which registers the system saves: tile configuration and tile data are bits 17 and 18.
    let os_xsave = __cpuid(1).ecx & (1 << 27) != 0;
    if !(bf16 && tile && int8 && os_xsave) {
        return false;
    }
    let (low, _high): (u32, u32);
    // SAFETY: `xgetbv` exists where the bit above says so; it only reads.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") _high, options(nomem, nostack)) };
    low & (0b11 << 17) == 0b11 << 17 && permitted()
}

/// Linux wants to be asked once per process before tiles are used (arch_prctl(2), `ARCH_REQ_XCOMP_PERM`). Saying yes costs nothing
/// but a few kilobytes of a signal's frame.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn permitted() -> bool {
    use std::arch::asm;
    const ARCH_PRCTL: i64 = 158;
    const REQUEST_PERMISSION: u64 = 0x1023;
    const TILE_DATA: u64 = 18;
    let result: i64;
    // SAFETY: a system call that takes two numbers and touches no memory of ours.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") REQUEST_PERMISSION,
            in("rsi") TILE_DATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
fn permitted() -> bool {
    false
}
