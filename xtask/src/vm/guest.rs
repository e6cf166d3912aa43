//! One boot of one kernel: what it is sent to do, and how that went. The console is all that comes out of a guest.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;

use super::kernel::Kernel;
use super::root;
use crate::step;

/// More seconds than all behaviours take on two slow cores.
const PATIENCE: &str = "1800";
/// What a kernel says when it finds itself in a state it must not be in. Warnings too: our programs must not cause any.
const COMPLAINTS: &[&str] = &["Oops", "BUG:", "WARNING:", "Kernel panic", "general protection fault"];

/// What a guest is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Errand<'a> {
    /// Check the behaviours whose names contain these.
    Behaviours(&'a [&'a str]),
    /// See that the agent refuses this kernel and says why.
    Refusal,
}

/// Boots the kernel, with its console shown, and waits for its end: what went well, or what did not.
///
/// # Errors
/// If the machine cannot be emulated at all.
pub(super) fn run(kernel: &Kernel, root: &Path, errand: Errand<'_>, folder: &Path) -> Result<Result<String, String>> {
    let initramfs = folder.join(format!("{}.cpio", kernel.release));
    fs::copy(root, &initramfs)?;
    root::append(&kernel.folder, "modules", &initramfs)?;
    let words = match errand {
        Errand::Behaviours(filters) => format!("ERRAND=behaviours FILTERS=\"{}\"", filters.join(",")),
        Errand::Refusal => "ERRAND=refusal".to_owned(),
    };
    // One thread for both processors. With a thread each, a processor of QEMU 7.2 may run code that the kernel has
    // already replaced, and the guest panics with "int3" at the place, whoever had it replaced: with Weir, without any
    // program, and while a kernel is still starting. With QEMU 10.0 guests were seen to panic alike. The kernel
    // replaces code, among others, whenever the first program comes to a hook and when the last one leaves it.
    // `nice`: an emulated machine takes all it is given.
    let mut guest = Command::new("timeout");
    guest.args(["--signal=KILL", PATIENCE, "nice", "qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=single"]);
    guest.args(["-cpu", "max", "-smp", "2", "-m", "2048", "-display", "none", "-no-reboot", "-nodefaults"]);
    guest.args(["-net", "none", "-serial", "stdio"]).stdin(Stdio::null());
    guest.arg("-kernel").arg(kernel.folder.join("vmlinuz")).arg("-initrd").arg(&initramfs);
    guest.args(["-append", &format!("console=ttyS0 loglevel=5 oops=panic panic=-1 {words}")]);
    let mut console = Vec::new();
    let ended = step::watched(&format!("Linux {}", kernel.release), &mut guest, |line| console.push(line.to_owned()))?;
    fs::remove_file(&initramfs)?;
    Ok(judge(&console, errand, ended))
}

/// Reads the console. Only the last word of the guest's own counts as success: a machine that stops early says none.
fn judge(console: &[String], errand: Errand<'_>, ended: bool) -> Result<String, String> {
    // The kernel's own lines begin with the time since it started.
    let is_complaint = |line: &&String| line.starts_with('[') && COMPLAINTS.iter().any(|word| line.contains(word));
    let beginning = |word: &str| console.iter().filter(|line| line.starts_with(word)).count();
    let (held, broken, skipped) = (beginning("ok "), beginning("FAILED "), beginning("SKIPPED "));
    let last_word = console.iter().rev().find(|line| line.starts_with("GUEST "));
    let well = last_word.is_some_and(|line| line.contains(" ended with 0 "));
    match (console.iter().find(is_complaint), last_word, errand) {
        (Some(complaint), ..) => Err(format!("the kernel complains: {complaint}")),
        _ if !ended => Err(format!("not done within {PATIENCE} s")),
        (_, None, _) => Err("the machine stopped before it was done".to_owned()),
        (_, _, Errand::Refusal) if well => Ok("too old, and the agent says so".to_owned()),
        (_, _, Errand::Refusal) => Err("too old, and the agent does not say so".to_owned()),
        _ if well && held > 0 && skipped == 0 => Ok(format!("{held} behaviours hold")),
        _ => Err(format!("{held} behaviours hold, {broken} do not, {skipped} could not be checked")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_guest_that_says_so_did_well() {
        let all = Errand::Behaviours(&["capture:"]);
        for (console, errand, ended, well) in [
            ("ok   1.0 s  capture: one\nGUEST 6.1 behaviours ended with 0 after 9 s", all, true, true),
            ("ok   1.0 s  capture: one", all, true, false),
            ("ok   1.0 s  capture: one\nGUEST 6.1 behaviours ended with 0 after 9 s", all, false, false),
            ("GUEST 6.1 behaviours ended with 0 after 9 s", all, true, false),
            ("SKIPPED 1.0 s  x\nok 1 s  y\nGUEST 6.1 behaviours ended with 0 after 9 s", all, true, false),
            ("ok 1 s  y\nFAILED 1 s  x\nGUEST 6.1 behaviours ended with 1 after 9 s", all, true, false),
            ("[ 4.6] Oops: int3\nok 1 s  y\nGUEST 6.1 behaviours ended with 0 after 9 s", all, true, false),
            ("[ 4.6] WARNING: CPU: 1\nok 1 s  y\nGUEST 6.1 behaviours ended with 0 after 9 s", all, true, false),
            ("[ 4.6] what is usual\nok 1 s  y\nGUEST 6.1 behaviours ended with 0 after 9 s", all, true, true),
            ("GUEST 5.10 refusal ended with 0 after 9 s", Errand::Refusal, true, true),
            ("GUEST 5.10 refusal ended with 1 after 9 s", Errand::Refusal, true, false),
        ] {
            let lines: Vec<String> = console.lines().map(str::to_owned).collect();
            assert_eq!(judge(&lines, errand, ended).is_ok(), well, "{console}");
        }
    }
}
