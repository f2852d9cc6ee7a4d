//! A mapping made ready: a tree of keys, whose nodes know the columns that take their value.
//!
//! Node 0 is the whole value, `%`. Nodes are numbered so that what lies below a node follows it
//! directly: `id + 1..below_end`.

use super::MappingError;
use crate::limits::{MAPPED_COLUMNS_MAX, PATH_KEYS_MAX};
use crate::pipeline::cast::{Cast, CastError, Value, number, time};
use crate::pipeline::json::scan;
use crate::pipeline::mapping::{JsonMapping, Literal, MappedColumn};

/// A node's index.
pub(super) type NodeId = u16;

/// No node: a key that the mapping does not know.
pub(super) const UNKNOWN: NodeId = u16::MAX;
/// The whole value.
pub(super) const ROOT: NodeId = 0;

/// What a JSON value at one path is for.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// The columns that take its value.
    pub columns: Box<[u16]>,
    /// Objects around its value: the length of its path.
    pub depth: u32,
    /// One past the last node below it.
    pub below_end: NodeId,
    keys: Keys,
}

/// What a row does with a node's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeKind {
    /// It is one column's, and cast so.
    Column(u16, Cast),
    /// It is walked into, no more.
    Object,
    /// It is several columns', or a column's and walked into.
    Mixed,
}

/// One column.
#[derive(Clone, Debug)]
pub(super) struct ColumnPlan {
    pub name: String,
    pub cast: Cast,
    pub nullable: bool,
    /// Its path as the user writes it; `None` for a column that the mapping does not name.
    pub path: Option<String>,
    /// Where its value stands.
    pub node: Option<NodeId>,
    pub default: Option<Constant>,
}

/// A DEFAULT, known to cast.
#[derive(Clone, Debug)]
pub(super) enum Constant {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
}

impl Constant {
    pub(super) fn value(&self) -> Value<'_> {
        match self {
            Constant::Null => Value::Null,
            Constant::Bool(value) => Value::Bool(*value),
            Constant::Number(text) => Value::Number(text),
            // A JSON column's DEFAULT is JSON text; for others it is a string's content.
            Constant::Text(text) => Value::Text {
                text,
                verbatim: text,
            },
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Constant::Null => 0,
            Constant::Bool(_) => 5,
            Constant::Number(text) | Constant::Text(text) => text.len(),
        }
    }
}

/// What a row needs of a column.
#[derive(Clone, Copy, Debug)]
pub(super) struct ColumnCast {
    pub cast: Cast,
    pub nullable: bool,
}

/// A mapping made ready.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub nodes: Box<[Node]>,
    /// What a row needs to do with each node's value, in short and close together.
    pub kinds: Box<[NodeKind]>,
    pub columns: Box<[ColumnPlan]>,
    /// The same columns' casts, close together.
    pub casts: Box<[ColumnCast]>,
    /// Columns that have a path.
    pub mapped: u32,
    /// Columns that have none: constant in every row.
    pub constants: Box<[u16]>,
}

impl Plan {
    pub(super) fn new(mapping: &JsonMapping) -> Result<Plan, MappingError> {
        if mapping.columns.len() > MAPPED_COLUMNS_MAX {
            return Err(MappingError::TooManyColumns {
                columns: mapping.columns.len(),
            });
        }
        let mut tree = Tree::default();
        let mut columns = Vec::with_capacity(mapping.columns.len());
        for (at, column) in mapping.columns.iter().enumerate() {
            columns.push(column_plan(column)?);
            if let Some(path) = &column.path {
                if path.0.len() > PATH_KEYS_MAX {
                    return Err(MappingError::PathTooLong {
                        column: column.name.clone(),
                        keys: path.0.len(),
                    });
                }
                tree.insert(&path.0).columns.push(at as u16);
            }
        }
        let mut nodes = Vec::new();
        tree.number(0, &mut nodes)
            .ok_or(MappingError::TooManyColumns {
                columns: mapping.columns.len(),
            })?;
        for (id, node) in nodes.iter().enumerate() {
            for &column in &node.columns {
                columns[usize::from(column)].node = Some(id as NodeId);
            }
        }
        let constants = (0..).zip(&columns).filter(|(_, c)| c.node.is_none());
        let constants: Box<[u16]> = constants.map(|(at, _)| at).collect();
        let casts = columns.iter().map(|column| ColumnCast {
            cast: column.cast,
            nullable: column.nullable,
        });
        let kinds = nodes.iter().map(|node| match *node.columns {
            [column] if !node.has_children() => {
                NodeKind::Column(column, columns[usize::from(column)].cast)
            }
            [] => NodeKind::Object,
            _ => NodeKind::Mixed,
        });
        Ok(Plan {
            kinds: kinds.collect(),
            casts: casts.collect(),
            nodes: nodes.into(),
            mapped: (columns.len() - constants.len()) as u32,
            columns: columns.into(),
            constants,
        })
    }
}

impl Node {
    /// The node below this one that `key` leads to.
    #[inline]
    pub(super) fn child(&self, key: &[u8]) -> NodeId {
        self.keys.find(key)
    }

    /// Whether keys lead on from here.
    pub(super) fn has_children(&self) -> bool {
        self.keys.any()
    }
}

fn column_plan(column: &MappedColumn) -> Result<ColumnPlan, MappingError> {
    let cast = Cast::to(column.sql_type).ok_or_else(|| MappingError::Type {
        column: column.name.clone(),
        sql_type: column.sql_type,
    })?;
    let default = match (&column.default, &column.path) {
        (Some(literal), _) => Some(match literal {
            Literal::Null => Constant::Null,
            Literal::Bool(value) => Constant::Bool(*value),
            Literal::Number(text) => Constant::Number(text.clone()),
            Literal::Text(text) => Constant::Text(text.clone()),
        }),
        (None, None) => Some(Constant::Null),
        (None, Some(_)) => None,
    };
    if let Some(constant) = &default {
        check(cast, column.nullable, constant).map_err(|error| match (error, &column.path) {
            (CastError::Null, None) => MappingError::NoValue {
                column: column.name.clone(),
            },
            _ => MappingError::Default {
                column: column.name.clone(),
                error,
            },
        })?;
    }
    Ok(ColumnPlan {
        name: column.name.clone(),
        cast,
        nullable: column.nullable,
        path: column.path.as_ref().map(|path| path.to_string()),
        node: None,
        default,
    })
}

/// Whether a DEFAULT casts, so that no row can fail by it.
fn check(cast: Cast, nullable: bool, constant: &Constant) -> Result<(), CastError> {
    let (text, number) = match constant {
        Constant::Null if nullable => return Ok(()),
        Constant::Null => return Err(CastError::Null),
        Constant::Bool(_) => match cast {
            Cast::Date | Cast::DateTime { .. } => return Err(CastError::IncorrectTime),
            Cast::Json => return Ok(()),
            _ => ("1", false),
        },
        Constant::Number(text) => {
            // As a JSON number is cast, it must be one; a leading plus or point is SQL's alone.
            number::Decimal::parse(text)?;
            (text.as_str(), true)
        }
        Constant::Text(text) => (text.as_str(), false),
    };
    match cast {
        Cast::Int { min, max, .. } => number::integer(text, min.into(), max.into()).map(drop),
        Cast::UInt { max, .. } => number::integer(text, 0, max.into()).map(drop),
        Cast::Float => number::float(text).map(drop),
        Cast::Double => number::double(text).map(drop),
        Cast::Decimal { precision, scale } => {
            number::decimal(text, scale, number::decimal_max(precision)).map(drop)
        }
        Cast::Date | Cast::DateTime { .. } if number => Err(CastError::IncorrectTime),
        Cast::Date => time::date(text).map(drop),
        Cast::DateTime { digits } => time::datetime(text, digits).map(drop),
        Cast::Chars { .. } | Cast::Bytes { .. } => cast.fitting(text).map(drop),
        Cast::Json => {
            let bytes = text.as_bytes();
            match scan::value(bytes, scan::white(bytes, 0), 0) {
                Ok(end) if scan::white(bytes, end) == bytes.len() => Ok(()),
                _ => Err(CastError::IncorrectJson),
            }
        }
    }
}

/// The tree as it is built.
#[derive(Default)]
struct Tree {
    columns: Vec<u16>,
    children: Vec<(String, Tree)>,
}

impl Tree {
    fn insert(&mut self, path: &[String]) -> &mut Tree {
        let Some((key, rest)) = path.split_first() else {
            return self;
        };
        let at = match self.children.iter().position(|(known, _)| known == key) {
            Some(at) => at,
            None => {
                self.children.push((key.clone(), Tree::default()));
                self.children.len() - 1
            }
        };
        self.children[at].1.insert(rest)
    }

    /// Appends this node and all below it; `None` if there are more than an id can name.
    fn number(self, depth: u32, nodes: &mut Vec<Node>) -> Option<NodeId> {
        let id = NodeId::try_from(nodes.len()).ok()?;
        nodes.push(Node {
            columns: self.columns.into(),
            depth,
            below_end: id,
            keys: Keys::default(),
        });
        let mut keys = Vec::with_capacity(self.children.len());
        for (key, child) in self.children {
            keys.push((key, child.number(depth + 1, nodes)?));
        }
        let below_end = NodeId::try_from(nodes.len()).ok()?;
        let node = &mut nodes[usize::from(id)];
        node.below_end = below_end;
        node.keys = Keys::new(keys);
        Some(id)
    }
}

/// Keys to nodes: open addressing over a hash of length, first and last bytes.
#[derive(Clone, Debug, Default)]
struct Keys {
    keys: Box<[(Box<[u8]>, NodeId)]>,
    /// Indexes of `keys` plus one; 0 is a free slot. A power of two, at most half full.
    slots: Box<[u16]>,
}

impl Keys {
    fn new(keys: Vec<(String, NodeId)>) -> Keys {
        let mut slots = vec![0_u16; (2 * keys.len()).next_power_of_two()];
        for (at, (key, _)) in keys.iter().enumerate() {
            let mut slot = Keys::slot(key.as_bytes(), slots.len());
            while slots[slot] != 0 {
                slot = (slot + 1) % slots.len();
            }
            slots[slot] = at as u16 + 1;
        }
        let keys = keys.into_iter();
        Keys {
            keys: keys
                .map(|(key, id)| (key.into_bytes().into(), id))
                .collect(),
            slots: slots.into(),
        }
    }

    fn any(&self) -> bool {
        !self.keys.is_empty()
    }

    #[inline]
    fn slot(key: &[u8], slots: usize) -> usize {
        let ends =
            scan::eight(key, 0) ^ scan::eight(key, key.len().saturating_sub(8)).rotate_left(29);
        let mixed = (ends ^ key.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 40) as usize & (slots - 1)
    }

    #[inline]
    fn find(&self, key: &[u8]) -> NodeId {
        if self.keys.is_empty() {
            return UNKNOWN;
        }
        let mut slot = Keys::slot(key, self.slots.len());
        while let Some(at) = usize::from(self.slots[slot]).checked_sub(1) {
            let (known, id) = &self.keys[at];
            if **known == *key {
                return *id;
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        UNKNOWN
    }
}
