//! Small linear systems.

/// Solves `a x = rhs` by elimination with pivots. A singular system gives infinities, never a panic.
pub(super) fn solve(mut a: Vec<Vec<f64>>, mut rhs: Vec<f64>) -> Vec<f64> {
    let n = rhs.len();
    for c in 0..n {
        let pivot = (c..n)
            .max_by(|&i, &j| a[i][c].abs().total_cmp(&a[j][c].abs()))
            .unwrap_or(c);
        a.swap(c, pivot);
        rhs.swap(c, pivot);
        let top = a[c].clone();
        for row in c + 1..n {
            let f = a[row][c] / top[c];
            a[row].iter_mut().zip(&top).for_each(|(v, t)| *v -= f * t);
            rhs[row] -= f * rhs[c];
        }
    }
    for c in (0..n).rev() {
        let known: f64 = (c + 1..n).map(|k| a[c][k] * rhs[k]).sum();
        rhs[c] = (rhs[c] - known) / a[c][c];
    }
    rhs
}

#[cfg(test)]
mod tests {
    #[test]
    fn solves_with_a_zero_on_the_diagonal() {
        let x = super::solve(
            vec![vec![0.0, 2.0, 1.0], vec![1.0, 1.0, 1.0], vec![2.0, 0.0, -1.0]],
            vec![7.0, 6.0, -1.0],
        );
        assert!(
            x.iter().zip([1.0, 2.0, 3.0]).all(|(a, b)| (a - b).abs() < 1e-12),
            "{x:?}"
        );
    }
}
