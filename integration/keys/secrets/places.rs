//! The places that are searched: files, outputs and what the system shows.

use std::{ffi::OsStr, fs, path::Path};

use super::sought::Sought;

/// Everything that is searched, by name.
#[derive(Default)]
pub struct Places(pub Vec<(String, Vec<u8>)>);

impl Places {
    pub fn add(&mut self, name: impl Into<String>, content: impl Into<Vec<u8>>) {
        self.0.push((name.into(), content.into()));
    }

    /// The regular files below a directory, but for those of these names.
    pub fn add_files(&mut self, directory: &Path, but: &[&str]) {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            let metadata = fs::symlink_metadata(&path);
            // A queue's file may go away meanwhile.
            let Ok(metadata) = metadata else { continue };
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            if metadata.is_dir() {
                self.add_files(&path, but);
            } else if metadata.is_file()
                && !but.contains(&name)
                && let Ok(content) = fs::read(&path)
            {
                self.add(path.display().to_string(), content);
            }
        }
    }

    /// Each secret that was found, and the place that has it.
    pub fn search(&self, sought: &Sought) -> Vec<String> {
        let in_place = |(name, content): &(String, Vec<u8>)| {
            let found = sought.found_in(content).into_iter();
            found
                .map(|what| format!("{what} in {name}"))
                .collect::<Vec<_>>()
        };
        self.0.iter().flat_map(in_place).collect()
    }

    pub fn bytes(&self) -> usize {
        self.0.iter().map(|(_, content)| content.len()).sum()
    }
}
