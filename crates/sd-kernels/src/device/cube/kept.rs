//! Compiled kernels, kept between runs of a program.
//!
//! CubeCL 0.11 keeps what it made of a kernel, PTX for CUDA and SPIR-V for Vulkan, in a database, under the kernel's settings, the kind of
//! device and the program's build. Its configuration is the whole process's, and is settled before the first device is asked for.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use burn_cubecl::cubecl::{
    config::{CubeClRuntimeConfig, RuntimeConfig, cache::CacheConfig},
    environment,
};
use cubecl_environment::records::RecordLevel;

/// The environment variable that names the folder, or turns it off.
const VARIABLE: &str = "SDRS_KERNEL_CACHE";

/// The database's name in its folder, without ending.
const NAME: &str = "sdrs";

/// Keeps compiled kernels from now on, unless that is turned off; the file that they are kept in. Call it before any device is opened: what
/// CubeCL knows by then stays.
pub(crate) fn keep() -> Option<&'static Path> {
    static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let settle = || {
        let wanted = std::env::var_os(VARIABLE);
        // Without a build's number kernels of another build would be taken for this one's.
        let numbered = buildid::build_id().is_some();
        let config = of_a_file().unwrap_or_else(|| ours(wanted.as_deref(), numbered));
        CubeClRuntimeConfig::try_set(config.override_from_env());
        let keeps = CubeClRuntimeConfig::get().compilation.cache;
        keeps.then(environment::path)
    };
    FILE.get_or_init(settle).as_deref()
}

/// The configuration, where no file has one.
fn ours(wanted: Option<&OsStr>, numbered: bool) -> CubeClRuntimeConfig {
    let mut config = CubeClRuntimeConfig::default();
    config.environment.name = NAME.into();
    config.environment.path = match wanted {
        Some(folder) if !folder.is_empty() => CacheConfig::Directory(folder.into()),
        _ => CacheConfig::Global,
    };
    config.compilation.cache = numbered && wanted.is_none_or(|wanted| wanted != "off");
    // Nothing else is kept: measurements of devices, and an account of what was compiled when.
    (config.autotune.disable_cache, config.throughput.disable_cache) = (true, true);
    config.environment.records.level = RecordLevel::Off;
    config
}

/// The configuration of a file, `cubecl.toml` or CubeCL's part of a `burn.toml`, in the current folder or one above it, as CubeCL looks for it.
fn of_a_file() -> Option<CubeClRuntimeConfig> {
    let current = std::env::current_dir().ok()?;
    current.ancestors().find_map(|folder| {
        let whole = CubeClRuntimeConfig::file_names().iter();
        let whole = whole.map(|name| CubeClRuntimeConfig::from_file_path(folder.join(name)));
        let parts = CubeClRuntimeConfig::section_file_names().iter();
        let parts =
            parts.map(|(name, part)| CubeClRuntimeConfig::from_section_file_path(folder.join(name), part));
        whole.chain(parts).find_map(Result::ok)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_kept_unless_that_is_turned_off() {
        let kept = |wanted: Option<&str>, numbered| {
            let config = ours(wanted.map(OsStr::new), numbered);
            assert_eq!(config.environment.name, "sdrs");
            assert!(config.autotune.disable_cache && config.throughput.disable_cache);
            assert_eq!(config.environment.records.level, RecordLevel::Off);
            (config.compilation.cache, config.environment.path)
        };
        assert!(matches!(kept(None, true), (true, CacheConfig::Global)));
        assert!(matches!(kept(Some(""), true), (true, CacheConfig::Global)));
        let (keeps, folder) = kept(Some("/some/folder"), true);
        assert!(
            keeps && matches!(folder, CacheConfig::Directory(folder) if folder == Path::new("/some/folder"))
        );
        assert!(!kept(Some("off"), true).0);
        assert!(!kept(None, false).0);
    }
}
