//! The estimated memory of a run, and the memory that it takes: counted by the workspace, which holds nothing idle here.

use burn_tensor::{DType, Tensor, TensorData};
use sd_core::{
    Device, Dtype, Quantization,
    checkpoint::Checkpoint,
    config::Part,
    models::{UNet, UnetInput, Vae, decoder_bytes, encoder_bytes, unet_bytes},
    weights::Target,
};
use sd_kernels::Workspace;

/// The error that the estimate may have: below, where it would allow a run that doesn't fit, and above.
const MARGIN: [f64; 2] = [0.98, 1.15];

fn peak(run: impl FnOnce()) -> usize {
    let workspace = Workspace::default();
    workspace.set_limit(0);
    workspace.enter(run);
    workspace.peak_bytes()
}

fn zeros<const D: usize>(target: &Target, shape: [usize; D]) -> Tensor<D> {
    let values = vec![0f32; shape.iter().product()];
    Tensor::from_data(TensorData::new(values, shape), (target.device.burn(), DType::F32))
}

#[test]
fn estimates_are_near_what_is_counted() {
    let checkpoint = Checkpoint::open(&goldens::root().join("../models/demo/base")).unwrap();
    let configs = checkpoint.configs();
    for (dtype, quantization) in [
        (Dtype::F32, Quantization::None),
        (Dtype::Bf16, Quantization::None),
        (Dtype::Bf16, Quantization::Int8),
    ] {
        let device = Device::from_name("cpu").unwrap();
        let target = Target {
            quantization,
            ..Target::new(device, dtype)
        };
        let unet = UNet::load(&configs.unet, checkpoint.weights(Part::Unet), &target).unwrap();
        let vae = Vae::load(&configs.vae, checkpoint.weights(Part::Vae), &target).unwrap();
        for [h, w] in [[24, 24], [32, 16], [64, 64]] {
            let latents = zeros(&target, [2, configs.unet.in_channels, h, w]);
            let context = zeros(&target, [2, 77, configs.unet.cross_attention_dim]);
            let input = UnetInput::new(latents, &[500.0; 2], context);
            let counted = peak(|| drop(unet.forward(&input).unwrap()));
            let decoded = zeros(&target, [1, configs.vae.latent_channels, h, w]);
            let decoding = peak(|| drop(vae.decode(decoded).unwrap()));
            let f = configs.vae.downscale();
            let picture = zeros(&target, [1, configs.vae.in_channels, f * h, f * w]);
            let encoding = peak(|| drop(vae.encode(picture).unwrap()));
            for (what, estimate, counted) in [
                (
                    "U-Net",
                    unet_bytes(&configs.unet, dtype, quantization, 2, [h, w]),
                    counted,
                ),
                ("decoder", decoder_bytes(&configs.vae, dtype, [h, w]), decoding),
                ("encoder", encoder_bytes(&configs.vae, dtype, [h, w]), encoding),
            ] {
                let ratio = estimate as f64 / counted as f64;
                println!(
                    "{what}, {dtype} {}, {h}x{w}: {estimate} estimated, {counted} counted, {ratio:.2}",
                    quantization.name()
                );
                assert!(
                    (MARGIN[0]..MARGIN[1]).contains(&ratio),
                    "{what} in {dtype}, {h}x{w}: {estimate} bytes estimated, {counted} counted"
                );
            }
        }
    }
}

/// A VAE that works in bands gives what it gives with the whole picture at once.
#[test]
fn bands_change_nothing() {
    let checkpoint = Checkpoint::open(&goldens::root().join("../models/demo/base")).unwrap();
    let config = &checkpoint.configs().vae;
    for (dtype, tolerance) in [(Dtype::F32, 1e-5), (Dtype::Bf16, 0.01), (Dtype::F16, 0.005)] {
        let device = Device::from_name("cpu").unwrap();
        let target = Target::new(device, dtype);
        let load = |pixels| {
            let vae = Vae::load(config, checkpoint.weights(Part::Vae), &target).unwrap();
            vae.with_band_pixels(pixels)
        };
        let (whole, bands) = (load(usize::MAX), load(1));
        // Sides that leave a rest, two different pictures at once.
        let shape = [2, config.latent_channels, 7, 9];
        let values = (0..shape.iter().product::<usize>()).map(|i| ((i * 7919) % 2003) as f32 / 500.0 - 2.0);
        let latents = TensorData::new(values.collect::<Vec<_>>(), shape);
        let latents = Tensor::<4>::from_data(latents, (target.device.burn(), DType::F32));
        let floats = |x: Tensor<4>| x.into_data().try_to_vec::<f32>().unwrap();
        let picture = whole.decode(latents.clone()).unwrap();
        let close = |what: &str, a: Vec<f32>, b: Vec<f32>| {
            let largest = a.iter().fold(0f32, |most, a| most.max(a.abs()));
            let off = a
                .iter()
                .zip(&b)
                .fold(0f32, |most, (a, b)| most.max((a - b).abs()));
            println!("{what}, {dtype}: {off} of {largest}");
            assert!(
                largest > 0.0 && off <= tolerance * largest,
                "{what}, {dtype}: {off} of {largest}"
            );
        };
        close(
            "decoded",
            floats(picture.clone()),
            floats(bands.decode(latents).unwrap()),
        );
        let (a, b) = (
            whole.encode(picture.clone()).unwrap(),
            bands.encode(picture).unwrap(),
        );
        close("mean", floats(a.mean), floats(b.mean));
        close("logvar", floats(a.logvar), floats(b.logvar));
    }
}
