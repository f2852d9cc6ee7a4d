//! Errors as MySQL's clients know them: a number, a state, one line of text.
//!
//! The numbers that are used stand in [`Code`], each with its SQLSTATE: a message is written where
//! the fault is known, a number is chosen here and nowhere else.

use std::borrow::Cow;

use crate::limits::ERROR_BYTES_MAX;

/// What a client is told: MySQL's error number and SQLSTATE, and what happened, where, what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SqlError {
    /// MySQL's error number, e.g. 1064.
    pub code: u16,
    /// SQLSTATE, five characters.
    pub state: &'static str,
    /// One line, without the number.
    pub message: String,
}

impl SqlError {
    /// Its message as far as a client is shown it: what it quotes of a statement may be as long as that.
    #[must_use]
    pub fn shown(&self) -> Cow<'_, str> {
        if self.message.len() <= ERROR_BYTES_MAX {
            return (&self.message).into();
        }
        let cut = self.message.floor_char_boundary(ERROR_BYTES_MAX);
        format!("{}...", &self.message[..cut]).into()
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $state:literal;)*) => {
        /// The MySQL errors that are given out.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* #[doc = concat!("MySQL's ", $number, ".")] $name,)*
        }

        impl Code {
            /// Every one of them.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// MySQL's number.
            #[must_use]
            pub const fn number(self) -> u16 {
                match self { $(Code::$name => $number,)* }
            }

            /// Its SQLSTATE.
            #[must_use]
            pub const fn state(self) -> &'static str {
                match self { $(Code::$name => $state,)* }
            }
        }
    };
}

codes! {
    /// A database of this name exists.
    DatabaseExists = 1007, "HY000";
    /// No database of this name to drop.
    DatabaseDropMissing = 1008, "HY000";
    /// Out of memory: a query's pool is full.
    OutOfMemory = 1038, "HY001";
    /// Too many connections.
    TooManyConnections = 1040, "08004";
    /// The handshake went wrong.
    BadHandshake = 1043, "08S01";
    /// The user may not use this database.
    DatabaseAccessDenied = 1044, "42000";
    /// Wrong user or password.
    AccessDenied = 1045, "28000";
    /// No database was chosen.
    NoDatabase = 1046, "3D000";
    /// A command that is not known.
    UnknownCommand = 1047, "08S01";
    /// NULL where it may not stand.
    ColumnNotNull = 1048, "23000";
    /// No such database.
    UnknownDatabase = 1049, "42000";
    /// A table of this name exists.
    TableExists = 1050, "42S01";
    /// No table of this name to drop.
    UnknownTable = 1051, "42S02";
    /// A column's name that stands for several.
    AmbiguousColumn = 1052, "23000";
    /// The server is shutting down.
    ServerShutdown = 1053, "08S01";
    /// No such column.
    UnknownColumn = 1054, "42S22";
    /// A column named twice.
    DuplicateColumn = 1060, "42S21";
    /// The text is not a statement.
    Syntax = 1064, "42000";
    /// Nothing but blanks and comments.
    EmptyQuery = 1065, "42000";
    /// Two tables of one name in a statement.
    NotUniqueTable = 1066, "42000";
    /// A DEFAULT that does not fit its column.
    InvalidDefault = 1067, "42000";
    /// CHAR longer than it may be.
    ColumnTooLong = 1074, "42000";
    /// No such connection to KILL.
    NoSuchThread = 1094, "HY000";
    /// A column list without columns.
    TableWithoutColumns = 1113, "42000";
    /// No such character set.
    UnknownCharacterSet = 1115, "42000";
    /// Too many logins of a place failed, and wait.
    HostBlocked = 1129, "HY000";
    /// A packet that did not arrive in time.
    ReadTimedOut = 1159, "08S01";
    /// A name in a group that MySQL refuses there.
    InvalidGroupFunctionUse = 1111, "HY000";
    /// Too many tables in a FROM.
    TooManyTables = 1116, "HY000";
    /// Too many columns.
    TooManyColumns = 1117, "HY000";
    /// A column where only grouped ones may stand.
    WrongFieldWithGroup = 1055, "42000";
    /// A name that is not allowed as a database's.
    WrongDatabaseName = 1102, "42000";
    /// A name that is not allowed as a table's.
    WrongTableName = 1103, "42000";
    /// Our own fault, or one that has no number.
    Unknown = 1105, "HY000";
    /// A name that is not allowed as a column's.
    WrongColumnName = 1166, "42000";
    /// No such table.
    NoSuchTable = 1146, "42S02";
    /// A packet beyond `max_allowed_packet`.
    PacketTooLarge = 1153, "08S01";
    /// No such system variable.
    UnknownSystemVariable = 1193, "HY000";
    /// The user lacks the privilege.
    SpecificAccessDenied = 1227, "42000";
    /// A session's variable set globally.
    LocalVariable = 1228, "HY000";
    /// A global variable set for a session.
    GlobalVariable = 1229, "HY000";
    /// A variable that does not take this value.
    WrongValueForVariable = 1231, "42000";
    /// A variable that does not take this type.
    WrongTypeForVariable = 1232, "42000";
    /// MySQL has it, this server does not.
    NotSupported = 1235, "42000";
    /// A variable that can only be read.
    ReadOnlyVariable = 1238, "HY000";
    /// No such prepared statement.
    UnknownStatement = 1243, "HY000";
    /// No such collation.
    UnknownCollation = 1273, "HY000";
    /// A function called with a wrong number of arguments.
    WrongParameterCount = 1582, "42000";
    /// The server's options forbid it.
    OptionPreventsStatement = 1290, "HY000";
    /// A time zone that is not known.
    UnknownTimeZone = 1298, "HY000";
    /// A number that does not fit.
    OutOfRange = 1264, "22003";
    /// A value that its column's type does not take.
    WrongValue = 1366, "HY000";
    /// No such function.
    NoSuchFunction = 1305, "42000";
    /// KILL QUERY.
    Interrupted = 1317, "70100";
    /// A value that does not fit its type's form.
    TruncatedWrongValue = 1292, "22007";
    /// DECIMAL with more digits than there are.
    TooBigPrecision = 1426, "42000";
    /// DECIMAL with more digits behind the point than there may be.
    TooBigScale = 1425, "42000";
    /// DECIMAL(p, s) with s above p.
    ScaleAbovePrecision = 1427, "42000";
    /// Too many prepared statements.
    TooManyStatements = 1461, "42000";
    /// A statement that cannot be prepared.
    UnsupportedPrepared = 1295, "HY000";
    /// Fewer or more parameters than `?`.
    WrongArguments = 1210, "HY000";
    /// A number beyond its type: `BIGINT value is out of range`.
    DataOutOfRange = 1690, "22003";
    /// A statement cut at a bound of ours.
    LimitReached = 1104, "42000";
    /// The disk has no room.
    DiskFull = 1021, "HY000";
    /// The disk or its file fails.
    DiskError = 1030, "HY000";
    /// A file that is not what was written.
    Corrupt = 1712, "HY000";
    /// A pipeline of this name exists.
    PipelineExists = 1970, "HY000";
    /// No such pipeline.
    NoSuchPipeline = 1971, "HY000";
    /// The pipeline's state does not allow it.
    PipelineState = 1972, "HY000";
    /// The pipeline's definition or source is at fault.
    PipelineFault = 1973, "HY000";
    /// A connection that was closed for its idleness.
    IdleTimeout = 4031, "HY000";
    /// A division by zero that is an error.
    DivisionByZero = 1365, "22012";
    /// A subquery that gave more than one row.
    SubqueryRows = 1242, "21000";
    /// A JSON text that is not one.
    InvalidJson = 3140, "22032";
    /// `*` without a FROM.
    NoTablesUsed = 1096, "HY000";
    /// The SELECTs of a UNION that do not fit each other.
    WrongNumberOfColumns = 1222, "21000";
    /// Several columns where one may stand, or another number of them.
    OperandColumns = 1241, "21000";
    /// A derived table without an alias.
    DerivedWithoutAlias = 1248, "42000";
    /// A list of column names that does not fit its SELECT.
    ViewWrongList = 1353, "HY000";
    /// A function's string that is longer than one may be.
    FunctionResultTooLong = 1301, "HY000";
    /// A DATE or DATETIME literal that is none.
    IncorrectValue = 1525, "HY000";
    /// A column list in which every name must be there once.
    ColumnCount = 1136, "21S01";
    /// A column named twice in a list.
    ColumnTwice = 1110, "42000";
    /// A NOT NULL column that gets no value.
    NoDefault = 1364, "HY000";
    /// Rows that cannot be read yet.
    NotReady = 1205, "HY000";
    /// A name of more than 64 characters.
    IdentifierTooLong = 1059, "42000";
    /// A column's or table's comment that is too long.
    TooLongComment = 1629, "HY000";
    /// No such storage engine.
    UnknownEngine = 1286, "42000";
    /// A key over a column that is not there.
    KeyColumnMissing = 1072, "42000";
    /// More `?` than the protocol can count.
    TooManyParameters = 1390, "HY000";
    /// A regular expression that does not compile.
    Regexp = 1139, "42000";
}

impl SqlError {
    /// An error of this kind, with its one line of text.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> SqlError {
        SqlError {
            code: code.number(),
            state: code.state(),
            message: message.into(),
        }
    }

    /// 1235: MySQL has it, this server does not; `what` names it.
    #[must_use]
    pub fn not_supported(what: impl std::fmt::Display) -> SqlError {
        SqlError::new(
            Code::NotSupported,
            format!("This version of Pinleaf doesn't yet support '{what}'"),
        )
    }

    /// 1317: a KILL ended the statement.
    #[must_use]
    pub fn interrupted() -> SqlError {
        SqlError::new(Code::Interrupted, "Query execution was interrupted")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_five_characters_and_every_number_comes_once() {
        let mut numbers: Vec<u16> = Code::ALL.iter().map(|code| code.number()).collect();
        assert!(Code::ALL.iter().all(|code| code.state().len() == 5));
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), Code::ALL.len());
    }
}
