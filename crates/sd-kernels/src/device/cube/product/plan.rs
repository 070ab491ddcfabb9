//! What kernels are compiled for, and the sizes that they aren't compiled for.

use burn_cubecl::cubecl::{self, prelude::*};

use crate::device::cube::trial::PLANE;

/// Matrices of a plane side by side: 64 columns, two panels.
pub(super) const MATRICES: usize = 4;

/// The side of a matrix.
pub(super) const SIDE: usize = 16;

/// Four neighbours.
pub(super) type Quad<E> = Vector<E, Const<4>>;

/// How a product is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tile {
    /// Rows of the output for a cube.
    pub height: usize,
    /// Columns of the weights for a cube: whole multiples of [`super::COLUMNS`].
    pub width: usize,
    /// What is multiplied at a time: a multiple of four that divides [`super::DEPTH`].
    pub depth: usize,
    /// Units of a cube.
    pub units: usize,
    /// Whether planes multiply with tensor cores, or units in registers.
    pub cores: bool,
}

impl Tile {
    /// Units in each row of a cube of units, each of eight columns.
    pub fn across(self) -> usize {
        self.width / 8
    }

    /// Rows of units.
    pub fn down(self) -> usize {
        self.units / self.across()
    }

    /// Rows of a unit.
    pub fn rows(self) -> usize {
        self.height / self.down()
    }

    /// Planes side by side, of tiles for tensor cores.
    pub fn planes_across(self) -> usize {
        self.width / (SIDE * MATRICES)
    }

    /// Matrices of a plane, one below the other.
    pub fn matrix_rows(self) -> usize {
        self.height / SIDE / (self.units / PLANE / self.planes_across())
    }

    /// Shared memory.
    pub fn shared_bytes(self) -> usize {
        match self.cores {
            true => {
                let pitch = |columns: usize| 2 * columns + 16;
                let staged = self.units / PLANE * 2 * SIDE * SIDE * 4;
                self.height * pitch(self.depth) + self.depth * pitch(self.width) + staged
            }
            false => 16 * (self.height * (self.depth / 4 + 1) + self.depth * self.width / 4),
        }
    }

    /// Quads of the input that a unit brings at a time.
    pub fn input_quads(self) -> usize {
        self.height * self.depth / 4 / self.units
    }

    /// Quads of the weights that a unit brings at a time.
    pub fn weight_quads(self) -> usize {
        self.depth * self.width / 4 / self.units
    }

    /// Rows of the input between two that a unit brings.
    pub fn input_step(self) -> usize {
        self.units / (self.depth / 4)
    }

    /// Rows of the weights between two that a unit brings.
    pub fn weight_step(self) -> usize {
        self.units / (self.width / 4)
    }
}

/// What rows of the product are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::device::cube) enum Rows {
    /// The input's.
    Same,
    /// Pixels of the input as windows see them. With `upsample` it is the picture with each pixel repeated in both directions.
    Windows {
        kernel: [usize; 2],
        stride: usize,
        upsample: bool,
    },
}

impl Rows {
    pub fn is_same(self) -> bool {
        self == Self::Same
    }

    pub fn kernel(self) -> [usize; 2] {
        match self {
            Self::Same => [1, 1],
            Self::Windows { kernel, .. } => kernel,
        }
    }

    pub fn taps(self) -> usize {
        self.kernel().iter().product()
    }

    pub fn stride(self) -> usize {
        match self {
            Self::Same => 1,
            Self::Windows { stride, .. } => stride,
        }
    }

    pub fn upsample(self) -> bool {
        matches!(self, Self::Windows { upsample: true, .. })
    }
}

/// What a product's kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Plan {
    pub tile: Tile,
    pub rows: Rows,
}

/// Sizes of a product, which a kernel isn't compiled for.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
#[expand(derive(Clone, Copy))]
pub(super) struct Sizes {
    /// Rows of the output.
    pub rows: u32,
    /// Columns of the output.
    pub columns: u32,
    /// Columns of the weights.
    pub packed: u32,
    /// Channels of the input.
    pub channels: u32,
    /// Rows of the weights for a tap.
    pub depth: u32,
    /// The picture that windows move over.
    pub height: u32,
    pub width: u32,
    /// The input.
    pub source_height: u32,
    pub source_width: u32,
    /// Zeros above it and to its left.
    pub top: u32,
    pub left: u32,
    pub output_height: u32,
    pub output_width: u32,
}
