//! The node: from a configuration file to running threads.
