//! A leaf partition's chain over a real directory: seals, merges, and what a restart makes of them.

mod damage;
mod forged;
mod rig;

mod before;
mod dropped;
mod due;
mod effects;
mod gauges;
mod holes;
mod merges;
mod met;
mod neighbours;
mod numbers;
mod quarantines;
mod reopened;
mod repairs;
mod room;
mod scanned;
mod seals;
mod turns;
mod vouched;
mod watched;
