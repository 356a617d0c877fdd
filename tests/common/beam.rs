//! A real BEAM node that evaluates what a test asks (its own side is `interop/beam/gusset_fixture.erl`).

use super::{Epmd, LATER, NOT_INHERITED, Otp, Program, SOON, unique};
use rustix::process::Signal;
use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    process::ExitStatus,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    process::Command,
    sync::oneshot,
};

/// The cookie of fixtures that are given none.
pub const COOKIE: &str = "fixture_cookie";
/// Printed answers are for people to read; one above this length is a mistake in a test.
const MAX_ANSWER: usize = 256 << 20;

/// A node with a fixed port still registers with an epmd that it can reach, so it must reach none.
const NOBODY_LISTENS: u16 = 1;

/// How to start a node. `BeamOptions::default()` is a visible node with a long name on 127.0.0.1.
#[derive(Debug, Clone)]
pub struct BeamOptions {
    name: String,
    short: bool,
    cookie: String,
    hidden: bool,
    address: Ipv4Addr,
    fixed_port: Option<u16>,
    hosts: Vec<(IpAddr, String)>,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl Default for BeamOptions {
    fn default() -> Self {
        Self {
            name: unique("beam"),
            short: false,
            cookie: COOKIE.to_owned(),
            hidden: false,
            address: Ipv4Addr::LOCALHOST,
            fixed_port: None,
            hosts: Vec::new(),
            args: Vec::new(),
            env: Vec::new(),
        }
    }
}

impl BeamOptions {
    /// With this name; without `@` the host part is the address, or `localhost` for a short name. An `undefined`
    /// asks the first visible peer for a name.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    pub fn short(mut self) -> Self {
        self.short = true;
        self
    }

    pub fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    pub fn cookie(mut self, cookie: &str) -> Self {
        self.cookie = cookie.to_owned();
        self
    }

    /// Listens on this address of 127.0.0.0/8, and has it as host part.
    pub fn address(mut self, address: Ipv4Addr) -> Self {
        self.address = address;
        self
    }

    /// No epmd at all: listens on this port, and looks for every other node on it (`-erl_epmd_port`).
    pub fn fixed_port(mut self, port: u16) -> Self {
        self.fixed_port = Some(port);
        self
    }

    /// A host name that this node can look up (once given, it asks nothing but these).
    pub fn host(mut self, address: impl Into<IpAddr>, name: &str) -> Self {
        self.hosts.push((address.into(), name.to_owned()));
        self
    }

    /// A parameter of the application kernel, as an Erlang term: `.kernel("net_ticktime", "4")`.
    pub fn kernel(self, parameter: &str, term: &str) -> Self {
        self.args(["-kernel", parameter, term])
    }

    pub fn args<const N: usize>(mut self, args: [&str; N]) -> Self {
        self.args.extend(args.map(str::to_owned));
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn is_short(&self) -> bool {
        self.short
    }

    pub(super) fn cookie_text(&self) -> &str {
        &self.cookie
    }

    pub(super) fn full_name(&self) -> String {
        if self.name.contains('@') || self.name == "undefined" {
            self.name.clone()
        } else if self.short {
            format!("{}@localhost", self.name)
        } else {
            format!("{}@{}", self.name, self.address)
        }
    }

    /// The emulator's flags but for name and cookie.
    pub(super) fn flags(&self, home: &Path) -> io::Result<Vec<String>> {
        let [a, b, c, d] = self.address.octets();
        let mut flags: Vec<String> = Vec::new();
        let mut flag = |words: &[&str]| flags.extend(words.iter().map(|word| (*word).to_owned()));
        // Schedulers that do not spin: tests share few cores.
        flag(&["+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none", "-start_epmd", "false"]);
        // Of two values of a parameter, Erlang takes the first.
        if !self.args.iter().any(|word| word == "inet_dist_use_interface") {
            flag(&["-kernel", "inet_dist_use_interface", &format!("{{{a},{b},{c},{d}}}")]);
        }
        if self.hidden {
            flag(&["-hidden"]);
        }
        if let Some(port) = self.fixed_port {
            flag(&["-erl_epmd_port", &port.to_string()]);
        }
        if !self.hosts.is_empty() {
            let file = home.join("inetrc");
            let mut text = "{lookup, [file]}.\n{file, hosts, \"/dev/null\"}.\n".to_owned();
            for (address, name) in &self.hosts {
                text.push_str(&format!("{{host, {}, [\"{name}\"]}}.\n", erlang_address(*address)));
            }
            std::fs::write(&file, text)?;
            flag(&["-kernel", "inetrc", &format!("\"{}\"", file.display())]);
        }
        flags.extend(self.args.iter().cloned());
        Ok(flags)
    }

    /// The environment in which a program of this node runs.
    pub(super) fn environment(&self, command: &mut Command, epmd: &Epmd, home: &Path) {
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        command
            .current_dir(home)
            .env("HOME", home)
            .env("LC_ALL", "C.UTF-8")
            .env("ERL_EPMD_PORT", self.fixed_port.map_or(epmd.port(), |_| NOBODY_LISTENS).to_string())
            .env("ERL_CRASH_DUMP_SECONDS", "0")
            .envs(self.env.iter().map(|(name, value)| (name, value)));
    }
}

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BeamError {
    /// It does not parse, or raised: `{Class, Reason}` as printed.
    #[error("{source_text} raised {raised}")]
    Raised { source_text: String, raised: String },
    #[error("{source_text} has no value within {limit:?}")]
    Late { source_text: String, limit: Duration },
    #[error("the node ended before it answered {source_text}")]
    Ended { source_text: String },
}

/// A running node. Dropping it kills it.
#[derive(Debug)]
pub struct Beam {
    pub otp: Otp,
    pub node_name: String,
    pub cookie: String,
    program: Program,
    control: tokio::sync::Mutex<OwnedWriteHalf>,
    pending: Pending,
    next_id: AtomicU64,
    _home: TempDir,
}

/// Who waits for the answer with which id; `None` once there will be no more.
type Pending = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Result<String, String>>>>>>;

impl Beam {
    /// Starts a node that registers with `epmd`; fails the test, with the node's output, if it does not come up.
    pub async fn start(otp: &Otp, epmd: &Epmd, options: BeamOptions) -> Self {
        match Self::try_start(otp, epmd, options).await {
            Ok(beam) => beam,
            Err(output) => panic!("a node of OTP {} does not start: {output}", otp.release),
        }
    }

    /// As [`Beam::start`]; the error is what the node wrote before it gave up.
    pub async fn try_start(otp: &Otp, epmd: &Epmd, options: BeamOptions) -> Result<Self, String> {
        let code = otp.fixture_code();
        let home = TempDir::new().map_err(|error| error.to_string())?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|error| error.to_string())?;
        let control_port = listener.local_addr().map_err(|error| error.to_string())?.port();

        let mut command = Command::new(otp.program("erl"));
        options.environment(&mut command, epmd, home.path());
        command
            .env("GUSSET_CONTROL_PORT", control_port.to_string())
            .args(["-noinput", "+pc", "unicode", if options.short { "-sname" } else { "-name" }])
            .args([&options.full_name(), "-setcookie", &options.cookie, "-pa"])
            .arg(code)
            .args(options.flags(home.path()).map_err(|error| error.to_string())?)
            .args(["-s", "gusset_fixture", "start"]);
        let mut program = Program::start("erl", command).map_err(|error| error.to_string())?;

        let output = program.output().clone();
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.map_err(|error| error.to_string())?.0,
            _ = program.wait(LATER) => {
                // Everything it said is worth more than the status.
                let _ = output.until("more", SOON, |_| None::<()>).await;
                return Err(output.text());
            }
        };
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let (reader, writer) = stream.into_split();
        let (up, node_name) = oneshot::channel();
        let pending: Pending = Arc::new(Mutex::new(Some(HashMap::from([(0, up)]))));
        tokio::spawn(read_answers(reader, Arc::clone(&pending)));
        let node_name = super::within(LATER, "a node's own name", node_name).await;
        let node_name = node_name.map_err(|_| output.text())??;
        Ok(Self {
            otp: otp.clone(),
            node_name: node_name.trim_matches('\'').to_owned(),
            cookie: options.cookie,
            program,
            control: tokio::sync::Mutex::new(writer),
            pending,
            next_id: AtomicU64::new(1),
            _home: home,
        })
    }

    /// The node name as an Erlang atom.
    pub fn atom(&self) -> String {
        format!("'{}'", self.node_name)
    }

    /// The value of Erlang expressions (`"A = 1, A + 1."`, the full stop may be left out), printed by `~0tp`,
    /// evaluated in a process of their own.
    pub async fn eval(&self, source: &str) -> Result<String, BeamError> {
        self.eval_within(source, SOON).await
    }

    /// As [`Beam::eval`] with an own time limit.
    pub async fn eval_within(&self, source: &str, limit: Duration) -> Result<String, BeamError> {
        self.request("", source, limit).await
    }

    /// Evaluates in the process `session`, which lives on and keeps variables, links and mailbox, as a shell does.
    pub async fn eval_in(&self, session: &str, source: &str) -> Result<String, BeamError> {
        self.request(session, source, SOON).await
    }

    /// As [`Beam::eval`]; fails the test where there is no value.
    #[track_caller]
    pub fn value(&self, source: &str) -> impl Future<Output = String> {
        let caller = std::panic::Location::caller();
        async move {
            match self.eval(source).await {
                Ok(value) => value,
                Err(error) => panic!("{caller}: {error}\nthe node's output:\n{}", self.output().text()),
            }
        }
    }

    /// As [`Beam::value`], for `true` and `false`.
    pub async fn eval_bool(&self, source: &str) -> bool {
        match self.value(source).await.as_str() {
            "true" => true,
            "false" => false,
            other => panic!("{source} is {other}, not a boolean"),
        }
    }

    /// As [`Beam::value`], for integers.
    pub async fn eval_int(&self, source: &str) -> i64 {
        let value = self.value(source).await;
        value.parse().unwrap_or_else(|_| panic!("{source} is {value}, not an integer of 64 bits"))
    }

    /// Waits, polling inside the BEAM, until `expression` is `true`; the error names its last value.
    pub async fn wait_until(&self, expression: &str, limit: Duration) -> Result<(), BeamError> {
        let expression = expression.trim_end().trim_end_matches('.');
        let source = format!("gusset_fixture:wait_until(fun() -> {expression} end, {})", limit.as_millis());
        self.eval_within(&source, limit + SOON).await.map(drop)
    }

    /// Output and log as captured so far.
    pub fn output(&self) -> &super::program::Output {
        self.program.output()
    }

    /// The whole log: returns once everything that was logged before this call has been captured.
    pub async fn settled_log(&self) -> String {
        let marker = unique("log_flushed");
        self.value(&format!("gusset_fixture:flush_log(\"{marker}\")")).await;
        let cut = |text: &str| text.split_once(marker.as_str()).map(|(log, _)| log.to_owned());
        let log = self.output().until("the end of the log", SOON, cut).await;
        log.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Fails the test if anything at level `error` or above was logged (crash reports, messages of the distribution
    /// that the emulator found invalid, …).
    #[track_caller]
    pub fn assert_clean_log(&self) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let log = self.settled_log().await;
            if let Some(bad) = BAD_IN_LOG.iter().find(|bad| log.contains(**bad)) {
                panic!("{caller}: the log of {} has {bad:?}:\n{log}", self.node_name);
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// Freezes the node: its kernel still accepts bytes, it answers nothing.
    pub fn sigstop(&mut self) {
        assert!(self.program.signal(Signal::STOP), "{} runs", self.node_name);
    }

    pub fn sigcont(&mut self) {
        assert!(self.program.signal(Signal::CONT), "{} runs", self.node_name);
    }

    /// Kills it as a crash of the machine would, but with its sockets closed by the operating system.
    pub async fn kill9(&mut self) {
        self.program.kill9().await;
    }

    /// Stops it in order (`init:stop`), so that it says goodbye to its peers.
    pub async fn stop(&mut self) -> ExitStatus {
        self.value("init:stop()").await;
        self.program.wait(LATER).await
    }

    async fn request(&self, session: &str, source: &str, limit: Duration) -> Result<String, BeamError> {
        let source_text = source.to_owned();
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        match self.pending.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(pending) => pending.insert(id, sender),
            None => return Err(BeamError::Ended { source_text }),
        };
        let full_stop = if source.trim_end().ends_with('.') { "" } else { "." };
        let text = format!("{id}\n{session}\n{source}{full_stop}");
        let exchange = async {
            let mut frame = u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
            frame.extend_from_slice(text.as_bytes());
            // Cut off half-way a frame would spoil the next: a failed write ends the node's use, which `Ended` says.
            let mut control = self.control.lock().await;
            let written = control.write_all(&frame).await;
            drop(control);
            if written.is_err() { None } else { answer.await.ok() }
        };
        match tokio::time::timeout(limit, exchange).await {
            Ok(Some(Ok(value))) => Ok(value),
            Ok(Some(Err(raised))) => Err(BeamError::Raised { source_text, raised }),
            Ok(None) => Err(BeamError::Ended { source_text }),
            Err(_) => Err(BeamError::Late { source_text, limit }),
        }
    }
}

/// What no log of a BEAM may have after a test with us, unless the test is about just that.
const BAD_IN_LOG: &[&str] = &[
    "Invalid distribution message",
    "Invalid control message",
    "=ERROR REPORT",
    "=CRASH REPORT",
    "=SUPERVISOR REPORT",
    "Error in process",
    "Generic server ",
    "got unexpected",
    "overlapping partitions",
];

async fn read_answers(mut reader: OwnedReadHalf, pending: Pending) {
    while let Ok((id, answer)) = read_answer(&mut reader).await {
        let waiting = pending.lock().unwrap_or_else(PoisonError::into_inner).as_mut().and_then(|all| all.remove(&id));
        if let Some(waiting) = waiting {
            let _ = waiting.send(answer);
        }
    }
    // Whoever waits learns it by the sender that is dropped here.
    pending.lock().unwrap_or_else(PoisonError::into_inner).take();
}

async fn read_answer(reader: &mut OwnedReadHalf) -> io::Result<(u64, Result<String, String>)> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let length = reader.read_u32().await? as usize;
    if length > MAX_ANSWER {
        return Err(bad("an answer that is too long"));
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).await?;
    let text = String::from_utf8_lossy(&bytes);
    let mut parts = text.splitn(3, '\n');
    let (Some(id), Some(status), Some(printed)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(bad("an answer of other than three parts"));
    };
    let id = id.parse().map_err(|_| bad("an answer without id"))?;
    Ok((id, if status == "ok" { Ok(printed.to_owned()) } else { Err(printed.to_owned()) }))
}

fn erlang_address(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("{:?}", v4.octets()).replace('[', "{").replace(']', "}"),
        IpAddr::V6(v6) => format!("{:?}", v6.segments()).replace('[', "{").replace(']', "}"),
    }
}
