//! The JSON: one object for each row and peer, `{group, name, unit, ours, peer, peer_name, ratio, spread}`.
//!
//! `ratio` is that of the two medians, `spread.ratio` the least and the greatest of the rounds' own. What was not measured
//! is null, and `spread.not_measured` says why.

use serde_json::{Value, json};

use super::rounds::{Measured, MeasuredPeer};
use super::stats::Summary;

pub(crate) fn json(rows: &[Measured]) -> String {
    let entries: Vec<Value> =
        rows.iter().flat_map(|row| row.peers.iter().map(move |peer| entry(row, peer))).collect();
    format!("{:#}\n", Value::from(entries))
}

fn entry(row: &Measured, peer: &MeasuredPeer) -> Value {
    let mut spread = json!({
        "ours": ends(row.ours.as_ref().ok()),
        "peer": ends(peer.figure.as_ref().ok()),
        "ratio": ends(peer.ratios.as_ref()),
    });
    if let Some(why) = row.ours.as_ref().err().or(peer.figure.as_ref().err()) {
        spread["not_measured"] = why.as_str().into();
    }
    json!({
        "group": row.group,
        "name": row.name,
        "unit": row.unit.name(),
        "ours": row.ours.as_ref().ok().map(|ours| rounded(ours.median)),
        "peer": peer.figure.as_ref().ok().map(|peer| rounded(peer.median)),
        "peer_name": peer.name,
        "ratio": ratio(row, peer).map(rounded),
        "spread": spread,
    })
}

/// How much better ours is, by the medians.
pub(crate) fn ratio(row: &Measured, peer: &MeasuredPeer) -> Option<f64> {
    match (&row.ours, &peer.figure) {
        (Ok(ours), Ok(peer)) => Some(row.unit.ratio(ours.median, peer.median)),
        _ => None,
    }
}

fn ends(summary: Option<&Summary>) -> Value {
    summary.map_or(Value::Null, |summary| json!([rounded(summary.min), rounded(summary.max)]))
}

/// To a thousandth: more would only look exact.
fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

/// A measured row out of thin air, for tests.
#[cfg(test)]
pub(crate) fn sample(name: &str, ours: f64, peers: &[(&'static str, Option<f64>)]) -> Measured {
    let around = |median: f64| Summary { median, min: median * 0.5, max: median * 2.0 };
    let peers = peers.iter().map(|&(name, figure)| MeasuredPeer {
        name,
        figure: figure.map(around).ok_or_else(|| "cannot run: <so it is>".to_owned()),
        ratios: figure.map(|figure| around(figure / ours)),
    });
    Measured {
        group: "spawn",
        name: name.to_owned(),
        unit: super::row::Unit::Micros,
        ours: Ok(around(ours)),
        peers: peers.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_exactly_the_promised_keys() {
        let row = sample("fork server, free", 30.0, &[("zygote", Some(60.0)), ("crossmist", None)]);
        let entries: Vec<Value> = serde_json::from_str(&json(&[row])).unwrap();
        for entry in &entries {
            let keys: Vec<&str> = entry.as_object().unwrap().keys().map(String::as_str).collect();
            let mut promised = ["group", "name", "unit", "ours", "peer", "peer_name", "ratio", "spread"];
            promised.sort_unstable();
            assert_eq!(keys, promised);
        }
        assert_eq!(entries[0]["ratio"], 2.0);
        assert_eq!(entries[0]["spread"]["ours"], json!([15.0, 60.0]));
        assert_eq!(entries[0]["unit"], "µs");
    }

    #[test]
    fn a_peer_not_measured_is_listed_with_nulls_and_the_reason() {
        let row = sample("fork server, free", 30.0, &[("crossmist", None)]);
        let entries: Value = serde_json::from_str(&json(&[row])).unwrap();
        assert!(entries[0]["peer"].is_null() && entries[0]["ratio"].is_null());
        assert_eq!(entries[0]["ours"], 30.0);
        assert_eq!(entries[0]["spread"]["not_measured"], "cannot run: <so it is>");
    }
}
