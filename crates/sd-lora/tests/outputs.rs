//! Whole networks with adapters against diffusers, PEFT and LyCORIS, and files that are none.

use std::{collections::HashMap, sync::Arc};

use burn_tensor::{DType, Tensor, TensorData};
use goldens::Refs;
use safetensors::tensor::{Dtype as Stored, TensorView};
use sd_core::{
    Device, Dtype, WeightDtype,
    checkpoint::Checkpoint,
    config::Part,
    models::{ClipTextModel, UNet, UnetInput},
    weights::{Target, TensorFile, WeightPatch},
};
use sd_lora::{Adapter, AdapterFile, ModelNames, Strengths};

fn checkpoint() -> Checkpoint {
    Checkpoint::open(&goldens::root().join("tiny-sd1")).unwrap()
}

fn lora(file: TensorFile, weight: f64) -> sd_lora::Result<Adapter> {
    let names = ModelNames::new(&checkpoint().parameters().unwrap());
    AdapterFile::from_tensors(file)?.bind(&names, &Strengths::both(weight))
}

fn golden_file() -> TensorFile {
    TensorFile::open(&goldens::root().join("tiny-sd1/lora/lora.safetensors")).unwrap()
}

/// Text encoder's and U-Net's outputs with these patches.
fn outputs(refs: &Refs, patches: &[Arc<dyn WeightPatch>]) -> HashMap<&'static str, Vec<f32>> {
    // What the references change is never rounded.
    let target = Target {
        weights: WeightDtype::F32,
        ..Target::new(Device::from_name("cpu").unwrap(), Dtype::F32)
    };
    let mut checkpoint = checkpoint();
    checkpoint.set_patches(patches);
    let values = |tensor: Tensor<1>| tensor.into_data().try_to_vec::<f32>().unwrap();

    let (config, weights) = (
        checkpoint.configs().text_encoder(),
        checkpoint.weights(Part::TextEncoder),
    );
    let text = ClipTextModel::load(config, weights, &target).unwrap();
    let ids = refs.i64s("input_ids").iter().map(|&id| id as u32).collect();
    let text = values(text.encode(&[ids], &[], 1).unwrap().context.flatten(0, 2));

    let unet = UNet::load(
        &checkpoint.configs().unet,
        checkpoint.weights(Part::Unet),
        &target,
    )
    .unwrap();
    let input = |name: &str| TensorData::new(refs.f32s(name), refs.shape(name));
    let options = (target.device.burn(), DType::F32);
    let sample = Tensor::<4>::from_data(input("sample"), options);
    let context = Tensor::<3>::from_data(input("context"), (target.device.burn(), DType::F32));
    let unet = values(
        unet.forward(&UnetInput::new(sample, &[500.0], context))
            .unwrap()
            .flatten(0, 3),
    );
    HashMap::from([("text", text), ("unet", unet)])
}

#[test]
fn agrees_with_diffusers() {
    let refs = Refs::open("tiny-sd1/lora/refs.safetensors");
    let plain = outputs(&refs, &[]);
    let patched = outputs(&refs, &[Arc::new(lora(golden_file(), 0.7).unwrap())]);
    for name in ["text", "unet"] {
        refs.assert_close(&format!("plain.{name}"), &plain[name], 1e-5);
        refs.assert_close(&format!("lora.{name}"), &patched[name], 1e-5);
    }
    // Two halves are the whole, and nothing is nothing.
    let halves: [Arc<dyn WeightPatch>; 2] =
        [0.35, 0.35].map(|w| Arc::new(lora(golden_file(), w).unwrap()) as _);
    refs.assert_close("lora.unet", &outputs(&refs, &halves)["unet"], 1e-5);
    assert_eq!(
        outputs(&refs, &[Arc::new(lora(golden_file(), 0.0).unwrap())]),
        plain
    );
}

/// Seven kinds over the whole model, in the file that LyCORIS saved.
#[test]
fn agrees_with_lycoris() {
    let refs = Refs::open("lora/network_refs.safetensors");
    let file = TensorFile::open(&goldens::root().join("lora/network.safetensors")).unwrap();
    let patched = outputs(&refs, &[Arc::new(lora(file, 1.0).unwrap())]);
    for name in ["text", "unet"] {
        refs.assert_close(name, &patched[name], 1e-5);
    }
}

/// Each module's own alpha counts, and a missing one is the rank.
#[test]
fn alpha_scales_its_own_module() {
    let module = "lora_unet_mid_block_attentions_0_proj_in";
    let name = "mid_block.attentions.0.proj_in.weight";
    let (up, down): (Vec<f32>, Vec<f32>) = ((0..64 * 4).map(|i| i as f32).collect(), vec![0.5; 4 * 64]);
    let change = |alpha: Option<f32>| {
        let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let (up, down, alpha) = (bytes(&up), bytes(&down), alpha.map(|alpha| bytes(&[alpha])));
        let mut views = vec![
            (
                format!("{module}.lora_up.weight"),
                TensorView::new(Stored::F32, vec![64, 4], &up).unwrap(),
            ),
            (
                format!("{module}.lora_down.weight"),
                TensorView::new(Stored::F32, vec![4, 64], &down).unwrap(),
            ),
        ];
        if let Some(alpha) = &alpha {
            views.push((
                format!("{module}.alpha"),
                TensorView::new(Stored::F32, vec![], alpha).unwrap(),
            ));
        }
        let file = TensorFile::from_bytes("x", safetensors::serialize(views, None).unwrap()).unwrap();
        let mut values = vec![0f32; 64 * 64];
        lora(file, 1.0)
            .unwrap()
            .apply(Part::Unet, name, &[64, 64, 1, 1], &mut values)
            .unwrap();
        values
    };
    let whole = change(Some(4.0));
    // Row 3 of up is 12, 13, 14, 15.
    assert_eq!(whole[3 * 64], 27.0);
    assert_eq!(change(None), whole);
    assert_eq!(
        change(Some(1.0)),
        whole.iter().map(|v| v / 4.0).collect::<Vec<_>>()
    );
}

/// A file with these tensors of zeros.
fn file(tensors: &[(&str, Stored, &[usize])]) -> TensorFile {
    let zeros = vec![0u8; 1 << 16];
    let views = tensors.iter().map(|(name, dtype, shape)| {
        let bytes = shape.iter().product::<usize>() * dtype.bitsize() / 8;
        (
            *name,
            TensorView::new(*dtype, shape.to_vec(), &zeros[..bytes]).unwrap(),
        )
    });
    TensorFile::from_bytes("x.safetensors", safetensors::serialize(views, None).unwrap()).unwrap()
}

#[test]
fn convolutions_and_ldm_names_find_their_places() {
    let module = "lora_unet_input_blocks_1_0_in_layers_2";
    let (down, up) = (
        format!("{module}.lora_down.weight"),
        format!("{module}.lora_up.weight"),
    );
    let lora = lora(
        file(&[
            (&down, Stored::F32, &[4, 32, 3, 3]),
            (&up, Stored::F32, &[32, 4, 1, 1]),
        ]),
        1.0,
    )
    .unwrap();
    let name = "down_blocks.0.resnets.0.conv1.weight";
    assert!(lora.touches(Part::Unet, name) && !lora.touches(Part::Vae, name));
    assert_eq!(lora.check(Part::Unet, name, &[32, 32, 3, 3]), Ok(()));
    assert!(
        lora.check(Part::Unet, name, &[64, 32, 3, 3])
            .unwrap_err()
            .contains(module)
    );
}

#[test]
fn what_does_not_fit_is_named() {
    let message = |tensors: &[(&str, Stored, &[usize])]| match lora(file(tensors), 1.0) {
        Ok(_) => panic!("{tensors:?} was taken"),
        Err(error) => error.to_string(),
    };
    let (down, up) = (
        "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight",
        "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight",
    );
    let alpha = "lora_unet_mid_block_attentions_0_proj_in.alpha";
    let f32 = Stored::F32;
    assert!(message(&[]).contains("holds no tensors"));
    assert!(message(&[("weight", f32, &[2])]).contains("'weight' is none's tensor"));
    assert!(
        message(&[("decoder.conv_in.weight", f32, &[2])])
            .contains("is a VAE's decoder alone, not a LoRA or another adapter; its place is vae (--vae)")
    );
    assert!(message(&[(down, f32, &[4, 64])]).contains("it has no tensor lora_up"));
    assert!(message(&[(down, f32, &[4, 64]), (up, f32, &[64, 5])]).contains("can't be multiplied"));
    assert!(message(&[(down, f32, &[0, 64]), (up, f32, &[64, 0])]).contains("lora_down has shape [0, 64]"));
    assert!(message(&[(down, f32, &[4]), (up, f32, &[64, 4])]).contains("lora_down has shape [4]"));
    assert!(message(&[(down, Stored::I64, &[4, 64]), (up, f32, &[64, 4])]).contains("I64"));
    let three = [
        (down, f32, [4, 64].as_slice()),
        (up, f32, &[64, 4]),
        (alpha, f32, &[2]),
    ];
    assert!(message(&three).contains("alpha is not one number"));
    let other = "lora_unet_down_blocks_7_attentions_0_proj_in.lora_down.weight";
    let other_up = "lora_unet_down_blocks_7_attentions_0_proj_in.lora_up.weight";
    let unmatched = message(&[(other, f32, &[4, 64]), (other_up, f32, &[64, 4])]);
    assert!(
        unmatched.contains(
            "1 of 1 modules have no place in this model: lora_unet_down_blocks_7_attentions_0_proj_in \
             (nearest: lora_unet_down_blocks_0_attentions_0_proj_in)"
        ),
        "{unmatched}"
    );
}
