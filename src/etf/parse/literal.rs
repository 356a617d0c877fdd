//! Strings, escapes, sigils and numbers of Erlang syntax.

use num_bigint::BigInt;

use super::{Parsed, Parser, Term};

impl Parser<'_> {
    pub(super) fn strings(&mut self) -> Parsed<String> {
        let mut text = String::new();
        while self.sign("\"") {
            text += &self.quoted('"')?;
        }
        Ok(text)
    }

    /// Up to the closing quote; the opening one is taken.
    pub(super) fn quoted(&mut self, quote: char) -> Parsed<String> {
        let mut text = String::new();
        loop {
            match self.next() {
                Some(end) if end == quote => return Ok(text),
                Some('\\') => text.extend(self.escape()?),
                Some(character) => text.push(character),
                None => return Err(format!("the closing {quote} is missing")),
            }
        }
    }

    /// What stands behind a backslash; nothing for one at the end of a line.
    fn escape(&mut self) -> Parsed<Option<char>> {
        let code = match self.next() {
            Some('b') => '\u{8}',
            Some('d') => '\u{7f}',
            Some('e') => '\u{1b}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('s') => ' ',
            Some('t') => '\t',
            Some('v') => '\u{b}',
            Some('\n') => return Ok(None),
            Some('^') => match self.next() {
                Some(control @ '@'..='_') => char::from(control as u8 & 0x1f),
                Some(control @ 'a'..='z') => char::from(control as u8 & 0x1f),
                _ => return Err("behind \\^ stands a letter".to_owned()),
            },
            Some('x') => {
                let digits = if self.take("{") {
                    let digits = self.take_while(|character| character.is_ascii_hexdigit());
                    if !self.take("}") {
                        return self.expected("`}`");
                    }
                    digits
                } else {
                    let (digits, rest) = self.rest.split_at_checked(2).unwrap_or((self.rest, ""));
                    self.rest = rest;
                    digits
                };
                self.character(u32::from_str_radix(digits, 16).ok())?
            }
            Some(first @ '0'..='7') => {
                let mut code = u32::from(first) - u32::from('0');
                for _ in 0..2 {
                    let Some(digit) = self.rest.chars().next().and_then(|digit| digit.to_digit(8)) else { break };
                    self.next();
                    code = code * 8 + digit;
                }
                self.character(Some(code))?
            }
            Some(itself) => itself,
            None => return Err("nothing stands behind the backslash".to_owned()),
        };
        Ok(Some(code))
    }

    fn character(&self, code: Option<u32>) -> Parsed<char> {
        code.and_then(char::from_u32).ok_or_else(|| "the escape stands for no character".to_owned())
    }

    /// `~"…"` and `~b"…"` with escapes, `~B"…"` without: binaries. `~s"…"` and `~S"…"`: lists.
    pub(super) fn sigil(&mut self) -> Parsed<Term> {
        self.next();
        let kind = self.take_while(|character| character.is_ascii_alphabetic());
        if !self.take("\"") {
            return self.expected("a string in double quotes");
        }
        let text = if matches!(kind, "B" | "S") {
            match self.rest.split_once('"') {
                Some((text, rest)) => {
                    self.rest = rest;
                    text.to_owned()
                }
                None => return Err("the closing \" is missing".to_owned()),
            }
        } else {
            self.quoted('"')?
        };
        match kind {
            "" | "b" | "B" => Ok(text.into()),
            "s" | "S" => Ok(Term::charlist(&text)),
            kind => Err(format!("there is no sigil ~{kind}")),
        }
    }

    pub(super) fn number(&mut self, negative: bool) -> Parsed<Term> {
        if self.take("$") {
            let code = match self.next() {
                Some('\\') => self.escape()?,
                code => code,
            };
            let code = code.map(|code| i64::from(u32::from(code)));
            return match code {
                Some(code) => Ok(Term::Integer(if negative { -code } else { code })),
                None => self.expected("a character"),
            };
        }
        let start = self.rest;
        let whole = self.digits(10)?;
        let sign = if negative { "-" } else { "" };
        if self.take("#") {
            let radix = match whole.parse() {
                Ok(radix @ 2..=36) => radix,
                _ => return Err("the base of a number is 2 to 36".to_owned()),
            };
            return self.digits(radix).map(|digits| integer(&format!("{sign}{digits}"), radix));
        }
        let fraction = self.rest.strip_prefix('.').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        if !fraction {
            return Ok(integer(&format!("{sign}{whole}"), 10));
        }
        self.next();
        let mut text = format!("{sign}{whole}.{}", self.digits(10)?);
        if self.take("e") || self.take("E") {
            let exponent_sign = if self.take("-") { "-" } else { "" };
            self.take("+");
            text = format!("{text}e{exponent_sign}{}", self.digits(10)?);
        }
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Term::Float(value)),
            _ => {
                self.rest = start;
                Err("the float is too large".to_owned())
            }
        }
    }

    pub(super) fn digits(&mut self, radix: u32) -> Parsed<String> {
        let digits = self.take_while(|character| character.is_digit(radix) || character == '_');
        if digits.is_empty() || digits.starts_with('_') || digits.ends_with('_') || digits.contains("__") {
            return self.expected("a digit");
        }
        if digits.len() > MAX_DIGITS {
            return Err(format!("an integer has more than {MAX_DIGITS} digits"));
        }
        Ok(digits.replace('_', ""))
    }
}

fn integer(digits: &str, radix: u32) -> Term {
    match i64::from_str_radix(digits, radix) {
        Ok(value) => Term::Integer(value),
        Err(_) => BigInt::parse_bytes(digits.as_bytes(), radix).unwrap_or_default().into(),
    }
}

/// Reading digits takes time that grows with the square of their number.
const MAX_DIGITS: usize = 20_000;
