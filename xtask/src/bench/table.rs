//! Figures for people.

use std::fmt::Write;

use serde_json::Value;

/// The figures as lines of text, and how many goals are met.
pub fn table(figures: &[Value]) -> String {
    let text = |figure: &Value, field: &str| figure[field].as_str().unwrap_or_default().to_owned();
    let widest = figures
        .iter()
        .map(|figure| text(figure, "name").chars().count())
        .max();
    let width = widest.unwrap_or_default();
    let mut table = format!(
        "{:width$}  {:>12}  {:6}  {:16}  met\n",
        "figure", "value", "unit", "goal"
    );
    let (mut goals, mut reached) = (0, 0);
    for figure in figures {
        let value = figure["value"].as_f64();
        let goal = text(figure, "goal");
        let met = value.and_then(|value| is_met(value, &goal));
        goals += usize::from(met.is_some());
        reached += usize::from(met == Some(true));
        let shown = value.map_or_else(|| "?".to_owned(), shown);
        let met = met.map_or("", |met| if met { "yes" } else { "no" });
        let line = format!(
            "{:width$}  {shown:>12}  {:6}  {goal:16}  {met}",
            text(figure, "name"),
            text(figure, "unit")
        );
        let _ = writeln!(table, "{}", line.trim_end());
    }
    let _ = writeln!(table, "{reached} of {goals} goals met");
    table
}

/// Whether a value meets a goal such as `<= 1.5` or `<= 286 (300 MB)`; `None` when there is none.
fn is_met(value: f64, goal: &str) -> Option<bool> {
    let mut words = goal.split_whitespace();
    let (relation, bound) = (words.next()?, words.next()?.parse::<f64>().ok()?);
    match relation {
        "<=" => Some(value <= bound),
        ">=" => Some(value >= bound),
        _ => None,
    }
}

/// With as many digits as say something.
fn shown(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn goals_are_bounds_from_above_and_below() {
        assert_eq!(is_met(1.5, "<= 1.5"), Some(true));
        assert_eq!(is_met(1.51, "<= 1.5"), Some(false));
        assert_eq!(is_met(287.0, "<= 286 (300 MB)"), Some(false));
        assert_eq!(is_met(0.85, ">= 0.85"), Some(true));
        assert_eq!(is_met(0.84, ">= 0.85"), Some(false));
        assert_eq!(is_met(1.0, ""), None);
    }

    #[test]
    fn table_counts_what_is_met_and_only_goals() {
        let figure =
            |name, value: f64, goal| json!({ "name": name, "value": value, "unit": "ratio", "goal": goal });
        let table = table(&[
            figure("good", 1.0, "<= 2"),
            figure("bad", 3.0, "<= 2"),
            figure("plain", 3.0, ""),
        ]);
        let lines: Vec<&str> = table.lines().collect();
        assert!(
            lines[1].starts_with("good") && lines[1].ends_with("yes"),
            "{table}"
        );
        assert!(lines[2].ends_with("no"), "{table}");
        assert!(lines[3].ends_with("ratio"), "{table}");
        assert_eq!(lines[4], "1 of 2 goals met");
    }
}
