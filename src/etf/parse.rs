//! Erlang syntax into terms: what `print` writes, and what people type.
//!
//! Atoms with and without quotes, integers (`16#ff`, `$a`, `1_000`), floats, strings as lists of
//! characters, `~"…"` as binaries, `<<"…">>`, `<<"…"/utf8>>`, `<<1, 2:4>>`, lists with tails, tuples,
//! maps, `fun m:f/1`; comments and a full stop at the end. No operators but a sign, no variables.

mod bits;
mod literal;

use std::str::FromStr;

use super::atom::Atom;
use super::limits::Limits;
use super::print::{is_atom_rest, is_atom_start, is_reserved};
use super::term::Term;

/// Text that is no term.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} (line {line}, column {column})")]
pub struct ParseError {
    /// What was wrong.
    pub what: String,
    /// Where: the line, from 1.
    pub line: usize,
    /// Where: the character in the line, from 1.
    pub column: usize,
}

impl FromStr for Term {
    type Err = ParseError;

    /// Reads one term in Erlang syntax, at most [`Limits::tree_depth`] deep.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut parser = Parser { text, rest: text, depth: 0, limits: Limits::default() };
        let parsed = parser.document();
        parsed.map_err(|what| parser.error(what))
    }
}

struct Parser<'t> {
    text: &'t str,
    rest: &'t str,
    depth: usize,
    limits: Limits,
}

/// What was wrong; the place is where the parser stands.
type Parsed<T> = Result<T, String>;

impl<'t> Parser<'t> {
    fn error(&self, what: String) -> ParseError {
        let before = self.text.get(..self.text.len() - self.rest.len()).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        ParseError { what, line: before.matches('\n').count() + 1, column }
    }

    fn document(&mut self) -> Parsed<Term> {
        let term = self.term()?;
        self.space();
        self.take(".");
        self.space();
        if self.rest.is_empty() { Ok(term) } else { Err(format!("{} is left behind the term", self.found())) }
    }

    fn found(&self) -> String {
        match self.rest.chars().next() {
            Some(character) => format!("{character:?}"),
            None => "the end".to_owned(),
        }
    }

    fn expected<T>(&self, what: &str) -> Parsed<T> {
        Err(format!("expected {what}, found {}", self.found()))
    }

    /// White space and comments.
    fn space(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            match self.rest.strip_prefix('%') {
                Some(comment) => self.rest = comment.split_once('\n').map_or("", |(_, rest)| rest),
                None => return,
            }
        }
    }

    fn take(&mut self, what: &str) -> bool {
        match self.rest.strip_prefix(what) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// `what`, behind white space.
    fn sign(&mut self, what: &str) -> bool {
        self.space();
        self.take(what)
    }

    fn need(&mut self, what: &str) -> Parsed<()> {
        if self.sign(what) { Ok(()) } else { self.expected(&format!("`{what}`")) }
    }

    fn next(&mut self) -> Option<char> {
        let mut characters = self.rest.chars();
        let next = characters.next();
        self.rest = characters.as_str();
        next
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let end = self.rest.find(|character| !wanted(character)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// The only way down: small, as it recurses.
    fn term(&mut self) -> Parsed<Term> {
        self.space();
        self.descend()?;
        let term = if self.take("{") {
            self.until("}").map(Term::Tuple)
        } else if self.take("[") {
            self.list()
        } else if self.take("#{") {
            self.map()
        } else {
            self.leaf()
        };
        self.depth -= 1;
        term
    }

    fn descend(&mut self) -> Parsed<()> {
        if self.depth == self.limits.tree_depth {
            let limit = self.limits.tree_depth;
            return Err(format!("the term is deeper than {limit} levels"));
        }
        self.depth += 1;
        Ok(())
    }

    fn leaf(&mut self) -> Parsed<Term> {
        match self.rest.chars().next() {
            Some('0'..='9' | '$') => self.number(false),
            Some('-') => {
                self.next();
                self.space();
                self.number(true)
            }
            Some('+') => {
                self.next();
                self.space();
                self.number(false)
            }
            Some('"') => Ok(Term::charlist(&self.strings()?)),
            Some('~') => self.sigil(),
            Some('<') if self.take("<<") => self.bits(),
            Some('#') => Err("what starts with # and a name has no form that can be read".to_owned()),
            Some('\'') => Ok(Term::Atom(self.atom()?)),
            Some(start) if is_atom_start(start) => self.word(),
            Some(start) if start.is_uppercase() || start == '_' => {
                Err("variables have no value here; an atom that starts so needs single quotes".to_owned())
            }
            _ => self.expected("a term"),
        }
    }

    /// An atom, or a fun.
    fn word(&mut self) -> Parsed<Term> {
        let start = self.rest;
        let word = self.take_while(is_atom_rest);
        if word == "fun" {
            let (module, function) = (self.qualified(":")?, self.qualified("/")?);
            self.space();
            let arity = self.take_while(|character| character.is_ascii_digit());
            return match arity.parse() {
                Ok(arity) => Ok(Term::export(module, function, arity)),
                Err(_) => Err("the arity of a fun is a number up to 255".to_owned()),
            };
        }
        self.rest = start;
        self.atom().map(Term::Atom)
    }

    fn qualified(&mut self, end: &str) -> Parsed<Atom> {
        self.space();
        let atom = self.atom()?;
        self.need(end)?;
        Ok(atom)
    }

    fn atom(&mut self) -> Parsed<Atom> {
        let start = self.rest;
        let text = if self.take("'") {
            self.quoted('\'')?
        } else if self.rest.starts_with(is_atom_start) {
            self.take_while(is_atom_rest).to_owned()
        } else {
            return self.expected("an atom");
        };
        if start.starts_with(is_atom_start) && is_reserved(&text) {
            self.rest = start;
            return Err(format!("{text} is a reserved word; as an atom it needs single quotes"));
        }
        Atom::new(text).map_err(|error| error.to_string())
    }

    /// Terms with commas between, up to `end`; what opened is taken.
    fn until(&mut self, end: &str) -> Parsed<Vec<Term>> {
        let mut terms = Vec::new();
        if self.sign(end) {
            return Ok(terms);
        }
        loop {
            terms.push(self.term()?);
            if self.sign(end) {
                return Ok(terms);
            }
            if !self.take(",") {
                return self.expected(&format!("`,` or `{end}`"));
            }
        }
    }

    /// Behind `[`.
    fn list(&mut self) -> Parsed<Term> {
        let mut elements = Vec::new();
        if self.sign("]") {
            return Ok(Term::NIL);
        }
        loop {
            elements.push(self.term()?);
            if self.sign("]") {
                return Ok(Term::List(elements.into()));
            }
            if self.take("|") {
                let tail = self.term()?;
                self.need("]")?;
                return Ok(Term::list_with_tail(elements, tail));
            }
            if !self.take(",") {
                return self.expected("`,`, `|` or `]`");
            }
        }
    }

    /// Behind `#{`.
    fn map(&mut self) -> Parsed<Term> {
        let mut pairs = Vec::new();
        if self.sign("}") {
            return Ok(Term::map(pairs));
        }
        loop {
            let key = self.term()?;
            self.need("=>")?;
            pairs.push((key, self.term()?));
            if self.sign("}") {
                return Ok(Term::map(pairs));
            }
            if !self.take(",") {
                return self.expected("`,` or `}`");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etf::BitString;
    use crate::{atom, list, tuple};

    fn parse(text: &str) -> Term {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn what_people_type_is_read() {
        assert_eq!(
            parse(" {ok, 'A b', 16#fF, -1, $a, 1_000} . "),
            tuple![atom!("ok"), atom!("A b"), 255, -1, 97, 1000]
        );
        assert_eq!(parse("[1, 2 | [3]] % one\n"), list![1, 2, 3]);
        assert_eq!(parse("[alias|x]"), list![atom!("alias"); atom!("x")]);
        assert_eq!(parse("\"a\\n\\x{3c0}\" \"b\""), Term::charlist("a\nπb"));
        assert_eq!(parse("<<\"abc\">>"), Term::from("abc"));
        assert_eq!(parse("<<\"é\">>"), Term::binary(vec![0xe9]));
        assert_eq!(parse("<<\"é\"/utf8, 1>>"), Term::binary(vec![0xc3, 0xa9, 1]));
        assert_eq!(parse("~\"é\""), Term::from("é"));
        assert_eq!(parse("<<1,2,3:4>>"), BitString::new(vec![1, 2, 0x30].into(), 4).unwrap().into());
        assert_eq!(parse("<<-1:12>>").to_string(), "<<255,15:4>>");
        assert_eq!(parse("<<300:16>>"), Term::binary(vec![1, 44]));
        assert_eq!(parse("<<>>"), Term::binary(vec![]));
        assert_eq!(parse("#{a => 1, \"k\" => [], 1 => x, 1.0 => y}").as_map().unwrap().len(), 4);
        assert_eq!(parse("fun lists:map/2"), Term::export(atom!("lists"), atom!("map"), 2));
        assert_eq!(parse("fun 'Elixir.Enum':map/2"), Term::export(atom!("Elixir.Enum"), atom!("map"), 2));
        assert_eq!(parse("-1.5e-3"), Term::Float(-1.5e-3));
        assert_eq!(parse("123456789012345678901234567890").to_string(), "123456789012345678901234567890");
        assert_eq!(parse("-9223372036854775808"), Term::Integer(i64::MIN));
        assert_eq!(parse("'it\\'s'"), Term::from(atom!("it's")));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, expected) in [
            ("{a,", "expected a term, found the end (line 1, column 4)"),
            ("[a\n b]", "expected `,`, `|` or `]`, found 'b' (line 2, column 2)"),
            ("Foo", "variables have no value here; an atom that starts so needs single quotes (line 1, column 1)"),
            ("ok ok", "'o' is left behind the term (line 1, column 4)"),
            ("'end", "the closing ' is missing (line 1, column 5)"),
            ("end", "end is a reserved word; as an atom it needs single quotes (line 1, column 1)"),
            ("#Pid<1.2.3>", "what starts with # and a name has no form that can be read (line 1, column 1)"),
            ("1.0e400", "the float is too large (line 1, column 1)"),
            ("", "expected a term, found the end (line 1, column 1)"),
        ] {
            assert_eq!(text.parse::<Term>().unwrap_err().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn depth_is_limited() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(deep(256).parse::<Term>().is_ok());
        let error = deep(100_000).parse::<Term>().unwrap_err();
        assert_eq!(error.what, "the term is deeper than 256 levels");
    }
}
