//! Samples as `perf script` writes them: a line that names the process, then a line for each frame, the innermost first.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Where a thread was.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) process: i32,
    /// The function it was in; empty where no symbol is known.
    pub(super) function: String,
    /// The file that holds the function.
    pub(super) object: String,
    /// The kernel's functions that led there, innermost first.
    pub(super) kernel: Vec<String>,
}

/// What the kernel's own code is called among the objects.
pub(super) const KERNEL: &str = "[kernel.kallsyms]";

/// Reads what `perf record` has written. The programs must still be where they were.
pub(super) fn read(file: &Path) -> Result<Vec<Sample>> {
    let mut perf = Command::new("perf");
    perf.args(["script", "--fields=pid,ip,sym,dso", "--demangle", "--input"]).arg(file);
    let output = perf.output().context("running perf script")?;
    ensure!(output.status.success(), "perf script: {}", String::from_utf8_lossy(&output.stderr));
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

fn parse(text: &str) -> Vec<Sample> {
    text.split("\n\n").filter_map(|block| sample(block.trim_matches('\n'))).collect()
}

fn sample(block: &str) -> Option<Sample> {
    let mut lines = block.lines();
    let process = lines.next()?.split_whitespace().find_map(|word| word.parse().ok())?;
    let frames: Vec<(&str, &str)> = lines.filter_map(frame).collect();
    let (function, object) = *frames.first()?;
    let kernel = frames.iter().take_while(|(_, object)| *object == KERNEL).map(|(name, _)| (*name).to_owned());
    Some(Sample { process, function: function.to_owned(), object: object.to_owned(), kernel: kernel.collect() })
}

/// `address function (object)`; a function's name may hold spaces and parentheses.
fn frame(line: &str) -> Option<(&str, &str)> {
    let (_address, rest) = line.trim().split_once(' ')?;
    let (function, object) = rest.strip_suffix(')')?.rsplit_once(" (")?;
    Some((if function == "[unknown]" { "" } else { function }, object))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_a_process_and_its_frames() {
        let text = "  4711 \n\t  ffff81 tcp_sendmsg ([kernel.kallsyms])\n\t  ffff82 __x64_sys_sendto ([kernel.kallsyms])\n\t  \
                    7f12 __send (/usr/lib/libc.so.6)\n\n  4712 \n\t  55ab <a::B as c::D>::e (/run/weir)\n\n 4713 \n\t 1 \
                    [unknown] ([unknown])\n\n";
        let kernel = vec!["tcp_sendmsg".to_owned(), "__x64_sys_sendto".to_owned()];
        let expected = [
            (4711, "tcp_sendmsg", KERNEL, kernel),
            (4712, "<a::B as c::D>::e", "/run/weir", Vec::new()),
            (4713, "", "[unknown]", Vec::new()),
        ];
        let expected = expected.map(|(process, function, object, kernel)| Sample {
            process,
            function: function.to_owned(),
            object: object.to_owned(),
            kernel,
        });
        assert_eq!(parse(text), expected);
    }
}
