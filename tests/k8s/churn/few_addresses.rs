//! Few addresses for the pods of a node, so that each is soon another pod's.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use weir_tests::cluster::node::Node;

/// The last parts of the addresses that new pods get.
const RANGE: (u8, u8) = (101, 112);

/// A node that has few addresses for new pods until this is dropped.
#[derive(Debug)]
pub(super) struct FewAddresses {
    file: PathBuf,
    former: String,
}

impl FewAddresses {
    pub(super) fn of(node: &Node) -> Result<Self> {
        let folder = node.room().path("/etc/cni/net.d");
        let files = fs::read_dir(&folder)?.filter_map(|entry| Some(entry.ok()?.path()));
        let mut lists = files.filter(|path| path.extension().is_some_and(|extension| extension == "conflist"));
        let file = lists.next().with_context(|| format!("{} has no network for pods", node.name()))?;
        let former = fs::read_to_string(&file)?;
        replace(&file, &narrowed(&former)?)?;
        Ok(Self { file, former })
    }
}

impl Drop for FewAddresses {
    fn drop(&mut self) {
        let _ = replace(&self.file, &self.former);
    }
}

fn narrowed(text: &str) -> Result<String> {
    let mut list: Value = serde_json::from_str(text)?;
    let plugins = list["plugins"].as_array_mut().context("a list of plugins")?;
    let mut ranges = plugins.iter_mut().filter_map(|plugin| plugin.pointer_mut("/ipam/ranges/0/0"));
    let range = ranges.next().context("a plugin that gives addresses")?;
    let subnet = range["subnet"].as_str().context("a range has a subnet")?;
    let network = subnet.strip_suffix("0/24").with_context(|| subnet.to_owned())?.to_owned();
    range["rangeStart"] = json!(format!("{network}{}", RANGE.0));
    range["rangeEnd"] = json!(format!("{network}{}", RANGE.1));
    Ok(list.to_string())
}

/// At once, so that no reader sees half of it.
fn replace(file: &Path, text: &str) -> Result<()> {
    let new = file.with_extension("new");
    fs::write(&new, text)?;
    Ok(fs::rename(&new, file)?)
}
