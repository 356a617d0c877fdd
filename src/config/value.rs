//! What values are read as. An error says what is wrong with the value; who reads adds where it stands.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::raw::Raw;
use super::settings::Distribution;
use super::suggest::nearest;
#[cfg(feature = "kubernetes")]
use crate::discovery::Lookup;
use crate::discovery::{NameTemplate, Prune};
use crate::net::{DialTarget, EpmdMode, Family};
use crate::ops::DEFAULT_HTTP_PORT;
use crate::proto::Cookie;

/// What a key can be read as.
pub(super) trait Setting: Sized {
    fn read(raw: &Raw) -> Result<Self, String>;
}

impl Setting for String {
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Word(text) | Raw::Text(text) => Ok(text.clone()),
            Raw::Number(_) | Raw::Flag(_) => Err("text is wanted: write it in quotes".to_owned()),
            other => Err(format!("text is wanted, not {}", other.kind())),
        }
    }
}

impl Setting for bool {
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Flag(flag) => Ok(*flag),
            Raw::Word(text) | Raw::Text(text) if text == "true" => Ok(true),
            Raw::Word(text) | Raw::Text(text) if text == "false" => Ok(false),
            _ => Err("true or false is wanted".to_owned()),
        }
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn read(raw: &Raw) -> Result<Self, String> {
        raw.items(',')?.iter().map(T::read).collect()
    }
}

impl Setting for PathBuf {
    fn read(raw: &Raw) -> Result<Self, String> {
        match String::read(raw)? {
            empty if empty.is_empty() => Err("a path is wanted".to_owned()),
            path => Ok(path.into()),
        }
    }
}

/// One value as text, in quotes or not.
fn scalar(raw: &Raw) -> Result<&str, String> {
    match raw {
        Raw::Word(text) | Raw::Text(text) | Raw::Number(text) => Ok(text.trim()),
        other => Err(format!("one value is wanted, not {}", other.kind())),
    }
}

fn parsed<T: FromStr>(raw: &Raw, wanted: &str) -> Result<T, String> {
    let text = scalar(raw)?;
    text.parse().map_err(|_| format!("`{text}` is no {wanted}"))
}

impl Setting for usize {
    fn read(raw: &Raw) -> Result<Self, String> {
        parsed(raw, "number")
    }
}

impl Setting for u8 {
    fn read(raw: &Raw) -> Result<Self, String> {
        parsed(raw, "number from 0 to 255")
    }
}

impl Setting for NonZeroUsize {
    fn read(raw: &Raw) -> Result<Self, String> {
        parsed(raw, "number above 0")
    }
}

impl Setting for IpAddr {
    fn read(raw: &Raw) -> Result<Self, String> {
        parsed(raw, "IP address")
    }
}

impl Setting for Ipv4Addr {
    fn read(raw: &Raw) -> Result<Self, String> {
        parsed(raw, "IPv4 address")
    }
}

/// The address of the pod that this runs in.
pub(super) struct PodIp(pub(super) IpAddr);

impl Setting for PodIp {
    fn read(raw: &Raw) -> Result<Self, String> {
        let address = parsed(raw, "IP address: set it from the field status.podIP of the pod");
        address.map(Self)
    }
}

/// A port that can be connected to.
pub(super) struct Port(pub(super) u16);

impl Setting for Port {
    fn read(raw: &Raw) -> Result<Self, String> {
        let text = scalar(raw)?;
        text.parse()
            .ok()
            .filter(|port| *port > 0)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is no port from 1 to 65535"))
    }
}

/// A port, or a range of them.
pub(super) struct Ports(pub(super) RangeInclusive<u16>);

impl Setting for Ports {
    fn read(raw: &Raw) -> Result<Self, String> {
        let text = scalar(raw)?;
        let port = |text: &str| text.trim().parse::<u16>().map_err(|_| format!("`{text}` is no port"));
        let (low, high) = match text.split_once('-') {
            Some((low, high)) => (port(low)?, port(high)?),
            None => (port(text)?, port(text)?),
        };
        if low > high { Err(format!("{low} is above {high}")) } else { Ok(Self(low..=high)) }
    }
}

/// A number of seconds, fractions allowed.
pub(super) struct Seconds(pub(super) Duration);

impl Setting for Seconds {
    fn read(raw: &Raw) -> Result<Self, String> {
        let text = scalar(raw)?;
        let seconds = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let seconds = seconds.filter(|seconds| *seconds <= LONGEST);
        seconds.map(Self).ok_or_else(|| format!("`{text}` is no number of seconds from 0 to {}", LONGEST.as_secs()))
    }
}

/// A number of milliseconds.
pub(super) struct Millis(pub(super) Duration);

impl Setting for Millis {
    fn read(raw: &Raw) -> Result<Self, String> {
        let text = scalar(raw)?;
        let millis = text.parse().ok().map(Duration::from_millis);
        let millis = millis.filter(|millis| (SHORTEST_POLL..=LONGEST).contains(millis));
        millis
            .map(Self)
            .ok_or_else(|| format!("`{text}` is no number of milliseconds from {} on", SHORTEST_POLL.as_millis()))
    }
}

/// Where the HTTP server listens: `IP:PORT`, `:PORT` (all addresses), `PORT` (this host only), `IP`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HttpAddress(pub(crate) SocketAddr);

impl FromStr for HttpAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self(address));
        }
        if let Ok(port) = text.parse::<u16>() {
            return Ok(Self(SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
        }
        if let Some(port) = text.strip_prefix(':').and_then(|port| port.parse::<u16>().ok()) {
            return Ok(Self(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))));
        }
        match text.parse::<IpAddr>() {
            Ok(ip) => Ok(Self(SocketAddr::new(ip, DEFAULT_HTTP_PORT))),
            Err(_) => Err(format!("`{text}` is none of IP:PORT, :PORT (all addresses), PORT (this host only), IP")),
        }
    }
}

impl Setting for HttpAddress {
    fn read(raw: &Raw) -> Result<Self, String> {
        scalar(raw)?.parse()
    }
}

/// A topic of a `Phoenix.PubSub`: `PUBSUB:TOPIC`, or `PUBSUB/POOL_SIZE:TOPIC`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) pubsub: String,
    pub(crate) pool_size: NonZeroUsize,
    pub(crate) topic: String,
}

impl Setting for Topic {
    fn read(raw: &Raw) -> Result<Self, String> {
        let text = scalar(raw)?;
        let wrong = || format!("`{text}` is not of the form PUBSUB:TOPIC, as MyApp.PubSub:orders is");
        let (pubsub, topic) = text.split_once(':').ok_or_else(wrong)?;
        let (pubsub, pool_size) = match pubsub.split_once('/') {
            Some((pubsub, size)) => (pubsub, size.parse().map_err(|_| wrong())?),
            None => (pubsub, NonZeroUsize::MIN),
        };
        if pubsub.is_empty() || topic.is_empty() {
            return Err(wrong());
        }
        Ok(Self { pubsub: pubsub.to_owned(), pool_size, topic: topic.to_owned() })
    }
}

/// A name server.
pub(super) struct NameServer(pub(super) SocketAddr);

impl Setting for NameServer {
    fn read(raw: &Raw) -> Result<Self, String> {
        let text = scalar(raw)?;
        let address = text.parse().or_else(|_| text.parse().map(|ip: IpAddr| SocketAddr::new(ip, DNS_PORT)));
        address.map(Self).map_err(|_| format!("`{text}` is no name server: write IP or IP:PORT"))
    }
}

impl Setting for DialTarget {
    fn read(raw: &Raw) -> Result<Self, String> {
        scalar(raw)?.parse().map_err(|error: crate::net::DialTargetError| error.to_string())
    }
}

impl Setting for NameTemplate {
    fn read(raw: &Raw) -> Result<Self, String> {
        String::read(raw)?.parse().map_err(|error: crate::discovery::TemplateError| error.to_string())
    }
}

impl Setting for Cookie {
    fn read(raw: &Raw) -> Result<Self, String> {
        Self::new(String::read(raw)?).map_err(|error| error.to_string())
    }
}

/// One of some words. A colon before it is that of an Elixir atom.
fn one_of<T: Clone>(raw: &Raw, choices: &[(&str, T)]) -> Result<T, String> {
    let text = scalar(raw)?;
    let word = text.strip_prefix(':').unwrap_or(text);
    if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == word) {
        return Ok(choice.clone());
    }
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    let hint = nearest(word, names.iter().copied());
    Err(format!("`{text}` is none of {}{hint}", names.join(", ")))
}

impl Setting for EpmdMode {
    fn read(raw: &Raw) -> Result<Self, String> {
        let choices =
            [("auto", Self::Auto), ("external", Self::External), ("embedded", Self::Embedded), ("none", Self::None)];
        one_of(raw, &choices)
    }
}

impl Setting for Distribution {
    fn read(raw: &Raw) -> Result<Self, String> {
        one_of(raw, &[("name", Self::Name), ("sname", Self::Sname), ("none", Self::None)])
    }
}

/// How names are made, as libcluster's `mode` says it.
pub(super) struct Mode(pub(super) NameTemplate);

impl Setting for Mode {
    fn read(raw: &Raw) -> Result<Self, String> {
        let choices =
            [("dns", NameTemplate::dns()), ("ip", NameTemplate::ip()), ("hostname", NameTemplate::hostname())];
        one_of(raw, &choices).map(Self)
    }
}

impl Setting for Prune {
    fn read(raw: &Raw) -> Result<Self, String> {
        one_of(raw, &[("never", Self::Never), ("after-grace", Self::default()), ("immediate", Self::Immediate)])
    }
}

/// Which records of the DNS are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Records {
    Addresses,
    Srv,
}

impl Setting for Records {
    fn read(raw: &Raw) -> Result<Self, String> {
        one_of(raw, &[("addresses", Self::Addresses), ("srv", Self::Srv)])
    }
}

impl Setting for Family {
    fn read(raw: &Raw) -> Result<Self, String> {
        let choices = [
            ("prefer-v4", Self::V4First),
            ("prefer-v6", Self::V6First),
            ("v4", Self::V4),
            ("v6", Self::V6),
            // A name server has no order of its own.
            ("first", Self::default()),
        ];
        one_of(raw, &choices)
    }
}

/// The same for pods.
#[cfg(feature = "kubernetes")]
impl Setting for crate::discovery::Family {
    fn read(raw: &Raw) -> Result<Self, String> {
        let choices = [
            ("first", Self::First),
            ("prefer-v4", Self::PreferV4),
            ("prefer-v6", Self::PreferV6),
            ("v4", Self::V4),
            ("v6", Self::V6),
        ];
        one_of(raw, &choices)
    }
}

#[cfg(feature = "kubernetes")]
impl Setting for Lookup {
    fn read(raw: &Raw) -> Result<Self, String> {
        one_of(raw, &[("slices", Self::EndpointSlices), ("pods", Self::Pods), ("endpoints", Self::Endpoints)])
    }
}

/// A namespace (that of this node if there is none) and a selector in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) namespace: Option<String>,
    pub(super) selector: String,
}

/// Several of them. In a word they are apart by semicolons, because selectors have commas.
pub(super) struct Selections(pub(super) Vec<Selection>);

impl Setting for Selections {
    fn read(raw: &Raw) -> Result<Self, String> {
        raw.items(';')?.iter().map(Selection::read).collect::<Result<_, _>>().map(Self)
    }
}

impl Setting for Selection {
    fn read(raw: &Raw) -> Result<Self, String> {
        let Raw::Table(fields) = raw else {
            let text = String::read(raw)?;
            // Neither a selector nor a namespace has a colon in it.
            let (namespace, selector) = match text.split_once(':') {
                Some((namespace, selector)) => (Some(namespace.trim()).filter(|it| !it.is_empty()), selector),
                None => (None, text.as_str()),
            };
            return Ok(Self { namespace: namespace.map(str::to_owned), selector: selector.trim().to_owned() });
        };
        let (mut namespace, mut selector) = (None, None);
        for (name, value) in fields {
            match name.as_str() {
                "namespace" => namespace = Some(String::read(value).map_err(|error| format!("namespace: {error}"))?),
                "selector" => selector = Some(String::read(value).map_err(|error| format!("selector: {error}"))?),
                other => {
                    let hint = nearest(other, ["namespace", "selector"]);
                    return Err(format!("a source has no `{other}`, only `namespace` and `selector`{hint}"));
                }
            }
        }
        let selector = selector.ok_or("a source without `selector`")?;
        Ok(Self { namespace, selector })
    }
}

/// A year. Far from where adding it to a clock fails, and nobody waits longer.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// Whoever is asked has other things to do.
const SHORTEST_POLL: Duration = Duration::from_millis(50);
/// RFC 1035.
const DNS_PORT: u16 = 53;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_address_may_be_a_port_alone_and_is_then_for_this_host_only() {
        let read = |text: &str| text.parse::<HttpAddress>().map(|HttpAddress(address)| address.to_string()).ok();
        assert_eq!(read("9000").as_deref(), Some("127.0.0.1:9000"));
        assert_eq!(read(":9000").as_deref(), Some("0.0.0.0:9000"));
        assert_eq!(read("10.0.0.1").as_deref(), Some("10.0.0.1:9569"));
        assert_eq!(read("[::]:9000").as_deref(), Some("[::]:9000"));
        assert_eq!(read("host:9000"), None);
    }

    fn word(text: &str) -> Raw {
        Raw::Word(text.to_owned())
    }

    #[test]
    fn words_of_the_environment_are_lists_with_commas_or_arrays_of_toml() {
        let read = |text: &str| Vec::<String>::read(&word(text)).unwrap();
        assert_eq!(read("a, b,,c"), ["a", "b", "c"]);
        assert_eq!(read("[\"a,b\", \"c\"]"), ["a,b", "c"]);
        assert!(Vec::<String>::read(&word("[1")).is_err());
        assert!(Vec::<String>::read(&Raw::Flag(true)).is_err());
        let sources = Selections::read(&word("prod:app=a,tier=b; app=c;:app=d")).unwrap().0;
        let texts: Vec<_> = sources.iter().map(|it| (it.namespace.as_deref(), it.selector.as_str())).collect();
        assert_eq!(texts, [(Some("prod"), "app=a,tier=b"), (None, "app=c"), (None, "app=d")]);
        let sources = Selections::read(&word("[{namespace = \"x\", selector = \"y=z\"}]")).unwrap().0;
        assert_eq!(sources, [Selection { namespace: Some("x".to_owned()), selector: "y=z".to_owned() }]);
        assert!(Selections::read(&word("[{selectr = \"y\"}]")).is_err_and(|it| it.contains("did you mean `selector`")));
    }

    #[test]
    fn numbers_have_their_limits() {
        assert!(Port::read(&word("0")).is_err() && Port::read(&word("65536")).is_err());
        assert!(Seconds::read(&word("-1")).is_err() && Seconds::read(&word("NaN")).is_err());
        assert_eq!(Seconds::read(&Raw::Number("0.5".to_owned())).unwrap().0, Duration::from_millis(500));
        assert!(Millis::read(&word("49")).is_err() && Millis::read(&word("infinity")).is_err());
        assert_eq!(Ports::read(&Raw::Number("9100".to_owned())).unwrap().0, 9100..=9100);
        assert!(Ports::read(&word("9-5")).is_err_and(|it| it == "9 is above 5"));
        assert!(String::read(&Raw::Number("7".to_owned())).is_err_and(|it| it.contains("in quotes")));
    }

    #[test]
    fn an_atom_of_elixir_is_its_word() {
        assert!(Mode::read(&word(":dns")).is_ok_and(|mode| mode.0 == NameTemplate::dns()));
        assert!(Mode::read(&word("hostnam")).is_err_and(|it| it.ends_with("did you mean `hostname`?")));
    }
}
