//! The figures there are: what each is called, counted in, and which way is better.

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// In samples.
    pub key: &'static str,
    /// In the report.
    pub label: &'static str,
    /// Else more is better.
    pub less_is_better: bool,
    /// A peer that is better in it is named in the report's first lines.
    pub counts: bool,
}

const fn less(key: &'static str, label: &'static str) -> Metric {
    Metric {
        key,
        label,
        less_is_better: true,
        counts: true,
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
    Metric {
        less_is_better: false,
        ..less("rows_per_s", "rows/s")
    },
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
    less("query_count_ms", "count, ms"),
    less("query_group_ms", "group by, sum"),
    less("query_lookup_ms", "look-up by id"),
    less("query_top_ms", "top ten of users"),
    less("query_like_ms", "LIKE"),
    less("query_hours_ms", "hour buckets"),
    less("query_recent_ms", "last five minutes"),
    less("query_join_ms", "join"),
    less("first_answer_ms", "first query answered, ms"),
    less("caught_up_ms", "caught up, ms"),
    less("open_bytes_per_row", "bytes a row, open"),
    less("sealed_bytes_per_row", "bytes a row, sealed"),
    less("idle_cpu_percent", "idle, % of a core"),
    less("idle_rss_anon_mb", "idle RssAnon, MB"),
];

/// By its key.
#[must_use]
pub fn by_key(key: &str) -> Option<&'static Metric> {
    ALL.iter().find(|metric| metric.key == key)
}
