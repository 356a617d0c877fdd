//! The cookie: given, in a file, or in `~/.erlang.cookie`, which is made as OTP makes it.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::{CookieArgs, Failure};
use crate::proto::Cookie;

/// A cookie, and where it came from.
#[derive(Debug)]
pub(crate) struct FoundCookie {
    pub(crate) cookie: Cookie,
    pub(crate) origin: String,
    /// It was made by this call: nobody else has it yet.
    pub(crate) made: bool,
}

impl FoundCookie {
    fn there(cookie: Cookie, origin: impl Into<String>) -> Self {
        Self { cookie, origin: origin.into(), made: false }
    }
}

/// The cookie that the options, the environment or the home directory give.
pub(crate) fn cookie(args: &CookieArgs) -> Result<FoundCookie, Failure> {
    if let Some(text) = &args.cookie {
        let cookie = Cookie::new(text).map_err(|error| Failure::configuration(format!("the cookie: {error}")))?;
        return Ok(FoundCookie::there(cookie, "--cookie or RELEASE_COOKIE"));
    }
    if let Some(path) = &args.cookie_file {
        return Ok(FoundCookie::there(read(path)?, path.display().to_string()));
    }
    let candidates = home_cookies();
    let Some(first) = candidates.first() else {
        return Err(Failure::configuration("no cookie: set RELEASE_COOKIE, give --cookie-file, or set HOME"));
    };
    for path in &candidates {
        if path.exists() {
            return Ok(FoundCookie::there(read(path)?, path.display().to_string()));
        }
    }
    make(first)?;
    Ok(FoundCookie { cookie: read(first)?, origin: format!("{} (made now)", first.display()), made: true })
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
    let mut random = [0; COOKIE_LETTERS];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::configuration(format!("no random numbers for a cookie: {error}")))?;
    let letters: String = random.iter().map(|byte| char::from(b'A' + byte % 26)).collect();
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

const COOKIE_LETTERS: usize = 20;
