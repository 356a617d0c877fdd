//! Binaries and bitstrings of Erlang syntax.

use num_bigint::BigInt;

use super::super::term::BitString;
use super::{Parsed, Parser, Term};

impl Parser<'_> {
    /// Inside `<<`: strings, and integers with or without a size in bits.
    pub(super) fn bits(&mut self) -> Parsed<Term> {
        let mut bits = Bits::default();
        if self.sign(">>") {
            return Ok(bits.finish());
        }
        loop {
            self.space();
            if self.rest.starts_with('"') {
                self.take("\"");
                let text = self.quoted('"')?;
                let utf8 = self.take("/utf8");
                for character in text.chars() {
                    match u8::try_from(character) {
                        Ok(byte) if !utf8 => bits.push(&byte.into(), 8),
                        _ if utf8 => character.to_string().bytes().for_each(|byte| bits.push(&byte.into(), 8)),
                        _ => return Err(format!("{character:?} does not fit a byte; write /utf8 behind the string")),
                    }
                }
            } else if self.rest.starts_with("~") {
                let text = self.sigil()?;
                text.as_binary().into_iter().flatten().for_each(|&byte| bits.push(&byte.into(), 8));
            } else {
                let negative = self.take("-");
                let Some(value) = self.number(negative)?.as_bigint() else {
                    return Err("only integers and strings stand in a binary".to_owned());
                };
                let mut size = 8;
                if self.take(":") {
                    size = match self.digits(10)?.parse() {
                        Ok(size @ 0..=MAX_SEGMENT) => size,
                        _ => return Err(format!("a segment has at most {MAX_SEGMENT} bits")),
                    };
                }
                bits.push(&value, size);
            }
            if self.sign(">>") {
                return Ok(bits.finish());
            }
            if !self.take(",") {
                return self.expected("`,` or `>>`");
            }
        }
    }
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    /// How many bits of the last byte are taken; 0 when it is whole.
    used: u8,
}

impl Bits {
    /// The `size` low bits of a number, the highest first.
    fn push(&mut self, value: &BigInt, size: usize) {
        let low = value.to_signed_bytes_le();
        let sign = if value.sign() == num_bigint::Sign::Minus { 0xff } else { 0 };
        for bit in (0..size).rev() {
            let byte = low.get(bit / 8).copied().unwrap_or(sign);
            if self.used == 0 {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= (byte >> (bit % 8) & 1) << (7 - self.used);
            }
            self.used = (self.used + 1) % 8;
        }
    }

    fn finish(self) -> Term {
        let bytes: bytes::Bytes = self.bytes.into();
        match BitString::new(bytes.clone(), self.used) {
            Some(bits) => Term::from(bits),
            None => Term::Binary(bytes),
        }
    }
}

/// The most bits of one segment: those of the largest number that may be written.
const MAX_SEGMENT: usize = 1 << 16;
