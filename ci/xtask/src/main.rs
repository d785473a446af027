//! The logic behind the entry points in `ci/`.
//!
//! Responsible for: building, booting, benchmarking and flashing from a checkout, one module per
//! sub-command. Not responsible for: anything that runs on the appliance, and installing packages
//! (`ci/setup` does that, before this program can be compiled).
//! Talks to: cargo, QEMU through the crate `appliance`, the builders `image` and `kernel-config`.

use clap::Parser;

mod bench;
mod campaign;
mod checkout;
mod flash;
mod image;
mod kernel;
mod qemu;
mod test;

#[derive(Debug, Parser)]
#[command(name = "xtask", about = "The logic behind the entry points in ci/")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Measure, print `name value unit` lines and write target/bench/NAME.json
    Bench(bench::Args),
    /// Run what takes too long for every test run
    Campaign(campaign::Args),
    /// Write the image to a disk
    Flash(flash::Args),
    /// Build the disk image, the flash image and their records
    Image(image::Args),
    /// Build the kernel, or say where it lies, and check how hardened it is
    Kernel(kernel::Args),
    /// Build the image and boot it in QEMU, with the console on the terminal
    Qemu(qemu::Args),
    /// Check formatting and lints, then run every test
    Test(test::Args),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Bench(args) => bench::run(args),
        Command::Campaign(args) => campaign::run(args),
        Command::Flash(args) => flash::run(args),
        Command::Image(args) => image::run(args),
        Command::Kernel(args) => kernel::run(args),
        Command::Qemu(args) => qemu::run(args),
        Command::Test(args) => test::run(args),
    }
}
