//! The key file: found, read, created for a new database, and compared with the database's key list.
//!
//! The database keeps the id and a check value of every key it was written with. A key file that
//! lacks one of them is refused: with a fresh one all would seem well, and every code and seed
//! would be dead.
//!
//! Two locks guard a key file. A command that writes it holds a lock file next to it. A server
//! holds a shared lock on the file that it has read, so that a rotation can wait until every server
//! has read the new one.

mod error;
mod file;
mod live;
mod lock;
mod open;

pub(crate) use error::KeysError;
pub(crate) use file::{default_path, peek};
pub(crate) use live::{Keys, POLL_EVERY, is_same};
pub(crate) use lock::{Exclusive, tidy};
pub(crate) use open::{Making, check_not_emptied, generate, is_used, open};

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::sync::Arc;

    use arklow_domain::Keyring;
    use arklow_store::Store;

    use super::open::create;
    use super::*;
    use crate::testing::{database, sources};

    /// The text of a key file with one key under this id.
    fn key_file(id: &str, digit: &str) -> String {
        let secret = digit.repeat(64);
        format!("arklow-keys-v1\nkey {id} {secret}\nactive {id}\n")
    }

    const ID: &str = "0123456789abcdef";
    const OTHER_ID: &str = "fedcba9876543210";

    async fn refused(store: &Store, path: &Path) -> KeysError {
        match open(store, path, Making::OnDemand, &sources().0).await {
            Ok(opened) => panic!("{:?}", opened.keyring),
            Err(error) => error,
        }
    }

    #[tokio::test]
    async fn new_database_gets_a_key_file_for_its_owner_alone() {
        let (directory, store) = database().await;
        let path = directory.path().join("arklow.db.keys");
        let made = open(&store, &path, Making::OnDemand, &sources().0)
            .await
            .unwrap();
        assert!(made.created);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = open(&store, &path, Making::OnDemand, &sources().0)
            .await
            .unwrap();
        assert!(!again.created);
        assert_eq!(again.keyring.active(), made.keyring.active());
        assert_eq!(store.recorded_keys().await.unwrap().len(), 1);
        let files = fs::read_dir(directory.path()).unwrap();
        let made = files.filter(|file| {
            let name = file.as_ref().unwrap().file_name();
            !name.to_string_lossy().starts_with("arklow.db") || name == "arklow.db.keys"
        });
        assert_eq!(made.count(), 1, "nothing else is left behind");
    }

    #[tokio::test]
    async fn key_file_for_several_machines_is_made_by_hand_and_never_overwritten() {
        let (directory, store) = database().await;
        let path = directory.path().join("keys");
        let sources = sources().0;
        let by_hand = || open(&store, &path, Making::ByHand, &sources);
        let error = by_hand().await.err().unwrap();
        assert!(matches!(error, KeysError::Unmade(_)), "{error:?}");
        assert!(!path.exists());

        let made = generate(&path, &sources).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(by_hand().await.unwrap().keyring.active(), made);
        let before = fs::read(&path).unwrap();
        let error = generate(&path, &sources).unwrap_err();
        assert!(matches!(error, KeysError::Exists(_)), "{error:?}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[tokio::test]
    async fn who_comes_second_takes_the_keys_of_the_first() {
        let (directory, store) = database().await;
        let path = directory.path().join("keys");
        let sources = sources().0;
        let [one, two] = [(); 2].map(|()| Keyring::generate(sources.random.as_ref()).unwrap());
        let one = create(&path, one).unwrap();
        let two = create(&path, two).unwrap();
        assert!(one.created && !two.created);
        assert_eq!(one.keyring.active(), two.keyring.active());
        open(&store, &path, Making::OnDemand, &sources)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn missing_file_of_a_database_that_has_keys_is_not_replaced() {
        let (directory, store) = database().await;
        let path = directory.path().join("keys");
        open(&store, &path, Making::OnDemand, &sources().0)
            .await
            .unwrap();
        fs::remove_file(&path).unwrap();
        let error = refused(&store, &path).await;
        assert!(matches!(error, KeysError::Missing { .. }), "{error:?}");
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn file_with_another_key_is_refused_whatever_its_id() {
        let (directory, store) = database().await;
        let path = directory.path().join("keys");
        fs::write(&path, key_file(ID, "a")).unwrap();
        open(&store, &path, Making::OnDemand, &sources().0)
            .await
            .unwrap();

        fs::write(&path, key_file(ID, "b")).unwrap();
        let error = refused(&store, &path).await;
        assert!(matches!(error, KeysError::Different { .. }), "{error:?}");

        fs::write(&path, key_file(OTHER_ID, "a")).unwrap();
        let error = refused(&store, &path).await;
        assert!(matches!(error, KeysError::Lacking { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn file_may_hold_more_keys_than_the_database_knows() {
        let (directory, store) = database().await;
        let path = directory.path().join("keys");
        fs::write(&path, key_file(ID, "a")).unwrap();
        open(&store, &path, Making::OnDemand, &sources().0)
            .await
            .unwrap();
        let more = format!("{}key {OTHER_ID} {}\n", key_file(ID, "a"), "b".repeat(64));
        fs::write(&path, more).unwrap();
        open(&store, &path, Making::OnDemand, &sources().0)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn what_is_no_key_file_is_refused_without_its_content() {
        let (directory, store) = database().await;
        let path = directory.path().join("keys");
        fs::write(&path, "hunter2\n").unwrap();
        let error = refused(&store, &path).await;
        assert!(matches!(error, KeysError::Malformed { .. }), "{error:?}");
        assert!(!crate::log::chain(&error).contains("hunter2"));
    }

    #[tokio::test]
    async fn directory_that_does_not_exist_is_named() {
        let (directory, store) = database().await;
        let path = directory.path().join("missing/keys");
        let error = refused(&store, &path).await;
        assert!(matches!(error, KeysError::NotCreated { .. }), "{error:?}");
        assert!(error.to_string().contains("missing/keys"), "{error}");
    }

    #[tokio::test]
    async fn changed_file_is_read_again_and_a_broken_one_changes_nothing() {
        let (directory, store) = database().await;
        let path = directory.path().join("keys");
        let (sources, _) = sources();
        let old = open(&store, &path, Making::OnDemand, &sources)
            .await
            .unwrap()
            .keyring;
        let keys = Keys::new(old.clone(), path.clone(), Arc::clone(&sources.clock));
        assert!(!keys.reload(&store, &old).await, "nothing has changed");

        let new = old.with_new_key(sources.random.as_ref()).unwrap();
        Exclusive::lock(&path, &old).unwrap().replace(&new).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(keys.reload(&store, &old).await);
        assert_eq!(keys.current().active(), new.active());
        assert!(keys.reload(&store, &old).await, "somebody else was faster");
        assert!(!keys.reload(&store, &new).await);

        fs::write(&path, "hunter2\n").unwrap();
        assert!(!keys.reload(&store, &new).await);
        assert_eq!(keys.current().active(), new.active());
    }

    #[test]
    fn default_lies_beside_the_database() {
        let path = default_path(&"sqlite:data/arklow.db".parse().unwrap());
        assert_eq!(path.unwrap(), Path::new("data/arklow.db.keys"));
    }
}
