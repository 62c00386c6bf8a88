//! Which files a process runs: those that its arguments name, and those of the folders among them.

use std::env;
use std::path::Path;
use std::path::PathBuf;

use crate::cli::args::ProcessFile;
use crate::cli::exit_code::Exit;
use crate::config;
use crate::config::PROCESS_FILE;
use crate::config::Process;

/// The files that the arguments stand for. A folder stands for its pipeline files.
///
/// # Errors
/// If a folder can't be read, or has none, unless it may be empty.
pub(in crate::cli) fn files(paths: &[PathBuf], may_be_empty: bool) -> Result<Vec<PathBuf>, Exit> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let unread = |error: std::io::Error| Exit::Invalid(format!("read the folder {}: {error}", path.display()));
        let entries: Result<Vec<_>, _> = path.read_dir().map_err(unread)?.collect();
        let mut found: Vec<PathBuf> = entries.map_err(unread)?.into_iter().map(|entry| entry.path()).collect();
        found.retain(|file| is_pipeline(file));
        if found.is_empty() && !may_be_empty {
            let what =
                "has no pipeline file: each `NAME.toml` in it is one, but not `NAME.test.toml` and `wasmill.toml`";
            return Err(Exit::Invalid(format!("the folder {} {what}", path.display())));
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

fn is_pipeline(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    // Editors and volumes of Kubernetes have hidden files.
    let is_other = name == PROCESS_FILE || name.ends_with(".test.toml") || name.starts_with('.');
    name.ends_with(".toml") && !is_other && file.is_file()
}

impl ProcessFile {
    /// The file that counts for these files and folders: the named one, or the `wasmill.toml` in one of the folders.
    ///
    /// # Errors
    /// If several folders have one.
    pub(in crate::cli) fn of(&self, paths: &[PathBuf]) -> Result<ProcessFile, Exit> {
        let found: Vec<PathBuf> = match &self.file {
            Some(named) => vec![named.clone()],
            None => paths.iter().map(|path| path.join(PROCESS_FILE)).filter(|file| file.is_file()).collect(),
        };
        if let [first, second, ..] = &found[..] {
            let [first, second] = [first, second].map(|file| file.display());
            return Err(Exit::Invalid(format!(
                "{second}: a process has one such file, and {first} is another: remove one of them"
            )));
        }
        Ok(ProcessFile { file: found.into_iter().next() })
    }

    /// The settings of the process: those of the file, or the defaults.
    ///
    /// # Errors
    /// If the file is invalid.
    pub(in crate::cli) fn settings(&self) -> Result<Process, Exit> {
        let Some(file) = &self.file else { return Ok(Process::default()) };
        config::process(file, &|name| env::var_os(name)).map_err(|report| Exit::Invalid(report.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_process_has_the_settings_of_the_one_folder_that_has_some() {
        let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let paths = [&one, &two].map(|folder| folder.path().to_owned());
        let named = |file: Option<PathBuf>, paths: &[PathBuf]| ProcessFile { file }.of(paths)?.settings();
        let of_folders = |paths: &[PathBuf]| named(None, paths);
        assert_eq!(of_folders(&paths).unwrap(), Process::default());
        fs::write(two.path().join(PROCESS_FILE), "[http]\nlisten = \"0.0.0.0:9200\"\n").unwrap();
        assert_eq!(of_folders(&paths).unwrap().http.map(|http| http.port()), Some(9200));
        fs::write(one.path().join(PROCESS_FILE), "").unwrap();
        let message = of_folders(&paths).unwrap_err().message().to_owned();
        assert!(message.contains("a process has one such file"), "{message}");
        assert_eq!(of_folders(&[one.path().join("a.toml")]).unwrap(), Process::default(), "a file is no folder");
        let other = named(Some(two.path().join(PROCESS_FILE)), &paths).unwrap();
        assert_eq!(other.http.map(|http| http.port()), Some(9200));
        let missing = named(Some(two.path().join("none.toml")), &[]).unwrap_err();
        assert!(missing.message().contains("none.toml"), "{}", missing.message());
    }

    #[test]
    fn a_folder_stands_for_its_pipeline_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let empty = files(&[path.to_owned()], false).unwrap_err();
        assert_eq!(files(&[path.to_owned()], true).unwrap(), [] as [PathBuf; 0]);
        assert!(empty.message().contains("has no pipeline file"), "{}", empty.message());
        for name in ["b.toml", "a.toml", "a.test.toml", "wasmill.toml", ".a.toml", "notes.md"] {
            fs::write(path.join(name), "").unwrap();
        }
        fs::create_dir(path.join("c.toml")).unwrap();
        let single = PathBuf::from("single.toml");
        let found = files(&[single.clone(), path.to_owned()], false).unwrap();
        assert_eq!(found, [single, path.join("a.toml"), path.join("b.toml")]);
    }
}
