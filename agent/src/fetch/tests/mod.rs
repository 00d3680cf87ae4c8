//! What Kafka clients expect of Fetch, ListOffsets and OffsetForLeaderEpoch, as requests to the
//! handlers, over the fake metadata service and a bucket in memory.

mod bed;
mod fetching;
mod merged;
mod objects;
mod offsets;
mod sessions;
mod wire;
