//! bpf(2), as far as aya does not offer it: links that are created, updated and inspected as objects of their own, and
//! map access without exclusive borrows. Knows nothing of pods.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya::Pod;

/// Where a program can be attached. Values of the kernel's `bpf_attach_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum AttachType {
    CgroupSockOps = 3,
    CgroupInet4Connect = 10,
    CgroupInet6Connect = 11,
    CgroupInet4Getpeername = 29,
    CgroupInet6Getpeername = 30,
    SkLookup = 36,
}

/// Commands of bpf(2).
#[derive(Clone, Copy)]
#[repr(i64)]
enum Command {
    MapLookup = 1,
    MapUpdate = 2,
    ProgramLoad = 5,
    Pin = 6,
    OpenPin = 7,
    ObjectInfo = 15,
    MapLookupBatch = 24,
    LinkCreate = 28,
    LinkUpdate = 29,
}

#[repr(C)]
struct MapElement {
    map: i32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct Batch {
    from: u64,
    next: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: i32,
    element_flags: u64,
    flags: u64,
}

#[repr(C)]
struct PinPath {
    path: u64,
    object: i32,
    flags: u32,
}

#[repr(C)]
struct InfoRequest {
    object: i32,
    length: u32,
    info: u64,
}

/// The beginning of the attributes of `BPF_PROG_LOAD`.
#[repr(C)]
struct LoadRequest {
    program_type: u32,
    instructions_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
}

#[repr(C)]
struct LinkRequest {
    program: i32,
    target: i32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
struct LinkUpdate {
    link: i32,
    program: i32,
    flags: u32,
    old_program: i32,
}

/// The beginning of the kernel's `bpf_link_info`, for cgroup and network namespace links.
#[repr(C)]
#[derive(Default)]
struct RawLinkInfo {
    link_type: u32,
    id: u32,
    program_id: u32,
    padding: u32,
    /// The cgroup id, or the inode of the namespace in the lower half; 0 when what it was attached to is gone.
    target: u64,
    rest: [u64; 5],
}

/// The beginning of the kernel's `bpf_prog_info`.
#[repr(C)]
#[derive(Default)]
struct RawProgramInfo {
    program_type: u32,
    id: u32,
}

const LINK_TYPE_CGROUP: u32 = 3;

fn bpf<T>(command: Command, attributes: &mut T) -> io::Result<i64> {
    let length = u32::try_from(size_of::<T>()).expect("attributes are small");
    // SAFETY: the attributes are the command's own layout, live during the call, and the kernel reads `length` bytes.
    #[expect(unsafe_code, reason = "aya has no public call for these commands")]
    let result = unsafe { libc::syscall(libc::SYS_bpf, command as i64, &raw mut *attributes, length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn new_fd(result: i64) -> OwnedFd {
    let fd = i32::try_from(result).expect("file descriptors are ints");
    // SAFETY: the kernel has just made this descriptor for us.
    #[expect(unsafe_code, reason = "bpf(2) answers with a bare descriptor")]
    unsafe {
        OwnedFd::from_raw_fd(fd)
    }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// Opens a pinned program, map or link.
pub(super) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    bpf(Command::OpenPin, &mut PinPath { path: path.as_ptr() as u64, object: 0, flags: 0 }).map(new_fd)
}

/// Pins a program, map or link.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    bpf(Command::Pin, &mut PinPath { path: path.as_ptr() as u64, object: object.as_raw_fd(), flags: 0 }).map(drop)
}

/// An instruction of a program, as the kernel's `bpf_insn`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u8,
    /// Destination in the lower half, source in the upper.
    pub(super) registers: u8,
    pub(super) offset: i16,
    pub(super) immediate: i32,
}

const PROGRAM_TYPE_SK_LOOKUP: u32 = 30;

/// Loads a program of type `sk_lookup` under a name of at most 15 bytes.
pub(super) fn load_sk_lookup(name: &str, instructions: &[Instruction]) -> io::Result<OwnedFd> {
    let mut request = LoadRequest {
        program_type: PROGRAM_TYPE_SK_LOOKUP,
        instructions_count: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: [0; 16],
        interface: 0,
        attach_type: AttachType::SkLookup as u32,
    };
    request.name.iter_mut().zip(name.bytes().take(15)).for_each(|(place, byte)| *place = byte);
    bpf(Command::ProgramLoad, &mut request).map(new_fd)
}

/// Attaches a program to a cgroup or a network namespace. It stays while the link is open or pinned.
pub(super) fn attach(program: &OwnedFd, target: impl AsFd, attach_type: AttachType) -> io::Result<OwnedFd> {
    let mut request = LinkRequest {
        program: program.as_raw_fd(),
        target: target.as_fd().as_raw_fd(),
        attach_type: attach_type as u32,
        flags: 0,
    };
    bpf(Command::LinkCreate, &mut request).map(new_fd)
}

/// Replaces the program of a link atomically (BPF_LINK_UPDATE).
pub(super) fn replace_program(link: &OwnedFd, program: &OwnedFd) -> io::Result<()> {
    let mut update = LinkUpdate { link: link.as_raw_fd(), program: program.as_raw_fd(), flags: 0, old_program: 0 };
    bpf(Command::LinkUpdate, &mut update).map(drop)
}

/// The two ends of a link: its target and its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    /// A cgroup id, or the inode of a network namespace. `None` when that is gone.
    pub(super) target: Option<u64>,
    /// The kernel's id of the program.
    pub(super) program: u32,
}

/// The present target and program of a link.
pub(super) fn link(link: &OwnedFd) -> io::Result<Link> {
    let mut info = RawLinkInfo::default();
    object_info(link.as_fd(), &mut info)?;
    let target = if info.link_type == LINK_TYPE_CGROUP { info.target } else { info.target & u64::from(u32::MAX) };
    Ok(Link { target: (target != 0).then_some(target), program: info.program_id })
}

/// What a link is attached to; see [`Link::target`].
pub(super) fn link_target(attached: &OwnedFd) -> io::Result<Option<u64>> {
    link(attached).map(|link| link.target)
}

/// The kernel's id of a program.
pub(super) fn program_id(program: &OwnedFd) -> io::Result<u32> {
    let mut info = RawProgramInfo::default();
    object_info(program.as_fd(), &mut info)?;
    Ok(info.id)
}

fn object_info<T>(object: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    let length = u32::try_from(size_of::<T>()).expect("information is small");
    let mut request = InfoRequest { object: object.as_raw_fd(), length, info: &raw mut *info as u64 };
    bpf(Command::ObjectInfo, &mut request).map(drop)
}

/// Reads an element; `None` if there is none. `K` and `V` must be the map's.
pub(super) fn lookup<K: Pod, V: Pod + Default>(map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    let mut value = V::default();
    let mut element = MapElement {
        map: map.as_raw_fd(),
        padding: 0,
        key: &raw const *key as u64,
        value: &raw mut value as u64,
        flags: 0,
    };
    match bpf(Command::MapLookup, &mut element) {
        Ok(_) => Ok(Some(value)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// How many elements are read at once at first; a bucket of a map may have more.
const BATCH: usize = 1024;

/// Reads every element of a hash map. `K` and `V` must be the map's. What changes meanwhile may be read or not.
pub(super) fn lookup_all<K: Pod + Default, V: Pod + Default>(map: BorrowedFd<'_>) -> io::Result<Vec<(K, V)>> {
    let (mut all, mut size, mut from, mut is_first) = (Vec::new(), BATCH, 0_u32, true);
    loop {
        let (mut keys, mut values) = (vec![K::default(); size], vec![V::default(); size]);
        let mut next = 0_u32;
        let mut batch = Batch {
            from: if is_first { 0 } else { &raw const from as u64 },
            next: &raw mut next as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: u32::try_from(size).map_err(io::Error::other)?,
            map: map.as_raw_fd(),
            element_flags: 0,
            flags: 0,
        };
        let is_last = match bpf(Command::MapLookupBatch, &mut batch) {
            Ok(_) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                size *= 2;
                continue;
            }
            Err(error) => return Err(error),
        };
        let count = usize::try_from(batch.count).map_err(io::Error::other)?;
        all.extend(keys.drain(..).zip(values.drain(..)).take(count));
        if is_last {
            return Ok(all);
        }
        (from, is_first) = (next, false);
    }
}

/// Writes an element. `K` and `V` must be the map's.
pub(super) fn update<K: Pod, V: Pod>(map: BorrowedFd<'_>, key: &K, value: &V) -> io::Result<()> {
    let mut element = MapElement {
        map: map.as_raw_fd(),
        padding: 0,
        key: &raw const *key as u64,
        value: &raw const *value as u64,
        flags: 0,
    };
    bpf(Command::MapUpdate, &mut element).map(drop)
}

const _: () = assert!(size_of::<RawLinkInfo>() == 64);
