//! The weights of one part in their files.

use std::sync::Arc;

use sd_kernels::Staging;

use super::{
    TensorFile, TensorInfo, WeightPatch, cast,
    names::{Names, Spelling, View},
};
use crate::{Error, WeightsError, config::Part};

/// The files of one part (U-Net, VAE, text encoder), and the names that its parameters have there.
#[derive(Clone)]
pub struct PartWeights {
    /// The name of this part in errors: "unet of /models/x.safetensors".
    pub origin: String,
    /// The files that hold it; a name is looked up in each.
    pub files: Vec<Arc<TensorFile>>,
    /// The spelling of canonical names in these files.
    pub names: Arc<dyn Names>,
    /// The part that they belong to.
    pub part: Part,
    /// Changes to them on their way, in this order.
    pub patches: Vec<Arc<dyn WeightPatch>>,
    /// Whether tensors that the part has no place for are passed over; they are an error otherwise.
    pub allow_unexpected: bool,
}

impl PartWeights {
    /// The weights of a network that is no part of a pipeline: nothing is patched or quantized.
    pub(crate) fn alone(origin: String, files: Vec<Arc<TensorFile>>, names: Arc<dyn Names>) -> Self {
        Self {
            origin,
            files,
            names,
            // As an autoencoder's, they are never quantized.
            part: Part::Vae,
            patches: Vec::new(),
            allow_unexpected: false,
        }
    }

    /// The same weights, changed by these patches alone.
    pub fn with_patches(&self, patches: &[Arc<dyn WeightPatch>]) -> Self {
        Self {
            patches: patches.to_vec(),
            ..self.clone()
        }
    }

    /// The patches that change this parameter, in order.
    pub(super) fn patches(&self, canonical: &str) -> Vec<&Arc<dyn WeightPatch>> {
        let patches = self.patches.iter();
        patches
            .filter(|patch| patch.touches(self.part, canonical))
            .collect()
    }

    /// A parameter's values, changed as the patches say, into memory for as many.
    ///
    /// # Errors
    /// The error of a patch that can't change them.
    ///
    /// # Panics
    /// If it was not checked that it is there, of this shape and of a type that can be read.
    pub(crate) fn values_into<E: cast::Element>(
        &self,
        canonical: &str,
        shape: &[usize],
        out: &mut [E],
    ) -> Result<(), String> {
        const CHECKED: &str = "checked before loading";
        let stored = self.find(canonical).expect(CHECKED);
        let patches = self.patches(canonical);
        if patches.is_empty() {
            stored.values_into(shape, out).expect(CHECKED);
            return Ok(());
        }
        let mut values = Staging::<f32>::new(out.len());
        stored.values_into(shape, &mut values).expect(CHECKED);
        for patch in patches {
            patch.apply(self.part, canonical, shape, &mut values)?;
        }
        cast::narrow_into(&values, out);
        Ok(())
    }

    /// The error of patches that can't be applied.
    pub(crate) fn unpatched(&self, patches: Vec<String>) -> Error {
        Error::Weights(Box::new(WeightsError {
            origin: self.origin.clone(),
            patches,
            ..WeightsError::default()
        }))
    }

    /// The place of a parameter in the files.
    pub fn find(&self, canonical: &str) -> Option<Stored<'_>> {
        self.names.spellings(canonical).into_iter().find_map(|spelling| {
            let mut files = self.files.iter();
            let (file, info) = files.find_map(|file| Some((file, file.info(&spelling.name)?)))?;
            Some(Stored { file, info, spelling })
        })
    }
}

/// A parameter in a file.
pub struct Stored<'a> {
    /// The file.
    pub file: &'a TensorFile,
    /// The tensor that holds it.
    pub info: &'a TensorInfo,
    /// The tensor's name, and the parameter's place in it.
    pub spelling: Spelling,
}

impl Stored<'_> {
    /// The shape of the parameter.
    pub fn shape(&self) -> Vec<usize> {
        self.spelling.view.parameter_shape(&self.info.shape)
    }

    /// The values of the parameter; `None` if its type is no number's.
    pub fn values_f32(&self) -> Option<Vec<f32>> {
        let shape = self.shape();
        let mut values = vec![0.0; shape.iter().product()];
        self.values_into(&shape, &mut values)?;
        Some(values)
    }

    /// The bytes of the parameter's `count` values as they are stored, into memory for as many.
    pub(super) fn bytes_into(&self, count: usize, out: &mut [u8]) -> Option<()> {
        let first = match self.spelling.view {
            View::Slice { index, .. } => index * count,
            _ => 0,
        };
        self.file.stored_into(&self.spelling.name, [first, count], out)
    }

    /// The values of the parameter, which has this shape, into memory for as many; `None` if the tensor can't hold them.
    fn values_into<E: cast::Element>(&self, shape: &[usize], out: &mut [E]) -> Option<()> {
        let name = &self.spelling.name;
        match (self.spelling.view, shape) {
            (View::Slice { index, .. }, _) => self.file.values_into(name, index * out.len(), out),
            (View::Transposed, &[rows, columns]) => {
                let mut stored = Staging::<E>::new(out.len());
                self.file.values_into(name, 0, &mut stored)?;
                transpose_into(&stored, [columns, rows], out);
                Some(())
            }
            _ => self.file.values_into(name, 0, out),
        }
    }
}

/// A matrix of so many rows and columns, transposed.
pub(crate) fn transpose_into<E: Copy>(matrix: &[E], [rows, columns]: [usize; 2], out: &mut [E]) {
    for (i, out) in out.chunks_exact_mut(rows).enumerate() {
        for (j, x) in out.iter_mut().enumerate() {
            *x = matrix[j * columns + i];
        }
    }
}
