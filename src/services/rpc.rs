//! Calling functions of other nodes: the client side of `erpc` (`rpc:call/4` since OTP 23).

use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::etf::{self, Atom, DecodeError, DecodeErrorKind, Payload, Pid, Ref, Term};
use crate::node::{CallError, Class, Exception, Message, Node, Reason, SendError, SpawnWith};
use crate::proto::NodeName;
use crate::{atom, tuple};

/// How long a remote call waits, unless it says otherwise. `rpc:call/4` waits for ever; a call that
/// takes longer than a minute should say so ([`Node::rpc_timeout`]).
pub const RPC_TIMEOUT: Duration = Duration::from_secs(60);

impl Node {
    /// `erpc:call/4`: calls a function on another node and waits up to [`RPC_TIMEOUT`]. `args` is a
    /// tuple or a sequence, `()` for none: `node.rpc::<i64>(peer, "lists", "sum", (vec![1, 2],))`.
    /// Elixir's modules are called `Elixir.Enum`.
    ///
    /// # Errors
    /// [`CallError::Exception`] for what the function raised (`undef` where it does not exist),
    /// [`CallError::Down`] with `noconnection` where the connection was lost, [`CallError::Refused`]
    /// by a node that runs nothing for others.
    pub async fn rpc<R: DeserializeOwned>(
        &self,
        node: &NodeName,
        module: &str,
        function: &str,
        args: impl Serialize,
    ) -> Result<R, CallError> {
        self.rpc_timeout(node, module, function, args, RPC_TIMEOUT).await
    }

    /// [`rpc`](Self::rpc) with a time limit of its own, connecting included. The function runs on when
    /// it has passed, its result vanishes.
    ///
    /// # Errors
    /// As [`rpc`](Self::rpc).
    pub async fn rpc_timeout<R: DeserializeOwned>(
        &self,
        node: &NodeName,
        module: &str,
        function: &str,
        args: impl Serialize,
        timeout: Duration,
    ) -> Result<R, CallError> {
        let args = arguments(&args)?;
        let value = self.rpc_payload(node, name(module)?, name(function)?, args, timeout).await?;
        Ok(value.decode()?)
    }

    /// [`rpc_timeout`](Self::rpc_timeout) with terms, for arguments and a value of any kind.
    ///
    /// # Errors
    /// As [`rpc`](Self::rpc).
    pub async fn rpc_term(
        &self,
        node: &NodeName,
        module: Atom,
        function: Atom,
        args: Vec<Term>,
        timeout: Duration,
    ) -> Result<Term, CallError> {
        Ok(self.rpc_payload(node, module, function, args, timeout).await?.term()?)
    }

    /// [`rpc_timeout`](Self::rpc_timeout) with terms, and the value as it came.
    ///
    /// # Errors
    /// As [`rpc`](Self::rpc).
    pub async fn rpc_payload(
        &self,
        node: &NodeName,
        module: Atom,
        function: Atom,
        args: Vec<Term>,
        timeout: Duration,
    ) -> Result<Payload, CallError> {
        self.rpc_payload_led_by(None, node, module, function, args, timeout).await
    }

    /// The same with a group leader, to which the function prints.
    pub(crate) async fn rpc_payload_led_by(
        &self,
        leader: Option<Pid>,
        node: &NodeName,
        module: Atom,
        function: Atom,
        args: Vec<Term>,
        timeout: Duration,
    ) -> Result<Payload, CallError> {
        if *node == *self.name() {
            return self.rpc_here(module, function, args, timeout).await;
        }
        let mut process = self.process_labelled("rpc");
        if let Some(leader) = leader {
            process.set_group_leader(leader);
        }
        let mark = self.make_ref();
        let call = vec![Term::from(mark.clone()), Term::Atom(module), Term::Atom(function), Term::from(args)];
        let exchange = async {
            let with = SpawnWith { link: false, monitor: true };
            let request = process.spawn_request(node, (atom!("erpc"), atom!("execute_call"), call), with).await?;
            let ended = process.recv_match(|message| match message {
                Message::Spawned { reference, result: Err(why) } if *reference == request => {
                    Some(Err(if *why == "noconnection" {
                        CallError::Down(Reason::noconnection())
                    } else {
                        CallError::Refused(why.clone())
                    }))
                }
                Message::Down { reference, reason, .. } if *reference == request => Some(Ok(reason.clone())),
                _ => None,
            });
            outcome(&ended.await??, &mark)
        };
        tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(CallError::Timeout(timeout)))
    }

    /// `erpc:multicall/5`: calls a function on several nodes at once. The results stand in the order of
    /// the nodes; one that fails does not hold up or hide the others, and says how:
    /// [`CallError::is_timeout`], [`is_noconnection`](CallError::is_noconnection),
    /// [`is_undef`](CallError::is_undef), [`exception`](CallError::exception) with class, reason and stack.
    ///
    /// ```no_run
    /// # async fn example(node: gusset::Node) {
    /// let timeout = std::time::Duration::from_secs(5);
    /// for (name, load) in node.rpc_multicall::<i64>(&node.nodes(), "erlang", "system_info", (gusset::atom!("process_count"),), timeout).await {
    ///     match load {
    ///         Ok(processes) => println!("{name}: {processes} processes"),
    ///         Err(error) => println!("{name}: {error}"),
    ///     }
    /// }
    /// # }
    /// ```
    pub async fn rpc_multicall<R: DeserializeOwned>(
        &self,
        nodes: &[NodeName],
        module: &str,
        function: &str,
        args: impl Serialize,
        timeout: Duration,
    ) -> Vec<(NodeName, Result<R, CallError>)> {
        let args = &args;
        let calls = nodes
            .iter()
            .map(|node| async move { (node.clone(), self.rpc_timeout(node, module, function, args, timeout).await) });
        join_all(calls).await
    }

    /// Calls a function of this node as others would.
    async fn rpc_here(
        &self,
        module: Atom,
        function: Atom,
        args: Vec<Term>,
        timeout: Duration,
    ) -> Result<Payload, CallError> {
        let call = super::functions::apply(self.process_labelled("rpc"), &module, &function, args);
        match tokio::time::timeout(timeout, call).await {
            Ok(Ok(value)) => Ok(Payload::from_term(&value).map_err(SendError::from)?),
            Ok(Err(exception)) => Err(exception.into()),
            Err(_) => Err(CallError::Timeout(timeout)),
        }
    }

    /// `erpc:cast/4`: has a function run on another node, and waits for nothing.
    ///
    /// # Errors
    /// When there is no way to that node.
    pub async fn rpc_cast(
        &self,
        node: &NodeName,
        module: &str,
        function: &str,
        args: impl Serialize,
    ) -> Result<(), CallError> {
        let args = arguments(&args)?;
        let (module, function) = (name(module)?, name(function)?);
        if *node == *self.name() {
            self.spawn_labelled("rpc cast", |process| async move {
                super::functions::reason_after(super::functions::apply(process, &module, &function, args).await)
            });
            return Ok(());
        }
        let call = vec![Term::Atom(module), Term::Atom(function), Term::from(args)];
        let call = (atom!("erpc"), atom!("execute_cast"), call);
        self.process_labelled("rpc cast").spawn_request(node, call, SpawnWith::default()).await?;
        Ok(())
    }
}

/// The arguments of a call: a tuple or sequence, or nothing.
pub(super) fn arguments(args: &impl Serialize) -> Result<Vec<Term>, CallError> {
    let encoded = etf::to_payload(args).map_err(SendError::from)?;
    match encoded.term()? {
        Term::Tuple(args) => Ok(args),
        Term::List(args) => Ok(args.into_vec()),
        // How `()` is written is a matter of the serializer.
        Term::Atom(_) if std::mem::size_of_val(args) == 0 => Ok(Vec::new()),
        _ => {
            Err(CallError::Exception(Exception::error(tuple![atom!("badarg"), "arguments are a tuple or a sequence"])))
        }
    }
}

pub(super) fn name(text: &str) -> Result<Atom, CallError> {
    Ok(Atom::new(text).map_err(crate::node::TargetError::from).map_err(SendError::from)?)
}

/// What the exit reason of a call says (`erpc.erl:call_result/4`).
fn outcome(reason: &Reason, mark: &Ref) -> Result<Payload, CallError> {
    let payload = reason.payload();
    let mut reader = payload.reader();
    let marked = reader.tuple().ok().filter(|arity| (3..=4).contains(arity));
    let marked = marked.filter(|_| reader.reference().is_ok_and(|reference| reference == *mark));
    let Some(arity) = marked else { return Err(CallError::Down(reason.clone())) };
    let kind = reader.atom()?;
    let rest = payload.part_from(reader.offset());
    let exception = |class, stack| -> Result<Payload, CallError> {
        let mut reader = rest.reader();
        let reason = Term::decode(&mut reader, &etf::Limits::default())?;
        let stack = match stack {
            true => match Term::decode(&mut reader, &etf::Limits::default())? {
                Term::List(stack) => stack.into_vec(),
                _ => Vec::new(),
            },
            false => Vec::new(),
        };
        Err(Exception { class, reason, stack }.into())
    };
    match (kind.as_str(), arity) {
        ("return", 3) => Ok(rest),
        ("throw", 3) => exception(Class::Throw, false),
        ("exit", 3) => exception(Class::Exit, false),
        // The call itself was at fault: `{erpc, Reason}`.
        ("error", 3) => exception(Class::Error, false),
        ("error", 4) => exception(Class::Error, true),
        _ => Err(CallError::Decode(DecodeError::new(
            0,
            DecodeErrorKind::Invalid("the result of a call is of no known form"),
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etf::Creation;
    use crate::list;

    fn mark() -> Ref {
        Ref::from_three(atom!("a@h"), Creation(1), [1, 2, 3])
    }

    #[test]
    fn the_exit_reason_of_a_call_tells_how_it_went() {
        let of = |term: Term| outcome(&Reason::from_term(&term), &mark());
        let value = of(tuple![mark(), atom!("return"), 7]).unwrap();
        assert_eq!(value.term().unwrap(), Term::from(7));
        for (reason, class, text) in [
            (tuple![mark(), atom!("throw"), 7], Class::Throw, "7"),
            (tuple![mark(), atom!("exit"), 7], Class::Exit, "7"),
            (tuple![mark(), atom!("error"), atom!("badarg"), list![1]], Class::Error, "badarg"),
            (tuple![mark(), atom!("error"), tuple![atom!("erpc"), 1]], Class::Error, "{erpc,1}"),
        ] {
            let Err(CallError::Exception(exception)) = of(reason.clone()) else { panic!("{reason}") };
            assert_eq!((exception.class, exception.reason.to_string()), (class, text.to_owned()));
        }
        // Ended from outside, or another call's.
        assert!(matches!(of(Term::Atom(atom!("killed"))), Err(CallError::Down(reason)) if reason.is("killed")));
        let other = Ref::from_three(atom!("a@h"), Creation(1), [1, 2, 4]);
        assert!(matches!(of(tuple![other, atom!("return"), 7]), Err(CallError::Down(_))));
    }

    #[test]
    fn arguments_are_tuples_or_sequences() {
        assert_eq!(arguments(&(1, "a")).unwrap(), vec![Term::from(1), Term::from("a")]);
        assert_eq!(arguments(&vec![1, 2]).unwrap(), vec![Term::from(1), Term::from(2)]);
        assert_eq!(arguments(&()).unwrap(), Vec::<Term>::new());
        assert!(arguments(&"text").is_err());
    }
}
