//! Golden files: bytes that a release wrote once and every later one must read. Under
//! `metadata/tests/golden`, one file per kind and version; a file is written where there is none, and
//! never changed.

use std::{fs, path::Path};

/// Compares with the golden file of that name.
#[track_caller]
pub(crate) fn check(name: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if let Ok(golden) = fs::read(&path) {
        assert!(
            golden == bytes,
            "{name} differs from its golden file: a change of the format needs a new version, and the \
             old file stays readable"
        );
        return;
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "golden file {name} is missing"
    );
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
}
