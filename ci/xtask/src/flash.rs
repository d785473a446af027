//! `ci/flash DEVICE`: writes the image to a disk after making sure that it is the right one.

use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use ::image::{BlockMap, Profile};
use anyhow::{Context, Result, bail, ensure};

mod copy;
mod target;

use copy::Source;
use target::{Host, Target};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The disk to overwrite, e.g. /dev/sdb; /dev/disk/by-id/... is safer
    device: PathBuf,
    /// The image, .zst or raw, with its .bmap beside it [default: built from this checkout]
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Does not ask: for scripts that have asked somebody already
    #[arg(long)]
    yes: bool,
    /// DEVICE is an ordinary file, at least as large as the image
    #[arg(long)]
    file: bool,
}

pub(crate) fn run(args: Args) -> Result<()> {
    // Before a build, which may take minutes: a wrong name should not cost that.
    let target = Target::examine(&Host::default(), &args.device, args.file)?;
    let image = match args.image {
        Some(image) => image,
        None => ::image::build(&crate::image::request(Profile::Release)?)
            .context("build the image")?
            .flash_image(),
    };
    let map = read_map(&image)?;
    target.check_size(map.image_bytes)?;
    eprintln!("{target}");
    eprintln!(
        "ci/flash writes {} ({} of {} MiB carry content) over it. Everything on it is lost.",
        image.display(),
        map.mapped_bytes().div_ceil(copy::MIB),
        map.image_bytes / copy::MIB,
    );
    if !args.yes {
        let answer = ask(&target)?;
        ensure!(
            target.is_called(&answer),
            "that is not its name: nothing was written"
        );
    }
    flash(&image, &map, &target)?;
    eprintln!(
        "{} is ready: move it to the appliance.",
        target.path().display()
    );
    Ok(())
}

fn flash(image: &Path, map: &BlockMap, target: &Target) -> Result<()> {
    let device = target.open()?;
    let mut source = Source::open(image)?;
    copy::write(&mut source, map, &device).with_context(|| {
        let device = target.path().display();
        format!("{device} is not bootable now: flash it again")
    })?;
    source.finish()?;
    copy::verify(map, &device)?;
    drop(device);
    target.announce();
    Ok(())
}

/// `x0.img.zst` and `x0.img` both have `x0.img.bmap`.
fn read_map(image: &Path) -> Result<BlockMap> {
    let raw = match image.extension() {
        Some(extension) if extension == "zst" => image.with_extension(""),
        _ => image.to_owned(),
    };
    let mut path = raw.into_os_string();
    path.push(".bmap");
    let path = PathBuf::from(path);
    let text = fs::read_to_string(&path).with_context(|| {
        format!(
            "read the block map {}, which belongs to the image",
            path.display()
        )
    })?;
    BlockMap::parse(&text).with_context(|| path.display().to_string())
}

fn ask(target: &Target) -> Result<String> {
    if !io::stdin().is_terminal() {
        bail!("there is nobody to ask: scripts say --yes");
    }
    eprint!("Type `{}` to go on: ", target.name());
    io::stderr().flush().context("write to the terminal")?;
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .context("read the answer")?;
    Ok(answer.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::process::Command;

    use super::*;

    /// An image with content in two places, compressed as the builder does it.
    fn sample(folder: &Path) -> (PathBuf, BlockMap) {
        let raw = folder.join("x0.img");
        let file = File::create(&raw).unwrap();
        file.set_len(8 * copy::MIB).unwrap();
        file.write_all_at(&[1; 5000], 0).unwrap();
        file.write_all_at(&[2; 70_000], 3 * copy::MIB).unwrap();
        let ranges = [(0, 5000), (3 * copy::MIB, 70_000)];
        let ranges = ranges.map(|(start, bytes)| ::image::Range::covering(start, bytes));
        let map = BlockMap::of(&raw, ranges.to_vec()).unwrap();
        fs::write(folder.join("x0.img.bmap"), map.to_xml()).unwrap();
        let zstd = Command::new("zstd")
            .args(["-q", "--long=30"])
            .arg(&raw)
            .status()
            .unwrap();
        assert!(zstd.success());
        (folder.join("x0.img.zst"), map)
    }

    fn args(device: &Path, image: &Path) -> Args {
        Args {
            device: device.to_owned(),
            image: Some(image.to_owned()),
            yes: true,
            file: true,
        }
    }

    #[test]
    fn what_was_there_goes_where_the_image_has_content_and_stays_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let (image, map) = sample(folder.path());
        let device = folder.path().join("device");
        fs::write(&device, vec![9; 10 * 1024 * 1024]).unwrap();
        run(args(&device, &image)).unwrap();
        let expected = fs::read(folder.path().join("x0.img")).unwrap();
        let written = fs::read(&device).unwrap();
        for (range, _) in &map.ranges {
            let start = usize::try_from(range.start_bytes()).unwrap();
            let end = start + usize::try_from(range.bytes()).unwrap();
            assert!(written[start..end] == expected[start..end]);
        }
        assert_eq!(written[2 * 1024 * 1024], 9);
        assert_eq!(written.len(), 10 * 1024 * 1024);
    }

    #[test]
    fn a_raw_image_does_as_well() {
        let folder = tempfile::tempdir().unwrap();
        sample(folder.path());
        let device = folder.path().join("device");
        fs::write(&device, vec![9; 8 * 1024 * 1024]).unwrap();
        run(args(&device, &folder.path().join("x0.img"))).unwrap();
        assert_eq!(fs::read(&device).unwrap()[3 * 1024 * 1024], 2);
    }

    #[test]
    fn too_small_a_device_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (image, _) = sample(folder.path());
        let device = folder.path().join("device");
        fs::write(&device, vec![9; 1024 * 1024]).unwrap();
        let error = run(args(&device, &image)).unwrap_err();
        assert!(error.to_string().contains("too small"), "{error}");
        assert!(fs::read(&device).unwrap().iter().all(|byte| *byte == 9));
    }

    #[test]
    fn a_damaged_image_is_noticed_and_leaves_nothing_that_boots() {
        let folder = tempfile::tempdir().unwrap();
        let (_, map) = sample(folder.path());
        let raw = folder.path().join("x0.img");
        let file = File::options().write(true).open(&raw).unwrap();
        file.write_all_at(&[7], 3 * copy::MIB + 10).unwrap();
        let device = folder.path().join("device");
        fs::write(&device, vec![9; 8 * 1024 * 1024]).unwrap();
        let error = run(args(&device, &raw)).unwrap_err();
        assert!(
            format!("{error:#}").contains("the image is damaged"),
            "{error:#}"
        );
        let head = usize::try_from(map.ranges[0].0.bytes()).unwrap();
        assert!(
            fs::read(&device).unwrap()[..head]
                .iter()
                .all(|byte| *byte == 0)
        );
    }

    #[test]
    fn a_device_that_forgets_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let (_, map) = sample(folder.path());
        let error = copy::verify(&map, &File::open("/dev/zero").unwrap()).unwrap_err();
        assert!(
            format!("{error:#}").contains("reads back differently"),
            "{error:#}"
        );
    }

    #[test]
    fn a_truncated_compressed_image_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let (image, _) = sample(folder.path());
        let length = fs::metadata(&image).unwrap().len();
        File::options()
            .write(true)
            .open(&image)
            .unwrap()
            .set_len(length / 2)
            .unwrap();
        let device = folder.path().join("device");
        fs::write(&device, vec![9; 8 * 1024 * 1024]).unwrap();
        let error = format!("{:#}", run(args(&device, &image)).unwrap_err());
        assert!(error.contains("damaged"), "{error}");
    }
}
