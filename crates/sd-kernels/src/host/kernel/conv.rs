//! Convolutions as matrix products without a copy of every window: the picture gets a border of zeros, and is then one long row of
//! pixels in which each tap of the kernel is the same distance away for all of them.

use rayon::prelude::*;

use super::{
    epilogue::Store,
    gemm::{Left, multiply},
    geometry::{Geometry, Pictures},
    linear,
    packed::{Right, Weights},
    quantised::{ColumnScales, PictureScales, ProductScales},
    winograd::{self, whole::Pixels},
};
use crate::{
    host::simd::{Isa, Product, Simd, Whole},
    memory::buffer::Buffer,
};

/// Bytes that a 3x3 convolution of stride 1 has in use beside what goes in and what comes out, for `[batch, h, w]` of the output.
pub(crate) fn workspace_bytes<T: Simd>([batch, h, w]: [usize; 3], channels: usize, columns: usize) -> usize {
    let (isa, geometry) = (Isa::detect(), Geometry::same([h, w]));
    match winograd::suits::<T>(isa, geometry, channels, columns) {
        true => winograd::workspace::<T>(isa, [batch, h, w], channels),
        false => {
            bordered(
                [batch, h, w],
                channels.next_multiple_of(T::K),
                geometry,
                Borders::Shared,
            ) * size_of::<T>()
        }
    }
}

/// The same of a quantized convolution, whose input is brought to whole numbers.
pub(crate) fn quantised_workspace_bytes([batch, h, w]: [usize; 3], channels: usize, columns: usize) -> usize {
    fn of<W: Whole>([batch, h, w]: [usize; 3], channels: usize) -> usize {
        let channels = channels.next_multiple_of(W::K);
        bordered([batch, h, w], channels, Geometry::same([h, w]), Borders::Apart) * size_of::<W>()
    }
    let isa = Isa::detect();
    let tiles = match winograd::whole::suits(isa, Geometry::same([h, w]), channels, columns) {
        true => winograd::whole::workspace(isa, [batch, h, w], channels),
        false => 0,
    };
    match isa.multiplies_bytes() {
        true => of::<u8>([batch, h, w], channels),
        false => of::<i16>([batch, h, w], channels) + tiles,
    }
}

/// What lies between two pictures, as zeros.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Borders {
    /// The same lines are below one and above the next.
    Shared,
    /// Each has its own, where zero is another number in each.
    Apart,
}

impl Borders {
    /// Pixels from the last line of a picture to the first of the next, for lines so wide.
    fn between(self, geometry: Geometry, width: usize) -> usize {
        let ((above, below), (left, right)) = (geometry.rows, geometry.columns);
        match self {
            Self::Shared => above.max(below) * width,
            // What is at the right of the last line below is at the left of the first line above, too.
            Self::Apart => (above + below) * width + left.max(right),
        }
    }
}

/// Values of pictures `[batch, h, w]` with a border.
fn bordered([batch, h, w]: [usize; 3], channels: usize, geometry: Geometry, borders: Borders) -> usize {
    let ((above, below), (left, right)) = (geometry.rows, geometry.columns);
    let width = w + left.max(right);
    // The last lines' borders follow the last picture.
    let lines = batch * h + above + below + geometry.kernel[0];
    (lines * width + batch * borders.between(geometry, width)) * channels
}

/// A convolution to pictures of `store.columns` channels. Weights have a tap for each place of the kernel, row by row.
pub(crate) fn conv<T: Simd>(
    isa: Isa,
    x: Pictures<T>,
    geometry: Geometry,
    weights: Weights<T>,
    store: Store<T>,
) {
    let [batch, h, w, c] = x.shape;
    let ([oh, ow], columns) = (geometry.output(), store.columns);
    assert!(x.data.len() == batch * h * w * c && store.out.len() == batch * oh * ow * columns);
    let unpadded = geometry.rows == (0, 0) && geometry.columns == (0, 0);
    let pointwise = geometry.kernel == [1, 1] && geometry.stride == 1 && !geometry.upsample && unpadded;
    let rows = batch * h * w;
    match weights {
        Weights::Plain(weights) if pointwise && c.is_multiple_of(T::K) => {
            multiply(isa, Left::rows(x.data, rows, c), weights, &store);
        }
        Weights::Plain(weights) if winograd::suits::<T>(isa, geometry, c, columns) => {
            winograd::convolve(isa, x, geometry, weights, &store);
        }
        Weights::Plain(weights) => {
            let copy = |_, from: &[T], to: &mut [T]| to.copy_from_slice(from);
            let bordered = Bordered::new(x, geometry, Borders::Shared, |_| T::default(), copy);
            bordered.convolve(isa, geometry, weights, store);
        }
        Weights::Bytes(weights, columns) if pointwise => {
            linear::whole(isa, x.data, [rows, c], weights, columns, store);
        }
        Weights::Words(weights, columns) if pointwise => {
            linear::whole(isa, x.data, [rows, c], weights, columns, store);
        }
        Weights::Bytes(weights, columns) => {
            whole(isa, x, geometry, columns, store, |bordered, store| {
                bordered.convolve(isa, geometry, weights, store);
            });
        }
        Weights::Words(weights, columns) => {
            let tiles = winograd::whole::suits(isa, geometry, c, store.columns);
            whole(isa, x, geometry, columns, store, |bordered, store| match tiles {
                true => winograd::whole::convolve(isa, bordered.pixels(), [oh, ow], weights, &store),
                false => bordered.convolve(isa, geometry, weights, store),
            });
        }
    }
}

/// A convolution through whole numbers, with a scale and a zero for each picture.
fn whole<T: Simd, W: Whole>(
    isa: Isa,
    x: Pictures<T>,
    geometry: Geometry,
    columns: &ColumnScales,
    store: Store<T>,
    convolve: impl FnOnce(&Bordered<W>, Store<T>),
) {
    let pictures = PictureScales::new::<T, W>(isa, x.data, x.shape[0]);
    let scales = Some(ProductScales {
        rows: &pictures.scales,
        each: geometry.output().iter().product(),
        columns,
    });
    let values = |picture, from: &[T], to: &mut [W]| pictures.whole(isa, picture, from, to);
    let zero = |picture| pictures.zero(picture);
    let bordered = Bordered::new(x, geometry, Borders::Apart, zero, values);
    convolve(&bordered, Store { scales, ..store });
}

/// Pictures with zeros around them, and channels made a multiple of [`Operand::K`]. Between two lines of a picture one border serves both.
struct Bordered<T> {
    data: Buffer<T>,
    batch: usize,
    /// Pixels from one picture to the next.
    step: usize,
    /// Pixels from one line to the next.
    width: usize,
    /// Channels.
    k: usize,
}

impl Bordered<i16> {
    fn pixels(&self) -> Pixels<'_> {
        Pixels {
            data: &self.data,
            batch: self.batch,
            step: self.step,
            width: self.width,
            k: self.k,
        }
    }
}

impl<T: Product> Bordered<T> {
    /// `zero` is what stands for it in a picture, given by its number; `put` brings values of a picture to this type.
    fn new<E: Simd>(
        x: Pictures<E>,
        geometry: Geometry,
        borders: Borders,
        zero: impl Fn(usize) -> T + Sync,
        put: impl Fn(usize, &[E], &mut [T]) + Sync,
    ) -> Self {
        let [batch, h, w, c] = x.shape;
        let [sh, sw] = geometry.source;
        let shift = usize::from(geometry.upsample);
        assert!(sh.div_ceil(1 << shift) == h && sw.div_ceil(1 << shift) == w);
        let k = c.next_multiple_of(T::K);
        let ((above, _), (left, right)) = (geometry.rows, geometry.columns);
        let width = sw + left.max(right);
        let (between, line) = (borders.between(geometry, width), width * k);
        let step = sh * width + between;
        let mut data = Buffer::<T>::dirty(bordered([batch, sh, sw], k, geometry, borders));
        let (first, rest) = data.split_at_mut(above * line);
        let (pictures, last) = rest.split_at_mut(batch * step * k);
        first.fill(zero(0));
        last.fill(zero(batch.saturating_sub(1)));
        let fill_line = |image: usize, y: usize, to: &mut [T]| {
            let (from, zero) = (
                &x.data[(image * h + (y >> shift)) * w * c..][..w * c],
                zero(image),
            );
            let (left, to) = to.split_at_mut(left * k);
            let (to, right) = to.split_at_mut(sw * k);
            left.fill(zero);
            right.fill(zero);
            if k == c && shift == 0 {
                put(image, from, to);
            } else {
                for (x, to) in to.chunks_mut(k).enumerate() {
                    put(image, &from[(x >> shift) * c..][..c], &mut to[..c]);
                    to[c..].fill(zero);
                }
            }
        };
        let fill_picture = |(image, to): (usize, &mut [T])| {
            let (lines, after) = to.split_at_mut(sh * line);
            let own = match borders {
                Borders::Shared => 0,
                Borders::Apart => between - above * width,
            };
            let (own, next) = after.split_at_mut(own * k);
            own.fill(zero(image));
            next.fill(zero((image + 1).min(batch - 1)));
            let lines = lines.par_chunks_mut(line.max(1)).enumerate();
            lines.for_each(|(y, to)| fill_line(image, y, to));
        };
        pictures
            .par_chunks_mut((step * k).max(1))
            .enumerate()
            .for_each(fill_picture);
        Self {
            data,
            batch,
            step,
            width,
            k,
        }
    }

    fn convolve<E: Simd>(&self, isa: Isa, geometry: Geometry, weights: Right<T>, store: Store<E>) {
        let (k, [oh, ow]) = (self.k, geometry.output());
        let taps: Vec<usize> = (0..geometry.kernel[0] * geometry.kernel[1])
            .map(|i| (i / geometry.kernel[1] * self.width + i % geometry.kernel[1]) * k)
            .collect();
        // Output pixel (y, x) reads from bordered pixel (stride y, stride x), so in steps of `stride` pixels the outputs of one picture
        // are a row of their own, in which every line is `width` long, with pixels at its end that nobody wants.
        let per_picture = (oh - 1) * self.width + ow;
        // With stride 1 the batch is one such row too.
        let single = geometry.stride == 1;
        let (pictures, step) = match single {
            true => (1, self.step),
            false => (self.batch, per_picture),
        };
        let mut map = vec![u32::MAX; (self.batch - 1) * step + per_picture];
        for image in 0..self.batch {
            for y in 0..oh {
                let row = ((image * oh + y) * ow) as u32;
                let line = &mut map[image * step + y * self.width..][..ow];
                line.iter_mut()
                    .zip(row..)
                    .for_each(|(place, index)| *place = index);
            }
        }
        for (image, map) in map.chunks(map.len() / pictures).enumerate() {
            let left = Left {
                data: &self.data[image * self.step * k..],
                rows: map.len(),
                stride: geometry.stride * k,
                taps: &taps,
                k,
            };
            let map = Some(map);
            multiply(isa, left, weights, &Store { map, ..store });
        }
    }
}
