//! Attention in one pass over keys and values, without a matrix of scores (Dao et al. 2022, arXiv:2205.14135).
//!
//! Maxima and sums are corrected when a larger score turns up, a few keys at a time. Half types go through tensor cores where the device
//! has NVIDIA's products and a trial at first use agrees (`planes`, `check`), all else through units (`units`).

mod check;
mod fragments;
mod planes;
#[cfg(all(test, feature = "flex"))]
mod tests;
mod units;

use burn_cubecl::{cubecl::prelude::*, tensor::CubeTensor};
use burn_tensor::Tensor;

use super::tensor::{address, elem_of, empty, enter, lanes, leave};
use check::has_cores;
use fragments::{Cores, Plan, Planes};
use units::{Deal, UNITS};

/// Columns of a head whose sums fit into a plane's registers on tensor cores.
const CORES: usize = 160;

/// Columns of a head whose tiles fit into 48 kilobytes, which every device with these cores has.
const WIDEST: usize = 512;

/// Attention as [`crate::attention`] has it. `None` where heads are wider than a cube's units take: nothing is computed then.
pub(crate) fn attention(
    q: &Tensor<3>,
    k: &Tensor<3>,
    v: &Tensor<3>,
    heads: usize,
    causal: bool,
) -> Option<Tensor<3>> {
    let ([batch, n, all], m) = (q.dims(), k.dims()[1]);
    let d = all / heads;
    let [q, k, v] = [q, k, v].map(|x| enter(x.clone()));
    let lanes = lanes(&q.client, d);
    let lengths = [batch, n, m];
    if lanes == 4 && d <= WIDEST && has_cores(&q) {
        return Some(leave(on_planes::<Cores>(
            plan(d, heads, causal),
            lengths,
            1,
            [q, k, v],
        )));
    }
    let deal = Deal::new(batch * heads * n, heads, d, lanes)?;
    Some(leave(on_units(deal, lengths, lanes, causal, [q, k, v])))
}

/// How tensor cores take heads of `d` columns.
fn plan(d: usize, heads: usize, causal: bool) -> Plan {
    let parts = d.div_ceil(CORES).next_power_of_two();
    Plan {
        width: d,
        heads,
        planes: if parts > 1 { 8 } else { 4 },
        parts,
        keys: match d {
            0..=80 => 64,
            81..=160 => 32,
            _ => 16,
        },
        causal,
    }
}

/// With `scratch` numbers in shared memory for what planes do together.
fn on_planes<P: Planes>(
    plan: Plan,
    [batch, n, m]: [usize; 3],
    scratch: usize,
    [q, k, v]: [CubeTensor; 3],
) -> CubeTensor {
    let out = empty(&q, [batch, n, plan.heads * plan.width], q.dtype);
    let count = CubeCount::Static(n.div_ceil(plan.queries()) as u32, plan.heads as u32, batch as u32);
    let address = address(&[&q, &k, &v]);
    let elem = elem_of(&q);
    // SAFETY: rows of q and out are below n, rows of k and v below m, and columns within a head wherever one is read or written.
    unsafe {
        planes::flash::launch_unchecked::<P>(
            &out.client,
            count,
            CubeDim::new_1d(plan.units() as u32),
            address,
            q.into_buffer_arg(),
            k.into_buffer_arg(),
            v.into_buffer_arg(),
            out.clone().into_buffer_arg(),
            n,
            m,
            1.0 / (plan.width as f32).sqrt(),
            plan,
            scratch,
            elem,
        );
    }
    out
}

fn on_units(
    deal: Deal,
    [batch, n, m]: [usize; 3],
    lanes: usize,
    causal: bool,
    [q, k, v]: [CubeTensor; 3],
) -> CubeTensor {
    let d = deal.width * lanes;
    let out = empty(&q, [batch, n, deal.heads * d], q.dtype);
    let count = CubeCount::Static(n.div_ceil(deal.queries()) as u32, deal.heads as u32, batch as u32);
    let address = address(&[&q, &k, &v]);
    let elem = elem_of(&out);
    // SAFETY: rows of q and out are below n, rows of k and v below m, and columns within a head wherever one is read or written.
    unsafe {
        units::flash::launch_unchecked(
            &out.client,
            count,
            CubeDim::new_1d(UNITS as u32),
            address,
            lanes,
            q.into_buffer_arg(),
            k.into_buffer_arg(),
            v.into_buffer_arg(),
            out.clone().into_buffer_arg(),
            n,
            m,
            1.0 / (d as f32).sqrt(),
            deal,
            causal,
            elem,
        );
    }
    out
}
