//! The pass for the messages there are: like the last one, and without a fault.
//!
//! One walk over the bytes, each value cast where it is read and put straight into the tail's row.
//! It never decides that a message fails: at the first thing it does not expect it bails, and the
//! exact pass puts the whole row again. What it accepts it must accept as the exact pass would: every
//! byte is checked, and a key that comes twice is not accepted here.

use storage::block::Tail;

use super::JsonDecoder;
use super::plan::{NodeId, NodeKind, Plan, ROOT, UNKNOWN};
use super::read::{Months, date, datetime, point};
use super::scan::{self, Syntax, sixteen, white};
use super::shape::Shape;
use crate::pipeline::cast::number::decimal_max;
use crate::pipeline::cast::{self, Cast, CastError, PutError, Value};

/// Why the pass gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bail {
    /// To be done by the exact pass, which knows why.
    Exact,
    /// The block's string region is full.
    Full,
}

impl From<Syntax> for Bail {
    fn from(_: Syntax) -> Bail {
        Bail::Exact
    }
}

impl From<CastError> for Bail {
    fn from(_: CastError) -> Bail {
        Bail::Exact
    }
}

impl From<PutError> for Bail {
    fn from(error: PutError) -> Bail {
        match error {
            PutError::Cast(_) => Bail::Exact,
            PutError::Full => Bail::Full,
        }
    }
}

impl JsonDecoder {
    /// Puts the value at `at` into the tail's row and returns where it ends.
    #[inline]
    pub(super) fn fast_row(
        &mut self,
        text: &str,
        at: usize,
        tail: &mut Tail<'_>,
    ) -> Result<usize, Bail> {
        self.row += 1;
        let mut pass = Pass {
            plan: &self.plan,
            shapes: &mut self.shapes,
            seen: &mut self.seen,
            row: self.row,
            months: &mut self.months,
            scratch: &mut self.scratch,
            text,
            tail,
            put: 0,
        };
        let end = pass.value(ROOT, at, 0)?;
        pass.rest()?;
        Ok(end)
    }
}

/// One row's walk.
struct Pass<'a, 't> {
    plan: &'a Plan,
    shapes: &'a mut [Shape],
    seen: &'a mut [u64],
    row: u64,
    months: &'a mut Months,
    scratch: &'a mut Vec<u8>,
    text: &'a str,
    tail: &'a mut Tail<'t>,
    /// Columns with a path that were put.
    put: u32,
}

impl Pass<'_, '_> {
    /// Takes the value at `at`, which is node `id`'s; returns where it ends.
    ///
    /// - `depth`: objects and arrays around it.
    #[inline(always)]
    fn value(&mut self, id: NodeId, mut at: usize, depth: u32) -> Result<usize, Bail> {
        let bytes = self.text.as_bytes();
        if bytes.get(at).is_none_or(|byte| *byte <= b' ') {
            // More white space than the last message had.
            at = white(bytes, at);
        }
        if id == UNKNOWN {
            return Ok(scan::value(bytes, at, depth)?);
        }
        let seen = &mut self.seen[usize::from(id)];
        if *seen == self.row {
            return Err(Bail::Exact);
        }
        *seen = self.row;
        match &self.plan.kinds[usize::from(id)] {
            NodeKind::Column(column, cast) => {
                self.put += 1;
                self.column(usize::from(*column), cast, at, depth)
            }
            NodeKind::Object if bytes.get(at) == Some(&b'{') => self.object(id, at),
            NodeKind::Object => Ok(scan::value(bytes, at, depth)?),
            NodeKind::Mixed => self.mixed(id, at, depth),
        }
    }

    /// Walks the object whose brace stands at `from`.
    fn object(&mut self, id: NodeId, mut from: usize) -> Result<usize, Bail> {
        let bytes = self.text.as_bytes();
        let depth = self.plan.nodes[usize::from(id)].depth + 1;
        let mut place = 0;
        let mut first = true;
        loop {
            let head = sixteen(bytes, from);
            // Both braces are above all that can stand before a later member.
            if head as u8 >= b'{' {
                match head as u8 {
                    b'}' => return Ok(from + 1),
                    b'{' if first => {}
                    // A first member's guess would be right here, and the message wrong.
                    _ => return Err(Bail::Exact),
                }
            }
            let shape = &self.shapes[usize::from(id)];
            let (child, at) = match shape.guess(place, head, bytes, from) {
                Some(guess) => {
                    place = guess.next;
                    (guess.node, from + guess.len)
                }
                None => match self.member(id, &mut place, from, first)? {
                    Member::Value(child, at) => (child, at),
                    Member::End(end) => return Ok(end),
                },
            };
            first = false;
            from = self.value(child, at, depth)?;
        }
    }

    /// Looks up a member that was not guessed, and learns it.
    #[inline(never)]
    fn member(
        &mut self,
        id: NodeId,
        place: &mut usize,
        from: usize,
        first: bool,
    ) -> Result<Member, Bail> {
        let bytes = self.text.as_bytes();
        let mut at = white(bytes, from);
        match bytes.get(at) {
            Some(b'{') if first => {
                at = white(bytes, at + 1);
                if bytes.get(at) == Some(&b'}') {
                    return Ok(Member::End(at + 1));
                }
            }
            Some(b',') if !first => at = white(bytes, at + 1),
            Some(b'}') if !first => return Ok(Member::End(at + 1)),
            _ => return Err(Bail::Exact),
        }
        let (key, start) = scan::key(bytes, at)?;
        let mut content = &bytes[key.start..key.end];
        if key.escaped {
            self.scratch.resize(content.len(), 0);
            let len = scan::unescape(content, self.scratch);
            content = &self.scratch[..len];
        }
        let child = self.plan.nodes[usize::from(id)].child(content);
        let shape = &mut self.shapes[usize::from(id)];
        *place = shape.learn(*place, &bytes[from..start], child);
        Ok(Member::Value(child, start))
    }

    /// A value of several columns, or of a column and walked into.
    #[inline(never)]
    fn mixed(&mut self, id: NodeId, at: usize, depth: u32) -> Result<usize, Bail> {
        let bytes = self.text.as_bytes();
        let end = scan::value(bytes, at, depth)?;
        let node = &self.plan.nodes[usize::from(id)];
        for &column in &node.columns {
            self.put += 1;
            let column = usize::from(column);
            self.column(column, &self.plan.casts[column].cast, at, depth)?;
        }
        if node.has_children() && bytes.get(at) == Some(&b'{') {
            self.object(id, at)?;
        }
        Ok(end)
    }

    /// Casts the value at `at` for one column. Inlined into the object's loop: a call a value would
    /// cost a tenth.
    #[inline(always)]
    fn column(&mut self, column: usize, cast: &Cast, at: usize, depth: u32) -> Result<usize, Bail> {
        let bytes = self.text.as_bytes();
        match *cast {
            Cast::Int { width, min, max } => {
                if let Some(number) = point(bytes, at)
                    && number.fraction == 0
                {
                    let size = number.digits_value;
                    let (most, value) = if number.negative {
                        (min.unsigned_abs(), (size as i64).wrapping_neg())
                    } else {
                        (max as u64, size as i64)
                    };
                    if size > most {
                        return Err(Bail::Exact);
                    }
                    cast::put_int(self.tail, column, width, value);
                    return Ok(number.end);
                }
            }
            Cast::UInt { width, max } => {
                if let Some(number) = point(bytes, at)
                    && number.fraction == 0
                    && !number.negative
                {
                    if number.digits_value > max {
                        return Err(Bail::Exact);
                    }
                    cast::put_uint(self.tail, column, width, number.digits_value);
                    return Ok(number.end);
                }
            }
            Cast::Decimal { precision, scale } => {
                if let Some(number) = point(bytes, at)
                    && let Some(value) = number.unscaled(scale)
                {
                    let max = decimal_max(precision);
                    if value > max || value < -max {
                        return Err(Bail::Exact);
                    }
                    self.tail.put(column, value);
                    return Ok(number.end);
                }
            }
            Cast::Double => {
                if let Some(number) = point(bytes, at)
                    && let Some(value) = number.double()
                {
                    self.tail.put(column, value);
                    return Ok(number.end);
                }
            }
            Cast::Float => {
                if let Some(number) = point(bytes, at)
                    && let Some(value) = number.float()
                {
                    self.tail.put(column, value);
                    return Ok(number.end);
                }
            }
            Cast::Date => {
                if let Some((days, end)) = date(bytes, at, self.months) {
                    self.tail.put(column, days);
                    return Ok(end);
                }
            }
            Cast::DateTime { digits } => {
                if let Some((value, end)) = datetime(bytes, at, digits, self.months) {
                    self.tail.put(column, value);
                    return Ok(end);
                }
            }
            Cast::Chars { .. } | Cast::Bytes { .. } => {
                if bytes.get(at) == Some(&b'"') {
                    return self.string(column, *cast, at);
                }
            }
            Cast::Json => {
                if bytes.get(at) != Some(&b'n') {
                    let end = scan::value(bytes, at, depth)?;
                    cast.put_text(self.tail, column, &self.text[at..end])?;
                    return Ok(end);
                }
            }
        }
        self.other(column, at, depth)
    }

    /// A string into a string column.
    #[inline(always)]
    fn string(&mut self, column: usize, cast: Cast, at: usize) -> Result<usize, Bail> {
        let bytes = self.text.as_bytes();
        let string = scan::string(bytes, at)?;
        let content = &self.text[string.start..string.end];
        if !string.escaped {
            let text = cast.fitting(content)?;
            self.tail.put_str(column, text).map_err(|_| Bail::Full)?;
            return Ok(string.end + 1);
        }
        let put = self.tail.put_str_with(column, content.len(), |to| {
            let len = scan::unescape(content.as_bytes(), to);
            // What CHAR trims is the end: the rest lies where it should.
            Ok::<usize, Bail>(cast.fitting_bytes(&to[..len])?)
        });
        put.map_err(|_| Bail::Full)??;
        Ok(string.end + 1)
    }

    /// Every value that the short cuts do not take.
    #[inline(never)]
    fn other(&mut self, column: usize, at: usize, depth: u32) -> Result<usize, Bail> {
        let bytes = self.text.as_bytes();
        let end = scan::value(bytes, at, depth)?;
        let verbatim = &self.text[at..end];
        let value = match verbatim.as_bytes()[0] {
            b'n' => Value::Null,
            b't' => Value::Bool(true),
            b'f' => Value::Bool(false),
            b'{' | b'[' => Value::Document(verbatim),
            b'"' => {
                let text = &verbatim[1..verbatim.len() - 1];
                if text.contains('\\') {
                    return Err(Bail::Exact);
                }
                Value::Text { text, verbatim }
            }
            _ => Value::Number(verbatim),
        };
        let hot = &self.plan.casts[column];
        hot.cast.put(self.tail, column, hot.nullable, value)?;
        Ok(end)
    }

    /// Puts what the message did not hold.
    #[inline]
    fn rest(&mut self) -> Result<(), Bail> {
        for &column in &self.plan.constants {
            self.default(usize::from(column))?;
        }
        if self.put < self.plan.mapped {
            self.missing()?;
        }
        Ok(())
    }

    #[inline(never)]
    fn missing(&mut self) -> Result<(), Bail> {
        let plan = self.plan;
        for (id, node) in plan.nodes.iter().enumerate() {
            if self.seen[id] != self.row {
                for &column in &node.columns {
                    self.default(usize::from(column))?;
                }
            }
        }
        Ok(())
    }

    fn default(&mut self, column: usize) -> Result<(), Bail> {
        let plan = &self.plan.columns[column];
        let default = plan.default.as_ref().ok_or(Bail::Exact)?;
        plan.cast
            .put(self.tail, column, plan.nullable, default.value())?;
        Ok(())
    }
}

/// What follows in an object.
enum Member {
    /// A value: whose, and where it starts.
    Value(NodeId, usize),
    /// The object's end, one past its brace.
    End(usize),
}
