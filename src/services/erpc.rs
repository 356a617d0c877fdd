//! Serving `erpc`, and with it `rpc`: a call is a spawned process whose exit reason carries the
//! result (`erpc.erl`, `execute_call/4`; section "rpc" of the kernel application).

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::functions::{apply, reason_after};
use crate::etf::{Atom, Term};
use crate::node::{Class, Exception, Node, Process, Reason};
use crate::{atom, tuple};

/// The most arguments that a function of Erlang can have.
pub(crate) const MAX_ARGS: usize = 255;

/// Lets other nodes call what is exported.
pub(crate) fn install(node: &Node) {
    spawnable(node, atom!("execute_call"), 4, |process, args| async move {
        let mut args = args.into_iter();
        let Some(reference) = args.next() else { return Exception::badarg().into_reason() };
        let outcome = match module_function_args(args.collect()) {
            Ok((module, function, args)) => match arg_error(&args) {
                Some(error) => return Reason::from_term(&tuple![reference, atom!("error"), error]),
                None => apply(process, &module, &function, args).await,
            },
            Err(badarg) => Err(badarg),
        };
        Reason::from_term(&result(reference, outcome))
    });
    spawnable(node, atom!("execute_call"), 3, |process, args| async move { run(process, args).await });
    spawnable(node, atom!("execute_cast"), 3, |process, args| async move { run(process, args).await });
}

fn spawnable<F, R>(node: &Node, function: Atom, arity: u8, run: F)
where
    F: Fn(Process, Vec<Term>) -> R + Send + Sync + 'static,
    R: Future<Output = Reason> + Send + 'static,
{
    let run = Arc::new(move |process, args| -> BoxFuture<'static, Reason> { Box::pin(run(process, args)) });
    node.export_spawn(atom!("erpc"), function, Some(arity), run);
}

/// Runs a function for nobody who waits.
async fn run(process: Process, args: Vec<Term>) -> Reason {
    let (module, function, args) = match module_function_args(args) {
        Ok(call) => call,
        Err(badarg) => return badarg.into_reason(),
    };
    if let Some(error) = arg_error(&args) {
        return Exception::error(error).into_reason();
    }
    let outcome = apply(process, &module, &function, args).await.map_err(|exception| match exception.class {
        // As execute_cast/3 wraps it, so that logs of other nodes look the same.
        Class::Error => Exception::error(tuple![atom!("exception"), tuple![exception.reason, exception.stack]]),
        _ => exception,
    });
    if let Err(exception) = &outcome {
        tracing::warn!(%module, %function, %exception, "a cast function failed");
    }
    reason_after(outcome)
}

/// `{Reference, return, Value}` and what there is besides.
fn result(reference: Term, outcome: Result<Term, Exception>) -> Term {
    match outcome {
        Ok(value) => tuple![reference, atom!("return"), value],
        Err(Exception { class: Class::Throw, reason, .. }) => tuple![reference, atom!("throw"), reason],
        Err(Exception { class: Class::Exit, reason, .. }) => tuple![reference, atom!("exit"), reason],
        Err(Exception { class: Class::Error, reason, stack }) => tuple![reference, atom!("error"), reason, stack],
    }
}

/// `[Module, Function, Args]`.
pub(crate) fn module_function_args(args: Vec<Term>) -> Result<(Atom, Atom, Vec<Term>), Exception> {
    let args: Result<[Term; 3], _> = args.try_into();
    match args {
        Ok([Term::Atom(module), Term::Atom(function), Term::List(args)]) => Ok((module, function, args.into_vec())),
        _ => Err(Exception::badarg()),
    }
}

/// An error of the call itself, which the caller tells apart from one of the function.
fn arg_error(args: &[Term]) -> Option<Term> {
    (args.len() > MAX_ARGS).then(|| tuple![atom!("erpc"), atom!("system_limit")])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list;

    #[test]
    fn each_outcome_has_the_shape_that_erpc_waits_for() {
        let shape = |outcome| result(Term::from(1), outcome).to_string();
        assert_eq!(shape(Ok(Term::from(atom!("value")))), "{1,return,value}");
        assert_eq!(shape(Err(Exception::throw(2.into()))), "{1,throw,2}");
        assert_eq!(shape(Err(Exception::exit(2.into()))), "{1,exit,2}");
        assert_eq!(shape(Err(Exception::badarg())), "{1,error,badarg,[]}");
        let undef = Exception::undef(&atom!("m"), &atom!("f"), vec![Term::from(3)]);
        assert_eq!(shape(Err(undef)), "{1,error,undef,[{m,f,[3],[]}]}");
    }

    #[test]
    fn arguments_that_no_function_can_take_are_an_error_of_the_call() {
        assert_eq!(arg_error(&vec![Term::NIL; 255]), None);
        assert_eq!(arg_error(&vec![Term::NIL; 256]).unwrap().to_string(), "{erpc,system_limit}");
        assert!(module_function_args(vec![atom!("m").into(), atom!("f").into(), list![]]).is_ok());
        assert!(module_function_args(vec![atom!("m").into(), 1.into(), list![]]).is_err());
    }
}
