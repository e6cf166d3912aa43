//! RequestAuthentication: what of it is an error, what it comes to, and that an invalid one refuses.

use super::load_text;
use crate::model::authentication::{KeySource, TokenPlaces};
use crate::objects::store::Body;
use crate::objects::{HttpObject, Kind, Loaded};

const KEY: &str =
    r#"'{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'"#;

fn loaded(rule: &str) -> Loaded {
    load_text(&format!(
        "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: o, namespace: n}}\nspec:\n  selector: \
         {{matchLabels: {{app: web}}}}\n  jwtRules: [{rule}]\n"
    ))
}

#[test]
fn each_rule_names_its_field_and_an_invalid_object_refuses_what_it_is_about() {
    let inline = format!("issuer: i, jwks: {KEY}");
    let more = |more: &str| format!("{{{inline}, {more}}}");
    for (rule, field, reason) in [
        (format!("{{jwks: {KEY}}}"), "issuer", "needs the issuer"),
        ("{issuer: i}".to_owned(), "jwksUri", "add jwks or jwksUri"),
        ("{issuer: i, jwks: '{}'}".to_owned(), "jwks", "list of keys"),
        (more("jwksUri: \"https://a/\""), "jwks", "only one"),
        ("{issuer: i, jwksUri: \"ftp://a/\"}".to_owned(), "jwksUri", "must begin with https://"),
        ("{issuer: i, jwksUri: \"https://user@a/\"}".to_owned(), "jwksUri", "no URL of a host"),
        (more("timeout: 90s"), "timeout", "longer than 60s"),
        (more("audiences: [\"\"]"), "audiences", "empty value"),
        (more("fromHeaders: [{name: \"a b\"}]"), "fromHeaders[0].name", "no name of a header"),
        (more("fromHeaders: [{prefix: a}]"), "fromHeaders[0].name", "needs the name"),
        (more("outputPayloadToHeader: \"a:b\""), "outputPayloadToHeader", "no name of a header"),
        (more("outputClaimToHeaders: [{header: a}]"), "outputClaimToHeaders[0].claim", "needs the name of its claim"),
        (more("allowAnything: true"), "allowAnything", "unknown field"),
    ] {
        let loaded = loaded(&rule);
        let found: Vec<_> = loaded.problems.iter().map(|one| (one.field.as_str(), one.reason.as_str())).collect();
        let expected = format!("spec.jwtRules[0].{field}");
        assert!(matches!(&found[..], [(at, why)] if *at == expected && why.contains(reason)), "{rule}: {found:?}");
        let refused: Vec<_> = loaded.objects.rejected_policies().collect();
        let [(kind, refusal)] = &refused[..] else { panic!("{rule}: {refused:?}") };
        assert_eq!((*kind, refusal.spec.selector["app"].as_str()), (Kind::RequestAuthentication, "web"), "{rule}");
    }
}

#[test]
fn a_rule_says_where_keys_and_tokens_are() {
    for (rule, keys, places) in [
        (
            "{issuer: \"https://a/b/\"}",
            KeySource::Discovery("https://a/b/.well-known/openid-configuration".into()),
            TokenPlaces::default(),
        ),
        (
            "{issuer: i, jwks_uri: \"http://a:8080/k\", fromParams: [t]}",
            KeySource::Url("http://a:8080/k".into()),
            TokenPlaces { headers: Vec::new(), params: vec!["t".into()], cookies: Vec::new() },
        ),
    ] {
        let loaded = loaded(rule);
        assert_eq!(loaded.problems, [], "{rule}");
        let stored = loaded.objects.entries.values().next().expect("it is there");
        let Body::Http(written) = &stored.body else { panic!("{rule}: {stored:?}") };
        let HttpObject::RequestAuthentication(object) = &written.object else { panic!("{rule}: {stored:?}") };
        assert_eq!((&object.rules[0].keys, &object.rules[0].places), (&keys, &places), "{rule}");
    }
}
