//! Texts of a request that no answer may repeat: its tokens and other credentials, wherever an object has them looked for.

use serde_json::Value;

use super::asker::Asker;
use super::explanation::Explanation;
use crate::model::authentication::TokenPlaces;
use crate::model::http::head::RequestHead;

/// Shorter texts are nobody's secret, and may stand in an answer by chance.
const SHORTEST: usize = 8;

/// The secrets of a request.
pub(super) fn of(asker: &Asker<'_>, head: &RequestHead) -> Vec<String> {
    let rules = asker.config.authentication().objects.iter().flat_map(|object| &object.rules);
    let usual = TokenPlaces::default();
    let places = rules.map(|rule| &rule.places).chain([&usual]);
    let mut secrets: Vec<String> = places.flat_map(|places| places.tokens(head)).collect();
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    for value in head.fields.values("authorization").chain(head.fields.values("cookie")) {
        // What stands behind the scheme, or the name of the cookie.
        secrets.extend(text(value).split([' ', ';', '=']).map(str::to_owned));
    }
    // As the target has them, which may be encoded.
    let query = head.query().map(text).unwrap_or_default();
    let values = query.split('&').filter_map(|pair| pair.split_once('=')).map(|(_, value)| value);
    let encoded: Vec<String> = values.filter(|value| is_one(value, &secrets)).map(str::to_owned).collect();
    secrets.extend(encoded);
    secrets.retain(|secret| secret.len() >= SHORTEST);
    secrets
}

/// Whether a value of a query is one of these secrets, encoded.
fn is_one(value: &str, secrets: &[String]) -> bool {
    let head = RequestHead { target: format!("/?t={value}").into(), ..RequestHead::default() };
    let places = TokenPlaces { headers: Vec::new(), params: vec!["t".into()], cookies: Vec::new() };
    places.tokens(&head).iter().any(|decoded| secrets.contains(decoded))
}

/// An answer without these texts, wherever they have come to stand in it.
pub(super) fn hidden(explanation: Explanation, secrets: &[String]) -> Explanation {
    if secrets.is_empty() {
        return explanation;
    }
    let mut value = serde_json::to_value(&explanation).expect("it is data");
    hide(&mut value, secrets);
    serde_json::from_value(value).expect("it has the same form")
}

fn hide(value: &mut Value, secrets: &[String]) {
    match value {
        Value::String(text) => {
            for secret in secrets.iter().filter(|secret| text.contains(*secret)).collect::<Vec<_>>() {
                *text = text.replace(secret, "…");
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|one| hide(one, secrets)),
        Value::Object(map) => map.values_mut().for_each(|one| hide(one, secrets)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
