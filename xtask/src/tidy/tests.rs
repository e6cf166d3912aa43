//! Each rule finds what is planted in a small workspace, and nothing in what looks alike.

use std::fs;
use std::path::PathBuf;

use super::rules::Rules;
use super::{deploy, faults, files};

const RULES: &str = r##"{
    "only": [{"names": ["aya"], "places": ["m"], "why": "kernel"}, {"names": ["crate::proto"], "places": ["m/a"], "why": "wire"}],
    "never": [{"names": ["tokio", "std::time::Instant::now"], "places": ["low"], "why": "pure"}],
    "vague": ["utils"],
    "leftovers": {"XXX": "finish it", "asm!(": "run it"},
    "documents": {"paths": ["README.md"], "roots": ["agent/"], "commands": ["README.md"], "settings": ["deploy"],
                  "definitions": ["agent/src/low.rs"]}
}"##;

/// A workspace in which every rule holds; `low` is a layer below `m`, and that one below `x`.
const WORKSPACE: &[(&str, &str)] = &[
    ("agent/src/lib.rs", "//! Layers.\nmod low;\nmod proto;\n\npub(crate) mod m;\n\n/// Top.\nmod x;\n"),
    ("agent/src/low.rs", "//! L.\nuse std::time::Instant;\nstruct C { #[arg(env = \"WEIR_LOG\")] log: Instant }\n"),
    ("agent/src/proto.rs", "//! P.\ntonic::include_proto!(\"p\");\n"),
    (
        "agent/src/m/mod.rs",
        "//! M.\nmod a;\nmod b;\nmod n { mod c; pub(super) use c::C; }\npub use b::B;\npub struct M;\n",
    ),
    ("agent/src/m/a.rs", "//! A.\nuse crate::proto::P;\nuse crate::low as l;\nfn f() { l::C; }\npub struct A;\n"),
    (
        "agent/src/m/b.rs",
        "//! B.\nuse aya::Ebpf;\npub(in crate::m) struct B;\n#[cfg(test)]\nmod tests { use super::super::a::A; }\n",
    ),
    ("agent/src/m/n/c.rs", "//! C.\npub struct C;\n"),
    ("agent/src/x.rs", "//! X.\nuse crate::m;\nfn f() { m::B; /* crate::y */ }\n"),
    ("README.md", "`agent/src/{low,x}.rs` `agent/<name>` `cargo xtask tidy` `cargo xtask …`\n"),
    ("deploy/a.yaml", "WEIR_LOG, and WEIR_\n"),
];

/// The faults after some text was added to files of the workspace.
fn faults_with(rules: &str, planted: &[(&str, &str)]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in WORKSPACE.iter().chain(planted) {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let before = fs::read_to_string(&path).unwrap_or_default();
        fs::write(path, before + text).unwrap();
    }
    let rules: Rules = serde_json::from_str(rules).unwrap();
    let crates = [PathBuf::from("agent/src/lib.rs")];
    let (_, faults) = faults(folder.path(), &crates, &rules, &["tidy".to_owned()]).unwrap();
    faults.into_iter().collect()
}

#[test]
fn each_rule_finds_what_is_planted() {
    let (long, longer) = ("x!();\n".repeat(400), format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "x!();\n".repeat(600)));
    for (path, text, expected) in [
        // Circles: in one direction it is none; by way of a macro, a re-export, an inline module.
        ("agent/src/m/a.rs", "use super::b::B;", &[][..]),
        ("agent/src/m/b.rs", "use super::a::A;", &[]),
        // What is above, and what it only passes on.
        (
            "agent/src/m/a.rs",
            "fn g() { super::M; super::B; }",
            &["m/a.rs:6: uses M, which agent/src/m/mod.rs above it defines"],
        ),
        (
            "agent/src/m/n/c.rs",
            "use super::super::{M, B};",
            &["m/n/c.rs:3: uses M, which agent/src/m/mod.rs above it defines"],
        ),
        ("agent/src/m/b.rs", "fn f() -> crate::m::M {}", &["m/b.rs:6: uses M, which"]),
        // Layers.
        (
            "agent/src/low.rs",
            "use crate::m::B;",
            &["low.rs:4: low must not use crate::m::b::B: its layer is not below"],
        ),
        (
            "agent/src/low.rs",
            "use crate::{proto, m::{b as c}};",
            &["crate::proto must", "crate::m::b:", "crate::proto:"],
        ),
        ("agent/src/proto.rs", "fn f() { log!(crate::x::y()) }", &["proto must not use crate::x::y"]),
        ("agent/src/m/b.rs", "/// crate::x::y\nfn f() {} // crate::x", &[]),
        // Names outside of their places.
        ("agent/src/x.rs", "use aya::maps::Map;", &["x.rs:4: aya must not be named here: kernel"]),
        ("agent/src/x.rs", "use ayatana::X; fn g(a: crate::m::aya::X) {}", &[]),
        ("agent/src/m/b.rs", "use crate::proto::P;", &["m/b.rs:6: crate::proto must not be named here: wire"]),
        (
            "agent/src/low.rs",
            "fn f() { Instant::now() }",
            &["low.rs:4: std::time::Instant::now must not be named here: pure"],
        ),
        ("agent/src/low.rs", "#[cfg(test)]\nfn f<A, B>() { tokio::spawn() }", &[]),
        // Files.
        ("agent/src/m/tests.rs", "use x;", &[]),
        ("agent/src/new.rs", "use x;", &["new.rs:1: a file begins with //!"]),
        ("agent/src/m/utils.rs", "//! U.", &["m/utils.rs:1: a module named utils collects anything"]),
        ("agent/src/x.rs", "\n// XXX", &["x.rs:5: XXX: finish it"]),
        ("agent/src/x.rs", "asm!()", &["x.rs:4: asm!(: run it"]),
        ("agent/src/x.rs", &long, &["x.rs:400: 403 lines before the tests, at most 400"]),
        ("agent/src/x.rs", &longer, &["x.rs:600: 606 lines in all"]),
        // Documents.
        ("README.md", "`agent/src/y.rs` and agent/src/z.rs", &["README.md: there is no agent/src/y.rs"]),
        ("README.md", "`cargo xtask toast --keep`", &["README.md: there is no cargo xtask toast"]),
        ("deploy/a.yaml", "name: WEIR_LOGS", &["deploy/a.yaml: WEIR_LOGS is no setting of the agent"]),
    ] {
        let found = faults_with(RULES, &[(path, text)]);
        let all = found.len() == expected.len() && found.iter().zip(expected).all(|(fault, part)| fault.contains(part));
        assert!(all, "{path}: {text:.60}: {found:#?}");
    }
}

#[test]
fn files_that_use_each_other_are_a_circle() {
    for (planted, expected) in [
        (
            &[("agent/src/m/a.rs", "use super::b::B;"), ("agent/src/m/b.rs", "fn f() { log!(super::a::f()) }")][..],
            &["m/a.rs:6: uses B of agent/src/m/b.rs", "m/b.rs:6: uses f of agent/src/m/a.rs"][..],
        ),
        // Through a name that a module passes on, and three files.
        (
            &[
                ("agent/src/m/a.rs", "use crate::m::B;"),
                ("agent/src/m/b.rs", "use super::n::C;"),
                ("agent/src/m/n/c.rs", "use crate::m::a as d; fn f() { d::A }"),
            ],
            &[
                "m/a.rs:6: uses B of agent/src/m/b.rs",
                "m/b.rs:6: uses C of agent/src/m/n/c.rs",
                "m/n/c.rs:3: uses A of agent/src/m/a.rs",
            ],
        ),
        (
            &[
                ("agent/src/m/a.rs", "use super::b::B;"),
                ("agent/src/m/b.rs", "use super::n::C;"),
                ("agent/src/m/n/c.rs", "use serde::a::A;"),
            ],
            &[],
        ),
        (
            &[
                ("agent/src/m/a.rs", "use super::b::B;"),
                ("agent/src/m/b.rs", "#[cfg(all(test, unix))]\nuse super::a::A;"),
            ],
            &[],
        ),
    ] {
        let found = faults_with(RULES, planted);
        let all = found.len() == expected.len() && found.iter().zip(expected).all(|(fault, part)| fault.contains(part));
        assert!(all, "{planted:?}: {found:#?}");
    }
}

#[test]
fn a_permission_that_nobody_uses_is_a_fault() {
    let rules = RULES.replace(r#"["m/a"]"#, r#"["m/a", "x"]"#);
    assert_eq!(faults_with(&rules, &[]), ["agent/src/x may name crate::proto and does not"]);
    assert_eq!(faults_with(&rules, &[("agent/src/x.rs", "use crate::proto;")]), [""; 0]);
}

#[test]
fn most_of_the_agents_files_are_neither_long_nor_short() {
    let (figures, faults) = files::sizes(vec![200, 10, 160, 170, 5]);
    assert_eq!(figures, "5 files, median 160 lines, longest 200, 2 below 40");
    assert_eq!(faults, ["agent/src: half of the files are longer than 160 lines, at most 150"]);
    assert_eq!(files::sizes(vec![39; 25]).1, ["agent/src: 25 files are shorter than 40 lines, fewer than 25"]);
    assert_eq!(files::sizes([vec![39; 24], vec![40; 1]].concat()).1, [""; 0]);
}

#[test]
fn a_variable_is_known_below_where_it_is_set() {
    let [name, token] = ["- name: NODE_NAME\n  value: n\n", "- name: AUTH_TOKEN\n  value: /t/$(NODE_NAME).token\n"];
    assert_eq!(deploy::unknown_names(&format!("env:\n{name}{token}")), [""; 0]);
    assert_eq!(deploy::unknown_names(&format!("env:\n{token}{name}")), ["NODE_NAME"]);
    assert_eq!(deploy::unknown_names(&format!("env:\n{name}env:\n{token}")), ["NODE_NAME"]);
}
