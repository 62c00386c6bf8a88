//! Whether the bytes of a plugin's file are ones that a step may run: by their digest, or by a signature of minisign beside the file.
//!
//! The caller reads the file once. Invariant: the bytes that are verified here are the bytes that are compiled, or that name the compiled
//! code in the cache; nothing is opened again in between.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::Path;
use std::path::PathBuf;

use minisign_verify::Error;
use minisign_verify::PublicKey;
use minisign_verify::Signature;

use crate::plugin::artifact;
use crate::plugin::bundled;
use crate::plugin::file;

/// The largest file of a signature or of a key. They have some hundred bytes.
const TEXT_BYTES_MAX: u64 = 16 << 10;

/// What the bytes of a plugin's file have to be: they have one of the digests, or are signed by one of the keys.
#[derive(Clone, Debug, Default)]
pub struct Demand {
    /// Who demands it: `FILE:LINE` and the key there, for messages.
    pub place: String,
    /// Digests, SHA-256 in hexadecimal.
    pub digests: Vec<String>,
    /// Keys of signers.
    pub signers: Vec<Signer>,
    /// Whether a plugin that comes with wasmill meets it anyway.
    pub bundled: bool,
}

/// A demand stays the same where lines above it change.
impl PartialEq for Demand {
    fn eq(&self, other: &Demand) -> bool {
        (&self.digests, &self.signers, self.bundled) == (&other.digests, &other.signers, other.bundled)
    }
}

impl Eq for Demand {}

/// One who signs plugins: a public key of minisign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// The name for messages.
    pub name: String,
    key: PublicKey,
}

impl Signer {
    /// Reads a key: the line that `minisign -G` prints, or the text of its `.pub` file.
    ///
    /// # Errors
    /// Why it is no key: a lowercase fragment.
    pub fn new(name: impl Into<String>, text: &str) -> Result<Signer, String> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let line = lines.find(|line| !line.starts_with("untrusted comment:")).unwrap_or_default();
        if lines.next().is_some() {
            return Err("it has more lines than a key".to_owned());
        }
        let key = PublicKey::from_base64(line).map_err(|_| "it is not a public key of minisign".to_owned())?;
        Ok(Signer { name: name.into(), key })
    }

    /// Reads the file of a key.
    ///
    /// # Errors
    /// Like [`Signer::new`], or why the file can't be read.
    pub fn read(name: impl Into<String>, path: &Path) -> Result<Signer, String> {
        let bytes = file::within(path, TEXT_BYTES_MAX).map_err(|error| error.to_string())?;
        Signer::new(name, &String::from_utf8_lossy(&bytes))
    }
}

/// The file with the signature of a plugin's file.
#[must_use]
pub fn signature_of(wasm: &Path) -> PathBuf {
    let mut name = OsString::from(wasm);
    name.push(".minisig");
    PathBuf::from(name)
}

/// Checks the bytes of a file against all demands.
///
/// # Errors
/// The first demand that isn't met, why, and after `; ` what to do.
pub(super) fn verify(demands: &[Demand], path: &Path, bytes: &[u8]) -> Result<(), String> {
    if demands.is_empty() {
        return Ok(());
    }
    let digest = artifact::digest(bytes);
    let is_bundled = bundled::name(path).is_some();
    for demand in demands.iter().filter(|demand| !(is_bundled && demand.bundled)) {
        if demand.digests.contains(&digest) {
            continue;
        }
        if demand.signers.is_empty() {
            return Err(other_digest(demand, &digest));
        }
        let why = match signed(demand, path, is_bundled, bytes) {
            Ok(()) => continue,
            Err(why) => why,
        };
        let names: Vec<String> = demand.signers.iter().map(|signer| format!("`{}`", signer.name)).collect();
        let or_digest = match &demand.digests[..] {
            [] => String::new(),
            _ => format!(", or another sha256 than {digest}"),
        };
        return Err(format!(
            "{} wants a signature by {}{or_digest}: {why}; have it signed, `minisign -Sm FILE`, with the signature beside it",
            demand.place,
            names.join(" or ")
        ));
    }
    Ok(())
}

fn other_digest(demand: &Demand, digest: &str) -> String {
    let wanted = match &demand.digests[..] {
        [] => "no file's".to_owned(),
        [one] => one.clone(),
        [one, others @ ..] => format!("{one} or one of {} others", others.len()),
    };
    format!(
        "its sha256 is {digest}, and {} wants {wanted}; put the right file there, or write the new digest after you have looked at it",
        demand.place
    )
}

/// Checks the signature beside a file.
fn signed(demand: &Demand, path: &Path, is_bundled: bool, bytes: &[u8]) -> Result<(), String> {
    if is_bundled {
        return Err("a plugin that comes with wasmill has none".to_owned());
    }
    let beside = signature_of(path);
    let shown = beside.display();
    let text = file::within(&beside, TEXT_BYTES_MAX).map_err(|error| match error.kind() == ErrorKind::NotFound {
        true => format!("there is no {shown}"),
        false => format!("read {shown}: {error}"),
    })?;
    let text = String::from_utf8(text).map_err(|_| format!("{shown} is not UTF-8"))?;
    let signature = Signature::decode(&text).map_err(|_| format!("{shown} is not a signature of minisign"))?;
    let mut why = format!("{shown} was made with another key");
    for signer in &demand.signers {
        // Old releases of minisign signed the bytes themselves, newer ones sign their hash.
        match signer.key.verify(bytes, &signature, true) {
            Ok(()) => return Ok(()),
            Err(Error::UnexpectedKeyId) => {}
            Err(_) => why = format!("{shown} is `{}`'s, and not of these bytes", signer.name),
        }
    }
    Err(why)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The key and the signatures of the bytes `test` in the documentation of minisign-verify: of their hash, and of themselves.
    const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    const SIGNATURE: &str = "untrusted comment: signature from minisign secret key\n\
        RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=\n\
        trusted comment: timestamp:1556193335\tfile:test\n\
        y/rUw2y8/hOUYjZU71eHp/Wo1KZ40fGy2VJEDl34XMJM+TX48Ss/17u3IvIfbVR1FkZZSNCisQbuQY+bHwhEBg==\n";
    const LEGACY: &str = "untrusted comment: signature from minisign secret key\n\
        RWQf6LRCGA9i59SLOFxz6NxvASXDJeRtuZykwQepbDEGt87ig1BNpWaVWuNrm73YiIiJbq71Wi+dP9eKL8OC351vwIasSSbXxwA=\n\
        trusted comment: timestamp:1555779966\tfile:test\n\
        QtKMXWyYcwdpZAlPF7tE2ENJkRd1ujvKjlj1m9RtHTBnZPa5WKU5uWRs5GoP5M/VqE81QFuMKI5k/SfNQUaOAA==\n";

    /// The signer of the signatures, one with another number, and one with its number and another key.
    fn signers() -> [Signer; 3] {
        let other = KEY.replace("CGA9i53", "CGB9i53");
        let forger = KEY.replace("Y7GFO3", "Y8GFO3");
        [("team-a", KEY), ("team-b", &*other), ("team-c", &*forger)].map(|(name, key)| Signer::new(name, key).unwrap())
    }

    fn demand(digests: &[&str], signers: &[Signer]) -> Demand {
        let digests = digests.iter().map(|digest| (*digest).to_owned()).collect();
        Demand { place: "orders.toml:9: `sha256`".into(), digests, signers: signers.to_vec(), bundled: false }
    }

    #[test]
    fn a_digest_is_that_of_the_bytes_and_a_mismatch_names_both() {
        let digest = artifact::digest(b"test");
        let path = Path::new("mask.wasm");
        assert_eq!(verify(&[demand(&["00", &digest], &[])], path, b"test"), Ok(()));
        assert_eq!(verify(&[], path, b"test"), Ok(()));
        let refused = verify(&[demand(&[&digest], &[])], path, b"tesd").unwrap_err();
        for part in [&*digest, &*artifact::digest(b"tesd"), "orders.toml:9: `sha256` wants"] {
            assert!(refused.contains(part), "{part} in: {refused}");
        }
        let all = [demand(&[&digest], &[]), demand(&["00", "11"], &[])];
        let refused = verify(&all, path, b"test").unwrap_err();
        assert!(refused.contains("00 or one of 1 others"), "every demand has to be met: {refused}");
        assert!(verify(&[demand(&[], &[])], path, b"test").unwrap_err().contains("wants no file's"));
    }

    #[test]
    fn a_signature_is_of_these_bytes_and_by_one_of_the_signers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.wasm");
        let beside = signature_of(&path);
        assert!(beside.ends_with("mask.wasm.minisig"));
        let [one, other, forger] = signers();
        let verified = |signers: &[&Signer], bytes: &[u8]| {
            let signers: Vec<Signer> = signers.iter().copied().cloned().collect();
            verify(&[demand(&[], &signers)], &path, bytes)
        };
        let refused = verified(&[&one], b"test").unwrap_err();
        assert!(refused.contains("wants a signature by `team-a`: there is no "), "nobody has signed it: {refused}");
        for signature in [SIGNATURE, LEGACY] {
            fs::write(&beside, signature).unwrap();
            assert_eq!(verified(&[&one], b"test"), Ok(()));
            assert_eq!(verified(&[&other, &one], b"test"), Ok(()));
            for (signers, bytes, why) in [
                (&[&one][..], &b"tesd"[..], "is `team-a`'s, and not of these bytes"),
                (&[&other], b"test", "was made with another key"),
                (&[&other, &forger], b"test", "is `team-c`'s, and not of these bytes"),
            ] {
                let refused = verified(signers, bytes).unwrap_err();
                assert!(refused.contains(why), "{why} in: {refused}");
            }
            fs::write(&beside, signature.replace("file:test", "file:tesd")).unwrap();
            assert!(verified(&[&one], b"test").is_err(), "the comment is signed, too");
        }
        fs::write(&beside, "nonsense").unwrap();
        assert!(verified(&[&one], b"test").unwrap_err().contains("is not a signature of minisign"));
        fs::write(&beside, vec![0; 1 << 20]).unwrap();
        assert!(verified(&[&one], b"test").unwrap_err().contains("more than"));
        // A digest is enough where both are permitted.
        assert_eq!(verify(&[demand(&[&artifact::digest(b"test")], &[one])], &path, b"test"), Ok(()));
    }

    #[test]
    fn a_key_is_a_line_or_the_text_of_its_file() {
        let of_file = Signer::new("a", &format!("untrusted comment: minisign public key\n{KEY}\n")).unwrap();
        assert_eq!(of_file, Signer::new("a", KEY).unwrap());
        for text in ["", "RWQ", "untrusted comment: x\n", &format!("{KEY}\n{KEY}\n")] {
            assert!(Signer::new("a", text).is_err(), "{text}");
        }
        assert!(Signer::read("a", Path::new("/nowhere/a.pub")).is_err());
    }

    #[test]
    fn a_bundled_plugin_needs_no_signature_where_it_is_permitted() {
        let path = Path::new("std:jq");
        let mut demand = demand(&[], &signers()[..1]);
        assert!(verify(&[demand.clone()], path, b"jq").unwrap_err().contains("comes with wasmill has none"));
        demand.bundled = true;
        assert_eq!(verify(&[demand], path, b"jq"), Ok(()));
    }
}
