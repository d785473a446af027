//! A minimal Debian with systemd, to measure beside.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use appliance::tool;

/// Size of its root file system.
pub(crate) const ROOT_BYTES: u64 = 1 << 30;
/// The last line of what it reports on the serial line.
pub(crate) const REPORT_END: &str = "x0-report-end";

const PACKAGES: &str = "systemd,systemd-sysv,udev,dbus";
/// Changes when what is made of the packages changes: it is part of the name in the cache.
const RECIPE: &str = "bookworm-1";

/// Starts when the default target is reached, so that it costs the boot nothing. The file system
/// is a copy: nothing is lost when QEMU is ended.
const REPORT: &str = "\
[Unit]
DefaultDependencies=no
After=default.target graphical.target

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'systemctl show -p UserspaceTimestampMonotonic >/dev/ttyS0; \
systemctl show -p ActiveEnterTimestampMonotonic graphical.target >/dev/ttyS0; \
echo x0-report-end >/dev/ttyS0'
";

/// An ext4 root with it, made once and kept in the cache.
pub(crate) fn root_image(cache: &Path) -> Result<PathBuf> {
    let folder = cache.join(format!("debian-{RECIPE}"));
    let image = folder.join("root.img");
    if image.exists() {
        return Ok(image);
    }
    eprintln!("making a Debian with systemd to measure beside: takes about two minutes");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let work = tempfile::tempdir_in(&folder).context("make a temporary folder")?;
    let root = work.path().join("root");
    let include = format!("--include={PACKAGES}");
    tool(
        "debootstrap",
        &["--variant=minbase", &include, "bookworm", text(&root)?],
    )?;
    configure(&root)?;
    let unfinished = work.path().join("root.img");
    fs::File::create(&unfinished)
        .and_then(|file| file.set_len(ROOT_BYTES))
        .with_context(|| format!("create {}", unfinished.display()))?;
    tool(
        "mke2fs",
        &["-q", "-t", "ext4", "-d", text(&root)?, text(&unfinished)?],
    )?;
    fs::rename(&unfinished, &image).with_context(|| format!("write {}", image.display()))?;
    Ok(image)
}

/// The value of `property` in what was reported.
pub(crate) fn reported(serial: &str, property: &str) -> Result<f64> {
    let value = serial
        .lines()
        .find_map(|line| line.trim().strip_prefix(property)?.strip_prefix('='));
    let value = value.with_context(|| format!("systemd did not report {property}"))?;
    value
        .parse()
        .with_context(|| format!("{property}={value} is no number"))
}

/// As after its first boot: with a machine id, so that nothing is set up for the first time.
fn configure(root: &Path) -> Result<()> {
    let etc = root.join("etc");
    let unit = etc.join("systemd/system/x0-report.service");
    fs::write(&unit, REPORT).with_context(|| format!("write {}", unit.display()))?;
    let wants = etc.join("systemd/system/graphical.target.wants");
    fs::create_dir_all(&wants).with_context(|| format!("create {}", wants.display()))?;
    let link = wants.join("x0-report.service");
    symlink("../x0-report.service", &link).with_context(|| format!("link {}", link.display()))?;
    let machine_id = etc.join("machine-id");
    fs::write(&machine_id, "78306ba44e0a9c1ed15c000000000001\n").context("write the machine id")
}

fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_reports_is_found_between_other_lines() {
        let serial = "[ OK ] Reached\r\nUserspaceTimestampMonotonic=1250000\r\nx0-report-end\r\n";
        assert_eq!(
            reported(serial, "UserspaceTimestampMonotonic").unwrap(),
            1_250_000.0
        );
        assert!(reported(serial, "Finish").is_err());
    }
}
