//! The end of the machine, when all services are stopped.

use std::time::{Duration, Instant};

use api::Power;
use rustix::fs::sync;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, waitpid};
use rustix::system::RebootCommand;

use crate::sys;

/// Writing everything to a disk takes no longer, or the disk is broken.
const DISK_DEADLINE: Duration = Duration::from_secs(10);

/// Writes what is unwritten, unmounts DATA, and ends. Does not return.
pub(crate) fn end_machine(power: Power) -> ! {
    kill_all();
    settle_disk();
    let command = match power {
        Power::Poweroff => RebootCommand::PowerOff,
        Power::Reboot | Power::SoftReboot => RebootCommand::Restart,
    };
    rustix::system::reboot(command).ok();
    // Nothing else is left to try: the kernel panics when PID 1 ends, and a panic resets.
    sys::exit(1)
}

/// Before userspace starts anew: what stays of DATA is for whoever mounts it next.
pub(crate) fn release_data(machine: bool) {
    if machine {
        settle_disk();
    }
}

fn kill_all() {
    // SIGKILL to group -1: every process but this one.
    let everyone = Pid::from_raw(1).expect("1 is not 0");
    kill_process_group(everyone, Signal::KILL).ok();
}

/// In a child: a disk that hangs must not keep the machine from resetting.
fn settle_disk() {
    let child = sys::spawn(None, || {
        sync();
        if unmount(c"/data", UnmountFlags::empty()).is_err() {
            unmount(c"/data", UnmountFlags::DETACH).ok();
        }
        sync();
        0
    });
    let Ok(pid) = child else {
        return sync();
    };
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let end = Instant::now() + DISK_DEADLINE;
    while Instant::now() < end {
        match waitpid(pid, WaitOptions::NOHANG) {
            Ok(None) => std::thread::sleep(Duration::from_millis(5)),
            Ok(Some(_)) | Err(_) => return,
        }
    }
}
