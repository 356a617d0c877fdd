//! A real `epmd` of one OTP release, on a private port of loopback.

use super::{NOT_INHERITED, Otp, PortLease, Program, SOON};
use std::net::Ipv4Addr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
};

/// The tag of `NAMES_REQ`, erts "Distribution Protocol".
const NAMES_REQ: u8 = 110;

#[derive(Debug)]
pub struct Epmd {
    otp: Otp,
    lease: PortLease,
    addresses: String,
    program: Option<Program>,
}

impl Epmd {
    /// Starts one on 127.0.0.1, and waits until it answers.
    pub async fn start(otp: &Otp) -> Self {
        Self::start_on(otp, &[]).await
    }

    /// As [`Epmd::start`], and also on these addresses of 127.0.0.0/8. (Every epmd listens on 127.0.0.1 too, so two
    /// cannot share a port of one machine.)
    pub async fn start_on(otp: &Otp, more: &[Ipv4Addr]) -> Self {
        let addresses = std::iter::once(Ipv4Addr::LOCALHOST).chain(more.iter().copied());
        let addresses = addresses.map(|address| address.to_string()).collect::<Vec<_>>().join(",");
        let mut epmd = Self { otp: otp.clone(), lease: PortLease::new(), addresses, program: None };
        epmd.restart().await;
        epmd
    }

    /// None that runs, for a test in which gusset is the EPMD: a port that is ours, and the questions that all
    /// EPMDs answer.
    pub fn reserved(otp: &Otp) -> Self {
        Self { otp: otp.clone(), lease: PortLease::new(), addresses: Ipv4Addr::LOCALHOST.to_string(), program: None }
    }

    pub fn port(&self) -> u16 {
        self.lease.port()
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.program.as_ref().map(Program::pid)
    }

    /// Kills it. The port stays reserved.
    pub async fn kill(&mut self) {
        if let Some(mut program) = self.program.take() {
            program.kill9().await;
        }
    }

    /// Starts it, on the same port as before, after ending the one that runs.
    pub async fn restart(&mut self) {
        self.kill().await;
        let mut command = Command::new(self.otp.program("epmd"));
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        command.env("ERL_EPMD_PORT", self.port().to_string()).env("ERL_EPMD_ADDRESS", &self.addresses);
        let program = self.program.insert(Program::start("epmd", command).expect("epmd starts"));
        let deadline = tokio::time::Instant::now() + SOON;
        // epmd says nothing when it is ready, so it is asked.
        while names(self.lease.port()).await.is_err() {
            let ended = program.status();
            assert!(ended.is_none(), "epmd ended with {ended:?}: {}", program.output().text());
            assert!(tokio::time::Instant::now() < deadline, "epmd does not answer: {}", program.output().text());
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// The registered names with their ports, as `epmd -names` has them.
    pub async fn names(&self) -> Vec<(String, u16)> {
        let names = super::within(SOON, "epmd's names", names(self.port())).await.expect("epmd answers");
        let entry = |line: &str| {
            let (name, port) = line.strip_prefix("name ")?.split_once(" at port ")?;
            Some((name.to_owned(), port.trim().parse().ok()?))
        };
        names.lines().filter_map(entry).collect()
    }
}

async fn names(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(&[0, 1, NAMES_REQ]).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    // The first four bytes repeat the port.
    Ok(String::from_utf8_lossy(answer.get(4..).unwrap_or_default()).into_owned())
}
