//! Commands: a payload's first byte, and what follows it.

use crate::sql::SqlError;

/// What a client asks.
#[derive(Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// COM_QUIT.
    Quit,
    /// COM_INIT_DB: USE.
    InitDb(&'a str),
    /// COM_QUERY: one statement, or several where that was agreed.
    Query(&'a str),
    /// COM_FIELD_LIST: a table's columns, by a LIKE pattern.
    FieldList {
        /// The table.
        table: &'a str,
        /// The pattern; empty for all.
        wildcard: &'a str,
    },
    /// COM_STATISTICS: a human line.
    Statistics,
    /// COM_PROCESS_KILL.
    ProcessKill(u32),
    /// COM_PING.
    Ping,
    /// COM_STMT_PREPARE.
    Prepare(&'a str),
    /// COM_STMT_EXECUTE.
    Execute {
        /// The statement.
        id: u32,
        /// What follows the iteration count.
        params: &'a [u8],
    },
    /// COM_STMT_SEND_LONG_DATA; has no answer.
    SendLongData {
        /// The statement.
        id: u32,
        /// Which parameter.
        param: usize,
        /// A piece of its value.
        bytes: &'a [u8],
    },
    /// COM_STMT_CLOSE; has no answer.
    Close(u32),
    /// COM_STMT_RESET.
    Reset(u32),
    /// COM_SET_OPTION: several statements in one query, on or off.
    MultiStatements(bool),
    /// COM_RESET_CONNECTION.
    ResetConnection,
}

fn malformed() -> SqlError {
    SqlError {
        code: 1835,
        state: "HY000",
        message: "Malformed communication packet.".into(),
    }
}

fn text(bytes: &[u8]) -> Result<&str, SqlError> {
    std::str::from_utf8(bytes).map_err(|error| SqlError {
        code: 1300,
        state: "HY000",
        message: format!(
            "Invalid utf8mb4 character string: at byte {}",
            error.valid_up_to()
        ),
    })
}

fn id(bytes: &[u8]) -> Result<(u32, &[u8]), SqlError> {
    let (id, rest) = bytes.split_first_chunk::<4>().ok_or_else(malformed)?;
    Ok((u32::from_le_bytes(*id), rest))
}

impl<'a> Command<'a> {
    /// Reads a command.
    ///
    /// # Errors
    /// 1047 for one that is not known, 1835 for one that ends early, 1300 for text that is not UTF-8,
    /// 1235 for a cursor.
    pub fn read(payload: &'a [u8]) -> Result<Command<'a>, SqlError> {
        let (code, rest) = payload.split_first().ok_or_else(malformed)?;
        Ok(match code {
            0x01 => Command::Quit,
            0x02 => Command::InitDb(text(rest)?),
            0x03 => Command::Query(text(rest)?),
            0x04 => {
                let (table, wildcard) = text(rest)?.split_once('\0').ok_or_else(malformed)?;
                Command::FieldList { table, wildcard }
            }
            0x09 => Command::Statistics,
            0x0c => Command::ProcessKill(id(rest)?.0),
            0x0e => Command::Ping,
            0x16 => Command::Prepare(text(rest)?),
            0x17 => {
                let (id, rest) = id(rest)?;
                let (flags_and_count, params) =
                    rest.split_first_chunk::<5>().ok_or_else(malformed)?;
                if flags_and_count[0] != 0 {
                    return Err(SqlError {
                        code: 1235,
                        state: "42000",
                        message: "This version of Pinleaf doesn't yet support 'cursors': fetch without one; rows are \
                                  streamed"
                            .into(),
                    });
                }
                Command::Execute { id, params }
            }
            0x18 => {
                let (id, rest) = id(rest)?;
                let (param, bytes) = rest.split_first_chunk::<2>().ok_or_else(malformed)?;
                Command::SendLongData {
                    id,
                    param: usize::from(u16::from_le_bytes(*param)),
                    bytes,
                }
            }
            0x19 => Command::Close(id(rest)?.0),
            0x1a => Command::Reset(id(rest)?.0),
            0x1b => match rest {
                [0, 0] => Command::MultiStatements(true),
                [1, 0] => Command::MultiStatements(false),
                _ => return Err(unknown()),
            },
            0x1f => Command::ResetConnection,
            _ => return Err(unknown()),
        })
    }
}

fn unknown() -> SqlError {
    SqlError {
        code: 1047,
        state: "08S01",
        message: "Unknown command".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_what_is_wrong_with_them() {
        let cases: &[(&[u8], Result<Command<'_>, u16>)] = &[
            (&[1], Ok(Command::Quit)),
            (b"\x02db", Ok(Command::InitDb("db"))),
            (b"\x03select 1", Ok(Command::Query("select 1"))),
            (b"\x03\xff", Err(1300)),
            (
                b"\x04t\0%",
                Ok(Command::FieldList {
                    table: "t",
                    wildcard: "%",
                }),
            ),
            (b"\x04t", Err(1835)),
            (b"\x0e", Ok(Command::Ping)),
            (
                &[0x17, 1, 0, 0, 0, 0, 1, 0, 0, 0, 9],
                Ok(Command::Execute {
                    id: 1,
                    params: &[9],
                }),
            ),
            (&[0x17, 1, 0, 0, 0, 1, 1, 0, 0, 0], Err(1235)),
            (&[0x17, 1, 0], Err(1835)),
            (
                &[0x18, 1, 0, 0, 0, 2, 0, 7],
                Ok(Command::SendLongData {
                    id: 1,
                    param: 2,
                    bytes: &[7],
                }),
            ),
            (&[0x1b, 7, 0], Err(1047)),
            (&[0x11], Err(1047)),
            (&[0xaa], Err(1047)),
            (&[], Err(1835)),
        ];
        for (bytes, expected) in cases {
            let read = Command::read(bytes).map_err(|error| error.code);
            assert_eq!(&read, expected, "{bytes:?}");
        }
    }
}
