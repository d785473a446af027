//! How long the kernel image in a raw partition is, and whether it is intact.
//!
//! A slot's partition holds a PE32+ image from its first byte and no length
//! beside it, so the length comes from the image's own headers, certificate
//! table included (Microsoft PE format; Authenticode_PE.docx 1.0).
//!
//! [`Layout::verify`] compares the image's Authenticode hash with the one inside
//! its signature. That is *no* proof of origin: anyone can sign a changed image.
//! The firmware proves the origin when Secure Boot is on. It tells a decayed
//! image from a good one on machines where Secure Boot is off, without a format
//! of our own, before three boots are lost on it.

use core::fmt;
use core::ops::Range;

use sha2::{Digest, Sha256};

use crate::pe::der::Der;

mod der;

/// All headers lie in this many bytes from the start.
pub const HEAD_BYTES: usize = 4096;

const SECTIONS_MAX: usize = 64;
const CERTIFICATES_MAX_BYTES: u64 = 1 << 20;
const MEMORY_MAX_BYTES: u32 = 1 << 30;
const SUBSYSTEM_EFI_APPLICATION: u16 = 10;
const PE32_PLUS: u16 = 0x20b;
const SECTION_BYTES: usize = 40;
/// `SpcIndirectDataContent`, what Authenticode signs: 1.3.6.1.4.1.311.2.1.4.
const OID_INDIRECT_DATA: &[u8] = &[0x2b, 6, 1, 4, 1, 0x82, 0x37, 2, 1, 4];
/// 1.2.840.113549.1.7.2
const OID_SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
/// 2.16.840.1.101.3.4.2.1
const OID_SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    Aarch64,
    X86_64,
}

impl Machine {
    fn number(self) -> u16 {
        match self {
            Self::Aarch64 => 0xaa64,
            Self::X86_64 => 0x8664,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeError {
    /// The certificate table is malformed or not where it belongs.
    Certificates,
    /// Zeros only: the slot was never written.
    Empty,
    /// The hash differs from the signed one.
    Hash,
    /// Headers too long, or one ends outside the image.
    Headers,
    /// No EFI application.
    Kind,
    /// For another processor.
    Machine(u16),
    /// A section ends outside the image or the partition.
    Sections,
    Signature,
}

impl fmt::Display for PeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificates => f.write_str("its signature is malformed"),
            Self::Empty => f.write_str("the slot is empty"),
            Self::Hash => f.write_str("its hash differs from the signed one"),
            Self::Headers => f.write_str("its headers are malformed"),
            Self::Kind => f.write_str("it is no EFI application"),
            Self::Machine(number) => write!(f, "it is for another processor ({number:#x})"),
            Self::Sections => f.write_str("a section lies outside the image"),
            Self::Signature => f.write_str("it is no PE image"),
        }
    }
}

impl core::error::Error for PeError {}

/// Whether the image vouches for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The hash is the signed one.
    Intact,
    /// Nothing to compare with. Only the firmware's policy decides.
    Unsigned,
}

/// Where everything lies in an image whose headers were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Length of the image in bytes.
    pub file_bytes: u64,
    checksum: Range<usize>,
    certificate_entry: Range<usize>,
    headers_bytes: u64,
    certificates: Option<Range<u64>>,
    /// Raw ranges, in the order in which they are hashed.
    sections: [(u32, u32); SECTIONS_MAX],
    section_count: usize,
}

impl Layout {
    /// `head`: the first [`HEAD_BYTES`] of a partition of `limit` bytes.
    pub fn parse(head: &[u8], limit: u64, machine: Machine) -> Result<Self, PeError> {
        let head = &head[..head.len().min(HEAD_BYTES)];
        if head.iter().all(|byte| *byte == 0) {
            return Err(PeError::Empty);
        }
        let dos = Reader(head);
        if dos.u16(0) != Some(0x5a4d) {
            return Err(PeError::Signature);
        }
        let coff_at = dos
            .u32(0x3c)
            .and_then(|at| usize::try_from(at).ok())
            .unwrap_or(usize::MAX);
        let coff = Reader(head.get(coff_at..).ok_or(PeError::Headers)?);
        if coff.u32(0).ok_or(PeError::Headers)? != 0x4550 {
            return Err(PeError::Signature);
        }
        parse_headers(head, &coff, coff_at, limit, machine).unwrap_or(Err(PeError::Headers))
    }

    /// `image` holds [`Self::file_bytes`] bytes, from the same place as the head.
    pub fn verify(&self, image: &[u8]) -> Result<Verdict, PeError> {
        let Some(certificates) = &self.certificates else {
            return Ok(Verdict::Unsigned);
        };
        let hash = self.authenticode(image).ok_or(PeError::Sections)?;
        let mut table = slice(image, certificates.clone()).ok_or(PeError::Certificates)?;
        let mut compared = false;
        // WIN_CERTIFICATE: length with this header, revision, type; then the content.
        while !table.is_empty() {
            let header = Reader(table);
            let length = header
                .u32(0)
                .and_then(|length| usize::try_from(length).ok());
            let content = length.and_then(|length| table.get(8..length));
            let (Some(length), Some(content)) = (length, content) else {
                return Err(PeError::Certificates);
            };
            if (header.u16(4), header.u16(6)) == (Some(0x0200), Some(0x0002)) {
                match signed_sha256(content) {
                    Some(signed) if signed == hash => return Ok(Verdict::Intact),
                    Some(_) => compared = true,
                    None => {}
                }
            }
            table = table.get(length.next_multiple_of(8)..).unwrap_or_default();
        }
        Err(if compared {
            PeError::Hash
        } else {
            PeError::Certificates
        })
    }

    /// The hash that a signature covers: everything but the checksum, the
    /// certificate table and the entry that points at it.
    fn authenticode(&self, image: &[u8]) -> Option<[u8; 32]> {
        let mut sha = Sha256::new();
        let headers = slice(image, 0..self.headers_bytes)?;
        sha.update(headers.get(..self.checksum.start)?);
        sha.update(headers.get(self.checksum.end..self.certificate_entry.start)?);
        sha.update(headers.get(self.certificate_entry.end..)?);
        let mut hashed = self.headers_bytes;
        for (start, bytes) in &self.sections[..self.section_count] {
            let start = u64::from(*start);
            sha.update(slice(image, start..start + u64::from(*bytes))?);
            hashed += u64::from(*bytes);
        }
        // What lies behind the sections is covered too. EDK2 finds it by the sum
        // of what it hashed, so this has to.
        let end = self
            .certificates
            .as_ref()
            .map_or(self.file_bytes, |range| range.start);
        if hashed < end {
            sha.update(slice(image, hashed..end)?);
        }
        Some(sha.finalize().into())
    }
}

/// `None`: a header ends outside `head`.
fn parse_headers(
    head: &[u8],
    coff: &Reader<'_>,
    coff_at: usize,
    limit: u64,
    machine: Machine,
) -> Option<Result<Layout, PeError>> {
    let found = coff.u16(4)?;
    if found != machine.number() {
        return Some(Err(PeError::Machine(found)));
    }
    let sections = usize::from(coff.u16(6)?);
    let optional_bytes = usize::from(coff.u16(20)?);
    let optional_at = coff_at + 24;
    let optional = Reader(head.get(optional_at..optional_at + optional_bytes)?);
    if optional.u16(0)? != PE32_PLUS || optional.u16(68)? != SUBSYSTEM_EFI_APPLICATION {
        return Some(Err(PeError::Kind));
    }
    let memory_bytes = optional.u32(56)?;
    let headers_bytes = u64::from(optional.u32(60)?);
    let directories = optional.u32(108)?;
    let table_at = optional_at + optional_bytes;
    let table = head.get(table_at..table_at + sections * SECTION_BYTES)?;
    let table_end = u64::try_from(table_at + table.len()).ok()?;
    if sections == 0
        || sections > SECTIONS_MAX
        || !(5..=16).contains(&directories)
        || memory_bytes > MEMORY_MAX_BYTES
        || !(table_end..=limit).contains(&headers_bytes)
    {
        return Some(Err(PeError::Headers));
    }
    let mut layout = Layout {
        file_bytes: headers_bytes,
        checksum: optional_at + 64..optional_at + 68,
        certificate_entry: optional_at + 144..optional_at + 152,
        headers_bytes,
        certificates: None,
        sections: [(0, 0); SECTIONS_MAX],
        section_count: 0,
    };
    let certificates = (u64::from(optional.u32(144)?), u64::from(optional.u32(148)?));
    for section in table.chunks_exact(SECTION_BYTES) {
        if let Err(error) = layout.add_section(&Reader(section), memory_bytes, limit) {
            return Some(Err(error));
        }
    }
    layout.sections[..layout.section_count].sort_unstable();
    if certificates != (0, 0) {
        let (start, bytes) = certificates;
        let end = start + bytes;
        if start < layout.file_bytes
            || !start.is_multiple_of(8)
            || end > limit
            || !(8..=CERTIFICATES_MAX_BYTES).contains(&bytes)
        {
            return Some(Err(PeError::Certificates));
        }
        layout.certificates = Some(start..end);
        layout.file_bytes = end;
    }
    Some(Ok(layout))
}

impl Layout {
    fn add_section(
        &mut self,
        section: &Reader<'_>,
        memory_bytes: u32,
        limit: u64,
    ) -> Result<(), PeError> {
        let field = |at| section.u32(at).ok_or(PeError::Headers);
        let (virtual_bytes, virtual_at) = (field(8)?, field(12)?);
        let (raw_bytes, raw_at) = (field(16)?, field(20)?);
        if virtual_at
            .checked_add(virtual_bytes)
            .is_none_or(|end| end > memory_bytes)
        {
            return Err(PeError::Sections);
        }
        if raw_bytes == 0 {
            return Ok(());
        }
        let end = u64::from(raw_at) + u64::from(raw_bytes);
        if u64::from(raw_at) < self.headers_bytes || end > limit {
            return Err(PeError::Sections);
        }
        self.sections[self.section_count] = (raw_at, raw_bytes);
        self.section_count += 1;
        self.file_bytes = self.file_bytes.max(end);
        Ok(())
    }
}

/// The SHA-256 that a PKCS #7 Authenticode signature signs.
fn signed_sha256(pkcs7: &[u8]) -> Option<[u8; 32]> {
    let mut content_info = Der(pkcs7).sequence()?;
    content_info.object_identifier(OID_SIGNED_DATA)?;
    let mut signed_data = content_info.explicit(0)?.sequence()?;
    signed_data.skip()?; // version
    signed_data.skip()?; // digest algorithms
    let mut signed = signed_data.sequence()?;
    signed.object_identifier(OID_INDIRECT_DATA)?;
    let mut indirect = signed.explicit(0)?.sequence()?;
    indirect.skip()?; // what kind of file
    let mut digest_info = indirect.sequence()?;
    digest_info.sequence()?.object_identifier(OID_SHA256)?;
    digest_info.octets()?.try_into().ok()
}

fn slice(image: &[u8], range: Range<u64>) -> Option<&[u8]> {
    image.get(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn u16(&self, at: usize) -> Option<u16> {
        self.0
            .get(at..)?
            .first_chunk()
            .map(|bytes| u16::from_le_bytes(*bytes))
    }

    fn u32(&self, at: usize) -> Option<u32> {
        self.0
            .get(at..)?
            .first_chunk()
            .map(|bytes| u32::from_le_bytes(*bytes))
    }
}

#[cfg(test)]
mod tests;
