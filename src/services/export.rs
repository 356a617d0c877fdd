//! Exporting Rust functions as they are: arguments and results through serde.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::functions::CallContext;
use crate::etf::{self, Atom, AtomTooLong, Term};
use crate::node::{Exception, Node};
use crate::{atom, tuple};

impl Node {
    /// Lets other nodes call a Rust function or closure, with up to eight arguments, `async` or not:
    /// `:rpc.call(node, MyRust, :add, [1, 2])` for what is exported as `("Elixir.MyRust", "add")`, and
    /// `Node.spawn(node, MyRust, :add, [1, 2])`.
    ///
    /// Arguments and result are what serde makes of them. A function that gives `Result<T,`
    /// [`Exception`]`>` raises in the caller; any other `Result` becomes `{ok, T}` or `{error, E}`.
    /// Arguments of another type are `error:{badarg, Text}`, a panic is `error:{panic, Text}`.
    ///
    /// For any number of arguments, or where the caller's group leader matters, there is
    /// [`export`](Self::export).
    ///
    /// ```no_run
    /// # fn example(node: gusset::Node) -> Result<(), Box<dyn std::error::Error>> {
    /// use gusset::node::Exception;
    /// use gusset::{Term, atom};
    ///
    /// node.export_fn("Elixir.MyRust", "add", |a: i64, b: i64| a + b)?;
    /// node.export_fn("Elixir.MyRust", "divide", |a: i64, b: i64| {
    ///     a.checked_div(b).ok_or_else(|| Exception::error(Term::Atom(atom!("badarith"))))
    /// })?;
    /// node.export_fn("Elixir.MyRust", "slow", |text: String| async move {
    ///     tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    ///     text.to_uppercase()
    /// })?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When a name is too long for an atom.
    pub fn export_fn<Args, Mark, F: Function<Args, Mark>>(
        &self,
        module: &str,
        function: &str,
        run: F,
    ) -> Result<(), AtomTooLong> {
        let (module, function) = (Atom::new(module)?, Atom::new(function)?);
        let name = (module.clone(), function.clone());
        self.export(module, function, F::ARITY, move |_: CallContext, args| match run.call(&args) {
            Ok(running) => running,
            Err(text) => {
                let frame = tuple![&name.0, &name.1, Term::from(args), Term::NIL];
                let badarg = Exception::error(tuple![atom!("badarg"), text]);
                std::future::ready(Err(Exception { stack: vec![frame], ..badarg })).boxed()
            }
        });
        Ok(())
    }
}

/// What a function that is called from elsewhere comes to.
type Running = BoxFuture<'static, Result<Term, Exception>>;

/// A function or closure that can be exported: arguments that serde can read, and a result that is an
/// [`Outcome`], or a future of one. `Mark` tells these apart and is found by the compiler.
pub trait Function<Args, Mark>: Send + Sync + 'static {
    /// How many arguments it takes.
    const ARITY: u8;

    /// Reads the arguments and runs.
    ///
    /// # Errors
    /// Says which argument is of another type.
    fn call(&self, args: &[Term]) -> Result<Running, String>;
}

/// What an exported function may give: a value that serde can write, or `Result<T,`
/// [`Exception`]`>`.
pub trait Outcome<Mark> {
    /// The value, or what is raised in the caller.
    ///
    /// # Errors
    /// What is raised.
    fn outcome(self) -> Result<Term, Exception>;
}

/// Marks functions that give a value.
pub struct Value;
/// Marks functions that give a value or raise.
pub struct Raises;
/// Marks functions that give their outcome at once.
pub struct Immediate<M>(std::marker::PhantomData<M>);
/// Marks functions that give a future of it.
pub struct Awaited<M>(std::marker::PhantomData<M>);

impl<T: Serialize> Outcome<Value> for T {
    fn outcome(self) -> Result<Term, Exception> {
        etf::to_term(&self).map_err(|error| Exception::error(tuple![atom!("bad_return_value"), error.to_string()]))
    }
}

impl<T: Serialize> Outcome<Raises> for Result<T, Exception> {
    fn outcome(self) -> Result<Term, Exception> {
        self.and_then(|value| Outcome::<Value>::outcome(value))
    }
}

fn argument<T: DeserializeOwned>(args: &[Term], at: usize) -> Result<T, String> {
    let term = args.get(at).ok_or_else(|| format!("argument {} is missing", at + 1))?;
    etf::from_term(term).map_err(|error| format!("argument {}: {error}", at + 1))
}

macro_rules! functions {
    ($($arity:literal: $($arg:ident $at:literal),*;)*) => {$(
        impl<F, O, M, $($arg),*> Function<($($arg,)*), Immediate<M>> for F
        where
            F: Fn($($arg),*) -> O + Send + Sync + 'static,
            O: Outcome<M>,
            M: 'static,
            $($arg: DeserializeOwned,)*
        {
            const ARITY: u8 = $arity;

            fn call(&self, args: &[Term]) -> Result<Running, String> {
                let _ = args;
                let outcome = self($(argument::<$arg>(args, $at)?),*).outcome();
                Ok(std::future::ready(outcome).boxed())
            }
        }

        impl<F, R, M, $($arg),*> Function<($($arg,)*), Awaited<M>> for F
        where
            F: Fn($($arg),*) -> R + Send + Sync + 'static,
            R: Future + Send + 'static,
            R::Output: Outcome<M>,
            M: 'static,
            $($arg: DeserializeOwned,)*
        {
            const ARITY: u8 = $arity;

            fn call(&self, args: &[Term]) -> Result<Running, String> {
                let _ = args;
                Ok(self($(argument::<$arg>(args, $at)?),*).map(Outcome::outcome).boxed())
            }
        }
    )*};
}

functions! {
    0: ;
    1: A 0;
    2: A 0, B 1;
    3: A 0, B 1, C 2;
    4: A 0, B 1, C 2, D 3;
    5: A 0, B 1, C 2, D 3, E 4;
    6: A 0, B 1, C 2, D 3, E 4, G 5;
    7: A 0, B 1, C 2, D 3, E 4, G 5, H 6;
    8: A 0, B 1, C 2, D 3, E 4, G 5, H 6, I 7;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<Args, Mark>(function: impl Function<Args, Mark>, args: &[Term]) -> Result<Term, String> {
        let outcome = function.call(args)?.now_or_never().unwrap();
        outcome.map_err(|exception| exception.to_string())
    }

    #[test]
    fn functions_of_all_shapes_can_be_called() {
        assert_eq!(run(|| "x", &[]), Ok(Term::from("x")));
        assert_eq!(run(|a: i64, b: i64| a + b, &[1.into(), 2.into()]), Ok(3.into()));
        assert_eq!(run(|a: i64| async move { a }, &[1.into()]), Ok(1.into()));
        let raise = |a: i64| if a > 0 { Ok(a) } else { Err(Exception::throw(a.into())) };
        assert_eq!(run(raise, &[1.into()]), Ok(1.into()));
        assert_eq!(run(raise, &[0.into()]), Err("throw 0".to_owned()));
        assert_eq!(run(move |a: i64| async move { raise(a) }, &[0.into()]), Err("throw 0".to_owned()));
        let result = |a: i64| if a > 0 { Ok(a) } else { Err("too small") };
        assert_eq!(run(result, &[0.into()]), Ok(tuple![atom!("error"), "too small"]));
    }

    #[test]
    fn an_argument_of_another_type_is_named() {
        let wrong = run(|a: i64, b: i64| a + b, &[1.into(), "2".into()]);
        assert_eq!(wrong, Err("argument 2: expected an integer, found a binary (at byte 0)".to_owned()));
    }
}
