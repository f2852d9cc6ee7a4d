//! Data-driven cases and the comparison with the twin.
