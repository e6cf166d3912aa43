use super::*;

const BRIDGE: &str = r#"{"type":"bridge","ipam":{"type":"host-local"}}"#;

fn section() -> Section {
    Section { exclude_namespaces: vec!["istio-system".to_owned()], ..Section::default() }
}

fn ours() -> String {
    json(&section())
}

fn lists() -> Vec<(&'static str, String)> {
    vec![
        ("one plugin, one line", format!(r#"{{"cniVersion":"1.0.0","name":"a","plugins":[{BRIDGE}]}}"#)),
        ("two plugins", format!(r#"{{"cniVersion":"0.4.0","name":"a","plugins":[{BRIDGE}, {{"type":"portmap"}} ]}}"#)),
        (
            "many lines",
            format!(
                "{{\n  \"cniVersion\": \"0.3.1\",\n  \"plugins\": [\n    {BRIDGE},\n    {{\n      \"type\": \"x\"\n    }}\n  ],\n  \"name\": \"a\"\n}}\n"
            ),
        ),
        ("tabs", format!("{{\t\"cniVersion\":\"1.1.0\",\"name\":\"a\",\r\n\t\"plugins\":\t[\r\n\t\t{BRIDGE}\r\n\t]}}\r\n\r\n")),
        (
            "numbers and words that nobody may change",
            r#"{"cniVersion":"1.0.0","name":"\u00e4","mtu":1e3,"big":18446744073709551617,"plugins":[{"type":"b","x":1.50,"plugins":[1,2]}]}"#
                .to_owned(),
        ),
        ("a plugin named in a text", r#"{"cniVersion":"1.0.0","name":"weir-cni","plugins":[{"type":"b","x":"weir-cni"}]}"#.to_owned()),
    ]
}

#[test]
fn what_goes_in_comes_out_and_not_a_byte_else_changes() {
    for (what, before) in lists() {
        let after = chain(&before, &section(), Present::IsRenewed).expect(what).expect("it was not there");
        let parsed: serde_json::Value = serde_json::from_str(&after).expect("still JSON");
        let plugins = parsed["plugins"].as_array().expect("a list");
        assert_eq!(plugins.last().expect("ours")["type"], PLUGIN, "{what}");
        assert_eq!(chain(&after, &section(), Present::IsRenewed), Ok(None), "{what}: again");
        assert!(unchain(&after).is_some(), "{what}");
        assert_eq!(unchain(&after), Some(Unchained::List(before.clone())), "{what}");
        assert_eq!(unchain(&before), None, "{what}");
    }
}

#[test]
fn a_section_of_another_agent_suffices_or_is_renewed() {
    let old = r#"{"type":"weir-cni","socket":"/elsewhere"}"#;
    let text = format!(r#"{{"cniVersion":"1.0.0","name":"a","plugins":[{BRIDGE},{old}, {{"type":"later"}}]}}"#);
    assert_eq!(chain(&text, &section(), Present::Suffices), Ok(None));
    let renewed = chain(&text, &section(), Present::IsRenewed).expect("valid").expect("it differs");
    assert_eq!(renewed, text.replace(old, &ours()), "in its place");
    let without = text.replace(&format!(",{old}"), "");
    assert_eq!(unchain(&text), Some(Unchained::List(without)), "others' plugins stay");
}

#[test]
fn sections_are_found_wherever_they_are() {
    for (what, plugins, expected) in [
        ("first", format!("[{},{BRIDGE}]", ours()), Unchained::List(format!("[{BRIDGE}]"))),
        ("twice", format!("[{BRIDGE},{0},{0}]", ours()), Unchained::List(format!("[{BRIDGE}]"))),
        ("alone", format!("[{}]", ours()), Unchained::Nothing),
    ] {
        let whole = |plugins: &str| format!(r#"{{"cniVersion":"1.0.0","name":"a","plugins":{plugins}}}"#);
        let expected = match expected {
            Unchained::List(rest) => Unchained::List(whole(&rest)),
            other => other,
        };
        assert_eq!(unchain(&whole(&plugins)), Some(expected), "{what}");
    }
}

#[test]
fn a_single_configuration_becomes_a_list_and_again_what_it_was() {
    let single = "{\n\t\"cniVersion\": \"0.3.1\",\n\t\"name\": \"a\",\n\t\"type\": \"bridge\", \"mtu\": 1e3\n}\n";
    let list = chain_single(single, "10-a.conf", &section()).expect("valid");
    let parsed: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    assert_eq!((&parsed["cniVersion"], &parsed["name"]), (&"0.3.1".into(), &"a".into()));
    assert_eq!(
        (&parsed["plugins"][0]["type"], &parsed["plugins"][1]["madeOf"]),
        (&"bridge".into(), &"10-a.conf".into())
    );
    assert_eq!(chain(&list, &section(), Present::IsRenewed), Ok(None), "it is chained already");
    assert_eq!(unchain(&list), Some(Unchained::Single("10-a.conf".to_owned(), single.to_owned())));
    let more = list.replace("\n  ]", ",\n {\"type\":\"later\"}\n  ]");
    assert!(
        matches!(unchain(&more), Some(Unchained::List(rest)) if rest.contains("later")),
        "others have chained to it"
    );
    let elsewhere = list.replace("10-a.conf", "../10-a.conf");
    assert!(matches!(unchain(&elsewhere), Some(Unchained::List(_))), "no other directory is written to");
}

#[test]
fn what_cannot_be_chained_to_is_left_alone() {
    let invalid = |text: &str| matches!(chain(text, &section(), Present::IsRenewed), Err(ConflistError::Invalid(_)));
    for text in [
        "",
        "[]",
        "{",
        r#"{"cniVersion":"1.0.0","name":"a"}"#,
        r#"{"cniVersion":"1.0.0","name":"a","plugins":{}}"#,
        r#"{"cniVersion":"1.0.0","name":"a","plugins":[]}"#,
        r#"{"cniVersion":"1.0.0","name":"a","plugins":[{}]}"#,
        r#"{"cniVersion":"1.0.0","name":"a","plugins":["bridge"]}"#,
        r#"{"cniVersion":1,"name":"a","plugins":[]}"#,
    ] {
        assert!(invalid(text), "{text}");
    }
    for version in ["0.1.0", "0.2.0", "2.0.0", ""] {
        let list = format!(r#"{{"cniVersion":"{version}","name":"a","plugins":[{BRIDGE}]}}"#);
        let expected = ConflistError::Version(version.to_owned());
        assert_eq!(chain(&list, &section(), Present::IsRenewed), Err(expected.clone()));
        let single = format!(r#"{{"cniVersion":"{version}","name":"a","type":"bridge"}}"#);
        assert_eq!(chain_single(&single, "a.conf", &section()), Err(expected));
    }
    for text in [
        r#"{"cniVersion":"1.0.0","name":"a"}"#,
        r#"{"cniVersion":"1.0.0","type":"a"}"#,
        r#"{"cniVersion":"1.0.0","name":"a","type":""}"#,
        r#"{"cniVersion":"1.0.0","name":"a","type":"b","plugins":[]}"#,
    ] {
        assert!(matches!(chain_single(text, "a.conf", &section()), Err(ConflistError::Invalid(_))), "{text}");
    }
}

#[test]
fn forms_are_known_by_their_endings() {
    for (name, form) in [
        ("10-a.conflist", Some(Form::List)),
        ("10-a.conf", Some(Form::Single)),
        ("10-a.json", Some(Form::Single)),
        ("10-a.conf.conflist", Some(Form::List)),
        ("10-a.conflist.bak", None),
        ("README", None),
        (".weir-cni-1-2.new", None),
    ] {
        assert_eq!(Form::of(name), form, "{name}");
    }
    let mut names =
        ["10-a.conf".to_owned(), list_name("10-a.conf"), "10-a.conflist".to_owned(), "10-a.json".to_owned()];
    let expected = names.clone();
    names.sort();
    assert_eq!(names, expected);
}
