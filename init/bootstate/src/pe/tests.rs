use super::*;
use proptest::prelude::*;
use std::vec::Vec;

const COFF_AT: usize = 0x40;
const OPTIONAL_AT: usize = COFF_AT + 24;
const SECTIONS_AT: usize = OPTIONAL_AT + 240;
const HEADERS: usize = 512;
const BODY: usize = 2048;
const LIMIT: u64 = 1 << 20;

fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

fn put32(image: &mut [u8], at: usize, value: usize) {
    put(image, at, &u32::try_from(value).unwrap().to_le_bytes());
}

/// Headers, two sections in the wrong order, and something behind them.
fn unsigned() -> Vec<u8> {
    let mut image: Vec<u8> = (0..BODY)
        .map(|at| u8::try_from(at % 251).unwrap())
        .collect();
    image[..HEADERS].fill(0);
    put(&mut image, 0, b"MZ");
    put32(&mut image, 0x3c, COFF_AT);
    put(&mut image, COFF_AT, b"PE\0\0\x64\x86\x02\0");
    put(&mut image, COFF_AT + 20, &240u16.to_le_bytes());
    put(&mut image, OPTIONAL_AT, &PE32_PLUS.to_le_bytes());
    put32(&mut image, OPTIONAL_AT + 56, 0x10000);
    put32(&mut image, OPTIONAL_AT + 60, HEADERS);
    put32(&mut image, OPTIONAL_AT + 64, 0x1234_5678);
    put(
        &mut image,
        OPTIONAL_AT + 68,
        &SUBSYSTEM_EFI_APPLICATION.to_le_bytes(),
    );
    put32(&mut image, OPTIONAL_AT + 108, 16);
    for (index, (raw_at, raw_bytes)) in [(1024, 512), (512, 512)].into_iter().enumerate() {
        let section = SECTIONS_AT + index * SECTION_BYTES;
        put32(&mut image, section + 8, 100);
        put32(&mut image, section + 12, 0x1000);
        put32(&mut image, section + 16, raw_bytes);
        put32(&mut image, section + 20, raw_at);
    }
    image
}

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut bytes = std::vec![tag, 0x82];
    bytes.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
    bytes.extend(content);
    bytes
}

fn pkcs7(hash: &[u8]) -> Vec<u8> {
    let algorithm = der(0x30, &[&der(6, &[OID_SHA256]), &[5, 0]]);
    let digest_info = der(0x30, &[&algorithm, &der(4, &[hash])]);
    let indirect = der(0x30, &[&der(0x30, &[]), &digest_info]);
    let signed = der(
        0x30,
        &[&der(6, &[OID_INDIRECT_DATA]), &der(0xa0, &[&indirect])],
    );
    let data = der(0x30, &[&[2, 1, 1], &der(0x31, &[]), &signed]);
    der(0x30, &[&der(6, &[OID_SIGNED_DATA]), &der(0xa0, &[&data])])
}

fn append_certificate(image: &mut Vec<u8>, content: &[u8]) {
    let length = u32::try_from(content.len() + 8).unwrap();
    image.extend(length.to_le_bytes());
    image.extend([0, 2, 2, 0]);
    image.extend(content);
    image.resize(image.len().next_multiple_of(8), 0);
}

/// Signed with the hash of a straight run over the file, which is what the
/// section by section one has to give when nothing overlaps.
fn signed() -> Vec<u8> {
    let mut image = unsigned();
    let mut hashed = image.clone();
    hashed.drain(OPTIONAL_AT + 144..OPTIONAL_AT + 152);
    hashed.drain(OPTIONAL_AT + 64..OPTIONAL_AT + 68);
    let hash = Sha256::digest(&hashed);
    append_certificate(&mut image, b"of another kind, or of another hash");
    append_certificate(&mut image, &pkcs7(&hash));
    put32(&mut image, OPTIONAL_AT + 144, BODY);
    let bytes = image.len() - BODY;
    put32(&mut image, OPTIONAL_AT + 148, bytes);
    image
}

fn check(image: &[u8]) -> Result<Verdict, PeError> {
    let layout = Layout::parse(image, LIMIT, Machine::X86_64)?;
    let bytes = usize::try_from(layout.file_bytes).unwrap();
    layout.verify(image.get(..bytes).ok_or(PeError::Sections)?)
}

#[test]
fn length_ends_with_the_last_section_or_the_certificates() {
    let layout = Layout::parse(&unsigned(), LIMIT, Machine::X86_64).unwrap();
    assert_eq!(layout.file_bytes, 1536);
    let image = signed();
    let layout = Layout::parse(&image, LIMIT, Machine::X86_64).unwrap();
    assert_eq!(layout.file_bytes, image.len() as u64);
    let mut in_partition = image.clone();
    in_partition.resize(image.len() + 4096, 0xee);
    assert_eq!(check(&in_partition), Ok(Verdict::Intact));
}

#[test]
fn unsigned_images_vouch_for_nothing() {
    assert_eq!(check(&unsigned()), Ok(Verdict::Unsigned));
}

/// Every single byte that the firmware will use.
#[test]
fn one_changed_byte_is_noticed() {
    let image = signed();
    for at in 0..BODY {
        let mut changed = image.clone();
        changed[at] ^= 0x40;
        let checksum = (OPTIONAL_AT + 64..OPTIONAL_AT + 68).contains(&at);
        assert_eq!(
            check(&changed) == Ok(Verdict::Intact),
            checksum,
            "byte {at}"
        );
    }
}

#[test]
fn refuses_what_cannot_be_a_kernel_image() {
    let cases: [(usize, &[u8], PeError); 14] = [
        (0, b"ZM", PeError::Signature),
        (0x3c, &[0xff; 4], PeError::Headers),
        (0x3c, &[0, 16, 0, 0], PeError::Headers),
        (COFF_AT, b"NE", PeError::Signature),
        (COFF_AT + 4, &[0x64, 0xaa], PeError::Machine(0xaa64)),
        (COFF_AT + 6, &[0xff, 0xff], PeError::Headers),
        (COFF_AT + 6, &[0, 0], PeError::Headers),
        (COFF_AT + 20, &[0xff, 0xff], PeError::Headers),
        (OPTIONAL_AT, &[0x0b, 1], PeError::Kind),
        (OPTIONAL_AT + 56, &[0xff; 4], PeError::Headers),
        (OPTIONAL_AT + 60, &[0xff; 4], PeError::Headers),
        (OPTIONAL_AT + 68, &[11], PeError::Kind),
        (SECTIONS_AT + 16, &[0xff; 4], PeError::Sections),
        (OPTIONAL_AT + 148, &[0xff; 4], PeError::Certificates),
    ];
    for (at, bytes, error) in cases {
        let mut image = signed();
        put(&mut image, at, bytes);
        assert_eq!(check(&image), Err(error), "{bytes:x?} at {at}");
    }
    assert_eq!(check(&[0; HEAD_BYTES]), Err(PeError::Empty));
    assert_eq!(check(&[]), Err(PeError::Empty));
    assert_eq!(
        Layout::parse(&signed(), 1600, Machine::X86_64),
        Err(PeError::Certificates),
        "longer than the partition"
    );
}

#[test]
fn refuses_certificates_without_a_hash() {
    for content in [&b"nonsense"[..], &pkcs7(&[1; 20])] {
        let mut image = unsigned();
        append_certificate(&mut image, content);
        put32(&mut image, OPTIONAL_AT + 144, BODY);
        let bytes = image.len() - BODY;
        put32(&mut image, OPTIONAL_AT + 148, bytes);
        assert_eq!(check(&image), Err(PeError::Certificates));
    }
    for length in [0, 7, usize::try_from(u32::MAX).unwrap()] {
        let mut image = signed();
        put32(&mut image, BODY, length);
        assert_eq!(check(&image), Err(PeError::Certificates), "{length}");
    }
}

proptest! {
    #[test]
    fn hostile_images_never_panic(
        changes in prop::collection::vec((0..SECTIONS_AT + 80, any::<u8>()), 1..8),
        tail in prop::collection::vec((BODY..BODY + 200, any::<u8>()), 0..4),
        length in 0..3000usize,
    ) {
        let mut image = signed();
        for (at, value) in changes.into_iter().chain(tail) {
            if let Some(byte) = image.get_mut(at) {
                *byte = value;
            }
        }
        crate::fuzz::pe(&image);
        image.resize(length, 0);
        crate::fuzz::pe(&image);
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        crate::fuzz::pe(&bytes);
        crate::fuzz::gpt(&bytes);
    }
}
