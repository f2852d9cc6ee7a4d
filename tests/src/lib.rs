//! What the project's tests are made of: the rules of the tree, the simulation, the real peers.

#[cfg(test)]
mod tidy;
