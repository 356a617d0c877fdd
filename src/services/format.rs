//! `io_lib:format/2`, as far as the output of other nodes needs it: the text that a control string and
//! its arguments stand for. Terms are printed on one line, however long.

mod float;
mod term;

use self::term::{Style, print};
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
                    'c' if self.unicode => self.characters(text, character(Some(arg))?),
                    'c' => self.characters(text, latin1_character(arg)?),
                    's' => self.string(text, arg)?,
                    'w' => self.field(text, &self.term(arg, -1)),
                    // The width of ~p is that of a line, and all is printed on one.
                    'p' => text.push_str(&self.term(arg, -1)),
                    'W' | 'P' => {
                        let depth = args.next().and_then(Term::as_i64).ok_or(BadFormat)?;
                        let printed = self.term(arg, depth);
                        if kind == 'W' { self.field(text, &printed) } else { text.push_str(&printed) }
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

    fn term(&self, term: &Term, depth: i64) -> String {
        let mut printed = String::new();
        let pretty = self.kind.eq_ignore_ascii_case(&'p');
        let style = Style { text: pretty && !self.plain_lists, pretty, unicode: self.unicode };
        print(term, depth, style, &mut printed);
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
        let precision = match (self.precision, width) {
            (Some(precision), Some(width)) if precision > width => return Err(BadFormat),
            // As wide as the field: then the field alone decides on which side it is padded.
            (precision, width) if precision == width => None,
            (precision, _) => precision,
        };
        let mut cut: String = string.chars().take(precision.or(width).unwrap_or(usize::MAX)).collect();
        if let Some(precision) = precision {
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
        let Term::Float(value) = arg else { return Err(BadFormat) };
        let precision = self.precision.unwrap_or(6);
        let printed = match self.kind {
            'f' => float::fixed(*value, precision),
            'e' => float::scientific(*value, precision),
            _ => float::general(*value, precision),
        };
        self.field(text, &printed.ok_or(BadFormat)?);
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
    let negative = rest.next_if_eq(&'-').is_some();
    if rest.next_if_eq(&'*').is_some() {
        let value = args.next().and_then(Term::as_i64).ok_or(BadFormat)?;
        return Ok(Some(if negative { value.saturating_neg() } else { value }));
    }
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

/// `~c` without `t`: the low byte.
fn latin1_character(term: &Term) -> Result<char, BadFormat> {
    let code = term.as_i64().ok_or(BadFormat)?;
    Ok(char::from(u8::try_from(code & 0xff).map_err(|_| BadFormat)?))
}

fn character(term: Option<&Term>) -> Result<char, BadFormat> {
    let value = term.and_then(Term::as_i64).and_then(|value| u32::try_from(value).ok());
    value.and_then(char::from_u32).ok_or(BadFormat)
}

/// The text of characters as Erlang has them: a binary, or a deep list of integers and binaries.
/// `None` for anything else.
pub(crate) fn characters(term: &Term, latin1: bool) -> Option<String> {
    if matches!(term, Term::Integer(_)) {
        return None; // a character alone is no text
    }
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
        check("~20p|~3p|~8w|", list![atom!("abc"), atom!("abcd"), atom!("abc")], "abc|abcd|     abc|");
        check("~p ~tp", list![atom!("π"), atom!("π")], "'\\x{3C0}' 'π'");
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
        check("~c~5c~tc~c", list![97, 98, 8364, 8364], "abbbbb€¬");
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
        check("~g ~g ~g ~g", list![0.5, 1.5, 1.0e-5, 123_456.7], "0.500000 1.50000 1.00000e-5 1.23457e+5");
        check("~5..0b", list![-42], "00-42");
    }

    #[test]
    fn other_directives_take_what_they_take() {
        check("a~~b~n~2n~i~p", list![1, 2], "a~b\n\n\n2");
        check("~P ~W", list![list![1], 9, 2, 9], "[1] 2");
        check("~P ~W", list![list![1, 2, 3], 2, tuple![1, 2, 3], 3], "[1|...] {1,2,...}");
    }

    #[test]
    fn a_control_string_that_does_not_fit_its_arguments_is_an_error() {
        for (control, args) in [
            ("~p", list![]),
            ("x", list![1]),
            ("~", list![]),
            ("~q", list![1]),
            ("~s", list![1.5]),
            ("~P", list![1, atom!("x")]),
            ("~.0f", list![1.5]),
            ("~.1e", list![1.5]),
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
