//! PURE. The niceness of executors: what makes a weight a share of the CPU.
//!
//! The kernel gives threads that want more CPU time than there is shares of it by their niceness, also to a plugin that loops. A thread has
//! 1.25 times the share of one that is a level nicer. So the executors of a pipeline get the level at which all of them together have the
//! share that the pipeline's weight asks for. Levels below 0 need a privilege, so the largest share is that of level 0.

/// The factor between the shares of two levels.
const LEVEL: f64 = 1.25;

/// The level of executors with the default weight, as many as a pipeline has by default. It makes them yield to the worker and the client's
/// threads. Those run briefly, and where there are more threads than cores, waiting for an executor lets their data fall out of the CPU
/// caches.
const LEVEL_DEFAULT: i32 = 5;

/// The levels that need no privilege.
const LEVELS: std::ops::RangeInclusive<i32> = 0..=19;

/// A value, and what it is in a pipeline that doesn't set it.
#[derive(Clone, Copy, Debug)]
pub struct OfDefault {
    /// The value.
    pub value: usize,
    /// The default.
    pub default: usize,
}

impl OfDefault {
    /// How many times the default it is.
    fn times(self) -> f64 {
        let number = |value: usize| f64::from(u32::try_from(value.max(1)).unwrap_or(u32::MAX));
        number(self.value) / number(self.default)
    }
}

/// The niceness of the executors of a pipeline with this weight and this number of them.
#[must_use]
pub fn niceness(weight: OfDefault, executors: OfDefault) -> i32 {
    let share = weight.times() / executors.times();
    let distance = |level: i32| (LEVEL.powi(LEVEL_DEFAULT - level).ln() - share.ln()).abs();
    LEVELS.min_by(|one, other| distance(*one).total_cmp(&distance(*other))).unwrap_or(LEVEL_DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(weight: usize, executors: usize, by_default: usize) -> i32 {
        let weight = OfDefault { value: weight, default: 10 };
        niceness(weight, OfDefault { value: executors, default: by_default })
    }

    /// The ratio of the shares of two weights with the same number of executors.
    fn ratio(one: usize, other: usize) -> f64 {
        LEVEL.powi(level(other, 4, 4) - level(one, 4, 4))
    }

    #[test]
    fn a_weight_has_the_nearest_level_and_the_default_has_the_fifth() {
        for (weight, expected) in [(1, 15), (2, 12), (3, 10), (5, 8), (10, 5), (20, 2), (30, 0), (31, 0), (100, 0)] {
            assert_eq!(level(weight, 4, 4), expected, "{weight}");
        }
        for (one, other) in [(30, 3), (20, 10), (10, 1), (30, 1)] {
            let (wanted, got) = (OfDefault { value: one, default: other }.times(), ratio(one, other));
            assert!((0.8..1.25).contains(&(got / wanted)), "{one} to {other}: {got}");
        }
    }

    #[test]
    fn more_executors_share_what_the_weight_gives() {
        assert_eq!([1, 2, 4, 8, 64].map(|executors| level(10, executors, 4)), [0, 2, 5, 8, 17]);
        assert_eq!(level(1, 1024, 4), 19);
        assert_eq!(level(10, 16, 16), 5, "as many as by default, on a larger machine");
        assert_eq!(level(10, 0, 0), 5);
    }
}
