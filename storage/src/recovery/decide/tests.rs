//! A test per row of the table.

use super::*;

fn check_header(whole: bool, durable_record: bool, vouched: bool, action: HeaderAction) {
    let facts = HeaderFacts {
        whole,
        durable_record,
        vouched,
    };
    assert_eq!(header(facts).1, action, "{facts:?}");
}

#[test]
fn a_whole_header_is_read() {
    for (record, vouched) in [(false, false), (false, true), (true, false), (true, true)] {
        check_header(true, record, vouched, HeaderAction::Read);
    }
}

#[test]
fn a_torn_header_that_was_never_durable_is_unlinked() {
    check_header(false, false, false, HeaderAction::Unlink);
}

#[test]
fn a_torn_header_that_was_durable_is_quarantined() {
    check_header(false, true, false, HeaderAction::Quarantine);
    check_header(false, false, true, HeaderAction::Quarantine);
    check_header(false, true, true, HeaderAction::Quarantine);
}

fn check(found: Found, below: bool, later: bool, row: Option<Row>, action: MessageAction) {
    let facts = MessageFacts {
        found,
        below_durable: below,
        later_record: later,
    };
    assert_eq!(message(facts), (row, action), "{facts:?}");
}

#[test]
fn a_good_message_is_kept_wherever_it_lies() {
    for (below, later) in [(false, false), (true, false), (false, true), (true, true)] {
        check(Found::Good, below, later, None, MessageAction::Keep);
        check(Found::ContentEnd, below, later, None, MessageAction::End);
    }
}

#[test]
fn the_end_of_a_file_or_stream_past_the_durable_end_is_the_end() {
    check(Found::FileEnd, false, false, None, MessageAction::End);
    check(Found::EndOfStream, false, false, None, MessageAction::End);
}

#[test]
fn damage_past_the_durable_end_is_cut() {
    for (found, row) in [
        (Found::BadMetadata, Row::CutAtMetadata),
        (Found::Zeros, Row::CutAtZeros),
        (Found::Foreign, Row::CutAtForeign),
        (Found::BadBody, Row::CutAtBody),
    ] {
        check(found, false, false, Some(row), MessageAction::Cut);
    }
}

const DAMAGED: [Found; 6] = [
    Found::FileEnd,
    Found::EndOfStream,
    Found::BadMetadata,
    Found::Zeros,
    Found::Foreign,
    Found::BadBody,
];

#[test]
fn damage_below_the_durable_end_is_quarantined() {
    for found in DAMAGED {
        let row = Some(Row::DamageBelowDurable);
        check(found, true, false, row, MessageAction::Quarantine);
    }
}

#[test]
fn damage_that_a_later_record_says_was_durable_is_quarantined() {
    for found in DAMAGED {
        let row = Some(Row::DamageBelowLaterRecord);
        check(found, false, true, row, MessageAction::Quarantine);
    }
}

#[test]
fn a_predecessor_decides_about_what_is_newer() {
    for (reaches, vouched, action) in [
        (true, false, PredecessorAction::Keep),
        (true, true, PredecessorAction::Keep),
        (false, false, PredecessorAction::DropNewer),
        (false, true, PredecessorAction::Quarantine),
    ] {
        let facts = PredecessorFacts { reaches, vouched };
        assert_eq!(predecessor(facts).1, action, "{facts:?}");
    }
}

#[test]
fn a_footer_is_kept_opened_or_written_again() {
    for (newest, whole, begun, row, action) in [
        (
            true,
            true,
            true,
            Some(Row::NewestSealed),
            FooterAction::Sealed,
        ),
        (
            true,
            false,
            true,
            Some(Row::NewestFooterTorn),
            FooterAction::Open,
        ),
        (true, false, false, None, FooterAction::Open),
        (false, true, true, None, FooterAction::Sealed),
        (
            false,
            false,
            true,
            Some(Row::FooterAgain),
            FooterAction::Again,
        ),
        (
            false,
            false,
            false,
            Some(Row::FooterAgain),
            FooterAction::Again,
        ),
    ] {
        let facts = FooterFacts {
            newest,
            whole,
            begun,
            merged: false,
        };
        assert_eq!(footer(facts), (row, action), "{facts:?}");
    }
}

#[test]
fn a_merges_footer_is_never_opened() {
    for newest in [true, false] {
        for begun in [true, false] {
            let facts = FooterFacts {
                newest,
                whole: false,
                begun,
                merged: true,
            };
            let again = (Some(Row::FooterAgain), FooterAction::Again);
            assert_eq!(footer(facts), again, "{facts:?}");
            let whole = FooterFacts {
                whole: true,
                ..facts
            };
            assert_eq!(footer(whole).1, FooterAction::Sealed, "{whole:?}");
        }
    }
}

fn check_hole(whole: bool, filled: bool, over: bool, settled: bool, row: Row, action: HoleAction) {
    let facts = HoleFacts {
        whole,
        filled,
        over,
        settled,
    };
    assert_eq!(hole(facts), (Some(row), action), "{facts:?}");
}

#[test]
fn a_hole_whose_segment_is_there_is_unlinked() {
    for whole in [true, false] {
        for settled in [true, false] {
            check_hole(
                whole,
                true,
                false,
                settled,
                Row::HoleFilled,
                HoleAction::Unlink,
            );
        }
    }
}

#[test]
fn a_torn_hole_without_its_segment_is_refused() {
    check_hole(
        false,
        false,
        false,
        false,
        Row::HoleTorn,
        HoleAction::Refuse,
    );
}

#[test]
fn a_hole_is_told_until_it_is_loaded_again_or_given_up() {
    for over in [true, false] {
        check_hole(true, false, over, false, Row::HoleTold, HoleAction::Tell);
    }
    check_hole(
        true,
        false,
        false,
        true,
        Row::HoleClosed,
        HoleAction::Unlink,
    );
    check_hole(true, false, true, true, Row::HoleBridge, HoleAction::Bridge);
}

#[test]
fn every_row_is_listed_once() {
    let mut rows = Row::ALL.to_vec();
    rows.sort_unstable();
    rows.dedup();
    assert_eq!(rows.len(), Row::ALL.len());
}
