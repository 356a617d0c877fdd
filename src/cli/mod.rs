//! The `gusset` binary: its commands, how they are configured, what they print.
//!
//! Nothing in here knows the protocol; everything is done through the public face of the library.

mod config;
mod doctor;
mod failure;
mod home;
mod http;
mod identity;
mod listening;
mod manifests;
mod news;
mod nodes;
mod options;
mod output;
mod run;
mod stop;
mod tools;

use std::num::NonZero;
use std::process::ExitCode;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

pub use self::failure::{EXIT_CODES, Failure};
use crate::config::{DEFAULT_LOG, GivenCookie, Settings, Source};
use crate::proto::Cookie;

/// A real member of an Erlang/Elixir cluster that is not a BEAM.
#[derive(Debug, Parser)]
#[command(name = "gusset", version, about, after_help = after_help(), max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What to log to standard error, as for RUST_LOG (`info`, `gusset=debug` …).
    #[arg(long, global = true, env = "GUSSET_LOG", default_value = DEFAULT_LOG, value_name = "FILTER")]
    log: String,
    /// Log lines as JSON.
    #[arg(long, id = "log-json", global = true)]
    log_json: bool,
}

const EXAMPLES: &str = "\
Examples:
  gusset run                                        join the nodes of this machine
  gusset names                                      which nodes run on this machine?
  gusset ping app@myhost                            can I reach this one?
  gusset call app@myhost Elixir.Enum:sum '[1,2,3]'  run a function there
  gusset help run                                   everything about a command";

fn after_help() -> String {
    format!("{EXAMPLES}\n\n{EXIT_CODES}")
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Join the cluster and stay in it.
    #[command(after_help = run::EXAMPLES)]
    Run(Box<run::RunArgs>),
    /// Ask whether a node can be reached (`net_adm:ping`).
    #[command(after_help = tools::PING_EXAMPLES)]
    Ping(tools::PingArgs),
    /// List the nodes that an EPMD knows (`epmd -names`).
    #[command(after_help = tools::NAMES_EXAMPLES)]
    Names(tools::NamesArgs),
    /// Call a function on a node and print what it returns (`rpc:call`).
    #[command(after_help = tools::CALL_EXAMPLES)]
    Call(tools::CallArgs),
    /// Send a message to a registered process of a node.
    #[command(after_help = tools::SEND_EXAMPLES)]
    Send(tools::SendArgs),
    /// Say why a node cannot be reached or found, step by step.
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(Box<doctor::DoctorArgs>),
    /// Show what the configuration comes to, and what can be in it.
    #[command(after_help = config::EXAMPLES)]
    Config(Box<config::ConfigArgs>),
    /// Show who is connected, who is wanted and why not, as a running gusset sees it.
    #[command(after_help = nodes::EXAMPLES)]
    Nodes(nodes::NodesArgs),
    /// Print what Kubernetes needs to run gusset, filled in, for `kubectl apply -f -`.
    #[command(after_help = manifests::EXAMPLES)]
    Manifests(Box<manifests::ManifestsArgs>),
    /// Be an EPMD: the name server that nodes of this host register with.
    #[command(after_help = tools::EPMD_EXAMPLES)]
    Epmd(tools::EpmdArgs),
}

/// The cookie: an option counts before the environment, and both before the home folder.
#[derive(Debug, Args, Clone)]
#[command(next_help_heading = "Cookie")]
pub(crate) struct CookieArgs {
    /// The cookie. Others on this machine can see it in the list of processes: prefer a file.
    #[arg(long, env = "RELEASE_COOKIE", hide_env_values = true)]
    cookie: Option<String>,
    /// A file with the cookie. Without any it is ~/.erlang.cookie, which `gusset run` makes if it is missing.
    #[arg(long, env = "GUSSET_COOKIE_FILE", value_name = "FILE")]
    cookie_file: Option<std::path::PathBuf>,
    /// The cookie itself was in the environment.
    #[arg(skip)]
    from_environment: bool,
}

impl CookieArgs {
    /// Leaves one of the two: what was typed counts before what happens to be in the environment.
    fn settle(&mut self, matches: &ArgMatches) {
        let source = |id: &str| matches.value_source(id);
        self.from_environment = source("cookie") == Some(ValueSource::EnvVariable);
        if self.from_environment && source("cookie_file") == Some(ValueSource::CommandLine) {
            self.cookie = None;
        }
    }

    /// What was given, if anything.
    fn given(&self) -> Result<Option<GivenCookie>, Failure> {
        let Some(text) = &self.cookie else { return Ok(self.cookie_file.clone().map(GivenCookie::File)) };
        let source = if self.from_environment {
            Source::Variable("RELEASE_COOKIE".to_owned())
        } else {
            Source::Option("cookie")
        };
        let cookie = Cookie::new(text).map_err(|error| Failure::configuration(format!("{source}: {error}")))?;
        Ok(Some(GivenCookie::Text(cookie, source)))
    }
}

/// Where EPMD is.
#[derive(Debug, Args, Clone, Copy)]
#[command(next_help_heading = "Network")]
pub(crate) struct EpmdPortArgs {
    /// The port of EPMD, here and on other hosts.
    #[arg(long, env = "ERL_EPMD_PORT", default_value_t = 4369, value_name = "PORT",
          value_parser = clap::value_parser!(u16).range(1..))]
    epmd_port: u16,
}

/// The command line as clap sees it. A variable that is empty counts as one that is not set, as deployments leave
/// behind what they have no value for.
pub fn command() -> clap::Command {
    fn unless_empty(arg: Arg) -> Arg {
        let empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
        // clap cannot take a variable away again, but another one can stand in its place.
        if empty { arg.env(NEVER_SET).hide_env(true) } else { arg }
    }
    fn all_args(command: clap::Command) -> clap::Command {
        command.mut_args(unless_empty).mut_subcommands(all_args)
    }
    all_args(Cli::command())
}

/// The name of a variable that no system can have.
const NEVER_SET: &str = "=";

fn parse() -> Result<Cli, clap::Error> {
    let matches = command().try_get_matches()?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    let cookie = match &mut cli.command {
        Command::Ping(args) => Some(&mut args.peer.cookie),
        Command::Call(args) => Some(&mut args.peer.cookie),
        Command::Send(args) => Some(&mut args.peer.cookie),
        _ => None,
    };
    if let (Some(cookie), Some((_, matches))) = (cookie, matches.subcommand()) {
        cookie.settle(matches);
    }
    Ok(cli)
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    let cli = parse().unwrap_or_else(|error| error.exit());
    let runtime = match cli.command.runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("gusset: no threads to run on: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(cli.execute());
    // A look-up in the system's resolver cannot be stopped; nobody waits for it.
    runtime.shutdown_timeout(Duration::from_millis(200));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("gusset: {failure}");
            if let Some(advice) = failure.advice() {
                eprintln!("  {advice}");
            }
            ExitCode::from(failure.code())
        }
    }
}

impl Command {
    /// What answers others for a long time has a few threads; what asks once does it without starting any.
    fn runtime(&self) -> std::io::Result<Runtime> {
        if !matches!(self, Self::Run(_) | Self::Epmd(_)) {
            return Builder::new_current_thread().enable_all().build();
        }
        let mut builder = Builder::new_multi_thread();
        // Whoever sets tokio's own variable has his reasons.
        if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
            let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
            builder.worker_threads(cores.min(MOST_WORKERS));
        }
        builder.enable_all().build()
    }
}

/// A thread for each core of a large machine would do nothing but take memory: there is little to compute in here.
const MOST_WORKERS: usize = 4;

impl Cli {
    async fn execute(self) -> Result<(), Failure> {
        if !matches!(self.command, Command::Run(_) | Command::Doctor(_) | Command::Config(_)) {
            output::log(&self.log, self.log_json)?;
        }
        match self.command {
            Command::Run(args) => run::run(&args, configured(&args.settings)?).await,
            Command::Doctor(args) => doctor::doctor(&args, configured(&args.settings)?).await,
            Command::Config(args) => config::config(&args),
            Command::Ping(args) => tools::ping(args).await,
            Command::Names(args) => tools::names(args).await,
            Command::Call(args) => tools::call(args).await,
            Command::Send(args) => tools::send(args).await,
            Command::Nodes(args) => nodes::nodes(args).await,
            Command::Manifests(args) => manifests::manifests(&args),
            Command::Epmd(args) => tools::epmd(args).await,
        }
    }
}

/// The settled configuration; the log is written as it says.
fn configured(args: &options::SettingsArgs) -> Result<Settings, Failure> {
    let settings = args.settle()?;
    output::log(&settings.log.filter, settings.log.json)?;
    Ok(settings)
}
