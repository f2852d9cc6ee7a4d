//! The slow twin: the decode said again, as plainly as it can be.
