//! Who may come in and what it costs: connections that say nothing, wrong passwords, clients that send or read a
//! byte at a time. Meanwhile everybody else goes on. Raw sockets, so that nothing is hidden by a client.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::node::Node;
use crate::wire::{PATIENCE, Refused, Wire, refused};

/// `limits::LOGINS_MIN`: connections that may be open and not logged in.
const HALF_OPEN_MAX: u64 = 256;
/// A flood keeps so many open: more than that, and those that wait in the kernel to be accepted.
const KEPT_OPEN: usize = 500;
/// `limits::FAILURES_FREE`, and the first delays behind them.
const FAILURES_FREE: usize = 3;
const DELAYS: [Duration; 2] = [Duration::from_millis(250), Duration::from_millis(500)];
/// `limits::FAILURE_WAITING_MAX`.
const WAITING_MAX: u64 = 16;
/// All of 127.0.0.0/8 is this machine; each of these is a source of its own.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const A_THIRD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
/// Nobody but who guesses comes from here: two users of one address may share a counter.
const GUESSES: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);
const PASSWORD: &str = "right";

/// A client that is logged in and asks SELECT 1 again and again.
struct Neighbour {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    thread: JoinHandle<Duration>,
}

impl Neighbour {
    fn begin(node: &Node) -> Neighbour {
        let stop = Arc::new(AtomicBool::new(false));
        let mut wire = Wire::log_in(node, Ipv4Addr::LOCALHOST, "root", "").unwrap();
        let stopped = Arc::clone(&stop);
        let answers = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&answers);
        let thread = thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !stopped.load(Ordering::Relaxed) {
                let began = Instant::now();
                wire.select_one();
                longest = longest.max(began.elapsed());
                counted.fetch_add(1, Ordering::Relaxed);
            }
            longest
        });
        Neighbour {
            stop,
            answers,
            thread,
        }
    }

    /// Has its answers while that is done: it does not wait for any of what takes its time there.
    fn has_answers_during<T>(&self, what: &str, done: impl FnOnce() -> T) -> T {
        let before = self.answers.load(Ordering::Relaxed);
        let done = done();
        let answers = self.answers.load(Ordering::Relaxed) - before;
        // One may have been on its way, and one may have waited to the end.
        assert!(answers > 2, "{what}: {answers}");
        done
    }

    fn end(self, what: &str) {
        self.stop.store(true, Ordering::Relaxed);
        let longest = self.thread.join().unwrap();
        let times = self.answers.load(Ordering::Relaxed);
        println!("{what}: {times} times SELECT 1, the longest {longest:?}");
    }
}

fn start(server: &str) -> (TempDir, Node) {
    let home = tempfile::tempdir().unwrap();
    let users = format!("[users]\nroot = \"\"\nann = \"{PASSWORD}\"\n");
    let mut node = Node::new(home.path(), &format!("{users}\n[server]\n{server}"));
    node.start();
    (home, node)
}

fn status(node: &Node, name: &str) -> u64 {
    let rows = node.sql(&format!("SHOW STATUS LIKE '{name}'"));
    rows[0][1].parse().unwrap()
}

/// Opens so many connections that say nothing, and answers those that are still open here: the newest.
fn flood(node: &Node, from: Ipv4Addr, connections: u64) -> VecDeque<Wire> {
    let mut open = VecDeque::new();
    for _ in 0..connections {
        open.push_back(Wire::connect(node, from));
        if open.len() > KEPT_OPEN {
            open.pop_front();
        }
    }
    open
}

#[test]
fn mysql_cli_connections_that_say_nothing_shut_nobody_out() {
    // Fewer sessions than half-open connections, which never time out here.
    let (_home, node) = start("max_connections = 4\nconnect_timeout_s = 3600\n");
    let neighbour = Neighbour::begin(&node);
    let began = Instant::now();
    thread::scope(|threads| {
        let flood = threads.spawn(|| flood(&node, ELSEWHERE, 4 * HALF_OPEN_MAX));
        let mut logins = 0;
        while !flood.is_finished() || logins < 50 {
            assert!(began.elapsed() < PATIENCE, "{logins} logins");
            let wire = Wire::log_in(&node, Ipv4Addr::LOCALHOST, "ann", PASSWORD);
            wire.expect("who has a password is let in").select_one();
            logins += 1;
        }
        println!("{logins} logins");
        // The oldest had to go and was told why; the newest may still log in.
        let mut open = flood.join().unwrap();
        let mut oldest = open.pop_front().unwrap();
        oldest.greeted();
        let (number, payload) = oldest.read().expect("an error");
        let (code, text) = refused(&payload);
        assert_eq!((number, code), (2, 1040), "{text}");
        assert!(text.starts_with("Too many connections: "), "{text}");
        let mut newest = open.pop_back().unwrap();
        newest.answer("ann", PASSWORD);
        newest.let_in().expect("it is let in");
        newest.select_one();
    });
    neighbour.end("a flood of half-open connections");
    assert!(status(&node, "Pinleaf_logins_open") <= HALF_OPEN_MAX);
    let dropped = status(&node, "Pinleaf_logins_dropped");
    assert!(dropped >= 3 * HALF_OPEN_MAX, "{dropped}");
    assert!(status(&node, "Aborted_connects") >= dropped);
    assert!(status(&node, "Connections") > 4 * HALF_OPEN_MAX);
    // Once, and not for each.
    let log = node.log();
    let said = log
        .lines()
        .filter(|line| line.contains("made room"))
        .count();
    assert!((1..=10).contains(&said), "{log}");

    // As many from one's own address: these go before who comes then.
    let own = flood(&node, Ipv4Addr::LOCALHOST, 2 * HALF_OPEN_MAX);
    Wire::log_in(&node, Ipv4Addr::LOCALHOST, "ann", PASSWORD)
        .expect("who has a password is let in")
        .select_one();
    drop(own);
}

#[test]
fn mysql_cli_sessions_are_bounded_by_themselves_and_one_too_many_is_told_so() {
    let (_home, node) = start("max_connections = 2\nconnect_timeout_s = 3600\n");
    let silent = flood(&node, Ipv4Addr::LOCALHOST, 8);
    let log_in = || Wire::log_in(&node, Ipv4Addr::LOCALHOST, "ann", PASSWORD);
    let mut sessions: Vec<Wire> = (0..2).map(|_| log_in().expect("there is room")).collect();
    for _ in 0..40 {
        let (code, text) = log_in().err().expect("there is none");
        let all =
            "Too many connections: 2 are logged in; try again, or raise [server] max_connections";
        assert_eq!((code, &*text), (1040, all));
    }
    for session in &mut sessions {
        session.select_one();
    }
    drop(sessions.pop());
    // The place is free when its end was seen.
    node.wait_for("there is room again", PATIENCE, |_| log_in().is_ok());
    drop(sessions);
    node.wait_for("all are gone", PATIENCE, |node| {
        node.try_sql("SELECT 1").is_ok()
    });
    assert_eq!(status(&node, "Max_used_connections"), 2);
    assert!(status(&node, "Connection_errors_max_connections") >= 40);
    let log = node.log();
    let said = log
        .lines()
        .filter(|line| line.contains("Too many connections"));
    assert_eq!(said.count(), 1, "{log}");
    drop(silent);
}

/// A login that fails; how long the verdict took and what it was.
fn failed(node: &Node, from: Ipv4Addr, user: &str) -> (Duration, Refused) {
    let mut wire = Wire::connect(node, from);
    wire.answer(user, "wrong");
    let began = Instant::now();
    let refused = wire.let_in().expect_err("a wrong password");
    (began.elapsed(), refused)
}

#[test]
fn mysql_cli_failed_logins_pay_a_growing_delay_and_nobody_else_does() {
    let (_home, node) = start("");
    let neighbour = Neighbour::begin(&node);
    // Whether there is such a user shows neither in words nor in time.
    for (from, user) in [(GUESSES, "ann"), (ELSEWHERE, "nobody-here")] {
        let before = status(&node, "Connection_control_delay_generated");
        for (time, least) in [Duration::ZERO; FAILURES_FREE]
            .iter()
            .chain(&DELAYS)
            .enumerate()
        {
            let (took, (code, text)) = if least.is_zero() {
                failed(&node, from, user)
            } else {
                neighbour.has_answers_during("a delayed verdict", || failed(&node, from, user))
            };
            println!("{user}, failure {time}: {took:?}");
            assert!(took >= *least, "{took:?}");
            let denied =
                format!("Access denied for user '{user}'@'localhost' (using password: YES)");
            assert_eq!((code, text), (1045, denied));
        }
        let delays = status(&node, "Connection_control_delay_generated") - before;
        assert_eq!(delays, DELAYS.len() as u64);
    }
    // The right password waits too, and then it is forgotten.
    let before = status(&node, "Connection_control_delay_generated");
    let began = Instant::now();
    let log_in = || Wire::log_in(&node, GUESSES, "ann", PASSWORD);
    drop(
        neighbour
            .has_answers_during("a delayed login", log_in)
            .expect("it is right"),
    );
    assert!(began.elapsed() >= 2 * DELAYS[1]);
    drop(log_in().expect("it is right"));
    let delays = status(&node, "Connection_control_delay_generated") - before;
    assert_eq!(delays, 1, "a success clears what was before it");
    // From another address nothing was ever owed.
    drop(Wire::log_in(&node, A_THIRD, "ann", PASSWORD).expect("it is right"));
    neighbour.end("failed logins");
    assert!(status(&node, "Aborted_connects") >= 10);
    // Who is not in the configuration is not named: it may be a password that was typed there.
    let log = node.log();
    let said = log.lines().filter(|line| line.contains("Access denied"));
    assert_eq!(said.count(), 1, "{log}");
    assert!(!log.contains("nobody-here"), "{log}");
}

#[test]
fn mysql_cli_a_place_tries_only_so_many_passwords_at_a_time() {
    let (_home, node) = start("");
    for _ in 0..FAILURES_FREE + 4 {
        failed(&node, ELSEWHERE, "ann");
    }
    // What one more has to wait.
    let delay = 16 * DELAYS[0];
    let before = status(&node, "Connection_control_delay_generated");
    let began = Instant::now();
    let guesses: Vec<Wire> = (0..WAITING_MAX)
        .map(|_| {
            let mut wire = Wire::connect(&node, ELSEWHERE);
            wire.answer("ann", "wrong");
            wire
        })
        .collect();
    node.wait_for("they wait", PATIENCE, |node| {
        status(node, "Connection_control_delay_generated") == before + WAITING_MAX
    });
    let (_, (code, text)) = failed(&node, ELSEWHERE, "ann");
    assert_eq!(code, 1129, "{text}");
    let blocked = "Host 'localhost' is blocked because of many connection errors: ";
    assert!(text.starts_with(blocked), "{text}");
    // Elsewhere the same user is let in at once.
    drop(Wire::log_in(&node, Ipv4Addr::LOCALHOST, "ann", PASSWORD).expect("it is right"));
    // They give it up: there is room at once, not when they would have been told, and the right password is
    // let in.
    drop(guesses);
    let mut logins = Vec::new();
    node.wait_for("there is room", PATIENCE, |node| {
        let mut wire = Wire::connect(node, ELSEWHERE);
        wire.answer("ann", PASSWORD);
        logins.push(wire);
        status(node, "Connection_control_delay_generated") > before + WAITING_MAX
    });
    let took = began.elapsed();
    println!("there is room after {took:?}");
    assert!(took < delay, "{took:?}");
    let mut last = logins.pop().unwrap();
    last.let_in().expect("it is right");
}

/// Sends byte after byte, a pause between two, until the server closes the connection; what it said last.
fn drips(mut wire: Wire, bytes: impl Iterator<Item = u8>) -> Option<Refused> {
    let pause = Duration::from_millis(50);
    wire.0.set_read_timeout(Some(pause)).unwrap();
    let mut heard = Vec::new();
    for byte in bytes {
        let mut piece = [0; 4_096];
        match wire.0.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => heard.extend(&piece[..read]),
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {}
            Err(_) => break,
        }
        if wire.0.write_all(&[byte]).is_err() {
            break;
        }
    }
    heard.get(4..).map(refused)
}

#[test]
fn mysql_cli_a_client_that_sends_a_byte_at_a_time_costs_little_and_is_cut_off() {
    const CLIENTS: usize = 100;
    let (_home, node) = start("connect_timeout_s = 1\nnet_read_timeout_s = 2\n");
    let neighbour = Neighbour::begin(&node);
    // A login: no byte of it is late, the whole is.
    let mut wire = Wire::connect(&node, Ipv4Addr::LOCALHOST);
    wire.greeted();
    let began = Instant::now();
    let said = neighbour.has_answers_during("a login by the byte", || {
        drips(wire, [40, 0, 0, 1].into_iter().chain([1; 1 << 16]))
    });
    let took = began.elapsed();
    println!("a login by the byte ended after {took:?}");
    assert_eq!(said, None);
    assert!(took >= Duration::from_millis(900) && took < PATIENCE);
    assert_eq!(status(&node, "Aborted_connects"), 1);

    // Sessions that announce 16 MiB, and send it by the byte.
    let wires: Vec<Wire> = (0..CLIENTS)
        .map(|_| Wire::log_in(&node, ELSEWHERE, "ann", PASSWORD).unwrap())
        .collect();
    let before = node.anonymous_bytes();
    let threads: Vec<_> = wires
        .into_iter()
        .map(|wire| {
            let bytes = [0xfe, 0xff, 0xff, 0, 3].into_iter().chain([b' '; 1 << 16]);
            thread::spawn(move || drips(wire, bytes))
        })
        .collect();
    let mut most = 0;
    neighbour.has_answers_during("statements by the byte", || {
        node.wait_for("they are cut off", PATIENCE, |node| {
            most = most.max(node.anonymous_bytes());
            status(node, "Aborted_clients") == CLIENTS as u64
        });
    });
    for thread in threads {
        let (code, text) = thread.join().unwrap().expect("it was told");
        assert_eq!(code, 1159, "{text}");
    }
    let grown = most.saturating_sub(before);
    println!("{CLIENTS} of them took {} KiB", grown >> 10);
    assert!(grown < 16 << 20, "{grown}");
    neighbour.end("clients that send by the byte");
}

#[test]
fn mysql_cli_a_client_that_reads_a_byte_at_a_time_holds_up_nobody_and_is_cut_off() {
    let (_home, node) = start("net_write_timeout_s = 3600\n");
    let neighbour = Neighbour::begin(&node);
    let mut wire = Wire::log_in(&node, ELSEWHERE, "ann", PASSWORD).unwrap();
    // The session's own counts.
    wire.command("SET net_write_timeout = 1");
    assert_eq!(wire.read().unwrap().1[0], 0);
    // More than two sockets hold between them.
    wire.command("SELECT REPEAT('x', 15000000), REPEAT('y', 15000000)");
    let is_cut_off = Arc::new(AtomicBool::new(false));
    let cut_off = Arc::clone(&is_cut_off);
    let reads = thread::spawn(move || {
        let mut byte = [0];
        let mut read = 0;
        while !cut_off.load(Ordering::Relaxed) {
            wire.0.read_exact(&mut byte).unwrap();
            read += 1;
            thread::sleep(Duration::from_millis(10));
        }
        // What was on its way already.
        let mut rest = Vec::new();
        let _ = wire.0.read_to_end(&mut rest);
        read + rest.len()
    });
    neighbour.has_answers_during("an answer by the byte", || {
        node.wait_for("it is cut off", PATIENCE, |node| {
            status(node, "Aborted_clients") == 1
        });
    });
    is_cut_off.store(true, Ordering::Relaxed);
    neighbour.end("a client that reads by the byte");
    let read = reads.join().unwrap();
    assert!(read < 30_000_000, "{read}");
    assert_eq!(
        status(&node, "Threads_running"),
        1,
        "its query ended with it"
    );
    assert!(node.log().contains("timed out writing"), "{}", node.log());
}

#[test]
fn mysql_cli_kill_ends_a_session_whose_client_does_not_read() {
    let (_home, node) = start("net_write_timeout_s = 3600\n");
    let mut wire = Wire::log_in(&node, ELSEWHERE, "ann", PASSWORD).unwrap();
    // More than two sockets hold between them.
    wire.command("SELECT REPEAT('x', 15000000), REPEAT('y', 15000000)");
    let (_, columns) = wire.read().expect("how many columns");
    assert_eq!(columns, [2]);
    let sql = "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'ann'";
    let id = node.cell(sql);
    node.sql(&format!("KILL {id}"));
    node.wait_for("its place is free", PATIENCE, |node| {
        status(node, "Threads_connected") == 1
    });
    assert_eq!(status(&node, "Aborted_clients"), 1);
    // It was in the midst of a row: what was on its way arrives, and no error that would be taken for more of it.
    let mut rest = Vec::new();
    let _ = wire.0.read_to_end(&mut rest);
    assert!(rest.len() < 30_000_000, "{}", rest.len());
    assert!(rest.ends_with(b"x") || rest.ends_with(b"y"));
}

#[test]
fn mysql_cli_kill_of_a_session_that_reads_is_told() {
    let (_home, node) = start("");
    let mut wire = Wire::log_in(&node, ELSEWHERE, "ann", PASSWORD).unwrap();
    wire.select_one();
    let sql = "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'ann'";
    let id = node.cell(sql);
    node.sql(&format!("KILL {id}"));
    let (_, payload) = wire.read().expect("an error");
    let (code, text) = refused(&payload);
    assert_eq!((code, &*text), (1317, "Query execution was interrupted"));
    assert!(wire.read().is_none(), "it is closed");
}

#[test]
fn mysql_cli_a_row_longer_than_a_packet_is_an_error_and_the_session_goes_on() {
    let (_home, node) = start("max_allowed_packet_bytes = 1048576\n");
    let mut wire = Wire::log_in(&node, ELSEWHERE, "ann", PASSWORD).unwrap();
    // One string is made, and each column would write it out.
    for columns in [2, 1_000] {
        let columns = vec!["r"; columns].join(", ");
        wire.command(&format!(
            "SELECT {columns} FROM (SELECT REPEAT('x', 600000) AS r) AS t"
        ));
        let (code, text) = loop {
            let (_, payload) = wire.read().expect("an answer");
            if payload[0] == 0xff {
                break refused(&payload);
            }
        };
        let too_long = "Got a packet bigger than 'max_allowed_packet' bytes: a row of the answer is longer than \
                        1048576; read fewer or shorter columns, or raise [server] max_allowed_packet_bytes";
        assert_eq!((code, &*text), (1153, too_long));
        wire.select_one();
    }
    // One of them fits.
    wire.command("SELECT REPEAT('x', 600000)");
    for _ in 0..3 {
        wire.read().expect("the column");
    }
    let (_, row) = wire.read().expect("the row");
    assert_eq!(row.len(), 600_004);
}

#[test]
fn mysql_cli_a_name_of_a_login_has_a_bound() {
    let (_home, node) = start("");
    let long = "a".repeat(257);
    let (code, text) = Wire::log_in(&node, ELSEWHERE, &long, "")
        .err()
        .expect("too long");
    let expected = "The name of a user or a database is longer than 256 bytes";
    assert_eq!((code, &*text), (1470, expected));
    assert!(!node.log().contains(&long), "{}", node.log());
}
