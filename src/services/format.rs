//! `io_lib:format/2`, as far as the output of other nodes needs it: the text that a control string and
//! its arguments stand for. Terms are printed on one line, however long.

use std::fmt::Write;

use crate::etf::Term;

/// A control string that does not fit its arguments (`badarg` of `io_lib:format/2`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadFormat;

/// Formats. Takes the control sequences of `io:fwrite/2`.
pub(crate) fn format(control: &str, args: &[Term]) -> Result<String, BadFormat> {
    let mut text = String::new();
    let mut args = args.iter();
    let mut rest = control.chars().peekable();
    while let Some(character) = rest.next() {
        if character != '~' {
            text.push(character);
            continue;
        }
        let directive = Directive::parse(&mut rest, &mut args)?;
        directive.write(&mut text, &mut args)?;
    }
    if args.next().is_some() { Err(BadFormat) } else { Ok(text) }
}

/// `~F.P.PadModC`.
struct Directive {
    width: Option<i64>,
    precision: Option<usize>,
    pad: char,
    /// Modifier `t`: text beyond latin-1.
    unicode: bool,
    /// Modifier `l`: lists of characters are lists.
    plain_lists: bool,
    kind: char,
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;
type Args<'a> = std::slice::Iter<'a, Term>;

impl Directive {
    fn parse(rest: &mut Chars<'_>, args: &mut Args<'_>) -> Result<Self, BadFormat> {
        let width = number(rest, args)?;
        let mut precision = None;
        let mut pad = ' ';
        if rest.next_if_eq(&'.').is_some() {
            precision = number(rest, args)?;
            if rest.next_if_eq(&'.').is_some() {
                pad = match rest.next().ok_or(BadFormat)? {
                    '*' => character(args.next())?,
                    pad => pad,
                };
            }
        }
        let precision = precision.map(usize::try_from).transpose().map_err(|_| BadFormat)?;
        if width.is_some_and(|width| width.unsigned_abs() > WIDEST) || precision.is_some_and(|p| p as u64 > WIDEST) {
            return Err(BadFormat);
        }
        let (mut unicode, mut plain_lists) = (false, false);
        loop {
            match rest.next().ok_or(BadFormat)? {
                't' => unicode = true,
                'l' => plain_lists = true,
                'k' => {}
                'K' => drop(args.next().ok_or(BadFormat)?),
                kind => return Ok(Self { width, precision, pad, unicode, plain_lists, kind }),
            }
        }
    }

    fn write(&self, text: &mut String, args: &mut Args<'_>) -> Result<(), BadFormat> {
        match self.kind {
            '~' => text.push('~'),
            'n' => (0..self.width.unwrap_or(1)).for_each(|_| text.push('\n')),
            'i' => drop(args.next().ok_or(BadFormat)?),
            kind => {
                let arg = args.next().ok_or(BadFormat)?;
                match kind {
                    'c' => self.characters(text, character(Some(arg))?),
                    's' => self.string(text, arg)?,
                    'w' | 'p' => self.field(text, &self.term(arg)),
                    'W' | 'P' => {
                        args.next().ok_or(BadFormat)?;
                        self.field(text, &self.term(arg));
                    }
                    'b' | 'B' | '+' | '#' => self.integer(text, arg, "", "")?,
                    'x' | 'X' => {
                        let prefix = args.next().ok_or(BadFormat)?;
                        let prefix = match prefix {
                            Term::Atom(prefix) => prefix.as_str().to_owned(),
                            prefix => characters(prefix, false).ok_or(BadFormat)?,
                        };
                        self.integer(text, arg, &prefix, "")?;
                    }
                    'f' | 'e' | 'g' => self.float(text, arg)?,
                    _ => return Err(BadFormat),
                }
            }
        }
        Ok(())
    }

    fn term(&self, term: &Term) -> String {
        let mut printed = String::new();
        print(term, self.kind.eq_ignore_ascii_case(&'p') && !self.plain_lists, self.unicode, &mut printed);
        printed
    }

    fn characters(&self, text: &mut String, character: char) {
        let count = self.precision.or(self.width.map(|width| width.unsigned_abs() as usize)).unwrap_or(1);
        let run: String = std::iter::repeat_n(character, count).collect();
        self.field(text, &run);
    }

    /// A string: cut to its precision, and to its width.
    fn string(&self, text: &mut String, arg: &Term) -> Result<(), BadFormat> {
        let string = match arg {
            Term::Atom(atom) => atom.as_str().to_owned(),
            // Without `t` binaries are latin-1, and lists of larger characters do not fit.
            arg => characters(arg, !self.unicode).ok_or(BadFormat)?,
        };
        if !self.unicode && string.chars().any(|character| u32::from(character) > 255) {
            return Err(BadFormat);
        }
        let width = self.width.map(|width| width.unsigned_abs() as usize);
        let cut = match (self.precision, width) {
            (Some(precision), Some(width)) => Some(precision.min(width)),
            (precision, width) => precision.or(width),
        };
        let mut cut: String = string.chars().take(cut.unwrap_or(usize::MAX)).collect();
        if let Some(precision) = self.precision {
            let missing = precision.saturating_sub(cut.chars().count());
            cut.extend(std::iter::repeat_n(self.pad, missing));
        }
        self.field(text, &cut);
        Ok(())
    }

    fn integer(&self, text: &mut String, arg: &Term, prefix: &str, suffix: &str) -> Result<(), BadFormat> {
        let value = arg.as_bigint().ok_or(BadFormat)?;
        let base = self.precision.map_or(Some(10), |base| u32::try_from(base).ok()).ok_or(BadFormat)?;
        if !(2..=36).contains(&base) {
            return Err(BadFormat);
        }
        let mut digits = value.to_str_radix(base);
        if matches!(self.kind, 'B' | 'X' | '#') {
            digits.make_ascii_uppercase();
        }
        let (sign, digits) = match digits.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", digits.as_str()),
        };
        let printed = match self.kind {
            '+' | '#' => format!("{sign}{base}#{digits}"),
            _ => format!("{sign}{prefix}{digits}{suffix}"),
        };
        self.field(text, &printed);
        Ok(())
    }

    fn float(&self, text: &mut String, arg: &Term) -> Result<(), BadFormat> {
        let value = arg.as_f64().ok_or(BadFormat)?;
        let plain = (0.1..10_000.0).contains(&value.abs());
        let printed = if self.kind == 'f' || (self.kind == 'g' && plain) {
            format!("{value:.*}", self.precision.unwrap_or(6).max(1))
        } else {
            // The precision of ~e counts all digits.
            let digits = self.precision.unwrap_or(6).max(2) - 1;
            let printed = format!("{value:.digits$e}");
            let (mantissa, exponent) = printed.split_once('e').ok_or(BadFormat)?;
            let exponent: i32 = exponent.parse().map_err(|_| BadFormat)?;
            format!("{mantissa}e{exponent:+}")
        };
        self.field(text, &printed);
        Ok(())
    }

    /// Puts text into a field: padded where it is shorter, stars where it does not fit.
    fn field(&self, text: &mut String, printed: &str) {
        let Some(width) = self.width else { return text.push_str(printed) };
        let (left, width) = (width < 0, width.unsigned_abs() as usize);
        let length = printed.chars().count();
        let padding = std::iter::repeat_n(self.pad, width.saturating_sub(length));
        if length > width {
            text.extend(std::iter::repeat_n('*', width));
        } else if left {
            text.push_str(printed);
            text.extend(padding);
        } else {
            text.extend(padding);
            text.push_str(printed);
        }
    }
}

/// A number in a directive; `*` takes an argument.
fn number(rest: &mut Chars<'_>, args: &mut Args<'_>) -> Result<Option<i64>, BadFormat> {
    if rest.next_if_eq(&'*').is_some() {
        return args.next().and_then(Term::as_i64).map(Some).ok_or(BadFormat);
    }
    let negative = rest.next_if_eq(&'-').is_some();
    let mut value: Option<i64> = None;
    while let Some(digit) = rest.peek().and_then(|character| character.to_digit(10)) {
        rest.next();
        let shifted = value.unwrap_or(0).checked_mul(10).and_then(|value| value.checked_add(digit.into()));
        value = Some(shifted.ok_or(BadFormat)?);
    }
    match value {
        Some(value) => Ok(Some(if negative { -value } else { value })),
        None if negative => Err(BadFormat),
        None => Ok(None),
    }
}

fn character(term: Option<&Term>) -> Result<char, BadFormat> {
    let value = term.and_then(Term::as_i64).and_then(|value| u32::try_from(value).ok());
    value.and_then(char::from_u32).ok_or(BadFormat)
}

/// The text of characters as Erlang has them: a binary, or a deep list of integers and binaries.
/// `None` for anything else.
pub(crate) fn characters(term: &Term, latin1: bool) -> Option<String> {
    let mut text = String::new();
    // What is still to be written, the next on top.
    let mut todo = vec![term];
    while let Some(term) = todo.pop() {
        match term {
            Term::Integer(value) => text.push(char::from_u32(u32::try_from(*value).ok()?)?),
            Term::Binary(bytes) if latin1 => text.extend(bytes.iter().map(|&byte| char::from(byte))),
            Term::Binary(bytes) => match std::str::from_utf8(bytes) {
                Ok(utf8) => text.push_str(utf8),
                // As ~ts has it: what is not UTF-8 is latin-1.
                Err(_) => text.extend(bytes.iter().map(|&byte| char::from(byte))),
            },
            Term::List(elements) => todo.extend(elements.iter().rev()),
            Term::ImproperList(elements, tail) => {
                todo.push(tail);
                todo.extend(elements.iter().rev());
            }
            _ => return None,
        }
    }
    Some(text)
}

/// Prints a term; `pretty` shows lists and binaries of printable characters as text, `unicode` takes
/// more than latin-1 for printable. Recursion is bounded by the depth that a tree can have.
fn print(term: &Term, pretty: bool, unicode: bool, text: &mut String) {
    let printable = |character: char| is_printable(character, unicode);
    match term {
        Term::Tuple(elements) => {
            text.push('{');
            print_all(elements, pretty, unicode, text);
            text.push('}');
        }
        Term::List(elements) => match pretty.then(|| string_of(elements, printable)).flatten() {
            Some(string) => quote(&string, text),
            None => {
                text.push('[');
                print_all(elements, pretty, unicode, text);
                text.push(']');
            }
        },
        Term::ImproperList(elements, tail) => {
            text.push('[');
            print_all(elements, pretty, unicode, text);
            text.push('|');
            print(tail, pretty, unicode, text);
            text.push(']');
        }
        Term::Map(map) => {
            text.push_str("#{");
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                print(key, pretty, unicode, text);
                text.push_str(" => ");
                print(value, pretty, unicode, text);
            }
            text.push('}');
        }
        Term::Binary(bytes) => {
            let latin1 = || -> Option<String> {
                bytes.iter().map(|&byte| Some(char::from(byte)).filter(|&c| is_printable(c, false))).collect()
            };
            let utf8 = || std::str::from_utf8(bytes).ok().filter(|text| text.chars().all(printable));
            text.push_str("<<");
            if pretty
                && bytes.is_ascii()
                && let Some(string) = latin1().filter(|string| !string.is_empty())
            {
                quote(&string, text);
            } else if pretty
                && unicode
                && let Some(string) = utf8().filter(|string| !string.is_empty())
            {
                quote(string, text);
                text.push_str("/utf8");
            } else if pretty && let Some(string) = latin1().filter(|string| !string.is_empty()) {
                quote(&string, text);
            } else {
                for (index, byte) in bytes.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    _ = write!(text, "{comma}{byte}");
                }
            }
            text.push_str(">>");
        }
        other => _ = write!(text, "{other}"),
    }
}

fn print_all(terms: &[Term], pretty: bool, unicode: bool, text: &mut String) {
    for (index, term) in terms.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        print(term, pretty, unicode, text);
    }
}

fn string_of(elements: &[Term], printable: impl Fn(char) -> bool) -> Option<String> {
    if elements.is_empty() {
        return None;
    }
    elements.iter().map(|term| character(Some(term)).ok().filter(|&character| printable(character))).collect()
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

/// The widest field and precision; a column of a page has far less, and `~999999999c` would fill memory.
const WIDEST: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{atom, list, tuple};

    fn check(control: &str, args: Term, expected: &str) {
        let Term::List(args) = args else { panic!("no list") };
        assert_eq!(format(control, &args).as_deref(), Ok(expected), "{control}");
    }

    // Expected texts are those of `io_lib:format/2` of OTP 27.
    #[test]
    fn terms_are_printed_as_io_lib_prints_them() {
        let string = Term::charlist("grün");
        check("~p", list![string.clone()], "\"grün\"");
        check("~w", list![string], "[103,114,252,110]");
        check("~p ~tp", list![Term::charlist("€"), Term::charlist("€")], "[8364] \"€\"");
        check("~p ~w", list!["abc", "abc"], "<<\"abc\">> <<97,98,99>>");
        check("~tp", list!["€"], "<<\"€\"/utf8>>"); // with +pc unicode
        check("~p", list!["€"], "<<226,130,172>>");
        check("~p ~tp", list!["grün", "grün"], "<<\"grÃ¼n\">> <<\"grün\"/utf8>>");
        check("~p", list![Term::binary(Vec::new())], "<<>>");
        check("~p", list![tuple![atom!("ok"), list![1, 2], list![], 1.5]], "{ok,[1,2],[],1.5}");
        check("~p", list![list![atom!("a"); atom!("b")]], "[a|b]");
        check("~p", list![Term::charlist("a\"b\\\n")], "\"a\\\"b\\\\\\n\"");
        check(
            "~p ~w",
            list![Term::map([(1.into(), 2.into())]), Term::map([(1.into(), 2.into())])],
            "#{1 => 2} #{1 => 2}",
        );
        check("~p", list![atom!("Hello world")], "'Hello world'");
        check("~lp", list![Term::charlist("ab")], "[97,98]");
    }

    #[test]
    fn strings_and_characters_are_cut_and_padded() {
        check("~s|~10s|~-10s|", list![Term::charlist("ab"), Term::charlist("ab"), "ab"], "ab|        ab|ab        |");
        check("~3s", list![Term::charlist("abcdef")], "abc");
        check("~.3s|~5.3s", list!["abcdef", "abcdef"], "abc|  abc");
        check("~ts", list!["grün"], "grün");
        check("~ts", list![Term::binary(b"gr\xfcn".to_vec())], "grün");
        check("~s", list!["grün"], "grÃ¼n");
        check("~.5s|~8.5s|", list!["ab", "ab"], "ab   |   ab   |");
        check("~s", list![list![Term::charlist("a"), list!["b"], 99]], "abc");
        check("~s", list![atom!("atom")], "atom");
        check("~c~5c~tc", list![97, 98, 8364], "abbbbb€");
        check("~10.5c", list![97], "     aaaaa");
        check("~*s~5..*s", list![4, "ab", 46, "ab"], "  ab...ab");
    }

    #[test]
    fn numbers_have_bases_and_fields() {
        check("~b ~.16b ~.16B ~.16# ~16.16+", list![31, 31, 31, 31, 31], "31 1f 1F 16#1F            16#1f");
        check("~5b|~-5b|~5..0b|~2b", list![42, 42, 42, 4242], "   42|42   |00042|**");
        check("~.16x", list![-31, "0x"], "-0x1f");
        check("~f ~.2f ~8.2f|", list![1.5, 2.345, 2.0], "1.500000 2.35     2.00|");
        check("~e ~.3e ~e", list![1.5, 12345.678, 1.0e-120], "1.50000e+0 1.23e+4 1.00000e-120");
        check("~g ~g ~g", list![0.5, 1.0e-5, 123_456.7], "0.500000 1.00000e-5 1.23457e+5");
        check("~5..0b", list![-42], "00-42");
    }

    #[test]
    fn other_directives_take_what_they_take() {
        check("a~~b~n~2n~i~p", list![1, 2], "a~b\n\n\n2");
        check("~P ~W", list![list![1], 9, 2, 9], "[1] 2");
    }

    #[test]
    fn a_control_string_that_does_not_fit_its_arguments_is_an_error() {
        for (control, args) in [
            ("~p", list![]),
            ("x", list![1]),
            ("~", list![]),
            ("~q", list![1]),
            ("~s", list![1.5]),
            ("~b", list![1.5]),
            ("~f", list![1]),
            ("~s", list![Term::charlist("€")]),
            ("~999999999c", list![97]),
            ("~.99999999f", list![1.0]),
        ] {
            let Term::List(args) = args else { panic!("no list") };
            assert_eq!(format(control, &args), Err(BadFormat), "{control}");
        }
    }
}
