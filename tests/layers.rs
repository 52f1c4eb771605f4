//! Who may name whom: the dependency rule of the crate's documentation, held by reading the sources.
//!
//! A room is a module of `src/lib.rs`. What counts is every path that starts at the crate's root, in a `use` or in the code, and
//! every name of an outside crate; what is compiled for tests only does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::tools::repository;

/// What a room may name besides itself.
enum MayName {
    Nothing,
    Only(&'static [&'static str]),
    /// Every room above it in [`ROOMS`].
    RoomsAbove,
}

/// Every room, in an order in which names point upwards only.
const ROOMS: [(&str, MayName); 23] = [
    // Leaves and the pure core: each could be a library.
    ("names", MayName::Nothing),
    ("clock", MayName::Nothing),
    ("metrics", MayName::Nothing),
    ("proto", MayName::Nothing),
    ("watch", MayName::Nothing),
    ("redis", MayName::Only(&["metrics"])),
    ("sign", MayName::Only(&["proto"])),
    // The steps, in the order of the flow, and what they share.
    ("authenticate", MayName::RoomsAbove),
    ("admit", MayName::RoomsAbove),
    ("scope", MayName::RoomsAbove),
    ("endpoint", MayName::RoomsAbove),
    ("upload", MayName::Nothing),
    ("audit", MayName::RoomsAbove),
    ("tenant", MayName::RoomsAbove),
    ("operate", MayName::RoomsAbove),
    ("refusal", MayName::RoomsAbove),
    // The flow, and its front door.
    ("presign", MayName::RoomsAbove),
    ("grpc", MayName::RoomsAbove),
    // What only the builders know.
    ("config", MayName::Nothing),
    ("telemetry", MayName::Only(&["audit", "metrics"])),
    ("dev", MayName::Nothing),
    ("app", MayName::RoomsAbove),
    ("cli", MayName::RoomsAbove),
];

/// Whether a room may name another one.
fn may_name(room: &str, other: &str) -> bool {
    let position = |name: &str| ROOMS.iter().position(|(known, _)| *known == name);
    let (Some(own), Some(others)) = (position(room), position(other)) else {
        return false;
    };
    own == others
        || match ROOMS[own].1 {
            MayName::Nothing => false,
            MayName::Only(allowed) => allowed.contains(&other),
            MayName::RoomsAbove => others < own,
        }
}

/// Outside crates, by how their names start, and the only rooms that may name them.
const OUTSIDE: [(&str, &[&str]); 6] = [
    ("tonic", &["grpc", "proto", "telemetry"]),
    (
        "hyper",
        &["authenticate", "grpc", "dev", "upload", "telemetry"],
    ),
    ("rustls", &["authenticate", "grpc", "dev", "upload"]),
    ("tokio_rustls", &["grpc"]),
    ("redis", &["redis"]),
    ("x509_parser", &["authenticate", "grpc"]),
];

/// Outside crates, by how their names start, that would end the core's life as a library of its own.
const NOT_IN_SIGN: [&str; 6] = [
    "tokio",
    "tonic",
    "tracing",
    "opentelemetry",
    "hyper",
    "aws_",
];

/// A source file without what is compiled for tests only.
struct Source {
    path: PathBuf,
    /// The module's path: `["sign", "bind"]`.
    module: Vec<String>,
    code: String,
}

impl Source {
    /// Every file below `src` that is compiled into the program.
    fn all() -> Vec<Self> {
        let src = repository().join("src");
        let mut paths = Vec::new();
        files_below(&src, &mut paths);
        let mut sources = Vec::new();
        let mut for_tests = BTreeSet::new();
        for path in paths {
            let place = path
                .strip_prefix(&src)
                .expect("it is below src")
                .with_extension("");
            let module: Vec<String> = place
                .components()
                .map(|part| part.as_os_str().to_string_lossy().into_owned())
                .collect();
            let text = fs::read_to_string(&path).expect("a readable source");
            let (code, test_modules) = without_tests(&text);
            for name in test_modules {
                for_tests.insert([module.clone(), vec![name]].concat());
            }
            sources.push(Self { path, module, code });
        }
        let is_for_tests = |source: &Source| {
            (1..=source.module.len()).any(|length| for_tests.contains(&source.module[..length]))
        };
        sources.retain(|source| !is_for_tests(source));
        sources
    }

    /// The room that the file belongs to; none for `lib.rs` and `main.rs`.
    fn room(&self) -> Option<&str> {
        let name = self.module.first().map(String::as_str);
        name.filter(|name| !matches!(*name, "lib" | "main"))
    }

    /// The rooms that the file names, and the line of each.
    fn rooms_named(&self) -> BTreeMap<String, String> {
        rooms_named(&self.code, self.module.len())
    }
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            files_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The code without comments and without items under `#[cfg(test)]`, and the files that such items name.
fn without_tests(text: &str) -> (String, Vec<String>) {
    let mut code = String::new();
    let mut modules = Vec::new();
    let mut lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            code.push_str(line);
            code.push('\n');
            continue;
        }
        // rustfmt puts the end of an item below its start.
        let indent = &line[..line.len() - line.trim_start().len()];
        let end = format!("{indent}}}");
        let mut item = lines.next().expect("an attribute has an item");
        while item.trim_start().starts_with("#[") {
            item = lines.next().expect("an attribute has an item");
        }
        let words: Vec<&str> = item.trim().trim_end_matches(';').split(' ').collect();
        if let [.., "mod", name] = words[..] {
            modules.push(name.to_owned());
        }
        // What ends in `;` on its first line is over; else its lines are indented more than its end.
        let is_over = |line: &str| {
            let own = line
                .strip_prefix(indent)
                .filter(|own| !own.starts_with(' '));
            line.trim_end_matches(';') == end || own.is_some_and(|own| own.ends_with(';'))
        };
        while !is_over(item) {
            item = lines.next().expect("an item ends");
        }
    }
    (code, modules)
}

/// The top-level modules that code names, each with the line that does, in a file so many modules deep.
fn rooms_named(code: &str, depth: usize) -> BTreeMap<String, String> {
    let to_root = "super::".repeat(depth);
    let mut named = BTreeMap::new();
    for root in ["crate::", to_root.as_str()] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back().unwrap_or(' ');
            if before.is_alphanumeric() || matches!(before, '_' | '$' | ':') {
                continue;
            }
            let line = code[at..].lines().next().unwrap_or_default();
            for name in first_names(&code[at + root.len()..]) {
                named.insert(name, line.to_owned());
            }
        }
    }
    // `super` is the parent's, and only what is left after the climb is a room.
    named.remove("super");
    named.remove("self");
    named
}

/// The first names of what follows `crate::`: one, or those of a group in braces.
fn first_names(rest: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        let text = text.trim_start();
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(group) = rest.strip_prefix('{') else {
        return vec![name(rest)];
    };
    let mut names = vec![name(group)];
    let mut open = 1;
    for (at, c) in group.char_indices() {
        match c {
            '{' => open += 1,
            '}' => open -= 1,
            ',' if open == 1 => names.push(name(&group[at + 1..])),
            _ => {}
        }
        if open == 0 {
            break;
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Whether code names a crate whose name starts so: `tonic::`, `use tonic_types::..`.
fn names_crate(code: &str, start: &str) -> bool {
    code.match_indices(start).any(|(at, _)| {
        let before = code[..at].chars().next_back().unwrap_or(' ');
        let rest = code[at..].trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
        let within = before.is_alphanumeric() || matches!(before, '_' | ':' | '"');
        rest.starts_with("::") && !within
    })
}

#[test]
fn every_room_has_its_rule() {
    let lib = fs::read_to_string(repository().join("src/lib.rs")).expect("a readable source");
    let declared: BTreeSet<&str> = lib
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod "))
        .filter_map(|rest| rest.split([';', ' ']).next())
        .collect();
    let ruled: BTreeSet<&str> = ROOMS.iter().map(|(room, _)| *room).collect();
    assert_eq!(
        declared, ruled,
        "a module without a rule, or a rule without its module"
    );
    assert_eq!(ruled.len(), ROOMS.len(), "two rules for one room");
}

#[test]
fn no_room_names_one_that_it_may_not_know() {
    let mut broken = Vec::new();
    let mut named = 0;
    for source in Source::all() {
        let Some(room) = source.room() else { continue };
        for (other, line) in source.rooms_named() {
            named += 1;
            if !may_name(room, &other) {
                broken.push(format!("{}: {line}", source.path.display()));
            }
        }
    }
    assert!(
        broken.is_empty(),
        "against the rules at the top of this file:\n{}",
        broken.join("\n")
    );
    assert!(named > 50, "only {named} names found: the reader is broken");
}

#[test]
fn grpc_stays_at_the_door_and_the_core_pure() {
    let mut broken = Vec::new();
    let mut found = 0;
    for source in Source::all() {
        let room = source.room().unwrap_or_default();
        for (start, allowed) in OUTSIDE {
            let names = names_crate(&source.code, start);
            found += usize::from(names);
            if names && !allowed.contains(&room) {
                broken.push(format!("{} names {start}", source.path.display()));
            }
        }
        for start in NOT_IN_SIGN {
            if room == "sign" && names_crate(&source.code, start) {
                broken.push(format!("{} names {start}", source.path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(found > 2, "{found}: the reader is broken");
}

#[test]
fn the_reader_finds_every_way_to_name_a_room() {
    let code = "
use crate::sign::{self, bind};
use crate::{admit::{Admitted, policy}, names,
    config as settings};
pub(in crate::dev) fn f() { crate::scope::g(super::super::audit::h(), super::near()); }
macro_rules! m { () => { $crate::proto::x() } }
";
    let named = |depth| -> Vec<String> { rooms_named(code, depth).into_keys().collect() };
    assert_eq!(
        named(2),
        ["admit", "audit", "config", "dev", "names", "scope", "sign"]
    );
    assert!(named(1).contains(&"near".to_owned()), "{:?}", named(1));
    let (code, modules) = without_tests(
        "use crate::a;\n// use crate::b;\n#[cfg(test)]\nmod laws;\n#[cfg(test)]\n#[path = \"x\"]\nmod tests {\n    use crate::c;\n}\nuse crate::d;\n    #[cfg(test)]\n    fn e() {\n        crate::e()\n    }\nuse crate::f;\n",
    );
    assert_eq!(modules, ["laws"]);
    let rooms: Vec<String> = rooms_named(&code, 1).into_keys().collect();
    assert_eq!(rooms, ["a", "d", "f"]);
    assert!(names_crate("use tonic_types::pb;", "tonic"));
    assert!(names_crate("fn f() -> tonic::Status {}", "tonic"));
    assert!(!names_crate("let tonic = 1; isotonic::x();", "tonic"));
}
