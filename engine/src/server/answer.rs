//! What the server says: OK, error, end of rows, column definitions. Bytes only; no I/O.
//!
//! Written here and not by a client's library, whose serialisers serve its own tests: a column
//! definition's character set stands before its length on the wire.
//!
//! Source: MySQL's protocol documentation, "OK_Packet", "EOF_Packet", "Column Definition".

use mysql_common::constants::CapabilityFlags;
use mysql_common::io::BufMutExt;
use mysql_common::packets::{ErrPacket, ServerError, SqlState};
use mysql_common::proto::MySerialize;

use crate::sql::{Done, ResultColumn, SqlError};

/// The session commits each statement; so it stays.
pub const STATUS_AUTOCOMMIT: u16 = 0x0002;
/// Another result of the same command follows.
pub const STATUS_MORE_RESULTS: u16 = 0x0008;

/// An OK packet.
#[must_use]
pub fn ok(done: &Done, status: u16) -> Vec<u8> {
    let mut payload = vec![0x00];
    payload.put_lenenc_int(done.affected_rows);
    payload.put_lenenc_int(0);
    payload.extend_from_slice(&status.to_le_bytes());
    payload.extend_from_slice(&done.warnings.to_le_bytes());
    // The rest of the packet, without a length, where session tracking was not agreed.
    payload.extend_from_slice(done.info.as_bytes());
    payload
}

/// What ends column definitions and rows: an EOF packet, or with DEPRECATE_EOF an OK packet that
/// begins with 0xfe.
#[must_use]
pub fn end(capabilities: CapabilityFlags, warnings: u16, status: u16) -> Vec<u8> {
    let mut payload = vec![0xfe];
    if capabilities.contains(CapabilityFlags::CLIENT_DEPRECATE_EOF) {
        payload.extend_from_slice(&[0, 0]);
        payload.extend_from_slice(&status.to_le_bytes());
        payload.extend_from_slice(&warnings.to_le_bytes());
    } else {
        payload.extend_from_slice(&warnings.to_le_bytes());
        payload.extend_from_slice(&status.to_le_bytes());
    }
    payload
}

/// An error packet.
#[must_use]
pub fn error(error: &SqlError) -> Vec<u8> {
    let state = error.state.as_bytes().try_into().unwrap_or(*b"HY000");
    let message = error.shown();
    let packet = ErrPacket::Error(ServerError::new(
        error.code,
        Some(SqlState::new(state)),
        message.as_bytes(),
    ));
    let mut payload = Vec::new();
    packet.serialize(&mut payload);
    payload
}

/// An error packet before capabilities are agreed: without the state, as the protocol wants it.
#[must_use]
pub fn error_before_login(error: &SqlError) -> Vec<u8> {
    let message = error.shown();
    let packet = ErrPacket::Error(ServerError::new(error.code, None, message.as_bytes()));
    let mut payload = Vec::new();
    packet.serialize(&mut payload);
    payload
}

/// A column definition. `with_default`: COM_FIELD_LIST's form, which ends with the default (NULL).
#[must_use]
pub fn column(column: &ResultColumn, with_default: bool) -> Vec<u8> {
    let mut payload = Vec::with_capacity(64);
    for text in [
        "def",
        &column.database,
        &column.table,
        &column.org_table,
        &column.name,
        &column.org_name,
    ] {
        payload.put_lenenc_str(text.as_bytes());
    }
    payload.push(0x0c);
    payload.extend_from_slice(&column.collation.to_le_bytes());
    payload.extend_from_slice(&column.length.to_le_bytes());
    payload.push(column.type_code);
    payload.extend_from_slice(&column.flags.to_le_bytes());
    payload.push(column.decimals);
    payload.extend_from_slice(&[0, 0]);
    if with_default {
        payload.push(0xfb);
    }
    payload
}

/// COM_STMT_PREPARE's first answer.
#[must_use]
pub fn prepared(id: u32, columns: u16, params: u16) -> Vec<u8> {
    let mut payload = vec![0x00];
    payload.extend_from_slice(&id.to_le_bytes());
    payload.extend_from_slice(&columns.to_le_bytes());
    payload.extend_from_slice(&params.to_le_bytes());
    payload.extend_from_slice(&[0, 0, 0]);
    payload
}

#[cfg(test)]
mod tests {
    use mysql_common::io::ParseBuf;
    use mysql_common::packets::{Column, StmtPacket};
    use mysql_common::proto::MyDeserialize;

    use super::*;
    use crate::limits::ERROR_BYTES_MAX;

    #[test]
    fn a_clients_library_reads_a_column_definition() {
        let given = ResultColumn {
            database: "db".into(),
            table: "t".into(),
            org_table: "orders".into(),
            name: "n".into(),
            org_name: "note".into(),
            type_code: 253,
            flags: 1,
            decimals: 4,
            collation: 46,
            length: 1020,
        };
        let bytes = column(&given, false);
        let read = Column::deserialize((), &mut ParseBuf(&bytes)).expect("read");
        assert_eq!(
            (
                read.schema_str(),
                read.table_str(),
                read.org_table_str(),
                read.name_str(),
                read.org_name_str()
            ),
            (
                "db".into(),
                "t".into(),
                "orders".into(),
                "n".into(),
                "note".into()
            )
        );
        assert_eq!(
            (read.character_set(), read.column_length(), read.decimals()),
            (46, 1020, 4)
        );
        assert_eq!((read.column_type() as u8, read.flags().bits()), (253, 1));
    }

    #[test]
    fn an_error_that_quotes_a_statement_is_cut_between_its_characters() {
        let told = |message: &str| {
            let error = error(&SqlError {
                code: 1064,
                state: "42000",
                message: message.into(),
            });
            String::from_utf8(error[9..].to_vec()).expect("whole characters")
        };
        let fits = "x".repeat(ERROR_BYTES_MAX);
        assert_eq!(told(&fits), fits);
        let long = format!("x{}", "\u{e9}".repeat(ERROR_BYTES_MAX));
        let cut = told(&long);
        assert!(cut.ends_with("\u{e9}...") && cut.len() <= ERROR_BYTES_MAX + 3);
        assert!(long.starts_with(cut.trim_end_matches('.')));
    }

    #[test]
    fn a_clients_library_reads_an_error_and_a_statement() {
        let bytes = error(&SqlError {
            code: 1064,
            state: "42000",
            message: "near 'x'".into(),
        });
        let read =
            ErrPacket::deserialize(CapabilityFlags::CLIENT_PROTOCOL_41, &mut ParseBuf(&bytes))
                .expect("read");
        assert_eq!(
            read.server_error().to_string(),
            "ERROR 1064 (42000): near 'x'"
        );
        let bytes = prepared(7, 3, 2);
        let read = StmtPacket::deserialize((), &mut ParseBuf(&bytes)).expect("read");
        assert_eq!(
            (read.statement_id(), read.num_columns(), read.num_params()),
            (7, 3, 2)
        );
    }
}
