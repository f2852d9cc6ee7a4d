//! What a power loss could have left of a run that really happened.
//!
//! [`trace`] is a disk that notes what passes through it on its way to another one. [`state`] makes of the
//! notes, up to any of them, one of the states that the disk may have been in if the power had gone then:
//! what was synced, and of the rest any subset of its 512-byte sectors, lengths and names. It knows nothing
//! of segments: whether what recovery makes of a state is right, the caller judges by what was told before.

pub mod state;
pub mod trace;
