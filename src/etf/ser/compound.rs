//! Lists, tuples and maps, whose parts serde hands over one by one.

use bytes::Bytes;
use serde::ser::{self, Serialize};

use super::super::encode::Encoder;
use super::super::payload::Payload;
use super::{EncodeError, EncodeErrorKind, Ok, Serializer};

/// A list whose length is written when its end is known.
pub(super) struct Seq<'s, 'a> {
    pub(super) encoder: &'s mut Encoder<'a>,
    pub(super) at: usize,
    pub(super) written: usize,
}

impl ser::SerializeSeq for Seq<'_, '_> {
    type Ok = Ok;
    type Error = EncodeError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        let index = self.written;
        self.written += 1;
        value.serialize(Serializer::new(self.encoder)).map_err(|error| error.within_index(index))
    }

    fn end(self) -> Result<Ok, EncodeError> {
        if self.written == 0 {
            self.encoder.buffer().truncate(self.at);
        } else {
            close(self.encoder, self.at, self.written)?;
        }
        self.encoder.nil();
        Ok(())
    }
}

/// Writes the number of elements behind the tag at `at`.
fn close(encoder: &mut Encoder<'_>, at: usize, written: usize) -> Result<(), EncodeError> {
    let too_many = EncodeErrorKind::TooMany { count: written, most: u32::MAX as usize };
    encoder.patch(at + 1, u32::try_from(written).map_err(|_| too_many)?);
    Ok(())
}

/// A tuple, whose length has to be known.
pub(super) struct Tuple<'s, 'a> {
    pub(super) encoder: &'s mut Encoder<'a>,
    pub(super) announced: usize,
    pub(super) written: usize,
}

impl Tuple<'_, '_> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        let index = self.written;
        self.written += 1;
        value.serialize(Serializer::new(self.encoder)).map_err(|error| error.within_index(index))
    }

    fn close(self) -> Result<Ok, EncodeError> {
        let Self { announced, written, .. } = self;
        if announced != written {
            return Err(EncodeErrorKind::WrongCount { announced, written }.into());
        }
        Ok(())
    }
}

macro_rules! tuples {
    ($($trait:ident $method:ident),*) => {
        $(impl ser::$trait for Tuple<'_, '_> {
            type Ok = Ok;
            type Error = EncodeError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
                self.element(value)
            }

            fn end(self) -> Result<Ok, EncodeError> {
                self.close()
            }
        })*
    };
}

tuples!(SerializeTuple serialize_element, SerializeTupleStruct serialize_field, SerializeTupleVariant serialize_field);

/// A map whose number of pairs is written when its end is known.
pub(super) struct Pairs<'s, 'a> {
    pub(super) encoder: &'s mut Encoder<'a>,
    pub(super) at: usize,
    pub(super) written: usize,
    /// Where the keys stand in the buffer, if this is a flattened struct: they may be the same.
    pub(super) keys: Option<Vec<std::ops::Range<usize>>>,
}

impl Pairs<'_, '_> {
    fn field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), EncodeError> {
        self.written += 1;
        let mut serializer = Serializer::new(self.encoder);
        serializer.name(key).and_then(|()| serializer.value(value)).map_err(|error| error.within(key))
    }

    fn close(self) -> Result<Ok, EncodeError> {
        if let Some(keys) = self.keys {
            let buf = self.encoder.buffer();
            let mut keys: Vec<_> = keys.into_iter().filter_map(|key| buf.get(key)).collect();
            keys.sort_unstable();
            if let Some([twice, _]) = keys.windows(2).find(|pair| matches!(pair, [a, b] if a == b)) {
                let key = Payload::new(Bytes::copy_from_slice(twice), None).term();
                let key = key.map_or_else(|_| "an atom".to_owned(), |key| key.to_string());
                return Err(EncodeErrorKind::KeyTwice(key).into());
            }
        }
        close(self.encoder, self.at, self.written)
    }
}

impl ser::SerializeMap for Pairs<'_, '_> {
    type Ok = Ok;
    type Error = EncodeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), EncodeError> {
        self.written += 1;
        let start = self.encoder.buffer().len();
        key.serialize(Serializer { encoder: self.encoder, is_name: self.keys.is_some() })?;
        let end = self.encoder.buffer().len();
        if let Some(keys) = &mut self.keys {
            keys.push(start..end);
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        let index = self.written - 1;
        value.serialize(Serializer::new(self.encoder)).map_err(|error| error.within_index(index))
    }

    fn end(self) -> Result<Ok, EncodeError> {
        self.close()
    }
}

impl ser::SerializeStruct for Pairs<'_, '_> {
    type Ok = Ok;
    type Error = EncodeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), EncodeError> {
        self.field(key, value)
    }

    fn end(self) -> Result<Ok, EncodeError> {
        self.close()
    }
}

impl ser::SerializeStructVariant for Pairs<'_, '_> {
    type Ok = Ok;
    type Error = EncodeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), EncodeError> {
        self.field(key, value)
    }

    fn end(self) -> Result<Ok, EncodeError> {
        self.close()
    }
}
