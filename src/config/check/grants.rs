//! What a step's `allow` grants its plugin.

use std::path::Component;
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;

use toml::Spanned;

use super::Check;
use super::value;
use crate::config::raw;
use crate::config::raw::Text;
use crate::plugin::Grants;
use crate::plugin::HttpGrant;
use crate::secret::Secret;

/// The most bytes of a body, where the file doesn't say.
const BODY_BYTES: u64 = 1 << 20;
/// The most that it can say: the memory of the process holds what isn't read yet.
const BODY_BYTES_MAX: u64 = 64 << 20;

pub(super) fn read(check: &mut Check<'_>, raw: &raw::Allow) -> Grants {
    let is = |switch: &Option<Spanned<bool>>| switch.as_ref().is_some_and(|switch| *switch.get_ref());
    let env = raw.env.as_ref().map(|env| {
        for name in env.keys() {
            // The plugin would see another variable or none.
            if name.get_ref().is_empty() || name.get_ref().contains(['=', '\0']) {
                let message = format!("`{}` can't be the name of a variable", name.get_ref().escape_debug());
                check.report.add(name.span().into(), message, "write a name such as `REGION`");
            }
        }
        env.iter().map(|(name, value)| (name.get_ref().clone(), Secret(value.0.clone()))).collect()
    });
    Grants { clock: is(&raw.clock), random: is(&raw.random), env, http: http(check, raw), files: files(check, raw) }
}

fn http(check: &mut Check<'_>, raw: &raw::Allow) -> Option<HttpGrant> {
    let body_bytes = value::size(check, raw.http_body.as_ref(), "http_body", 1, BODY_BYTES_MAX).unwrap_or(BODY_BYTES);
    let networks = all(check, raw.http_networks.as_ref(), "`http_networks`");
    let methods = match &raw.http_methods {
        Some(methods) => methods.get_ref().iter().filter_map(|text| method(check, text)).collect(),
        None => ["GET", "HEAD"].map(str::to_owned).into(),
    };
    let Some(http) = &raw.http else {
        // The others have defaults, which a file may repeat.
        if let Some(networks) = &raw.http_networks {
            let help = "list the servers: `http = [\"https://tiers.internal\"]`";
            check.report.add(networks.span().into(), "`http_networks` has no effect without `http`", help);
        }
        return None;
    };
    Some(HttpGrant { origins: all(check, Some(http), "`http`"), methods, networks, body_bytes })
}

/// Values that are written as text. One that can't be read is reported.
fn all<T: FromStr<Err = String>>(check: &mut Check<'_>, raw: Option<&Spanned<Vec<Text>>>, key: &str) -> Vec<T> {
    let mut read = Vec::new();
    for text in raw.into_iter().flat_map(Spanned::get_ref) {
        match text.get_ref().parse() {
            Ok(value) => read.push(value),
            Err(help) => {
                let shown = check.shown_at(text.get_ref(), &text.span());
                check.report.add(text.span().into(), format!("{shown} can't be in {key}"), help);
            }
        }
    }
    read
}

fn method(check: &mut Check<'_>, text: &Text) -> Option<String> {
    // CONNECT would make a tunnel to any server.
    const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    if METHODS.contains(&text.get_ref().as_str()) {
        return Some(text.get_ref().clone());
    }
    let shown = check.shown_at(text.get_ref(), &text.span());
    check.report.add(
        text.span().into(),
        format!("{shown} is not a method that a plugin can use"),
        format!("write {}", METHODS.join(", ")),
    );
    None
}

fn files(check: &mut Check<'_>, raw: &raw::Allow) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for text in raw.files.iter().flat_map(Spanned::get_ref) {
        match folder(text.get_ref()) {
            Ok(folder) => folders.push(folder),
            Err(help) => {
                let shown = check.shown_at(text.get_ref(), &text.span());
                check.report.add(text.span().into(), format!("{shown} can't be in `files`"), help);
            }
        }
    }
    folders
}

fn folder(text: &str) -> Result<PathBuf, &'static str> {
    let path = match text.rsplit_once(':') {
        Some((path, "ro")) => path,
        Some((_, "rw")) => return Err("a plugin can read files, and not write them: `/etc/tiers:ro`"),
        _ => text,
    };
    let is_plain = Path::new(path).components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    match path.starts_with('/') && is_plain {
        true => Ok(PathBuf::from(path)),
        false => Err("write the absolute path of a folder: `/etc/tiers:ro`"),
    }
}
