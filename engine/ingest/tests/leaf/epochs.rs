//! Leaders and their epochs: whose log an answer speaks of.

use ingest::kafka::ErrorCode;
use ingest::leaf::order::{Goal, Report};
use storage::store::StoreSettings;

use crate::rig::{Rig, Said, Setup, batch, rows};
use crate::told::{epoch_end, epochs_asked, led, log_range};

/// Ten rows of leader epoch 0, committed.
fn loaded(name: &'static str) -> Rig {
    loaded_with(Setup::new(name))
}

fn loaded_with(setup: Setup) -> Rig {
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    rig.answer(&Said::records(10, &[rows(0, 10)]));
    rig.pass(200);
    assert_eq!((rig.visible(), rig.failed()), (10, None));
    rig.reports.clear();
    rig
}

#[test]
fn the_answer_of_a_leader_that_is_none_any_more_says_nothing_of_the_next_ones_log() {
    let mut rig = loaded("stale-epoch-end");
    led(&mut rig, 1);
    led(&mut rig, 2);
    assert_eq!(epochs_asked(&rig), [1, 2]);
    let fetches = rig.fetches.len();
    // Leader 1 had all of it; the log of leader 2, elected uncleanly, ends below the cursor.
    epoch_end(&mut rig, 1, 10);
    rig.pass(100);
    assert_eq!(rig.fetches.len(), fetches, "nothing is fetched unchecked");
    epoch_end(&mut rig, 2, 4);
    let failure = rig.failed().expect("it diverged");
    assert!(failure.text.contains("diverged"), "{}", failure.text);
    assert!(failure.text.contains("offsets 4 to 9"), "{}", failure.text);
}

#[test]
fn the_answer_of_a_leader_that_is_not_known_yet_makes_it_known_and_asked() {
    let mut rig = loaded("early-epoch-end");
    led(&mut rig, 1);
    epoch_end(&mut rig, 2, 10);
    let unknown = |report: &Report| matches!(report, Report::LeaderUnknown { epoch: 1, .. });
    assert!(rig.reports.iter().any(unknown), "{:?}", rig.reports);
    led(&mut rig, 2);
    assert_eq!(epochs_asked(&rig), [1, 2]);
    epoch_end(&mut rig, 2, 10);
    // The fetch that was on its way when the leader changed is void.
    rig.answer(&Said::nothing(10));
    rig.answer(&Said::records(12, &[rows(10, 2)]));
    assert_eq!((rig.visible(), rig.failed()), (12, None));
}

/// STOP_ON_ERROR OFF: what retention took is given up.
fn goes_on(name: &'static str) -> Setup {
    let mut setup = Setup::new(name);
    setup.settings.stop_on_error = false;
    setup
}

/// Retention took what lies from the cursor to 50.
fn lost(rig: &mut Rig) {
    let nothing = Said::nothing(60);
    rig.answer_with(0, &[(0, ErrorCode::OffsetOutOfRange, &nothing)]);
    log_range(rig, 50, 60);
    assert_eq!((rig.visible(), rig.failed()), (50, None));
}

#[test]
fn what_retention_took_behind_an_epoch_is_not_taken_for_its_divergence() {
    let mut rig = loaded_with(goes_on("epoch-lost"));
    lost(&mut rig);
    led(&mut rig, 1);
    assert_eq!(epochs_asked(&rig), [1]);
    // The next epoch began in the range that nobody has.
    epoch_end(&mut rig, 1, 30);
    assert_eq!(rig.failed(), None);
    led(&mut rig, 2);
    epoch_end(&mut rig, 2, 4);
    let failure = rig.failed().expect("it diverged");
    assert!(failure.text.contains("offsets 4 to 9"), "{}", failure.text);
}

#[test]
fn a_commit_that_ends_with_given_up_offsets_keeps_the_epoch_of_its_rows() {
    let mut rig = Rig::new(goes_on("epoch-kept"));
    rig.run(Goal::Run);
    rig.answer(&Said::records(10, &[rows(0, 10)]));
    lost(&mut rig);
    rig.goal(Goal::Stop);
    let commits = rig.attached().view.snapshot();
    let epochs: Vec<i32> = commits
        .commits()
        .map(|one| one.expect("sound").leader_epoch)
        .collect();
    // The rows, what was lost behind them, and the error about it.
    assert_eq!(epochs, [0]);
    drop(rig);

    let mut rig = Rig::again(goes_on("epoch-kept"));
    rig.goal(Goal::Run);
    led(&mut rig, 1);
    assert_eq!(epochs_asked(&rig), [1]);
    epoch_end(&mut rig, 1, 30);
    assert_eq!(rig.failed(), None);
    led(&mut rig, 2);
    epoch_end(&mut rig, 2, 4);
    let failure = rig.failed().expect("it diverged");
    assert!(failure.text.contains("offsets 4 to 9"), "{}", failure.text);
}

#[test]
fn rows_behind_what_was_lost_are_looked_at_when_another_leads() {
    let mut rig = Rig::new(goes_on("epoch-behind-lost"));
    rig.run(Goal::Run);
    lost(&mut rig);
    rig.answer(&Said::records(60, &[rows(50, 10)]));
    rig.goal(Goal::Stop);
    assert_eq!(rig.visible(), 60);
    drop(rig);

    let mut rig = Rig::again(goes_on("epoch-behind-lost"));
    rig.goal(Goal::Run);
    led(&mut rig, 1);
    epoch_end(&mut rig, 1, 55);
    let failure = rig.failed().expect("it diverged");
    assert!(
        failure.text.contains("offsets 55 to 59"),
        "{}",
        failure.text
    );
}

#[test]
fn a_message_that_is_skipped_is_of_the_epoch_of_its_record_batch() {
    let mut rig = Rig::new(goes_on("epoch-skipped"));
    rig.run(Goal::Run);
    rig.answer(&Said::records(5, &[batch(0, &["nonsense", "{\"v\":1}"])]));
    rig.goal(Goal::Stop);
    let snapshot = rig.attached().view.snapshot();
    let first = snapshot.commits().next().expect("a commit").expect("sound");
    assert_eq!((first.counts.skipped, first.leader_epoch), (2, 0));
}

#[test]
fn a_segment_without_a_commit_goes_on_in_the_epoch_of_the_one_before() {
    let setup = || Setup {
        stores: StoreSettings {
            segment_commits_max: 1,
            ..StoreSettings::default()
        },
        ..Setup::new("epoch-of-an-empty-segment")
    };
    let mut rig = loaded_with(setup());
    // The next segment is there, and nothing in it yet.
    rig.hold_disk = true;
    rig.answer(&Said::records(20, &[rows(10, 10)]));
    rig.pass(200);
    while rig.finish_disk_if(|op| !matches!(op, storage::disk::DiskOp::Write(_))) {}
    assert_eq!((rig.segments().len(), rig.visible()), (2, 20));
    drop(rig);

    let mut rig = Rig::again(setup());
    rig.goal(Goal::Run);
    assert_eq!(rig.visible(), 10);
    led(&mut rig, 1);
    assert_eq!(epochs_asked(&rig), [1]);
    epoch_end(&mut rig, 1, 4);
    let failure = rig.failed().expect("it diverged");
    assert!(failure.text.contains("offsets 4 to 9"), "{}", failure.text);
}

/// SET OFFSETS went beyond the log: what the failure says may have led there, that among it.
#[test]
fn a_cursor_beyond_the_logs_end_is_named_with_what_may_have_set_it_there() {
    let mut setup = Setup::new("beyond-end");
    setup.start_offset = 99;
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    let nothing = Said::nothing(60);
    rig.answer_with(0, &[(0, ErrorCode::OffsetOutOfRange, &nothing)]);
    log_range(&mut rig, 0, 60);
    let failure = rig.failed().expect("it stands still");
    let said = "the cursor 99 lies beyond the log's end 60: the topic was cut or made anew, or the offset was set so; \
                ALTER PIPELINE ... SET OFFSETS to go on";
    assert!(failure.text.ends_with(said), "{}", failure.text);
}
