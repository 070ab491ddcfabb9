//! `goldens/tiny-sd1` as a single file in LDM's layout, which would say all of its tensors a second time.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::OnceLock};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

const PARTS: [(&str, &str); 3] = [
    ("text_encoder", "text_encoder/model.safetensors"),
    ("unet", "unet/diffusion_pytorch_model.safetensors"),
    ("vae", "vae/diffusion_pytorch_model.safetensors"),
];

/// The file with the tensors of `goldens/tiny-sd1` under LDM's names, as `tools/goldens/tiny_sd1.py` has proven them with diffusers'
/// converters, and what such files carry besides. It is made in the target folder, once in a process.
pub fn tiny_sd1_ldm() -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(make).clone()
}

fn make() -> PathBuf {
    let folder = crate::root().join("tiny-sd1");
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    let names: serde_json::Value = serde_json::from_slice(&read("ldm/names.json")).unwrap();
    let others = read("ldm/others.safetensors");
    let metadata = SafeTensors::read_metadata(&others).unwrap().1.metadata().clone();
    let convolutions = names["convolutions"].as_array().unwrap();

    let mut tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)> = BTreeMap::new();
    let mut put = |name: &str, view: &TensorView, shape: Vec<usize>| {
        tensors.insert(name.to_owned(), (view.dtype(), shape, view.data().to_owned()));
    };
    for (name, view) in SafeTensors::deserialize(&others).unwrap().iter() {
        put(name, &view, view.shape().to_owned());
    }
    for (part, file) in PARTS {
        let bytes = read(file);
        let (names, stored) = (
            names[part].as_object().unwrap(),
            SafeTensors::deserialize(&bytes).unwrap(),
        );
        assert_eq!(names.len(), stored.len());
        for (name, ldm) in names {
            let view = stored.tensor(name).unwrap();
            let mut shape = view.shape().to_owned();
            if convolutions.contains(ldm) {
                shape.extend([1, 1]);
            }
            put(ldm.as_str().unwrap(), &view, shape);
        }
    }
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    let whole = safetensors::serialize(views, metadata).unwrap();
    let made = crate::root().join("../target/goldens");
    fs::create_dir_all(&made).unwrap();
    // Tests are several processes at once: each finds the file whole.
    let (path, partial) = (
        made.join("tiny-sd1-ldm.safetensors"),
        made.join(format!("{}.partial", std::process::id())),
    );
    fs::write(&partial, whole).unwrap();
    fs::rename(partial, &path).unwrap();
    path
}
