//! One-line messages on whatever console the firmware has, also on none.

use core::fmt::{Arguments, Write};

use uefi::{system, table};

macro_rules! say {
    ($($argument:tt)*) => {
        $crate::console::print_line(core::format_args!($($argument)*))
    };
}
pub(crate) use say;

pub(crate) fn print_line(line: Arguments<'_>) {
    let Some(system_table) = table::system_table_raw() else {
        return;
    };
    // SAFETY: the firmware's table stays valid until the kernel exits boot
    // services, which ends this program.
    if unsafe { system_table.as_ref() }.stdout.is_null() {
        return;
    }
    system::with_stdout(|console| {
        // A console that fails must not keep the machine from booting.
        let _ = console
            .write_fmt(line)
            .and_then(|()| console.write_str("\n"));
    });
}
