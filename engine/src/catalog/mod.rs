//! The catalog: what should be.
