//! Rotating root keys while a server runs, stopping and going on, and retiring what nothing needs.

use std::fs::{File, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arklow_domain::{DeviceId, Seed, SystemRandom, UserId};
use arklow_store::{AuditOrigin, CreateDevice, NewDevice};
use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use serde_json::Value;

use crate::harness::{Caller, Home, NO_LIMITS, Server, TEST_TIMEOUT, pause, skip, string, text};

/// Every key, as `arklow keys list --json` tells.
fn keys(home: &Home) -> Vec<Value> {
    let output = home.output(&["keys", "list", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object a line"))
        .collect()
}

fn ids(keys: &[Value], state: &str) -> Vec<String> {
    let of_state = keys.iter().filter(|key| key["state"] == state);
    of_state.map(|key| string(&key["id"])).collect()
}

/// Many devices of one user.
async fn fill(home: &Home, user: &str, count: usize) {
    let (store, keyring) = (home.store().await, home.keyring());
    let user_id: UserId = user.parse().expect("an id");
    let random = SystemRandom::new();
    let creating = (0..count).map(|_| {
        let id = DeviceId::random(&random).expect("an id");
        let seed = Seed::random(&random).expect("a seed");
        let now = DateTime::<Utc>::UNIX_EPOCH;
        store.create_device(
            NewDevice {
                id,
                user_id,
                name: "Phone".parse().expect("a name"),
                seed: seed.seal(&keyring, user_id, id, &random).expect("a seed"),
                confirmed_at: Some(now),
                now,
            },
            AuditOrigin::default(),
        )
    });
    // Not all at once: who waits for a connection waits only so long.
    let mut creating = futures_util::stream::iter(creating).buffer_unordered(16);
    while let Some(created) = creating.next().await {
        assert_eq!(created.expect("an answer"), CreateDevice::Created);
    }
    drop(creating);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_goes_on_beside_a_server_that_answers_all_the_while() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = Arc::new(home.serve(NO_LIMITS));
    let eve = home.caller("eve");
    let kept = server.by(&eve).regenerate().await.backup_codes();
    fill(&home, &ada.user, 6_000).await;
    let old = ids(&keys(&home), "active");

    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn({
        let (server, stop) = (Arc::clone(&server), Arc::clone(&stop));
        let (token, device) = (ada.token.clone(), ada.device.clone());
        async move {
            let mut rounds = 0;
            while !stop.load(Ordering::SeqCst) {
                let codes = server.regenerate(&token, &device).await.backup_codes();
                server
                    .redeem(&token, &device, &codes[0])
                    .await
                    .assert_valid();
                rounds += 1;
            }
            rounds
        }
    });
    // During the load, not instead of it.
    let mut command = home.arklow();
    command.args(["keys", "rotate", "--json", "--actor", "ops"]);
    let rotated = tokio::task::spawn_blocking(move || command.output());
    let rotated = rotated.await.expect("it ends").expect("the binary runs");
    stop.store(true, Ordering::SeqCst);
    let rounds = load.await.expect("every answer was a success");
    assert!(rotated.status.success(), "{}", text(&rotated.stderr));
    assert!(rounds > 10, "the server was kept waiting: {rounds} rounds");
    let said = text(&rotated.stderr);
    assert!(said.contains("(100 %)"), "{said}");
    let rotated: Value = serde_json::from_slice(&rotated.stdout).expect("one object");
    assert!(rotated["moved"].as_u64() >= Some(6_002), "{rotated}");
    println!(
        "rotated {} devices during {rounds} rounds of a server",
        rotated["moved"]
    );

    let now = keys(&home);
    assert_eq!(ids(&now, "active"), [string(&rotated["active"])]);
    assert_eq!(ids(&now, "old"), old);
    let unused = now
        .iter()
        .find(|key| key["id"] == old[0].as_str())
        .expect("it is listed");
    assert_eq!(
        (&unused["seeds"], &unused["code_sets"]),
        (&Value::from(0), &Value::from(0))
    );

    // What the old key closed opens with the new one alone, on the same server and after a restart.
    home.run(&["keys", "retire", &old[0]]);
    let file = std::fs::read_to_string(home.path().join("arklow.db.keys")).expect("the key file");
    assert!(!file.contains(&old[0]));
    server.by(&eve).redeem(&kept[0]).await.assert_valid();
    assert!(server.by(&ada).verify(&later(&ada)).await.status == 200);
    drop(server);
    let server = home.serve(NO_LIMITS);
    server.by(&eve).redeem(&kept[1]).await.assert_valid();
    let actors = home.records().await;
    let of_keys: Vec<_> = actors
        .iter()
        .filter(|record| record.event.as_str().starts_with("mfa.key."))
        .map(|record| (record.event.as_str(), record.origin.actor.is_some()))
        .collect();
    assert_eq!(
        of_keys,
        [("mfa.key.rotated", true), ("mfa.key.retired", true)]
    );
}

fn later(caller: &Caller) -> String {
    caller.app.next_code()
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_that_is_stopped_goes_on_where_it_was() {
    let home = Home::new();
    let ada = home.caller("ada");
    fill(&home, &ada.user, 4_000).await;
    let old = ids(&keys(&home), "active").remove(0);
    let mut vandal = home.vandal();
    let mut left = || vandal.count(&format!("devices WHERE seed_key_id = '{old}'"));

    let mut command = home.arklow();
    command
        .args(["keys", "rotate"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let rotation = command.spawn().expect("the binary runs");
    let started = Instant::now();
    while left() == 4_001 {
        assert!(started.elapsed() < TEST_TIMEOUT, "nothing is moved");
        pause();
    }
    let signalled = std::process::Command::new("kill")
        .args(["-INT", &rotation.id().to_string()])
        .status();
    assert!(signalled.expect("kill runs").success());
    let stopped = rotation.wait_with_output().expect("it ends");
    let said = text(&stopped.stderr);
    assert_eq!(stopped.status.code(), Some(1), "{said}");
    assert!(
        said.contains("stopped after") && said.contains("again to go on"),
        "{said}"
    );
    let rest = left();
    assert!((1..4_001).contains(&rest), "{rest} of 4001 are left");

    // Half here, half there: everything works.
    let server = home.serve(NO_LIMITS);
    server.by(&ada).verify(&ada.app.code()).await.assert_valid();

    let resumed = home.output(&["keys", "rotate", "--json"]);
    let said = text(&resumed.stderr);
    assert!(resumed.status.success(), "{said}");
    assert!(said.contains("going on with the rotation"), "{said}");
    let resumed: Value = serde_json::from_slice(&resumed.stdout).expect("one object");
    assert_eq!(resumed["moved"].as_i64(), Some(rest));
    assert_eq!(left(), 0);
    assert_eq!(keys(&home).len(), 2, "no third key was made");
}

#[tokio::test]
async fn key_that_is_needed_active_or_unknown_is_not_retired() {
    let home = Home::new();
    home.caller("ada");
    let active = ids(&keys(&home), "active").remove(0);
    let refused = |id: &str, words: &[&str]| {
        let output = home.output(&["keys", "retire", id]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for word in words {
            assert!(said.contains(word), "`{word}`: {said}");
        }
    };
    refused(&active, &["is the active one", "keys rotate"]);
    refused("0123456789abcdef", &["no key", "keys list"]);

    // As if the rotation had not come to an end.
    let before = std::fs::read_to_string(home.path().join("arklow.db.keys")).expect("the key file");
    let rotated = home.run(&["keys", "rotate"]);
    let new = string(&rotated["active"]);
    let mut vandal = home.vandal();
    vandal.run(&format!(
        "UPDATE devices SET seed_key_id = '{active}' WHERE seed_key_id = '{new}'"
    ));
    refused(&active, &["in use", "1 TOTP seeds"]);
    vandal.run(&format!(
        "UPDATE devices SET seed_key_id = '{new}' WHERE seed_key_id = '{active}'"
    ));
    home.run(&["keys", "retire", &active]);
    let again = home.output(&["keys", "retire", &active]);
    assert!(again.status.success() && text(&again.stderr).contains("retired already"));

    // An old copy of the key file has no key that is in use any more.
    std::fs::write(home.path().join("old.keys"), before).expect("a file");
    let output = home.output(&["serve", "--listen", "127.0.0.1:0", "--keys", "old.keys"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("does not hold key"),
        "{}",
        text(&output.stderr)
    );
}

#[tokio::test]
async fn two_rotations_at_once_are_refused() {
    let home = Home::new();
    home.caller("ada");
    let file = std::fs::File::open(home.path().join("arklow.db.keys")).expect("the key file");
    file.lock().expect("a lock");
    let output = home.output(&["keys", "rotate"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("another command is changing"), "{said}");
}

/// The key file as the servers of a deployment have it: on a volume, with links to it.
struct Volume {
    home: Home,
    ada: Caller,
}

impl Volume {
    fn new() -> Self {
        let home = Home::new();
        let ada = home.caller("ada");
        let here = |name: &str| home.path().join(name);
        for folder in ["volume", "one", "two"] {
            std::fs::create_dir(here(folder)).expect("a folder");
        }
        std::fs::rename(home.key_file(), here("volume/keys")).expect("it moves");
        // A chain of relative links, and one that names the file whole.
        symlink("../between", here("one/keys")).expect("a link");
        symlink("volume/keys", here("between")).expect("a link");
        symlink(here("volume/keys"), here("two/keys")).expect("a link");
        // For the helpers of the tests.
        symlink("volume/keys", home.key_file()).expect("a link");
        Self { home, ada }
    }

    fn file(&self) -> PathBuf {
        self.home.path().join("volume/keys")
    }

    /// How many keys are in it.
    fn count(&self) -> usize {
        let text = std::fs::read_to_string(self.file()).expect("the key file");
        text.lines().filter(|line| line.starts_with("key ")).count()
    }

    /// The other files in the folder of the key file.
    fn beside(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.home.path().join("volume")).expect("a folder");
        let names = files.map(|file| file.expect("a file").file_name());
        names
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }
}

#[tokio::test]
async fn t44_rotation_through_links_replaces_the_file_that_they_lead_to() {
    let volume = Volume::new();
    let (home, ada) = (&volume.home, &volume.ada);
    let server = home.serve(&["--keys", "two/keys", "--limits", "off"]);
    let codes = server.by(ada).regenerate().await.backup_codes();
    let old = home.keyring().active().to_string();

    let rotated = home.run(&["keys", "rotate", "--keys", "one/keys"]);
    let new = string(&rotated["active"]);
    assert_eq!(volume.count(), 2, "the volume has the new key");
    server.by(ada).redeem(&codes[0]).await.assert_valid();
    // At once with the new key, or the old one would still be in use.
    let codes = server.by(ada).regenerate().await.backup_codes();
    home.run(&["keys", "retire", &old, "--keys", "one/keys"]);
    assert_eq!(volume.count(), 1);
    assert_eq!(home.keyring().active().to_string(), new);
    for link in ["one/keys", "between", "two/keys"] {
        let found = std::fs::symlink_metadata(home.path().join(link)).expect("the link");
        assert!(found.is_symlink(), "{link}");
    }
    assert_eq!(volume.beside(), ["keys"], "nothing else is left");
    drop(server);
    let server = home.serve(&["--keys", "two/keys", "--limits", "off"]);
    server.by(ada).redeem(&codes[1]).await.assert_valid();
}

#[tokio::test]
async fn t44_new_key_is_not_used_before_the_servers_have_read_it() {
    let volume = Volume::new();
    let home = &volume.home;
    let before = std::fs::read(volume.file()).expect("the key file");
    let old = home.keyring().active();
    // As a server that does not read the new file holds it.
    let server = File::open(volume.file()).expect("the key file");
    server.lock_shared().expect("a lock");
    let mut rotation = home
        .arklow()
        .args(["keys", "rotate"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let said = BufReader::new(rotation.stderr.take().expect("its stderr"));
    let mut said = said.lines().map(|line| line.expect("a line"));
    let waits = said.find(|line| line.contains("waiting until the running servers"));
    assert!(waits.is_some(), "it waits");
    assert_eq!(volume.count(), 2);
    assert_eq!(home.keyring().active(), old, "the old key is active");
    assert_eq!(keys(home).len(), 1, "the new one is not on record");
    let signalled = std::process::Command::new("kill")
        .args(["-TERM", &rotation.id().to_string()])
        .status();
    assert!(signalled.expect("kill runs").success());
    assert_eq!(rotation.wait().expect("it ends").code(), Some(1));
    let rest: Vec<String> = said.collect();
    assert!(
        rest.concat().contains("the former keys are in use"),
        "{rest:?}"
    );
    let after = std::fs::read(volume.file()).expect("the key file");
    assert!(before == after, "the file is as it was");
    assert_eq!(volume.beside(), ["keys"]);

    drop(server);
    home.run(&["keys", "rotate"]);
    assert_ne!(home.keyring().active(), old);
}

/// An ACL by which another account may read the file, as Linux keeps it.
fn acl() -> Vec<u8> {
    let entry = |tag: u16, rights: u16, id: u32| {
        [
            &tag.to_le_bytes()[..],
            &rights.to_le_bytes(),
            &id.to_le_bytes(),
        ]
        .concat()
    };
    let nobody = u32::MAX;
    [
        2_u32.to_le_bytes().to_vec(),
        entry(0x01, 6, nobody),
        entry(0x02, 4, 65_534),
        entry(0x04, 0, nobody),
        entry(0x10, 4, nobody),
        entry(0x20, 0, nobody),
    ]
    .concat()
}

#[tokio::test]
async fn t44_new_key_file_has_the_mode_and_the_attributes_of_the_old_one() {
    let volume = Volume::new();
    let home = &volume.home;
    let mode = |mode: u32| Permissions::from_mode(mode);
    std::fs::set_permissions(volume.file(), mode(0o640)).expect("its mode");
    let acl_name = "system.posix_acl_access";
    let takes_acls = xattr::set(volume.file(), acl_name, &acl()).is_ok();
    let takes_notes = xattr::set(volume.file(), "user.note", b"keep").is_ok();
    home.run(&["keys", "rotate"]);
    let found = std::fs::metadata(volume.file()).expect("the key file");
    assert_eq!(found.mode() & 0o7777, 0o640);
    let kept = |name: &str| xattr::get(volume.file(), name).ok().flatten();
    if takes_notes {
        assert_eq!(kept("user.note").as_deref(), Some(&b"keep"[..]));
    }
    if takes_acls {
        assert_eq!(kept(acl_name), Some(acl()));
    }
    if !takes_acls {
        skip("the file system of the temporary folder has no ACLs");
    }

    // An ACL that a folder gives to new files is none that the old file had.
    xattr::remove(volume.file(), acl_name).ok();
    std::fs::set_permissions(volume.file(), mode(0o640)).expect("its mode");
    let folder = home.path().join("volume");
    if xattr::set(&folder, "system.posix_acl_default", &acl()).is_ok() {
        home.run(&["keys", "rotate"]);
        assert_eq!(kept(acl_name), None);
        let found = std::fs::metadata(volume.file()).expect("the key file");
        assert_eq!(found.mode() & 0o7777, 0o640);
    }
}

#[tokio::test]
async fn t44_rotation_by_root_leaves_the_key_file_to_the_server() {
    const SERVER: u32 = 65_534;
    let volume = Volume::new();
    let (home, ada) = (&volume.home, &volume.ada);
    if !home.is_root() {
        return skip("only root can rotate keys for another account");
    }
    home.give_to(SERVER);
    std::fs::set_permissions(volume.file(), Permissions::from_mode(0o600)).expect("its mode");
    let serve = || {
        let mut command = home.arklow_of_all();
        command.args(["serve", "--listen", "127.0.0.1:0", "--limits", "off"]);
        command.args(["--keys", "one/keys"]).uid(SERVER).gid(SERVER);
        Server::spawn(&mut command)
    };
    let server = serve();
    let codes = server.by(ada).regenerate().await.backup_codes();
    let old = home.keyring().active().to_string();
    let owned = || {
        let found = std::fs::metadata(volume.file()).expect("the key file");
        (found.uid(), found.gid(), found.mode() & 0o7777)
    };
    for arguments in [&["keys", "rotate"][..], &["keys", "retire", &old]] {
        home.run(arguments);
        assert_eq!(owned(), (SERVER, SERVER, 0o600), "{arguments:?}");
        let regenerated = server.by(ada).redeem(&codes[arguments.len()]);
        assert!(regenerated.await.is_valid(), "{arguments:?}");
    }
    drop(server);
    let server = serve();
    server.by(ada).redeem(&codes[1]).await.assert_valid();
    drop(server);

    // An account that cannot give the new file its owner does not rotate.
    let other = SERVER - 1;
    let opened = Permissions::from_mode(0o777);
    std::fs::set_permissions(home.path().join("volume"), opened.clone()).expect("its mode");
    std::fs::set_permissions(home.path(), opened).expect("its mode");
    std::fs::set_permissions(volume.file(), Permissions::from_mode(0o644)).expect("its mode");
    for suffix in ["", "-wal", "-shm"] {
        let file = home.path().join(format!("arklow.db{suffix}"));
        if file.exists() {
            let shared = Permissions::from_mode(0o666);
            std::fs::set_permissions(file, shared).expect("its mode");
        }
    }
    let before = std::fs::read(volume.file()).expect("the key file");
    let mut command = home.arklow_of_all();
    command.args(["keys", "rotate"]).uid(other).gid(other);
    let output = command.output().expect("the binary runs");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for words in ["owner, group, mode", "not permitted", "as root"] {
        assert!(said.contains(words), "`{words}`: {said}");
    }
    assert!(std::fs::read(volume.file()).expect("the key file") == before);
    assert_eq!(volume.beside(), ["keys"]);
}

#[test]
fn t44_links_that_a_rotation_would_break_are_refused() {
    let volume = Volume::new();
    let home = &volume.home;
    let refused = |arguments: &[&str], words: &[&str]| {
        let output = home.output(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        for word in words {
            assert!(said.contains(word), "`{word}`: {said}");
        }
    };
    let before = std::fs::read(volume.file()).expect("the key file");
    let other = home.path().join("other");
    std::fs::hard_link(volume.file(), &other).expect("a link");
    refused(
        &["keys", "rotate"],
        &["one of 2 hard links", "symbolic link"],
    );
    assert!(std::fs::read(volume.file()).expect("the key file") == before);
    std::fs::remove_file(other).expect("it goes");

    // A volume that is not mounted.
    let away = home.path().join("away");
    std::fs::rename(home.path().join("volume"), &away).expect("it moves");
    let named = ["--keys", "two/keys"];
    let dangling = ["symbolic link", "volume/keys", "does not exist"];
    refused(&[&["keys", "rotate"][..], &named].concat(), &dangling);
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    refused(&[&serve[..], &named].concat(), &dangling);
    refused(&["keys", "generate", "--out", "two/keys"], &["two/keys"]);
    std::fs::rename(away, home.path().join("volume")).expect("it moves");
    assert!(std::fs::read(volume.file()).expect("the key file") == before);
}

#[test]
fn what_a_crash_left_beside_the_key_file_is_removed() {
    let volume = Volume::new();
    let home = &volume.home;
    let beside = |name: &str| home.path().join("volume").join(name);
    let text_of_keys = std::fs::read(volume.file()).expect("the key file");
    let active = home.keyring().active().to_string();
    let leave = || {
        // The names of this version and of earlier ones, and files of other programs.
        for name in ["keys.new", ".tmpAb3dEf"] {
            std::fs::write(beside(name), &text_of_keys).expect("a file");
        }
        std::fs::write(beside("keys.lock"), "").expect("a file");
        std::fs::write(beside(".tmpOthers"), "something else").expect("a file");
    };
    let new = |home: &Home| home.keyring().active().to_string();
    for command in [&["list"][..], &["rotate"], &["retire", &active]] {
        leave();
        let output = home.output(&[&["keys"], command].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let mut left = volume.beside();
        left.sort_unstable();
        assert_eq!(left, [".tmpOthers", "keys"], "{command:?}");
    }
    assert_ne!(new(home), active);

    // One that is being written is not.
    let lock = File::create(beside("keys.lock")).expect("a file");
    lock.lock().expect("a lock");
    std::fs::write(beside("keys.new"), &text_of_keys).expect("a file");
    assert!(home.output(&["keys", "list"]).status.success());
    let refused = home.output(&["keys", "rotate"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("another command is changing"));
    assert!(beside("keys.new").exists());
}

#[test]
fn key_files_are_kept_with_the_backups_of_their_time() {
    let home = Home::new();
    home.caller("ada");
    let old = ids(&keys(&home), "active").remove(0);
    let rotated = text(&home.output(&["keys", "rotate"]).stderr);
    assert!(rotated.contains("keep a new copy of the file"), "{rotated}");
    let retired = text(&home.output(&["keys", "retire", &old]).stderr);
    for words in [
        format!("Backups of the database from before need copies of the file that hold key {old}"),
        "keep with each backup the key file of its time".to_owned(),
        "only when no such backup is left".to_owned(),
    ] {
        assert!(retired.contains(&words), "`{words}`: {retired}");
    }
}
