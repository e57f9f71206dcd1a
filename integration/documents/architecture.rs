//! The folders of `docs/architecture.md` are those of `src/`, and import each
//! other as it says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::imports::Imports;

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

/// The boxes of the picture by their names, each with its folder.
fn boxes() -> BTreeMap<String, String> {
    let picture = section("picture");
    let mut boxes = BTreeMap::new();
    for (at, _) in picture.match_indices("src/") {
        let before = picture[..at].trim_end_matches(['[', '(', '"']);
        let (_, name) = before.rsplit_once(' ').expect("a box has a name");
        let folder = word(&picture[at + "src/".len()..]).expect("a box has a folder");
        boxes.insert(name.to_owned(), folder);
    }
    boxes
}

/// The arrows of the picture, from folder to folder.
fn arrows() -> Vec<(String, String)> {
    let boxes = boxes();
    let picture = section("picture");
    let ends = picture.lines().filter_map(|line| line.split_once("-->"));
    ends.map(|(from, to)| {
        let [from, to] = [from, to].map(|end| word(end).expect("a box"));
        (boxes[&from].clone(), boxes[&to].clone())
    })
    .collect()
}

#[test]
fn the_table_has_every_folder() {
    let listed: BTreeSet<String> = allowed().into_keys().collect();
    assert_eq!(listed, folders(), "the table of docs/architecture.md");
}

#[test]
fn the_picture_is_small_and_each_arrow_is_an_import() {
    let (boxes, arrows, allowed) = (boxes(), arrows(), allowed());
    assert!(boxes.len() <= 10, "{boxes:?}");
    assert!(arrows.len() >= boxes.len() - 1, "{arrows:?}");
    for (from, to) in &arrows {
        assert!(allowed[from].contains(to), "{from} does not import {to}");
    }
    let connected: BTreeSet<&String> = arrows.iter().flat_map(|(a, b)| [a, b]).collect();
    assert_eq!(
        connected,
        boxes.values().collect(),
        "boxes without an arrow"
    );
}

#[test]
fn the_front_page_lists_the_rooms_and_each_imports_those_above_it() {
    let front = read(&root().join("src/lib.rs"));
    let listed = section("imports");
    let rows: Vec<String> = listed
        .lines()
        .skip(2)
        .filter_map(|row| row.split('`').nth(1).map(str::to_owned))
        .collect();
    let named: Vec<String> = front
        .lines()
        .filter_map(|line| line.strip_prefix("//! - [`"))
        .filter_map(word)
        .collect();
    assert_eq!(named, rows, "src/lib.rs and docs/architecture.md");
    for (at, room) in rows.iter().enumerate() {
        let above: BTreeSet<String> = rows[..=at].iter().cloned().collect();
        let below: Vec<_> = allowed()[room].difference(&above).cloned().collect();
        assert_eq!(below, [""; 0], "{room} imports rooms below it");
    }
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

/// The cycles among the files of one crate, a line each.
fn cycles(imports: &Imports) -> Vec<String> {
    let files = imports.of_files();
    let mut lines = Vec::new();
    for cycle in imports.cycles() {
        let edges = cycle.iter().flat_map(|&file| {
            let imported = files[file].intersection(&cycle);
            imported.map(move |other| format!("{} imports {}", file.display(), other.display()))
        });
        lines.push(edges.collect::<Vec<_>>().join(", "));
    }
    lines
}

#[test]
fn no_two_files_import_each_other() {
    let mut imports = Imports::default();
    imports.read(&[], &root().join("src"));
    assert!(imports.of_files().len() > 300, "the files of src/ are read");
    assert_eq!(cycles(&imports), [""; 0]);
}

/// Each test program is a crate: the files of its topic, and those of the harness.
#[test]
fn no_two_files_of_a_test_program_import_each_other() {
    let integration = root().join("integration");
    let entries = fs::read_dir(&integration).expect("integration");
    let topics: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.join("main.rs").exists())
        .collect();
    assert!(topics.len() >= 12, "{topics:?}");
    for topic in topics {
        let mut imports = Imports::default();
        imports.read(&["harness"], &integration.join("harness"));
        imports.read(&[], &topic);
        assert_eq!(cycles(&imports), [""; 0], "{}", topic.display());
    }
}

#[test]
fn a_planted_cycle_is_found_in_every_form() {
    let forms = [
        "use crate::room::two::Two;",
        "use super::{two::Two as Other, three};",
        "use super::two;\nfn f(_: two::Two) {}",
        "fn f(_: &crate::room::two::Two) {}",
        "fn f() { println!(\"{}\", super::two::NUMBER); }",
        "use super::Two;",
    ];
    for form in forms {
        let mut imports = planted(form);
        assert_eq!(
            cycles(&imports),
            ["one.rs imports two.rs, two.rs imports one.rs"],
            "{form}"
        );
        imports.add(
            module(&["room", "two"]),
            Path::new("two.rs"),
            "pub struct Two;",
        );
        assert_eq!(cycles(&imports), [""; 0], "{form}");
    }
}

#[test]
fn tests_and_other_crates_close_no_cycle() {
    for form in [
        "#[cfg(test)]\nmod tests {\n    use super::super::two::Two;\n}",
        "#[cfg(test)]\nuse super::two::Two;",
        "use two::Two;",
        "// use super::two::Two;",
    ] {
        assert_eq!(cycles(&planted(form)), [""; 0], "{form}");
    }
}

/// A room whose file `one` holds `source`, and whose file `two` imports `one`.
fn planted(source: &str) -> Imports {
    let mut imports = Imports::default();
    imports.add(module(&[]), Path::new("lib.rs"), "mod room;");
    let room = "mod one;\nmod two;\npub use self::{one::One, two::Two};";
    imports.add(module(&["room"]), Path::new("room.rs"), room);
    let one = format!("{source}\npub struct One;");
    imports.add(module(&["room", "one"]), Path::new("one.rs"), &one);
    let two = "use super::one::One;\npub struct Two(One);\npub const NUMBER: u8 = 2;";
    imports.add(module(&["room", "two"]), Path::new("two.rs"), two);
    imports
}

fn module(path: &[&str]) -> Vec<String> {
    path.iter().map(|&segment| segment.to_owned()).collect()
}
