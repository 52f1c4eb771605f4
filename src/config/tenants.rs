//! All tenants: those that stand in the configuration file, and those of a folder with a file each.
//!
//! Invariant: a tenant is there once, and there is at least one. What a file of the folder holds is what would stand below
//! the tenant's name, which is the file's.

use std::collections::{BTreeMap, HashMap, hash_map};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::mistake::{Located, Location, Mark, quoted};
use super::reader::Reader;
use super::tenant::{TENANT_NAME, Tenant, is_tenant_name, tenant};
use super::tree::{self, Node};

/// The tenants by name.
pub(super) type Tenants = BTreeMap<String, Located<Tenant>>;

/// How the names of the folder's files end, after the tenant's.
const ENDINGS: [&str; 2] = [".yaml", ".yml"];

/// The largest file of a tenant, in bytes.
const FILE_BYTES: u64 = 1 << 20;

/// A folder of tenants.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    tenants: Vec<(String, Located<Tenant>)>,
}

/// Where each tenant was found first.
#[derive(Default)]
pub(super) struct Places(HashMap<String, Location>);

impl Places {
    /// Reports a tenant that was found before.
    fn note(&mut self, reader: &mut Reader<'_>, id: &str, at: Mark) -> Option<()> {
        match self.0.entry(id.to_owned()) {
            hash_map::Entry::Vacant(vacant) => {
                vacant.insert(reader.report.location(at));
                Some(())
            }
            hash_map::Entry::Occupied(first) => {
                let message = format!(
                    "this tenant is given twice, first at {}: remove one",
                    first.get()
                );
                reader.mistake(at, message);
                None
            }
        }
    }
}

/// Reads `tenants`.
pub(super) fn written(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    places: &mut Places,
) -> Option<Tenants> {
    let tenants = reader.each_entry(node, |reader, id, id_at, node| {
        let first = places.note(reader, id, id_at);
        let tenant = tenant(reader, id, id_at, node)?;
        first.map(|()| (id.to_owned(), tenant))
    })?;
    if tenants.is_empty() {
        reader.mistake(node.at, "there is no tenant: add at least one");
        return None;
    }
    Some(tenants.into_iter().collect())
}

/// Reads `tenants_dir`, and the files there.
pub(super) fn folder(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    places: &mut Places,
) -> Option<Folder> {
    let path = reader.folder.join(reader.parsed(node, folder_path)?);
    let names = match names(&path) {
        Ok(names) => names,
        Err(error) => {
            reader.mistake(
                node.at,
                format!("the folder named here cannot be read: {error}"),
            );
            return None;
        }
    };
    let mut found = 0;
    let mut tenants = Vec::with_capacity(names.len());
    for name in &names {
        let Some(id) = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)) else {
            reader.warn(format!(
                "the file {} is not read: those of tenants end in `.yaml`",
                quoted(name)
            ));
            continue;
        };
        found += 1;
        if is_tenant_name(id) {
            let file = path.join(name);
            tenants.extend(one(reader, id, &file, places).map(|tenant| (id.to_owned(), tenant)));
        } else {
            let message = format!(
                "the file {} is not called after a tenant: {TENANT_NAME}",
                quoted(name)
            );
            reader.mistake(node.at, message);
        }
    }
    if found == 0 {
        let message = "the folder named here holds no file of a tenant, such as `acme.yaml`: add at least one";
        reader.mistake(node.at, message);
    }
    (found > 0 && tenants.len() == found).then_some(Folder { path, tenants })
}

/// All of them; `at` is where one would be missed.
pub(super) fn together(
    reader: &mut Reader<'_>,
    at: Mark,
    written: Option<Tenants>,
    folder: Option<Folder>,
) -> Option<(Tenants, Option<PathBuf>)> {
    if written.is_none() && folder.is_none() {
        let message = "`tenants` is required and missing: write them there, or name a folder with a file for each in `tenants_dir`";
        reader.mistake(at, message);
        return None;
    }
    let mut tenants = written.unwrap_or_default();
    let (path, more) = folder.map(|folder| (folder.path, folder.tenants)).unzip();
    tenants.extend(more.into_iter().flatten());
    Some((tenants, path))
}

/// A path and not what a file holds, which messages would repeat.
pub(super) fn folder_path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        Err("this is not the path of a folder: name the one with the tenants' files".to_owned())
    } else {
        Ok(PathBuf::from(text))
    }
}

/// The names in a folder that are not hidden, in order. Kubernetes keeps the files of a volume in hidden folders beside the links to them.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        // What is not UTF-8 is no tenant's name afterwards either.
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Reads the tenant of one file.
fn one(
    reader: &mut Reader<'_>,
    id: &str,
    file: &Path,
    places: &mut Places,
) -> Option<Located<Tenant>> {
    let root = format!("tenants.{id}");
    reader.in_file(&file.display().to_string(), &root, |reader| {
        let first = places.note(reader, id, Mark::START);
        let bytes = match bytes(file) {
            Ok(bytes) => bytes,
            Err(why) => {
                reader.mistake(Mark::START, why);
                return None;
            }
        };
        let text = super::decode(&bytes, &mut reader.report)?;
        let empty = "the file holds no settings: write those of the tenant, or remove the file";
        let tree = tree::read(text, &root, empty, &mut reader.report)?;
        let tenant = tenant(reader, id, Mark::START, &tree)?;
        first.map(|()| tenant)
    })
}

fn bytes(file: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let unreadable = |error: io::Error| format!("the file cannot be read: {error}");
    // Opening a pipe would wait for whoever writes to it.
    if !std::fs::metadata(file).map_err(unreadable)?.is_file() {
        return Err("this is not a file: move it away".to_owned());
    }
    let opened = File::open(file).map_err(unreadable)?;
    let mut bounded = opened.take(FILE_BYTES + 1);
    bounded.read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(format!("the file is larger than {} KiB", FILE_BYTES >> 10));
    }
    Ok(bytes)
}
