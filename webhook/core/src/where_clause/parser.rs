//! Recursive-descent parser of `where` expressions.
//!
//! ```text
//! or         = and { "||" and }
//! and        = comparison { "&&" comparison }
//! comparison = unary { ( "==" | "!=" | "in" ) unary }
//! unary      = { "!" } primary
//! primary    = "(" or ")" | "[" [ list ] "]" | literal | field | function "(" [ list ] ")"
//! list       = or { "," or }
//! ```
//!
//! The precedence is that of CEL, and that of Go for the operators that Go has.

use super::{
    error::{WhereError, quoted},
    expr::{Comparison, Expr, Kind},
    lexer::{Lexer, Token},
    vocabulary::{Function, TrackerField, join_names},
};

/// The maximum size of a source in bytes.
pub const MAX_SOURCE: usize = 4096;
/// The maximum depth of parentheses and of the tree.
pub const MAX_DEPTH: usize = 64;
/// The maximum number of literals, fields, operators and calls.
pub const MAX_NODES: usize = 512;

/// A parsed operand with its position and height.
struct Operand {
    expr: Expr,
    column: usize,
    height: usize,
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    token: Token<'a>,
    column: usize,
    nesting: usize,
    nodes: usize,
}

/// Parses a source as a condition.
pub(super) fn parse(source: &str) -> Result<Expr, WhereError> {
    if source.len() > MAX_SOURCE {
        let fitting =
            source.char_indices().take_while(|(offset, c)| offset + c.len_utf8() <= MAX_SOURCE);
        return Err(WhereError::new(
            fitting.count() + 1,
            format!("an expression of {} bytes", source.len()),
            format!("at most {MAX_SOURCE}"),
        ));
    }
    let mut lexer = Lexer::new(source);
    let (column, token) = lexer.next_token()?;
    let mut parser = Parser { lexer, token, column, nesting: 0, nodes: 0 };
    if parser.token == Token::End {
        return Err(WhereError::new(
            column,
            "nothing",
            "a condition (leave the field out to match every session)",
        ));
    }
    let operand = parser.or()?;
    if parser.token != Token::End {
        return Err(parser.unexpected("an operator (&& || == != in) or the end"));
    }
    condition(operand).map(|operand| operand.expr)
}

impl<'a> Parser<'a> {
    fn or(&mut self) -> Result<Operand, WhereError> {
        self.chain("||", Self::and, Expr::Or)
    }

    fn and(&mut self) -> Result<Operand, WhereError> {
        self.chain("&&", Self::comparison, Expr::And)
    }

    fn chain(
        &mut self,
        operator: &'static str,
        operand: fn(&mut Self) -> Result<Operand, WhereError>,
        chained: fn(Vec<Expr>) -> Expr,
    ) -> Result<Operand, WhereError> {
        let first = operand(self)?;
        if self.token != Token::Symbol(operator) {
            return Ok(first);
        }
        let Operand { expr, column, mut height } = condition(first)?;
        let mut operands = vec![expr];
        while self.take(operator)? {
            let next = condition(operand(self)?)?;
            height = height.max(next.height);
            operands.push(next.expr);
        }
        self.node(chained(operands), column, height + 1)
    }

    fn comparison(&mut self) -> Result<Operand, WhereError> {
        let mut left = self.unary()?;
        loop {
            let comparison = match self.token {
                Token::Symbol("==") => Comparison::Equal,
                Token::Symbol("!=") => Comparison::Unequal,
                Token::Word("in") => Comparison::In,
                _ => return Ok(left),
            };
            self.advance()?;
            let right = self.unary()?;
            if comparison == Comparison::In {
                left = element(left)?;
                if right.expr.kind() != Kind::List {
                    return Err(mistyped(&right, "a list to the right of \"in\""));
                }
            }
            let height = left.height.max(right.height) + 1;
            let (l, r) = (Box::new(left.expr), Box::new(right.expr));
            left = self.node(Expr::Compare(comparison, l, r), left.column, height)?;
        }
    }

    fn unary(&mut self) -> Result<Operand, WhereError> {
        let column = self.column;
        if !self.take("!")? {
            return self.primary();
        }
        let operand = self.nested(Self::unary)?;
        let operand = condition(operand)?;
        let expr = Expr::Not(Box::new(operand.expr));
        self.node(expr, column, operand.height + 1)
    }

    fn primary(&mut self) -> Result<Operand, WhereError> {
        let column = self.column;
        let expr = match &mut self.token {
            Token::Symbol("(") => {
                self.advance()?;
                let inner = self.nested(Self::or)?;
                self.expect(")", "an operator or \")\"")?;
                return Ok(inner);
            }
            Token::Symbol("[") => {
                self.advance()?;
                let (items, height) = self.items("]", element)?;
                return self.node(Expr::List(items), column, height + 1);
            }
            Token::Text(text) => Expr::Text(std::mem::take(text)),
            Token::Integer(value) => Expr::Integer(*value),
            Token::Word("true") => Expr::Boolean(true),
            Token::Word("false") => Expr::Boolean(false),
            Token::Word(word) if *word != "in" => {
                let word = *word;
                self.advance()?;
                return self.name(word, column);
            }
            _ => {
                return Err(
                    self.unexpected("a string, number, list, field, function, \"!\" or \"(\"")
                );
            }
        };
        self.advance()?;
        self.node(expr, column, 1)
    }

    /// Parses an operand that begins with a name: a function call or a field.
    fn name(&mut self, name: &str, column: usize) -> Result<Operand, WhereError> {
        if self.take("(")? {
            let function = Function::from_name(name).ok_or_else(|| {
                WhereError::new(
                    column,
                    format!("unknown function {}", quoted(name)),
                    format!("one of {}", join_names(&Function::ALL)),
                )
            })?;
            let (arguments, height) = self.items(")", Ok)?;
            if !function.accepts_arity(arguments.len()) {
                return Err(WhereError::new(
                    column,
                    format!("{name} with {} arguments", arguments.len()),
                    function.signature(),
                ));
            }
            return self.node(Expr::Call(function, arguments), column, height + 1);
        }
        let expr = match name {
            "tracker" | "session_tracker" => {
                let names = join_names(&TrackerField::ALL);
                let (column, field) = self.field(name, &names)?;
                let known = TrackerField::from_name(field);
                Expr::Tracker(known.ok_or_else(|| unknown_field(column, name, field, &names))?)
            }
            "user" => self.user_field()?,
            _ if Function::from_name(name).is_some() => {
                return Err(self.unexpected(&format!("\"(\" after {name}")));
            }
            _ => {
                return Err(WhereError::new(
                    column,
                    format!("unknown name {}", quoted(name)),
                    "tracker, session_tracker, user or a function",
                ));
            }
        };
        self.node(expr, column, 1)
    }

    fn user_field(&mut self) -> Result<Expr, WhereError> {
        let (column, part) = self.field("user", "metadata, spec")?;
        match part {
            "metadata" => match self.field("user.metadata", "name")? {
                (_, "name") => Ok(Expr::UserName),
                (column, field) => Err(unknown_field(column, "user.metadata", field, "name")),
            },
            "spec" => match self.field("user.spec", "roles, traits")? {
                (_, "roles") => Ok(Expr::UserRoles),
                (_, "traits") => self.trait_key().map(Expr::Trait),
                (column, field) => Err(unknown_field(column, "user.spec", field, "roles, traits")),
            },
            field => Err(unknown_field(column, "user", field, "metadata, spec")),
        }
    }

    fn trait_key(&mut self) -> Result<Box<str>, WhereError> {
        if self.take("[")? {
            let Token::Text(key) = &mut self.token else {
                return Err(self.unexpected("a string, the trait's key"));
            };
            let key = std::mem::take(key);
            self.advance()?;
            self.expect("]", "\"]\"")?;
            return Ok(key);
        }
        if self.token == Token::Symbol(".") {
            return Ok(self.field("user.spec.traits", "a key")?.1.into());
        }
        Err(self.unexpected("a key, as user.spec.traits[\"team\"]"))
    }

    /// Parses a dot and a field name, and returns the name with its column.
    fn field(&mut self, of: &str, names: &str) -> Result<(usize, &'a str), WhereError> {
        self.expect(".", &format!("\".\" and a field of {of} ({names})"))?;
        match self.token {
            // Keywords of CEL cannot be field names.
            Token::Word(field) if !matches!(field, "true" | "false" | "null" | "in") => {
                let column = self.column;
                self.advance()?;
                Ok((column, field))
            }
            _ => Err(self.unexpected(&format!("a field of {of} ({names})"))),
        }
    }

    /// Parses comma-separated expressions up to the closing bracket.
    ///
    /// Returns the expressions and the height of the highest.
    fn items(
        &mut self,
        close: &'static str,
        check: fn(Operand) -> Result<Operand, WhereError>,
    ) -> Result<(Vec<Expr>, usize), WhereError> {
        let (mut items, mut height) = (Vec::new(), 0);
        if self.take(close)? {
            return Ok((items, height));
        }
        loop {
            let item = check(self.nested(Self::or)?)?;
            height = height.max(item.height);
            items.push(item.expr);
            if !self.take(",")? {
                self.expect(close, &format!("an operator, \",\" or \"{close}\""))?;
                return Ok((items, height));
            }
        }
    }

    fn nested(
        &mut self,
        inner: fn(&mut Self) -> Result<Operand, WhereError>,
    ) -> Result<Operand, WhereError> {
        if self.nesting == MAX_DEPTH {
            return Err(too_deep(self.column));
        }
        self.nesting += 1;
        let operand = inner(self)?;
        self.nesting -= 1;
        Ok(operand)
    }

    fn node(&mut self, expr: Expr, column: usize, height: usize) -> Result<Operand, WhereError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(WhereError::new(
                column,
                "an expression of too many parts",
                format!("at most {MAX_NODES} literals, fields, operators and calls"),
            ));
        }
        if height > MAX_DEPTH {
            return Err(too_deep(column));
        }
        Ok(Operand { expr, column, height })
    }

    fn take(&mut self, symbol: &'static str) -> Result<bool, WhereError> {
        let found = self.token == Token::Symbol(symbol);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, symbol: &'static str, expected: &str) -> Result<(), WhereError> {
        if self.take(symbol)? {
            return Ok(());
        }
        Err(self.unexpected(expected))
    }

    fn advance(&mut self) -> Result<(), WhereError> {
        (self.column, self.token) = self.lexer.next_token()?;
        Ok(())
    }

    fn unexpected(&self, expected: &str) -> WhereError {
        WhereError::new(self.column, self.token.describe(), expected)
    }
}

fn condition(operand: Operand) -> Result<Operand, WhereError> {
    if operand.expr.kind() == Kind::Condition {
        return Ok(operand);
    }
    Err(mistyped(&operand, "a condition, as equals(…) or a == b"))
}

/// Checks the type of a list element or of the left operand of `in`.
///
/// CEL allows lists and whole conditions there too. Without them, folding takes linear time.
fn element(operand: Operand) -> Result<Operand, WhereError> {
    match (&operand.expr, operand.expr.kind()) {
        (Expr::Boolean(_), _) | (_, Kind::Text | Kind::Integer) => Ok(operand),
        _ => Err(mistyped(&operand, "a string, an integer, true or false")),
    }
}

fn mistyped(operand: &Operand, expected: &str) -> WhereError {
    WhereError::new(operand.column, operand.expr.kind().to_string(), expected)
}

fn too_deep(column: usize) -> WhereError {
    WhereError::new(
        column,
        "an expression nested too deeply",
        format!("at most {MAX_DEPTH} levels"),
    )
}

fn unknown_field(column: usize, of: &str, field: &str, names: &str) -> WhereError {
    WhereError::new(
        column,
        format!("unknown field {} of {of}", quoted(field)),
        format!("one of {names}"),
    )
}
