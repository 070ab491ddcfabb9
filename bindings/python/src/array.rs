//! Arrays at the border: the bytes of row-major `float32` or `float64` values, and a shape. NumPy makes arrays of them, and only copies
//! where the computation would.

use pyo3::{prelude::*, types::PyByteArray};

use crate::error::parameter;

/// Bytes that NumPy may write to, and their shape.
pub(crate) type ReturnedArray = (Py<PyByteArray>, Vec<usize>);

pub(crate) fn give(py: Python<'_>, array: &sdrs::Array) -> ReturnedArray {
    (floats(py, &array.values), array.shape.clone())
}

pub(crate) fn floats(py: Python<'_>, values: &[f32]) -> Py<PyByteArray> {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_ne_bytes()).collect();
    PyByteArray::new(py, &bytes).unbind()
}

pub(crate) fn doubles(py: Python<'_>, values: &[f64]) -> Py<PyByteArray> {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_ne_bytes()).collect();
    PyByteArray::new(py, &bytes).unbind()
}

pub(crate) fn take(bytes: &[u8]) -> Vec<f32> {
    let (values, _) = bytes.as_chunks();
    values.iter().map(|v| f32::from_ne_bytes(*v)).collect()
}

pub(crate) fn take_doubles(bytes: &[u8]) -> Vec<f64> {
    let (values, _) = bytes.as_chunks();
    values.iter().map(|v| f64::from_ne_bytes(*v)).collect()
}

/// A shape with the number of axes that a computation wants, which `axes` names.
pub(crate) fn axes<const D: usize>(name: &str, axes: &str, shape: &[usize]) -> PyResult<[usize; D]> {
    shape.try_into().map_err(|_| {
        let reason = format!("must have {D} axes, {axes}, not the shape {shape:?}");
        parameter(name, reason)
    })
}
