//! Cookies from files.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::proto::{Cookie, CookieError, MAX_COOKIE_LEN};

impl Cookie {
    /// Reads a cookie from a file, as BEAM reads `~/.erlang.cookie`. Unlike BEAM this takes files that others
    /// can read: the secrets that containers mount are like that.
    ///
    /// # Errors
    /// [`CookieFileError`] names the file and never its contents.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, CookieFileError> {
        let path = path.as_ref();
        let unreadable = |source| CookieFileError::Unreadable { path: path.to_owned(), source };
        let mut contents = Vec::new();
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(MAX_COOKIE_FILE).read_to_end(&mut contents).map_err(unreadable)?;
        Self::from_file_contents(&contents)
            .map_err(|source| CookieFileError::Contents { path: path.to_owned(), source })
    }
}

/// Why a file gave no cookie.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CookieFileError {
    /// It cannot be read.
    #[error("cannot read the cookie file {}: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is in it is no cookie.
    #[error("cookie file {}: {source}", .path.display())]
    Contents {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: CookieError,
    },
}

/// How much of the file is read: a cookie, and room for line ends.
const MAX_COOKIE_FILE: u64 = 4 * MAX_COOKIE_LEN as u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gives_its_cookie_and_an_error_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cookie");
        assert!(Cookie::from_file(&path).unwrap_err().to_string().contains("cookie"));
        std::fs::write(&path, "secret\n").unwrap();
        assert_eq!(Cookie::from_file(&path).unwrap(), Cookie::new("secret").unwrap());
        std::fs::write(&path, "hush\u{1}").unwrap();
        let error = Cookie::from_file(&path).unwrap_err().to_string();
        assert!(error.contains("cookie file") && !error.contains("hush"), "{error}");
    }
}
