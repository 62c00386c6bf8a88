//! Exact decimal numbers, with up to 38 digits before the point and 38 after it.
//!
//! The part before the point and the part after it are kept apart, so that a sum of large and of tiny numbers is exact as well, and
//! doesn't depend on the order. Nothing is rounded here but [`Decimal::average`]. Invariant: `fraction < 10^scale` and `scale <= 38`.

use std::cmp::Ordering;
use std::fmt;

use super::encoding::Reader;
use super::encoding::write_i128;
use super::encoding::write_u128;
use super::reject::CorruptCell;

/// The number of digits that a number may have on either side of the point.
pub(super) const DIGITS_MAX: u8 = 38;
/// How many digits an average has more than the numbers it is made from.
const AVERAGE_DIGITS: u8 = 6;

/// The number `whole + fraction / 10^scale`: -1.25 has the `whole` -2 and the `fraction` 75. The scale is the number of digits that are
/// written after the point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Decimal {
    whole: i128,
    fraction: u128,
    scale: u8,
}

impl Decimal {
    /// Reads a JSON number as it is written. `None` if it has more digits than there is room for, or if the text is no number.
    pub(super) fn parse(text: &str) -> Option<Decimal> {
        let (is_negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
        let magnitude = if digits.len() < 19 { Decimal::short(digits.as_bytes()) } else { None };
        let magnitude = magnitude.or_else(|| Decimal::long(digits))?;
        if is_negative { magnitude.negate() } else { Some(magnitude) }
    }

    /// Digits that fit into 64 bits, with a point or none.
    fn short(text: &[u8]) -> Option<Decimal> {
        let (mut value, mut scale) = (0_u64, 0);
        for (at, &byte) in text.iter().enumerate() {
            match byte {
                b'0'..=b'9' => value = value * 10 + u64::from(byte - b'0'),
                b'.' if scale == 0 && at > 0 => scale = u8::try_from(text.len() - 1 - at).ok()?,
                _ => return None,
            }
        }
        let power = u64::try_from(power_of_ten(scale)).ok().filter(|_| !text.is_empty())?;
        Some(Decimal { whole: (value / power).into(), fraction: (value % power).into(), scale })
    }

    /// Any number without a sign.
    fn long(text: &str) -> Option<Decimal> {
        let (digits, exponent) = match text.bytes().position(|byte| byte | 0x20 == b'e') {
            Some(at) => (text.get(..at)?, exponent(text.get(at + 1..)?)?),
            None => (text, 0),
        };
        let (before, after) = digits.split_once('.').unwrap_or((digits, ""));
        if before.is_empty() { None } else { Decimal::shifted(before, after, exponent) }
    }

    /// The digits with their point moved to the right by `exponent` places.
    fn shifted(before: &str, after: &str, exponent: i64) -> Option<Decimal> {
        let digits = before.len() + after.len();
        let point = exponent.checked_add(i64::try_from(before.len()).ok()?)?;
        let (mut whole, mut fraction, mut scale) = (0_u128, 0_u128, 0);
        for (at, byte) in (0_i64..).zip(before.bytes().chain(after.bytes())) {
            let digit = digit(byte)?;
            if at < point {
                whole = push(whole, digit)?;
                continue;
            }
            match u8::try_from(at - point + 1) {
                Ok(place) if place <= DIGITS_MAX => {
                    fraction = push(fraction, digit)?;
                    scale = place;
                }
                Ok(_) | Err(_) if digit == 0 => {}
                Ok(_) | Err(_) => return None,
            }
        }
        let missing = point - i64::try_from(digits).ok()?;
        if missing > 0 && whole > 0 {
            for _ in 0..missing {
                whole = push(whole, 0)?;
            }
        }
        Some(Decimal { whole: whole.cast_signed(), fraction, scale })
    }

    fn negate(self) -> Option<Decimal> {
        if self.fraction == 0 {
            return Some(Decimal { whole: self.whole.checked_neg()?, ..self });
        }
        let whole = self.whole.checked_neg()?.checked_sub(1)?;
        Some(Decimal { whole, fraction: power_of_ten(self.scale) - self.fraction, ..self })
    }

    /// The exact sum, with as many digits after the point as the number that has more. `None` if there is no room for it.
    pub(super) fn plus(self, other: Decimal) -> Option<Decimal> {
        let scale = self.scale.max(other.scale);
        let mut whole = self.whole.checked_add(other.whole)?;
        let mut fraction = self.fraction_at(scale) + other.fraction_at(scale);
        if fraction >= power_of_ten(scale) {
            fraction -= power_of_ten(scale);
            whole = whole.checked_add(1)?;
        }
        Some(Decimal { whole, fraction, scale })
    }

    /// Compares the numbers: 1.5 equals 1.50.
    pub(super) fn compare(self, other: Decimal) -> Ordering {
        let scale = self.scale.max(other.scale);
        self.whole.cmp(&other.whole).then_with(|| self.fraction_at(scale).cmp(&other.fraction_at(scale)))
    }

    /// The number of digits after the point.
    pub(super) fn scale(self) -> u8 {
        self.scale
    }

    /// The same number without zeros at the end of its fraction.
    pub(super) fn normalized(mut self) -> Decimal {
        while self.scale > 0 && self.fraction.is_multiple_of(10) {
            self.fraction /= 10;
            self.scale -= 1;
        }
        self
    }

    /// This number divided by `count`, rounded half to even at six digits more than it has. Zeros beyond its own digits are dropped.
    /// `None` if `count` is 0.
    pub(super) fn average(self, count: u64) -> Option<Decimal> {
        let divisor = u128::from(count);
        let whole = self.whole.checked_div_euclid(divisor.cast_signed())?;
        let mut rest = self.whole.checked_rem_euclid(divisor.cast_signed())?.cast_unsigned();
        let scale = (self.scale + AVERAGE_DIGITS).min(DIGITS_MAX);
        let mut unread = self.fraction_at(scale);
        let mut fraction = 0;
        for place in (0..scale).rev() {
            rest = rest * 10 + unread / power_of_ten(place);
            unread %= power_of_ten(place);
            fraction = fraction * 10 + rest / divisor;
            rest %= divisor;
        }
        let rounds_up = match (rest * 2).cmp(&divisor) {
            Ordering::Less => false,
            Ordering::Equal => fraction & 1 == 1,
            Ordering::Greater => true,
        };
        let up = Decimal { whole: 0, fraction: u128::from(rounds_up), scale };
        let mut quotient = Decimal { whole, fraction, scale }.plus(up)?;
        while quotient.scale > self.scale && quotient.fraction.is_multiple_of(10) {
            quotient.fraction /= 10;
            quotient.scale -= 1;
        }
        Some(quotient)
    }

    /// Appends the encoding to a cell.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        out.push(self.scale);
        write_i128(out, self.whole);
        if self.scale > 0 {
            write_u128(out, self.fraction);
        }
    }

    /// Reads what [`Decimal::write`] wrote.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Decimal, CorruptCell> {
        let scale = reader.byte()?;
        if scale > DIGITS_MAX {
            return Err(CorruptCell::new("a number has too many digits"));
        }
        let whole = reader.i128()?;
        let fraction = if scale > 0 { reader.u128()? } else { 0 };
        if fraction >= power_of_ten(scale) {
            return Err(CorruptCell::new("a number has too many digits"));
        }
        Ok(Decimal { whole, fraction, scale })
    }

    /// The number with its point moved `places` to the right, without what is then after the point: a whole number that is not greater.
    /// `None` if it doesn't fit.
    pub(super) fn floor_at(self, places: u8) -> Option<i64> {
        let places = places.min(DIGITS_MAX);
        let shifted = self.whole.checked_mul(power_of_ten(places).cast_signed())?;
        let fraction = if self.scale > places {
            self.fraction / power_of_ten(self.scale - places)
        } else {
            self.fraction_at(places)
        };
        i64::try_from(shifted.checked_add(fraction.cast_signed())?).ok()
    }

    /// For the rank of a quantile: the number as `(numerator, 10^scale)`, if it is not negative and both fit.
    pub(super) fn ratio(self) -> Option<(u128, u128)> {
        let denominator = power_of_ten(self.scale);
        let whole = u128::try_from(self.whole).ok()?.checked_mul(denominator)?;
        Some((whole.checked_add(self.fraction)?, denominator))
    }

    fn fraction_at(self, scale: u8) -> u128 {
        self.fraction * power_of_ten(scale.saturating_sub(self.scale))
    }
}

impl fmt::Display for Decimal {
    /// Plain notation, as JSON numbers are written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_negative = self.whole < 0;
        let (whole, fraction) = match (is_negative, self.fraction) {
            (true, 1..) => ((self.whole + 1).unsigned_abs(), power_of_ten(self.scale) - self.fraction),
            (true | false, _) => (self.whole.unsigned_abs(), self.fraction),
        };
        if is_negative {
            f.write_str("-")?;
        }
        if self.scale == 0 {
            return write!(f, "{whole}");
        }
        write!(f, "{whole}.{fraction:0width$}", width = usize::from(self.scale))
    }
}

fn power_of_ten(exponent: u8) -> u128 {
    const POWERS: [u128; DIGITS_MAX as usize + 1] = {
        let mut powers = [1; DIGITS_MAX as usize + 1];
        let mut at = 1;
        while at < powers.len() {
            powers[at] = powers[at - 1] * 10;
            at += 1;
        }
        powers
    };
    POWERS[usize::from(exponent.min(DIGITS_MAX))]
}

fn digit(byte: u8) -> Option<u8> {
    byte.is_ascii_digit().then(|| byte - b'0')
}

/// Appends a digit. `None` if there are more than 38.
fn push(value: u128, digit: u8) -> Option<u128> {
    let value = value.checked_mul(10)? + u128::from(digit);
    (value < power_of_ten(DIGITS_MAX)).then_some(value)
}

/// The exponent of a number. One with many digits counts as a large one.
fn exponent(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes() {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] | digits => (1, digits),
    };
    let mut value = 0_i64;
    for &byte in digits {
        value = (value * 10 + i64::from(digit(byte)?)).min(1_000_000_000);
    }
    (!digits.is_empty()).then_some(sign * value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    #[test]
    fn numbers_are_read_as_written_and_printed_in_plain_notation() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Decimal::parse(text).map(|number| number.to_string()).as_deref(), Some(expected), "{text}");
        };
        for text in ["0", "1", "-1", "12.50", "-0.05", "-12.00", "0.000", "123456789012345678901234567890.5"] {
            check(text, text);
        }
        check("-0", "0");
        check("-0.0", "0.0");
        check("1e3", "1000");
        check("1.5E+1", "15");
        check("1.25e1", "12.5");
        check("-125e-2", "-1.25");
        check("5e-3", "0.005");
        check("0e999999999999999999999", "0");
        check("0e-999999999999999999999", "0");
        check("0.0e5", "0");
        check("1e37", &format!("1{}", "0".repeat(37)));
        check("1e-38", &format!("0.{}1", "0".repeat(37)));
        check(&format!("1.{}", "0".repeat(60)), &format!("1.{}", "0".repeat(38)));
        check(&"9".repeat(38), &"9".repeat(38));
        for text in
            ["1e38", "1e-39", "1E400", "1e999999999999999999999", "-1e-999999999", "", "-", "x", "1e", "1.2.3", "\"1\""]
        {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
        assert_eq!(Decimal::parse(&"9".repeat(39)), None);
        assert_eq!(Decimal::parse(&format!("0.{}1", "0".repeat(38))), None);
    }

    #[test]
    fn a_sum_keeps_the_digits_of_the_number_that_has_more() {
        let sum = |a, b| decimal(a).plus(decimal(b)).unwrap().to_string();
        assert_eq!(sum("12.50", "0.50"), "13.00");
        assert_eq!(sum("0.1", "0.2"), "0.3");
        assert_eq!(sum("-0.5", "0.25"), "-0.25");
        assert_eq!(sum("1", "-1.000"), "0.000");
        assert_eq!(sum("1e37", "1e-38"), format!("1{}.{}1", "0".repeat(37), "0".repeat(37)));
        let largest = decimal(&"9".repeat(38));
        assert_eq!(largest.plus(largest), None, "no room");
    }

    #[test]
    fn an_average_is_rounded_half_to_even_at_six_more_digits() {
        let average = |sum: &str, count: u64| decimal(sum).average(count).map(|average| average.to_string());
        let check = |sum: &str, count, expected: &str| {
            assert_eq!(average(sum, count).as_deref(), Some(expected), "{sum}/{count}")
        };
        check("13.00", 2, "6.50");
        check("3", 2, "1.5");
        check("4", 3, "1.333333");
        check("5", 3, "1.666667");
        check("-5", 3, "-1.666667");
        check("1", 2_000_000, "0");
        check("3", 2_000_000, "0.000002");
        check("-1", 2_000_000, "0");
        check("-3", 2_000_000, "-0.000002");
        check("0.00", 7, "0.00");
        check(&"9".repeat(38), 1, &"9".repeat(38));
        check(&"9".repeat(38), u64::MAX, "5421010862427522170.331138");
        check(&format!("0.{}2", "0".repeat(37)), 4, &format!("0.{}", "0".repeat(38)));
        check(&format!("0.{}6", "0".repeat(37)), 4, &format!("0.{}2", "0".repeat(37)));
        assert_eq!(average("1", 0), None);
    }

    fn number() -> impl Strategy<Value = (i64, u8)> {
        (any::<i64>(), 0_u8..19)
    }

    /// The number `mantissa / 10^scale`, as JSON.
    fn written((mantissa, scale): (i64, u8)) -> String {
        format!("{mantissa}e-{scale}")
    }

    proptest! {
        #[test]
        fn sums_and_comparisons_are_those_of_the_integers(a in number(), b in number()) {
            let scale = a.1.max(b.1);
            let at = |(mantissa, own): (i64, u8)| i128::from(mantissa) * 10_i128.pow(u32::from(scale - own));
            let [left, right] = [a, b].map(|number| decimal(&written(number)));
            let sum = decimal(&format!("{}e-{scale}", at(a) + at(b)));
            prop_assert_eq!(left.plus(right).unwrap(), sum);
            prop_assert_eq!(left.compare(right), at(a).cmp(&at(b)));
            prop_assert_eq!(left.normalized().compare(left), Ordering::Equal);
            let mut cell = Vec::new();
            left.write(&mut cell);
            prop_assert_eq!(Decimal::read(&mut Reader::new(&cell)), Ok(left));
            prop_assert_eq!(decimal(&left.to_string()), left);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "-?[0-9.eE+-]{0,60}") {
            if let Some(number) = Decimal::parse(&text) {
                let _ = (number.to_string(), number.average(3), number.plus(number), number.compare(number));
            }
        }
    }
}
