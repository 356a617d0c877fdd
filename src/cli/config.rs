//! `gusset config`: what the configuration comes to, and what can be in it.

use clap::{Args, Subcommand};
use serde_json::json;

use super::options::SettingsArgs;
use super::output::Output;
use super::{Failure, home, identity};
use crate::config::{Settings, Shown, example, shown};

pub(super) const EXAMPLES: &str = "\
Examples:
  gusset config check                               every key, its value, and where it came from
  gusset config check --config gusset.toml --json
  gusset config example                             a gusset.toml with every key, to begin with

`check` takes the options and the environment of `gusset run` and starts nothing.";

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show what the configuration comes to, and where each value is from. Secrets are shown as hashes.
    Check(CheckArgs),
    /// Print a gusset.toml with every key and what it is for.
    Example,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Print a JSON object for each key and each warning.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(super) fn config(args: &ConfigArgs) -> Result<(), Failure> {
    match &args.command {
        ConfigCommand::Check(args) => check(args, &args.settings.settle()?),
        ConfigCommand::Example => {
            Output::new(false).text(|| example().trim_end().to_owned());
            Ok(())
        }
    }
}

/// Prints the configuration. What is wrong with it was told before this.
fn check(args: &CheckArgs, settings: &Settings) -> Result<(), Failure> {
    let output = Output::new(args.json);
    let name = identity::own_name(&settings.name)?;
    let file = settings.file().map(|path| path.display().to_string());
    output.line(
        || format!("# {name}, configured by {}", file.as_deref().unwrap_or("no file")),
        || json!({"node": name.as_str(), "file": file}),
    );
    let all = shown(settings);
    let width = all.iter().map(|it| it.key.len() + 3 + it.value.as_deref().unwrap_or_default().len());
    let width = width.filter(|width| *width <= WIDEST).max().unwrap_or_default();
    let mut section = "";
    for it in &all {
        if section != it.section {
            section = &it.section;
            output.text(|| format!("\n[{section}]"));
        }
        output.line(
            || line(it, width),
            || json!({"key": format!("{}.{}", it.section, it.key), "value": it.json, "source": it.source}),
        );
    }
    let warnings = warnings(settings);
    if !warnings.is_empty() {
        output.text(String::new);
    }
    for warning in warnings {
        output.line(|| format!("warn  {warning}"), || json!({ "warning": warning }));
    }
    Ok(())
}

fn line(shown: &Shown, width: usize) -> String {
    let Some(value) = &shown.value else { return format!("# {}", shown.key) };
    let entry = format!("{} = {value}", shown.key);
    if shown.source.is_empty() { entry } else { format!("{entry:<width$}  # {}", shown.source) }
}

fn warnings(settings: &Settings) -> Vec<String> {
    let mut warnings = settings.notes.clone();
    let in_file = |shown: &Shown| shown.json.get("sha256").is_some() && shown.source.contains(':');
    if let Some(path) = settings.file()
        && shown(settings).iter().any(in_file)
        && home::others_can_read(path)
    {
        warnings.push(format!(
            "{}: others can read it, and there is a secret in it: chmod 600, or give the secret in a file of its own",
            path.display()
        ));
    }
    warnings
}

/// What is longer does not push the sources of all others to the right.
const WIDEST: usize = 60;
