//! The `gusset` binary: its commands, how they are configured, what they print.
//!
//! Nothing in here knows the protocol; everything is done through the public face of the library.

mod failure;
mod home;
mod identity;
mod output;
mod run;
mod tools;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

pub use self::failure::{EXIT_CODES, Failure};

/// A node of an Erlang/Elixir cluster that is not a BEAM.
#[derive(Debug, Parser)]
#[command(name = "gusset", version, about, after_help = EXIT_CODES, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What to log to standard error, as for RUST_LOG (`warn`, `gusset=debug` …).
    #[arg(long, global = true, env = "GUSSET_LOG", default_value = DEFAULT_LOG, value_name = "FILTER")]
    log: String,
    /// Log lines as JSON.
    #[arg(long, global = true)]
    log_json: bool,
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
    /// Be an EPMD: the name server that nodes of this host register with.
    #[command(after_help = tools::EPMD_EXAMPLES)]
    Epmd(tools::EpmdArgs),
}

/// The cookie; the first that is there counts.
#[derive(Debug, Args, Clone)]
#[command(next_help_heading = "Cookie")]
pub(crate) struct CookieArgs {
    /// The cookie. Others on this machine can see it in the list of processes: prefer a file.
    #[arg(long, env = "RELEASE_COOKIE", hide_env_values = true)]
    cookie: Option<String>,
    /// A file with the cookie; without any, ~/.erlang.cookie, which is made if it is missing.
    #[arg(long, env = "GUSSET_COOKIE_FILE", value_name = "FILE")]
    cookie_file: Option<std::path::PathBuf>,
}

/// Where EPMD is.
#[derive(Debug, Args, Clone, Copy)]
pub(crate) struct EpmdPortArgs {
    /// The port of EPMD, here and on other hosts.
    #[arg(long, env = "ERL_EPMD_PORT", default_value_t = 4369, value_name = "PORT")]
    epmd_port: u16,
}

/// Warnings, but for those of discovery and of its Kubernetes client: `run` prints them as lines of its own.
const DEFAULT_LOG: &str = "warn,gusset::discovery::driver=error,kube_runtime=error";

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = output::log(&cli.log, cli.log_json) {
        eprintln!("gusset: --log: {error}");
        return ExitCode::from(2);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("gusset: no threads to run on: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match cli.command {
            Command::Run(args) => run::run(*args).await,
            Command::Ping(args) => tools::ping(args).await,
            Command::Names(args) => tools::names(args).await,
            Command::Call(args) => tools::call(args).await,
            Command::Send(args) => tools::send(args).await,
            Command::Epmd(args) => tools::epmd(args).await,
        }
    });
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
