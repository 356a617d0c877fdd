//! The configuration of the binary: four layers that become one.
//!
//! Later ones win: what is built in, `gusset.toml`, the environment, the command line. Every value remembers where it
//! came from, so that an error can name the line of the file, the variable or the option, and all errors are told at
//! once. What can be configured is data (`schema`): from it are made the options of the command line, the variables,
//! the example file and the tables of docs/configuration.md.
//!
//! Nothing in here knows the command line itself; its values come as a list ([`Options`]).

// What only some strategies read is idle where they are left out.
#![cfg_attr(not(all(feature = "kubernetes", feature = "dns", feature = "gossip", feature = "file")), allow(dead_code))]

mod environment;
mod file;
mod guide;
mod layers;
mod problem;
mod raw;
mod reader;
mod schema;
mod sections;
mod settings;
mod show;
mod source;
mod suggest;
#[cfg(test)]
mod tests;
mod topology;
mod value;

pub(crate) use self::environment::Environment;
pub(crate) use self::guide::example;
pub(crate) use self::layers::Options;
pub(crate) use self::raw::Raw;
pub(crate) use self::schema::{Form, Key, options};
pub(crate) use self::sections::DEFAULT_LOG;
pub(crate) use self::settings::{Distribution, GivenCookie, HttpSettings, NameSettings, Settings, load};
pub(crate) use self::show::{Shown, shown};
pub(crate) use self::source::Source;
pub(crate) use self::value::HttpAddress;
