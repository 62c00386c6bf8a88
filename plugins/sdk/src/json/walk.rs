//! A walk over a JSON document that validates all of it and edits the values that paths match.
//!
//! It accepts the same documents as `scan`, with two differences. A name whose escapes are not valid Unicode (`"\ud800"`) is not an
//! error: no path matches it. And objects and arrays that are searched may nest at most `DEPTH_MAX` deep: they are kept in a list, not
//! on the call stack. Containers that no path leads into are skipped at any depth.

use super::Edit;
use super::paths::Paths;
use super::paths::ROOT;
use super::scan::behind;
use super::scan::finish;
use super::scan::has;
use super::scan::near_value;
use super::scan::space;
use super::scan::unescape;
use super::scan::value;
use super::structural_index::StructuralIndex;
use super::structural_index::byte;

pub(super) const DEPTH_MAX: usize = 1000;

/// Appends `json` to `to`, with `edit` applied to the values that `paths` match.
// Out of line, as `scan` is.
#[inline(never)]
pub(super) fn walk(
    json: &[u8],
    to: &mut Vec<u8>,
    paths: &Paths,
    mut edit: impl FnMut(usize, &[u8], &mut Vec<u8>) -> Edit,
) -> Option<()> {
    let mut index = StructuralIndex::new(json);
    let mut here = space(json, 0);
    let Some((is_object, inner)) = open(json, here) else {
        here = value(json, &mut index, here)?.get();
        return finish(json, to, 0, here, index.is_ascii);
    };
    here = inner;
    let mut level = Level { node: ROOT, is_object };
    let mut outer: Vec<Level> = Vec::new();
    // The part of the document up to here is in `to`, or was replaced or removed.
    let mut copied = 0;
    // The end of the previous entry of the same object or array, if there is one.
    let mut previous = here;
    let mut has_kept_none = true;
    // Each turn goes from the beginning of a field or an element to that of the next one.
    loop {
        let start = here;
        let (step, first) = if level.is_object {
            if byte(json, start) != b'"' {
                return None;
            }
            match index.near(start + 1) {
                Some(end) if has(json, end, b"\":") => {
                    (paths.node(level.node).field(&json[start + 1..end]), space(json, end + 2))
                }
                _ => {
                    let end = index.end(json, start + 1)?.get();
                    let first = space(json, behind(json, end, b':')?.get());
                    let name = unescape(&json[start..end]);
                    (name.map(|name| paths.node(level.node).field(&name)).unwrap_or_default(), first)
                }
            }
        } else {
            (paths.node(level.node).elements, start)
        };
        if step.path.is_none()
            && paths.leads_on(step.node)
            && let Some((is_object, inner)) = open(json, first)
        {
            // Counts this container and the innermost one, which are not in `outer`.
            if outer.len() + 2 > DEPTH_MAX {
                return None;
            }
            outer.push(level);
            level = Level { node: step.node, is_object };
            here = inner;
            has_kept_none = true;
            continue;
        }
        here = match near_value(json, &index, first) {
            Some(end) => end.get(),
            None => value(json, &mut index, first)?.get(),
        };
        let mut is_kept = true;
        if let Some(path) = step.path {
            let before = to.len();
            to.extend_from_slice(&json[copied..first]);
            match edit(path, &json[first..here], to) {
                Edit::Keep => to.truncate(before),
                Edit::Replace => copied = here,
                Edit::Remove => {
                    to.truncate(before);
                    // Removes it with the comma before it, or with the comma after it if no entry before it was kept.
                    to.extend_from_slice(&json[copied..if has_kept_none { start } else { previous }]);
                    copied = here;
                    is_kept = false;
                }
            }
        }
        let mut takes_next_comma = has_kept_none && !is_kept;
        has_kept_none &= !is_kept;
        // An entry has ended, and perhaps also the containers that it is in.
        loop {
            previous = here;
            here = space(json, here);
            match (byte(json, here), level.is_object) {
                (b',', _) => {
                    here = space(json, here + 1);
                    if takes_next_comma {
                        copied = here;
                    }
                    break;
                }
                (b'}', true) | (b']', false) => {
                    here += 1;
                    (takes_next_comma, has_kept_none) = (false, false);
                    match outer.pop() {
                        Some(next) => level = next,
                        None => return finish(json, to, copied, here, index.is_ascii),
                    }
                }
                _ => return None,
            }
        }
    }
}

/// An object or array that is being searched.
#[derive(Clone, Copy)]
struct Level {
    node: usize,
    is_object: bool,
}

/// Whether an object begins at `here`, and where its or the array's first entry is. `None` if it is empty or not a container.
#[inline]
fn open(json: &[u8], here: usize) -> Option<(bool, usize)> {
    let (is_object, last) = match byte(json, here) {
        b'{' => (true, b'}'),
        b'[' => (false, b']'),
        _ => return None,
    };
    let inner = space(json, here + 1);
    if byte(json, inner) == last { None } else { Some((is_object, inner)) }
}

#[cfg(test)]
mod tests;
