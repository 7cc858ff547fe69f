//! Dashboard and alerts ask for metrics that there are.

use std::collections::BTreeSet;

use super::exposition::expositions;
use super::files::{document, text};

/// What Prometheus itself adds.
const OWN: [&str; 1] = ["up"];

/// The names of all samples in an exposition.
fn samples(exposition: &str) -> BTreeSet<String> {
    let lines = exposition.lines().filter(|line| !line.starts_with('#') && line.contains(' '));
    lines.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect()
}

/// The metrics in an expression.
fn asked(expression: &str) -> Vec<String> {
    // Not what stands in quotes, which are labels' values.
    let quoted = regex::Regex::new(r#""[^"]*""#).unwrap();
    let name =
        regex::Regex::new(r"\b(herd|process|up)\b[a-z0-9_]*|\b(herd|process)_[a-z0-9_]+").unwrap();
    let bare = quoted.replace_all(expression, "");
    name.find_iter(&bare).map(|found| found.as_str().to_owned()).collect()
}

#[tokio::test]
async fn every_metric_that_is_asked_for_is_told() {
    let told = expositions().await;
    let told: BTreeSet<_> = told.iter().flat_map(|(_, text)| samples(text)).collect();
    let rules = document("components/monitoring/rules.yaml");
    let groups = rules["spec"]["groups"].as_array().unwrap().iter();
    let alerts = groups.flat_map(|group| group["rules"].as_array().unwrap());
    let alerts = alerts.map(|rule| (rule["alert"].clone(), rule["expr"].clone()));
    let dashboard: serde_json::Value =
        serde_json::from_str(&text("components/monitoring/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let panels = panels.flat_map(|panel| {
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets.into_iter().map(|target| (panel["title"].clone(), target["expr"].clone()))
    });
    let mut expressions = 0;
    for (whose, expression) in alerts.chain(panels) {
        let metrics = asked(expression.as_str().unwrap());
        assert!(!metrics.is_empty(), "{whose} asks for nothing: {expression}");
        for metric in metrics {
            let there = told.contains(&metric) || OWN.contains(&&*metric);
            assert!(there, "{whose} asks for {metric}, and nobody tells it: {told:#?}");
        }
        expressions += 1;
    }
    assert!(expressions > 40, "{expressions} expressions: some were not found");
}

#[test]
fn each_alert_has_its_section_in_the_readme() {
    let (rules, readme) = (text("components/monitoring/rules.yaml"), text("README.md"));
    let alerts: Vec<_> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10);
    for alert in alerts {
        assert!(readme.contains(&format!("| `{alert}` |")), "{alert} is not in the README");
    }
}
