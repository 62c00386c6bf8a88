//! PURE. The bytes of changelog records: keys, cells and the control record.
//!
//! A key begins with its kind, a value with its format; a new layout gets a new number, and the numbers of old ones are never used again.
//! Numbers are big-endian. Decoding accepts any bytes and returns an error for those that it doesn't know. What the values mean, others
//! know. Invariant: what is encoded is decoded to the same value, and different keys have different bytes.
//!
//! ```text
//! key     control  kind = 0
//!         cell     kind = 1, slice: i64 with its sign bit flipped, 0 if the user's key is null and 1 otherwise, the user's key
//! value   cell     format = 1, 0 if there is no value and 1 otherwise, upto: i64, the cell
//!         control  format = 1, applied, greatest, watermark, shown end, size, every, cells: i64, number of versions: u32,
//!                  (version: u32, last slice: i64) for each; 0, or 1, the end: i64, 0 or 1 and the key of a window shown in part
//! ```

use thiserror::Error;

use super::show::Cursor;
use super::show::Partly;
use super::slot::Key;
use super::time::Reading;

/// The key of a changelog record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKey<'a> {
    /// Of the control record.
    Control,
    /// Of a cell.
    Cell {
        /// The start of the cell's slice.
        slice: i64,
        /// The step's key.
        key: Key<'a>,
    },
}

/// The value of a cell's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellValue<'a> {
    /// Every record of the key with this source offset or a lower one is folded into the cell, or was settled without it.
    pub upto: i64,
    /// The cell; `None` if its value was removed.
    pub cell: Option<&'a [u8]>,
}

/// The control record: the state of a partition as of a cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Every source record below this offset is applied.
    pub applied: i64,
    /// The event time at that offset.
    pub reading: Reading,
    /// Which windows were shown.
    pub shown: Cursor,
    /// The size of the windows, in ms.
    pub size: i64,
    /// The width of the slices, in ms.
    pub every: i64,
    /// The number of cells.
    pub cells: u64,
    /// The versions of the plugin's state that cells may have, each with the last slice that may hold one; by version.
    pub versions: Vec<(u32, i64)>,
}

/// Why the bytes of a changelog record are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// It ends too early.
    #[error("the changelog record ends within its {0}")]
    Short(&'static str),
    /// It goes on after its end.
    #[error("the changelog record has {0} bytes after its end")]
    Long(usize),
    /// A key of a kind that this version of wasmill doesn't know.
    #[error("changelog records of kind {0} are unknown to this version of wasmill")]
    Kind(u8),
    /// A value in a format that this version of wasmill doesn't know.
    #[error("changelog records in format {0} are unknown to this version of wasmill")]
    Format(u8),
    /// A number that can't be.
    #[error("the changelog record's {name} is {value}")]
    Number {
        /// What it is.
        name: &'static str,
        /// The number.
        value: i64,
    },
}

const CONTROL: u8 = 0;
const CELL: u8 = 1;
const FORMAT: u8 = 1;
const SIGN: u64 = 1 << 63;

/// The key of the control record.
pub const CONTROL_KEY: [u8; 1] = [CONTROL];

/// Appends the key of a cell.
pub(super) fn encode_cell_key(slice: i64, key: Key<'_>, out: &mut Vec<u8>) {
    out.push(CELL);
    out.extend((slice.cast_unsigned() ^ SIGN).to_be_bytes());
    encode_optional(key, out);
}

/// Decodes the key of a changelog record.
///
/// # Errors
///
/// The bytes are no such key.
pub fn decode_key(bytes: &[u8]) -> Result<RecordKey<'_>, DecodeError> {
    let mut reader = Reader(bytes);
    match reader.byte("kind")? {
        CONTROL => {
            reader.end()?;
            Ok(RecordKey::Control)
        }
        CELL => {
            let slice = (reader.number("slice")?.cast_unsigned() ^ SIGN).cast_signed();
            Ok(RecordKey::Cell { slice, key: reader.optional("key")? })
        }
        kind => Err(DecodeError::Kind(kind)),
    }
}

impl<'a> CellValue<'a> {
    /// Appends the value.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend([FORMAT, u8::from(self.cell.is_some())]);
        out.extend(self.upto.to_be_bytes());
        out.extend(self.cell.unwrap_or_default());
    }

    /// Decodes the value of a cell's record.
    ///
    /// # Errors
    ///
    /// The bytes are no such value.
    pub fn decode(bytes: &'a [u8]) -> Result<CellValue<'a>, DecodeError> {
        let mut reader = Reader(bytes);
        reader.format()?;
        let has_value = reader.flag("presence of a value")?;
        let upto = reader.offset("source offset")?;
        if !has_value {
            reader.end()?;
        }
        Ok(CellValue { upto, cell: has_value.then_some(reader.0) })
    }
}

impl Control {
    /// Appends the value.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let Control { applied, reading, shown, size, every, cells, versions } = self;
        let cells = i64::try_from(*cells).unwrap_or(i64::MAX);
        out.push(FORMAT);
        for number in [*applied, reading.greatest, reading.watermark, shown.end, *size, *every, cells] {
            out.extend(number.to_be_bytes());
        }
        let count = u32::try_from(versions.len()).unwrap_or(u32::MAX);
        out.extend(count.to_be_bytes());
        for (version, slice) in versions.iter().take(count as usize) {
            out.extend(version.to_be_bytes());
            out.extend(slice.to_be_bytes());
        }
        match &shown.partly {
            None => out.push(0),
            Some(Partly { end, key }) => {
                out.push(1);
                out.extend(end.to_be_bytes());
                encode_optional(key.as_deref(), out);
            }
        }
    }

    /// Decodes the value of the control record.
    ///
    /// # Errors
    ///
    /// The bytes are no such value.
    pub fn decode(bytes: &[u8]) -> Result<Control, DecodeError> {
        let mut reader = Reader(bytes);
        reader.format()?;
        let applied = reader.offset("applied offset")?;
        let reading = Reading { greatest: reader.number("greatest time")?, watermark: reader.number("watermark")? };
        let end = reader.number("end of the last window shown")?;
        let (size, every) = (reader.number("window size")?, reader.number("slice width")?);
        let cells = reader.number("number of cells")?;
        let cells = u64::try_from(cells).map_err(|_| DecodeError::Number { name: "number of cells", value: cells })?;
        let count = u32::from_be_bytes(reader.array("number of versions")?);
        // Their number may be anything: memory is reserved only for what is there.
        let mut versions = Vec::new();
        for _ in 0..count {
            let version = u32::from_be_bytes(reader.array("version")?);
            versions.push((version, reader.number("last slice of a version")?));
        }
        let partly = if reader.flag("presence of a window")? {
            let end = reader.number("end of a window")?;
            Some(Partly { end, key: reader.optional("last key")?.map(<[u8]>::to_vec) })
        } else {
            reader.end()?;
            None
        };
        Ok(Control { applied, reading, shown: Cursor { end, partly }, size, every, cells, versions })
    }
}

fn encode_optional(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    out.push(u8::from(bytes.is_some()));
    out.extend(bytes.unwrap_or_default());
}

/// What is left to decode.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self, name: &'static str) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(DecodeError::Short(name))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn byte(&mut self, name: &'static str) -> Result<u8, DecodeError> {
        self.array(name).map(|[byte]| byte)
    }

    fn number(&mut self, name: &'static str) -> Result<i64, DecodeError> {
        self.array(name).map(i64::from_be_bytes)
    }

    fn offset(&mut self, name: &'static str) -> Result<i64, DecodeError> {
        let value = self.number(name)?;
        if value < 0 { Err(DecodeError::Number { name, value }) } else { Ok(value) }
    }

    fn flag(&mut self, name: &'static str) -> Result<bool, DecodeError> {
        match self.byte(name)? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(DecodeError::Number { name, value: i64::from(value) }),
        }
    }

    fn format(&mut self) -> Result<(), DecodeError> {
        let format = self.byte("format")?;
        if format == FORMAT { Ok(()) } else { Err(DecodeError::Format(format)) }
    }

    /// The rest, if there is a value.
    fn optional(&mut self, name: &'static str) -> Result<Option<&'a [u8]>, DecodeError> {
        if self.flag(name)? {
            return Ok(Some(std::mem::take(&mut self.0)));
        }
        self.end()?;
        Ok(None)
    }

    fn end(&self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::Long(self.0.len())) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..40)
    }

    fn control() -> impl Strategy<Value = Control> {
        let partly = prop::option::of((any::<i64>(), prop::option::of(bytes())));
        let numbers =
            (0..i64::MAX, any::<i64>(), any::<i64>(), any::<i64>(), any::<i64>(), any::<i64>(), 0..u64::MAX / 2);
        let versions = prop::collection::vec((any::<u32>(), any::<i64>()), 0..4);
        (numbers, partly, versions).prop_map(
            |((applied, greatest, watermark, end, size, every, cells), partly, versions)| {
                let partly = partly.map(|(end, key)| Partly { end, key });
                let reading = Reading { greatest, watermark };
                Control { applied, reading, shown: Cursor { end, partly }, size, every, cells, versions }
            },
        )
    }

    #[test]
    fn the_format_is_the_documented_one() {
        let mut key = Vec::new();
        encode_cell_key(-1, Some(b"k"), &mut key);
        assert_eq!(key, [1, 0x7f, 255, 255, 255, 255, 255, 255, 255, 1, b'k']);
        let mut value = Vec::new();
        CellValue { upto: 258, cell: Some(b"c") }.encode(&mut value);
        assert_eq!(value, [1, 1, 0, 0, 0, 0, 0, 0, 1, 2, b'c']);
    }

    #[test]
    fn what_is_unknown_is_named() {
        assert_eq!(decode_key(&[7]), Err(DecodeError::Kind(7)));
        assert_eq!(decode_key(&[]), Err(DecodeError::Short("kind")));
        assert_eq!(decode_key(&[0, 1, 2]), Err(DecodeError::Long(2)));
        assert_eq!(CellValue::decode(&[2]), Err(DecodeError::Format(2)));
        assert_eq!(
            CellValue::decode(&[1, 1, 255, 255, 255, 255, 255, 255, 255, 255]).unwrap_err().to_string(),
            "the changelog record's source offset is -1"
        );
        let endless = [vec![1], vec![0; 56], vec![255; 4]].concat();
        assert_eq!(Control::decode(&endless), Err(DecodeError::Short("version")));
    }

    proptest! {
        #[test]
        fn keys_come_back_and_keep_the_order_of_slices(
            (slice, key) in (any::<i64>(), prop::option::of(bytes())), (other, second) in (any::<i64>(), prop::option::of(bytes())),
        ) {
            let [mut encoded, mut encoded_other] = [Vec::new(), Vec::new()];
            encode_cell_key(slice, key.as_deref(), &mut encoded);
            encode_cell_key(other, second.as_deref(), &mut encoded_other);
            prop_assert_eq!(decode_key(&encoded), Ok(RecordKey::Cell { slice, key: key.as_deref() }));
            prop_assert_eq!(encoded.cmp(&encoded_other), (slice, &key).cmp(&(other, &second)));
        }

        #[test]
        fn values_come_back(upto in 0..i64::MAX, cell in prop::option::of(bytes()), control in control()) {
            let mut encoded = Vec::new();
            CellValue { upto, cell: cell.as_deref() }.encode(&mut encoded);
            prop_assert_eq!(CellValue::decode(&encoded), Ok(CellValue { upto, cell: cell.as_deref() }));
            encoded.clear();
            control.encode(&mut encoded);
            prop_assert_eq!(Control::decode(&encoded), Ok(control));
        }

        #[test]
        fn any_bytes_are_a_value_or_an_error(bytes in prop::collection::vec(prop_oneof![0_u8..3, any::<u8>()], 0..120)) {
            let mut again = Vec::new();
            if let Ok(RecordKey::Cell { slice, key }) = decode_key(&bytes) {
                encode_cell_key(slice, key, &mut again);
                prop_assert_eq!(&again, &bytes);
            }
            if let Ok(value) = CellValue::decode(&bytes) {
                again.clear();
                value.encode(&mut again);
                prop_assert_eq!(&again, &bytes);
            }
            if let Ok(control) = Control::decode(&bytes) {
                again.clear();
                control.encode(&mut again);
                prop_assert_eq!(&again, &bytes);
            }
        }
    }
}
