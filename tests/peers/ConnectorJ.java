// Connector/J against a running Pinleaf: logins, statements prepared at the client and at the
// server, parameters of every type, typed getters, streamed results, errors, and what its DatabaseMetaData
// asks, of information_schema and by SHOW.
//
// usage: java -cp mysql-connector-j.jar ConnectorJ.java PORT ROWS
//
// Expects what pymysql_client.py expects. Exits with 1 and a stack trace at the first thing that is not
// as it should be.

import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.Date;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Timestamp;
import java.sql.Types;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.List;
import java.util.Objects;

public class ConnectorJ {
    static int port;
    static int rows;

    static Connection connect(String user, String password, String options) throws SQLException {
        String url = "jdbc:mysql://127.0.0.1:" + port + "/shop?connectionTimeZone=UTC&characterEncoding=UTF-8"
            + "&sslMode=DISABLED" + options;
        return DriverManager.getConnection(url, user, password);
    }

    static void same(Object expected, Object found, String what) {
        if (!Objects.equals(expected, found)) {
            throw new AssertionError(what + ": " + found + ", and not " + expected);
        }
    }

    interface Run {
        void run() throws SQLException;
    }

    static void fails(int number, String state, Run run) throws SQLException {
        try {
            run.run();
        } catch (SQLException error) {
            if (error.getErrorCode() != number || !state.equals(error.getSQLState())) {
                throw error;
            }
            return;
        }
        throw new AssertionError("no error " + number);
    }

    static void logins() throws SQLException {
        try (Connection connection = connect("ann", "Grüße 7", "")) {
            same(true, connection.isValid(10), "isValid");
            same("shop", connection.getCatalog(), "catalog");
            same(true, connection.getAutoCommit(), "autocommit");
            connection.setReadOnly(true);
            connection.setReadOnly(false);
            connection.setCatalog("information_schema");
            same("information_schema", connection.getCatalog(), "catalog");
        }
        fails(1045, "28000", () -> connect("ann", "wrong", ""));
        String native_ = "&defaultAuthenticationPlugin=mysql_native_password";
        try (Connection connection = connect("ann", "Grüße 7", native_)) {
            same(true, connection.isValid(10), "isValid");
        }
        fails(1045, "28000", () -> connect("ann", "wrong", native_));
    }

    // 2^64-1, which no long holds.
    static final BigInteger MOST = BigInteger.TWO.pow(64).subtract(BigInteger.ONE);

    static final Object[][] COLUMNS = {
        // name, JDBC type where the driver has one answer
        {"id", Types.INTEGER}, {"tiny", Types.TINYINT}, {"tiny_u", Types.TINYINT}, {"small", Types.SMALLINT},
        {"small_u", Types.SMALLINT}, {"medium", Types.INTEGER}, {"medium_u", Types.INTEGER},
        {"whole", Types.INTEGER}, {"whole_u", Types.INTEGER}, {"big", Types.BIGINT}, {"big_u", Types.BIGINT},
        {"single", Types.REAL}, {"duple", Types.DOUBLE}, {"exact", Types.DECIMAL}, {"money", Types.DECIMAL},
        {"flag", null}, {"fixed", Types.CHAR}, {"varied", Types.VARCHAR}, {"longer", null},
        {"day", Types.DATE}, {"at0", Types.TIMESTAMP}, {"at3", Types.TIMESTAMP}, {"at6", Types.TIMESTAMP},
        {"stamp", Types.TIMESTAMP}, {"doc", null},
    };

    static void types(Connection connection) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement("SELECT * FROM types ORDER BY id");
             ResultSet row = statement.executeQuery()) {
            ResultSetMetaData columns = row.getMetaData();
            same(COLUMNS.length, columns.getColumnCount(), "columns");
            for (int at = 1; at <= COLUMNS.length; at++) {
                same(COLUMNS[at - 1][0], columns.getColumnName(at), "name");
                if (COLUMNS[at - 1][1] != null) {
                    same(COLUMNS[at - 1][1], columns.getColumnType(at), "type of " + columns.getColumnName(at));
                }
            }
            same("INT UNSIGNED", columns.getColumnTypeName(9), "type name");
            same(false, columns.isSigned(9), "signed");
            same(38, columns.getPrecision(14), "precision");
            same(12, columns.getScale(14), "scale");
            same(ResultSetMetaData.columnNoNulls, columns.isNullable(1), "nullable");
            same(ResultSetMetaData.columnNullable, columns.isNullable(2), "nullable");
            same("types", columns.getTableName(1), "table");

            same(true, row.next(), "first row");
            same((byte) -128, row.getByte("tiny"), "tiny");
            same((short) 255, row.getShort("tiny_u"), "tiny_u");
            same((short) -32768, row.getShort("small"), "small");
            same(65535, row.getInt("small_u"), "small_u");
            same(-8388608, row.getInt("medium"), "medium");
            same(16777215, row.getInt("medium_u"), "medium_u");
            same(Integer.MIN_VALUE, row.getInt("whole"), "whole");
            same(4294967295L, row.getLong("whole_u"), "whole_u");
            same(Long.MIN_VALUE, row.getLong("big"), "big");
            same(MOST, row.getObject("big_u"), "big_u");
            same(MOST, row.getObject("big_u", BigInteger.class), "big_u");
            same(new BigDecimal(MOST), row.getBigDecimal("big_u"), "big_u");
            same(MOST.toString(), row.getString("big_u"), "big_u");
            same(1.5f, row.getFloat("single"), "single");
            same(-1.25e100, row.getDouble("duple"), "duple");
            same(new BigDecimal("-12345678901234567890123456.789012345678"), row.getBigDecimal("exact"), "exact");
            same(new BigDecimal("0.10"), row.getBigDecimal("money"), "money");
            same(true, row.getBoolean("flag"), "flag");
            same("fünf", row.getString("fixed"), "fixed");
            same("tab\t quote' \" backslash\\ nul-free Zürich 🦀", row.getString("varied"), "varied");
            same("long ".repeat(5000), row.getString("longer"), "longer");
            same(LocalDate.of(2024, 2, 29), row.getObject("day", LocalDate.class), "day");
            LocalDateTime at = LocalDateTime.of(2024, 2, 29, 23, 59, 59);
            same(at, row.getObject("at0", LocalDateTime.class), "at0");
            same(at.withNano(123_000_000), row.getObject("at3", LocalDateTime.class), "at3");
            same(at.withNano(123_456_000), row.getObject("at6", LocalDateTime.class), "at6");
            same(LocalDateTime.of(1970, 1, 1, 0, 0, 1), row.getObject("stamp", LocalDateTime.class), "stamp");
            same("{\"a\":[1,null,\"ü\"]}", row.getString("doc").replace(" ", ""), "doc");
            same(false, row.wasNull(), "wasNull");

            same(true, row.next(), "second row");
            same(2, row.getInt(1), "id");
            for (int column = 2; column <= COLUMNS.length; column++) {
                same(null, row.getObject(column), columns.getColumnName(column));
            }
            same(0, row.getInt("whole"), "whole");
            same(true, row.wasNull(), "wasNull");
            same(false, row.next(), "end");
        }
    }

    interface Set {
        void set(PreparedStatement statement) throws SQLException;
    }

    static void finds(Connection connection, String condition, Set set) throws SQLException {
        String sql = "SELECT id FROM types WHERE " + condition;
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            for (int again = 0; again < 2; again++) {
                set.set(statement);
                try (ResultSet row = statement.executeQuery()) {
                    same(true, row.next(), condition);
                    same(1, row.getInt(1), condition);
                    same(false, row.next(), condition);
                }
            }
        }
    }

    static void parameters(Connection connection) throws SQLException {
        finds(connection, "tiny = ?", s -> s.setByte(1, (byte) -128));
        finds(connection, "small = ?", s -> s.setShort(1, (short) -32768));
        finds(connection, "whole = ?", s -> s.setInt(1, Integer.MIN_VALUE));
        finds(connection, "big = ?", s -> s.setLong(1, Long.MIN_VALUE));
        // As setObject(1, MOST) the driver itself sends -1, to any server.
        finds(connection, "big_u = ?", s -> s.setBigDecimal(1, new BigDecimal(MOST)));
        finds(connection, "single = ?", s -> s.setFloat(1, 1.5f));
        finds(connection, "duple = ?", s -> s.setDouble(1, -1.25e100));
        finds(connection, "money = ?", s -> s.setBigDecimal(1, new BigDecimal("0.10")));
        finds(connection, "exact = ?",
            s -> s.setBigDecimal(1, new BigDecimal("-12345678901234567890123456.789012345678")));
        finds(connection, "flag = ?", s -> s.setBoolean(1, true));
        finds(connection, "varied = ?", s -> s.setString(1, "tab\t quote' \" backslash\\ nul-free Zürich 🦀"));
        finds(connection, "fixed = ?", s -> s.setBytes(1, "fünf".getBytes(StandardCharsets.UTF_8)));
        finds(connection, "day = ?", s -> s.setObject(1, LocalDate.of(2024, 2, 29)));
        finds(connection, "at0 = ?", s -> s.setObject(1, LocalDateTime.of(2024, 2, 29, 23, 59, 59)));
        finds(connection, "at6 = ?", s -> s.setObject(1, LocalDateTime.of(2024, 2, 29, 23, 59, 59, 123_456_000)));
        finds(connection, "at3 = ?", s -> s.setTimestamp(1, Timestamp.valueOf("2024-02-29 23:59:59.123")));
        finds(connection, "longer = ?", s -> s.setCharacterStream(1, new java.io.StringReader("long ".repeat(5000))));
        finds(connection, "id = 1 AND ? IS NULL", s -> s.setNull(1, Types.INTEGER));
        finds(connection, "id IN (?, ?, ?) AND varied LIKE ?", s -> {
            s.setInt(1, 7);
            s.setInt(2, 1);
            s.setNull(3, Types.BIGINT);
            s.setString(4, "tab%");
        });
        try (PreparedStatement statement = connection.prepareStatement("SELECT ? + 1, CONCAT(?, '!')")) {
            statement.setInt(1, 41);
            statement.setString(2, "it''s \\ \0 ü");
            try (ResultSet row = statement.executeQuery()) {
                same(true, row.next(), "row");
                same(42L, row.getLong(1), "sum");
                same("it''s \\ \0 ü!", row.getString(2), "text");
            }
        }
    }

    static void streams(Connection connection) throws SQLException {
        String sql = "SELECT id, text FROM numbers";
        try (Statement statement = connection.createStatement(ResultSet.TYPE_FORWARD_ONLY, ResultSet.CONCUR_READ_ONLY)) {
            statement.setFetchSize(Integer.MIN_VALUE);
            read(statement.executeQuery(sql));
        }
        try (PreparedStatement statement = connection.prepareStatement(sql + " WHERE id >= ?")) {
            statement.setFetchSize(Integer.MIN_VALUE);
            statement.setLong(1, 0);
            read(statement.executeQuery());
            // Not read to its end: closing skips the rest.
            ResultSet begun = statement.executeQuery();
            same(true, begun.next(), "row");
            begun.close();
            read(statement.executeQuery());
        }
    }

    static void read(ResultSet row) throws SQLException {
        BitSet seen = new BitSet(rows);
        while (row.next()) {
            int id = row.getInt(1);
            same("row " + id, row.getString(2), "text");
            same(false, seen.get(id), "twice");
            seen.set(id);
        }
        row.close();
        same(rows, seen.cardinality(), "rows");
    }

    static void errors(Connection connection) throws SQLException {
        Object[][] cases = {
            {1064, "42000", "SELEC 1"},
            {1054, "42S22", "SELECT nope FROM types"},
            {1146, "42S02", "SELECT * FROM nope"},
            {1235, "42000", "INSERT INTO numbers VALUES (1, 'x')"},
        };
        for (Object[] one : cases) {
            fails((int) one[0], (String) one[1], () -> {
                try (PreparedStatement statement = connection.prepareStatement((String) one[2])) {
                    statement.execute();
                }
            });
            same(true, connection.isValid(10), "after an error");
        }
    }

    interface Ask {
        ResultSet ask() throws SQLException;
    }

    // The first columns of every row of an answer.
    static List<String> rows(Ask ask, String... columns) throws SQLException {
        List<String> found = new ArrayList<>();
        try (ResultSet row = ask.ask()) {
            while (row.next()) {
                StringBuilder text = new StringBuilder();
                for (String column : columns) {
                    text.append(text.length() == 0 ? "" : " ").append(row.getString(column));
                }
                found.add(text.toString());
            }
        }
        return found;
    }

    static void metadata(Connection connection) throws SQLException {
        DatabaseMetaData about = connection.getMetaData();
        same(8, about.getDatabaseMajorVersion(), "version");
        same(List.of("information_schema", "shop"), rows(about::getCatalogs, "TABLE_CAT"), "catalogs");
        String[] tables = {"TABLE"};
        same(List.of("shop numbers TABLE", "shop types TABLE"),
            rows(() -> about.getTables("shop", null, "%", tables), "TABLE_CAT", "TABLE_NAME", "TABLE_TYPE"), "tables");
        same(List.of("numbers"),
            rows(() -> about.getTables("shop", null, "n%", tables), "TABLE_NAME"), "tables like n%");
        List<String> views = rows(() -> about.getTables("information_schema", null, "%", null), "TABLE_NAME");
        for (String view : new String[] {"COLUMNS", "KEY_COLUMN_USAGE", "PIPELINES", "STATISTICS"}) {
            same(true, views.contains(view), view);
        }
        same(List.of("1 id -5 19 NO ", "2 text 12 20 NO row and id"),
            rows(() -> about.getColumns("shop", null, "numbers", "%"), "ORDINAL_POSITION", "COLUMN_NAME",
                "DATA_TYPE", "COLUMN_SIZE", "IS_NULLABLE", "REMARKS"), "columns");
        List<String> names = new ArrayList<>();
        for (Object[] column : COLUMNS) {
            names.add((String) column[0]);
        }
        same(names, rows(() -> about.getColumns("shop", null, "types", null), "COLUMN_NAME"), "columns of types");
        same(List.of("exact 3 38 12", "money 3 10 2"),
            rows(() -> about.getColumns("shop", null, "types", "%"), "COLUMN_NAME", "DATA_TYPE", "COLUMN_SIZE",
                "DECIMAL_DIGITS").stream().filter(row -> row.matches("\\w+ 3 .*")).toList(), "decimals");
        Ask[] none = {
            () -> about.getPrimaryKeys("shop", null, "types"),
            () -> about.getIndexInfo("shop", null, "types", false, true),
            () -> about.getImportedKeys("shop", null, "types"),
            () -> about.getExportedKeys("shop", null, "types"),
            () -> about.getCrossReference("shop", null, "types", "shop", null, "numbers"),
            () -> about.getBestRowIdentifier("shop", null, "types", DatabaseMetaData.bestRowSession, true),
            () -> about.getVersionColumns("shop", null, "types"),
            () -> about.getProcedures("shop", null, "%"),
            () -> about.getProcedureColumns("shop", null, "%", "%"),
            () -> about.getFunctions("shop", null, "%"),
            () -> about.getFunctionColumns("shop", null, "%", "%"),
            () -> about.getUDTs("shop", null, "%", null),
        };
        for (int at = 0; at < none.length; at++) {
            same(List.of(), rows(none[at]), "what is not there, " + at);
        }
        same(true, about.getSQLKeywords().contains("STRAIGHT_JOIN"), "keywords");
    }

    public static void main(String[] arguments) throws SQLException {
        port = Integer.parseInt(arguments[0]);
        rows = Integer.parseInt(arguments[1]);
        logins();
        String[] ways = {
            "&useServerPrepStmts=true",
            "&useServerPrepStmts=true&cachePrepStmts=true",
            "&useServerPrepStmts=false",
        };
        for (String options : new String[] {"&useInformationSchema=true", "&useInformationSchema=false"}) {
            System.out.println(options);
            try (Connection connection = connect("root", "", options)) {
                metadata(connection);
            }
        }
        for (String options : ways) {
            System.out.println(options);
            try (Connection connection = connect("root", "", options)) {
                types(connection);
                parameters(connection);
                streams(connection);
                errors(connection);
            }
        }
    }
}
