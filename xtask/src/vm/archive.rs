//! The archive that a kernel unpacks into its first root file system: cpio in its "newc" form, uncompressed. The kernel
//! takes several of them one after another.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

/// What the kernel expects every part to be filled up to.
const ALIGNMENT: usize = 4;
const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

/// An archive that is being written.
pub(super) struct Archive<W> {
    output: W,
    written: usize,
    directories: BTreeSet<String>,
    entries: u32,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(output: W) -> Self {
        Self { output, written: 0, directories: BTreeSet::new(), entries: 0 }
    }

    /// Adds a directory and those above it. Paths begin with a slash.
    pub(super) fn directory(&mut self, path: &str) -> io::Result<()> {
        let mut above: Vec<&str> =
            Path::new(path).ancestors().filter_map(Path::to_str).filter(|above| *above != "/").collect();
        above.reverse();
        for directory in above {
            if self.directories.insert(directory.to_owned()) {
                self.entry(directory, DIRECTORY, &[])?;
            }
        }
        Ok(())
    }

    /// Adds a file that everybody may run, and its directory.
    pub(super) fn file(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        self.below_its_directory(path, PROGRAM, content)
    }

    /// Adds a symbolic link, and its directory.
    pub(super) fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.below_its_directory(path, LINK, target.as_bytes())
    }

    fn below_its_directory(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        if let Some((directory, _)) = path.rsplit_once('/').filter(|(directory, _)| !directory.is_empty()) {
            self.directory(directory)?;
        }
        self.entry(path, mode, content)
    }

    /// Ends the archive; what it was written to.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.entry("/TRAILER!!!", 0, &[])?;
        Ok(self.output)
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let name = path.trim_start_matches('/');
        self.entries += 1;
        let size = u32::try_from(content.len()).map_err(|_| io::Error::other("a file is too large for the archive"))?;
        let name_size = u32::try_from(name.len() + 1).map_err(|_| io::Error::other("a path is too long"))?;
        // Inode, mode, owner, group, links, time, size, device and special device (two each), length of the name, sum.
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.write(b"070701")?;
        for field in fields {
            self.write(format!("{field:08x}").as_bytes())?;
        }
        self.write(name.as_bytes())?;
        self.write(&[0])?;
        self.fill_up()?;
        self.write(content)?;
        self.fill_up()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len();
        self.output.write_all(bytes)
    }

    fn fill_up(&mut self) -> io::Result<()> {
        let missing = self.written.next_multiple_of(ALIGNMENT) - self.written;
        self.write(&[0; ALIGNMENT][..missing])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_once_and_before_what_is_in_them() {
        let mut archive = Archive::new(Vec::new());
        archive.file("/a/b/one", b"12345").unwrap();
        archive.link("/a/two", "b/one").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % ALIGNMENT, 0);
        let text = String::from_utf8(bytes).unwrap();
        let names: Vec<&str> =
            text.split("070701").skip(1).map(|entry| entry[104..].split('\0').next().unwrap()).collect();
        assert_eq!(names, ["a", "a/b", "a/b/one", "a/two", "TRAILER!!!"]);
        assert!(text.contains(concat!("12345\0\0\0", "070701")), "content is filled up to the next entry");
    }
}
