//! Which CPU does what: the configuration's wishes and the machine, to one plan.

use std::fmt;

use super::config::{Config, ConfigError, Cpus};
use super::machine::Machine;

/// Leaves at most where the machine decides.
const LEAVES_AUTO_MAX: usize = 16;
/// CPUs from which on a leaf takes a whole physical core.
const WHOLE_CORES_FROM_CPUS: usize = 8;

/// Who runs where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores {
    /// Aggregator and client connections.
    pub control: usize,
    /// One leaf each.
    pub leaves: Vec<usize>,
    /// Queries.
    pub query: Vec<usize>,
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |cpus: &[usize]| {
            cpus.iter()
                .map(usize::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        };
        write!(
            f,
            "control and connections on CPU {}, {} on CPU {}, queries on CPU {}",
            self.control,
            match self.leaves.len() {
                1 => "1 leaf".into(),
                leaves => format!("{leaves} leaves"),
            },
            list(&self.leaves),
            list(&self.query)
        )
    }
}

impl Cores {
    /// Decides. What the configuration names is taken as it is; the rest is dealt from what is left.
    ///
    /// # Errors
    /// Where a CPU is named that this process may not use, or one is named twice as a leaf.
    pub fn decide(config: &Config, machine: &Machine) -> Result<Cores, ConfigError> {
        for (name, asked) in [
            ("control", &config.control),
            ("leaves", &config.leaves),
            ("query", &config.query),
        ] {
            if let Cpus::These(cpus) = asked {
                check(config, machine, name, cpus)?;
            }
        }
        let usable = machine.cpus_usable();
        let pool: Vec<usize> = machine.cpus.iter().copied().take(usable).collect();
        let control = match &config.control {
            Cpus::These(cpus) => cpus[0],
            Cpus::Auto => pool[0],
        };
        let leaves = match &config.leaves {
            Cpus::These(cpus) => cpus.clone(),
            Cpus::Auto => leaves(&pool, control, machine),
        };
        let query = match &config.query {
            Cpus::These(cpus) => cpus.clone(),
            Cpus::Auto => {
                let taken = |cpu: &usize| {
                    *cpu == control
                        || leaves
                            .iter()
                            .any(|leaf| shares(*leaf, *cpu, &pool, machine))
                };
                let free: Vec<usize> = pool.iter().copied().filter(|cpu| !taken(cpu)).collect();
                if free.is_empty() { vec![control] } else { free }
            }
        };
        Ok(Cores {
            control,
            leaves,
            query,
        })
    }
}

fn check(
    config: &Config,
    machine: &Machine,
    name: &'static str,
    cpus: &[usize],
) -> Result<(), ConfigError> {
    let error = |what: String| config.wrong("cores", name, what);
    if let Some(cpu) = cpus.iter().find(|cpu| !machine.cpus.contains(cpu)) {
        let known = machine
            .cpus
            .iter()
            .map(usize::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        return Err(error(format!(
            "[cores] {name}: CPU {cpu} is not for this process; it may use {known}"
        )));
    }
    if let Some(cpu) = cpus
        .iter()
        .find(|cpu| cpus.iter().filter(|other| other == cpu).count() > 1)
    {
        return Err(error(format!(
            "[cores] {name}: CPU {cpu} stands there twice; name each once"
        )));
    }
    Ok(())
}

fn leaves(pool: &[usize], control: usize, machine: &Machine) -> Vec<usize> {
    let count = (pool.len() / 4).clamp(1, LEAVES_AUTO_MAX);
    let mut chosen: Vec<usize> = Vec::new();
    for cpu in pool.iter().copied().filter(|cpu| *cpu != control) {
        let free = !shares(control, cpu, pool, machine)
            && !chosen.iter().any(|leaf| shares(*leaf, cpu, pool, machine));
        if free && chosen.len() < count {
            chosen.push(cpu);
        }
    }
    if chosen.is_empty() {
        chosen.push(
            pool.iter()
                .copied()
                .find(|cpu| *cpu != control)
                .unwrap_or(control),
        );
    }
    chosen
}

/// Whether two CPUs are one, or on a machine with enough of them one physical core.
fn shares(a: usize, b: usize, pool: &[usize], machine: &Machine) -> bool {
    let together = || {
        machine
            .siblings
            .get(&a)
            .is_some_and(|siblings| siblings.contains(&b))
    };
    a == b || (pool.len() >= WHOLE_CORES_FROM_CPUS && together())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;

    fn config(cores: &str) -> Config {
        let text = format!("data_dir = \"d\"\n[cores]\n{cores}");
        Config::parse(Path::new("c.toml"), &text, &|_| None).expect("valid")
    }

    fn machine(cpus: usize, quota: Option<usize>, threads: usize) -> Machine {
        let siblings = (0..cpus)
            .map(|cpu| {
                (
                    cpu,
                    (cpu / threads * threads..cpu / threads * threads + threads).collect(),
                )
            })
            .collect::<BTreeMap<usize, Vec<usize>>>();
        Machine {
            cpus: (0..cpus).collect(),
            quota,
            siblings,
        }
    }

    #[test]
    fn auto_deals_the_cpus() {
        let cases = [
            (machine(1, None, 1), 0, vec![0], vec![0]),
            (machine(2, None, 1), 0, vec![1], vec![0]),
            (machine(4, None, 2), 0, vec![1], vec![2, 3]),
            (machine(64, Some(2), 1), 0, vec![1], vec![0]),
            (machine(8, None, 2), 0, vec![2, 4], vec![1, 6, 7]),
        ];
        for (machine, control, leaves, query) in cases {
            let cores = Cores::decide(&config(""), &machine).expect("decided");
            assert_eq!(
                cores,
                Cores {
                    control,
                    leaves,
                    query
                },
                "{machine:?}"
            );
        }
        let cores = Cores::decide(&config(""), &machine(64, None, 1)).expect("decided");
        assert_eq!((cores.leaves.len(), cores.query.len()), (16, 47));
    }

    #[test]
    fn what_is_named_is_taken_and_one_cpu_may_do_several_things() {
        let cores = Cores::decide(
            &config("control = 1\nleaves = [0, 1]\nquery = [1]"),
            &machine(2, None, 1),
        );
        assert_eq!(
            cores.expect("decided"),
            Cores {
                control: 1,
                leaves: vec![0, 1],
                query: vec![1]
            }
        );
    }

    #[test]
    fn a_cpu_that_does_not_exist_is_named() {
        let error =
            Cores::decide(&config("leaves = [9]"), &machine(2, None, 1)).expect_err("refused");
        assert_eq!(
            error.to_string(),
            "c.toml:3: [cores] leaves: CPU 9 is not for this process; it may use 0, 1"
        );
        let error =
            Cores::decide(&config("leaves = [1, 1]"), &machine(2, None, 1)).expect_err("refused");
        assert_eq!(
            error.to_string(),
            "c.toml:3: [cores] leaves: CPU 1 stands there twice; name each once"
        );
    }
}
