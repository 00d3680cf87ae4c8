#![no_main]

use aquifer_format::key::{object_key, parse_object_key};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok((cluster, id)) = parse_object_key(text) {
        assert_eq!(object_key(cluster, &id), text);
    }
});
