//! A real name server: dnsmasq on a private port of loopback, over UDP and TCP.

use super::{LATER, Missing, PortLease, Program};
use rustix::process::Signal;
use std::{
    fmt::Write,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};
use tempfile::TempDir;
use tokio::process::Command;

/// Serves the domain `test`: what it does not know there does not exist.
#[derive(Debug)]
pub struct Dnsmasq {
    program: Program,
    port: PortLease,
    folder: TempDir,
    reads: usize,
}

impl Dnsmasq {
    /// Starts it with these lines of `/etc/hosts` style (`10.0.0.1 web.test`) and these further options.
    pub async fn start(hosts: &[&str], options: &[&str]) -> Result<Self, Missing> {
        Self::start_on(PortLease::new(), hosts, options).await
    }

    /// The same on a port that something else has listened on.
    pub async fn start_on(port: PortLease, hosts: &[&str], options: &[&str]) -> Result<Self, Missing> {
        let dnsmasq = executable()?;
        let folder = TempDir::new().expect("a temporary folder");
        std::fs::write(folder.path().join("hosts"), lines(hosts)).expect("a file of hosts");
        let mut command = Command::new(dnsmasq);
        command
            .arg(format!("--port={}", port.port()))
            .args(["--keep-in-foreground", "--conf-file=/dev/null", "--log-facility=-", "--pid-file="])
            .args(["--listen-address=127.0.0.1", "--bind-interfaces", "--no-resolv", "--no-hosts", "--local=/test/"])
            .arg(format!("--addn-hosts={}", folder.path().join("hosts").display()))
            .args(options);
        if rustix::process::getuid().is_root() {
            // It would become somebody who may not read the file of hosts.
            command.args(["--user=root", "--group=root"]);
        }
        let program = Program::start("dnsmasq", command).expect("dnsmasq starts");
        let mut server = Self { program, port, folder, reads: 0 };
        server.has_read_hosts().await;
        Ok(server)
    }

    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port.port()).into()
    }

    /// From now on it knows these hosts instead.
    pub async fn set_hosts(&mut self, hosts: &[&str]) {
        std::fs::write(self.folder.path().join("hosts"), lines(hosts)).expect("a file of hosts");
        assert!(self.program.signal(Signal::HUP), "dnsmasq runs");
        self.has_read_hosts().await;
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        self.program.output().text()
    }

    async fn has_read_hosts(&mut self) {
        self.reads += 1;
        let reads = self.reads;
        let log = self.program.output();
        let read = log.until("a reading of hosts", LATER, |log| (log.matches(NAMES).count() >= reads).then_some(()));
        read.await.unwrap_or_else(|error| panic!("{error}"));
    }
}

fn executable() -> Result<PathBuf, Missing> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian installs it where only root's PATH leads.
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join("dnsmasq")).find(|file| file.exists());
    found.ok_or_else(|| Missing("dnsmasq is not installed (Debian: apt-get install dnsmasq-base)".to_owned()))
}

fn lines(hosts: &[&str]) -> String {
    hosts.iter().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{line}");
        text
    })
}

/// It says so each time it has read the file: `read FILE - 3 names`.
const NAMES: &str = " names";
