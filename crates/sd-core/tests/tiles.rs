//! Pictures that go on at their opposite edges: against PyTorch's circular padding, in bands too.

use burn_tensor::{DType, Tensor, TensorData};
use goldens::Refs;
use sd_core::{
    Device, Dtype,
    checkpoint::Checkpoint,
    config::Part,
    models::{DeepCache, UNet, UnetInput, Vae},
    weights::Target,
};
use sd_kernels::Axes;

const AXES: [(&str, Axes); 3] = [
    ("xy", axes(true, true)),
    ("x", axes(false, true)),
    ("y", axes(true, false)),
];

const fn axes(rows: bool, columns: bool) -> Axes {
    Axes { rows, columns }
}

fn checkpoint() -> (Checkpoint, Target) {
    let target = Target::new(Device::from_name("cpu").unwrap(), Dtype::F32);
    let checkpoint = Checkpoint::open(&goldens::root().join("tiny-sd1")).unwrap();
    (checkpoint, target)
}

fn unet() -> UNet {
    let (checkpoint, target) = checkpoint();
    let (config, weights) = (&checkpoint.configs().unet, checkpoint.weights(Part::Unet));
    UNet::load(config, weights, &target).unwrap()
}

fn vae() -> Vae {
    let (checkpoint, target) = checkpoint();
    let (config, weights) = (&checkpoint.configs().vae, checkpoint.weights(Part::Vae));
    Vae::load(config, weights, &target).unwrap()
}

fn tensor<const D: usize>(refs: &Refs, name: &str) -> Tensor<D> {
    let shape: [usize; D] = refs.shape(name).try_into().unwrap();
    let device = Device::from_name("cpu").unwrap();
    Tensor::from_data(
        TensorData::new(refs.f32s(name), shape),
        (device.burn(), DType::F32),
    )
}

fn values(tensor: Tensor<4>) -> Vec<f32> {
    tensor.into_data().try_to_vec::<f32>().unwrap()
}

/// Moves a picture `[batch, c, h, w]` along an axis; what leaves it comes in again.
fn rolled(x: Tensor<4>, axis: usize, by: usize) -> Tensor<4> {
    let side = x.dims()[axis];
    let (first, last) = (
        x.clone().narrow(axis, 0, side - by),
        x.narrow(axis, side - by, by),
    );
    Tensor::cat(vec![last, first], axis)
}

#[test]
fn unet_is_pytorchs() {
    let (unet, refs) = (unet(), Refs::open("tiny-sd1/refs/unet_changes.safetensors"));
    for case in ["b1_16x16", "b1_24x17"] {
        let sample: Tensor<4> = tensor(&refs, &format!("{case}.sample"));
        let context: Tensor<3> = tensor(&refs, &format!("{case}.encoder_hidden_states"));
        for (name, wrap) in AXES {
            let input = UnetInput {
                wrap,
                ..UnetInput::new(sample.clone(), &[500.0], context.clone())
            };
            let output = values(unet.forward(&input).unwrap());
            refs.assert_close(&format!("{case}.tiled_{name}"), &output, 1e-5);
            let deep = unet
                .forward_cached(&input, &DeepCache::Keep { branch: 5 })
                .unwrap();
            let deep = DeepCache::Reuse(deep.deep.unwrap());
            let reused = unet.forward_cached(&input, &deep).unwrap().prediction;
            refs.assert_close(&format!("{case}.tiled_{name}"), &values(reused), 1e-5);
        }
    }
}

/// Where nothing is at an edge, a picture that is moved gives the same, moved.
#[test]
fn a_moved_picture_is_the_same() {
    let (unet, refs) = (unet(), Refs::open("tiny-sd1/refs/unet_changes.safetensors"));
    let sample: Tensor<4> = tensor(&refs, "b1_16x16.sample");
    let context: Tensor<3> = tensor(&refs, "b1_16x16.encoder_hidden_states");
    for (name, wrap) in AXES {
        let output = |sample: Tensor<4>| {
            let input = UnetInput {
                wrap,
                ..UnetInput::new(sample, &[500.0], context.clone())
            };
            unet.forward(&input).unwrap()
        };
        for (axis, wraps) in [(2, wrap.rows), (3, wrap.columns)] {
            let moved = values(output(rolled(sample.clone(), axis, 8)));
            let expected = values(rolled(output(sample.clone()), axis, 8));
            let error = goldens::relative_error(&moved, &expected);
            assert_eq!(error < 1e-5, wraps, "{name}, axis {axis}: {error:e}");
        }
    }
}

#[test]
fn vae_is_pytorchs_in_bands_of_any_size() {
    let refs = Refs::open("tiny-sd1/refs/tiled_vae.safetensors");
    // The picture is 48 wide: bands of 8 rows, of 16, and the whole.
    for pixels in [1, 16 * 48, usize::MAX] {
        let vae = vae().with_band_pixels(pixels);
        for (name, wrap) in AXES {
            let picture = vae.decode_wrapped(tensor(&refs, "latent"), wrap).unwrap();
            let expected = format!("picture.{name}");
            refs.assert_close(&expected, &values(picture), 1e-5);
            let moments = vae.encode_wrapped(tensor(&refs, &expected), wrap).unwrap();
            refs.assert_close(&format!("mean.{name}"), &values(moments.mean), 1e-5);
        }
    }
}
