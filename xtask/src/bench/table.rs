//! The table on the terminal, a row as soon as it is measured.

use super::aims::{self, Verdict};
use super::options::Effort;
use super::report::ratio;
use super::rounds::Measured;
use super::stats::Summary;

pub(crate) fn heading(group: &str, effort: Effort) {
    println!(
        "\n{group}: medians of {} interleaved rounds [minimum … maximum]; × above 1: ours is better",
        effort.rounds
    );
}

pub(crate) fn print(row: &Measured) {
    print!("{}", text(row));
}

/// How many aims were met, and which were not.
pub(crate) fn summary(rows: &[Measured]) {
    let (met, missed): (Vec<_>, Vec<_>) =
        rows.iter().flat_map(verdicts).partition(|(_, verdict): &(String, Verdict)| verdict.met());
    println!("\n{} of {} aims met", met.len(), met.len() + missed.len());
    for (name, verdict) in missed {
        let (at_most, _) = verdict.direction();
        let (is, bound) = (short(verdict.is), short(verdict.bound));
        println!("  missed: {name}: {is} where {at_most} {bound} was aimed at");
    }
}

fn verdicts(row: &Measured) -> impl Iterator<Item = (String, Verdict)> {
    let alone = aims::alone(row).map(|verdict| (format!("{} ({})", row.name, row.unit.name()), verdict));
    let against = row.peers.iter().filter_map(|peer| {
        aims::against(row, peer.name).map(|verdict| (format!("{}, ours / {}", row.name, peer.name), verdict))
    });
    alone.into_iter().chain(against)
}

fn text(row: &Measured) -> String {
    let mut text = format!("\n{}\n", row.name);
    let mut line =
        |name: &str, figure: &Result<Summary, String>, ratio: Option<f64>, aim: String| match figure {
            Ok(summary) => {
                let ratio = ratio.map(|ratio| format!("{} ×", short(ratio))).unwrap_or_default();
                text += format!(
                    "  {name:<21}{:>17}  {:<23}{ratio:>9}   {aim}",
                    value(row, summary.median),
                    range(summary)
                )
                .trim_end();
                text.push('\n');
            }
            Err(why) => text += &format!("  {name:<21}{why}\n"),
        };
    let aim = aims::alone(row).map(|verdict| {
        let (at_most, _) = verdict.direction();
        format!("aim: {at_most} {} {}: {}", short(verdict.bound), row.unit.name(), word(verdict))
    });
    line("ours", &row.ours, None, aim.unwrap_or_default());
    for peer in &row.peers {
        let aim = aims::against(row, peer.name).map(|verdict| {
            let (bound, is) = (short(verdict.bound), short(verdict.is));
            format!("aim: ours {} {bound} × {}: {is}, {}", verdict.direction().1, peer.name, word(verdict))
        });
        line(peer.name, &peer.figure, ratio(row, peer), aim.unwrap_or_default());
    }
    text
}

fn word(verdict: Verdict) -> &'static str {
    if verdict.met() { "met" } else { "MISSED" }
}

fn value(row: &Measured, figure: f64) -> String {
    format!("{} {}", short(figure), row.unit.name())
}

fn range(summary: &Summary) -> String {
    format!("[{} … {}]", short(summary.min), short(summary.max))
}

/// Three digits that matter, thousands whole and parted.
pub(crate) fn short(figure: f64) -> String {
    let digits = match figure.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{figure:.digits$}");
    match text.len() {
        length if digits == 0 && length > 3 => {
            let (head, tail) = text.split_at(length - 3);
            let head = if head.len() > 3 { short(head.parse().unwrap_or_default()) } else { head.to_owned() };
            format!("{head},{tail}")
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::sample;
    use super::*;

    #[test]
    fn figures_are_short() {
        let shown = [0.123, 1.5, 12.34, 137.2, 1320.4, 87_700.0, 1_234_567.0].map(short);
        assert_eq!(shown, ["0.12", "1.50", "12.3", "137", "1,320", "87,700", "1,234,567"]);
    }

    #[test]
    fn a_row_shows_ratio_aim_and_reason() {
        let row = sample("fork server, free", 30.0, &[("zygote", Some(60.0)), ("crossmist", None)]);
        let text = text(&row);
        assert!(text.contains("2.00 ×   aim: ours ≤ 0.75 × zygote: 0.50, met"), "{text}");
        assert!(text.contains("crossmist            cannot run: <so it is>"), "{text}");
    }
}
