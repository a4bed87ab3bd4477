//! Which files, and in which portions: walking the tree, and cutting it into batches.
//!
//! Every regular file under the path is taken, in the order of the names, so that two runs see the
//! same list. What is in hidden directories is not (`.git` holds the same texts once more, compressed), unless one is
//! the path itself. Symbolic links are not followed (what they lead to counts under its own name, and loops
//! cannot happen), and pipes, sockets and devices are never opened.
//!
//! With no path given, the input is the sources that cargo has brought for whatever was built here, or
//! else the workspace itself, and then at most [`DEFAULT_LIMIT`] bytes of it: a demo takes seconds.

use std::fs;
use std::path::{Path, PathBuf};

use super::piece::Piece;

/// How much of the default input is taken.
pub(super) const DEFAULT_LIMIT: u64 = 256 << 20;
/// Files longer than this are shared by several batches.
const PIECE: u64 = 1 << 20;
/// What a file costs besides its bytes, in bytes: opening, reporting, closing.
const PER_FILE: u64 = 4 << 10;

/// Where to look, and how much to take.
pub(super) struct Root {
    pub(super) path: PathBuf,
    limit: u64,
    /// Pass over directories tagged as caches (cargo's `target`).
    sources_only: bool,
}

impl Root {
    /// A path that was asked for: everything under it, but hidden directories.
    pub(super) fn given(path: PathBuf) -> Root {
        Root { path, limit: u64::MAX, sources_only: false }
    }

    /// The sources that cargo has brought, else the workspace.
    pub(super) fn default_input() -> Root {
        let var = |name| std::env::var_os(name).map(PathBuf::from);
        let cargo = var("CARGO_HOME").or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
        let brought = cargo.map(|cargo| cargo.join("registry").join("src"));
        match brought.filter(|path| fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some())) {
            Some(path) => Root { path, limit: DEFAULT_LIMIT, sources_only: false },
            None => {
                // `cargo run` names the directory of this package, which stands in the workspace's.
                let package = var("CARGO_MANIFEST_DIR").and_then(|dir| dir.parent().map(Path::to_owned));
                Root { path: package.unwrap_or_else(|| ".".into()), limit: DEFAULT_LIMIT, sources_only: true }
            }
        }
    }
}

/// The files found, in order.
#[derive(Default)]
pub(super) struct Input {
    pub(super) files: Vec<(PathBuf, u64)>,
    pub(super) bytes: u64,
    /// Directories and entries that could not be looked at, and why.
    pub(super) unreadable: Vec<(PathBuf, String)>,
    /// Links, pipes, sockets, devices.
    pub(super) not_files: u64,
    /// The default input is larger than its limit: the rest was left out.
    pub(super) cut_short: bool,
}

impl Input {
    /// Walks the tree; an error only if there is nothing to walk.
    pub(super) fn find(root: &Root) -> Result<Input, String> {
        let mut input = Input::default();
        // The path itself may be a link: it was named.
        let meta = fs::metadata(&root.path).map_err(|error| format!("{}: {error}", root.path.display()))?;
        if meta.is_dir() {
            input.walk(root);
        } else if meta.is_file() {
            input.take(root.path.clone(), meta.len());
        } else {
            return Err(format!("{}: neither a file nor a directory", root.path.display()));
        }
        Ok(input)
    }

    fn walk(&mut self, root: &Root) {
        // Still to be looked at, the next one last. A tree may be deeper than a stack.
        let mut waiting = self.entries(&root.path);
        while let Some(path) = waiting.pop() {
            let meta = match fs::symlink_metadata(&path) {
                Ok(meta) => meta,
                Err(error) => {
                    self.unreadable.push((path, error.to_string()));
                    continue;
                }
            };
            if meta.is_dir() {
                if !(is_hidden(&path) || root.sources_only && is_cache(&path)) {
                    waiting.extend(self.entries(&path));
                }
            } else if !meta.is_file() {
                self.not_files += 1;
            } else if self.bytes.saturating_add(meta.len()) > root.limit {
                self.cut_short = true;
                return;
            } else {
                self.take(path, meta.len());
            }
        }
    }

    fn take(&mut self, path: PathBuf, len: u64) {
        self.bytes += len;
        self.files.push((path, len));
    }

    /// The entries of a directory, the last name first.
    fn entries(&mut self, dir: &Path) -> Vec<PathBuf> {
        let read = fs::read_dir(dir).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
        let mut paths: Vec<PathBuf> = read.unwrap_or_else(|error| {
            self.unreadable.push((dir.to_owned(), error.to_string()));
            Vec::new()
        });
        paths.sort_unstable_by(|a, b| b.cmp(a));
        paths
    }

    /// Portions of about equal work for this many workers: enough of them that none waits long for the
    /// last one, none so small that starting its worker is what takes the time.
    pub(super) fn batches(&self, workers: usize) -> Vec<Vec<Piece>> {
        let work = self.bytes + PER_FILE * self.files.len() as u64;
        let target = (work / (16 * workers as u64)).clamp(256 << 10, 4 << 20);
        let mut batches = Vec::new();
        let (mut batch, mut weight) = (Vec::new(), 0);
        for (path, file_len) in &self.files {
            for index in 0..file_len.div_ceil(PIECE).max(1) {
                let start = index * PIECE;
                let end = (start + PIECE).min(*file_len);
                batch.push(Piece { path: path.clone().into(), start, end, file_len: *file_len });
                weight += end - start + PER_FILE;
                if weight >= target {
                    batches.push(std::mem::take(&mut batch));
                    weight = 0;
                }
            }
        }
        if !batch.is_empty() {
            batches.push(batch);
        }
        batches
    }
}

/// Whether a directory's name begins with a dot.
fn is_hidden(dir: &Path) -> bool {
    dir.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Whether a directory has the tag of bford.info/cachedir.
fn is_cache(dir: &Path) -> bool {
    dir.join("CACHEDIR.TAG").exists()
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A directory of its own for one test, removed at its end.
    pub(crate) struct Scratch(pub(crate) PathBuf);

    impl Scratch {
        pub(crate) fn new() -> Scratch {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let name = format!("xtask-demo-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let dir = std::env::temp_dir().join(name);
            fs::create_dir_all(&dir).unwrap();
            Scratch(dir)
        }

        pub(crate) fn file(&self, name: &str, content: &[u8]) -> PathBuf {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            path
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn names(scratch: &Scratch, input: &Input) -> Vec<String> {
        let name = |(path, _): &(PathBuf, u64)| path.strip_prefix(&scratch.0).unwrap().display().to_string();
        input.files.iter().map(name).collect()
    }

    #[test]
    fn the_walk_takes_regular_files_in_order_and_reports_the_rest() {
        let scratch = Scratch::new();
        for name in ["b/2", "b/1", "a", "c/d/e", ".hidden/x", "c/.git/objects/0", ".file"] {
            scratch.file(name, b"four");
        }
        std::os::unix::fs::symlink("..", scratch.0.join("b/loop")).unwrap();
        std::os::unix::fs::symlink("nowhere", scratch.0.join("dangling")).unwrap();
        let socket = std::os::unix::net::UnixListener::bind(scratch.0.join("c/socket")).unwrap();
        let input = Input::find(&Root::given(scratch.0.clone())).unwrap();
        assert_eq!(names(&scratch, &input), [".file", "a", "b/1", "b/2", "c/d/e"]);
        assert_eq!((input.bytes, input.not_files, input.cut_short), (20, 3, false));
        drop(socket);
        // Who names one means it.
        let hidden = Input::find(&Root::given(scratch.0.join(".hidden"))).unwrap();
        assert_eq!(names(&scratch, &hidden), [".hidden/x"]);
    }

    #[test]
    fn the_default_input_is_bounded_and_leaves_out_what_is_no_source() {
        let scratch = Scratch::new();
        for name in [".git/config", "a", "b", "target/CACHEDIR.TAG", "target/x", "z"] {
            scratch.file(name, b"four");
        }
        let mut root = Root { path: scratch.0.clone(), limit: 100, sources_only: true };
        assert_eq!(names(&scratch, &Input::find(&root).unwrap()), ["a", "b", "z"]);
        root.limit = 9;
        let input = Input::find(&root).unwrap();
        assert_eq!((names(&scratch, &input).len(), input.bytes, input.cut_short), (2, 8, true));
    }

    #[test]
    fn a_path_that_is_not_there_is_an_error_that_names_it() {
        let error = Input::find(&Root::given("/no/such/path".into())).err().unwrap();
        assert!(error.contains("/no/such/path") && error.contains("No such file"), "{error}");
    }

    #[test]
    fn batches_hold_every_byte_once_and_are_of_one_size() {
        let mut input = Input::default();
        for (name, len) in [("empty", 0), ("small", 10), ("large", (5 << 20) + 7), ("exact", 2 << 20)] {
            input.take(name.into(), len);
        }
        (0..5000).for_each(|i| input.take(format!("file {i}").into(), i));
        let batches = input.batches(2);
        assert!(batches.len() >= 16, "{}", batches.len());
        let pieces: Vec<&Piece> = batches.iter().flatten().collect();
        assert_eq!(pieces.iter().map(|piece| piece.len()).sum::<u64>(), input.bytes);
        assert_eq!(pieces.iter().filter(|piece| piece.start == 0).count(), input.files.len());
        assert!(batches.iter().all(|batch| batch.iter().map(Piece::len).sum::<u64>() < 3 << 20));
        assert!(Input::default().batches(2).is_empty());
    }
}
