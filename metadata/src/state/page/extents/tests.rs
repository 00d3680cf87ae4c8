//! What goes into a page of extents comes out, and nothing else is taken.

use aquifer_format::{ids::ObjectLevel, limits::PAGE_EXTENTS_MAX};
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::state::budget::Usage;

/// An extent and the object that it is in.
type Placed = (ObjectInfo, Packed);

fn object(writer: u32, epoch: u32, unique: u64, bytes: u64) -> ObjectInfo {
    ObjectInfo {
        id: ObjectId {
            incarnation: Incarnation(1),
            upload_epoch: UploadEpoch(epoch),
            writer: WriterSlot(writer),
            level: ObjectLevel::L0,
            unique,
        },
        bytes,
        locations: vec![0],
    }
}

/// A chunk of these extents; objects of the same id are entered as the first one says.
fn chunk(placed: &[Placed], objects: &mut Objects) -> Chunk {
    let mut usage = Usage::default();
    let extents = placed.iter().map(|(object, extent)| Packed {
        object: objects.intern(object, &mut usage),
        ..*extent
    });
    Chunk {
        at: Position::from_bits(77),
        dirty: false,
        first: 0,
        max_timestamp: 0,
        raw_bytes: 0,
        dropped: 3,
        extents: extents.collect(),
    }
}

/// Everything that an extent says, to be compared.
fn told(extents: &[Packed], objects: &Objects) -> Vec<(Option<ObjectInfo>, String)> {
    let plain = Objects::default().intern(&object(0, 0, 0, 0), &mut Usage::default());
    let told = extents.iter().map(|extent| {
        let rest = Packed {
            object: plain,
            ..*extent
        };
        (objects.info(extent.object), format!("{rest:?}"))
    });
    told.collect()
}

fn body(chunk: &Chunk, objects: &Objects) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, chunk, objects).expect("all objects are known");
    bytes
}

/// Reads into a table of objects of its own.
fn read_alone(body: &[u8]) -> Result<(Table, Objects), Malformed> {
    let (mut objects, mut usage) = (Objects::default(), Usage::default());
    let table = read(body, PAGE_EXTENTS_MAX, |object| {
        objects.intern(object, &mut usage)
    })?;
    Ok((table, objects))
}

/// Extents as agents commit them: `writers` take turns, a run of some kilobytes each.
fn steady(writers: u32, count: u32) -> Vec<Placed> {
    let plain = Objects::default().intern(&object(0, 0, 0, 0), &mut Usage::default());
    let one = |n: u32| {
        let writer = n % writers;
        let unique = (u64::from(writer) << 60) + u64::from(n / writers);
        let extent = Packed {
            run_position: u64::from(n * 7_919 % 8_000_000),
            base_offset: 1_000_000 + i64::from(n) * 50,
            max_timestamp: 1_763_800_000_000 + i64::from(n) * 250,
            object: plain,
            run_bytes: 8_000,
            raw_start: 0,
            raw_bytes: 7_900,
            records: 50,
            log_append_time: false,
        };
        (object(writer, 40 + n / 200, unique, 8_000_000), extent)
    };
    (0..count).map(one).collect()
}

#[test]
fn an_extent_of_a_steady_stream_takes_about_20_bytes() {
    let mut objects = Objects::default();
    let chunk = chunk(&steady(12, 512), &mut objects);
    let bytes = body(&chunk, &objects).len();
    assert!(bytes <= 512 * 22, "{bytes}");
    assert!(bytes <= bytes_about(&chunk), "{bytes}");
}

#[test]
fn extents_of_one_object_name_it_once() {
    let (first, second) = (object(1, 5, 6, 7), object(1, 5, 7, 9));
    let mut placed = steady(1, 4);
    for ((of, _), object) in placed.iter_mut().zip([&first, &first, &second, &first]) {
        *of = object.clone();
    }
    let mut objects = Objects::default();
    let chunk = chunk(&placed, &mut objects);
    let bytes = body(&chunk, &objects);
    // after the position: 3 dropped, 4 extents, the first place and what is there
    assert_eq!(
        bytes[8..19],
        [3, 4, 2, 1, 1, 0, 1, 0, 10, 12, 7],
        "a new source and its object"
    );
    let mut interned = Vec::new();
    let (mut read_objects, mut usage) = (Objects::default(), Usage::default());
    let table = read(&bytes, PAGE_EXTENTS_MAX, |object| {
        interned.push(object.clone());
        read_objects.intern(object, &mut usage)
    });
    let table = table.expect("it is sound");
    assert_eq!(interned, [first.clone(), second, first]);
    assert_eq!((table.at, table.dropped), (chunk.at, chunk.dropped));
    assert_eq!(
        told(&table.extents, &read_objects),
        told(&chunk.extents, &objects)
    );
}

#[test]
fn what_cannot_be_is_refused() {
    let position = [0; 8];
    let cases: [(&[u8], &str); 9] = [
        (&[], "it ends early"),
        (&[0], "it ends early"),
        (&[0, 1], "it ends early"),
        (&[0, 0x81, 4], "it has too many extents"),
        (
            &[0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
            "its first extent names no object",
        ),
        (
            &[0, 1, 4, 0, 0, 0],
            "an extent is of a source that the page does not describe",
        ),
        (&[0, 1, 2, 1, 1, 9, 0], "an object has an unknown level"),
        (&[0, 1, 2, 1, 1, 0, 200, 1, 0], "it ends early"),
        (&[0, 0, 0], "there is something behind its end"),
    ];
    for (rest, reason) in cases {
        let body = [&position[..], rest].concat();
        assert_eq!(read_alone(&body).err(), Some(reason), "{rest:?}");
    }
}

fn placed() -> impl Strategy<Value = Placed> {
    let source = (0u32..3, 0u32..3, 0u8..3, vec(any::<u8>(), 0..3));
    let counters = (any::<u32>(), 0u64..4, any::<bool>());
    let object = (source, counters).prop_map(|(source, counters)| {
        let (incarnation, writer, level, locations) = source;
        let (upload_epoch, unique, high) = counters;
        ObjectInfo {
            id: ObjectId {
                incarnation: Incarnation(incarnation),
                upload_epoch: UploadEpoch(upload_epoch % 3),
                writer: WriterSlot(writer),
                level: [ObjectLevel::L0, ObjectLevel::L1, ObjectLevel::L2][usize::from(level)],
                unique: if high { u64::MAX - unique } else { unique },
            },
            bytes: u64::from(upload_epoch),
            locations,
        }
    });
    let place = (any::<u64>(), any::<u32>(), any::<u32>(), any::<u32>());
    let rest = (any::<i64>(), any::<u32>(), any::<i64>(), any::<bool>());
    (object, place, rest).prop_map(|(object, place, rest)| {
        let plain = Objects::default().intern(&object, &mut Usage::default());
        let extent = Packed {
            run_position: place.0,
            base_offset: rest.0,
            max_timestamp: rest.2,
            object: plain,
            run_bytes: place.1,
            raw_start: place.2,
            raw_bytes: place.3,
            records: rest.1,
            log_append_time: rest.3,
        };
        (object, extent)
    })
}

proptest! {
    #[test]
    fn extents_are_read_as_they_were_written(placed in vec(placed(), 0..40)) {
        let mut objects = Objects::default();
        let chunk = chunk(&placed, &mut objects);
        let bytes = body(&chunk, &objects);
        let (table, read_objects) = read_alone(&bytes).expect("it is sound");
        prop_assert_eq!((table.at, table.dropped), (chunk.at, chunk.dropped));
        prop_assert_eq!(told(&table.extents, &read_objects), told(&chunk.extents, &objects));
    }

    #[test]
    fn a_page_that_lost_its_end_or_goes_on_is_refused(
        placed in vec(placed(), 0..6),
        cut in any::<prop::sample::Index>(),
        more in vec(any::<u8>(), 1..9),
    ) {
        let mut objects = Objects::default();
        let bytes = body(&chunk(&placed, &mut objects), &objects);
        prop_assert!(read_alone(&bytes[..cut.index(bytes.len())]).is_err());
        prop_assert!(read_alone(&[&bytes[..], &more[..]].concat()).is_err());
    }

    #[test]
    fn other_bytes_never_panic_and_reserve_no_more_than_they_are(
        placed in vec(placed(), 0..6),
        keep in any::<prop::sample::Index>(),
        garbage in vec(any::<u8>(), 0..60),
    ) {
        let mut objects = Objects::default();
        let bytes = body(&chunk(&placed, &mut objects), &objects);
        let mixed = [&bytes[..keep.index(bytes.len() + 1)], &garbage[..]].concat();
        if let Ok((table, _)) = read_alone(&mixed) {
            prop_assert!(table.extents.capacity() <= mixed.len() / ROW_BYTES_MIN);
        }
    }
}
