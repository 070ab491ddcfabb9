//! Networks that enlarge pictures, against spandrel, and files that are none.

use burn_tensor::{DType, Tensor, TensorData};
use goldens::Refs;
use sd_core::{
    Device, Dtype, Error,
    models::{Upscaler, UpscalerKind, UpscalerStructure},
    weights::{Target, TensorFile},
};

fn target(dtype: Dtype) -> Target {
    Target::new(Device::from_name("cpu").unwrap(), dtype)
}

/// `[1, h, w, 3]`.
fn picture(refs: &Refs) -> Tensor<4> {
    let shape: [usize; 4] = refs.shape("picture").try_into().unwrap();
    let device = target(Dtype::F32).device;
    Tensor::from_data(
        TensorData::new(refs.f32s("picture"), shape),
        (device.burn(), DType::F32),
    )
    .permute([0, 2, 3, 1])
}

fn file(name: &str) -> TensorFile {
    TensorFile::open(&goldens::root().join("upscalers").join(name)).unwrap()
}

#[test]
fn results_are_spandrels() {
    let refs = Refs::open("upscalers/refs.safetensors");
    for (name, factor) in [
        ("esrgan-x4.pth", 4),
        ("esrgan-x8.safetensors", 8),
        ("trunk-x2.safetensors", 2),
        ("realesrgan-x2.pth", 2),
        ("realesrgan-x1.safetensors", 1),
        ("compact-x4.pth", 4),
        ("compact-x2.safetensors", 2),
    ] {
        for (dtype, tolerance) in [(Dtype::F32, 1e-5), (Dtype::Bf16, 2e-2)] {
            let network = Upscaler::load(file(name), &target(dtype)).unwrap();
            assert_eq!(network.structure().factor, factor, "{name}");
            let got = network.forward(picture(&refs)).unwrap().permute([0, 3, 1, 2]);
            assert_eq!(got.dims().to_vec(), refs.shape(name), "{name}");
            refs.assert_close(name, &got.into_data().try_to_vec::<f32>().unwrap(), tolerance);
        }
    }
}

#[test]
fn structures_are_read_off_the_tensors() {
    let structure = UpscalerStructure::of(&file("realesrgan-x2.pth")).unwrap();
    let kind = UpscalerKind::Rrdb {
        blocks: 1,
        growth: 2,
        doublings: 2,
        unshuffle: 2,
    };
    assert_eq!(
        (structure.kind, structure.channels, structure.width),
        (kind, 3, 4)
    );
    assert_eq!((structure.multiple(), structure.reach()), (2, 42));
    let structure = UpscalerStructure::of(&file("compact-x2.safetensors")).unwrap();
    assert_eq!(structure.kind, UpscalerKind::Compact { convolutions: 5 });
    assert_eq!(structure.describe(), "compact x2, 5 convolutions of width 6");
}

#[test]
fn other_shapes_are_refused() {
    let refs = Refs::open("upscalers/refs.safetensors");
    let network = Upscaler::load(file("realesrgan-x2.pth"), &target(Dtype::F32)).unwrap();
    for picture in [picture(&refs).narrow(1, 0, 3), picture(&refs).narrow(3, 0, 1)] {
        assert!(matches!(network.forward(picture), Err(Error::Shape { .. })));
    }
}

/// A tensor's name and shape.
type Shaped<'a> = (&'a str, &'a [usize]);

/// A safetensors file of zeros.
fn zeros(tensors: &[Shaped]) -> TensorFile {
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, shape)| {
            let len = 4 * shape.iter().product::<usize>();
            ((*name).to_owned(), shape.to_vec(), vec![0; len])
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, data)| {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), data);
        (name.clone(), view.unwrap())
    });
    let file = safetensors::serialize(views, None).unwrap();
    TensorFile::from_bytes("it", file).unwrap()
}

#[test]
fn files_that_are_no_upscaler_say_so() {
    let cases: [(&[Shaped], &str); 6] = [
        (&[("a", &[1])], "no upscaler of a known structure"),
        (
            &[("body.0.weight", &[4, 3, 3, 3])],
            "the upscaler makes 4 channels of 3",
        ),
        (&[("body.0.weight", &[4, 3])], "shape [4, 3] is no convolution's"),
        (
            &[
                ("body.0.weight", &[4, 3, 3, 3]),
                ("body.2.weight", &[13, 4, 3, 3]),
            ],
            "makes 13 channels of 3",
        ),
        (
            &[("body.0.rdb1.conv1.weight", &[2, 4, 3, 3])],
            "the upscaler lacks conv_first.weight",
        ),
        (
            &[
                ("params.body.0.rdb1.conv1.weight", &[2, 4, 3, 3]),
                ("params.conv_first.weight", &[4, 12, 3, 3]),
                ("params.conv_last.weight", &[3, 4, 3, 3]),
            ],
            "makes 3 channels of 12",
        ),
    ];
    for (tensors, expected) in cases {
        let Err(error) = Upscaler::load(zeros(tensors), &target(Dtype::F32)) else {
            panic!("{tensors:?}");
        };
        let message = error.to_string();
        assert!(
            message.starts_with("it: ") && message.contains(expected),
            "{message}"
        );
    }
    // All that is missing, misshapen or too much is told at once.
    let Err(error) = Upscaler::load(
        zeros(&[
            ("body.0.weight", &[4, 3, 3, 3]),
            ("body.0.bias", &[5]),
            ("body.2.weight", &[12, 4, 3, 3]),
            ("head.weight", &[1]),
        ]),
        &target(Dtype::F32),
    ) else {
        panic!("it has no slopes");
    };
    let Error::Weights(faults) = error else {
        panic!("{error}");
    };
    assert_eq!(faults.missing, ["body.1.weight", "body.2.bias"]);
    assert_eq!(faults.misshapen.len(), 1);
    assert_eq!(faults.unexpected, ["head.weight"]);
}
