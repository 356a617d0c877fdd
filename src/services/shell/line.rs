//! A line as it was typed: a command, a call, or a term.

use crate::etf::{Atom, ParseError, Term};

/// What a line asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Line<'t> {
    /// Nothing.
    Empty,
    /// A command, and what stands behind it.
    Command(&'t str, &'t str),
    /// `Module:function(Args…)`.
    Call(Call),
    /// A term, which stands for itself; or nothing that is understood.
    Term(&'t str),
}

/// A function and its arguments; without a module it is one of `erlang`.
#[derive(Debug, PartialEq)]
pub(super) struct Call {
    pub(super) module: Option<Atom>,
    pub(super) function: Atom,
    pub(super) args: Vec<Term>,
}

/// Reads a line. A full stop or a semicolon at its end is habit, not syntax.
///
/// # Errors
/// When it begins as a call, and its arguments are no terms.
pub(super) fn read<'t>(line: &'t str, is_command: impl Fn(&str) -> bool) -> Result<Line<'t>, ParseError> {
    let line = line.trim().trim_end_matches(|end: char| matches!(end, '.' | ';') || end.is_whitespace());
    if line.is_empty() || line.starts_with(['%', '#']) && !line.starts_with("#{") {
        return Ok(Line::Empty);
    }
    let end = line.find(|next: char| !(next.is_alphanumeric() || next == '_')).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    if is_command(name) && (rest.is_empty() || rest.starts_with(char::is_whitespace) || rest.starts_with('(')) {
        return Ok(Line::Command(name, without_parentheses(rest.trim())));
    }
    Ok(call(line)?.map_or(Line::Term(line), Line::Call))
}

fn without_parentheses(text: &str) -> &str {
    text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).map_or(text, str::trim)
}

/// Reads `Module:function(Args…)` in Erlang's syntax, or `:module.function(args…)` and
/// `Module.function(args…)` in Elixir's; `None` for what has no such form.
///
/// # Errors
/// When the arguments are no terms.
pub(super) fn call(text: &str) -> Result<Option<Call>, ParseError> {
    let Some((module, function, rest)) = head(text) else { return Ok(None) };
    let Some(args) = rest.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) else { return Ok(None) };
    Ok(Some(Call { module, function, args: terms(args)? }))
}

/// Terms with commas between.
///
/// # Errors
/// Says what is no term.
pub(super) fn terms(text: &str) -> Result<Vec<Term>, ParseError> {
    let list: Result<Term, ParseError> = format!("[{text}\n]").parse();
    match list {
        Ok(Term::List(terms)) => Ok(terms.into_vec()),
        Ok(_) => Err(ParseError { what: "terms with commas between are expected".to_owned(), line: 1, column: 1 }),
        // The bracket is ours.
        Err(error) => Err(ParseError { column: error.column.saturating_sub(1).max(1), ..error }),
    }
}

/// Module, function, and what stands behind them.
fn head(text: &str) -> Option<(Option<Atom>, Atom, &str)> {
    let elixir = text.strip_prefix(':');
    let (first, rest) = name(elixir.unwrap_or(text))?;
    if let Some((function, rest)) = rest.strip_prefix(':').and_then(name)
        && elixir.is_none()
    {
        return Some((Atom::new(first).ok(), Atom::new(function).ok()?, rest));
    }
    let Some((module, function)) = first.rsplit_once('.') else {
        return (elixir.is_none() && rest.starts_with('(')).then(|| Some((None, Atom::new(first).ok()?, rest)))?;
    };
    let alias = elixir.is_none() && module.starts_with(char::is_uppercase) && !module.starts_with("Elixir.");
    let module = if alias { format!("Elixir.{module}") } else { module.to_owned() };
    Some((Some(Atom::new(module).ok()?), Atom::new(function).ok()?, rest))
}

/// An atom, with or without quotes; dots belong to it, as in the names of Elixir's modules.
pub(super) fn name(text: &str) -> Option<(String, &str)> {
    if let Some(quoted) = text.strip_prefix('\'') {
        let mut escaped = false;
        let end = quoted.find(|next| {
            let end = next == '\'' && !escaped;
            escaped = next == '\\' && !escaped;
            end
        })?;
        let (atom, rest) = text.split_at_checked(end + 2)?;
        return match atom.parse() {
            Ok(Term::Atom(atom)) => Some((atom.as_str().to_owned(), rest)),
            _ => None,
        };
    }
    let end = text.find(|next: char| !(next.is_alphanumeric() || "_@.?!".contains(next))).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    name.starts_with(|first: char| first.is_alphabetic() || first == '_').then(|| (name.to_owned(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom;

    fn of(line: &str) -> Line<'_> {
        read(line, |name| ["nodes", "call", "send"].contains(&name)).unwrap()
    }

    fn call_of(module: Option<&'static str>, function: &'static str, args: Vec<Term>) -> Line<'static> {
        let module = module.map(|module| Atom::new(module).unwrap());
        Line::Call(Call { module, function: Atom::new(function).unwrap(), args })
    }

    #[test]
    fn commands_are_taken_as_people_of_both_languages_type_them() {
        for line in ["nodes", " nodes ", "nodes.", "nodes();", "nodes() .", "nodes( )"] {
            assert_eq!(of(line), Line::Command("nodes", ""), "{line}");
        }
        assert_eq!(of("send inbox {a, 1}."), Line::Command("send", "inbox {a, 1}"));
        assert_eq!(of("send(inbox, {a})"), Line::Command("send", "inbox, {a}"));
        assert_eq!(of("call lists:seq(1, 2)."), Line::Command("call", "lists:seq(1, 2)"));
    }

    #[test]
    fn calls_are_known_in_both_syntaxes() {
        let args = || vec![Term::from(1), Term::charlist("),")];
        assert_eq!(of("m:f(1, \"),\")."), call_of(Some("m"), "f", args()));
        assert_eq!(of(":m.f(1, \"),\")"), call_of(Some("m"), "f", args()));
        assert_eq!(of("'Elixir.A.B':'f g'()"), call_of(Some("Elixir.A.B"), "f g", vec![]));
        assert_eq!(of("Elixir.A:f()"), call_of(Some("Elixir.A"), "f", vec![]));
        assert_eq!(of("A.B.f?()"), call_of(Some("Elixir.A.B"), "f?", vec![]));
        assert_eq!(of("node()"), call_of(None, "node", vec![]));
        assert_eq!(of("'node'()"), call_of(None, "node", vec![]));
        let error = read("m:f(1, X)", |_| false).unwrap_err();
        assert!(error.what.starts_with("variables have no value here"), "{error}");
        assert_eq!(error.column, 4);
        assert!(read("m:f(a], [b)", |_| false).is_err());
    }

    #[test]
    fn everything_else_is_a_term_or_nothing() {
        for line in ["", "  ", ".", "% nodes", "# nodes", ";"] {
            assert_eq!(of(line), Line::Empty, "{line:?}");
        }
        for line in
            ["{a, 1}", "nodesx", "[1]", "#{a => 1}", "'it''s'", "m:f", ":ok", "1.5", "fun m:f/1", "'a", "<<\"(\">>"]
        {
            assert_eq!(of(line), Line::Term(line), "{line:?}");
        }
        assert_eq!(of("{a, 1}."), Line::Term("{a, 1}"));
    }

    #[test]
    fn terms_stand_between_commas() {
        assert_eq!(terms("").unwrap(), vec![]);
        assert_eq!(terms("1, a % rest").unwrap(), vec![Term::from(1), atom!("a").into()]);
        assert!(terms("1|2").is_err());
    }
}
