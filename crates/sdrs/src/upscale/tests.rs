use super::*;

fn network(name: &str) -> Upscaler {
    let path = goldens::root().join("upscalers").join(name);
    Upscaler::builder(path).device("cpu").build().unwrap()
}

/// A picture without a pattern.
fn picture(width: u32, height: u32) -> Picture {
    let mut state = 7u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let rgb: Vec<u8> = (0..3 * width * height).map(|_| next()).collect();
    Picture::from_rgb(width, height, &rgb).unwrap()
}

#[test]
fn bytes_are_the_networks() {
    let refs = goldens::Refs::open("upscalers/refs.safetensors");
    // The reference's picture isn't of bytes: a network of its own answer on bytes is compared by tiles and passes below.
    assert_eq!(refs.shape("picture"), [1, 3, 4, 8]);
    for (name, factor) in [
        ("esrgan-x4.pth", 4),
        ("realesrgan-x2.pth", 2),
        ("realesrgan-x1.safetensors", 1),
    ] {
        let upscaler = network(name);
        assert_eq!(upscaler.factor(), Some(factor as usize));
        // Sides that are no multiples of what the network wants.
        for (width, height) in [(9, 7), (1, 1), (2, 5)] {
            let made = upscaler.upscale(&picture(width, height)).run().unwrap();
            assert_eq!(
                [made.width(), made.height()],
                [factor * width, factor * height],
                "{name}"
            );
            assert!(made.opaque());
        }
    }
}

#[test]
fn tiles_leave_no_seam() {
    // This network sees four pixels to each side, and squares share eight times that: results are those of the whole.
    let upscaler = network("compact-x4.pth");
    let picture = picture(301, 290);
    let whole = upscaler.upscale(&picture).tile(0).run().unwrap();
    let mut calls = Vec::new();
    let tiled = upscaler
        .upscale(&picture)
        .tile(128)
        .on_progress(|progress| calls.push(progress))
        .run()
        .unwrap();
    assert_eq!((calls.len(), calls[8].tile, calls[8].tiles), (9, 9, 9));
    let differences = whole.rgba().iter().zip(tiled.rgba()).map(|(a, b)| a.abs_diff(*b));
    // Sums of floats may round to the other side of a half.
    let (largest, some) = differences.fold((0, 0), |(m, n), d| (m.max(d), n + usize::from(d > 0)));
    assert!(
        largest <= 1 && some * 1000 < whole.rgba().len(),
        "{largest}, {some}"
    );
}

#[test]
fn factors_are_repeated_until_it_is_large_enough() {
    let upscaler = network("compact-x2.safetensors");
    let small = picture(5, 4);
    let own = |picture: &Picture| upscaler.upscale(picture).run().unwrap();
    let (once, twice) = (own(&small), own(&own(&small)));
    let thrice = own(&twice);
    let run = |scale: f64| upscaler.upscale(&small).scale(scale).run().unwrap();
    assert_eq!(run(2.0), once);
    assert_eq!(run(4.0), twice);
    assert_eq!(run(3.0), twice.resize(15, 12, Resample::Lanczos).unwrap());
    // Three times at most.
    assert_eq!(run(20.0), thrice.resize(100, 80, Resample::Lanczos).unwrap());
    // The same size goes through the network, a smaller one doesn't.
    assert_eq!(run(1.0), once.resize(5, 4, Resample::Lanczos).unwrap());
    assert_eq!(run(0.5), small.resize(3, 2, Resample::Lanczos).unwrap());
    let size = upscaler.upscale(&small).size(7, 8).run().unwrap();
    assert_eq!(size, once.resize(7, 8, Resample::Lanczos).unwrap());
}

#[test]
fn alpha_is_kept() {
    let opaque = picture(6, 6);
    let alpha = crate::Plane::new(6, 6, (0..36).map(|i| 7 * i).collect()).unwrap();
    let upscaler = network("compact-x2.safetensors");
    let made = upscaler
        .upscale(&opaque.with_alpha(&alpha).unwrap())
        .run()
        .unwrap();
    assert_eq!(made.rgb(), upscaler.upscale(&opaque).run().unwrap().rgb());
    assert_eq!(made.alpha(), alpha.resize(12, 12, Resample::Lanczos).unwrap());
}

#[test]
fn filters_have_names() {
    let picture = picture(6, 5);
    for (name, filter) in [
        ("lanczos", Resample::Lanczos),
        ("None", Resample::Lanczos),
        ("NEAREST", Resample::Nearest),
        ("Bicubic", Resample::Bicubic),
    ] {
        let upscaler = Upscaler::from_name(name).unwrap();
        let made = upscaler.upscale(&picture).scale(1.5).run().unwrap();
        assert_eq!(made, picture.resize(9, 8, filter).unwrap());
        assert_eq!(upscaler.factor(), None);
    }
    let message = Upscaler::from_name("Lanczos4").err().unwrap().to_string();
    assert!(
        message.contains("no upscaler 'Lanczos4'; there are None, Nearest"),
        "{message}"
    );
}

#[test]
fn mistakes_are_told() {
    let (upscaler, small) = (network("compact-x2.safetensors"), picture(5, 4));
    let upscale = || upscaler.upscale(&small);
    let token = CancelToken::new();
    token.cancel();
    let cases = [
        (upscale().scale(0.0), "scale: 0: it must be over 0"),
        (upscale().scale(f64::NAN), "scale: NaN"),
        (upscale().scale(1e5), "scale: 100000"),
        (upscale().size(0, 8), "width: 0: a side has 1"),
        (upscale().size(60_000, 60_000), "more than 134217728"),
        (upscale().tile(100), "tile: 100: a square's side has 128 to 8192"),
        (upscale().cancel_token(&token), "cancelled"),
    ];
    for (request, expected) in cases {
        let message = request.run().unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    let file = goldens::root().join("upscalers/refs.safetensors");
    let message = Upscaler::open(file).err().unwrap().to_string();
    assert!(message.contains("no upscaler of a known structure"), "{message}");
    let threads = Upscaler::builder("x").threads(0).build();
    assert_eq!(threads.err().unwrap().code(), crate::ErrorCode::InvalidParameter);
}
