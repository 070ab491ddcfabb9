//! Memory for values on their way into layers.

use std::ops::{Deref, DerefMut};

use burn_tensor::{Element, Shape, Tensor, TensorData};

/// Values that a tensor is made of, of the workspace that is in use: what a layer packs, and lets go of, is the next layer's, so that
/// the system need not clear as much memory again as the weights take.
pub struct Staging<E> {
    #[cfg(feature = "flex")]
    values: crate::host::Buffer<E>,
    #[cfg(not(feature = "flex"))]
    values: Vec<E>,
}

impl<E: Element + bytemuck::Pod> Staging<E> {
    /// Any values, this many.
    pub fn new(len: usize) -> Self {
        #[cfg(feature = "flex")]
        let values = crate::host::Buffer::dirty(len);
        #[cfg(not(feature = "flex"))]
        let values = vec![E::zeroed(); len];
        Self { values }
    }

    /// A tensor of these values, which are not copied on the CPU, on a device in its type.
    ///
    /// # Panics
    /// If the shape is of another number of values.
    pub fn into_tensor<const D: usize>(self, shape: [usize; D], device: &burn_tensor::Device) -> Tensor<D> {
        assert_eq!(self.values.len(), shape.iter().product::<usize>());
        #[cfg(feature = "flex")]
        let data = TensorData::from_bytes(self.values.into_bytes(), Shape::from(shape), E::dtype());
        #[cfg(not(feature = "flex"))]
        let data = TensorData::new(self.values, Shape::from(shape));
        Tensor::from_data(data, (device, E::dtype()))
    }
}

impl<E: bytemuck::Pod> Deref for Staging<E> {
    type Target = [E];

    fn deref(&self) -> &[E] {
        &self.values
    }
}

impl<E: bytemuck::Pod> DerefMut for Staging<E> {
    fn deref_mut(&mut self) -> &mut [E] {
        &mut self.values
    }
}
