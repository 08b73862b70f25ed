//! Opens an environment for reading under a number that no process can have, in place of the PID.
//!
//! LMDB marks a process by a lock on one byte of `lock.mdb`, at the offset of its PID, and writes
//! the PID into the reader slots that it takes. Processes in different PID namespaces can have the
//! same PID: then `mdb_txn_begin` fails in the second one with EAGAIN, and whichever closes first
//! clears the slots of the other. strfry in a container can have any PID, and can start at any
//! time, so no PID of ours is safe to use.
//!
//! The number need not be a PID. Any LMDB only asks whether the byte at that offset is locked, to
//! tell living readers from dead ones. So this takes a number above all PIDs.

use core::ffi::{c_char, c_int, c_uint};

use lmdb_sys::{MDB_NOLOCK, MDB_RDONLY, MDB_SUCCESS, MDB_env, mdb_mode_t};

use crate::MDB_PROBLEM;

/// Above all PIDs, of which Linux has at most 2^22 (`PID_MAX_LIMIT`), and below 2^31. Its last
/// seven digits are zeros, so that whoever lists the readers still finds the PID in each number.
const FIRST_NUMBER: c_int = 1_000_000_000;
/// From one number that a PID can take to the next.
const STEP: c_int = 10_000_000;
/// Processes of one PID that can read at a time, each in another PID namespace.
const NUMBERS: c_int = 100;

/// The beginning of `struct MDB_env`. LMDB 0.9.24, `mdb.c`.
#[repr(C)]
struct Environment {
    me_fd: c_int,
    me_lfd: c_int,
    me_mfd: c_int,
    me_flags: u32,
    me_psize: c_uint,
    me_os_psize: c_uint,
    me_maxreaders: c_uint,
    /// How many slots `mdb_env_close` looks through for those of `getpid()`.
    me_close_readers: c_int,
    me_numdbs: c_uint,
    me_maxdbs: c_uint,
    me_pid: c_int,
}

/// Databases that every environment has: the free list and the main one.
const CORE_DBS: c_uint = 2;

/// As LMDB's; an environment that is only read has a number in place of the PID. Besides LMDB's errors: EAGAIN if all numbers that
/// the PID can take are taken, EROFS if there is no lock file and one cannot be made, and
/// [`MDB_PROBLEM`] if the linked LMDB is not the one that this is written for.
///
/// # Safety
/// As of LMDB's: `env` comes from `mdb_env_create` and is not open, `path` is a C string.
pub unsafe extern "C" fn mdb_env_open(
    env: *mut MDB_env,
    path: *const c_char,
    flags: c_uint,
    mode: mdb_mode_t,
) -> c_int {
    // SAFETY: the caller's promise is LMDB's.
    let opened = unsafe { lmdb_sys::mdb_env_open(env, path, flags, mode) };
    if opened != MDB_SUCCESS || flags & (MDB_RDONLY | MDB_NOLOCK) != MDB_RDONLY {
        return opened;
    }
    // SAFETY: it is open.
    if unsafe { !is_known(env) } {
        return MDB_PROBLEM;
    }
    // SAFETY: `is_known` has compared the fields with what LMDB says of them.
    let environment = unsafe { &mut *env.cast::<Environment>() };
    // LMDB goes without a lock file on a file system that is read-only.
    if environment.me_lfd < 0 {
        return libc::EROFS;
    }
    let numbers = (0..NUMBERS).map(|number| FIRST_NUMBER + number * STEP + environment.me_pid);
    for number in numbers {
        match lock_byte(environment.me_lfd, number) {
            0 => {
                environment.me_pid = number;
                return MDB_SUCCESS;
            }
            libc::EAGAIN | libc::EACCES => {}
            error => return error,
        }
    }
    libc::EAGAIN
}

/// As LMDB's. Every transaction must have ended: its slot is not cleared here.
///
/// # Safety
/// As of LMDB's: `env` comes from `mdb_env_create` and is not used again.
pub unsafe extern "C" fn mdb_env_close(env: *mut MDB_env) {
    // SAFETY: only `me_pid` is read before it is known that `mdb_env_open` has changed it; the
    // environment of any LMDB 0.9 is larger than this beginning of it.
    unsafe {
        let environment = env.cast::<Environment>();
        if (*environment).me_pid >= FIRST_NUMBER {
            // LMDB would clear the slots of `getpid()`, who is somebody else.
            (*environment).me_close_readers = 0;
        }
        lmdb_sys::mdb_env_close(env);
    }
}

/// Whether the environment has its fields where they are looked for.
///
/// # Safety
/// `env` is open.
unsafe fn is_known(env: *mut MDB_env) -> bool {
    let (mut major, mut minor, mut patch, mut fd, mut max_readers) = (0, 0, 0, -1, 0);
    // SAFETY: the environment is open; the other pointers are to locals. An environment of any
    // LMDB 0.9 is larger than this beginning of it.
    let environment = unsafe {
        lmdb_sys::mdb_version(&mut major, &mut minor, &mut patch);
        lmdb_sys::mdb_env_get_fd(env, &mut fd);
        lmdb_sys::mdb_env_get_maxreaders(env, &mut max_readers);
        &*env.cast::<Environment>()
    };
    // SAFETY: it has no preconditions.
    let pid = unsafe { libc::getpid() };
    (major, minor, patch) == (0, 9, 24)
        && environment.me_fd == fd
        && environment.me_maxreaders == max_readers
        && environment.me_numdbs == CORE_DBS
        && environment.me_pid == pid
}

/// Locks the byte for as long as the file is open; the error if that cannot be done.
fn lock_byte(file: c_int, number: c_int) -> c_int {
    // SAFETY: all zeros are a value of this C struct.
    let mut lock: libc::flock = unsafe { core::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as _;
    lock.l_whence = libc::SEEK_SET as _;
    lock.l_start = number.into();
    lock.l_len = 1;
    loop {
        // SAFETY: the lock is a local; whatever the file is, the kernel checks it.
        if unsafe { libc::fcntl(file, libc::F_SETLK, &lock) } == 0 {
            return 0;
        }
        match std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO) {
            libc::EINTR => {}
            error => return error,
        }
    }
}
