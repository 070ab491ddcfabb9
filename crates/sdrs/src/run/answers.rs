//! The network's answers on their way from the device.

use burn_tensor::Tensor;

use crate::{Result, model::all_values};

/// The network's answers to some texts with some pictures, on the device.
pub(super) struct Answers {
    /// `[texts * pictures, channels, h, w]`.
    pub prediction: Tensor<4>,
    /// `[texts * pictures, h, w]` of the middle.
    pub received: Option<Tensor<3>>,
}

/// The network's answer to a text.
pub(crate) struct Predicted {
    pub denoised: Vec<f32>,
    /// What the middle's pixels get of attention, if that was asked for and the middle was computed.
    pub received: Option<Received>,
}

/// What each pixel of the middle gets of attention, row by row; 1 is the mean.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// Height and width.
    pub size: [usize; 2],
    pub values: Vec<f32>,
}

impl Answers {
    /// All of them on the host, row by row.
    pub fn read(answers: Vec<Self>) -> Result<Vec<Predicted>> {
        let tensors = answers.iter().flat_map(|Answers { prediction, received }| {
            let received = received.as_ref().map(|it| it.clone().flatten(0, 2));
            [Some(prediction.clone().flatten(0, 3)), received]
        });
        let mut values = all_values(tensors.flatten())?.into_iter();
        let mut next = || values.next().unwrap_or_default();
        let mut rows = Vec::new();
        for Answers { prediction, received } in answers {
            let (batch, outputs) = (prediction.dims()[0], next());
            let received = received.map(|it| (it.dims(), next()));
            for (row, denoised) in outputs.chunks_exact(outputs.len() / batch).enumerate() {
                let received = received.as_ref().map(|([_, height, width], values)| Received {
                    size: [*height, *width],
                    values: values[row * height * width..][..height * width].to_vec(),
                });
                let denoised = denoised.to_vec();
                rows.push(Predicted { denoised, received });
            }
        }
        Ok(rows)
    }
}
