//! The results as data: a list of `{case, subject, value, unit, ratio, spread, rounds}`.

use anyhow::Result;
use serde_json::{Value, json};

use crate::row::{Pair, Ratio, Row};

/// Rows, then pairs; a pair's value is its ratio.
pub(super) fn write(rows: &[Row], pairs: &[Pair]) -> Result<String> {
    let rows = rows.iter().map(|row| {
        json!({
            "case": row.name(), "subject": row.subject, "value": row.value, "unit": row.figure.unit,
            "ratio": row.ratio.map(|ratio| ratio.median), "spread": spread(row.ratio), "rounds": row.rounds,
        })
    });
    let pairs = pairs.iter().map(|pair| {
        json!({
            "case": pair.name(), "subject": pair.shown(), "value": pair.ratio.median, "unit": "ratio",
            "ratio": pair.ratio.median, "spread": spread(Some(pair.ratio)), "rounds": pair.ratio.rounds,
        })
    });
    Ok(serde_json::to_string_pretty(&rows.chain(pairs).collect::<Vec<Value>>())? + "\n")
}

fn spread(ratio: Option<Ratio>) -> Value {
    ratio.map_or(Value::Null, |ratio| json!([ratio.min, ratio.max]))
}
