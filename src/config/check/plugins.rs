//! `[plugins]` and `sha256` of a step: what the bytes of components have to be.

use std::path::Path;

use toml::Spanned;

use super::Check;
use crate::config::raw;
use crate::config::raw::Text;
use crate::config::referenced::Held;
use crate::config::referenced::Referenced;
use crate::config::referenced::digest;
use crate::plugin::Demand;
use crate::plugin::Signer;

/// The characters of a public key of minisign, which is 42 bytes in Base64.
const KEY_CHARS: usize = 56;

/// What `[plugins]` demands of every component, and the files of its keys.
pub(super) fn plugins(check: &mut Check<'_>, raw: &raw::Plugins) -> (Option<Demand>, Vec<Referenced>) {
    let Some(keys) = &raw.keys else { return (None, Vec::new()) };
    let mut files = Vec::new();
    let mut signers = Vec::new();
    for key in keys.get_ref() {
        signers.extend(signer(check, key, key.get_ref(), &mut files));
    }
    if keys.get_ref().is_empty() {
        let help = "name a key, `keys = [\"team-a.pub\"]`, or leave it out; an empty list would permit no component";
        check.report.add(keys.span().into(), "`plugins.keys` is empty", help);
    }
    let place = format!("{}: `plugins.keys`", check.report.place(keys.span().into()));
    (Some(Demand { place, digests: Vec::new(), signers, bundled: true }), files)
}

/// Reads a key: the line itself, or the file that the text names. Reports one that isn't a key.
pub(super) fn signer(check: &mut Check<'_>, key: &Text, name: &str, files: &mut Vec<Referenced>) -> Option<Signer> {
    let text = key.get_ref();
    let is_line = text.len() == KEY_CHARS && text.starts_with("RW");
    let read = if is_line {
        let name = if name == text { &text[..KEY_CHARS.min(16)] } else { name };
        Signer::new(name, text)
    } else {
        let path = check.folder(&key.span()).join(text);
        let held = digest(&path).map_or(Held::Nothing, Held::Digest);
        files.push(Referenced { path: path.clone(), held });
        Signer::read(stem(name), &path)
    };
    let why = match read {
        Ok(signer) => return Some(signer),
        Err(why) => why,
    };
    let shown = check.shown(key);
    let help = "write the line of a public key, `RW..`, or its file, `team-a.pub`, relative to this file: `minisign -G` makes both";
    check.report.add(key.span().into(), format!("the key {shown} can't be used: {why}"), help);
    None
}

/// The name of a key's file for messages.
fn stem(name: &str) -> String {
    Path::new(name).file_stem().map_or_else(|| name.to_owned(), |stem| stem.to_string_lossy().into_owned())
}

/// What the `sha256` of a step demands.
pub(super) fn sha256(check: &mut Check<'_>, text: Option<&Text>) -> Option<Demand> {
    let digest = digest_of(check, text?, "sha256")?;
    let place = format!("{}: `sha256`", check.report.place(text?.span().into()));
    Some(Demand { place, digests: vec![digest], signers: Vec::new(), bundled: false })
}

/// A SHA-256 in hexadecimal, in lower case. Reports one that isn't.
pub(super) fn digest_of(check: &mut Check<'_>, text: &Spanned<String>, key: &str) -> Option<String> {
    let digest = text.get_ref().to_ascii_lowercase();
    if digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Some(digest);
    }
    let shown = check.shown(text);
    let help = "write the 64 digits that `wasmill inspect FILE` prints";
    check.report.add(text.span().into(), format!("`{key}`: {shown} is not a SHA-256"), help);
    None
}
