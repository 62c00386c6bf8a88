//! Any grouping of records gives the same cell, and so the same result.

use proptest::prelude::*;

use super::*;

const SETTINGS: [(&str, &str); 12] = [
    ("n", "count"),
    ("there", "count:/x"),
    ("sum", "sum:/x"),
    ("avg", "avg:/x"),
    ("min", "min:/x"),
    ("max", "max:/x"),
    ("who", "distinct:/u"),
    ("p10", "quantile:/x:0.1"),
    ("p90", "quantile:/x:0.9"),
    ("wide", "quantile:/w:0.5"),
    ("first", "first:/u"),
    ("last", "last:/u"),
];

/// Values and times of records.
fn records(max: usize) -> impl Strategy<Value = Vec<(String, i64)>> {
    let number = prop_oneof![
        (-1000_i32..1000).prop_map(|n| n.to_string()),
        (any::<i32>(), 0_u32..12).prop_map(|(n, scale)| format!("{n}e-{scale}")),
        Just("0.00".to_owned()),
        Just("null".to_owned()),
    ];
    // Over more octaves than there are bins.
    let wide = (1_u32..999, -60_i32..60, any::<bool>())
        .prop_map(|(n, exponent, minus)| format!("{}{n}e{exponent}", if minus { "-" } else { "" }));
    let record = (number, wide, 0_u32..2000, 0_i64..4)
        .prop_map(|(x, w, u, time)| (format!("{{\"x\":{x},\"w\":{w},\"u\":{u}}}"), time));
    prop::collection::vec(record, 1..max)
}

fn fold(functions: &Functions, records: &[(String, i64)]) -> Vec<u8> {
    let extraction = Extraction::new(KeySelector::Record, TimeSelector::Record, functions.pointers());
    let (mut found, mut cell, mut next) = (FoundFields::default(), Vec::new(), Vec::new());
    for (at, (value, time)) in records.iter().enumerate() {
        let record = record(Some(value.as_bytes()), *time);
        extraction.read(&record, &mut found).unwrap();
        next.clear();
        functions.add(Some(&cell[..]).filter(|_| at > 0), &record, &found, *time, &mut next).unwrap();
        std::mem::swap(&mut cell, &mut next);
    }
    cell
}

/// Cuts the records into groups and merges the groups' cells in any order that keeps neighbours.
fn grouped(
    functions: &Functions,
    records: &[(String, i64)],
    cuts: &[prop::sample::Index],
    merges: &[prop::sample::Index],
) -> Vec<u8> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(records.len())).filter(|&end| end > 0).collect();
    ends.push(records.len());
    ends.sort_unstable();
    ends.dedup();
    let starts = [0].into_iter().chain(ends.iter().copied());
    let mut cells: Vec<Vec<u8>> =
        starts.zip(&ends).map(|(start, &end)| fold(functions, &records[start..end])).collect();
    let mut merges = merges.iter().cycle();
    while cells.len() > 1 {
        let at = merges.next().unwrap().index(cells.len() - 1);
        let later = cells.remove(at + 1);
        let mut merged = Vec::new();
        functions.merge(&cells[at], &later, &mut merged).unwrap();
        functions.check(&merged).unwrap();
        cells[at] = merged;
    }
    cells.remove(0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_grouping_gives_the_same_cell(
        records in records(120),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        merges in prop::collection::vec(any::<prop::sample::Index>(), 8),
    ) {
        let functions = functions(&SETTINGS);
        let whole = fold(&functions, &records);
        functions.check(&whole).unwrap();
        prop_assert_eq!(grouped(&functions, &records, &cuts, &merges), whole);
    }

    #[test]
    fn the_order_matters_to_first_and_last_only(records in records(60), seed: u64) {
        let functions = functions(&SETTINGS[..10]);
        let mut shuffled = records.clone();
        shuffled.sort_by_key(|record| twox_hash::XxHash3_64::oneshot_with_seed(seed, record.0.as_bytes()));
        prop_assert_eq!(fold(&functions, &records), fold(&functions, &shuffled));
    }

    #[test]
    fn exact_results_equal_a_plain_computation(records in prop::collection::vec((-100_000_i64..100_000, 0_i64..3), 1..60)) {
        let functions = functions(&[("n", "count"), ("s", "sum:/x"), ("lo", "min:/x"), ("hi", "max:/x"), ("d", "distinct:/x"), ("f", "first:/x"), ("l", "last:/x")]);
        let values: Vec<(String, i64)> = records.iter().map(|(x, time)| (format!("{{\"x\":{x}}}"), *time)).collect();
        let numbers: Vec<i64> = records.iter().map(|record| record.0).collect();
        let distinct: std::collections::BTreeSet<i64> = numbers.iter().copied().collect();
        let first = records.iter().min_by_key(|record| record.1).unwrap().0;
        let last = records.iter().max_by_key(|record| record.1).unwrap().0;
        let expected = format!(
            r#""n":{},"s":{},"lo":{},"hi":{},"d":{},"f":{first},"l":{last}}}"#,
            numbers.len(), numbers.iter().sum::<i64>(), numbers.iter().min().unwrap(), numbers.iter().max().unwrap(), distinct.len(),
        );
        let result = emitted(&functions, &fold(&functions, &values));
        prop_assert!(result.ends_with(&expected), "{} {}", result, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// With enough records that coupons turn into registers and bins are collapsed.
    #[test]
    fn any_grouping_of_many_records_gives_the_same_cell(
        records in records(3000),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        merges in prop::collection::vec(any::<prop::sample::Index>(), 8),
    ) {
        let functions = functions(&SETTINGS);
        prop_assert_eq!(grouped(&functions, &records, &cuts, &merges), fold(&functions, &records));
    }
}
