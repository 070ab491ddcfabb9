//! The account of a run's operations, for people.

use std::fmt::Write;

use sdrs::OperationTime;

/// A line for each kind of operation, the longest first, and what they took together. Megabytes are the most in use at once meanwhile.
pub fn table(operations: &[OperationTime]) -> String {
    let total: f64 = operations.iter().map(|o| o.time.as_secs_f64()).sum();
    let mut out = String::from("        ms      %  calls    GFLOP  GFLOP/s       MB  operation\n");
    for operation in operations {
        let seconds = operation.time.as_secs_f64();
        // Copies and normalisations wait for memory; a rate would say nothing.
        let [work, rate] = match operation.flops > 0.0 {
            true => [1.0, seconds.max(1e-9)].map(|by| format!("{:.0}", operation.flops / by / 1e9)),
            false => [String::new(), String::new()],
        };
        let _ = writeln!(
            out,
            "{:>10.1} {:>6.1} {:>6} {work:>8} {rate:>8} {:>8.1}  {} {}",
            1e3 * seconds,
            100.0 * seconds / total.max(1e-9),
            operation.calls,
            operation.bytes as f64 / 1e6,
            operation.operation,
            operation.shape
        );
    }
    let _ = writeln!(out, "{:>10.1} together", 1e3 * total);
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn operations_are_lines() {
        let operation = |operation, ms, flops| OperationTime {
            operation,
            shape: "1 x 2".into(),
            calls: 3,
            time: Duration::from_millis(ms),
            flops,
            bytes: 2_500_000,
        };
        let text = table(&[operation("linear", 30, 6e9), operation("group norm", 10, 0.0)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1],
            "      30.0   75.0      3        6      200      2.5  linear 1 x 2"
        );
        assert_eq!(
            lines[2],
            "      10.0   25.0      3                        2.5  group norm 1 x 2"
        );
        assert_eq!(lines[3], "      40.0 together");
    }
}
