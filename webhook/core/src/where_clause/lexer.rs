//! Lexer of `where` expressions.

use std::{iter::Peekable, str::CharIndices};

use super::error::{WhereError, quoted};

/// A lexical token of the language.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Token<'a> {
    /// A name, or one of the keywords `true`, `false` and `in`.
    Word(&'a str),
    /// A string, without quotes and with escapes resolved.
    Text(Box<str>),
    /// An integer in decimal notation.
    Integer(i64),
    /// An operator, bracket, comma or dot.
    Symbol(&'static str),
    /// End of the source.
    End,
}

impl Token<'_> {
    /// Returns the token's description for error messages.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Word(word) => quoted(word),
            Self::Text(_) => "a string".into(),
            Self::Integer(number) => quoted(&number.to_string()),
            Self::Symbol(symbol) => quoted(symbol),
            Self::End => "the end".into(),
        }
    }
}

const SYMBOLS: [&str; 11] = ["&&", "||", "==", "!=", "!", "(", ")", "[", "]", ",", "."];

/// Reads tokens from a source.
pub(super) struct Lexer<'a> {
    source: &'a str,
    rest: Peekable<CharIndices<'a>>,
    /// Column of the next character, counted from 1.
    column: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(source: &'a str) -> Self {
        Self { source, rest: source.char_indices().peekable(), column: 1 }
    }

    /// Returns the next token and its column.
    pub(super) fn next_token(&mut self) -> Result<(usize, Token<'a>), WhereError> {
        while self.next_if(|c| matches!(c, ' ' | '\t' | '\r' | '\n')) {}
        let column = self.column;
        let Some(&(start, first)) = self.rest.peek() else {
            return Ok((column, Token::End));
        };
        let token = match first {
            'a'..='z' | 'A'..='Z' | '_' => Token::Word(self.word(start)),
            '0'..='9' | '-' => self.integer(start, column)?,
            '"' | '\'' => self.text(first, column)?,
            '`' => self.raw_text(start, column)?,
            _ => self.symbol(start, column)?,
        };
        Ok((column, token))
    }

    fn symbol(&mut self, start: usize, column: usize) -> Result<Token<'a>, WhereError> {
        let rest = &self.source[start..];
        if let Some(symbol) = SYMBOLS.into_iter().find(|symbol| rest.starts_with(*symbol)) {
            for _ in symbol.chars() {
                self.bump();
            }
            return Ok(Token::Symbol(symbol));
        }
        let character: String = rest.chars().take(1).collect();
        let expected = match character.as_str() {
            "&" => "\"&&\"",
            "|" => "\"||\"",
            "=" => "\"==\"",
            _ => "a string, number, name, operator or bracket",
        };
        Err(WhereError::new(column, quoted(&character), expected))
    }

    fn word(&mut self, start: usize) -> &'a str {
        while self.next_if(|c| c.is_ascii_alphanumeric() || c == '_') {}
        &self.source[start..self.offset()]
    }

    /// Reads a decimal integer with an optional minus.
    ///
    /// Fractions, unsigned and hexadecimal numbers of CEL are rejected, since no field has such a
    /// type. A leading zero is rejected too: it means octal in Go, and nothing in CEL.
    fn integer(&mut self, start: usize, column: usize) -> Result<Token<'a>, WhereError> {
        self.bump();
        while self.next_if(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.') {}
        let number = &self.source[start..self.offset()];
        let digits = number.strip_prefix('-').unwrap_or(number);
        let leading_zero = digits.len() > 1 && digits.starts_with('0');
        number.parse().ok().filter(|_| !leading_zero).map(Token::Integer).ok_or_else(|| {
            WhereError::new(column, quoted(number), "a whole decimal number of 64 bits")
        })
    }

    fn text(&mut self, quote: char, column: usize) -> Result<Token<'a>, WhereError> {
        self.bump();
        let mut text = String::new();
        loop {
            let at = self.column;
            match self.bump() {
                Some(c) if c == quote => return Ok(Token::Text(text.into())),
                Some('\\') => text.push(self.escape(at)?),
                Some('\n' | '\r') => {
                    return Err(WhereError::new(
                        at,
                        "a line break in a string",
                        "its closing quote, or \"\\n\" for a line break",
                    ));
                }
                Some(c) => text.push(c),
                None => {
                    return Err(WhereError::new(
                        column,
                        "a string without end",
                        format!("a closing {quote}"),
                    ));
                }
            }
        }
    }

    /// Reads a raw string as in Go, up to the next back quote.
    fn raw_text(&mut self, start: usize, column: usize) -> Result<Token<'a>, WhereError> {
        self.bump();
        while self.next_if(|c| c != '`') {}
        let end = self.offset();
        if self.bump().is_none() {
            return Err(WhereError::new(column, "a string without end", "a closing `"));
        }
        Ok(Token::Text(self.source[start + 1..end].into()))
    }

    /// Reads the character after a backslash.
    ///
    /// `\x` and octal escapes are rejected, since they mean bytes in Go and characters in CEL.
    fn escape(&mut self, column: usize) -> Result<char, WhereError> {
        let refused = |found: String| {
            WhereError::new(
                column,
                found,
                "one of \\\\ \\\" \\' \\` \\n \\r \\t \\uXXXX \\UXXXXXXXX",
            )
        };
        let digits = match self.bump() {
            Some('n') => return Ok('\n'),
            Some('r') => return Ok('\r'),
            Some('t') => return Ok('\t'),
            Some(c @ ('\\' | '"' | '\'' | '`')) => return Ok(c),
            Some('u') => 4,
            Some('U') => 8,
            Some(c) => return Err(refused(quoted(&format!("\\{c}")))),
            None => return Err(refused("the end".into())),
        };
        let mut code = 0_u32;
        for _ in 0..digits {
            let digit = self.bump().and_then(|c| c.to_digit(16));
            // At most eight digits of four bits each fit into 32 bits.
            code = digit
                .map(|digit| code << 4 | digit)
                .ok_or_else(|| refused("an escape that is too short".into()))?;
        }
        char::from_u32(code).ok_or_else(|| refused("an escape that is no character".into()))
    }

    fn next_if(&mut self, predicate: impl Fn(char) -> bool) -> bool {
        let found = self.rest.next_if(|(_, c)| predicate(*c)).is_some();
        self.column += usize::from(found);
        found
    }

    fn bump(&mut self) -> Option<char> {
        let (_, c) = self.rest.next()?;
        self.column += 1;
        Some(c)
    }

    fn offset(&mut self) -> usize {
        self.rest.peek().map_or(self.source.len(), |(offset, _)| *offset)
    }
}
