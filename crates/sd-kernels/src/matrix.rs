//! Matrix products on the host, for weights on their way to a device.

use gemm::Parallelism;

/// A matrix in host memory: `rows` times `columns` of `values`, row by row, or of its transpose.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    transposed: bool,
}

impl<'a> Matrix<'a> {
    /// `values` are `[rows, columns]`, row-major.
    ///
    /// # Panics
    /// If there are not `rows * columns` values.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(Some(values.len()), rows.checked_mul(columns), "{rows}x{columns}");
        Self {
            values,
            rows,
            columns,
            transposed: false,
        }
    }

    /// The same values as `[columns, rows]`: nothing is moved.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self {
            values: self.values,
            rows: self.columns,
            columns: self.rows,
            transposed: !self.transposed,
        }
    }

    /// Number of rows.
    pub fn rows(self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(self) -> usize {
        self.columns
    }

    /// Steps in memory between neighbours in a column and in a row.
    fn strides(self) -> (isize, isize) {
        match self.transposed {
            // A slice is never longer than isize::MAX.
            false => (self.columns as isize, 1),
            true => (1, self.rows as isize),
        }
    }
}

/// `out += factor * left * right`, on all cores; `out` is `[left.rows, right.columns]`, row-major.
///
/// # Panics
/// If the shapes don't fit.
pub fn add_product(out: &mut [f32], factor: f32, left: Matrix, right: Matrix) {
    assert_eq!(left.columns, right.rows, "the inner sizes of a product");
    assert_eq!(
        Some(out.len()),
        left.rows.checked_mul(right.columns),
        "the size of a product"
    );
    if out.is_empty() || left.columns == 0 {
        return;
    }
    let ((left_rows, left_columns), (right_rows, right_columns)) = (left.strides(), right.strides());
    // SAFETY: the lengths of all three slices were compared with their shapes, here and in `Matrix::new`, and the strides are those of
    // row-major matrices of these shapes or their transposes, so every element that is read or written lies inside. `out` is borrowed
    // mutably, so it overlaps neither of the others.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            left.rows,
            right.columns,
            left.columns,
            out.as_mut_ptr(),
            1,
            right.columns as isize,
            true,
            left.values.as_ptr(),
            left_columns,
            left_rows,
            right.values.as_ptr(),
            right_columns,
            right_rows,
            1.0,
            factor,
            false,
            false,
            false,
            Parallelism::Rayon(0),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small whole numbers, whose products and sums are exact.
    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7 + seed * 3) % 11) as f32 - 5.0).collect()
    }

    #[test]
    fn products_are_sums_of_products() {
        for (m, k, n) in [
            (1, 1, 1),
            (3, 2, 5),
            (17, 33, 40),
            (4, 0, 3),
            (0, 2, 3),
            (64, 8, 1),
        ] {
            let (a, b, start) = (numbers(m * k, 1), numbers(k * n, 2), numbers(m * n, 3));
            let expected: Vec<f32> = (0..m * n)
                .map(|i| {
                    let (row, column) = (i / n.max(1), i % n.max(1));
                    let sum: f32 = (0..k).map(|j| a[row * k + j] * b[j * n + column]).sum();
                    start[i] + 0.5 * sum
                })
                .collect();
            let mut out = start.clone();
            add_product(&mut out, 0.5, Matrix::new(&a, m, k), Matrix::new(&b, k, n));
            assert_eq!(out, expected);

            let transpose = |values: &[f32], rows: usize, columns: usize| -> Vec<f32> {
                (0..columns * rows)
                    .map(|i| values[i % rows * columns + i / rows])
                    .collect()
            };
            let (at, bt) = (transpose(&a, m, k), transpose(&b, k, n));
            let mut out = start.clone();
            let (left, right) = (Matrix::new(&at, k, m), Matrix::new(&bt, n, k));
            add_product(&mut out, 0.5, left.transposed(), right.transposed());
            assert_eq!(out, expected);
        }
    }
}
