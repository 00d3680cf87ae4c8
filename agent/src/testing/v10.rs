//! Requests of versions that the protocol crate cannot encode: OffsetCommit and OffsetFetch 10. Topics have their
//! id as a tagged field, as they have towards the metadata leader.

use aquifer_metadata_api::kafka::tags::{self, Tags};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetFetchRequest};

/// An OffsetCommit request.
pub(crate) fn offset_commit(request: &OffsetCommitRequest) -> Bytes {
    let mut body = BytesMut::new();
    string(&mut body, Some(request.group_id.as_str()));
    body.put_i32(request.generation_id_or_member_epoch);
    string(&mut body, Some(request.member_id.as_str()));
    string(&mut body, request.group_instance_id.as_deref());
    count(&mut body, Some(request.topics.len()));
    for topic in &request.topics {
        id(&mut body, &topic.unknown_tagged_fields);
        count(&mut body, Some(topic.partitions.len()));
        for partition in &topic.partitions {
            body.put_i32(partition.partition_index);
            body.put_i64(partition.committed_offset);
            body.put_i32(partition.committed_leader_epoch);
            string(&mut body, partition.committed_metadata.as_deref());
            no_tags(&mut body);
        }
        no_tags(&mut body);
    }
    // A tag that nobody knows.
    body.put_slice(&[1, 77, 2, 0, 0]);
    body.freeze()
}

/// An OffsetFetch request.
pub(crate) fn offset_fetch(request: &OffsetFetchRequest) -> Bytes {
    let mut body = BytesMut::new();
    count(&mut body, Some(request.groups.len()));
    for group in &request.groups {
        string(&mut body, Some(group.group_id.as_str()));
        string(&mut body, group.member_id.as_deref());
        body.put_i32(group.member_epoch);
        count(&mut body, group.topics.as_ref().map(Vec::len));
        for topic in group.topics.iter().flatten() {
            id(&mut body, &topic.unknown_tagged_fields);
            count(&mut body, Some(topic.partition_indexes.len()));
            for index in &topic.partition_indexes {
                body.put_i32(*index);
            }
            no_tags(&mut body);
        }
        no_tags(&mut body);
    }
    body.put_u8(u8::from(request.require_stable));
    no_tags(&mut body);
    body.freeze()
}

fn id(body: &mut BytesMut, tags: &Tags) {
    let id = tags::topic_id(tags).expect("the topic has an id");
    body.put_slice(id.0.as_bytes());
}

fn string(body: &mut BytesMut, text: Option<&str>) {
    count(body, text.map(str::len));
    body.put_slice(text.unwrap_or_default().as_bytes());
}

/// A compact length: one more than it is, 0 for null.
fn count(body: &mut BytesMut, length: Option<usize>) {
    let mut value = length.map_or(0, |length| length + 1);
    while value >= 0x80 {
        body.put_u8(u8::try_from(value & 0x7f).expect("7 bits") | 0x80);
        value >>= 7;
    }
    body.put_u8(u8::try_from(value).expect("7 bits"));
}

fn no_tags(body: &mut BytesMut) {
    body.put_u8(0);
}
