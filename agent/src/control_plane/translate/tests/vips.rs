//! Allocated addresses: which hosts get them, and that they stay.

use super::{objects_of, service};
use crate::control_plane::translate::{Options, Resources, VipAllocations, translate};

fn entry(name: &str, rest: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: n{rest}}}\n{spec}\n"
    )
}

fn dns(host: &str) -> String {
    format!("spec: {{hosts: [{host}], resolution: DNS}}")
}

fn run(yaml: &str, vips: &mut VipAllocations) -> Resources {
    translate(&objects_of(yaml), &Options::default(), vips)
}

/// The last byte of a service's addresses, IPv4 first.
fn numbers(resources: &Resources, host: &str) -> Vec<u8> {
    let found = service(resources, &format!("n/{host}"));
    found.addresses.iter().map(|address| *address.address.last().expect("an address has bytes")).collect()
}

#[test]
fn addresses_are_stable_over_changes_and_restarts() {
    let mut vips = VipAllocations::default();
    let first = run(&(entry("a", "", &dns("a.com")) + &entry("b", "", &dns("b.com"))), &mut vips);
    assert_eq!((numbers(&first, "a.com"), numbers(&first, "b.com")), (vec![1, 1], vec![2, 2]));
    assert_eq!(service(&first, "n/a.com").addresses[0].address, [240, 240, 0, 1]);

    let saved = serde_json::to_string(&vips).expect("allocations are plain data");
    let mut vips: VipAllocations = serde_json::from_str(&saved).expect("what was just written");
    let newer = run(&(entry("0a", "", &dns("new.com")) + &entry("b", "", &dns("b.com"))), &mut vips);
    assert_eq!((numbers(&newer, "new.com"), numbers(&newer, "b.com")), (vec![3, 3], vec![2, 2]));

    let back = run(&entry("a", "", &dns("a.com")), &mut vips);
    assert_eq!(numbers(&back, "a.com"), [1, 1], "an object that returns has its addresses again");
}

#[test]
fn only_hosts_that_qualify_have_them() {
    let cases = [
        ("", "spec: {hosts: [a.com], resolution: NONE}", 0),
        ("", "spec: {hosts: [a.com], resolution: STATIC}", 2),
        (
            ", labels: {networking.istio.io/enable-autoallocate-ip: 'FALSE'}",
            "spec: {hosts: [a.com], resolution: DNS}",
            0,
        ),
        ("", "spec: {hosts: ['*.a.com'], resolution: STATIC}", 0),
        (
            "",
            "spec: {hosts: ['*.a.com'], resolution: DYNAMIC_DNS, ports: [{number: 80, name: http, protocol: HTTP}]}",
            2,
        ),
        ("", "spec: {hosts: [a.com], resolution: DNS}\nstatus: {addresses: [{host: a.com, value: 240.240.9.9}]}", 1),
        ("", "spec: {hosts: [a.com], resolution: NONE}\nstatus: {addresses: [{host: a.com, value: 240.240.9.9}]}", 0),
    ];
    for (rest, spec, expected) in cases {
        let found = run(&entry("a", rest, spec), &mut VipAllocations::default());
        let host = if spec.contains("*.") { "*.a.com" } else { "a.com" };
        assert_eq!(service(&found, &format!("n/{host}")).addresses.len(), expected, "{rest} {spec}");
    }
}

#[test]
fn an_address_a_user_names_is_never_allocated() {
    let mut vips = VipAllocations::default();
    run(&entry("a", "", &dns("a.com")), &mut vips);
    let users = entry("u", "", "spec: {hosts: [u.com], resolution: STATIC, addresses: [240.240.0.0/30]}");
    let found = run(&(entry("a", "", &dns("a.com")) + &users), &mut vips);
    assert_eq!(numbers(&found, "a.com"), [4, 4], "the user's block beats what was allocated before");
}

#[test]
fn allocations_that_make_no_sense_are_replaced() {
    let mut vips: VipAllocations = serde_json::from_str(
        r#"{"hosts": {"n/a/a.com": 0, "n/b/b.com": 7, "n/c/c.com": 7, "n/d/d.com": 4000000000}, "last": 4294967294}"#,
    )
    .expect("numbers of the right type");
    let yaml: String = ["a", "b", "c", "d"].iter().map(|name| entry(name, "", &dns(&format!("{name}.com")))).collect();
    let found = run(&yaml, &mut vips);
    let all: Vec<u8> = ["a.com", "b.com", "c.com", "d.com"].iter().map(|host| numbers(&found, host)[0]).collect();
    assert_eq!(all, [1, 7, 2, 3]);
}
