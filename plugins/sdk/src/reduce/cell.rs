//! The bytes of an accumulator: the version of the state, then the accumulator as `postcard` writes it.

use postcard::ser_flavors::Flavor;

use crate::Reduce;

/// The most bytes of a cell, by the contract.
pub(crate) const BYTES_MAX: usize = 64 * 1024;

/// Why an accumulator has no bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unwritable {
    /// It would have more than [`BYTES_MAX`].
    TooLarge,
    /// Its `Serialize` failed.
    Failed(String),
}

/// Reads a cell; without one the accumulator is new.
///
/// # Errors
/// What is wrong with it and what to do, as the end of a sentence that begins with what it is the state of.
#[inline]
pub(crate) fn read<R: Reduce>(cell: Option<&[u8]>) -> Result<R::Acc, String> {
    let Some(cell) = cell else { return Ok(R::Acc::default()) };
    match cell.split_first() {
        Some((&version, bytes)) if version == R::STATE_VERSION => match postcard::take_from_bytes(bytes) {
            Ok((acc, [])) => Ok(acc),
            Ok((_, left)) => Err(undecodable::<R>(&format!("{} bytes are left over", left.len()))),
            Err(error) => Err(undecodable::<R>(&error.to_string())),
        },
        Some((&version, bytes)) => older::<R>(version, bytes),
        None => Err(undecodable::<R>("it has no byte for its version")),
    }
}

#[cold]
fn older<R: Reduce>(version: u8, bytes: &[u8]) -> Result<R::Acc, String> {
    R::upgrade(version, bytes).ok_or_else(|| {
        let own = R::STATE_VERSION;
        format!(
            "has the state version {version}, and this plugin has version {own} and can't read version {version}: implement \
             `upgrade` for it, use the plugin that wrote it, or give the step another name to begin anew"
        )
    })
}

#[cold]
fn undecodable<R: Reduce>(why: &str) -> String {
    let own = R::STATE_VERSION;
    format!(
        "has the state version {own}, as this plugin (version {own}), but can't be decoded: {why}. If the accumulator's type \
         was changed, give it another `STATE_VERSION`"
    )
}

/// Appends the cell of an accumulator. After an error, `to` is as it was.
#[inline]
pub(crate) fn write<R: Reduce>(acc: &R::Acc, to: &mut Vec<u8>) -> Result<(), Unwritable> {
    let start = to.len();
    to.push(R::STATE_VERSION);
    let written = postcard::serialize_with_flavor(acc, Append { to, end: start + BYTES_MAX });
    written.map_err(|error| {
        to.truncate(start);
        unwritable(&error)
    })
}

#[cold]
fn unwritable(error: &postcard::Error) -> Unwritable {
    match error {
        postcard::Error::SerializeBufferFull => Unwritable::TooLarge,
        other => Unwritable::Failed(other.to_string()),
    }
}

/// Appends to a vector, up to a length.
struct Append<'a> {
    to: &'a mut Vec<u8>,
    end: usize,
}

impl Flavor for Append<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        if self.to.len() >= self.end {
            return Err(postcard::Error::SerializeBufferFull);
        }
        self.to.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if bytes.len() > self.end - self.to.len() {
            return Err(postcard::Error::SerializeBufferFull);
        }
        self.to.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
