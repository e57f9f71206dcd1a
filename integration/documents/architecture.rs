//! The folders of `docs/architecture.md` are those of `src/`, and import each
//! other as it says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The lines between `<!-- name -->` and `<!-- end of name -->`.
fn section(name: &str) -> String {
    let text = read(&root().join("docs/architecture.md"));
    let (_, after) = text.split_once(&format!("<!-- {name} -->\n")).expect(name);
    let (section, _) = after
        .split_once(&format!("<!-- end of {name} -->"))
        .expect(name);
    section.to_owned()
}

/// The folders of `src/`.
fn folders() -> BTreeSet<String> {
    fs::read_dir(root().join("src"))
        .expect("src")
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().expect("UTF-8"))
        .collect()
}

/// What stands between grave accents.
fn quoted(text: &str) -> BTreeSet<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Each folder with those that it may import.
fn allowed() -> BTreeMap<String, BTreeSet<String>> {
    section("imports")
        .lines()
        .skip(2)
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let [_, folder, imports, ..] = cells[..] else {
                panic!("no row: {row}")
            };
            let imports = match imports {
                "all of them" => folders(),
                some => quoted(some),
            };
            (folder.trim_matches('`').to_owned(), imports)
        })
        .collect()
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The parts of the crate that a source text names, by `crate::part` or in the
/// braces of `crate::{…}`; comments don't count.
fn named(source: &str) -> BTreeSet<String> {
    let code: String = source
        .lines()
        .map(|line| line.split_once("//").map_or(line, |(code, _)| code))
        .collect();
    let mut parts = BTreeSet::new();
    for (start, opening) in code.match_indices("crate::") {
        let rest = &code[start + opening.len()..];
        match rest.strip_prefix('{') {
            Some(list) => parts.extend(outermost(list)),
            None => parts.extend(word(rest)),
        }
    }
    parts
}

/// The first word of each element of a list of imports, up to its closing brace.
fn outermost(list: &str) -> BTreeSet<String> {
    let mut depth = 0;
    let mut words = BTreeSet::new();
    let mut element = String::new();
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => words.extend(word(&std::mem::take(&mut element))),
            c if depth == 0 => element.push(c),
            _ => {}
        }
    }
    words.extend(word(&element));
    words
}

fn word(text: &str) -> Option<String> {
    let word: String = text
        .trim_start()
        .chars()
        .take_while(|c| c.is_ascii_lowercase() || *c == '_')
        .collect();
    (!word.is_empty()).then_some(word)
}

#[test]
fn the_picture_and_the_table_have_every_folder() {
    let pictured: BTreeSet<String> = section("picture")
        .split("src/")
        .skip(1)
        .filter_map(word)
        .collect();
    assert_eq!(pictured, folders(), "the picture of docs/architecture.md");
    let listed: BTreeSet<String> = allowed().into_keys().collect();
    assert_eq!(listed, folders(), "the table of docs/architecture.md");
}

#[test]
fn no_folder_imports_one_that_it_must_not_know() {
    let (folders, allowed) = (folders(), allowed());
    let mut trespasses = Vec::new();
    for folder in &folders {
        for file in sources(&root().join("src").join(folder)) {
            for part in named(&read(&file)).intersection(&folders) {
                if part != folder && !allowed[folder].contains(part) {
                    trespasses.push(format!("{} imports {part}", file.display()));
                }
            }
        }
    }
    assert!(
        trespasses.is_empty(),
        "not as docs/architecture.md has it: {trespasses:#?}"
    );
}

#[test]
fn what_the_table_allows_is_needed() {
    let folders = folders();
    for (folder, imports) in allowed() {
        if imports == folders {
            continue;
        }
        let needed: BTreeSet<String> = sources(&root().join("src").join(&folder))
            .iter()
            .flat_map(|file| named(&read(file)))
            .collect();
        let idle: Vec<&String> = imports.difference(&needed).collect();
        assert!(
            idle.is_empty(),
            "{folder} no longer imports {idle:?}: take it out of docs/architecture.md"
        );
    }
}

#[test]
fn imports_are_found_in_every_form() {
    let found = named(
        "use crate::{\n    audit::{Entry, Event},\n    store::Store, sts,\n};\n\
         // crate::worker\nfn f(x: crate::mail::Address) {}\n",
    );
    let expected = ["audit", "mail", "store", "sts"].map(str::to_owned);
    assert_eq!(found, BTreeSet::from(expected));
}
