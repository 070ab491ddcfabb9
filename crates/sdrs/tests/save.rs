//! Saved files and folders, against those that diffusers and a converter made, and against the model that is loaded from them.

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use common::{builder, folder, lora_file, outputs, picture};
use half::{bf16, f16};
use safetensors::{Dtype as Stored, SafeTensors, tensor::TensorView};
use sdrs::{Dtype, ErrorCode, Lora, Pipeline};

const PARTS: [&str; 3] = [
    "text_encoder/model.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
];

fn single_file() -> PathBuf {
    goldens::tiny_sd1_ldm()
}

type Tensors = BTreeMap<String, (Stored, Vec<usize>, Vec<u8>)>;

fn tensors(path: &Path) -> Tensors {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let read = |(name, tensor): (&str, TensorView<'_>)| {
        (
            name.to_owned(),
            (tensor.dtype(), tensor.shape().to_vec(), tensor.data().to_vec()),
        )
    };
    file.iter().map(read).collect()
}

fn stored(pipeline: sdrs::PipelineBuilder) -> Pipeline {
    pipeline.device("cpu").build().unwrap()
}

/// Both layouts of the tiny model were made by others: saved from one, it is the other.
#[test]
fn layouts_are_those_of_others() {
    let out = tempfile::tempdir().unwrap();
    let (file, saved) = (out.path().join("file.safetensors"), out.path().join("folder"));
    let from_folder = builder().build().unwrap();
    let from_file = stored(
        Pipeline::builder()
            .dtype(sdrs::Dtype::F32)
            .weight_dtype(sdrs::WeightDtype::F32)
            .checkpoint(single_file()),
    );
    // Beside the parameters, checkpoints carry noise schedules and the like.
    let mut expected = tensors(&single_file());
    let prefixes = [
        "cond_stage_model.",
        "model.diffusion_model.",
        "first_stage_model.",
    ];
    expected
        .retain(|name, _| prefixes.iter().any(|p| name.starts_with(p)) && !name.ends_with("position_ids"));
    let as_stored = match expected.values().next().unwrap().0 {
        Stored::F16 => Dtype::F16,
        _ => Dtype::F32,
    };
    from_folder.save_file(&file, as_stored).unwrap();
    from_file.save_folder(&saved, as_stored).unwrap();
    let got = tensors(&file);
    let names = |tensors: &Tensors| tensors.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&got), names(&expected));
    for (name, tensor) in &expected {
        assert!(got[name] == *tensor, "{name}");
    }
    for part in PARTS {
        let mut expected = tensors(&folder().join(part));
        expected.retain(|name, _| !name.ends_with("position_ids"));
        assert!(tensors(&saved.join(part)) == expected, "{part}");
    }
    for config in ["text_encoder/config.json", "unet/config.json", "vae/config.json"] {
        let text = fs::read_to_string(saved.join(config)).unwrap();
        assert!(
            text.contains("_class_name") || text.contains("architectures"),
            "{text}"
        );
    }
    // Nothing else is left there, and both can be read by anyone who may read what is made here.
    let names = |path: &Path| {
        let entries = fs::read_dir(path).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(out.path()), ["file.safetensors", "folder"]);
    let parts = [
        "model_index.json",
        "scheduler",
        "text_encoder",
        "tokenizer",
        "unet",
        "vae",
    ];
    assert_eq!(names(&saved), parts);
    assert_eq!(
        names(&saved.join("unet")),
        ["config.json", "diffusion_pytorch_model.safetensors"]
    );
    fs::write(out.path().join("usual"), "").unwrap();
    let permissions = |path: PathBuf| fs::metadata(path).unwrap().permissions();
    assert_eq!(permissions(file), permissions(out.path().join("usual")));
    assert_eq!(
        permissions(saved.join(PARTS[1])),
        permissions(out.path().join("usual"))
    );
}

/// LoRAs are merged in f32 and rounded once.
#[test]
fn what_is_saved_loads_as_it_was() {
    let out = tempfile::tempdir().unwrap();
    let loras = [Lora::file(lora_file()).unet(0.7).text_encoder(-0.3)];
    let pipeline = builder().dtype(Dtype::Bf16).loras(&loras).build().unwrap();
    let plain = builder().loras(&loras).build().unwrap();
    let wide = out.path().join("f32");
    // The compute type of the pipeline doesn't matter, nor whether it was loaded.
    pipeline.save_folder(&wide, Dtype::F32).unwrap();
    let file = out.path().join("f32.safetensors");
    builder().loras(&loras).save_file(&file, Dtype::F32).unwrap();
    let again = |path: &Path| {
        stored(
            Pipeline::builder()
                .dtype(sdrs::Dtype::F32)
                .weight_dtype(sdrs::WeightDtype::F32)
                .checkpoint(path),
        )
    };
    for saved in [again(&wide), again(&file)] {
        assert_eq!(outputs(&saved), outputs(&plain));
        assert_eq!(picture(&saved), picture(&plain));
        assert_eq!(saved.loras().len(), 0);
    }
    for (dtype, name) in [(Dtype::F16, "f16"), (Dtype::Bf16, "bf16")] {
        let narrow = out.path().join(name);
        plain.save_folder(&narrow, dtype).unwrap();
        for part in PARTS {
            let (narrow, wide) = (tensors(&narrow.join(part)), tensors(&wide.join(part)));
            assert_eq!(narrow.len(), wide.len());
            for ((name, (_, shape, narrow)), (wide_name, (_, wide_shape, wide))) in narrow.iter().zip(&wide) {
                assert_eq!((name, shape), (wide_name, wide_shape));
                let wide = wide.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
                let rounded = wide.flat_map(|x| match dtype {
                    Dtype::F16 => f16::from_f32(x).to_le_bytes(),
                    _ => bf16::from_f32(x).to_le_bytes(),
                });
                assert!(rounded.eq(narrow.iter().copied()), "{name}");
            }
        }
        let folder = again(&narrow);
        let file = out.path().join(format!("{name}.safetensors"));
        plain.save_file(&file, dtype).unwrap();
        assert_eq!(outputs(&again(&file)), outputs(&folder));
    }
    assert_ne!(outputs(&builder().build().unwrap()), outputs(&plain));
}

/// The demo model has a tokenizer of its own, the tiny one has CLIP's.
#[test]
fn tokenizers_go_along() {
    let out = tempfile::tempdir().unwrap();
    let demo = goldens::root().join("../models/demo/base");
    for (name, source) in [("demo", demo), ("tiny", single_file())] {
        let pipeline = stored(
            Pipeline::builder()
                .dtype(sdrs::Dtype::F32)
                .weight_dtype(sdrs::WeightDtype::F32)
                .checkpoint(source),
        );
        let (file, folder) = (
            out.path().join(format!("{name}.safetensors")),
            out.path().join(name),
        );
        pipeline.save_file(&file, Dtype::F16).unwrap();
        // From what was saved, once more.
        let from_file = stored(
            Pipeline::builder()
                .dtype(sdrs::Dtype::F32)
                .weight_dtype(sdrs::WeightDtype::F32)
                .checkpoint(&file),
        );
        from_file.save_folder(&folder, Dtype::F16).unwrap();
        let from_folder = stored(
            Pipeline::builder()
                .dtype(sdrs::Dtype::F32)
                .weight_dtype(sdrs::WeightDtype::F32)
                .checkpoint(&folder),
        );
        let text = "a red circle above a blue square, (very) détaillé 12!";
        let tokens = pipeline.tokenize(text).unwrap();
        assert!(tokens.len() > 10);
        assert_eq!(from_file.tokenize(text).unwrap(), tokens);
        assert_eq!(from_folder.tokenize(text).unwrap(), tokens);
        let context = |pipeline: &Pipeline| pipeline.encode_prompt(text, 1).unwrap();
        assert_eq!(context(&from_folder), context(&from_file));
    }
}

#[test]
fn what_can_not_be_saved_is_told() {
    let out = tempfile::tempdir().unwrap();
    let pipeline = builder().build().unwrap();
    let there = out.path().join("there");
    fs::create_dir(&there).unwrap();
    // An empty folder is as good as none.
    pipeline.save_folder(&there, Dtype::F16).unwrap();
    let error = pipeline.save_folder(&there, Dtype::F16).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Io);
    assert!(
        error
            .to_string()
            .ends_with("is there already and not empty; name another, or remove it")
    );
    for path in ["no/such/folder/x.safetensors", "/", ""] {
        let error = pipeline.save_file(path, Dtype::F16).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Io, "{error}");
        assert!(error.to_string().starts_with("cannot write"), "{error}");
    }
    // A LoRA as strong as this leaves f16's range, but not bf16's.
    let strong = pipeline
        .with_loras([Lora::file(lora_file()).unet(1000.0).text_encoder(0.0)])
        .unwrap();
    let strong = strong
        .with_loras([
            Lora::file(lora_file()).weight(1000.0),
            Lora::file(huge(out.path())).weight(1000.0),
        ])
        .unwrap();
    let file = out.path().join("strong.safetensors");
    let error = strong.save_file(&file, Dtype::F16).unwrap_err().to_string();
    assert!(
        error.contains("hold values beyond the range of f16, such as ")
            && error.ends_with("save in bf16 or f32"),
        "{error}"
    );
    assert!(strong.save_folder(out.path().join("strong"), Dtype::F16).is_err());
    strong.save_file(&file, Dtype::Bf16).unwrap();
    let mut left: Vec<_> = fs::read_dir(out.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["huge.safetensors", "strong.safetensors", "there"]);
    // A file is replaced while a pipeline has it open.
    let open = stored(
        Pipeline::builder()
            .dtype(sdrs::Dtype::F32)
            .weight_dtype(sdrs::WeightDtype::F32)
            .checkpoint(&file),
    );
    let before = outputs(&open);
    pipeline.save_file(&file, Dtype::F32).unwrap();
    let lora = Lora::file(lora_file()).weight(0.5);
    assert_eq!(
        outputs(&open.with_loras([lora]).unwrap().with_loras::<Lora>([]).unwrap()),
        before
    );
    assert_eq!(
        outputs(&stored(
            Pipeline::builder()
                .dtype(sdrs::Dtype::F32)
                .weight_dtype(sdrs::WeightDtype::F32)
                .checkpoint(&file)
        )),
        outputs(&pipeline)
    );
}

/// The LoRA with a hundred times its weights.
fn huge(folder: &Path) -> PathBuf {
    let path = folder.join("huge.safetensors");
    let read = tensors(&lora_file());
    let scaled: Vec<(String, Vec<usize>, Vec<u8>)> = read
        .into_iter()
        .map(|(name, (dtype, shape, bytes))| {
            let values: Vec<f32> = match dtype {
                Stored::F16 => bytes
                    .as_chunks::<2>()
                    .0
                    .iter()
                    .map(|b| f16::from_le_bytes(*b).to_f32())
                    .collect(),
                _ => bytes
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|b| f32::from_le_bytes(*b))
                    .collect(),
            };
            let factor = if name.ends_with("alpha") { 1.0 } else { 100.0 };
            let bytes = values.iter().flat_map(|x| (x * factor).to_le_bytes()).collect();
            (name, shape, bytes)
        })
        .collect();
    let views = scaled.iter().map(|(name, shape, bytes)| {
        (
            name.as_str(),
            TensorView::new(Stored::F32, shape.clone(), bytes).unwrap(),
        )
    });
    safetensors::serialize_to_file(views, None, &path).unwrap();
    path
}
