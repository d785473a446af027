//! Adds sections to a PE32+ image.
//!
//! Written here rather than left to objcopy: the sections must not overlap in memory, nothing of
//! the machine may leak into the headers, and both are easier to show than to ask for.

const OPTIONAL_HEADER_PE32_PLUS: u16 = 0x20b;
const SECTION_HEADER_BYTES: usize = 40;
const PAGE_BYTES: usize = 4096;
/// IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ
const READ_ONLY_DATA: u32 = 0x4000_0040;

/// Why a file cannot take further sections.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PeError {
    /// It is something else, or cut short.
    #[error("not a PE32+ image: {0}")]
    NotPe(&'static str),
    /// A signature would not cover the new sections.
    #[error("the image is signed already; sections are added before signing")]
    Signed,
    /// The new section headers would run into the first section.
    #[error("no room for {0} more section headers")]
    NoRoom(usize),
    /// Names have eight bytes, sizes 32 bits.
    #[error("section `{0}` has too long a name or too much content")]
    BadSection(String),
}

/// The image with `sections` (name, content) added in this order, each on its own pages.
pub(crate) fn append_sections(
    image: &[u8],
    sections: &[(&str, &[u8])],
) -> Result<Vec<u8>, PeError> {
    let header = Header::parse(image)?;
    let table_end = header.section_table + header.section_count * SECTION_HEADER_BYTES;
    let new_table_end = table_end + sections.len() * SECTION_HEADER_BYTES;
    let headers_bytes = new_table_end.next_multiple_of(header.file_alignment);
    let headers_bytes = headers_bytes.max(header.headers_bytes);
    if headers_bytes > header.first_section_address(image)? {
        return Err(PeError::NoRoom(sections.len()));
    }
    let shift = headers_bytes - header.headers_bytes;

    let mut out = image[..table_end].to_vec();
    // Debian's stub ends in a symbol table, which would be at another place afterwards.
    out[header.coff + 8..header.coff + 16].fill(0);
    let mut content = image[header.headers_bytes..header.sections_end(image)?].to_vec();
    content.resize(content.len().next_multiple_of(header.file_alignment), 0);
    for number in 0..header.section_count {
        let at = header.section_table + number * SECTION_HEADER_BYTES + 20;
        let pointer = read_u32(image, at)?;
        if pointer != 0 {
            put_u32(&mut out, at, pointer + shift)?;
        }
    }
    let mut address = header.image_bytes.next_multiple_of(PAGE_BYTES);
    for (name, bytes) in sections {
        let bad = || PeError::BadSection((*name).to_owned());
        let stored = bytes.len().next_multiple_of(header.file_alignment);
        let mut label = [0; 8];
        label
            .get_mut(..name.len())
            .ok_or_else(bad)?
            .copy_from_slice(name.as_bytes());
        out.extend_from_slice(&label);
        for field in [bytes.len(), address, stored, headers_bytes + content.len()] {
            out.extend_from_slice(&u32::try_from(field).map_err(|_| bad())?.to_le_bytes());
        }
        out.extend_from_slice(&[0; 12]);
        out.extend_from_slice(&READ_ONLY_DATA.to_le_bytes());
        content.extend_from_slice(bytes);
        content.resize(content.len().next_multiple_of(header.file_alignment), 0);
        address = (address + bytes.len()).next_multiple_of(PAGE_BYTES);
    }
    out.resize(headers_bytes, 0);
    out.extend(content);

    let count = u16::try_from(header.section_count + sections.len())
        .map_err(|_| PeError::NoRoom(sections.len()))?;
    out[header.coff + 2..header.coff + 4].copy_from_slice(&count.to_le_bytes());
    put_u32(&mut out, header.optional + 56, address)?;
    put_u32(&mut out, header.optional + 60, headers_bytes)?;
    // The signing tool computes the checksum; firmware does not look at it.
    put_u32(&mut out, header.optional + 64, 0)?;
    Ok(out)
}

struct Header {
    coff: usize,
    optional: usize,
    section_table: usize,
    section_count: usize,
    file_alignment: usize,
    image_bytes: usize,
    headers_bytes: usize,
}

impl Header {
    fn parse(image: &[u8]) -> Result<Self, PeError> {
        if image.get(..2) != Some(b"MZ".as_slice()) {
            return Err(PeError::NotPe("no MZ at its start"));
        }
        let signature = read_u32(image, 0x3c)?;
        if image.get(signature..signature.saturating_add(4)) != Some(b"PE\0\0".as_slice()) {
            return Err(PeError::NotPe("no PE signature"));
        }
        let coff = signature + 4;
        let optional = coff + 20;
        if read_u16(image, optional)? != OPTIONAL_HEADER_PE32_PLUS {
            return Err(PeError::NotPe("a 32-bit optional header"));
        }
        let directories = read_u32(image, optional + 108)?;
        if directories > 4 && read_u32(image, optional + 112 + 4 * 8)? != 0 {
            return Err(PeError::Signed);
        }
        let header = Self {
            coff,
            optional,
            section_table: optional + usize::from(read_u16(image, coff + 16)?),
            section_count: usize::from(read_u16(image, coff + 2)?),
            file_alignment: read_u32(image, optional + 36)?,
            image_bytes: read_u32(image, optional + 56)?,
            headers_bytes: read_u32(image, optional + 60)?,
        };
        let table_end = header.section_table + header.section_count * SECTION_HEADER_BYTES;
        if !header.file_alignment.is_power_of_two() {
            return Err(PeError::NotPe("a file alignment that is no power of two"));
        }
        if header.headers_bytes > image.len() || table_end > header.headers_bytes {
            return Err(PeError::NotPe("headers longer than the file says"));
        }
        Ok(header)
    }

    fn sections_end(&self, image: &[u8]) -> Result<usize, PeError> {
        let mut end = self.headers_bytes;
        for number in 0..self.section_count {
            let at = self.section_table + number * SECTION_HEADER_BYTES + 16;
            end = end.max(read_u32(image, at)? + read_u32(image, at + 4)?);
        }
        (end <= image.len())
            .then_some(end)
            .ok_or(PeError::NotPe("cut short"))
    }

    fn first_section_address(&self, image: &[u8]) -> Result<usize, PeError> {
        let mut first = self.image_bytes;
        for number in 0..self.section_count {
            let at = self.section_table + number * SECTION_HEADER_BYTES + 12;
            first = first.min(read_u32(image, at)?);
        }
        Ok(first)
    }
}

fn read_u16(image: &[u8], at: usize) -> Result<u16, PeError> {
    let bytes = image.get(at..).and_then(|rest| rest.first_chunk());
    bytes
        .map(|bytes| u16::from_le_bytes(*bytes))
        .ok_or(PeError::NotPe("cut short"))
}

fn read_u32(image: &[u8], at: usize) -> Result<usize, PeError> {
    let bytes = image.get(at..).and_then(|rest| rest.first_chunk());
    let value = bytes
        .map(|bytes| u32::from_le_bytes(*bytes))
        .ok_or(PeError::NotPe("cut short"))?;
    Ok(value as usize)
}

fn put_u32(image: &mut [u8], at: usize, value: usize) -> Result<(), PeError> {
    let value = u32::try_from(value).map_err(|_| PeError::NotPe("larger than 4 GiB"))?;
    image[at..at + 4].copy_from_slice(&value.to_le_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::Tool;

    const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";

    #[test]
    fn added_sections_come_back_out_byte_for_byte() {
        let stub = std::fs::read(STUB).unwrap();
        let kernel = vec![0xa5; 100_001];
        let many: Vec<String> = (0..12).map(|number| format!(".s{number}")).collect();
        let mut sections: Vec<(&str, &[u8])> = vec![(".cmdline", b"root=/dev/dm-0")];
        // More than fit in front of the stub's first section in the file, so that it must move.
        sections.extend(many.iter().map(|name| (name.as_str(), b"x".as_slice())));
        sections.push((".linux", &kernel));
        let image = append_sections(&stub, &sections).unwrap();

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.efi");
        std::fs::write(&path, &image).unwrap();
        for (name, expected) in [
            (".cmdline", b"root=/dev/dm-0".as_slice()),
            (".linux", &kernel),
        ] {
            let part = folder.path().join("part");
            let dump = format!("--dump-section={name}={}", part.display());
            Tool::new("objcopy")
                .arg(dump)
                .arg(&path)
                .arg(folder.path().join("copy"))
                .run()
                .unwrap();
            assert_eq!(std::fs::read(&part).unwrap()[..expected.len()], *expected);
        }
        let text = |file: &std::path::Path| {
            let part = folder.path().join("text");
            let dump = format!("--dump-section=.text={}", part.display());
            Tool::new("objcopy")
                .arg(dump)
                .arg(file)
                .arg(folder.path().join("copy"))
                .run()
                .unwrap();
            std::fs::read(part).unwrap()
        };
        assert_eq!(text(&path), text(STUB.as_ref()));
    }

    #[test]
    fn no_two_sections_share_memory() {
        let stub = std::fs::read(STUB).unwrap();
        let image = append_sections(&stub, &[(".a", &[1; 5000]), (".b", &[2; 1])]).unwrap();
        let header = Header::parse(&image).unwrap();
        let mut end = header.headers_bytes;
        for number in 0..header.section_count {
            let at = header.section_table + number * SECTION_HEADER_BYTES;
            let start = read_u32(&image, at + 12).unwrap();
            assert!(
                start >= end,
                "section {number} starts at {start:#x}, before {end:#x}"
            );
            end = start + read_u32(&image, at + 8).unwrap();
        }
        assert!(end <= header.image_bytes);
    }

    #[test]
    fn every_prefix_of_an_image_is_refused_or_handled_without_panic() {
        let stub = std::fs::read(STUB).unwrap();
        for length in 0..2048 {
            let _ = append_sections(&stub[..length], &[(".a", b"a")]);
        }
        assert_eq!(
            append_sections(b"", &[]),
            Err(PeError::NotPe("no MZ at its start"))
        );
    }
}
