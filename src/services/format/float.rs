//! Floats as `~f`, `~e` and `~g` print them (`io_lib_format.erl`): the 21 digits of `float_to_list/1`,
//! rounded half up. `None` stands for a precision that the directive does not take.

/// `~f`: so many decimals, at least one.
pub(super) fn fixed(value: f64, decimals: usize) -> Option<String> {
    if decimals == 0 {
        return None;
    }
    let (mut digits, exponent) = digits(value)?;
    // The point stands behind this digit; a number below one begins with zeros.
    let mut point = usize::try_from(exponent).unwrap_or_default() + 1;
    digits.splice(0..0, std::iter::repeat_n(0, usize::try_from(-exponent).unwrap_or_default()));
    point += usize::from(round(&mut digits, point + decimals));
    let text = text(&digits);
    let (whole, fraction) = text.split_at_checked(point)?;
    let fraction = fraction.get(..decimals)?;
    Some(format!("{}{whole}.{fraction}", sign(value)))
}

/// `~e`: so many digits in all, at least two.
pub(super) fn scientific(value: f64, precision: usize) -> Option<String> {
    if precision < 2 {
        return None;
    }
    let (mut digits, mut exponent) = digits(value)?;
    exponent += i32::from(round(&mut digits, precision));
    digits.truncate(precision);
    let text = text(&digits);
    let (first, rest) = text.split_at_checked(1)?;
    Some(format!("{}{first}.{rest}e{exponent:+}", sign(value)))
}

/// `~g`: so many digits in all; as `~f` from 0.1 up to 10000, else as `~e`.
pub(super) fn general(value: f64, precision: usize) -> Option<String> {
    let exponent = match value.abs() {
        below if below < 0.1 => return scientific(value, precision.max(2)).filter(|_| precision > 0),
        below if below < 1.0 => -1,
        below if below < 10.0 => 0,
        below if below < 100.0 => 1,
        below if below < 1000.0 => 2,
        below if below < 10_000.0 => 3,
        _ => return scientific(value, precision.max(2)).filter(|_| precision > 0),
    };
    let decimals = i64::try_from(precision).ok()? - 1 - exponent;
    match usize::try_from(decimals) {
        Ok(decimals) if precision > 0 && decimals > 0 => fixed(value, decimals),
        _ if precision > 0 => scientific(value, precision.max(2)),
        _ => None,
    }
}

/// 21 digits, of which the first stands before the point, and the power of ten.
fn digits(value: f64) -> Option<(Vec<u8>, i32)> {
    let printed = format!("{:.20e}", value.abs());
    let (mantissa, exponent) = printed.split_once('e')?;
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).map(|digit| digit - b'0').collect();
    Some((digits, exponent.parse().ok()?))
}

/// Rounds half up to so many digits, and fills up with zeros to as many. True where the number has
/// become longer by a digit.
fn round(digits: &mut Vec<u8>, keep: usize) -> bool {
    let up = digits.get(keep).is_some_and(|&next| next >= 5);
    digits.resize(keep, 0);
    if !up {
        return false;
    }
    for digit in digits.iter_mut().rev() {
        *digit = (*digit + 1) % 10;
        if *digit > 0 {
            return false;
        }
    }
    digits.insert(0, 1);
    true
}

fn text(digits: &[u8]) -> String {
    digits.iter().map(|&digit| char::from(b'0' + digit)).collect()
}

fn sign(value: f64) -> &'static str {
    if value < 0.0 { "-" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_rounded_up() {
        let text = |printed: Option<String>| printed.unwrap();
        assert_eq!([text(fixed(2.25, 1)), text(fixed(0.05, 1)), text(fixed(-9.96, 1))], ["2.3", "0.1", "-10.0"]);
        assert_eq!([text(fixed(0.004, 2)), text(fixed(0.0, 3)), text(fixed(99.5, 1))], ["0.00", "0.000", "99.5"]);
        assert_eq!([text(scientific(9.996, 3)), text(scientific(12345.25, 6))], ["1.00e+1", "1.23453e+4"]);
        assert_eq!([text(general(12.25, 3)), text(general(1.5, 1)), text(general(0.5, 1))], ["12.3", "1.5e+0", "0.5"]);
        assert_eq!(text(fixed(0.1, 20)), "0.10000000000000000555");
    }

    #[test]
    fn precisions_that_make_no_sense_are_refused() {
        assert_eq!((fixed(1.0, 0), scientific(1.0, 1), general(1.0, 0), general(0.0, 0)), (None, None, None, None));
    }
}
