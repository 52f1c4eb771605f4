//! All tenants: those that stand in the configuration file, and those of a folder with a file each.
//!
//! Invariant: a tenant is there once, and there is at least one. What a file of the folder holds is what would stand below
//! the tenant's name, which is the file's.

use std::collections::{BTreeMap, HashMap, hash_map};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::thread;

use super::callers::Asked;
use super::limit::check_kept;
use super::mistake::{Located, Location, Mark, Report, quoted};
use super::reader::Reader;
use super::sources::Reading;
use super::tenant::{TENANT_NAME, Tenant, is_tenant_name, tenant};
use super::tree::{self, Node};

/// What is kept of each tenant, and what is looked at before.
pub(super) struct Keep<'k, T> {
    /// The tenants that callers may ask for, if the callers are known.
    pub(super) asked: Option<Asked<'k>>,
    /// Whether counts of days and months outlast the process.
    pub(super) keeps_counts: bool,
    /// What is kept.
    pub(super) of: &'k (dyn Fn(&str, Located<Tenant>) -> T + Sync),
}

impl<T> Keep<'_, T> {
    fn of(&self, reader: &mut Reader<'_>, id: &str, tenant: Located<Tenant>) -> T {
        if let Some(asked) = &self.asked {
            asked.check(reader, id, &tenant);
        }
        check_kept(reader, &tenant.value.limits, self.keeps_counts);
        (self.of)(id, tenant)
    }
}

/// The tenants by name.
pub(super) type Tenants<T> = BTreeMap<String, T>;

/// How the names of the folder's files end, after the tenant's.
const ENDINGS: [&str; 2] = [".yaml", ".yml"];

/// The largest file of a tenant, in bytes.
const FILE_BYTES: u64 = 1 << 20;

/// A thread is worth its while for so many files.
const FILES_OF_A_THREAD: usize = 256;

/// A folder of tenants.
pub(super) struct Folder<T>(Vec<(String, T)>);

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
pub(super) fn written<T>(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    places: &mut Places,
    keep: &Keep<'_, T>,
) -> Option<Tenants<T>> {
    let tenants = reader.each_entry(node, |reader, id, id_at, node| {
        let first = places.note(reader, id, id_at);
        let tenant = tenant(reader, id, id_at, node)?;
        first.map(|()| (id.to_owned(), keep.of(reader, id, tenant)))
    })?;
    if tenants.is_empty() {
        reader.mistake(node.at, "there is no tenant: add at least one");
        return None;
    }
    Some(tenants.into_iter().collect())
}

/// Reads `tenants_dir`, and the files there.
pub(super) fn folder<T: Send>(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    places: &mut Places,
    keep: &Keep<'_, T>,
) -> Option<Folder<T>> {
    let path = reader.folder.join(reader.parsed(node, folder_path)?);
    reader.sources.folder(&path);
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
    let mut files = Vec::with_capacity(names.len());
    for name in &names {
        let Some(id) = id_of(name) else {
            reader.sources.unread(&path.join(name));
            reader.warn(format!(
                "the file {} is not read: those of tenants end in `.yaml`",
                quoted(name)
            ));
            continue;
        };
        found += 1;
        if is_tenant_name(id) {
            let file = TenantFile::new(id, path.join(name));
            files.push(file.noted(reader, places));
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
    let tenants = each(reader, &files, keep);
    (found > 0 && tenants.len() == found).then_some(Folder(tenants))
}

/// All of them; `at` is where one would be missed.
pub(super) fn together<T>(
    reader: &mut Reader<'_>,
    at: Mark,
    written: Option<Tenants<T>>,
    folder: Option<Folder<T>>,
) -> Option<Tenants<T>> {
    if written.is_none() && folder.is_none() {
        let message = "`tenants` is required and missing: write them there, or name a folder with a file for each in `tenants_dir`";
        reader.mistake(at, message);
        return None;
    }
    let mut tenants = written.unwrap_or_default();
    let more = folder.map(|folder| folder.0);
    tenants.extend(more.into_iter().flatten());
    Some(tenants)
}

/// A path and not what a file holds, which messages would repeat.
pub(super) fn folder_path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        Err("this is not the path of a folder: name the one with the tenants' files".to_owned())
    } else {
        Ok(PathBuf::from(text))
    }
}

/// The tenant whose file has this name.
pub(super) fn id_of(name: &str) -> Option<&str> {
    ENDINGS.iter().find_map(|ending| name.strip_suffix(ending))
}

/// The names in a folder that are not hidden, in order. Kubernetes keeps the files of a volume in hidden folders beside the links to them.
pub(super) fn names(folder: &Path) -> io::Result<Vec<String>> {
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

/// A file with a tenant.
struct TenantFile {
    id: String,
    path: PathBuf,
    /// How its settings are reached.
    root: String,
    /// Whether it is the first with this tenant.
    is_first: bool,
}

impl TenantFile {
    fn new(id: &str, path: PathBuf) -> Self {
        Self {
            id: id.to_owned(),
            path,
            root: format!("tenants.{id}"),
            is_first: false,
        }
    }

    /// The same, known to whoever finds the tenant again.
    fn noted(mut self, reader: &mut Reader<'_>, places: &mut Places) -> Self {
        let name = self.path.display().to_string();
        let first = reader.in_file(&name, &self.root, |reader| {
            places.note(reader, &self.id, Mark::START)
        });
        self.is_first = first.is_some();
        self
    }

    fn read<T>(&self, reader: &mut Reader<'_>, keep: &Keep<'_, T>) -> Option<(&str, T)> {
        let name = self.path.display().to_string();
        let tenant = reader.in_file(&name, &self.root, |reader| {
            let bytes = match bytes(&self.path, &mut reader.sources) {
                Ok(bytes) => bytes,
                Err(why) => {
                    reader.mistake(Mark::START, why);
                    return None;
                }
            };
            let text = super::decode(&bytes, &mut reader.report)?;
            let empty = "the file holds no settings: write those of the tenant, or remove the file";
            let tree = tree::read(text, &self.root, empty, &mut reader.report)?;
            tenant(reader, &self.id, Mark::START, &tree)
        })?;
        let kept = |()| (self.id.as_str(), keep.of(reader, &self.id, tenant));
        self.is_first.then_some(()).map(kept)
    }
}

/// Reads the files, on as many threads as the reader may take. What is wrong with any is reported as if there were one thread.
fn each<T: Send>(
    reader: &mut Reader<'_>,
    files: &[TenantFile],
    keep: &Keep<'_, T>,
) -> Vec<(String, T)> {
    let worth = files.len().div_ceil(FILES_OF_A_THREAD);
    let threads = reader.threads.get().min(worth);
    let read = |reader: &mut Reader<'_>, files| read_all(reader, files, keep);
    let (folder, surroundings) = (reader.folder, reader.surroundings);
    let read = if threads <= 1 {
        read(reader, files)
    } else {
        thread::scope(|scope| {
            let shares: Vec<_> = files
                .chunks(files.len().div_ceil(threads))
                .map(|files| {
                    let share = move || {
                        let mut reader = Reader::new(Report::new(""), folder, surroundings);
                        let tenants = read(&mut reader, files);
                        (tenants, reader.report, reader.sources)
                    };
                    (files, thread::Builder::new().spawn_scoped(scope, share))
                })
                .collect();
            let mut tenants = Vec::with_capacity(files.len());
            for (files, share) in shares {
                let Ok(share) = share else {
                    // There is no thread to be had.
                    tenants.extend(read(reader, files));
                    continue;
                };
                match share.join() {
                    Ok((read, report, sources)) => {
                        tenants.extend(read);
                        reader.report.mistakes.extend(report.mistakes);
                        reader.report.warnings.extend(report.warnings);
                        reader.sources.extend(sources);
                    }
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            tenants
        })
    };
    let read = read.into_iter();
    read.map(|(id, kept)| (id.to_owned(), kept)).collect()
}

fn read_all<'f, T>(
    reader: &mut Reader<'_>,
    files: &'f [TenantFile],
    keep: &Keep<'_, T>,
) -> Vec<(&'f str, T)> {
    // At once, and not piece by piece between what is kept.
    let mut read = Vec::with_capacity(files.len());
    read.extend(files.iter().filter_map(|file| file.read(reader, keep)));
    read
}

fn bytes(file: &Path, sources: &mut Reading) -> Result<Vec<u8>, String> {
    let unreadable = |error: io::Error| format!("the file cannot be read: {error}");
    // Opening a pipe would wait for whoever writes to it.
    let metadata = std::fs::metadata(file).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err("this is not a file: move it away".to_owned());
    }
    sources.in_folder(file, &metadata);
    let opened = File::open(file).map_err(unreadable)?;
    // Most fit at once.
    let mut bytes =
        Vec::with_capacity(usize::try_from(metadata.len().min(FILE_BYTES)).unwrap_or(0));
    let mut bounded = opened.take(FILE_BYTES + 1);
    bounded.read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(format!("the file is larger than {} KiB", FILE_BYTES >> 10));
    }
    Ok(bytes)
}
