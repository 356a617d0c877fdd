//! Guards the staircase of the architecture: a room (a top-level folder of `src/`) uses only rooms below it, and the
//! rooms at the bottom know nothing of tokio, sockets, files or clocks.
//!
//! The sources are read as tokens, without comments and strings: `crate::room::…`, `crate::{room::…, …}`,
//! `super::…` that leaves its room, and names that `lib.rs` re-exports.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// Every room and the rooms it may use. A new folder of `src/` has to be given its place here.
const ROOMS: &[(&str, &[&str])] = &[
    ("etf", &[]),
    ("proto", &["etf"]),
    ("net", &["etf", "proto"]),
    ("node", &["etf", "proto", "net"]),
    ("services", &["etf", "proto", "net", "node"]),
    ("discovery", &["etf", "proto", "net", "node"]),
    ("builder", &["etf", "proto", "net", "node", "services", "discovery"]),
    ("ops", &["etf", "proto", "net", "node", "services", "discovery", "builder"]),
    ("config", &["etf", "proto", "net", "node", "discovery", "builder", "ops"]),
    ("cli", &["etf", "proto", "net", "node", "services", "discovery", "builder", "ops", "config"]),
    ("main", &["etf", "proto", "net", "node", "services", "discovery", "builder", "ops", "config", "cli"]),
];

/// Rooms of pure computation, and what they must not name anywhere.
const PURE: &[&str] = &["etf", "proto"];
const IMPURE: &[&[&str]] = &[
    &["tokio"],
    &["tokio_util"],
    &["std", "fs"],
    &["std", "process"],
    &["TcpStream"],
    &["TcpListener"],
    &["UdpSocket"],
];
/// … and what they must not name outside their tests, which need some instant to begin with, and a thread with a
/// small stack.
const NOT_IN_CODE: &[&[&str]] = &[&["Instant", "now"], &["SystemTime", "now"], &["std", "thread"]];

#[test]
fn every_room_uses_only_rooms_below_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = rust_files(&src).expect("the sources can be listed");
    assert!(files.len() > 10, "the sources are found: {files:?}");
    let texts: Vec<_> = files
        .iter()
        .map(|path| {
            let relative = path.strip_prefix(&src).expect("below src").to_string_lossy().replace('\\', "/");
            (relative, fs::read_to_string(path).expect("a source file"))
        })
        .collect();
    let faults = check(texts.iter().map(|(path, text)| (path.as_str(), text.as_str())));
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn an_upward_import_is_found_however_it_is_written() {
    for upward in [
        "use crate::node::Node;",
        "use crate::{etf::Atom, node::Node};",
        "use crate::{\n    etf::{Atom, Term},\n    node,\n};",
        "pub(crate) use crate :: node :: Node;",
        "fn f() -> crate::node::Node { todo() }",
        "fn f() { let node = super::super::node::Node; }",
        "use super::super::{etf, node::Node};",
        "use crate::Node;",
        "use crate::{Atom, Node as Other};",
        "use crate::{etf::{Atom, Term}, proto::{self}, Node};",
        "use crate::Alias;",
        "/* crate::etf */ use crate::node;",
        "const S: &str = r#\"\"#; use crate::node;",
        "const C: char = '\"'; use crate::node; const D: char = '\"';",
        "fn f<'a>(x: &'a str) {} use crate::node;",
    ] {
        let faults = check(sample("proto/deep.rs", upward));
        assert_eq!(faults.len(), 1, "{upward}: {faults:?}");
        assert!(faults[0].contains("proto may not use node"), "{faults:?}");
    }
}

#[test]
fn rooms_side_by_side_do_not_use_each_other() {
    assert_eq!(check(sample("services/rpc.rs", "use crate::discovery::Strategy;")).len(), 1);
    assert_eq!(check(sample("discovery/mod.rs", "use crate::services::Rpc;")).len(), 1);
    assert_eq!(check(sample("discovery/mod.rs", "use super::services::Rpc;")).len(), 1);
    assert_eq!(check(sample("builder.rs", "use crate::{services::Rpc, discovery::Strategy};")), [""; 0]);
}

#[test]
fn downward_imports_comments_and_strings_pass() {
    for fine in [
        "use crate::etf::Atom;",
        "use crate::{etf::{self, Atom}, proto::name};",
        "use super::name::NodeName;",
        "use super::super::etf::Atom;",
        "use crate::Atom;",
        "//! As [`crate::node::Node`] does.",
        "/* /* crate::node */ crate::node */",
        "const S: &str = \"crate::node \\\" crate::node\";",
        "const S: &str = r##\"crate::node \"# crate::node\"##;",
        "use other::crate_node::x; mycrate::node();",
        "#[cfg(test)] mod tests { fn now() { std::time::Instant::now(); } }",
        "fn at(now: Instant) {}",
    ] {
        assert_eq!(check(sample("proto/deep.rs", fine)), [""; 0], "{fine}");
    }
}

#[test]
fn pure_rooms_name_no_tokio_no_sockets_and_no_clock() {
    for impure in [
        "use tokio::net::X;",
        "async fn f() { tokio::time::sleep(x).await }",
        "use std::net::TcpStream;",
        "use std::{fs, io};",
        "fn f() { std::fs::read(x); }",
        "fn f() { let now = Instant::now(); }",
        "#[cfg(test)] mod tests { use tokio::test; }",
    ] {
        for path in ["etf/a.rs", "proto/b/c.rs"] {
            assert_eq!(check(sample(path, impure)).len(), 1, "{path}: {impure}");
        }
        assert_eq!(check(sample("net/a.rs", impure)), [""; 0], "{impure}");
    }
}

#[test]
fn a_room_without_a_place_is_a_fault() {
    let faults = check(sample("attic/mod.rs", ""));
    assert!(faults.len() == 1 && faults[0].contains("attic"), "{faults:?}");
}

/// A library with some re-exports, and one file beside it.
fn sample<'a>(path: &'a str, text: &'a str) -> [(&'a str, &'a str); 2] {
    let lib = "pub mod etf; pub mod node; pub use etf::{Atom, Term}; pub use crate::node::{Node, events::Up as Alias};";
    [("lib.rs", lib), (path, text)]
}

/// The faults of sources given as (path below `src/`, text).
fn check<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let files: Vec<_> = files.into_iter().map(|(path, text)| (path, tokens(text))).collect();
    let exports = files.iter().find(|(path, _)| *path == "lib.rs").map(|(_, tokens)| exports(tokens));
    let exports = exports.unwrap_or_default();
    let mut faults = Vec::new();
    for (path, tokens) in &files {
        if *path == "lib.rs" {
            continue;
        }
        let room = path.split('/').next().unwrap_or_default().trim_end_matches(".rs");
        let Some((_, below)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            faults.push(format!("src/{path}: {room} has no place in ROOMS of tests/layering.rs"));
            continue;
        };
        for (line, used) in used_rooms(path, tokens, &exports) {
            if used != room && !below.contains(&used.as_str()) {
                faults.push(format!("src/{path}:{line}: {room} may not use {used}"));
            }
        }
        if PURE.contains(&room) {
            faults.extend(impurities(path, tokens));
        }
    }
    faults
}

/// Which room each name that `lib.rs` re-exports comes from.
fn exports(tokens: &[Token]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for at in 0..tokens.len() {
        if tokens[at].text != "use" {
            continue;
        }
        for Leaf { path, alias, .. } in use_tree(&tokens[at + 1..]) {
            let path = path.iter().map(String::as_str).skip_while(|part| *part == "crate" || *part == "self");
            let path: Vec<_> = path.collect();
            if let [room, .., name] = path.as_slice() {
                found.insert(alias.unwrap_or_else(|| (*name).to_owned()), (*room).to_owned());
            }
        }
    }
    found
}

/// The rooms that a file names, with the line of each.
fn used_rooms(path: &str, tokens: &[Token], exports: &BTreeMap<String, String>) -> Vec<(usize, String)> {
    // How many times `super` leads from the file's module to the crate.
    let folders = path.split('/').count() - 1;
    let depth = if path.ends_with("/mod.rs") { folders } else { folders + 1 };
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let start = at;
        at += 1;
        let follows_path = start > 0 && tokens[start - 1].text == "::";
        if follows_path {
            continue;
        }
        let mut rest = &tokens[start..];
        match tokens[start].text.as_str() {
            "crate" => rest = &rest[1..],
            "super" => {
                let mut ups = 1;
                rest = &rest[1..];
                while let [colons, up, ..] = rest
                    && colons.text == "::"
                    && up.text == "super"
                {
                    ups += 1;
                    rest = &rest[2..];
                }
                if ups != depth {
                    continue;
                }
            }
            _ => continue,
        }
        let Some(Token { text, .. }) = rest.first() else { continue };
        if text != "::" {
            continue;
        }
        for Leaf { line, path, .. } in use_tree(&rest[1..]) {
            let Some(first) = path.first() else { continue };
            let room = exports.get(first).unwrap_or(first);
            if ROOMS.iter().any(|(name, _)| name == room) {
                found.push((line, room.clone()));
            }
        }
    }
    found
}

fn impurities(path: &str, tokens: &[Token]) -> Vec<String> {
    let tests = ["#", "[", "cfg", "(", "test", ")", "]"];
    let starts_tests = |window: &[Token]| window.iter().map(|token| token.text.as_str()).eq(tests);
    let is_test_file = path.ends_with("tests.rs") || path.contains("/tests/");
    let code = tokens.windows(tests.len()).position(starts_tests).unwrap_or(tokens.len());
    let code = if is_test_file { 0 } else { code };
    let mut found: Vec<(usize, String)> = Vec::new();
    for at in 0..tokens.len() {
        let rules = IMPURE.iter().chain(NOT_IN_CODE.iter().filter(|_| at < code));
        // `use std::{fs, io}` is a tree; anything else is a path, which is a tree without branches.
        let starts_path = at == 0 || tokens[at - 1].text != "::";
        if !starts_path || !tokens[at].is_name() {
            continue;
        }
        for Leaf { line, path: names, .. } in use_tree(&tokens[at..]) {
            for rule in rules.clone() {
                let named = names.windows(rule.len()).any(|window| window.iter().eq(rule.iter()));
                if named && !found.iter().any(|(other, _)| *other == line) {
                    found.push((line, rule.join("::")));
                }
            }
        }
    }
    found.iter().map(|(line, what)| format!("src/{path}:{line}: a pure room may not use {what}")).collect()
}

/// One end of a tree of paths: `a::b::c as d`.
struct Leaf {
    line: usize,
    path: Vec<String>,
    alias: Option<String>,
}

/// The ends of a tree such as `a::{b, c::{d, self}} as e`, which the tokens begin with.
fn use_tree(tokens: &[Token]) -> Vec<Leaf> {
    let mut found = Vec::new();
    // For each open group the path before it.
    let mut groups: Vec<Vec<String>> = Vec::new();
    let (mut path, mut alias) = (Vec::new(), None);
    let mut line = tokens.first().map_or(0, |token| token.line);
    let mut expects_name = true;
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).map_or("", |before| tokens[before].text.as_str());
        match token.text.as_str() {
            "::" => expects_name = true,
            "{" if expects_name => groups.push(path.clone()),
            "," | "}" if !groups.is_empty() => {
                let group = groups.last().cloned().unwrap_or_default();
                if path.len() > group.len() {
                    found.push(Leaf { line, path, alias: alias.take() });
                }
                if token.text == "}" {
                    groups.pop();
                }
                // Behind a group nothing of it is left to tell: as if its own path had just been told.
                path = groups.last().cloned().unwrap_or_default();
                if groups.is_empty() {
                    return found;
                }
                expects_name = true;
            }
            "as" => {}
            "*" if expects_name => expects_name = false,
            _ if !token.is_name() => break,
            name if before == "as" => alias = Some(name.to_owned()),
            _ if !expects_name => break,
            name => {
                line = token.line;
                path.push(name.to_owned());
                expects_name = false;
            }
        }
    }
    if !path.is_empty() {
        found.push(Leaf { line, path, alias });
    }
    found
}

#[derive(Debug, Clone)]
struct Token {
    line: usize,
    text: String,
}

impl Token {
    fn is_name(&self) -> bool {
        self.text.chars().all(|c| c.is_alphanumeric() || c == '_')
    }
}

/// Names, `::` and single signs; no comments, strings or characters.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut found: Vec<Token> = Vec::new();
    let (mut at, mut line) = (0, 1);
    let skip = |from: usize, to: usize, line: &mut usize| {
        let to = to.min(chars.len());
        *line += chars[from..to].iter().filter(|c| **c == '\n').count();
        to
    };
    while at < chars.len() {
        let next = chars.get(at + 1).copied().unwrap_or(' ');
        match chars[at] {
            '/' if next == '/' => {
                let end = chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |length| at + length);
                at = skip(at, end, &mut line);
            }
            '/' if next == '*' => at = skip(at, end_of_comment(&chars, at), &mut line),
            '"' => at = skip(at, end_of_string(&chars, at + 1, '"'), &mut line),
            'r' if next == '"' || (next == '#' && !is_raw_name(&chars, at)) => {
                at = skip(at, end_of_raw_string(&chars, at + 1), &mut line);
            }
            // A character is closed after one sign, or is escaped; else it is a lifetime.
            '\'' if next == '\\' || chars.get(at + 2) == Some(&'\'') => {
                at = skip(at, end_of_string(&chars, at + 1, '\''), &mut line);
            }
            ':' if next == ':' => {
                found.push(Token { line, text: "::".to_owned() });
                at += 2;
            }
            sign if sign.is_alphanumeric() || sign == '_' => {
                let rest = chars[at..].iter();
                let name: String = rest.take_while(|c| c.is_alphanumeric() || **c == '_').collect();
                at += name.chars().count();
                let prefix = matches!(name.as_str(), "b" | "c" | "br" | "cr");
                if prefix && matches!(chars.get(at), Some('"' | '#')) && name.ends_with('r') {
                    at = skip(at, end_of_raw_string(&chars, at), &mut line);
                } else {
                    found.push(Token { line, text: name });
                }
            }
            sign => {
                if sign == '\n' {
                    line += 1;
                } else if !sign.is_whitespace() {
                    found.push(Token { line, text: sign.to_string() });
                }
                at += 1;
            }
        }
    }
    found
}

fn end_of_comment(chars: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 1),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 1),
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    at
}

fn end_of_string(chars: &[char], mut at: usize, quote: char) -> usize {
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// From the first `#` or quote on.
fn end_of_raw_string(chars: &[char], start: usize) -> usize {
    let hashes = chars[start..].iter().take_while(|c| **c == '#').count();
    let mut at = start + hashes + 1;
    while at < chars.len() {
        let closes = chars[at] == '"' && chars[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes;
        at += 1;
        if closes {
            return at + hashes;
        }
    }
    at
}

/// `r#name`.
fn is_raw_name(chars: &[char], at: usize) -> bool {
    chars.get(at + 2).is_some_and(|c| c.is_alphabetic() || *c == '_')
}

fn rust_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
