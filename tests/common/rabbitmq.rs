//! A real RabbitMQ, as `interop/otp-matrix rabbitmq` unpacks it, with an epmd, ports and folders of its own.

use super::{COOKIE, Epmd, LATER, Missing, NOT_INHERITED, Otp, PortLease, Program, SOON, otp, program::Output};
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;
use tokio::process::Command;

/// What it says when everything has started.
const READY: &str = "Server startup complete";
/// What its log may not have on our account.
const BAD_IN_LOG: &[&str] = &["[warning]", "[error]", "[critical]", "[alert]", "[emergency]", "crasher", "Invalid "];

/// One broker under a name of its own on 127.0.0.1, with the cookie of the fixtures. Dropping it kills it.
#[derive(Debug)]
pub struct RabbitMq {
    pub node_name: String,
    pub epmd: Epmd,
    program: Program,
    amqp: PortLease,
    /// How much it had written when it was ready.
    started: usize,
    _distribution: PortLease,
    _folder: TempDir,
}

impl RabbitMq {
    /// Starts it, and waits until it serves.
    pub async fn start() -> Result<Self, Missing> {
        // The one that it is packaged for.
        let otp: Otp = otp::get(25)?;
        let server = otp::root().join("rabbitmq/bin/rabbitmq-server");
        if !server.exists() {
            return Err(Missing(format!("there is no {} (run `make otp`)", server.display())));
        }
        let epmd = Epmd::start(&otp).await;
        let (amqp, distribution) = (PortLease::new(), PortLease::new());
        let node_name = format!("{}@127.0.0.1", super::unique("rabbit"));
        let folder = TempDir::new().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);

        let cookie = path(".erlang.cookie");
        std::fs::write(&cookie, COOKIE).expect("a cookie file");
        std::fs::set_permissions(&cookie, std::fs::Permissions::from_mode(0o400)).expect("its mode");
        let settings = format!("listeners.tcp.1 = 127.0.0.1:{}\n", amqp.port());
        std::fs::write(path("rabbitmq.conf"), settings).expect("its configuration");

        let mut command = Command::new(server);
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        // Settings of one that is installed here are none of this one's.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RABBITMQ_")) {
            command.env_remove(name);
        }
        command
            .current_dir(folder.path())
            .env("HOME", folder.path())
            .env("LC_ALL", "C.UTF-8")
            .env("ERL_EPMD_PORT", epmd.port().to_string())
            .env("RABBITMQ_NODENAME", &node_name)
            .env("RABBITMQ_USE_LONGNAME", "true")
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_CONFIG_FILE", path("rabbitmq"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", path("advanced"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", path("generated"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("plugins"))
            .env("RABBITMQ_BASE", path("base"))
            .env("RABBITMQ_MNESIA_BASE", path("mnesia"))
            .env("RABBITMQ_LOG_BASE", path("log"))
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_LOG", "info,-color")
            .env("RABBITMQ_DIST_PORT", distribution.port().to_string())
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}");
        let program = Program::start("rabbitmq-server", command).expect("RabbitMQ starts");
        let ready = program.output().line_with(READY, LATER).await;
        ready.unwrap_or_else(|error| panic!("RabbitMQ: {error}"));
        let started = program.output().text().len();
        Ok(Self { node_name, epmd, program, amqp, started, _distribution: distribution, _folder: folder })
    }

    /// The version that it said it starts in.
    pub fn version(&self) -> String {
        let text = self.output().text();
        let version = text.split("Starting RabbitMQ ").nth(1).and_then(|rest| rest.split(' ').next());
        version.expect("a line with its version").to_owned()
    }

    /// The port on which it serves AMQP.
    pub fn amqp_port(&self) -> u16 {
        self.amqp.port()
    }

    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// Output and log from the start on.
    pub fn output(&self) -> &Output {
        self.program.output()
    }

    /// Waits until its node monitor has written that `node` is `up`, or `down: …`. What was written before that
    /// line is then complete.
    pub async fn has_logged(&self, node: &str, state: &str) {
        let line = self.output().line_with(&format!("node '{node}' {state}"), SOON).await;
        line.unwrap_or_else(|error| panic!("RabbitMQ: {error}"));
    }

    /// Fails the test if it has ended, or has written a warning or worse since it was ready.
    #[track_caller]
    pub fn assert_undisturbed(&mut self) {
        let text = self.output().text();
        let ended = self.program.status();
        assert!(ended.is_none(), "RabbitMQ ended with {ended:?}:\n{text}");
        let log = &text[self.started..];
        if let Some(bad) = BAD_IN_LOG.iter().find(|bad| log.contains(**bad)) {
            panic!("the log of {} has {bad:?}:\n{log}", self.node_name);
        }
    }
}
