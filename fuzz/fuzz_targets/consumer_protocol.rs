#![no_main]

use libfuzzer_sys::fuzz_target;

// What consumers put into JoinGroup and SyncGroup: the leader reads it where groups move between the protocols.
// Whatever the bytes, reading them ends; an assignment that was read is the same after it was written.
fuzz_target!(|data: &[u8]| aquifer_metadata::fuzz_consumer_protocol(data));
