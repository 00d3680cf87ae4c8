use super::*;

#[test]
fn columns_of_different_lengths_are_malformed() {
    let id = ObjectId {
        incarnation: Incarnation(1),
        upload_epoch: UploadEpoch(2),
        writer: WriterSlot::COMPACTOR,
        level: aquifer_format::ids::ObjectLevel::L1,
        unique: 7,
    };
    let whole = deleted_to(&[id, id]);
    assert_eq!(deleted_from(&whole), Ok(vec![id, id]));
    let mut short = whole.clone();
    short.writer.pop();
    assert!(deleted_from(&short).is_err());
    let mut unknown = whole;
    unknown.level[1] = 9;
    assert!(deleted_from(&unknown).is_err());
}

fn range(partition: i32, from: i64, to: i64) -> SwappedRange {
    SwappedRange {
        partition: PartitionId::new(TopicId(Uuid::from_u128(5)), PartitionIndex(partition)),
        from: Offset(from),
        to: Offset(to),
        into: Offset(from - 3),
        cleaned_through: (partition == 1).then_some(Offset(from)),
        extents: vec![SwappedExtent {
            object: 0,
            run_position: 1 << 40,
            run_bytes: 77,
            raw_bytes: 99,
            base_offset: Offset(from + 1),
            offsets: 4,
            max_timestamp: -1,
        }],
    }
}

#[test]
fn ranges_are_read_as_they_were_written() {
    let ranges = vec![range(0, 10, 20), range(1, 0, 7), range(1, 1 << 50, 1 << 51)];
    let table = table_to(&ranges);
    assert_eq!(table_from(&table, 1), Ok(ranges.clone()));
    // the topic is named once
    assert!(table.len() < 16 + 3 * 40, "{}", table.len());
    for cut in 0..table.len() {
        assert!(table_from(&table[..cut], 1).is_err(), "{cut}");
    }
    assert!(table_from(&table, 0).is_err());
    let mut longer = table;
    longer.push(0);
    assert!(table_from(&longer, 1).is_err());
}
