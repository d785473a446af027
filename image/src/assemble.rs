//! From the parts to the results, without a clock, a random number or a path of this machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::bmap::BlockMap;
use crate::disk::{self, Content};
use crate::layout::Slot;
use crate::materials::Materials;
use crate::parts::Parts;
use crate::root::{self, Root};
use crate::tool::{Tool, at, copy, make_directory, write};
use crate::tree::Tree;
use crate::{Error, Profile, esp, record, sbom, shared, uki, userland};

/// What PID 1 mounts things on.
const MOUNT_POINTS: [&str; 7] = ["/proc", "/sys", "/dev", "/run", "/tmp", "/var", "/data"];

pub(crate) fn assemble(parts: &Parts, out: &Path, profile: Profile) -> Result<(), Error> {
    let scratch = tempfile::tempdir_in(out).map_err(|source| Error::TemporaryFolder { source })?;
    let scratch = scratch.path();
    let path = |name: &str| out.join(name);

    let shipped = strip(parts, &scratch.join("programs"), &path("symbols"))?;
    let mut tree = root_tree(parts, &shipped);
    if let Some(x0ctl) = parts.programs.get(shared::COMMAND) {
        shared::add_manuals(&mut tree, x0ctl, &scratch.join("manuals"))?;
        shared::add_interfaces(&mut tree, &parts.workspace)?;
    }
    let root_file = path("root.erofs");
    let root = root::build(
        &tree,
        &scratch.join("root"),
        &root_file,
        &parts.source.version,
    )?;

    copy(&parts.kernel.image, &path("bzImage"))?;
    let boot = boot_images(parts, &root, scratch, out)?;
    let selector = path("selector.efi");
    parts
        .keys
        .sign(&parts.selector, &selector, parts.source.time_s)?;
    let esp_file = scratch.join("esp");
    let esp_used_bytes = esp::build(&selector, &esp_file, parts.source.time_s)?;

    let image = path("x0.img");
    let content = Content {
        esp: &esp_file,
        esp_used_bytes,
        bootstate: &bootstate::fresh(&parts.source.version),
        boot: [&boot[0], &boot[1]],
        root: &root_file,
    };
    let ranges = disk::build(&content, &image)?;
    write(&path("x0.img.bmap"), BlockMap::of(&image, ranges)?.to_xml())?;
    compress(&image, &path("x0.img.zst"), profile)?;
    let materials = Materials::of(parts, &shipped, &selector)?;
    write(&path("sbom.cdx.json"), sbom::document(&materials)?)?;
    copy(&parts.keys.certificate, &path("secure-boot.crt"))?;
    record::write_to(out, parts, &root, profile)
}

/// Our programs without their symbols, by their path in the image; the symbols go to `symbols`.
fn strip(
    parts: &Parts,
    stripped: &Path,
    symbols: &Path,
) -> Result<BTreeMap<String, PathBuf>, Error> {
    let _ = std::fs::remove_dir_all(symbols);
    make_directory(symbols)?;
    let mut shipped = BTreeMap::new();
    for (path, program) in &parts.programs {
        let name = path.rsplit('/').next().unwrap_or(path);
        let to = stripped.join(name);
        userland::split_symbols(program, &to, &symbols.join(format!("{name}.debug")))?;
        shipped.insert(path.clone(), to);
    }
    Ok(shipped)
}

/// A test of `config` holds the committed file to the types that parse a document.
const CONFIGURATION_SCHEMA: &str = include_str!("../../services/config/schema.json");

fn root_tree(parts: &Parts, shipped: &BTreeMap<String, PathBuf>) -> Tree {
    let mut tree = Tree::default();
    for mount_point in MOUNT_POINTS {
        tree.directory(mount_point);
    }
    for (path, program) in shipped {
        tree.program(path, program.clone());
    }
    parts.debian.add_to(&mut tree);
    tree.file("/usr/share/x0/services.json", parts.services.to_json());
    tree.file("/usr/share/x0/schema.json", CONFIGURATION_SCHEMA);
    tree.file("/usr/lib/os-release", parts.source.os_release());
    tree.link("/etc/os-release", "../usr/lib/os-release");
    tree.link("/etc/mtab", "/proc/self/mounts");
    tree.file("/etc/passwd", manifest::passwd_file(&parts.services));
    tree.file("/etc/group", manifest::group_file(&parts.services));
    tree
}

fn boot_images(
    parts: &Parts,
    root: &Root,
    scratch: &Path,
    out: &Path,
) -> Result<[std::path::PathBuf; 2], Error> {
    let os_release = parts.source.os_release();
    for slot in Slot::ALL {
        let command_line = uki::command_line(slot, root);
        write(
            &out.join(format!("cmdline-{}", slot.letter())),
            &command_line,
        )?;
        let unsigned = scratch.join("uki");
        let kernel = &parts.kernel;
        uki::build(
            &parts.stub,
            &kernel.image,
            &kernel.release,
            &os_release,
            &command_line,
            &unsigned,
        )?;
        let signed = out.join(format!("uki-{}.efi", slot.letter()));
        parts.keys.sign(&unsigned, &signed, parts.source.time_s)?;
    }
    Ok(Slot::ALL.map(|slot| out.join(format!("uki-{}.efi", slot.letter()))))
}

/// Both slots hold the same root, 608 MiB apart: with a window that reaches back so far, the
/// second costs next to nothing. The number of threads does not show in zstd's output.
fn compress(image: &Path, out: &Path, profile: Profile) -> Result<(), Error> {
    let level = match profile {
        Profile::Release => "-19",
        Profile::Test | Profile::Probe => "-1",
    };
    let _ = std::fs::remove_file(out);
    Tool::new("zstd")
        .args(["--quiet", "--force", "--threads=0", "--long=30", level])
        .arg(image)
        .arg("-o")
        .arg(out)
        .run()?;
    std::fs::metadata(out).map_err(at("find", out))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::debian;
    use crate::parts::Kernel;
    use crate::{Keys, Source};

    /// Small stand-ins for what takes long to compile; everything else is as in a real build.
    fn parts(folder: &Path) -> Parts {
        let kernel = folder.join("kernel");
        fs::write(&kernel, b"stands for a kernel ".repeat(100_000)).unwrap();
        let programs = ["/init", "/usr/lib/x0/network"];
        let package = |path: &str| path.rsplit('/').next().unwrap().to_owned();
        Parts {
            source: Source {
                version: "0.1.0".into(),
                commit: "c0ffee".into(),
                time_s: 1_700_000_000,
            },
            services: manifest::compile::<PathBuf>(&[]).unwrap(),
            programs: programs
                .map(|path| (path.to_owned(), "/bin/true".into()))
                .into(),
            packages: programs.map(|path| (path.to_owned(), package(path))).into(),
            workspace: Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).into(),
            debian: debian::collect().unwrap(),
            kernel: Kernel {
                image: kernel,
                release: "6.12.0-x0".into(),
                source: "/usr/src/linux-source-6.12.tar.xz".into(),
            },
            selector: uki::STUB.into(),
            stub: uki::STUB.into(),
            keys: Keys::ensure(&folder.join("keys")).unwrap(),
        }
    }

    fn files(folder: &Path) -> BTreeMap<PathBuf, PathBuf> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(files(&path));
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), path);
            }
        }
        found
    }

    #[test]
    fn two_assemblies_are_byte_identical() {
        let folder = tempfile::tempdir().unwrap();
        let parts = parts(folder.path());
        let first = folder.path().join("first");
        let second = folder.path().join("at/another/place");
        for out in [&first, &second] {
            fs::create_dir_all(out).unwrap();
            assemble(&parts, out, Profile::Test).unwrap();
        }
        let (first, second) = (files(&first), files(&second));
        assert!(first.len() >= 14, "{first:?}");
        assert!(first.keys().eq(second.keys()));
        for (name, path) in &first {
            let comparison = Tool::new("cmp").args([path, &second[name]]).run();
            assert!(comparison.is_ok(), "{comparison:?}");
        }

        // The flash image holds the whole disk, which is sound and boots what was asked for.
        let image = &first[Path::new("x0.img")];
        let verdict = Tool::new("sgdisk")
            .arg("--verify")
            .arg(image)
            .run()
            .unwrap();
        assert!(verdict.contains("No problems found"), "{verdict}");
        let unpacked = folder.path().join("unpacked");
        Tool::new("zstd")
            .args(["--decompress", "--quiet", "--long=30"])
            .arg(&first[Path::new("x0.img.zst")])
            .arg("-o")
            .arg(&unpacked)
            .run()
            .unwrap();
        Tool::new("cmp").args([image, &unpacked]).run().unwrap();
        let command_line = folder.path().join("cmdline");
        Tool::new("objcopy")
            .arg(format!(
                "--dump-section=.cmdline={}",
                command_line.display()
            ))
            .arg(&first[Path::new("uki-b.efi")])
            .arg(folder.path().join("copy"))
            .run()
            .unwrap();
        let expected = fs::read(&first[Path::new("cmdline-b")]).unwrap();
        assert_eq!(fs::read(&command_line).unwrap(), expected);
        assert!(expected.ends_with(b"x0.slot=b"));
    }
}
