//! Pillow's arithmetic on pixels of red, green, blue and alpha.

/// `a * b / 255`, rounded.
pub(super) fn multiplied(a: u8, b: u8) -> u8 {
    divided(u32::from(a) * u32::from(b))
}

/// A product of bytes over 255, rounded.
fn divided(product: u32) -> u8 {
    let sum = product + 128;
    (((sum >> 8) + sum) >> 8) as u8
}

/// `over` where the mask is 255, `under` where it is 0.
pub(super) fn blended(mask: u8, under: u8, over: u8) -> u8 {
    divided(u32::from(under) * u32::from(255 - mask) + u32::from(over) * u32::from(mask))
}

/// Colours times alpha.
pub(super) fn premultiplied([r, g, b, a]: [u8; 4]) -> [u8; 4] {
    [multiplied(r, a), multiplied(g, a), multiplied(b, a), a]
}

/// Colours over alpha.
pub(super) fn straight([r, g, b, a]: [u8; 4]) -> [u8; 4] {
    if a == 0 || a == 255 {
        return [r, g, b, a];
    }
    let colour = |v: u8| (255 * u32::from(v) / u32::from(a)).min(255) as u8;
    [colour(r), colour(g), colour(b), a]
}

/// `over` laid over `under`, both with alpha not multiplied in.
pub(crate) fn composite(under: [u8; 4], over: [u8; 4]) -> [u8; 4] {
    const BITS: u32 = 7;
    let [under_alpha, alpha] = [under[3], over[3]].map(u32::from);
    if alpha == 0 {
        return under;
    }
    let total = alpha * 255 + under_alpha * (255 - alpha);
    let over_part = ((alpha * 255 * 255) << BITS) / total;
    let under_part = (255 << BITS) - over_part;
    let shifted = |v: u32| ((v >> 8) + v) >> 8;
    let colour = |c: usize| {
        let sum = u32::from(over[c]) * over_part + u32::from(under[c]) * under_part;
        (shifted(sum + (0x80 << BITS)) >> BITS) as u8
    };
    [colour(0), colour(1), colour(2), shifted(total + 0x80) as u8]
}

/// A share of a pixel, as Pillow pastes it through a mask onto nothing, multiplied, and straightens it.
pub(crate) fn share_of(pixel: [u8; 4], share: u8) -> [u8; 4] {
    straight(premultiplied(pixel).map(|v| blended(share, 0, v)))
}

/// Luma as ITU-R 601-2 has it, in 16 bits.
pub(super) fn grey([r, g, b, _]: [u8; 4]) -> u8 {
    let [r, g, b] = [r, g, b].map(u32::from);
    ((r * 19_595 + g * 38_470 + b * 7_471 + 0x8000) >> 16) as u8
}
