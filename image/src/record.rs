//! `manifest.json`: every result with its size and checksum, and what the image is made of.

use std::path::Path;

use serde_json::{Value, json};

use crate::parts::Parts;
use crate::root::{BLOCK_BYTES, Root};
use crate::tool::{at, sha256, write};
use crate::{Error, Profile};

/// In the order of the record.
const ARTEFACTS: [&str; 12] = [
    "x0.img",
    "x0.img.zst",
    "x0.img.bmap",
    "root.erofs",
    "bzImage",
    "selector.efi",
    "uki-a.efi",
    "uki-b.efi",
    "cmdline-a",
    "cmdline-b",
    "sbom.cdx.json",
    "secure-boot.crt",
];

pub(crate) fn write_to(
    out: &Path,
    parts: &Parts,
    root: &Root,
    profile: Profile,
) -> Result<(), Error> {
    let source = &parts.source;
    let document = json!({
        "name": "x0tta6bl4-os",
        "version": source.version,
        "commit": source.commit,
        "build_time_s": source.time_s,
        "build_time": source.time_utc(),
        "profile": match profile {
            Profile::Release => "release",
            Profile::Test => "test",
            Profile::Probe => "probe",
        },
        "kernel": {
            "release": parts.kernel.release,
        },
        "root": {
            "hash": root.hash,
            "salt": root.salt,
            "block_bytes": BLOCK_BYTES,
            "data_blocks": root.data_blocks,
            "bytes": root.bytes,
        },
        "artefacts": artefacts(out)?,
    });
    write(&out.join("manifest.json"), format!("{document:#}\n"))?;
    Ok(())
}

fn artefacts(out: &Path) -> Result<Vec<Value>, Error> {
    let paths = ARTEFACTS.map(|name| out.join(name));
    let mut artefacts = Vec::new();
    for ((name, path), sha256) in ARTEFACTS.iter().zip(&paths).zip(sha256(&paths)?) {
        let bytes = std::fs::metadata(path).map_err(at("look at", path))?.len();
        artefacts.push(json!({ "name": name, "bytes": bytes, "sha256": sha256 }));
    }
    Ok(artefacts)
}
