//! Files that PyTorch saves: the tensors that PyTorch itself put there, and files that lie.

mod common;

use common::{
    assert_says, output, put, serialized, tensors, tiny, tiny_copy,
    torch::{call, checkpoint, dict, global, int, pickle, storage, tensor, text, tuple, zip},
};
use sd_core::{
    checkpoint::{Checkpoint, Configs, inspect},
    config::Part,
    weights::{Folder, TensorFile},
};

fn golden(name: &str) -> TensorFile {
    TensorFile::open(&goldens::root().join("torch").join(name)).unwrap()
}

/// A file holds these tensors and no others, bit for bit.
fn assert_holds(file: &TensorFile, expected: &TensorFile) {
    let sorted = |file: &TensorFile| {
        let mut names: Vec<String> = file.names().map(str::to_owned).collect();
        names.sort();
        names
    };
    assert_eq!(sorted(file), sorted(expected));
    for name in expected.names() {
        let (got, want) = (file.info(name).unwrap(), expected.info(name).unwrap());
        assert_eq!((got.dtype, &got.shape), (want.dtype, &want.shape), "{name}");
        assert_eq!(file.tensor_bytes(name), expected.tensor_bytes(name), "{name}");
        let bits = |file: &TensorFile| -> Vec<u32> {
            file.values_f32(name)
                .unwrap()
                .into_iter()
                .map(f32::to_bits)
                .collect()
        };
        assert_eq!(bits(file), bits(expected), "{name}");
    }
}

#[test]
fn what_pytorch_saves() {
    let expected = golden("tensors.safetensors");
    for name in ["zip.pt", "zip4.pt", "zip5.pt", "legacy.pt", "lightning.ckpt"] {
        println!("{name}");
        assert_holds(&golden(name), &expected);
    }
    let lightning = golden("lightning.ckpt");
    assert_eq!(lightning.metadata()["global_step"], "470000");
    assert_eq!(lightning.metadata()["pytorch-lightning_version"], "1.4.2");
}

#[test]
fn dictionaries_in_dictionaries() {
    let nested = golden("nested.pt");
    assert_eq!(nested.names().count(), 2);
    assert_eq!(nested.values_f32("a.b").unwrap(), [1.0; 2]);
    assert_eq!(nested.values_f32("a.c.d").unwrap(), [0.0; 3]);
    assert_eq!(nested.metadata()["n"], "4");
    assert_eq!(nested.metadata()["name"], "x");
}

/// A checkpoint, the parts of a folder and a VAE are opened by their contents, whatever their names.
#[test]
fn models_in_pickles() {
    let single = checkpoint(&tensors(&goldens::tiny_sd1_ldm()));
    let configs = || Configs::from_folder(&Folder::Disk(tiny())).unwrap();
    let opened = TensorFile::from_bytes("x", single.clone()).unwrap();
    let pickled = Checkpoint::from_file_and_configs(opened, configs()).unwrap();
    let plain = Checkpoint::open(&tiny()).unwrap();
    let folder = tiny_copy();
    for (part, name) in [
        ("unet", "diffusion_pytorch_model.fp16.bin"),
        ("vae", "diffusion_pytorch_model.bin"),
        ("text_encoder", "pytorch_model.bin"),
    ] {
        let stem = if part == "text_encoder" {
            "model"
        } else {
            "diffusion_pytorch_model"
        };
        let old = folder.path().join(part).join(stem).with_extension("safetensors");
        put(
            folder.path(),
            &format!("{part}/{name}"),
            &checkpoint(&tensors(&old)),
        );
        std::fs::remove_file(old).unwrap();
    }
    let binaries = Checkpoint::open(folder.path()).unwrap();
    for part in [Part::TextEncoder, Part::Unet, Part::Vae] {
        let expected = output(&plain, part).unwrap();
        assert!(output(&pickled, part).unwrap() == expected, "{part:?}");
        assert!(output(&binaries, part).unwrap() == expected, "{part:?}");
    }
    let path = folder.path().join("named.safetensors");
    std::fs::write(&path, single).unwrap();
    let found = inspect(&path).unwrap();
    assert_eq!(
        (found.kind.to_string(), found.metadata["global_step"].as_str()),
        ("a checkpoint".into(), "7")
    );
    let mut swapped = Checkpoint::open(&tiny()).unwrap();
    swapped.replace_part(Part::Vae, &path).unwrap();
    assert!(output(&swapped, Part::Vae).unwrap() == output(&plain, Part::Vae).unwrap());
}

/// The storage of most rows below: eight floats.
fn floats() -> Vec<u8> {
    storage("FloatStorage", "0", 8)
}

/// Roots of pickles, beside a storage of eight floats, and what the error must say.
#[rustfmt::skip] // A row a line.
fn roots() -> Vec<(&'static str, Vec<u8>, &'static [&'static str])> {
    let view = |offset, shape: &[i64], strides: &[i64]| dict(&[("a", tensor(floats(), offset, shape, strides))]);
    let of = |storage| dict(&[("a", tensor(storage, 0, &[8], &[1]))]);
    let cat = |parts: &[&[u8]]| parts.concat();
    let laughs = || {
        // Each dictionary has the one before a hundred times.
        let mut root = b"}q\0".to_vec();
        for i in 0..7u8 {
            root.extend(b"}(");
            for j in 0..100 { root.extend([text(&j.to_string()), vec![b'h', i]].concat()); }
            root.extend([b'u', b'q', i + 1]);
        }
        root
    };
    vec![
        ("runs a command", call(global("os", "system"), &[text("true")]), &["os.system", "nothing was run", ".safetensors"]),
        ("evaluates", cat(&[&text("builtins"), &text("eval"), b"\x93", &tuple(&[text("1")]), b"R"]), &["builtins.eval", "nothing was run"]),
        ("imports", call(global("importlib", "import_module"), &[text("os")]), &["importlib.import_module"]),
        ("a name of torch that runs", call(global("torch", "load"), &[text("x")]), &["torch.load"]),
        ("a name that clears the screen", global("\u{1b}[2J", "x"), &["\\u{1b}[2J.x"]),
        ("a class as an instance", b"(ios\nsystem\n".to_vec(), &["opcode 0x69"]),
        ("a call of a text", call(text("x"), &[]), &["a call of something that is no function"]),
        ("a call of a type", call(global("torch", "FloatStorage"), &[]), &["a call of something that is no function"]),
        ("an extension", b"\x82\x01".to_vec(), &["opcode 0x82"]),
        ("nothing", vec![], &["more from its stack"]),
        ("pops too much", b"0".to_vec(), &["more from its stack"]),
        ("pops through a mark", b"N(0".to_vec(), &["more from its stack", "at byte 4"]),
        ("a tuple through a mark", b"N(N\x86".to_vec(), &["more from its stack"]),
        ("a tuple without a mark", b"Nt".to_vec(), &["more from its stack"]),
        ("appends to nothing", b"Na".to_vec(), &["more from its stack"]),
        ("appends to a number", b"K\x01Na".to_vec(), &["something that is no list"]),
        ("a member of a list", b"]NNs".to_vec(), &["something that is no dictionary"]),
        ("a key without its value", b"}(Nu".to_vec(), &["a key without its value"]),
        ("state for a number", b"K\x01Nb".to_vec(), &["state of something"]),
        ("uses what is not there", b"h\x05".to_vec(), &["before it is there"]),
        ("a text longer than the file", b"X\xff\xff\xff\xff".to_vec(), &["ends too early"]),
        ("a text of 2^64 bytes", cat(&[b"\x8d", &[0xff; 8]]), &["ends too early"]),
        ("a number of 2^32 bytes", b"\x8b\xff\xff\xff\xff".to_vec(), &["ends too early"]),
        ("a name without end", b"cos".to_vec(), &["ends too early"]),
        ("no text", b"X\x01\0\0\0\xff".to_vec(), &["not UTF-8"]),
        ("a protocol of the future", b"\x80\x06".to_vec(), &["protocol 6"]),
        ("marks", vec![b'('; 100_000], &["too large"]),
        ("objects", vec![b']'; 1 << 20], &["objects"]),
        ("a memo", cat(&[b"N", &[0x94; 1 << 20]]), &["too large"]),
        ("a stack", cat(&[b"N", &[b'2'; 1 << 20]]), &["too large"]),
        ("copies of a list", cat(&[&global("collections", "OrderedDict"), b"q\0](", &b"N\x88\x86".repeat(1000), b"e\x85q\x01", &b"h\0h\x01R".repeat(1000)]), &["too large"]),
        ("a dictionary in itself", cat(&[b"}q\0", &text("a"), b"h\0s"]), &["nested too deeply, or in themselves"]),
        ("deep dictionaries", (0..100).fold(b"}".to_vec(), |inner, _| dict(&[("a", inner)])), &["nested too deeply"]),
        ("dictionaries that multiply", laughs(), &["too many dictionaries"]),
        ("a list at the root", b"]".to_vec(), &["no dictionary of tensors"]),
        ("a tensor at the root", tensor(floats(), 0, &[8], &[1]), &["without a name"]),
        ("an outside object that is no storage", cat(&[&tuple(&[text("module"), text("x"), text("0"), text("cpu"), int(1)]), b"Q"]), &["no storage"]),
        ("an outside object that is a text", cat(&[&text("x"), b"Q"]), &["a list is missing"]),
        ("a storage without a class", cat(&[&tuple(&[text("storage"), text("x"), text("0"), text("cpu"), int(1)]), b"Q"]), &["no storage"]),
        ("a storage of fewer than none", of(storage("FloatStorage", "0", -1)), &["negative"]),
        ("a storage of an unknown class", of(storage("ComplexDoubleStorage", "0", 8)), &["torch.ComplexDoubleStorage"]),
        ("a tensor of few values", call(global("torch._utils", "_rebuild_tensor_v2"), &[floats()]), &["too few values"]),
        ("a tensor of a text", call(global("torch._utils", "_rebuild_tensor"), &[text("x"), int(0), tuple(&[]), tuple(&[])]), &["without its storage"]),
        ("a shape of texts", call(global("torch._utils", "_rebuild_tensor"), &[floats(), int(0), tuple(&[text("x")]), tuple(&[int(1)])]), &["a whole number is missing"]),
        ("a parameter of a text", call(global("torch._utils", "_rebuild_parameter"), &[text("x")]), &["a parameter without its tensor"]),
        ("nine axes", view(0, &[1; 9], &[1; 9]), &["more than 8 axes"]),
        ("a negative size", view(0, &[-8], &[1]), &["tensor 'a'", "negative"]),
        ("a negative stride", view(7, &[8], &[-1]), &["tensor 'a'", "negative"]),
        ("a negative offset", view(-1, &[8], &[1]), &["tensor 'a'", "negative"]),
        ("fewer strides than axes", view(0, &[2, 4], &[1]), &["tensor 'a'", "differ in length"]),
        ("a huge shape", view(0, &[i64::MAX, i64::MAX], &[0, 0]), &["tensor 'a'", "too large"]),
        ("a huge shape of small bytes", view(0, &[i64::MAX], &[0]), &["tensor 'a'", "too large"]),
        ("a huge stride", view(0, &[2, 2], &[i64::MAX, i64::MAX]), &["tensor 'a'", "beyond its storage of 8"]),
        ("one beyond the storage", view(1, &[8], &[1]), &["tensor 'a'", "beyond its storage of 8"]),
        ("an offset beyond the storage", view(i64::MAX, &[1], &[1]), &["tensor 'a'", "beyond its storage of 8"]),
        ("a storage said larger than it is", of(storage("FloatStorage", "0", 9)), &["tensor 'a'", "9 elements", "32 bytes", "cut off"]),
        ("a storage of a wider type", of(storage("DoubleStorage", "0", 8)), &["tensor 'a'", "8 elements", "32 bytes"]),
        ("a storage of 2^63 elements", of(storage("FloatStorage", "0", i64::MAX)), &["tensor 'a'", "cut off"]),
        ("a storage that is not there", of(storage("FloatStorage", "1", 8)), &["tensor 'a'", "storage '1' is missing"]),
        ("a key with a way up", of(storage("FloatStorage", "../../x", 8)), &["tensor 'a'", "is missing"]),
        ("a repeated element", view(0, &[1_000_000], &[0]), &["tensor 'a'", "repeats", "contiguous"]),
    ]
}

fn with_root(root: Vec<u8>) -> Vec<u8> {
    zip(&[("x/data.pkl", &pickle(root)), ("x/data/0", &[0; 32])])
}

#[test]
fn bad_pickles() {
    for (what, root, words) in roots() {
        println!("{what}");
        let error = TensorFile::from_bytes("bad.pt", with_root(root)).unwrap_err();
        assert_says(&error.to_string(), words);
        assert_says(&error.to_string(), &["bad.pt: ", "not a usable PyTorch file"]);
    }
}

#[test]
fn bad_archives() {
    let root = pickle(dict(&[("a", tensor(floats(), 0, &[8], &[1]))]));
    let entries: [(&str, &[u8]); 3] = [
        ("x/data.pkl", &root),
        ("x/byteorder", b"little"),
        ("x/data/0", &[0; 32]),
    ];
    let good = zip(&entries);
    TensorFile::from_bytes("good", good.clone()).unwrap();
    let directory = good.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    let changed = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    let end = good.len() - 22;
    // Python's own compression level and PyTorch's alignment never change what these rows change.
    for (what, file, words) in [
        (
            "cut off",
            good[..good.len() - 30].to_vec(),
            vec!["directory is missing", "again"],
        ),
        (
            "only its first bytes",
            good[..40].to_vec(),
            vec!["directory is missing"],
        ),
        ("four bytes", good[..4].to_vec(), vec!["directory is missing"]),
        (
            "another count",
            changed(end + 10, &[9, 0]),
            vec!["says 9 entries but has 3"],
        ),
        (
            "a directory elsewhere",
            changed(end + 16, &[0xf0, 0xff, 0xff, 0x7f]),
            vec!["directory is missing"],
        ),
        (
            "a directory of other bytes",
            changed(end + 16, &[0; 4]),
            vec!["directory is missing"],
        ),
        (
            "compressed",
            changed(directory + 10, &[8]),
            vec!["data.pkl' of the archive is compressed", "zip -0"],
        ),
        ("encrypted", changed(directory + 8, &[1]), vec!["encrypted"]),
        (
            "an entry beyond the end",
            changed(directory + 20, &[0xff, 0xff, 0xff, 0x7f]),
            vec!["lies outside the file"],
        ),
        (
            "an entry that grows",
            changed(directory + 24, &[0xff, 0xff, 0xff, 0x7f]),
            vec!["says 2147483647 bytes but has"],
        ),
        (
            "a wide size that is missing",
            changed(directory + 24, &[0xff; 4]),
            vec!["lacks its size"],
        ),
        (
            "an entry that begins elsewhere",
            changed(directory + 42, &[1]),
            vec!["lies outside the file"],
        ),
        ("no pickle", zip(&entries[1..]), vec!["without data.pkl"]),
        (
            "two pickles",
            zip(&[("x/data.pkl", &root), ("y/data.pkl", &root)]),
            vec!["more than one data.pkl"],
        ),
        (
            "an entry twice",
            zip(&[entries[0], entries[0]]),
            vec!["is there twice"],
        ),
        (
            "big-endian",
            zip(&[entries[0], ("x/byteorder", b"big"), entries[2]]),
            vec!["little-endian"],
        ),
        (
            "some other archive",
            zip(&[("word/document.xml", b"<x/>")]),
            vec!["without data.pkl"],
        ),
    ] {
        println!("{what}");
        let error = TensorFile::from_bytes("bad.ckpt", file).unwrap_err();
        assert_says(&error.to_string(), &words);
        assert_says(&error.to_string(), &["bad.ckpt: "]);
    }
    // An entry on top of another: the second's place is the first's.
    let mut twice = zip(&[entries[0], ("x/data/0", &root), ("x/data/1", &root)]);
    let records: Vec<usize> = (0..twice.len() - 4)
        .filter(|&at| twice[at..].starts_with(b"PK\x01\x02"))
        .collect();
    let place: [u8; 4] = twice[records[1] + 42..records[1] + 46].try_into().unwrap();
    twice[records[2] + 42..records[2] + 46].copy_from_slice(&place);
    let error = TensorFile::from_bytes("bad", twice).unwrap_err();
    assert_says(&error.to_string(), &["overlaps another entry"]);
}

#[test]
fn bad_old_files() {
    let magic = pickle(
        [
            b"\x8a\x0a".to_vec(),
            0x1950_a86a_20f9_469c_fc6c_u128.to_le_bytes()[..10].to_vec(),
        ]
        .concat(),
    );
    let system = |little: &[u8]| pickle(dict(&[("little_endian", little.to_vec())]));
    let root = pickle(dict(&[("a", tensor(floats(), 0, &[8], &[1]))]));
    let keys = |keys: &[&str]| {
        let keys: Vec<u8> = keys.iter().flat_map(|key| text(key)).collect();
        pickle([b"](".to_vec(), keys, b"e".to_vec()].concat())
    };
    let head = [magic.clone(), pickle(int(1001)), system(b"\x88"), root.clone()].concat();
    let data = |count: i64| [count.to_le_bytes().to_vec(), vec![0; 32]].concat();
    let good = [head.clone(), keys(&["0"]), data(8)].concat();
    let file = TensorFile::from_bytes("good", good.clone()).unwrap();
    assert_eq!(file.values_f32("a").unwrap(), [0.0; 8]);
    for (what, file, words) in [
        ("another pickle", pickle(dict(&[])), vec!["not one of PyTorch's"]),
        (
            "a script",
            pickle(call(global("os", "system"), &[text("true")])),
            vec!["os.system"],
        ),
        ("magic alone", magic.clone(), vec!["ends too early"]),
        (
            "another version",
            [magic.clone(), pickle(int(1002))].concat(),
            vec!["version"],
        ),
        (
            "big-endian",
            [magic.clone(), pickle(int(1001)), system(b"\x89")].concat(),
            vec!["little-endian"],
        ),
        ("no keys", head.clone(), vec!["ends too early"]),
        (
            "keys that are no list",
            [head.clone(), root].concat(),
            vec!["list of its storages"],
        ),
        (
            "a key that nobody uses",
            [head.clone(), keys(&["1"]), data(8)].concat(),
            vec!["storage '1'", "no tensor"],
        ),
        (
            "a key twice",
            [head.clone(), keys(&["0", "0"]), data(8), data(8)].concat(),
            vec!["storage '0' is there twice"],
        ),
        (
            "no storage",
            [head.clone(), keys(&[])].concat(),
            vec!["tensor 'a'", "storage '0' is missing"],
        ),
        (
            "half a count",
            good[..good.len() - 36].to_vec(),
            vec!["storage '0' is cut off"],
        ),
        (
            "half the data",
            good[..good.len() - 1].to_vec(),
            vec!["storage '0' is cut off"],
        ),
        (
            "2^63 elements",
            [head.clone(), keys(&["0"]), data(i64::MAX)].concat(),
            vec!["storage '0' is cut off"],
        ),
        (
            "fewer than none",
            [head.clone(), keys(&["0"]), data(-8)].concat(),
            vec!["storage '0' is cut off"],
        ),
        (
            "fewer than said",
            [head.clone(), keys(&["0"]), data(7)].concat(),
            vec!["tensor 'a'", "8 elements", "28 bytes"],
        ),
    ] {
        println!("{what}");
        let error = TensorFile::from_bytes("bad.pth", file).unwrap_err();
        assert_says(&error.to_string(), &words);
        assert_says(&error.to_string(), &["bad.pth: "]);
    }
}

/// A safetensors file whose header's length looks like a pickle's first bytes.
#[test]
fn lengths_that_look_like_pickles() {
    let file =
        TensorFile::from_bytes("x", common::raw(&format!("{{{}}}", " ".repeat(0x280 - 2)), 0)).unwrap();
    assert_eq!(file.names().count(), 0);
    assert_eq!(
        TensorFile::from_bytes("x", serialized(&Default::default()))
            .unwrap()
            .names()
            .count(),
        0
    );
}
