//! The Erlang/OTP releases that `interop/otp-matrix` has installed.

use super::{Missing, in_ci, skip};
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

/// The releases the project is held to: Debian 11, 12, 13 and the newest.
pub const RELEASES: [u32; 4] = [23, 25, 27, 29];

/// One installed release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Otp {
    /// The number, as in `erlang:system_info(otp_release)`.
    pub release: u32,
    bin: PathBuf,
}

impl Otp {
    /// The path of a program of this release: `erl`, `erlc`, `epmd`, `erl_call`, `escript`, `iex`, `elixir`, …
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(format!("{name}{}", self.release))
    }

    /// The folder with the modules of this release's Elixir, for the code path of a plain `erl`.
    pub fn elixir_code(&self) -> PathBuf {
        let print = "IO.write(Application.app_dir(:elixir, \"ebin\"))";
        let output = Command::new(self.program("elixir")).args(["-e", print]).output().expect("elixir runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "elixir{}: {said}{}", self.release, String::from_utf8_lossy(&output.stderr));
        PathBuf::from(said)
    }

    /// The folder with the modules of `interop/beam`, compiled by this release on first use.
    pub(super) fn fixture_code(&self) -> PathBuf {
        static COMPILING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = COMPILING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/beam");
        let sources = sources.read_dir().expect("the fixture's sources").map(|entry| entry.expect("a source").path());
        let mut sources: Vec<_> = sources.filter(|path| path.extension().is_some_and(|end| end == "erl")).collect();
        sources.sort();
        let age = |source: &PathBuf| {
            let modified = source.metadata().and_then(|data| data.modified()).expect("the age of a source");
            modified.duration_since(std::time::UNIX_EPOCH).map_or(0, |age| age.as_nanos())
        };
        let version = sources.iter().map(age).max().unwrap_or_default();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fixtures-{}-{version}", self.release));
        if folder.exists() {
            return folder;
        }
        // Other test programs may do the same at this moment: compile aside, then move into place as a whole.
        std::fs::create_dir_all(env!("CARGO_TARGET_TMPDIR")).expect("the folder for test files");
        let aside = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder");
        let output = Command::new(self.program("erlc"))
            .args(["+debug_info", "-o"])
            .arg(aside.path())
            .args(&sources)
            .env("HOME", aside.path())
            .output()
            .expect("erlc runs");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "erlc{}: {}", self.release, String::from_utf8_lossy(&said));
        if std::fs::rename(aside.path(), &folder).is_err() {
            assert!(folder.exists(), "{} cannot be made", folder.display());
        }
        folder
    }
}

/// The release with this number.
pub fn get(release: u32) -> Result<Otp, Missing> {
    let bin = folder();
    let otp = Otp { release, bin: bin.clone() };
    if otp.program("erl").exists() {
        return Ok(otp);
    }
    Err(Missing(format!(
        "OTP {release} is not in {} (run `make otp`, or set GUSSET_OTP_DIR to a folder with bin/erl{release})",
        bin.display()
    )))
}

/// Every release of [`RELEASES`] that is there, oldest first. Says which are not; with `CI` set all must be.
pub fn available() -> Vec<Otp> {
    let mut found = Vec::new();
    for release in RELEASES {
        match get(release) {
            Ok(otp) => found.push(otp),
            Err(missing) => skip(&missing),
        }
    }
    assert!(!in_ci() || found.len() == RELEASES.len(), "every OTP of the matrix where CI is set");
    found
}

fn folder() -> PathBuf {
    root().join("bin")
}

/// Where `interop/otp-matrix` installs.
pub(super) fn root() -> PathBuf {
    if let Some(folder) = env::var_os("GUSSET_OTP_DIR") {
        return PathBuf::from(folder);
    }
    let cache = match (env::var_os("XDG_CACHE_HOME"), env::var_os("HOME")) {
        (Some(cache), _) if !cache.is_empty() => PathBuf::from(cache),
        (_, Some(home)) => PathBuf::from(home).join(".cache"),
        _ => PathBuf::from("/nonexistent"),
    };
    cache.join("otp-matrix")
}
