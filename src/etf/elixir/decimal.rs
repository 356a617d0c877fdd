//! The struct of the library Decimal, which Ecto has for money.

use std::fmt;
use std::str::FromStr;

use num_bigint::{BigInt, Sign};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::super::raw::{self, FromEncoded};
use super::super::{DecodeError, DecodeErrorKind, Reader, tag};
use crate::atom;

/// `sign * coef * 10 ^ exp`. Displayed and parsed as `Decimal.to_string` does: `12.50`, `1.2E+9`, `-Infinity`, `NaN`.
///
/// Two are equal when they are written the same: `1.0` is not `1.00`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename = "Elixir.Decimal")]
pub struct Decimal {
    /// 1 or -1.
    pub sign: i8,
    /// The digits.
    pub coef: Coefficient,
    /// The power of ten.
    pub exp: i64,
}

/// The digits of a [`Decimal`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Coefficient {
    /// An integer, not negative.
    Digits(BigInt),
    /// `:inf`.
    Infinity,
    /// `:NaN`.
    NaN,
}

impl From<i64> for Decimal {
    fn from(value: i64) -> Self {
        BigInt::from(value).into()
    }
}

impl From<BigInt> for Decimal {
    fn from(value: BigInt) -> Self {
        let (sign, magnitude) = value.into_parts();
        let coef = Coefficient::Digits(magnitude.into());
        Self { sign: if sign == Sign::Minus { -1 } else { 1 }, coef, exp: 0 }
    }
}

impl fmt::Display for Coefficient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digits(digits) => digits.fmt(f),
            Self::Infinity => f.write_str("inf"),
            Self::NaN => f.write_str("NaN"),
        }
    }
}

impl Serialize for Coefficient {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        raw::serialize(serializer, self, |encoder| {
            match self {
                Self::Digits(digits) => encoder.big(digits),
                Self::Infinity => encoder.atom(&atom!("inf")),
                Self::NaN => encoder.atom(&atom!("NaN")),
            }
            Ok(())
        })
    }
}

impl<'de> Deserialize<'de> for Coefficient {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        raw::deserialize(deserializer, COEFFICIENT)
    }
}

const COEFFICIENT: &str = "an integer that is not negative, NaN or inf";

impl FromEncoded for Coefficient {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = reader.clone();
        if matches!(reader.peek_tag()?, tag::SMALL_INTEGER | tag::INTEGER | tag::SMALL_BIG | tag::LARGE_BIG) {
            let digits = raw::integer(reader)?;
            return match digits.sign() {
                Sign::Minus => start.fail(DecodeErrorKind::Invalid("the coefficient of a decimal is negative")),
                _ => Ok(Self::Digits(digits)),
            };
        }
        match reader.atom_text() {
            Ok(text) if text == "NaN" => Ok(Self::NaN),
            Ok(text) if text == "inf" => Ok(Self::Infinity),
            _ => start.unexpected(COEFFICIENT),
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "inf" => Some(Self::Infinity),
            "NaN" => Some(Self::NaN),
            digits => digits.parse().ok().filter(|digits: &BigInt| digits.sign() != Sign::Minus).map(Self::Digits),
        }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.sign < 0 { "-" } else { "" };
        let digits = match &self.coef {
            Coefficient::Digits(digits) => digits.to_string(),
            Coefficient::Infinity => return write!(f, "{sign}Infinity"),
            Coefficient::NaN => return write!(f, "{sign}NaN"),
        };
        // As the standard of decimal arithmetic says: an exponent where zeros would not be digits of the number.
        let scientific = i128::from(self.exp) + digits.len() as i128 - 1;
        if self.exp > 0 || scientific < -6 {
            let (first, rest) = digits.split_at(1);
            let point = if rest.is_empty() { "" } else { "." };
            return write!(f, "{sign}{first}{point}{rest}E{scientific:+}");
        }
        // Not more than the digits and six zeros, as checked above.
        let decimals = self.exp.unsigned_abs() as usize;
        if decimals == 0 {
            return write!(f, "{sign}{digits}");
        }
        let digits = format!("{digits:0>width$}", width = decimals + 1);
        let (whole, fraction) = digits.split_at(digits.len() - decimals);
        write!(f, "{sign}{whole}.{fraction}")
    }
}

/// Text that is no decimal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no decimal number (as 12.50, 1.2E+9, Infinity or NaN)")]
pub struct ParseDecimalError(String);

impl FromStr for Decimal {
    type Err = ParseDecimalError;

    fn from_str(text: &str) -> Result<Self, ParseDecimalError> {
        parse(text).ok_or_else(|| ParseDecimalError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Decimal> {
    let (sign, number) = match text.strip_prefix('-') {
        Some(number) => (-1, number),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if number.eq_ignore_ascii_case("infinity") || number.eq_ignore_ascii_case("inf") {
        return Some(Decimal { sign, coef: Coefficient::Infinity, exp: 0 });
    }
    if number.eq_ignore_ascii_case("nan") {
        return Some(Decimal { sign, coef: Coefficient::NaN, exp: 0 });
    }
    let (number, exp) = match number.split_once(['e', 'E']) {
        Some((number, exp)) => (number, exp.parse::<i64>().ok()?),
        None => (number, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let exp = exp.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    Some(Decimal { sign, coef: Coefficient::Digits(digits.parse().ok()?), exp })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_shown_as_the_library_shows_them() {
        for (text, sign, coef, exp) in [
            ("12.50", 1, 1250, -2),
            ("-0.001", -1, 1, -3),
            ("0.00", 1, 0, -2),
            ("7", 1, 7, 0),
            ("1.2E+9", 1, 12, 8),
            ("1E-7", 1, 1, -7),
            ("0.000001", 1, 1, -6),
        ] {
            let decimal = Decimal { sign, coef: Coefficient::Digits(coef.into()), exp };
            assert_eq!(decimal.to_string(), text);
            assert_eq!(text.parse(), Ok(decimal));
        }
        assert_eq!("-inf".parse::<Decimal>().unwrap().to_string(), "-Infinity");
        for bad in ["", "-", ".", "1e", "1.2.3", "0x1", "١", "1E99999999999999999999", "--1"] {
            assert!(bad.parse::<Decimal>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_and_number_are_the_same(negative: bool, digits: u128, exp: i64) {
            let coef = Coefficient::Digits(digits.into());
            let decimal = Decimal { sign: if negative { -1 } else { 1 }, coef, exp: exp / 2 };
            prop_assert_eq!(decimal.to_string().parse::<Decimal>(), Ok(decimal));
        }
    }
}
