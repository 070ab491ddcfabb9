//! What CUDA's driver tells of a card, without a device of Burn's, which would keep the card's context for the rest of the process.

use cudarc::driver::CudaContext;

use crate::device::memory::DeviceMemory;

/// A card.
pub(super) struct Card {
    pub title: String,
    pub memory: DeviceMemory,
}

impl Card {
    /// The n-th card, asked now. Opens its context, and gives it back; a context that is open otherwise stays so.
    pub fn ask(n: usize) -> Option<Self> {
        // In a thread of its own: the context becomes the thread's, and a driver that is missing makes it panic.
        let asked = std::thread::spawn(move || {
            let context = CudaContext::new(n).ok()?;
            let (free, total) = context.mem_get_info().ok()?;
            let memory = DeviceMemory {
                total: total as u64,
                free: Some(free as u64),
            };
            let title = context.name().ok()?;
            Some(Self { title, memory })
        });
        asked.join().ok().flatten()
    }
}
