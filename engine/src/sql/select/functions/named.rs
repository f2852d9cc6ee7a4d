//! What a call of a function is named in a plan, which asks for it at each level of an expression.

use std::hash::{DefaultHasher, Hasher};

use datafusion::common::cse::HashNode;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::Expr;

use super::numbered;
use crate::limits::{NAMED_EXPRESSIONS_MAX, NAMED_TEXT_BYTES_MAX};

/// The text of a call, or a number in its place where it is long: a plan asks for it at each level.
pub(super) fn call_name(name: &str, args: &[Expr]) -> String {
    let mut left = NAMED_EXPRESSIONS_MAX;
    if args.iter().all(|arg| is_short(arg, &mut left)) {
        let shown: Vec<String> = args
            .iter()
            .map(|arg| arg.schema_name().to_string())
            .collect();
        return format!("{name}({})", shown.join(","));
    }
    let mut hasher = DefaultHasher::new();
    for arg in args {
        hash_down(arg, &mut hasher);
    }
    format!("{name}(#{:016x})", hasher.finish())
}

/// Hashes an expression, down to what has a number.
fn hash_down(expr: &Expr, hasher: &mut DefaultHasher) {
    expr.hash_node(hasher);
    if !numbered::is_numbered(expr) {
        let looked = expr.apply_children(|child| {
            hash_down(child, hasher);
            Ok(TreeNodeRecursion::Continue)
        });
        // It fails where the closure does.
        debug_assert!(looked.is_ok());
    }
    hasher.write_u8(b')');
}

/// Whether an expression is of no more than `left`, which it takes, and none of them a long text.
fn is_short(expr: &Expr, left: &mut usize) -> bool {
    let Some(less) = left.checked_sub(1) else {
        return false;
    };
    *left = less;
    if numbered::is_numbered(expr) {
        return true;
    }
    if let Expr::Literal(value, _) = expr {
        let text = value.try_as_str().flatten();
        return text.is_none_or(|text| text.len() <= NAMED_TEXT_BYTES_MAX);
    }
    let mut short = true;
    let looked = expr.apply_children(|child| {
        short &= is_short(child, left);
        Ok(match short {
            true => TreeNodeRecursion::Continue,
            false => TreeNodeRecursion::Stop,
        })
    });
    short && looked.is_ok()
}
