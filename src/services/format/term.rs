//! Terms as `~w` and `~p` print them, down to a depth.

use std::fmt::Write;

use crate::etf::{Atom, Map, Term};

/// How terms are printed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// Lists and binaries of printable characters are shown as text (`~p`, but for the modifier `l`).
    pub(super) text: bool,
    /// Depth ends a map as `~p` ends it, not as `~w` does.
    pub(super) pretty: bool,
    /// More than latin-1 is printable.
    pub(super) unicode: bool,
}

/// Prints a term; what is deeper than `depth` is `...`, and each further element of a list is one level
/// deeper (`io_lib:write/2`). A negative depth is none. Recursion is bounded by the depth that a tree can
/// have.
pub(super) fn print(term: &Term, depth: i64, style: Style, text: &mut String) {
    if depth == 0 {
        return text.push_str("...");
    }
    match term {
        Term::Tuple(elements) => tuple(elements, depth, style, text),
        Term::List(elements) => {
            let string = || string_of(elements, |character| is_printable(character, style.unicode));
            match (style.text && depth != 1).then(string).flatten() {
                Some(string) => quote(&string, text),
                None => list(elements, None, depth, style, text),
            }
        }
        Term::ImproperList(elements, tail) => list(elements, Some(tail), depth, style, text),
        Term::Map(pairs) => map(pairs, depth, style, text),
        Term::Binary(bytes) => binary(bytes, depth, style, text),
        Term::Atom(atom) => print_atom(atom, style.unicode, text),
        other => _ = write!(text, "{other}"),
    }
}

fn tuple(elements: &[Term], depth: i64, style: Style, text: &mut String) {
    text.push('{');
    let mut left = depth;
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        if left == 1 {
            text.push_str("...");
            break;
        }
        left -= 1;
        print(element, left, style, text);
    }
    text.push('}');
}

fn list(elements: &[Term], tail: Option<&Term>, depth: i64, style: Style, text: &mut String) {
    text.push('[');
    let mut left = depth;
    for (index, element) in elements.iter().enumerate() {
        if left == 1 {
            text.push_str(if index > 0 { "|..." } else { "..." });
            return text.push(']');
        }
        if index > 0 {
            text.push(',');
        }
        left -= 1;
        print(element, left, style, text);
    }
    if let Some(tail) = tail {
        text.push('|');
        if left == 1 {
            text.push_str("...");
        } else {
            print(tail, left - 1, style, text);
        }
    }
    text.push(']');
}

fn map(pairs: &Map, depth: i64, style: Style, text: &mut String) {
    text.push_str("#{");
    let mut left = depth;
    let mut pairs = pairs.iter().enumerate().peekable();
    let any = pairs.peek().is_some();
    for (index, (key, value)) in pairs {
        if left == 1 {
            // Here the two differ, and `~w` also below.
            if style.pretty {
                text.push_str(if index > 0 { ",..." } else { "..." });
            }
            break;
        }
        if index > 0 {
            text.push(',');
        }
        left -= 1;
        print(key, depth - 1, style, text);
        text.push_str(" => ");
        print(value, depth - 1, style, text);
    }
    if !style.pretty && any && left == 1 && depth != 1 {
        text.push_str(",...");
    }
    text.push('}');
}

fn binary(bytes: &[u8], depth: i64, style: Style, text: &mut String) {
    let latin1 = || -> Option<String> {
        bytes.iter().map(|&byte| Some(char::from(byte)).filter(|&c| is_printable(c, false))).collect()
    };
    let utf8 = || {
        let text = std::str::from_utf8(bytes).ok()?;
        text.chars().all(|character| is_printable(character, true)).then(|| text.to_owned())
    };
    let string = match style.text && depth != 1 && !bytes.is_empty() {
        false => None,
        true if style.unicode && !bytes.is_ascii() => {
            utf8().map(|text| (text, "/utf8")).or_else(|| latin1().map(|text| (text, "")))
        }
        true => latin1().map(|text| (text, "")),
    };
    text.push_str("<<");
    match string {
        Some((string, kind)) => {
            let most = usize::try_from(depth).map_or(usize::MAX, |depth| (depth - 1) * CHARACTERS_A_LEVEL);
            let cut: String = string.chars().take(most).collect();
            quote(&cut, text);
            text.push_str(kind);
            if cut.len() < string.len() {
                text.push_str("...");
            }
        }
        None => {
            let most = usize::try_from(depth).map_or(usize::MAX, |depth| depth - 1);
            for (index, byte) in bytes.iter().take(most).enumerate() {
                let comma = if index > 0 { "," } else { "" };
                _ = write!(text, "{comma}{byte}");
            }
            if bytes.len() > most {
                text.push_str(if most > 0 { ",..." } else { "..." });
            }
        }
    }
    text.push_str(">>");
}

/// An atom; without unicode what is beyond latin-1 is escaped. Such an atom has quotes anyway.
fn print_atom(atom: &Atom, unicode: bool, text: &mut String) {
    let printed = Term::Atom(atom.clone()).to_string();
    for character in printed.chars() {
        match u32::from(character) {
            code if code > 255 && !unicode => _ = write!(text, "\\x{{{code:X}}}"),
            _ => text.push(character),
        }
    }
}

fn string_of(elements: &[Term], printable: impl Fn(char) -> bool) -> Option<String> {
    if elements.is_empty() {
        return None;
    }
    elements.iter().map(|term| super::character(Some(term)).ok().filter(|&character| printable(character))).collect()
}

/// `io_lib:printable_list/1`, in its latin-1 and its unicode reading.
fn is_printable(character: char, unicode: bool) -> bool {
    let latin1 = matches!(character, '\u{20}'..='\u{7e}' | '\u{a0}'..='\u{ff}' | '\u{8}'..='\u{d}' | '\u{1b}');
    latin1 || (unicode && matches!(character, '\u{100}'.. if !matches!(character, '\u{fffe}' | '\u{ffff}')))
}

fn quote(string: &str, text: &mut String) {
    text.push('"');
    for character in string.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            '\u{b}' => text.push_str("\\v"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '\u{1b}' => text.push_str("\\e"),
            other => text.push(other),
        }
    }
    text.push('"');
}

/// How many characters of a binary a level of depth stands for (`io_lib_pretty.erl`).
const CHARACTERS_A_LEVEL: usize = 4;
