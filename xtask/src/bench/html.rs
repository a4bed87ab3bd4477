//! The HTML report: one file, charts in SVG, nothing loaded from anywhere.
//!
//! A row's bars start at a line that stands for ours and run, on a logarithmic scale, to the peer: to the right as
//! many times as ours is better, to the left as many times as it is behind. A thin line spans the rounds' ratios; a notch
//! is the aim. The figures themselves stand beside the bar.

use std::fmt::Write;

use super::aims::{self, Verdict};
use super::options::Effort;
use super::report::ratio;
use super::rounds::{Measured, MeasuredPeer};
use super::table::short;

/// Widths in pixels: names, the chart, figures.
const NAMES: f64 = 170.0;
const CHART: f64 = 520.0;
const FIGURES: f64 = 350.0;
const LINE: f64 = 22.0;

const STYLE: &str = "
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1060px; padding: 0 1rem; color: #1c2330; background: #fff }
h1 { font-size: 1.5rem; margin-bottom: .2rem } h2 { font-size: 1.2rem; margin: 2.2rem 0 0 } h3 { font-size: 1rem; margin: 1.4rem 0 .2rem }
h3 span { font-weight: normal; color: #5b6472 } p { margin: .2rem 0; color: #5b6472 } svg { display: block; max-width: 100% }
text { font: 13px system-ui, sans-serif; fill: #1c2330 } .quiet { fill: #5b6472 } .tick { fill: #8a93a1; font-size: 11px }
.ahead { fill: #2a8f6d } .behind { fill: #cf5a3c } .axis { stroke: #1c2330; stroke-width: 1.5 } .grid { stroke: #e3e6eb }
.spread { stroke: #1c2330; stroke-opacity: .55 } .aim { stroke: #7a4fc9; stroke-width: 3 } .missed { fill: #b3401f; font-weight: 600 }
.why { fill: #5b6472; paint-order: stroke; stroke: #fff; stroke-width: 5px }
i { display: inline-block; width: .8em; height: .8em; margin: 0 .3em 0 .8em } i.a { background: #2a8f6d } i.b { background: #cf5a3c } i.m { background: #7a4fc9; width: 3px }
";

pub(crate) fn page(rows: &[Measured], effort: Effort) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
         <title>Benchmarks</title><style>{STYLE}</style><h1>Ours and its peers</h1>\
         <p>Medians of {} interleaved rounds on {}. The vertical line is ours; a bar says how many times a peer's figure is \
         ours, on a logarithmic scale. <i class=a></i>ours is better <i class=b></i>the peer is better <i class=m></i>the aim; \
         the thin line spans the rounds' ratios.</p>",
        effort.rounds,
        escaped(&machine()),
    );
    let mut group = "";
    for row in rows {
        if row.group != group {
            group = row.group;
            let _ = write!(page, "<h2>{}</h2>", escaped(group));
        }
        let ours = match &row.ours {
            Ok(ours) => format!(
                "ours {} {} <small>[{} … {}]</small>",
                short(ours.median),
                row.unit.name(),
                short(ours.min),
                short(ours.max)
            ),
            Err(why) => format!("ours: {}", escaped(why)),
        };
        let alone = aims::alone(row).map_or(String::new(), |verdict| {
            let (at_most, _) = verdict.direction();
            format!(", aim: {at_most} {} {}: {}", short(verdict.bound), row.unit.name(), word(verdict))
        });
        let _ = write!(page, "<h3>{} <span>{ours}{alone}</span></h3>", escaped(&row.name));
        chart(&mut page, row, Scale::of(rows.iter().filter(|each| each.group == group)));
    }
    page.push_str("</html>\n");
    page
}

/// One scale for a group, so that its charts compare.
#[derive(Clone, Copy)]
struct Scale {
    least: f64,
    most: f64,
}

impl Scale {
    fn of<'a>(rows: impl Iterator<Item = &'a Measured>) -> Self {
        let (mut least, mut most) = (0.5_f64, 2.0_f64);
        for row in rows {
            for peer in &row.peers {
                if let Some(ratio) = ratio(row, peer) {
                    (least, most) = (least.min(ratio * 0.8), most.max(ratio * 1.25));
                }
            }
        }
        Self { least, most }
    }

    /// The place of a ratio within the page.
    fn x(self, ratio: f64) -> f64 {
        let ratio = ratio.clamp(self.least, self.most);
        NAMES + CHART * (ratio / self.least).ln() / (self.most / self.least).ln()
    }

    /// 1, 2, 5 and their multiples by ten, as far as they fit.
    fn ticks(self) -> impl Iterator<Item = f64> {
        let few = self.most / self.least > 200.0;
        (-3..6)
            .flat_map(move |power| {
                let steps: &[f64] = if few { &[1.0] } else { &[1.0, 2.0, 5.0] };
                steps.iter().map(move |step| step * 10_f64.powi(power))
            })
            .filter(move |tick| (self.least..=self.most).contains(tick))
    }
}

fn chart(page: &mut String, row: &Measured, scale: Scale) {
    let height = LINE * row.peers.len() as f64;
    let width = NAMES + CHART + FIGURES;
    let _ = write!(page, "<svg width={width} viewBox='0 0 {width} {}' role=img>", height + 18.0);
    for tick in scale.ticks() {
        let x = scale.x(tick);
        let _ = write!(
            page,
            "<line class=grid x1={x:.1} x2={x:.1} y1=0 y2={height} /><text class=tick text-anchor=middle x={x:.1} y={}>{}×</text>",
            height + 14.0,
            plain(tick),
        );
    }
    let one = scale.x(1.0);
    let _ = write!(page, "<line class=axis x1={one:.1} x2={one:.1} y1=0 y2={height} />");
    for (index, peer) in row.peers.iter().enumerate() {
        bar(page, row, peer, scale, LINE * index as f64);
    }
    page.push_str("</svg>");
}

fn bar(page: &mut String, row: &Measured, peer: &MeasuredPeer, scale: Scale, top: f64) {
    let baseline = top + 15.5;
    let _ =
        write!(page, "<text x={} y={baseline} text-anchor=end>{}</text>", NAMES - 10.0, escaped(peer.name));
    let (figure, ratio) = match (&peer.figure, ratio(row, peer)) {
        (Ok(figure), Some(ratio)) => (figure, ratio),
        (figure, _) => {
            let why = figure.as_ref().err().or(row.ours.as_ref().err()).map_or("", String::as_str);
            let x = NAMES + 8.0;
            let _ = write!(page, "<text class=why x={x} y={baseline}>{}</text>", escaped(why));
            return;
        }
    };
    let (from, to) = (scale.x(ratio.min(1.0)), scale.x(ratio.max(1.0)));
    let class = if ratio >= 1.0 { "ahead" } else { "behind" };
    let _ = write!(
        page,
        "<rect class={class} x={from:.1} y={} width={:.1} height={} rx=2 />",
        top + 4.0,
        (to - from).max(1.0),
        LINE - 8.0
    );
    if let Some(spread) = &peer.ratios {
        let (min, max, y) = (scale.x(spread.min), scale.x(spread.max), top + LINE / 2.0);
        let _ = write!(page, "<line class=spread x1={min:.1} x2={max:.1} y1={y} y2={y} />");
    }
    let verdict = aims::against(row, peer.name);
    if let Some(verdict) = verdict {
        let x = scale.x(verdict.ratio());
        let _ =
            write!(page, "<line class=aim x1={x:.1} x2={x:.1} y1={} y2={} />", top + 1.0, top + LINE - 1.0);
    }
    let figures = NAMES + CHART;
    let _ = write!(
        page,
        "<text text-anchor=end x={} y={baseline}>{} ×</text><text class=quiet text-anchor=end x={} y={baseline}>{} {}</text>",
        figures + 75.0,
        short(ratio),
        figures + 175.0,
        short(figure.median),
        row.unit.name(),
    );
    if let Some(verdict) = verdict {
        let class = if verdict.met() { "quiet" } else { "missed" };
        let aim = short(verdict.ratio());
        let x = figures + 195.0;
        let _ = write!(page, "<text class={class} x={x} y={baseline}>aim {aim} ×: {}</text>", word(verdict));
    }
}

fn word(verdict: Verdict) -> &'static str {
    if verdict.met() { "met" } else { "missed" }
}

/// Ticks are powers of ten and little more: no digits that say nothing.
fn plain(tick: f64) -> String {
    if tick >= 1.0 {
        short(tick.round()).trim_end_matches(".00").trim_end_matches(".0").to_owned()
    } else {
        format!("{tick:.3}").trim_end_matches('0').to_owned()
    }
}

/// The processor and how many of them: what a figure without it is worth little.
fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("an unnamed processor", |(_, model)| model);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = kernel.trim().split('-').next().unwrap_or_default();
    format!("{cpus} CPUs ({model}), Linux {release}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::report::sample;
    use super::*;

    #[test]
    fn the_page_stands_alone_and_shows_every_peer() {
        let rows = [sample("fork server, free", 30.0, &[("zygote", Some(20.0)), ("crossmist", None)])];
        let page = page(&rows, Effort { rounds: 5, round: std::time::Duration::from_millis(1) });
        for expected in
            ["class=behind", "zygote", "crossmist", "cannot run: &lt;so it is&gt;", "aim 1.33 ×: missed"]
        {
            assert!(page.contains(expected), "{expected}: {page}");
        }
        for foreign in ["http", "src=", "@import"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }

    #[test]
    fn ours_lies_between_worse_and_better() {
        let scale = Scale { least: 0.5, most: 100.0 };
        assert!(NAMES < scale.x(0.6) && scale.x(0.6) < scale.x(1.0) && scale.x(1.0) < scale.x(50.0));
        assert_eq!(scale.x(1e9), NAMES + CHART);
        assert_eq!([plain(0.5), plain(1.0), plain(20.0), plain(1000.0)], ["0.5", "1", "20", "1,000"]);
    }
}
