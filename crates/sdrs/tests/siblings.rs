//! Pipelines that share weights: LoRAs and VAEs changed while others keep what they had.

mod common;

use std::fs;

use common::{builder, folder, lora_file, outputs, picture};
use sdrs::{ErrorCode, Lora};

/// Two LoRAs, of which each changes what the other one does.
fn two() -> [Lora; 2] {
    let first = Lora::file(lora_file()).unet(0.7).text_encoder(0.2);
    let bytes = fs::read(lora_file()).unwrap();
    [first, Lora::bytes("second.safetensors", bytes).weight(-0.3)]
}

#[test]
fn siblings_are_what_a_builder_makes() {
    let plain = builder().build().unwrap();
    let (before, before_picture) = (outputs(&plain), picture(&plain));
    let built = builder().loras(two()).build().unwrap();
    let sibling = plain.with_loras(two()).unwrap();
    assert_eq!(outputs(&sibling), outputs(&built));
    assert!(outputs(&sibling).0 != before.0 && outputs(&sibling).1 != before.1);
    assert_eq!(picture(&sibling), picture(&built));
    let names: Vec<String> = sibling.loras().map(Lora::name).collect();
    assert_eq!(names, ["lora", "second"]);

    // Some of them, others, and none: from a sibling as from the first one.
    let [first, second] = two();
    let one = sibling.with_loras([second.clone()]).unwrap();
    assert_eq!(
        outputs(&one),
        outputs(&builder().loras([second]).build().unwrap())
    );
    let only_text = one.with_loras([first.clone().unet(0.0)]).unwrap();
    assert_eq!(
        outputs(&only_text),
        outputs(&plain.with_loras([first.unet(0.0)]).unwrap())
    );
    let none = sibling.with_loras::<Lora>([]).unwrap();
    assert_eq!((outputs(&none), none.loras().len()), (before.clone(), 0));
    assert_eq!(picture(&none), before_picture);
    assert_eq!(outputs(&plain), before);

    // In place.
    let mut pipeline = builder().build().unwrap();
    for loras in [two().to_vec(), vec![two()[1].clone()], vec![]] {
        pipeline.set_loras(&loras).unwrap();
        assert_eq!(outputs(&pipeline), outputs(&plain.with_loras(&loras).unwrap()));
    }
    assert_eq!(outputs(&pipeline), before);
    // Also where a sibling shares the weights, which it keeps.
    let mut shared = plain.with_loras::<Lora>([]).unwrap();
    shared.set_loras(two()).unwrap();
    assert_eq!(outputs(&shared), outputs(&built));
    assert_eq!(outputs(&plain), before);
}

/// The same LoRA twice acts twice, however it came there.
#[test]
fn a_lora_may_act_twice() {
    let lora = Lora::from((lora_file(), 0.5));
    let once = builder().loras([&lora]).build().unwrap();
    let twice = once.with_loras([&lora, &lora]).unwrap();
    assert_eq!(
        outputs(&twice),
        outputs(&builder().loras([&lora, &lora]).build().unwrap())
    );
    assert!(outputs(&twice) != outputs(&once));
}

#[test]
fn errors_leave_a_pipeline_as_it_was() {
    let mut pipeline = builder().loras(two()).build().unwrap();
    let before = outputs(&pipeline);
    let other = goldens::tiny_sd1_ldm();
    for (wrong, code) in [
        (Lora::file(other), ErrorCode::InvalidFile),
        (Lora::file("no/such/lora.safetensors"), ErrorCode::Io),
        (
            Lora::file(lora_file()).unet(f64::NAN),
            ErrorCode::InvalidParameter,
        ),
        (
            Lora::file(lora_file()).text_encoder(1e4),
            ErrorCode::InvalidParameter,
        ),
    ] {
        assert_eq!(pipeline.with_loras([&wrong]).unwrap_err().code(), code);
        assert_eq!(pipeline.set_loras([&wrong]).unwrap_err().code(), code);
    }
    assert_eq!((outputs(&pipeline), pipeline.loras().len()), (before, 2));
}

#[test]
fn a_vae_is_changed_alone() {
    let plain = builder().loras(two()).build().unwrap();
    let expected = picture(&plain);
    let washed = washed_vae();
    let path = tempfile::tempdir().unwrap();
    let file = path.path().join("washed.safetensors");
    fs::write(&file, &washed).unwrap();
    let sibling = plain.with_vae(&file).unwrap();
    let built = builder().loras(two()).vae(&file).build().unwrap();
    assert_eq!(picture(&sibling), picture(&built));
    assert_ne!(picture(&sibling), expected);
    assert_eq!(outputs(&sibling), outputs(&plain));
    let bytes = plain.with_vae_bytes("washed", washed.clone()).unwrap();
    assert_eq!(picture(&bytes), picture(&built));
    let built = builder()
        .loras(two())
        .vae_bytes("washed", washed)
        .build()
        .unwrap();
    assert_eq!(picture(&bytes), picture(&built));
    // And back; LoRAs stay through all of it.
    assert_eq!(picture(&sibling.with_vae(folder()).unwrap()), expected);
    assert_eq!(sibling.with_vae("no/vae").unwrap_err().code(), ErrorCode::Io);
}

/// The VAE with another last bias, as bytes.
fn washed_vae() -> Vec<u8> {
    use safetensors::{SafeTensors, tensor::TensorView};
    let bytes = fs::read(folder().join("vae/diffusion_pytorch_model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let bias = file.tensor("decoder.conv_out.bias").unwrap();
    let zeros = vec![0u8; bias.data().len()];
    let flat = TensorView::new(bias.dtype(), bias.shape().to_vec(), &zeros).unwrap();
    let tensors = file.iter().map(|(name, tensor)| match name {
        "decoder.conv_out.bias" => (name.to_owned(), flat.clone()),
        _ => (name.to_owned(), tensor),
    });
    safetensors::serialize(tensors, None).unwrap()
}
