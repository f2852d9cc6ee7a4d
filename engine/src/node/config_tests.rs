//! Configurations and what is said of them: text in, line out.

use std::path::Path;

use super::*;

fn parse(text: &str) -> Result<Config, ConfigError> {
    let env = |name: &str| match name {
        "EVE" => Some("from the environment".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
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
fn a_host_without_an_address_is_named() {
    // No name server is asked for a label of 64 characters.
    let host = "a".repeat(64);
    let fault = parse(&format!(
        "data_dir = \"d\"\n[listen]\nmysql = \"{host}:3306\""
    ));
    let said = fault.expect_err("no such host").to_string();
    let begins = format!(
        "p.toml:3: [listen] mysql = \"{host}:3306\" names a host that cannot be resolved ("
    );
    let ends = "); name another, or write its address, e.g. \"127.0.0.1:3306\"";
    assert!(said.starts_with(&begins) && said.ends_with(ends), "{said}");
    for wrong in [":3306", "localhost:", "localhost:65536", "localhost:mysql"] {
        let fault = parse(&format!("data_dir = \"d\"\n[listen]\nmysql = \"{wrong}\""));
        let said = fault.expect_err("no address").to_string();
        assert!(said.contains("is no address; write host:port"), "{said}");
    }
    let ipv6 = parse("data_dir = \"d\"\n[listen]\nmysql = \"[::1]:3306\"");
    assert_eq!(ipv6.expect("an address").mysql.to_string(), "[::1]:3306");
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
            "p.toml:1: data_dir must be a string, found the number 1",
        ),
        (
            "data_dir = \"d\"\n[cores]\nleaves = [\"a\"]",
            "p.toml:3: [cores] leaves must be a list of CPU numbers such as [1, 2], or \"auto\", found a list of something else",
        ),
        (
            "data_dir = \"d\"\n[storage]\nflush_age_ms = 1",
            "p.toml:3: [storage] flush_age_ms = 1 is out of range: 10 to 3600000",
        ),
        (
            "data_dir = \"d\"\n[log]\nlevel = \"loud\"",
            "p.toml:3: [log] level must be \"error\" or \"warn\" or \"info\" or \"debug\", found \"loud\"",
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
            "p.toml:3: [users] x: the environment has no NOT_THERE, or an empty one",
        ),
        (
            "data_dir = \"d\"\n[users]\nx = 1",
            "p.toml:3: [users] x: must be a password, { file = \"path\" } or { env = \"NAME\" }",
        ),
        (
            "data_dir = \"d\"\ncores = 1",
            "p.toml:2: cores is a table and not the number 1: write [cores]",
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
fn a_value_that_makes_no_sense_is_answered_with_its_key_and_mend() {
    for (text, expected) in [
        (
            "data_dir = \"\"",
            "p.toml:1: data_dir is empty: give a path",
        ),
        (
            "data_dir = \"a\\u0000b\"",
            "p.toml:1: data_dir has a NUL in it, which no path may have",
        ),
        (
            "data_dir = \"d\"\nstartup_sql = \"\"",
            "p.toml:2: startup_sql is empty: give a path, or leave it out",
        ),
        (
            "data_dir = \"d\"\n[cores]\nleaves = []",
            "p.toml:3: [cores] leaves must be a list of CPU numbers such as [1, 2], or \"auto\", found an empty list",
        ),
        (
            "data_dir = \"d\"\n[cores]\ncontrol = -1",
            "p.toml:3: [cores] control must be a CPU's number or \"auto\", found the number -1",
        ),
        (
            "data_dir = \"d\"\n[memory]\nquery_bytes = 0",
            "p.toml:3: [memory] query_bytes = 0 is out of range: 16777216 to 17592186044416",
        ),
        (
            "data_dir = \"d\"\n[memory]\nleaf_bytes = 1.5",
            "p.toml:3: [memory] leaf_bytes must be a whole number from 16777216 to 1099511627776, found the number 1.5",
        ),
        (
            "data_dir = \"d\"\n[memory]\nquery_bytes = -1",
            "p.toml:3: [memory] query_bytes must be a whole number from 16777216 to 17592186044416, found the number -1",
        ),
        (
            "data_dir = \"d\"\n[server]\nmax_connections = 0",
            "p.toml:3: [server] max_connections = 0 is out of range: 1 to 100000",
        ),
        (
            "data_dir = \"d\"\n[listen]\nmysql = \"\"",
            "p.toml:3: [listen] mysql = \"\" is no address; write host:port, e.g. \"127.0.0.1:3306\"",
        ),
        (
            "data_dir = \"d\"\n[users]\n\"\" = \"x\"",
            "p.toml:3: [users] has a name that is empty or has a NUL in it: no client can log in with it",
        ),
        (
            "data_dir = \"d\"\n[users]",
            "p.toml: [users] is empty: nobody could connect; name a user or leave it out",
        ),
        (
            "data_dir = \"d\"\n[users]\nx = { file = \"\" }",
            "p.toml:3: [users] x: file must be a path",
        ),
        (
            "data_dir = \"d\"\n[users]\nx = { env = \"\" }",
            "p.toml:3: [users] x: env must be a name",
        ),
        (
            "data_dir = \"d\"\n[users]\nx = { env = \"EMPTY\" }",
            "p.toml:3: [users] x: the environment has no EMPTY, or an empty one",
        ),
        (
            "data_dir = \"d\"\n[variables]\npipelines_batch_interval = [1]",
            "p.toml:3: [variables] pipelines_batch_interval must be a whole number, a string, true or false, found \
             a list of something else",
        ),
        (
            "data_dir = \"d\"\n[variables]\nPIPELINES_BATCH_INTERVAL = 2\npipelines_batch_interval = 1",
            "p.toml:4: [variables] pipelines_batch_interval stands there twice; write it once",
        ),
    ] {
        assert_eq!(parse(text).expect_err(expected).to_string(), expected);
    }
}

#[test]
fn a_users_name_is_as_long_as_a_login_takes_and_no_longer() {
    let of = |bytes: usize| {
        parse(&format!(
            "data_dir = \"d\"\n[users]\n{} = \"x\"",
            "a".repeat(bytes)
        ))
    };
    assert_eq!(of(256).expect("valid").users.len(), 1);
    assert_eq!(
        of(257).expect_err("too long").to_string(),
        "p.toml:3: [users] has a name of more than 256 bytes: no client can log in with it"
    );
}

#[test]
fn a_password_file_that_holds_none_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, shown) = (folder.path().join("p.toml"), folder.path().display());
    let read = |name: &str| {
        let text = format!("data_dir = \"d\"\n[users]\nx = {{ file = \"{name}\" }}");
        Config::parse(&path, &text, &|_| None).map(|config| config.users["x"].0.clone())
    };
    std::fs::write(folder.path().join("full"), "secret\r\nmore\n").expect("written");
    assert_eq!(read("full"), Ok("secret".into()));
    std::fs::write(folder.path().join("empty"), "\nsecret\n").expect("written");
    let reads = "cannot be read: Is a directory (os error 21); name a file whose first line is the password";
    for (name, expected) in [
        (
            "empty",
            format!("the first line of {shown}/empty is empty: write the password into it"),
        ),
        (".", format!("{shown}/. {reads}")),
        // TOML's escapes, shown as such.
        (
            "a\\n\\u0085b",
            format!(
                "{shown}/a\\n\\u{{85}}b {}",
                reads.replace(
                    "Is a directory (os error 21)",
                    "No such file or directory (os error 2)"
                )
            ),
        ),
    ] {
        let error = read(name).expect_err("no password").to_string();
        assert_eq!(error, format!("{shown}/p.toml:3: [users] x: {expected}"));
    }
}

#[test]
fn no_password_is_ever_printed() {
    let config = parse("data_dir = \"d\"\n[users]\nann = \"hunter2\"").expect("valid");
    assert!(!format!("{config:?}").contains("hunter2"));
}
