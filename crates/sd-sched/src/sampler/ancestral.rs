//! The split of a step into a deterministic part and fresh noise, shared by all ancestral samplers (k-diffusion).

/// From `from` down to `down`, then up to `to` with noise of standard deviation `up`: `down^2 + up^2 = to^2`.
/// eta 0 is deterministic; eta 1 adds as much noise as the posterior of one diffusion step has (Song et al. 2020, eq. 16).
pub(crate) fn split(from: f64, to: f64, eta: f64) -> (f64, f64) {
    if eta == 0.0 {
        return (to, 0.0);
    }
    let up = to.min(eta * (to * to * (from * from - to * to) / (from * from)).sqrt());
    ((to * to - up * up).max(0.0).sqrt(), up)
}
