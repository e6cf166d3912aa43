//! One boot of one kernel: what it is sent to do, and how that went. The console is all that comes out of a guest.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::kernel::Kernel;
use super::root;
use crate::tree::Tree;

/// More than all behaviours take on two slow cores.
const PATIENCE: Duration = Duration::from_secs(1800);
/// How many lines of a console are shown when nothing in it says what failed, and of what a kernel complained about.
const TAIL: usize = 30;
const COMPLAINT: usize = 60;
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

/// How it went, in a few words.
#[derive(Debug)]
pub(super) enum Outcome {
    Well(String),
    Badly(String),
}

/// Boots the kernel, waits for its end, and prints what failed in it.
///
/// # Errors
/// If the machine cannot be emulated at all.
pub(super) fn run(kernel: &Kernel, root_archive: &Path, errand: Errand<'_>, folder: &Path) -> Result<Outcome> {
    let initramfs = initramfs(kernel, root_archive, folder)?;
    let console = folder.join(format!("{}.log", kernel.release));
    let start = Instant::now();
    let ended = boot(kernel, &initramfs, errand, &console)?;
    let _ = fs::remove_file(&initramfs);
    let text = String::from_utf8_lossy(&fs::read(&console)?).replace('\r', "");
    let outcome = judge(&text, errand, ended);
    if let Outcome::Badly(_) = outcome {
        print_failure(&text);
        println!("the guest's console: {}", console.display());
    }
    let seconds = start.elapsed().as_secs();
    Ok(match outcome {
        Outcome::Well(what) => Outcome::Well(format!("{what} ({seconds} s)")),
        Outcome::Badly(what) => Outcome::Badly(format!("{what} ({seconds} s)")),
    })
}

/// The root file system with the kernel's modules after it.
fn initramfs(kernel: &Kernel, root_archive: &Path, folder: &Path) -> Result<PathBuf> {
    let modules = Tree::new(folder.join("modules"))?;
    for module in fs::read_dir(&kernel.modules)? {
        let module = module?;
        let name = module.file_name().into_string().ok().context("a module's name is not text")?;
        modules.file(&format!("/modules/{name}"), &module.path())?;
    }
    let (path, added) = (folder.join(format!("{}.cpio", kernel.release)), folder.join("modules.cpio"));
    root::cpio(modules.folder(), &added)?;
    fs::copy(root_archive, &path)?;
    io::copy(&mut File::open(&added)?, &mut File::options().append(true).open(&path)?)?;
    Ok(path)
}

/// Emulates the machine; false if it did not end by itself in time.
fn boot(kernel: &Kernel, initramfs: &Path, errand: Errand<'_>, console: &Path) -> Result<bool> {
    let errand = match errand {
        Errand::Behaviours(filters) => format!("ERRAND=behaviours FILTERS=\"{}\"", filters.join(",")),
        Errand::Refusal => "ERRAND=refusal".to_owned(),
    };
    let output = File::create(console)?;
    // One thread for both processors. With a thread each, a processor of QEMU 7.2 may run code that the kernel has
    // already replaced, and the guest panics with "int3" at the place, whoever had it replaced: with Weir, without any
    // program, and while a kernel is still starting. With QEMU 10.0 guests were seen to panic alike. The kernel
    // replaces code, among others, whenever the first program comes to a hook and when the last one leaves it.
    // `nice`: an emulated machine takes all it is given.
    let mut guest = Command::new("nice")
        .args(["qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=single", "-cpu", "max", "-smp", "2"])
        .args(["-m", "2048", "-display", "none", "-no-reboot", "-nodefaults", "-net", "none", "-serial", "stdio"])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", &format!("console=ttyS0 loglevel=5 oops=panic panic=-1 {errand}")])
        .stdin(Stdio::null())
        .stderr(output.try_clone()?)
        .stdout(output)
        .spawn()
        .context("running qemu-system-x86_64")?;
    let start = Instant::now();
    while guest.try_wait()?.is_none() {
        if start.elapsed() > PATIENCE {
            guest.kill()?;
            guest.wait()?;
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(true)
}

/// Reads the console. Only the last word of the guest's own counts as success: a machine that stops early says none.
fn judge(console: &str, errand: Errand<'_>, ended: bool) -> Outcome {
    if let Some(complaint) = console.lines().find(|line| is_complaint(line)) {
        return Outcome::Badly(format!("the kernel complains: {complaint}"));
    }
    let last_word = console.lines().rev().find(|line| line.starts_with("GUEST "));
    let well = last_word.is_some_and(|line| line.contains(" ended with 0 "));
    match errand {
        _ if !ended => Outcome::Badly(format!("not done within {} s", PATIENCE.as_secs())),
        _ if last_word.is_none() => Outcome::Badly("the machine stopped before it was done".to_owned()),
        Errand::Refusal if well => Outcome::Well("too old, and the agent says so".to_owned()),
        Errand::Refusal => Outcome::Badly("too old, and the agent does not say so".to_owned()),
        Errand::Behaviours(_) => {
            let beginning = |word: &str| console.lines().filter(|line| line.starts_with(word)).count();
            let (held, broken, skipped) = (beginning("ok "), beginning("FAILED "), beginning("SKIPPED "));
            if well && held > 0 && skipped == 0 {
                Outcome::Well(format!("{held} behaviours hold"))
            } else {
                Outcome::Badly(format!("{held} behaviours hold, {broken} do not, {skipped} could not be checked"))
            }
        }
    }
}

/// True for a line of the kernel's own, which begins with the time since it started, that says what must not be.
fn is_complaint(line: &str) -> bool {
    line.starts_with('[') && COMPLAINTS.iter().any(|complaint| line.contains(complaint))
}

/// What the kernel complained about and what follows; else the lines of failed behaviours with what is indented below
/// each; else the end of the console.
fn print_failure(console: &str) {
    if console.lines().any(is_complaint) {
        console.lines().skip_while(|line| !is_complaint(line)).take(COMPLAINT).for_each(|line| println!("{line}"));
        return;
    }
    let mut failing = false;
    let mut printed = 0;
    for line in console.lines() {
        failing = line.starts_with("FAILED ") || (failing && line.starts_with("        "));
        if failing {
            println!("{line}");
            printed += 1;
        }
    }
    if printed == 0 {
        let lines: Vec<&str> = console.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].iter().for_each(|line| println!("{line}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_guest_that_says_so_did_well() {
        let all = Errand::Behaviours(&["capture:"]);
        let held = "ok        1.0 s  capture: one\n";
        for (console, errand, ended, well) in [
            ("ok   1.0 s  capture: one\nGUEST 6.1 behaviours ended with 0 after 9 s\n", all, true, true),
            (held, all, true, false),
            ("ok   1.0 s  capture: one\nGUEST 6.1 behaviours ended with 0 after 9 s\n", all, false, false),
            ("GUEST 6.1 behaviours ended with 0 after 9 s\n", all, true, false),
            ("SKIPPED 1.0 s  x\nok 1 s  y\nGUEST 6.1 behaviours ended with 0 after 9 s\n", all, true, false),
            ("ok 1 s  y\nFAILED 1 s  x\nGUEST 6.1 behaviours ended with 1 after 9 s\n", all, true, false),
            ("[ 4.6] Oops: int3\nok 1 s  y\nGUEST 6.1 behaviours ended with 0 after 9 s\n", all, true, false),
            ("[ 4.6] WARNING: CPU: 1\nok 1 s  y\nGUEST 6.1 behaviours ended with 0 after 9 s\n", all, true, false),
            ("[ 4.6] what is usual\nok 1 s  y\nGUEST 6.1 behaviours ended with 0 after 9 s\n", all, true, true),
            ("GUEST 5.10 refusal ended with 0 after 9 s\n", Errand::Refusal, true, true),
            ("GUEST 5.10 refusal ended with 1 after 9 s\n", Errand::Refusal, true, false),
        ] {
            assert_eq!(matches!(judge(console, errand, ended), Outcome::Well(_)), well, "{console}");
        }
    }
}
