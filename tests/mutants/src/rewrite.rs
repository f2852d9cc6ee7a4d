//! A file with all of its mutants in it, each behind its switch.
//!
//! An operand is evaluated once, in the order in which it was; what is rewritten stands in parentheses, so
//! that nothing around it binds otherwise. What a switch needs:
//!
//! | change | becomes |
//! |---|---|
//! | a function returns R | `if on(N) { return R; }` before its first statement |
//! | `==`, `!=` | `((a) == (b)) != on(N)` |
//! | `&&` | `if (a) == on(N) { on(N) } else { b }` |
//! | `\|\|` | `if (a) != on(N) { !on(N) } else { b }` |
//! | `<` and the like | a match over references to both, then `if on(N) { *l > *r } else ..` |
//! | arithmetic | the same over values |
//! | `a += b` | a match over `b`, `a` in each branch |
//! | `!a`, `-a` without its operator | a match over `a` |
//! | a match without an arm | the arm's guard is false |
//! | a guard that is true, or false | `on(N) \|\| (!on(M) && (guard))` |
//! | a literal without a field | the field of the same literal of its base alone |
//!
//! In a constant, and where the compiler wants one type and a switch gives it two, none can stand: what the
//! compiler refuses is left out, by the place that it names ([`Written::blame`]).

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::ops::Range;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::list::{Genre, Mutant, Source};

/// A place with its mutants.
struct Node<'a> {
    at: Range<usize>,
    /// Of two nodes at the same place the outer one has the lower.
    rank: u8,
    what: What,
    mutants: Vec<&'a Mutant>,
}

#[derive(Clone)]
enum What {
    Return,
    Binary {
        left: Range<usize>,
        operator: Range<usize>,
        right: Range<usize>,
    },
    Unary {
        operator: Range<usize>,
        operand: Range<usize>,
    },
    /// The end of an arm's pattern, without a guard behind it.
    Unguarded,
    /// What is matched, of arms that are left out: where the compiler says that the others are not all.
    Matched,
    Guard {
        has_let: bool,
    },
    Field {
        name: String,
        value: Option<Range<usize>>,
        path: Range<usize>,
        base: Range<usize>,
    },
}

/// A rewritten file.
pub struct Written {
    /// With switches.
    pub text: String,
    /// The mutants that stand in it.
    pub switched: Vec<u32>,
    regions: Vec<Region>,
}

/// Bytes of what was written, and whose they are.
struct Region {
    at: Range<usize>,
    /// Where the place begins in the source.
    place: usize,
    /// One mutant's own, or all of the place's.
    mutants: Vec<u32>,
    own: bool,
}

/// What an error of the compiler is about.
pub struct Blame {
    /// Where the place begins in the source.
    pub place: usize,
    /// Its mutants, or the one.
    pub mutants: Vec<u32>,
    /// Whether the error lies in what one mutant alone put there.
    pub own: bool,
}

impl Written {
    /// Whose bytes these are: the smallest region around them.
    #[must_use]
    pub fn blame(&self, at: &Range<usize>) -> Option<Blame> {
        let around = |region: &&Region| region.at.start <= at.start && at.end <= region.at.end;
        let regions = self.regions.iter().filter(around);
        let region = regions.min_by_key(|region| region.at.len())?;
        Some(Blame {
            place: region.place,
            mutants: region.mutants.clone(),
            own: region.own,
        })
    }
}

/// Rewrites a file.
///
/// # Errors
/// A file that is not Rust.
pub fn rewrite(
    source: &Source,
    mutants: &[&Mutant],
    without: &HashSet<u32>,
    copied: &HashSet<usize>,
) -> Result<Written, String> {
    let file = syn::parse_file(&source.text).map_err(|e| format!("{}: {e}", source.path))?;
    let mut places = Places::default();
    places.visit_file(&file);
    let mut nodes: Vec<Node<'_>> = Vec::new();
    for mutant in mutants.iter().filter(|one| !without.contains(&one.id)) {
        let Some((at, rank, what)) = places.find(mutant) else {
            continue;
        };
        let matched = places.matched.get(&mutant.at.start).cloned();
        let matched = matched.filter(|_| matches!(what, What::Unguarded));
        let matched = matched.map(|at| (at, 0, What::Matched));
        for (at, rank, what) in matched.into_iter().chain([(at, rank, what)]) {
            match nodes
                .iter_mut()
                .find(|node| node.at == at && node.rank == rank)
            {
                Some(node) => node.mutants.push(mutant),
                None => nodes.push(Node {
                    at,
                    rank,
                    what,
                    mutants: vec![mutant],
                }),
            }
        }
    }
    nodes.sort_by_key(|node| {
        (
            node.at.start,
            !node.at.is_empty(),
            usize::MAX - node.at.end,
            node.rank,
        )
    });
    let mut writer = Writer {
        source: &source.text,
        nodes: &nodes,
        copied,
        out: String::new(),
        regions: Vec::new(),
    };
    writer.range(0..source.text.len(), 0);
    let switched = nodes.iter().flat_map(|node| &node.mutants);
    Ok(Written {
        switched: switched.map(|mutant| mutant.id).collect(),
        text: writer.out,
        regions: writer.regions,
    })
}

/// What may be mutated in a file, by where it begins.
#[derive(Default)]
struct Places {
    /// Where functions begin whose type is `impl` something: two values are two types.
    opaque: HashSet<usize>,
    binary: HashMap<usize, (Range<usize>, What)>,
    unary: HashMap<usize, (Range<usize>, What)>,
    /// By where the arm begins.
    arms: HashMap<usize, (Range<usize>, What)>,
    /// What is matched, by where the arm begins.
    matched: HashMap<usize, Range<usize>>,
    guards: HashMap<usize, (Range<usize>, What)>,
    fields: HashMap<usize, (Range<usize>, What)>,
}

impl Places {
    fn find(&self, mutant: &Mutant) -> Option<(Range<usize>, u8, What)> {
        let start = mutant.at.start;
        let found = match mutant.genre {
            Genre::FnValue if self.opaque.contains(&start) => return None,
            Genre::FnValue => return Some((start..start, 0, What::Return)),
            Genre::Binary => self.binary.get(&start),
            Genre::Unary => self.unary.get(&start),
            Genre::Arm => self.arms.get(&start),
            Genre::Guard => self.guards.get(&start),
            Genre::Field => self.fields.get(&start),
        };
        let (at, what) = found?.clone();
        if matches!(what, What::Guard { has_let: true }) && mutant.replacement == "true" {
            return None;
        }
        let rank = match what {
            What::Guard { .. } | What::Field { .. } => 0,
            _ => 1,
        };
        Some((at, rank, what))
    }
}

/// Whether an expression binds names, which must not stand in parentheses.
fn has_let(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

/// Looks for `impl` in a type.
#[derive(Default)]
struct HasImpl(bool);

impl<'ast> Visit<'ast> for HasImpl {
    fn visit_type_impl_trait(&mut self, _: &'ast syn::TypeImplTrait) {
        self.0 = true;
    }
}

impl Places {
    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let mut has_impl = HasImpl::default();
        has_impl.visit_return_type(&signature.output);
        if let Some(first) = block.stmts.first().filter(|_| has_impl.0) {
            self.opaque.insert(first.span().byte_range().start);
        }
    }
}

impl<'ast> Visit<'ast> for Places {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.function(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.function(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_expr_binary(&mut self, expression: &'ast syn::ExprBinary) {
        let operator = expression.op.span().byte_range();
        if !has_let(&expression.left) && !has_let(&expression.right) {
            let what = What::Binary {
                left: expression.left.span().byte_range(),
                operator: operator.clone(),
                right: expression.right.span().byte_range(),
            };
            let at = expression.span().byte_range();
            self.binary.insert(operator.start, (at, what));
        }
        visit::visit_expr_binary(self, expression);
    }

    fn visit_expr_unary(&mut self, expression: &'ast syn::ExprUnary) {
        let operator = expression.op.span().byte_range();
        let what = What::Unary {
            operator: operator.clone(),
            operand: expression.expr.span().byte_range(),
        };
        let at = expression.span().byte_range();
        self.unary.insert(operator.start, (at, what));
        visit::visit_expr_unary(self, expression);
    }

    fn visit_expr_match(&mut self, expression: &'ast syn::ExprMatch) {
        for arm in &expression.arms {
            let matched = expression.expr.span().byte_range();
            self.matched
                .insert(arm.span().byte_range().start, matched.clone());
            self.matched
                .insert(arm.pat.span().byte_range().start, matched);
        }
        visit::visit_expr_match(self, expression);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let whole = arm.span().byte_range();
        let pattern = arm.pat.span().byte_range();
        let place = match &arm.guard {
            Some((_, guard)) => {
                let has_let = has_let(guard);
                let at = guard.span().byte_range();
                let place = (at.clone(), What::Guard { has_let });
                self.guards.insert(at.start, place.clone());
                place
            }
            None => (pattern.end..pattern.end, What::Unguarded),
        };
        self.arms.insert(whole.start, place.clone());
        self.arms.insert(pattern.start, place);
        visit::visit_arm(self, arm);
    }

    fn visit_expr_struct(&mut self, literal: &'ast syn::ExprStruct) {
        if let Some(base) = &literal.rest {
            for field in &literal.fields {
                let at = field.span().byte_range();
                let value = field.colon_token.map(|_| field.expr.span().byte_range());
                let what = What::Field {
                    name: match &field.member {
                        syn::Member::Named(name) => name.to_string(),
                        syn::Member::Unnamed(index) => index.index.to_string(),
                    },
                    value,
                    path: literal.path.span().byte_range(),
                    base: base.span().byte_range(),
                };
                self.fields.insert(at.start, (at, what));
            }
        }
        visit::visit_expr_struct(self, literal);
    }
}

struct Writer<'a> {
    source: &'a str,
    nodes: &'a [Node<'a>],
    /// Places whose operands stand in each branch: where types are not inferred through a match.
    copied: &'a HashSet<usize>,
    out: String,
    regions: Vec<Region>,
}

/// The switch of a mutant.
fn on(mutant: &Mutant) -> String {
    // A test may take a file into a crate of its own.
    format!("::{}::mutants::on({})", mutant.package, mutant.id)
}

impl Writer<'_> {
    /// Writes bytes of the source with the nodes in them, from a node on.
    fn range(&mut self, range: Range<usize>, from: usize) {
        let mut done = range.start;
        for index in from..self.nodes.len() {
            let at = &self.nodes[index].at;
            if at.start > range.end {
                break;
            }
            if at.start < done || at.end > range.end {
                continue;
            }
            self.out.push_str(&self.source[done..at.start]);
            done = at.end;
            self.node(index);
        }
        self.out.push_str(&self.source[done..range.end]);
    }

    fn node(&mut self, index: usize) {
        let node = &self.nodes[index];
        let began = self.out.len();
        let inner = index + 1;
        match node.what.clone() {
            What::Return => {
                for mutant in &node.mutants {
                    let text = format!("if {} {{ return {}; }} ", on(mutant), mutant.replacement);
                    self.own(index, mutant, &text);
                }
            }
            What::Unguarded => {
                let off: Vec<_> = node
                    .mutants
                    .iter()
                    .map(|one| format!("!{}", on(one)))
                    .collect();
                let _ = write!(self.out, " if {}", off.join(" && "));
            }
            What::Matched => self.range(node.at.clone(), inner),
            What::Guard { has_let } => self.guard(index, has_let),
            What::Unary { operator, operand } => {
                self.out.push_str("(match (");
                self.range(operand, inner);
                let operator = &self.source[operator];
                let first = node.mutants[0];
                let on = on(first);
                let _ = write!(
                    self.out,
                    ") {{ __held => if {on} {{ __held }} else {{ {operator}__held }} }})"
                );
            }
            What::Field {
                name,
                value,
                path,
                base,
            } => {
                let path = self.source[path].to_owned();
                let _ = write!(
                    self.out,
                    "{name}: (if {} {{ ({path} {{ ..",
                    on(node.mutants[0])
                );
                self.range(base, self.nodes.len());
                let _ = write!(self.out, " }}).{name} }} else {{ ");
                match value {
                    Some(value) => self.range(value, inner),
                    None => self.out.push_str(&name),
                }
                self.out.push_str(" })");
            }
            What::Binary {
                left,
                operator,
                right,
            } => self.binary(index, left, operator, right),
        }
        let mutants = node.mutants.iter().map(|mutant| mutant.id).collect();
        self.regions.push(Region {
            at: began..self.out.len(),
            place: node.at.start,
            mutants,
            own: matches!(node.what, What::Matched),
        });
    }

    fn own(&mut self, index: usize, mutant: &Mutant, text: &str) {
        let began = self.out.len();
        self.out.push_str(text);
        self.regions.push(Region {
            at: began..self.out.len(),
            place: self.nodes[index].at.start,
            mutants: vec![mutant.id],
            own: true,
        });
    }

    fn guard(&mut self, index: usize, has_let: bool) {
        let node = &self.nodes[index];
        let (mut yes, mut no) = (String::new(), String::new());
        for mutant in &node.mutants {
            if mutant.genre == Genre::Guard && mutant.replacement == "true" {
                let _ = write!(yes, "{} || ", on(mutant));
            } else {
                let _ = write!(no, "!{} && ", on(mutant));
            }
        }
        if has_let {
            self.out.push_str(&no);
            self.range(node.at.clone(), index + 1);
        } else {
            let _ = write!(self.out, "({yes}({no}(");
            self.range(node.at.clone(), index + 1);
            self.out.push_str(")))");
        }
    }

    fn binary(
        &mut self,
        index: usize,
        left: Range<usize>,
        operator: Range<usize>,
        right: Range<usize>,
    ) {
        let node = &self.nodes[index];
        let operator = &self.source[operator];
        let inner = index + 1;
        let first = on(node.mutants[0]);
        let alone = node.mutants.len() == 1;
        match (operator, node.mutants[0].replacement.as_str()) {
            ("==", "!=") | ("!=", "==") if alone => {
                self.out.push_str("(((");
                self.range(left, inner);
                let _ = write!(self.out, ") {operator} (");
                self.range(right, inner);
                let _ = write!(self.out, ")) != {first})");
            }
            ("&&", "||") | ("||", "&&") if alone => {
                self.out.push_str("(if (");
                self.range(left, inner);
                let (is, not) = if operator == "&&" {
                    ("==", "")
                } else {
                    ("!=", "!")
                };
                let _ = write!(self.out, ") {is} {first} {{ {not}{first} }} else {{ ");
                self.range(right, inner);
                self.out.push_str(" })");
            }
            _ if operator.ends_with('=') && !["==", "!=", "<=", ">="].contains(&operator) => {
                self.out.push_str("(match (");
                self.range(right, inner);
                self.out.push_str(") { __held => ");
                self.branches(index, operator, |writer, operator| {
                    writer.range(left.clone(), inner);
                    let _ = write!(writer.out, " {operator} __held");
                });
                self.out.push_str(" })");
            }
            _ if self.copied.contains(&node.at.start) => {
                self.out.push('(');
                self.branches(index, operator, |writer, operator| {
                    writer.out.push('(');
                    writer.range(left.clone(), inner);
                    let _ = write!(writer.out, ") {operator} (");
                    writer.range(right.clone(), inner);
                    writer.out.push(')');
                });
                self.out.push(')');
            }
            _ => {
                let compares = ["<", ">", "<=", ">=", "==", "!="].contains(&operator);
                let (lend, star) = if compares { ("&", "*") } else { ("", "") };
                let _ = write!(self.out, "(match ({lend}(");
                self.range(left, inner);
                let _ = write!(self.out, "), {lend}(");
                self.range(right, inner);
                self.out.push_str(")) { (__left, __right) => ");
                self.branches(index, operator, |writer, operator| {
                    let _ = write!(writer.out, "{star}__left {operator} {star}__right");
                });
                self.out.push_str(" })");
            }
        }
    }

    /// `if on(N) { one operator } else if on(M) { another } else { its own }`.
    fn branches(&mut self, index: usize, operator: &str, mut write: impl FnMut(&mut Self, &str)) {
        let node = &self.nodes[index];
        for mutant in &node.mutants {
            let began = self.out.len();
            self.out.push_str(&format!("if {} {{ ", on(mutant)));
            write(self, &mutant.replacement);
            self.out.push_str(" } else ");
            self.regions.push(Region {
                at: began..self.out.len(),
                place: node.at.start,
                mutants: vec![mutant.id],
                own: true,
            });
        }
        self.out.push_str("{ ");
        write(self, operator);
        self.out.push_str(" }");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body with mutants, each by what it changes and the text at it; what is written of the body.
    fn written(body: &str, changes: &[(Genre, &str, &str)]) -> String {
        let (head, tail) = ("fn f() -> T {\n", "\n}\n");
        let source = Source {
            path: "a.rs".to_owned(),
            text: format!("{head}{body}{tail}"),
            hash: 0,
        };
        let mutants: Vec<Mutant> = (1..)
            .zip(changes)
            .map(|(id, (genre, at, replacement))| {
                let start = source.text.rfind(at).expect("it is there");
                Mutant {
                    id,
                    package: "p".to_owned(),
                    file: source.path.clone(),
                    line: 0,
                    genre: *genre,
                    at: start..start + at.len(),
                    replacement: (*replacement).to_owned(),
                    key: String::new(),
                }
            })
            .collect();
        let mutants: Vec<&Mutant> = mutants.iter().collect();
        let written = rewrite(&source, &mutants, &HashSet::new(), &HashSet::new());
        let text = written.expect("it is Rust").text;
        let text = text
            .strip_prefix(head)
            .and_then(|text| text.strip_suffix(tail));
        text.expect("only the body changes")
            .replace("::p::mutants::", "")
    }

    #[test]
    fn every_change_stands_behind_its_switch() {
        let check = |body: &str, changes: &[(Genre, &str, &str)], expected: &str| {
            assert_eq!(written(body, changes), expected);
        };
        check(
            "g()",
            &[(Genre::FnValue, "g()", "1")],
            "if on(1) { return 1; } g()",
        );
        check(
            "a == b",
            &[(Genre::Binary, "==", "!=")],
            "(((a) == (b)) != on(1))",
        );
        check(
            "a && b",
            &[(Genre::Binary, "&&", "||")],
            "(if (a) == on(1) { on(1) } else { b })",
        );
        check(
            "a || b",
            &[(Genre::Binary, "||", "&&")],
            "(if (a) != on(1) { !on(1) } else { b })",
        );
        check(
            "a < b",
            &[(Genre::Binary, "<", ">"), (Genre::Binary, "<", "<=")],
            "(match (&(a), &(b)) { (__left, __right) => if on(1) { *__left > *__right } \
             else if on(2) { *__left <= *__right } else { *__left < *__right } })",
        );
        check(
            "a - b",
            &[(Genre::Binary, "-", "+")],
            "(match ((a), (b)) { (__left, __right) => if on(1) { __left + __right } \
             else { __left - __right } })",
        );
        check(
            "a += b;",
            &[(Genre::Binary, "+=", "-=")],
            "(match (b) { __held => if on(1) { a -= __held } else { a += __held } });",
        );
        check(
            "!a",
            &[(Genre::Unary, "!", "")],
            "(match (a) { __held => if on(1) { __held } else { !__held } })",
        );
        check(
            "match a { B => 1, _ => 2 }",
            &[(Genre::Arm, "B => 1", "")],
            "match a { B if !on(1) => 1, _ => 2 }",
        );
        check(
            "match a { B if c => 1, _ => 2 }",
            &[
                (Genre::Guard, "c =>", "true"),
                (Genre::Guard, "c =>", "false"),
                (Genre::Arm, "B if", ""),
            ],
            "match a { B if (on(1) || (!on(2) && !on(3) && (c))) => 1, _ => 2 }",
        );
        check(
            "A { b: c, ..d }",
            &[(Genre::Field, "b: c", "")],
            "A { b: (if on(1) { (A { ..d }).b } else { c }), ..d }",
        );
    }

    #[test]
    fn one_in_another_keeps_both_and_what_binds_names_stays_bare() {
        let nested = [(Genre::Binary, "==", "!="), (Genre::Unary, "!", "")];
        assert_eq!(
            written("!a == b", &nested),
            "((((match (a) { __held => if on(2) { __held } else { !__held } })) == (b)) != on(1))"
        );
        let chain = "if let Some(a) = b && c {}";
        assert_eq!(written(chain, &[(Genre::Binary, "&&", "||")]), chain);
    }

    #[test]
    fn an_error_is_the_smallest_places_that_it_lies_in() {
        let source = Source {
            path: "a.rs".to_owned(),
            text: "fn f() { (a + b) == c }".to_owned(),
            hash: 0,
        };
        let mutant = |id, at: &str, replacement: &str| Mutant {
            id,
            package: "p".to_owned(),
            file: source.path.clone(),
            line: 0,
            genre: Genre::Binary,
            at: source.text.find(at).expect("it is there")..0,
            replacement: replacement.to_owned(),
            key: String::new(),
        };
        let mutants = [
            mutant(1, "==", "!="),
            mutant(2, "+", "-"),
            mutant(3, "+", "*"),
        ];
        let mutants: Vec<&Mutant> = mutants.iter().collect();
        let none = HashSet::new();
        let written = rewrite(&source, &mutants, &none, &HashSet::new()).expect("it is Rust");
        let blame = |what: &str| {
            let at = written.text.find(what).expect("it is there");
            let blame = written.blame(&(at..at + what.len()));
            blame.map(|blame| (blame.mutants, blame.own))
        };
        assert_eq!(blame("__left * __right"), Some((vec![3], true)));
        assert_eq!(blame("(a), (b)"), Some((vec![2, 3], false)));
        assert_eq!(blame("!= ::p::mutants::on(1)"), Some((vec![1], false)));
        assert_eq!(blame("fn f"), None);
    }
}
