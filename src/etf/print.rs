//! Terms in Erlang syntax, as `io:format("~0tp")` prints them where `+pc unicode` is set; but for two
//! things: pairs of a map stand in the order of their keys, and binaries that are not UTF-8 are never
//! shown as text (a BEAM tries latin-1).

use std::fmt::{self, Display, Formatter, Write};

use super::atom::Atom;
use super::map::Map;
use super::term::{BitString, Fun, Record, Term};

impl Display for Term {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => write!(f, "{value}"),
            Self::BigInteger(value) => write!(f, "{value}"),
            Self::Float(value) => float(*value, f),
            Self::Atom(atom) => quoted_atom(atom, f),
            Self::Pid(pid) => write!(f, "{pid}"),
            Self::Port(port) => write!(f, "{port}"),
            Self::Ref(reference) => write!(f, "{reference}"),
            Self::Tuple(elements) => {
                f.write_char('{')?;
                separated(elements, f)?;
                f.write_char('}')
            }
            Self::List(elements) => match text(elements) {
                Some(text) => quoted(&text, '"', f),
                None => {
                    f.write_char('[')?;
                    separated(elements, f)?;
                    f.write_char(']')
                }
            },
            Self::ImproperList(elements, tail) if elements.is_empty() => write!(f, "{tail}"),
            Self::ImproperList(elements, tail) => {
                f.write_char('[')?;
                separated(elements, f)?;
                write!(f, "|{tail}]")
            }
            Self::Map(map) => write!(f, "{map}"),
            Self::Binary(bytes) => binary(bytes, f),
            Self::BitString(bits) => write!(f, "{bits}"),
            Self::Fun(fun) => write!(f, "{fun}"),
            Self::Record(record) => write!(f, "{record}"),
        }
    }
}

impl Display for Map {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("#{")?;
        for (index, (key, value)) in self.iter().enumerate() {
            if index > 0 {
                f.write_char(',')?;
            }
            write!(f, "{key} => {value}")?;
        }
        f.write_char('}')
    }
}

impl Display for BitString {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("<<")?;
        if let Some((last, whole)) = self.bytes().split_last() {
            for byte in whole {
                write!(f, "{byte},")?;
            }
            write!(f, "{}:{}", last >> (8 - self.bits()), self.bits())?;
        }
        f.write_str(">>")
    }
}

impl Display for Fun {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Export { module, function, arity } => {
                f.write_str("fun ")?;
                quoted_atom(module, f)?;
                f.write_char(':')?;
                quoted_atom(function, f)?;
                write!(f, "/{arity}")
            }
            Self::Opaque(fun) => {
                f.write_str("#Fun<")?;
                quoted_atom(&fun.module, f)?;
                write!(f, ".{}.{}>", fun.index, fun.old_uniq)
            }
        }
    }
}

impl Display for Record {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('#')?;
        quoted_atom(&self.module, f)?;
        f.write_char(':')?;
        quoted_atom(&self.name, f)?;
        f.write_char('{')?;
        for (index, (name, value)) in self.fields.iter().enumerate() {
            if index > 0 {
                f.write_char(',')?;
            }
            quoted_atom(name, f)?;
            write!(f, " = {value}")?;
        }
        f.write_char('}')
    }
}

macro_rules! debug_as_display {
    ($($type:ty),*) => {
        $(impl fmt::Debug for $type {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                Display::fmt(self, f)
            }
        })*
    };
}

debug_as_display!(Term, Map, BitString);

fn separated(terms: &[Term], f: &mut Formatter<'_>) -> fmt::Result {
    for (index, term) in terms.iter().enumerate() {
        if index > 0 {
            f.write_char(',')?;
        }
        write!(f, "{term}")?;
    }
    Ok(())
}

/// As `float_to_list(Value, [short])` since OTP 25: the shortest digits that read back as the same
/// float, with or without an exponent, whichever is shorter; from 2^53 on always with one.
fn float(value: f64, f: &mut Formatter<'_>) -> fmt::Result {
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return f.write_str(&scientific) };
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => ("-", mantissa),
        None => ("", mantissa),
    };
    let digits = mantissa.replace('.', "");
    let count = digits.len() as i64;
    // The point stands before this digit.
    let point = exponent.parse::<i64>().unwrap_or_default() + 1;
    let cost = exponent.len() as i64 + if count == 1 { 3 } else { 2 };
    let with_exponent = |f: &mut Formatter<'_>| {
        let (first, rest) = digits.split_at_checked(1).unwrap_or((&digits, ""));
        let rest = if rest.is_empty() { "0" } else { rest };
        write!(f, "{sign}{first}.{rest}e{exponent}")
    };
    let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or_default());
    match point {
        _ if value == 0.0 => write!(f, "{sign}0.0"),
        _ if value.abs() >= TWO_TO_53 => with_exponent(f),
        1.. if point < count => {
            let (whole, fraction) = digits.split_at_checked(point as usize).unwrap_or((&digits, "0"));
            write!(f, "{sign}{whole}.{fraction}")
        }
        1.. if point - count + 2 <= cost => write!(f, "{sign}{digits}{}.0", zeros(point - count)),
        ..=0 if 2 - point <= cost || point == 0 => write!(f, "{sign}0.{}{digits}", zeros(-point)),
        _ => with_exponent(f),
    }
}

/// Above it not every integer is a float.
const TWO_TO_53: f64 = 9_007_199_254_740_992.0;

/// The text of a list, when Erlang's shell would print it as a string.
fn text(elements: &[Term]) -> Option<String> {
    if elements.is_empty() {
        return None;
    }
    let character = |term: &Term| match term {
        Term::Integer(value) => char::from_u32(u32::try_from(*value).ok()?).filter(|&char| is_printable(char)),
        _ => None,
    };
    elements.iter().map(character).collect()
}

/// What `io_lib:printable_unicode_list/1` counts as printable.
fn is_printable(character: char) -> bool {
    matches!(character,
        '\u{20}'..='\u{7e}' | '\u{8}'..='\u{d}' | '\u{1b}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
        && !matches!(character, '\u{fffe}' | '\u{ffff}')
}

fn binary(bytes: &[u8], f: &mut Formatter<'_>) -> fmt::Result {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && text.chars().all(is_printable) => {
            f.write_str("<<")?;
            quoted(text, '"', f)?;
            f.write_str(if text.is_ascii() { ">>" } else { "/utf8>>" })
        }
        _ => {
            f.write_str("<<")?;
            for (index, byte) in bytes.iter().enumerate() {
                if index > 0 {
                    f.write_char(',')?;
                }
                write!(f, "{byte}")?;
            }
            f.write_str(">>")
        }
    }
}

/// An atom as Erlang source has it: in quotes where it does not look like one without.
pub(crate) fn quoted_atom(atom: &Atom, f: &mut Formatter<'_>) -> fmt::Result {
    let text = atom.as_str();
    let mut characters = text.chars();
    let plain = characters.next().is_some_and(is_atom_start) && characters.all(is_atom_rest);
    if plain && !is_reserved(text) { f.write_str(text) } else { quoted(text, '\'', f) }
}

/// Small letters of latin-1; Erlang's scanner takes no others bare.
pub(crate) fn is_atom_start(character: char) -> bool {
    matches!(character, 'a'..='z' | '\u{df}'..='\u{f6}' | '\u{f8}'..='\u{ff}')
}

/// What may follow in a bare atom.
pub(crate) fn is_atom_rest(character: char) -> bool {
    is_atom_start(character)
        || matches!(character, 'A'..='Z' | '0'..='9' | '_' | '@' | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{de}')
}

fn quoted(text: &str, quote: char, f: &mut Formatter<'_>) -> fmt::Result {
    f.write_char(quote)?;
    for character in text.chars() {
        match character {
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            '\u{8}' => f.write_str("\\b")?,
            '\u{b}' => f.write_str("\\v")?,
            '\u{c}' => f.write_str("\\f")?,
            '\u{1b}' => f.write_str("\\e")?,
            character if character == quote => write!(f, "\\{quote}")?,
            character if is_printable(character) => f.write_char(character)?,
            character => write!(f, "\\x{{{:X}}}", u32::from(character))?,
        }
    }
    f.write_char(quote)
}

/// Words that need quotes to be atoms (`erl_scan:reserved_word/1`; `maybe` and `else` since OTP 25).
const RESERVED: [&str; 29] = [
    "after", "and", "andalso", "band", "begin", "bnot", "bor", "bsl", "bsr", "bxor", "case", "catch", "cond", "div",
    "else", "end", "fun", "if", "let", "maybe", "not", "of", "or", "orelse", "receive", "rem", "try", "when", "xor",
];

pub(crate) fn is_reserved(word: &str) -> bool {
    RESERVED.contains(&word)
}
