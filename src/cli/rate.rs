//! A rate on the command line.

use std::str::FromStr;

/// The maximum number of records per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate(pub(super) f64);

impl FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Rate, &'static str> {
        let number = text.strip_suffix("/s").unwrap_or(text).trim();
        let rate = number.parse().ok().filter(|&rate: &f64| (0.001..=1e9).contains(&rate));
        rate.map(Rate).ok_or("write a number of records per second, as in 10/s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_of_records_in_a_second() {
        assert_eq!("10/s".parse(), Ok(Rate(10.0)));
        assert_eq!("0.5".parse(), Ok(Rate(0.5)));
        for wrong in ["", "fast", "0/s", "-1", "10/min", "inf"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
