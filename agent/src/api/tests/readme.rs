//! The table of served APIs in the README says what is served.

use std::path::Path;

use super::*;

const BEGIN: &str = "<!-- served APIs: checked by agent/src/api/tests/readme.rs -->";
const END: &str = "<!-- end of served APIs -->";

/// What the README must have between its two marks.
fn table() -> String {
    let versions = |served: &versions::Served| {
        let (min, max) = (served.min, served.max);
        if min == max {
            format!("{max}")
        } else {
            format!("{min} to {max}")
        }
    };
    let rows = SERVED.iter().map(|served| {
        let (key, name) = (served.key(), served.shape.name);
        format!("| {key} | {name} | {} |\n", versions(served))
    });
    format!(
        "\n\n| key | API | versions |\n|---|---|---|\n{}\n",
        rows.collect::<String>()
    )
}

#[test]
fn the_readme_lists_what_is_served() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(&path).expect("the README is beside the crate");
    let between = readme
        .split_once(BEGIN)
        .and_then(|(_, rest)| rest.split_once(END));
    let (found, _) = between.expect("the README has both marks");
    assert!(
        found == table(),
        "the README's table of APIs is not what is served; it must be:\n{BEGIN}{}{END}",
        table()
    );
}
