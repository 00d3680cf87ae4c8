use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::limits::BLOCK_BYTES;

fn write(compression: BlockCompression, pieces: &[Bytes]) -> (BlockHeader, Bytes) {
    let mut out = Vec::new();
    let bytes = pieces.iter().map(Bytes::len).sum::<usize>();
    let header = BlockWriter::new(compression).write(
        pieces.to_vec(),
        u32::try_from(bytes).expect("it is small"),
        true,
        &mut out,
    );
    (header, out.concat().into())
}

fn noise(length: usize) -> Bytes {
    let mut state = 1u64;
    let next = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    };
    (0..length).map(next).collect()
}

#[test]
fn blocks_are_compressed_only_where_that_saves_a_tenth() {
    let zstd = BlockCompression::default();
    let (header, stored) = write(zstd, &[vec![7; 10_000].into()]);
    assert_eq!(header.codec, BlockCodec::Zstd);
    assert!(stored.len() < 100);
    for (compression, bytes) in [
        (zstd, noise(10_000)),
        (zstd, Bytes::from_static(b"short")),
        (BlockCompression::Off, vec![7; 10_000].into()),
    ] {
        let (header, stored) = write(compression, std::slice::from_ref(&bytes));
        assert_eq!(header.codec, BlockCodec::None);
        assert_eq!(&stored[BLOCK_HEADER_BYTES..], &bytes[..]);
    }
    // 12 % of zeros in noise are worth it, 8 % are not.
    for (zeros, codec) in [(12_000, BlockCodec::Zstd), (8_000, BlockCodec::None)] {
        let pieces = [noise(100_000 - zeros), vec![0; zeros].into()];
        assert_eq!(write(zstd, &pieces).0.codec, codec, "{zeros}");
    }
}

#[test]
fn uncompressed_blocks_are_read_without_copying() {
    let (_, stored) = write(BlockCompression::Off, &[noise(1_000)]);
    let run = expand_run(&stored).expect("just written");
    assert_eq!(
        run.blocks[0].as_ptr(),
        stored[BLOCK_HEADER_BYTES..].as_ptr()
    );
}

#[test]
fn a_block_that_lies_about_its_expanded_size_is_refused() {
    let (header, stored) = write(BlockCompression::default(), &[vec![7; 5_000].into()]);
    let payload = stored.slice(BLOCK_HEADER_BYTES..);
    for expanded_bytes in [0, 4_999, 5_001, u32::MAX] {
        let lie = BlockHeader {
            expanded_bytes,
            ..header
        }
        .seal(std::slice::from_ref(&payload));
        let bytes = [&lie.encode()[..], &payload].concat();
        let error = expand_run(&bytes.into()).expect_err("a lie");
        assert!(
            matches!(
                error,
                BlockError::Expansion { .. } | BlockError::TooLarge { .. }
            ),
            "{error}"
        );
    }
}

#[test]
fn slices_of_a_run_go_over_blocks() {
    let blocks = [noise(10), noise(20), noise(30)];
    let stored: Vec<Bytes> = blocks
        .iter()
        .map(|block| write(BlockCompression::Off, std::slice::from_ref(block)).1)
        .collect();
    let run = expand_run(&stored.concat().into()).expect("just written");
    assert_eq!(run.bytes, 60);
    let whole = blocks.concat();
    for start in 0..=60 {
        for length in 0..=60 - start {
            let slices = run.slice(start, length).expect("within the run");
            assert_eq!(slices.concat(), whole[start..start + length]);
            assert!(slices.iter().all(|slice| !slice.is_empty()));
        }
    }
    assert_eq!(run.slice(0, 61), None);
    assert_eq!(run.slice(61, 0), None);
    assert_eq!(run.slice(usize::MAX, 2), None);
}

#[test]
fn a_block_larger_than_usual_expands() {
    let bytes: Bytes = vec![3; 5 * BLOCK_BYTES].into();
    let (header, stored) = write(BlockCompression::default(), std::slice::from_ref(&bytes));
    assert_eq!(header.codec, BlockCodec::Zstd);
    let run = expand_run(&stored).expect("just written");
    assert_eq!(run.blocks, [bytes]);
}

proptest! {
    #[test]
    fn blocks_round_trip(
        pieces in vec((vec(any::<u8>(), 1..60), 1..40usize), 1..6),
        level in prop::option::of(1..6i32),
    ) {
        let compression = level.map_or(BlockCompression::Off, |level| BlockCompression::Zstd { level });
        let pieces: Vec<Bytes> = pieces
            .into_iter()
            .map(|(bytes, times)| bytes.repeat(times).into())
            .collect();
        let (header, stored) = write(compression, &pieces);
        prop_assert_eq!(header.block_bytes(), u64::try_from(stored.len())?);
        let run = expand_run(&stored)?;
        prop_assert_eq!(run.blocks.concat(), pieces.concat());
    }

    #[test]
    fn any_flipped_bit_is_noticed(
        bytes in vec(any::<u8>(), 1..200), times in 1..5usize, bit in any::<prop::sample::Index>(),
    ) {
        let (_, stored) = write(BlockCompression::default(), &[bytes.repeat(times).into()]);
        let mut stored = stored.to_vec();
        let bit = bit.index(stored.len() * 8);
        stored[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(expand_run(&stored.into()).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200), magic: bool) {
        let mut bytes = bytes;
        if magic && bytes.len() >= BLOCK_HEADER_BYTES {
            // Sealed, so that what lies behind the CRC is reached.
            let payload = Bytes::copy_from_slice(&bytes[BLOCK_HEADER_BYTES..]);
            let header = BlockHeader {
                codec: if bytes[1] % 2 == 0 { BlockCodec::None } else { BlockCodec::Zstd },
                stored_bytes: u32::try_from(payload.len())?,
                expanded_bytes: u32::from(bytes[8]),
                crc: 0,
            };
            bytes[..BLOCK_HEADER_BYTES].copy_from_slice(&header.seal(&[payload]).encode());
        }
        let _ = expand_run(&bytes.into());
    }
}
