//! Every error from further left, as MySQL's number: the one place where the two meet.
//!
//! DataFusion's are [`super::select`]'s; what is wrong with a text is said where it is read.

use storage::error::StorageError;

use super::error::{Code, SqlError};
use crate::aggregator::{AggregatorError, Exists, Unknown, WrongState};
use crate::catalog::{CatalogError, VariableError};

impl From<AggregatorError> for SqlError {
    fn from(fault: AggregatorError) -> SqlError {
        let code = match &fault {
            AggregatorError::Unknown(Unknown::Database { .. }) => Code::UnknownDatabase,
            AggregatorError::Unknown(Unknown::Table { .. }) => Code::NoSuchTable,
            AggregatorError::Unknown(Unknown::Pipeline { .. } | Unknown::Partition { .. }) => {
                Code::NoSuchPipeline
            }
            AggregatorError::Exists(Exists::Database { .. }) => Code::DatabaseExists,
            AggregatorError::Exists(Exists::Table { .. }) => Code::TableExists,
            AggregatorError::Exists(Exists::Pipeline { .. }) => Code::PipelineExists,
            AggregatorError::State(
                WrongState::AlreadyRunning { .. }
                | WrongState::NotRunning { .. }
                | WrongState::MustBeStopped { .. }
                | WrongState::InForeground { .. }
                | WrongState::TableLoaded { .. }
                | WrongState::LoadedNow { .. }
                | WrongState::Busy { .. }
                | WrongState::ReplaceChanges { .. }
                | WrongState::StoppedMeanwhile { .. },
            ) => Code::PipelineState,
            AggregatorError::Setting { .. }
            | AggregatorError::Broker { .. }
            | AggregatorError::Failed { .. }
            | AggregatorError::NotDurable { .. } => Code::PipelineFault,
            AggregatorError::Disk { .. } | AggregatorError::OlderCatalog { .. } => Code::DiskError,
            AggregatorError::Full { .. } => Code::LimitReached,
            AggregatorError::ShuttingDown | AggregatorError::LeafLost { .. } => {
                Code::ServerShutdown
            }
            AggregatorError::Definition(_)
            | AggregatorError::Variable(_)
            | AggregatorError::Catalog(_) => Code::Unknown,
        };
        match fault {
            AggregatorError::Variable(fault) => fault.into(),
            AggregatorError::Catalog(fault) => fault.into(),
            fault => SqlError::new(code, one_line(&fault.to_string())),
        }
    }
}

impl From<CatalogError> for SqlError {
    fn from(fault: CatalogError) -> SqlError {
        let code = match &fault {
            CatalogError::Corrupt { .. } => Code::Corrupt,
            CatalogError::Misfit(_) => Code::Unknown,
            CatalogError::Newer { .. }
            | CatalogError::Locked { .. }
            | CatalogError::Unknown { .. }
            | CatalogError::Disk { .. } => Code::DiskError,
            CatalogError::NoRoom { .. } => Code::DiskFull,
            CatalogError::Full { .. } => Code::LimitReached,
            CatalogError::Closed => Code::ServerShutdown,
        };
        SqlError::new(code, one_line(&fault.to_string()))
    }
}

impl From<VariableError> for SqlError {
    fn from(fault: VariableError) -> SqlError {
        let code = match &fault {
            VariableError::Unknown { .. } => Code::UnknownSystemVariable,
            VariableError::Value { .. } => Code::WrongValueForVariable,
        };
        SqlError::new(code, one_line(&fault.to_string()))
    }
}

impl From<StorageError> for SqlError {
    fn from(fault: StorageError) -> SqlError {
        let code = match &fault {
            StorageError::Corrupt { .. } => Code::Corrupt,
            StorageError::Disk { .. } => Code::DiskError,
            StorageError::Full(storage::error::Limit::DiskSpace) => Code::DiskFull,
            StorageError::Full(_) => Code::OutOfMemory,
        };
        SqlError::new(code, one_line(&fault.to_string()))
    }
}

/// An error is one line, whatever a broker or a file put into it.
fn one_line(text: &str) -> String {
    text.split(['\n', '\r'])
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_its_number() {
        let unknown = |fault: Unknown| SqlError::from(AggregatorError::Unknown(fault));
        let (database, table) = ("d".to_owned(), "t".to_owned());
        for (error, code, state, message) in [
            (
                unknown(Unknown::Database {
                    database: database.clone(),
                }),
                1049,
                "42000",
                "Unknown database 'd'",
            ),
            (
                unknown(Unknown::Table { database, table }),
                1146,
                "42S02",
                "Table 'd.t' doesn't exist",
            ),
            (
                AggregatorError::State(WrongState::NotRunning {
                    pipeline: "p".into(),
                })
                .into(),
                1972,
                "HY000",
                "Pipeline 'p' is not running",
            ),
            (
                AggregatorError::Broker {
                    brokers: "h:9092".into(),
                    what: "refused\r\n  it".into(),
                }
                .into(),
                1973,
                "HY000",
                "h:9092: refused it",
            ),
            (
                AggregatorError::ShuttingDown.into(),
                1053,
                "08S01",
                "the server is shutting down",
            ),
            (
                CatalogError::Full {
                    what: "tables",
                    max: 3,
                }
                .into(),
                1104,
                "42000",
                "limit reached: at most 3 tables",
            ),
            (
                StorageError::Full(storage::error::Limit::DiskSpace).into(),
                1021,
                "HY000",
                "limit reached: no space on the disk",
            ),
        ] {
            assert_eq!(
                (error.code, error.state, error.message.as_str()),
                (code, state, message)
            );
        }
    }
}
