//! The audit over a leaf partition made by hand: sound it is ok, and each thing that is planted in it is
//! named.

mod rig;

mod healthy;
mod planted;
mod planted_log;
