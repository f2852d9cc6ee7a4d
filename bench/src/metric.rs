//! The figures there are: what each is called, counted in, and which way is better.

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// In samples.
    pub key: &'static str,
    /// At the head of a column.
    pub label: &'static str,
    /// Else more is better.
    pub less_is_better: bool,
    /// A peer that is better in it is named in the report's first lines.
    pub counts: bool,
}

impl Metric {
    /// Where no other column stands beside it.
    #[must_use]
    pub fn name(&self) -> String {
        let reader = match self.key.split_once('_') {
            Some(("visible", _)) => "to visible, ",
            Some(("select", _)) => "by SELECT, ",
            Some(("bare", _)) => "bare consumer beside it, ",
            Some(("query", _)) => "query: ",
            _ => "",
        };
        if self.label.starts_with(reader) {
            return self.label.to_owned();
        }
        let unit = if self.label.ends_with(", ms") {
            ""
        } else {
            ", ms"
        };
        format!("{reader}{}{unit}", self.label)
    }
}

const fn less(key: &'static str, label: &'static str) -> Metric {
    Metric {
        key,
        label,
        less_is_better: true,
        counts: true,
    }
}

const fn more(key: &'static str, label: &'static str) -> Metric {
    Metric {
        less_is_better: false,
        ..less(key, label)
    }
}

/// Said for its own sake: no engine wins by it.
const fn beside(key: &'static str, label: &'static str) -> Metric {
    Metric {
        counts: false,
        ..less(key, label)
    }
}

/// All, in the order of a table's columns.
pub const ALL: &[Metric] = &[
    less("cpu_s_per_m", "CPU-s per million rows"),
    more("rows_per_s", "rows/s"),
    more("alone_rows_per_s", "rows/s, no queries"),
    less("rss_anon_mb", "peak RssAnon, MB"),
    beside("resident_mb", "peak VmHWM, MB"),
    beside("settled_s", "s from visible to durable"),
    beside("broker_cpu_s_per_m", "broker's CPU-s per million rows"),
    less("visible_p50_ms", "to visible, p50, ms"),
    less("visible_p90_ms", "p90"),
    less("visible_p99_ms", "p99"),
    less("visible_p999_ms", "p99.9"),
    less("select_p50_ms", "by SELECT, p50, ms"),
    less("select_p90_ms", "p90"),
    less("select_p99_ms", "p99"),
    less("select_p999_ms", "p99.9"),
    beside("bare_p50_ms", "bare consumer beside it, p50, ms"),
    beside("bare_p90_ms", "p90"),
    beside("bare_p99_ms", "p99"),
    beside("bare_p999_ms", "p99.9"),
    beside("late_p99_ms", "producer late, p99, ms"),
    less("query_count_ms", "count, ms"),
    less("query_group_ms", "group by, sum"),
    less("query_lookup_ms", "look-up by id"),
    less("query_top_ms", "top ten of users"),
    less("query_like_ms", "LIKE"),
    less("query_hours_ms", "hour buckets"),
    less("query_recent_ms", "last five minutes"),
    less("query_join_ms", "join"),
    beside("slower", "over quiet, geometric mean"),
    beside("slower_most", "over quiet, the most"),
    less("first_answer_ms", "first query answered, ms"),
    less("caught_up_ms", "caught up, ms"),
    beside("lost_rows", "rows not durable at the kill"),
    less("open_bytes_per_row", "bytes a row, open"),
    less("sealed_bytes_per_row", "bytes a row, sealed"),
    less("idle_cpu_percent", "idle, % of a core"),
    less("idle_rss_anon_mb", "idle RssAnon, MB"),
];

/// The keys of the queries' figures.
pub fn queries() -> impl Iterator<Item = &'static Metric> {
    ALL.iter().filter(|metric| metric.key.starts_with("query_"))
}

/// By its key.
#[must_use]
pub fn by_key(key: &str) -> Option<&'static Metric> {
    ALL.iter().find(|metric| metric.key == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_has_a_name_of_its_own() {
        let name = |key: &str| by_key(key).unwrap().name();
        assert_eq!(name("select_p99_ms"), "by SELECT, p99, ms");
        assert_eq!(name("visible_p50_ms"), "to visible, p50, ms");
        assert_eq!(name("query_like_ms"), "query: LIKE, ms");
        assert_eq!(name("query_count_ms"), "query: count, ms");
        assert_eq!(name("cpu_s_per_m"), "CPU-s per million rows");
        let mut names: Vec<String> = ALL.iter().map(Metric::name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
