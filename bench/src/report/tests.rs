//! A report of made-up samples, word for word.

use std::collections::BTreeMap;

use super::*;

fn sample(engine: &str, round: u32, metrics: &[(&str, f64)]) -> Sample {
    let variant = "172-byte orders, 1 partition, none";
    sample_of("ingest", variant, engine, round, metrics)
}

pub fn sample_of(
    workload: &str,
    variant: &str,
    engine: &str,
    round: u32,
    metrics: &[(&str, f64)],
) -> Sample {
    Sample {
        workload: workload.to_owned(),
        variant: variant.to_owned(),
        engine: engine.to_owned(),
        round,
        rows: 8_000_000,
        checked: Ok("rows, ids, hash".to_owned()),
        others_cpus: Some(0.1),
        metrics: metrics
            .iter()
            .map(|(key, value)| ((*key).to_owned(), *value))
            .collect(),
        histograms: BTreeMap::new(),
    }
}

/// Three engines, of which one loads with less CPU, and one is wrong in a round.
pub fn run() -> Run {
    let mut samples = Vec::new();
    for round in 0..4 {
        let swing = f64::from(round) * 0.001;
        samples.push(sample(
            "pinleaf",
            round,
            &[("cpu_s_per_m", 0.2 + swing), ("rows_per_s", 5e6)],
        ));
        samples.push(sample(
            "house-tuned",
            round,
            &[("cpu_s_per_m", 4.0 + swing), ("rows_per_s", 5e6)],
        ));
        samples.push(sample("wonder", round, &[("cpu_s_per_m", 0.1 + swing)]));
    }
    samples[11].checked = Err("wonder ended with rows 7999999 in place of 8000000".to_owned());
    let about = |version: &str, setting: &str| About {
        version: version.to_owned(),
        settings: vec![setting.to_owned()],
        discards: false,
    };
    Run {
        plan: serde_json::json!({"quick": false, "rounds": 3, "warm_up": true}),
        machine: Machine {
            cpu: "AMD EPYC".to_owned(),
            cpus: 2,
            hypervisor: true,
            governor: None,
            memory_bytes: 16_000_000_000,
            kernel: "Linux 6.1".to_owned(),
            file_system: "ext4 rw".to_owned(),
            commit: "0123456789ab".to_owned(),
        },
        broker: ("Apache Kafka 4.3.1".to_owned(), vec!["heap=1".to_owned()]),
        engines: BTreeMap::from([
            ("house-tuned".to_owned(), about("House 1.2", "blocks=7")),
            (
                "pinleaf".to_owned(),
                about("0.1.0", "all at their defaults"),
            ),
        ]),
        skipped: vec![Skipped {
            what: "spark-defaults".to_owned(),
            why: "mvn does not run".to_owned(),
        }],
        incidents: vec![Skipped {
            what: "house-tuned, round 2".to_owned(),
            why: "stands still:\n    no consumer".to_owned(),
        }],
        samples,
    }
}

#[test]
fn a_report_begins_with_what_speaks_against_pinleaf() {
    let expected = include_str!("golden.md");
    let said = text(&run());
    assert_eq!(said, expected, "\n{said}");
}

#[test]
fn a_busy_machine_is_said() {
    let mut run = run();
    assert!(!text(&run).contains("not quiet"));
    run.samples[0].others_cpus = Some(1.0);
    let said = text(&run);
    assert!(
        said.contains("**The machine was not quiet**: in 1 of 12 samples others"),
        "{said}"
    );
    assert!(
        said.contains("took more than 15 % of its CPUs, 50 % at the most."),
        "{said}"
    );
    run.samples[0].others_cpus = None;
    assert!(text(&run).contains("Whether the machine was quiet is not known"));
}
