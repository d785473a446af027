//! The bill of materials: CycloneDX 1.5, JSON.
//!
//! Programs depend on the crates compiled into them; each Debian package lists the files of it
//! that are in the image or were linked into something that is.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::Error;
use crate::crates::CrateId;
use crate::debian::Package;
use crate::materials::Materials;
use crate::root::hex;
use crate::tool::{ToolError, sha256};

/// What Debian's `copyright` files say of the parts that we take.
const DEBIAN_LICENCES: [(&str, &str); 21] = [
    ("dbus-broker", "Apache-2.0 AND LGPL-2.1-or-later"),
    ("e2fsprogs", "GPL-2.0-only"),
    ("libapparmor1", "LGPL-2.1-only"),
    ("libaudit1", "LGPL-2.1-or-later"),
    ("libblkid1", "LGPL-2.1-or-later"),
    ("libc6", "LGPL-2.1-or-later"),
    ("libc6-dev", "LGPL-2.1-or-later"),
    ("libcap-ng0", "LGPL-2.1-or-later"),
    ("libcom-err2", "MIT"),
    ("libext2fs2", "LGPL-2.0-only"),
    ("libgcc-12-dev", "GPL-3.0-or-later WITH GCC-exception-3.1"),
    ("libncursesw6", "MIT"),
    ("libpcre2-8-0", "BSD-3-Clause"),
    ("libselinux1", "LicenseRef-public-domain"),
    ("libtinfo6", "MIT"),
    ("libuuid1", "BSD-3-Clause"),
    ("linux-source-6.12", "GPL-2.0-only WITH Linux-syscall-note"),
    ("nano", "GPL-3.0-or-later"),
    ("ncurses-base", "MIT"),
    ("rust-web-src", "MIT OR Apache-2.0"),
    ("systemd-boot-efi", "LGPL-2.1-or-later"),
];

/// The document as text, the same for the same materials.
pub(crate) fn document(materials: &Materials<'_>) -> Result<String, Error> {
    let Materials {
        source,
        programs,
        crates,
        packages,
        rust,
    } = materials;
    let std_reference = format!("pkg:generic/rust-std@{}", encode(rust));
    let mut components = vec![json!({
        "type": "library",
        "bom-ref": std_reference,
        "name": "rust-std",
        "version": rust,
        "purl": std_reference,
        "licenses": licences("MIT OR Apache-2.0"),
    })];
    let mut dependencies = Vec::new();
    let mut direct = Vec::new();
    let files: Vec<&PathBuf> = programs.iter().map(|program| &program.file).collect();
    for (program, digest) in programs.iter().zip(&sha256(&files)?) {
        let reference = format!("program:{}", program.path);
        components.push(json!({
            "type": "application",
            "bom-ref": reference,
            "name": program.path,
            "version": source.version,
            "licenses": licences("Apache-2.0"),
            "hashes": hashes(digest),
        }));
        dependencies.push(dependency(
            &reference,
            [cargo_purl(&program.package), std_reference.clone()],
        ));
        direct.push(reference);
    }
    for (id, krate) in crates {
        let purl = cargo_purl(id);
        let mut component = json!({
            "type": "library",
            "bom-ref": purl,
            "name": id.0,
            "version": id.1,
            "purl": purl,
            "licenses": licences(&krate.licence),
        });
        if let Some(checksum) = &krate.checksum {
            component["hashes"] = hashes(checksum);
        }
        components.push(component);
        dependencies.push(dependency(&purl, krate.needs.iter().map(cargo_purl)));
    }
    for (package, files) in packages {
        let purl = debian_purl(package);
        components.push(json!({
            "type": "library",
            "bom-ref": purl,
            "name": package.name,
            "version": package.version,
            "purl": purl,
            "licenses": licences(debian_licence(&package.name)?),
            "properties": [{ "name": "debian:source", "value": package.source }],
            "components": file_components(files)?,
        }));
        direct.push(purl);
    }
    let own = format!("pkg:generic/x0tta6bl4-os@{}", encode(&source.version));
    dependencies.insert(0, dependency(&own, direct));
    let document = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": serial_number(&[json!(components), json!(dependencies)]),
        "version": 1,
        "metadata": {
            "timestamp": source.time_utc(),
            "tools": { "components": [{
                "type": "application",
                "name": "image",
                "version": env!("CARGO_PKG_VERSION"),
            }]},
            "component": {
                "type": "operating-system",
                "bom-ref": own,
                "name": "x0tta6bl4-os",
                "version": source.version,
                "purl": own,
                "licenses": licences("Apache-2.0"),
                "properties": [{ "name": "git:commit", "value": source.commit }],
            },
        },
        "components": components,
        "dependencies": dependencies,
    });
    Ok(format!("{document:#}\n"))
}

fn dependency(reference: &str, needs: impl IntoIterator<Item = String>) -> Value {
    json!({ "ref": reference, "dependsOn": needs.into_iter().collect::<Vec<_>>() })
}

fn licences(expression: &str) -> Value {
    json!([{ "expression": expression }])
}

fn hashes(sha256: &str) -> Value {
    json!([{ "alg": "SHA-256", "content": sha256 }])
}

fn file_components(files: &BTreeSet<PathBuf>) -> Result<Vec<Value>, ToolError> {
    let files: Vec<&PathBuf> = files.iter().collect();
    let component = |(file, digest): (&&PathBuf, String)| {
        json!({
            "type": "file",
            "name": file.display().to_string(),
            "hashes": hashes(&digest),
        })
    };
    Ok(files.iter().zip(sha256(&files)?).map(component).collect())
}

fn debian_licence(package: &str) -> Result<&'static str, Error> {
    let known = DEBIAN_LICENCES.iter().find(|(name, _)| *name == package);
    known
        .map(|(_, licence)| *licence)
        .ok_or_else(|| Error::NoLicence {
            what: format!("the Debian package {package}"),
        })
}

fn cargo_purl((name, version): &CrateId) -> String {
    format!("pkg:cargo/{name}@{}", encode(version))
}

fn debian_purl(package: &Package) -> String {
    let Package {
        name,
        version,
        architecture,
        ..
    } = package;
    let (name, version) = (encode(name), encode(version));
    format!("pkg:deb/debian/{name}@{version}?arch={architecture}&distro=bookworm")
}

/// Percent-encoding of the package URL specification.
fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// From the content, so that the same materials keep their number.
fn serial_number(content: &[Value]) -> String {
    let hex = hex(&Sha256::digest(json!(content).to_string()));
    format!(
        "urn:uuid:{}-{}-8{}-8{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..32]
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crates::Crate;
    use crate::materials::Program;
    use crate::source::Source;

    fn sample() -> String {
        let source = Source {
            version: "0.1.0".into(),
            commit: "c0ffee".into(),
            time_s: 1_700_000_000,
        };
        let id = |name: &str| (name.to_owned(), "1.0.0+x".to_owned());
        let file = PathBuf::from("/bin/sh");
        let krate = |needs: &[&str]| Crate {
            licence: "MIT".into(),
            checksum: Some("00".repeat(32)),
            needs: needs.iter().copied().map(id).collect(),
        };
        let package = Package {
            name: "libc6".into(),
            version: "2.36-9+deb12u14".into(),
            architecture: "amd64".into(),
            source: "glibc".into(),
        };
        document(&Materials {
            source: &source,
            programs: vec![Program {
                path: "/init".into(),
                file: file.clone(),
                package: id("init"),
            }],
            crates: [(id("init"), krate(&["libc"])), (id("libc"), krate(&[]))].into(),
            packages: [(package, [file].into())].into(),
            rust: "1.95.0".into(),
        })
        .unwrap()
    }

    #[test]
    fn every_reference_leads_to_one_component() {
        let document: Value = serde_json::from_str(&sample()).unwrap();
        let mut known = BTreeSet::from([document["metadata"]["component"]["bom-ref"].as_str()]);
        for component in document["components"].as_array().unwrap() {
            assert!(
                known.insert(component["bom-ref"].as_str()),
                "twice: {component}"
            );
            assert!(component["licenses"][0]["expression"].is_string());
        }
        let mut reached = BTreeSet::new();
        for dependency in document["dependencies"].as_array().unwrap() {
            assert!(known.contains(&dependency["ref"].as_str()), "{dependency}");
            for need in dependency["dependsOn"].as_array().unwrap() {
                assert!(known.contains(&need.as_str()), "{need}");
                reached.insert(need.as_str());
            }
        }
        // Everything listed is there because something in the image needs it.
        assert_eq!(reached.len(), known.len() - 1);
        assert_eq!(document["metadata"]["timestamp"], "2023-11-14T22:13:20Z");
    }

    #[test]
    fn versions_are_encoded_as_package_urls_demand() {
        let text = sample();
        assert!(text.contains("pkg:cargo/libc@1.0.0%2Bx"), "{text}");
        assert!(text.contains("pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64&distro=bookworm"));
        assert_eq!(text, sample());
    }

    #[test]
    fn a_package_of_unknown_licence_stops_the_build() {
        assert!(matches!(
            debian_licence("mystery"),
            Err(Error::NoLicence { .. })
        ));
    }
}
