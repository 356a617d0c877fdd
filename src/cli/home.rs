//! The cookie: given, in a file, or in `~/.erlang.cookie`, which is made as OTP makes it.

use std::fmt;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::Failure;
use crate::config::{GivenCookie, Source};
use crate::proto::Cookie;

/// A cookie, and where it came from.
#[derive(Debug)]
pub(crate) struct FoundCookie {
    pub(crate) cookie: Cookie,
    pub(crate) origin: Origin,
}

/// Where a cookie came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It was given itself: by an option, a variable, or in the configuration file.
    Given(Source),
    /// In a file that was named.
    File(PathBuf),
    /// Where a BEAM of the same user looks too.
    Home(PathBuf),
    /// There, made by us in this moment.
    HomeMade(PathBuf),
}

impl Origin {
    /// How `iex` gets the same cookie, as a part of a shell's command line.
    pub(crate) fn iex_option(&self) -> String {
        match self {
            Self::Given(Source::Variable(name)) => format!(" --cookie \"${name}\""),
            Self::Given(_) => " --cookie COOKIE".to_owned(),
            Self::File(path) => format!(" --cookie \"$(cat '{}')\"", path.display()),
            Self::Home(_) | Self::HomeMade(_) => String::new(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(source) => source.fmt(f),
            Self::File(path) | Self::Home(path) => f.write_str(&short(path)),
            Self::HomeMade(path) => write!(f, "{}, made now", short(path)),
        }
    }
}

/// What to do where nobody has left a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfMissing {
    /// A node that starts makes one, as a BEAM does.
    Make,
    /// One that was made now can be the cookie of no node that runs.
    Fail,
}

/// The cookie that was given, or that the home directory has.
pub(crate) fn cookie(given: Option<&GivenCookie>, if_missing: IfMissing) -> Result<FoundCookie, Failure> {
    match given {
        Some(GivenCookie::Text(cookie, source)) => {
            return Ok(FoundCookie { cookie: cookie.clone(), origin: Origin::Given(source.clone()) });
        }
        Some(GivenCookie::File(path)) => {
            return Ok(FoundCookie { cookie: read(path)?, origin: Origin::File(path.clone()) });
        }
        None => {}
    }
    let candidates = home_cookies();
    let Some(first) = candidates.first() else {
        return Err(Failure::configuration("no cookie: HOME is not set")
            .advise("give it with --cookie-file FILE or RELEASE_COOKIE"));
    };
    if let Some(path) = candidates.iter().find(|path| path.exists()) {
        warn_if_open(path);
        return Ok(FoundCookie { cookie: read(path)?, origin: Origin::Home(path.clone()) });
    }
    if if_missing == IfMissing::Fail {
        return Err(Failure::configuration(format!("no cookie: there is no {}", short(first)))
            .advise("give that of the node with --cookie-file FILE or RELEASE_COOKIE"));
    }
    make(first)?;
    Ok(FoundCookie { cookie: read(first)?, origin: Origin::HomeMade(first.clone()) })
}

/// A path as people write it.
fn short(path: &Path) -> String {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    match home.and_then(|home| path.strip_prefix(home).ok().map(Path::to_owned)) {
        Some(rest) => format!("~/{}", rest.display()),
        None => path.display().to_string(),
    }
}

/// A BEAM of this user does not start with a cookie that others can read; we do.
fn warn_if_open(path: &Path) {
    if others_can_read(path) {
        let path = path.display();
        tracing::warn!(%path, "others can read the cookie, so erl and iex refuse it: chmod 400");
    }
}

/// True where a file can be read by more than its owner.
pub(crate) fn others_can_read(path: &Path) -> bool {
    #[cfg(unix)]
    {
        let mode = std::fs::metadata(path).map(|data| std::os::unix::fs::PermissionsExt::mode(&data.permissions()));
        mode.is_ok_and(|mode| mode & 0o077 != 0)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

/// Where OTP looks: `~/.erlang.cookie`, and the configuration directory from OTP 25 on.
fn home_cookies() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let config = std::env::var_os("XDG_CONFIG_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let config = config.or_else(|| home.as_ref().map(|home| home.join(".config")));
    let mut paths = Vec::new();
    paths.extend(home.map(|home| home.join(".erlang.cookie")));
    paths.extend(config.map(|config| config.join("erlang").join(".erlang.cookie")));
    paths
}

fn read(path: &Path) -> Result<Cookie, Failure> {
    Cookie::from_file(path).map_err(|error| Failure::configuration(error.to_string()))
}

/// Makes a cookie file as `auth.erl` does: twenty capital letters, readable by the owner only.
fn make(path: &Path) -> Result<(), Failure> {
    let failure = |error: std::io::Error| {
        Failure::configuration(format!("cannot make the cookie file {}: {error}", path.display()))
    };
    let letters = new_cookie()?;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o400);
    match options.open(path) {
        Ok(mut file) => file.write_all(letters.as_bytes()).map_err(failure),
        // Another node made it in this moment: then that is the cookie.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failure(error)),
    }
}

/// Twenty capital letters.
pub(super) fn new_cookie() -> Result<String, Failure> {
    let mut random = [0; COOKIE_LETTERS];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::configuration(format!("no random numbers for a cookie: {error}")))?;
    Ok(random.iter().map(|byte| char::from(b'A' + byte % 26)).collect())
}

const COOKIE_LETTERS: usize = 20;
