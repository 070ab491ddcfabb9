//! Values on their way into layers, and out of tensors.

use std::ops::{Deref, DerefMut};

use burn_tensor::{DType, Element, Shape, Tensor, TensorData};

use super::buffer::Buffer;

/// Values that a tensor is made of, in memory of the workspace that is in use: a layer packs them and lets them go, and the next layer
/// takes over their memory, so that the system need not clear as much again as the weights take.
pub struct Staging<E>(Buffer<E>);

impl<E: Element + bytemuck::Pod> Staging<E> {
    /// Any values, this many.
    pub fn new(len: usize) -> Self {
        Self(Buffer::dirty(len))
    }

    /// A tensor of these values, which are not copied on the CPU, on a device in its type.
    ///
    /// # Panics
    /// If the shape is of another number of values.
    pub fn into_tensor<const D: usize>(self, shape: [usize; D], device: &burn_tensor::Device) -> Tensor<D> {
        assert_eq!(self.0.len(), shape.iter().product::<usize>());
        let data = TensorData::from_bytes(self.0.into_bytes(), Shape::from(shape), E::dtype());
        Tensor::from_data(data, (device, E::dtype()))
    }
}

impl<E: bytemuck::Pod> Deref for Staging<E> {
    type Target = [E];

    fn deref(&self) -> &[E] {
        &self.0
    }
}

impl<E: bytemuck::Pod> DerefMut for Staging<E> {
    fn deref_mut(&mut self) -> &mut [E] {
        &mut self.0
    }
}

/// The values of a tensor as `f32`, on any device.
pub(crate) fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let data = tensor.into_data().convert_dtype(DType::F32);
    data.try_to_vec().unwrap_or_default()
}
