//! docs/cli.md, README.md and `--help` say what is there, all of it, and nothing else.

use std::collections::BTreeSet;

use clap::Command;
use serde_json::Value;

const GUIDE: &str = include_str!("../../docs/cli.md");
const README: &str = include_str!("../../README.md");

/// The part of the guide under a heading.
fn section(heading: &str) -> &'static str {
    let start = GUIDE.find(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no section {heading:?}"));
    let rest = &GUIDE[start + 4..];
    rest.find("\n## ").map_or(rest, |end| &rest[..end])
}

/// The rows of the tables of a section, as cells.
fn rows(section: &str) -> Vec<Vec<&str>> {
    section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// The rows of the options of a section: option, variable, default.
fn documented(heading: &str) -> BTreeSet<(String, String, String)> {
    let code = |cell: &str| cell.trim_matches('`').split(['`', ' ', '[']).next().unwrap_or_default().to_owned();
    let rows = rows(section(heading));
    let options = rows.iter().filter(|cells| cells[0].starts_with("`--"));
    options.map(|cells| (code(cells[0]), code(cells[1]), code(cells[2]))).collect()
}

/// `--name`, variable and default of each option that a user can see.
fn options(command: &Command) -> BTreeSet<(String, String, String)> {
    let text = |value: &std::ffi::OsStr| value.to_string_lossy().into_owned();
    let visible = command.get_arguments().filter(|arg| !arg.is_hide_set() && !arg.is_global_set());
    visible
        .filter_map(|arg| {
            let flag = !arg.get_action().takes_values();
            let default = arg.get_default_values().iter().map(|value| text(value)).collect::<Vec<_>>().join(",");
            let default = if flag { String::new() } else { default };
            Some((format!("--{}", arg.get_long()?), arg.get_env().map(text).unwrap_or_default(), default))
        })
        .filter(|(long, ..)| long != "--help" && long != "--version")
        .collect()
}

#[test]
fn the_guide_has_every_option_with_its_variable_and_default() {
    let command = gusset::cli::command();
    let mut global = command.get_arguments().filter(|arg| arg.is_global_set()).filter_map(|arg| arg.get_long());
    assert!(global.all(|long| section("Every command").contains(&format!("`--{long}"))));
    for sub in command.get_subcommands() {
        let mut expected = documented(&format!("gusset {}", sub.get_name()));
        // What has subcommands has their options.
        let commands: Vec<&Command> = sub.get_subcommands().chain([sub]).collect();
        if commands.iter().any(|command| is_configured(command)) {
            expected.append(&mut documented("Settings"));
        }
        let there: BTreeSet<_> = commands.into_iter().flat_map(options).collect();
        assert_eq!(expected, there, "gusset {}", sub.get_name());
    }
}

/// Whether a command takes the settings.
fn is_configured(command: &Command) -> bool {
    command.get_arguments().any(|arg| arg.get_long() == Some("config"))
}

#[test]
fn the_guide_has_every_exit_code() {
    for line in gusset::cli::EXIT_CODES.lines().skip(1) {
        let (code, meaning) = line.trim().split_once("  ").or_else(|| line.trim().split_once(' ')).expect(line);
        let row = format!("| {code} | {}", meaning.trim());
        assert!(section("Exit codes").contains(&row), "{row:?} is not there");
    }
}

/// Each field of an event of `gusset run --json` stands in the guide, and the other way round.
pub(crate) fn fields_are_documented(event: &Value) {
    let kind = event["event"].as_str().expect("event");
    let rows = rows(section("JSON"));
    let row = rows.iter().find(|cells| cells[0] == format!("`{kind}`")).unwrap_or_else(|| panic!("no row {kind}"));
    let documented: BTreeSet<&str> =
        row[1].split('`').enumerate().filter(|(at, _)| at % 2 == 1).map(|(_, name)| name).collect();
    let there: BTreeSet<&str> =
        event.as_object().expect("an object").keys().map(String::as_str).filter(|key| *key != "event").collect();
    assert_eq!(documented, there, "{kind}");
}

#[test]
fn every_command_has_an_example_in_its_help() {
    for sub in gusset::cli::command().get_subcommands() {
        let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains(&format!("  gusset {}", sub.get_name())), "gusset {}", sub.get_name());
        assert!(
            help.lines().all(|line| line.chars().count() <= 100),
            "a line of the help of {} is too wide",
            sub.get_name()
        );
    }
}

#[test]
fn every_command_line_that_is_shown_is_one() {
    let command = gusset::cli::command();
    let mut lines: Vec<String> = Vec::new();
    for text in [GUIDE, README] {
        lines.extend(text.lines().filter_map(|line| line.strip_prefix("$ gusset ")).map(str::to_owned));
        lines.extend(
            text.lines().filter_map(|line| line.split_once(" cargo run --release -- ")).map(|(_, it)| it.into()),
        );
    }
    for help in command.get_subcommands().chain([&command]).filter_map(|command| command.get_after_help()) {
        let help = help.to_string();
        lines.extend(help.lines().filter_map(|line| line.split_once("  gusset ")).map(|(_, line)| line.to_owned()));
        lines.extend(help.lines().filter_map(|line| line.split_once("PORT=5000 gusset ")).map(|(_, it)| it.to_owned()));
    }
    assert!(lines.len() > 20, "{lines:?}");
    for line in lines {
        let line = line.trim_start_matches("gusset ");
        let parsed = command.clone().try_get_matches_from(["gusset".to_owned()].into_iter().chain(words(line)));
        let asked_for_help = line.starts_with("help");
        assert!(parsed.is_ok() || asked_for_help, "gusset {line}: {}", parsed.unwrap_err());
    }
}

/// The words of a line, as a shell splits them. A comment ends it, and so do a pipe, a file for the output, and two
/// spaces: behind them a help text explains.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = line.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\'' => quoted = !quoted,
            ' ' | '#' | '|' | '>' if !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                if char != ' ' || chars.peek() == Some(&' ') {
                    return words;
                }
            }
            other => word.push(other),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}
