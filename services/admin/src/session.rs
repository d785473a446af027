//! When the login session of a process began: the start of its session's leader, see proc(5).

use std::fs;
use std::path::Path;

/// The kernel's unit of time in `/proc`, on every architecture that Linux has now (`USER_HZ`).
const TICKS_PER_SECOND: u64 = 100;

/// The start of the leader of the session of `pid`, in milliseconds of `CLOCK_BOOTTIME`. `None`
/// where it can't be told: the process is gone, its leader is, or `/proc` is hidden.
pub(crate) fn began_ms(proc: &Path, pid: u32) -> Option<u64> {
    let session = stat(proc, pid)?.session;
    let leader = stat(proc, session)?;
    Some(leader.started_ticks * 1000 / TICKS_PER_SECOND)
}

pub(crate) struct Stat {
    session: u32,
    started_ticks: u64,
}

fn stat(proc: &Path, pid: u32) -> Option<Stat> {
    parse(&fs::read_to_string(proc.join(pid.to_string()).join("stat")).ok()?)
}

/// The second field is the program's name in parentheses, and may hold any byte but NUL, also
/// parentheses and line ends.
pub(crate) fn parse(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    // The third field of the file comes first here.
    let field = |number: usize| rest.split_ascii_whitespace().nth(number - 3);
    Some(Stat {
        session: field(6)?.parse().ok()?,
        started_ticks: field(22)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_does_not_move_the_fields() {
        let text = "7 (a) 1 2 3 (b\n) S 1 7 5 34816 7 4194304 1 0 0 0 1 2 3 4 20 0 1 0 4321 1 1";
        let stat = parse(text).unwrap();
        assert_eq!((stat.session, stat.started_ticks), (5, 4321));
        for text in ["", "7 (a)", "7 (a) S 1 7 x 0", "7 (a) S 1 7 5"] {
            assert!(parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn this_process_began_before_now() {
        let began = began_ms(Path::new("/proc"), std::process::id());
        // In a container the leader may live outside of what /proc shows.
        assert!(began.is_none_or(|ms| ms <= crate::presence::boottime_ms()));
        assert!(began_ms(Path::new("/nonexistent"), 1).is_none());
    }
}
