//! How much memory there is.

/// Bytes of a device's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// All of it.
    pub total: u64,
    /// What can be had without anything being moved elsewhere; `None` where nobody tells.
    pub free: Option<u64>,
}

/// This machine's memory, where the system tells it in a file: on Linux.
pub fn machine_memory() -> Option<DeviceMemory> {
    of_meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

/// The amounts in Linux' `/proc/meminfo`.
fn of_meminfo(text: &str) -> Option<DeviceMemory> {
    let amount = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kilobytes.checked_mul(1024)
    };
    Some(DeviceMemory {
        total: amount("MemTotal")?,
        free: Some(amount("MemAvailable")?),
    })
}

/// The memory of a card at a PCI address, whose driver tells it in files: of AMD's under Linux.
#[cfg(any(feature = "vulkan", test))]
pub(super) fn of_card(folder: &std::path::Path) -> Option<DeviceMemory> {
    let amount = |name: &str| {
        std::fs::read_to_string(folder.join(name))
            .ok()?
            .trim()
            .parse::<u64>()
            .ok()
    };
    let total = amount("mem_info_vram_total")?;
    Some(DeviceMemory {
        total,
        free: amount("mem_info_vram_used").map(|used| total.saturating_sub(used)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_linux_tells() {
        let text =
            "MemTotal:       16384000 kB\nMemFree: 1 kB\nMemAvailable:    9000000 kB\nMemTotalX: 3 kB\n";
        let (total, free) = (16_777_216_000, Some(9_216_000_000));
        assert_eq!(of_meminfo(text), Some(DeviceMemory { total, free }));
        for text in [
            "",
            "MemTotal: 5 kB",
            "MemTotal: x kB\nMemAvailable: 1 kB",
            "MemTotal: 99999999999999999999 kB",
        ] {
            assert!(of_meminfo(text).is_none(), "{text}");
        }
    }

    #[test]
    fn it_reads_what_amds_driver_tells() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        assert_eq!(of_card(folder.path()), None);
        write("mem_info_vram_total", "25753026560\n");
        let memory = |free| {
            Some(DeviceMemory {
                total: 25_753_026_560,
                free,
            })
        };
        assert_eq!(of_card(folder.path()), memory(None));
        write("mem_info_vram_used", "753026560\n");
        assert_eq!(of_card(folder.path()), memory(Some(25_000_000_000)));
        write("mem_info_vram_total", "much\n");
        assert_eq!(of_card(folder.path()), None);
    }
}
