//! Numbers out of a reader.

use num_bigint::{BigInt, Sign};

use super::super::tag;
use super::{DecodeError, DecodeErrorKind, Reader};

impl<'a> Reader<'a> {
    /// Takes an integer that fits 64 bits with a sign.
    ///
    /// # Errors
    /// When the next term is no integer, or a larger one.
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        let value = self.i128()?;
        i64::try_from(value).or_else(|_| self.fail(DecodeErrorKind::Invalid("the integer does not fit an i64")))
    }

    /// Takes an integer that fits 64 bits without a sign.
    ///
    /// # Errors
    /// When the next term is no integer, or is negative, or a larger one.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        let value = self.i128()?;
        u64::try_from(value).or_else(|_| self.fail(DecodeErrorKind::Invalid("the integer does not fit a u64")))
    }

    fn i128(&mut self) -> Result<i128, DecodeError> {
        let start = self.rest;
        match self.integer()? {
            Integer::Small(value) => Ok(value.into()),
            Integer::Big { negative, magnitude } if magnitude.len() <= 8 => {
                let mut bytes = [0; 16];
                bytes.iter_mut().zip(magnitude).for_each(|(to, from)| *to = *from);
                let value = i128::from_le_bytes(bytes);
                Ok(if negative { -value } else { value })
            }
            Integer::Big { .. } => {
                self.back_at(start).fail(DecodeErrorKind::Invalid("the integer does not fit 64 bits"))
            }
        }
    }

    /// Takes an integer of any size, without copying a large one.
    #[inline]
    pub(crate) fn integer(&mut self) -> Result<Integer<'a>, DecodeError> {
        match self.usual_integer() {
            Some(value) => Ok(Integer::Small(value.into())),
            None => self.large_integer(),
        }
    }

    /// Takes an integer of one byte or of four.
    #[inline(always)]
    pub(in super::super) fn usual_integer(&mut self) -> Option<i32> {
        let (value, rest) = match self.rest {
            [tag::SMALL_INTEGER, byte, rest @ ..] => (i32::from(*byte), rest),
            [tag::INTEGER, a, b, c, d, rest @ ..] => (i32::from_be_bytes([*a, *b, *c, *d]), rest),
            _ => return None,
        };
        self.go_on(rest);
        Some(value)
    }

    /// As [`integer`](Self::integer), for those that are not small, and the errors.
    #[inline(never)]
    fn large_integer(&mut self) -> Result<Integer<'a>, DecodeError> {
        let start = self.rest;
        let (sign, magnitude) = match self.u8()? {
            tag::SMALL_BIG => {
                let len = self.u8()?;
                (self.u8()?, self.take(len.into())?)
            }
            tag::LARGE_BIG => {
                let len = self.count(1)?;
                (self.u8()?, self.take(len)?)
            }
            tag::SMALL_INTEGER => return self.cut_off(1),
            tag::INTEGER => return self.cut_off(4),
            _ => {
                self.rest = start;
                return self.unexpected("an integer");
            }
        };
        let significant = magnitude.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let magnitude = magnitude.get(..significant).unwrap_or_default();
        let negative = sign != 0;
        if significant < 8 {
            let mut bytes = [0; 8];
            bytes.iter_mut().zip(magnitude).for_each(|(to, from)| *to = *from);
            let value = i64::from_le_bytes(bytes);
            return Ok(Integer::Small(if negative { -value } else { value }));
        }
        Ok(Integer::Big { negative, magnitude })
    }

    /// Takes a float, new or old.
    ///
    /// # Errors
    /// When the next term is no float, or is not a number or infinite.
    #[inline]
    pub fn f64(&mut self) -> Result<f64, DecodeError> {
        match self.usual_f64() {
            Some(value) => Ok(value),
            None => self.rare_f64(),
        }
    }

    /// Takes a new float that is a number.
    #[inline(always)]
    pub(in super::super) fn usual_f64(&mut self) -> Option<f64> {
        let [tag::NEW_FLOAT, rest @ ..] = self.rest else { return None };
        let (bytes, rest) = rest.split_first_chunk()?;
        let value = f64::from_be_bytes(*bytes);
        if !value.is_finite() {
            return None;
        }
        self.go_on(rest);
        Some(value)
    }

    /// As [`f64`](Self::f64), for old ones, and the errors.
    #[inline(never)]
    fn rare_f64(&mut self) -> Result<f64, DecodeError> {
        let start = self.clone();
        let value = match self.u8()? {
            tag::NEW_FLOAT => f64::from_be_bytes(self.array()?),
            tag::FLOAT => {
                let text = self.take(31)?;
                let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
                let text = std::str::from_utf8(text).unwrap_or_default().trim();
                match text.parse() {
                    Ok(value) => value,
                    Err(_) => return start.fail(DecodeErrorKind::Invalid("an old float is not a number")),
                }
            }
            _ => {
                *self = start;
                return self.unexpected("a float");
            }
        };
        if value.is_finite() { Ok(value) } else { start.fail(DecodeErrorKind::Invalid("a float is not finite")) }
    }
}

/// An integer as it stands on the wire.
pub(crate) enum Integer<'a> {
    Small(i64),
    /// At least eight bytes, little-endian, the last of them not zero.
    Big {
        negative: bool,
        magnitude: &'a [u8],
    },
}

impl Integer<'_> {
    pub(crate) fn to_bigint(&self) -> BigInt {
        match self {
            Self::Small(value) => (*value).into(),
            Self::Big { negative, magnitude } => {
                BigInt::from_bytes_le(if *negative { Sign::Minus } else { Sign::Plus }, magnitude)
            }
        }
    }
}
