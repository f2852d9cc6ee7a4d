//! The client against a scripted broker.
