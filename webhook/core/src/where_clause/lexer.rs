//! Source text to tokens.

use std::{iter::Peekable, str::CharIndices};

use super::error::{WhereError, quoted};

/// A piece of the source that means something.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Token<'a> {
    /// A name or one of the words `true`, `false` and `in`.
    Word(&'a str),
    /// A string, without its quotes and escapes.
    Text(Box<str>),
    /// A whole number.
    Integer(i64),
    /// An operator, bracket, comma or dot.
    Symbol(&'static str),
    /// Nothing more.
    End,
}

impl Token<'_> {
    /// The token as a message names it.
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

/// Reads one token after the other.
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

    /// The next token and its column.
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

    /// Digits, perhaps with a minus. Fractions, unsigned and hexadecimal numbers, which CEL knows
    /// too, have nothing here to be compared with; a leading zero means octal to Go and nothing to
    /// CEL.
    fn integer(&mut self, start: usize, column: usize) -> Result<Token<'a>, WhereError> {
        self.bump();
        while self.next_if(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.') {}
        let written = &self.source[start..self.offset()];
        let digits = written.strip_prefix('-').unwrap_or(written);
        let leading_zero = digits.len() > 1 && digits.starts_with('0');
        written.parse().ok().filter(|_| !leading_zero).map(Token::Integer).ok_or_else(|| {
            WhereError::new(column, quoted(written), "a whole decimal number of 64 bits")
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

    /// Go's raw string: everything up to the next back quote.
    fn raw_text(&mut self, start: usize, column: usize) -> Result<Token<'a>, WhereError> {
        self.bump();
        while self.next_if(|c| c != '`') {}
        let end = self.offset();
        if self.bump().is_none() {
            return Err(WhereError::new(column, "a string without end", "a closing `"));
        }
        Ok(Token::Text(self.source[start + 1..end].into()))
    }

    /// The character behind a backslash. `\x` and octal escapes mean bytes to Go and characters to
    /// CEL, so they mean nothing here.
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
            // Eight digits of four bits: nothing is shifted out.
            code = digit
                .map(|digit| code << 4 | digit)
                .ok_or_else(|| refused("an escape that is too short".into()))?;
        }
        char::from_u32(code).ok_or_else(|| refused("an escape that is no character".into()))
    }

    fn next_if(&mut self, wanted: impl Fn(char) -> bool) -> bool {
        let found = self.rest.next_if(|(_, c)| wanted(*c)).is_some();
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
