//! Names under which the WebUI lists networks whose files have other names.

/// The WebUI's name, and the file's without its ending.
const LISTED: [(&str, &str); 7] = [
    ("R-ESRGAN 4x+", "RealESRGAN_x4plus"),
    ("R-ESRGAN 4x+ Anime6B", "RealESRGAN_x4plus_anime_6B"),
    ("R-ESRGAN 2x+", "RealESRGAN_x2plus"),
    ("R-ESRGAN General 4xV3", "realesr-general-x4v3"),
    ("R-ESRGAN General WDN 4xV3", "realesr-general-wdn-x4v3"),
    ("R-ESRGAN AnimeVideo", "realesr-animevideov3"),
    ("ESRGAN_4x", "ESRGAN"),
];

/// Whether a name, as infotexts have it, means the file of that name without its ending.
pub(crate) fn means(name: &str, file: &str) -> bool {
    let name = name.trim();
    let listed = LISTED
        .iter()
        .find(|(listed, _)| listed.eq_ignore_ascii_case(name));
    name.eq_ignore_ascii_case(file) || listed.is_some_and(|(_, own)| own.eq_ignore_ascii_case(file))
}
