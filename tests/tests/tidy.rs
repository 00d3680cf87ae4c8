//! The tree's own rules: which crate may depend on which, how long a file may be, which words and calls
//! stay out.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ is in the workspace")
        .to_path_buf()
}

/// All files below `folder` whose name ends with `ending`, build output aside.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" && name != "aquifer-data" {
                    folders.push(path);
                }
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn dependencies(manifest: &str, section: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join(manifest)).expect("a manifest");
    text.split("\n[")
        .find(|part| part.starts_with(&format!("{section}]")))
        .map(|part| {
            part.lines()
                .skip(1)
                .filter_map(|line| line.split(['.', ' ', '=']).next())
                .filter(|name| !name.is_empty() && !name.starts_with('#'))
                .map(str::to_owned)
                .collect()
        })
        .unwrap_or_default()
}

#[test]
fn crates_depend_only_on_what_the_design_allows() {
    let allowed: &[(&str, &[&str])] = &[
        ("format/Cargo.toml", &[]),
        ("bench/Cargo.toml", &[]),
        ("store/Cargo.toml", &["aquifer-format"]),
        // the store for its ports of time and tasks only
        (
            "metadata/api/Cargo.toml",
            &["aquifer-format", "aquifer-store"],
        ),
        (
            "metadata/Cargo.toml",
            &["aquifer-metadata-api", "aquifer-format", "aquifer-store"],
        ),
        (
            "agent/Cargo.toml",
            &["aquifer-metadata-api", "aquifer-store", "aquifer-format"],
        ),
        (
            "compaction/Cargo.toml",
            &["aquifer-metadata-api", "aquifer-store", "aquifer-format"],
        ),
        ("tests/s3/Cargo.toml", &[]),
    ];
    for (manifest, edges) in allowed {
        let ours: BTreeSet<_> = dependencies(manifest, "dependencies")
            .into_iter()
            .filter(|name| name.starts_with("aquifer"))
            .collect();
        let edges: BTreeSet<_> = edges.iter().map(|name| (*name).to_owned()).collect();
        assert!(
            ours.is_subset(&edges),
            "{manifest} may depend on {edges:?}, not on {ours:?}"
        );
    }
}

#[test]
fn each_library_is_used_only_where_it_belongs() {
    let owners: &[(&str, &[&str])] = &[
        ("sqlx", &["metadata/Cargo.toml"]),
        ("object_store", &["store/Cargo.toml"]),
        ("aws-config", &["store/Cargo.toml"]),
        ("aws-sdk-s3", &["store/Cargo.toml"]),
        // a server for tests: everywhere else it is a dev-dependency
        (
            "aquifer-s3-server",
            &["tests/Cargo.toml", "bench/Cargo.toml"],
        ),
        ("s3s", &["tests/s3/Cargo.toml"]),
        (
            "tokio",
            &[
                "store/Cargo.toml",
                "metadata/api/Cargo.toml",
                "metadata/Cargo.toml",
                "agent/Cargo.toml",
                "compaction/Cargo.toml",
                "cli/Cargo.toml",
                "tests/Cargo.toml",
                "tests/s3/Cargo.toml",
                "bench/Cargo.toml",
            ],
        ),
    ];
    for manifest in files(&root(), "Cargo.toml") {
        let name = manifest
            .strip_prefix(root())
            .expect("below the root")
            .to_string_lossy()
            .into_owned();
        if name == "Cargo.toml" {
            continue;
        }
        let used = dependencies(&name, "dependencies");
        for (library, places) in owners {
            assert!(
                !used.contains(*library) || places.contains(&name.as_str()),
                "{name} must not depend on {library}; it belongs to {places:?}"
            );
        }
    }
}

#[test]
fn files_have_one_subject_each() {
    for path in files(&root(), ".rs") {
        let lines = fs::read_to_string(&path)
            .expect("a source file")
            .lines()
            .count();
        assert!(
            lines <= 700,
            "{} has {lines} lines: split it by subject",
            path.display()
        );
    }
}

#[test]
fn modules_are_named_after_what_they_hold() {
    for path in files(&root(), ".rs") {
        let stem = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        for banned in [
            "utils", "util", "common", "helpers", "helper", "manager", "misc",
        ] {
            assert_ne!(stem, banned, "{}: name the subject", path.display());
        }
    }
}

#[test]
fn nothing_unfinished_stands_in_the_tree() {
    // Put together here, so that this file does not contain what it looks for.
    let banned = [
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["XX", "X"].concat(),
        ["todo", "!("].concat(),
        ["unimplemented", "!("].concat(),
        ["#[ign", "ore"].concat(),
        ["assert!(tr", "ue)"].concat(),
        ["/shared/", "DESIGN"].concat(),
    ];
    for ending in [".rs", ".py", ".java", ".sql", ".proto", ".toml", ".md"] {
        for path in files(&root(), ending) {
            let text = fs::read_to_string(&path).expect("a text file");
            for word in &banned {
                assert!(!text.contains(word), "{} contains {word}", path.display());
            }
        }
    }
}

#[test]
fn every_crate_forbids_unsafe_code() {
    for manifest in files(&root(), "Cargo.toml") {
        let text = fs::read_to_string(&manifest).expect("a manifest");
        let inherits = text.contains("[lints]\nworkspace = true");
        let own_workspace = text.contains("[workspace]");
        assert!(
            inherits || own_workspace,
            "{} must inherit the workspace's lints",
            manifest.display()
        );
    }
}
