//! A power cut at any moment, and a disk that fails: what was acknowledged is there afterwards.
//!
//! `kill -9` keeps what the kernel holds, and so says nothing of syncs. Here a preloaded library (`disk.c`) records each
//! write and each sync of the database and of its WAL, in order, and the files are built as a disk may have them when
//! the power is cut after any of these: what was synced, and of the rest any part, down to torn pages. The directory is
//! treated likewise.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use arklow_client::types::RegenerateTotpRequest;
use arklow_domain::BackupCode;
use arklow_store::{DatabaseUrl, Options, Store};
use futures_util::future::join_all;

use crate::harness::{Caller, Home, NO_LIMITS, Server, TEST_TIMEOUT, pause, skip};
use crate::throwaway::Raw;

/// The library, compiled once. `None`, and a word about it, without a C compiler.
static LIBRARY: LazyLock<Option<(tempfile::TempDir, PathBuf)>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let library = folder.path().join("disk.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/disk.c");
    let compiled = Command::new("cc")
        .args(["-O2", "-Wall", "-shared", "-fPIC", "-o"])
        .args([library.as_os_str(), source.as_ref(), "-ldl".as_ref()])
        .status();
    match compiled {
        Ok(status) => {
            assert!(status.success(), "disk.c does not compile");
            Some((folder, library))
        }
        Err(_) => {
            skip("there is no C compiler `cc`");
            None
        }
    }
});

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).expect("below a count")
    }
}

/// Which of the two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Database,
    Wal,
}

/// What the library recorded.
enum Record {
    Open(Name),
    Write(u64, Rc<[u8]>),
    Truncate(u64),
    Unlink(Name),
    /// Of a file, or of the folder.
    SyncBegin,
    SyncEnd(bool),
}

struct Recorded {
    record: Record,
    /// `None` for the folder.
    file: Option<Name>,
    inode: u64,
    thread: u32,
    /// How long the log is with this record.
    end: u64,
}

/// The records of a log, as many as are whole.
struct Log(BufReader<File>, u64);

impl Log {
    fn open(path: &Path) -> Self {
        Self(BufReader::new(File::open(path).expect("a log")), 0)
    }
}

impl Iterator for Log {
    type Item = Recorded;

    fn next(&mut self) -> Option<Recorded> {
        let mut head = [0; 32];
        self.0.read_exact(&mut head).ok()?;
        let u32_at = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().expect("four"));
        let u64_at = |at: usize| u64::from_ne_bytes(head[at..at + 8].try_into().expect("eight"));
        let length = if u32_at(0) == 2 { u32_at(12) } else { 0 };
        let mut data = vec![0; length as usize];
        self.0.read_exact(&mut data).ok()?;
        self.1 += 32 + u64::from(length);
        let file = match u32_at(4) {
            1 => Some(Name::Database),
            2 => Some(Name::Wal),
            _ => None,
        };
        let record = match (u32_at(0), file) {
            (1, Some(file)) => Record::Open(file),
            (2, _) => Record::Write(u64_at(24), data.into()),
            (3, _) => Record::Truncate(u64_at(24)),
            (4, Some(file)) => Record::Unlink(file),
            (5, _) => Record::SyncBegin,
            (6, _) => Record::SyncEnd(u64_at(24) == 1),
            other => panic!("no record: {other:?}"),
        };
        Some(Recorded {
            record,
            file,
            inode: u64_at(16),
            thread: u32_at(8),
            end: self.1,
        })
    }
}

/// A change that is on its way to the disk.
#[derive(Clone)]
enum Change {
    Write(u64, Rc<[u8]>),
    Truncate(u64),
}

/// One file as the disk has it, and what may come.
#[derive(Clone, Default)]
struct Blocks {
    durable: Vec<u8>,
    pending: Vec<Change>,
    /// How many changes are no longer pending.
    gone: usize,
}

impl Blocks {
    /// What was there when a sync began that has ended.
    fn settle(&mut self, until: usize, synced: bool, numbers: &mut Numbers) {
        let count = until.saturating_sub(self.gone).min(self.pending.len());
        for change in self.pending.drain(..count) {
            // After a failed sync the content of the disk is unknown, and the kernel does not try again.
            if synced || numbers.below(2) == 0 {
                apply(&mut self.durable, &change);
            }
        }
        self.gone += count;
    }

    /// The bytes after a power cut.
    fn cut(&self, numbers: &mut Numbers) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        // Nothing of it, all of it, a beginning of it, or any part of it.
        let kind = numbers.below(4);
        let begun = numbers.below(self.pending.len() + 1);
        for (index, change) in self.pending.iter().enumerate() {
            let is_there = match kind {
                0 => false,
                1 => true,
                2 => index < begun,
                _ => numbers.below(2) == 0,
            };
            match change {
                _ if !is_there => {}
                Change::Write(offset, data) if kind == 3 && numbers.below(4) == 0 => {
                    // Torn: some of its sectors.
                    for (sector, data) in data.chunks(512).enumerate() {
                        if numbers.below(2) == 0 {
                            let offset = offset + 512 * sector as u64;
                            apply(&mut bytes, &Change::Write(offset, data.into()));
                        }
                    }
                }
                change => apply(&mut bytes, change),
            }
        }
        bytes
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(offset, data) => {
            let start = usize::try_from(*offset).expect("a small file");
            let end = start + data.len();
            bytes.resize(bytes.len().max(end), 0);
            bytes[start..end].copy_from_slice(data);
        }
        Change::Truncate(length) => bytes.resize(usize::try_from(*length).expect("small"), 0),
    }
}

/// The folder as the disk has it.
struct Disk {
    files: Vec<Blocks>,
    /// Which file an inode is, and what it was called last.
    inodes: BTreeMap<u64, usize>,
    names: BTreeMap<Name, usize>,
    durable_names: BTreeMap<Name, usize>,
    /// `None` takes the name away.
    pending_names: Vec<(Name, Option<usize>)>,
    /// What a sync that has begun will settle: by thread, a file and a number of its changes, or one of names.
    begun: BTreeMap<u32, (Option<usize>, usize)>,
    gone_names: usize,
    /// How often the WAL was restarted, and how often the database was synced.
    wal_starts: usize,
    checkpoints: usize,
    numbers: Numbers,
}

impl Disk {
    /// As the folder is now, all of it durable.
    fn of(folder: &Path, seed: u64) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        let mut disk = Self {
            files: Vec::new(),
            inodes: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            begun: BTreeMap::new(),
            gone_names: 0,
            wal_starts: 0,
            checkpoints: 0,
            numbers: Numbers(seed),
        };
        for (name, file) in [(Name::Database, "arklow.db"), (Name::Wal, "arklow.db-wal")] {
            let path = folder.join(file);
            if let Ok(durable) = fs::read(&path) {
                let inode = fs::metadata(&path).expect("it is there").ino();
                disk.inodes.insert(inode, disk.files.len());
                disk.names.insert(name, disk.files.len());
                disk.files.push(Blocks {
                    durable,
                    ..Blocks::default()
                });
            }
        }
        disk.durable_names = disk.names.clone();
        disk
    }

    fn take(&mut self, recorded: Recorded) {
        let Recorded {
            record,
            file,
            inode,
            thread,
            ..
        } = recorded;
        let known = self.inodes.get(&inode).copied();
        match record {
            Record::Open(name) => {
                if known.is_none() || self.names.get(&name) != known.as_ref() {
                    self.names.insert(name, self.files.len());
                    self.pending_names.push((name, Some(self.files.len())));
                    self.inodes.insert(inode, self.files.len());
                    self.files.push(Blocks::default());
                }
            }
            Record::Unlink(name) => {
                self.names.remove(&name);
                self.pending_names.push((name, None));
            }
            Record::Write(offset, data) => {
                self.wal_starts += usize::from(file == Some(Name::Wal) && offset == 0);
                let known = known.expect("written to what was opened");
                self.files[known].pending.push(Change::Write(offset, data));
            }
            Record::Truncate(length) => {
                let known = known.expect("truncated what was opened");
                self.files[known].pending.push(Change::Truncate(length));
            }
            Record::SyncBegin => {
                let mark = match (file, known) {
                    (None, _) => (None, self.gone_names + self.pending_names.len()),
                    (_, Some(known)) => {
                        let blocks = &self.files[known];
                        (Some(known), blocks.gone + blocks.pending.len())
                    }
                    (_, None) => return,
                };
                self.begun.insert(thread, mark);
            }
            Record::SyncEnd(synced) => match self.begun.remove(&thread) {
                Some((None, until)) => {
                    let count = until.saturating_sub(self.gone_names);
                    for (name, file) in self.pending_names.drain(..count) {
                        set_name(&mut self.durable_names, name, file);
                    }
                    self.gone_names += count;
                }
                Some((Some(known), until)) => {
                    self.checkpoints += usize::from(file == Some(Name::Database) && synced);
                    self.files[known].settle(until, synced, &mut self.numbers);
                }
                None => {}
            },
        }
    }

    /// Writes the folder as it is after a power cut now.
    fn cut(&mut self, folder: &Path) {
        let mut names = self.durable_names.clone();
        let count = self.numbers.below(self.pending_names.len() + 1);
        for (name, file) in &self.pending_names[..count] {
            set_name(&mut names, *name, *file);
        }
        for (name, file) in names {
            let name = match name {
                Name::Database => "arklow.db",
                Name::Wal => "arklow.db-wal",
            };
            let bytes = self.files[file].cut(&mut self.numbers);
            fs::write(folder.join(name), bytes).expect("an image");
        }
    }
}

fn set_name(names: &mut BTreeMap<Name, usize>, name: Name, file: Option<usize>) {
    match file {
        Some(file) => names.insert(name, file),
        None => names.remove(&name),
    };
}

/// The acknowledgements of one caller: the codes, and the length of the recorded log at that time.
type Acknowledged = Vec<(u64, Vec<String>)>;

/// Callers with a device each, and a server or two that are watched.
struct Trial {
    home: Home,
    folder: PathBuf,
    callers: Vec<Caller>,
    acknowledged: Vec<Mutex<Acknowledged>>,
    log: PathBuf,
    scratch: tempfile::TempDir,
}

impl Trial {
    fn new(callers: usize) -> Self {
        let home = Home::on_sqlite();
        let keys = home.key_file().display().to_string();
        home.run(&["migrate", "up"]);
        home.run(&["keys", "generate", "--out", &keys]);
        let names = ["ada", "bob", "cyd", "dan", "eve", "fay", "gil", "hal"];
        let callers: Vec<_> = names[..callers]
            .iter()
            .map(|name| home.caller(name))
            .collect();
        let folder = home.path().canonicalize().expect("it is there");
        let scratch = tempfile::tempdir().expect("a folder");
        Self {
            folder,
            acknowledged: callers.iter().map(|_| Mutex::default()).collect(),
            callers,
            log: scratch.path().join("log"),
            scratch,
            home,
        }
    }

    /// Starts a server with the library, and these words to it.
    fn serve(&self, words: &[(&str, &str)]) -> Server {
        let (_, library) = LIBRARY.as_ref().expect("the caller has looked");
        Server::spawn(
            self.home
                .arklow()
                .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json"])
                .args(NO_LIMITS)
                .env("LD_PRELOAD", library)
                .env("ARKLOW_DISK_FOLDER", &self.folder)
                .env("ARKLOW_DISK_LOG", &self.log)
                .envs(words.iter().copied()),
        )
    }

    fn written(&self) -> u64 {
        fs::metadata(&self.log).map_or(0, |found| found.len())
    }

    /// Has all callers replace their codes until so many answers came in all, or a server ended or refused.
    async fn load(&self, servers: &[&Server], changes: usize) -> usize {
        let made = AtomicUsize::new(0);
        let stopped = AtomicBool::new(false);
        let all = self.callers.iter().zip(&self.acknowledged).enumerate();
        let all = all.map(|(index, (caller, acknowledged))| {
            let client = servers[index % servers.len()].client(&caller.token);
            let (made, stopped) = (&made, &stopped);
            async move {
                while made.load(Ordering::SeqCst) < changes && !stopped.load(Ordering::SeqCst) {
                    let request = RegenerateTotpRequest {
                        device_id: caller.device.clone(),
                    };
                    let sent = client
                        .post_v1_self_mfa_regenerate_totp()
                        .body(request)
                        .send();
                    let Ok(Ok(answer)) = tokio::time::timeout(TEST_TIMEOUT, sent).await else {
                        stopped.store(true, Ordering::SeqCst);
                        break;
                    };
                    let codes = answer.into_inner().data.expect("data").backup_codes;
                    let known = (self.written(), codes);
                    acknowledged.lock().expect("nobody panicked").push(known);
                    made.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        join_all(all).await;
        made.into_inner()
    }

    /// Whether the WAL was restarted twice, and the database was synced.
    fn has_begun_anew(&self) -> bool {
        let (mut starts, mut syncs) = (0, 0);
        for Recorded { record, file, .. } in Log::open(&self.log) {
            match (record, file) {
                (Record::Write(0, _), Some(Name::Wal)) => starts += 1,
                (Record::SyncEnd(true), Some(Name::Database)) => syncs += 1,
                _ => {}
            }
        }
        starts > 2 && syncs > 1
    }

    /// Opens the database in `folder` as a server would, and compares it with what was acknowledged by the time that
    /// the log was so long.
    async fn check(&self, folder: &Path, until: u64) -> Result<(), String> {
        let path = folder.join("arklow.db");
        let url = DatabaseUrl::sqlite(&path).expect("a path");
        let options = Options {
            create: false,
            ..Options::default()
        };
        let store = Store::open(&url, options).await;
        let store = store.map_err(|error| format!("does not open: {error}"))?;
        let checked = self.compare(&store, &path, until).await;
        store.close().await;
        checked
    }

    async fn compare(&self, store: &Store, path: &Path, until: u64) -> Result<(), String> {
        let keyring = self.home.keyring();
        let url = format!("sqlite:{}", path.display());
        let mut raw = Raw::try_open(&url)?;
        let integrity = raw.text("SELECT integrity_check FROM pragma_integrity_check LIMIT 1");
        if integrity != "ok" {
            return Err(format!("damaged: {integrity}"));
        }
        for (caller, acknowledged) in self.callers.iter().zip(&self.acknowledged) {
            let acknowledged = acknowledged.lock().expect("nobody panicked").clone();
            let known = acknowledged.iter().filter(|(at, _)| *at <= until).count();
            let (user, device) = (caller.user_id(), caller.device.parse().expect("an id"));
            let set = store.backup_code_set(user, device).await;
            let set = set.map_err(|error| format!("no answer: {error}"))?;
            let generation = set.as_ref().map_or(0, |set| set.generation);
            let generation = usize::try_from(generation).expect("a count");
            if generation < known {
                return Err(format!("{known} acknowledged, {generation} kept"));
            }
            let records = raw.count(&format!(
                "audit WHERE device_id = {} AND event = 'mfa.backup_codes.regenerated' \
                 AND outcome = 'success'",
                caller.device
            ));
            if usize::try_from(records) != Ok(generation) {
                return Err(format!("{generation} sets, {records} records"));
            }
            // A younger set may have been committed whose answer was not given yet.
            if generation == known
                && let (Some(set), Some((_, codes))) = (&set, acknowledged[..known].last())
            {
                for code in codes {
                    let code = BackupCode::parse(code).expect("a code");
                    let slot = set.slot_of(&keyring, user, device, &code);
                    if !matches!(slot, Ok(Some(_))) {
                        return Err("an acknowledged code does not work".to_owned());
                    }
                }
            }
        }
        Ok(())
    }

    /// Cuts the power at so many places in the log, the end among them. How many of them lost something, with the first
    /// loss; how often the WAL was restarted; how many checkpoints there were.
    async fn cut(&self, mut disk: Disk, cuts: usize, seed: u64) -> Cuts {
        let count = Log::open(&self.log).count();
        let mut numbers = Numbers(seed);
        let mut places: Vec<usize> = (1..cuts).map(|_| numbers.below(count)).collect();
        places.push(count - 1);
        places.sort_unstable();
        let mut places = places.into_iter().peekable();
        let mut done = Cuts::default();
        for (index, recorded) in Log::open(&self.log).enumerate() {
            let end = recorded.end;
            disk.take(recorded);
            while places.next_if_eq(&index).is_some() {
                let image = tempfile::tempdir_in(self.scratch.path()).expect("a folder");
                disk.cut(image.path());
                done.cuts += 1;
                if let Err(loss) = self.check(image.path(), end).await {
                    done.losses
                        .push(format!("record {index} of {count}: {loss}"));
                }
            }
        }
        done.wal_starts = disk.wal_starts;
        done.checkpoints = disk.checkpoints;
        done
    }
}

#[derive(Debug, Default)]
struct Cuts {
    cuts: usize,
    losses: Vec<String>,
    wal_starts: usize,
    checkpoints: usize,
}

/// Load on servers, and then a power cut at many places.
async fn cut_under_load(
    servers: usize,
    changes: usize,
    cuts: usize,
    words: &[(&str, &str)],
) -> Cuts {
    let trial = Trial::new(6);
    let disk = Disk::of(&trial.folder, 7);
    let servers: Vec<Server> = (0..servers).map(|_| trial.serve(words)).collect();
    let servers: Vec<&Server> = servers.iter().collect();
    let mut made = 0;
    let mut rounds = 0;
    // A pause lets a checkpoint finish, after which the WAL restarts.
    while rounds < 3 || (rounds < 20 && words.is_empty() && !trial.has_begun_anew()) {
        let round = trial.load(&servers, changes / 3).await;
        assert!(round >= changes / 3, "{round}: {}", servers[0].printed());
        made += round;
        rounds += 1;
        let paused = Instant::now();
        while paused.elapsed() < Duration::from_millis(200) {
            pause();
        }
    }
    for server in &servers {
        server.signal("KILL");
    }
    let done = trial.cut(disk, cuts, 11).await;
    println!("{made} changes by {} servers: {done:?}", servers.len());
    done
}

#[track_caller]
fn assert_nothing_lost(done: &Cuts) {
    assert!(done.losses.is_empty(), "{done:?}");
    assert!(done.wal_starts > 1, "the WAL was not restarted: {done:?}");
    assert!(done.checkpoints > 1, "there was no checkpoint: {done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t36_a_power_cut_at_any_moment_loses_nothing_that_was_acknowledged() {
    if LIBRARY.is_none() {
        return;
    }
    for servers in [1, 2] {
        assert_nothing_lost(&cut_under_load(servers, 1500, 40, &[]).await);
    }
}

/// Without this, the test above might see nothing whatever is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn t36_a_power_cut_without_syncs_loses_what_was_acknowledged() {
    if LIBRARY.is_none() {
        return;
    }
    let done = cut_under_load(1, 300, 10, &[("ARKLOW_DISK_NO_SYNC", "1")]).await;
    assert!(done.losses.len() > 3, "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; run it with `cargo test -p arklow --test contract power -- --ignored`"]
async fn t36_ten_thousand_changes_and_two_hundred_power_cuts_lose_nothing() {
    if LIBRARY.is_none() {
        return;
    }
    for servers in [1, 2] {
        assert_nothing_lost(&cut_under_load(servers, 10_000, 200, &[]).await);
    }
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// One call that fails.
struct Fault {
    call: &'static str,
    file: &'static str,
    n: usize,
    errno: i32,
}

/// Load on a server whose disk fails once, a stop, and a look at what is there; then the same after a power cut.
async fn fail(fault: &Fault, stop: &str) -> Result<bool, String> {
    let Fault {
        call,
        file,
        n,
        errno,
    } = fault;
    let trial = Trial::new(2);
    let disk = Disk::of(&trial.folder, 3);
    let word = format!("{call} {file} {n} {errno}");
    // Some fail while the server starts, which then must say so; the others later.
    let mut server = trial.serve(&[("ARKLOW_DISK_FAULT", &word)]);
    let has_failed = |server: &Server| server.printed().contains("disk: fault");
    // How many changes there are until a checkpoint writes or syncs is a matter of the disk.
    for _ in 0..20 {
        let changes = trial.load(&[&server], 400).await;
        if changes < 400 || has_failed(&server) {
            break;
        }
        pause();
    }
    let before_stop = has_failed(&server);
    // SQLite syncs the header of the WAL itself, within the first commit after the WAL began. That commit fails, and
    // the next one writes the header again and syncs it: nothing that was acknowledged depends on the lost pages.
    let is_of_the_header = before_stop
        && (*call, *file) == ("sync", "wal")
        && server
            .printed()
            .contains("may or may not have been made: disk I/O error")
        && trial.load(&[&server], 20).await >= 20;
    if is_of_the_header {
        server.signal(stop);
        wait_for_end(&mut server)?;
    } else if before_stop && *call == "sync" {
        // What the disk has of it is not known, and never will be in this process.
        let status = wait_for_end(&mut server)?;
        if status == Some(0) {
            return Err(format!("ended with success:\n{}", server.printed()));
        }
    } else {
        let recovered = !before_stop || trial.load(&[&server], 20).await >= 20;
        // A checkpoint that cannot write may end the server, too.
        let may_end = *file == "db";
        if !recovered && may_end {
            let status = wait_for_end(&mut server)?;
            if status == Some(0) {
                return Err(format!("ended with success:\n{}", server.printed()));
            }
        } else if !recovered {
            return Err(format!("it did not recover:\n{}", server.printed()));
        } else {
            server.signal(stop);
            wait_for_end(&mut server)?;
        }
    }
    let has_failed = has_failed(&server);
    if has_failed {
        let printed = server.printed();
        let errors = printed
            .lines()
            .filter(|line| line.contains("\"ERROR\"") && !line.contains("\"req_id\""));
        // One where it happened, and one where it ends the server; each failed request may have another.
        if *call == "sync" && !is_of_the_header && !(1..=2).contains(&errors.count()) {
            return Err(format!("not logged, or too often:\n{printed}"));
        }
    }
    trial.check(&trial.folder, u64::MAX).await?;
    let done = trial.cut(disk, 3, 5).await;
    match done.losses.first() {
        Some(loss) => Err(format!("after a power cut: {loss}")),
        None => Ok(has_failed),
    }
}

/// The exit code.
fn wait_for_end(server: &mut Server) -> Result<Option<i32>, String> {
    let started = Instant::now();
    while server.try_wait().is_none() {
        if started.elapsed() > Duration::from_secs(20) {
            return Err(format!("it does not end:\n{}", server.printed()));
        }
        pause();
    }
    Ok(server.wait().code())
}

async fn fail_each(calls: &[(&'static str, &'static str, &[usize])], stops: &[&str]) {
    let mut wrong = Vec::new();
    let (mut tried, mut failed) = (0, 0);
    for &(call, file, counts) in calls {
        for &n in counts {
            for errno in [EIO, ENOSPC] {
                for stop in stops {
                    let fault = Fault {
                        call,
                        file,
                        n,
                        errno,
                    };
                    tried += 1;
                    match fail(&fault, stop).await {
                        Ok(has_failed) => failed += usize::from(has_failed),
                        Err(error) => {
                            wrong.push(format!("{call} {file} {n} {errno} {stop}: {error}"));
                        }
                    }
                }
            }
        }
    }
    println!("{tried} servers, of which {failed} met a failing call");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(
        failed * 2 > tried,
        "most were to meet one: {failed} of {tried}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn t35_a_sync_that_fails_ends_the_server_and_loses_nothing() {
    if LIBRARY.is_none() {
        return;
    }
    fail_each(&[("sync", "wal", &[4]), ("sync", "db", &[2])], &["TERM"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t35_a_write_that_fails_is_one_batch_and_loses_nothing() {
    if LIBRARY.is_none() {
        return;
    }
    fail_each(&[("write", "wal", &[30]), ("write", "db", &[3])], &["TERM"]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; run it with `cargo test -p arklow --test contract power -- --ignored`"]
async fn t35_each_sync_and_write_may_fail() {
    if LIBRARY.is_none() {
        return;
    }
    let syncs: &[usize] = &[3, 4, 5, 6, 8, 12, 20];
    let writes: &[usize] = &[20, 21, 22, 23, 24, 25, 40, 80];
    let calls = [
        ("sync", "wal", syncs),
        ("sync", "db", &[2, 3][..]),
        ("write", "wal", writes),
        ("write", "db", &[2, 3, 4, 5, 9]),
    ];
    fail_each(&calls, &["TERM", "KILL"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t35_a_sync_that_hangs_is_waited_for() {
    if LIBRARY.is_none() {
        return;
    }
    let trial = Trial::new(2);
    let server = trial.serve(&[("ARKLOW_DISK_FAULT", "sync wal 6 0")]);
    let started = Instant::now();
    assert!(
        trial.load(&[&server], 100).await >= 100,
        "{}",
        server.printed()
    );
    assert!(server.printed().contains("disk: fault"));
    assert!(
        started.elapsed() > Duration::from_secs(4),
        "an answer waits for its sync"
    );
    server.signal("KILL");
    drop(server);
    trial
        .check(&trial.folder, u64::MAX)
        .await
        .expect("nothing lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn t35_no_descriptor_for_a_while_is_got_over() {
    if LIBRARY.is_none() {
        return;
    }
    for file in ["wal", "db"] {
        let trial = Trial::new(2);
        let server = trial.serve(&[("ARKLOW_DISK_FAULT", &format!("open {file} 1 -1"))]);
        assert!(trial.load(&[&server], 20).await >= 20);
        let full = trial.folder.join("full");
        fs::write(&full, "").expect("a mark");
        trial.load(&[&server], 300).await;
        fs::remove_file(&full).expect("it is there");
        let made = trial.load(&[&server], 20).await;
        assert!(made >= 20, "it did not recover: {}", server.printed());
        server.signal("KILL");
        drop(server);
        trial
            .check(&trial.folder, u64::MAX)
            .await
            .expect("nothing lost");
    }
}
