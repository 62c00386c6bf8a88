//! Reports that something happened in the folders of some files.
//!
//! Folders are watched instead of files: a deployment usually writes a new file and renames it, and on Kubernetes a link in the
//! folder changes. The watch reports only *that* something happened; the reload thread reads the files to find what changed. If
//! the operating system can't watch a folder, that is logged once, and the files are still checked regularly.

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

use notify::RecommendedWatcher;
use notify::RecursiveMode;
use notify::Watcher as _;

/// See the head of the file.
pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
}

impl Watch {
    /// `touched` is called on the watcher's thread.
    pub(super) fn new(touched: impl Fn() + Send + 'static) -> Watch {
        let on_event = move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                touched();
            }
        };
        let watcher = notify::recommended_watcher(on_event)
            .inspect_err(|error| tracing::warn!("files can't be watched, so they are checked every 2 s: {error}"))
            .ok();
        Watch { watcher, folders: BTreeSet::new() }
    }

    /// Watches exactly the folders of these files and of the files that they link to.
    pub(super) fn follow<'a>(&mut self, files: impl Iterator<Item = &'a PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        let with_real = |file: &PathBuf| std::iter::once(file.clone()).chain(file.canonicalize());
        let folders: BTreeSet<PathBuf> = files.flat_map(with_real).map(|file| folder(&file)).collect();
        if folders == self.folders {
            return;
        }
        for gone in self.folders.difference(&folders) {
            // An error means that the folder no longer exists.
            let _ = watcher.unwatch(gone);
        }
        for new in folders.difference(&self.folders) {
            if let Err(error) = watcher.watch(new, RecursiveMode::NonRecursive) {
                tracing::warn!("{} can't be watched, so it is checked every 2 s: {error}", new.display());
            }
        }
        self.folders = folders;
    }
}

fn folder(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        Some(_) | None => PathBuf::from("."),
    }
}
