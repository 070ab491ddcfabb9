//! Pictures as vision models see them.

use burn_tensor::{DType, Tensor, TensorData};
use sd_core::{
    config::{Fit, Preparation},
    weights::Target,
};

use crate::{Error, Picture, Resample, Result, picture::composite};

/// The prepared picture's red, green and blue, `side * side` pixels of three.
pub(super) fn prepared(picture: &Picture, how: &Preparation) -> Result<Vec<f32>> {
    let filter = match how.filter {
        0 => Resample::Nearest,
        1 => Resample::Lanczos,
        2 => Resample::Bilinear,
        3 => Resample::Bicubic,
        4 => Resample::Box,
        _ => Resample::Hamming,
    };
    let (width, height, side) = (picture.width(), picture.height(), how.side as u32);
    let opaque = || {
        let white = |pixel: &[u8; 4]| composite([255; 4], *pixel);
        match how.over_white && !picture.opaque() {
            true => Picture::from_rgba(
                width,
                height,
                picture.rgba().as_chunks().0.iter().flat_map(white).collect(),
            ),
            false => Picture::from_rgb(width, height, &picture.rgb()),
        }
    };
    let seen = match how.fit {
        Fit::Stretch => opaque()?.resize(side, side, filter)?,
        Fit::Crop { edge, torchvision } => {
            let long = |long: u32, short: u32| {
                let product = edge as u64 * u64::from(long);
                (product as f64 / f64::from(short)) as u32
            };
            let edge = edge as u32;
            let [w, h] = match width <= height {
                true => [edge, long(height, width)],
                false => [long(width, height), edge],
            };
            let source = if torchvision { picture.clone() } else { opaque()? };
            // Of two pixels in the middle torchvision takes that of an even number, as Python rounds.
            let middle = |length: u32| match (length - side, torchvision) {
                (rest, true) => rest / 2 + u32::from(rest % 4 == 3),
                (rest, false) => rest / 2,
            };
            let too_long = |_| {
                let reason = format!(
                    "{width}x{height} is too long and narrow: its shorter side becomes {edge} pixels, the other one {}; \
                     cut it nearer to a square",
                    w.max(h)
                );
                Error::parameter("picture", reason)
            };
            source
                .resize(w, h, filter)
                .map_err(too_long)?
                .crop(middle(w), middle(h), side, side)?
        }
    };
    let rgb = seen.rgb();
    Ok(rgb
        .as_chunks::<3>()
        .0
        .iter()
        .flat_map(|&pixel| how.normalised(pixel))
        .collect())
}

/// The prepared picture as a network takes it, `[1, side, side, 3]`.
pub(super) fn tensor(values: Vec<f32>, side: usize, target: &Target) -> Tensor<4> {
    let data = TensorData::new(values, [1, side, side, 3]);
    Tensor::from_data(data, (target.device.burn(), DType::F32))
}

#[cfg(test)]
mod tests {
    use goldens::Refs;

    use super::*;

    const SIDE: usize = 11;

    fn compare(refs: &Refs, name: &str, picture: &Picture) -> usize {
        let mut seen = 0;
        for (kind, how) in [
            ("clip", Preparation::clip(SIDE, false)),
            ("open_clip", Preparation::clip(SIDE, true)),
            ("blip", Preparation::blip(SIDE, false)),
        ] {
            let name = format!("{kind}.{name}");
            if !refs.names().contains(&name) {
                continue;
            }
            let got = prepared(picture, &how).unwrap();
            // The reference has channels first.
            let got: Vec<f32> = (0..3)
                .flat_map(|c| got.iter().skip(c).step_by(3))
                .copied()
                .collect();
            let expected = refs.f32s(&name);
            assert_eq!(got.len(), expected.len());
            let far = got
                .iter()
                .zip(&expected)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            // Decoders of lossy files differ by a level or two, and Pillow 13 resizes columns first for some sizes.
            let levels = match () {
                () if name.contains("jpeg") || name.contains("lossy") => 3.1,
                () if kind == "blip" => 1.1,
                () => 1e-3,
            };
            assert!(far < levels / 255.0 / 0.26, "{name}: {far}");
            seen += 1;
        }
        seen
    }

    #[test]
    fn pictures_may_be_too_narrow() {
        let picture = Picture::from_rgb(3000, 10, &vec![9; 90_000]).unwrap();
        let error = prepared(&picture, &Preparation::clip(224, true)).unwrap_err();
        assert!(
            error.to_string().starts_with("picture: 3000x10 is too long"),
            "{error}"
        );
        assert!(prepared(&picture, &Preparation::blip(224, true)).is_ok());
    }

    #[test]
    fn pictures_are_prepared_as_elsewhere() {
        let refs = Refs::open("interrogation/preparation.safetensors");
        let files = Refs::open("pictures/files.safetensors");
        let mut seen = 0;
        for name in refs.names() {
            if let Some(size) = name.strip_prefix("pixels.") {
                let shape = refs.shape(&name);
                let picture = Picture::from_rgb(shape[1] as u32, shape[0] as u32, &refs.u8s(&name)).unwrap();
                seen += compare(&refs, size, &picture);
            }
            if let Some(file) = name.strip_prefix("blip.file.").or(name.strip_prefix("blip.")) {
                let stored = format!("file.{file}");
                if files.names().contains(&stored) {
                    let picture = Picture::decode(&files.u8s(&stored)).unwrap();
                    seen += compare(&refs, file, &picture);
                }
            }
        }
        assert!(seen >= 7 * 3 + 14 * 2 + 3, "{seen}");
    }
}
