//! The server: MySQL's protocol, and nothing else that speaks to clients.
