//! Lists, tuples and maps, whose parts serde hands over one by one.

use std::ops::Range;

use serde::ser::{self, Serialize};

use super::super::access::key_in_path;
use super::super::encode::Encoder;
use super::super::limits::Limits;
use super::super::named::STRUCT;
use super::super::term::Term;
use super::{EncodeErrorKind, Ok, Serializer, Unwritable, Wanted};

/// A list whose length is written when its end is known.
pub(super) struct Seq<'s, 'a> {
    pub(super) encoder: &'s mut Encoder<'a>,
    pub(super) at: usize,
    pub(super) written: usize,
    /// Where the elements stand in the buffer, if they are the keys of a map: a set.
    pub(super) keys: Option<Vec<Range<usize>>>,
}

impl ser::SerializeSeq for Seq<'_, '_> {
    type Ok = Ok;
    type Error = Unwritable;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
        let index = self.written;
        self.written += 1;
        let start = self.encoder.buffer().len();
        if let Err(error) = value.serialize(Serializer::new(self.encoder)) {
            return Err(error.in_element(index, None));
        }
        if let Some(keys) = &mut self.keys {
            keys.push(start..self.encoder.buffer().len());
            self.encoder.nil();
        }
        Ok(())
    }

    fn end(self) -> Result<Ok, Unwritable> {
        if let Some(keys) = self.keys {
            check_keys(self.encoder, keys)?;
            return close(self.encoder, self.at, self.written);
        }
        end_list(self.encoder, self.at, self.written)
    }
}

/// Ends a list that was begun at `at`.
fn end_list(encoder: &mut Encoder<'_>, at: usize, written: usize) -> Result<Ok, Unwritable> {
    if written == 0 {
        encoder.buffer().truncate(at);
    } else {
        close(encoder, at, written)?;
    }
    encoder.nil();
    Ok(())
}

/// Refuses a key that comes twice.
fn check_keys(encoder: &mut Encoder<'_>, keys: Vec<Range<usize>>) -> Result<(), Unwritable> {
    let buf = &*encoder.buffer();
    let of = |key: &Range<usize>| buf.get(key.clone()).unwrap_or_default();
    let mut keys = keys;
    keys.sort_unstable_by(|a, b| of(a).cmp(of(b)));
    let Some([twice, _]) = keys.windows(2).find(|pair| matches!(pair, [a, b] if of(a) == of(b))) else { return Ok(()) };
    let start = twice.start;
    let key = Term::decode(&mut encoder.written_from(start), &Limits::default());
    Err(EncodeErrorKind::KeyTwice(key.map_or_else(|_| "of bytes".to_owned(), |key| key.to_string())).into())
}

/// Writes the number of elements behind the tag at `at`.
fn close(encoder: &mut Encoder<'_>, at: usize, written: usize) -> Result<(), Unwritable> {
    let too_many = EncodeErrorKind::TooMany { count: written, most: u32::MAX as usize };
    encoder.patch(at + 1, u32::try_from(written).map_err(|_| too_many)?);
    Ok(())
}

/// A tuple, whose length has to be known.
pub(super) struct Tuple<'s, 'a> {
    pub(super) encoder: &'s mut Encoder<'a>,
    pub(super) announced: usize,
    pub(super) written: usize,
    /// Whose elements these are, for the path of an error.
    pub(super) variant: Option<&'static str>,
}

impl Tuple<'_, '_> {
    #[inline]
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
        let index = self.written;
        self.written += 1;
        let written = value.serialize(Serializer::new(self.encoder));
        written.map_err(|error| error.in_element(index, self.variant))
    }

    fn close(self) -> Result<Ok, Unwritable> {
        check_count(self.announced, self.written).map_err(|error| error.of_variant(self.variant))
    }
}

fn check_count(announced: usize, written: usize) -> Result<Ok, Unwritable> {
    if announced != written {
        return Err(EncodeErrorKind::WrongCount { announced, written }.into());
    }
    Ok(())
}

macro_rules! tuples {
    ($($trait:ident $method:ident),*) => {
        $(impl ser::$trait for Tuple<'_, '_> {
            type Ok = Ok;
            type Error = Unwritable;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
                self.element(value)
            }

            fn end(self) -> Result<Ok, Unwritable> {
                self.close()
            }
        })*
    };
}

tuples!(SerializeTuple serialize_element, SerializeTupleStruct serialize_field, SerializeTupleVariant serialize_field);

/// A map or a keyword list, whose number of pairs is written when its end is known; or a record.
pub(super) struct Pairs<'s, 'a> {
    pub(super) encoder: &'s mut Encoder<'a>,
    pub(super) at: usize,
    pub(super) written: usize,
    pub(super) form: Form,
    /// Where the keys stand in the buffer, if this is a flattened struct: they may be the same.
    pub(super) keys: Option<Vec<Range<usize>>>,
    /// Where the last key of a map stands in the buffer.
    pub(super) key: usize,
    /// Whose fields these are, for the path of an error.
    pub(super) variant: Option<&'static str>,
}

/// What pairs are written as.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Form {
    /// A map.
    Map,
    /// A map that has its module already.
    Elixir,
    /// A list of pairs.
    Keyword,
    /// A tuple, without the keys.
    Record {
        /// How many fields its head says.
        announced: usize,
    },
}

impl Pairs<'_, '_> {
    #[inline]
    pub(super) fn field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Unwritable> {
        self.pair(key, value).map_err(|error| error.within(key).of_variant(self.variant))
    }

    #[inline]
    fn pair<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Unwritable> {
        self.written += 1;
        let mut serializer = Serializer::new(self.encoder);
        match self.form {
            Form::Map if key == STRUCT => serializer.wanted = Wanted::Name,
            Form::Map => {}
            Form::Elixir if key == STRUCT => return Err(EncodeErrorKind::KeyTwice(format!("'{STRUCT}'")).into()),
            Form::Elixir => {}
            Form::Keyword => serializer.encoder.tuple_header(2),
            Form::Record { .. } => {
                serializer.wanted = Wanted::RecordField;
                return value.serialize(serializer);
            }
        }
        serializer.name(key)?;
        value.serialize(serializer)
    }

    fn skipped(&self, key: &'static str) -> Result<(), Unwritable> {
        match self.form {
            Form::Record { .. } => {
                let error: Unwritable = ser::Error::custom("a field of a record has its place and cannot be left out");
                Err(error.within(key).of_variant(self.variant))
            }
            _ => Ok(()),
        }
    }

    fn close(self) -> Result<Ok, Unwritable> {
        let Self { encoder, at, written, form, keys, variant, .. } = self;
        let keys = keys.filter(|_| form == Form::Map);
        let closed = keys.map_or(Ok(()), |keys| check_keys(encoder, keys)).and_then(|()| match form {
            Form::Map | Form::Elixir => close(encoder, at, written),
            Form::Keyword => end_list(encoder, at, written),
            Form::Record { announced } => check_count(announced, written),
        });
        closed.map_err(|error| error.of_variant(variant))
    }
}

impl ser::SerializeMap for Pairs<'_, '_> {
    type Ok = Ok;
    type Error = Unwritable;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unwritable> {
        self.written += 1;
        let is_keyword = self.form == Form::Keyword;
        if is_keyword {
            self.encoder.tuple_header(2);
        }
        self.key = self.encoder.buffer().len();
        let wanted = if is_keyword || self.keys.is_some() { Wanted::Name } else { Wanted::Usual };
        let index = self.written - 1;
        key.serialize(Serializer { encoder: self.encoder, wanted }).map_err(|error| error.in_element(index, None))?;
        let end = self.encoder.buffer().len();
        if let Some(keys) = &mut self.keys {
            keys.push(self.key..end);
        }
        Ok(())
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
        let written = value.serialize(Serializer::new(self.encoder));
        written.map_err(|error| error.within(&key_in_path(&self.encoder.written_from(self.key))))
    }

    fn end(self) -> Result<Ok, Unwritable> {
        self.close()
    }
}

macro_rules! structs {
    ($($trait:ident),*) => {
        $(impl ser::$trait for Pairs<'_, '_> {
            type Ok = Ok;
            type Error = Unwritable;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), Unwritable> {
                self.field(key, value)
            }

            fn skip_field(&mut self, key: &'static str) -> Result<(), Unwritable> {
                self.skipped(key)
            }

            fn end(self) -> Result<Ok, Unwritable> {
                self.close()
            }
        })*
    };
}

structs!(SerializeStruct, SerializeStructVariant);
