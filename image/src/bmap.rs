//! The block map beside the flash image, in the form of Yocto's bmaptool (format 2.0).

use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::root::hex;
use crate::tool::{FileError, at};

/// Bytes of a block in the map.
pub(crate) const BLOCK_BYTES: u64 = 4096;

/// Blocks of an image that must be written, first and last included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First block.
    pub first: u64,
    /// Last block.
    pub last: u64,
}

impl Range {
    /// The blocks that hold `bytes` bytes from `start` on.
    pub fn covering(start: u64, bytes: u64) -> Self {
        let end = (start + bytes.max(1)).div_ceil(BLOCK_BYTES);
        Self {
            first: start / BLOCK_BYTES,
            last: end - 1,
        }
    }

    /// First byte.
    pub fn start_bytes(self) -> u64 {
        self.first * BLOCK_BYTES
    }

    /// Number of bytes.
    pub fn bytes(self) -> u64 {
        (self.last - self.first + 1) * BLOCK_BYTES
    }
}

/// A block map: which ranges of the image matter and what they must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockMap {
    /// Bytes of the whole image.
    pub image_bytes: u64,
    /// Ranges in ascending order with their SHA-256 in hexadecimal.
    pub ranges: Vec<(Range, String)>,
}

/// Why a block map was not understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseBlockMapError {
    /// An element that must be there is not, or is not a number.
    #[error("the block map lacks a valid <{0}>")]
    Missing(&'static str),
    /// A range is malformed, out of order or outside the image.
    #[error("the block map has a bad range `{0}`")]
    BadRange(String),
    /// It was made for blocks of another size.
    #[error("the block map counts blocks of {0} bytes, not {BLOCK_BYTES}")]
    BlockSize(u64),
    /// The file's own checksum does not match.
    #[error("the block map is damaged: its own checksum does not match")]
    Damaged,
}

impl BlockMap {
    /// Reads the ranges of an image and notes their checksums.
    pub fn of(image: &Path, ranges: Vec<Range>) -> Result<Self, FileError> {
        let file = File::open(image).map_err(at("open", image))?;
        let image_bytes = file
            .metadata()
            .map_err(at("read the size of", image))?
            .len();
        let mut summed = Vec::new();
        for range in merge(ranges) {
            let mut hash = Sha256::new();
            let mut buffer = vec![0; 1024 * 1024];
            let mut done = 0;
            while done < range.bytes() {
                let want = usize::try_from(range.bytes() - done).unwrap_or(usize::MAX);
                let part = &mut buffer[..want.min(1024 * 1024)];
                file.read_exact_at(part, range.start_bytes() + done)
                    .map_err(at("read", image))?;
                hash.update(&*part);
                done += part.len() as u64;
            }
            summed.push((range, hex(&hash.finalize())));
        }
        Ok(Self {
            image_bytes,
            ranges: summed,
        })
    }

    /// Bytes that flashing writes.
    pub fn mapped_bytes(&self) -> u64 {
        self.ranges.iter().map(|(range, _)| range.bytes()).sum()
    }

    /// The XML that bmaptool reads.
    pub fn to_xml(&self) -> String {
        let blank = self.xml_with_checksum(&"0".repeat(64));
        let checksum = hex(&Sha256::digest(blank.as_bytes()));
        self.xml_with_checksum(&checksum)
    }

    /// Reads the XML that [`Self::to_xml`] writes (and bmaptool, for the same version).
    pub fn parse(xml: &str) -> Result<Self, ParseBlockMapError> {
        let own = element(xml, "BmapFileChecksum")
            .ok_or(ParseBlockMapError::Missing("BmapFileChecksum"))?;
        let blank = xml.replacen(own, &"0".repeat(own.len()), 1);
        if hex(&Sha256::digest(blank.as_bytes())) != own.trim() {
            return Err(ParseBlockMapError::Damaged);
        }
        let number = |name| {
            element(xml, name)
                .and_then(|text| text.trim().parse::<u64>().ok())
                .ok_or(ParseBlockMapError::Missing(name))
        };
        let block = number("BlockSize")?;
        if block != BLOCK_BYTES {
            return Err(ParseBlockMapError::BlockSize(block));
        }
        let image_bytes = number("ImageSize")?;
        let mut ranges = Vec::new();
        let mut next = 0;
        for part in xml.split("<Range ").skip(1) {
            let part = part.split("</Range>").next().unwrap_or(part);
            let bad = || ParseBlockMapError::BadRange(part.trim().to_owned());
            let (checksum, blocks) = part.split_once('>').ok_or_else(bad)?;
            let checksum = checksum.split('"').nth(1).ok_or_else(bad)?;
            let blocks = blocks.trim();
            let (first, last) = blocks.split_once('-').unwrap_or((blocks, blocks));
            let (Ok(first), Ok(last)) = (first.parse::<u64>(), last.parse::<u64>()) else {
                return Err(bad());
            };
            if first < next || last < first || last >= image_bytes.div_ceil(BLOCK_BYTES) {
                return Err(bad());
            }
            next = last + 1;
            ranges.push((Range { first, last }, checksum.to_owned()));
        }
        Ok(Self {
            image_bytes,
            ranges,
        })
    }

    fn xml_with_checksum(&self, checksum: &str) -> String {
        let mut xml = String::from("<?xml version=\"1.0\" ?>\n<bmap version=\"2.0\">\n");
        let mapped = self.mapped_bytes() / BLOCK_BYTES;
        let blocks = self.image_bytes.div_ceil(BLOCK_BYTES);
        for (name, value) in [
            ("ImageSize", self.image_bytes.to_string()),
            ("BlockSize", BLOCK_BYTES.to_string()),
            ("BlocksCount", blocks.to_string()),
            ("MappedBlocksCount", mapped.to_string()),
            ("ChecksumType", "sha256".to_owned()),
            ("BmapFileChecksum", checksum.to_owned()),
        ] {
            writeln!(xml, "    <{name}>{value}</{name}>").expect("a String takes all");
        }
        xml.push_str("    <BlockMap>\n");
        for (Range { first, last }, checksum) in &self.ranges {
            writeln!(
                xml,
                "        <Range chksum=\"{checksum}\">{first}-{last}</Range>"
            )
            .expect("a String takes all");
        }
        xml.push_str("    </BlockMap>\n</bmap>\n");
        xml
    }
}

fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

fn merge(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_by_key(|range| range.first);
    let mut merged: Vec<Range> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(previous) if range.first <= previous.last + 1 => {
                previous.last = previous.last.max(range.last);
            }
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (tempfile::NamedTempFile, BlockMap) {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1024 * 1024).unwrap();
        file.as_file().write_all_at(b"hello", 8192).unwrap();
        let ranges = vec![
            Range::covering(8192, 5),
            Range::covering(0, 8192),
            Range::covering(500_000, 1),
        ];
        let map = BlockMap::of(file.path(), ranges).unwrap();
        (file, map)
    }

    #[test]
    fn ranges_merge_and_survive_the_xml() {
        let (_, map) = sample();
        assert_eq!(map.ranges.len(), 2);
        assert_eq!(map.mapped_bytes(), 4 * BLOCK_BYTES);
        assert_eq!(BlockMap::parse(&map.to_xml()).unwrap(), map);
    }

    #[test]
    fn a_changed_map_is_refused() {
        let (_, map) = sample();
        let xml = map.to_xml();
        assert_eq!(
            BlockMap::parse(&xml.replace("0-2", "0-3")),
            Err(ParseBlockMapError::Damaged)
        );
        assert_eq!(
            BlockMap::parse("").unwrap_err(),
            ParseBlockMapError::Missing("BmapFileChecksum")
        );
    }

    #[test]
    fn a_range_outside_the_image_is_refused() {
        let (_, mut map) = sample();
        map.ranges.push((
            Range {
                first: 255,
                last: 256,
            },
            String::new(),
        ));
        let error = BlockMap::parse(&map.to_xml()).unwrap_err();
        assert!(matches!(error, ParseBlockMapError::BadRange(_)), "{error}");
    }

    #[test]
    fn bmaptool_copies_by_our_map() {
        let (file, map) = sample();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map.bmap");
        std::fs::write(&path, map.to_xml()).unwrap();
        let copy = folder.path().join("copy");
        crate::tool::Tool::new("bmaptool")
            .args(["copy", "--bmap"])
            .args([&path, &file.path().to_owned(), &copy])
            .run()
            .unwrap();
        assert_eq!(
            std::fs::read(&copy).unwrap(),
            std::fs::read(file.path()).unwrap()
        );
    }
}
