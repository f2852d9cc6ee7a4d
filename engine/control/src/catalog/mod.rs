//! The catalog: what should be. Databases, tables, pipelines, pairings and variables, in SQLite.
//!
//! A statement is one transaction of numbered [`Change`]s; a [`CatalogView`] is what they add up to,
//! published once they are on disk. Cursors, history and rejects are never here: they are in the
//! commit records, and what a leaf finds there is what is.

pub mod change;
pub mod defs;
pub mod error;
pub mod store;
pub mod thread;
pub mod variables;
pub mod view;

pub use change::{Change, Misfit, PairingRow};
pub use defs::{
    ColumnDef, DatabaseDef, DatabaseId, FIRST_NODE, NodeId, PairingDef, PipelineDef,
    PipelineFailure, PipelineId, PipelineSpec, PipelineState, RetryOptions, SortKeyPart, TableDef,
    TableSpec,
};
pub use error::CatalogError;
pub use store::Store;
pub use thread::{Catalog, Desk};
pub use variables::{EngineVariables, VARIABLES, Variable, VariableError, VariableKind};
pub use view::CatalogView;
