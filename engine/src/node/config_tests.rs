//! Configurations and what is said of them: text in, line out.

use std::path::Path;

use super::*;

fn parse(text: &str) -> Result<Config, ConfigError> {
    let env = |name: &str| (name == "EVE").then(|| "from the environment".to_owned());
    Config::parse(Path::new("p.toml"), text, &env)
}

#[test]
fn the_least_file_takes_every_default() {
    let config = parse("data_dir = \"data\"").expect("valid");
    assert_eq!(config.data_dir, Path::new("data"));
    assert_eq!(config.mysql.to_string(), "127.0.0.1:3306");
    assert_eq!(config.number("storage", "flush_age_ms"), 1000);
    assert_eq!(config.users["root"], Password(String::new()));
    assert_eq!(
        (config.leaves, config.spin, config.log_json),
        (Cpus::Auto, false, false)
    );
}

#[test]
fn every_kind_of_value_is_read() {
    let config = parse(
        "data_dir = \"/d\"\nstartup_sql = \"s.sql\"\n[cores]\ncontrol = 0\nleaves = [1]\nquery = \"auto\"\nspin = true\n\
         [listen]\nmysql = \"[::1]:4000\"\n[users]\nann = \"x\"\neve = { env = \"EVE\" }\n[memory]\nquery_bytes = 33554432\n\
         [variables]\npipelines_stop_on_error = false\npipelines_batch_interval = 20\n[log]\nformat = \"json\"\nlevel = \"debug\"",
    )
    .expect("valid");
    assert_eq!(
        (&config.control, &config.leaves),
        (&Cpus::These(vec![0]), &Cpus::These(vec![1]))
    );
    assert_eq!(config.users["eve"].0, "from the environment");
    assert_eq!(config.number("memory", "query_bytes"), 33_554_432);
    assert_eq!(config.variables["pipelines_stop_on_error"], "OFF");
    assert!(config.log_json && config.spin);
    assert_eq!(config.startup_sql.as_deref(), Some(Path::new("s.sql")));
}

#[test]
fn a_wrong_configuration_is_answered_in_one_line() {
    let cases = [
        (
            "",
            "p.toml: data_dir is missing: name the directory that is to hold the data",
        ),
        (
            "data_dir = \"d\"\nport = 1",
            "p.toml:2: unknown key port at the top; known are data_dir, startup_sql, [cores], [listen], [users], \
             [memory], [storage], [variables], [server], [log]",
        ),
        (
            "data_dir = \"d\"\n[cores]\nleafs = 1",
            "p.toml:3: unknown key leafs in [cores]; known are control, leaves, query, spin",
        ),
        (
            "data_dir = 1",
            "p.toml:1: data_dir must be a string, found a integer",
        ),
        (
            "data_dir = \"d\"\n[cores]\nleaves = [\"a\"]",
            "p.toml:3: [cores] leaves must be a list of CPU numbers such as [1, 2], or \"auto\", found a array",
        ),
        (
            "data_dir = \"d\"\n[storage]\nflush_age_ms = 1",
            "p.toml:3: [storage] flush_age_ms = 1 is out of range: 10 to 3600000",
        ),
        (
            "data_dir = \"d\"\n[log]\nlevel = \"loud\"",
            "p.toml:3: [log] level must be \"error\" or \"warn\" or \"info\" or \"debug\", found a string",
        ),
        (
            "data_dir = \"d\"\n[listen]\nmysql = \"nowhere\"",
            "p.toml:3: [listen] mysql = \"nowhere\" is no address; write host:port, e.g. \"127.0.0.1:3306\"",
        ),
        (
            "data_dir = \"d\"\n[listen]\nmysql = \"0.0.0.0:3306\"",
            "p.toml:3: [listen] mysql = \"0.0.0.0:3306\" is beyond loopback and user root has an empty password; give \
             [users] root a password or listen on 127.0.0.1",
        ),
        (
            "data_dir = \"d\"\n[users]\nx = { env = \"NOT_THERE\" }",
            "p.toml:3: [users] x: the environment has no NOT_THERE",
        ),
        (
            "data_dir = \"d\"\n[users]\nx = 1",
            "p.toml:3: [users] x: must be a password, { file = \"path\" } or { env = \"NAME\" }",
        ),
        (
            "data_dir = \"d\"\ncores = 1",
            "p.toml:2: cores is a table and not a integer: write [cores]",
        ),
    ];
    for (text, expected) in cases {
        let message = parse(text).expect_err(expected).to_string();
        assert_eq!(message, expected);
        assert!(!message.contains('\n'));
    }
    for text in [
        "data_dir = ",
        "data_dir = \"d\"\n[variables]\nno_such = 1",
        "data_dir = \"d\"\n[users]\nx = { file = \"/none\" }",
    ] {
        let message = parse(text).expect_err(text).to_string();
        assert!(
            message.starts_with("p.toml:") && !message.contains('\n'),
            "{message}"
        );
    }
}

#[test]
fn no_password_is_ever_printed() {
    let config = parse("data_dir = \"d\"\n[users]\nann = \"hunter2\"").expect("valid");
    assert!(!format!("{config:?}").contains("hunter2"));
}
