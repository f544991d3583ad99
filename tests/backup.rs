//! `arklow backup` and `arklow restore`, and what is refused in place of a backup.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Home, NO_LIMITS, string, text};

/// A refusal: exit code 1 and these words; what it said.
#[track_caller]
fn refused(home: &Home, arguments: &[&str], words: &[&str]) -> String {
    let output = home.output(arguments);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?}: no `{word}`: {said}");
    }
    said
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    format!("{}{suffix}", path.display()).into()
}

/// Makes a backup; what it printed.
#[track_caller]
fn back_up(home: &Home) -> (String, Value) {
    let file = home.path().join("backup.db").display().to_string();
    let made = home.run(&["backup", &file]);
    (file, made)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    // Those may be there or not, according to who closed the database last.
    names.retain(|name| !["arklow.db-wal", "arklow.db-shm"].contains(&name.as_str()));
    names.sort();
    names
}

#[tokio::test]
async fn backup_is_taken_beside_a_server_and_restored_with_all_that_it_held() {
    let home = Home::on_sqlite();
    let server = home.serve(NO_LIMITS);
    let (ada, bob) = (home.caller("ada"), home.caller("bob"));
    let codes = server.by(&ada).regenerate().await.backup_codes();
    let (file, made) = back_up(&home);
    for path in [Path::new(&file), &with_suffix(Path::new(&file), ".json")] {
        let mode = fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
    let manifest = fs::read_to_string(format!("{file}.json")).expect("a manifest");
    assert_eq!(
        serde_json::from_str::<Value>(&manifest).expect("JSON"),
        made
    );
    assert_eq!(made["users"], 2);
    assert_eq!(made["devices"], 2);
    let records = home.vandal().count("audit");
    assert_eq!(made["audit_records"], records);
    assert_eq!(made["newest_audit_id"], records);
    assert_eq!(
        made["keys"],
        serde_json::json!([home.keyring().active().to_string()])
    );
    assert!(!manifest.contains(&codes[0]));

    // What comes after the backup is gone afterwards.
    server.by(&bob).regenerate().await.backup_codes();
    home.user("cyd");
    let said = refused(
        &home,
        &["restore", &file, "--replace"],
        &["arklow.db", "stop the servers"],
    );
    assert!(!said.contains("kept"), "{said}");
    server.signal("TERM");
    let mut server = server;
    server.wait();

    refused(&home, &["restore", &file], &["already", "--replace"]);
    let restored = home.run(&["restore", &file, "--replace"]);
    assert_eq!(restored["killed"]["sessions"], 2);
    assert_eq!(restored["killed"]["code_sets"], 1);
    assert_eq!(restored["made_at"], made["made_at"]);
    assert_eq!(home.vandal().count("users"), 2);
    let kept = PathBuf::from(string(&restored["kept"]));
    assert_eq!(
        crate::throwaway::Raw::open(&format!("sqlite:{}", kept.display())).count("users"),
        3,
        "the old database is kept"
    );
    let server = home.serve(NO_LIMITS);
    assert_eq!(server.by(&ada).user().await.status, 401);
    let (_, token, _) = home.session(&ada.user, None);
    server
        .redeem(&token, &ada.device, &codes[0])
        .await
        .assert_invalid();
    drop(server);
    let left = names(home.path());
    assert!(left.iter().all(|name| !name.starts_with('.')), "{left:?}");
}

#[test]
fn t37_a_file_alone_is_refused_beside_keys_that_are_in_use() {
    // From before the first checkpoint, and with tables: what a copy without its `-wal` looks like.
    for has_tables in [false, true] {
        let home = match has_tables {
            true => Home::with_file(),
            false => Home::on_sqlite(),
        };
        // What a copy without its WAL is: all since the last checkpoint is missing.
        let alone = match has_tables {
            true => {
                home.vandal().run("PRAGMA wal_checkpoint(TRUNCATE)");
                fs::read(home.database()).expect("the file")
            }
            false => {
                let new = home.path().join("new.db");
                let url = format!("sqlite:{}", new.display());
                crate::throwaway::Raw::open(&url).run("PRAGMA journal_mode = WAL");
                fs::read(new).expect("the file")
            }
        };
        drop(home.serve(NO_LIMITS));
        home.caller("ada");
        fs::write(home.database(), &alone).expect("it can be written");
        for file in ["-wal", "-shm"] {
            drop(fs::remove_file(with_suffix(&home.database(), file)));
        }
        for arguments in [
            &["serve", "--listen", "127.0.0.1:0"][..],
            &["restored"],
            &["device", "create", "--user", "1", "--name", "Phone"],
            &["keys", "list"],
        ] {
            let said = refused(&home, arguments, &["arklow.db"]);
            let is_said = said.contains("`-wal`") || said.contains("migrate up");
            assert!(is_said, "{arguments:?}: {said}");
        }
        if !has_tables {
            refused(&home, &["migrate", "up"], &["`-wal`", "arklow restore"]);
            assert_eq!(
                fs::read(home.database()).expect("the file"),
                alone,
                "it is as it was"
            );
        }
        // Nor may another, new database take its place by mistake.
        fs::remove_file(home.database()).expect("it can be removed");
        refused(
            &home,
            &["serve", "--listen", "127.0.0.1:0"],
            &["users", "--keys"],
        );
        assert!(!home.database().exists(), "none was made");
        // On purpose, with new keys.
        fs::remove_file(home.key_file()).expect("it can be removed");
        drop(home.serve(&[]));
    }
}

#[test]
fn new_database_is_served_with_keys_that_were_made_before_it() {
    let home = Home::on_sqlite();
    let keys = home.key_file().display().to_string();
    home.run(&["keys", "generate", "--out", &keys]);
    let before = fs::read(&keys).expect("the file");
    // Twice: after the first start there are tables, and still no user.
    for _ in 0..2 {
        drop(home.serve(&[]));
        home.run(&["restored"]);
    }
    // `restored` is on record, so there is something to lose now.
    drop(home.serve(&[]));
    assert_ne!(
        fs::read(&keys).expect("the file"),
        before,
        "it is marked as used"
    );
}

#[test]
fn t37_a_backup_put_by_hand_beside_a_foreign_wal_is_not_taken_for_its_own() {
    for is_checkpointed in [false, true] {
        let home = Home::on_sqlite();
        let server = home.serve(NO_LIMITS);
        home.caller("ada");
        let (file, _) = back_up(&home);
        let by_vacuum = home.path().join("vacuum.db").display().to_string();
        home.vandal().run(&format!("VACUUM INTO '{by_vacuum}'"));
        let more = |name: &str| (0..20).for_each(|n| drop(home.user(&format!("{name}{n}"))));
        more("after");
        if is_checkpointed {
            home.vandal().run("PRAGMA wal_checkpoint(RESTART)");
            more("last");
        }
        // In the WAL alone: no checkpoint may copy it into the file.
        home.vandal()
            .run("PRAGMA wal_autocheckpoint = 0; UPDATE users SET name = 'Eve'");
        let [wal, index] = ["-wal", "-shm"].map(|suffix| with_suffix(&home.database(), suffix));
        let before = [&wal, &index].map(|path| fs::read(path).expect("it is there"));
        server.signal("KILL");
        drop(server);
        for backup in [file, by_vacuum] {
            fs::copy(&backup, home.database()).expect("a copy");
            fs::write(&wal, &before[0]).expect("it can be written");
            fs::write(&index, &before[1]).expect("it can be written");
            for arguments in [
                &["serve", "--listen", "127.0.0.1:0"][..],
                &["migrate", "up"],
                &["audit", "list"],
                &["backup", "other.db"],
            ] {
                refused(&home, arguments, &["arklow.db-wal", "another database"]);
            }
            assert_eq!(fs::read(&wal).expect("it is there"), before[0]);
            assert_eq!(
                fs::read(home.database()).expect("it is there"),
                fs::read(&backup).expect("it is there")
            );
            let output = home.output(&["restored"]);
            let said = text(&output.stderr);
            assert!(
                output.status.success() && said.contains("-wal.foreign-"),
                "{said}"
            );
            assert_eq!(home.vandal().count("users"), 1);
            let integrity = home
                .vandal()
                .text("SELECT integrity_check FROM pragma_integrity_check LIMIT 1");
            assert_eq!(integrity, "ok");
            drop(home.serve(&[]));
        }
    }
}

#[test]
fn t37_a_backup_beside_a_foreign_wal_is_not_restored() {
    for is_checkpointed in [false, true] {
        let home = Home::on_sqlite();
        let server = home.serve(NO_LIMITS);
        home.caller("ada");
        let (file, _) = back_up(&home);
        home.user("bob");
        if is_checkpointed {
            home.vandal().run("PRAGMA wal_checkpoint(RESTART)");
            home.user("cyd");
        }
        server.signal("KILL");
        drop(server);
        let wal = with_suffix(&home.database(), "-wal");
        assert!(wal.exists());

        // The WAL of the dead server belongs to the database that is replaced, and goes with it.
        let restored = home.run(&["restore", &file, "--replace"]);
        assert_eq!(home.vandal().count("users"), 1);
        assert!(!wal.exists() || fs::metadata(&wal).expect("it").len() == 0);
        let kept = string(&restored["kept"]);
        let users = crate::throwaway::Raw::open(&format!("sqlite:{kept}")).count("users");
        assert_eq!(users, if is_checkpointed { 3 } else { 2 });

        // Without the database that it belongs to, it is foreign.
        fs::write(&wal, "a WAL of another file").expect("it can be written");
        fs::remove_file(home.database()).expect("it can be removed");
        refused(
            &home,
            &["restore", &file],
            &["arklow.db-wal", "another database"],
        );
        fs::remove_file(&wal).expect("it can be removed");
        // So is one next to the backup.
        fs::write(format!("{file}-wal"), "a WAL").expect("it can be written");
        refused(&home, &["restore", &file], &["backup.db-wal"]);
        fs::remove_file(format!("{file}-wal")).expect("it can be removed");
        home.run(&["restore", &file]);
        assert_eq!(home.vandal().count("users"), 1);
    }
}

#[test]
fn t37_what_is_no_whole_backup_is_refused_and_changes_nothing() {
    let home = Home::with_file();
    home.caller("ada");
    let (file, _) = back_up(&home);
    let whole = fs::read(&file).expect("the backup");
    home.vandal().run("PRAGMA wal_checkpoint(TRUNCATE)");
    let database = fs::read(home.database()).expect("the database");
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle..middle + 512].fill(0xa5);
    for (bytes, words) in [
        (&whole[..whole.len() - 4096], &["manifest"][..]),
        (&flipped, &["manifest"]),
        (b"", &["manifest"]),
    ] {
        fs::write(&file, bytes).expect("it can be written");
        refused(&home, &["restore", &file, "--replace"], words);
    }
    // Without the manifest the file is judged by itself.
    fs::remove_file(format!("{file}.json")).expect("it can be removed");
    for (bytes, word) in [
        (&whole[..4096], "damaged"),
        (&whole[..whole.len() - 4096], "damaged"),
        (b"", "no tables"),
        ("no database ".repeat(1000).as_bytes(), "no SQLite database"),
    ] {
        fs::write(&file, bytes).expect("it can be written");
        refused(&home, &["restore", &file, "--replace"], &[word]);
    }
    fs::write(&file, &whole).expect("it can be written");
    let other = Home::with_file();
    let keys = other.key_file().display().to_string();
    refused(
        &home,
        &["restore", &file, "--replace", "--keys", &keys],
        &["does not hold key"],
    );
    assert_eq!(
        fs::read(home.database()).expect("the database"),
        database,
        "nothing was changed"
    );
    let left = names(home.path());
    assert_eq!(left, ["arklow.db", "arklow.db.keys", "backup.db"]);
    home.run(&["restore", &file, "--replace"]);
}

#[test]
fn backup_overwrites_nothing_unless_it_is_told_to() {
    let home = Home::with_file();
    home.user("ada");
    let (file, first) = back_up(&home);
    let before = fs::read(&file).expect("the backup");
    home.user("bob");
    refused(&home, &["backup", &file], &["already", "--replace"]);
    assert_eq!(fs::read(&file).expect("the backup"), before);
    let second = home.run(&["backup", &file, "--replace"]);
    assert_eq!((&first["users"], &second["users"]), (&1.into(), &2.into()));
    for name in ["arklow.db", "arklow.db-wal", "arklow.db.keys"] {
        let path = home.path().join(name).display().to_string();
        refused(&home, &["backup", &path, "--replace"], &["database itself"]);
    }
    let nowhere = home.path().join("none/backup.db").display().to_string();
    refused(&home, &["backup", &nowhere], &["none"]);
    refused(
        &home,
        &["backup", "other.db", "--database-url", "sqlite:missing.db"],
        &["no database", "missing.db"],
    );
    let url = "postgres://nobody@127.0.0.1:9/none";
    refused(
        &home,
        &["backup", "other.db", "--database-url", url],
        &["PostgreSQL", "pg_dump"],
    );
    refused(
        &home,
        &["restore", &file, "--database-url", url],
        &["PostgreSQL", "pg_dump"],
    );
    let left = names(home.path());
    assert_eq!(
        left,
        ["arklow.db", "arklow.db.keys", "backup.db", "backup.db.json"]
    );
}

#[test]
fn only_serve_and_migrate_up_make_or_migrate_a_database() {
    let home = Home::on_sqlite();
    for arguments in [
        &["user", "create", "--name", "A", "--email", "a@example.com"][..],
        &["session", "create", "--user", "1"],
        &["device", "create", "--user", "1", "--name", "Phone"],
        &["keys", "list"],
        &["audit", "list"],
        &["restored"],
        &["backup", "backup.db"],
        &["migrate", "status"],
    ] {
        if arguments == ["migrate", "status"] {
            home.output(arguments);
        } else {
            refused(&home, arguments, &["no database", "arklow.db"]);
        }
        assert_eq!(names(home.path()), [""; 0], "{arguments:?}");
    }
    home.run(&["migrate", "up"]);
    // Nor does a command make keys.
    refused(&home, &["keys", "list"], &["no key file", "keys generate"]);
    assert_eq!(names(home.path()), ["arklow.db"]);

    // As a version without the last migration left it.
    let newest = home
        .vandal()
        .text("SELECT version FROM __diesel_schema_migrations ORDER BY version DESC LIMIT 1");
    home.vandal().run(&format!(
        "DELETE FROM __diesel_schema_migrations WHERE version = '{newest}'"
    ));
    for arguments in [
        &["user", "create", "--name", "A", "--email", "a@example.com"][..],
        &["audit", "list"],
        &["restored"],
    ] {
        refused(&home, arguments, &["pending", "arklow migrate up"]);
    }
    let pending = home.vandal().count("__diesel_schema_migrations");
    home.run(&["backup", "backup.db"]);
    assert_eq!(home.vandal().count("__diesel_schema_migrations"), pending);
}
