//! What the name of a type says about its form on the wire: serde hands over the names of structs,
//! which no other format uses, so `#[serde(rename = "…")]` on the type is all that it takes.

/// The key of a map that makes it a struct of Elixir.
pub(super) const STRUCT: &str = "__struct__";

/// What a struct is written as.
pub(super) enum Named {
    /// A map.
    Plain,
    /// `Elixir.MyApp.Order`: a map with this module under [`STRUCT`].
    Elixir,
    /// `#order`: a tuple that starts with this tag, as the records of Erlang.
    Record(&'static str),
}

impl Named {
    /// For most names this looks at one byte.
    #[inline]
    pub(super) fn of(name: &'static str) -> Self {
        match name.as_bytes().first() {
            Some(b'E') if name.starts_with("Elixir.") => Self::Elixir,
            Some(b'#') => Self::Record(name.strip_prefix('#').unwrap_or_default()),
            _ => Self::Plain,
        }
    }
}

/// A struct of Elixir as Elixir writes it: `%MyApp.Order{}`.
pub(super) fn shown(module: &str) -> String {
    format!("%{}{{}}", module.strip_prefix("Elixir.").unwrap_or(module))
}
