//! The files that a configuration was read from, and what each was like before it was read.
//!
//! Whoever goes on to watch them asks whether they still are: what has changed between reading and watching is not missed, and what has
//! not need not be read again. Invariant: a file's state is looked at before its content, so that what is written meanwhile is another
//! state.

use std::collections::{BTreeMap, btree_map};
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use super::tenants;

/// File systems that tell parts of a second are finer than this, and others than that. Of a file that was written so shortly before it was
/// read, what is written next may look the same.
const FINE: Duration = Duration::from_millis(200);
const COARSE: Duration = Duration::from_secs(2);

/// The files that a configuration was read from.
#[derive(Debug, Clone)]
pub struct Sources {
    files: BTreeMap<PathBuf, State>,
    folder: Option<PathBuf>,
    /// What they were like. `None`: one changed in between.
    read: Option<Stamp>,
    /// Whether that can be told from whatever comes later.
    settled: bool,
}

/// What tells a state of the files from others, without reading them: a hash, since there may be very many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stamp([u64; 4]);

/// What tells a state of one file from others. `None`: it is not there.
type State = Option<[u64; 4]>;

/// What is known of them while they are read, in one thread or another.
#[derive(Debug, Default)]
pub(super) struct Reading {
    files: BTreeMap<PathBuf, State>,
    folder: Option<PathBuf>,
    in_folder: Stamp,
    /// From when on what is written to any of them does not look like what was there.
    settles: Option<SystemTime>,
    /// Whether one was read twice, and had changed.
    torn: bool,
}

impl Reading {
    /// A file that is about to be read, and is in no folder of tenants.
    pub(super) fn file(&mut self, path: &Path, metadata: Option<&Metadata>) {
        self.written(metadata);
        self.add(path.to_owned(), metadata.map(state));
    }

    /// The folder of tenants.
    pub(super) fn folder(&mut self, path: &Path) {
        self.folder = Some(path.to_owned());
    }

    /// A file in it that is about to be read.
    pub(super) fn in_folder(&mut self, path: &Path, metadata: &Metadata) {
        self.written(Some(metadata));
        self.in_folder += Stamp::of(path, Some(state(metadata)));
    }

    /// A file in it that is not read.
    pub(super) fn unread(&mut self, path: &Path) {
        self.in_folder += Stamp::of(path, None);
    }

    /// What another thread has read besides.
    pub(super) fn extend(&mut self, other: Self) {
        for (path, state) in other.files {
            self.add(path, state);
        }
        self.folder = self.folder.take().or(other.folder);
        self.in_folder += other.in_folder;
        self.settles = self.settles.max(other.settles);
        self.torn |= other.torn;
    }

    /// All that was read, where reading began at this time.
    pub(super) fn done(self, began: SystemTime) -> Sources {
        let settled = self.settles.is_some_and(|settles| settles <= began);
        let mut read = self.in_folder;
        for (path, state) in &self.files {
            read += Stamp::of(path, *state);
        }
        Sources {
            files: self.files,
            folder: self.folder,
            read: (!self.torn).then_some(read),
            settled,
        }
    }

    fn add(&mut self, path: PathBuf, state: State) {
        match self.files.entry(path) {
            btree_map::Entry::Vacant(vacant) => {
                vacant.insert(state);
            }
            btree_map::Entry::Occupied(known) => self.torn |= *known.get() != state,
        }
    }

    fn written(&mut self, metadata: Option<&Metadata>) {
        let settles = metadata.and_then(|metadata| {
            let coarse = metadata.mtime_nsec() == 0;
            let written = metadata.modified().ok()?;
            written.checked_add(if coarse { COARSE } else { FINE })
        });
        self.settles = self.settles.max(settles);
    }
}

impl Sources {
    /// The file, and those of secrets.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(PathBuf::as_path)
    }

    /// The folder of the tenants that have a file each.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Whether these are the same files, whatever is in them.
    #[must_use]
    pub fn same_places(&self, other: &Self) -> bool {
        self.folder == other.folder && self.files.keys().eq(other.files.keys())
    }

    /// What they were like when they were read. `None`: one changed in between.
    #[must_use]
    pub fn read(&self) -> Option<Stamp> {
        self.read
    }

    /// Whether these files, which are like this now, may have changed since they were read.
    #[must_use]
    pub fn may_have_changed(&self, now: Stamp) -> bool {
        !self.settled || self.read != Some(now)
    }

    /// What they are like now.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        let mut stamp = Stamp::default();
        for path in self.files.keys() {
            stamp += Stamp::of(path, look(path));
        }
        let Some(folder) = &self.folder else {
            return stamp;
        };
        for name in tenants::names(folder).unwrap_or_default() {
            let path = folder.join(&name);
            let is_read = tenants::id_of(&name).is_some();
            let state = if is_read { look(&path) } else { None };
            stamp += Stamp::of(&path, state);
        }
        stamp
    }
}

impl Stamp {
    fn of(path: &Path, state: State) -> Self {
        let mut hash = Sha256::new();
        let path = path.as_os_str().as_bytes();
        hash.update(path.len().to_le_bytes());
        hash.update(path);
        for part in state.into_iter().flatten() {
            hash.update(part.to_le_bytes());
        }
        let hash: [u8; 32] = hash.finalize().into();
        let mut stamp = Self::default();
        for (part, bytes) in stamp.0.iter_mut().zip(hash.as_chunks().0) {
            *part = u64::from_le_bytes(*bytes);
        }
        stamp
    }
}

/// In whatever order they come.
impl std::ops::AddAssign for Stamp {
    fn add_assign(&mut self, other: Self) {
        for (part, more) in self.0.iter_mut().zip(other.0) {
            *part = part.wrapping_add(more);
        }
    }
}

/// Of what a link leads to.
fn look(path: &Path) -> State {
    std::fs::metadata(path).ok().as_ref().map(state)
}

fn state(file: &Metadata) -> [u64; 4] {
    [
        file.ino(),
        file.size(),
        file.mtime().cast_unsigned(),
        file.mtime_nsec().cast_unsigned(),
    ]
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;
    use crate::config::{Settings, load};

    /// A file, a folder with a tenant's, and a secret, all written a while ago.
    struct Written(tempfile::TempDir);

    impl Written {
        fn new() -> Self {
            let written = Self(tempfile::tempdir().unwrap());
            fs::create_dir(written.path("tenants")).unwrap();
            let main = "callers: [{ match: anyone }]\ntenants_dir: tenants\n";
            written.put("presignd.yaml", main);
            let keys = "access_key_id: A, secret_access_key: { file: secret }";
            let tenant = format!("region: eu-west-1\ncredentials: {{ static: {{ {keys} }} }}\n");
            written.put("tenants/acme.yaml", &tenant);
            written.put("tenants/notes.txt", "not read\n");
            written.put("secret", "one");
            written
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        /// Written before anything is read.
        fn put(&self, name: &str, text: &str) {
            fs::write(self.path(name), text).unwrap();
            let file = File::options().append(true).open(self.path(name)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + COARSE).unwrap();
        }

        fn read(&self) -> Settings {
            let environment = |_: &str| None;
            load(&self.path("presignd.yaml"), &environment).unwrap()
        }
    }

    #[test]
    fn what_is_as_it_was_read_has_not_changed() {
        let written = Written::new();
        let sources = written.read().sources;
        assert!(!sources.may_have_changed(sources.stamp()));
        assert_eq!(sources.files().count(), 2);
        assert_eq!(sources.folder(), Some(&*written.path("tenants")));
        // Editors and volumes put hidden files there, and what is not read may say anything.
        written.put("tenants/.new", "");
        written.put("tenants/notes.txt", "nor is this\n");
        assert!(!sources.may_have_changed(sources.stamp()));
    }

    #[test]
    fn whatever_changes_after_it_was_read_is_seen() {
        type Change = fn(&Written);
        let changes: [(&str, Change); 6] = [
            ("the file", |written| {
                fs::write(written.path("presignd.yaml"), "other").unwrap();
            }),
            ("a tenant, by so many letters", |written| {
                let text = fs::read_to_string(written.path("tenants/acme.yaml")).unwrap();
                let other = text.replace("west-1", "west-2");
                fs::write(written.path("tenants/acme.yaml"), other).unwrap();
            }),
            ("a tenant more", |written| {
                written.put("tenants/globex.yaml", "region: eu-west-1\n");
            }),
            ("a tenant less", |written| {
                fs::remove_file(written.path("tenants/acme.yaml")).unwrap();
            }),
            ("a secret", |written| {
                fs::write(written.path("secret"), "two").unwrap();
            }),
            ("a secret by another of its age and length", |written| {
                written.put("other", "two");
                fs::rename(written.path("other"), written.path("secret")).unwrap();
            }),
        ];
        for (what, change) in changes {
            let written = Written::new();
            let sources = written.read().sources;
            change(&written);
            assert!(sources.may_have_changed(sources.stamp()), "{what}");
        }
    }

    #[test]
    fn what_was_written_as_it_was_read_may_have_changed() {
        let written = Written::new();
        let path = written.path("secret");
        // The test's surroundings read on 2 January 2026.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045);
        let settled = |age: Duration| {
            let file = File::options().append(true).open(&path).unwrap();
            file.set_modified(now - age).unwrap();
            let sources = written.read().sources;
            !sources.may_have_changed(sources.stamp())
        };
        assert!(!settled(Duration::from_millis(100)));
        assert!(settled(Duration::from_millis(300)));
        // Parts of a second are not told there, as far as one can see.
        assert!(!settled(Duration::from_secs(1)));
        assert!(settled(Duration::from_secs(2)));
    }

    #[test]
    fn a_file_that_changes_between_two_readings_has_changed() {
        let written = Written::new();
        let mut sources = Reading::default();
        for text in ["one", "three"] {
            written.put("secret", text);
            let metadata = fs::metadata(written.path("secret")).ok();
            let mut thread = Reading::default();
            thread.file(&written.path("secret"), metadata.as_ref());
            sources.extend(thread);
        }
        let sources = sources.done(SystemTime::UNIX_EPOCH + 2 * COARSE);
        assert!(sources.may_have_changed(sources.stamp()));
        assert_eq!(sources.read(), None);
    }
}
