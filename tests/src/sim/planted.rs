//! Rules taken out one at a time: each must make a seed of some simulation fail.

use std::ops::Range;

use control::planted::Rule as ControlRule;
use ingest::planted::Rule as LeafRule;
use storage::planted::Rule as StoreRule;

use super::case::Case;
use super::shrink::{Suite, Violation};
use super::{Coverage, control as cores, leaf, storage as stores};

/// A rule that can be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// Of storage.
    Store(StoreRule),
    /// Of the leaf.
    Leaf(LeafRule),
    /// Of the aggregator and the catalog.
    Control(ControlRule),
}

impl Planted {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Planted> {
        let leaf = LeafRule::ALL.into_iter().map(Planted::Leaf);
        let control = ControlRule::ALL.into_iter().map(Planted::Control);
        StoreRule::all()
            .map(Planted::Store)
            .chain(leaf)
            .chain(control)
    }

    /// The one of this name, as it is printed.
    #[must_use]
    pub fn named(name: &str) -> Option<Planted> {
        Planted::all().find(|rule| format!("{rule:?}") == name)
    }

    /// Takes it out, in this thread; or puts all back.
    pub fn take_out(rule: Option<Planted>) {
        let (mut store, mut leaf, mut core) = (None, None, None);
        match rule {
            Some(Planted::Store(rule)) => store = Some(rule),
            Some(Planted::Leaf(rule)) => leaf = Some(rule),
            Some(Planted::Control(rule)) => core = Some(rule),
            None => {}
        }
        storage::planted::take_out(store);
        ingest::planted::take_out(leaf);
        control::planted::take_out(core);
    }

    /// Where it is looked for, the cheapest first.
    fn suites(self) -> &'static [Suite] {
        match self {
            Planted::Store(_) => &[stores::SUITE, leaf::SUITE],
            Planted::Leaf(_) => &[leaf::SUITE],
            Planted::Control(_) => &[cores::SUITE],
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
