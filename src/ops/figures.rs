//! What the operating system counts about this process, where `/proc` is there to ask.

use std::fs;

use serde::{Deserialize, Serialize};

/// Figures of this process; each is `None` where it cannot be had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Figures {
    /// Memory that is in RAM, in bytes.
    pub resident_bytes: Option<u64>,
    /// Address space, in bytes.
    pub virtual_bytes: Option<u64>,
    /// Processor time, of the user and of the system, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Open files and sockets.
    pub open_fds: Option<u64>,
    /// How many there may be.
    pub max_fds: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// When the process started, in seconds since 1970.
    pub started_at: Option<f64>,
}

impl Figures {
    /// The figures of now.
    pub fn now() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (status, stat, limits) = (read("/proc/self/status"), read("/proc/self/stat"), read("/proc/self/limits"));
        let stat = Stat::parse(&stat);
        let booted =
            read("/proc/stat").lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
        Self {
            resident_bytes: kib(&status, "VmRSS:"),
            virtual_bytes: kib(&status, "VmSize:"),
            threads: field(&status, "Threads:").and_then(|text| text.parse().ok()),
            cpu_seconds: stat.as_ref().map(|stat| stat.cpu_ticks as f64 / TICKS_PER_SECOND),
            started_at: stat.zip(booted).map(|(stat, booted)| booted + stat.start_ticks as f64 / TICKS_PER_SECOND),
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64),
            max_fds: field(&limits, "Max open files").and_then(|text| text.parse().ok()),
        }
    }
}

/// What stands in `/proc/self/stat` behind the name of the program, which may have blanks and brackets.
struct Stat {
    cpu_ticks: u64,
    start_ticks: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        let (_, behind) = text.rsplit_once(')')?;
        let number = |at: usize| behind.split_whitespace().nth(at)?.parse::<u64>().ok();
        // Counted from the state, which is field 3 of proc(5): utime is 14, stime 15, starttime 22.
        Some(Self { cpu_ticks: number(11)? + number(12)?, start_ticks: number(19)? })
    }
}

/// The first word behind a key at the beginning of a line.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()
}

fn kib(text: &str, key: &str) -> Option<u64> {
    field(text, key)?.parse::<u64>().ok()?.checked_mul(1024)
}

/// `USER_HZ`, which is 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_blanks_and_brackets_moves_no_field() {
        let text = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 13 14 15 16 17 18 4200 20 21";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.cpu_ticks, stat.start_ticks), (200, 4200));
        assert!(Stat::parse("7 (a) S 1").is_none());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_memory_threads_and_files() {
        let figures = Figures::now();
        assert!(figures.resident_bytes.unwrap() > 100_000, "{figures:?}");
        assert!(figures.virtual_bytes >= figures.resident_bytes, "{figures:?}");
        assert!(figures.open_fds.unwrap() >= 3 && figures.max_fds.unwrap() >= figures.open_fds.unwrap(), "{figures:?}");
        assert!(figures.threads.unwrap() >= 1, "{figures:?}");
        let age = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64() - figures.started_at.unwrap();
        assert!((-2.0..86_400.0).contains(&age), "{age}");
    }
}
