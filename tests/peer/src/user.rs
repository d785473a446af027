use std::thread;

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// Whom to be.
#[derive(Clone, Copy, Debug)]
pub struct User<'a> {
    pub id: u32,
    pub groups: &'a [u32],
}

/// Does `work` as `user`, on a thread that is nobody else: the kernel keeps ids per thread, and a
/// socket remembers those with which it was connected.
///
/// # Panics
/// When the caller is not root, or `work` panics.
pub fn run_as<T: Send>(user: User<'_>, work: impl FnOnce() -> T + Send) -> T {
    let on_thread = || {
        let groups: Vec<Gid> = user.groups.iter().map(|id| Gid::from_raw(*id)).collect();
        let (uid, gid) = (Uid::from_raw(user.id), Gid::from_raw(user.id));
        set_thread_groups(&groups).expect("only root can be someone else");
        set_thread_res_gid(gid, gid, gid).expect("only root can be someone else");
        set_thread_res_uid(uid, uid, uid).expect("only root can be someone else");
        work()
    };
    thread::scope(|scope| match scope.spawn(on_thread).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
