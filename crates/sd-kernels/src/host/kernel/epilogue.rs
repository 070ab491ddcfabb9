//! Epilogues of products: sums become results while they are near.

use super::{gemm::Sink, quantised::ProductScales, shared::Shared};
use crate::host::simd::{COLUMNS, Isa, Number, PANEL, Simd, math};

/// The function that is applied to a sum before it is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Epilogue {
    Plain,
    Silu,
    QuickGelu,
    Gelu,
    /// Panels alternate between values and gates: sixteen values, times the GELU of sixteen gates.
    Geglu,
}

/// A matrix that sums are stored in, row by row, with the terms that are added to them.
#[derive(Clone, Copy)]
pub(crate) struct Store<'a, T> {
    pub out: &'a Shared<'a, T>,
    /// Columns of the output.
    pub columns: usize,
    /// The output's row for each row of the product, if not the same; `u32::MAX` for a row that is dropped.
    pub map: Option<&'a [u32]>,
    /// Scales that make numbers of whole sums.
    pub scales: Option<ProductScales<'a>>,
    /// One for each column of the product, as packed.
    pub bias: Option<&'a [f32]>,
    /// `[images, columns]`, and the rows of an image.
    pub image_bias: Option<(&'a [T], usize)>,
    /// A matrix of the output's shape.
    pub residual: Option<&'a [T]>,
    /// Factors of what is below zero then, one for each column of the product, as packed.
    pub slopes: Option<&'a [f32]>,
    pub epilogue: Epilogue,
}

impl<'a, T> Store<'a, T> {
    /// Stores sums as they are.
    pub fn new(out: &'a Shared<'a, T>, columns: usize) -> Self {
        Self {
            out,
            columns,
            map: None,
            scales: None,
            bias: None,
            image_bias: None,
            residual: None,
            slopes: None,
            epilogue: Epilogue::Plain,
        }
    }
}

impl<T: Simd> Sink for Store<'_, T> {
    #[inline(always)]
    fn put(&self, isa: Isa, row: usize, column: usize, sums: &[[f32; COLUMNS]]) {
        let mut bias = [0f32; COLUMNS];
        if let Some(all) = self.bias {
            bias.copy_from_slice(&all[column..column + COLUMNS]);
        }
        let scales = self.scales.map(|scales| scales.columns(column));
        let slopes = self.slopes.map(|all| &all[column..column + COLUMNS]);
        let (column, width) = match self.epilogue {
            Epilogue::Geglu => (column / 2, PANEL),
            _ => (column, COLUMNS),
        };
        let width = width.min(self.columns.saturating_sub(column));
        for (r, sums) in sums.iter().enumerate() {
            let mut row = row + r;
            if let Some(map) = self.map {
                if map[row] == u32::MAX {
                    continue;
                }
                row = map[row] as usize;
            }
            let mut values = *sums;
            if let Some(scales) = &scales {
                scales.scale(row, &mut values);
            }
            add(&mut values, &bias);
            match self.epilogue {
                Epilogue::Plain => {}
                Epilogue::Silu => values.iter_mut().for_each(|v| *v = math::silu(*v)),
                Epilogue::Gelu => values.iter_mut().for_each(|v| *v = math::gelu(*v)),
                Epilogue::QuickGelu => values.iter_mut().for_each(|v| *v = math::quick_gelu(*v)),
                Epilogue::Geglu => {
                    let (left, gate) = values.split_at_mut(PANEL);
                    left.iter_mut().zip(gate).for_each(|(v, g)| *v *= math::gelu(*g));
                }
            }
            let at = row * self.columns + column;
            // SAFETY: every row and column is put once, by the contract of `Sink`, and rows of the output are not mapped to twice.
            let out = unsafe { self.out.slice(at, width) };
            let image = self
                .image_bias
                .map(|(all, rows)| &all[row / rows * self.columns + column..][..width]);
            let residual = self.residual.map(|all| &all[at..at + width]);
            let more = [image, residual];
            // The usual case, with a length that the compiler knows: values stay in registers.
            if let Some(out) = out.as_mut_array::<COLUMNS>() {
                for more in more.into_iter().flatten() {
                    add(&mut values, &more[..COLUMNS]);
                }
                rectify(&mut values, slopes);
                T::narrow(isa, &values, out);
            } else {
                let mut values = values;
                for more in more.into_iter().flatten() {
                    add(&mut values[..width], more);
                }
                rectify(&mut values, slopes);
                for (out, value) in out.iter_mut().zip(&values) {
                    *out = T::from_f32(*value);
                }
            }
        }
    }
}

#[inline(always)]
fn add<T: Number>(values: &mut [f32], more: &[T]) {
    for (value, more) in values.iter_mut().zip(more) {
        *value += more.to_f32();
    }
}

#[inline(always)]
fn rectify(values: &mut [f32; COLUMNS], slopes: Option<&[f32]>) {
    if let Some(slopes) = slopes {
        values
            .iter_mut()
            .zip(slopes)
            .for_each(|(v, slope)| *v *= if *v < 0.0 { *slope } else { 1.0 });
    }
}
