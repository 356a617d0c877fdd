//! Functions that other nodes can call: a table by module, name and arity.
//!
//! What is exported can be called through `rpc`, `erpc` and `rex`, and spawned, alike. Each call runs
//! in a process of its own, with the caller's group leader.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::RwLock;

use crate::etf::{Atom, Fun, Pid, Term};
use crate::node::{Exception, Node, Process, Reason};
use crate::{atom, tuple};

/// How many arguments a function takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arity {
    /// So many.
    Exactly(u8),
    /// Any number; functions with an exact arity go first.
    Any,
}

impl From<u8> for Arity {
    fn from(arity: u8) -> Self {
        Self::Exactly(arity)
    }
}

/// What a call knows besides its arguments.
#[derive(Debug)]
pub struct CallContext {
    process: Process,
}

impl CallContext {
    /// The node.
    pub fn node(&self) -> Node {
        self.process.node()
    }

    /// The process that the call runs in; its group leader is where the caller wants output.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The process itself, for a call that goes on in it.
    pub(crate) fn into_process(self) -> Process {
        self.process
    }

    /// The pid of that process.
    pub fn pid(&self) -> &Pid {
        self.process.pid()
    }
}

type Handler = dyn Fn(CallContext, Vec<Term>) -> BoxFuture<'static, Result<Term, Exception>> + Send + Sync;

/// The functions of a node.
#[derive(Default)]
pub(crate) struct Functions(RwLock<HashMap<(Atom, Atom), Vec<Exported>>>);

/// A function of some name: the one with this arity.
type Exported = (Arity, Arc<Handler>);

impl Functions {
    fn insert(&self, module: Atom, function: Atom, arity: Arity, handler: Arc<Handler>) {
        let mut table = self.0.write();
        let known = table.entry((module, function)).or_default();
        known.retain(|(other, _)| *other != arity);
        known.push((arity, handler));
        known.sort_by_key(|(arity, _)| *arity);
    }

    fn get(&self, module: &Atom, function: &Atom, arity: usize) -> Option<Arc<Handler>> {
        let table = self.0.read();
        let known = table.get(&(module.clone(), function.clone()))?;
        let fits = |own: Arity| match own {
            Arity::Exactly(own) => usize::from(own) == arity,
            Arity::Any => true,
        };
        known.iter().find(|(own, _)| fits(*own)).map(|(_, handler)| handler.clone())
    }

    /// True where the module has any function.
    pub(crate) fn has_module(&self, module: &Atom) -> bool {
        self.0.read().keys().any(|(known, _)| known == module)
    }

    /// True where the function is there.
    pub(crate) fn has(&self, module: &Atom, function: &Atom, arity: usize) -> bool {
        self.get(module, function, arity).is_some()
    }

    /// All functions, in order.
    pub(crate) fn all(&self) -> Vec<(Atom, Atom, Arity)> {
        let table = self.0.read();
        let mut all: Vec<_> = table
            .iter()
            .flat_map(|((module, function), known)| {
                known.iter().map(|(arity, _)| (module.clone(), function.clone(), *arity))
            })
            .collect();
        all.sort();
        all
    }
}

impl Node {
    /// Lets other nodes call a function, as `rpc:call(Node, module, function, Args)` does and its
    /// relatives do, or spawn it. Replaces what was there under that name and arity.
    ///
    /// What it returns is the caller's value; an [`Exception`] is raised in the caller. A panic is
    /// an exception of class `error`.
    pub fn export<F, R>(&self, module: Atom, function: Atom, arity: impl Into<Arity>, handler: F)
    where
        F: Fn(CallContext, Vec<Term>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Term, Exception>> + Send + 'static,
    {
        let arity = arity.into();
        let handler = Arc::new(move |context, args| -> BoxFuture<'static, Result<Term, Exception>> {
            Box::pin(handler(context, args))
        });
        self.extension::<Functions>().insert(module.clone(), function.clone(), arity, handler);
        let exact = match arity {
            Arity::Exactly(arity) => Some(arity),
            Arity::Any => None,
        };
        let name = (module.clone(), function.clone());
        let spawned = Arc::new(move |process, args| -> BoxFuture<'static, Reason> {
            let (module, function) = name.clone();
            Box::pin(async move { reason_after(apply(process, &module, &function, args).await) })
        });
        self.export_spawn(module, function, exact, spawned);
    }

    /// What other nodes can call here.
    pub fn exports(&self) -> Vec<(Atom, Atom, Arity)> {
        self.extension::<Functions>().all()
    }
}

/// Calls a function in this process.
///
/// # Errors
/// What the function raises; `undef` where it is not there.
pub(crate) async fn apply(
    process: Process,
    module: &Atom,
    function: &Atom,
    args: Vec<Term>,
) -> Result<Term, Exception> {
    let functions = process.node().extension::<Functions>();
    let Some(handler) = functions.get(module, function, args.len()) else {
        if function == "module_info"
            && let Some(outcome) = super::observer::module_info(&process.node(), module, &args)
        {
            return outcome;
        }
        return Err(Exception::undef(module, function, args));
    };
    let context = CallContext { process };
    let call = AssertUnwindSafe(async move { handler(context, args).await });
    call.catch_unwind().await.unwrap_or_else(|panic| {
        let text = panic_text(&*panic);
        tracing::error!(%module, %function, panic = text, "a function that another node called panicked");
        Err(Exception::error(tuple![atom!("panic"), text]))
    })
}

/// Calls a fun in this process: one of the form `fun m:f/1` as its function; the code of any other is
/// not here, which is `undef` as on a BEAM without the module (`error_handler:undefined_lambda/3`).
///
/// # Errors
/// As [`apply`].
pub(crate) async fn apply_fun(process: Process, fun: Term, args: Vec<Term>) -> Result<Term, Exception> {
    match fun.as_fun() {
        Some(Fun::Export { module, function, arity }) if usize::from(*arity) == args.len() => {
            apply(process, module, function, args).await
        }
        Some(Fun::Export { .. }) => Err(Exception::error(tuple![atom!("badarity"), tuple![fun, args]])),
        Some(Fun::Opaque(_)) => {
            let frame = tuple![fun, args, Term::NIL];
            Err(Exception { stack: vec![frame], ..Exception::error(Term::Atom(atom!("undef"))) })
        }
        None => Err(Exception::error(tuple![atom!("badfun"), fun])),
    }
}

/// How a process ends whose only work is this call.
pub(crate) fn reason_after(outcome: Result<Term, Exception>) -> Reason {
    match outcome {
        Ok(_) => Reason::normal(),
        Err(exception) => exception.into_reason(),
    }
}

/// What a panic says, where it says something.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no text)")
}
