//! Tables of Mnesia on other nodes: each call is one transaction there.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::rpc::{RPC_TIMEOUT, arguments, name};
use crate::atom;
use crate::etf::{self, Atom, Term};
use crate::node::{CallError, Exception, Node, SendError};
use crate::proto::NodeName;

impl Node {
    /// The tables of Mnesia as this node sees them. Nothing is sent yet.
    pub fn mnesia(&self, member: NodeName) -> Mnesia {
        Mnesia { node: self.clone(), member, timeout: RPC_TIMEOUT }
    }
}

/// Tables of Mnesia, used through a node that is a member: [`Node::mnesia`].
///
/// This node is no member of that Mnesia and keeps no tables; every call is one `mnesia:transaction/2`
/// on the member. What takes several steps belongs into a function of that node, which
/// [`transaction`](Self::transaction) runs: funs of Rust cannot be sent.
///
/// Rows are records: a type whose name begins with `#` (see `docs/terms.md`). A field that is unset
/// is `nil` in Elixir and `undefined` in Erlang: `Option` reads both, and `None` is written as `nil`.
///
/// ```no_run
/// # async fn example(node: gusset::Node) -> Result<(), Box<dyn std::error::Error>> {
/// use gusset::{atom, tuple};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// #[serde(rename = "#item")]
/// struct Item {
///     sku: String,
///     stock: i64,
/// }
///
/// let tables = node.mnesia("shop@myhost".parse()?);
/// tables.write("item", &Item { sku: "bolt".to_owned(), stock: 7 }).await?;
/// let bolts: Vec<Item> = tables.read("item", "bolt").await?;
/// let sold_out: Vec<Item> = tables.match_object("item", &tuple![atom!("item"), atom!("_"), 0]).await?;
/// let left: i64 = tables.transaction("Elixir.Shop", "take", ("bolt", 3)).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Mnesia {
    node: Node,
    member: NodeName,
    timeout: Duration,
}

/// Why a transaction has not taken place, or it is not known whether it has.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MnesiaError {
    /// `{aborted, {no_exists, Table}}`: there is no such table, or none of the nodes that have it is up.
    #[error("no such table, or no copy of it within reach: {0}")]
    NoSuchTable(Term),
    /// `{aborted, {bad_type, …}}`: the row or the pattern is no record of the table, with as many fields.
    #[error("not a record of the table: {0}")]
    BadType(Term),
    /// `{aborted, {node_not_running, Node}}`: Mnesia does not run there.
    #[error("Mnesia does not run on {0}")]
    NotRunning(Atom),
    /// Any other reason to abort: what was given to `mnesia:abort/1`, or `{Reason, Stack}` of what
    /// a function raised.
    #[error("aborted: {0}")]
    Aborted(Term),
    /// The call itself: no connection, no answer in time (the transaction may take place later), a
    /// value of another type (it has), no Mnesia in the release (`is_undef`).
    #[error(transparent)]
    Call(#[from] CallError),
}

impl MnesiaError {
    fn aborted(reason: Term) -> Self {
        if let Term::Tuple(parts) = &reason {
            match parts.as_slice() {
                [kind, what] if kind.is_atom("no_exists") => return Self::NoSuchTable(what.clone()),
                // `{bad_type, Row}`; or with the table, and the lock: `{bad_type, Table, Row, write}`.
                [kind, row] | [kind, _, row] | [kind, _, row, _] if kind.is_atom("bad_type") => {
                    return Self::BadType(row.clone());
                }
                [kind, Term::Atom(node)] if kind.is_atom("node_not_running") => return Self::NotRunning(node.clone()),
                _ => {}
            }
        }
        Self::Aborted(reason)
    }
}

/// What `mnesia:transaction/2` returns.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome<R> {
    Atomic(R),
    Aborted(Term),
}

impl Mnesia {
    /// The node that is asked.
    pub fn member(&self) -> &NodeName {
        &self.member
    }

    /// With another limit than [`RPC_TIMEOUT`] for each call, connecting included. A transaction that
    /// waits for locks goes on there when it has passed.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// `mnesia:read/3`: the rows with this key; at most one but in a table of type `bag`.
    ///
    /// # Errors
    /// See [`MnesiaError`].
    pub async fn read<R: DeserializeOwned>(
        &self,
        table: &str,
        key: &(impl Serialize + ?Sized),
    ) -> Result<Vec<R>, MnesiaError> {
        self.access("read", table, key, "read").await
    }

    /// `mnesia:write/3`: puts a row into a table, in the place of one with the same key.
    ///
    /// # Errors
    /// See [`MnesiaError`].
    pub async fn write(&self, table: &str, row: &(impl Serialize + ?Sized)) -> Result<(), MnesiaError> {
        self.access("write", table, row, "write").await.map(|_: Atom| ())
    }

    /// `mnesia:delete/3`: removes the rows with this key. That there are none is no error.
    ///
    /// # Errors
    /// See [`MnesiaError`].
    pub async fn delete(&self, table: &str, key: &(impl Serialize + ?Sized)) -> Result<(), MnesiaError> {
        self.access("delete", table, key, "write").await.map(|_: Atom| ())
    }

    /// `mnesia:match_object/3`: the rows that match a pattern, which is a record with the atom `'_'`
    /// for what does not matter: `tuple![atom!("item"), atom!("_"), 0]`. All of them are read at once.
    ///
    /// # Errors
    /// See [`MnesiaError`].
    pub async fn match_object<R: DeserializeOwned>(
        &self,
        table: &str,
        pattern: &(impl Serialize + ?Sized),
    ) -> Result<Vec<R>, MnesiaError> {
        self.access("match_object", table, pattern, "read").await
    }

    /// `mnesia:transaction/2` of a function of that node, and its value. Within it the function calls
    /// Mnesia as often as it likes; it may be run more than once. `args` as for [`Node::rpc`].
    ///
    /// # Errors
    /// See [`MnesiaError`].
    pub async fn transaction<R: DeserializeOwned>(
        &self,
        module: &str,
        function: &str,
        args: impl Serialize,
    ) -> Result<R, MnesiaError> {
        self.run(name(module)?, name(function)?, arguments(&args)?).await
    }

    /// One function of Mnesia's that takes a table, a term and a kind of lock.
    async fn access<R: DeserializeOwned>(
        &self,
        function: &'static str,
        table: &str,
        subject: &(impl Serialize + ?Sized),
        lock: &'static str,
    ) -> Result<R, MnesiaError> {
        let subject = etf::to_term(subject).map_err(|error| CallError::from(SendError::from(error)))?;
        let args = vec![Term::Atom(name(table)?), subject, Term::Atom(name(lock)?)];
        self.run(atom!("mnesia"), name(function)?, args).await
    }

    async fn run<R: DeserializeOwned>(&self, module: Atom, function: Atom, args: Vec<Term>) -> Result<R, MnesiaError> {
        let Ok(arity) = u8::try_from(args.len()) else {
            return Err(CallError::from(Exception::undef(&module, &function, args)).into());
        };
        let call = vec![Term::export(module, function, arity), Term::from(args)];
        let transaction =
            self.node.rpc_payload(&self.member, atom!("mnesia"), atom!("transaction"), call, self.timeout).await?;
        match transaction.decode().map_err(CallError::from)? {
            Outcome::Atomic(value) => Ok(value),
            Outcome::Aborted(reason) => Err(MnesiaError::aborted(reason)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuple;

    #[test]
    fn reasons_to_abort_have_names() {
        let of = |kind: &str, what: Term| MnesiaError::aborted(tuple![Atom::new(kind).unwrap(), what]);
        let table = || Term::Atom(atom!("nope"));
        assert!(matches!(of("no_exists", table()), MnesiaError::NoSuchTable(what) if what == table()));
        let row = || tuple![atom!("row"), 1];
        let long = MnesiaError::aborted(tuple![atom!("bad_type"), table(), row(), atom!("write")]);
        for bad in [of("bad_type", row()), long] {
            assert!(matches!(&bad, MnesiaError::BadType(what) if *what == row()), "{bad:?}");
        }
        assert_eq!(of("node_not_running", Term::Atom(atom!("a@h"))).to_string(), "Mnesia does not run on a@h");
        for other in [of("node_not_running", Term::from(1)), of("why", Term::from(1)), MnesiaError::aborted(table())] {
            assert!(matches!(other, MnesiaError::Aborted(_)), "{other:?}");
        }
    }
}
