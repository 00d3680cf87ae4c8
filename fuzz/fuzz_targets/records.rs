#![no_main]

use aquifer_format::batch::{BatchBuilder, RecordBatch, recompress};
use aquifer_format::codec::Codec;
use aquifer_format::record::records;
use libfuzzer_sys::fuzz_target;

const EXPANDED_BYTES_MAX: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let Some((control, payload)) = data.split_first_chunk::<3>() else {
        return;
    };
    let [codec, count @ ..] = *control;
    let codec = Codec::ALL[usize::from(codec) % Codec::ALL.len()];
    let mut header = BatchBuilder::new(codec)
        .build()
        .expect("a batch without records")
        .header;
    header.record_count = i32::from(i16::from_be_bytes(count));
    header.batch_length = i32::try_from(49 + payload.len()).expect("inputs are small");
    let bytes = [&header.encode()[..], payload].concat();
    let batch = RecordBatch::parse(bytes.into()).expect("its length is right");
    let Ok(opened) = records(&batch, EXPANDED_BYTES_MAX) else {
        return;
    };
    assert!(opened.remaining_bytes() <= EXPANDED_BYTES_MAX);
    let Ok(list) = opened.collect::<Result<Vec<_>, _>>() else {
        return;
    };
    assert_eq!(i32::try_from(list.len()), Ok(header.record_count));
    let mut builder = BatchBuilder::new(codec);
    for record in &list {
        builder.append_record(record);
    }
    if let Ok(rebuilt) = builder.build() {
        let again: Result<Vec<_>, _> = records(&rebuilt, 2 * EXPANDED_BYTES_MAX)
            .expect("just built")
            .collect();
        assert_eq!(again.expect("just built"), list);
    }
    let _ = recompress(&batch, Codec::Lz4);
});
