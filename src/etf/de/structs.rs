//! Structs of Elixir and records of Erlang, known by the name of the type.

use serde::de::{self, DeserializeSeed, Visitor};

use super::super::access::{Counted, Entries};
use super::super::named::{STRUCT, shown};
use super::super::read::{Reader, describe};
use super::super::tag;
use super::{DecodeErrorKind, Deserializer, Fault};

impl<'de> Deserializer<'de, '_> {
    /// A map that has this module under `__struct__`, wherever in the map that stands.
    pub(super) fn elixir<V: Visitor<'de>>(&mut self, module: &'static str, visitor: V) -> Result<V::Value, Fault> {
        let start = self.reader.clone();
        if start.peek_tag()? != tag::MAP {
            return start.unexpected(shown(module));
        }
        self.enter()?;
        let mut fields = Fields { entries: Entries::new(self, None)?, module, is_checked: false };
        let value = visitor.visit_map(&mut fields);
        let is_checked = fields.is_checked;
        let value = value.and_then(|value| fields.entries.end().map(|()| value));
        if !is_checked {
            // Another struct explains best why a field of this one is missing or wrong.
            match module_of(start.clone()) {
                Ok(Some(found)) => check(found, module)?,
                Ok(None) => {
                    let (expected, found) = (shown(module).into(), format!("a map without {STRUCT}").into());
                    return start.fail(DecodeErrorKind::Unexpected { expected, found });
                }
                Err(_) => {}
            }
        }
        value.map(|value| self.leave(value))
    }

    /// A tuple that starts with this tag, and then has the fields in their order.
    pub(super) fn record<V: Visitor<'de>>(
        &mut self,
        tag: &str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let start = self.reader.clone();
        self.enter()?;
        let count = self.record_head(tag)?;
        if count > fields.len() {
            return wrong_count(&start, tag, fields.len(), count);
        }
        // A shorter one is for the type to judge: it may have defaults for what older nodes do not send.
        let names = if count == fields.len() { fields } else { &[] };
        let mut elements = Counted::new(self, count, names);
        let value = visitor.visit_seq(&mut elements).map_err(|error| error.at(start.offset()))?;
        elements.end()?;
        Ok(self.leave(value))
    }

    /// A tuple that starts with this tag and has `len` more elements.
    pub(super) fn tagged<V: Visitor<'de>>(
        &mut self,
        tag: &str,
        len: usize,
        visit: impl FnOnce(&mut Self, V) -> Result<V::Value, Fault>,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let start = self.reader.clone();
        self.enter()?;
        match self.record_head(tag)? {
            count if count == len => {}
            count => return wrong_count(&start, tag, len, count),
        }
        let value = visit(self, visitor)?;
        Ok(self.leave(value))
    }

    /// Starts a record: how many fields follow.
    fn record_head(&mut self, tag: &str) -> Result<usize, Fault> {
        let start = self.reader.clone();
        let Ok(arity @ 1..) = self.reader.tuple() else {
            return start.unexpected(format!("a record #{tag}{{}}"));
        };
        let found = match self.reader.atom_text() {
            Ok(found) if found == tag => return Ok(arity - 1),
            Ok(found) => format!("a tuple that starts with {found}"),
            Err(_) => "a tuple that starts with no atom".to_owned(),
        };
        start.fail(DecodeErrorKind::Unexpected { expected: format!("a record #{tag}{{}}").into(), found: found.into() })
    }
}

fn wrong_count<T>(start: &Reader<'_>, tag: &str, fields: usize, found: usize) -> Result<T, Fault> {
    let expected = format!("a tuple of {} that starts with {tag}", fields + 1).into();
    start.fail(DecodeErrorKind::Unexpected { expected, found: format!("a tuple of {}", found + 1).into() })
}

/// The fields of a struct, without the module, which is checked when it comes along.
struct Fields<'d, 'de, 'l> {
    entries: Entries<'d, 'de, 'l>,
    module: &'static str,
    is_checked: bool,
}

impl<'de> de::MapAccess<'de> for Fields<'_, 'de, '_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        while self.entries.more()? {
            let reader = self.entries.reader();
            let mut value = reader.clone();
            if !value.atom_text().is_ok_and(|key| key == STRUCT) {
                return self.entries.key(seed).map(Some);
            }
            if self.is_checked {
                return reader.fail(DecodeErrorKind::Invalid(super::super::decode::KEY_TWICE));
            }
            check(value.clone(), self.module)?;
            value.skip()?;
            *reader = value;
            self.is_checked = true;
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        (&mut self.entries).next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.entries.at_least()
    }
}

fn check(mut found: Reader<'_>, module: &str) -> Result<(), Fault> {
    let start = found.clone();
    let found = match found.atom_text() {
        Ok(text) if text == module => return Ok(()),
        Ok(text) => shown(&text),
        Err(_) => format!("{} as {STRUCT}", start.peek_tag().map_or("nothing".into(), describe)),
    };
    start.fail(DecodeErrorKind::Unexpected { expected: shown(module).into(), found: found.into() })
}

/// What a map has under `__struct__`.
fn module_of(mut map: Reader<'_>) -> Result<Option<Reader<'_>>, Fault> {
    for _ in 0..map.map()? {
        let is_struct = map.clone().atom_text().is_ok_and(|key| key == STRUCT);
        map.skip()?;
        if is_struct {
            return Ok(Some(map));
        }
        map.skip()?;
    }
    Ok(None)
}
