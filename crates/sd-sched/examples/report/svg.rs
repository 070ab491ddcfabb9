//! A small line plot as SVG, logarithmic upwards and, if asked for, sideways.

use std::fmt::Write as _;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 520.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 230.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;

/// One named line: its name and its points.
pub type Line = (String, Vec<(f64, f64)>);

pub fn plot(title: &str, x_name: &str, y_name: &str, log_x: bool, lines: &[Line]) -> String {
    let scale_x = |v: f64| if log_x { v.max(1e-30).log10() } else { v };
    let all = || lines.iter().flat_map(|l| l.1.iter()).filter(|p| p.1 > 0.0);
    let span = |v: &mut dyn Iterator<Item = f64>| {
        v.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| {
            (a.min(v), b.max(v))
        })
    };
    let (x0, x1) = span(&mut all().map(|p| scale_x(p.0)));
    let (y0, y1) = span(&mut all().map(|p| p.1.log10()));
    let px = |v: f64| LEFT + (scale_x(v) - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT);
    let py = |v: f64| TOP + (y1 - v.log10()) / (y1 - y0) * (HEIGHT - TOP - BOTTOM);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"22\" font-size=\"16\">{title}</text>\n"
    );
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for e in y0.ceil() as i32..=y1.floor() as i32 {
        let y = py(10f64.powi(e));
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">1e{e}</text>",
            LEFT - 6.0,
            y + 4.0
        );
    }
    let ticks: Vec<f64> = if log_x {
        [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0]
            .into_iter()
            .filter(|v| (x0..=x1).contains(&scale_x(*v)))
            .collect()
    } else {
        (0..=20)
            .map(|i| f64::from(i) * 5.0)
            .filter(|v| (x0..=x1).contains(v))
            .collect()
    };
    for v in ticks {
        let x = px(v);
        let _ = writeln!(
            out,
            "<path d=\"M{x:.1} {TOP}V{bottom}\" stroke=\"#eee\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{v}</text>",
            bottom + 16.0
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{x_name}</text>",
        (LEFT + right) / 2.0,
        bottom + 36.0
    );
    let _ = writeln!(
        out,
        "<text transform=\"translate(18 {:.1}) rotate(-90)\" text-anchor=\"middle\">{y_name}</text>",
        (TOP + bottom) / 2.0
    );
    for (i, (name, points)) in lines.iter().enumerate() {
        let hue = (i * 137) % 360;
        let dash = ["", "6 3", "2 3"][i % 3];
        let path: Vec<String> = points
            .iter()
            .filter(|p| p.1 > 0.0)
            .map(|p| format!("{:.1} {:.1}", px(p.0), py(p.1)))
            .collect();
        let y = TOP + 6.0 + i as f64 * (HEIGHT - TOP - 20.0) / lines.len().max(18) as f64;
        let style = format!(
            "fill=\"none\" stroke=\"hsl({hue} 70% 42%)\" stroke-width=\"1.6\" stroke-dasharray=\"{dash}\""
        );
        let _ = writeln!(out, "<path d=\"M{}\" {style}/>", path.join("L"));
        let _ = writeln!(
            out,
            "<path d=\"M{} {y:.1}h26\" {style}/><text x=\"{}\" y=\"{:.1}\">{name}</text>",
            right + 14.0,
            right + 46.0,
            y + 4.0
        );
    }
    out.push_str("</svg>\n");
    out
}
