//! The options of the command line that are made from the schema of the configuration, so that each stands in one
//! place only. clap shows their variables and defaults; it is the configuration that reads both.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::Failure;
use crate::config::{Environment, Form, Key, Options, Raw, Settings, Source, load, options};

/// Everything that can be configured, as it stands on the command line.
#[derive(Debug, Clone, Default)]
pub(crate) struct SettingsArgs {
    file: Option<(PathBuf, Source)>,
    values: Vec<(&'static str, Raw)>,
}

impl SettingsArgs {
    /// The settled configuration.
    pub(super) fn settle(&self) -> Result<Settings, Failure> {
        let options = Options { file: self.file.clone(), values: self.values.clone() };
        load(options, &Environment::of_process()).map_err(|wrong| match &wrong[..] {
            [one] => Failure::configuration(one),
            many => Failure::configuration(format!("the configuration is wrong\n  {}", many.join("\n  "))),
        })
    }
}

impl Args for SettingsArgs {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new(CONFIG)
            .long(CONFIG)
            .env("GUSSET_CONFIG")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("The configuration file. Without it ./gusset.toml, else /etc/gusset/gusset.toml, if it is there");
        let args = options().into_iter().filter(|(_, key)| !GLOBAL.contains(&key.option.unwrap_or_default()));
        command.arg(file).args(args.map(|(heading, key)| arg(key).help_heading(heading)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn arg(key: &'static Key) -> Arg {
    let name = key.option.unwrap_or_default();
    let arg = Arg::new(name).long(name).value_name(key.value).help(key.help.trim_end_matches('.'));
    let arg = match key.form {
        Form::List => arg.action(ArgAction::Append),
        Form::Flag => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Form::Text | Form::Number => arg,
    };
    let arg = match key.default {
        // A flag that is off unless somebody says otherwise goes without saying.
        Some(default) if key.form != Form::Flag || default != "false" => arg.default_value(default),
        _ => arg,
    };
    let arg = match key.variables.first() {
        Some(variable) => arg.env(variable).hide_env_values(true),
        None => arg,
    };
    if key.choices.is_empty() {
        return arg;
    }
    arg.value_parser(PossibleValuesParser::new(
        key.choices.iter().map(|(word, help)| PossibleValue::new(word).help(help)),
    ))
}

impl FromArgMatches for SettingsArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let file = matches.get_one::<PathBuf>(CONFIG).map(|path| {
            let source = match matches.value_source(CONFIG) {
                Some(ValueSource::EnvVariable) => Source::Variable("GUSSET_CONFIG".to_owned()),
                _ => Source::Option(CONFIG),
            };
            (path.clone(), source)
        });
        let names = options().into_iter().filter_map(|(_, key)| Some((key.option?, key.form)));
        let typed = names.filter(|(name, _)| matches.value_source(name) == Some(ValueSource::CommandLine));
        let values = typed.filter_map(|(name, form)| {
            let mut words = matches.get_raw(name)?.map(|word| Raw::Word(word.to_string_lossy().into_owned()));
            let raw = if form == Form::List { Raw::List(words.collect()) } else { words.next_back()? };
            Some((name, raw))
        });
        Ok(Self { file, values: values.collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

const CONFIG: &str = "config";
/// Every command has them, so they are made elsewhere, with these ids.
const GLOBAL: &[&str] = &["log", "log-json"];
