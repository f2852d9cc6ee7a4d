//! Rules taken out one at a time: each must make a seed of some simulation fail.

use std::ops::Range;

use ingest::planted::Rule as LeafRule;
use storage::planted::Rule as StoreRule;

use super::case::Case;
use super::shrink::{Suite, Violation};
use super::{Coverage, leaf, storage as stores};

/// A rule that can be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// Of storage.
    Store(StoreRule),
    /// Of the leaf.
    Leaf(LeafRule),
}

impl Planted {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Planted> {
        let leaf = LeafRule::ALL.into_iter().map(Planted::Leaf);
        StoreRule::all().map(Planted::Store).chain(leaf)
    }

    /// The one of this name, as it is printed.
    #[must_use]
    pub fn named(name: &str) -> Option<Planted> {
        Planted::all().find(|rule| format!("{rule:?}") == name)
    }

    /// Takes it out, in this thread; or puts all back.
    pub fn take_out(rule: Option<Planted>) {
        let (store, leaf) = match rule {
            Some(Planted::Store(rule)) => (Some(rule), None),
            Some(Planted::Leaf(rule)) => (None, Some(rule)),
            None => (None, None),
        };
        storage::planted::take_out(store);
        ingest::planted::take_out(leaf);
    }

    /// Where it is looked for, the cheapest first.
    fn suites(self) -> &'static [Suite] {
        match self {
            Planted::Store(_) => &[stores::SUITE, leaf::SUITE],
            Planted::Leaf(_) => &[leaf::SUITE],
        }
    }
}

/// Takes a rule out and runs seeds until one breaks the law: in which simulation, and how.
#[must_use]
pub fn without(rule: Planted, seeds: Range<u64>) -> Option<(&'static str, Box<Violation>)> {
    Planted::take_out(Some(rule));
    let mut unused = Coverage::default();
    let found = rule.suites().iter().find_map(|suite| {
        let mut seeds = seeds.clone();
        let found = seeds.find_map(|seed| suite.check(&Case::of(seed), &mut unused).err());
        found.map(|violation| (suite.name, violation))
    });
    Planted::take_out(None);
    found
}
