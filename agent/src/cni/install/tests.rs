use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

const LIST: &str = r#"{"cniVersion":"1.0.0","name":"a","plugins":[{"type":"bridge"}]}"#;
const SINGLE: &str = "{\n \"cniVersion\": \"0.4.0\",\n \"name\": \"b\",\n \"type\": \"bridge\"\n}\n";

/// A node's two directories, and an installer for them.
struct Node {
    root: tempfile::TempDir,
    installer: Installer,
}

impl Node {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let path = |name: &str| root.path().join(name);
        for directory in ["bin", "net.d"] {
            fs::create_dir(path(directory)).expect("made");
        }
        fs::write(path("plugin"), "release 1").expect("written");
        let installer = Installer {
            plugin: path("plugin"),
            plugins_dir: path("bin"),
            configurations_dir: path("net.d"),
            section: Section::default(),
        };
        Self { root, installer }
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.installer.configurations_dir.join(name), text).expect("written");
    }

    fn files(&self) -> BTreeMap<String, String> {
        let listed = fs::read_dir(&self.installer.configurations_dir).expect("there");
        let file = |path: PathBuf| {
            let name = path.file_name().expect("a file").to_str().expect("ASCII").to_owned();
            (name, fs::read_to_string(path).expect("there"))
        };
        listed.map(|entry| file(entry.expect("there").path())).collect()
    }

    fn chained(&self) -> Vec<String> {
        self.files().into_iter().filter(|(_, text)| conflist::unchain(text).is_some()).map(|(name, _)| name).collect()
    }

    fn plugin(&self) -> Option<String> {
        fs::read_to_string(self.root.path().join("bin").join(PLUGIN)).ok()
    }

    fn uninstall(&self) -> Installed {
        Installer::uninstall(&self.installer.plugins_dir, &self.installer.configurations_dir).expect("uninstalled")
    }
}

#[test]
fn the_configuration_in_force_is_chained_and_as_before_afterwards() {
    for (what, files, chained) in [
        ("a list", &[("10-a.conflist", LIST)][..], "10-a.conflist"),
        ("the first of two", &[("10-a.conflist", LIST), ("20-b.conf", SINGLE)][..], "10-a.conflist"),
        ("a single one", &[("10-b.conf", SINGLE)][..], "10-b.conf.conflist"),
        ("a single one of the other name", &[("10-b.json", SINGLE), ("20-a.conflist", LIST)][..], "10-b.json.conflist"),
        ("behind one that is damaged", &[("00-x.conflist", "{"), ("10-a.conflist", LIST)][..], "10-a.conflist"),
        ("behind what no runtime reads", &[("00-x.bak", LIST), ("10-a.conflist", LIST)][..], "10-a.conflist"),
    ] {
        let node = Node::new();
        files.iter().for_each(|(name, text)| node.put(name, text));
        let before = node.files();
        assert_eq!(node.installer.install().expect(what), Installed::Now, "{what}");
        assert_eq!(node.chained(), [chained], "{what}");
        assert_eq!(node.installer.install().expect(what), Installed::Already, "{what}");
        assert_eq!(node.installer.put_back().expect(what), Installed::Already, "{what}");
        assert_eq!(node.plugin().as_deref(), Some("release 1"));
        assert_eq!(node.uninstall(), Installed::Now, "{what}");
        assert_eq!(node.files(), before, "{what}");
        assert_eq!(node.plugin().as_deref(), Some("release 1"), "sandboxes made before are still taken down by it");
        assert_eq!(node.uninstall(), Installed::Already, "{what}");
    }
}

#[test]
fn nothing_is_configured_before_the_node_is() {
    let node = Node::new();
    assert_eq!(node.installer.install().expect("fine"), Installed::Waiting);
    assert!(node.files().is_empty() && node.plugin().is_some());
    node.put("00-x.conflist", "{");
    assert!(matches!(node.installer.put_back(), Err(InstallError::Unusable { .. })));
    node.put("00-x.conflist", LIST);
    assert_eq!(node.installer.put_back().expect("mended"), Installed::Now);
}

#[test]
fn what_others_do_is_answered() {
    let node = Node::new();
    node.put("10-a.conflist", LIST);
    node.installer.install().expect("installed");
    node.put("10-a.conflist", LIST);
    assert_eq!(node.installer.put_back().expect("rewritten by its owner"), Installed::Now);
    assert_eq!(node.chained(), ["10-a.conflist"]);
    node.put("05-b.conf", SINGLE);
    assert_eq!(node.installer.put_back().expect("one in front"), Installed::Now);
    assert_eq!(node.chained(), ["05-b.conf.conflist", "10-a.conflist"]);
    node.put("05-b.conf", &SINGLE.replace("\"b\"", "\"renamed\""));
    assert_eq!(node.installer.put_back().expect("written again by its owner"), Installed::Now);
    assert!(node.files()["05-b.conf.conflist"].contains("renamed"));
    fs::remove_file(node.installer.plugins_dir.join(PLUGIN)).expect("there");
    assert_eq!(node.installer.put_back().expect("removed by somebody"), Installed::Now);
    let moved = node.files()["10-a.conflist"].clone();
    node.put("10-a.conflist.bak", &moved);
    node.uninstall();
    let files = node.files();
    assert_eq!((files["10-a.conflist"].as_str(), files["10-a.conflist.bak"].as_str()), (LIST, LIST), "also set aside");
    assert_eq!(files.len(), 3, "{files:?}");
}

#[test]
fn two_releases_do_not_fight() {
    let node = Node::new();
    node.put("10-a.conflist", LIST);
    node.installer.install().expect("installed");
    let newer_plugin = node.root.path().join("newer");
    fs::write(&newer_plugin, "release 2").expect("written");
    let section = Section { timeout_seconds: 99, ..Section::default() };
    let newer = Installer { plugin: newer_plugin, section, ..node.installer.clone() };
    assert_eq!(newer.install().expect("installed"), Installed::Now);
    assert_eq!(node.plugin().as_deref(), Some("release 2"));
    assert!(node.files()["10-a.conflist"].contains("99"));
    assert_eq!(node.installer.put_back().expect("fine"), Installed::Already, "the older one leaves it");
    let mode = fs::metadata(node.installer.plugins_dir.join(PLUGIN)).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, PLUGIN_MODE);
}

#[test]
fn somebody_elses_list_is_not_overwritten() {
    let node = Node::new();
    node.put("10-b.conf", SINGLE);
    node.put("10-b.conf.conflist", LIST);
    let before = node.files();
    assert!(matches!(node.installer.install(), Err(InstallError::InTheWay { .. })));
    assert_eq!(node.files(), before);
}
