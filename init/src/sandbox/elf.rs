//! Whether a program brings all its code along.

use std::io::Read;
use std::path::Path;

const PT_INTERP: u32 = 3;

/// Whether the program asks for a loader, and so for libraries. What cannot be read does not; running
/// it then fails with the reason.
pub(crate) fn is_dynamic(program: &Path) -> bool {
    let mut head = Vec::new();
    let Ok(file) = std::fs::File::open(program) else {
        return false;
    };
    // Linkers put the program headers right behind the file header.
    file.take(4096).read_to_end(&mut head).is_ok() && asks_for_loader(&head)
}

/// ELF-64, little-endian: e_phoff at 32, e_phentsize at 54, e_phnum at 56; p_type comes first.
fn asks_for_loader(head: &[u8]) -> bool {
    let number = |at: usize, length: usize| {
        let bytes = head.get(at..at.checked_add(length)?)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |all, byte| all << 8 | usize::from(*byte)),
        )
    };
    let headers = || Some((number(32, 8)?, number(54, 2)?, number(56, 2)?));
    let Some((start, size, count)) = headers().filter(|_| head.starts_with(b"\x7fELF\x02\x01"))
    else {
        return false;
    };
    (0..count).any(|place| {
        let at = size
            .checked_mul(place)
            .and_then(|offset| offset.checked_add(start));
        at.and_then(|at| number(at, 4)) == Some(PT_INTERP as usize)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_and_others() {
        assert!(is_dynamic(Path::new("/bin/true")));
        assert!(!is_dynamic(Path::new("/etc/passwd")));
        assert!(!is_dynamic(Path::new("/no/such")));
        assert!(!asks_for_loader(b"\x7fELF\x02\x01"));
        let hostile: Vec<u8> = b"\x7fELF\x02\x01"
            .iter()
            .copied()
            .chain([0xff; 100])
            .collect();
        assert!(!asks_for_loader(&hostile));
    }
}
