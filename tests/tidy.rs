//! Rules about the code itself that no compiler keeps: layers, width, dead files, and what must not stand in a file.
//!
//! Each rule collects everything it finds, so that one run shows all.

#![allow(clippy::disallowed_methods, reason = "a test may block")]

use std::path::Path;
use std::path::PathBuf;

/// As in `.rustfmt.toml`, which cannot break strings and comments.
const LINE_LETTERS_MAX: usize = 120;

/// Where the runtime may be named; the rest runs under a simulated disk and clock.
const RUNTIME_PLACES: [&str; 5] = ["src/server/", "src/background/", "src/http/", "src/mesh/", "src/disk/real.rs"];

/// A text file of ours.
struct Source {
    /// Below the repository, with `/`.
    path: String,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The tests of a module in a file beside it: its first lines are elsewhere, and its cases are data.
    fn is_tests(&self) -> bool {
        self.path.ends_with("tests.rs")
    }

    /// Lines with their numbers, without comments and without the tests at the end of the file.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_test_file = self.is_tests();
        self.text
            .lines()
            .enumerate()
            .take_while(move |(_, line)| !is_test_file && !line.starts_with("#[cfg(test)]"))
            .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file of the repository: sources, documents, settings. Recorded exchanges are data.
fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in ["src", "tests", "benches", "loadtest", ".ci", "tuning"] {
        collect(&root().join(folder), &mut paths);
    }
    let top = std::fs::read_dir(root()).expect("the repository can be listed");
    paths.extend(top.map(|entry| entry.expect("the repository can be listed").path()).filter(|path| path.is_file()));
    paths.retain(|path| {
        let extension = path.extension().unwrap_or_default();
        path.parent().is_some_and(|parent| parent.file_name().is_some_and(|name| name == ".ci"))
            || ["rs", "md", "toml", "conf", "sh"].iter().any(|known| extension == *known)
    });
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let path = path.strip_prefix(root()).expect("found below the root").to_string_lossy().replace('\\', "/");
        Source { path, text }
    };
    paths.into_iter().map(read).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    let Ok(listing) = std::fs::read_dir(folder) else { return };
    for entry in listing {
        let path = entry.expect("the repository can be listed").path();
        if path.is_dir() {
            collect(&path, paths);
        } else {
            paths.push(path);
        }
    }
}

fn holds(rule: &str, findings: Vec<String>) {
    assert!(findings.is_empty(), "{rule}:\n{}", findings.join("\n"));
}

/// Module names in the order of src/lib.rs.
fn modules(sources: &[Source]) -> Vec<String> {
    let library = sources.iter().find(|source| source.path == "src/lib.rs").expect("the crate has a root");
    let name = |line: &str| line.strip_prefix("pub mod ")?.strip_suffix(';').map(str::to_owned);
    library.text.lines().filter_map(name).collect()
}

#[test]
fn a_module_uses_only_modules_below_it() {
    let sources = sources();
    let modules = modules(&sources);
    assert!(modules.len() > 10, "the list of src/lib.rs was not understood: {modules:?}");
    let rank = |name: &str| modules.iter().position(|module| module == name);
    let mut findings = Vec::new();
    for source in &sources {
        let Some(inner) = source.path.strip_prefix("src/") else { continue };
        let own = inner.split('/').next().unwrap_or_default().trim_end_matches(".rs");
        let Some(own_rank) = rank(own) else { continue };
        for (number, line) in source.code() {
            for (at, _) in line.match_indices("crate::") {
                let used: String =
                    line[at + 7..].chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
                if rank(&used).is_some_and(|used_rank| used_rank < own_rank) {
                    findings.push(format!("{}:{number}: {own} uses {used}", source.path));
                }
                if line[at + 7..].starts_with('{') {
                    findings
                        .push(format!("{}:{number}: one use for each item, so that edges can be found", source.path));
                }
            }
        }
    }
    holds("a module uses only modules below it in src/lib.rs", findings);
}

#[test]
fn the_runtime_is_named_at_the_edges_only() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| source.path.starts_with("src/") && source.is_rust()) {
        if RUNTIME_PLACES.iter().any(|place| source.path.starts_with(place)) {
            continue;
        }
        for (number, line) in source.code().filter(|(_, line)| line.contains("glommio::")) {
            findings.push(format!("{}:{number}: {}", source.path, line.trim()));
        }
    }
    holds("glommio is named in server, background, http, mesh and disk/real.rs", findings);
}

#[test]
fn lines_fit() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| source.is_rust() && !source.is_tests()) {
        for (index, line) in source.text.lines().enumerate() {
            let letter_count = line.chars().count();
            if letter_count > LINE_LETTERS_MAX {
                findings.push(format!("{}:{}: {letter_count} letters", source.path, index + 1));
            }
        }
    }
    holds("a line has at most 120 letters", findings);
}

#[test]
fn every_file_is_part_of_something() {
    let sources = sources();
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let path = Path::new(&source.path);
        let (Some(folder), Some(stem)) = (path.parent(), path.file_stem()) else { continue };
        let stem = stem.to_string_lossy();
        let (folder, name) = if stem == "mod" {
            (folder.parent().unwrap_or(folder), folder.file_name().unwrap_or_default().to_string_lossy())
        } else {
            (folder, stem)
        };
        // The roots of targets stand in Cargo.toml.
        if ["main", "lib"].contains(&&*name) || ["tests", "benches"].iter().any(|top| Path::new(top) == folder) {
            continue;
        }
        let folder = folder.to_string_lossy();
        let parents = [
            format!("{folder}/mod.rs"),
            format!("{folder}/main.rs"),
            format!("{folder}/lib.rs"),
            format!("{folder}.rs"),
        ];
        let declaration = format!("mod {name};");
        let by_path = format!("#[path = \"{}\"]", path.file_name().unwrap_or_default().to_string_lossy());
        let is_declared = sources.iter().any(|parent| {
            let is_named =
                parents.contains(&parent.path) && parent.text.lines().any(|line| line.trim().ends_with(&declaration));
            let is_beside = Path::new(&parent.path).parent() == path.parent() && parent.text.contains(&by_path);
            is_named || is_beside
        });
        if !is_declared {
            findings.push(format!("{}: no mod line names it", source.path));
        }
    }
    holds("no dead files", findings);
}

#[test]
fn every_file_of_the_crate_says_what_it_is() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| source.path.starts_with("src/") && source.is_rust()) {
        // The root's words are src/ARCHITECTURE.md.
        if !source.text.starts_with("//!") && !source.is_tests() && source.path != "src/lib.rs" {
            findings.push(source.path.clone());
        }
    }
    holds("a file opens with what it is", findings);
}

#[test]
fn nothing_stands_in_a_file_that_must_not() {
    // Put together here, so that this file does not find itself.
    let forbidden = [
        ("todo", "!("),
        ("unimplemented", "!("),
        ("#[ig", "nore"),
        ("allow(dead", "_code"),
        ("/wo", "rk/"),
        ("/ro", "ot/"),
        ("/tm", "p/"),
        ("/ho", "me/"),
    ]
    .map(|(one, two)| format!("{one}{two}"));
    let mut findings = Vec::new();
    for source in sources() {
        for (index, line) in source.text.lines().enumerate() {
            let place = format!("{}:{}", source.path, index + 1);
            for words in forbidden.iter().filter(|words| line.contains(words.as_str())) {
                findings.push(format!("{place}: {words}"));
            }
            if let Some(control) = line.chars().find(|letter| letter.is_control()) {
                findings.push(format!("{place}: control character {:#x}", u32::from(control)));
            }
            if line.ends_with(' ') {
                findings.push(format!("{place}: space at the end"));
            }
        }
        if !source.text.is_empty() && !source.text.ends_with('\n') {
            findings.push(format!("{}: no line end at the end", source.path));
        }
    }
    holds("no unfinished code, no paths of one machine, no control characters", findings);
}
