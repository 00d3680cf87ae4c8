use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::samples::any_codec;

const MIB: usize = 1024 * 1024;

fn compressed(codec: Codec, bytes: &[u8]) -> Bytes {
    codec.compress(bytes).expect("it is small").into()
}

#[test]
fn codes_and_names_are_those_of_kafka() {
    for (code, name, codec) in [
        (0, "none", Codec::None),
        (1, "gzip", Codec::Gzip),
        (2, "snappy", Codec::Snappy),
        (3, "lz4", Codec::Lz4),
        (4, "zstd", Codec::Zstd),
    ] {
        assert_eq!(Codec::from_code(code), Some(codec));
        assert_eq!(codec.code(), code);
        assert_eq!(Codec::from_name(name), Some(codec));
        assert_eq!(codec.to_string(), name);
    }
    assert_eq!(Codec::from_name("uncompressed"), Some(Codec::None));
    assert_eq!(Codec::from_name("producer"), None);
    assert_eq!(Codec::from_code(5), None);
    assert_eq!(Codec::from_code(-1), None);
}

#[test]
fn a_bomb_stops_at_the_cap() {
    let zeros = vec![0; 64 * MIB];
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let bomb = compressed(codec, &zeros);
        assert!(bomb.len() < 4 * MIB, "{codec}: {}", bomb.len());
        assert_eq!(
            codec.expand(&bomb, MIB),
            Err(CodecError::TooLarge {
                codec,
                expanded_max: MIB
            })
        );
        assert_eq!(
            codec.expand(&bomb, 64 * MIB).map(|bytes| bytes.len()),
            Ok(64 * MIB)
        );
    }
}

#[test]
fn a_claimed_size_reserves_nothing() {
    // Bare snappy that says 100 MiB in four bytes of preamble.
    let snappy = Bytes::from_static(&[0x80, 0x80, 0x80, 0x32, 0]);
    assert_eq!(
        Codec::Snappy.expand(&snappy, 128 * MIB),
        Err(CodecError::Corrupt {
            codec: Codec::Snappy
        })
    );
    // A zstd frame header with a window of 128 MiB and a content of 2^62 bytes.
    let zstd = Bytes::from_static(&[
        0x28, 0xb5, 0x2f, 0xfd, 0xc0, 0x88, 0, 0, 0, 0, 0, 0, 0, 0x40, 1, 0, 0,
    ]);
    assert!(Codec::Zstd.expand(&zstd, 128 * MIB).is_err());
    // A xerial block that says it is 4 GiB long.
    let mut framed = compressed(Codec::Snappy, b"x").to_vec();
    framed[16..20].copy_from_slice(&[0xff; 4]);
    assert_eq!(
        Codec::Snappy.expand(&framed.into(), 128 * MIB),
        Err(CodecError::Corrupt {
            codec: Codec::Snappy
        })
    );
}

#[test]
fn snappy_is_read_bare_framed_and_concatenated() {
    let text = b"to be or not to be, that is the question: to be".repeat(2_000);
    let bare = snap::raw::Encoder::new()
        .compress_vec(&text)
        .expect("it is small");
    assert_eq!(
        Codec::Snappy.expand(&bare.into(), MIB).as_deref(),
        Ok(&text[..])
    );
    let framed = compressed(Codec::Snappy, &text);
    assert_eq!(&framed[..8], b"\x82SNAPPY\0");
    assert_eq!(Codec::Snappy.expand(&framed, MIB).as_deref(), Ok(&text[..]));
    let twice = [&framed[..], &framed[..]].concat();
    assert_eq!(
        Codec::Snappy.expand(&twice.into(), MIB).as_deref(),
        Ok(&text.repeat(2)[..])
    );
}

#[test]
fn several_gzip_members_and_zstd_frames_are_read_as_one() {
    for codec in [Codec::Gzip, Codec::Zstd] {
        let twice = [&compressed(codec, b"one")[..], &compressed(codec, b"two")].concat();
        assert_eq!(
            codec.expand(&twice.into(), MIB).as_deref(),
            Ok(&b"onetwo"[..]),
            "{codec}"
        );
    }
}

#[test]
fn lz4_frames_are_of_the_dialect_that_kafka_reads() {
    let frame = compressed(Codec::Lz4, &[7; 200_000]);
    assert_eq!(&frame[..4], &0x184d_2204u32.to_le_bytes());
    // Version 01, independent blocks, no block checksums, no content size, no dictionary.
    assert_eq!(frame[4] & 0b1111_1011, 0b0110_0000);
    // Blocks of 64 KiB.
    assert_eq!(frame[5], 0b0100_0000);
}

#[test]
fn zstd_begins_again_with_more_room_where_the_first_guess_was_low() {
    let zeros = vec![0; 8 * MIB];
    let packed = compressed(Codec::Zstd, &zeros);
    assert!(packed.len() * 8 < 100 * 1024);
    assert_eq!(
        Codec::Zstd.expand(&packed, 8 * MIB).as_deref(),
        Ok(&zeros[..])
    );
}

proptest! {
    #[test]
    fn bytes_round_trip(codec in any_codec(), seed in vec(any::<u8>(), 0..500), times in 1..400usize) {
        let bytes = seed.repeat(times);
        let packed = compressed(codec, &bytes);
        let expanded = codec.expand(&packed, bytes.len())?;
        prop_assert_eq!(&expanded[..], &bytes[..]);
    }

    #[test]
    fn arbitrary_bytes_never_panic(codec in any_codec(), bytes in vec(any::<u8>(), 0..300)) {
        if let Ok(expanded) = codec.expand(&bytes.into(), 10_000) {
            prop_assert!(expanded.len() <= 10_000);
        }
    }

    #[test]
    fn changed_or_cut_bytes_never_panic_or_pass_the_cap(
        codec in any_codec(),
        bytes in vec(any::<u8>(), 1..500),
        index in any::<prop::sample::Index>(),
        change: u8,
        cut: bool,
    ) {
        let mut packed = compressed(codec, &bytes).to_vec();
        let index = index.index(packed.len());
        if cut {
            packed.truncate(index);
        } else {
            packed[index] ^= change;
        }
        if let Ok(expanded) = codec.expand(&packed.into(), 600) {
            prop_assert!(expanded.len() <= 600);
        }
    }
}
