//! How many different values a field has: a HyperLogLog sketch (Flajolet et al. 2007), with the estimator of Ertl (2017).
//!
//! A value's hash gives a *coupon*: 26 bits that name a place, and the rank, which is the position of the first 1 in the 38 bits
//! after them. Up to [`COUPONS_MAX`] different coupons are kept as they are, and counted. Beyond that, 4096 registers keep the largest
//! rank of their places. Both are functions of the set of values, so the order and the grouping of records make no difference; the
//! sketches of crates estimate from the history of updates, or change their form when they happen to be flushed. The estimate needs
//! only arithmetic that IEEE 754 defines to the bit, so it is the same on every machine. Invariant: coupons are ascending, without
//! repetition.

use std::borrow::Cow;

use twox_hash::XxHash3_64;

use super::decimal::Decimal;
use super::encoding::Reader;
use super::encoding::write_u64;
use super::field::Field;
use super::json;
use super::json::JsonKind;
use super::reject::CorruptCell;
use super::reject::FoldError;
use super::reject::Reject;

/// Up to this number of different coupons, they are listed: in 2 KiB, two thirds of the registers' size.
const COUPONS_MAX: usize = 512;
/// What is written instead of the number of coupons if there are registers.
const REGISTERS_FOLLOW: usize = COUPONS_MAX + 1;
/// The number of registers: the error is 1.04 / 64 = 1.6 %.
const REGISTERS: usize = 1 << REGISTER_BITS;
const REGISTER_BITS: u32 = 12;
/// Registers have 6 bits: four of them are three bytes.
const REGISTER_BYTES: usize = REGISTERS / 4 * 3;
const PLACE_BITS: u32 = 26;
/// The largest rank: of a hash whose 38 bits after the place are 0.
const RANK_MAX: u8 = 39;

/// What a cell holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sketch<'a> {
    /// Four bytes each, little-endian.
    Coupons(&'a [u8]),
    Registers(&'a [u8]),
}

pub(super) fn add(old: &mut Reader<'_>, field: &Field<'_>, out: &mut Vec<u8>) -> Result<(), FoldError> {
    let coupon = coupon(hash(field)?);
    match read(old)? {
        Sketch::Registers(registers) => {
            let start = begin_registers(out, registers);
            raise(out.get_mut(start..).unwrap_or_default(), coupon);
        }
        Sketch::Coupons(coupons) => {
            let at = coupons.as_chunks::<4>().0.partition_point(|known| u32::from_le_bytes(*known) < coupon);
            let (before, after) = coupons.split_at_checked(at * 4).unwrap_or((coupons, &[]));
            if after.first_chunk() == Some(&coupon.to_le_bytes()) {
                write_coupons(&[coupons], out);
            } else {
                write_coupons(&[before, &coupon.to_le_bytes(), after], out);
            }
        }
    }
    Ok(())
}

pub(super) fn merge(into: &mut Reader<'_>, later: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), FoldError> {
    match (read(into)?, read(later)?) {
        (Sketch::Coupons(into), Sketch::Coupons(later)) => {
            let mut union: Vec<u32> = each(into).chain(each(later)).collect();
            union.sort_unstable();
            union.dedup();
            let union: Vec<u8> = union.into_iter().flat_map(u32::to_le_bytes).collect();
            write_coupons(&[&union], out);
        }
        (Sketch::Registers(registers), Sketch::Coupons(coupons))
        | (Sketch::Coupons(coupons), Sketch::Registers(registers)) => {
            let start = begin_registers(out, registers);
            for coupon in each(coupons) {
                raise(out.get_mut(start..).unwrap_or_default(), coupon);
            }
        }
        (Sketch::Registers(into), Sketch::Registers(later)) => {
            let start = begin_registers(out, into);
            for (mine, theirs) in
                out.get_mut(start..).unwrap_or_default().as_chunks_mut::<3>().0.iter_mut().zip(later.as_chunks::<3>().0)
            {
                let (a, b) = (ranks(*mine), ranks(*theirs));
                *mine = packed([0, 1, 2, 3].map(|lane: usize| a[lane].max(b[lane])));
            }
        }
    }
    Ok(())
}

/// Reads over a part.
pub(super) fn read<'a>(reader: &mut Reader<'a>) -> Result<Sketch<'a>, CorruptCell> {
    match reader.length(REGISTERS_FOLLOW)? {
        REGISTERS_FOLLOW => reader.bytes(REGISTER_BYTES).map(Sketch::Registers),
        coupons => reader.bytes(coupons * 4).map(Sketch::Coupons),
    }
}

/// Reads over a part and checks its content.
pub(super) fn check(reader: &mut Reader<'_>) -> Result<(), CorruptCell> {
    let is_valid = match read(reader)? {
        Sketch::Coupons(coupons) => {
            let ranks_fit = each(coupons).all(|coupon| (1..=RANK_MAX).contains(&rank(coupon)));
            ranks_fit && each(coupons).zip(each(coupons).skip(1)).all(|(a, b)| a < b)
        }
        Sketch::Registers(registers) => {
            registers.as_chunks().0.iter().all(|packed| ranks(*packed).iter().all(|&rank| rank <= RANK_MAX))
        }
    };
    if is_valid { Ok(()) } else { Err(CorruptCell::new("a sketch of distinct values is invalid")) }
}

impl Sketch<'_> {
    /// The number of different values: exact up to 512, but for one of about 1,500 sketches of that size.
    pub(super) fn estimate(self) -> u64 {
        match self {
            Sketch::Coupons(coupons) => (coupons.len() / 4) as u64,
            Sketch::Registers(registers) => estimate(registers),
        }
    }
}

/// The hash of a scalar: equal for `1`, `1.0` and `1e0`, and for strings that differ only in how they are escaped. A string and a
/// number have different hashes.
fn hash(field: &Field<'_>) -> Result<u64, Reject> {
    let json = field.json;
    let (seed, text) = match json::kind(json) {
        JsonKind::Text => {
            let text = json::unescaped(json);
            (0, text.ok_or_else(|| not_a_scalar(field, "a string with half of a surrogate pair"))?)
        }
        JsonKind::Number => (1, canonical_number(json)),
        JsonKind::Bool => (2, Cow::Borrowed(json)),
        JsonKind::Null | JsonKind::Array | JsonKind::Object => return Err(not_a_scalar(field, &json::described(json))),
    };
    Ok(XxHash3_64::oneshot_with_seed(seed, text.as_bytes()))
}

fn not_a_scalar(field: &Field<'_>, what: &str) -> Reject {
    field.reject("not-a-scalar", &format!("is {what}, not a string, a number or a boolean"))
}

/// The same text for the same number. Numbers that are too long for a [`Decimal`] are compared as written.
fn canonical_number(json: &str) -> Cow<'_, str> {
    if json != "-0" && json.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        return Cow::Borrowed(json);
    }
    Decimal::parse(json).map_or(Cow::Borrowed(json), |number| number.normalized().to_string().into())
}

/// The place in the upper 26 bits, the rank in the lower 6.
fn coupon(hash: u64) -> u32 {
    let rank = (hash << PLACE_BITS).leading_zeros().min(u32::from(RANK_MAX) - 1) + 1;
    let place = (hash >> (64 - PLACE_BITS)) as u32;
    place << 6 | rank
}

fn rank(coupon: u32) -> u8 {
    (coupon & 63) as u8
}

fn each(coupons: &[u8]) -> impl Iterator<Item = u32> {
    coupons.as_chunks().0.iter().map(|coupon| u32::from_le_bytes(*coupon))
}

/// Writes coupons, which are given in pieces, or the registers if there are too many.
fn write_coupons(pieces: &[&[u8]], out: &mut Vec<u8>) {
    let count = pieces.iter().map(|piece| piece.len()).sum::<usize>() / 4;
    if count <= COUPONS_MAX {
        write_u64(out, count as u64);
        pieces.iter().for_each(|piece| out.extend_from_slice(piece));
        return;
    }
    let start = begin_registers(out, &[0; REGISTER_BYTES]);
    for coupon in pieces.iter().flat_map(|piece| each(piece)) {
        raise(out.get_mut(start..).unwrap_or_default(), coupon);
    }
}

/// Writes registers. Returns where they begin in `out`.
fn begin_registers(out: &mut Vec<u8>, registers: &[u8]) -> usize {
    write_u64(out, REGISTERS_FOLLOW as u64);
    let start = out.len();
    out.extend_from_slice(registers);
    start
}

/// Raises the register of a coupon to its rank.
fn raise(registers: &mut [u8], coupon: u32) {
    let register = (coupon >> (32 - REGISTER_BITS)) as usize;
    if let Some(group) = registers.as_chunks_mut::<3>().0.get_mut(register / 4) {
        let mut ranks = ranks(*group);
        let known = &mut ranks[register % 4];
        if *known < rank(coupon) {
            *known = rank(coupon);
            *group = packed(ranks);
        }
    }
}

/// Four registers out of three bytes.
fn ranks([a, b, c]: [u8; 3]) -> [u8; 4] {
    [a & 63, (a >> 6) | (b & 15) << 2, (b >> 4) | (c & 3) << 4, c >> 2]
}

fn packed([a, b, c, d]: [u8; 4]) -> [u8; 3] {
    [a | (b & 3) << 6, (b >> 2) | (c & 15) << 4, (c >> 4) | d << 2]
}

/// The improved raw estimator: Ertl, "New cardinality estimation algorithms for HyperLogLog sketches", algorithm 6.
fn estimate(registers: &[u8]) -> u64 {
    let mut of_rank = [0_u32; 64];
    for packed in registers.as_chunks().0 {
        for rank in ranks(*packed) {
            of_rank[usize::from(rank)] += 1;
        }
    }
    let m = REGISTERS as f64;
    let share = |rank: u8| f64::from(of_rank[usize::from(rank)]) / m;
    let mut z = m * tau(1.0 - share(RANK_MAX));
    for rank in (1..RANK_MAX).rev() {
        z = 0.5 * (z + f64::from(of_rank[usize::from(rank)]));
    }
    z += m * sigma(share(0));
    // 1 / (2 ln 2)
    const ALPHA: f64 = 0.5 / std::f64::consts::LN_2;
    rounded(ALPHA * m * m / z)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the conversion saturates")]
fn rounded(estimate: f64) -> u64 {
    estimate.round() as u64
}

/// What empty registers contribute.
fn sigma(mut x: f64) -> f64 {
    let (mut y, mut z) = (1.0, x);
    if x >= 1.0 {
        return f64::INFINITY;
    }
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z <= before {
            return z;
        }
    }
}

/// What full registers contribute.
fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z >= before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Pointer;

    fn sketch_of(values: impl Iterator<Item = u64>) -> Vec<u8> {
        let (mut cell, mut next) = (vec![0], Vec::new());
        let pointer = Pointer::parse("/id").unwrap();
        for value in values {
            next.clear();
            add(&mut Reader::new(&cell), &Field::new(&pointer, &value.to_string()), &mut next).unwrap();
            std::mem::swap(&mut cell, &mut next);
        }
        cell
    }

    fn estimate_of(cell: &[u8]) -> u64 {
        check(&mut Reader::new(cell)).unwrap();
        read(&mut Reader::new(cell)).unwrap().estimate()
    }

    #[test]
    fn small_counts_are_exact_and_large_ones_within_the_documented_error() {
        for count in [0, 1, 2, 100, 400, 512] {
            assert_eq!(estimate_of(&sketch_of(0..count)), count);
        }
        for count in [513, 600, 1_000, 5_000, 20_000, 100_000] {
            let worst = (0..8).map(|run| {
                let from = run * 1_000_000_000;
                estimate_of(&sketch_of(from..from + count)).abs_diff(count) as f64 / count as f64
            });
            let worst = worst.fold(0.0, f64::max);
            assert!(worst < 0.05, "{count}: {worst}");
        }
    }

    #[test]
    fn the_mean_error_is_that_of_the_formula() {
        let runs = 60;
        let squares = (0..runs).map(|run| {
            let from = run * 1_000_000_000;
            let error = estimate_of(&sketch_of(from..from + 20_000)) as f64 / 20_000.0 - 1.0;
            error * error
        });
        let error = (squares.sum::<f64>() / f64::from(u32::try_from(runs).unwrap())).sqrt();
        assert!((0.011..0.022).contains(&error), "{error}");
    }

    #[test]
    fn values_are_compared_as_values_and_not_as_text() {
        let pointer = Pointer::parse("/id").unwrap();
        let hash = |json: &str| hash(&Field::new(&pointer, json)).unwrap();
        for equal in [["1", "1.0"], ["1", "10e-1"], ["0", "-0"], ["100", "1E2"], ["\"a\"", "\"\\u0061\""]] {
            assert_eq!(hash(equal[0]), hash(equal[1]), "{equal:?}");
        }
        for different in [["1", "\"1\""], ["true", "\"true\""], ["\"a\"", "\"A\""], ["1e400", "1e401"], ["1", "-1"]] {
            assert_ne!(hash(different[0]), hash(different[1]), "{different:?}");
        }
        // The stored state depends on these: they never change.
        assert_eq!(hash("\"u1\""), 0x9dc0_2546_854d_5df1);
        assert_eq!(hash("42"), 0x060d_11d0_758e_ab46);
    }

    #[test]
    fn registers_are_packed_and_unpacked() {
        for ranks_in in [[1, 2, 3, 4], [63, 0, 63, 0], [0, 63, 0, 63], [39, 17, 5, 38]] {
            assert_eq!(ranks(packed(ranks_in)), ranks_in);
        }
        assert_eq!((coupon(0), coupon(u64::MAX), coupon(1)), (39, u32::MAX << 6 | 1, 38));
    }

    #[test]
    fn extreme_registers_have_an_estimate() {
        assert_eq!(estimate(&[0; REGISTER_BYTES]), 0);
        assert!(estimate(&[0xff; REGISTER_BYTES]) > 0);
        let full: Vec<u8> = std::iter::repeat_n(packed([RANK_MAX; 4]), REGISTERS / 4).flatten().collect();
        assert!(estimate(&full) > 1_000_000_000);
    }
}
