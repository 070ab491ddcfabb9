//! What a plane of 32 units holds together, as NVIDIA's tensor cores have it, and how tiles are laid out for it.

use burn_cubecl::cubecl::{self, cmma::MmaDefinition, prelude::*};

use crate::device::cube::trial::PLANE;

/// Two neighbours.
pub(super) type Pair<E> = Vector<E, Const<2>>;

/// Four neighbours.
pub(super) type Quad<E> = Vector<E, Const<4>>;

/// Queries of a plane.
pub(super) const QUERIES: usize = 16;

/// What a kernel is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Plan {
    /// Columns of a head: a multiple of four.
    pub width: usize,
    /// Heads of a token.
    pub heads: usize,
    /// Planes of a cube.
    pub planes: usize,
    /// Planes that share queries: each has as many columns, and they exchange what scores have of these.
    pub parts: usize,
    /// Keys of a tile: a multiple of sixteen.
    pub keys: usize,
    /// Queries see no keys behind their own.
    pub causal: bool,
}

impl Plan {
    /// Products along a plane's part of a head.
    pub fn steps(self) -> usize {
        self.width.div_ceil(16 * self.parts)
    }

    /// Products across it.
    pub fn columns(self) -> usize {
        match self.parts {
            1 => self.width.div_ceil(8),
            _ => 2 * self.steps(),
        }
    }

    /// Words from one key to the next: an odd multiple of four, so that eight keys lie in all banks.
    pub fn key_stride(self) -> usize {
        8 * self.steps() * self.parts + 4
    }

    /// Words from one pair of values to the next: an odd multiple of eight, so that four pairs lie in all banks.
    pub fn value_stride(self) -> usize {
        8 * ((self.columns() * self.parts) | 1)
    }

    /// Quads of keys that a unit brings at a time.
    pub fn key_quads(self) -> usize {
        (4 * self.keys * self.steps() * self.parts).div_ceil(self.units())
    }

    /// Quads of values that a unit brings at a time, and as many of the rows below.
    pub fn value_quads(self) -> usize {
        (self.keys * self.columns() * self.parts).div_ceil(self.units())
    }

    pub fn units(self) -> usize {
        PLANE * self.planes
    }

    /// Queries of a cube.
    pub fn queries(self) -> usize {
        QUERIES * self.planes / self.parts
    }
}

/// What units of a plane do together.
#[cube]
pub(super) trait Planes: 'static + Send + Sync {
    /// `c += a b`, of 16 x 16, 16 x 8 and 16 x 8 values.
    fn multiply<E: Float>(
        a: &Array<Pair<E>>,
        b: &Array<Pair<E>>,
        c: &mut Array<Pair<f32>>,
        scratch: &mut Shared<[f32]>,
    );

    /// The largest value of the four units that share a row.
    fn largest(value: f32, scratch: &mut Shared<[f32]>) -> f32;

    /// The sum of their values.
    fn sum(value: f32, scratch: &mut Shared<[f32]>) -> f32;
}

/// Tensor cores.
pub(super) struct Cores;

#[cube]
impl Planes for Cores {
    fn multiply<E: Float>(
        a: &Array<Pair<E>>,
        b: &Array<Pair<E>>,
        c: &mut Array<Pair<f32>>,
        _scratch: &mut Shared<[f32]>,
    ) {
        let product = MmaDefinition::<E, E, f32>::new(16usize, 8usize, 16usize);
        product.execute_inplace(a, b, c);
    }

    fn largest(value: f32, _scratch: &mut Shared<[f32]>) -> f32 {
        let value = max(value, plane_shuffle_xor(value, 1));
        max(value, plane_shuffle_xor(value, 2))
    }

    fn sum(value: f32, _scratch: &mut Shared<[f32]>) -> f32 {
        let value = value + plane_shuffle_xor(value, 1);
        value + plane_shuffle_xor(value, 2)
    }
}
