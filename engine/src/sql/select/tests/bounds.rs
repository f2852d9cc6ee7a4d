//! What a statement may not do to the others: nest and grow without end, hold a thread, and not hear its KILL.

use std::sync::atomic::Ordering;

use futures::StreamExt;

use super::*;
use crate::limits::QUERY_STACK_BYTES;
use crate::sql::select::bind::bind;
use crate::sql::select::cancel::planning;
use crate::sql::select::fault::unwrap;
use crate::sql::select::plan::{logical, plan, state};

#[test]
fn a_kill_ends_a_query() {
    let (handle, cancel) = Cancel::new();
    let fixture = fixture(64 << 20, false, cancel);
    let query = query("SELECT SLEEP(600)").expect("it parses");
    let fault = fixture.ctx.runtime.block_on(async {
        let mut rows = select(&fixture.ctx, &query, &[]).await.expect("it starts");
        handle.cancel();
        rows.batches
            .next()
            .await
            .expect("an end")
            .expect_err("killed")
    });
    assert_eq!(fault.code, 1317);
}

/// Each of these would take many minutes: dropping the fixture waits for its threads.
#[test]
fn a_kill_ends_what_only_computes() {
    let many = ["SELECT id, name FROM large"; 20].join(" UNION ALL ");
    for (sql, parts) in [
        // Batches that nobody but the count takes.
        (
            format!("SELECT COUNT(*) FROM ({many}) a JOIN large b ON a.name = b.name"),
            3,
        ),
        // Joins that find nothing, by their conditions alone and with keys.
        (
            format!("SELECT COUNT(*) FROM ({many}) a JOIN large b ON a.id + b.id < 0"),
            3,
        ),
        (
            format!(
                "SELECT COUNT(*) FROM ({many}) a JOIN large b ON a.name = b.name AND a.id + b.id < 0"
            ),
            3,
        ),
        // A pattern of its own in each row.
        (
            "SELECT COUNT(*) FROM large WHERE name REGEXP CONCAT('((([a-z]{50}){20}){5}){2}', id)"
                .to_owned(),
            1,
        ),
    ] {
        let (handle, cancel) = Cancel::new();
        let fixture = fixture(1 << 30, false, cancel);
        let query = query(&sql).unwrap();
        let ended = fixture.ctx.runtime.block_on(async {
            let mut rows = select(&fixture.ctx, &query, &[]).await.unwrap();
            // What was read is at work.
            while fixture.world.reads.load(Ordering::Relaxed) < parts {
                tokio::task::yield_now().await;
            }
            handle.cancel();
            rows.batches.next().await.unwrap()
        });
        assert_eq!(ended.unwrap_err().code, 1317, "{sql}");
    }
}

/// All queries have one thread here: who holds it holds up the others.
#[test]
fn what_takes_long_holds_up_no_other() {
    let many = ["SELECT id, name FROM large"; 20].join(" UNION ALL ");
    for sql in [
        format!("SELECT {}1", "1 OR ".repeat(20_000)),
        format!("SELECT COUNT(*) FROM ({many}) a JOIN large b ON a.id + b.id < 0"),
        "SELECT SLEEP(600)".to_owned(),
    ] {
        let (handle, cancel) = Cancel::new();
        let guard = CancelGuard::new(handle);
        let fixture = fixture_on(1, 1 << 30, false, cancel);
        let short = SelectContext {
            cancel: Cancel::never(),
            ..fixture.ctx.clone()
        };
        let (long, other) = (query(&sql).unwrap(), query("SELECT 2").unwrap());
        let ended = fixture.ctx.runtime.block_on(async {
            let long = async {
                let mut rows = select(&fixture.ctx, &long, &[]).await?;
                rows.batches.next().await.unwrap()
            };
            let mut long = std::pin::pin!(long);
            // Its task is the first that the thread takes up.
            assert!(futures::poll!(&mut long).is_pending());
            let mut rows = select(&short, &other, &[]).await.unwrap();
            rows.batches.next().await.unwrap().unwrap();
            assert!(futures::poll!(&mut long).is_pending(), "{sql}");
            drop(guard);
            long.await
        });
        assert_eq!(ended.unwrap_err().code, 1317, "{sql}");
    }
}

/// Where partitions are read side by side DataFusion lets nobody in between: each is read in a task of its own.
#[test]
fn a_scan_lets_others_in_behind_each_batch() {
    let fixture = fixture(1 << 30, false, Cancel::never());
    let query = query("SELECT id, REPEAT('a', 1000000) FROM large").unwrap();
    fixture.ctx.runtime.block_on(async {
        let bound = bind(&fixture.ctx, &query, Some(&[])).unwrap();
        let planned = plan(&fixture.ctx, bound).await.unwrap();
        let mut scan = planned.physical;
        while let Some(input) = scan.children().first().map(|input| Arc::clone(input)) {
            scan = input;
        }
        let mut rows = scan.execute(0, planned.state.task_ctx()).unwrap();
        for _ in 0..3 {
            let batch = rows.next().await.unwrap().unwrap();
            assert!(batch.num_rows() < 10);
            assert!(futures::poll!(rows.next()).is_pending());
        }
    });
}

#[test]
fn what_was_killed_is_planned_no_further() {
    let (handle, cancel) = Cancel::new();
    let fixture = fixture(1 << 30, false, cancel.clone());
    let planned = || {
        let query = query("SELECT id + 1 FROM t WHERE id = 1").unwrap();
        let bound = bind(&fixture.ctx, &query, Some(&[])).unwrap();
        fixture.ctx.runtime.block_on(plan(&fixture.ctx, bound))
    };
    assert!(planned().is_ok());
    handle.cancel();
    let killed = planned().err().unwrap();
    assert_eq!(unwrap(&killed, &fixture.ctx.memory).code, 1317);
    // Each function hears it that is asked for its type.
    let query = query("SELECT id + 1 FROM t").unwrap();
    let described = fixture.ctx.runtime.block_on(async {
        let bound = bind(&fixture.ctx, &query, None).unwrap();
        let state = state(&fixture.ctx);
        let logical = async {
            logical(
                &fixture.ctx,
                &state,
                bound.query,
                &bound.tables,
                &bound.texts,
            )
        };
        planning(cancel, logical).await
    });
    assert_eq!(
        unwrap(&described.unwrap_err(), &fixture.ctx.memory).code,
        1317
    );
}

/// What stands every so many levels of a high expression changes nothing of it.
#[test]
fn a_high_expression_is_the_same_in_a_select_list_and_in_its_group_by() {
    let fixture = plain();
    for levels in (1..12).chain([20]) {
        let tall = format!("id{}", " + 1 - 1".repeat(levels));
        let sql = format!(
            "SELECT {tall}, COUNT(*), SUM({tall}), MAX({tall} + 1) FROM t WHERE {tall} < 3 \
             AND id IN (SELECT {tall} FROM t) GROUP BY {tall} HAVING {tall} > 1 ORDER BY {tall}"
        );
        assert_eq!(answer(&fixture, &sql), "2\t1\t2\t3", "{levels}");
        let branch = format!("{}{tall} = 2 {}", "IF(id = 1, 0, ".repeat(4), ")".repeat(4));
        let sql = format!("SELECT COUNT(*) FROM t WHERE {branch} AND NOT {tall} IN (SELECT 7)");
        assert_eq!(answer(&fixture, &sql), "1", "{levels}");
    }
    // As tall as may be named three times.
    let tall = format!("id{}", " + 1 - 1".repeat(41));
    let sql = format!("SELECT {tall}, COUNT(*) FROM t GROUP BY {tall} HAVING {tall} = 2");
    assert_eq!(answer(&fixture, &sql), "2\t1");
    // Of constants that cannot be computed each level was tried again.
    let chain = format!("SELECT 9232372036854775807 * 3{}", " < 1".repeat(120));
    assert_eq!(answer(&fixture, &chain), "ERROR 1690");
    let chain = format!("SELECT 9 * 3{}", " < 1".repeat(120));
    assert_eq!(answer(&fixture, &chain), "1");
    // Two that differ far below are two.
    let other = |what: &str| format!("SUM(id + {what}{})", " + 1".repeat(60));
    let sql = format!("SELECT {}, {} FROM t WHERE id = 1", other("1"), other("2"));
    assert_eq!(answer(&fixture, &sql), "62\t63");
}

#[test]
fn deep_and_long_expressions_are_bounded_and_do_not_overflow_the_stack() {
    let fixture = fixture(128 << 20, false, Cancel::never());
    let long = vec!["id = 1"; 3_000].join(" OR ");
    assert_eq!(
        answer(&fixture, &format!("SELECT COUNT(*) FROM t WHERE {long}")),
        "1"
    );
    let list: Vec<String> = (0..5_000).map(|n| n.to_string()).collect();
    assert_eq!(
        answer(
            &fixture,
            &format!("SELECT COUNT(*) FROM t WHERE id IN ({})", list.join(","))
        ),
        "6"
    );
    let sum = vec!["1"; 120].join(" + ");
    assert_eq!(answer(&fixture, &format!("SELECT {sum}")), "120");
    let sum = vec!["1"; 20_000].join(" + ");
    assert_eq!(answer(&fixture, &format!("SELECT {sum}")), "ERROR 1104");
    let nested = format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000));
    assert_eq!(answer(&fixture, &nested), "ERROR 1104");
}

/// The levels that `docs/sql.md` tells.
#[test]
fn an_expression_has_so_many_levels() {
    let fixture = plain();
    for (begin, end, most) in [
        ("(", ")", 126),
        ("ABS(", ")", 126),
        ("CASE WHEN 1 THEN ", " END", 125),
        ("-", "", 126),
        ("(", " + 0)", 63),
        ("NOT NOT ", "", 31),
    ] {
        let of = |times: usize| {
            let sql = format!("SELECT {}1{}", begin.repeat(times), end.repeat(times));
            answer(&fixture, &sql)
        };
        assert_eq!(of(most), "1", "{begin}");
        assert_eq!(of(most + 1), "ERROR 1104", "{begin}");
    }
}

#[test]
fn a_pattern_is_bounded_wherever_it_comes_from() {
    let fixture = plain();
    for (pattern, expected) in [
        (format!("'{}'", "%".repeat(16_384)), "1"),
        (format!("'{}'", "%_".repeat(8_193)), "ERROR 1104"),
        ("CONCAT(REPEAT('1', 16382), id, '%')".to_owned(), "0"),
        ("REPEAT('%_', 1000000)".to_owned(), "ERROR 1104"),
        (
            "REPEAT(IF(id > 0, '%_', ''), 8193)".to_owned(),
            "ERROR 1104",
        ),
    ] {
        let sql = format!("SELECT 'x' LIKE {pattern} FROM t WHERE id = 1");
        assert_eq!(answer(&fixture, &sql), expected, "{pattern:.40}");
        // Each of them is a longer text than 'x'.
        let pattern = pattern.replace(['%', '_'], "a");
        let sql = format!("SELECT 'x' REGEXP {pattern} FROM t WHERE id = 1");
        let is_refused = answer(&fixture, &sql) == "ERROR 1104";
        assert_eq!(is_refused, expected == "ERROR 1104", "{pattern:.40}");
    }
}

/// What functions make of constants stands in the plan: side by side, swallowed by another, or in a branch that is
/// not taken.
#[test]
fn what_functions_make_of_constants_is_bounded_and_reserved() {
    let repeats = |count: usize, bytes: usize| {
        let repeat = format!("REPEAT('a', {bytes})");
        vec![repeat; count].join(", ")
    };
    let wide = fixture(1 << 30, false, Cancel::never());
    let narrow = fixture(64 << 20, false, Cancel::never());
    for (sql, in_wide, in_narrow) in [
        (
            format!("SELECT LENGTH(ELT(1, {}))", repeats(3, 1 << 20)),
            "1048576",
            "1048576",
        ),
        // 60 MiB.
        (
            format!("SELECT LENGTH(ELT(1, {}))", repeats(60, 1 << 20)),
            "1048576",
            "ERROR 1038",
        ),
        (
            format!("SELECT LENGTH(ELT(1, {}))", repeats(64, 1 << 20)),
            "ERROR 1301",
            "ERROR 1038",
        ),
        (
            format!("SELECT LENGTH(CONCAT_WS(',', {}))", repeats(200, 10 << 20)),
            "ERROR 1301",
            "ERROR 1038",
        ),
        (
            format!(
                "SELECT IF(id = 1, 'a', CONCAT({})) FROM t",
                repeats(9, 10 << 20)
            ),
            "ERROR 1301",
            "ERROR 1038",
        ),
        (
            format!("SELECT LENGTH(UPPER(LOWER({})))", repeats(1, 8 << 20)),
            "8388608",
            "ERROR 1038",
        ),
    ] {
        for (fixture, expected) in [(&wide, in_wide), (&narrow, in_narrow)] {
            assert_eq!(answer(fixture, &sql), expected, "{sql:.60}");
            assert_eq!(fixture.ctx.memory.bytes_held(), 0, "{sql:.60}");
        }
    }
}

/// A text that is too long to be copied is a text as any other, wherever it stands.
#[test]
fn a_long_text_is_what_a_short_one_is() {
    let fixture = fixture(256 << 20, false, Cancel::never());
    for sql in [
        "SELECT LENGTH('?') > 100, 'a' = '?', '?' = '?' FROM t WHERE id = 1",
        "SELECT COUNT(*) FROM t WHERE name < '?'",
        "SELECT COUNT(*) FROM t WHERE name IN ('a', '?') OR name > '?'",
        "SELECT LENGTH('?') > 100 l, COUNT(*) FROM t GROUP BY '?' HAVING MAX(name) < '?'",
        "SELECT id FROM t WHERE id < 3 ORDER BY CONCAT(name, '?') DESC, '?' LIMIT 1",
        "SELECT LENGTH(a) > 100 FROM (SELECT '?' a UNION SELECT '?' UNION ALL SELECT 'b') u ORDER BY 1",
        "SELECT DISTINCT LENGTH(v.a) > 100 FROM (SELECT '?' a, name FROM t) v JOIN t ON v.name = t.name AND v.a = '?'",
        "SELECT COUNT(*) FROM t a LEFT JOIN t b ON a.id = b.id AND b.name > '?'",
        "SELECT COUNT(*) FROM t WHERE EXISTS (SELECT 1 FROM t u WHERE u.id = t.id AND u.name <> '?')",
        "SELECT COUNT(*) FROM t WHERE id IN (SELECT id FROM t u WHERE u.name <> '?')",
        "SELECT COUNT(*) FROM t WHERE id NOT IN (SELECT id FROM t u WHERE u.name = '?')",
        "SELECT (SELECT LENGTH('?') > 100), (SELECT MAX('?') FROM t) = '?'",
        "SELECT (SELECT COUNT(*) FROM t u WHERE u.id = t.id AND u.name <> '?') FROM t ORDER BY id",
        "WITH c AS (SELECT '?' a) SELECT COUNT(*) FROM c JOIN c d ON c.a = d.a",
        "SELECT CASE WHEN id = 1 THEN LENGTH('?') > 100 ELSE 0 END, IFNULL(NULLIF('?', '?'), 'n') FROM t ORDER BY id",
        "SELECT CAST('?' AS CHAR) = '?', COALESCE(NULL, '?') = '?', '?' BETWEEN 'a' AND 'z'",
        "SELECT LENGTH(SUBSTRING('?', 10)) > 100, LOCATE('x', '?'), FIND_IN_SET(name, '?') FROM t WHERE id = 1",
        "SELECT MIN(LENGTH(CONCAT('?', name))) > 100, SUM(LENGTH(UPPER('?'))) > 600 FROM t",
        "SELECT id, ROW_NUMBER() OVER (PARTITION BY '?' ORDER BY '?', id) FROM t ORDER BY id",
        "SELECT '?' LIKE 'x%', '?' REGEXP '^x+$', '?' + 1, '?' IS NULL, NOT '?'",
        "SELECT DATE_ADD('2020-01-01', INTERVAL 1 DAY) = '?', YEAR('?') FROM t WHERE id = 1",
        "SELECT COUNT(DISTINCT '?'), COUNT('?') FROM t",
    ] {
        let short = answer(&fixture, &sql.replace('?', &"x".repeat(200)));
        let long = answer(&fixture, &sql.replace('?', &"x".repeat(20_000)));
        assert_eq!(long, short, "{sql}");
        // What functions make of constants as well.
        let made = answer(&fixture, &sql.replace("'?'", "REPEAT('xx', 10000)"));
        assert_eq!(made, short, "{sql}");
        assert!(!short.starts_with("ERROR"), "{sql}: {short}");
    }
    let long = format!("'{}'", "x".repeat(20_000));
    assert_eq!(
        answer(&fixture, &format!("SELECT 'x' LIKE {long}")),
        "ERROR 1104"
    );
    assert_eq!(
        answer(&fixture, &format!("SELECT REPEAT({long}, 1000)")),
        "ERROR 1301"
    );
    assert_eq!(fixture.ctx.memory.bytes_held(), 0);
}

/// Where a planner writes a constant of a derived table out, in each condition on it, it writes its name; and a
/// parameter that stands in many places is one text.
#[test]
fn a_long_text_is_not_copied_to_where_it_is_named() {
    let wide = fixture(1 << 30, false, Cancel::never());
    let conditions = |count: usize| {
        let each = (0..count).map(|n| format!("v.a = CONCAT(v.b, {n})"));
        each.collect::<Vec<_>>().join(" OR ")
    };
    let derived = |made: &str, count| {
        format!(
            "SELECT COUNT(*) FROM (SELECT {made} a, name b FROM t) v WHERE {}",
            conditions(count)
        )
    };
    let repeat = "REPEAT('a', 10485760)";
    assert_eq!(answer(&wide, &derived(repeat, 400)), "0");
    let listed = |what: &str, count: usize| vec![what; count].join(", ");
    let same = |count: usize| {
        let text = Value::Bytes(vec![b'b'; 1 << 20]);
        let sql = format!("SELECT LENGTH(ELT(1, {}))", listed("?", count));
        let answered = run(&wide, &sql, &vec![text; count]);
        answered.map_or_else(|fault| fault.code.to_string(), |(_, rows)| rows[0].join(""))
    };
    assert_eq!((&*same(60), &*same(65)), ("1048576", "1301"));
}

/// As the control thread parses.
fn on_stack_of_queries(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(QUERY_STACK_BYTES);
        let ended = thread.spawn_scoped(scope, work).unwrap().join();
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
    });
}

/// What stands twice in a plan, or doubles the work of one at each level, and what grows with the square of its length or
/// worse: a short text is planned in time, or refused.
#[test]
fn what_is_nested_in_each_other_is_planned_in_time_or_refused() {
    on_stack_of_queries(|| {
        let fixture = fixture(1 << 30, false, Cancel::never());
        let behind =
            |one: &str, times: usize| format!("SELECT id{} FROM t WHERE id = 1", one.repeat(times));
        let around = |one: &str, end: &str, times: usize| {
            let (one, end) = (one.repeat(times), end.repeat(times));
            format!("SELECT {one}id{end} FROM t WHERE id = 1")
        };
        // As many as an expression may have; named by their text, they took minutes.
        assert_eq!(answer(&fixture, &behind(" + 1 - 1", 60)), "1");
        assert_eq!(answer(&fixture, &around("ABS(", ")", 120)), "1");
        // So many are planned in a second; more are refused.
        let many = |times: usize| vec!["1".to_owned() + &" < 1".repeat(120); times].join(", ");
        assert_eq!(answer(&fixture, &format!("SELECT {}", many(1))), "1");
        assert_eq!(
            answer(&fixture, &format!("SELECT {}", many(2))),
            "ERROR 1104"
        );
        let sums = format!(
            "SELECT SUM(id{0}), SUM(id{0} + 1) FROM t WHERE id = 1",
            " + 0".repeat(40)
        );
        assert_eq!(answer(&fixture, &sums), "1\t2");
        for times in [3, 50] {
            for sql in [
                // 1 < 2, 1 < 2, ...
                behind(" < 2", times),
                behind(" = 1", times),
                behind(" <=> 1", times),
                behind(" XOR 0", 2 * times + 1),
                around("IF(", " = 1, 1, 2)", 3),
                around("CASE WHEN id = 7 THEN 2 ELSE ", " END", times),
                around("COALESCE(NULL, ", ")", times),
                around("ABS(", ")", times),
                around("-", "", 2 * times),
                behind(" + 1 - 1", times),
            ] {
                assert_eq!(answer(&fixture, &sql), "1", "{sql}");
            }
        }
        for (times, expected) in [(8, "1"), (50, "ERROR 1104")] {
            for sql in [
                behind(" IN (1, 7)", times),
                around("(", " BETWEEN 0 AND 2)", times),
                around("COALESCE(", ", 7, 8)", times),
                around("IFNULL(", " + 0, 7)", times),
                around("NULLIF(", ", 7)", times),
                around("IF(", " = 1, 1, 7)", times),
                around("CASE WHEN ", " = 1 THEN 1 ELSE 7 END", times),
                around("CASE ", " WHEN 1 THEN 1 WHEN 7 THEN 8 END", times),
                around("CASE ", " WHEN 1 THEN id = 1 ELSE id = 7 END", times),
                around("CASE 1 WHEN ", " THEN 1 ELSE 7 END", times),
                around("ABS(IF(id > 7, 7, ", "))", times),
                around("ROUND(CASE WHEN id > 7 THEN 7 ELSE ", " END)", times),
                format!("SELECT {}1{}", "(SELECT ".repeat(times), ")".repeat(times)),
            ] {
                assert_eq!(answer(&fixture, &sql), expected, "{sql}");
            }
            for one in [
                "id = (SELECT MAX(id) FROM t WHERE ",
                "EXISTS (SELECT 1 FROM t WHERE ",
                "id IN (SELECT id FROM t WHERE ",
                "id NOT IN (SELECT id + 9 FROM t WHERE ",
            ] {
                let (begin, end) = (one.repeat(times), ")".repeat(times));
                let sql = format!("SELECT COUNT(*) FROM t WHERE {begin}id = 1{end}");
                assert_eq!(answer(&fixture, &sql).contains("ERROR"), times > 8, "{sql}");
            }
        }
        let ctes = |next: &str, times: usize| {
            let ctes: Vec<String> = (1..times)
                .map(|n| format!("c{n} AS ({})", next.replace('@', &format!("c{}", n - 1))))
                .collect();
            format!(
                "WITH c0 AS (SELECT 1 x), {} SELECT x FROM c{}",
                ctes.join(", "),
                times - 1
            )
        };
        for next in [
            "SELECT x FROM @ UNION SELECT x FROM @",
            "SELECT a.x FROM @ a JOIN @ b ON a.x = b.x",
            "SELECT (SELECT MAX(x) FROM @) + (SELECT MIN(x) FROM @) - 1 x",
        ] {
            assert_eq!(answer(&fixture, &ctes(next, 5)), "1", "{next}");
            assert_eq!(answer(&fixture, &ctes(next, 40)), "ERROR 1104", "{next}");
        }
        assert_eq!(answer(&fixture, &ctes("SELECT x FROM @", 60)), "1");
        // A filter is pushed below a derived table, written out.
        let derived = |times: usize| {
            format!(
                "SELECT MIN(x) FROM {}(SELECT id x FROM t){} t WHERE x > 0 AND x < 1000",
                "(SELECT x + x x FROM ".repeat(times),
                " t)".repeat(times)
            )
        };
        assert_eq!(answer(&fixture, &derived(3)), "8");
        assert_eq!(answer(&fixture, &derived(30)), "ERROR 1104");
        let chain = |times: usize| {
            format!(
                "{}(SELECT id x FROM t){} t",
                "(SELECT x + x x FROM ".repeat(times),
                " t)".repeat(times)
            )
        };
        for (begin, end) in [
            ("SELECT 1 FROM", "ORDER BY x LIMIT 1"),
            (
                "SELECT MIN(y) FROM (SELECT x, COUNT(*) y FROM",
                "GROUP BY x ORDER BY x LIMIT 1) q",
            ),
            ("SELECT COUNT(*) FROM t WHERE id IN (SELECT x FROM", ")"),
            (
                "SELECT COUNT(*) FROM (SELECT id x FROM t) z JOIN",
                "USING (x) WHERE x = 4",
            ),
            (
                "SELECT COUNT(*) FROM (SELECT id x FROM t) z NATURAL JOIN",
                "",
            ),
            (
                "SELECT COUNT(*) FROM (SELECT id FROM t INTERSECT SELECT x FROM",
                ") q",
            ),
        ] {
            let few = answer(&fixture, &format!("{begin} {} {end}", chain(1)));
            assert!(!few.starts_with("ERROR"), "{begin}: {few}");
            let many = answer(&fixture, &format!("{begin} {} {end}", chain(30)));
            assert_eq!(many, "ERROR 1104", "{begin}");
        }
        // NULL or not: it compares with what it is made of.
        let nullif = |times| {
            format!(
                "SELECT {}7{}",
                "NULLIF(1, ".repeat(times),
                ")".repeat(times)
            )
        };
        assert_eq!(answer(&fixture, &nullif(1)), "1");
        assert_eq!(answer(&fixture, &nullif(40)), "ERROR 1104");
        // An alias is written out wherever it is named.
        let tall = format!("SELECT id{} a FROM t", " + 1".repeat(60));
        let named = |times: usize| format!("{tall} HAVING a = 61{}", " OR a < 0".repeat(times));
        assert_eq!(answer(&fixture, &named(9)), "61");
        assert_eq!(answer(&fixture, &named(2_000)), "ERROR 1104");
    });
}

/// What stands beside each other.
#[test]
fn what_a_statement_has_too_much_of_is_refused() {
    on_stack_of_queries(|| {
        let fixture = plain();
        let list = |of: &dyn Fn(usize) -> String, times: usize, between: &str| {
            (0..times).map(of).collect::<Vec<_>>().join(between)
        };
        let tables = |times| {
            format!(
                "SELECT 1 FROM {}",
                list(&|n| format!("t a{n}"), times, ", ")
            )
        };
        let error = |sql: &str| match query(sql) {
            Ok(query) => {
                let work = select(&fixture.ctx, &query, &[]);
                fixture.ctx.runtime.block_on(work).err()
            }
            Err(error) => Some(error),
        };
        let refused = error(&tables(62)).unwrap();
        assert_eq!(
            (refused.code, refused.message.as_str()),
            (
                1116,
                "Too many tables; MySQL can only use 61 tables in a join"
            )
        );
        assert!(error(&format!("{} WHERE a0.id = 9", tables(3))).is_none());
        let unions = |times| list(&|n| format!("SELECT {n}, {n}"), times, " UNION ALL ");
        assert!(error(&unions(200)).is_none());
        for sql in [unions(900), unions(3_000)] {
            assert_eq!(error(&sql).unwrap().code, 1104);
        }
        let windows = |n| format!("SUM(id) OVER (PARTITION BY id + {n})");
        let windows = |times| format!("SELECT {} FROM t", list(&windows, times, ", "));
        assert!(error(&windows(20)).is_none());
        assert_eq!(error(&windows(128)).unwrap().code, 1104);
        let subqueries = |times| format!("SELECT {}", list(&|_| "(SELECT 1)".into(), times, ", "));
        assert!(error(&subqueries(100)).is_none());
        assert_eq!(error(&subqueries(257)).unwrap().code, 1104);
        // Each of these is a join: it comes to an end where others are let in between.
        let except = format!(
            "SELECT 0 EXCEPT {}",
            list(&|n| format!("SELECT {}", n + 1), 200, " EXCEPT ")
        );
        assert_eq!(answer(&fixture, &except), "0");
        // What is flat stays possible.
        let case = list(&|n| format!("WHEN {n} THEN {n} + 1"), 1_000, " ");
        assert_eq!(
            answer(
                &fixture,
                &format!("SELECT CASE id {case} END FROM t WHERE id = 1")
            ),
            "2"
        );
        let case = list(&|n| format!("WHEN id = {n} THEN {n} + 1"), 1_000, " ");
        assert_eq!(
            answer(
                &fixture,
                &format!("SELECT CASE {case} END FROM t WHERE id = 1")
            ),
            "2"
        );
    });
}

/// A row of a hundred thousand operators would overflow the stack of whoever drops its tree.
#[test]
fn what_is_too_high_is_refused_before_it_is_parsed() {
    on_stack_of_queries(|| {
        let fixture = plain();
        for one in [
            "+ (1)",
            "+ ABS(1)",
            "IN (1)",
            "BETWEEN 0 AND 1",
            "XOR 1 AND 1",
            "UNION SELECT 1, 1",
        ] {
            let sql = format!("SELECT 1 {}", format!("{one} ").repeat(200_000));
            assert_eq!(answer(&fixture, &sql), "ERROR 1104", "{one}");
        }
        for sql in [
            format!("SELECT {}1", "NOT ".repeat(130)),
            format!("SELECT {}1", "NOT ".repeat(300)),
            format!(
                "SELECT {}1{}",
                "CASE WHEN 1 THEN ".repeat(300),
                " END".repeat(300)
            ),
            format!("SELECT {}1{}", "NOT (".repeat(300), ")".repeat(300)),
        ] {
            assert_eq!(answer(&fixture, &sql), "ERROR 1104", "{sql}");
        }
        // What sqlparser reads as a name, a type or a list, and builds its tree higher.
        for (begin, one, end) in [
            ("1", "::or", ""),
            ("1", " + :or", ""),
            ("1", " + [1, 1]", ""),
            ("1", " + ARRAY[1, 1]", ""),
            ("1", " + a() OVER or", ""),
            ("'a'", " = 'a' COLLATE or", ""),
            ("CASE 1", "::when", " WHEN 1 THEN 1 END"),
            ("CASE WHEN 1", " + INTERVAL 1 else", " THEN 1 END"),
        ] {
            for times in [20_000, 400_000] {
                let sql = format!("SELECT {begin}{}{end}", one.repeat(times));
                let refused = answer(&fixture, &sql);
                assert!(
                    ["ERROR 1064", "ERROR 1104"].contains(&refused.as_str()),
                    "{one}"
                );
            }
        }
        for sql in [
            format!("SELECT {}", ["'a'"; 3].join(&" MOD 'a'".repeat(900))),
            format!(
                "SELECT {}",
                vec![format!("1{}", " DIV 1".repeat(900)); 300].join(", ")
            ),
        ] {
            // Not copied once more with each of them: in time.
            assert_eq!(answer(&fixture, &sql), "ERROR 1104");
        }
        let row = ["1 = 1"; 20_000].join(" OR ");
        let nested = format!("SELECT {}{row}{}", "(".repeat(240), " OR 1)".repeat(240));
        let words = query(&nested).err().unwrap().message;
        assert!(words.contains("would be copied"), "{words}");
        // A word that ends a row is no operand.
        for word in ["and", "or", "when", "then", "else"] {
            let sql = format!("SELECT CASE WHEN 1 {}", format!("+ {word} ").repeat(20_000));
            assert_eq!(answer(&fixture, &sql), "ERROR 1064", "{word}");
        }
    });
}
