//! [`Term`]: any Erlang term as an owned tree, with its parts and the ways to look at them.
//!
//! Decoding into a tree is in `decode`, order and equality in `order`, Erlang syntax in `print` and
//! `parse`, the many `From` in `convert`.

use bytes::Bytes;
use num_bigint::BigInt;
use num_traits::ToPrimitive;

use super::atom::{Atom, AtomTooLong};
use super::encode::Encoder;
use super::error::EncodeError;
use super::ids::{Pid, Port, Ref};
use super::list::List;
use super::map::Map;
use super::write;

/// Any Erlang term.
///
/// `==` is Erlang's `=:=` (1 and 1.0 differ, the tags that came on the wire do not matter), `<` is
/// Erlang's order of terms. `Display` prints Erlang syntax and `FromStr` reads it.
///
/// A tree is dropped, cloned and compared by recursion, which is why
/// [`Limits::tree_depth`](super::Limits::tree_depth) bounds what decoding and parsing build.
#[derive(Clone)]
pub enum Term {
    /// An integer of 64 bits.
    Integer(i64),
    /// A larger integer. Decoding gives this only for what does not fit an `i64`; a small one in
    /// here is equal to the [`Integer`](Self::Integer) all the same.
    BigInteger(BigInt),
    /// A float. Erlang has neither infinities nor not-a-number: encoding one is an error.
    Float(f64),
    /// An atom.
    Atom(Atom),
    /// A process identifier.
    Pid(Pid),
    /// A port identifier.
    Port(Box<Port>),
    /// A reference or alias.
    Ref(Box<Ref>),
    /// A tuple.
    Tuple(Vec<Term>),
    /// A proper list, the empty one included. Erlang's strings are lists of integers, and stay bytes until somebody
    /// looks at their elements.
    List(List),
    /// At least one element and a tail that is no list: `[alias | #Ref<…>]` is one.
    ImproperList(Vec<Term>, Box<Term>),
    /// A map.
    Map(Map),
    /// A binary, whole bytes. Elixir's strings are binaries.
    Binary(Bytes),
    /// A bitstring whose last byte is not whole.
    BitString(Box<BitString>),
    /// A fun.
    Fun(Box<Fun>),
    /// A native record (OTP 29 and later; classic records are tuples).
    Record(Box<Record>),
}

/// Five words, in whatever way the rest of it changes: trees are made of these.
const _: () = assert!(size_of::<Term>() <= 40);

/// A bitstring that does not end at a byte.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BitString {
    bytes: Bytes,
    bits: u8,
}

impl BitString {
    /// `bytes`, of whose last only the `bits` (1 to 7) high bits count; the others are cleared.
    /// `None` for another number of bits or without bytes.
    pub fn new(bytes: Bytes, bits: u8) -> Option<Self> {
        let last = *bytes.last()?;
        if !(1..=7).contains(&bits) {
            return None;
        }
        let cleared = last & !(0xff >> bits);
        if cleared == last {
            return Some(Self { bytes, bits });
        }
        let mut owned = bytes.to_vec();
        *owned.last_mut()? = cleared;
        Some(Self { bytes: owned.into(), bits })
    }

    /// The bytes; the unused low bits of the last are zero.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How many bits of the last byte count: 1 to 7.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// The length in bits.
    pub fn bit_len(&self) -> usize {
        (self.bytes.len() - 1) * 8 + usize::from(self.bits)
    }
}

/// A fun.
#[derive(Clone, Debug)]
pub enum Fun {
    /// `fun Module:Function/Arity`.
    Export {
        /// The module.
        module: Atom,
        /// The function.
        function: Atom,
        /// How many arguments it takes.
        arity: u8,
    },
    /// A fun with code and values of the node that made it: opaque to everybody else, but it
    /// survives a round trip (`global` exchanges its conflict resolvers so).
    Opaque(OpaqueFun),
}

/// The parts of a fun that only a node with the same module can call (`NEW_FUN_EXT`).
#[derive(Clone, Debug)]
pub struct OpaqueFun {
    /// How many arguments it takes.
    pub arity: u8,
    /// The MD5 of the significant parts of the module's code.
    pub uniq: [u8; 16],
    /// The number of the fun in its module.
    pub index: u32,
    /// The module.
    pub module: Atom,
    /// The number by which releases before R15 knew the fun.
    pub old_index: i64,
    /// The hash by which releases before R15 knew the fun.
    pub old_uniq: i64,
    /// The process that made it; from OTP 26 on a stand-in for the node.
    pub pid: Pid,
    /// The values that the fun closes over; at most 255.
    pub free: Vec<Term>,
}

/// A native record, as OTP 29 sends it (`RECORD_EXT`).
#[derive(Clone, Debug)]
pub struct Record {
    /// 1 for a record that its module exports.
    pub flags: u8,
    /// The module that defines it.
    pub module: Atom,
    /// The name of the record.
    pub name: Atom,
    /// The fields, in the order of the definition.
    pub fields: Vec<(Atom, Term)>,
}

impl Term {
    /// The empty list.
    pub const NIL: Term = Term::List(List::new());

    /// An atom from text that is not known at compile time; else `Term::from(atom!("ok"))`.
    ///
    /// # Errors
    /// When the text has more than 255 characters.
    pub fn atom(text: impl AsRef<str>) -> Result<Self, AtomTooLong> {
        Atom::new(text).map(Self::Atom)
    }

    /// A binary; text becomes an Elixir string.
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        Self::Binary(bytes.into())
    }

    /// A tuple.
    pub fn tuple(elements: impl IntoIterator<Item = Term>) -> Self {
        Self::Tuple(elements.into_iter().collect())
    }

    /// A proper list.
    pub fn list(elements: impl IntoIterator<Item = Term>) -> Self {
        Self::List(elements.into_iter().collect())
    }

    /// The list of the characters of a text: Erlang's `"text"`, Elixir's `~c"text"`.
    pub fn charlist(text: &str) -> Self {
        if text.is_ascii() {
            return Self::List(List::from_bytes(Bytes::copy_from_slice(text.as_bytes())));
        }
        Self::List(text.chars().map(|character| Self::Integer(u32::from(character).into())).collect())
    }

    /// A list with a tail: proper where the tail is a list, the tail itself where there are no elements.
    pub fn list_with_tail(mut elements: Vec<Term>, tail: Term) -> Self {
        match tail {
            tail if elements.is_empty() => tail,
            Term::List(more) => {
                elements.extend(more);
                Self::List(elements.into())
            }
            Term::ImproperList(more, tail) => {
                elements.extend(more);
                Self::ImproperList(elements, tail)
            }
            tail => Self::ImproperList(elements, Box::new(tail)),
        }
    }

    /// A map; of two pairs with the same key the later one counts.
    pub fn map(pairs: impl IntoIterator<Item = (Term, Term)>) -> Self {
        Self::Map(pairs.into_iter().collect())
    }

    /// `fun Module:Function/Arity`.
    pub fn export(module: Atom, function: Atom, arity: u8) -> Self {
        Self::Fun(Box::new(Fun::Export { module, function, arity }))
    }

    /// The atom, when it is one.
    pub fn as_atom(&self) -> Option<&Atom> {
        match self {
            Self::Atom(atom) => Some(atom),
            _ => None,
        }
    }

    /// True for the atom with this text.
    pub fn is_atom(&self, text: &str) -> bool {
        self.as_atom().is_some_and(|atom| atom == text)
    }

    /// The atoms `true` and `false`.
    pub fn as_bool(&self) -> Option<bool> {
        match self.as_atom()?.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// The integer, when it is one of 64 bits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(*value),
            Self::BigInteger(value) => value.to_i64(),
            _ => None,
        }
    }

    /// The integer, when it is one of 64 bits without a sign.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Integer(value) => u64::try_from(*value).ok(),
            Self::BigInteger(value) => value.to_u64(),
            _ => None,
        }
    }

    /// The integer, of whatever size.
    pub fn as_bigint(&self) -> Option<BigInt> {
        match self {
            Self::Integer(value) => Some((*value).into()),
            Self::BigInteger(value) => Some(value.clone()),
            _ => None,
        }
    }

    /// The float; an integer is none.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// The pid, when it is one.
    pub fn as_pid(&self) -> Option<&Pid> {
        match self {
            Self::Pid(pid) => Some(pid),
            _ => None,
        }
    }

    /// The port, when it is one.
    pub fn as_port(&self) -> Option<&Port> {
        match self {
            Self::Port(port) => Some(port),
            _ => None,
        }
    }

    /// The reference, when it is one.
    pub fn as_reference(&self) -> Option<&Ref> {
        match self {
            Self::Ref(reference) => Some(reference),
            _ => None,
        }
    }

    /// The elements of a tuple.
    pub fn as_tuple(&self) -> Option<&[Term]> {
        match self {
            Self::Tuple(elements) => Some(elements),
            _ => None,
        }
    }

    /// The elements of a tuple of `N`: `let [tag, value] = term.as_tuple_of()?`.
    pub fn as_tuple_of<const N: usize>(&self) -> Option<&[Term; N]> {
        self.as_tuple()?.try_into().ok()
    }

    /// The elements of a proper list.
    pub fn as_list(&self) -> Option<&[Term]> {
        match self {
            Self::List(elements) => Some(elements),
            _ => None,
        }
    }

    /// True for the empty list.
    pub fn is_nil(&self) -> bool {
        matches!(self, Self::List(list) if list.is_empty())
    }

    /// The map, when it is one.
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The bytes of a binary.
    pub fn as_binary(&self) -> Option<&Bytes> {
        match self {
            Self::Binary(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The text of a binary in UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_binary()?).ok()
    }

    /// The text of an atom, of a binary in UTF-8 or of a list of characters.
    pub fn to_text(&self) -> Option<String> {
        match self {
            Self::Atom(atom) => Some(atom.as_str().to_owned()),
            Self::Binary(_) => self.as_str().map(str::to_owned),
            Self::List(list) => {
                let character = |term: &Term| char::from_u32(u32::try_from(term.as_i64()?).ok()?);
                match list.as_bytes() {
                    Some(bytes) => Some(bytes.iter().map(|&byte| char::from(byte)).collect()),
                    None => list.iter().map(character).collect(),
                }
            }
            _ => None,
        }
    }

    /// The fun, when it is one.
    pub fn as_fun(&self) -> Option<&Fun> {
        match self {
            Self::Fun(fun) => Some(fun),
            _ => None,
        }
    }

    /// The native record, when it is one.
    pub fn as_record(&self) -> Option<&Record> {
        match self {
            Self::Record(record) => Some(record),
            _ => None,
        }
    }

    /// Writes the term.
    ///
    /// # Errors
    /// For what the format cannot say: a float that is not finite, a fun that closes over more than
    /// 255 values. The buffer then holds half a term.
    pub fn encode(&self, encoder: &mut Encoder<'_>) -> Result<(), EncodeError> {
        write::write(self, encoder)
    }
}

/// The most values a fun may close over (`external.c` refuses more).
pub(crate) const MAX_FREE: usize = 255;
