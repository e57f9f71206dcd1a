//! The files of a crate and the files that each of them imports, read with `syn`.
//! Code for tests alone does not count, and a re-export counts for the file that defines
//! the item.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Attribute, Item, ItemMod, ItemUse, Macro, UseTree, Visibility,
    visit::{self, Visit},
};

/// The segments of a path in code.
type Segments = Vec<String>;

/// A crate, or the part of one that lies in a folder.
#[derive(Default)]
pub struct Imports {
    modules: BTreeMap<Segments, Module>,
}

/// A file and the names in it.
#[derive(Default)]
struct Module {
    file: PathBuf,
    uses: Vec<Use>,
    paths: Vec<Segments>,
    test_children: BTreeSet<String>,
    inline_children: BTreeSet<String>,
}

/// A name that a `use` brings into a file; `*` for a glob.
struct Use {
    path: Segments,
    name: String,
    is_public: bool,
}

impl Imports {
    /// Reads each Rust file in `directory`, which is the module `prefix` of its crate.
    pub fn read(&mut self, prefix: &[&str], directory: &Path) {
        let prefix: Segments = prefix.iter().map(|&segment| segment.to_owned()).collect();
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            let mut module = prefix.clone();
            if !matches!(name, "mod" | "lib" | "main") || path.is_dir() {
                module.push(name.to_owned());
            }
            if path.is_dir() {
                let module: Vec<&str> = module.iter().map(String::as_str).collect();
                self.read(&module, &path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = fs::read_to_string(&path).unwrap();
                self.add(module, &path, &source);
            }
        }
    }

    /// Adds a file with this source as `module`.
    pub fn add(&mut self, module: Segments, file: &Path, source: &str) {
        let parsed =
            syn::parse_file(source).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut found = Module {
            file: file.to_owned(),
            ..Module::default()
        };
        found.visit_file(&parsed);
        self.modules.insert(module, found);
    }

    /// Each file with the files that it imports.
    pub fn of_files(&self) -> BTreeMap<&Path, BTreeSet<&Path>> {
        let shipped = self.modules.iter().filter(|(name, _)| !self.is_test(name));
        shipped
            .map(|(name, module)| (module.file.as_path(), self.imported_by(name, module)))
            .collect()
    }

    /// The groups of files that import each other, directly or by way of others.
    pub fn cycles(&self) -> Vec<BTreeSet<&Path>> {
        let imports = self.of_files();
        let reached: BTreeMap<&Path, BTreeSet<&Path>> = imports
            .keys()
            .map(|&file| (file, reachable(file, &imports)))
            .collect();
        let mut cycles: Vec<BTreeSet<&Path>> = Vec::new();
        for (&file, reaches) in &reached {
            let mutual = |other: &&&Path| reached.get(*other).is_some_and(|r| r.contains(file));
            let cycle: BTreeSet<&Path> = reaches.iter().filter(mutual).copied().collect();
            if !cycle.is_empty() && !cycles.contains(&cycle) {
                cycles.push(cycle);
            }
        }
        cycles
    }

    fn is_test(&self, name: &[String]) -> bool {
        (0..name.len()).any(|at| {
            let parent = self.modules.get(&name[..at]);
            parent.is_some_and(|parent| parent.test_children.contains(&name[at]))
        })
    }

    fn imported_by(&self, name: &Segments, module: &Module) -> BTreeSet<&Path> {
        let mut files = BTreeSet::new();
        let named = module
            .uses
            .iter()
            .filter(|used| !used.is_public)
            .map(|used| &used.path)
            .chain(&module.paths);
        for path in named {
            let absolute = self.absolute(name, path);
            files.extend(absolute.and_then(|path| self.defining(&path, 0)));
        }
        files.remove(module.file.as_path());
        files
    }

    /// A path as seen from the root of the crate; none if it leads out of the crate.
    fn absolute(&self, from: &[String], path: &[String]) -> Option<Segments> {
        let (first, rest) = path.split_first()?;
        let joined = |base: &[String]| Some([base, rest].concat());
        match first.as_str() {
            "crate" => joined(&[]),
            "self" => joined(from),
            "super" => {
                let (_, parent) = from.split_last()?;
                match rest.first().is_some_and(|next| next == "super") {
                    true => self.absolute(parent, rest),
                    false => joined(parent),
                }
            }
            name => {
                let module = self.modules.get(from)?;
                if self.modules.contains_key(&[from, &path[..1]].concat()) {
                    return Some([from, path].concat());
                }
                let used = module.uses.iter().find(|used| used.name == name)?;
                if used.path.first() == Some(first) {
                    return None;
                }
                joined(&self.absolute(from, &used.path)?)
            }
        }
    }

    /// The file that defines the item at `path`. A module alone is no item.
    fn defining(&self, path: &[String], depth: usize) -> Option<&Path> {
        let length = (0..=path.len())
            .rev()
            .find(|&length| self.modules.contains_key(&path[..length]))?;
        let (name, rest) = path.split_at(length);
        let module = &self.modules[name];
        let item = rest.first()?;
        if depth < 8 && !module.inline_children.contains(item) {
            for used in &module.uses {
                let is_it = used.name == *item;
                if !is_it && used.name != "*" {
                    continue;
                }
                let Some(mut target) = self.absolute(name, &used.path) else {
                    if is_it { return None } else { continue }
                };
                if !is_it {
                    target.push(item.clone());
                }
                if target == path {
                    continue;
                }
                target.extend_from_slice(&rest[1..]);
                return self.defining(&target, depth + 1);
            }
        }
        Some(&module.file)
    }
}

/// All files that `file` imports, directly or by way of others.
fn reachable<'a>(
    file: &'a Path,
    imports: &BTreeMap<&'a Path, BTreeSet<&'a Path>>,
) -> BTreeSet<&'a Path> {
    let mut reached = BTreeSet::new();
    let mut left = vec![file];
    while let Some(next) = left.pop() {
        for &imported in imports.get(next).into_iter().flatten() {
            if reached.insert(imported) {
                left.push(imported);
            }
        }
    }
    reached
}

impl Module {
    fn add_use(&mut self, mut prefix: Segments, tree: &UseTree, is_public: bool) {
        let (path, name) = match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                return self.add_use(prefix, &path.tree, is_public);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_use(prefix.clone(), tree, is_public);
                }
                return;
            }
            UseTree::Glob(_) => (prefix, "*".to_owned()),
            UseTree::Name(name) if name.ident == "self" => {
                let name = prefix.last().cloned().unwrap_or_default();
                (prefix, name)
            }
            UseTree::Name(name) => {
                prefix.push(name.ident.to_string());
                (prefix, name.ident.to_string())
            }
            UseTree::Rename(rename) => {
                prefix.push(rename.ident.to_string());
                (prefix, rename.rename.to_string())
            }
        };
        self.uses.push(Use {
            path,
            name,
            is_public,
        });
    }

    /// The paths in the tokens of a macro call, which no parser knows.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut path = Segments::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.paths.push(std::mem::take(&mut path));
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.add_tokens(group.stream());
                    colons = 0;
                }
                _ => colons = 0,
            }
        }
        self.paths.push(path);
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let of_cfg = || attribute.parse_args::<syn::Meta>();
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && of_cfg().is_ok_and(|meta| meta.path().is_ident("test"))
    })
}

impl<'ast> Visit<'ast> for Module {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            Item::Const(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_for_tests(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        let name = module.ident.to_string();
        match (is_for_tests(&module.attrs), &module.content) {
            (true, None) => drop(self.test_children.insert(name)),
            (true, Some(_)) | (false, None) => {}
            (false, Some(_)) => drop(self.inline_children.insert(name)),
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let is_public = !matches!(item.vis, Visibility::Inherited);
        self.add_use(Segments::new(), &item.tree, is_public);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter();
        self.paths
            .push(segments.map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.add_tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }
}
